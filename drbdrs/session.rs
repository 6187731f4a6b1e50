// SPDX-License-Identifier: GPL-2.0-only

//! From Unconnected to WfReportParams: two sockets to the configured peer, and the handshake on them.
//!
//! Both nodes dial and listen at the same time (`handshake::Pairing` decides which sockets they end up with). A
//! visitor must come from the peer's address, and say within four ping timeouts which socket it wants to be; several
//! may wait at once, so that one who says nothing cannot keep the peer out.

use crate::{change::How, digests, params, prelude::*, receiver, resource::Resource};
use drbd_core::{
    config::NetConf,
    handshake::{self, Dialed, First, Next, Pairing},
    state::Change,
    types::{ConnState, StateRv},
    wire::{
        frame, Agreed, AlgName, Command, ConnFlags, ConnectionFeatures, Empty, Features, Format,
        Header, Packet, Protocol, Socket,
    },
};
use kernel_ext::{
    net::{Listener, Priority, SocketAddr, TcpStream},
    random_u64, time,
};

/// The version to judge by until the peer has said its own.
const VERSION_UNKNOWN: u32 = 80;
/// Visitors who have not said what they want, at once.
const VISITORS: usize = 8;
/// How often visitors are listened to, in milliseconds.
const VISITOR_TICK_MS: u32 = 20;

/// A connection whose handshake is done.
pub(crate) struct Session {
    /// The data stream.
    pub(crate) data: Arc<TcpStream>,
    /// The meta stream.
    pub(crate) control: Arc<TcpStream>,
    /// What both sides speak.
    pub(crate) agreed: Agreed,
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It may work the next time.
    TryAgain,
    /// It will never work: go StandAlone.
    GiveUp,
    /// Nobody wants a connection any more.
    NotWanted,
}

/// The network may do better the next time.
impl From<Error> for Failure {
    fn from(_: Error) -> Self {
        Self::TryAgain
    }
}

/// What an attempt works with.
struct Attempt<'a> {
    resource: &'a Arc<Resource>,
    net: NetConf,
    here: SocketAddr,
    peer: SocketAddr,
}

/// Connects to the peer, and introduces both to each other. Takes as long as it takes.
#[inline(never)]
pub(crate) fn establish(resource: &Arc<Resource>) -> Result<Session, Failure> {
    let waiting = Change::conn(ConnState::WfConnection);
    if resource.change_all(&waiting, How::SOFT.verbose()) != StateRv::Success {
        return Err(Failure::NotWanted);
    }
    let attempt = Attempt::new(resource)?;
    let (data, control, resolve_conflicts) = attempt.find_sockets()?;
    resource
        .connection
        .watch_streams(data.clone(), control.clone());
    attempt.wanted()?;
    resource.shared.lock().conn.resolve_conflicts = resolve_conflicts;
    resource.connection.heard();
    resource.connection.begins();
    let agreed = attempt.introduce(&data, &control)?;
    attempt.open_links(&data, &control, &agreed)?;
    send_protocol(resource, Command::Protocol)?;
    attempt.report()?;
    Ok(Session {
        data,
        control,
        agreed,
    })
}

impl<'a> Attempt<'a> {
    #[inline(never)]
    fn new(resource: &'a Arc<Resource>) -> Result<Self, Failure> {
        let mut shared = resource.shared.lock();
        let conn = &mut shared.conn;
        conn.agreed_version = VERSION_UNKNOWN;
        conn.agreed_features = 0;
        conn.disconnect_sent = false;
        let net = conn.net_conf.ok_or(Failure::NotWanted)?;
        let address = |bytes: &[u8]| SocketAddr::from_bytes(bytes).map_err(|_| Failure::GiveUp);
        let here = address(conn.my_addr.as_bytes())?;
        let peer = address(conn.peer_addr.as_bytes())?;
        Ok(Self {
            resource,
            net,
            here,
            peer,
        })
    }

    fn wanted(&self) -> Result<(), Failure> {
        if self.resource.connection_wanted() {
            Ok(())
        } else {
            Err(Failure::NotWanted)
        }
    }

