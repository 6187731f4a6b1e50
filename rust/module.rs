// SPDX-License-Identifier: GPL-2.0-only

//! Keeping a module loaded.

use crate::bindings;
use core::marker::PhantomData;
use kernel::ModuleMetadata;

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
