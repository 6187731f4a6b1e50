// SPDX-License-Identifier: GPL-2.0-only

//! The data stream: one packet after the other, each bounded by the wire's table before anything of it is read,
//! each handed to the file that knows what it means.

use crate::{
    bitmap_exchange, change::How, consent, device::Device, digests, handshake as peer_handshake,
    params, peer_data, peer_read, prelude::*, resource::Resource, resync, session::Session, verify,
};
use drbd_core::{
    config::text::Text,
    handshake::{adopt_protocol, check_protocol, ProtocolOptions},
    types::ConnState,
    wire::{Agreed, Command, ConnFlags, Header, Packet, Protocol, Refused, Socket, StateChange},
};
use kernel_ext::{crypto::Shash, net::TcpStream};

/// Room for the largest header.
pub(crate) const HEADER_SIZE: usize = 16;
/// Room for the largest fixed part, with a header.
pub(crate) const FIXED_SIZE: usize = 256;

/// A packet whose header and fixed part were received, and whose payload was not.
pub(crate) struct Arrived<'a> {
    /// Whose connection it came on.
    pub(crate) resource: &'a Arc<Resource>,
    /// The stream it came on.
    pub(crate) stream: &'a TcpStream,
    /// The volume it is about.
    pub(crate) vnr: u16,
    /// What it is.
    pub(crate) command: Command,
    /// Its fixed part.
    pub(crate) fixed: &'a [u8],
    /// The bytes that are still in the stream; the handler receives them all.
    pub(crate) payload: u32,
    /// The digest that comes before the data of packets that carry data.
    pub(crate) integrity: Option<&'a Shash>,
}

impl Arrived<'_> {
    /// The volume it is about.
    pub(crate) fn device(&self) -> Option<Arc<Device>> {
        self.resource.device(self.vnr)
    }

    /// Receives the payload without looking at it.
    pub(crate) fn skip(&self) -> Result {
        let mut left = self.payload as usize;
        let mut waste = [0; FIXED_SIZE];
        while left > 0 {
            let part = left.min(waste.len());
            self.stream
                .recv_exact(waste.get_mut(..part).ok_or(EINVAL)?)?;
            left = left.saturating_sub(part);
        }
        Ok(())
    }
}

/// What the peer's packets look like: that changes when it announces another digest.
struct Inbound {
    agreed: Agreed,
    integrity: Option<Arc<Shash>>,
}

impl Inbound {
    fn announce(&mut self, integrity: Option<Arc<Shash>>) {
        let bytes = integrity.as_ref().map_or(0, |shash| shash.digest_size());
        self.agreed.integrity_digest = u32::try_from(bytes).unwrap_or(0);
        self.integrity = integrity;
    }
}

/// Receives packets until the connection ends.
#[inline(never)]
pub(crate) fn run(resource: &Arc<Resource>, session: &Session) {
    let mut inbound = Inbound {
        agreed: session.agreed,
        integrity: None,
    };
    let mut cpus = 0;
    while resource.connection_wanted() {
        resource.follow_cpus(&mut cpus);
        if let Err(why) = one(resource, session, &mut inbound) {
            // Refused if somebody else was faster to say how it broke.
            resource.connection_failed(why);
            return;
        }
    }
}

fn one(
    resource: &Arc<Resource>,
    session: &Session,
    inbound: &mut Inbound,
) -> Result<(), ConnState> {
    let (stream, agreed) = (&*session.data, &inbound.agreed);
    let name = resource.name();
    let mut head = [0; HEADER_SIZE];
    let head = head
        .get_mut(..agreed.format().size())
        .ok_or(ConnState::ProtocolError)?;
    stream
        .recv_exact(head)
        .map_err(|error| lost(resource, error))?;
    resource.connection.heard();
    let header = agreed.format().parse(head).map_err(|error| {
        pr_err!("{}: data stream: no header: {:?}\n", name, error);
        ConnState::ProtocolError
    })?;
    let bounds = agreed.admit(Socket::Data, header).map_err(|refused| {
        log_refused(name, "data", &header, refused);
        ConnState::ProtocolError
    })?;
    let mut fixed = [0; FIXED_SIZE];
    let fixed = fixed
        .get_mut(..bounds.fixed as usize)
        .ok_or(ConnState::ProtocolError)?;
    stream
        .recv_exact(fixed)
        .map_err(|error| lost(resource, error))?;
    let packet = Arrived {
        resource,
        stream,
        vnr: header.volume,
        command: header.command,
        fixed,
        payload: bounds.payload,
        integrity: inbound.integrity.as_deref(),
    };
    let done = match packet.command {
        Command::Protocol | Command::ProtocolUpdate => {
            protocol(&packet).map(|integrity| inbound.announce(integrity))
        }
        _ => peer_data::wait_for_room(resource).and_then(|()| dispatch(&packet)),
    };
    done.map_err(|error| {
        if resource.connection_wanted() {
            let (what, length) = (header.command.name(), header.length);
            pr_err!("{name}: error receiving {what}, e: {error:?} l: {length}!\n");
        }
        ConnState::ProtocolError
    })
}