    /// Nothing that goes on will help.
    fn hopeless(&self, what: &str, error: Error) -> Failure {
        if self.resource.connection_wanted() {
            pr_err!("{}: {} failed: {:?}\n", self.resource.name(), what, error);
            Failure::GiveUp
        } else {
            Failure::NotWanted
        }
    }

    fn handshake_ms(&self) -> u32 {
        self.net.ping_timeo.saturating_mul(400)
    }

    #[inline(never)]
    fn find_sockets(&self) -> Result<(Arc<TcpStream>, Arc<TcpStream>, bool), Failure> {
        let connection = &self.resource.connection;
        let listener = Listener::bind(&self.here, self.net.sndbuf_size, self.net.rcvbuf_size)
            .map_err(|error| self.hopeless("listening", error))?;
        connection.watch_listener(Some(listener.clone()));
        let mut reception = Reception {
            listener,
            visitors: KVec::new(),
        };
        let found = self.pair(&mut reception);
        connection.watch_listener(None);
        found
    }

    fn pair(
        &self,
        reception: &mut Reception,
    ) -> Result<(Arc<TcpStream>, Arc<TcpStream>, bool), Failure> {
        let mut pairing = Pairing::new();
        loop {
            self.wanted()?;
            if let Some(stream) = self.dial()? {
                if let Dialed::Announce(first) = pairing.dialed(stream.clone()) {
                    // An error shows when the socket is looked at.
                    let _ = send_first(&stream, first);
                }
            }
            if !self.both_alive(&mut pairing) {
                self.receive_visitors(reception, &mut pairing)?;
                if !self.both_alive(&mut pairing) {
                    continue;
                }
            }
            match pairing.take() {
                Ok(found) => return Ok(found),
                Err(rest) => pairing = rest,
            }
        }
    }

    /// Dials once.
    fn dial(&self) -> Result<Option<Arc<TcpStream>>, Failure> {
        let connection = &self.resource.connection;
        let (net, from) = (&self.net, self.here.with_port(0));
        let stream = TcpStream::bind(&from, net.sndbuf_size, net.rcvbuf_size)
            .map_err(|error| self.hopeless("binding a socket", error))?;
        connection.watch_dialing(Some(stream.clone()));
        self.wanted()?;
        let result = stream.connect(&self.peer, net.connect_int.saturating_mul(1000));
        connection.watch_dialing(None);
        match result {
            Ok(()) => Ok(Some(stream)),
            Err(error) if is_usual(error) => Ok(None),
            Err(error) => Err(self.hopeless("connecting", error)),
        }
    }

    /// Whether both sockets are found, and still open after a moment in which a crossed one would be closed.
    fn both_alive(&self, pairing: &mut Pairing<Arc<TcpStream>>) -> bool {
        if !pairing.is_complete() {
            return false;
        }
        let tenths = match self.net.sock_check_timeo {
            0 => self.net.ping_timeo,
            set => set,
        };
        let moment = tenths.saturating_mul(100);
        self.resource
            .state_wait
            .wait_timeout(moment, || !self.resource.connection_wanted());
        forget_dead(pairing);
        pairing.is_complete()
    }

    /// Listens until somebody has come whom the pairing can use, or it is time to dial again.
    fn receive_visitors(
        &self,
        reception: &mut Reception,
        pairing: &mut Pairing<Arc<TcpStream>>,
    ) -> Result<(), Failure> {
        let interval = u64::from(self.net.connect_int).saturating_mul(1000);
        // A seventh more or less, so that two nodes do not dial in step for ever.
        let seventh = interval / 7;
        let wait = if random_u64() & 1 == 0 {
            interval.saturating_add(seventh)
        } else {
            interval.saturating_sub(seventh)
        };
        let until = time::now_ms().saturating_add(wait);
        loop {
            let Some((stream, first)) = self.next_visitor(reception, until)? else {
                return Ok(());
            };
            forget_dead(pairing);
            let accepted = pairing.accepted(stream, Some(first), random_u64() & 1 == 0);
            if accepted.crossed {
                let letter = if first == First::Data { "S" } else { "M" };
                pr_warn!(
                    "{}: initial packet {} crossed\n",
                    self.resource.name(),
                    letter
                );
            }
            if accepted.next == Next::Dial {
                return Ok(());
            }
        }
    }

