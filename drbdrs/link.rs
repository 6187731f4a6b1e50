// SPDX-License-Identifier: GPL-2.0-only

//! The sending half of a stream: one packet at a time, whoever sends it.
//!
//! A peer that takes nothing is given `timeout` (net section) at a time, `ko-count` times without a single byte of
//! progress; then sending fails and the connection is given up.

use crate::{digests::Digest, prelude::*};
use drbd_core::{
    config::NetConf,
    wire::{frame, Command, Empty, Format, Packet},
};
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel_ext::{
    block::{Bio, PageBuf, PageVec},
    crypto::Shash,
    net::TcpStream,
};

/// See the module's description.
#[pin_data]
pub(crate) struct Link {
    #[pin]
    sending: Mutex<Option<Sending>>,
    /// The same stream, for those who must not wait until something is sent.
    #[pin]
    stream: IrqLock<Option<Arc<TcpStream>>>,
    /// `ko-count` and `tcp-cork` as they are configured now.
    ko_count: Atomic<u32>,
    corks: Atomic<u32>,
}

struct Sending {
    stream: Arc<TcpStream>,
    format: Format,
    ko_count: u32,
    buffer: PageBuf,
    integrity: Option<Arc<Shash>>,
}

/// Data that a packet carries.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    /// Of a write, as the application has them.
    Bio(&'a Bio),
    /// In pages of ours.
    Pages(&'a PageVec),
}

impl Content<'_> {
    fn digest(self, shash: &Shash) -> Result<Digest> {
        let mut hasher = shash.begin()?;
        match self {
            Self::Bio(bio) => bio.for_each(|part| hasher.update(part))?,
            Self::Pages(pages) => pages.for_each(|part| hasher.update(part))?,
        }
        Digest::fill(shash.digest_size(), |digest| hasher.finish(digest))
    }
}

/// A packet whose head is on its way and whose payload follows.
pub(crate) struct Payload<'a> {
    stream: &'a TcpStream,
    ko_count: u32,
}

impl Link {
    /// A link without a stream.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            sending <- new_mutex!(None),
            stream <- new_irq_lock!(None),
            ko_count: Atomic::new(0),
            corks: Atomic::new(1),
        })
    }

    /// Takes options that may change while there is a stream. Any context.
    pub(crate) fn configure(&self, net: &NetConf) {
        self.ko_count.store(net.ko_count, Relaxed);
        self.corks.store(u32::from(net.tcp_cork), Relaxed);
    }

    /// From now on packets go to `stream`, whose send timeout is set already. May sleep.
    pub(crate) fn open(&self, stream: Arc<TcpStream>, format: Format) -> Result {
        let buffer = PageBuf::new()?;
        let old = self.stream.lock().replace(stream.clone());
        drop(old);
        *self.sending.lock() = Some(Sending {
            stream,
            format,
            ko_count: self.ko_count.load(Relaxed),
            buffer,
            integrity: None,
        });
        Ok(())
    }

    /// Gives the stream up. May sleep; shut the stream down first.
    pub(crate) fn close(&self) {
        let stream = self.stream.lock().take();
        drop(stream);
        let old = self.sending.lock().take();
        drop(old);
    }

    /// Whether more than four fifths of the send buffer wait to be sent. Process context.
    pub(crate) fn is_congested(&self) -> bool {
        let stream = self.stream.lock().clone();
        stream.is_some_and(|stream| {
            let buffer = u64::from(stream.send_buffer());
            u64::from(stream.queued_bytes()).saturating_mul(5) > buffer.saturating_mul(4)
        })
    }

    /// Holds back small packets until told otherwise; not so with `tcp-cork no`.
    pub(crate) fn cork(&self, on: bool) {
        if on && self.corks.load(Relaxed) == 0 {
            return;
        }
        if let Some(sending) = self.sending.lock().as_ref() {
            sending.stream.set_cork(on);
        }
    }

    /// Sends a packet. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOTCONN`: there is no stream; `EMSGSIZE`: the packet does not fit its format; others: the network's.
    pub(crate) fn send<P: Packet>(&self, vnr: u16, command: Command, packet: &P) -> Result {
        self.send_with(vnr, command, packet, 0, |_| Ok(()))
    }

    /// Sends a packet whose payload of `length` bytes `payload` sends. May sleep.
    ///
    /// # Errors
    ///
    /// As [`Link::send`].
    pub(crate) fn send_with<P: Packet>(
        &self,
        vnr: u16,
        command: Command,
        packet: &P,
        length: u32,
        payload: impl FnOnce(&Payload<'_>) -> Result,
    ) -> Result {
        let mut sending = self.sending.lock();
        let sending = self.current(&mut sending)?;
        sending.send(vnr, command, packet, length, payload)
    }

    /// Sends a packet that announces with which digest the data come from now on. May sleep.
    ///
    /// # Errors
    ///
    /// As [`Link::send`].
    pub(crate) fn send_and_sign<P: Packet>(
        &self,
        command: Command,
        packet: &P,
        integrity: Option<Arc<Shash>>,
    ) -> Result {
        let mut sending = self.sending.lock();
        let sending = self.current(&mut sending)?;
        sending.send(0, command, packet, 0, |_| Ok(()))?;
        sending.integrity = integrity;
        Ok(())
    }

    /// Sends a packet with data: of `length` bytes, behind their digest if one was announced. May sleep.
    ///
    /// # Errors
    ///
    /// As [`Link::send`].
    pub(crate) fn send_data<P: Packet>(
        &self,
        vnr: u16,
        command: Command,
        packet: &P,
        length: u32,
        content: Content<'_>,
    ) -> Result {
        let mut sending = self.sending.lock();
        let sending = self.current(&mut sending)?;
        let digest = match sending.integrity.as_ref() {
            Some(shash) => Some(content.digest(shash)?),
            None => None,
        };
        let digest = digest.as_ref().map_or(&[][..], |digest| digest.as_bytes());
        let length = u32::try_from(digest.len())
            .ok()
            .and_then(|more| length.checked_add(more))
            .ok_or(EMSGSIZE)?;
        sending.send(vnr, command, packet, length, |payload| {
            if !digest.is_empty() {
                payload.bytes(digest, true)?;
            }
            match content {
                Content::Bio(bio) => payload.bio(bio),
                Content::Pages(pages) => payload.pages(pages),
            }
        })
    }

    /// Sends several packets that nothing comes between. May sleep.
    ///
    /// # Errors
    ///
    /// As [`Link::send`].
    pub(crate) fn send_burst(&self, work: impl FnOnce(&mut Burst<'_>) -> Result) -> Result {
        let mut sending = self.sending.lock();
        work(&mut Burst {
            sending: self.current(&mut sending)?,
        })
    }

    /// What is sent with, as patient as it is configured to be.
    fn current<'a>(&self, sending: &'a mut Option<Sending>) -> Result<&'a mut Sending> {
        let sending = sending.as_mut().ok_or(ENOTCONN)?;
        sending.ko_count = self.ko_count.load(Relaxed);
        Ok(sending)
    }
}

