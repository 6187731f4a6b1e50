/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/wait.h>
#include "../helpers/sync.h"
