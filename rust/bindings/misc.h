/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/hrtimer_types.h>
#include <linux/kthread.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/timer.h>
#include <linux/umh.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include "../helpers/misc.h"
