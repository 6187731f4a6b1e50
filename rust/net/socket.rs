// SPDX-License-Identifier: GPL-2.0-only

//! TCP sockets of the kernel.
//!
//! A socket is shared (`Arc`): one thread receives, others send under a lock of theirs, and anybody may
//! [`TcpStream::shutdown`] it, which makes everybody who waits in it return with an error.
//!
//! Errors that callers tell apart: `EAGAIN` a timeout passed, `ECONNRESET` the other side closed, everything else
//! as the network says it.

use super::address::SocketAddr;
use crate::{bindings, block::PageVec};
use core::{mem::MaybeUninit, ptr::NonNull};
use kernel::{error::to_result, prelude::*, sync::Arc};

/// Pages handed to the network in one call.
const PAGES_AT_ONCE: usize = 16;
/// No timeout, in jiffies.
const FOREVER: c_long = c_long::MAX;

/// What a stream's data are to the packet scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Bulk data that somebody waits for.
    InteractiveBulk,
    /// Small messages that somebody waits for.
    Interactive,
}

/// A kernel socket.
///
/// # Invariants
///
/// `socket` is a TCP socket that is ours; it stays until we drop it.
struct Socket {
    socket: NonNull<bindings::socket>,
}

// SAFETY: Sockets are used from any thread; they have their own locks.
unsafe impl Send for Socket {}
// SAFETY: As above.
unsafe impl Sync for Socket {}

impl Socket {
    fn new(family: i32) -> Result<Self> {
        let mut socket = core::ptr::null_mut();
        // SAFETY: The initial network name space is there for ever; `socket` may be written.
        to_result(unsafe {
            bindings::sock_create_kern(
                &raw mut bindings::init_net,
                family,
                bindings::sock_type_SOCK_STREAM as i32,
                bindings::IPPROTO_TCP as i32,
                &mut socket,
            )
        })?;
        Self::adopt(socket)
    }

    fn adopt(socket: *mut bindings::socket) -> Result<Self> {
        // INVARIANT: The callers were just given it.
        let socket = Self {
            socket: NonNull::new(socket).ok_or(ENOMEM)?,
        };
        // SAFETY: By the type invariant.
        unsafe { bindings::kx_socket_defaults(socket.raw()) };
        Ok(socket)
    }

    fn raw(&self) -> *mut bindings::socket {
        self.socket.as_ptr()
    }

    fn bind(&self, address: &SocketAddr) -> Result {
        let mut address = *address;
        let (raw, length) = address.raw();
        // SAFETY: The socket by the type invariant; the address is that long.
        to_result(unsafe { bindings::kernel_bind(self.raw(), raw, length) })
    }

    fn set_timeouts(&self, send_ms: Option<u32>, receive_ms: Option<u32>) {
        // SAFETY: By the type invariant.
        unsafe {
            bindings::kx_socket_timeouts(self.raw(), jiffies(send_ms), jiffies(receive_ms));
        }
    }

    fn set_buffers(&self, send: u32, receive: u32) {
        let size = |bytes| i32::try_from(bytes).unwrap_or(i32::MAX);
        // SAFETY: By the type invariant.
        unsafe { bindings::kx_socket_buffers(self.raw(), size(send), size(receive)) };
    }

    fn shutdown(&self) {
        // SAFETY: By the type invariant; may be done at any time, also twice.
        unsafe {
            bindings::kernel_sock_shutdown(self.raw(), bindings::sock_shutdown_cmd_SHUT_RDWR);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.shutdown();
        // SAFETY: By the type invariant; nobody uses it any more.
        unsafe { bindings::sock_release(self.raw()) };
    }
}

fn jiffies(milliseconds: Option<u32>) -> c_long {
    milliseconds.map_or(FOREVER, |ms| {
        c_long::try_from(kernel::time::msecs_to_jiffies(ms)).unwrap_or(FOREVER)
    })
}

fn message(flags: u32) -> bindings::msghdr {
    // SAFETY: A message header of zeroes is valid: no name, no data.
    let mut message: bindings::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_flags = flags;
    message
}

/// The count that a socket function returned, or its error.
fn count(returned: i32) -> Result<usize> {
    usize::try_from(returned).map_err(|_| Error::from_errno(returned))
}

/// A socket that waits for peers.
pub struct Listener {
    socket: Socket,
}

impl Listener {
    /// Listens on an address of this host. The buffer sizes (bytes, 0: the kernel's choice) are inherited by
    /// accepted streams, whose windows depend on them.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `ENOMEM`, and what else the network says.
    pub fn bind(address: &SocketAddr, send_buffer: u32, receive_buffer: u32) -> Result<Arc<Self>> {
        let socket = Socket::new(address.family())?;
        socket.set_buffers(send_buffer, receive_buffer);
        socket.bind(address)?;
        // SAFETY: The socket by its type invariant.
        to_result(unsafe { bindings::kernel_listen(socket.raw(), 5) })?;
        Ok(Arc::new(Self { socket }, GFP_KERNEL)?)
    }

