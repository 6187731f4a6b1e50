// SPDX-License-Identifier: GPL-2.0-only

//! The netlink client of the family `drbd`: finds the family, asks, dumps, listens.
//!
//! What goes into a message is `drbd_core::config`'s business; here are sockets, sequence numbers and the netlink
//! headers. It speaks to drbdrs and to the stock driver alike.
#![forbid(unsafe_code)]

mod message;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use drbd_core::config::nlattr::{Full, Reader, Writer};
use drbd_core::config::schema::{Command, Header, FAMILY, GROUP, HEADER_SIZE, VERSION};
use netlink_sys::{protocols::NETLINK_GENERIC, Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec};

pub use message::{encode, packets, Message, Packet};

/// Numbers of the controller, which knows the families.
mod ctrl {
    pub const FAMILY: u16 = 0x10;
    pub const GETFAMILY: u8 = 3;
    pub const ATTR_FAMILY_ID: u16 = 1;
    pub const ATTR_FAMILY_NAME: u16 = 2;
    pub const ATTR_VERSION: u16 = 3;
    pub const ATTR_HDRSIZE: u16 = 4;
    pub const ATTR_MCAST_GROUPS: u16 = 7;
    pub const GROUP_NAME: u16 = 1;
    pub const GROUP_ID: u16 = 2;
}

const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
const MAX_REQUEST: usize = 4096;
/// Room for a burst of events while the reader does something else.
const EVENT_BUFFER: usize = 1 << 20;

