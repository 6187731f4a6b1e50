// SPDX-License-Identifier: GPL-2.0-only

//! The meta stream: answers of the peer, and whether it is alive.
//!
//! When nothing was heard on either stream for `ping-int`, a ping is sent; when its answer does not come within
//! `ping-timeout`, and nothing else does either, the peer is gone.

use crate::{
    acks,
    prelude::*,
    receiver::{self, Arrived},
    resource::Resource,
};
use drbd_core::{
    config::NetConf,
    types::{ConnState, StateRv},
    wire::{Agreed, Command, Empty, Packet, Socket, StateChangeReply},
};
use kernel_ext::{net::TcpStream, thread, time};

/// The body of the ack sender's thread.
pub(crate) fn send(resource: &Arc<Resource>) {
    let waiting = &resource.connection.ack_wait;
    let mut cpus = 0;
    loop {
        resource.follow_cpus(&mut cpus);
        waiting.wait_idle(|| thread::should_stop() || acks::pending(&resource.shared.lock()));
        if thread::should_stop() {
            return;
        }
        if let Err(error) = acks::send_queued(resource) {
            if !thread::should_stop() {
                pr_err!(
                    "{}: sending acknowledgements failed: {:?}\n",
                    resource.name(),
                    error
                );
                resource.connection_failed(ConnState::NetworkFailure);
            }
            return;
        }
    }
}

impl Resource {
    /// Waits until the peer has seen everything that was sent to it on the meta stream; `false` if it does not
    /// answer in time, or the connection is gone.
    pub(crate) fn ping_peer(&self) -> bool {
        let connection = &self.connection;
        let before = connection.ping_acks();
        if connection.control.send(0, Command::Ping, &Empty).is_err() {
            return false;
        }
        let patience_ms = self.ping_timeout_ds().saturating_mul(400);
        let answered = || connection.ping_acks() != before;
        let gone = || self.shared.lock().conn.cstate != ConnState::WfReportParams;
        self.state_wait
            .wait_timeout(patience_ms, || answered() || gone())
            && answered()
    }
}

/// Why the receiving of answers ends.
enum End {
    /// We were told to.
    Told,
    /// The peer or the network failed.
    Lost(ConnState),
}

/// When the peer has to be heard again.
#[derive(Default)]
struct Patience {
    ping_interval_ms: u32,
    ping_timeout_ms: u32,
    send_timeout_ms: u32,
    pinged: bool,
}

impl Patience {
    fn configure(&mut self, net: &NetConf) {
        self.ping_interval_ms = net.ping_int.saturating_mul(1000);
        self.ping_timeout_ms = net.ping_timeo.saturating_mul(100);
        self.send_timeout_ms = net.timeout.saturating_mul(100);
    }
}

/// The body of the ack receiver's thread.
pub(crate) fn receive(resource: &Arc<Resource>, stream: &TcpStream, agreed: &Agreed) {
    let mut patience = Patience::default();
    let (mut cpus, mut configured) = (0, None);
    loop {
        resource.follow_cpus(&mut cpus);
        let now = Some(resource.connection.configured());
        if core::mem::replace(&mut configured, now) != now {
            let Some(net) = resource.shared.lock().conn.net_conf else {
                return;
            };
            patience.configure(&net);
        }
        match one(resource, stream, agreed, &mut patience) {
            Ok(()) => {}
            Err(End::Told) => return,
            Err(End::Lost(why)) => {
                resource.connection_failed(why);
                return;
            }
        }
    }
}

fn one(
    resource: &Arc<Resource>,
    stream: &TcpStream,
    agreed: &Agreed,
    patience: &mut Patience,
) -> Result<(), End> {
    let name = resource.name();
    let mut head = [0; receiver::HEADER_SIZE];
    let head = head.get_mut(..agreed.format().size()).ok_or(End::Told)?;
    receive_head(resource, stream, head, patience)?;
    let header = agreed.format().parse(head).map_err(|error| {
        pr_err!("{}: meta stream: no header: {:?}\n", name, error);
        End::Lost(ConnState::ProtocolError)
    })?;
    let bounds = agreed.admit(Socket::Meta, header).map_err(|refused| {
        receiver::log_refused(name, "meta", &header, refused);
        End::Lost(ConnState::ProtocolError)
    })?;
    let mut fixed = [0; receiver::FIXED_SIZE];
    let fixed = fixed.get_mut(..bounds.fixed as usize).ok_or(End::Told)?;
    if let Err(error) = stream.recv_exact(fixed) {
        return Err(lost(resource, error, patience.ping_timeout_ms));
    }
    resource.connection.heard();
    let packet = Arrived {
        resource,
        stream,
        vnr: header.volume,
        command: header.command,
        fixed,
        payload: bounds.payload,
        integrity: None,
    };
    if header.command == Command::PingAck {
        patience.pinged = false;
    }
    dispatch(&packet).map_err(|error| {
        pr_err!("{}: {} failed: {:?}\n", name, header.command.name(), error);
        End::Lost(ConnState::NetworkFailure)
    })
}

