// SPDX-License-Identifier: GPL-2.0-only
#include <linux/sched/task.h>
#include "misc.h"

void kx_get_task_struct(struct task_struct *task)
{
	get_task_struct(task);
}

void kx_put_task_struct(struct task_struct *task)
{
	put_task_struct(task);
}
