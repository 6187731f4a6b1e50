// SPDX-License-Identifier: GPL-2.0-only

//! Netlink attributes over byte slices: a reader that trusts nothing and a writer that never overruns.
//!
//! An attribute is `u16 length (header included), u16 type, payload, padding to 4`, all in host byte order. The two
//! top bits of the type are flags: `NESTED`, and bit 14, which drbd-utils sets on the attributes that they want an
//! old kernel to refuse rather than to ignore. Both are masked on reading: they carry no information for us.
//! Type 0 is padding that aligns a 64-bit value; readers skip it.

/// Bytes of an attribute's header.
pub const HEADER: usize = 4;
/// The payload is a sequence of attributes.
pub const NESTED: u16 = 0x8000;
/// drbd-utils' "do not ignore this one" (the bit that netlink itself calls NET_BYTEORDER).
pub const MANDATORY: u16 = 0x4000;
const TYPE_MASK: u16 = 0x3fff;

/// One attribute as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Number without the flags.
    pub nr: u16,
    /// The bytes between header and padding.
    pub payload: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The payload as one byte, if it is exactly that.
    pub fn u8(&self) -> Option<u8> {
        <[u8; 1]>::try_from(self.payload).ok().map(|[b]| b)
    }

    /// The payload as a host-endian 32-bit number, if it is exactly that.
    pub fn u32(&self) -> Option<u32> {
        <[u8; 4]>::try_from(self.payload)
            .ok()
            .map(u32::from_ne_bytes)
    }

    /// The payload as a host-endian 64-bit number, if it is exactly that.
    pub fn u64(&self) -> Option<u64> {
        <[u8; 8]>::try_from(self.payload)
            .ok()
            .map(u64::from_ne_bytes)
    }

    /// The bytes before the terminating NUL, if there is one.
    pub fn string(&self) -> Option<&'a [u8]> {
        let nul = self.payload.iter().position(|&b| b == 0)?;
        self.payload.get(..nul)
    }

    /// The attributes inside.
    pub fn nested(&self) -> Reader<'a> {
        Reader::new(self.payload)
    }
}

/// The bytes do not form a sequence of attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Iterates over the attributes in a slice; stops after the first malformed one.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads the attributes that `bytes` consists of.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The first attribute with that number; none if the sequence is malformed before it.
    pub fn find(&self, nr: u16) -> Option<Attribute<'a>> {
        self.clone()
            .map_while(Result::ok)
            .find(|attribute| attribute.nr == nr)
    }

    fn take(&mut self) -> Option<(Attribute<'a>, &'a [u8])> {
        let (header, _) = self.rest.split_at_checked(HEADER)?;
        let (len, ty) = header.split_at_checked(2)?;
        let len = usize::from(u16::from_ne_bytes(len.try_into().ok()?));
        let nr = u16::from_ne_bytes(ty.try_into().ok()?) & TYPE_MASK;
        let payload = self.rest.get(HEADER..len)?;
        // The last attribute's padding may be missing, as in the kernel's own parser.
        let next = self.rest.get(aligned(len)..).unwrap_or(&[]);
        Some((Attribute { nr, payload }, next))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            match self.take() {
                Some((attribute, rest)) => {
                    self.rest = rest;
                    if attribute.nr != 0 {
                        return Some(Ok(attribute));
                    }
                }
                None => {
                    self.rest = &[];
                    return Some(Err(Malformed));
                }
            }
        }
        None
    }
}

/// The buffer has no room for what was to be written; nothing of that attribute was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The start of a nest that `Writer::end` closes.
#[derive(Debug)]
#[must_use = "a nest that is never ended has length 0"]
pub struct Open(usize);

