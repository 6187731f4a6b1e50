// SPDX-License-Identifier: GPL-2.0-only

//! Changes of state that need the peer's consent: promotion, leaving, the start of a full sync, giving up a disk.
//!
//! The wish is judged here first; then the peer is asked (P_STATE_CHG_REQ, P_CONN_ST_CHG_REQ), and its answer comes
//! on the meta stream. While we wait everything may happen: the wish may become illegal, or need nobody's consent any
//! more because the connection broke. One wish at a time (`Resource::state_mutex`); when both sides wish at once, the
//! one that breaks ties refuses the other's.

use crate::{
    change::{self, How},
    prelude::*,
    resource::{Resource, Shared},
};
use drbd_core::{
    state::{self, Change},
    types::{ConnState, StateRv},
    wire::{Command, StateChange, StateChangeReply},
};

/// Asks the peer about a change of one volume, if it must be asked. May sleep.
pub(crate) fn of_volume(
    resource: &Resource,
    vnr: u16,
    change: &Change,
    how: How,
) -> Result<(), StateRv> {
    if how.is_fact()
        || how.is_here()
        || !volume_needs_peer(&resource.shared.lock(), vnr, change, how)
    {
        return Ok(());
    }
    let _turn = (!how.has_turn()).then(|| resource.state_mutex.lock());
    {
        let mut shared = resource.shared.lock();
        if !volume_needs_peer(&shared, vnr, change, how) {
            return Ok(());
        }
        forget_answers(&mut shared, vnr);
    }
    let (mask, val) = change.to_wire();
    let wish = StateChange { mask, val };
    let sent = resource
        .connection
        .data
        .send(vnr, Command::StateChgReq, &wish);
    let result = match sent {
        Ok(()) => wait(resource, |shared| volume_answer(shared, vnr, change, how)),
        Err(_) => Err(StateRv::CwFailedByPeer),
    };
    log_refusal(resource, &result, how);
    result
}

/// Asks the peer to let us go, if `change` is that and it must be asked. May sleep.
pub(crate) fn of_connection(resource: &Resource, change: &Change, how: How) -> Result<(), StateRv> {
    let needed = |shared: &Shared| {
        state::connection_needs_peer(shared.conn.cstate, change.conn)
            && all_agree(shared, change, how).is_ok()
    };
    if how.is_fact() || how.is_here() || !needed(&resource.shared.lock()) {
        return Ok(());
    }
    let _turn = (!how.has_turn()).then(|| resource.state_mutex.lock());
    let version = {
        let mut shared = resource.shared.lock();
        if !needed(&shared) {
            return Ok(());
        }
        shared.conn.asked_peer = true;
        shared.conn.peer_reply = None;
        // Before it is sent: the peer may close the streams before this thread runs again.
        shared.conn.disconnect_sent = true;
        shared.conn.agreed_version
    };
    let command = match version {
        0..=99 => Command::StateChgReq,
        _ => Command::ConnStChgReq,
    };
    let (mask, val) = change.to_wire();
    let sent = resource
        .connection
        .data
        .send(0, command, &StateChange { mask, val });
    let result = match sent {
        Ok(()) => wait(resource, |shared| connection_answer(shared, change, how)),
        Err(_) => Err(StateRv::CwFailedByPeer),
    };
    {
        let conn = &mut resource.shared.lock().conn;
        conn.asked_peer = false;
        conn.disconnect_sent = result.is_ok();
    }
    log_refusal(resource, &result, how);
    result
}

fn log_refusal(resource: &Resource, result: &Result<(), StateRv>, how: How) {
    if let (Err(refusal), true) = (result, how.is_verbose()) {
        pr_err!(
            "{}: State change failed: {}\n",
            resource.name(),
            refusal.text()
        );
    }
}

