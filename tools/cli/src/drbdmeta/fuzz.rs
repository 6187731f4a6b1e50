// SPDX-License-Identifier: GPL-2.0-only

//! Any 4 KiB where a superblock or a block of the log should be: a diagnosis, never a panic. `make fuzz` makes it ten
//! million of them.

use drbd_core::meta::log::TRANSACTION_BYTES;
use drbd_core::meta::{Layout, Superblock, SUPERBLOCK_BYTES};
use drbd_fuzz::corpus::{template, Corpus};
use drbd_fuzz::{damage, rounds, Random};
use std::collections::BTreeSet;

use super::apply::replay;
use super::damage::{examine, tests::places, Block, Place};
use super::v09::Block09;

/// The fields of v08 end before this; those of v09 long before the end of the block.
const FIELDS: usize = 128;
/// The magic number's place, and the numbers that make a block one of v07, v08, unclean v08, v09 and the log.
const MAGIC_AT: usize = 60;
const MAGICS: [u32; 4] = [0x8374_026a, 0x8374_026b, 0x8374_026c, 0x8374_026d];
const LOG_MAGIC: u32 = 0x69cb_65a2;

/// A block: a sound one with its fields damaged, random bytes, or random bytes that pretend to be something.
fn garbage(sound: &Block, random: &mut Random) -> Block {
    let mut block = *sound;
    let kind = random.below(8);
    if kind < 5 {
        for _ in 0..=random.below(4) {
            let mut fields = block[..FIELDS].to_vec();
            damage(&mut fields, random);
            fields.resize(FIELDS, 0);
            block[..FIELDS].copy_from_slice(&fields);
        }
        return block;
    }
    let from = random.bits();
    for (number, word) in block.chunks_exact_mut(8).enumerate() {
        // Cheaper than a draw for each word, and no less arbitrary.
        let bits = from.wrapping_mul(number as u64 | 1).rotate_left(17) ^ from;
        word.copy_from_slice(&bits.to_le_bytes());
    }
    let mut pretend = |at: usize, magic: u32| {
        block[at..at + 4].copy_from_slice(&magic.to_be_bytes());
    };
    match kind {
        5 => {}
        6 => pretend(MAGIC_AT, MAGICS[random.below(MAGICS.len())]),
        _ => pretend(0, LOG_MAGIC),
    }
    block
}

/// What `check` and `repair` make of it, on a device like the one that the block was made for.
fn examined(block: &Block, place: Place) {
    let witness = |_: &Layout, shape: (u32, u32)| shape.0 % 2 == 1;
    let diagnosis = examine(block, place, &witness);
    let accepted = Superblock::read(block).and_then(|(superblock, _)| {
        Layout::of(
            &superblock,
            place.index,
            place.data_sectors,
            place.meta_sectors,
        )
    });
    let Some(diagnosis) = diagnosis else {
        assert!(accepted.is_err(), "attached, but not understood: {place:?}");
        return;
    };
    for finding in &diagnosis.findings {
        assert!(finding.at < SUPERBLOCK_BYTES && !finding.text.is_empty());
    }
    // What is mended stays mended, and can be attached unless something is left that cannot be.
    let again = examine(&diagnosis.mended, place, &witness).expect("it was understood before");
    assert!(
        again.findings.iter().all(|finding| !finding.mended),
        "{:?}\nthen\n{:?}",
        diagnosis.findings,
        again.findings
    );
}

#[test]
fn any_block_is_diagnosed() {
    let sound = places();
    let mut random = Random::new(8);
    for _ in 0..rounds(20_000) {
        let (place, good) = &sound[random.below(sound.len())];
        let block = garbage(good, &mut random);
        examined(&block, *place);
        if let Some(nine) = Block09::parse(&block) {
            assert!(nine.explained().contains("v09"));
        }
        let bad = replay(&block[..TRANSACTION_BYTES], 1, 1).bad();
        assert!(bad <= 1);
    }
}

/// A sound block with bytes changed: which one of `places`, then place (two bytes) and value of each change.
fn changed(sound: &[(Place, Block)], input: &[u8]) -> (Place, Block) {
    let (which, changes) = input.split_first().unwrap_or((&0, &[]));
    let (place, mut block) = sound[usize::from(*which) % sound.len()];
    for change in changes.chunks_exact(3) {
        let at = usize::from(change[0]) << 8 | usize::from(change[1]);
        block[at % block.len()] = change[2];
    }
    (place, block)
}

/// What `check` says about it, and why it could not be attached.
fn said(sound: &[(Place, Block)], input: &[u8]) -> BTreeSet<String> {
    let (place, block) = changed(sound, input);
    examined(&block, place);
    let mut all = BTreeSet::new();
    if let Some(diagnosis) = examine(&block, place, &|_, shape| shape.0 % 2 == 1) {
        for finding in diagnosis.findings {
            let mended = if finding.mended { "mended" } else { "told" };
            all.insert(format!(
                "{mended} {}: {}",
                finding.field,
                template(&finding.text)
            ));
        }
    }
    if let Err(error) = Superblock::parse(&block) {
        all.insert(template(&format!("refused: {error:?}")));
    }
    if Block09::parse(&block).is_some() {
        all.insert("v09".to_owned());
    }
    all
}

#[test]
fn corpus_of_superblocks() {
    let sound = places();
    let draw = |random: &mut Random| {
        let mut input = vec![random.below(sound.len()) as u8];
        for _ in 0..=random.below(3) {
            // A field of up to eight bytes: at the edge, or anything; or one that says another version.
            let at = random.below(FIELDS / 4) * 4;
            let kind = random.below(6);
            let value = match kind {
                0 => 0,
                1 => u64::MAX,
                2 => 1 << random.below(64),
                _ => random.bits(),
            };
            let (at, value) = if kind == 5 {
                let magic = MAGICS[random.below(MAGICS.len())];
                (MAGIC_AT, u64::from(magic) << 32)
            } else {
                (at, value)
            };
            let width = if kind == 5 {
                4
            } else {
                [1, 2, 4, 8][random.below(4)]
            };
            for (offset, byte) in value.to_be_bytes()[..width].iter().enumerate() {
                input.extend([0, (at + offset) as u8, *byte]);
            }
        }
        input
    };
    Corpus::open("drbdmeta").replay(20, draw, |input| said(&sound, input));
}
