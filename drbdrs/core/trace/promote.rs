// SPDX-License-Identifier: GPL-2.0-only

//! [`Kind::Promote`](super::Kind::Promote): what follows an attempt to change the role.

use super::{Packer, Unpacker};
use crate::state::{next_attempt, Attempt, Change, Promotion};
use crate::types::{DiskState, Role, State, StateRv};

/// The question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// What was tried, and how often before.
    pub promotion: Promotion,
    /// How it ended.
    pub result: StateRv,
    /// The state after it.
    pub state: State,
}

impl Tried {
    /// The question in words.
    pub fn pack(&self) -> [u64; 2] {
        let states = Packer::new()
            .put(32, self.state.to_wire())
            .put(32, self.result.to_wire() as u32);
        [states.word, pack_promotion(&self.promotion).word]
    }

    pub(super) fn unpack(words: &[u64]) -> Option<Self> {
        let mut states = Unpacker(*words.first()?);
        let (state, result) = (states.take(32), states.take(32));
        Some(Self {
            promotion: unpack_promotion(*words.get(1)?)?,
            result: StateRv::from_wire(result as i32)?,
            state: State::from_wire(state).ok()?,
        })
    }

    /// The decision, and what it has made of the promotion.
    pub fn decide(mut self) -> (Attempt, Promotion) {
        let attempt = next_attempt(&mut self.promotion, self.result, &self.state);
        (attempt, self.promotion)
    }
}

fn pack_promotion(p: &Promotion) -> Packer {
    let disk = |packer: Packer, disk: Option<DiskState>| {
        packer
            .flag(disk.is_some())
            .put(4, disk.unwrap_or(DiskState::Diskless).to_wire())
    };
    let role = p.change.role;
    let packer = Packer::new()
        .flag(role.is_some())
        .put(2, role.unwrap_or(Role::Unknown).to_wire());
    disk(disk(packer, p.change.disk), p.change.pdsk)
        .flag(p.force)
        .flag(p.forced)
        .put(8, p.attempts)
}

fn unpack_promotion(word: u64) -> Option<Promotion> {
    let mut word = Unpacker(word);
    let (has_role, role) = (word.flag(), Role::from_wire(word.take(2))?);
    let (has_disk, disk) = (word.flag(), DiskState::from_wire(word.take(4))?);
    let (has_pdsk, pdsk) = (word.flag(), DiskState::from_wire(word.take(4))?);
    let change = Change {
        role: has_role.then_some(role),
        disk: has_disk.then_some(disk),
        pdsk: has_pdsk.then_some(pdsk),
        ..Change::NONE
    };
    Some(Promotion {
        change,
        force: word.flag(),
        forced: word.flag(),
        attempts: word.take(8),
    })
}

/// The answer to it in a word.
pub fn attempt(attempt: &Attempt, after: &Promotion) -> u64 {
    let (next, result) = match attempt {
        Attempt::Done(result) => (1, result.to_wire() as u32),
        Attempt::Again => (2, 0),
        Attempt::FencePeer => (3, 0),
        Attempt::WaitForPeer => (4, 0),
        Attempt::LastTry => (5, 0),
    };
    let answer = pack_promotion(after).put(3, next);
    answer.put(32, result).word
}
