// SPDX-License-Identifier: GPL-2.0-only

//! The connection to the peer: its threads, and how it begins and ends.
//!
//! The receiver is the only one that builds a connection up and takes it down:
//!
//! ```text
//!   Unconnected ─► session: two sockets, handshake ─► WfReportParams ─► receiver: packets of the data stream
//!        ▲                                              │ starts          │ error, or told to stop
//!        │                                              ▼                 ▼
//!        └──────────── teardown: stop the three, forget what was under way ─► StandAlone, if Disconnecting
//! ```
//!
//! While the connection is up three more threads work for it: the sender (data stream), the ack receiver and the
//! ack sender (meta stream). Whoever finds the connection broken only says so, by a change of state; the change
//! leaves an order for the receiver and shuts the sockets down, so that nobody keeps waiting in them.

use crate::{
    ack,
    change::How,
    digests::Digests,
    fence,
    link::Link,
    peer_data,
    prelude::*,
    receiver, requests,
    resource::{ReceiverOrder, Resource},
    sender,
    session::{self, Failure, Session},
    transfer,
};
use drbd_core::{
    config::NetConf,
    state::{self, Change},
    types::{ConnState, StateRv},
};
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel_ext::{
    block::NoIo,
    net::{Listener, TcpStream},
    thread::{self, Thread},
    time,
};

/// How long to wait before the next attempt after a handshake that failed.
const RETRY_MS: u32 = 1000;

/// See the module's description.
#[pin_data]
pub(crate) struct Connection {
    /// Sends on the data stream.
    #[pin]
    pub(crate) data: Link,
    /// Sends on the meta stream.
    #[pin]
    pub(crate) control: Link,
    /// The sender waits here.
    #[pin]
    pub(crate) sender_wait: WaitQueue,
    /// The ack sender waits here.
    #[pin]
    pub(crate) ack_wait: WaitQueue,
    /// The algorithms for digests of data.
    #[pin]
    pub(crate) digests: Digests,
    #[pin]
    sockets: Mutex<Sockets>,
    #[pin]
    receiver: Mutex<Option<Thread>>,
    /// Runs the handler that fences the peer.
    #[pin]
    fencer: Mutex<Option<Thread>>,
    heard_ms: Atomic<u64>,
    since_ms: Atomic<u64>,
    ping_acks: Atomic<u32>,
    conf_changes: Atomic<u32>,
}

/// Every socket that somebody may wait in.
#[derive(Default)]
struct Sockets {
    listener: Option<Arc<Listener>>,
    dialing: Option<Arc<TcpStream>>,
    data: Option<Arc<TcpStream>>,
    control: Option<Arc<TcpStream>>,
}

impl Sockets {
    fn shutdown(&self) {
        if let Some(listener) = &self.listener {
            listener.shutdown();
        }
        for stream in [&self.dialing, &self.data, &self.control]
            .into_iter()
            .flatten()
        {
            stream.shutdown();
        }
    }
}

impl Connection {
    /// A connection that nobody uses yet.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let connection = pin_init!(Self {
            data <- Link::new(),
            control <- Link::new(),
            sender_wait <- new_wait_queue!(),
            ack_wait <- new_wait_queue!(),
            digests <- Digests::new(),
            sockets <- new_mutex!(Sockets::default()),
            receiver <- new_mutex!(None),
            fencer <- new_mutex!(None),
            heard_ms: Atomic::new(0),
            since_ms: Atomic::new(0),
            ping_acks: Atomic::new(0),
            conf_changes: Atomic::new(0),
        });
        Arc::pin_init(connection, GFP_KERNEL)
    }

    /// There is something to send. From any context.
    pub(crate) fn wake_sender(&self) {
        self.sender_wait.wake_all();
    }

    /// There is something to acknowledge. From any context.
    pub(crate) fn wake_acks(&self) {
        self.ack_wait.wake_all();
    }

    /// The peer was heard just now.
    pub(crate) fn heard(&self) {
        self.heard_ms.store(time::now_ms(), Relaxed);
    }

    /// When the peer was heard last, by the clock of [`time::now_ms`].
    pub(crate) fn heard_ms(&self) -> u64 {
        self.heard_ms.load(Relaxed)
    }

    /// The streams are there from now on.
    pub(crate) fn begins(&self) {
        self.since_ms.store(time::now_ms(), Relaxed);
    }

    /// Takes options that may change while there is a connection. Any context.
    pub(crate) fn configure(&self, net: &NetConf) {
        self.data.configure(net);
        self.control.configure(net);
        let changes = self.configured().wrapping_add(1);
        self.conf_changes.store(changes, Relaxed);
    }

    /// A number that is another one when options have changed.
    pub(crate) fn configured(&self) -> u32 {
        self.conf_changes.load(Relaxed)
    }

    /// When the present streams came about, by the clock of [`time::now_ms`].
    pub(crate) fn since_ms(&self) -> u64 {
        self.since_ms.load(Relaxed)
    }

    /// The peer answered a ping.
    pub(crate) fn got_ping_ack(&self) {
        let answered = self.ping_acks.load(Relaxed).wrapping_add(1);
        self.ping_acks.store(answered, Relaxed);
    }

    /// How many pings were answered.
    pub(crate) fn ping_acks(&self) -> u32 {
        self.ping_acks.load(Relaxed)
    }

    /// Makes a socket known to [`Connection::interrupt`]. See whether the connection is still wanted afterwards.
    pub(crate) fn watch_listener(&self, listener: Option<Arc<Listener>>) {
        let old = core::mem::replace(&mut self.sockets.lock().listener, listener);
        drop(old);
    }

    /// As [`Connection::watch_listener`], for a socket that is being connected.
    pub(crate) fn watch_dialing(&self, stream: Option<Arc<TcpStream>>) {
        let old = core::mem::replace(&mut self.sockets.lock().dialing, stream);
        drop(old);
    }

    /// As [`Connection::watch_listener`], for the two streams.
    pub(crate) fn watch_streams(&self, data: Arc<TcpStream>, control: Arc<TcpStream>) {
        let mut sockets = self.sockets.lock();
        sockets.data = Some(data);
        sockets.control = Some(control);
    }

    /// Shuts every socket down: whoever waits in one returns. Process context.
    fn interrupt(&self) {
        self.sockets.lock().shutdown();
    }

    /// Shuts every socket down and forgets them.
    fn close(&self) {
        self.interrupt();
        self.data.close();
        self.control.close();
        let sockets = core::mem::take(&mut *self.sockets.lock());
        drop(sockets);
    }
}

