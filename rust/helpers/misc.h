/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KX_HELPERS_MISC_H
#define KX_HELPERS_MISC_H

#include <linux/types.h>

struct task_struct;

void kx_get_task_struct(struct task_struct *task);
void kx_put_task_struct(struct task_struct *task);
int kx_run_on(const char *mask, bool now);
void kx_wait_for_code(void);

#endif
