// SPDX-License-Identifier: GPL-2.0-only

//! Damage: the generator and the mutations that the tests of this crate share.
//!
//! Whatever a peer, a disk, a netlink client or a configuration file can say goes through a decoder that must end
//! with a value or an error, never with a panic: in the kernel that would be a BUG(). The tests damage real input in the
//! ways that find mistakes (bits, lengths, cuts, repetitions, numbers at the edge), always the same for the same seed.
//! Each runs for a fixed number of rounds; `make fuzz` makes it
//! ten million (`DRBDRS_FUZZ_RUNS`), `DRBDRS_FUZZ_ROUNDS` multiplies it.

pub mod corpus;

/// A small generator (splitmix64): good enough to damage bytes, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 for 0.
    pub fn below(&mut self, limit: usize) -> usize {
        match limit {
            0 => 0,
            limit => (self.bits() % limit as u64) as usize,
        }
    }

    /// That many random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.bits() as u8).collect()
    }
}

/// Numbers that make arithmetic overflow.
const EDGES: [u64; 10] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// Damages bytes in one way out of several.
pub fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(7) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.bits() as u8;
            }
        }
        2 => bytes.truncate(at),
        3 => {
            let len = random.below(16);
            let more = random.bytes(len);
            bytes.splice(at..at, more);
        }
        4 => {
            let end = (at + random.below(16)).min(bytes.len());
            bytes.drain(at..end);
        }
        5 => {
            let end = (at + random.below(64)).min(bytes.len());
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        _ => {
            let edge = EDGES[random.below(EDGES.len())].to_be_bytes();
            let width = [2, 4, 8][random.below(3)];
            for (to, from) in bytes.iter_mut().skip(at).zip(&edge[8 - width..]) {
                *to = *from;
            }
        }
    }
}

/// How many rounds a test runs: `base`, times `DRBDRS_FUZZ_ROUNDS`, or `DRBDRS_FUZZ_RUNS` whatever the base.
pub fn rounds(base: usize) -> usize {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(runs) = number("DRBDRS_FUZZ_RUNS") {
        return runs;
    }
    base.saturating_mul(number("DRBDRS_FUZZ_ROUNDS").unwrap_or(1))
}