/// Appends attributes to a caller's buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// Writes from the start of `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// What was written so far, padding included.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or(&[])
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets everything after `len` bytes: undoes attributes that belong together when the last did not fit.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Appends raw bytes (a header, or attributes taken verbatim from a request) and pads to 4.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let end = self.len.checked_add(bytes.len()).ok_or(Full)?;
        let padded = aligned(end);
        let room = self.buffer.get_mut(self.len..padded).ok_or(Full)?;
        let (data, padding) = room.split_at_mut_checked(bytes.len()).ok_or(Full)?;
        data.copy_from_slice(bytes);
        padding.fill(0);
        self.len = padded;
        Ok(())
    }

    /// Appends one attribute; `ty` is its number with the flags wanted.
    pub fn put(&mut self, ty: u16, payload: &[u8]) -> Result<(), Full> {
        let start = self.len;
        let len = payload.len().checked_add(HEADER).ok_or(Full)?;
        let len = u16::try_from(len).map_err(|_| Full)?;
        let written = self.header(len, ty).and_then(|()| {
            if payload.is_empty() {
                Ok(())
            } else {
                self.raw(payload)
            }
        });
        if written.is_err() {
            self.len = start;
        }
        written
    }

    /// Appends a string with its NUL.
    pub fn put_string(&mut self, ty: u16, text: &[u8]) -> Result<(), Full> {
        let start = self.len;
        let len = text.len().checked_add(HEADER + 1).ok_or(Full)?;
        let written = u16::try_from(len)
            .map_err(|_| Full)
            .and_then(|len| self.header(len, ty))
            .and_then(|()| {
                let end = self.len.checked_add(text.len()).ok_or(Full)?;
                let padded = aligned(end.checked_add(1).ok_or(Full)?);
                let room = self.buffer.get_mut(self.len..padded).ok_or(Full)?;
                let (data, zeros) = room.split_at_mut_checked(text.len()).ok_or(Full)?;
                data.copy_from_slice(text);
                zeros.fill(0);
                self.len = padded;
                Ok(())
            });
        if written.is_err() {
            self.len = start;
        }
        written
    }

    /// Opens a nest; its attributes follow, then `end`.
    pub fn begin(&mut self, ty: u16) -> Result<Open, Full> {
        let start = self.len;
        self.header(0, ty)?;
        Ok(Open(start))
    }

    /// Closes a nest: fills in its length.
    pub fn end(&mut self, open: Open) -> Result<(), Full> {
        let len = self.len.checked_sub(open.0).ok_or(Full)?;
        let len = u16::try_from(len).map_err(|_| Full)?;
        let place = self
            .buffer
            .get_mut(open.0..)
            .and_then(|b| b.first_chunk_mut());
        *place.ok_or(Full)? = len.to_ne_bytes();
        Ok(())
    }

    fn header(&mut self, len: u16, ty: u16) -> Result<(), Full> {
        let [l0, l1] = len.to_ne_bytes();
        let [t0, t1] = ty.to_ne_bytes();
        self.raw(&[l0, l1, t0, t1])
    }
}

/// Rounds up to the attribute alignment. Lengths here are bounded by a `u16` or by a slice, so that adding 3 cannot
/// overflow on any machine that this runs on; saturating says so to the compiler.
const fn aligned(len: usize) -> usize {
    len.saturating_add(3) & !3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_flags_padding_and_zero_type() {
        let bytes = [
            4, 0, 0, 0, // padding attribute
            7, 0, 2, 0x40, b'r', b'a', 0, 0, // string with the mandatory bit
            5, 0, 3, 0, 9, // byte, padding missing at the end
        ];
        let found: [_; 2] = {
            let mut reader = Reader::new(&bytes);
            [reader.next(), reader.next()]
        };
        assert_eq!(found[0].and_then(|a| a.ok()?.string()), Some(&b"ra"[..]));
        assert_eq!(found[1].and_then(|a| a.ok()?.u8()), Some(9));
    }

    #[test]
    fn malformed_ends_the_walk() {
        for bytes in [&[1u8, 2, 3][..], &[3, 0, 1, 0], &[9, 0, 1, 0, 1, 2, 3, 4]] {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.next(), Some(Err(Malformed)), "{bytes:?}");
            assert_eq!(reader.next(), None);
        }
    }

    #[test]
    fn writer_round_trips_and_undoes_what_does_not_fit() {
        let mut buffer = [0u8; 32];
        let mut writer = Writer::new(&mut buffer);
        let nest = writer.begin(2 | NESTED).unwrap();
        writer.put_string(2 | MANDATORY, b"ra").unwrap();
        writer.put(1, &7u32.to_ne_bytes()).unwrap();
        writer.end(nest).unwrap();
        let len = writer.len();
        assert_eq!(len, 20);
        assert_eq!(writer.put(1, &[0; 12]), Err(Full));
        assert_eq!(writer.put_string(1, &[1; 8]), Err(Full));
        assert_eq!(writer.len(), len);
        let nest = Reader::new(writer.bytes()).find(2).unwrap();
        assert_eq!(nest.nested().find(1).unwrap().u32(), Some(7));
        assert_eq!(nest.nested().find(2).unwrap().string(), Some(&b"ra"[..]));
    }
}