    /// The next visitor who has said what it wants.
    fn next_visitor(
        &self,
        reception: &mut Reception,
        until: u64,
    ) -> Result<Option<(Arc<TcpStream>, First)>, Failure> {
        loop {
            self.wanted()?;
            if let Some(ready) = reception.listen_to_visitors(self.resource.name()) {
                return Ok(Some(ready));
            }
            let left = until.saturating_sub(time::now_ms());
            if left == 0 {
                return Ok(None);
            }
            let busy = !reception.visitors.is_empty();
            let tick = if busy { VISITOR_TICK_MS } else { u32::MAX };
            let wait = u32::try_from(left).unwrap_or(u32::MAX).min(tick);
            match reception.listener.accept(wait) {
                Ok(stream) => self.admit(reception, stream),
                Err(error) if error == EAGAIN => {}
                Err(error) => return Err(self.hopeless("accepting", error)),
            }
        }
    }

    /// Lets a visitor in if it comes from the peer's address.
    fn admit(&self, reception: &mut Reception, stream: Arc<TcpStream>) {
        let from = match stream.peer_addr() {
            Ok(from) => from,
            Err(_) => return,
        };
        if !from.is_same_host(&self.peer) {
            let name = self.resource.name();
            pr_warn!(
                "{}: connection from {} refused: the peer is {}\n",
                name,
                from,
                self.peer
            );
            return;
        }
        stream.set_timeouts(Some(self.handshake_ms()), Some(1));
        let until = time::now_ms().saturating_add(u64::from(self.handshake_ms()));
        if reception.visitors.len() >= VISITORS {
            let oldest = reception.visitors.remove(0);
            drop(oldest);
        }
        let visitor = Visitor {
            stream,
            said: [0; FIRST_SIZE],
            length: 0,
            until,
        };
        // Without memory it has to come again.
        let _ = reception.visitors.push(visitor, GFP_KERNEL);
    }

    /// Versions, features and, if a secret is configured, its proof.
    #[inline(never)]
    fn introduce(
        &self,
        data: &Arc<TcpStream>,
        control: &Arc<TcpStream>,
    ) -> Result<Agreed, Failure> {
        data.set_priority(Priority::InteractiveBulk);
        control.set_priority(Priority::Interactive);
        let patience = Some(self.handshake_ms());
        data.set_timeouts(patience, patience);
        let agreed = self.exchange_features(data)?;
        {
            let mut shared = self.resource.shared.lock();
            shared.conn.agreed_version = agreed.version;
            shared.conn.agreed_features = agreed.features.0;
        }
        crate::authentication::prove(self.resource.name(), &self.net, data, &agreed)?;
        Ok(agreed)
    }

    fn exchange_features(&self, data: &TcpStream) -> Result<Agreed, Failure> {
        let name = self.resource.name();
        let ours = ConnectionFeatures::OURS;
        send_packet(data, Format::Short, Command::ConnectionFeatures, &ours)?;
        let mut body = [0; receiver::FIXED_SIZE];
        let header = receive_header(data, &Agreed::NOTHING)?;
        if header.command != Command::ConnectionFeatures {
            let (what, number) = (header.command.name(), header.command.to_wire());
            pr_err!(
                "{name}: expected ConnectionFeatures packet, received: {what} (0x{number:04x})\n"
            );
            return Err(Failure::GiveUp);
        }
        let Ok(bounds) = Agreed::NOTHING.admit_handshake(Socket::Data, header) else {
            pr_err!(
                "{name}: ConnectionFeatures packet of wrong length: {}\n",
                header.length
            );
            return Err(Failure::GiveUp);
        };
        let body = body
            .get_mut(..bounds.fixed as usize)
            .ok_or(Failure::GiveUp)?;
        data.recv_exact(body)?;
        let peer = ConnectionFeatures::decode(body).ok_or(Failure::GiveUp)?;
        let Ok(common) =
            handshake::negotiate(peer.protocol_min, peer.protocol_max, peer.features.0)
        else {
            pr_err!(
                "{name}: incompatible DRBD dialects: I support {}-{}, peer supports {}-{}\n",
                ours.protocol_min,
                ours.protocol_max,
                peer.protocol_min,
                peer.protocol_max
            );
            return Err(Failure::GiveUp);
        };
        let version = common.version;
        pr_info!("{name}: Handshake successful: Agreed network protocol version {version}\n");
        let features = Features(common.features.0);
        log_features(name, features);
        Ok(Agreed {
            version,
            features,
            integrity_digest: 0,
        })
    }

