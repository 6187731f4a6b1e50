// SPDX-License-Identifier: GPL-2.0-only

//! Two primaries that write the same blocks at the same time.
//!
//! One node of a connection resolves conflicts (the handshake says which). It keeps its own write and has the peer's
//! dropped: superseded, if ours covers all of it, or to be written again. The other node waits until its own write is
//! settled that way, and then writes what the peer sent. So both disks end with the same content. A write of the peer's
//! that comes after its answer to ours is no conflict: it follows ours, and waits for our disk if that is slower.
//!
//! The resolving node must not mistake a write that it has finished for one in flight: the acknowledgement that
//! finished it travels on the other stream. Therefore everything that a node sends about a volume is numbered, and
//! the resolving node looks at a write only when it has seen all that was sent before it.

use crate::{
    device::Device,
    peer_data::{wait_until, DISK},
    prelude::*,
    receiver::Arrived,
    resource::{Resource, Shared},
    tag::Tag,
    transfer::Transfer,
};
use drbd_core::{
    interval::{NodeId, Owner, Range},
    peer_request::{conflict, Conflict},
    request::{Request, SlotId},
    wire::{BlockAck, Command},
};

/// What becomes of a write of the peer's.
pub(crate) enum Verdict {
    /// It is written; its interval is in the set.
    Write(NodeId),
    /// It is dropped, and the peer is told so.
    Drop(Command),
}

/// Whether `a` comes after `b`. The numbers wrap.
fn after(a: u32, b: u32) -> bool {
    let distance = a.wrapping_sub(b);
    distance != 0 && distance < 1 << 31
}

/// Notes the number of a packet of the peer's.
fn note(shared: &mut Shared, vnr: u16, number: u32) {
    if let Some(volume) = shared.vol_mut(vnr) {
        if after(number, volume.peer_seq) {
            volume.peer_seq = number;
        }
    }
}

/// An acknowledgement was received and carried out.
pub(crate) fn acknowledged(packet: &Arrived<'_>, ack: &BlockAck) {
    let woken = {
        let mut shared = packet.resource.shared.lock();
        note(&mut shared, packet.vnr, ack.seq_num);
        shared.peer.take_waiting()
    };
    if woken {
        packet.resource.state_wait.wake_all();
    }
}

/// Waits until everything that the peer sent before packet `number` has been seen.
fn wait_for_turn(device: &Device, number: u32) -> Result {
    let mut late = false;
    let resource = &device.resource;
    let patience = resource
        .shared
        .lock()
        .conn
        .net_conf
        .as_ref()
        .map_or(0, |conf| conf.ping_timeo);
    let patience = patience.saturating_mul(100);
    let in_turn = resource.state_wait.wait_timeout(patience, || {
        let mut shared = resource.shared.lock();
        let Some(volume) = shared.vol(device.vnr) else {
            return true;
        };
        late = after(number.wrapping_sub(1), volume.peer_seq);
        shared.peer.request_wake();
        !late
    });
    if in_turn {
        return Ok(());
    }
    pr_err!(
        "{}: acknowledgements of the peer are missing; disconnecting\n",
        Tag(device)
    );
    Err(ETIMEDOUT)
}

/// Whether both nodes may be Primary, and whether we resolve their conflicts.
fn rules(resource: &Resource) -> (bool, bool) {
    let shared = resource.shared.lock();
    let conf = shared.conn.net_conf.as_ref();
    (
        conf.is_some_and(|conf| conf.two_primaries),
        shared.conn.resolve_conflicts,
    )
}

/// It is the turn of a write of the peer's, which may be refused: those after it need not wait for it.
///
/// # Errors
///
/// `ETIMEDOUT` when acknowledgements do not come.
pub(crate) fn take_turn(device: &Device, number: u32) -> Result {
    if rules(&device.resource) == (true, true) {
        wait_for_turn(device, number)?;
    }
    note(&mut device.resource.shared.lock(), device.vnr, number);
    Ok(())
}

