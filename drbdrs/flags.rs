// SPDX-License-Identifier: GPL-2.0-only

//! Facts about a volume that are neither state nor counters.
//!
//! Plain bits, numbered by the compiler, in a struct that the resource's lock guards: no atomics, so that a fact and the
//! state that it belongs to are always seen together.

/// One fact about a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VolFlag {
    /// The metadata say that we were Primary when we went down.
    CrashedPrimary,
    /// Look again whether a resync is needed after the next exchange of UUIDs.
    ConsiderResync,
    /// We ran without a peer before we went down: wait with degr-wfc-timeout.
    UseDegrWfcTimeout,
    /// The administrator gives our data up in a split brain.
    DiscardMyData,
    /// Detach without waiting for the disk.
    ForceDetach,
    /// The disk is not waited for any more, not even for metadata, until it has given everything back.
    Abandoned,
    /// The disk failed while it was attached.
    WasIoError,
    /// A read of the disk failed while it was attached.
    WasReadError,
    /// The disk grew at attach or by resize: resync the new part after the negotiation.
    ResyncAfterNegotiation,
    /// The peer was told our new size; resync the new part when it agrees.
    ResizePending,
    /// A new data generation begins with the next write.
    NewCurrentUuid,
    /// The whole bitmap is set, no finer knowledge is lost by not logging activity.
    AlSuspended,
    /// The metadata device cannot flush, or shall not.
    MdNoFua,
    /// The peer agreed to a cluster-wide change.
    ClusterChangeAgreed,
    /// The peer refused a cluster-wide change.
    ClusterChangeRefused,
    /// The superblock on disk says that we are Primary.
    PrimaryOnDisk,
    /// The peer may not know yet that our disk cannot be used.
    LossUntold,
    /// The peer may not know yet that its disk has come.
    PeerDiskUntold,
    /// The last read was done by the peer.
    ReadByPeer,
    /// The peer may not know yet that we are Ahead of it.
    AheadUntold,
    /// What an earlier connection carried, and no barrier confirmed, is to be marked.
    Unconfirmed,
    /// The peer's disk was being attached when the exchange of bitmaps began ([`drbd_core::state::peer_attaches`]).
    PeerAttaches,
}

impl VolFlag {
    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The facts that hold for a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct VolFlags(u32);

impl VolFlags {
    /// Whether `flag` holds.
    pub(crate) fn has(self, flag: VolFlag) -> bool {
        self.0 & flag.bit() != 0
    }

    /// From now on `flag` holds; tells whether it did before.
    pub(crate) fn set(&mut self, flag: VolFlag) -> bool {
        let before = self.has(flag);
        self.0 |= flag.bit();
        before
    }

    /// From now on `flag` does not hold; tells whether it did before.
    pub(crate) fn clear(&mut self, flag: VolFlag) -> bool {
        let before = self.has(flag);
        self.0 &= !flag.bit();
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
