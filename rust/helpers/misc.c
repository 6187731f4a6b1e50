// SPDX-License-Identifier: GPL-2.0-only
#include <linux/cpumask.h>
#include <linux/gfp.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
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

/* An empty mask means all CPUs, and so does one with CPUs that do not exist. */
int kx_run_on(const char *text, bool now)
{
	cpumask_var_t mask;
	int err = 0;

	if (!alloc_cpumask_var(&mask, GFP_KERNEL))
		return -ENOMEM;
	if (*text)
		err = cpumask_parse(text, mask);
	if (!*text || err == -EOVERFLOW || (!err && cpumask_empty(mask))) {
		cpumask_copy(mask, cpu_possible_mask);
		err = 0;
	}
	if (!err && now)
		err = set_cpus_allowed_ptr(current, mask);
	free_cpumask_var(mask);
	return err;
}

/* The first is for what cannot be preempted, the second for threads that were: until each has slept or left. */
void kx_wait_for_code(void)
{
	synchronize_rcu();
	synchronize_rcu_tasks();
}