    /// Waits for somebody to connect. One thread at a time.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when nobody came in time, `EINVAL` after [`Listener::shutdown`].
    pub fn accept(&self, timeout_ms: u32) -> Result<Arc<TcpStream>> {
        self.socket.set_timeouts(None, Some(timeout_ms));
        let mut accepted = core::ptr::null_mut();
        // SAFETY: The socket by its type invariant; `accepted` may be written.
        to_result(unsafe { bindings::kernel_accept(self.socket.raw(), &mut accepted, 0) })?;
        Ok(Arc::new(
            TcpStream {
                socket: Socket::adopt(accepted)?,
            },
            GFP_KERNEL,
        )?)
    }

    /// Makes [`Listener::accept`] return, now and later.
    pub fn shutdown(&self) {
        self.socket.shutdown();
    }
}

/// A TCP connection, or a socket that will become one.
pub struct TcpStream {
    socket: Socket,
}

impl TcpStream {
    /// A socket that is not connected yet, bound to an address of this host (port 0: any).
    ///
    /// Buffer sizes in bytes; 0 leaves them to the kernel.
    ///
    /// # Errors
    ///
    /// `EADDRNOTAVAIL`, `ENOMEM`, and what else the network says.
    pub fn bind(source: &SocketAddr, send_buffer: u32, receive_buffer: u32) -> Result<Arc<Self>> {
        let socket = Socket::new(source.family())?;
        socket.set_buffers(send_buffer, receive_buffer);
        socket.bind(source)?;
        Ok(Arc::new(Self { socket }, GFP_KERNEL)?)
    }

    /// Connects to a peer. [`TcpStream::shutdown`] from another thread ends the attempt.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`, or what the network says: `ECONNREFUSED`, `EHOSTUNREACH`...
    pub fn connect(&self, peer: &SocketAddr, timeout_ms: u32) -> Result {
        let mut address = *peer;
        let (raw, length) = address.raw();
        self.set_timeouts(Some(timeout_ms), Some(timeout_ms));
        // SAFETY: The socket by its type invariant; the address is that long.
        let result = unsafe { bindings::kernel_connect(self.socket.raw(), raw, length, 0) };
        to_result(result).map_err(|error| {
            if error == EINPROGRESS || error == EAGAIN {
                ETIMEDOUT
            } else {
                error
            }
        })
    }

    /// How long sending and receiving wait; `None` waits as long as it takes.
    pub fn set_timeouts(&self, send_ms: Option<u32>, receive_ms: Option<u32>) {
        self.socket.set_timeouts(send_ms, receive_ms);
    }

    /// Sets what the data are to the packet scheduler.
    pub fn set_priority(&self, priority: Priority) {
        let priority = match priority {
            Priority::InteractiveBulk => bindings::TC_PRIO_INTERACTIVE_BULK,
            Priority::Interactive => bindings::TC_PRIO_INTERACTIVE,
        };
        // SAFETY: The socket by its type invariant.
        unsafe { bindings::kx_socket_priority(self.socket.raw(), priority) };
    }

    /// Holds small pieces back until a full segment is there, or until this is switched off.
    pub fn set_cork(&self, on: bool) {
        // SAFETY: The socket by its type invariant.
        unsafe { bindings::kx_socket_cork(self.socket.raw(), on) };
    }

    /// Acknowledges at once what was received, instead of waiting for data to send along.
    pub fn acknowledge_now(&self) {
        // SAFETY: The socket by its type invariant has a `sk`.
        unsafe { bindings::tcp_sock_set_quickack((*self.socket.raw()).sk, 2) };
    }

    /// Lets the kernel probe an idle connection.
    pub fn set_keepalive(&self) {
        // SAFETY: The socket by its type invariant has a `sk`.
        unsafe { bindings::sock_set_keepalive((*self.socket.raw()).sk) };
    }

    /// Bytes handed over that the peer has not acknowledged, with the kernel's overhead.
    pub fn queued_bytes(&self) -> u32 {
        // SAFETY: The socket by its type invariant.
        unsafe { bindings::kx_socket_queued(self.socket.raw()) }.unsigned_abs()
    }

    /// Room for [`TcpStream::queued_bytes`]; the kernel may change it.
    pub fn send_buffer(&self) -> u32 {
        // SAFETY: The socket by its type invariant.
        unsafe { bindings::kx_socket_send_buffer(self.socket.raw()) }.unsigned_abs()
    }

