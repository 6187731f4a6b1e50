// SPDX-License-Identifier: GPL-2.0-only

//! The application's requests while they are under way: the core's transfer log and the shell's half of each slot.
//!
//! Everything here is guarded by the resource's lock. What must happen outside of it (ending bios) is put on a list;
//! [`finish`] works it off. So the order is always: the bitmap, then the log, then the application. What may have to
//! wait is left to threads of the device, and needs no memory: a bio that starts again to the activity log's, a read that
//! our disk shall serve after all to the one of `retry.rs`.

use crate::{
    activity::{self, Hold},
    peer_data::AWAITED,
    prelude::*,
    resource::{Resource, Shared, VolumeShared},
    ring::Ring,
};
use drbd_core::{
    interval::{self, NodeId, Owner, Range},
    request::{
        Actions, Context, Count, Event, Job, Log, Mark, NewRequest, Request, Slot, SlotId, Work,
    },
    state::{self, Thaw},
    types::DiskState,
};
use kernel_ext::block::{Bio, StableCopy, Status};

/// Requests that can be under way at once, of all volumes of a resource. Who wants one more waits.
pub(crate) const SLOTS: usize = 4096;
/// Writes of the peer that can be on their way to our disk at once.
pub(crate) const PEER_SLOTS: usize = 4096;

/// The shell's half of a slot.
#[derive(Default)]
struct Held {
    bio: Option<Bio>,
    /// What is written instead of the bio's data, if those may change.
    copy: Option<StableCopy>,
    interval: Option<NodeId>,
    /// The activity log that its extents are held in; 0 for none.
    al: u32,
    /// It is a read of this volume that our disk shall serve.
    read_here: Option<u16>,
}

/// What is to be done when the lock is free.
enum Finished {
    /// End the bio; nobody reads the copy of its data any more.
    End(Bio, Status, Option<StableCopy>),
    /// Nobody reads a copy any more.
    Free(StableCopy),
}

/// What the sender sends.
pub(crate) struct Source {
    pub(crate) bio: Bio,
    pub(crate) copy: Option<StableCopy>,
}

/// See the module's description.
pub(crate) struct Transfer {
    /// The core's half.
    pub(crate) log: Log<KVVec<Slot>>,
    /// Sectors with a write in flight, ours and the peer's.
    pub(crate) writes: interval::Set<KVVec<interval::Node>>,
    held: KVVec<Held>,
    finished: KVVec<Finished>,
    /// Bios that start again, each with its volume. Together with what is in the log they are no more than `SLOTS`.
    again: Ring<(u16, Bio)>,
    /// Reads that our disk shall serve.
    reads: usize,
    /// Somebody waits for a slot, or for a write to end.
    pub(crate) waiting: bool,
}

impl Transfer {
    /// An empty log; all memory that requests need is got here.
    #[inline(never)]
    pub(crate) fn new() -> Result<KBox<Self>> {
        let mut held = KVVec::with_capacity(SLOTS, GFP_KERNEL)?;
        for _ in 0..SLOTS {
            held.push_within_capacity(Held::default())
                .map_err(|_| ENOMEM)?;
        }
        let nodes = SLOTS.saturating_add(PEER_SLOTS);
        let nodes = KVVec::from_elem(interval::Node::default(), nodes, GFP_KERNEL)?;
        let slots = KVVec::from_elem(Slot::default(), SLOTS, GFP_KERNEL)?;
        let finished = KVVec::with_capacity(SLOTS.saturating_mul(2), GFP_KERNEL)?;
        let again = Ring::new(SLOTS)?;
        // Written where it will stay: it is too large for the stack.
        let new = init!(Self {
            log: Log::new(slots),
            writes: interval::Set::new(nodes),
            held,
            finished,
            again,
            reads: 0,
            waiting: false,
        });
        KBox::init(new, GFP_KERNEL)
    }

    /// Whether there is no room for one more request.
    pub(crate) fn is_full(&self) -> bool {
        let live = usize::try_from(self.log.len()).unwrap_or(usize::MAX);
        live.saturating_add(self.again.len()) >= SLOTS
    }

