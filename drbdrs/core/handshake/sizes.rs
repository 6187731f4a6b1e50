// SPDX-License-Identifier: GPL-2.0-only

//! P_SIZES: how big the device is, and what is done when the two sides see it differently.
//!
//! All sizes in sectors of 512 bytes; zero means "not known" or "not set".

use crate::state::{both_up_to_date, has_no_data, is_connected, is_outdated_or_better};
use crate::types::{ConnState, DiskState, Role, State};

/// What the size of the device follows from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeFacts {
    /// What this side's disk can hold beside the metadata.
    pub mine: u64,
    /// What the peer's disk can hold.
    pub peer: u64,
    /// The size agreed on last time.
    pub last_agreed: u64,
    /// The size that the administrator asked for.
    pub requested: u64,
    /// Forced: without a connection, believe that the peer has as much space as we do.
    pub assume_peer_has_space: bool,
}

/// The size that follows, and what was wrong with the wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevSize {
    /// The size; zero if nobody has a disk.
    pub sectors: u64,
    /// The size asked for is more than there is, and was ignored.
    pub requested_too_big: bool,
}

/// The size of the device (8.4: `drbd_new_dev_size`).
pub fn agreed_size(f: &SizeFacts, conn: ConnState) -> DevSize {
    let forced = f.assume_peer_has_space && !is_connected(conn);
    let peer = if forced { f.mine } else { f.peer };
    let sectors = match (f.mine, peer, f.last_agreed) {
        (0, 0, last) => last,
        (mine, 0, 0) => mine,
        (0, peer, 0) => peer,
        (mine, 0, last) => last.min(mine),
        (0, peer, last) => last.min(peer),
        (mine, peer, _) => mine.min(peer),
    };
    let requested_too_big = f.requested > sectors;
    let wished = f.requested != 0 && !requested_too_big;
    DevSize {
        sectors: if wished { f.requested } else { sectors },
        requested_too_big,
    }
}

/// Worth a warning: two sizes that should be alike differ by more than an eighth.
pub fn differ_considerably(a: u64, b: u64) -> bool {
    let d = a.abs_diff(b);
    a != 0 && b != 0 && (d > a >> 3 || d > b >> 3)
}

/// What P_SIZES says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerSizes {
    /// What its disk can hold; zero without a disk.
    pub disk: u64,
    /// What its administrator asked for.
    pub requested: u64,
    /// What it exports now.
    pub current: u64,
}

/// What this side knows of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalSizes {
    /// What it can hold beside the metadata.
    pub capacity: u64,
    /// The size agreed on last time.
    pub last_agreed: u64,
    /// What the administrator asked for.
    pub requested: u64,
}

/// What is done about the peer's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeRule {
    /// There is a disk: take this as the size asked for (store it if it changed), determine the size anew.
    Determine {
        /// The size asked for, from now on.
        requested: u64,
    },
    /// There is a disk with good data, which would not fit any more: disconnect.
    RefuseShrink {
        /// The size that would follow.
        new: u64,
    },
    /// Diskless, and the peer knows no size either.
    PeerKnowsNoSize,
    /// Diskless, and the peer has the size that we have.
    SameSize,
    /// Diskless, as is the peer, and the sizes differ: keep ours.
    IgnoreDisklessPeer {
        /// What the peer exports.
        peer: u64,
    },
    /// Diskless and primary: the device must not shrink while it is in use: disconnect.
    RefuseShrinkOfPrimary {
        /// The size that would follow.
        new: u64,
    },
    /// Diskless: take the peer's size.
    TakePeerSize {
        /// The new size.
        new: u64,
    },
}

impl SizeRule {
    /// Must the connection be given up?
    pub fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::RefuseShrink { .. } | Self::RefuseShrinkOfPrimary { .. }
        )
    }
}

/// Decides about the peer's sizes. `current`: what this side exports now.
pub fn on_peer_sizes(
    peer: &PeerSizes,
    disk: Option<&LocalSizes>,
    current: u64,
    state: &State,
) -> SizeRule {
    match disk {
        Some(local) => with_disk(peer, local, current, state),
        None => without_disk(peer, current, state),
    }
}

