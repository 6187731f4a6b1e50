// SPDX-License-Identifier: GPL-2.0-only

//! What several disks were asked to do, in one order, for a checker that asks what would be left after a power cut at
//! any moment.

use std::sync::{Mutex, MutexGuard};

/// One request that a disk carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Written at a byte offset.
    Write {
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
        /// It was stable before it was answered.
        stable: bool,
    },
    /// Everything before it became stable.
    Flush,
}

/// The requests, each with the number that its disk was given.
#[derive(Debug, Default)]
pub struct Recorder {
    steps: Mutex<Vec<(usize, Step)>>,
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Vec<(usize, Step)>> {
        self.steps.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A disk has carried out a request, and has not answered yet.
    pub(crate) fn add(&self, disk: usize, step: Step) {
        self.lock().push((disk, step));
    }

    /// What was recorded so far; the record begins anew.
    pub fn take(&self) -> Vec<(usize, Step)> {
        std::mem::take(&mut *self.lock())
    }
}
