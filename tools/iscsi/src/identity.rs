// SPDX-License-Identifier: GPL-2.0-only

//! How an initiator knows that two paths lead to one disk: the serial number (page 0x80) and the identifier that the
//! kernel's target makes of it (page 0x83).
//!
//! The identifier is NAA type 6: the digit 6, the company (LIO has 0x001405), and then the hexadecimal digits *that
//! occur in the serial number*, 25 at most; all other characters are skipped. `AMHDSK-061031-03` becomes
//! `6001405ad06103103000000000000000`. So different serial numbers can make the same disk of two: that is refused.

use std::fmt;

/// Hexadecimal digits that belong to the vendor.
const VENDOR_DIGITS: usize = 25;

/// The identifier of page 0x83, 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naa(String);

impl Naa {
    /// What the kernel's target makes of a serial number.
    pub fn of(serial: &str) -> Naa {
        let digits: String = serial
            .chars()
            .filter(char::is_ascii_hexdigit)
            .take(VENDOR_DIGITS)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        Naa(format!("6001405{digits:0<VENDOR_DIGITS$}"))
    }
}

impl fmt::Display for Naa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many characters of a serial number count.
pub fn digits(serial: &str) -> usize {
    serial.chars().filter(char::is_ascii_hexdigit).count()
}

/// The serial number of a unit that has none in its configuration: the same on every node with that configuration, and
/// all of its characters count.
pub fn derived(iqn: &str, lun: u32) -> String {
    // FNV-1a with 128 bits.
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in iqn.bytes().chain([b' ']).chain(lun.to_string().bytes()) {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    format!("{hash:032x}")[..VENDOR_DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identifier_that_the_kernel_makes() {
        let naa = |serial| Naa::of(serial).to_string();
        assert_eq!(naa("AMHDSK-061031-03"), "6001405ad06103103000000000000000");
        assert_eq!(naa("xyz"), "60014050000000000000000000000000");
        assert_eq!(
            naa("0123456789abcdef0123456789abcdef"),
            "60014050123456789abcdef012345678"
        );
        // Not the same serial number, but the same disk for an initiator.
        assert_eq!(naa("SAN-1"), naa("HAL-1x"));
    }

    #[test]
    fn a_derived_serial_number_depends_on_target_and_unit() {
        let one = derived("iqn.2026-01.com.example:a", 0);
        assert_eq!((one.len(), digits(&one)), (25, 25));
        assert_eq!(one, derived("iqn.2026-01.com.example:a", 0));
        assert_ne!(one, derived("iqn.2026-01.com.example:a", 1));
        assert_ne!(one, derived("iqn.2026-01.com.example:b", 0));
    }
}
