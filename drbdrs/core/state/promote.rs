// SPDX-License-Identifier: GPL-2.0-only

//! Changing the role: what to try next when a promotion is refused.

use super::change::Change;
use crate::types::{DiskState, Role, State, StateRv};

/// How often a role change is tried before the last, verbose attempt.
pub const MAX_ATTEMPTS: u32 = 4;

/// A role change under way. Start with [`Promotion::new`], try `change`, and tell [`next_attempt`] what
/// came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// What to request next.
    pub change: Change,
    /// The administrator said `--force`.
    pub force: bool,
    /// The local data was declared up to date by force.
    pub forced: bool,
    /// Attempts made.
    pub attempts: u32,
}

/// What to do about an attempt's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It is done (or there was nothing to do): this is the result.
    Done(StateRv),
    /// Try again at once.
    Again,
    /// Have the peer fenced (`fence-peer`), tell [`Promotion::fenced`], then try again.
    FencePeer,
    /// The other side is primary; it may be dead: wait for a ping timeout, then try again.
    WaitForPeer,
    /// Try once more, with logging, and take what comes.
    LastTry,
}

impl Promotion {
    /// Begins a change to `role`.
    pub fn new(role: Role, force: bool) -> Self {
        Self {
            change: Change::role(role),
            force,
            forced: false,
            attempts: 0,
        }
    }

    /// The fence handler has run; `outdated`: the peer cannot have good data any more.
    pub fn fenced(&mut self, last: StateRv, outdated: bool) {
        if last == StateRv::NoUpToDateDisk && outdated {
            self.change.disk = Some(DiskState::UpToDate);
        }
        if last == StateRv::PrimaryNop && !outdated && self.force {
            self.change.pdsk = Some(DiskState::Outdated);
        }
    }
}

/// What to do after an attempt ended with `rv` while the volume was in `state`.
pub fn next_attempt(p: &mut Promotion, rv: StateRv, state: &State) -> Attempt {
    p.attempts = p.attempts.saturating_add(1);
    if rv.is_success() {
        return Attempt::Done(rv);
    }
    if p.attempts >= MAX_ATTEMPTS && is_retried(p, rv, state) {
        return Attempt::Done(rv);
    }
    match rv {
        // The peer was outdated by force, but turned up meanwhile.
        StateRv::CwFailedByPeer if p.change.pdsk.is_some() => {
            p.change.pdsk = None;
            Attempt::Again
        }
        StateRv::NoUpToDateDisk if p.force && may_be_forced(state.disk) => {
            p.change.disk = Some(DiskState::UpToDate);
            p.forced = true;
            Attempt::Again
        }
        StateRv::NoUpToDateDisk
            if state.disk == DiskState::Consistent && p.change.pdsk.is_none() =>
        {
            Attempt::FencePeer
        }
        StateRv::PrimaryNop if p.change.pdsk.is_none() => Attempt::FencePeer,
        StateRv::TwoPrimaries => {
            p.attempts = p.attempts.max(MAX_ATTEMPTS - 1);
            Attempt::WaitForPeer
        }
        _ => Attempt::LastTry,
    }
}

fn may_be_forced(disk: DiskState) -> bool {
    matches!(
        disk,
        DiskState::Inconsistent | DiskState::Outdated | DiskState::Unknown | DiskState::Consistent
    )
}

fn is_retried(p: &Promotion, rv: StateRv, state: &State) -> bool {
    match rv {
        StateRv::CwFailedByPeer => p.change.pdsk.is_some(),
        StateRv::NoUpToDateDisk => {
            (p.force && may_be_forced(state.disk)) || state.disk == DiskState::Consistent
        }
        StateRv::PrimaryNop => p.change.pdsk.is_none(),
        StateRv::TwoPrimaries => true,
        _ => false,
    }
}