    fn open_links(
        &self,
        data: &Arc<TcpStream>,
        control: &Arc<TcpStream>,
        agreed: &Agreed,
    ) -> Result<(), Failure> {
        let timeout = Some(self.net.timeout.saturating_mul(100));
        data.set_timeouts(timeout, None);
        control.set_timeouts(timeout, Some(self.net.ping_int.saturating_mul(1000)));
        let connection = &self.resource.connection;
        connection.configure(&self.net);
        connection.data.open(data.clone(), agreed.format())?;
        connection.control.open(control.clone(), agreed.format())?;
        Ok(())
    }

    /// Tells the peer about every volume, and enters WfReportParams.
    #[inline(never)]
    fn report(&self) -> Result<(), Failure> {
        let resource = self.resource;
        {
            // A promotion that is under way ends first; the next one sees that our state was sent.
            let _no_promotion = resource.state_mutex.lock();
            resource.shared.lock().conn.state_sent = true;
        }
        let mut from = Some(0);
        while let Some(device) = from.and_then(|vnr| resource.device_from(vnr)) {
            params::send_initial(&device)?;
            from = device.vnr.checked_add(1);
        }
        let reporting = Change::conn(ConnState::WfReportParams);
        let result = resource.change_all(&reporting, How::SOFT.verbose());
        let mut shared = resource.shared.lock();
        if result != StateRv::Success || shared.conn.cstate != ConnState::WfReportParams {
            shared.conn.state_sent = false;
            return Err(Failure::TryAgain);
        }
        // The wish was for one attempt.
        if let Some(net) = shared.conn.net_conf.as_mut() {
            net.discard_my_data = false;
        }
        Ok(())
    }
}

/// Our options that the peer must share.
pub(crate) fn send_protocol(resource: &Resource, command: Command) -> Result<(), Failure> {
    let (net, version) = {
        let shared = resource.shared.lock();
        (
            shared.conn.net_conf.ok_or(Failure::NotWanted)?,
            shared.conn.agreed_version,
        )
    };
    if net.tentative && version < 92 {
        pr_err!("{}: --dry-run is not supported by peer\n", resource.name());
        return Err(Failure::GiveUp);
    }
    let integrity = AlgName::new(net.integrity_alg.as_bytes()).unwrap_or(AlgName::NONE);
    let protocol = Protocol {
        protocol: net.wire_protocol.to_wire(),
        after_sb_0p: net.after_sb_0p.to_wire(),
        after_sb_1p: net.after_sb_1p.to_wire(),
        after_sb_2p: net.after_sb_2p.to_wire(),
        flags: ConnFlags::NONE
            .with(ConnFlags::DISCARD_MY_DATA, net.discard_my_data)
            .with(ConnFlags::DRY_RUN, net.tentative),
        two_primaries: net.two_primaries.into(),
        integrity_alg: (version >= 87).then_some(integrity),
    };
    let integrity = if net.integrity_alg.is_empty() {
        None
    } else {
        let found = digests::find(&net.integrity_alg).map_err(|_| Failure::GiveUp)?;
        Some(Arc::new(found, GFP_KERNEL).map_err(|_| Failure::TryAgain)?)
    };
    let link = &resource.connection.data;
    Ok(link.send_and_sign(command, &protocol, integrity)?)
}

#[inline(never)]
fn log_features(name: &CStr, features: Features) {
    let known = [
        (Features::TRIM, " TRIM"),
        (Features::THIN_RESYNC, " THIN_RESYNC"),
        (Features::WRITE_SAME, " WRITE_SAME"),
        (Features::WRITE_ZEROES, " WRITE_ZEROES"),
    ];
    let [a, b, c, d] = known.map(|(one, text)| if features.contains(one) { text } else { "" });
    let none = if features.0 == 0 { " none" } else { "" };
    let bits = features.0;
    pr_info!("{name}: Feature flags enabled on protocol level: 0x{bits:x}{a}{b}{c}{d}{none}.\n");
}