impl Sending {
    fn send<P: Packet>(
        &mut self,
        vnr: u16,
        command: Command,
        packet: &P,
        length: u32,
        payload: impl FnOnce(&Payload<'_>) -> Result,
    ) -> Result {
        let Self {
            stream,
            format,
            ko_count,
            buffer,
            ..
        } = self;
        let buffer = buffer.bytes_mut();
        let head = frame(*format, vnr, command, packet, length, buffer).ok_or(EMSGSIZE)?;
        let head = buffer.get(..head).ok_or(EMSGSIZE)?;
        let ko_count = *ko_count;
        stream.send_all(head, length > 0, &mut patience(ko_count))?;
        payload(&Payload { stream, ko_count })
    }
}

/// Packets that nothing comes between.
pub(crate) struct Burst<'a> {
    sending: &'a mut Sending,
}

impl Burst<'_> {
    /// Sends a packet that is nothing but `content`.
    ///
    /// # Errors
    ///
    /// As [`Link::send`].
    pub(crate) fn send(&mut self, vnr: u16, command: Command, content: &[u8]) -> Result {
        let Sending {
            stream,
            format,
            ko_count,
            buffer,
            ..
        } = &mut *self.sending;
        let buffer = buffer.bytes_mut();
        let length = u32::try_from(content.len()).map_err(|_| EMSGSIZE)?;
        let head = frame(*format, vnr, command, &Empty, length, buffer).ok_or(EMSGSIZE)?;
        let head = buffer.get(..head).ok_or(EMSGSIZE)?;
        let more = !content.is_empty();
        stream.send_all(head, more, &mut patience(*ko_count))?;
        stream.send_all(content, false, &mut patience(*ko_count))
    }
}

/// Whether to go on after a timeout without progress.
fn patience(ko_count: u32) -> impl FnMut() -> bool {
    let mut left = ko_count;
    move || {
        left = left.saturating_sub(1);
        // 0 means: never give up.
        ko_count == 0 || left > 0
    }
}

impl Payload<'_> {
    /// Sends the data of a write.
    fn bio(&self, bio: &Bio) -> Result {
        let mut left = bio.bytes() as usize;
        bio.for_each(|segment| {
            left = left.saturating_sub(segment.len());
            self.stream
                .send_all(segment, left > 0, &mut patience(self.ko_count))
        })
    }

    /// Sends bytes; `more` follow.
    pub(crate) fn bytes(&self, bytes: &[u8], more: bool) -> Result {
        self.stream
            .send_all(bytes, more, &mut patience(self.ko_count))
    }

    /// Sends pages.
    fn pages(&self, pages: &PageVec) -> Result {
        self.stream
            .send_pages(pages, false, &mut patience(self.ko_count))
    }
}