    /// Takes a request in; its bio comes back when there is no room.
    pub(crate) fn admit(
        &mut self,
        new: &NewRequest,
        max_epoch_size: u32,
        bio: Bio,
        copy: Option<StableCopy>,
        al: &mut Option<Hold>,
    ) -> Result<SlotId, Bio> {
        if self.is_full() {
            return Err(bio);
        }
        let Ok(slot) = self.log.admit(new, max_epoch_size) else {
            return Err(bio);
        };
        let Some(held) = self.held.get_mut(slot.0 as usize) else {
            return Err(bio);
        };
        held.bio = Some(bio);
        held.copy = copy;
        held.al = al.take().map_or(0, Hold::keep);
        held.interval = if new.kind.modifies() {
            self.writes.insert(new.range, Owner::Local(slot.0))
        } else {
            None
        };
        Ok(slot)
    }

    /// Whether a write to `range` must wait for another one to end. What the peer has not confirmed to have written for
    /// its resync is no reason: our write is sent behind it.
    pub(crate) fn conflicts(&self, range: &Range) -> bool {
        let busy = |owner: Owner, _: &Range| match owner {
            Owner::Local(slot) => self
                .log
                .get(SlotId(slot))
                .is_some_and(|request| !request.completed()),
            Owner::Peer(owner) => owner != AWAITED,
        };
        self.writes.find_overlap(range, busy).is_some()
    }

    /// What a request that the sender has taken sends, if that is data. The bio must come back by
    /// [`Transfer::put_bio`].
    pub(crate) fn take_source(&mut self, work: &Work) -> Option<Source> {
        let data = work.request.job() == Job::Replicate;
        let held = self.held.get_mut(work.slot.0 as usize).filter(|_| data);
        held.and_then(|held| {
            Some(Source {
                bio: held.bio.take()?,
                copy: held.copy.clone(),
            })
        })
    }

    /// Takes the bio of a request whose data have arrived, so that they can be filled in; put it back.
    pub(crate) fn take_bio(&mut self, slot: SlotId) -> Option<Bio> {
        self.held.get_mut(slot.0 as usize)?.bio.take()
    }

    /// Puts a bio back.
    pub(crate) fn put_bio(&mut self, slot: SlotId, bio: Bio) {
        if let Some(held) = self.held.get_mut(slot.0 as usize) {
            held.bio = Some(bio);
        }
    }
}

/// What surrounds a volume's requests now.
pub(crate) fn context(volume: &VolumeShared) -> Context {
    Context {
        suspended: volume.suspended(),
        peer_readable: volume.state.pdsk == DiskState::UpToDate
            && state::is_connected(volume.state.conn),
        locally_readable: volume.state.disk == DiskState::UpToDate,
        inconsistent: state::is_inconsistent_or_less(volume.state.disk),
    }
}

/// Tells a request what happened, and does what follows under the lock.
pub(crate) fn tell(shared: &mut Shared, slot: SlotId, event: Event) {
    let Some(request) = shared.transfer.log.get(slot).copied() else {
        return;
    };
    let Some(context) = shared.vol(request.range.volume).map(context) else {
        return;
    };
    let actions = shared.transfer.log.on(slot, event, context);
    let Shared {
        volumes, transfer, ..
    } = shared;
    let (_, mut parts) = split(volumes, transfer);
    perform(&mut parts, slot, &request, actions);
}

/// Tells all requests of a volume what happened, oldest first.
pub(crate) fn tell_all(
    shared: &mut Shared,
    vnr: u16,
    event: Event,
    select: impl Fn(&Request) -> bool,
) {
    let Some(context) = shared.vol(vnr).map(context) else {
        return;
    };
    let Shared {
        volumes, transfer, ..
    } = shared;
    let (log, mut parts) = split(volumes, transfer);
    let select = |request: &Request| request.range.volume == vnr && select(request);
    log.for_each(event, context, select, &mut |slot, request, actions| {
        perform(&mut parts, slot, &request, actions);
    });
}

/// The peer confirmed a barrier. `Err` is a protocol error, and says what the log expected.
pub(crate) fn confirm_barrier(
    shared: &mut Shared,
    epoch: drbd_core::epoch::EpochNumber,
    writes: u32,
) -> Result<(), drbd_core::request::BarrierMismatch> {
    // Completion does not depend on a barrier, so the context of the volumes does not matter here.
    let suspended = shared.volumes.iter().any(|volume| volume.suspended());
    let net_conf = shared.conn.net_conf.as_ref();
    let two_primaries = net_conf.is_some_and(|conf| conf.two_primaries);
    let context = Context {
        suspended,
        ..Context::default()
    };
    let Shared {
        volumes, transfer, ..
    } = shared;
    let (log, mut parts) = split(volumes, transfer);
    if two_primaries {
        log.confirm_skipped(epoch, context, |slot, request, actions| {
            perform(&mut parts, slot, &request, actions);
        });
    }
    log.confirm_barrier(epoch, writes, context, |slot, request, actions| {
        perform(&mut parts, slot, &request, actions);
    })
}

