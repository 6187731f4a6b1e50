/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KX_HELPERS_BLOCK_H
#define KX_HELPERS_BLOCK_H

#endif
