// SPDX-License-Identifier: GPL-2.0-only

//! Programs of user space that the kernel runs.

use crate::bindings;
use kernel::prelude::*;

/// Runs a program and waits for its end; returns its status as `wait(2)` encodes it. Sleeps, perhaps for long.
///
/// `arguments` begin with the program's name for itself; `environment` has `NAME=value` entries.
///
/// # Errors
///
/// `ENOENT` and the like when the program cannot be run, `ENOMEM`.
pub fn call_and_wait(program: &CStr, arguments: &[&CStr], environment: &[&CStr]) -> Result<i32> {
    let mut argv = pointers(arguments)?;
    let mut envp = pointers(environment)?;
    // SAFETY: Both arrays end with a null pointer, and they and their strings are there until the program ended.
    let status = unsafe {
        bindings::call_usermodehelper(
            program.as_char_ptr(),
            argv.as_mut_ptr(),
            envp.as_mut_ptr(),
            bindings::UMH_WAIT_PROC as i32,
        )
    };
    if status < 0 {
        Err(Error::from_errno(status))
    } else {
        Ok(status)
    }
}

/// The strings' addresses and a null pointer. The kernel only reads the strings.
fn pointers(strings: &[&CStr]) -> Result<KVec<*mut c_char>> {
    let mut pointers = KVec::with_capacity(strings.len().saturating_add(1), GFP_KERNEL)?;
    for string in strings {
        pointers.push(string.as_char_ptr().cast_mut(), GFP_KERNEL)?;
    }
    pointers.push(core::ptr::null_mut(), GFP_KERNEL)?;
    Ok(pointers)
}