impl Resource {
    /// Whether the receiver was not told anything else than to go on.
    pub(crate) fn connection_wanted(&self) -> bool {
        self.shared.lock().conn.receiver == ReceiverOrder::Run && !thread::should_stop()
    }

    /// The connection is broken; `why` is one of the states that say how. Process context.
    pub(crate) fn connection_failed(&self, why: ConnState) {
        self.change_all(&Change::conn(why), How::HARD);
    }

    /// Makes the receiver notice an order: to be called after changes of state. Process context.
    pub(crate) fn enforce_order(&self) {
        // Looked at with the sockets locked: the sockets of the next attempt come only after a new order to run.
        let sockets = self.connection.sockets.lock();
        let waits_in_vain = {
            let conn = &self.shared.lock().conn;
            // The receiver itself enters TearDown, and has still to agree to it.
            conn.receiver != ReceiverOrder::Run && conn.cstate != ConnState::TearDown
        };
        if waits_in_vain {
            sockets.shutdown();
        }
    }

    /// Stops the receiver, which takes the connection down, and waits until it has.
    pub(crate) fn wait_for_receiver(&self) {
        let receiver = self.connection.receiver.lock().take();
        if receiver.is_some() {
            self.connection.interrupt();
        }
        drop(receiver);
    }
}

/// Starts the receiver of a connection that was just configured. Called by the worker.
pub(crate) fn start_receiver(resource: &Arc<Resource>) {
    // One that was told to stop may still be on its way out.
    let old = resource.connection.receiver.lock().take();
    drop(old);
    resource.shared.lock().conn.receiver = ReceiverOrder::Run;
    match spawn(resource, "r", run) {
        Ok(thread) => *resource.connection.receiver.lock() = Some(thread),
        Err(error) => {
            pr_err!(
                "{}: cannot start the receiver: {:?}\n",
                resource.name(),
                error
            );
            resource.change_all(&Change::conn(ConnState::Disconnecting), How::HARD);
            resource.change_all(&Change::conn(ConnState::StandAlone), How::HARD);
        }
    }
}

fn spawn(
    resource: &Arc<Resource>,
    role: &str,
    work: impl FnOnce(&Arc<Resource>) + Send + 'static,
) -> Result<Thread> {
    let name = CString::try_from_fmt(fmt!("drbd_{}_{}", role, &*resource.name))?;
    let resource = resource.clone();
    Thread::spawn(&name, move || {
        let _noio = NoIo::enter();
        work(&resource);
    })
}

/// The body of the receiver thread.
fn run(resource: &Arc<Resource>) {
    pr_info!("{}: receiver (re)started\n", resource.name());
    loop {
        let again = one_connection(resource);
        if resource.shared.lock().conn.cstate != ConnState::Unconnected {
            break;
        }
        if again == Again::Later {
            let told = || !resource.connection_wanted();
            resource.state_wait.wait_timeout(RETRY_MS, told);
        }
    }
    pr_info!("{}: receiver terminated\n", resource.name());
}

/// When to try again.
#[derive(PartialEq, Eq)]
enum Again {
    Now,
    Later,
}

