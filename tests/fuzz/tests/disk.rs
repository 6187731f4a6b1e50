// SPDX-License-Identifier: GPL-2.0-only

//! A disk that says anything: superblocks and activity log blocks.

use drbd_core::{
    meta::{layout::Layout, Flags, Superblock},
    types::Uuid,
    uuid::Set,
};
use drbd_fuzz::{damage, rounds, Random};

const SIZE: usize = 4096;
/// The fields end here; what follows is zero.
const FIELDS: usize = 96;
const SECTORS: u64 = 0x40000;

fn valid() -> Superblock {
    let mut flags = Flags::CONSISTENT;
    flags.insert(Flags::AL_CLEAN);
    let layout = Layout::new(-1, SECTORS, SECTORS, 1, 8).expect("a disk of 128 MiB");
    Superblock {
        effective_size: layout.max_capacity,
        uuids: Set {
            current: Uuid(0x1122_3344_5566_7788),
            bitmap: Uuid(0x99aa_bbcc_ddee_ff00),
            history: [Uuid(0x0123_4567_89ab_cdee), Uuid(0x0fed_cba9_8765_4320)],
        },
        device_uuid: 0x1357_9bdf_0246_8ace,
        flags,
        md_size_sect: layout.md_size_sect,
        al_offset: layout.al_offset,
        al_nr_extents: 1237,
        bm_offset: layout.bm_offset,
        bm_bytes_per_bit: 4096,
        open_resync: Uuid::ZERO,
        la_peer_max_bio_size: 1 << 20,
        al_stripes: 1,
        al_stripe_size_4k: 8,
    }
}

fn block(superblock: &Superblock) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    superblock.emit_clean(&mut bytes);
    bytes
}

#[test]
fn every_flipped_bit_of_a_superblock_is_seen() {
    let good = valid();
    let bytes = block(&good);
    assert_eq!(Superblock::parse(&bytes), Ok(good));
    // The reserved field is ignored by every reader.
    let reserved = 48..56;
    for at in (0..FIELDS).filter(|at| !reserved.contains(at)) {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            assert_ne!(
                Superblock::parse(&bytes),
                Ok(good),
                "bit {bit} of byte {at}"
            );
        }
    }
}

#[test]
fn damaged_superblocks_end_in_a_name_or_in_a_layout() {
    let mut random = Random::new(4);
    let good = block(&valid());
    for _ in 0..rounds(20_000) {
        let mut bytes = good.clone();
        for _ in 0..=random.below(3) {
            let mut fields = bytes[..FIELDS].to_vec();
            damage(&mut fields, &mut random);
            fields.resize(FIELDS, 0);
            bytes[..FIELDS].copy_from_slice(&fields);
        }
        let Ok(superblock) = Superblock::parse(&bytes) else {
            continue;
        };
        for index in [-3, -2, -1, 0, 7, i32::MAX] {
            for sectors in [0, 8, 2048, SECTORS, u64::MAX] {
                let Ok(layout) = Layout::of(&superblock, index, sectors, sectors) else {
                    continue;
                };
                assert!(layout.max_capacity <= sectors || index >= 0 || index == -2);
            }
        }
    }
}

#[test]
fn random_blocks_and_short_ones() {
    let mut random = Random::new(5);
    for _ in 0..rounds(3000) {
        let len = random.below(SIZE + 1);
        let mut bytes = random.bytes(len);
        let _ = Superblock::read(&bytes);
        let _ = drbd_core::meta::log::Transaction::parse(&bytes);
        if let Some(magic) = bytes.get_mut(..4) {
            magic.copy_from_slice(&[0x69, 0xcb, 0x65, 0xa2]);
        }
        let _ = drbd_core::meta::log::Transaction::parse(&bytes);
    }
}
