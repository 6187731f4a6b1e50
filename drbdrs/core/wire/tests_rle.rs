// SPDX-License-Identifier: GPL-2.0-only

//! The run-length code against a slow model, and the exchange of whole bitmaps.

use super::tests::{agreed, Random};
use super::*;

/// The code as a string of '0' and '1', first bit first, from the table in the documentation.
fn slow_code(run: u64) -> String {
    const PREFIXES: [(&str, u32); 10] = [
        ("0", 1),
        ("10", 1),
        ("110", 2),
        ("1110", 3),
        ("11110", 5),
        ("111110", 8),
        ("11111100", 13),
        ("11111110", 21),
        ("11111101", 34),
        ("11111111", 56),
    ];
    let mut least = 1u128;
    for (prefix, bits) in PREFIXES {
        let count = 1u128 << bits;
        if u128::from(run) < least + count {
            let mut distance = u128::from(run) - least;
            let mut code = prefix.to_string();
            for _ in 0..bits {
                code.push(if distance & 1 == 1 { '1' } else { '0' });
                distance >>= 1;
            }
            return code;
        }
        least += count;
    }
    panic!("no code for {run}");
}

fn as_string(code: u64, bits: u32) -> String {
    (0..bits)
        .map(|i| if code >> i & 1 == 1 { '1' } else { '0' })
        .collect()
}

#[test]
fn codes_agree_with_the_slow_model() {
    let mut runs: Vec<u64> = (1..10_000).collect();
    for level in [
        2u64,
        4,
        8,
        0x10,
        0x30,
        0x130,
        0x2130,
        0x20_2130,
        0x4_0020_2130,
        MAX_RUN,
    ] {
        runs.extend([level - 1, level, level.min(MAX_RUN - 1) + 1]);
    }
    let mut random = Random(7);
    runs.extend((0..5000).map(|_| (random.next() >> random.below(64)) % MAX_RUN + 1));
    for run in runs {
        let (code, bits) = encode_run(run).unwrap();
        assert_eq!(as_string(code, bits), slow_code(run), "run {run:#x}");
        let noise = if bits == 64 { 0 } else { random.next() << bits };
        assert_eq!(decode_run(code | noise), (run, bits), "run {run:#x}");
    }
    assert_eq!(encode_run(0), None);
    assert_eq!(encode_run(MAX_RUN + 1), None);
    assert_eq!(encode_run(u64::MAX), None);
}

#[test]
fn every_bit_pattern_starts_with_a_code() {
    let mut random = Random(8);
    for low in 0..=255u64 {
        for _ in 0..50 {
            let bits = random.next() << 8 | low;
            let (run, len) = decode_run(bits);
            let mask = if len == 64 { u64::MAX } else { (1 << len) - 1 };
            assert_eq!(encode_run(run), Some((bits & mask, len)));
        }
    }
}

/// A bitmap of booleans; `flip` sets a bit behind the sender's back.
#[derive(Clone, PartialEq, Eq)]
struct Slow {
    bits: Vec<bool>,
    surprise: Option<(u32, usize)>,
}

impl Slow {
    fn new(bits: Vec<bool>) -> Self {
        Self {
            bits,
            surprise: None,
        }
    }

    fn tick(&mut self) {
        if let Some((countdown, bit)) = &mut self.surprise {
            if *countdown == 0 {
                let bit = *bit;
                self.bits[bit] = true;
                self.surprise = None;
            } else {
                *countdown -= 1;
            }
        }
    }

    fn find(&self, from: u64, wanted: bool) -> Option<u64> {
        (from..self.bits.len() as u64).find(|i| self.bits[*i as usize] == wanted)
    }
}

impl Bits for Slow {
    fn len(&self) -> u64 {
        self.bits.len() as u64
    }
    fn next_set(&mut self, from: u64) -> Option<u64> {
        self.tick();
        self.find(from, true)
    }
    fn next_clear(&mut self, from: u64) -> Option<u64> {
        self.tick();
        self.find(from, false)
    }
    fn set(&mut self, first: u64, last: u64) {
        self.bits[first as usize..=last as usize].fill(true);
    }
    fn word(&mut self, index: u64) -> u64 {
        let bits = self.bits.iter().skip(index as usize * 64).take(64);
        bits.enumerate()
            .fold(0, |word, (i, bit)| word | u64::from(*bit) << i)
    }
    fn merge_word(&mut self, index: u64, bits: u64) {
        for i in (0..64).filter(|i| bits >> i & 1 == 1) {
            self.bits[index as usize * 64 + i] = true;
        }
    }
}

