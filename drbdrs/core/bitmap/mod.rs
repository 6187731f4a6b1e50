// SPDX-License-Identifier: GPL-2.0-only

//! The bitmap: one bit per 4 KiB of data, set where the peer's block may differ.
//!
//! Words of 64 bits, bit 0 lowest, so that the image on disk is the words in little-endian order. Ranges are
//! inclusive; what lies outside of the words is ignored.

/// Bits in a word.
pub const BITS_PER_WORD: u64 = 64;
/// log2 of the sectors that a bit stands for.
pub const SECTORS_PER_BIT_SHIFT: u32 = 3;

/// Bits that a device of that size needs.
pub const fn bits_for_sectors(sectors: u64) -> u64 {
    sectors.div_ceil(1 << SECTORS_PER_BIT_SHIFT)
}

/// First and last of the blocks that are new, or that there is more of, when a device grows from `old` sectors to `new`.
/// (8.4 forgets the one in which the old device ended.)
pub const fn grown_blocks(old: u64, new: u64) -> Option<(u64, u64)> {
    if new <= old {
        return None;
    }
    Some((
        old >> SECTORS_PER_BIT_SHIFT,
        (new - 1) >> SECTORS_PER_BIT_SHIFT,
    ))
}

/// Words that so many bits need.
pub const fn words_for_bits(bits: u64) -> u64 {
    bits.div_ceil(BITS_PER_WORD)
}

/// The bits of one word that lie between `first` and `last`, counted from the word's own bit 0.
fn mask(word: u64, first: u64, last: u64) -> u64 {
    let base = word.saturating_mul(BITS_PER_WORD);
    let low = first.saturating_sub(base).min(BITS_PER_WORD);
    let behind = last
        .saturating_add(1)
        .saturating_sub(base)
        .min(BITS_PER_WORD);
    ones(behind) & !ones(low)
}

/// The lowest `count` bits, at most 64.
fn ones(count: u64) -> u64 {
    match 1u64.checked_shl(u32::try_from(count).unwrap_or(u32::MAX)) {
        Some(bit) => bit.wrapping_sub(1),
        None => u64::MAX,
    }
}

/// Calls `change` for each word that holds a part of the range, with the bits concerned.
fn for_words(words: &mut [u64], first: u64, last: u64, mut change: impl FnMut(&mut u64, u64)) {
    if first > last {
        return;
    }
    let from = first / BITS_PER_WORD;
    let to = last / BITS_PER_WORD;
    let skip = usize::try_from(from).unwrap_or(usize::MAX);
    for (word, index) in words.iter_mut().skip(skip).zip(from..=to) {
        change(word, mask(index, first, last));
    }
}

/// Sets bits `first` to `last`; returns how many were clear.
pub fn set_range(words: &mut [u64], first: u64, last: u64) -> u64 {
    let mut changed = 0u64;
    for_words(words, first, last, |word, mask| {
        changed = changed.saturating_add(u64::from((!*word & mask).count_ones()));
        *word |= mask;
    });
    changed
}

/// Clears bits `first` to `last`; returns how many were set.
pub fn clear_range(words: &mut [u64], first: u64, last: u64) -> u64 {
    let mut changed = 0u64;
    for_words(words, first, last, |word, mask| {
        changed = changed.saturating_add(u64::from((*word & mask).count_ones()));
        *word &= !mask;
    });
    changed
}

/// Set bits.
pub fn count(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum: u64, word| {
        sum.wrapping_add(u64::from(word.count_ones()))
    })
}

/// Set bits from `first` to `last`.
pub fn count_range(words: &[u64], first: u64, last: u64) -> u64 {
    if first > last {
        return 0;
    }
    let from = first / BITS_PER_WORD;
    let to = last / BITS_PER_WORD;
    let skip = usize::try_from(from).unwrap_or(usize::MAX);
    words
        .iter()
        .skip(skip)
        .zip(from..=to)
        .map(|(word, index)| u64::from((word & mask(index, first, last)).count_ones()))
        .fold(0, u64::wrapping_add)
}

/// Whether a bit is set.
pub fn is_set(words: &[u64], bit: u64) -> bool {
    let word = usize::try_from(bit / BITS_PER_WORD)
        .ok()
        .and_then(|index| words.get(index));
    word.is_some_and(|word| (word >> (bit % BITS_PER_WORD)) & 1 != 0)
}

/// The first set bit from `from` on, below `bits`.
pub fn find_set(words: &[u64], from: u64, bits: u64) -> Option<u64> {
    find(words, from, bits, |word| word)
}

/// The first clear bit from `from` on, below `bits`.
pub fn find_clear(words: &[u64], from: u64, bits: u64) -> Option<u64> {
    find(words, from, bits, |word| !word)
}

/// Whether some bit from `first` to `last` is set.
pub fn any_set(words: &[u64], first: u64, last: u64) -> bool {
    find_set(words, first, last.saturating_add(1)).is_some()
}

/// Whether some bit from `first` to `last` is clear.
pub fn any_clear(words: &[u64], first: u64, last: u64) -> bool {
    find_clear(words, first, last.saturating_add(1)).is_some()
}

/// Does not look behind `bits`, because the bitmap may be large, and locked.
fn find(words: &[u64], from: u64, bits: u64, mut view: impl FnMut(u64) -> u64) -> Option<u64> {
    let first = from / BITS_PER_WORD;
    let last = bits.checked_sub(1)? / BITS_PER_WORD;
    let skip = usize::try_from(first).ok()?;
    for (word, index) in words.iter().skip(skip).zip(first..=last) {
        let found = view(*word) & mask(index, from, u64::MAX);
        if found != 0 {
            let bit = index
                .checked_mul(BITS_PER_WORD)?
                .checked_add(u64::from(found.trailing_zeros()))?;
            return (bit < bits).then_some(bit);
        }
    }
    None
}

