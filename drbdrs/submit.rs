// SPDX-License-Identifier: GPL-2.0-only

//! Bios of the application: where each one goes.
//!
//! ```text
//!  bio --> may it start? --no--> wait (suspended, a transition, an overlapping write, no slot)
//!             | yes
//!             v
//!          plan: our disk, the peer, both, neither (error)
//!             |
//!             v                     under the resource's lock
//!          transfer log <- slot     ------------------------
//!             |-- clone --> our disk      (local.rs)
//!             '-- send queue --> sender   (sender.rs)
//! ```

use crate::{
    activity::{self, Entered, Hold},
    congestion,
    deallocate::Want,
    device::{Device, LocalRef},
    local,
    prelude::*,
    resource::{Shared, VolumeShared},
    stable, transfer,
};
use drbd_core::{
    config::choices::{Protocol, ReadBalancing},
    interval::{Owner, Range},
    read_balance::{self, Facts},
    request::{Event, Expect, Job, Kind, NewRequest, SlotId},
    state,
    types::DiskState,
};
use kernel_ext::{
    block::{Bio, Op, OutBio, StableCopy, Status},
    time,
};

/// What is known about a bio before it gets a slot.
struct Wish {
    kind: Kind,
    range: Range,
    retry: bool,
    nowait: bool,
    /// Zeroes may deallocate.
    unmap: bool,
}

impl Wish {
    fn of(device: &Device, bio: &Bio) -> Option<Self> {
        let kind = match bio.op() {
            Op::Read => Kind::Read,
            Op::Write => Kind::Write,
            Op::Discard => Kind::Discard,
            Op::WriteZeroes => Kind::Zeroes,
            Op::Flush => Kind::Flush,
            Op::Other => return None,
        };
        Some(Self {
            kind,
            range: Range::new(device.vnr, bio.sector(), bio.bytes()),
            retry: !bio.is_readahead(),
            nowait: bio.is_nowait(),
            unmap: !bio.is_no_unmap(),
        })
    }
}

impl Wish {
    /// What a request that deallocates is for.
    fn want(&self) -> Want {
        match self.kind {
            Kind::Discard => Want::Discarded,
            _ => Want::Zeroed { unmap: self.unmap },
        }
    }
}

/// What to do with a bio.
enum Plan {
    /// Not now.
    Wait,
    /// There is no path to good data.
    Fail,
    /// These halves.
    Go { local: bool, job: Job },
}

/// A bio was submitted to the device.
pub(crate) fn submit(device: &Arc<Device>, mut bio: Bio) {
    let Some(wish) = Wish::of(device, &bio) else {
        bio.end(Status::NOT_SUPPORTED);
        return;
    };
    bio.start_accounting();
    enter(device, bio, &wish);
}

/// A write whose extents have got into the activity log, or need not, goes on, and so does what starts again. Called
/// by the log's thread, which may write a transaction itself; `before_wait` is called when it has to wait.
pub(crate) fn go_on(device: &Arc<Device>, bio: Bio, hold: Option<Hold>, before_wait: impl FnMut()) {
    let Some(wish) = Wish::of(device, &bio) else {
        bio.end(Status::IO_ERROR);
        return;
    };
    let take = |bio| {
        let writes = wish.kind.modifies();
        let hold = writes.then(|| activity::enter_here(device, &wish.range));
        Some((bio, hold.flatten()))
    };
    route(device, bio, &wish, hold, (before_wait, take));
}

/// A write may need the activity log first.
#[inline]
fn enter(device: &Arc<Device>, bio: Bio, wish: &Wish) {
    if let Some((bio, hold)) = take_extents(device, bio, wish) {
        let take = |bio| take_extents(device, bio, wish);
        route(device, bio, wish, hold, (|| (), take));
    }
}

/// None: the bio was left to the log's thread.
fn take_extents(device: &Arc<Device>, bio: Bio, wish: &Wish) -> Option<(Bio, Option<Hold>)> {
    let entered = match wish.kind {
        Kind::Write => activity::enter(device, &wish.range),
        Kind::Discard | Kind::Zeroes => activity::enter_in_line(device),
        Kind::Read | Kind::Flush => Entered::Free,
    };
    match entered {
        Entered::Free => return Some((bio, None)),
        Entered::Hot(hold) => return Some((bio, Some(hold))),
        Entered::Cold if wish.nowait => bio.end(Status::AGAIN),
        Entered::Cold => activity::wait_in_line(device, bio),
    }
    None
}

