// SPDX-License-Identifier: GPL-2.0-only

//! What is wrong with a superblock, field by field, and what can be computed anew.
//!
//! A superblock has no checksum. But where log and bitmap are follows from the device and from the shape of the log,
//! five fields say so in three ways, and what is reserved is zero. So the shape that most of the fields agree with is
//! taken for the true one; a field that contradicts it is named, and mended. Nothing vouches for identifiers and
//! agreed size: only impossible values are found, and not mended.

use drbd_core::meta::layout::{is_internal, INDEX_FLEX_EXTERNAL};
use drbd_core::meta::log::CONTEXT;
use drbd_core::meta::superblock::BYTES_PER_BIT;
use drbd_core::meta::{Flags, Layout, Superblock, Why, SUPERBLOCK_BYTES};

/// A superblock as it is on disk.
pub type Block = [u8; SUPERBLOCK_BYTES];

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The field's name.
    pub field: &'static str,
    /// Its place in the superblock, in bytes.
    pub at: usize,
    /// What is wrong.
    pub text: String,
    /// Whether the true value is known.
    pub mended: bool,
}

/// All that is known of a superblock.
pub struct Diagnosis {
    /// What is wrong, in the order of the disk.
    pub findings: Vec<Finding>,
    /// The superblock with everything mended that can be.
    pub mended: Block,
    /// Where log and bitmap are.
    pub layout: Layout,
    /// Stripes of the log, and blocks of 4 KiB in each.
    pub shape: (u32, u32),
}

const FLAGS_AT: usize = 56;
const MAGIC_AT: usize = 60;
const BYTES_PER_BIT_AT: usize = 80;
const KNOWN_FLAGS: u32 = 0x1ff;
/// The driver's limits of `al-extents`; what drbdmeta creates is within them.
const EXTENTS: std::ops::RangeInclusive<u32> = 7..=65_534;
const MAX_BIO_SIZE: u32 = 1 << 20;

fn u32_at(block: &Block, at: usize) -> u32 {
    block[at..]
        .first_chunk()
        .map_or(0, |word| u32::from_be_bytes(*word))
}

fn u64_at(block: &Block, at: usize) -> u64 {
    block[at..]
        .first_chunk()
        .map_or(0, |word| u64::from_be_bytes(*word))
}

