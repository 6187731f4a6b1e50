/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/hrtimer_types.h>
#include <crypto/hash.h>
#include "../helpers/crypto.h"
