// SPDX-License-Identifier: GPL-2.0-only

//! `apply-al`: after a crash, every extent that the activity log calls hot goes into the bitmap; then the log is
//! initialised and the superblock marked clean, in this order, so that an interruption is repaired by running it again.

use std::collections::BTreeSet;
use std::io;

use drbd_core::activity_log::MOST_SLOTS;
use drbd_core::bitmap;
use drbd_core::meta::log::{block_of, emit_initial, TRANSACTION_BYTES};
use drbd_core::meta::replay::{Apply, Replay, Told, Verdict};
use drbd_core::meta::{Cleanness, Flags};

use super::disk::{Disk, Found};
use super::{complain, moved, Session};

/// Sectors of an extent of the activity log, and its bits.
const EXTENT_BITS: u64 = 1024;

/// Replays a ring, whose blocks are in the order of the disk.
pub fn replay(ring: &[u8], stripes: u32, stripe_size_4k: u32) -> Replay<Vec<Told>> {
    let mut replay = Replay::new(vec![Told::NOTHING; MOST_SLOTS as usize + 1]);
    for number in 0..stripes.saturating_mul(stripe_size_4k) {
        let start = block_of(number, stripes, stripe_size_4k) as usize * TRANSACTION_BYTES;
        let block = ring.get(start..start + TRANSACTION_BYTES);
        replay.read(block.unwrap_or_default());
    }
    replay
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
    moved::follow(session);
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
    let replay = replay(&ring, stripes.0, stripes.1);
    let (verdict, bad) = (replay.verdict(), replay.bad());
    if bad > 0 && verdict != Verdict::Unusable {
        eprintln!("{bad} corrupt AL transactions found");
    }
    let was_primary = found.superblock.flags.contains(Flags::PRIMARY_IND);
    match replay.apply(was_primary, found.cleanness) {
        Apply::Nothing => return Ok(0),
        Apply::Refuse => {
            eprintln!(
                "No usable activity log found, and this node was primary: which blocks differ is not known.\n\
                 'drbdadm invalidate' here, or 'create-md' and a full sync, make the disk usable again."
            );
            return Ok(if verdict == Verdict::Unusable { 1 } else { 2 });
        }
        Apply::Forget if matches!(verdict, Verdict::Unusable | Verdict::Damaged) => {
            eprintln!("Error ignored, no need to apply the AL");
        }
        Apply::Forget => {}
        Apply::Mark => match replay.hot().collect::<BTreeSet<u32>>() {
            hot if hot.is_empty() => eprintln!("Nothing to do."),
            hot => {
                let changed = set_bits(disk, found, &hot)?;
                eprintln!(
                    "Marked additional {} as out-of-sync based on AL.",
                    pretty(changed * 4)
                );
            }
        },
    }
    let mut initial = [0; TRANSACTION_BYTES];
    emit_initial(&mut initial);
    if verdict != Verdict::Nothing {
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

    #[test]
    fn sizes_for_people() {
        assert_eq!(pretty(0), "0 KB");
        assert_eq!(pretty(9999), "9999 KB");
        assert_eq!(pretty(16_384), "16 MB");
        assert_eq!(pretty(u64::MAX), "16384 EB");
    }
}
