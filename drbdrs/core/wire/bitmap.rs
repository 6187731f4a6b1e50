// SPDX-License-Identifier: GPL-2.0-only

//! The exchange of bitmaps after the handshake: one side sends all of its bitmap in packets, the
//! other ORs it into its own; then the other way round.
//!
//! Both sides count bits. A packet is either a run-length code from exactly the next bit on, or
//! plain 64-bit little-endian words from the word on that contains the next bit; how many words is
//! fixed (a full buffer, or up to the end), so the receiver knows it as well. The exchange ends
//! with the run-length packet that reaches the end, or with a plain packet of no words.
//!
//! The bitmap may gain bits while it is sent (the peer hears of those separately). A run that
//! turns out empty for that reason just ends the packet; stock gives up the connection.

use super::rle::{encode_run, BitReader, BitWriter};
use super::{Agreed, Command};

/// The bitmap of one peer device, as the exchange needs it. `word` and `merge_word` are 64 bits,
/// the lowest bit first.
pub trait Bits {
    /// How many bits there are.
    fn len(&self) -> u64;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The first set bit from `from` on.
    fn next_set(&mut self, from: u64) -> Option<u64>;
    /// The first clear bit from `from` on.
    fn next_clear(&mut self, from: u64) -> Option<u64>;
    /// Sets the bits from `first` to `last`, both included.
    fn set(&mut self, first: u64, last: u64);
    /// 64 bits from bit `64 * index` on.
    fn word(&mut self, index: u64) -> u64;
    /// Sets these bits of the word as well. Never called with bits beyond [`Bits::len`].
    fn merge_word(&mut self, index: u64, bits: u64);
}

/// The first byte of a compressed packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressedHeader {
    /// The code; only [`CompressedHeader::RLE_VLI_BITS`] is known.
    pub code: u8,
    /// Whether the first run is of set bits.
    pub starts_set: bool,
    /// How many bits of the last byte are not part of the code, 0 to 7.
    pub pad_bits: u8,
}

impl CompressedHeader {
    /// Run lengths in the code of [`super::encode_run`].
    pub const RLE_VLI_BITS: u8 = 2;

    /// From the byte on the wire.
    pub const fn parse(byte: u8) -> Self {
        Self {
            code: byte & 0x0f,
            starts_set: byte & 0x80 != 0,
            pad_bits: (byte >> 4) & 7,
        }
    }

    /// The byte on the wire.
    pub const fn emit(self) -> u8 {
        let start = if self.starts_set { 0x80 } else { 0 };
        start | (self.pad_bits & 7) << 4 | self.code & 0x0f
    }
}

/// Why a peer's bitmap packet is refused. The bits that were merged until then stay: they are at
/// worst resynced needlessly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitmapError {
    /// Not a packet of the bitmap exchange.
    Command(Command),
    /// A plain packet with another number of bytes than the exchange has come to.
    Size {
        /// How many bytes it must have.
        want: usize,
        /// How many it has.
        got: usize,
    },
    /// A compressed packet without a code.
    Empty,
    /// A code that is not known.
    Code(u8),
    /// A run beyond the end of the bitmap.
    Overflow,
    /// The last code is cut off.
    Truncated,
}

/// What an exchange has cost, for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferStats {
    /// Plain packets.
    pub plain_packets: u32,
    /// Their bytes, headers included.
    pub plain_bytes: u64,
    /// Run-length packets.
    pub rle_packets: u32,
    /// Their bytes, headers included.
    pub rle_bytes: u64,
}

impl TransferStats {
    fn count(&mut self, command: Command, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(0);
        let (packets, sum) = match command {
            Command::CompressedBitmap => (&mut self.rle_packets, &mut self.rle_bytes),
            _ => (&mut self.plain_packets, &mut self.plain_bytes),
        };
        *packets = packets.wrapping_add(1);
        *sum = sum.wrapping_add(bytes);
    }
}

/// Where an exchange stands: the next bit, and how to count plain packets.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    bits: u64,
    next: u64,
    header: usize,
    room: usize,
    stats: TransferStats,
}