fn put(block: &mut Block, at: usize, value: u32) {
    block[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// The device that a superblock was found on.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// `meta_dev_idx`
    pub index: i32,
    /// Size of the data device, as far as it is known.
    pub data_sectors: u64,
    /// Size of the metadata device.
    pub meta_sectors: u64,
}

/// The fields that say where things are: at, name, value.
type Geometry = [(usize, &'static str, u32); 5];

fn geometry(layout: &Layout, shape: (u32, u32)) -> Geometry {
    let bits = |offset: i32| u32::from_ne_bytes(offset.to_ne_bytes());
    [
        (64, "md_size_sect", layout.md_size_sect),
        (68, "al_offset", bits(layout.al_offset)),
        (76, "bm_offset", bits(layout.bm_offset)),
        (88, "al_stripes", shape.0),
        (92, "al_stripe_size_4k", shape.1),
    ]
}

/// The shape of every log that was written before there were stripes; both fields are zero then.
const UNSTRIPED: (u32, u32) = (1, 8);

/// Whether a field says what it should with that shape.
fn says(block: &Block, at: usize, value: u32, shape: (u32, u32)) -> bool {
    let before_stripes = u32_at(block, 88) == 0 && u32_at(block, 92) == 0;
    u32_at(block, at) == value || (at >= 88 && before_stripes && shape == UNSTRIPED)
}

/// The shape of the log that most fields agree with; `witness` says whether the log itself speaks for a shape.
fn shape_of(
    block: &Block,
    place: Place,
    witness: &dyn Fn(&Layout, (u32, u32)) -> bool,
) -> Option<(Layout, (u32, u32))> {
    let sectors = |at| i32::from_ne_bytes(u32_at(block, at).to_ne_bytes()).unsigned_abs();
    let (stripes, size) = match (u32_at(block, 88), u32_at(block, 92)) {
        (0, 0) => UNSTRIPED,
        shape => shape,
    };
    let mut blocks = vec![8, stripes.saturating_mul(size)];
    blocks.push(if is_internal(place.index) {
        sectors(68) / 8
    } else {
        (sectors(76) / 8).saturating_sub(1)
    });
    let mut shapes = vec![(1, 8), (stripes, size)];
    for blocks in blocks {
        shapes.extend([
            (1, blocks),
            (stripes, blocks.checked_div(stripes).unwrap_or(0)),
            (blocks.checked_div(size).unwrap_or(0), size),
        ]);
    }
    let scored = shapes.into_iter().filter_map(|shape| {
        let layout = Layout::new(
            place.index,
            place.data_sectors,
            place.meta_sectors,
            shape.0,
            shape.1,
        )?;
        let agreed = geometry(&layout, shape)
            .iter()
            .filter(|(at, _, value)| says(block, *at, *value, shape))
            .count();
        Some((agreed, witness(&layout, shape), layout, shape))
    });
    // Of equals the first: the shape that everything is created with unless asked otherwise.
    let best = scored.reduce(|best, other| {
        if (other.0, other.1) > (best.0, best.1) {
            other
        } else {
            best
        }
    })?;
    let (agreed, _, layout, shape) = best;
    (agreed >= 3).then_some((layout, shape))
}

/// What the superblock's magic number says, other fields aside.
fn magic_of(block: &Block) -> Result<(), Why> {
    let mut copy = *block;
    put(&mut copy, BYTES_PER_BIT_AT, BYTES_PER_BIT);
    Superblock::read(&copy).map(|_| ())
}

/// The magic number of metadata whose log has to be applied.
fn unclean_magic(block: &Block) -> u32 {
    let mut copy = *block;
    put(&mut copy, BYTES_PER_BIT_AT, BYTES_PER_BIT);
    let template = Superblock {
        effective_size: 0,
        uuids: drbd_core::uuid::Set::from_array([drbd_core::types::Uuid::ZERO; 4]),
        device_uuid: 0,
        flags: Flags::default(),
        md_size_sect: 0,
        al_offset: 0,
        al_nr_extents: 0,
        bm_offset: 0,
        bm_bytes_per_bit: BYTES_PER_BIT,
        open_resync: drbd_core::types::Uuid::ZERO,
        la_peer_max_bio_size: 0,
        al_stripes: 0,
        al_stripe_size_4k: 0,
    };
    template.emit_unclean(&mut copy);
    u32_at(&copy, MAGIC_AT)
}

/// Most extents that a log of that shape can tell of: one block may be torn, each of the others has so many numbers.
fn extents_max(shape: (u32, u32)) -> u32 {
    const PER_BLOCK: u32 = CONTEXT as u32;
    let blocks = shape.0.saturating_mul(shape.1);
    blocks.saturating_sub(1).saturating_mul(PER_BLOCK)
}

/// Examines a superblock. None: it is none, as far as can be told.
pub fn examine(
    block: &Block,
    place: Place,
    witness: &dyn Fn(&Layout, (u32, u32)) -> bool,
) -> Option<Diagnosis> {
    let magic = magic_of(block);
    if magic == Err(Why::NewMagic) {
        return None;
    }
    let (layout, shape) = shape_of(block, place, witness)?;
    let mut diagnosis = Diagnosis {
        findings: Vec::new(),
        mended: *block,
        layout,
        shape,
    };
    diagnosis.sizes_and_identifiers(block);
    diagnosis.words(block, magic.is_ok(), place);
    diagnosis.zeroes(block);
    diagnosis.findings.sort_by_key(|finding| finding.at);
    Some(diagnosis)
}

impl Diagnosis {
    fn report(&mut self, field: &'static str, at: usize, text: String) {
        self.findings.push(Finding {
            field,
            at,
            text,
            mended: false,
        });
    }

    fn mend(&mut self, field: &'static str, at: usize, value: u32, text: String) {
        put(&mut self.mended, at, value);
        self.findings.push(Finding {
            field,
            at,
            text,
            mended: true,
        });
    }

    fn sizes_and_identifiers(&mut self, block: &Block) {
        let size = u64_at(block, 0);
        if size > self.layout.max_capacity {
            let room = self.layout.max_capacity;
            self.report(
                "la_size_sect",
                0,
                format!("{size} sectors were agreed upon, the metadata has room for {room}; if the disk shrank, create-md and a full sync are needed"),
            );
        }
        // A generation that left a resync behind has put what it left into the older one.
        if u64_at(block, 24) == 0 && u64_at(block, 32) != 0 && u64_at(block, 16) == 0 {
            let text = "the older one is set, the younger one is zero; copy them from the peer (get-gi there, set-gi here)";
            self.report("history UUIDs", 24, text.to_owned());
        }
        if size != 0 && u64_at(block, 8) == 0 {
            self.report(
                "current UUID",
                8,
                "zero, though a size was agreed upon with a peer; copy it from the peer (get-gi there, set-gi here) or sync in full".to_owned(),
            );
        }
    }

    fn words(&mut self, block: &Block, magic_known: bool, place: Place) {
        let flags = u32_at(block, FLAGS_AT);
        if flags & !KNOWN_FLAGS != 0 {
            self.mend(
                "flags",
                FLAGS_AT,
                flags & KNOWN_FLAGS,
                format!("0x{flags:08x} has bits that mean nothing"),
            );
        }
        let flags = Flags::from_bits(flags);
        if flags.contains(Flags::WAS_UP_TO_DATE) && !flags.contains(Flags::CONSISTENT) {
            self.report(
                "flags",
                FLAGS_AT,
                "the data was up to date and is not consistent, which cannot be; if in doubt: 'drbdadm invalidate' here and a full sync".to_owned(),
            );
        }
        if !magic_known {
            self.mend(
                "magic",
                MAGIC_AT,
                unclean_magic(block),
                format!(
                    "0x{:08x} is none of v08, everything else is v08; mended as unclean: apply-al comes next",
                    u32_at(block, MAGIC_AT)
                ),
            );
        }
        for (at, name, value) in geometry(&self.layout, self.shape) {
            if says(block, at, value, self.shape) {
                continue;
            }
            let found = u32_at(block, at);
            let mut text = format!("{found} (0x{found:08x}), by the other fields {value}");
            if at == 64 && place.index == INDEX_FLEX_EXTERNAL && found < value {
                text += "; right if the metadata device grew since";
            }
            self.mend(name, at, value, text);
        }
        let extents = u32_at(block, 72);
        if !EXTENTS.contains(&extents) || extents > extents_max(self.shape) {
            self.mend(
                "al_nr_extents",
                72,
                super::create::FRESH_EXTENTS,
                format!("{extents} is not possible; the driver writes the configured number anew"),
            );
        }
        let per_bit = u32_at(block, BYTES_PER_BIT_AT);
        if per_bit != BYTES_PER_BIT {
            self.mend(
                "bm_bytes_per_bit",
                BYTES_PER_BIT_AT,
                BYTES_PER_BIT,
                format!("{per_bit}, is always {BYTES_PER_BIT}"),
            );
        }
        let bio = u32_at(block, 84);
        if bio > MAX_BIO_SIZE || bio % 512 != 0 {
            self.mend(
                "la_peer_max_bio_size",
                84,
                0,
                format!("{bio} is not possible; the peer tells it anew"),
            );
        }
    }

    fn zeroes(&mut self, block: &Block) {
        // The sync UUID of a resync that may be over, as long as the bitmap counts from that.
        let open = (u64_at(block, 48) ^ u64_at(block, 16)) & !1 == 0;
        for (field, from, to) in [
            ("open resync", 48, if open { 48 } else { 56 }),
            ("after the last field", 96, SUPERBLOCK_BYTES),
        ] {
            let Some(at) = (from..to).find(|at| block[*at] != 0) else {
                continue;
            };
            self.mended[from..to].fill(0);
            self.findings.push(Finding {
                field,
                at,
                text: "not zero".to_owned(),
                mended: true,
            });
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use drbd_core::meta::layout::INDEX_FLEX_INTERNAL;

    const INTERNAL: Place = Place {
        index: INDEX_FLEX_INTERNAL,
        data_sectors: 65_536,
        meta_sectors: 65_536,
    };

    fn no_witness(_: &Layout, _: (u32, u32)) -> bool {
        false
    }

    /// The stock driver's, of a disk of 32 MiB.
    fn stock() -> Block {
        let tail = include_bytes!("../../../../tests/golden/metadata/crashed-primary-applied.bin");
        *tail.last_chunk().unwrap()
    }

    fn made(place: Place, shape: (u32, u32)) -> Block {
        let layout = Layout::new(
            place.index,
            place.data_sectors,
            place.meta_sectors,
            shape.0,
            shape.1,
        )
        .unwrap();
        let mut block = stock();
        block[..8].copy_from_slice(&32_768u64.to_be_bytes());
        for (at, _, value) in geometry(&layout, shape) {
            put(&mut block, at, value);
        }
        block
    }

    /// Sound superblocks of every kind of metadata.
    pub fn places() -> Vec<(Place, Block)> {
        let external = |index, meta_sectors| Place {
            index,
            data_sectors: u64::MAX,
            meta_sectors,
        };
        let flexible = external(INDEX_FLEX_EXTERNAL, 2048);
        let indexed = external(2, 3 << 18);
        vec![
            (INTERNAL, stock()),
            (INTERNAL, made(INTERNAL, (4, 16))),
            (flexible, made(flexible, (1, 8))),
            (flexible, made(flexible, (2, 8))),
            (indexed, made(indexed, (1, 8))),
        ]
    }

    #[test]
    fn what_is_sound_is_left_alone() {
        for (place, block) in places() {
            let diagnosis = examine(&block, place, &no_witness).unwrap();
            assert_eq!(diagnosis.findings, [], "{place:?}");
            assert!(diagnosis.mended == block);
        }
        let mut old = stock();
        old[88..96].fill(0);
        let diagnosis = examine(&old, INTERNAL, &no_witness).unwrap();
        assert_eq!(diagnosis.findings, []);
    }

    /// Each field that something vouches for: zeroed, inverted, each of its bits flipped.
    #[test]
    fn each_damaged_field_is_named_and_mended() {
        const FIELDS: [(&str, usize, usize); 6] = [
            ("magic", 60, 4),
            ("md_size_sect", 64, 4),
            ("al_offset", 68, 4),
            ("bm_offset", 76, 4),
            ("bm_bytes_per_bit", 80, 4),
            ("open resync", 48, 8),
        ];
        for (place, block) in places() {
            for (name, at, len) in FIELDS {
                let mut damages: Vec<Block> = Vec::new();
                for fill in [0, 0xff, 0x5a] {
                    let mut damaged = block;
                    damaged[at..at + len].fill(fill);
                    damages.push(damaged);
                }
                for bit in 0..len * 8 {
                    let mut damaged = block;
                    damaged[at + bit / 8] ^= 1 << (bit % 8);
                    damages.push(damaged);
                }
                for damaged in damages.into_iter().filter(|damaged| *damaged != block) {
                    let magic = u32_at(&damaged, MAGIC_AT);
                    if magic == unclean_magic(&block) {
                        continue;
                    }
                    let diagnosis = examine(&damaged, place, &no_witness).unwrap();
                    let names: Vec<_> = diagnosis.findings.iter().map(|f| f.field).collect();
                    assert_eq!(names, [name], "{place:?} {damaged:02x?}");
                    let mut expected = block;
                    if name == "magic" {
                        put(&mut expected, MAGIC_AT, unclean_magic(&block));
                    }
                    assert!(diagnosis.mended == expected, "{name} {place:?}");
                }
            }
        }
    }

    #[test]
    fn a_damaged_shape_of_the_log_is_named() {
        for (place, block) in places() {
            for (name, at) in [("al_stripes", 88), ("al_stripe_size_4k", 92)] {
                let shape = (u32_at(&block, 88), u32_at(&block, 92));
                let truth = |_: &Layout, asked: (u32, u32)| asked == shape;
                for bit in 0..32 {
                    let mut damaged = block;
                    damaged[at + bit / 8] ^= 1 << (bit % 8);
                    // The log's own blocks decide between shapes of the same size.
                    let diagnosis = examine(&damaged, place, &truth).unwrap();
                    let names: Vec<_> = diagnosis.findings.iter().map(|f| f.field).collect();
                    assert_eq!(names, [name], "{place:?} bit {bit}");
                    assert!(diagnosis.mended == block);
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_is_named_even_if_it_cannot_be_mended() {
        let named = |at: usize, bytes: &[u8]| {
            let mut block = stock();
            block[at..at + bytes.len()].copy_from_slice(bytes);
            let diagnosis = examine(&block, INTERNAL, &no_witness).unwrap();
            diagnosis
                .findings
                .into_iter()
                .map(|finding| (finding.field, finding.mended))
                .collect::<Vec<_>>()
        };
        assert_eq!(named(0, &[0x80]), [("la_size_sect", false)]);
        assert_eq!(named(8, &[0; 8]), [("current UUID", false)]);
        assert_eq!(named(56, &[0x80]), [("flags", true)]);
        assert_eq!(named(72, &[0; 4]), [("al_nr_extents", true)]);
        // More than a log of eight blocks can tell of.
        assert_eq!(named(72, &[0, 0, 0x20, 0]), [("al_nr_extents", true)]);
        assert_eq!(named(56, &[0, 0, 0, 0x10]), [("flags", false)]);
        let (mut history, bitmap) = ([0; 17], [0xab; 8]);
        history[16] = 1;
        assert_eq!(named(16, &history), [("history UUIDs", false)]);
        // A resync was left behind.
        history[..8].copy_from_slice(&bitmap);
        assert_eq!(named(16, &history), []);
        let open = [&history[..], &[0; 15], &bitmap].concat();
        assert_eq!(named(16, &open), []);
        assert_eq!(named(48, &bitmap), [("open resync", true)]);
        assert_eq!(named(84, &[1]), [("la_peer_max_bio_size", true)]);
        assert_eq!(named(4000, &[1]), [("after the last field", true)]);
    }

    /// Each bit of a superblock flipped: how many flips of a field nothing tells. Whatever is not in this list is
    /// noticed, all of the reserved places included.
    #[test]
    fn what_cannot_be_noticed() {
        const FIELDS: [(&str, usize, usize); 15] = [
            ("la_size_sect", 0, 8),
            ("current UUID", 8, 16),
            ("bitmap UUID", 16, 24),
            ("history UUIDs", 24, 40),
            ("device_uuid", 40, 48),
            ("open resync", 48, 56),
            ("flags", 56, 60),
            ("magic", 60, 64),
            ("md_size_sect, al_offset", 64, 72),
            ("al_nr_extents", 72, 76),
            ("bm_offset", 76, 80),
            ("bm_bytes_per_bit", 80, 84),
            ("la_peer_max_bio_size", 84, 88),
            ("al_stripes, al_stripe_size_4k", 88, 96),
            ("after the last field", 96, SUPERBLOCK_BYTES),
        ];
        let block = stock();
        let shape = (u32_at(&block, 88), u32_at(&block, 92));
        let truth = |_: &Layout, asked: (u32, u32)| asked == shape;
        let silent = |bit: &usize| {
            let mut damaged = block;
            damaged[bit / 8] ^= 1 << (bit % 8);
            let diagnosis = examine(&damaged, INTERNAL, &truth).unwrap();
            diagnosis.findings.is_empty()
        };
        let unnoticed: Vec<(&str, usize)> = FIELDS
            .iter()
            .map(|(name, from, to)| (*name, (from * 8..to * 8).filter(silent).count()))
            .filter(|(_, count)| *count != 0)
            .collect();
        // A superblock has no checksum: another size that fits, another identifier, another possible number.
        let silent = [
            ("la_size_sect", 11),
            ("current UUID", 64),
            ("bitmap UUID", 64),
            ("history UUIDs", 128),
            ("device_uuid", 64),
            ("flags", 8),
            ("al_nr_extents", 13),
            ("la_peer_max_bio_size", 1),
        ];
        assert_eq!(unnoticed, silent);
    }

    /// No stripes, and another field is damaged: it is metadata all the same.
    #[test]
    fn damage_of_old_metadata_is_named() {
        for (at, name) in [(64, "md_size_sect"), (68, "al_offset"), (76, "bm_offset")] {
            let mut block = stock();
            block[88..96].fill(0);
            put(&mut block, at, 8);
            let diagnosis = examine(&block, INTERNAL, &no_witness).unwrap();
            let found: Vec<_> = diagnosis.findings.iter().map(|f| f.field).collect();
            assert_eq!(found, [name]);
        }
    }

    #[test]
    fn garbage_is_no_superblock() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..4_000 {
            let mut block = stock();
            if round % 2 == 0 {
                block
                    .chunks_mut(8)
                    .for_each(|word| word.copy_from_slice(&random().to_le_bytes()));
            } else {
                for _ in 0..round % 40 {
                    let number = random();
                    block[usize::try_from(number % 96).unwrap()] = number.to_le_bytes()[5];
                }
            }
            for index in [INDEX_FLEX_INTERNAL, INDEX_FLEX_EXTERNAL, 0, 255] {
                let meta_sectors = random() >> (random() % 64);
                let place = Place {
                    index,
                    data_sectors: meta_sectors,
                    meta_sectors,
                };
                if let Some(diagnosis) = examine(&block, place, &no_witness) {
                    // What is mended stays mended.
                    let again = examine(&diagnosis.mended, place, &no_witness).unwrap();
                    assert!(again.findings.iter().all(|finding| !finding.mended));
                }
            }
        }
    }
}