struct Parts<'a> {
    volumes: &'a mut KVec<KBox<VolumeShared>>,
    held: &'a mut KVVec<Held>,
    writes: &'a mut interval::Set<KVVec<interval::Node>>,
    finished: &'a mut KVVec<Finished>,
    again: &'a mut Ring<(u16, Bio)>,
    reads: &'a mut usize,
    waiting: &'a mut bool,
}

/// The log, and what its decisions are about.
fn split<'a>(
    volumes: &'a mut KVec<KBox<VolumeShared>>,
    transfer: &'a mut Transfer,
) -> (&'a mut Log<KVVec<Slot>>, Parts<'a>) {
    let Transfer {
        log,
        writes,
        held,
        finished,
        again,
        reads,
        waiting,
    } = transfer;
    let parts = Parts {
        volumes,
        held,
        writes,
        finished,
        again,
        reads,
        waiting,
    };
    (log, parts)
}

/// Does under the lock what the core decided, and lists the rest. Bits first.
fn perform(parts: &mut Parts<'_>, slot: SlotId, request: &Request, actions: Actions) {
    let range = &request.range;
    let volume = parts
        .volumes
        .iter_mut()
        .find(|volume| volume.vnr == range.volume);
    let (Some(volume), Some(held)) = (volume, parts.held.get_mut(slot.0 as usize)) else {
        return;
    };
    let sectors = u64::from(range.sectors);
    let stat = &mut volume.stat;
    stat.pending = match actions.pending {
        Count::Same => stat.pending,
        Count::More => stat.pending.saturating_add(1),
        Count::Less => stat.pending.saturating_sub(1),
    };
    stat.in_flight = match actions.in_flight {
        Count::Same => stat.in_flight,
        Count::More => stat.in_flight.saturating_add(sectors),
        Count::Less => stat.in_flight.saturating_sub(sectors),
    };
    match actions.mark {
        Mark::Nothing => {}
        Mark::OutOfSync => {
            volume.device.bitmap.set_out_of_sync(range.sector, sectors);
        }
        Mark::InSync if !drbd_core::resync::may_clear(volume.state.conn) => {}
        Mark::InSync => {
            let capacity = volume.capacity;
            volume
                .device
                .bitmap
                .set_in_sync(range.sector, sectors, capacity);
        }
    }
    let mut list = |what| {
        // There is room: every slot is at most twice on the list.
        let _ = parts.finished.push_within_capacity(what);
    };
    if actions.submit_local && held.read_here.is_none() {
        held.read_here = Some(range.volume);
        *parts.reads = parts.reads.saturating_add(1);
        volume.device.retry.wake();
    }
    if actions.complete.is_some() || actions.restart {
        volume.stat.application = volume.stat.application.saturating_sub(1);
        *parts.waiting |= volume.stat.application == 0 && volume.io_suspenders > 0;
        if let Some(bio) = held.bio.take() {
            match actions.complete {
                Some(true) => list(Finished::End(bio, Status::OK, held.copy.take())),
                Some(false) => list(Finished::End(bio, Status::IO_ERROR, held.copy.take())),
                None => start_again(volume, parts.again, bio),
            }
        }
    }
    if actions.forget {
        if let Some(copy) = held.copy.take() {
            list(Finished::Free(copy));
        }
        if let Some(node) = held.interval.take() {
            parts.writes.remove(node);
        }
        let al = core::mem::take(&mut held.al);
        if al != 0 {
            activity::end(volume, range, al);
        }
    }
}

/// The bio goes through everything once more. What is copied of it stays with the request until that is forgotten.
fn start_again(volume: &mut VolumeShared, list: &mut Ring<(u16, Bio)>, bio: Bio) {
    // There is room: see `Transfer::is_full`.
    if list.push((volume.vnr, bio)).is_ok() {
        volume.again = volume.again.saturating_add(1);
        volume.device.activity.wake();
    }
}

/// Whether something of this volume starts again.
pub(crate) fn starts_again(resource: &Resource, vnr: u16) -> bool {
    let shared = resource.shared.lock();
    shared.vol(vnr).is_some_and(|volume| volume.again > 0)
}