/// Does a successful promotion begin a new generation? `has_own`: nobody else has the current one.
pub fn starts_generation(p: &Promotion, state: &State, has_own: bool) -> bool {
    let alone = !super::predicates::is_connected(state.conn)
        || super::predicates::is_failed_or_less(state.pdsk);
    // Data that are no version of the whole begin none: the source could not tell them from foreign ones.
    let whole = super::predicates::is_outdated_or_better(state.disk);
    // The peer's data are good: a resync from it came between, and nothing is good by force. (8.4 begins a generation that
    // the peer does not hear of, and two equal disks end in a split brain.)
    let by_force = p.forced && state.pdsk != DiskState::UpToDate;
    (alone && whole && !has_own) || by_force
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::*;
    use super::*;
    use crate::types::ConnState;

    #[test]
    fn a_success_is_the_result() {
        let mut p = Promotion::new(Role::Primary, false);
        let a = next_attempt(&mut p, StateRv::CwSuccess, &CONNECTED);
        assert_eq!(a, Attempt::Done(StateRv::CwSuccess));
    }

    #[test]
    fn force_declares_inconsistent_data_good_and_starts_a_generation() {
        let mut p = Promotion::new(Role::Primary, true);
        let s = State {
            disk: DiskState::Inconsistent,
            pdsk: DiskState::Inconsistent,
            ..CONNECTED
        };
        assert_eq!(
            next_attempt(&mut p, StateRv::NoUpToDateDisk, &s),
            Attempt::Again
        );
        assert_eq!(p.change.disk, Some(DiskState::UpToDate));
        assert!(starts_generation(&p, &s, true));
        let mut p = Promotion::new(Role::Primary, false);
        assert_eq!(
            next_attempt(&mut p, StateRv::NoUpToDateDisk, &s),
            Attempt::LastTry
        );
    }

    #[test]
    fn force_that_a_resync_made_needless_starts_no_generation() {
        let mut p = Promotion::new(Role::Primary, true);
        let s = State {
            conn: ConnState::WfReportParams,
            disk: DiskState::Outdated,
            pdsk: DiskState::Unknown,
            ..CONNECTED
        };
        next_attempt(&mut p, StateRv::NoUpToDateDisk, &s);
        assert!(p.forced);
        let target = State {
            conn: ConnState::SyncTarget,
            disk: DiskState::Inconsistent,
            ..CONNECTED
        };
        for state in [target, CONNECTED] {
            assert!(!starts_generation(&p, &state, false));
        }
    }

    #[test]
    fn force_does_not_conjure_a_disk() {
        let mut p = Promotion::new(Role::Primary, true);
        let s = State {
            disk: DiskState::Diskless,
            ..CONNECTED
        };
        assert_eq!(
            next_attempt(&mut p, StateRv::NoUpToDateDisk, &s),
            Attempt::LastTry
        );
        assert_eq!(p.change.disk, None);
    }

    #[test]
    fn consistent_data_becomes_good_when_the_peer_is_fenced() {
        let mut p = Promotion::new(Role::Primary, false);
        let s = State {
            disk: DiskState::Consistent,
            ..ALONE
        };
        assert_eq!(
            next_attempt(&mut p, StateRv::NoUpToDateDisk, &s),
            Attempt::FencePeer
        );
        p.fenced(StateRv::NoUpToDateDisk, false);
        assert_eq!(p.change.disk, None);
        p.fenced(StateRv::NoUpToDateDisk, true);
        assert_eq!(p.change.disk, Some(DiskState::UpToDate));
    }

    #[test]
    fn an_unfenced_peer_is_overridden_only_by_force() {
        for (force, pdsk) in [(false, None), (true, Some(DiskState::Outdated))] {
            let mut p = Promotion::new(Role::Primary, force);
            assert_eq!(
                next_attempt(&mut p, StateRv::PrimaryNop, &ALONE),
                Attempt::FencePeer
            );
            p.fenced(StateRv::PrimaryNop, false);
            assert_eq!(p.change.pdsk, pdsk);
        }
    }

    #[test]
    fn a_peer_outdated_by_force_that_turns_up_is_asked() {
        let mut p = Promotion::new(Role::Primary, true);
        p.change.pdsk = Some(DiskState::Outdated);
        assert_eq!(
            next_attempt(&mut p, StateRv::CwFailedByPeer, &CONNECTED),
            Attempt::Again
        );
        assert_eq!(p.change.pdsk, None);
    }

    #[test]
    fn another_primary_is_waited_for_once() {
        let mut p = Promotion::new(Role::Primary, false);
        let s = &CONNECTED;
        assert_eq!(
            next_attempt(&mut p, StateRv::TwoPrimaries, s),
            Attempt::WaitForPeer
        );
        let a = next_attempt(&mut p, StateRv::TwoPrimaries, s);
        assert_eq!(a, Attempt::Done(StateRv::TwoPrimaries));
    }

    #[test]
    fn every_sequence_of_refusals_ends() {
        for rv in [
            StateRv::NoUpToDateDisk,
            StateRv::PrimaryNop,
            StateRv::CwFailedByPeer,
        ] {
            let mut p = Promotion::new(Role::Primary, true);
            p.change.pdsk = Some(DiskState::Outdated);
            let s = State {
                disk: DiskState::Inconsistent,
                ..ALONE
            };
            let ended = (0..10).any(|_| {
                matches!(
                    next_attempt(&mut p, rv, &s),
                    Attempt::Done(_) | Attempt::LastTry
                )
            });
            assert!(ended, "{rv:?}");
        }
    }

    #[test]
    fn a_lone_primary_starts_a_generation_once() {
        let p = Promotion::new(Role::Primary, false);
        assert!(starts_generation(&p, &ALONE, false));
        assert!(!starts_generation(&p, &ALONE, true));
        assert!(!starts_generation(&p, &CONNECTED, false));
        let target = State {
            disk: DiskState::Inconsistent,
            ..ALONE
        };
        assert!(!starts_generation(&p, &target, false));
        let diskless_peer = State {
            pdsk: DiskState::Diskless,
            ..CONNECTED
        };
        assert!(starts_generation(&p, &diskless_peer, false));
    }
}
