// SPDX-License-Identifier: GPL-2.0-only

//! CRC-32C (Castagnoli) as the kernel computes it: without the inversions before and after.

/// Bytes that are taken at once.
const WIDTH: usize = 8;

/// What a byte contributes with 0, 1, ... bytes behind it.
static TABLES: [[u32; 256]; WIDTH] = tables();

const fn tables() -> [[u32; 256]; WIDTH] {
    let mut tables = [[0; 256]; WIDTH];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 * WIDTH {
            crc = if crc & 1 != 0 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
            bit += 1;
            if bit % 8 == 0 {
                tables[bit / 8 - 1][byte] = crc;
            }
        }
        byte += 1;
    }
    tables
}

fn entry(behind: usize, byte: u8) -> u32 {
    let table = TABLES.get(behind);
    let entry = table.and_then(|table| table.get(usize::from(byte)));
    entry.copied().unwrap_or(0)
}

/// Continues a checksum over `bytes`; start with 0 (metadata) or with all ones (everybody else).
pub fn crc32c(start: u32, bytes: &[u8]) -> u32 {
    let mut words = bytes.chunks_exact(WIDTH);
    let crc = words.by_ref().fold(start, |crc, word| {
        let crc = crc.to_le_bytes().into_iter().chain([0; WIDTH - 4]);
        let bytes = word.iter().zip(crc).zip((0..WIDTH).rev());
        bytes.fold(0, |sum, ((&byte, crc), behind)| {
            sum ^ entry(behind, byte ^ crc)
        })
    });
    words.remainder().iter().fold(crc, |crc, &byte| {
        let [low, ..] = (crc ^ u32::from(byte)).to_le_bytes();
        (crc >> 8) ^ entry(0, low)
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

    #[test]
    fn words_are_worth_as_much_as_their_bytes() {
        let bytes: [u8; 61] = core::array::from_fn(|i| (i * 37 + 11) as u8);
        for length in 0..=bytes.len() {
            let one_by_one = bytes[..length]
                .iter()
                .fold(5, |crc, &byte| crc32c(crc, &[byte]));
            assert_eq!(crc32c(5, &bytes[..length]), one_by_one, "{length}");
        }
    }
}