impl Cursor {
    fn new(agreed: &Agreed, bits: u64) -> Self {
        Self {
            bits,
            next: 0,
            header: agreed.format().size(),
            room: agreed.bitmap_room(),
            stats: TransferStats::default(),
        }
    }

    /// Index of the first word of a plain packet, and how many words it has.
    fn plain(&self) -> (u64, usize) {
        let first = self.next / 64;
        // At the very end nothing is left, although the last word may have been sent in part only
        // by a run-length packet: the end is the end.
        let words = match self.next >= self.bits {
            true => 0,
            false => self.bits.div_ceil(64).saturating_sub(first),
        };
        let most = self.room / 8;
        (first, usize::try_from(words).unwrap_or(most).min(most))
    }

    fn after_plain(&mut self, first: u64, words: usize) {
        let end = first
            .saturating_add(u64::try_from(words).unwrap_or(0))
            .saturating_mul(64);
        self.next = end.min(self.bits);
    }
}

/// A packet to send: the command, and how many bytes of content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// [`Command::Bitmap`] or [`Command::CompressedBitmap`].
    pub command: Command,
    /// The size of the content, in bytes.
    pub len: usize,
}

/// Sends a bitmap, packet by packet.
#[derive(Clone, Debug)]
pub struct BitmapSend {
    cursor: Cursor,
    use_rle: bool,
    done: bool,
}

impl BitmapSend {
    /// Starts at the first of `bits` bits. `use_rle` is the option of that name.
    pub fn new(agreed: &Agreed, bits: u64, use_rle: bool) -> Self {
        let use_rle = use_rle && !matches!(agreed.version, 0..=89);
        Self {
            cursor: Cursor::new(agreed, bits),
            use_rle,
            done: false,
        }
    }

    /// What it has cost so far.
    pub fn stats(&self) -> TransferStats {
        self.cursor.stats
    }

    /// Writes the content of the next packet to `out` (at least [`Agreed::bitmap_room`] bytes; a
    /// shorter buffer ends the exchange with [`BitmapError::Size`]). `None` after the last one.
    pub fn next(
        &mut self,
        bits: &mut impl Bits,
        out: &mut [u8],
    ) -> Result<Option<Chunk>, BitmapError> {
        if self.done {
            return Ok(None);
        }
        let got = out.len();
        let out = out.get_mut(..self.cursor.room).ok_or(BitmapError::Size {
            want: self.cursor.room,
            got,
        })?;
        let rle = match self.use_rle {
            true => self.compressed(bits, out),
            false => None,
        };
        let chunk = match rle {
            Some(len) => {
                self.done = self.cursor.next >= self.cursor.bits;
                Chunk {
                    command: Command::CompressedBitmap,
                    len,
                }
            }
            None => {
                let len = self.plain(bits, out);
                self.done = len == 0;
                Chunk {
                    command: Command::Bitmap,
                    len,
                }
            }
        };
        self.cursor
            .stats
            .count(chunk.command, self.cursor.header.saturating_add(chunk.len));
        Ok(Some(chunk))
    }

    fn plain(&mut self, bits: &mut impl Bits, out: &mut [u8]) -> usize {
        let (first, words) = self.cursor.plain();
        for (place, index) in out.chunks_exact_mut(8).take(words).zip(first..=u64::MAX) {
            for (to, from) in place.iter_mut().zip(bits.word(index).to_le_bytes()) {
                *to = from;
            }
        }
        self.cursor.after_plain(first, words);
        words.saturating_mul(8)
    }

