// SPDX-License-Identifier: GPL-2.0-only
/*
 * Parameters of the module that user space reads and writes in /sys/module/.../parameters; the kernel's
 * Rust macros know integers that are fixed at load time only.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include "params.h"

#define HELPER_BYTES 80

static char usermode_helper[HELPER_BYTES] = "/sbin/drbdadm";
module_param_string(usermode_helper, usermode_helper, HELPER_BYTES, 0644);
MODULE_PARM_DESC(usermode_helper, "program that is run when a handler is due");

static unsigned int minor_count = 32;
module_param(minor_count, uint, 0444);
MODULE_PARM_DESC(minor_count, "accepted for compatibility; devices are not limited by it");

static int proc_details;
module_param(proc_details, int, 0644);
MODULE_PARM_DESC(proc_details, "how much /proc shows");

static bool disable_sendpage;
module_param(disable_sendpage, bool, 0644);
MODULE_PARM_DESC(disable_sendpage, "accepted for compatibility");

static bool allow_oos;
module_param(allow_oos, bool, 0);
MODULE_PARM_DESC(allow_oos, "let a Secondary be opened; for debugging only");

static bool stable_buffers = true;
module_param(stable_buffers, bool, 0644);
MODULE_PARM_DESC(stable_buffers, "copy data that may change while they are written, so that mirrors stay equal");

static int enable_faults;
module_param(enable_faults, int, 0664);
MODULE_PARM_DESC(enable_faults, "kinds of I/O that fail on purpose, as bits; for tests only");

static int fault_rate;
module_param(fault_rate, int, 0664);
MODULE_PARM_DESC(fault_rate, "how many of a hundred of them fail");

static int fault_devs;
module_param(fault_devs, int, 0644);
MODULE_PARM_DESC(fault_devs, "on which minors, as bits; 0: on all");

static int fault_count;
module_param(fault_count, int, 0664);
MODULE_PARM_DESC(fault_count, "how many have failed on purpose");

MODULE_VERSION(KX_VERSION);

void kx_param_usermode_helper(char *copy, size_t size)
{
	kernel_param_lock(THIS_MODULE);
	strscpy(copy, usermode_helper, size);
	kernel_param_unlock(THIS_MODULE);
}

int kx_param_proc_details(void)
{
	return READ_ONCE(proc_details);
}

unsigned int kx_param_enable_faults(void)
{
	return READ_ONCE(enable_faults);
}

unsigned int kx_param_fault_rate(void)
{
	return clamp(READ_ONCE(fault_rate), 0, 100);
}

unsigned int kx_param_fault_devs(void)
{
	return READ_ONCE(fault_devs);
}

void kx_param_count_fault(void)
{
	WRITE_ONCE(fault_count, READ_ONCE(fault_count) + 1);
}

bool kx_param_stable_buffers(void)
{
	return READ_ONCE(stable_buffers);
}

bool kx_param_allow_oos(void)
{
	return READ_ONCE(allow_oos);
}
