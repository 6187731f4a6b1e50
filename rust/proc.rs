// SPDX-License-Identifier: GPL-2.0-only

//! Files in /proc that are written anew for every reader.

use crate::bindings;
use core::ptr::NonNull;
use kernel::{prelude::*, seq_file::SeqFile};

/// Writes the whole content of a file. Process context; called again with more room when there was too little.
pub type Show = fn(&SeqFile);

/// A file at the top of /proc. Dropping it waits for its readers.
///
/// # Invariants
///
/// `entry` is registered and ours.
pub struct ProcFile {
    entry: NonNull<bindings::proc_dir_entry>,
}

// SAFETY: The entry is only removed, once; the kernel serialises that with readers.
unsafe impl Send for ProcFile {}
// SAFETY: As above.
unsafe impl Sync for ProcFile {}

impl ProcFile {
    /// Makes the file, readable by everybody.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also when the name is taken.
    pub fn new(name: &CStr, show: Show) -> Result<Self> {
        // SAFETY: The name is a C string; `run` expects a `Show` as data.
        let entry = unsafe {
            bindings::proc_create_single_data(
                name.as_char_ptr(),
                0o444,
                core::ptr::null_mut(),
                Some(run),
                show as *mut c_void,
            )
        };
        // INVARIANT: Just registered.
        Ok(Self {
            entry: NonNull::new(entry).ok_or(ENOMEM)?,
        })
    }
}

impl Drop for ProcFile {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::proc_remove(self.entry.as_ptr()) };
    }
}

/// # Safety
///
/// Called by seq_file with a file whose private data are a [`Show`].
unsafe extern "C" fn run(file: *mut bindings::seq_file, _position: *mut c_void) -> c_int {
    // SAFETY: `single_open` put there what `ProcFile::new` gave.
    let show = unsafe { core::mem::transmute::<*mut c_void, Show>((*file).private) };
    // SAFETY: Ours alone during this call.
    show(unsafe { SeqFile::from_raw(file) });
    0
}
