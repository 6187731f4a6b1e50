// SPDX-License-Identifier: GPL-2.0-only

//! Keeping a module loaded.

use crate::bindings;
use core::marker::PhantomData;
use kernel::{prelude::*, ModuleMetadata};

/// While it lives, module `M` cannot be removed: `rmmod` says that it is in use.
///
/// # Invariants
///
/// We hold a reference to the module.
pub struct ModuleRef<M: ModuleMetadata>(PhantomData<fn(M)>);

impl<M: ModuleMetadata> ModuleRef<M> {
    /// Takes a reference; none if the module is already on its way out.
    pub fn get() -> Option<Self> {
        // SAFETY: The module whose code runs here is there.
        let got = unsafe { bindings::try_module_get(M::THIS_MODULE.as_ptr()) };
        // INVARIANT: Just taken.
        got.then_some(Self(PhantomData))
    }
}

impl<M: ModuleMetadata> Drop for ModuleRef<M> {
    fn drop(&mut self) {
        // SAFETY: Ours by the type invariant.
        unsafe { bindings::module_put(M::THIS_MODULE.as_ptr()) };
    }
}

/// Waits until nobody is in the middle of what the module's code does: interrupts, and threads that were preempted.
/// Threads that sleep are not waited for. Sleeps.
pub fn wait_for_code() {
    // SAFETY: Called by one that may sleep; that nobody waits for us meanwhile is plain: we are about to go.
    unsafe { bindings::kx_wait_for_code() };
}

/// What `modpost` made of the sources of module `M`: `srcversion` in `modinfo`. Empty if it has none.
pub fn source_version<M: ModuleMetadata>() -> &'static str {
    // SAFETY: The module whose code runs here is there, and its strings are there as long as it is.
    let text = unsafe {
        let text = (*M::THIS_MODULE.as_ptr()).srcversion;
        if text.is_null() {
            return "";
        }
        CStr::from_char_ptr(text)
    };
    text.to_str().unwrap_or("")
}
