// SPDX-License-Identifier: GPL-2.0-only

//! `apply-al`: after a crash, every extent that the activity log calls hot goes into the bitmap; then the log is
//! initialised and the superblock marked clean, in this order, so that an interruption is repaired by running it again.
//!
//! The newest transactions tell all slots: each repeats a part of them (context) and changes some (updates). They are
//! replayed from the oldest valid to the newest. At most one block is expected to be torn: the one that was being
//! written when the power failed, and nothing had been submitted yet that depends on it.

use std::collections::BTreeSet;
use std::io;

use drbd_core::bitmap;
use drbd_core::meta::log::{block_of, emit_initial, Transaction, FREE, TRANSACTION_BYTES};
use drbd_core::meta::{Cleanness, Flags};

use super::disk::{Disk, Found};
use super::{complain, Session};

/// Sectors of an extent of the activity log, and its bits.
const EXTENT_BITS: u64 = 1024;

/// What a ring of transactions says.
#[derive(Debug, PartialEq, Eq)]
pub enum Replay {
    /// Nothing is hot.
    Nothing,
    /// These extents were.
    Hot(BTreeSet<u32>),
    /// No block of the ring is a transaction.
    Unusable,
    /// Some blocks are, but no update among them, and more than the first is damaged.
    Damaged,
}

