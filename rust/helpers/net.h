/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KX_HELPERS_NET_H
#define KX_HELPERS_NET_H

#endif
