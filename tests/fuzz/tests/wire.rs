// SPDX-License-Identifier: GPL-2.0-only

//! A peer that says anything: real packets, damaged, as a stream that is read the way the driver reads.

use drbd_core::wire::{
    Agreed, BitmapRecv, BitmapSend, Bits, BlockAck, BlockDesc, BlockRequest, Command,
    ConnectionFeatures, DataPacket, Features, Format, Header, Packet, Protocol, Sizes, Socket,
    StateChange, StatePacket, SyncParam, TrimPacket, UuidsPacket, MAX_DATA_SIZE,
    SOCKET_BUFFER_SIZE,
};
use drbd_fuzz::{damage, rounds, Random};

const SESSION: &str = include_str!("../../golden/wire/stock-session.txt");
const AGREED: Agreed = Agreed {
    version: 101,
    features: Features::ALL,
    integrity_digest: 0,
};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// Both streams of the golden session; elided data are zeroes.
fn streams() -> Vec<(Socket, Vec<u8>)> {
    let mut streams = Vec::new();
    for line in SESSION.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let socket = match words[0] {
            "data" => Socket::Data,
            "meta" => Socket::Meta,
            _ => {
                streams.push((Socket::Data, Vec::new()));
                continue;
            }
        };
        let stream: &mut (Socket, Vec<u8>) = streams.last_mut().unwrap();
        stream.0 = socket;
        stream.1.extend(hex(words[1]));
        if words[2] != "-" {
            stream.1.extend(hex(words[2]));
        }
        if let Some(elided) = words.get(3) {
            let len = stream.1.len() + elided[1..].parse::<usize>().unwrap();
            stream.1.resize(len, 0);
        }
    }
    streams
}

/// Decodes a fixed part as its command wants it.
fn decode(header: &Header, fixed: &[u8]) {
    match header.command {
        Command::Trim | Command::Zeroes => {
            let _ = TrimPacket::decode(fixed);
        }
        Command::Sizes => {
            let _ = Sizes::decode(fixed);
        }
        Command::Uuids => {
            let _ = UuidsPacket::decode(fixed);
        }
        Command::Protocol | Command::ProtocolUpdate => {
            let _ = Protocol::decode(fixed);
        }
        Command::SyncParam89 => {
            let _ = SyncParam::decode(fixed);
        }
        Command::State => {
            let packed = StatePacket::decode(fixed).expect("admitted, so complete");
            let _ = drbd_core::types::State::from_wire(packed.state);
        }
        Command::StateChgReq | Command::ConnStChgReq => {
            let wish = StateChange::decode(fixed).expect("admitted, so complete");
            if let Ok(change) = drbd_core::state::Change::from_wire(wish.mask, wish.val) {
                let _ = change.seen_from_here();
            }
        }
        Command::ConnectionFeatures => {
            let features = ConnectionFeatures::decode(fixed).expect("admitted, so complete");
            let _ = ConnectionFeatures::OURS.agree(&features);
        }
        Command::Data | Command::DataReply | Command::RsDataReply => {
            DataPacket::decode(fixed).expect("admitted, so complete");
        }
        Command::OutOfSync | Command::RsDeallocated => {
            BlockDesc::decode(fixed).expect("admitted, so complete");
        }
        _ => {
            let _ = BlockAck::decode(fixed);
            let _ = BlockRequest::decode(fixed);
        }
    }
}

/// Reads packets until the first refusal; tells how many were read.
fn read(socket: Socket, mut bytes: &[u8]) -> usize {
    let mut read = 0;
    loop {
        let long = bytes.starts_with(&[0x86, 0x20, 0xec, 0x20]);
        let (format, agreed) = if long {
            (Format::Volume, AGREED)
        } else {
            (Format::Short, Agreed::NOTHING)
        };
        let Some((head, rest)) = bytes.split_at_checked(format.size()) else {
            return read;
        };
        let Ok(header) = format.parse(head) else {
            return read;
        };
        let admitted = match format {
            Format::Volume => agreed.admit(socket, header),
            _ => agreed.admit_handshake(socket, header),
        };
        let Ok(bounds) = admitted else { return read };
        assert!(bounds.fixed <= 256 && bounds.payload <= MAX_DATA_SIZE + 64);
        assert_eq!(bounds.fixed + bounds.payload, header.length);
        let Some((fixed, rest)) = rest.split_at_checked(bounds.fixed as usize) else {
            return read;
        };
        decode(&header, fixed);
        let Some((_, rest)) = rest.split_at_checked(bounds.payload as usize) else {
            return read;
        };
        bytes = rest;
        read += 1;
    }
}

