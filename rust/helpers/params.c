// SPDX-License-Identifier: GPL-2.0-only
/*
 * Module parameters, with the names and the access rights of drbd 8.4. The Rust macro `module!` knows neither strings
 * nor parameters that are visible in sysfs.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>
#include "params.h"

static unsigned int minor_count = 32;
module_param(minor_count, uint, 0444);
MODULE_PARM_DESC(minor_count, "Approximate number of devices (1-255); without effect, there is no limit");

static bool disable_sendpage;
module_param(disable_sendpage, bool, 0644);
MODULE_PARM_DESC(disable_sendpage, "Without effect");

static bool allow_oos;
module_param(allow_oos, bool, 0);
MODULE_PARM_DESC(allow_oos, "Without effect: a Secondary is never readable");

static int proc_details;
module_param(proc_details, int, 0644);
MODULE_PARM_DESC(proc_details, "Without effect: see debugfs");

static char usermode_helper[KX_USERMODE_HELPER_SIZE] = "/sbin/drbdadm";
module_param_string(usermode_helper, usermode_helper, sizeof(usermode_helper), 0644);
MODULE_PARM_DESC(usermode_helper, "The program that runs handlers");

size_t kx_param_usermode_helper(char *to, size_t size)
{
	ssize_t length;

	kernel_param_lock(THIS_MODULE);
	length = strscpy(to, usermode_helper, size);
	kernel_param_unlock(THIS_MODULE);
	return length < 0 ? 0 : length;
}