/// Sends `from` to an empty bitmap. Returns what arrived, and the commands.
fn exchange(from: &mut Slow, version: u32, rle: bool) -> (Slow, Vec<Command>) {
    let agreed = agreed(version, Features::ALL);
    let mut to = Slow::new(vec![false; from.bits.len()]);
    let mut send = BitmapSend::new(&agreed, from.len(), rle);
    let mut recv = BitmapRecv::new(&agreed, to.len());
    let mut commands = Vec::new();
    let mut last = false;
    let mut buffer = [0xaa; 4096];
    while let Some(chunk) = send.next(from, &mut buffer).unwrap() {
        assert!(!last, "a packet after the last one");
        let header = Header {
            volume: 0,
            command: chunk.command,
            length: chunk.len as u32,
        };
        agreed.admit(Socket::Data, header).unwrap();
        last = recv
            .packet(chunk.command, &buffer[..chunk.len], &mut to)
            .unwrap();
        commands.push(chunk.command);
    }
    assert!(last, "the receiver waits for more");
    assert_eq!(send.stats(), recv.stats());
    (to, commands)
}

/// Alternating runs of random length.
fn runs(random: &mut Random, len: usize, longest: u64) -> Slow {
    let mut bits = Vec::with_capacity(len);
    let mut value = random.next() & 1 == 0;
    while bits.len() < len {
        let run = random.below(longest) + 1;
        bits.extend((0..run).map(|_| value));
        value = !value;
    }
    bits.truncate(len);
    Slow::new(bits)
}

#[test]
fn any_bitmap_arrives() {
    let mut random = Random(9);
    for round in 0..120 {
        let len = match round % 4 {
            0 => random.below(300),
            1 => random.below(5) * 64,
            _ => random.below(120_000),
        } as usize;
        let longest = [1, 2, 3, 10, 100, 5000][random.below(6) as usize];
        let mut from = runs(&mut random, len, longest);
        for (version, rle) in [(101, true), (101, false), (94, true), (89, true)] {
            let (to, _) = exchange(&mut from, version, rle);
            assert!(
                to == from,
                "round {round}: {len} bits, runs up to {longest}"
            );
        }
    }
}

#[test]
fn all_set_and_all_clear_take_one_packet() {
    for value in [true, false] {
        let mut from = Slow::new(vec![value; 100_001]);
        let (to, commands) = exchange(&mut from, 101, true);
        assert!(to == from);
        assert_eq!(commands, [Command::CompressedBitmap]);
    }
}

#[test]
fn plain_exchanges_end_with_an_empty_packet() {
    let mut from = Slow::new(vec![true; 510 * 64 + 1]);
    let (_, commands) = exchange(&mut from, 101, false);
    assert_eq!(commands, [Command::Bitmap; 3]);
}

#[test]
fn noise_is_sent_plain_and_then_compressed_again() {
    let mut random = Random(10);
    let mut bits: Vec<bool> = (0..40_000).map(|_| random.next() & 1 == 0).collect();
    bits.extend([false; 40_000]);
    let mut from = Slow::new(bits);
    let (to, commands) = exchange(&mut from, 101, true);
    assert!(to == from);
    assert!(commands.contains(&Command::Bitmap) && commands.contains(&Command::CompressedBitmap));
}

#[test]
fn bits_set_meanwhile_do_not_break_the_exchange() {
    let mut random = Random(11);
    for _ in 0..300 {
        let mut from = runs(&mut random, 3000, 60);
        let before = from.clone();
        from.surprise = Some((random.below(100) as u32, random.below(3000) as usize));
        let (to, _) = exchange(&mut from, 101, true);
        for (i, bit) in before.bits.iter().enumerate() {
            assert!(!bit || to.bits[i], "bit {i} got lost");
        }
    }
}