/// What a bio has gathered on its way to a slot.
struct Gathered {
    hold: Option<Hold>,
    copy: Option<StableCopy>,
}

/// What came of an attempt to give a bio a slot.
enum Outcome {
    /// It has one, or has ended.
    Done,
    /// Something came or went between two looks: look again.
    Again(Bio),
    /// It must hold its extents in the log that there is now.
    TakeExtents(Bio),
    /// It must wait.
    Wait(Bio),
}

/// Attempts until the bio is on its way. Its extents are given up before a wait; `take` takes them again.
#[inline]
fn route(
    device: &Arc<Device>,
    mut bio: Bio,
    wish: &Wish,
    hold: Option<Hold>,
    (mut before_wait, take): (impl FnMut(), impl Fn(Bio) -> Option<(Bio, Option<Hold>)>),
) {
    let mut gathered = Gathered { hold, copy: None };
    loop {
        let (back, waits) = match attempt(device, bio, wish, &mut gathered) {
            Outcome::Done => return,
            Outcome::Again(back) => {
                bio = back;
                continue;
            }
            Outcome::TakeExtents(back) => (back, false),
            Outcome::Wait(back) => (back, true),
        };
        drop(gathered.hold.take());
        if wish.nowait {
            back.end(Status::AGAIN);
            return;
        }
        if waits {
            before_wait();
            wait(device, wish);
        }
        match take(back) {
            Some((back, hold)) => {
                bio = back;
                gathered.hold = hold;
            }
            None => return,
        }
    }
}

fn attempt(device: &Arc<Device>, bio: Bio, wish: &Wish, gathered: &mut Gathered) -> Outcome {
    let may_change = stable::may_change(wish.kind, &bio);
    if may_change && gathered.copy.is_none() && stable::two_readers(device) {
        gathered.copy = stable::copy(device, &bio);
        if gathered.copy.is_none() {
            bio.end(Status::AGAIN);
            return Outcome::Done;
        }
    }
    // The clone is made before the slot is taken: once it has a slot, the bio is shared with the sender.
    let local = Device::get_local(device);
    let clone = local
        .as_ref()
        .and_then(|local| prepare(local, &bio, gathered.copy.as_ref()));
    let mut shared = device.resource.shared.lock();
    if wish.kind.modifies() {
        congestion::before_write(&mut shared, device.vnr);
    }
    let plan = match shared.vol(device.vnr) {
        Some(volume) => plan(&shared, volume, wish),
        None => Plan::Fail,
    };
    let copied = !may_change || gathered.copy.is_some();
    match plan {
        Plan::Wait => Outcome::Wait(bio),
        // The peer came between the two looks.
        Plan::Go { local, job } if local && job == Job::Replicate && !copied => Outcome::Again(bio),
        Plan::Go { local: true, .. }
            if wish.kind.modifies() && !activity::holds(&shared, device, &gathered.hold) =>
        {
            Outcome::TakeExtents(bio)
        }
        Plan::Go { local: true, .. } if local.is_none() => Outcome::Again(bio),
        Plan::Go {
            local: to_disk,
            job,
        } if !to_disk || clone.is_some() => {
            if wish.kind == Kind::Flush && !to_disk {
                // Nothing here can be flushed: the barrier makes the peer do it, and no event would complete this.
                shared.transfer.log.epoch.close();
                drop(shared);
                drop(clone);
                device.resource.connection.wake_sender();
                bio.end(Status::OK);
                return Outcome::Done;
            }
            let slot = admit(&mut shared, bio, wish, (to_disk, job), gathered);
            drop(shared);
            match slot {
                Ok(slot) => {
                    start(device, slot, wish, (clone.filter(|_| to_disk), local, job));
                    Outcome::Done
                }
                Err(back) => {
                    device.resource.connection.wake_sender();
                    Outcome::Wait(back)
                }
            }
        }
        Plan::Go { .. } | Plan::Fail => {
            drop(shared);
            drop(clone);
            bio.end(Status::IO_ERROR);
            Outcome::Done
        }
    }
}

