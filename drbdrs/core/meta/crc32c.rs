// SPDX-License-Identifier: GPL-2.0-only

//! CRC-32C (Castagnoli) as the kernel computes it: without the inversions before and after.

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// Continues a checksum over `bytes`; start with 0 (metadata) or with all ones (everybody else).
pub fn crc32c(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |crc, &byte| {
        let [low, ..] = (crc ^ u32::from(byte)).to_le_bytes();
        let entry = TABLE.get(usize::from(low)).copied().unwrap_or(0);
        (crc >> 8) ^ entry
    })
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn the_standards_check_value() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        assert_eq!(
            crc32c(crc32c(7, b"1234"), b"56789"),
            crc32c(7, b"123456789")
        );
    }
}
