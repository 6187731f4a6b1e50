// SPDX-License-Identifier: GPL-2.0-only

//! What the flags in the metadata say when a disk is attached, and what they become with every state.

use super::predicates::*;
use crate::config::choices::Fencing;
use crate::meta::Flags;
use crate::types::{DiskState, Role, State};

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

/// Reads the flags of the superblock of a disk that is being attached.
///
/// `frozen`: this node is a primary whose I/O waits for data (`susp_nod`): it did not crash.
pub fn attach(flags: Flags, role: Role, frozen: bool, fencing: Fencing) -> Attached {
    let was_primary = flags.contains(Flags::PRIMARY_IND);
    let crashed_primary = flags.contains(Flags::CRASHED_PRIMARY)
        || (was_primary && !(role == Role::Primary && frozen));
    let pdsk = flags
        .contains(Flags::PEER_OUTDATED)
        .then_some(DiskState::Outdated);
    let disk = if !flags.contains(Flags::CONSISTENT) {
        DiskState::Inconsistent
    } else if !flags.contains(Flags::WAS_UP_TO_DATE) {
        DiskState::Outdated
    } else if pdsk.is_some() || fencing == Fencing::DontCare {
        DiskState::UpToDate
    } else {
        DiskState::Consistent
    };
    let alone = was_primary && !flags.contains(Flags::CONNECTED_IND);
    Attached {
        disk,
        pdsk,
        crashed_primary,
        use_degr_wfc_timeout: role != Role::Primary && alone,
        set_whole_bitmap: flags.contains(Flags::FULL_SYNC)
            || (crashed_primary && flags.contains(Flags::AL_DISABLED)),
    }
}

/// Must the superblock on disk say *Primary*? A demoted node stays one there until its bitmap is written, and until the
/// peer has confirmed its last writes or they are marked: nothing else tells what may differ from the peer, because the
/// activity log of a Primary only is looked at after a crash.
pub fn primary_on_disk(primary: bool, before: bool, bitmap_owed: bool, unconfirmed: bool) -> bool {
    primary || (before && (bitmap_owed || unconfirmed))
}

/// The flags that a state leaves in the superblock; those that are not its business stay as they were.
pub fn metadata_flags(old: Flags, s: &State, crashed_primary: bool) -> Flags {
    let primary = s.role == Role::Primary || (has_no_data(s.pdsk) && s.peer == Role::Primary);
    let peer_outdated = matches!(s.pdsk, DiskState::Inconsistent | DiskState::Outdated);
    let mut flags = old;
    flags.set(Flags::CONSISTENT, is_outdated_or_better(s.disk));
    flags.set(Flags::PRIMARY_IND, primary);
    flags.set(Flags::CONNECTED_IND, is_connected(s.conn));
    flags.set(Flags::WAS_UP_TO_DATE, is_better_than_outdated(s.disk));
    flags.set(Flags::PEER_OUTDATED, peer_outdated);
    flags.set(Flags::CRASHED_PRIMARY, crashed_primary);
    flags.remove(Flags::AL_CLEAN);
    flags
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