    /// Whether it is connected, and the peer has not closed it. Does not wait, and takes no data.
    pub fn is_alive(&self) -> bool {
        // SAFETY: The socket by its type invariant.
        if !unsafe { bindings::kx_socket_established(self.socket.raw()) } {
            return false;
        }
        let mut byte = [0];
        match self.receive(&mut byte, bindings::MSG_PEEK | bindings::MSG_DONTWAIT) {
            Ok(received) => received > 0,
            Err(error) => error == EAGAIN,
        }
    }

    /// The peer's address.
    ///
    /// # Errors
    ///
    /// `ENOTCONN`.
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        let mut storage = [0u64; 16];
        // SAFETY: The socket by its type invariant; 128 bytes hold every address.
        let length = count(unsafe {
            bindings::kernel_getpeername(self.socket.raw(), storage.as_mut_ptr().cast())
        })?;
        let length = length.min(core::mem::size_of_val(&storage));
        // SAFETY: That many bytes of the array, which are initialised.
        let bytes = unsafe { core::slice::from_raw_parts(storage.as_ptr().cast::<u8>(), length) };
        SocketAddr::from_bytes(bytes)
    }

    /// Ends the connection; everybody who waits in it returns. From any thread, also twice.
    pub fn shutdown(&self) {
        self.socket.shutdown();
    }

    /// Sends some of the bytes; tells how many. `more` says that the rest of a message follows at once.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when none could be sent in time, or what the network says.
    pub fn send(&self, bytes: &[u8], more: bool) -> Result<usize> {
        let mut message = message(flags(more));
        let mut part = bindings::kvec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        // SAFETY: The socket by its type invariant; the bytes are there during the call and are only read.
        count(unsafe {
            bindings::kernel_sendmsg(self.socket.raw(), &mut message, &mut part, 1, bytes.len())
        })
    }