/// Takes a slot. When all are taken the bio comes back; slots do when the peer confirms a barrier.
fn admit(
    shared: &mut Shared,
    bio: Bio,
    wish: &Wish,
    (to_disk, job): (bool, Job),
    gathered: &mut Gathered,
) -> Result<SlotId, Bio> {
    let new = NewRequest {
        kind: wish.kind,
        range: wish.range,
        local: to_disk,
        job,
        expect: expect(shared),
        retry: wish.retry,
        now_ms: time::now_ms(),
    };
    let max_epoch = shared
        .conn
        .net_conf
        .as_ref()
        .map_or(u32::MAX, |conf| conf.max_epoch_size);
    let Gathered { hold, copy } = gathered;
    match shared
        .transfer
        .admit(&new, max_epoch, bio, copy.clone(), hold)
    {
        Ok(slot) => {
            begun(shared, wish.range.volume, &new);
            Ok(slot)
        }
        Err(bio) => {
            shared.transfer.log.epoch.close();
            Err(bio)
        }
    }
}

/// Which answer of the peer completes a write.
fn expect(shared: &Shared) -> Expect {
    match shared.conn.net_conf.as_ref().map(|conf| conf.wire_protocol) {
        Some(Protocol::A) => Expect::Nothing,
        Some(Protocol::B) => Expect::Receipt,
        Some(Protocol::C) | None => Expect::Written,
    }
}

fn begun(shared: &mut Shared, vnr: u16, new: &NewRequest) {
    let Some(volume) = shared.vol_mut(vnr) else {
        return;
    };
    volume.stat.application = volume.stat.application.saturating_add(1);
    if new.kind == Kind::Flush {
        return;
    }
    if new.kind == Kind::Read {
        volume
            .flags
            .assign(VolFlag::ReadByPeer, new.job == Job::Read);
    }
    match new.job {
        Job::Nothing => {}
        Job::Replicate | Job::Read => volume.stat.pending = volume.stat.pending.saturating_add(1),
        Job::OutOfSync => {
            let Range {
                sector, sectors, ..
            } = new.range;
            volume
                .device
                .bitmap
                .set_out_of_sync(sector, u64::from(sectors));
        }
    }
    // The application sees this generation of the data from here on.
    if let Some(md) = volume
        .md
        .as_ref()
        .filter(|_| volume.state.disk == DiskState::UpToDate)
    {
        volume.exposed_uuid = md.uuids.current;
    }
}

fn prepare(local: &LocalRef, bio: &Bio, copy: Option<&StableCopy>) -> Option<OutBio> {
    let disk = &local.disk()?.data;
    match copy {
        Some(copy) => OutBio::copy_of(disk, bio, copy).ok(),
        None => OutBio::clone_of(disk, bio).ok(),
    }
}

/// Starts both halves of a request that has its slot.
fn start(
    device: &Arc<Device>,
    slot: SlotId,
    wish: &Wish,
    (clone, local, job): (Option<OutBio>, Option<LocalRef>, Job),
) {
    let slow = wish.kind.deallocates();
    let wake_sender = || {
        if job != Job::Nothing {
            device.resource.connection.wake_sender();
        }
    };
    if slow {
        // The peer's half takes long as well.
        wake_sender();
    }
    match (clone, local) {
        (Some(_), Some(local)) if slow => {
            local::deallocate(device, local, slot, &wish.range, wish.want());
        }
        (Some(clone), Some(local)) => local::submit(clone, local, slot),
        _ => {}
    }
    if !slow {
        wake_sender();
    }
    // A flush that only the peer needed is complete at once.
    transfer::finish(&device.resource);
}

fn plan(shared: &Shared, volume: &VolumeShared, wish: &Wish) -> Plan {
    if volume.suspended()
        || volume.io_suspenders > 0
        || !state::accepts_new_io(&volume.state, shared.conn.agreed_version)
    {
        return Plan::Wait;
    }
    let has_disk = volume.has_disk();
    match wish.kind {
        Kind::Read => plan_read(shared, volume, &wish.range, has_disk),
        Kind::Flush => plan_flush(volume, has_disk),
        Kind::Write | Kind::Discard | Kind::Zeroes => {
            if shared.transfer.conflicts(&wish.range) {
                return Plan::Wait;
            }
            let job = if state::replicates(&volume.state) {
                Job::Replicate
            } else if state::sends_out_of_sync(&volume.state) {
                if !congestion::may_mark(&shared.transfer, &wish.range) {
                    return Plan::Wait;
                }
                congestion::marking_job(volume, &wish.range)
            } else {
                Job::Nothing
            };
            // The peer marks a block that only it has, so it must know that only it has it; and it refuses one before it
            // knows that its own disk is good.
            let news = volume.flags.has(VolFlag::PeerDiskUntold)
                || (!has_disk && volume.flags.has(VolFlag::LossUntold));
            if news && job == Job::Replicate && !shared.changes.all_done() {
                return Plan::Wait;
            }
            if has_disk || job == Job::Replicate {
                Plan::Go {
                    local: has_disk,
                    job,
                }
            } else {
                Plan::Fail
            }
        }
    }
}

