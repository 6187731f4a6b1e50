// SPDX-License-Identifier: GPL-2.0-only

//! Parameters of the module, as user space last set them (rust/helpers/params.c declares them).

use crate::bindings;
use kernel::{prelude::*, str::CString};

/// Bytes of the longest program name, its final NUL included.
const HELPER_BYTES: usize = 80;

/// The program that is run when a handler is due.
///
/// # Errors
///
/// `ENOMEM`.
pub fn usermode_helper() -> Result<CString> {
    let mut copy = [0u8; HELPER_BYTES];
    // SAFETY: At most that many bytes are written, a NUL among them.
    unsafe { bindings::kx_param_usermode_helper(copy.as_mut_ptr().cast(), HELPER_BYTES) };
    let text = CStr::from_bytes_until_nul(&copy).map_err(|_| EINVAL)?;
    // A name may hold a newline at its end: `echo` wrote it.
    let text = text.to_bytes().trim_ascii_end();
    let text = core::str::from_utf8(text).map_err(|_| EINVAL)?;
    CString::try_from_fmt(fmt!("{}", text))
}

/// How much /proc shows.
pub fn proc_details() -> i32 {
    // SAFETY: Reads a number.
    unsafe { bindings::kx_param_proc_details() }
}

/// What shall fail on purpose: bits of kinds, how many of a hundred, bits of minors.
pub fn faults() -> [u32; 3] {
    // SAFETY: Reads numbers.
    unsafe {
        [
            bindings::kx_param_enable_faults(),
            bindings::kx_param_fault_rate(),
            bindings::kx_param_fault_devs(),
        ]
    }
}

/// Something failed on purpose.
pub fn count_fault() {
    // SAFETY: Counts.
    unsafe { bindings::kx_param_count_fault() }
}

/// Whether the data of a write that may change in flight are copied.
pub fn stable_buffers() -> bool {
    // SAFETY: Reads a flag.
    unsafe { bindings::kx_param_stable_buffers() }
}

/// Whether a Secondary may be opened, for debugging.
pub fn allow_oos() -> bool {
    // SAFETY: Reads a flag.
    unsafe { bindings::kx_param_allow_oos() }
}
