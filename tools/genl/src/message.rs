// SPDX-License-Identifier: GPL-2.0-only

//! Netlink messages: headers to bytes and back.

use drbd_core::config::nlattr::{Attribute, Reader};
use drbd_core::config::parms::CfgReply;
use drbd_core::config::schema::{Command, Header};
use drbd_core::config::{CfgContext, Nested};

const HEADER: usize = 16;
const GENL_HEADER: usize = 4;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// One netlink message, its headers taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Family, or one of netlink's own types.
    pub ty: u16,
    /// Sequence number: the request's in an answer.
    pub seq: u32,
    /// Everything behind the netlink header.
    pub payload: Vec<u8>,
}

impl Packet {
    /// The -errno of an error message; 0 is an acknowledgement.
    pub fn error(&self) -> Option<i32> {
        if self.ty != ERROR {
            return None;
        }
        // A message too short to say which error is an error all the same.
        Some(
            self.payload
                .first_chunk()
                .map_or(-5, |errno| i32::from_ne_bytes(*errno)),
        )
    }

    /// Whether this ends a dump.
    pub fn is_done(&self) -> bool {
        self.ty == DONE
    }

    /// What is behind the generic netlink header.
    pub fn attributes(&self) -> Option<&[u8]> {
        self.payload.get(GENL_HEADER..)
    }
}

/// A message of the family.
#[derive(Clone, Debug)]
pub struct Message {
    /// Which; none if this version does not know it.
    pub command: Option<Command>,
    /// Minor and return code.
    pub header: Header,
    /// Sequence number.
    pub seq: u32,
    attributes: Vec<u8>,
}

impl Message {
    /// Takes the family's headers apart.
    pub fn from_packet(packet: &Packet) -> Option<Self> {
        let (genl, body) = packet.payload.split_at_checked(GENL_HEADER)?;
        let (header, attributes) = Header::parse(body)?;
        Some(Self {
            command: Command::from_wire(*genl.first()?),
            header,
            seq: packet.seq,
            attributes: attributes.to_vec(),
        })
    }

    /// A nest's bytes as they came.
    pub fn nest(&self, nr: u16) -> Option<Attribute<'_>> {
        Reader::new(&self.attributes).find(nr)
    }

    /// A nest as a struct.
    pub fn get<T: Nested>(&self) -> Option<T> {
        self.nest(T::TABLE.nr).map(|nest| T::read(nest.payload))
    }

    /// Which object it is about.
    pub fn context(&self) -> CfgContext {
        self.get().unwrap_or_default()
    }

    /// The name of the resource that it is about.
    pub fn resource(&self) -> String {
        self.context()
            .resource_name
            .map(|name| name.to_string())
            .unwrap_or_default()
    }

    /// The kernel's words for a person.
    pub fn info(&self) -> Vec<String> {
        let Some(nest) = self.nest(CfgReply::NEST.nr) else {
            return Vec::new();
        };
        nest.nested()
            .map_while(Result::ok)
            .filter_map(|line| Some(String::from_utf8_lossy(line.string()?).into_owned()))
            .collect()
    }
}

/// A generic netlink message as bytes.
pub fn encode(ty: u16, flags: u16, seq: u32, command: u8, version: u8, body: &[u8]) -> Vec<u8> {
    let len = (HEADER + GENL_HEADER + body.len()) as u32;
    let mut bytes = Vec::with_capacity(len as usize);
    bytes.extend(len.to_ne_bytes());
    bytes.extend(ty.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(seq.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend([command, version, 0, 0]);
    bytes.extend(body);
    bytes
}

/// The messages of a datagram; stops at what is no message.
pub fn packets(mut bytes: &[u8]) -> Vec<Packet> {
    let mut packets = Vec::new();
    while let Some(header) = bytes.first_chunk::<HEADER>() {
        let word = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let len = word(0) as usize;
        let Some(payload) = bytes.get(HEADER..len) else {
            break;
        };
        packets.push(Packet {
            ty: u16::from_ne_bytes([header[4], header[5]]),
            seq: word(8),
            payload: payload.to_vec(),
        });
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_found_again_among_others() {
        let mut bytes = encode(0x24, 1, 7, 7, 1, &[1, 2, 3, 4, 5, 6, 7, 8]);
        bytes.extend(encode(DONE, 2, 8, 0, 0, &[]));
        let found = packets(&bytes);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].ty, found[0].seq), (0x24, 7));
        let message = Message::from_packet(&found[0]).unwrap();
        assert_eq!(message.command, Some(Command::NewResource));
        assert!(found[1].is_done());
    }

    #[test]
    fn damaged_datagrams_give_what_was_whole() {
        let bytes = encode(0x24, 1, 7, 7, 1, &[0; 8]);
        for cut in 0..bytes.len() {
            assert!(packets(&bytes[..cut]).is_empty());
        }
        let mut lying = bytes.clone();
        lying[0] = 3;
        assert!(packets(&lying).is_empty());
        let error = packets(&encode(ERROR, 0, 1, 0, 0, &[]));
        assert_eq!(error[0].error(), Some(0));
    }

    #[test]
    fn random_bytes_do_no_harm() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..64)
                .map(|_| {
                    state = state
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    (state >> 33) as u8 & 0x1f
                })
                .collect();
            for packet in packets(&bytes) {
                if let Some(message) = Message::from_packet(&packet) {
                    let _ = (message.info(), message.resource());
                }
            }
            let _ = Message::from_packet(&Packet {
                ty: 0x24,
                seq: 0,
                payload: bytes,
            })
            .map(|m| (m.info(), m.resource()));
        }
    }
}