/// Waits for a verdict. Everything that may lead to one wakes `state_wait`.
fn wait(
    resource: &Resource,
    mut verdict: impl FnMut(&mut Shared) -> Option<Result<(), StateRv>>,
) -> Result<(), StateRv> {
    let mut result = Ok(());
    resource
        .state_wait
        .wait_idle(|| match verdict(&mut resource.shared.lock()) {
            Some(found) => {
                result = found;
                true
            }
            None => false,
        });
    result
}

fn volume_needs_peer(shared: &Shared, vnr: u16, change: &Change, how: How) -> bool {
    let Some(volume) = shared.vol(vnr) else {
        return false;
    };
    match change::judge(shared, volume, change, how, false) {
        Ok(accepted) => state::needs_peer(&volume.state, &accepted.new),
        // Refused without asking anybody.
        Err(_) => false,
    }
}

fn forget_answers(shared: &mut Shared, vnr: u16) {
    if let Some(volume) = shared.vol_mut(vnr) {
        volume.flags.clear(VolFlag::ClusterChangeAgreed);
        volume.flags.clear(VolFlag::ClusterChangeRefused);
    }
}

fn volume_answer(
    shared: &mut Shared,
    vnr: u16,
    change: &Change,
    how: How,
) -> Option<Result<(), StateRv>> {
    let Some(volume) = shared.vol_mut(vnr) else {
        return Some(Err(StateRv::UnknownError));
    };
    if volume.flags.clear(VolFlag::ClusterChangeAgreed) {
        return Some(Ok(()));
    }
    if volume.flags.clear(VolFlag::ClusterChangeRefused) {
        return Some(Err(StateRv::CwFailedByPeer));
    }
    let volume = shared.vol(vnr)?;
    match change::judge(shared, volume, change, how, false) {
        Ok(accepted) if state::needs_peer(&volume.state, &accepted.new) => None,
        // Nothing to ask any more, and nothing in its way.
        Ok(_) | Err(StateRv::NothingToDo) => Some(Ok(())),
        Err(refusal) => Some(Err(refusal)),
    }
}

fn connection_answer(
    shared: &mut Shared,
    change: &Change,
    how: How,
) -> Option<Result<(), StateRv>> {
    let reply = shared.conn.peer_reply.take();
    if let Err(refusal) = all_agree(shared, change, how) {
        return Some(Err(refusal));
    }
    if shared.conn.cstate != ConnState::WfReportParams {
        return Some(Ok(()));
    }
    reply.map(|rv| match rv.is_refusal() {
        true => Err(rv),
        false => Ok(()),
    })
}

/// Whether no volume objects.
fn all_agree(shared: &Shared, change: &Change, how: How) -> Result<(), StateRv> {
    for volume in shared.volumes.iter() {
        match change::judge(shared, volume, change, how, true) {
            Ok(_) | Err(StateRv::NothingToDo) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(())
}

/// Turns a wish of the peer's around to how it looks from here, unless it collides with one of ours.
pub(crate) fn peers_wish(resource: &Resource, wish: &StateChange) -> Result<Change, StateRv> {
    let change = Change::from_wire(wish.mask, wish.val).and_then(Change::seen_from_here);
    let change = change.map_err(|bad| {
        pr_err!(
            "{}: the peer asks for a strange change: {:?}\n",
            resource.name(),
            bad
        );
        StateRv::NotSupported
    })?;
    let busy = resource.state_mutex.try_lock().is_none();
    let conn = &resource.shared.lock().conn;
    let ours = match (busy, conn.asked_peer) {
        (false, _) => state::Pending::Nothing,
        (true, true) => state::Pending::Leave,
        (true, false) => state::Pending::Other,
    };
    if state::collides(conn.resolve_conflicts, ours, &change) {
        return Err(StateRv::ConcurrentStChg);
    }
    Ok(change)
}

/// Tells the peer what came of its wish.
pub(crate) fn answer(resource: &Resource, vnr: u16, command: Command, result: StateRv) -> Result {
    let reply = StateChangeReply {
        retcode: result.to_wire(),
    };
    resource.connection.control.send(vnr, command, &reply)
}
