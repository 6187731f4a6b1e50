// SPDX-License-Identifier: GPL-2.0-only

//! Becoming Primary and Secondary.

use super::{
    context::{Context, Info},
    refuse, Answer, Outcome,
};
use crate::{change::How, device::Device, fence, metadata, params, prelude::*, tag::Tag};
use drbd_core::{
    config::parms::SetRoleParms,
    meta::Superblock,
    request::{Request, SlotId},
    state::{self, Attempt, Promotion},
    trace::{self, Kind, Tried},
    types::{ConnState, Role, State, StateRv},
};
use kernel::sync::MutexGuard;

/// How long a demotion waits for the peer to confirm what was written.
const CONFIRM_MS: u32 = 10_000;

fn parms(context: &Context<'_>, info: &mut Info) -> Result<SetRoleParms, Answer> {
    SetRoleParms::parse(context.request.arguments()).map_err(|refusal| refuse(info, refusal))
}

/// `primary`
#[inline(never)]
pub(super) fn primary(context: &Context<'_>, info: &mut Info) -> Outcome {
    let device = context.device()?;
    let parms = parms(context, info)?;
    let _admin = device.resource.admin.lock();
    Ok(set(device, Role::Primary, parms.assume_uptodate).into())
}

/// `secondary`
#[inline(never)]
pub(super) fn secondary(context: &Context<'_>, info: &mut Info) -> Outcome {
    let device = context.device()?;
    parms(context, info)?;
    let _admin = device.resource.admin.lock();
    Ok(set(device, Role::Secondary, false).into())
}

/// Changes the role. Called with `Resource::admin` held.
pub(super) fn set(device: &Arc<Device>, role: Role, force: bool) -> StateRv {
    let resource = &device.resource;
    if role == Role::Secondary {
        confirmed(device);
    }
    let mut promotion = Promotion::new(role, force);
    let (result, _one_at_a_time) = attempts(device, &mut promotion);
    if result.is_refusal() || result == StateRv::NothingToDo {
        return result;
    }
    if promotion.forced {
        pr_warn!(
            "{}: Forced to consider local data as UpToDate!\n",
            Tag(device)
        );
    }
    // Writes that the peer has not confirmed belong to the old role.
    resource.state_wait.wait(|| {
        let shared = resource.shared.lock();
        shared
            .vol(device.vnr)
            .is_none_or(|volume| volume.stat.pending == 0)
    });
    let begin = match (role, now(device)) {
        (Role::Primary, Some((state, has_own))) => {
            forget_discard(device);
            state::starts_generation(&promotion, &state, has_own)
        }
        _ => false,
    };
    if begin && promotion.forced {
        metadata::new_current_uuid(device);
    } else if begin {
        metadata::begin_generation(device);
    }
    metadata::mark_role(device, role);
    metadata::sync(device);
    tell_peer(device, promotion.forced);
    device.with_disk(|disk| {
        disk.set_read_only(role == Role::Secondary);
        disk.announce_change();
    });
    result
}

/// Waits until the peer has all our writes on stable storage. If it loses some with its power, a Primary begins a
/// generation, and they are resynced; a Secondary would not learn that the copies differ. Not for ever: a peer that
/// does not answer is given up by others.
fn confirmed(device: &Device) {
    let resource = &device.resource;
    resource.state_wait.wait_timeout(CONFIRM_MS, || {
        let mut shared = resource.shared.lock();
        // Confirmed writes wake nobody unless somebody is known to wait.
        shared.transfer.waiting = true;
        let Some(volume) = shared.vol(device.vnr) else {
            return true;
        };
        let in_vain = volume.openers > 0 || volume.suspended() || !state::replicates(&volume.state);
        let unconfirmed = |(_, request): (SlotId, &Request)| {
            request.range.volume == device.vnr && request.kind.modifies()
        };
        in_vain || !shared.transfer.log.iter().any(unconfirmed)
    });
}

/// The peer learns of the role and, if that was forced, of the generation that comes with it: it then considers a
/// resync.
fn tell_peer(device: &Arc<Device>, forced: bool) {
    if !now(device).is_some_and(|(state, _)| state::has_socket(state.conn)) {
        return;
    }
    let uuids = if forced {
        params::send_uuids(device)
    } else {
        Ok(())
    };
    if let Err(error) = uuids.and_then(|()| params::send_state(device)) {
        if error != ENOTCONN {
            pr_err!(
                "{}: telling the peer of our role failed: {:?}\n",
                Tag(device),
                error
            );
            device.resource.connection_failed(ConnState::NetworkFailure);
        }
    }
}

/// The state, and whether nobody else has the current generation.
fn now(device: &Device) -> Option<(State, bool)> {
    let shared = device.resource.shared.lock();
    let volume = shared.vol(device.vnr)?;
    let md = volume.md.as_ref();
    Some((volume.state, md.is_some_and(Superblock::has_own_generation)))
}

/// A Primary's data are not to be discarded.
fn forget_discard(device: &Device) {
    let mut shared = device.resource.shared.lock();
    if let Some(net) = shared.conn.net_conf.as_mut() {
        net.discard_my_data = false;
    }
}

/// Tries until it works or does not; returns with the turn to change states.
fn attempts<'a>(
    device: &'a Arc<Device>,
    promotion: &mut Promotion,
) -> (StateRv, MutexGuard<'a, ()>) {
    let resource = &device.resource;
    let mut how = How::SOFT.in_turn().waiting();
    let mut last = false;
    loop {
        let seen = resource.changes_so_far();
        let turn = resource.state_mutex.lock();
        let result = resource.change(device.vnr, &promotion.change, how);
        if result == StateRv::InTransientState {
            drop(turn);
            resource.wait_for_change(seen);
            continue;
        }
        let Some((state, _)) = now(device) else {
            return (StateRv::UnknownError, turn);
        };
        if last {
            return (result, turn);
        }
        match next_attempt(device, promotion, result, state) {
            Attempt::Done(result) => return (result, turn),
            Attempt::Again => {}
            Attempt::FencePeer => {
                let outdated = fence::peer(resource);
                promotion.fenced(result, outdated);
            }
            Attempt::WaitForPeer => {
                let tenths = resource.ping_timeout_ds().saturating_add(1);
                kernel_ext::time::sleep_ms(tenths.saturating_mul(100));
            }
            Attempt::LastTry => {
                how = how.verbose();
                last = true;
            }
        }
    }
}

/// Decides, and writes down, what follows an attempt.
fn next_attempt(
    device: &Device,
    promotion: &mut Promotion,
    result: StateRv,
    state: State,
) -> Attempt {
    let tried = Tried {
        promotion: *promotion,
        result,
        state,
    };
    let (next, after) = tried.decide();
    *promotion = after;
    let trace = &device.resource.trace;
    let answer = trace::attempt(&next, &after);
    trace.note(device.vnr, Kind::Promote, &tried.pack(), answer);
    next
}
