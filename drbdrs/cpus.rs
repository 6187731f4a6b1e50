// SPDX-License-Identifier: GPL-2.0-only

//! `cpu-mask`: on which CPUs the threads of a resource run.
//!
//! A thread looks before it does its next piece of work whether the mask has changed, and moves itself. Without a mask
//! the scheduler decides; the stock driver keeps all threads of a resource on one CPU then.

use crate::{prelude::*, resource::Resource};
use drbd_core::config::text::Text;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel_ext::thread;

/// Counts the changes of the mask.
pub(crate) struct Cpus {
    changes: Atomic<u32>,
}

impl Cpus {
    /// For threads that have followed nothing yet.
    pub(crate) fn new(mask: &Text<32>) -> Self {
        Self {
            changes: Atomic::new(u32::from(!mask.is_empty())),
        }
    }
}

fn text(mask: &Text<32>) -> Result<&CStr> {
    CStr::from_bytes_with_nul(mask.with_nul()).map_err(|_| EINVAL)
}

/// Whether the kernel understands a mask. One that names CPUs which are not there means all.
pub(crate) fn check(mask: &Text<32>) -> Result {
    thread::check_cpus(text(mask)?)
}

impl Resource {
    /// The options have another mask.
    pub(crate) fn cpus_changed(&self) {
        let changes = self.cpus.changes.load(Relaxed).wrapping_add(1);
        self.cpus.changes.store(changes, Relaxed);
    }

    /// The current thread, one of the resource's, goes where the mask says; `seen` is what it followed last, at first 0.
    /// May sleep.
    pub(crate) fn follow_cpus(&self, seen: &mut u32) {
        let changes = self.cpus.changes.load(Relaxed);
        if core::mem::replace(seen, changes) == changes {
            return;
        }
        let mask = self.options().cpu_mask;
        if let Err(error) = text(&mask).and_then(thread::run_on) {
            pr_warn!(
                "{}: cpu-mask: the thread stays where it is: {:?}\n",
                self.name(),
                error
            );
        }
    }
}