/// One attempt to connect, and what comes of it up to the connection's end.
fn one_connection(resource: &Arc<Resource>) -> Again {
    {
        let mut shared = resource.shared.lock();
        if shared.conn.receiver == ReceiverOrder::Restart {
            shared.conn.receiver = ReceiverOrder::Run;
        }
    }
    let mut helpers = Helpers::default();
    let mut again = Again::Now;
    match session::establish(resource) {
        Ok(session) => match helpers.start(resource, &session) {
            Ok(()) => receiver::run(resource, &session),
            Err(error) => {
                pr_err!("{}: cannot start threads: {:?}\n", resource.name(), error);
                again = Again::Later;
            }
        },
        Err(Failure::TryAgain) => again = Again::Later,
        Err(Failure::GiveUp) => {
            pr_warn!("{}: Discarding network configuration.\n", resource.name());
            resource.change_all(&Change::conn(ConnState::Disconnecting), How::HARD);
        }
        Err(Failure::NotWanted) => {}
    }
    teardown(resource, helpers);
    again
}

/// The threads that live as long as one connection.
#[derive(Default)]
struct Helpers {
    sender: Option<Thread>,
    ack_receiver: Option<Thread>,
    ack_sender: Option<Thread>,
}

impl Helpers {
    fn start(&mut self, resource: &Arc<Resource>, session: &Session) -> Result {
        let (stream, agreed) = (session.control.clone(), session.agreed);
        self.ack_receiver = Some(spawn(resource, "a", move |of| {
            ack::receive(of, &stream, &agreed)
        })?);
        self.ack_sender = Some(spawn(resource, "as", ack::send)?);
        self.sender = Some(spawn(resource, "s", sender::run)?);
        Ok(())
    }
}

/// Takes the connection down. Only the receiver does this.
#[inline(never)]
fn teardown(resource: &Arc<Resource>, helpers: Helpers) {
    if resource.shared.lock().conn.cstate == ConnState::StandAlone {
        return;
    }
    // Normally somebody has said already how it broke; then this is refused.
    resource.connection_failed(ConnState::NetworkFailure);
    resource.connection.interrupt();
    drop(helpers);
    resource.connection.close();
    forget_peer(resource);
    pr_info!("{}: Connection closed\n", resource.name());
    if let Err(error) = fence_peer(resource) {
        pr_err!(
            "{}: cannot have the peer fenced: {:?}\n",
            resource.name(),
            error
        );
    }
    let leaving = resource.shared.lock().conn.cstate == ConnState::Disconnecting;
    if !leaving {
        let result =
            resource.change_all(&Change::conn(ConnState::Unconnected), How::SOFT.verbose());
        if result != StateRv::InTransientState {
            return;
        }
        // The administrator was faster: Disconnecting.
    }
    resource.change_all(&Change::conn(ConnState::StandAlone), How::HARD);
}

/// What the peer told us does not count any more.
#[inline(never)]
fn forget_peer(resource: &Arc<Resource>) {
    peer_data::connection_lost(resource);
    requests::connection_lost(resource);
    // Consequences of the loss, a new generation for one, come before the next handshake.
    resource.flush_changes();
    let suspended = {
        let mut shared = resource.shared.lock();
        shared.conn.state_sent = false;
        for volume in shared.volumes.iter_mut() {
            volume.peer_uuids = None;
        }
        shared.volumes.iter().any(|volume| volume.suspended())
    };
    // Suspended requests stay: the next peer may still confirm them. It gets none of them before it is known whether
    // its data are ours.
    if suspended {
        transfer::park(resource);
    } else {
        transfer::connection_lost(resource);
    }
    resource.state_wait.wake_all();
    let mut from = Some(0);
    while let Some(device) = from.and_then(|vnr| resource.device_from(vnr)) {
        crate::metadata::sync(&device);
        crate::after::write_bitmap(&device, "write from disconnected");
        from = device.vnr.checked_add(1);
    }
}

/// A Primary that lost its peer has it fenced, if that is configured, before it goes on alone. The handler takes its
/// time, so it has a thread of its own; what it achieves counts only as long as the peer does not come back.
fn fence_peer(resource: &Arc<Resource>) -> Result {
    if !fence::is_due(&resource.shared.lock()) {
        return Ok(());
    }
    let earlier = resource.connection.fencer.lock().take();
    drop(earlier);
    let fencer = spawn(resource, "f", |resource| {
        fence::peer(resource);
    })?;
    *resource.connection.fencer.lock() = Some(fencer);
    Ok(())
}

/// What a change of the connection's own state asks of the receiver.
pub(crate) fn order(old: ConnState, new: ConnState) -> Option<ReceiverOrder> {
    match new {
        ConnState::Disconnecting | ConnState::StandAlone if old != new => Some(ReceiverOrder::Stop),
        _ if state::has_socket(old) && state::is_network_error(new) => Some(ReceiverOrder::Restart),
        _ => None,
    }
}
