// SPDX-License-Identifier: GPL-2.0-only

//! The verdict on a wished state: what becomes of it, or why not.

use super::sanitize::{sanitize, Warning};
use super::valid::{new_objection, soft_transition, transition, Conf};
use crate::types::{DiskState, State, StateRv};

/// How a change is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// It is a fact: only `transition` may object (8.4: CS_HARD).
    pub hard: bool,
    /// A disk too bad to be outdated stays as it is instead of an objection (8.4: CS_IGN_OUTD_FAIL).
    pub ignore_outdate_failure: bool,
}

impl How {
    /// A fact.
    pub const HARD: Self = Self {
        hard: true,
        ignore_outdate_failure: false,
    };
    /// A wish.
    pub const SOFT: Self = Self {
        hard: false,
        ignore_outdate_failure: false,
    };
}

/// A change that may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The state to write.
    pub new: State,
    /// What a correction did, for the log.
    pub warning: Option<Warning>,
}

/// Judges a wished state of one volume. `Err(NothingToDo)` is no failure: the state already is so.
pub fn judge(old: State, wished: State, how: How, conf: &Conf) -> Result<Accepted, StateRv> {
    let (new, warning) = sanitize(old, wished, conf);
    judge_sanitized(old, new, warning, how, conf)
}

/// As [`judge`], for a change that is made to all volumes of a connection at once.
pub fn judge_in_connection(
    old: State,
    wished: State,
    how: How,
    conf: &Conf,
) -> Result<Accepted, StateRv> {
    let (mut new, warning) = sanitize(old, wished, conf);
    // A disk that negotiates takes the state that it attached for. (8.4 lets it negotiate on, with nobody.)
    let too_bad =
        super::predicates::is_inconsistent_or_less(old.disk) && old.disk != DiskState::Negotiating;
    if how.ignore_outdate_failure && new.disk == DiskState::Outdated && too_bad {
        new.disk = old.disk;
    }
    judge_sanitized(old, new, warning, how, conf)
}

fn judge_sanitized(
    old: State,
    new: State,
    warning: Option<Warning>,
    how: How,
    conf: &Conf,
) -> Result<Accepted, StateRv> {
    if new == old {
        return Err(StateRv::NothingToDo);
    }
    let objection = transition(&old, &new);
    if !objection.is_success() {
        return Err(objection);
    }
    if !how.hard {
        let objection = soft_objection(&old, &new, conf);
        if !objection.is_success() {
            return Err(objection);
        }
    }
    Ok(Accepted { new, warning })
}

/// A state that is invalid may still be entered from one that is invalid for the same reasons.
fn soft_objection(old: &State, new: &State, conf: &Conf) -> StateRv {
    new_objection(old, new, conf).unwrap_or_else(|| soft_transition(old, new, conf))
}
