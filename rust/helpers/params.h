/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KX_HELPERS_PARAMS_H
#define KX_HELPERS_PARAMS_H
#include <linux/types.h>

#define KX_USERMODE_HELPER_SIZE 80

size_t kx_param_usermode_helper(char *to, size_t size);

#endif
