// SPDX-License-Identifier: GPL-2.0-only

//! Module parameters. They are declared in `helpers/params.c`.

use crate::bindings;
use kernel::{prelude::*, str::CString};

/// The program that runs handlers: `usermode_helper`, which an administrator may change at any time.
///
/// # Errors
///
/// `ENOENT` when it is empty; `ENOMEM`.
pub fn usermode_helper() -> Result<CString> {
    let mut buffer = [0u8; 80];
    // SAFETY: The buffer may be written for its length; the copy is terminated.
    let length =
        unsafe { bindings::kx_param_usermode_helper(buffer.as_mut_ptr().cast(), buffer.len()) };
    if length == 0 {
        return Err(ENOENT);
    }
    let text = CStr::from_bytes_until_nul(&buffer).map_err(|_| EINVAL)?;
    Ok(CString::try_from(text)?)
}
