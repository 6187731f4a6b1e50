// SPDX-License-Identifier: GPL-2.0-only

//! A file in /proc that is written anew for every reader.

use crate::bindings;
use core::ptr::NonNull;
use kernel::{prelude::*, seq_file::SeqFile};

/// What writes the file.
pub trait Show: 'static {
    /// Writes the whole file. May sleep.
    fn show(file: &SeqFile);
}

/// A file that exists until this is dropped, which waits for its readers.
///
/// # Invariants
///
/// `entry` was made by us and not removed.
pub struct ProcFile {
    entry: NonNull<bindings::proc_dir_entry>,
}

// SAFETY: An entry belongs to no thread.
unsafe impl Send for ProcFile {}
// SAFETY: Shared references do nothing.
unsafe impl Sync for ProcFile {}

impl ProcFile {
    /// Makes `/proc/NAME`, readable by all. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also when the name is taken.
    pub fn new<S: Show>(name: &'static CStr) -> Result<Self> {
        // SAFETY: The name is a C string, `show` has the type that is asked for.
        let entry = unsafe {
            bindings::proc_create_single_data(
                name.as_char_ptr(),
                0o444,
                core::ptr::null_mut(),
                Some(show::<S>),
                core::ptr::null_mut(),
            )
        };
        // INVARIANT: Just made.
        Ok(Self { entry: NonNull::new(entry).ok_or(ENOMEM)? })
    }
}

/// # Safety
///
/// Called by the kernel with a seq file that nobody else uses.
unsafe extern "C" fn show<S: Show>(file: *mut bindings::seq_file, _: *mut c_void) -> c_int {
    // SAFETY: Valid for the call, by its contract.
    S::show(unsafe { SeqFile::from_raw(file) });
    0
}

impl Drop for ProcFile {
    fn drop(&mut self) {
        // SAFETY: Ours by the type invariant.
        unsafe { bindings::proc_remove(self.entry.as_ptr()) };
    }
}
