// SPDX-License-Identifier: GPL-2.0-only

//! `resync-after`: devices that share spindles sync one after the other.

use crate::state::{is_resync_or_verify, is_resync_paused};
use crate::types::{DiskState, State};

/// What the chain of dependencies needs to know of a device with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its state.
    pub state: State,
    /// The minor that it syncs after, if it depends on one.
    pub after: Option<u32>,
}

/// Why a dependency is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainRefusal {
    /// No such minor can exist.
    BadMinor,
    /// The devices would wait for each other.
    Cycle,
}

const MAX_MINOR: i32 = (1 << 20) - 1;

/// A chain longer than there are minors is a circle.
const MAX_LENGTH: u32 = 1 << 20;

/// Follows the chain from `first` as long as devices have disks; `visit` says whether to go on.
fn follow(
    first: u32,
    lookup: impl Fn(u32) -> Option<Chain>,
    mut visit: impl FnMut(u32, Option<&Chain>) -> bool,
) {
    let mut minor = first;
    for _ in 0..MAX_LENGTH {
        let device = lookup(minor).filter(|d| d.state.disk != DiskState::Diskless);
        if !visit(minor, device.as_ref()) {
            return;
        }
        match device.and_then(|d| d.after) {
            Some(next) => minor = next,
            None => return,
        }
    }
}

/// May this device sync now, or is one that comes first busy or waiting? `lookup` answers for minors with a
/// local disk; a chain ends at a missing or diskless one.
pub fn may_sync_now(minor: u32, lookup: impl Fn(u32) -> Option<Chain>) -> bool {
    let mut may = true;
    follow(minor, lookup, |m, device| {
        if let Some(device) = device.filter(|_| m != minor) {
            may = !is_resync_or_verify(device.state.conn) && !is_resync_paused(&device.state);
        }
        may
    });
    may
}

/// May `minor` sync after `after` (-1: after none)?
pub fn check_resync_after(
    minor: u32,
    after: i32,
    lookup: impl Fn(u32) -> Option<Chain>,
) -> Result<(), ChainRefusal> {
    if after == -1 {
        return Ok(());
    }
    let first = match u32::try_from(after) {
        Ok(first) if after <= MAX_MINOR => first,
        _ => return Err(ChainRefusal::BadMinor),
    };
    let mut cycle = false;
    follow(first, lookup, |m, _| {
        cycle = m == minor;
        !cycle
    });
    if cycle {
        Err(ChainRefusal::Cycle)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ConnState;

    const IDLE: State = State {
        conn: ConnState::Connected,
        disk: DiskState::UpToDate,
        ..State::NEW
    };
    const SYNCS: State = State {
        conn: ConnState::SyncSource,
        ..IDLE
    };
    const GONE: State = State {
        disk: DiskState::Diskless,
        ..IDLE
    };

    /// Minors 0.. with state and dependency.
    fn devices(list: &[(State, Option<u32>)]) -> impl Fn(u32) -> Option<Chain> + '_ {
        |minor| {
            let (state, after) = list.get(usize::try_from(minor).ok()?)?;
            Some(Chain {
                state: *state,
                after: *after,
            })
        }
    }

    #[test]
    fn whoever_comes_first_goes_first() {
        let busy = [(SYNCS, None), (IDLE, Some(0)), (IDLE, Some(1))];
        assert!(may_sync_now(0, devices(&busy)));
        assert!(!may_sync_now(1, devices(&busy)));
        assert!(
            !may_sync_now(2, devices(&busy)),
            "the chain is followed to its end"
        );
        let idle = [(IDLE, None), (IDLE, Some(0))];
        assert!(may_sync_now(1, devices(&idle)));
    }

    #[test]
    fn a_device_that_waits_holds_back_those_after_it() {
        let paused = State {
            user_isp: true,
            ..IDLE
        };
        let list = [(paused, None), (IDLE, Some(0))];
        assert!(!may_sync_now(1, devices(&list)));
        assert!(
            may_sync_now(0, devices(&list)),
            "its own pause is another matter"
        );
    }

    #[test]
    fn a_chain_ends_at_a_device_without_a_disk() {
        let list = [(SYNCS, None), (GONE, Some(0)), (IDLE, Some(1))];
        assert!(may_sync_now(2, devices(&list)));
        assert!(may_sync_now(1, devices(&list)));
        assert!(may_sync_now(9, devices(&list)));
    }

    #[test]
    fn circles_are_refused() {
        let list = [(IDLE, Some(1)), (IDLE, Some(2)), (IDLE, None)];
        let check = |minor, after| check_resync_after(minor, after, devices(&list));
        assert_eq!(check(2, 0), Err(ChainRefusal::Cycle));
        assert_eq!(check(2, 2), Err(ChainRefusal::Cycle));
        assert_eq!(check(0, 2), Ok(()));
        assert_eq!(check(2, 77), Ok(()), "a minor that does not exist yet");
        assert_eq!(check(2, -1), Ok(()));
        assert_eq!(check(2, -2), Err(ChainRefusal::BadMinor));
        assert_eq!(check(2, 1 << 20), Err(ChainRefusal::BadMinor));
    }

    #[test]
    fn a_circle_that_slipped_in_does_not_hang() {
        let list = [(IDLE, Some(1)), (IDLE, Some(0))];
        assert!(may_sync_now(0, devices(&list)));
        assert_eq!(check_resync_after(9, 0, devices(&list)), Ok(()));
    }
}
