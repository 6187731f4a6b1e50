// SPDX-License-Identifier: GPL-2.0-only

//! Packets and headers as bytes: literals, round trips, every length, the table.

use super::*;
use crate::types::Uuid;

/// A small deterministic generator (splitmix64), so that a failure repeats.
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

pub(super) fn agreed(version: u32, features: Features) -> Agreed {
    Agreed {
        version,
        features,
        integrity_digest: 0,
    }
}

fn emitted(format: Format, header: Header) -> Option<Vec<u8>> {
    let mut out = [0xaa; 16];
    let mut writer = Writer::new(&mut out);
    format.emit(header, &mut writer)?;
    let len = writer.written();
    assert_eq!(len, format.size());
    Some(out[..len].to_vec())
}

#[test]
fn headers_have_the_known_bytes() {
    let header = Header {
        volume: 0,
        command: Command::ConnectionFeatures,
        length: 72,
    };
    let bytes = emitted(Format::Short, header).unwrap();
    assert_eq!(bytes, [0x83, 0x74, 0x02, 0x67, 0xff, 0xfe, 0x00, 0x48]);
    let header = Header {
        volume: 0,
        command: Command::Data,
        length: 65536 + 24,
    };
    let bytes = emitted(Format::ShortOrLong, header).unwrap();
    assert_eq!(bytes, [0x83, 0x5a, 0x00, 0x00, 0x00, 0x01, 0x00, 0x18]);
    let header = Header {
        volume: 0x0102,
        command: Command::Trim,
        length: 28,
    };
    let bytes = emitted(Format::Volume, header).unwrap();
    assert_eq!(
        bytes,
        [0x86, 0x20, 0xec, 0x20, 1, 2, 0, 0x31, 0, 0, 0, 0x1c, 0, 0, 0, 0]
    );
}

#[test]
fn the_format_follows_the_version() {
    assert_eq!(Format::of_version(0), Format::Short);
    assert_eq!(Format::of_version(94), Format::Short);
    assert_eq!(Format::of_version(95), Format::ShortOrLong);
    assert_eq!(Format::of_version(99), Format::ShortOrLong);
    assert_eq!(Format::of_version(100), Format::Volume);
    assert_eq!(Format::of_version(101), Format::Volume);
}

#[test]
fn a_header_comes_back_as_it_was() {
    let mut random = Random(1);
    for _ in 0..2000 {
        let command = Command::from_wire(random.next() as u16);
        let length = random.next() as u32 >> random.below(32);
        for format in [Format::Short, Format::ShortOrLong, Format::Volume] {
            let volume = if format == Format::Volume {
                random.next() as u16
            } else {
                0
            };
            let header = Header {
                volume,
                command,
                length,
            };
            match emitted(format, header) {
                Some(bytes) => assert_eq!(format.parse(&bytes), Ok(header)),
                None => assert!(format == Format::Short && length > 0xffff),
            }
        }
    }
}