fn plan_read(shared: &Shared, volume: &VolumeShared, range: &Range, has_disk: bool) -> Plan {
    let here = has_disk
        && match volume.state.disk {
            DiskState::UpToDate => true,
            DiskState::Inconsistent => {
                let first = range.sector / crate::bitmap::SECTORS_PER_BIT;
                let last = range.end().saturating_sub(1) / crate::bitmap::SECTORS_PER_BIT;
                !volume.device.bitmap.any_set(first, last)
            }
            _ => false,
        };
    let there = volume.state.pdsk == DiskState::UpToDate && state::is_connected(volume.state.conn);
    if here && !(there && goes_to_peer(shared, volume, range)) {
        Plan::Go {
            local: true,
            job: Job::Nothing,
        }
    } else if there {
        Plan::Go {
            local: false,
            job: Job::Read,
        }
    } else {
        Plan::Fail
    }
}

/// Whether a read that both nodes could do is the peer's.
fn goes_to_peer(shared: &Shared, volume: &VolumeShared, range: &Range) -> bool {
    let policy = volume
        .disk_conf
        .as_ref()
        .map_or(ReadBalancing::PreferLocal, |conf| conf.read_balancing);
    if policy == ReadBalancing::PreferLocal {
        return false;
    }
    let ours = |owner: Owner, _: &Range| matches!(owner, Owner::Local(_));
    let facts = Facts {
        sector: range.sector,
        local: volume.stat.local,
        remote: volume
            .stat
            .pending
            .saturating_add(volume.stat.resync_pending),
        own_write: shared.transfer.writes.find_overlap(range, ours).is_some(),
        last_was_remote: volume.flags.has(VolFlag::ReadByPeer),
    };
    read_balance::goes_to_peer(policy, &facts)
}

fn plan_flush(volume: &VolumeShared, has_disk: bool) -> Plan {
    let job = if state::replicates(&volume.state) {
        Job::Replicate
    } else {
        Job::Nothing
    };
    if has_disk || job == Job::Replicate {
        Plan::Go {
            local: has_disk,
            job,
        }
    } else {
        Plan::Fail
    }
}

/// Waits until it makes sense to look again.
fn wait(device: &Device, wish: &Wish) {
    let resource = &device.resource;
    resource.state_wait.wait_idle(|| {
        let mut shared = resource.shared.lock();
        shared.transfer.waiting = true;
        let full = shared.transfer.is_full();
        match shared.vol(device.vnr) {
            Some(volume) => !full && !matches!(plan(&shared, volume, wish), Plan::Wait),
            None => true,
        }
    });
}

/// I/O of a volume is no longer suspended: what could not be completed is, and those who wait look again.
pub(crate) fn resume(device: &Device) {
    transfer::resumed(&mut device.resource.shared.lock(), device.vnr);
    transfer::finish(&device.resource);
}

/// A read that the peer could not serve goes to our disk.
pub(crate) fn read_here(device: &Arc<Device>, slot: SlotId) {
    let resource = &device.resource;
    let bio = resource.shared.lock().transfer.take_bio(slot);
    let Some(bio) = bio else { return };
    let local = Device::get_local(device);
    let clone = local.as_ref().and_then(|local| prepare(local, &bio, None));
    resource.shared.lock().transfer.put_bio(slot, bio);
    match (clone, local) {
        (Some(clone), Some(local)) => local::submit(clone, local, slot),
        _ => {
            transfer::tell(
                &mut resource.shared.lock(),
                slot,
                Event::LocalDone { ok: false },
            );
            transfer::finish(resource);
        }
    }
}
