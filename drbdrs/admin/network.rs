// SPDX-License-Identifier: GPL-2.0-only

//! Configuring the connection.

use super::{
    context::{Context, Info},
    refuse, Answer, Outcome, SETTLE_MS,
};
use crate::{change::How, events, params, prelude::*, resource::Resource, session};
use drbd_core::{
    config::{
        choices::{Fencing, OnCongestion, Protocol},
        parms::DisconnectParms,
        schema::SET_DEFAULTS,
        text::{Bytes, Text},
        NetConf,
    },
    state::{self, Change},
    types::{ConnState, DiskState, RetCode, Role, StateRv},
    wire::Command,
};
use kernel_ext::{crypto::Shash, time};

/// `connect`
#[inline(never)]
pub(super) fn connect(context: &Context<'_>, info: &mut Info) -> Outcome {
    let resource = context.resource()?;
    let addresses = &context.request.context;
    let (Some(my), Some(peer)) = (addresses.my_addr, addresses.peer_addr) else {
        info.say("connection endpoint(s) missing");
        return Err(RetCode::InvalidRequest.into());
    };
    match context.registry.addresses_in_use(&my, &peer) {
        (true, _) => return Err(RetCode::LocalAddr.into()),
        (false, true) => return Err(RetCode::PeerAddr.into()),
        (false, false) => {}
    }
    let admin = resource.admin.lock();
    if admin.removed {
        return Err(RetCode::ResNotKnown.into());
    }
    if resource.is_net_configured() {
        return Err(RetCode::NetConfigured.into());
    }
    let conf =
        NetConf::parse(context.request.arguments()).map_err(|refusal| refuse(info, refusal))?;
    check(resource, None, &conf)?;
    check_algorithms(&conf)?;
    resource.flush_changes();
    configure(resource, conf, my, peer)?;
    events::connection_created(resource);
    let unconnected = Change::conn(ConnState::Unconnected);
    Ok(resource
        .change_all(&unconnected, How::SOFT.verbose())
        .into())
}

fn configure(
    resource: &Resource,
    conf: NetConf,
    my_addr: Bytes<128>,
    peer_addr: Bytes<128>,
) -> Result<(), Answer> {
    let mut shared = resource.shared.lock();
    if shared.conn.net_conf.is_some() {
        return Err(RetCode::NetConfigured.into());
    }
    shared.conn.net_conf = Some(conf);
    shared.conn.my_addr = my_addr;
    shared.conn.peer_addr = peer_addr;
    for volume in shared.volumes.iter_mut() {
        volume.stat.sent = 0;
        volume.stat.received = 0;
    }
    Ok(())
}

/// What options must not contradict: each other, the disks, the roles, and what is agreed with the peer.
fn check(resource: &Resource, old: Option<&NetConf>, new: &NetConf) -> Result<(), Answer> {
    let shared = resource.shared.lock();
    let connected = state::has_socket(shared.conn.cstate);
    if let (Some(old), true) = (old, connected) {
        if shared.conn.agreed_version < 100 {
            let fixed =
                |conf: &NetConf| (conf.wire_protocol, conf.two_primaries, conf.integrity_alg);
            if fixed(old) != fixed(new) {
                return Err(RetCode::NeedApv100.into());
            }
        }
        let two =
            shared.highest_role() == Role::Primary && shared.highest_peer_role() == Role::Primary;
        if two && !new.two_primaries {
            return Err(RetCode::NeedAllowTwoPri.into());
        }
    }
    if new.two_primaries && new.wire_protocol != Protocol::C {
        return Err(RetCode::NotProtoC.into());
    }
    for volume in shared.volumes.iter() {
        let fencing = volume.disk_conf.as_ref().map(|conf| conf.fencing);
        if new.wire_protocol == Protocol::A && fencing == Some(Fencing::ResourceAndStonith) {
            return Err(RetCode::StonithAndProtA.into());
        }
        if volume.state.role == Role::Primary && new.discard_my_data {
            return Err(RetCode::DiscardImpossible.into());
        }
    }
    if new.on_congestion != OnCongestion::Block && new.wire_protocol != Protocol::A {
        return Err(RetCode::CongNotProtoA.into());
    }
    Ok(())
}

/// Whether the kernel has the algorithms, now that it can still be told.
fn check_algorithms(conf: &NetConf) -> Result<(), Answer> {
    let known = |name: &Text<64>, keyed: bool| {
        if name.is_empty() {
            return true;
        }
        let Some(text) = name.as_str() else {
            return false;
        };
        let full = if keyed {
            CString::try_from_fmt(fmt!("hmac({})", text))
        } else {
            CString::try_from_fmt(fmt!("{}", text))
        };
        full.and_then(|full| Shash::new(&full, None)).is_ok()
    };
    let wanted = [
        (&conf.csums_alg, false, RetCode::CsumsAlg),
        (&conf.verify_alg, false, RetCode::VerifyAlg),
        (&conf.integrity_alg, false, RetCode::IntegrityAlg),
        (&conf.cram_hmac_alg, true, RetCode::AuthAlg),
    ];
    match wanted.iter().find(|(name, keyed, _)| !known(name, *keyed)) {
        Some((_, _, code)) => Err((*code).into()),
        None => Ok(()),
    }
}