    /// The size of the run-length packet; `None` when plain words are shorter.
    fn compressed(&mut self, bits: &mut impl Bits, out: &mut [u8]) -> Option<usize> {
        let end = self.cursor.bits;
        let start = self.cursor.next;
        let (head, code) = out.split_first_mut()?;
        let mut code = BitWriter::new(code);
        let mut next = start;
        let starts_set = bits.next_set(start) == Some(start);
        let mut set = starts_set;
        while next < end {
            let found = if set {
                bits.next_clear(next)
            } else {
                bits.next_set(next)
            };
            let stop = found.unwrap_or(end).min(end);
            let run = stop.saturating_sub(next);
            let Some((value, count)) = encode_run(run) else {
                break;
            };
            if code.put(value, count).is_none() {
                break;
            }
            next = stop;
            set = !set;
        }
        let plain_bits = usize::try_from(next.saturating_sub(start)).unwrap_or(usize::MAX);
        if plain_bits == 0 || plain_bits < code.len().saturating_mul(8) {
            return None;
        }
        let pad_bits = code.pad_bits();
        let header = CompressedHeader {
            code: CompressedHeader::RLE_VLI_BITS,
            starts_set,
            pad_bits,
        };
        *head = header.emit();
        let len = code.len().saturating_add(1);
        self.cursor.next = next;
        Some(len)
    }
}

/// Receives a bitmap, packet by packet.
#[derive(Clone, Debug)]
pub struct BitmapRecv {
    cursor: Cursor,
}

impl BitmapRecv {
    /// Starts at the first of `bits` bits.
    pub fn new(agreed: &Agreed, bits: u64) -> Self {
        Self {
            cursor: Cursor::new(agreed, bits),
        }
    }

    /// What it has cost so far.
    pub fn stats(&self) -> TransferStats {
        self.cursor.stats
    }

    /// Merges a packet. Says whether it was the last one.
    pub fn packet(
        &mut self,
        command: Command,
        content: &[u8],
        bits: &mut impl Bits,
    ) -> Result<bool, BitmapError> {
        let last = match command {
            Command::Bitmap => self.plain(content, bits)?,
            Command::CompressedBitmap => self.compressed(content, bits)?,
            other => return Err(BitmapError::Command(other)),
        };
        self.cursor
            .stats
            .count(command, self.cursor.header.saturating_add(content.len()));
        Ok(last)
    }

    fn plain(&mut self, content: &[u8], bits: &mut impl Bits) -> Result<bool, BitmapError> {
        let (first, words) = self.cursor.plain();
        let want = words.saturating_mul(8);
        if content.len() != want {
            return Err(BitmapError::Size {
                want,
                got: content.len(),
            });
        }
        let (tail_word, tail_bits) = (self.cursor.bits / 64, self.cursor.bits % 64);
        let tail = 1u64
            .wrapping_shl(u32::try_from(tail_bits).unwrap_or(0))
            .wrapping_sub(1);
        for (raw, index) in content.chunks_exact(8).zip(first..=u64::MAX) {
            let Some(raw) = raw.first_chunk::<8>() else {
                break;
            };
            let mask = if index == tail_word { tail } else { u64::MAX };
            let word = u64::from_le_bytes(*raw) & mask;
            if word != 0 {
                bits.merge_word(index, word);
            }
        }
        self.cursor.after_plain(first, words);
        Ok(words == 0)
    }

    fn compressed(&mut self, content: &[u8], bits: &mut impl Bits) -> Result<bool, BitmapError> {
        let (head, code) = content.split_first().ok_or(BitmapError::Empty)?;
        let head = CompressedHeader::parse(*head);
        if head.code != CompressedHeader::RLE_VLI_BITS {
            return Err(BitmapError::Code(head.code));
        }
        let mut code = BitReader::new(code, head.pad_bits);
        let mut set = head.starts_set;
        let mut next = self.cursor.next;
        let mut runs = 0u32;
        while let Some(run) = code.run().map_err(|_| BitmapError::Truncated)? {
            let stop = next
                .checked_add(run)
                .filter(|stop| *stop <= self.cursor.bits);
            let stop = stop.ok_or(BitmapError::Overflow)?;
            if set {
                bits.set(next, stop.saturating_sub(1));
            }
            next = stop;
            set = !set;
            runs = runs.saturating_add(1);
        }
        if runs == 0 {
            return Err(BitmapError::Empty);
        }
        self.cursor.next = next;
        Ok(next >= self.cursor.bits)
    }
}