/// Receives a header, with pings while nothing comes.
fn receive_head(
    resource: &Resource,
    stream: &TcpStream,
    head: &mut [u8],
    patience: &mut Patience,
) -> Result<(), End> {
    loop {
        let wait = match patience.pinged {
            true => patience.ping_timeout_ms,
            false => patience.ping_interval_ms,
        };
        let asked = time::now_ms();
        if thread::should_stop() {
            return Err(End::Told);
        }
        stream.set_timeouts(Some(patience.send_timeout_ms), Some(wait));
        match stream.recv_exact(head) {
            Ok(()) => return Ok(()),
            Err(error) if error == EAGAIN => {}
            Err(error) => return Err(lost(resource, error, patience.ping_timeout_ms)),
        }
        // Data that came meanwhile are as good as an answer.
        if resource.connection.heard_ms() > asked {
            continue;
        }
        if patience.pinged {
            pr_err!("{}: PingAck did not arrive in time.\n", resource.name());
            return Err(End::Lost(ConnState::NetworkFailure));
        }
        if resource
            .connection
            .control
            .send(0, Command::Ping, &Empty)
            .is_err()
        {
            pr_err!("{}: sending a ping failed\n", resource.name());
            return Err(End::Lost(ConnState::NetworkFailure));
        }
        patience.pinged = true;
    }
}

/// What an error of the stream means.
fn lost(resource: &Resource, error: Error, grace_ms: u32) -> End {
    let over =
        || thread::should_stop() || resource.shared.lock().conn.cstate != ConnState::WfReportParams;
    if over() || resource.left_in_peace(error) {
        return End::Told;
    }
    if error == ECONNRESET {
        // The peer has closed both streams. What it sent on the other one before that may say why; the receiver gets
        // to its end by itself.
        if resource.state_wait.wait_timeout(grace_ms, over) {
            return End::Told;
        }
        pr_err!("{}: meta connection shut down by peer.\n", resource.name());
    } else {
        pr_err!(
            "{}: receiving on the meta stream failed: {:?}\n",
            resource.name(),
            error
        );
    }
    End::Lost(ConnState::NetworkFailure)
}

fn dispatch(packet: &Arrived<'_>) -> Result {
    let resource = packet.resource;
    match packet.command {
        Command::Ping => resource
            .connection
            .control
            .send(0, Command::PingAck, &Empty),
        Command::PingAck => {
            resource.connection.got_ping_ack();
            resource.state_wait.wake_all();
            Ok(())
        }
        Command::StateChgReply | Command::ConnStChgReply => state_change_reply(packet),
        Command::DelayProbe => Ok(()),
        _ => acks::receive(packet),
    }
}

/// The peer's answer to our wish to change the state.
fn state_change_reply(packet: &Arrived<'_>) -> Result {
    let resource = packet.resource;
    let reply = StateChangeReply::decode(packet.fixed).ok_or(EPROTO)?;
    let agreed = reply.retcode >= StateRv::Success.to_wire();
    if !agreed {
        let text = StateRv::from_wire(reply.retcode).map_or("unknown reason", |rv| rv.text());
        let number = reply.retcode;
        pr_err!(
            "{}: Requested state change failed by peer: {} ({})\n",
            resource.name(),
            text,
            number
        );
    }
    {
        let mut shared = resource.shared.lock();
        // Before version 100 the reply to both kinds of request looks the same.
        if packet.command == Command::ConnStChgReply || shared.conn.asked_peer {
            shared.conn.peer_reply = Some(match StateRv::from_wire(reply.retcode) {
                Some(StateRv::ConcurrentStChg) => StateRv::ConcurrentStChg,
                _ if agreed => StateRv::Success,
                _ => StateRv::CwFailedByPeer,
            });
        } else {
            let volume = shared.vol_mut(packet.vnr).ok_or(ENODEV)?;
            let flag = match agreed {
                true => VolFlag::ClusterChangeAgreed,
                false => VolFlag::ClusterChangeRefused,
            };
            volume.flags.set(flag);
        }
    }
    resource.state_wait.wake_all();
    Ok(())
}