/// `net-options`
#[inline(never)]
pub(super) fn options(context: &Context<'_>, info: &mut Info) -> Outcome {
    let resource = context.resource()?;
    let reset = context.header.value & SET_DEFAULTS != 0;
    let _admin = resource.admin.lock();
    let Some(old) = resource.shared.lock().conn.net_conf else {
        info.say("net conf missing, try connect");
        return Err(RetCode::InvalidRequest.into());
    };
    let mut new = old;
    new.change(context.request.arguments(), reset)
        .map_err(|refusal| refuse(info, refusal))?;
    check(resource, Some(&old), &new)?;
    check_algorithms(&new)?;
    let mut shared = resource.shared.lock();
    let running =
        |found: fn(ConnState) -> bool| shared.volumes.iter().any(|volume| found(volume.state.conn));
    if running(state::is_resync) && new.csums_alg != old.csums_alg {
        return Err(RetCode::CsumsResyncRunning.into());
    }
    if running(state::is_verify) && new.verify_alg != old.verify_alg {
        return Err(RetCode::VerifyRunning.into());
    }
    shared.conn.net_conf = Some(new);
    resource.connection.configure(&new);
    let connected = shared.conn.cstate == ConnState::WfReportParams;
    let version = shared.conn.agreed_version;
    drop(shared);
    if connected {
        tell_peer(resource, version);
    }
    Ok(Answer::OK)
}

/// Options that hold for both sides were changed while they are connected.
fn tell_peer(resource: &Arc<Resource>, version: u32) {
    // Whoever finds the connection broken says so elsewhere.
    if version >= 100 {
        let _ = session::send_protocol(resource, Command::ProtocolUpdate);
    }
    let mut from = Some(0);
    while let Some(device) = from.and_then(|vnr| resource.device_from(vnr)) {
        let _ = params::send_sync_param(&device);
        from = device.vnr.checked_add(1);
    }
}

/// `disconnect`
#[inline(never)]
pub(super) fn disconnect(context: &Context<'_>, info: &mut Info) -> Outcome {
    let resource = context.resource()?;
    let parms = DisconnectParms::parse(context.request.arguments())
        .map_err(|refusal| refuse(info, refusal))?;
    let _admin = resource.admin.lock();
    let result = try_disconnect(resource, parms.force_disconnect);
    Ok(if result.is_refusal() {
        result.into()
    } else {
        Answer::OK
    })
}

/// Takes the connection down, with what it takes to satisfy the peer. Called with `Resource::admin` held.
pub(super) fn try_disconnect(resource: &Arc<Resource>, force: bool) -> StateRv {
    let result = ask_to_leave(resource, force);
    if result.is_refusal() {
        return match result {
            StateRv::AlreadyStandalone => StateRv::Success,
            other => other,
        };
    }
    resource.wait_for_receiver();
    // The receiver normally was here first; not if there was none to clean up.
    let gone = resource.change_all(&Change::conn(ConnState::StandAlone), How::HARD);
    if gone.is_refusal() && gone != StateRv::AlreadyStandalone {
        pr_err!(
            "{}: unexpected result {} of disconnecting\n",
            resource.name(),
            gone.to_wire()
        );
    }
    resource.flush_changes();
    result
}

fn ask_to_leave(resource: &Arc<Resource>, force: bool) -> StateRv {
    let leave = Change::conn(ConnState::Disconnecting);
    let how = if force { How::HARD } else { How::SOFT };
    let until = time::now_ms().saturating_add(u64::from(SETTLE_MS));
    loop {
        let before = resource.shared.lock().conn.cstate;
        let result = resource.change_all(&leave, how);
        match result {
            StateRv::PrimaryNop => {
                // Our own rules want to see the peer outdated.
                let outdating = Change {
                    pdsk: Some(DiskState::Outdated),
                    ..leave
                };
                let result = resource.change_all(&outdating, How::SOFT);
                if result == StateRv::OutdateWoConn {
                    return resource.change_all(&leave, How::SOFT.verbose());
                }
                return result;
            }
            StateRv::CwFailedByPeer | StateRv::ConcurrentStChg => {
                let is_over = || state::is_before_report_params(resource.shared.lock().conn.cstate);
                // What the peer wants itself at this moment may be to leave us.
                let patience = match result {
                    StateRv::ConcurrentStChg => SETTLE_MS,
                    _ => 0,
                };
                if is_over() || resource.state_wait.wait_timeout(patience, is_over) {
                    continue;
                }
                // The peer wants to see us outdated.
                let outdated = Change {
                    disk: Some(DiskState::Outdated),
                    ..leave
                };
                let result = resource.change_all(&outdated, How::SOFT);
                if matches!(result, StateRv::IsDiskless | StateRv::LowerThanOutdated) {
                    return resource.change_all(&leave, How::HARD);
                }
                return result;
            }
            // The peer has just left, and the receiver is between two connections.
            StateRv::InTransientState if time::now_ms() < until => {
                let moved = || resource.shared.lock().conn.cstate != before;
                resource.state_wait.wait_timeout(SETTLE_MS, moved);
            }
            other => return other,
        }
    }
}