/// Errors of dialing that only mean that the peer is not there yet.
#[inline(never)]
fn is_usual(error: Error) -> bool {
    [
        ETIMEDOUT,
        EAGAIN,
        EINTR,
        ECONNREFUSED,
        ENETUNREACH,
        EHOSTDOWN,
        EHOSTUNREACH,
        ECONNRESET,
    ]
    .contains(&error)
}

#[inline(never)]
fn forget_dead(pairing: &mut Pairing<Arc<TcpStream>>) {
    for which in [First::Data, First::Meta] {
        if pairing
            .socket(which)
            .is_some_and(|stream| !stream.is_alive())
        {
            drop(pairing.lost(which));
        }
    }
}

/// The size of a first packet, in bytes.
const FIRST_SIZE: usize = Format::Short.size();

/// Somebody who has connected but not said yet what for.
struct Visitor {
    stream: Arc<TcpStream>,
    said: [u8; FIRST_SIZE],
    length: usize,
    until: u64,
}

/// Where visitors come in.
struct Reception {
    listener: Arc<Listener>,
    visitors: KVec<Visitor>,
}

/// What one look at a visitor shows.
enum Look {
    Waiting,
    Said(First),
    Useless,
}

impl Reception {
    /// Looks at everybody once; whoever is of no use leaves.
    fn listen_to_visitors(&mut self, name: &CStr) -> Option<(Arc<TcpStream>, First)> {
        let mut at = 0;
        while let Some(visitor) = self.visitors.get_mut(at) {
            let look = visitor.look();
            if matches!(look, Look::Waiting) {
                at = at.saturating_add(1);
                continue;
            }
            let gone = self.visitors.remove(at).ok()?;
            if let Look::Said(first) = look {
                return Some((gone.stream, first));
            }
            pr_warn!("{name}: Error receiving initial packet\n");
        }
        None
    }
}

impl Visitor {
    fn look(&mut self) -> Look {
        let Some(rest) = self.said.get_mut(self.length..) else {
            return Look::Useless;
        };
        match self.stream.recv(rest) {
            Ok(received) => self.length = self.length.saturating_add(received),
            Err(error) if error == EAGAIN && time::now_ms() < self.until => return Look::Waiting,
            Err(_) => return Look::Useless,
        }
        if self.length < FIRST_SIZE {
            return Look::Waiting;
        }
        match Format::Short
            .parse(&self.said)
            .map(|header| (header.command, header.length))
        {
            Ok((Command::InitialData, 0)) => Look::Said(First::Data),
            Ok((Command::InitialMeta, 0)) => Look::Said(First::Meta),
            _ => Look::Useless,
        }
    }
}

#[inline(never)]
fn send_first(stream: &TcpStream, first: First) -> Result {
    let command = match first {
        First::Data => Command::InitialData,
        First::Meta => Command::InitialMeta,
    };
    send_packet(stream, Format::Short, command, &Empty)
}

/// Sends a packet of the handshake, before there is a link to send it through.
pub(crate) fn send_packet<P: Packet>(
    stream: &TcpStream,
    format: Format,
    command: Command,
    packet: &P,
) -> Result {
    let mut buffer = [0; receiver::FIXED_SIZE];
    let length = frame(format, 0, command, packet, 0, &mut buffer).ok_or(EMSGSIZE)?;
    let bytes = buffer.get(..length).ok_or(EMSGSIZE)?;
    stream.send_all(bytes, false, &mut || false)
}

/// Receives the header of a packet of the handshake.
pub(crate) fn receive_header(stream: &TcpStream, agreed: &Agreed) -> Result<Header> {
    let mut bytes = [0; receiver::HEADER_SIZE];
    let bytes = bytes.get_mut(..agreed.format().size()).ok_or(EINVAL)?;
    stream.recv_exact(bytes)?;
    agreed.format().parse(bytes).map_err(|_| EPROTO)
}
