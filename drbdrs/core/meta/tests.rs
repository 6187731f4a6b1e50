// SPDX-License-Identifier: GPL-2.0-only

//! Metadata against the numbers that the stock drbdmeta printed, and against damage.

use super::layout::{bitmap_sectors, superblock_sector, INDEX_FLEX_EXTERNAL, INDEX_FLEX_INTERNAL};
use super::log::{block_of, emit, emit_initial, Bad, Transaction, FREE, TRANSACTION_BYTES};
use super::*;
use crate::types::Uuid;
use crate::types::UuidSet as Set;

/// A 64 MiB device as the stock drbdmeta lays it out (`dump-md`: offsets 67104768, 67072000, 67067904, size 80).
const SECTORS: u64 = 131_072;

pub(super) fn fresh() -> (Superblock, Layout) {
    let layout = Layout::new(INDEX_FLEX_INTERNAL, SECTORS, SECTORS, 1, 8).unwrap();
    let superblock = Superblock {
        effective_size: 0,
        uuids: Set::from_array([Uuid(4), Uuid(0), Uuid(0), Uuid(0)]),
        device_uuid: 0,
        flags: Flags::default(),
        md_size_sect: layout.md_size_sect,
        al_offset: layout.al_offset,
        al_nr_extents: 257,
        bm_offset: layout.bm_offset,
        bm_bytes_per_bit: 4096,
        open_resync: Uuid::ZERO,
        la_peer_max_bio_size: 0,
        al_stripes: 1,
        al_stripe_size_4k: 8,
    };
    (superblock, layout)
}

#[test]
fn internal_layout_is_the_stock_tools() {
    let (_, layout) = fresh();
    assert_eq!(layout.superblock_sector * 512, 67_104_768);
    assert_eq!(layout.al_sector * 512, 67_072_000);
    assert_eq!(layout.bitmap_sector * 512, 67_067_904);
    assert_eq!((layout.md_size_sect, layout.bitmap_sectors), (80, 8));
    assert_eq!(layout.max_capacity, layout.bitmap_sector);
    // The stock driver with a disk of 16 MiB: a device of 16344 KiB.
    let small = Layout::new(INDEX_FLEX_INTERNAL, 32_768, 32_768, 1, 8).unwrap();
    assert_eq!(small.max_capacity, 2 * 16_344);
}

#[test]
fn external_layouts() {
    let flexible = Layout::new(INDEX_FLEX_EXTERNAL, 1 << 21, 2048, 1, 8).unwrap();
    assert_eq!(
        (
            flexible.superblock_sector,
            flexible.al_sector,
            flexible.bitmap_sector
        ),
        (0, 8, 72)
    );
    assert_eq!(
        (flexible.bitmap_sectors, flexible.max_capacity),
        (1976, 1 << 21)
    );
    let indexed = Layout::new(2, 1 << 21, 3 << 18, 1, 8).unwrap();
    assert_eq!(
        (indexed.superblock_sector, indexed.bitmap_sector),
        (2 << 18, (2 << 18) + 72)
    );
    assert_eq!(Layout::new(3, 1 << 21, 3 << 18, 1, 8), None);
    assert_eq!(superblock_sector(INDEX_FLEX_INTERNAL, 7), None);
    assert_eq!(bitmap_sectors(1), 8);
}

#[test]
fn a_superblock_there_and_back() {
    let (mut superblock, layout) = fresh();
    superblock.flags.insert(Flags::CONSISTENT);
    superblock.uuids = Set::from_array([Uuid(1), Uuid(2), Uuid(3), Uuid(4)]);
    let mut bytes = [0xff; SUPERBLOCK_BYTES];
    superblock.emit_clean(&mut bytes);
    assert_eq!(bytes[60..64], [0x83, 0x74, 0x02, 0x6b]);
    assert_eq!(bytes[96..], [0; SUPERBLOCK_BYTES - 96]);
    let read = Superblock::parse(&bytes).unwrap();
    assert!(read.flags.contains(Flags::AL_CLEAN));
    assert_eq!(read.uuids, superblock.uuids);
    assert_eq!(
        Layout::of(&read, INDEX_FLEX_INTERNAL, SECTORS, SECTORS),
        Ok(layout)
    );
    layout.check(&read).unwrap();

    superblock.emit_unclean(&mut bytes);
    assert_eq!(bytes[60..64], [0x83, 0x74, 0x02, 0x6c]);
    assert_eq!(Superblock::parse(&bytes), Err(Why::Unclean));
    assert_eq!(Why::Unclean.code().to_wire(), 165);
    assert_eq!(
        Superblock::read(&bytes),
        Ok((superblock, Cleanness::Unclean))
    );
    // Clean magic without the flag: an older driver's.
    superblock.emit_clean(&mut bytes);
    bytes[59] &= !0x80;
    assert_eq!(Superblock::parse(&bytes), Err(Why::Unclean));
    bytes[63] = 0x6d;
    assert_eq!(Superblock::parse(&bytes), Err(Why::NewMagic));
    assert_eq!(Superblock::parse(&bytes[1..]), Err(Why::TooShort));
}

#[test]
fn every_offset_that_lies_is_refused() {
    let (good, _) = fresh();
    let damages: [fn(&mut Superblock); 8] = [
        |s| s.al_offset += 8,
        |s| s.al_offset = 8,
        |s| s.bm_offset += 1,
        |s| s.bm_offset = 8,
        |s| s.md_size_sect = u32::MAX,
        |s| s.al_stripes = 0,
        |s| s.al_stripe_size_4k = u32::MAX,
        |s| s.effective_size = 8 * 32_768 + 1,
    ];
    for (number, damage) in damages.iter().enumerate() {
        let mut bad = good;
        damage(&mut bad);
        let layout = Layout::of(&bad, INDEX_FLEX_INTERNAL, SECTORS, SECTORS);
        assert!(layout.is_err(), "damage {number}: {layout:?}");
    }
    assert_eq!(
        Layout::of(&good, INDEX_FLEX_INTERNAL, SECTORS, 64),
        Err(Why::Offsets("al_offset"))
    );
    assert!(Layout::of(&good, INDEX_FLEX_EXTERNAL, SECTORS, SECTORS).is_err());
}