#[test]
fn a_damaged_session_ends_in_a_refusal_not_in_a_panic() {
    let streams = streams();
    assert_eq!(streams.len(), 8);
    for (socket, bytes) in &streams {
        assert!(read(*socket, bytes) > 1, "the undamaged session is read");
    }
    let mut random = Random::new(1);
    for _ in 0..rounds(3000) {
        let (socket, bytes) = &streams[random.below(streams.len())];
        let mut bytes = bytes.clone();
        for _ in 0..=random.below(4) {
            damage(&mut bytes, &mut random);
        }
        read(*socket, &bytes);
    }
}

#[test]
fn random_headers_and_bodies() {
    let mut random = Random::new(2);
    for _ in 0..rounds(20_000) {
        let mut bytes = vec![0x86, 0x20, 0xec, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes[7] = random.below(0x38) as u8;
        let length = [0, 4, 8, 16, 24, 28, 32, 48, 56, 148, 160][random.below(11)];
        bytes[11] = length;
        bytes.extend(random.bytes(usize::from(length)));
        read(
            if random.below(2) == 0 {
                Socket::Data
            } else {
                Socket::Meta
            },
            &bytes,
        );
    }
}

/// Bits in words, as the driver keeps them.
struct Words(Vec<u64>, u64);

impl Bits for Words {
    fn len(&self) -> u64 {
        self.1
    }
    fn next_set(&mut self, from: u64) -> Option<u64> {
        drbd_core::bitmap::find_set(&self.0, from, self.1)
    }
    fn next_clear(&mut self, from: u64) -> Option<u64> {
        drbd_core::bitmap::find_clear(&self.0, from, self.1)
    }
    fn set(&mut self, first: u64, last: u64) {
        assert!(
            first <= last && last < self.1,
            "{first}..={last} of {}",
            self.1
        );
        drbd_core::bitmap::set_range(&mut self.0, first, last);
    }
    fn word(&mut self, index: u64) -> u64 {
        self.0[index as usize]
    }
    fn merge_word(&mut self, index: u64, bits: u64) {
        let first = index * 64;
        assert!(first < self.1);
        assert!(
            self.1 - first >= 64 || bits >> (self.1 - first) == 0,
            "bits behind the end"
        );
        self.0[index as usize] |= bits;
    }
}

#[test]
fn a_bitmap_is_damaged_on_its_way() {
    let mut random = Random::new(3);
    for _ in 0..rounds(1500) {
        let bits = 1 + random.below(40_000) as u64;
        let words = bits.div_ceil(64) as usize;
        let mut from = Words(vec![0; words], bits);
        for _ in 0..random.below(40) {
            let first = random.below(bits as usize) as u64;
            let last = (first + random.below(500) as u64).min(bits - 1);
            from.set(first, last);
        }
        let mut to = Words(vec![0; words], bits);
        let mut send = BitmapSend::new(&AGREED, bits, random.below(3) > 0);
        let mut receive = BitmapRecv::new(&AGREED, bits);
        let mut buffer = [0; SOCKET_BUFFER_SIZE];
        while let Some(chunk) = send.next(&mut from, &mut buffer).unwrap() {
            let mut content = buffer[..chunk.len].to_vec();
            if random.below(3) == 0 {
                damage(&mut content, &mut random);
            }
            match receive.packet(chunk.command, &content, &mut to) {
                Ok(false) => {}
                Ok(true) | Err(_) => break,
            }
        }
    }
}
