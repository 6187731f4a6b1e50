// SPDX-License-Identifier: GPL-2.0-only

//! What was asked of the peer for a resync or a verify and is not through yet.
//!
//! ```text
//!  asked: the interval is in `transfer.writes` --> answered --> on the disk, or turned down: the interval is out
//!                    '--> our disk goes: the interval is out, a late answer is let pass
//! ```

use crate::{
    device::Device,
    peer_data::{ANSWERED, AWAITED, DISK, REQUESTED, SERVING},
    prelude::*,
    receiver::Arrived,
    resource::{Resource, Shared},
    tag::Tag,
    transfer::Transfer,
};
use drbd_core::{
    interval::{NodeId, Owner, Range},
    resync::Controller,
};

/// The target's part of a volume's resync: what it asks for next, and how fast.
pub(crate) struct Requests {
    /// How much to ask for in a turn.
    pub(crate) controller: Controller,
    /// The bit where the search goes on.
    pub(crate) cursor: u64,
    /// Sectors that arrived since the last turn.
    pub(crate) arrived: u32,
    /// When the last turn was.
    pub(crate) last_turn_ms: u64,
    /// Requests that the peer may still answer, though nobody wants that any more.
    forgotten: u32,
}

impl Requests {
    /// Nothing was asked for.
    pub(crate) const fn new() -> Self {
        Self {
            controller: Controller::new(),
            cursor: 0,
            arrived: 0,
            last_turn_ms: 0,
            forgotten: 0,
        }
    }

    /// A resync or verify begins.
    pub(crate) fn reset(&mut self) {
        self.controller.reset();
        self.cursor = 0;
        self.arrived = 0;
        self.last_turn_ms = 0;
    }

    /// That many blocks were asked for.
    pub(crate) fn note_requested(&mut self, blocks: u32) {
        self.controller.requested(blocks);
    }
}

/// Whether blocks of the range were asked for and are not through.
pub(crate) fn is_asked_for(transfer: &Transfer, range: &Range) -> bool {
    let asked = |owner: Owner, _: &Range| matches!(owner, Owner::Peer(REQUESTED | ANSWERED));
    transfer.writes.find_overlap(range, asked).is_some()
}

/// Whether a write of the peer's, or a block of its resync, is on its way to the disk there.
pub(crate) fn is_on_its_way(transfer: &Transfer, range: &Range) -> bool {
    let disk = |owner: Owner, _: &Range| owner == Owner::Peer(DISK);
    transfer.writes.find_overlap(range, disk).is_some()
}

/// Makes the request that is answered an answered one; `None` if there is none.
fn take_requested(shared: &mut Shared, range: &Range) -> Option<NodeId> {
    let set = &mut shared.transfer.writes;
    let same = |owner: Owner, other: &Range| owner == Owner::Peer(REQUESTED) && other == range;
    let (node, _) = set.find_overlap(range, same)?;
    set.set_owner(node, Owner::Peer(ANSWERED));
    Some(node)
}

/// A request was answered. It stays in the set until its blocks are on the disk, or will not be.
///
/// `None` is the late answer to a request that was given up when our disk went.
///
/// # Errors
///
/// `EPROTO` when there was no such request.
pub(crate) fn answered(
    packet: &Arrived<'_>,
    device: &Device,
    range: &Range,
) -> Result<Option<NodeId>> {
    let mut shared = packet.resource.shared.lock();
    let node = take_requested(&mut shared, range);
    if let Some(volume) = shared.vol_mut(range.volume) {
        if node.is_some() {
            volume.stat.resync_pending = volume.stat.resync_pending.saturating_sub(1);
            volume.requests.arrived = volume.requests.arrived.saturating_add(range.sectors);
        } else if let Some(left) = volume.requests.forgotten.checked_sub(1) {
            volume.requests.forgotten = left;
            return Ok(None);
        }
    }
    drop(shared);
    if node.is_none() {
        pr_err!(
            "{}: {}: sector {} (+{}): we did not ask for it\n",
            Tag(device),
            packet.command.name(),
            range.sector,
            range.sectors
        );
        return Err(EPROTO);
    }
    Ok(node)
}

/// Our disk is gone, and the resync with it. The peer answers what was asked for, or drops it when it hears so.
pub(crate) fn forget(device: &Device) {
    let resource = &device.resource;
    {
        let mut shared = resource.shared.lock();
        let ours = |owner: Owner, range: &Range| {
            owner == Owner::Peer(REQUESTED) && range.volume == device.vnr
        };
        let removed = shared.transfer.writes.remove_all(ours);
        shared.transfer.waiting = false;
        if let Some(volume) = shared.vol_mut(device.vnr) {
            volume.requests.reset();
            volume.requests.forgotten = volume.requests.forgotten.saturating_add(removed);
            volume.stat.resync_pending = 0;
        }
    }
    resource.state_wait.wake_all();
}

/// The connection is gone: nobody will answer what we asked for, or wants what we were asked for.
pub(crate) fn connection_lost(resource: &Resource) {
    {
        let mut shared = resource.shared.lock();
        let gone = |owner: Owner, _: &Range| {
            matches!(owner, Owner::Peer(REQUESTED | ANSWERED | SERVING | AWAITED))
        };
        shared.transfer.writes.remove_all(gone);
        shared.transfer.waiting = false;
        for volume in shared.volumes.iter_mut() {
            volume.requests.reset();
            volume.requests.forgotten = 0;
            volume.stat.resync_pending = 0;
        }
    }
    resource.state_wait.wake_all();
}
