// SPDX-License-Identifier: GPL-2.0-only

//! Bounded cursors over bytes: every access says whether it fitted.

/// Takes values from the front of a byte slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been taken yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }

    /// A byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    /// A big-endian 16-bit number.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// A big-endian 32-bit number.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A big-endian 64-bit number.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A 32-bit cookie, in the host's own order.
    pub fn opaque32(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    /// A 64-bit cookie, in the host's own order.
    pub fn opaque64(&mut self) -> Option<u64> {
        self.array().map(u64::from_ne_bytes)
    }
}

/// Puts values at the front of a byte slice. `None` means that it is full; what was put before
/// stays.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// Starts at the first byte.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0 }
    }

    /// How many bytes were put.
    pub const fn written(&self) -> usize {
        self.at
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.at.checked_add(bytes.len())?;
        let place = self.out.get_mut(self.at..end)?;
        for (to, from) in place.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.at = end;
        Some(())
    }

    /// Zero bytes.
    pub fn zeroes(&mut self, len: usize) -> Option<()> {
        let end = self.at.checked_add(len)?;
        self.out.get_mut(self.at..end)?.fill(0);
        self.at = end;
        Some(())
    }

    /// A byte.
    pub fn u8(&mut self, value: u8) -> Option<()> {
        self.bytes(&[value])
    }

    /// A big-endian 16-bit number.
    pub fn u16(&mut self, value: u16) -> Option<()> {
        self.bytes(&value.to_be_bytes())
    }

    /// A big-endian 32-bit number.
    pub fn u32(&mut self, value: u32) -> Option<()> {
        self.bytes(&value.to_be_bytes())
    }

    /// A big-endian 64-bit number.
    pub fn u64(&mut self, value: u64) -> Option<()> {
        self.bytes(&value.to_be_bytes())
    }

    /// A 32-bit cookie, in the host's own order.
    pub fn opaque32(&mut self, value: u32) -> Option<()> {
        self.bytes(&value.to_ne_bytes())
    }

    /// A 64-bit cookie, in the host's own order.
    pub fn opaque64(&mut self, value: u64) -> Option<()> {
        self.bytes(&value.to_ne_bytes())
    }
}