#[test]
fn known_code_bytes() {
    // 5 clear, 3 set, 1000 clear: 110+00 (5 = 5+0), 10+0 (3), 11111100+13 bits of 1000-305=695.
    let mut bits = vec![false; 5];
    bits.extend([true; 3]);
    bits.extend([false; 1000]);
    let mut from = Slow::new(bits);
    let agreed = agreed(101, Features::ALL);
    let mut buffer = [0; 4096];
    let mut send = BitmapSend::new(&agreed, from.len(), true);
    let chunk = send.next(&mut from, &mut buffer).unwrap().unwrap();
    let stream = format!("{}{}{}", slow_code(5), slow_code(3), slow_code(1000));
    assert_eq!(&stream[..8], "11000100");
    assert_eq!(chunk.len, 1 + stream.len().div_ceil(8));
    let head = CompressedHeader::parse(buffer[0]);
    let pad = (8 - stream.len() % 8) % 8;
    assert_eq!(
        head,
        CompressedHeader {
            code: 2,
            starts_set: false,
            pad_bits: pad as u8
        }
    );
    for (i, bit) in stream.bytes().enumerate() {
        assert_eq!(buffer[1 + i / 8] >> (i % 8) & 1, bit - b'0', "bit {i}");
    }
}

#[test]
fn bad_packets_are_refused_by_name() {
    let agreed = agreed(101, Features::ALL);
    let mut bits = Slow::new(vec![false; 100]);
    let fresh = || BitmapRecv::new(&agreed, 100);
    let mut try_packet = |command, content: &[u8]| fresh().packet(command, content, &mut bits);
    let rle = Command::CompressedBitmap;
    assert_eq!(
        try_packet(Command::Data, &[]),
        Err(BitmapError::Command(Command::Data))
    );
    assert_eq!(
        try_packet(Command::Bitmap, &[0; 8]),
        Err(BitmapError::Size { want: 16, got: 8 })
    );
    assert_eq!(try_packet(rle, &[]), Err(BitmapError::Empty));
    assert_eq!(try_packet(rle, &[0x02]), Err(BitmapError::Empty));
    assert_eq!(try_packet(rle, &[0x01, 0]), Err(BitmapError::Code(1)));
    // A prefix of level 9, and nothing behind it.
    assert_eq!(try_packet(rle, &[0x82, 0xff]), Err(BitmapError::Truncated));
    // The longest run that has a code.
    let mut long = [0xff; 9];
    long[0] = 0x82;
    assert_eq!(try_packet(rle, &long), Err(BitmapError::Overflow));
    long[0] = 0x02;
    assert_eq!(try_packet(rle, &long), Err(BitmapError::Overflow));
    assert!(
        bits.bits.iter().all(|bit| !bit),
        "a refused run has set bits"
    );
}

#[test]
fn surplus_bits_of_the_last_word_are_dropped() {
    let agreed = agreed(101, Features::ALL);
    let mut bits = Slow::new(vec![false; 100]);
    let mut recv = BitmapRecv::new(&agreed, 100);
    assert_eq!(
        recv.packet(Command::Bitmap, &[0xff; 16], &mut bits),
        Ok(false)
    );
    assert_eq!(recv.packet(Command::Bitmap, &[], &mut bits), Ok(true));
    assert!(bits.bits.iter().all(|bit| *bit));
}

#[test]
fn random_packets_never_panic_nor_leave_the_bitmap() {
    let mut random = Random(12);
    let agreed = agreed(101, Features::ALL);
    for _ in 0..3000 {
        let len = random.below(5000);
        let mut bits = Slow::new(vec![false; len as usize]);
        let mut recv = BitmapRecv::new(&agreed, len);
        for _ in 0..4 {
            let size = random.below(64) as usize;
            let mut content: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
            if let Some(first) = content.first_mut() {
                *first = *first & 0xf0 | 2;
            }
            if recv
                .packet(Command::CompressedBitmap, &content, &mut bits)
                .is_err()
            {
                break;
            }
        }
    }
}
