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
    device::{Device, LocalRef},
    local,
    prelude::*,
    resource::{Resource, Shared, VolumeShared},
    stable, transfer,
};
use drbd_core::{
    config::choices::Protocol,
    interval::Range,
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
        })
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

/// A bio whose conflict with the other primary was resolved against it starts again.
pub(crate) fn restart(device: &Arc<Device>, bio: Bio) {
    match Wish::of(device, &bio) {
        Some(wish) => enter(device, bio, &wish),
        None => bio.end(Status::IO_ERROR),
    }
}

/// A write whose extents have got into the activity log, or need not, goes on. Called by the log's thread.
pub(crate) fn go_on(device: &Arc<Device>, bio: Bio, hold: Option<Hold>) {
    match Wish::of(device, &bio) {
        Some(wish) => route(device, bio, &wish, hold, true),
        None => bio.end(Status::IO_ERROR),
    }
}

/// A write may need the activity log first.
#[inline]
fn enter(device: &Arc<Device>, bio: Bio, wish: &Wish) {
    let entered = match wish.kind.modifies() {
        true => activity::enter(device, &wish.range),
        false => Entered::Free,
    };
    match entered {
        Entered::Free => route(device, bio, wish, None, false),
        Entered::Hot(hold) => route(device, bio, wish, Some(hold), false),
        Entered::Cold if wish.nowait => bio.end(Status::AGAIN),
        Entered::Cold => activity::wait_in_line(device, bio),
    }
}

/// Before a wait its extents are given up; this takes them again. None: the bio was left to the log's thread.
fn enter_again(
    device: &Arc<Device>,
    bio: Bio,
    wish: &Wish,
    by_log: bool,
) -> Option<(Bio, Option<Hold>)> {
    if !wish.kind.modifies() {
        return Some((bio, None));
    }
    if by_log {
        return Some((bio, activity::enter_here(device, &wish.range)));
    }
    match activity::enter(device, &wish.range) {
        Entered::Free => Some((bio, None)),
        Entered::Hot(hold) => Some((bio, Some(hold))),
        Entered::Cold => {
            activity::wait_in_line(device, bio);
            None
        }
    }
}

