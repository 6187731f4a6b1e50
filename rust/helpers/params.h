/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KX_HELPERS_PARAMS_H
#define KX_HELPERS_PARAMS_H

#include <linux/types.h>

void kx_param_usermode_helper(char *copy, size_t size);
int kx_param_proc_details(void);
bool kx_param_allow_oos(void);
unsigned int kx_param_enable_faults(void);
unsigned int kx_param_fault_rate(void);
unsigned int kx_param_fault_devs(void);
void kx_param_count_fault(void);
bool kx_param_stable_buffers(void);

#endif