    /// Sends all of the bytes. When a timeout passes `go_on` is asked; `false` ends it.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when `go_on` said no, or what the network says. A part may have been sent.
    pub fn send_all(&self, bytes: &[u8], more: bool, go_on: &mut dyn FnMut() -> bool) -> Result {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.send(rest, more) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or(&[]),
                Err(error) if error == EAGAIN && go_on() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends pages without copying them: the network holds them as long as it may have to send them again, even
    /// after the `PageVec` is dropped.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::send_all`].
    pub fn send_pages(
        &self,
        pages: &PageVec,
        more: bool,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result {
        let mut parts = [const {
            bindings::bio_vec {
                bv_page: core::ptr::null_mut(),
                bv_len: 0,
                bv_offset: 0,
            }
        }; PAGES_AT_ONCE];
        let mut raw = pages.raw().peekable();
        while raw.peek().is_some() {
            let (mut used, mut bytes) = (0, 0usize);
            for (part, (page, length)) in parts.iter_mut().zip(&mut raw) {
                part.bv_page = page;
                part.bv_len = length;
                used += 1;
                bytes = bytes.saturating_add(length as usize);
            }
            let more = more || raw.peek().is_some();
            let mut message = message(flags(more) | bindings::MSG_SPLICE_PAGES);
            // SAFETY: The parts are there until the last call with this message; the network takes references on
            // the pages.
            unsafe {
                bindings::iov_iter_bvec(
                    &mut message.msg_iter,
                    bindings::ITER_SOURCE,
                    parts.as_ptr(),
                    used,
                    bytes,
                );
            }
            // SAFETY: As above; the message's iterator goes on where the last call stopped.
            while unsafe { bindings::kx_message_left(&mut message) } {
                // SAFETY: The socket by its type invariant; for the message see above.
                match count(unsafe { bindings::sock_sendmsg(self.socket.raw(), &mut message) }) {
                    Ok(_) => {}
                    Err(error) if error == EAGAIN && go_on() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Receives what is there, at least one byte.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when nothing came in time, `ECONNRESET` when the peer closed, or what the network says.
    pub fn recv(&self, buffer: &mut [u8]) -> Result<usize> {
        match self.receive(buffer, bindings::MSG_NOSIGNAL)? {
            0 if !buffer.is_empty() => Err(ECONNRESET),
            received => Ok(received),
        }
    }

    /// Fills the buffer.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when nothing at all came in time, `ETIMEDOUT` when a part came and not the rest, `ECONNRESET` when
    /// the peer closed, or what the network says.
    pub fn recv_exact(&self, buffer: &mut [u8]) -> Result {
        let mut done = 0;
        while done < buffer.len() {
            let rest = buffer.get_mut(done..).ok_or(EINVAL)?;
            match self.receive(rest, bindings::MSG_WAITALL | bindings::MSG_NOSIGNAL) {
                Ok(0) => return Err(ECONNRESET),
                Ok(received) => done = done.saturating_add(received),
                Err(error) if error == EAGAIN && done > 0 => return Err(ETIMEDOUT),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&self, buffer: &mut [u8], flags: u32) -> Result<usize> {
        let mut message = message(flags);
        let mut part = bindings::kvec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        // SAFETY: The socket by its type invariant; the buffer may be written during the call.
        count(unsafe {
            bindings::kernel_recvmsg(
                self.socket.raw(),
                &mut message,
                &mut part,
                1,
                buffer.len(),
                flags as i32,
            )
        })
    }
}

fn flags(more: bool) -> u32 {
    bindings::MSG_NOSIGNAL | if more { bindings::MSG_MORE } else { 0 }
}

/// Over the loopback device: a connection is complete before anybody accepts it, so one thread is enough.
#[kunit_tests(kernel_ext_socket)]
mod tests {
    use super::*;
    use crate::block::PagePool;

    const MS: u32 = 200;

    fn loopback(port: u16) -> SocketAddr {
        let [high, low] = port.to_be_bytes();
        let mut raw = [0; 16];
        raw[..2].copy_from_slice(&(bindings::AF_INET as u16).to_ne_bytes());
        raw[2..8].copy_from_slice(&[high, low, 127, 0, 0, 1]);
        SocketAddr::from_bytes(&raw).unwrap()
    }

    fn pair(port: u16) -> (Arc<TcpStream>, Arc<TcpStream>) {
        let address = loopback(port);
        let listener = Listener::bind(&address, 0, 0).unwrap();
        let near = TcpStream::bind(&address.with_port(0), 0, 0).unwrap();
        near.connect(&address, MS).unwrap();
        let far = listener.accept(MS).unwrap();
        near.set_timeouts(Some(MS), Some(MS));
        far.set_timeouts(Some(MS), Some(MS));
        (near, far)
    }

    #[test]
    fn what_is_sent_is_received() {
        let (near, far) = pair(7001);
        near.send_all(b"hello", false, &mut || false).unwrap();
        let mut buffer = [0; 5];
        far.recv_exact(&mut buffer).unwrap();
        assert!(&buffer == b"hello");
        assert!(far.peer_addr().unwrap().is_same_host(&loopback(1)));
    }

    #[test]
    fn pages_arrive_whole_and_outlive_their_sender() {
        let (near, far) = pair(7002);
        let pool = PagePool::new(usize::MAX).unwrap();
        let mut sent = PageVec::new(&pool, 20 * 4096 + 512);
        let mut byte = 0u8;
        let filled = sent.fill(|part| {
            byte = byte.wrapping_add(1);
            part.fill(byte);
            Ok::<(), Error>(())
        });
        assert!(filled.is_ok());
        near.send_pages(&sent, false, &mut || false).unwrap();
        drop(sent);
        let mut received = PageVec::new(&pool, 20 * 4096 + 512);
        received.fill(|part| far.recv_exact(part)).unwrap();
        let mut byte = 0u8;
        let equal = received.for_each(|part| {
            byte = byte.wrapping_add(1);
            if part.iter().all(|b| *b == byte) {
                Ok(())
            } else {
                Err(EIO)
            }
        });
        assert!(equal.is_ok());
    }

    #[test]
    fn waiting_ends_by_time_by_close_and_by_shutdown() {
        let (near, far) = pair(7003);
        let mut buffer = [0; 4];
        assert!(far.recv_exact(&mut buffer) == Err(EAGAIN));
        near.send_all(b"hi", false, &mut || false).unwrap();
        assert!(far.recv_exact(&mut buffer) == Err(ETIMEDOUT));
        assert!(far.is_alive());
        near.shutdown();
        assert!(far.recv_exact(&mut buffer) == Err(ECONNRESET));
        assert!(!far.is_alive());
        far.shutdown();
        assert!(far.send_all(b"x", false, &mut || false).is_err());
    }

    #[test]
    fn nobody_comes_and_nobody_listens() {
        let address = loopback(7004);
        let listener = Listener::bind(&address, 0, 0).unwrap();
        assert!(listener.accept(50).err() == Some(EAGAIN));
        assert!(Listener::bind(&address, 0, 0).err() == Some(EADDRINUSE));
        listener.shutdown();
        assert!(listener.accept(50).err() == Some(EINVAL));
        drop(listener);
        let near = TcpStream::bind(&address.with_port(0), 0, 0).unwrap();
        assert!(near.connect(&address, MS) == Err(ECONNREFUSED));
    }

    #[test]
    fn addresses_are_read_and_written() {
        let address = loopback(7789);
        assert!(address.port() == 7789 && !address.is_ipv6());
        assert!(SocketAddr::from_bytes(address.as_bytes()) == Ok(address));
        assert!(SocketAddr::from_bytes(&[1, 0, 0, 0]) == Err(EAFNOSUPPORT));
        assert!(SocketAddr::from_bytes(&address.as_bytes()[..8]) == Err(EINVAL));
    }
}