fn with_disk(peer: &PeerSizes, local: &LocalSizes, current: u64, state: &State) -> SizeRule {
    let requested = if state.conn == ConnState::WfReportParams {
        smaller_if_set(local.requested, peer.requested)
    } else {
        peer.requested
    };
    let facts = SizeFacts {
        mine: local.capacity,
        peer: peer.disk,
        last_agreed: local.last_agreed,
        requested,
        assume_peer_has_space: false,
    };
    let new = agreed_size(&facts, state.conn).sectors;
    let usable = is_outdated_or_better(state.disk);
    let introducing = !is_connected(state.conn) || state.pdsk == DiskState::Diskless;
    if new < current && usable && introducing {
        return SizeRule::RefuseShrink { new };
    }
    SizeRule::Determine { requested }
}

fn smaller_if_set(a: u64, b: u64) -> u64 {
    match (a, b) {
        (0, x) | (x, 0) => x,
        (a, b) => a.min(b),
    }
}

/// The peer may have a bigger disk than what was agreed: its current size counts, then its wish.
fn without_disk(peer: &PeerSizes, current: u64, state: &State) -> SizeRule {
    let sizes = [peer.current, peer.requested, peer.disk];
    let Some(new) = sizes.into_iter().find(|size| *size != 0) else {
        return SizeRule::PeerKnowsNoSize;
    };
    if new == current {
        SizeRule::SameSize
    } else if current != 0 && peer.disk == 0 {
        SizeRule::IgnoreDisklessPeer { peer: new }
    } else if new < current && state.role == Role::Primary {
        SizeRule::RefuseShrinkOfPrimary { new }
    } else {
        SizeRule::TakePeerSize { new }
    }
}

/// How the size of a device with a disk changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resized {
    /// It did not.
    Unchanged,
    /// It was unknown before.
    GrewFromZero,
    /// There is more.
    Grew,
    /// There is less.
    Shrunk,
}

/// Why a resize is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResizeRefusal {
    /// A new metadata layout would shrink the device, and no size was asked for.
    ImplicitShrink,
    /// The size asked for does not fit beside the metadata.
    NoSpaceForMetadata,
}

/// What a size means for a device that had `last_agreed` (8.4: `drbd_determine_dev_size`).
/// `new_layout`: the metadata layout is being changed by the administrator.
pub fn resized(
    size: u64,
    last_agreed: u64,
    requested: u64,
    new_layout: bool,
) -> Result<Resized, ResizeRefusal> {
    match size.cmp(&last_agreed) {
        core::cmp::Ordering::Equal => Ok(Resized::Unchanged),
        core::cmp::Ordering::Greater if last_agreed == 0 => Ok(Resized::GrewFromZero),
        core::cmp::Ordering::Greater => Ok(Resized::Grew),
        core::cmp::Ordering::Less if requested > size => Err(ResizeRefusal::NoSpaceForMetadata),
        core::cmp::Ordering::Less if new_layout && requested == 0 => {
            Err(ResizeRefusal::ImplicitShrink)
        }
        core::cmp::Ordering::Less => Ok(Resized::Shrunk),
    }
}

/// Facts for [`follow_up`], after the size was determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowUpFacts {
    /// The volume's state.
    pub state: State,
    /// What P_SIZES said the peer exports.
    pub peer_current: u64,
    /// What this side exports now.
    pub current: u64,
    /// This side's disk has another size than when it was looked at last.
    pub disk_size_changed: bool,
    /// How the device changed.
    pub resized: Resized,
    /// A resize that this side asked for was under way (8.4: RESIZE_PENDING).
    pub resize_pending: bool,
    /// The new part need not be synced (`--assume-clean`).
    pub assume_clean: bool,
}