/// Clears everything from bit `bits` on: what lies behind the end of the device is never out of sync.
pub fn trim(words: &mut [u64], bits: u64) {
    clear_range(words, bits, u64::MAX);
}

/// Words from an image of a disk; where the image is too short, the rest becomes 0.
pub fn words_from_page(page: &[u8], words: &mut [u64]) {
    let mut bytes = page.chunks(8);
    for word in words {
        let mut raw = [0; 8];
        for (to, from) in raw.iter_mut().zip(bytes.next().unwrap_or(&[])) {
            *to = *from;
        }
        *word = u64::from_le_bytes(raw);
    }
}

/// The image of words; where there are too few, the rest becomes 0.
pub fn words_to_page(words: &[u64], page: &mut [u8]) {
    let mut words = words.iter();
    for chunk in page.chunks_mut(8) {
        let raw = words.next().copied().unwrap_or(0).to_le_bytes();
        for (to, from) in chunk.iter_mut().zip(raw) {
            *to = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same operations on a list of booleans, checked against each other over all ranges of a small bitmap.
    #[test]
    fn ranges_agree_with_a_list_of_booleans() {
        for first in 0..200 {
            for last in (0..200).step_by(7) {
                let mut words = [0x5555_5555_5555_5555u64, u64::MAX, 0];
                let mut list: Vec<bool> = (0..192).map(|bit| is_set(&words, bit)).collect();
                let range = |list: &[bool]| {
                    (first..=last)
                        .take_while(|&b| b < list.len())
                        .collect::<Vec<_>>()
                };
                let wanted = range(&list).iter().filter(|&&bit| !list[bit]).count();
                assert_eq!(
                    set_range(&mut words, first as u64, last as u64),
                    wanted as u64
                );
                range(&list).iter().for_each(|&bit| list[bit] = true);
                assert_eq!(
                    (0..192).map(|bit| is_set(&words, bit)).collect::<Vec<_>>(),
                    list
                );
                assert_eq!(
                    count(&words),
                    list.iter().filter(|set| **set).count() as u64
                );
                let set = range(&list).len() as u64;
                assert_eq!(count_range(&words, first as u64, last as u64), set);
                assert_eq!(clear_range(&mut words, first as u64, last as u64), set);
                range(&list).iter().for_each(|&bit| list[bit] = false);
                assert_eq!(
                    (0..192).map(|bit| is_set(&words, bit)).collect::<Vec<_>>(),
                    list
                );
                let next = (first..192).find(|&bit| list[bit]).map(|bit| bit as u64);
                assert_eq!(find_set(&words, first as u64, 192), next);
                let clear = (first..192).find(|&bit| !list[bit]).map(|bit| bit as u64);
                assert_eq!(find_clear(&words, first as u64, 192), clear);
            }
        }
    }

    #[test]
    fn a_search_ends_where_it_shall() {
        let mut words = [0; 1000];
        words[999] = 1;
        let looked_at = |from, bits| {
            let mut looked_at = 0;
            let view = |word: u64| {
                looked_at += 1;
                word
            };
            let found = find(&words, from, bits, view);
            (found, looked_at)
        };
        assert_eq!(looked_at(70, 71), (None, 1));
        assert_eq!(looked_at(70, 192), (None, 2));
        assert_eq!(looked_at(70, 193), (None, 3));
        assert_eq!(looked_at(70, 70), (None, 1));
        assert_eq!(looked_at(70, 0), (None, 0));
        assert_eq!(looked_at(999 * 64, u64::MAX), (Some(999 * 64), 1));
        assert!(any_set(&words, 5, 999 * 64) && !any_set(&words, 5, 999 * 64 - 1));
        assert!(any_clear(&words, 999 * 64, 999 * 64 + 1));
        assert!(!any_clear(&words, 999 * 64, 999 * 64));
        assert!(any_set(&words, 0, u64::MAX));
    }

    #[test]
    fn ends_of_the_device_and_of_the_image() {
        let mut words = [u64::MAX; 3];
        trim(&mut words, 70);
        assert_eq!(words, [u64::MAX, 0x3f, 0]);
        assert_eq!(find_set(&words, 65, 66), Some(65));
        assert_eq!(find_set(&words, 66, 66), None);
        assert_eq!(set_range(&mut words, 190, u64::MAX), 2);
        let mut page = [9; 20];
        words_to_page(&[1, 2], &mut page);
        assert_eq!(
            page,
            [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        words_from_page(&page[..9], &mut words);
        assert_eq!(words, [1, 2, 0]);
        assert_eq!(
            (
                bits_for_sectors(0),
                bits_for_sectors(8),
                bits_for_sectors(9)
            ),
            (0, 1, 2)
        );
        assert_eq!(words_for_bits(65), 2);
    }

    #[test]
    fn a_block_that_gets_more_sectors_is_a_grown_one() {
        assert_eq!(grown_blocks(16, 24), Some((2, 2)));
        assert_eq!(grown_blocks(0, 25), Some((0, 3)));
        assert_eq!(grown_blocks(17, 24), Some((2, 2)));
        assert_eq!(grown_blocks(17, 33), Some((2, 4)));
        assert_eq!(grown_blocks(17, 17), None);
        assert_eq!(grown_blocks(17, 9), None);
    }
}