/// Takes the first bio of this volume that starts again.
pub(crate) fn take_again(resource: &Resource, vnr: u16) -> Option<Bio> {
    let mut shared = resource.shared.lock();
    let shared = &mut *shared;
    let volume = shared.vol_mut(vnr).filter(|volume| volume.again > 0)?;
    volume.again = volume.again.saturating_sub(1);
    let list = &mut shared.transfer.again;
    for _ in 0..list.len() {
        let (owner, bio) = list.pop()?;
        if owner == vnr {
            return Some(bio);
        }
        // To the end of the line of its own volume; its place has just become free.
        let _ = list.push((owner, bio));
    }
    None
}

/// Takes a read of this volume that our disk shall serve.
pub(crate) fn take_read(resource: &Resource, vnr: u16) -> Option<SlotId> {
    let mut shared = resource.shared.lock();
    let transfer = &mut *shared.transfer;
    if transfer.reads == 0 {
        return None;
    }
    let mut slots = transfer.held.iter_mut().zip(0..=u32::MAX);
    let (held, slot) = slots.find(|(held, _)| held.read_here == Some(vnr))?;
    held.read_here = None;
    transfer.reads = transfer.reads.saturating_sub(1);
    Some(SlotId(slot))
}

/// Works off what [`perform`] listed, and wakes who waits for it. Any context, without the lock.
pub(crate) fn finish(resource: &Resource) {
    let mut woke = false;
    loop {
        let next = {
            let mut shared = resource.shared.lock();
            let next = shared.transfer.finished.pop();
            if !woke && (next.is_some() || shared.transfer.waiting) {
                woke = core::mem::replace(&mut shared.transfer.waiting, false);
                if woke {
                    drop(shared);
                    resource.state_wait.wake_all();
                }
            }
            next
        };
        match next {
            None => return,
            Some(Finished::End(bio, status, copy)) => {
                drop(copy);
                bio.end(status);
            }
            Some(Finished::Free(copy)) => drop(copy),
        }
    }
}

/// The connection is gone: what waits for the peer goes on without it, its blocks marked first.
pub(crate) fn connection_lost(resource: &Resource) {
    tell_everybody(resource, Event::ConnectionLost);
}

/// The connection is gone while I/O is suspended: what waits for the peer goes on waiting.
pub(crate) fn park(resource: &Resource) {
    tell_everybody(resource, Event::Parked);
}

/// The peer is back, and our I/O was suspended while it was away: what it has not confirmed is sent again.
pub(crate) fn resend(resource: &Resource) {
    tell_everybody(resource, Event::Resend);
    resource.connection.wake_sender();
}

/// The two exchange bitmaps: what an earlier connection carried, and was completed, is marked unless it was confirmed.
/// [`finish`] follows, without the lock.
pub(crate) fn mark_unconfirmed(shared: &mut Shared, vnr: u16) {
    tell_all(shared, vnr, Event::ConnectionLost, Request::completed);
}

/// How I/O that was suspended by hand goes on now.
pub(crate) fn thaw(resource: &Resource) -> Thaw {
    let shared = resource.shared.lock();
    state::thaw(shared.volumes.iter().map(|volume| volume.state.conn))
}

/// I/O goes on by the administrator's word: what waits for a peer that is gone goes on without it, and what an earlier
/// connection carried is sent again.
pub(crate) fn thawed(resource: &Resource) {
    if thaw(resource) != Thaw::Resend {
        connection_lost(resource);
        return;
    }
    let since = resource.connection.since_ms();
    tell_some(resource, Event::Resend, |request| request.sent_ms < since);
    resource.connection.wake_sender();
}

/// There are data again: what failed while I/O was frozen for the lack of them is started again.
pub(crate) fn restart_frozen(resource: &Resource) {
    tell_everybody(resource, Event::Restart);
}

fn tell_everybody(resource: &Resource, event: Event) {
    tell_some(resource, event, |_| true);
}

fn tell_some(resource: &Resource, event: Event, select: impl Fn(&Request) -> bool) {
    {
        let mut shared = resource.shared.lock();
        for at in 0..shared.volumes.len() {
            let Some(vnr) = shared.volumes.get(at).map(|volume| volume.vnr) else {
                break;
            };
            tell_all(&mut shared, vnr, event, &select);
        }
    }
    finish(resource);
}

/// I/O of a volume is no longer suspended: what could not be completed is, and who waits goes on.
pub(crate) fn resumed(shared: &mut Shared, vnr: u16) {
    tell_all(shared, vnr, Event::Resumed, |_| true);
    shared.transfer.waiting = true;
}