/// What happens to a part that is new on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrownPart {
    /// There is none, or nothing to do about it now.
    Nothing,
    /// Start a resync.
    Sync,
    /// The administrator says it is equal.
    AssumeClean,
    /// A disk is missing: sync when it has been attached (8.4: RESYNC_AFTER_NEG).
    SyncLater,
}

/// What follows from the sizes once they are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowUp {
    /// The peer has another size in mind: send P_SIZES, with the flags that it sent.
    pub send_sizes: bool,
    /// What happens to a new part.
    pub grown_part: GrownPart,
}

/// Decides what follows. While the two still introduce each other, nothing does.
pub fn follow_up(f: &FollowUpFacts) -> FollowUp {
    let nothing = FollowUp {
        send_sizes: false,
        grown_part: GrownPart::Nothing,
    };
    if !is_connected(f.state.conn) {
        return nothing;
    }
    let send_sizes = f.peer_current != f.current || f.disk_size_changed;
    let grew = f.resized == Resized::Grew && f.state.conn == ConnState::Connected;
    if !f.resize_pending && !grew {
        return FollowUp {
            send_sizes,
            ..nothing
        };
    }
    let grown_part = if has_no_data(f.state.disk) || has_no_data(f.state.pdsk) {
        GrownPart::SyncLater
    } else if !both_up_to_date(&f.state) {
        // Who leads the resync of the new part may be the one whose copy is bad.
        GrownPart::Nothing
    } else if f.assume_clean {
        GrownPart::AssumeClean
    } else {
        GrownPart::Sync
    };
    FollowUp {
        send_sizes,
        grown_part,
    }
}

/// What follows from a resize that the administrator asked for on this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Send P_UUIDS, then P_SIZES that asks for the peer's: the new size is settled when it answers.
    pub tell_peer: bool,
    /// Remember that this side grew already: the peer's answer will show nothing new (8.4: RESIZE_PENDING).
    pub pending: bool,
}

