// SPDX-License-Identifier: GPL-2.0-only

//! Running a program of user space.

use crate::bindings;
use kernel::prelude::*;

/// Runs `program` with these arguments (the first is its name) and environment, and waits for its end; returns its
/// wait status. Sleeps.
///
/// # Errors
///
/// Those of starting it: `ENOENT`, `EACCES`, `ENOMEM`, ...
pub fn call_and_wait(program: &CStr, arguments: &[&CStr], environment: &[&CStr]) -> Result<u32> {
    let pointers = |strings: &[&CStr]| -> Result<KVec<*mut c_char>> {
        let mut list = KVec::with_capacity(strings.len().saturating_add(1), GFP_KERNEL)?;
        for string in strings {
            list.push(string.as_char_ptr().cast_mut(), GFP_KERNEL)?;
        }
        list.push(core::ptr::null_mut(), GFP_KERNEL)?;
        Ok(list)
    };
    let mut arguments = pointers(arguments)?;
    let mut environment = pointers(environment)?;
    // SAFETY: Path and lists of C strings that end with a null pointer, all of which outlive the call, because it
    // waits for the process.
    let status = unsafe {
        bindings::call_usermodehelper(
            program.as_char_ptr(),
            arguments.as_mut_ptr(),
            environment.as_mut_ptr(),
            bindings::UMH_WAIT_PROC as c_int,
        )
    };
    u32::try_from(status).map_err(|_| Error::from_errno(status))
}
