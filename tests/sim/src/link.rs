// SPDX-License-Identifier: GPL-2.0-only

//! One node's end of a connection: two byte streams, real packets.

use drbd_core::wire::{frame, Agreed, Command, Format, Header, Packet, Socket};
use std::collections::VecDeque;

/// The data stream.
pub const DATA: usize = 0;
/// The meta stream.
pub const META: usize = 1;

/// See the module's description.
#[derive(Debug, Default)]
pub struct Link {
    /// Both ends have the same number.
    pub id: u64,
    /// What was sent and is under way.
    pub out: [VecDeque<u8>; 2],
    /// What has arrived.
    pub arrived: [VecDeque<u8>; 2],
    /// Nothing more will arrive.
    pub ended: bool,
}

/// A packet that has arrived as a whole.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// What it is.
    pub command: Command,
    /// Fixed part and payload.
    pub body: Vec<u8>,
    /// Where the payload begins.
    pub fixed: usize,
}

impl Arrived {
    /// The fixed part.
    pub fn fixed(&self) -> &[u8] {
        &self.body[..self.fixed]
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.body[self.fixed..]
    }
}

/// Moves the first bytes of a stream, in the one or two pieces that they lie in.
pub fn hand_over(from: &mut VecDeque<u8>, bytes: usize, mut to: impl FnMut(&[u8])) {
    let (first, second) = from.as_slices();
    let first = &first[..bytes.min(first.len())];
    to(first);
    to(&second[..bytes - first.len()]);
    from.drain(..bytes);
}

impl Link {
    /// Sends a packet.
    pub fn send<P: Packet>(
        &mut self,
        stream: usize,
        format: Format,
        command: Command,
        packet: &P,
        payload: &[u8],
    ) {
        let mut buffer = [0; 320];
        let length = u32::try_from(payload.len()).expect("payloads are small");
        let head =
            frame(format, 0, command, packet, length, &mut buffer).expect("a packet has room");
        self.out[stream].extend(&buffer[..head]);
        self.out[stream].extend(payload);
    }

    /// The next packet of a stream, if all of it is there. `Err`: nonsense.
    pub fn receive(
        &mut self,
        stream: usize,
        agreed: &Agreed,
        handshake: bool,
    ) -> Result<Option<Arrived>, String> {
        let format = if handshake {
            Format::Short
        } else {
            agreed.format()
        };
        let size = format.size();
        let queue = &mut self.arrived[stream];
        if queue.len() < size {
            return Ok(None);
        }
        let mut head = [0; 16];
        for (to, from) in head.iter_mut().zip(queue.iter().take(size)) {
            *to = *from;
        }
        let header = format
            .parse(&head[..size])
            .map_err(|bad| format!("header: {bad:?}"))?;
        let Header {
            command, length, ..
        } = header;
        let socket = if stream == DATA {
            Socket::Data
        } else {
            Socket::Meta
        };
        let bounds = if handshake {
            Agreed::NOTHING.admit_handshake(socket, header)
        } else {
            agreed.admit(socket, header)
        }
        .map_err(|refused| format!("{command:?} of {length}: {refused:?}"))?;
        let whole = size + length as usize;
        if queue.len() < whole {
            return Ok(None);
        }
        queue.drain(..size);
        let mut body = Vec::with_capacity(length as usize);
        hand_over(queue, length as usize, |piece| {
            body.extend_from_slice(piece)
        });
        Ok(Some(Arrived {
            command,
            body,
            fixed: bounds.fixed as usize,
        }))
    }
}
