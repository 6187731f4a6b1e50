/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What bindgen reads: the kernel headers of each room and our own helpers.
 * What of it becomes Rust is chosen by the .list file beside each header.
 */
#include "block.h"
#include "crypto.h"
#include "misc.h"
#include "net.h"
#include "params.h"
#include "socket.h"
#include "sync.h"
