// SPDX-License-Identifier: GPL-2.0-only

//! Every packet of a session between two stock drivers, decoded and encoded again.

use super::*;

const SESSION: &str = include_str!("../../../tests/golden/wire/stock-session.txt");

struct Line {
    socket: Socket,
    from: &'static str,
    header: Vec<u8>,
    body: Vec<u8>,
    elided: u32,
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16).unwrap() as u8;
    hex.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn lines() -> Vec<Line> {
    let mut from = "";
    let mut lines = Vec::new();
    for text in SESSION.lines() {
        if let Some(comment) = text.strip_prefix('#') {
            from = comment.rsplit(' ').next().unwrap();
            continue;
        }
        let mut words = text.split(' ');
        let socket = match words.next().unwrap() {
            "data" => Socket::Data,
            "meta" => Socket::Meta,
            other => panic!("{other}"),
        };
        let header = bytes(words.next().unwrap());
        let body = match words.next().unwrap() {
            "-" => Vec::new(),
            hex => bytes(hex),
        };
        let elided = words.next().map_or(0, |word| word[1..].parse().unwrap());
        lines.push(Line {
            socket,
            from,
            header,
            body,
            elided,
        });
    }
    lines
}

const AGREED: Agreed = Agreed {
    version: 101,
    features: Features::ALL,
    integrity_digest: 0,
};

/// Decodes the fixed part and encodes it again.
fn again(header: &Header, fixed: &[u8]) -> Vec<u8> {
    fn one<P: Packet>(fixed: &[u8]) -> Vec<u8> {
        let mut out = [0xaa; 256];
        let mut writer = Writer::new(&mut out);
        P::decode(fixed).unwrap().emit(&mut writer).unwrap();
        let len = writer.written();
        out[..len].to_vec()
    }
    match header.command {
        Command::Data | Command::DataReply | Command::RsDataReply => one::<DataPacket>(fixed),
        Command::Trim | Command::Zeroes => one::<TrimPacket>(fixed),
        Command::Barrier => one::<BarrierPacket>(fixed),
        Command::BarrierAck => one::<BarrierAck>(fixed),
        Command::DataRequest
        | Command::RsDataRequest
        | Command::OvRequest
        | Command::OvReply
        | Command::CsumRsRequest
        | Command::RsThinReq => one::<BlockRequest>(fixed),
        Command::SyncParam89 => one::<SyncParam>(fixed),
        Command::Protocol => one::<Protocol>(fixed),
        Command::Uuids => one::<UuidsPacket>(fixed),
        Command::Sizes => one::<Sizes>(fixed),
        Command::State => one::<StatePacket>(fixed),
        Command::SyncUuid => one::<SyncUuid>(fixed),
        Command::StateChgReq | Command::ConnStChgReq => one::<StateChange>(fixed),
        Command::StateChgReply | Command::ConnStChgReply => one::<StateChangeReply>(fixed),
        Command::OutOfSync | Command::RsDeallocated => one::<BlockDesc>(fixed),
        Command::ConnectionFeatures => one::<ConnectionFeatures>(fixed),
        Command::WriteAck | Command::RsWriteAck | Command::OvResult | Command::RsIsInSync => {
            one::<BlockAck>(fixed)
        }
        _ => one::<Empty>(fixed),
    }
}