/// `by_log`: in the thread of the activity log, which may write a transaction itself.
fn route(device: &Arc<Device>, mut bio: Bio, wish: &Wish, mut hold: Option<Hold>, by_log: bool) {
    let resource = &device.resource;
    let may_change = stable::may_change(wish.kind, &bio);
    let mut copy = None;
    loop {
        if may_change && copy.is_none() && stable::two_readers(device) {
            copy = stable::copy(device, &bio);
            if copy.is_none() {
                bio.end(Status::AGAIN);
                return;
            }
        }
        // The clone is made before the slot is taken: once it has a slot, the bio is shared with the sender.
        let local = Device::get_local(device);
        let clone = local
            .as_ref()
            .and_then(|local| prepare(local, &bio, copy.as_ref()));
        let mut shared = resource.shared.lock();
        let plan = match shared.vol(device.vnr) {
            Some(volume) => plan(&shared, volume, wish),
            None => Plan::Fail,
        };
        let (to_disk, job) = match plan {
            // The peer came between the two looks: look again.
            Plan::Go { local, job }
                if local && job == Job::Replicate && may_change && copy.is_none() =>
            {
                continue
            }
            // The disk came, or was replaced, since the extents were taken.
            Plan::Go { local: true, .. }
                if !wish.nowait
                    && wish.kind.modifies()
                    && !activity::holds(&shared, device, &hold) =>
            {
                drop(shared);
                drop(hold.take());
                match enter_again(device, bio, wish, by_log) {
                    Some(again) => (bio, hold) = again,
                    None => return,
                }
                continue;
            }
            Plan::Go { local, job } if !local || clone.is_some() => (local, job),
            Plan::Go { .. } | Plan::Wait if wish.nowait => {
                drop(shared);
                drop(clone);
                bio.end(Status::AGAIN);
                return;
            }
            // The disk came or went between the two looks: look again.
            Plan::Go { .. } if local.is_none() => continue,
            Plan::Go { .. } | Plan::Fail => {
                drop(shared);
                drop(clone);
                bio.end(Status::IO_ERROR);
                return;
            }
            Plan::Wait => {
                drop(shared);
                drop(clone);
                drop(local);
                drop(hold.take());
                wait(device, wish);
                match enter_again(device, bio, wish, by_log) {
                    Some(again) => (bio, hold) = again,
                    None => return,
                }
                continue;
            }
        };
        if wish.kind == Kind::Flush && !to_disk {
            // Nothing here can be flushed: the barrier makes the peer do it, and no event would complete this.
            shared.transfer.log.epoch.close();
            drop(shared);
            resource.connection.wake_sender();
            bio.end(Status::OK);
            return;
        }
        let new = NewRequest {
            kind: wish.kind,
            range: wish.range,
            local: to_disk,
            job,
            expect: expect(&shared),
            retry: wish.retry,
            now_ms: time::now_ms(),
        };
        let max_epoch = shared
            .conn
            .net_conf
            .as_ref()
            .map_or(u32::MAX, |conf| conf.max_epoch_size);
        match shared
            .transfer
            .admit(&new, max_epoch, bio, copy.clone(), &mut hold)
        {
            Ok(slot) => {
                begun(&mut shared, device.vnr, wish.kind);
                drop(shared);
                start(device, slot, clone.filter(|_| to_disk), local, job);
                return;
            }
            Err(back) => {
                // All slots are taken. Slots come back when the peer confirms a barrier.
                bio = back;
                shared.transfer.log.epoch.close();
                drop(shared);
                drop(clone);
                drop(local);
                resource.connection.wake_sender();
                if wish.nowait {
                    bio.end(Status::AGAIN);
                    return;
                }
                drop(hold.take());
                wait(device, wish);
                match enter_again(device, bio, wish, by_log) {
                    Some(again) => (bio, hold) = again,
                    None => return,
                }
            }
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

fn begun(shared: &mut Shared, vnr: u16, kind: Kind) {
    let Some(volume) = shared.vol_mut(vnr) else {
        return;
    };
    volume.stat.application = volume.stat.application.saturating_add(1);
    if kind == Kind::Flush {
        return;
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
    clone: Option<OutBio>,
    local: Option<LocalRef>,
    job: Job,
) {
    if let (Some(clone), Some(local)) = (clone, local) {
        local::submit(clone, local, slot);
    }
    if job != Job::Nothing {
        device.resource.connection.wake_sender();
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
        Kind::Read => plan_read(volume, &wish.range, has_disk),
        Kind::Flush => plan_flush(volume, has_disk),
        Kind::Write | Kind::Discard | Kind::Zeroes => {
            if shared.transfer.conflicts(&wish.range) {
                return Plan::Wait;
            }
            let job = if state::replicates(&volume.state) {
                Job::Replicate
            } else if state::sends_out_of_sync(&volume.state) {
                Job::OutOfSync
            } else {
                Job::Nothing
            };
            // The peer marks a block that only it has, so it must know that only it has it.
            let untold = volume.flags.has(VolFlag::LOSS_UNTOLD) && !shared.changes.all_done();
            if !has_disk && job == Job::Replicate && untold {
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

fn plan_read(volume: &VolumeShared, range: &Range, has_disk: bool) -> Plan {
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
    if here {
        Plan::Go {
            local: true,
            job: Job::Nothing,
        }
    } else if volume.state.pdsk == DiskState::UpToDate && state::is_connected(volume.state.conn) {
        Plan::Go {
            local: false,
            job: Job::Read,
        }
    } else {
        Plan::Fail
    }
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
        let full = shared.transfer.log.len() as usize >= transfer::SLOTS;
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
pub(crate) fn read_here(resource: &Resource, vnr: u16, slot: SlotId) {
    let (device, bio) = {
        let mut shared = resource.shared.lock();
        let device = shared.vol(vnr).map(|volume| volume.device.clone());
        (device, shared.transfer.take_bio(slot))
    };
    let (Some(device), Some(bio)) = (device, bio) else {
        return;
    };
    let local = Device::get_local(&device);
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
