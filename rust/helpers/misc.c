// SPDX-License-Identifier: GPL-2.0-only
#include <linux/rcupdate.h>
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

/* The first is for what cannot be preempted, the second for threads that were: until each has slept or left. */
void kx_wait_for_code(void)
{
	synchronize_rcu();
	synchronize_rcu_tasks();
}
