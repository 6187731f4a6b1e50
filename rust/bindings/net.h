/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/hrtimer_types.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/net.h>
#include <linux/tcp.h>
#include <net/genetlink.h>
#include <net/sock.h>
#include "../helpers/net.h"
