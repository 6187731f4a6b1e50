// SPDX-License-Identifier: GPL-2.0-only

//! Facts about a volume that are neither state nor counters.
//!
//! Plain bits in a struct that the resource's lock guards: no atomics, so that a fact and the state that it belongs
//! to are always seen together.

/// One fact about a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VolFlag(u32);

impl VolFlag {
    /// The metadata say that we were Primary when we went down.
    pub(crate) const CRASHED_PRIMARY: Self = Self(1 << 0);
    /// Look again whether a resync is needed after the next exchange of UUIDs.
    pub(crate) const CONSIDER_RESYNC: Self = Self(1 << 1);
    /// We ran without a peer before we went down: wait with degr-wfc-timeout.
    pub(crate) const USE_DEGR_WFC_TIMEOUT: Self = Self(1 << 2);
    /// The administrator gives our data up in a split brain.
    pub(crate) const DISCARD_MY_DATA: Self = Self(1 << 3);
    /// Detach without waiting for the disk.
    pub(crate) const FORCE_DETACH: Self = Self(1 << 4);
    /// The disk is not waited for any more, not even for metadata, until it has given everything back.
    pub(crate) const ABANDONED: Self = Self(1 << 21);
    /// The disk failed while it was attached.
    pub(crate) const WAS_IO_ERROR: Self = Self(1 << 5);
    /// A read of the disk failed while it was attached.
    pub(crate) const WAS_READ_ERROR: Self = Self(1 << 6);
    /// The disk grew at attach or by resize: resync the new part after the negotiation.
    pub(crate) const RESYNC_AFTER_NEGOTIATION: Self = Self(1 << 7);
    /// The peer was told our new size; resync the new part when it agrees.
    pub(crate) const RESIZE_PENDING: Self = Self(1 << 8);
    /// A new data generation begins with the next write.
    pub(crate) const NEW_CURRENT_UUID: Self = Self(1 << 9);
    /// The whole bitmap is set, no finer knowledge is lost by not logging activity.
    pub(crate) const AL_SUSPENDED: Self = Self(1 << 12);
    /// The metadata device cannot flush, or shall not.
    pub(crate) const MD_NO_FUA: Self = Self(1 << 13);
    /// The peer agreed to a cluster-wide change.
    pub(crate) const CLUSTER_CHANGE_AGREED: Self = Self(1 << 16);
    /// The peer refused a cluster-wide change.
    pub(crate) const CLUSTER_CHANGE_REFUSED: Self = Self(1 << 17);
    /// Resync reads and writes stopped because of an aborted resync.
    pub(crate) const RESYNC_ABORTED: Self = Self(1 << 18);
    /// The superblock on disk says that we are Primary.
    pub(crate) const PRIMARY_ON_DISK: Self = Self(1 << 19);
    /// The peer may not know yet that our disk cannot be used.
    pub(crate) const LOSS_UNTOLD: Self = Self(1 << 20);
    /// The last read was done by the peer.
    pub(crate) const READ_BY_PEER: Self = Self(1 << 22);
    /// The peer may not know yet that we are Ahead of it.
    pub(crate) const AHEAD_UNTOLD: Self = Self(1 << 21);
}

/// The facts that hold for a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct VolFlags(u32);

impl VolFlags {
    /// Whether `flag` holds.
    pub(crate) fn has(self, flag: VolFlag) -> bool {
        self.0 & flag.0 != 0
    }

    /// From now on `flag` holds; tells whether it did before.
    pub(crate) fn set(&mut self, flag: VolFlag) -> bool {
        let before = self.has(flag);
        self.0 |= flag.0;
        before
    }

    /// From now on `flag` does not hold; tells whether it did before.
    pub(crate) fn clear(&mut self, flag: VolFlag) -> bool {
        let before = self.has(flag);
        self.0 &= !flag.0;
        before
    }

    /// Sets or clears `flag`.
    pub(crate) fn assign(&mut self, flag: VolFlag, holds: bool) {
        if holds {
            self.set(flag);
        } else {
            self.clear(flag);
        }
    }
}
