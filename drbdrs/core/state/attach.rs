// SPDX-License-Identifier: GPL-2.0-only

//! What the flags in the metadata say when a disk is attached, and what they become with every state.

use super::predicates::*;
use crate::config::choices::Fencing;
use crate::types::{DiskState, Role, State};

/// The flags of a metadata superblock that follow the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The data was consistent.
    pub consistent: bool,
    /// The node was primary (or its diskless peer was, over this disk).
    pub primary: bool,
    /// The nodes were connected.
    pub connected: bool,
    /// The data was up to date.
    pub was_up_to_date: bool,
    /// The peer's disk was known to be outdated or worse.
    pub peer_outdated: bool,
    /// The node crashed as primary, and that was not made up for yet.
    pub crashed_primary: bool,
    /// A full sync was asked for and not begun.
    pub full_sync: bool,
    /// The activity log was off.
    pub al_disabled: bool,
}

/// What attaching a disk leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The disk's state (while connected: what it wants to become; it negotiates first).
    pub disk: DiskState,
    /// The peer disk's state, if the metadata knows.
    pub pdsk: Option<DiskState>,
    /// The node crashed as primary.
    pub crashed_primary: bool,
    /// It crashed as primary without a peer: wait `degr-wfc-timeout` for it, not `wfc-timeout`.
    pub use_degr_wfc_timeout: bool,
    /// The bitmap cannot be trusted: all bits are set.
    pub set_whole_bitmap: bool,
}

/// Reads the recorded flags of a disk that is being attached.
///
/// `frozen`: this node is a primary whose I/O waits for data (`susp_nod`): it did not crash.
pub fn attach(flags: &Recorded, role: Role, frozen: bool, fencing: Fencing) -> Attached {
    let is_primary = role == Role::Primary;
    let crashed_primary = flags.crashed_primary || (flags.primary && !(is_primary && frozen));
    let pdsk = flags.peer_outdated.then_some(DiskState::Outdated);
    let disk = if !flags.consistent {
        DiskState::Inconsistent
    } else if !flags.was_up_to_date {
        DiskState::Outdated
    } else if pdsk.is_some() || fencing == Fencing::DontCare {
        DiskState::UpToDate
    } else {
        DiskState::Consistent
    };
    Attached {
        disk,
        pdsk,
        crashed_primary,
        use_degr_wfc_timeout: !is_primary && flags.primary && !flags.connected,
        set_whole_bitmap: flags.full_sync || (crashed_primary && flags.al_disabled),
    }
}

/// Must the superblock on disk say *Primary*? A demoted node stays one there until its bitmap is written, and until the
/// peer has confirmed its last writes or they are marked: nothing else tells what may differ from the peer, because the
/// activity log of a Primary only is looked at after a crash.
pub fn primary_on_disk(primary: bool, before: bool, bitmap_owed: bool, unconfirmed: bool) -> bool {
    primary || (before && (bitmap_owed || unconfirmed))
}

/// The flags that a state leaves in the metadata; `full_sync` and `al_disabled` are not its business.
pub fn metadata_flags(old: Recorded, s: &State, crashed_primary: bool) -> Recorded {
    Recorded {
        consistent: is_outdated_or_better(s.disk),
        primary: s.role == Role::Primary || (has_no_data(s.pdsk) && s.peer == Role::Primary),
        connected: is_connected(s.conn),
        was_up_to_date: is_better_than_outdated(s.disk),
        peer_outdated: matches!(s.pdsk, DiskState::Inconsistent | DiskState::Outdated),
        crashed_primary,
        full_sync: old.full_sync,
        al_disabled: old.al_disabled,
    }
}

#[cfg(test)]
mod tests {
    use super::primary_on_disk;

    #[test]
    fn a_demoted_node_is_primary_on_disk_while_only_its_activity_log_tells_of_its_writes() {
        assert!(primary_on_disk(true, false, false, false));
        assert!(primary_on_disk(false, true, true, false));
        assert!(primary_on_disk(false, true, false, true));
        assert!(!primary_on_disk(false, true, false, false));
        assert!(!primary_on_disk(false, false, true, true));
    }
}
