// SPDX-License-Identifier: GPL-2.0-only

//! [`Kind::End`](super::Kind::End): the end of a resync or verify.

use super::{Packer, Unpacker};
use crate::resync::{finished, AfterHelper, Finished, UuidUpdate};
use crate::types::State;

/// The question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The state there was.
    pub own: State,
    /// Bits that could not be synced.
    pub failed: u64,
    /// Bits that are set.
    pub out_of_sync: u64,
}

impl Ending {
    /// The question in words.
    pub fn pack(&self) -> [u64; 3] {
        [self.own.to_wire().into(), self.failed, self.out_of_sync]
    }

    pub(super) fn unpack(words: &[u64]) -> Option<Self> {
        let mut own = Unpacker(*words.first()?);
        Some(Self {
            own: State::from_wire(own.take(32)).ok()?,
            failed: *words.get(1)?,
            out_of_sync: *words.get(2)?,
        })
    }

    /// The decision.
    pub fn decide(&self) -> Option<Finished> {
        finished(&self.own, self.failed, self.out_of_sync)
    }
}

/// The answer to it in a word; zero: nothing ends.
pub fn ending(result: &Option<Finished>) -> u64 {
    let Some(end) = result else { return 0 };
    let uuids = match end.uuids {
        UuidUpdate::Keep => 0,
        UuidUpdate::ClearBitmap => 1,
        UuidUpdate::TakeFromSource => 2,
    };
    let helper = match end.helper {
        None => 0,
        Some(AfterHelper::AfterResyncTarget) => 1,
        Some(AfterHelper::OutOfSync) => 2,
    };
    Packer::new()
        .put(32, end.new.to_wire())
        .flag(true)
        .put(2, uuids)
        .put(2, helper)
        .word
}