#[test]
fn golden_packets_come_out_as_they_went_in() {
    let lines = lines();
    assert!(lines.len() > 90, "only {} packets", lines.len());
    for line in &lines {
        let (format, agreed) = match line.header.len() {
            8 => (Format::Short, Agreed::NOTHING),
            _ => (Format::Volume, AGREED),
        };
        let header = format.parse(&line.header).unwrap();
        let length = u32::try_from(line.body.len()).unwrap() + line.elided;
        assert_eq!(header.length, length, "{header:?}");
        let bounds = match format {
            Format::Volume => agreed.admit(line.socket, header),
            _ => agreed.admit_handshake(line.socket, header),
        };
        let bounds = bounds.unwrap_or_else(|refused| panic!("{header:?}: {refused:?}"));
        let fixed = match header.command {
            // The name is decoded with the fixed part.
            Command::Protocol => line.body.len(),
            _ => bounds.fixed as usize,
        };
        assert_eq!(
            again(&header, &line.body[..fixed]),
            line.body[..fixed],
            "{header:?}"
        );
        let mut out = [0; 16];
        format.emit(header, &mut Writer::new(&mut out)).unwrap();
        assert_eq!(out[..line.header.len()], line.header);
    }
}

/// What both sides say when they meet, in this order, whoever speaks.
#[test]
fn golden_introductions_have_our_order() {
    let order = [
        Command::ConnectionFeatures,
        Command::Protocol,
        Command::SyncParam89,
        Command::Sizes,
        Command::Uuids,
        Command::State,
    ];
    let commands: Vec<(&str, Command)> = lines()
        .iter()
        .filter(|line| line.socket == Socket::Data)
        .map(|line| {
            let format = if line.header.len() == 8 {
                Format::Short
            } else {
                Format::Volume
            };
            (line.from, format.parse(&line.header).unwrap().command)
        })
        .collect();
    let starts: Vec<usize> = commands
        .iter()
        .enumerate()
        .filter(|(_, (_, command))| *command == Command::ConnectionFeatures)
        .map(|(at, _)| at)
        .collect();
    assert_eq!(starts.len(), 4, "two connections, two directions");
    for start in starts {
        let said: Vec<Command> = commands[start..start + 6].iter().map(|(_, c)| *c).collect();
        assert_eq!(said, order);
    }
}

struct Marks(Vec<bool>);

impl Bits for Marks {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn next_set(&mut self, from: u64) -> Option<u64> {
        (from..self.len()).find(|i| self.0[*i as usize])
    }
    fn next_clear(&mut self, from: u64) -> Option<u64> {
        (from..self.len()).find(|i| !self.0[*i as usize])
    }
    fn set(&mut self, first: u64, last: u64) {
        self.0[first as usize..=last as usize].fill(true);
    }
    fn word(&mut self, _: u64) -> u64 {
        unreachable!("plain words are not sent here")
    }
    fn merge_word(&mut self, _: u64, _: u64) {
        unreachable!("plain words are not sent here")
    }
}

/// The bitmap of the disconnected primary: the four blocks that were written meanwhile.
#[test]
fn golden_bitmap_has_the_written_blocks() {
    const BITS: usize = 0x3ffb0 / 8;
    let packets: Vec<Vec<u8>> = lines()
        .into_iter()
        .filter(|line| line.header.len() == 16)
        .filter(|line| {
            Format::Volume.parse(&line.header).unwrap().command == Command::CompressedBitmap
        })
        .map(|line| line.body)
        .collect();
    assert_eq!(packets.len(), 2, "one from each side");
    for packet in packets {
        let mut marks = Marks(vec![false; BITS]);
        let mut receive = BitmapRecv::new(&AGREED, BITS as u64);
        assert_eq!(
            receive.packet(Command::CompressedBitmap, &packet, &mut marks),
            Ok(true)
        );
        let set: Vec<usize> = (0..BITS).filter(|i| marks.0[*i]).collect();
        assert_eq!(set, [100, 101, 102, 3000]);
        let mut send = BitmapSend::new(&AGREED, BITS as u64, true);
        let mut out = [0; SOCKET_BUFFER_SIZE];
        let chunk = send.next(&mut marks, &mut out).unwrap().unwrap();
        assert_eq!(
            chunk,
            Chunk {
                command: Command::CompressedBitmap,
                len: packet.len()
            }
        );
        assert_eq!(out[..chunk.len], packet);
        assert_eq!(send.next(&mut marks, &mut out), Ok(None));
    }
}