#[test]
fn any_block_is_read_without_harm() {
    let (good, _) = fresh();
    let mut state = 7u64;
    let mut bytes = [0; SUPERBLOCK_BYTES];
    for round in 0..20_000u32 {
        good.emit_clean(&mut bytes);
        for _ in 0..=round % 5 {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            bytes[(state >> 33) as usize % 100] = (state >> 25) as u8;
        }
        if let Ok((superblock, _)) = Superblock::read(&bytes) {
            for index in [INDEX_FLEX_INTERNAL, INDEX_FLEX_EXTERNAL, 0, 1, i32::MAX] {
                if let Ok(layout) = Layout::of(&superblock, index, SECTORS, SECTORS) {
                    assert!(layout.bitmap_sector + layout.bitmap_sectors <= SECTORS);
                    assert!(layout.al_sector < SECTORS && layout.superblock_sector < SECTORS);
                }
            }
        }
        let _ = Transaction::parse(&bytes).map(|t| (t.updates().count(), t.context().count()));
    }
}

#[test]
fn the_ring_of_transactions() {
    // One stripe: in order. Two stripes of 4: alternating.
    assert_eq!(
        (0..9).map(|n| block_of(n, 1, 8)).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4, 5, 6, 7, 0]
    );
    assert_eq!(
        (0..9).map(|n| block_of(n, 2, 4)).collect::<Vec<_>>(),
        [0, 4, 1, 5, 2, 6, 3, 7, 0]
    );
    assert_eq!(block_of(5, 0, 0), 0);
    let mut bytes = [0; TRANSACTION_BYTES];
    emit(
        &mut bytes,
        41,
        [(3, 77), (1000, FREE)].into_iter(),
        1237,
        919,
        100..200,
    );
    let transaction = Transaction::parse(&bytes).unwrap();
    assert_eq!((transaction.number(), transaction.slots()), (41, 1237));
    assert_eq!(
        transaction.updates().collect::<Vec<_>>(),
        [(3, 77), (1000, FREE)]
    );
    let context: Vec<_> = transaction.context().collect();
    assert_eq!(
        (context.len(), context[0], context[99]),
        (318, (919, 100), (1018, 199))
    );
    assert_eq!(context[100], (1019, FREE));
    assert_eq!(bytes[0..4], [0x69, 0xcb, 0x65, 0xa2]);
    for at in [4, 8, 13, 100, 4000] {
        let mut torn = bytes;
        torn[at] ^= 1;
        assert_eq!(
            Transaction::parse(&torn).unwrap_err(),
            Bad::Checksum,
            "{at}"
        );
    }
    emit_initial(&mut bytes);
    assert!(Transaction::parse(&bytes).unwrap().is_initial());
    assert_eq!(
        Transaction::parse(&[0; TRANSACTION_BYTES]).unwrap_err(),
        Bad::Foreign
    );
    assert_eq!(Transaction::parse(&bytes[1..]).unwrap_err(), Bad::Foreign);
}

/// The last 40 KiB of a disk whose primary lost power, and the same after the stock tool's `apply-al`.
const CRASHED: &[u8] = include_bytes!("../../../tests/golden/metadata/crashed-primary.bin");
const APPLIED: &[u8] = include_bytes!("../../../tests/golden/metadata/crashed-primary-applied.bin");

#[test]
fn what_the_stock_driver_wrote_is_read_and_written_back() {
    let (superblock, cleanness) = Superblock::read(&CRASHED[9 * 4096..]).unwrap();
    assert_eq!(cleanness, Cleanness::Unclean);
    assert_eq!(superblock.effective_size, 2 * 32_728);
    let layout = Layout::of(&superblock, INDEX_FLEX_INTERNAL, 65_536, 65_536).unwrap();
    assert_eq!(layout.bitmap_sector, 65_536 - 80);
    let mut bytes = [0; SUPERBLOCK_BYTES];
    superblock.emit_unclean(&mut bytes);
    assert_eq!(bytes, CRASHED[9 * 4096..]);
    superblock.emit_clean(&mut bytes);
    assert_eq!(bytes, APPLIED[9 * 4096..]);

    let mut numbers = Vec::new();
    for block in CRASHED[4096..9 * 4096].chunks(TRANSACTION_BYTES) {
        let transaction = Transaction::parse(block).unwrap();
        numbers.push((
            transaction.number(),
            transaction.updates().collect::<Vec<_>>(),
        ));
        let mut again = [0; TRANSACTION_BYTES];
        let first = transaction.context().next().unwrap().0;
        emit(
            &mut again,
            transaction.number(),
            transaction.updates(),
            transaction.slots(),
            first,
            transaction.context().map(|(_, extent)| extent),
        );
        assert_eq!(again, block);
    }
    assert_eq!(
        numbers[..4],
        [
            (8, vec![(1236, 0)]),
            (9, vec![(1235, 5)]),
            (10, vec![(1234, 2)]),
            (11, vec![(1233, 7)]),
        ]
    );
    for (number, _) in &numbers {
        assert_eq!(numbers[block_of(*number, 1, 8) as usize].0, *number);
    }
    let mut initial = [0; TRANSACTION_BYTES];
    emit_initial(&mut initial);
    assert_eq!(initial, APPLIED[4096..2 * 4096]);
}
