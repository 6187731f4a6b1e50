// SPDX-License-Identifier: GPL-2.0-only

//! Strings and byte strings with a fixed capacity: names, paths, algorithms, addresses. No allocation.

use core::fmt;

/// Up to `N - 1` bytes without a NUL: as the wire counts, `N` includes the terminating NUL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    len: u8,
    bytes: [u8; N],
}

/// The string does not fit, or holds a NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit;

impl<const N: usize> Text<N> {
    /// The empty string.
    pub const EMPTY: Self = Self {
        len: 0,
        bytes: [0; N],
    };

    /// Copies `text` if it fits.
    pub fn new(text: &[u8]) -> Result<Self, Unfit> {
        let mut new = Self::EMPTY;
        if text.len() >= N || text.contains(&0) {
            return Err(Unfit);
        }
        new.len = u8::try_from(text.len()).map_err(|_| Unfit)?;
        new.bytes
            .get_mut(..text.len())
            .ok_or(Unfit)?
            .copy_from_slice(text);
        Ok(new)
    }

    /// The bytes, without NUL.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// The string; none if it is not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        core::str::from_utf8(self.as_bytes()).ok()
    }

    /// The bytes with exactly one NUL behind them, as C wants them.
    pub fn with_nul(&self) -> &[u8] {
        // INVARIANT: `len < N`, and every byte from `len` on is 0.
        self.bytes
            .get(..usize::from(self.len).saturating_add(1))
            .unwrap_or(&[0])
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.as_bytes().utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("\u{fffd}")?;
            }
        }
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A `Text` that never shows itself in a log.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Secret<const N: usize>(Text<N>);

impl<const N: usize> Secret<N> {
    /// Wraps a string.
    pub fn new(text: Text<N>) -> Self {
        Self(text)
    }

    /// The string itself, for the one place that needs it.
    pub fn reveal(&self) -> &Text<N> {
        &self.0
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(none)" } else { "(set)" })
    }
}

/// Up to `N` bytes of anything: a socket address, a list of UUIDs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bytes<const N: usize> {
    len: u16,
    bytes: [u8; N],
}

impl<const N: usize> Bytes<N> {
    /// No bytes.
    pub const EMPTY: Self = Self {
        len: 0,
        bytes: [0; N],
    };

    /// Copies `bytes` if they fit.
    pub fn new(bytes: &[u8]) -> Result<Self, Unfit> {
        let mut new = Self::EMPTY;
        new.len = u16::try_from(bytes.len()).map_err(|_| Unfit)?;
        new.bytes
            .get_mut(..bytes.len())
            .ok_or(Unfit)?
            .copy_from_slice(bytes);
        Ok(new)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<const N: usize> Default for Bytes<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> fmt::Debug for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_counts_the_nul() {
        assert_eq!(Text::<4>::new(b"abc").unwrap().with_nul(), b"abc\0");
        assert_eq!(Text::<4>::new(b"abcd"), Err(Unfit));
        assert_eq!(Text::<4>::new(b"a\0"), Err(Unfit));
        assert_eq!(Bytes::<4>::new(b"abcd").unwrap().as_bytes(), b"abcd");
        assert_eq!(Bytes::<4>::new(b"abcde"), Err(Unfit));
    }

    #[test]
    fn a_secret_stays_out_of_debug_output() {
        let secret = Secret::new(Text::<8>::new(b"hush").unwrap());
        assert_eq!(format!("{secret:?}"), "(set)");
    }
}
