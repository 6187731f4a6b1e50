/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/hrtimer_types.h>
#include <linux/net.h>
#include <linux/tcp.h>
#include <net/sock.h>
#include "../helpers/socket.h"