/// What an error of the stream means.
fn lost(resource: &Resource, error: Error) -> ConnState {
    if !resource.left_in_peace(error) && resource.connection_wanted() {
        if error == ECONNRESET {
            pr_info!("{}: sock was shut down by peer\n", resource.name());
        } else {
            pr_err!("{}: receiving failed: {:?}\n", resource.name(), error);
        }
    }
    ConnState::BrokenPipe
}

/// Says which rule of the table refused a packet.
pub(crate) fn log_refused(name: &CStr, stream: &str, header: &Header, refused: Refused) {
    let (what, number) = (header.command.name(), header.command.to_wire());
    match refused {
        Refused::Unexpected => {
            pr_err!("{name}: Unexpected {stream} packet {what} (0x{number:04x})\n");
        }
        Refused::TooShort { least: bound } | Refused::TooLong { most: bound } => {
            let length = header.length;
            pr_err!("{name}: {what}: unexpected packet size: bound {bound}, received {length}\n");
        }
    }
}

impl Resource {
    /// We asked the peer to let us go, and it closed the stream: waits a moment for our own change of state, and
    /// tells whether it came.
    pub(crate) fn left_in_peace(&self, error: Error) -> bool {
        if error != ECONNRESET || !self.shared.lock().conn.disconnect_sent {
            return false;
        }
        let moment = self.ping_timeout_ds().saturating_mul(100);
        self.state_wait.wait_timeout(moment, || {
            self.shared.lock().conn.cstate != ConnState::WfReportParams
        })
    }
}

fn dispatch(packet: &Arrived<'_>) -> Result {
    match packet.command {
        Command::Data => peer_data::data(packet),
        Command::Trim | Command::Zeroes => peer_data::trim(packet),
        Command::Barrier => peer_data::barrier(packet),
        Command::DataRequest => peer_read::data_request(packet),
        Command::DataReply => peer_read::data_reply(packet),
        Command::OutOfSync => peer_data::out_of_sync(packet),
        Command::UnplugRemote => peer_data::unplug(packet),
        Command::RsDataRequest | Command::CsumRsRequest | Command::RsThinReq => {
            resync::data_request(packet)
        }
        Command::RsDataReply => resync::data_reply(packet),
        Command::RsDeallocated => resync::deallocated(packet),
        Command::OvRequest => verify::request(packet),
        Command::OvReply => verify::reply(packet),
        Command::SyncParam | Command::SyncParam89 => params::sync_param(packet),
        Command::Sizes => params::sizes(packet),
        Command::Uuids => peer_handshake::uuids(packet),
        Command::State => peer_handshake::state(packet),
        Command::SyncUuid => peer_handshake::sync_uuid(packet),
        Command::Bitmap | Command::CompressedBitmap => bitmap_exchange::receive(packet),
        Command::StateChgReq => requested_change(packet),
        Command::ConnStChgReq => requested_connection_change(packet),
        Command::DelayProbe => packet.skip(),
        _ => Err(EPROTO),
    }
}