/// Decides whom to tell after a `resize` command.
pub fn announcement(conn: ConnState, resized: Resized) -> Announcement {
    Announcement {
        // Also if something began meanwhile: it must not get writes to blocks that it does not know of.
        tell_peer: is_connected(conn),
        pending: conn == ConnState::Connected && resized == Resized::Grew,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTED: State = State {
        conn: ConnState::Connected,
        disk: DiskState::UpToDate,
        pdsk: DiskState::UpToDate,
        peer: Role::Secondary,
        ..State::NEW
    };
    const INTRODUCING: State = State {
        conn: ConnState::WfReportParams,
        ..CONNECTED
    };

    fn size(mine: u64, peer: u64, last_agreed: u64, requested: u64) -> DevSize {
        let facts = SizeFacts {
            mine,
            peer,
            last_agreed,
            requested,
            assume_peer_has_space: false,
        };
        agreed_size(&facts, ConnState::Connected)
    }

    #[test]
    fn the_smaller_disk_counts() {
        assert_eq!(size(100, 80, 60, 0).sectors, 80);
        assert_eq!(size(70, 80, 90, 0).sectors, 70);
    }

    #[test]
    fn alone_the_last_agreed_size_counts_as_far_as_there_is_space() {
        assert_eq!(size(100, 0, 60, 0).sectors, 60);
        assert_eq!(size(50, 0, 60, 0).sectors, 50);
        assert_eq!(size(0, 40, 60, 0).sectors, 40);
        assert_eq!(size(100, 0, 0, 0).sectors, 100);
        assert_eq!(size(0, 90, 0, 0).sectors, 90);
        assert_eq!(size(0, 0, 60, 0).sectors, 60);
        assert_eq!(size(0, 0, 0, 0).sectors, 0);
    }

    #[test]
    fn a_wish_that_fits_is_granted() {
        assert_eq!(
            size(100, 80, 60, 70),
            DevSize {
                sectors: 70,
                requested_too_big: false
            }
        );
        assert_eq!(
            size(100, 80, 60, 81),
            DevSize {
                sectors: 80,
                requested_too_big: true
            }
        );
    }

    #[test]
    fn without_a_connection_space_at_the_peer_can_be_assumed() {
        let facts = SizeFacts {
            mine: 100,
            peer: 80,
            last_agreed: 80,
            requested: 0,
            assume_peer_has_space: true,
        };
        assert_eq!(agreed_size(&facts, ConnState::WfConnection).sectors, 100);
        assert_eq!(agreed_size(&facts, ConnState::Connected).sectors, 80);
    }

    #[test]
    fn good_data_is_never_cut_off_while_connecting() {
        let peer = PeerSizes {
            disk: 80,
            requested: 0,
            current: 80,
        };
        let local = LocalSizes {
            capacity: 100,
            last_agreed: 100,
            requested: 0,
        };
        let at = |state: State| on_peer_sizes(&peer, Some(&local), 100, &state);
        let refused = SizeRule::RefuseShrink { new: 80 };
        assert_eq!(at(INTRODUCING), refused);
        assert!(refused.is_refusal());
        let worthless = State {
            disk: DiskState::Inconsistent,
            ..INTRODUCING
        };
        assert_eq!(at(worthless), SizeRule::Determine { requested: 0 });
        // Online, the administrator may shrink; an attach at the peer may not.
        assert_eq!(at(CONNECTED), SizeRule::Determine { requested: 0 });
        assert_eq!(
            at(State {
                pdsk: DiskState::Diskless,
                ..CONNECTED
            }),
            refused
        );
    }

    #[test]
    fn while_connecting_the_smaller_wish_counts_later_the_peers() {
        let peer = PeerSizes {
            disk: 100,
            requested: 70,
            current: 70,
        };
        let local = LocalSizes {
            capacity: 100,
            last_agreed: 60,
            requested: 60,
        };
        let at = |state: State| on_peer_sizes(&peer, Some(&local), 60, &state);
        assert_eq!(at(INTRODUCING), SizeRule::Determine { requested: 60 });
        assert_eq!(at(CONNECTED), SizeRule::Determine { requested: 70 });
    }

    #[test]
    fn a_diskless_node_takes_the_peers_size_with_care() {
        let diskless = State {
            disk: DiskState::Diskless,
            ..INTRODUCING
        };
        let primary = State {
            role: Role::Primary,
            ..diskless
        };
        let at = |disk, requested, current_there, current, state: &State| {
            let peer = PeerSizes {
                disk,
                requested,
                current: current_there,
            };
            on_peer_sizes(&peer, None, current, state)
        };
        assert_eq!(at(0, 0, 0, 90, &diskless), SizeRule::PeerKnowsNoSize);
        assert_eq!(at(100, 0, 90, 90, &diskless), SizeRule::SameSize);
        assert_eq!(
            at(0, 0, 80, 90, &diskless),
            SizeRule::IgnoreDisklessPeer { peer: 80 }
        );
        assert_eq!(
            at(100, 0, 80, 90, &diskless),
            SizeRule::TakePeerSize { new: 80 }
        );
        assert_eq!(
            at(100, 70, 0, 0, &diskless),
            SizeRule::TakePeerSize { new: 70 }
        );
        assert_eq!(
            at(100, 0, 0, 0, &diskless),
            SizeRule::TakePeerSize { new: 100 }
        );
        let refused = at(100, 0, 80, 90, &primary);
        assert_eq!(refused, SizeRule::RefuseShrinkOfPrimary { new: 80 });
        assert!(refused.is_refusal());
        assert_eq!(
            at(100, 0, 95, 90, &primary),
            SizeRule::TakePeerSize { new: 95 }
        );
    }

    #[test]
    fn what_a_new_size_means() {
        assert_eq!(resized(80, 80, 0, false), Ok(Resized::Unchanged));
        assert_eq!(resized(80, 0, 0, false), Ok(Resized::GrewFromZero));
        assert_eq!(resized(90, 80, 0, false), Ok(Resized::Grew));
        assert_eq!(resized(70, 80, 0, false), Ok(Resized::Shrunk));
        assert_eq!(resized(70, 80, 0, true), Err(ResizeRefusal::ImplicitShrink));
        assert_eq!(resized(70, 80, 70, true), Ok(Resized::Shrunk));
        assert_eq!(
            resized(70, 80, 75, false),
            Err(ResizeRefusal::NoSpaceForMetadata)
        );
    }

    #[test]
    fn a_part_that_is_new_on_both_sides_is_synced() {
        let f = FollowUpFacts {
            state: CONNECTED,
            peer_current: 90,
            current: 100,
            disk_size_changed: false,
            resized: Resized::Grew,
            resize_pending: false,
            assume_clean: false,
        };
        let part = |f: &FollowUpFacts| follow_up(f).grown_part;
        assert!(follow_up(&f).send_sizes);
        assert_eq!(part(&f), GrownPart::Sync);
        assert_eq!(
            part(&FollowUpFacts {
                assume_clean: true,
                ..f
            }),
            GrownPart::AssumeClean
        );
        let diskless = State {
            pdsk: DiskState::Diskless,
            ..CONNECTED
        };
        assert_eq!(
            part(&FollowUpFacts {
                state: diskless,
                ..f
            }),
            GrownPart::SyncLater
        );
        // The resync of that copy brings what is new, too, in its own direction.
        for (disk, pdsk) in [
            (DiskState::Inconsistent, DiskState::UpToDate),
            (DiskState::UpToDate, DiskState::Inconsistent),
        ] {
            let state = State {
                disk,
                pdsk,
                ..CONNECTED
            };
            assert_eq!(part(&FollowUpFacts { state, ..f }), GrownPart::Nothing);
        }
        let unchanged = FollowUpFacts {
            resized: Resized::Unchanged,
            peer_current: 100,
            ..f
        };
        let nothing = FollowUp {
            send_sizes: false,
            grown_part: GrownPart::Nothing,
        };
        assert_eq!(follow_up(&unchanged), nothing);
        assert_eq!(
            part(&FollowUpFacts {
                resize_pending: true,
                ..unchanged
            }),
            GrownPart::Sync
        );
        assert_eq!(
            follow_up(&FollowUpFacts {
                state: INTRODUCING,
                ..f
            }),
            nothing
        );
        assert!(
            follow_up(&FollowUpFacts {
                disk_size_changed: true,
                ..unchanged
            })
            .send_sizes
        );
    }

    #[test]
    fn more_than_an_eighth_is_considerable() {
        assert!(!differ_considerably(80, 88));
        assert!(differ_considerably(80, 100));
        assert!(!differ_considerably(0, 100));
    }

    #[test]
    fn no_sizes_from_the_peer_can_overflow() {
        for a in [0, 1, u64::MAX] {
            for b in [0, 1, u64::MAX] {
                let peer = PeerSizes {
                    disk: a,
                    requested: b,
                    current: a,
                };
                let local = LocalSizes {
                    capacity: b,
                    last_agreed: a,
                    requested: b,
                };
                on_peer_sizes(&peer, Some(&local), b, &INTRODUCING);
                on_peer_sizes(&peer, None, b, &INTRODUCING);
                differ_considerably(a, b);
            }
        }
    }

    #[test]
    fn a_resize_is_announced_to_a_connected_peer_only() {
        let told = |conn, resized| {
            let a = announcement(conn, resized);
            (a.tell_peer, a.pending)
        };
        // The peer's disk was not known to be larger: the size changes when it answers.
        assert_eq!(
            told(ConnState::Connected, Resized::Unchanged),
            (true, false)
        );
        assert_eq!(told(ConnState::Connected, Resized::Shrunk), (true, false));
        assert_eq!(told(ConnState::Connected, Resized::Grew), (true, true));
        assert_eq!(told(ConnState::VerifyT, Resized::Grew), (true, false));
        assert_eq!(told(ConnState::WfConnection, Resized::Grew), (false, false));
    }
}