#[test]
fn foreign_bytes_are_not_a_header() {
    for format in [Format::Short, Format::ShortOrLong, Format::Volume] {
        for len in 0..format.size() {
            let bytes = [0x86; 16];
            assert!(format.parse(&bytes[..len]).is_err(), "{format:?} {len}");
        }
        let mut http = *b"GET / HTTP/1.1\r\n";
        assert_eq!(
            format.parse(&http),
            Err(HeaderError::Magic(u32::from_be_bytes(*b"GET ")))
        );
        http.fill(0);
        assert_eq!(format.parse(&http), Err(HeaderError::Magic(0)));
    }
    let short = [
        0x83, 0x74, 0x02, 0x67, 0, 0x13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(
        Format::Volume.parse(&short),
        Err(HeaderError::Magic(0x8374_0267))
    );
    let padded = [
        0x86, 0x20, 0xec, 0x20, 0, 0, 0, 0x13, 0, 0, 0, 0, 0, 0, 0, 1,
    ];
    assert_eq!(Format::Volume.parse(&padded), Err(HeaderError::Padding));
}

#[test]
fn command_numbers_are_unique_and_survive() {
    for number in 0..=u16::MAX {
        assert_eq!(Command::from_wire(number).to_wire(), number);
    }
    for command in Command::ALL {
        assert_eq!(Command::from_wire(command.to_wire()), *command);
        assert_ne!(command.name(), "UNKNOWN");
    }
    assert_eq!(Command::from_wire(0x46), Command::Unknown(0x46));
    assert_eq!(Command::ALL.len(), 52);
}

/// Emits, decodes, and tries every wrong length.
fn round_trip<P: Packet + PartialEq + core::fmt::Debug>(packet: P, len: usize) -> Vec<u8> {
    let mut out = vec![0xaa; len];
    let mut writer = Writer::new(&mut out);
    packet.emit(&mut writer).unwrap();
    assert_eq!(writer.written(), len);
    assert_eq!(P::decode(&out).as_ref(), Some(&packet));
    for short in 0..len {
        assert_eq!(P::decode(&out[..short]), None, "{short} of {len} bytes");
        let mut small = vec![0; short];
        assert!(packet.emit(&mut Writer::new(&mut small)).is_none());
    }
    let mut long = out.clone();
    long.push(0);
    assert_eq!(P::decode(&long), None, "one byte too many");
    out
}

#[test]
fn data_packets_round_trip() {
    let data = DataPacket {
        sector: 0x0102_0304_0506_0708,
        block_id: u64::from_ne_bytes([9, 10, 11, 12, 13, 14, 15, 16]),
        seq_num: 0x1112_1314,
        flags: DataFlags::FUA | DataFlags::SEND_WRITE_ACK,
    };
    let bytes = round_trip(data, 24);
    assert_eq!(
        bytes[..20],
        core::array::from_fn::<u8, 20, _>(|i| i as u8 + 1)
    );
    assert_eq!(bytes[20..], [0, 0, 1, 16]);
    let trim = round_trip(
        TrimPacket {
            data,
            size: 0x0010_0000,
        },
        28,
    );
    assert_eq!(trim[24..], [0, 0x10, 0, 0]);
    let ack = BlockAck {
        sector: 8,
        block_id: ID_SYNCER,
        blksize: 4096,
        seq_num: 7,
    };
    let bytes = round_trip(ack, 24);
    assert_eq!(
        bytes[8..20],
        [255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 16, 0]
    );
    round_trip(
        BlockRequest {
            sector: 1 << 40,
            block_id: 3,
            blksize: 1 << 20,
        },
        24,
    );
    round_trip(
        BlockDesc {
            sector: u64::MAX,
            blksize: u32::MAX,
        },
        16,
    );
    let bytes = round_trip(
        BarrierPacket {
            barrier: 0x0403_0201,
            pad: 0,
        },
        8,
    );
    assert_eq!(bytes[..4], 0x0403_0201u32.to_ne_bytes());
    round_trip(
        BarrierAck {
            barrier: 1,
            set_size: 2,
        },
        8,
    );
}

#[test]
fn the_verify_result_is_a_number_not_a_cookie() {
    let ack = BlockAck {
        sector: 0,
        block_id: ID_IN_SYNC,
        blksize: 4096,
        seq_num: 1,
    };
    assert_eq!(round_trip(ack, 24)[8..16], [0, 0, 0, 0, 0, 0, 0x12, 0x67]);
    let ack = BlockAck {
        block_id: ID_OUT_OF_SYNC,
        ..ack
    };
    assert_eq!(round_trip(ack, 24)[8..16], [0, 0, 0, 0, 0, 0, 0x12, 0x68]);
}

#[test]
fn state_packets_round_trip() {
    round_trip(StatePacket { state: 0x0123_4567 }, 4);
    round_trip(StateChange { mask: 3, val: 1 }, 8);
    let bytes = round_trip(StateChangeReply { retcode: -10 }, 4);
    assert_eq!(bytes, [255, 255, 255, 0xf6]);
    round_trip(SyncUuid { uuid: 0x1234 }, 8);
    round_trip(
        DelayProbe {
            seq_num: 1,
            offset: 2,
        },
        8,
    );
    round_trip(Empty, 0);
    let uuids = UuidsPacket {
        current: Uuid(1),
        bitmap: Uuid(2),
        history: [Uuid(3), Uuid(4)],
        dirty_bits: 5,
        flags: UuidFlags::CRASHED_PRIMARY,
    };
    let bytes = round_trip(uuids, 48);
    for (field, value) in bytes.chunks(8).zip([1u64, 2, 3, 4, 5, 2]) {
        assert_eq!(field, value.to_be_bytes());
    }
}

#[test]
fn features_round_trip_and_agree() {
    let bytes = round_trip(ConnectionFeatures::OURS, 72);
    assert_eq!(bytes[..12], [0, 0, 0, 86, 0, 0, 0, 15, 0, 0, 0, 101]);
    assert!(bytes[12..].iter().all(|b| *b == 0));
    let peer = |min, max, features| ConnectionFeatures {
        protocol_min: min,
        protocol_max: max,
        features: Features(features),
    };
    let ours = ConnectionFeatures::OURS;
    assert_eq!(ours.agree(&ours), Some((101, Features::ALL)));
    assert_eq!(
        ours.agree(&peer(86, 124, 0x3ff)),
        Some((101, Features::ALL))
    );
    assert_eq!(ours.agree(&peer(86, 100, 1)), Some((100, Features::TRIM)));
    assert_eq!(ours.agree(&peer(90, 0, 0)), Some((90, Features::NONE)));
    assert_eq!(ours.agree(&peer(102, 124, 0)), None);
    assert_eq!(ours.agree(&peer(80, 85, 0)), None);
    assert_eq!(ours.agree(&peer(0, 0, 0)), None);
}

fn name(text: &str) -> AlgName {
    AlgName::new(text.as_bytes()).unwrap()
}

#[test]
fn protocol_carries_a_name_of_any_length() {
    let mut protocol = Protocol {
        protocol: 3,
        after_sb_0p: 1,
        after_sb_1p: 2,
        after_sb_2p: 3,
        flags: ConnFlags::DRY_RUN,
        two_primaries: 1,
        integrity_alg: Some(AlgName::NONE),
    };
    let emit = |protocol: &Protocol| {
        let mut out = [0xaa; 100];
        let mut writer = Writer::new(&mut out);
        protocol.emit(&mut writer).unwrap();
        let len = writer.written();
        out[..len].to_vec()
    };
    assert_eq!(emit(&protocol).len(), 25);
    assert_eq!(Protocol::decode(&emit(&protocol)), Some(protocol));
    protocol.integrity_alg = Some(name("crc32c"));
    let bytes = emit(&protocol);
    assert_eq!(bytes[24..], *b"crc32c\0");
    assert_eq!(Protocol::decode(&bytes), Some(protocol));
    // Stock terminates the name by force.
    let mut long = bytes[..24].to_vec();
    long.extend([b'x'; 64]);
    let decoded = Protocol::decode(&long).unwrap();
    assert_eq!(decoded.integrity_alg.unwrap().as_bytes(), [b'x'; 63]);
    protocol.integrity_alg = None;
    assert_eq!(emit(&protocol).len(), 24);
    assert_eq!(Protocol::decode(&emit(&protocol)), Some(protocol));
}

#[test]
fn names_have_bounds() {
    assert!(AlgName::new(&[b'x'; 63]).is_some());
    assert!(AlgName::new(&[b'x'; 64]).is_none());
    assert!(AlgName::new(b"a\0b").is_none());
    assert_eq!(name("sha1").with_nul(), b"sha1\0");
    assert_eq!(AlgName::NONE.with_nul(), b"\0");
    assert!(AlgName::NONE.is_none());
}

#[test]
fn sync_param_has_a_shape_per_version() {
    let param = SyncParam {
        resync_rate: 250,
        verify_alg: name("sha1"),
        csums_alg: name("md5"),
        c_plan_ahead: 20,
        c_delay_target: 10,
        c_fill_target: 100,
        c_max_rate: 102_400,
    };
    round_trip(param, 148);
    let defaults = SyncParam {
        resync_rate: 0,
        verify_alg: AlgName::NONE,
        csums_alg: AlgName::NONE,
        ..param
    };
    for (version, len) in [
        (87, 4),
        (88, 9),
        (89, 132),
        (94, 132),
        (95, 148),
        (101, 148),
    ] {
        let mut out = [0xaa; 200];
        let mut writer = Writer::new(&mut out);
        param.emit_version(version, &mut writer).unwrap();
        assert_eq!(writer.written(), len, "version {version}");
        let decoded = defaults.decode_version(version, &out[..len]).unwrap();
        assert_eq!(decoded.resync_rate, 250);
        let verify: &[u8] = if version < 88 { b"" } else { b"sha1" };
        assert_eq!(decoded.verify_alg.as_bytes(), verify);
        let csums: &[u8] = if version < 89 { b"" } else { b"md5" };
        assert_eq!(decoded.csums_alg.as_bytes(), csums);
        assert_eq!(defaults.decode_version(version, &out[..3]), None);
    }
}

#[test]
fn sizes_with_and_without_limits() {
    let sizes = Sizes {
        disk: 1 << 33,
        user: 0,
        current: 131_000,
        max_bio_size: 1 << 20,
        queue_order_type: 0,
        flags: SizesFlags::FORCED,
        limits: None,
    };
    let bytes = round_trip_sizes(sizes);
    assert_eq!(bytes.len(), 32);
    assert_eq!(bytes[24..], [0, 0x10, 0, 0, 0, 0, 0, 1]);
    let limits = QueueLimits {
        physical_block_size: 4096,
        logical_block_size: 512,
        alignment_offset: 1,
        io_min: 2,
        io_opt: 3,
        discard_enabled: true,
        discard_zeroes_data: false,
        write_same_capable: false,
    };
    let bytes = round_trip_sizes(Sizes {
        limits: Some(limits),
        ..sizes
    });
    assert_eq!(bytes.len(), 56);
    assert_eq!(bytes[52..], [1, 0, 0, 0]);
    assert_eq!(Sizes::decode(&bytes[..40]), None);
}

fn round_trip_sizes(sizes: Sizes) -> Vec<u8> {
    let mut out = [0xaa; 64];
    let mut writer = Writer::new(&mut out);
    sizes.emit(&mut writer).unwrap();
    let len = writer.written();
    assert_eq!(Sizes::decode(&out[..len]), Some(sizes));
    out[..len].to_vec()
}

#[test]
fn a_frame_announces_its_payload() {
    let mut buffer = [0xaa; 64];
    let data = DataPacket {
        sector: 8,
        block_id: 1,
        seq_num: 2,
        flags: DataFlags::SEND_WRITE_ACK,
    };
    let len = frame(Format::Volume, 5, Command::Data, &data, 4096, &mut buffer).unwrap();
    assert_eq!(len, 40);
    let header = Format::Volume.parse(&buffer[..16]).unwrap();
    assert_eq!(
        header,
        Header {
            volume: 5,
            command: Command::Data,
            length: 4120
        }
    );
    assert_eq!(DataPacket::decode(&buffer[16..40]), Some(data));
    for short in 0..40 {
        let mut small = vec![0; short];
        assert_eq!(
            frame(Format::Volume, 5, Command::Data, &data, 0, &mut small),
            None
        );
    }
    assert_eq!(
        frame(Format::Short, 0, Command::Data, &data, 1 << 16, &mut buffer),
        None
    );
    assert_eq!(
        frame(
            Format::Volume,
            0,
            Command::Data,
            &data,
            u32::MAX,
            &mut buffer
        ),
        None
    );
}

#[test]
fn the_table_bounds_every_command() {
    let plain = agreed(101, Features::ALL);
    let digest = Agreed {
        integrity_digest: 20,
        ..plain
    };
    for number in 0..=u16::MAX {
        let command = Command::from_wire(number);
        for socket in [Socket::Data, Socket::Meta] {
            for agreed in [plain, digest, agreed(86, Features::NONE), Agreed::NOTHING] {
                let header = Header {
                    volume: 0,
                    command,
                    length: u32::MAX,
                };
                let most = match agreed.admit(socket, header) {
                    Err(Refused::Unexpected) => continue,
                    Err(Refused::TooLong { most }) => most,
                    other => panic!("{command:?}: {other:?}"),
                };
                assert!(most <= MAX_DATA_SIZE + 24 + 64, "{command:?} up to {most}");
                let bounds = agreed
                    .admit(
                        socket,
                        Header {
                            length: most,
                            ..header
                        },
                    )
                    .unwrap();
                assert!(bounds.fixed <= 256);
                assert_eq!(bounds.fixed + bounds.payload, most);
                let over = Header {
                    length: most + 1,
                    ..header
                };
                assert_eq!(agreed.admit(socket, over), Err(Refused::TooLong { most }));
                if let Err(Refused::TooShort { least }) = agreed.admit(
                    socket,
                    Header {
                        length: 0,
                        ..header
                    },
                ) {
                    let bounds = agreed
                        .admit(
                            socket,
                            Header {
                                length: least,
                                ..header
                            },
                        )
                        .unwrap();
                    assert_eq!(bounds.fixed + bounds.payload, least);
                }
            }
        }
    }
}

#[test]
fn fixed_parts_have_the_size_of_their_packets() {
    let agreed = agreed(101, Features::ALL);
    let fixed = |socket, command, length| {
        agreed
            .admit(
                socket,
                Header {
                    volume: 0,
                    command,
                    length,
                },
            )
            .map(|b| (b.fixed, b.payload))
    };
    for (command, size) in [
        (Command::Barrier, 8),
        (Command::UnplugRemote, 0),
        (Command::DataRequest, 24),
        (Command::RsDataRequest, 24),
        (Command::OvRequest, 24),
        (Command::RsThinReq, 24),
        (Command::SyncParam89, 148),
        (Command::Uuids, 48),
        (Command::Sizes, 56),
        (Command::State, 4),
        (Command::StateChgReq, 8),
        (Command::ConnStChgReq, 8),
        (Command::SyncUuid, 8),
        (Command::OutOfSync, 16),
        (Command::RsDeallocated, 16),
        (Command::Trim, 28),
        (Command::Zeroes, 28),
    ] {
        assert_eq!(
            fixed(Socket::Data, command, size),
            Ok((size, 0)),
            "{command:?}"
        );
        assert!(
            fixed(Socket::Data, command, size + 1).is_err(),
            "{command:?}"
        );
        assert_eq!(
            fixed(Socket::Meta, command, size),
            Err(Refused::Unexpected),
            "{command:?}"
        );
    }
    for (command, size) in [
        (Command::Ping, 0),
        (Command::PingAck, 0),
        (Command::WriteAck, 24),
        (Command::NegAck, 24),
        (Command::RsIsInSync, 24),
        (Command::BarrierAck, 8),
        (Command::StateChgReply, 4),
        (Command::ConnStChgReply, 4),
    ] {
        assert_eq!(
            fixed(Socket::Meta, command, size),
            Ok((size, 0)),
            "{command:?}"
        );
        assert!(
            fixed(Socket::Meta, command, size + 1).is_err(),
            "{command:?}"
        );
        assert_eq!(
            fixed(Socket::Data, command, size),
            Err(Refused::Unexpected),
            "{command:?}"
        );
    }
    assert_eq!(
        fixed(Socket::Data, Command::Data, 24 + 4096),
        Ok((24, 4096))
    );
    assert_eq!(fixed(Socket::Data, Command::Protocol, 25), Ok((24, 1)));
    assert!(fixed(Socket::Data, Command::OvReply, 24).is_err());
    assert_eq!(fixed(Socket::Data, Command::OvReply, 44), Ok((24, 20)));
    assert_eq!(fixed(Socket::Data, Command::Bitmap, 4080), Ok((0, 4080)));
    assert!(fixed(Socket::Data, Command::Bitmap, 4081).is_err());
    assert!(fixed(Socket::Data, Command::CompressedBitmap, 1).is_err());
    for command in [
        Command::WriteSame,
        Command::AuthChallenge,
        Command::InitialData,
    ] {
        assert_eq!(
            fixed(Socket::Data, command, 24),
            Err(Refused::Unexpected),
            "{command:?}"
        );
    }
}

#[test]
fn the_integrity_digest_is_part_of_the_payload() {
    let agreed = Agreed {
        integrity_digest: 20,
        ..agreed(101, Features::ALL)
    };
    let header = |length| Header {
        volume: 0,
        command: Command::Data,
        length,
    };
    assert_eq!(
        agreed.admit(Socket::Data, header(24 + 19)),
        Err(Refused::TooShort { least: 44 })
    );
    assert!(agreed
        .admit(Socket::Data, header(24 + 20 + MAX_DATA_SIZE))
        .is_ok());
    assert!(agreed
        .admit(Socket::Data, header(24 + 21 + MAX_DATA_SIZE))
        .is_err());
}

#[test]
fn the_handshake_has_its_own_packets() {
    let nothing = Agreed::NOTHING;
    let admit = |socket, command, length| {
        nothing.admit_handshake(
            socket,
            Header {
                volume: 0,
                command,
                length,
            },
        )
    };
    assert!(admit(Socket::Data, Command::InitialData, 0).is_ok());
    assert!(admit(Socket::Meta, Command::InitialMeta, 0).is_ok());
    assert!(admit(Socket::Data, Command::InitialMeta, 0).is_err());
    assert!(admit(Socket::Data, Command::InitialData, 1).is_err());
    assert!(admit(Socket::Data, Command::ConnectionFeatures, 72).is_ok());
    assert!(admit(Socket::Data, Command::ConnectionFeatures, 71).is_err());
    assert!(admit(Socket::Data, Command::AuthChallenge, 63).is_err());
    assert!(admit(Socket::Data, Command::AuthChallenge, 64).is_ok());
    assert!(admit(Socket::Data, Command::AuthChallenge, 129).is_err());
    assert!(admit(Socket::Data, Command::AuthResponse, 65).is_err());
    assert!(admit(Socket::Data, Command::Data, 24).is_err());
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random(42);
    for _ in 0..20_000 {
        let mut bytes = [0u8; 160];
        for byte in &mut bytes {
            *byte = random.next() as u8;
        }
        let len = random.below(161) as usize;
        let bytes = &bytes[..len];
        for format in [Format::Short, Format::ShortOrLong, Format::Volume] {
            let _ = format.parse(bytes);
        }
        let _ = DataPacket::decode(bytes);
        let _ = TrimPacket::decode(bytes);
        let _ = BlockRequest::decode(bytes);
        let _ = UuidsPacket::decode(bytes);
        let _ = ConnectionFeatures::decode(bytes);
        if let Some(value) = Protocol::decode(bytes) {
            assert!(value
                .integrity_alg
                .is_none_or(|name| name.as_bytes().len() < 64));
        }
        if let Some(value) = Sizes::decode(bytes) {
            round_trip_sizes(value);
        }
        if let Some(value) = SyncParam::decode(bytes) {
            let _ = value.decode_version(random.below(102) as u32, bytes);
        }
    }
}
