// SPDX-License-Identifier: GPL-2.0-only

//! Addresses of TCP sockets, as user space gives them.

use crate::bindings;
use kernel::{fmt, prelude::*};

/// Bytes of `struct sockaddr_in` and `struct sockaddr_in6`.
const IPV4_LENGTH: usize = 16;
const IPV6_LENGTH: usize = 28;

/// An IPv4 or IPv6 address with a port: the bytes of a `struct sockaddr_in` or `struct sockaddr_in6`.
///
/// # Invariants
///
/// `length` is the size of the structure that the family in the first two bytes says; bytes beyond are zero.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct SocketAddr {
    bytes: [u8; 32],
    length: usize,
}

impl SocketAddr {
    /// Reads an address from its structure's bytes.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there are too few bytes, `EAFNOSUPPORT` for other families.
    pub fn from_bytes(raw: &[u8]) -> Result<Self> {
        let family = raw.first_chunk().map(|two| u16::from_ne_bytes(*two));
        let length = match family.map(u32::from) {
            Some(bindings::AF_INET) => IPV4_LENGTH,
            Some(bindings::AF_INET6) => IPV6_LENGTH,
            Some(_) => return Err(EAFNOSUPPORT),
            None => return Err(EINVAL),
        };
        let meant = raw.get(..length).ok_or(EINVAL)?;
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(meant) {
            *to = *from;
        }
        // INVARIANT: The length is the family's, the rest is zero.
        Ok(Self { bytes, length })
    }

    /// The structure's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }

    /// Whether it is an IPv6 address.
    pub fn is_ipv6(&self) -> bool {
        self.length == IPV6_LENGTH
    }

    /// The port.
    pub fn port(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    /// The same host with another port; 0 lets the kernel choose.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        [self.bytes[2], self.bytes[3]] = port.to_be_bytes();
        self
    }

    /// Whether both are of the same host, whatever their ports.
    pub fn is_same_host(&self, other: &Self) -> bool {
        self.length == other.length && self.host() == other.host()
    }

    fn host(&self) -> &[u8] {
        let range = if self.is_ipv6() { 8..24 } else { 4..8 };
        self.bytes.get(range).unwrap_or(&[])
    }

    pub(super) fn family(&self) -> i32 {
        i32::from(u16::from_ne_bytes([self.bytes[0], self.bytes[1]]))
    }

    pub(super) fn raw(&mut self) -> (*mut bindings::sockaddr_unsized, i32) {
        // The length is 16 or 28.
        (self.bytes.as_mut_ptr().cast(), self.length as i32)
    }
}

impl fmt::Display for SocketAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ipv6() {
            f.write_str("[")?;
            for (index, pair) in self.host().chunks(2).enumerate() {
                let colon = if index == 0 { "" } else { ":" };
                let word = pair
                    .iter()
                    .fold(0, |word, byte| word << 8 | u32::from(*byte));
                write!(f, "{colon}{word:x}")?;
            }
            f.write_str("]")?;
        } else {
            for (index, byte) in self.host().iter().enumerate() {
                let dot = if index == 0 { "" } else { "." };
                write!(f, "{dot}{byte}")?;
            }
        }
        write!(f, ":{}", self.port())
    }
}
