// SPDX-License-Identifier: GPL-2.0-only

//! Run lengths as a bit stream, for the compressed bitmap exchange.
//!
//! A run of equal bits has a length of at least 1. Its code is a prefix that names a level, and
//! then the distance to the least length of that level in as many bits as the level has, all of it
//! with the least significant bit first:
//!
//! ```text
//! level    0  1   2    3     4      5        6        7        8        9
//! prefix   0 10 110 1110 11110 111110 11111100 11111110 11111101 11111111   (first bit left)
//! bits     1  1   2    3     5      8       13       21       34       56
//! ```
//!
//! The prefix code is complete: any 8 bits start with exactly one prefix.

/// Prefix length, prefix (first bit lowest) and number of data bits of each level.
const LEVELS: [(u32, u64, u32); 10] = [
    (1, 0x00, 1),
    (2, 0x01, 1),
    (3, 0x03, 2),
    (4, 0x07, 3),
    (5, 0x0f, 5),
    (6, 0x1f, 8),
    (8, 0x3f, 13),
    (8, 0x7f, 21),
    (8, 0xbf, 34),
    (8, 0xff, 56),
];

/// The longest run that has a code.
pub const MAX_RUN: u64 = 0x0100_0004_0020_2130;

/// The code of a run, and how many bits it has (at most 64). `None` for 0 and beyond [`MAX_RUN`].
pub fn encode_run(run: u64) -> Option<(u64, u32)> {
    let mut distance = run.checked_sub(1)?;
    for (prefix_len, prefix, data_bits) in LEVELS {
        let count = 1u64.wrapping_shl(data_bits);
        if distance < count {
            let code = distance.wrapping_shl(prefix_len) | prefix;
            return Some((code, prefix_len.wrapping_add(data_bits)));
        }
        distance = distance.wrapping_sub(count);
    }
    None
}

/// The run whose code starts at the lowest bit, and how many bits the code has.
pub fn decode_run(bits: u64) -> (u64, u32) {
    let mut least = 1u64;
    let mut found = (0, 64);
    for (prefix_len, prefix, data_bits) in LEVELS {
        let mask = 1u64.wrapping_shl(prefix_len).wrapping_sub(1);
        let count = 1u64.wrapping_shl(data_bits);
        if bits & mask == prefix {
            let distance = bits.wrapping_shr(prefix_len) & count.wrapping_sub(1);
            found = (
                least.wrapping_add(distance),
                prefix_len.wrapping_add(data_bits),
            );
            break;
        }
        least = least.wrapping_add(count);
    }
    found
}

/// Appends bits to a byte slice, filling each byte from its lowest bit.
pub(super) struct BitWriter<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl<'a> BitWriter<'a> {
    /// Starts with an empty stream.
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        bytes.fill(0);
        Self { bytes, at: 0 }
    }

    /// Appends the lowest `count` bits of `code`; `None` leaves the stream as it was: it is full.
    pub(super) fn put(&mut self, code: u64, count: u32) -> Option<()> {
        let end = self.at.checked_add(usize::try_from(count).ok()?)?;
        if end > self.bytes.len().saturating_mul(8) {
            return None;
        }
        let shift = u32::try_from(self.at % 8).ok()?;
        // Up to 64 bits after up to 7: nine bytes.
        let wide = u128::from(code).wrapping_shl(shift);
        let place = self.bytes.iter_mut().skip(self.at / 8).take(9);
        for (byte, more) in place.zip(wide.to_le_bytes()) {
            *byte |= more;
        }
        self.at = end;
        Some(())
    }

    /// How many bytes have been touched.
    pub(super) fn len(&self) -> usize {
        self.at.div_ceil(8)
    }

    /// How many bits of the last byte are unused.
    pub(super) fn pad_bits(&self) -> u8 {
        u8::try_from(self.at.wrapping_neg() % 8).unwrap_or(0)
    }
}

/// Takes run codes from a byte slice.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> BitReader<'a> {
    /// A stream that ends `pad_bits` bits before the end of the bytes.
    pub(super) fn new(bytes: &'a [u8], pad_bits: u8) -> Self {
        let end = bytes
            .len()
            .saturating_mul(8)
            .saturating_sub(usize::from(pad_bits));
        Self { bytes, at: 0, end }
    }

    /// The next run; `None` at the end, an error when the last code is cut off.
    pub(super) fn run(&mut self) -> Result<Option<u64>, Truncated> {
        let left = self.end.saturating_sub(self.at);
        if left == 0 {
            return Ok(None);
        }
        let mut wide = [0u8; 16];
        for (to, from) in wide
            .iter_mut()
            .zip(self.bytes.iter().skip(self.at / 8).take(9))
        {
            *to = *from;
        }
        let shift = u32::try_from(self.at % 8).unwrap_or(0);
        let [b0, b1, b2, b3, b4, b5, b6, b7, ..] =
            u128::from_le_bytes(wide).wrapping_shr(shift).to_le_bytes();
        let mut bits = u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
        if let Some(valid) = u32::try_from(left).ok().filter(|n| *n < 64) {
            bits &= 1u64.wrapping_shl(valid).wrapping_sub(1);
        }
        let (run, count) = decode_run(bits);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > left {
            return Err(Truncated);
        }
        self.at = self.at.saturating_add(count);
        Ok(Some(run))
    }
}

/// The last code of a stream is cut off.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Truncated;
