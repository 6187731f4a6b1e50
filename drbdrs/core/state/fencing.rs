// SPDX-License-Identifier: GPL-2.0-only

//! Fencing: what the answer of the `fence-peer` handler means, and who may ask it.
//!
//! A node that lost its peer does not know whether the peer goes on. Only one with good data of its own may have the
//! peer fenced; what the handler found out becomes the state of the peer's disk (or, if the peer is active, of ours).

use super::Change;
use crate::config::choices::Fencing;
use crate::types::DiskState;

/// The strictest policy of the volumes whose data are good enough to fence for; none if there is no such volume.
/// Takes the state of the local disk and the policy of each volume.
pub fn highest_policy(volumes: impl Iterator<Item = (DiskState, Fencing)>) -> Option<Fencing> {
    volumes
        .filter(|(disk, _)| matches!(disk, DiskState::Consistent | DiskState::UpToDate))
        .map(|(_, policy)| policy)
        .max_by_key(|policy| *policy as u32)
}

/// What the handler's exit code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceAnswer {
    /// 3: the peer's data are useless.
    PeerInconsistent,
    /// 4: the peer is outdated and knows it.
    PeerOutdated,
    /// 5: the peer is down, and we have all data: it will come back with less.
    PeerDown,
    /// 5: the peer is down, but may have newer data than we.
    PeerDownMayBeNewer,
    /// 6: the peer is active: we are the one to stand back.
    PeerIsActive,
    /// 7: the peer was shot.
    PeerShot,
    /// Any other: nothing is known.
    Broken,
}

impl FenceAnswer {
    /// Reads an exit code. `highest_disk`: the best local disk of all volumes.
    pub fn of(code: u8, highest_disk: DiskState) -> Self {
        match code {
            3 => FenceAnswer::PeerInconsistent,
            4 => FenceAnswer::PeerOutdated,
            5 if highest_disk == DiskState::UpToDate => FenceAnswer::PeerDown,
            5 => FenceAnswer::PeerDownMayBeNewer,
            6 => FenceAnswer::PeerIsActive,
            7 => FenceAnswer::PeerShot,
            _ => FenceAnswer::Broken,
        }
    }

    /// What becomes of the disks; nothing is known of the peer when nothing changes.
    pub fn change(self) -> Option<Change> {
        let peer = |disk| Change {
            pdsk: Some(disk),
            ..Change::NONE
        };
        match self {
            FenceAnswer::PeerInconsistent => Some(peer(DiskState::Inconsistent)),
            FenceAnswer::PeerOutdated | FenceAnswer::PeerDown | FenceAnswer::PeerShot => {
                Some(peer(DiskState::Outdated))
            }
            FenceAnswer::PeerIsActive => Some(Change::disk(DiskState::Outdated)),
            FenceAnswer::PeerDownMayBeNewer | FenceAnswer::Broken => None,
        }
    }

    /// For the log.
    pub fn text(self) -> &'static str {
        match self {
            FenceAnswer::PeerInconsistent => "peer is inconsistent or worse",
            FenceAnswer::PeerOutdated => "peer was fenced",
            FenceAnswer::PeerDown => "peer is unreachable, assumed to be dead",
            FenceAnswer::PeerDownMayBeNewer => {
                "peer unreachable, doing nothing since disk != UpToDate"
            }
            FenceAnswer::PeerIsActive => "peer is active",
            FenceAnswer::PeerShot => "peer was stonithed",
            FenceAnswer::Broken => "broken",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_good_data_fence_and_the_strictest_policy_counts() {
        use DiskState::{Consistent, Inconsistent, Outdated, UpToDate};
        use Fencing::{DontCare, ResourceAndStonith, ResourceOnly};
        let of = |list: &[(DiskState, Fencing)]| highest_policy(list.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(Outdated, ResourceOnly)]), None);
        assert_eq!(of(&[(Inconsistent, ResourceAndStonith)]), None);
        assert_eq!(of(&[(UpToDate, DontCare)]), Some(DontCare));
        assert_eq!(
            of(&[(UpToDate, ResourceOnly), (Consistent, ResourceAndStonith)]),
            Some(ResourceAndStonith)
        );
    }

    #[test]
    fn every_exit_code_has_its_meaning() {
        use DiskState::{Consistent, Inconsistent, Outdated, UpToDate};
        let change = |code, disk| FenceAnswer::of(code, disk).change();
        let pdsk = |code, disk| change(code, disk).and_then(|c| c.pdsk);
        assert_eq!(pdsk(3, UpToDate), Some(Inconsistent));
        assert_eq!(pdsk(4, Consistent), Some(Outdated));
        assert_eq!(pdsk(5, UpToDate), Some(Outdated));
        assert_eq!(
            change(5, Consistent),
            None,
            "the dead peer may have newer data"
        );
        assert_eq!(change(6, UpToDate), Some(Change::disk(Outdated)));
        assert_eq!(pdsk(7, UpToDate), Some(Outdated));
        for code in [0, 1, 2, 8, 20, 127, 255] {
            assert_eq!(FenceAnswer::of(code, UpToDate), FenceAnswer::Broken);
            assert_eq!(change(code, UpToDate), None);
        }
    }
}