/// Replays a ring; also says how many blocks were no valid transaction. `blocks` are in the order of the disk.
pub fn replay(ring: &[u8], stripes: u32, stripe_size_4k: u32) -> (Replay, usize) {
    let blocks = stripes.saturating_mul(stripe_size_4k);
    let transaction = |number: u32| {
        let start = block_of(number, stripes, stripe_size_4k) as usize * TRANSACTION_BYTES;
        let bytes = ring.get(start..start + TRANSACTION_BYTES)?;
        Transaction::parse(bytes).ok()
    };
    let valid: Vec<(u32, Transaction<'_>)> = (0..blocks)
        .filter_map(|number| Some((number, transaction(number)?)))
        .collect();
    let bad = blocks as usize - valid.len();
    let mut updates: Vec<&Transaction<'_>> = valid
        .iter()
        .map(|(_, t)| t)
        .filter(|t| !t.is_initial())
        .collect();
    if valid.is_empty() {
        return (Replay::Unusable, bad);
    }
    if updates.is_empty() {
        let only_first = valid.iter().all(|(number, _)| *number != 0);
        let harmless = bad == 0 || (bad == 1 && only_first);
        return (
            if harmless {
                Replay::Nothing
            } else {
                Replay::Damaged
            },
            bad,
        );
    }
    // Numbers wrap: order them by their distance from any one of them.
    let base = updates[0].number();
    updates.sort_by_key(|t| t.number().wrapping_sub(base).cast_signed_compat());
    let mut slots = vec![FREE; usize::from(u16::MAX)];
    for transaction in updates {
        for (slot, extent) in transaction.context().chain(transaction.updates()) {
            if let Some(held) = slots.get_mut(usize::from(slot)) {
                *held = extent;
            }
        }
    }
    (
        Replay::Hot(slots.into_iter().filter(|extent| *extent != FREE).collect()),
        bad,
    )
}

/// `u32::cast_signed` is newer than our compiler.
trait CastSigned {
    fn cast_signed_compat(self) -> i32;
}

impl CastSigned for u32 {
    fn cast_signed_compat(self) -> i32 {
        i32::from_ne_bytes(self.to_ne_bytes())
    }
}

/// Reads the whole ring.
pub fn read_ring(disk: &Disk, found: &Found) -> io::Result<Vec<u8>> {
    let blocks =
        u64::from(found.superblock.al_stripes) * u64::from(found.superblock.al_stripe_size_4k);
    let mut ring = vec![0; blocks as usize * TRANSACTION_BYTES];
    disk.read(found.layout.al_sector, &mut ring)?;
    Ok(ring)
}

/// Sets the bits of hot extents; returns how many were clear. The last extent of the device is set as a whole, as the
/// stock tool does: a driver clears what is behind the end.
fn set_bits(disk: &Disk, found: &Found, hot: &BTreeSet<u32>) -> io::Result<u64> {
    let bits = bitmap::bits_for_sectors(found.superblock.effective_size);
    let room = found.layout.bitmap_sectors * 512;
    let mut changed = 0;
    // One 4 KiB page of bitmap holds the bits of 32 extents.
    let mut pages: Vec<(u64, Vec<u32>)> = Vec::new();
    for &extent in hot {
        let page = u64::from(extent) / 32;
        match pages.last_mut() {
            Some((last, extents)) if *last == page => extents.push(extent),
            _ => pages.push((page, vec![extent])),
        }
    }
    for (page, extents) in pages {
        if u64::from(extents[0]) * EXTENT_BITS >= bits || (page + 1) * 4096 > room {
            extents
                .iter()
                .for_each(|extent| eprintln!("extent {extent} beyond end of bitmap!"));
            continue;
        }
        let sector = found.layout.bitmap_sector + 8 * page;
        let mut bytes = [0; 4096];
        disk.read(sector, &mut bytes)?;
        let mut words = [0; 512];
        bitmap::words_from_page(&bytes, &mut words);
        for extent in extents {
            let first = u64::from(extent) * EXTENT_BITS;
            if first >= bits {
                eprintln!("extent {extent} beyond end of bitmap!");
                continue;
            }
            let last = first + EXTENT_BITS - 1;
            let base = page * 4096 * 8;
            changed += bitmap::set_range(&mut words, first - base, last - base);
        }
        bitmap::words_to_page(&words, &mut bytes);
        disk.write(sector, &bytes)?;
    }
    disk.sync()?;
    Ok(changed)
}

/// `apply-al`
pub fn run(session: &Session) -> i32 {
    let disk = match session.open(true) {
        Ok(disk) => disk,
        Err(exit) => return exit,
    };
    let mut found = match session.find(&disk) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    match apply(&disk, &mut found) {
        Ok(exit) => exit,
        Err(error) => complain(&disk.path, &error),
    }
}

/// Marks what the log names, and says that the log is applied.
pub fn apply(disk: &Disk, found: &mut Found) -> io::Result<i32> {
    let ring = read_ring(disk, found)?;
    let stripes = (
        found.superblock.al_stripes,
        found.superblock.al_stripe_size_4k,
    );
    let (replay, bad) = replay(&ring, stripes.0, stripes.1);
    if bad > 0 && replay != Replay::Unusable {
        eprintln!("{bad} corrupt AL transactions found");
    }
    let was_primary = found.superblock.flags.contains(Flags::PRIMARY_IND);
    match &replay {
        Replay::Unusable | Replay::Damaged if was_primary => {
            eprintln!(
                "No usable activity log found, and this node was primary: which blocks differ is not known.\n\
                 'drbdadm invalidate' here, or 'create-md' and a full sync, make the disk usable again."
            );
            return Ok(if replay == Replay::Unusable { 1 } else { 2 });
        }
        Replay::Unusable | Replay::Damaged => eprintln!("Error ignored, no need to apply the AL"),
        Replay::Hot(hot) if was_primary && !hot.is_empty() => {
            let changed = set_bits(disk, found, hot)?;
            eprintln!(
                "Marked additional {} as out-of-sync based on AL.",
                pretty(changed * 4)
            );
        }
        Replay::Hot(_) if was_primary => eprintln!("Nothing to do."),
        Replay::Hot(_) | Replay::Nothing => {}
    }
    if found.cleanness == Cleanness::Clean && replay == Replay::Nothing {
        return Ok(0);
    }
    let mut initial = [0; TRANSACTION_BYTES];
    emit_initial(&mut initial);
    if replay != Replay::Nothing {
        for block in 0..ring.len() / TRANSACTION_BYTES {
            disk.write(found.layout.al_sector + 8 * block as u64, &initial)?;
        }
        disk.sync()?;
    }
    found.cleanness = Cleanness::Clean;
    disk.write_superblock(found)?;
    Ok(0)
}

/// A number of KiB with a unit that keeps it short.
pub fn pretty(mut kib: u64) -> String {
    let mut units = "KMGTPE".chars();
    let mut unit = units.next().unwrap_or('K');
    while kib >= 10_000 {
        let Some(next) = units.next() else { break };
        kib = (kib >> 10) + (kib >> 9 & 1);
        unit = next;
    }
    format!("{kib} {unit}B")
}

#[cfg(test)]
mod tests {
    use super::*;
    use drbd_core::meta::log::emit;

    const BLOCKS: u32 = 8;

    /// Number, updates, first slot of the context, context.
    type Written<'a> = (u32, &'a [(u16, u32)], u16, &'a [u32]);

    fn ring(transactions: &[Written<'_>]) -> Vec<u8> {
        let mut ring = vec![0; BLOCKS as usize * TRANSACTION_BYTES];
        for block in ring.chunks_mut(TRANSACTION_BYTES) {
            emit_initial(block);
        }
        for (number, updates, first, context) in transactions {
            let at = block_of(*number, 1, BLOCKS) as usize * TRANSACTION_BYTES;
            let block = &mut ring[at..at + TRANSACTION_BYTES];
            emit(
                block,
                *number,
                updates.iter().copied(),
                7,
                *first,
                context.iter().copied(),
            );
        }
        ring
    }

    fn hot(extents: &[u32]) -> Replay {
        Replay::Hot(extents.iter().copied().collect())
    }

    #[test]
    fn later_transactions_win_also_across_the_wrap_of_numbers() {
        let first = u32::MAX - 1;
        let all = ring(&[
            (first, &[(0, 10), (1, 11)], 0, &[FREE; 7]),
            (first.wrapping_add(1), &[(2, 12)], 0, &[10, 11]),
            (first.wrapping_add(2), &[(0, 20)], 3, &[FREE; 4]),
        ]);
        assert_eq!(replay(&all, 1, BLOCKS), (hot(&[11, 12, 20]), 0));
    }

    #[test]
    fn the_context_alone_tells_slots_whose_update_is_overwritten() {
        let all = ring(&[(9, &[(5, 50)], 0, &[1, 2, 3, 4, FREE])]);
        assert_eq!(replay(&all, 1, BLOCKS), (hot(&[1, 2, 3, 4, 50]), 0));
    }

    #[test]
    fn a_torn_block_is_left_out() {
        let mut all = ring(&[(3, &[(0, 1)], 0, &[]), (4, &[(1, 2)], 0, &[])]);
        let at = block_of(4, 1, BLOCKS) as usize * TRANSACTION_BYTES + 2000;
        all[at] ^= 0xff;
        assert_eq!(replay(&all, 1, BLOCKS), (hot(&[1]), 1));
    }

    #[test]
    fn rings_without_updates() {
        let mut all = ring(&[]);
        assert_eq!(replay(&all, 1, BLOCKS), (Replay::Nothing, 0));
        all[5] = 1;
        assert_eq!(replay(&all, 1, BLOCKS), (Replay::Nothing, 1));
        all[TRANSACTION_BYTES + 5] = 1;
        assert_eq!(replay(&all, 1, BLOCKS), (Replay::Damaged, 2));
        assert_eq!(
            replay(&vec![0; all.len()], 1, BLOCKS),
            (Replay::Unusable, 8)
        );
        assert_eq!(replay(&[], 1, BLOCKS), (Replay::Unusable, 8));
    }

    #[test]
    fn sizes_for_people() {
        assert_eq!(pretty(0), "0 KB");
        assert_eq!(pretty(9999), "9999 KB");
        assert_eq!(pretty(16_384), "16 MB");
        assert_eq!(pretty(u64::MAX), "16384 EB");
    }
}