/// Why the kernel could not be asked.
#[derive(Debug)]
pub enum Error {
    /// The family does not exist: no driver is loaded.
    NoDriver,
    /// The driver speaks another version of the API.
    Version {
        /// Version of the family.
        version: u32,
        /// Size of its header.
        header: u32,
    },
    /// The kernel refused the message as such: -errno.
    Refused(io::Error),
    /// The socket failed.
    Socket(io::Error),
    /// The answer makes no sense.
    Garbled,
    /// More arguments than a message holds.
    TooLong,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoDriver => f.write_str("no drbd driver is loaded (modprobe drbdrs, or insmod drbdrs.ko)"),
            Error::Version { version, header } => write!(
                f,
                "API mismatch: we speak version {VERSION} with headers of {HEADER_SIZE} bytes, the driver {version} with {header}"
            ),
            Error::Refused(error) => write!(f, "the kernel refused the request: {error}"),
            Error::Socket(error) => write!(f, "netlink: {error}"),
            Error::Garbled => f.write_str("the kernel's answer makes no sense"),
            Error::TooLong => f.write_str("too many arguments for one request"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Full> for Error {
    fn from(_: Full) -> Self {
        Error::TooLong
    }
}

/// A connection to the driver.
pub struct Client {
    socket: Socket,
    family: u16,
    group: Option<u32>,
    seq: u32,
    /// Messages of a datagram that were not handed out yet.
    pending: Vec<Packet>,
    /// Notifications that came while an answer was read.
    notices: VecDeque<Message>,
}

/// Requests are numbered from here: the driver numbers its notifications from 1.
const FIRST_SEQ: u32 = 1 << 30;

impl Client {
    /// Opens a socket and finds the family.
    pub fn open() -> Result<Self, Error> {
        let mut socket = Socket::new(NETLINK_GENERIC).map_err(Error::Socket)?;
        socket.bind_auto().map_err(Error::Socket)?;
        socket
            .connect(&SocketAddr::new(0, 0))
            .map_err(Error::Socket)?;
        let mut client = Self {
            socket,
            family: ctrl::FAMILY,
            group: None,
            seq: FIRST_SEQ,
            pending: Vec::new(),
            notices: VecDeque::new(),
        };
        let mut attributes = [0; 64];
        let mut writer = Writer::new(&mut attributes);
        writer.put_string(ctrl::ATTR_FAMILY_NAME, FAMILY.as_bytes())?;
        let seq = client.send(ctrl::GETFAMILY, 2, REQUEST, writer.bytes())?;
        let packet = loop {
            match client.receive(None)? {
                Some(packet) if packet.seq == seq => break packet,
                _ => {}
            }
        };
        match packet.error() {
            Some(0) | None => {}
            Some(errno) if errno == -rustix::io::Errno::NOENT.raw_os_error() => {
                return Err(Error::NoDriver)
            }
            Some(errno) => {
                return Err(Error::Refused(io::Error::from_raw_os_error(
                    errno.saturating_neg(),
                )))
            }
        }
        let reply = Reader::new(packet.attributes().ok_or(Error::Garbled)?);
        let number = |nr| reply.find(nr).and_then(|a| a.u32());
        let id = reply.find(ctrl::ATTR_FAMILY_ID).ok_or(Error::Garbled)?;
        let id = <[u8; 2]>::try_from(id.payload).map_err(|_| Error::Garbled)?;
        client.family = u16::from_ne_bytes(id);
        let version = number(ctrl::ATTR_VERSION).ok_or(Error::Garbled)?;
        let header = number(ctrl::ATTR_HDRSIZE).ok_or(Error::Garbled)?;
        if (version, header) != (u32::from(VERSION), HEADER_SIZE as u32) {
            return Err(Error::Version { version, header });
        }
        client.group = group_id(&reply);
        Ok(client)
    }

    /// Sends a message; returns its sequence number.
    fn send(&mut self, command: u8, version: u8, flags: u16, body: &[u8]) -> Result<u32, Error> {
        self.seq = self.seq.wrapping_add(1).max(1);
        let bytes = message::encode(self.family, flags, self.seq, command, version, body);
        self.socket.send(&bytes, 0).map_err(Error::Socket)?;
        Ok(self.seq)
    }

    /// The next message, or nothing when none came before the deadline.
    fn receive(&mut self, deadline: Option<Instant>) -> Result<Option<Packet>, Error> {
        while self.pending.is_empty() {
            if let Some(deadline) = deadline {
                if !self.wait(deadline)? {
                    return Ok(None);
                }
            }
            let (bytes, _) = match self.socket.recv_from_full() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(Error::Socket)?,
            };
            self.pending = message::packets(&bytes);
            self.pending.reverse();
        }
        Ok(self.pending.pop())
    }

    /// Waits until something can be read.
    fn wait(&self, deadline: Instant) -> Result<bool, Error> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let mut fds = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::Socket(error.into())),
            }
        }
    }

    fn ask(
        &mut self,
        command: Command,
        flags: u16,
        header: Header,
        build: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>,
    ) -> Result<u32, Error> {
        let mut body = [0; MAX_REQUEST];
        let mut writer = Writer::new(&mut body);
        writer.raw(&header.emit())?;
        build(&mut writer)?;
        self.send(command as u8, VERSION, flags, writer.bytes())
    }

    /// One request, one reply.
    pub fn request(
        &mut self,
        command: Command,
        header: Header,
        build: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>,
    ) -> Result<Message, Error> {
        let seq = self.ask(command, REQUEST, header, build)?;
        loop {
            let Some(packet) = self.receive(None)? else {
                continue;
            };
            if packet.seq != seq {
                continue;
            }
            match packet.error() {
                Some(0) => {}
                Some(errno) => {
                    return Err(Error::Refused(io::Error::from_raw_os_error(
                        errno.saturating_neg(),
                    )))
                }
                None => return Message::from_packet(&packet).ok_or(Error::Garbled),
            }
        }
    }

    /// One request, all that is told. Notifications that belong to the answer count as part of it.
    pub fn dump(
        &mut self,
        command: Command,
        header: Header,
        build: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>,
    ) -> Result<Vec<Message>, Error> {
        let seq = self.ask(command, REQUEST | DUMP, header, build)?;
        let mut messages = Vec::new();
        loop {
            let Some(packet) = self.receive(None)? else {
                continue;
            };
            if packet.seq != seq {
                self.keep(&packet);
                continue;
            }
            if packet.is_done() {
                return Ok(messages);
            }
            match packet.error() {
                Some(0) => {}
                Some(errno) => {
                    return Err(Error::Refused(io::Error::from_raw_os_error(
                        errno.saturating_neg(),
                    )))
                }
                None => {
                    let message = Message::from_packet(&packet).ok_or(Error::Garbled)?;
                    let last = message.command == Some(Command::InitialStateDone);
                    messages.push(message);
                    if last {
                        return Ok(messages);
                    }
                }
            }
        }
    }

    /// What came between the parts of an answer is told later, if somebody listens.
    fn keep(&mut self, packet: &Packet) {
        let is_notice = packet.ty == self.family && packet.seq < FIRST_SEQ;
        self.notices
            .extend(is_notice.then(|| Message::from_packet(packet)).flatten());
    }

    /// Waits until a notification is there or `other` can be read; true for the latter.
    pub fn event_or(&mut self, other: BorrowedFd<'_>) -> Result<bool, Error> {
        if !self.notices.is_empty() || !self.pending.is_empty() {
            return Ok(false);
        }
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(other, PollFlags::IN),
            ];
            match rustix::event::poll(&mut fds, None) {
                Ok(_) => return Ok(!fds[1].revents().is_empty()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::Socket(error.into())),
            }
        }
    }

    /// From now on the driver's notifications arrive at this client.
    pub fn subscribe(&mut self) -> Result<(), Error> {
        let group = self.group.ok_or(Error::Garbled)?;
        // More is better than the default, but no condition.
        let _ = self.socket.set_rx_buf_sz(EVENT_BUFFER as i32);
        self.socket.add_membership(group).map_err(Error::Socket)
    }

    /// The next notification; nothing when none came in time.
    pub fn event(&mut self, timeout: Option<Duration>) -> Result<Option<Message>, Error> {
        if let Some(message) = self.notices.pop_front() {
            return Ok(Some(message));
        }
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let Some(packet) = self.receive(deadline)? else {
                return Ok(None);
            };
            if let (None, false, Some(message)) = (
                packet.error(),
                packet.is_done(),
                Message::from_packet(&packet),
            ) {
                return Ok(Some(message));
            }
        }
    }
}

fn group_id(reply: &Reader<'_>) -> Option<u32> {
    let groups = reply.find(ctrl::ATTR_MCAST_GROUPS)?;
    groups.nested().map_while(Result::ok).find_map(|group| {
        let name = group.nested().find(ctrl::GROUP_NAME)?;
        if name.string()? == GROUP.as_bytes() {
            group.nested().find(ctrl::GROUP_ID)?.u32()
        } else {
            None
        }
    })
}