/// The peer's options: they must be ours, or become ours if it changes them later.
#[inline(never)]
fn protocol(packet: &Arrived<'_>) -> Result<Option<Arc<Shash>>> {
    let resource = packet.resource;
    let mut bytes = [0; FIXED_SIZE];
    let (fixed, payload) = (packet.fixed.len(), packet.payload as usize);
    let all = fixed.checked_add(payload).ok_or(EPROTO)?;
    bytes
        .get_mut(..fixed)
        .ok_or(EPROTO)?
        .copy_from_slice(packet.fixed);
    packet
        .stream
        .recv_exact(bytes.get_mut(fixed..all).ok_or(EPROTO)?)?;
    let peer = Protocol::decode(bytes.get(..all).ok_or(EPROTO)?).ok_or(EPROTO)?;
    let mine = resource.shared.lock().conn.net_conf.ok_or(ENOTCONN)?;
    let integrity = peer
        .integrity_alg
        .as_ref()
        .map_or(&[][..], |name| name.as_bytes());
    let theirs = ProtocolOptions {
        protocol: peer.protocol,
        after_sb: [peer.after_sb_0p, peer.after_sb_1p, peer.after_sb_2p],
        discard_my_data: peer.flags.contains(ConnFlags::DISCARD_MY_DATA),
        dry_run: peer.flags.contains(ConnFlags::DRY_RUN),
        two_primaries: peer.two_primaries != 0,
        integrity_alg: integrity,
    };
    let announced = || {
        let name = Text::new(integrity).map_err(|_| EPROTO)?;
        peers_digest(resource, &name)
    };
    if packet.command == Command::ProtocolUpdate {
        let mut shared = resource.shared.lock();
        let net = shared.conn.net_conf.as_mut().ok_or(ENOTCONN)?;
        adopt_protocol(net, &theirs).map_err(|_| EPROTO)?;
        drop(shared);
        return announced();
    }
    let ours = ProtocolOptions {
        protocol: mine.wire_protocol.to_wire(),
        after_sb: ProtocolOptions::after_sb(mine.after_sb_0p, mine.after_sb_1p, mine.after_sb_2p),
        discard_my_data: mine.discard_my_data,
        dry_run: mine.tentative,
        two_primaries: mine.two_primaries,
        integrity_alg: mine.integrity_alg.as_bytes(),
    };
    if let Err(mismatch) = check_protocol(&ours, &theirs) {
        pr_err!(
            "{}: incompatible {} settings\n",
            resource.name(),
            mismatch.option()
        );
        resource.connection_failed(ConnState::Disconnecting);
        return Err(EIO);
    }
    resource.shared.lock().conn.dry_run = theirs.dry_run;
    announced()
}

/// The digest with which the peer's data come from now on.
fn peers_digest(resource: &Resource, name: &Text<64>) -> Result<Option<Arc<Shash>>> {
    if name.is_empty() {
        return Ok(None);
    }
    match digests::find(name) {
        Ok(found) => Ok(Some(Arc::new(found, GFP_KERNEL)?)),
        Err(error) => {
            pr_err!(
                "{}: peer data-integrity-alg {} not supported ({:?})\n",
                resource.name(),
                name.as_str().unwrap_or(""),
                error
            );
            resource.connection_failed(ConnState::Disconnecting);
            Err(EIO)
        }
    }
}

/// The peer wants the state of a volume to change: P_STATE_CHG_REQ.
#[inline(never)]
fn requested_change(packet: &Arrived<'_>) -> Result {
    let resource = packet.resource;
    let wish = StateChange::decode(packet.fixed).ok_or(EPROTO)?;
    let device = resource.device(packet.vnr).ok_or(ENODEV)?;
    let result = match consent::peers_wish(resource, &wish) {
        Ok(change) => resource.change_here(packet.vnr, &change, How::SOFT.verbose()),
        Err(refusal) => refusal,
    };
    consent::answer(resource, packet.vnr, Command::StateChgReply, result)?;
    crate::metadata::sync(&device);
    Ok(())
}

/// The peer wants to leave: P_CONN_ST_CHG_REQ.
#[inline(never)]
fn requested_connection_change(packet: &Arrived<'_>) -> Result {
    let resource = packet.resource;
    let wish = StateChange::decode(packet.fixed).ok_or(EPROTO)?;
    let result = match consent::peers_wish(resource, &wish) {
        Ok(change) => resource.change_all(&change, How::SOFT.verbose().here().lenient()),
        Err(refusal) => refusal,
    };
    let command = match resource.shared.lock().conn.agreed_version {
        0..=99 => Command::StateChgReply,
        _ => Command::ConnStChgReply,
    };
    consent::answer(resource, packet.vnr, command, result)
}