/// Lets a write of the peer's in, when it is its turn: no other write to these blocks is in flight then.
///
/// # Errors
///
/// `ENOTCONN` when the connection is lost meanwhile, `ETIMEDOUT` when acknowledgements do not come.
pub(crate) fn enter(device: &Device, range: &Range, number: u32) -> Result<Verdict> {
    let resource = &device.resource;
    let (two_primaries, we_resolve) = rules(resource);
    take_turn(device, number)?;
    let node = occupy(resource, range)?;
    if !two_primaries {
        return Ok(Verdict::Write(node));
    }
    // From here on our application starts no write to these blocks.
    let mut verdict = Verdict::Write(node);
    let settled = wait_until(resource, |shared| {
        let ours = overlapping(&shared.transfer, range);
        match ours.map(|(ours, pending)| (conflict(we_resolve, &ours, range, pending), ours)) {
            None => true,
            Some((Conflict::Supersede, ours)) => {
                report(device, &ours, range);
                verdict = Verdict::Drop(Command::Superseded);
                true
            }
            Some((Conflict::AskRetry, ours)) => {
                report(device, &ours, range);
                verdict = Verdict::Drop(Command::RetryWrite);
                true
            }
            Some((Conflict::WaitForVerdict | Conflict::WaitForDisk, _)) => false,
        }
    });
    if settled.is_err() || matches!(verdict, Verdict::Drop(_)) {
        leave(resource, node);
    }
    settled.map(|()| verdict)
}

/// Waits until no other write of the peer's overlaps, and puts an interval in.
///
/// # Errors
///
/// `ENOTCONN` when the connection is lost meanwhile.
pub(crate) fn occupy(resource: &Resource, range: &Range) -> Result<NodeId> {
    let mut node = None;
    wait_until(resource, |shared| {
        let disk = |owner: Owner, _: &Range| owner == Owner::Peer(DISK);
        if shared.transfer.writes.find_overlap(range, disk).is_some() {
            return false;
        }
        node = shared.transfer.writes.insert(*range, Owner::Peer(DISK));
        node.is_some()
    })?;
    node.ok_or(ENOTCONN)
}

/// Takes an interval out, and wakes who waits for that.
pub(crate) fn leave(resource: &Resource, node: NodeId) {
    let mut shared = resource.shared.lock();
    shared.transfer.writes.remove(node);
    let woken = core::mem::take(&mut shared.transfer.waiting) | shared.peer.take_waiting();
    drop(shared);
    if woken {
        resource.state_wait.wake_all();
    }
}

/// A write of our application to some of these blocks that is not completed, and whether the peer has still to answer.
pub(crate) fn overlapping(transfer: &Transfer, range: &Range) -> Option<(Range, bool)> {
    own(transfer, range, |request| !request.completed())
}

/// Whether the peer may have older data in some of these blocks than our application has written there.
pub(crate) fn is_ahead_of_peer(transfer: &Transfer, range: &Range) -> bool {
    own(transfer, range, Request::is_ahead_of_peer).is_some()
}

fn own(
    transfer: &Transfer,
    range: &Range,
    counts: impl Fn(&Request) -> bool,
) -> Option<(Range, bool)> {
    let mut found = None;
    transfer.writes.find_overlap(range, |owner, ours| {
        let request = match owner {
            Owner::Local(slot) => transfer.log.get(SlotId(slot)),
            Owner::Peer(_) => None,
        };
        let busy = request.filter(|request| counts(request));
        if let Some(request) = busy {
            found = Some((*ours, request.is_pending()));
        }
        busy.is_some()
    });
    found
}

fn report(device: &Device, ours: &Range, theirs: &Range) {
    if ours != theirs {
        pr_alert!(
            "{}: Concurrent writes detected: local={}s +{}, remote={}s +{}\n",
            Tag(device),
            ours.sector,
            ours.bytes(),
            theirs.sector,
            theirs.bytes()
        );
    }
}
