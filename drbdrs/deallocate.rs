// SPDX-License-Identifier: GPL-2.0-only

//! Discards and write-zeroes on our disk: the application's and the peer's, so that both disks read the same.
//!
//! They are carried out while the caller waits, because they are rare and large, and a disk may be able to do them
//! only by writing. Those of the application therefore go through the thread of the activity log, see
//! [`activity`](crate::activity): who submits a bio must not wait for other bios.

use crate::{attach::Local, device::Device, prelude::*};
use drbd_core::{
    deallocate::{parts, Offer},
    interval::Range,
};

/// What is wanted of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Its blocks are not needed any more.
    Discarded,
    /// It reads as zeroes; its blocks may be deallocated if `unmap`.
    Zeroed { unmap: bool },
}

/// Makes it so. Sleeps.
///
/// # Errors
///
/// Those of the disk.
pub(crate) fn carry_out(device: &Device, disk: &Local, range: &Range, want: Want) -> Result {
    let (sector, sectors) = (range.sector, u64::from(range.sectors));
    if let Want::Zeroed { unmap } = want {
        return disk.data.zero_out(sector, sectors, unmap);
    }
    let believed = device
        .disk_conf()
        .is_some_and(|conf| conf.discard_zeroes_if_aligned);
    let limits = disk.data.limits();
    let offer = Offer {
        max_discard: limits.max_discard_sectors,
        granularity: limits.discard_granularity >> 9,
        alignment: disk.data.discard_alignment() >> 9,
        zeroes_unmap: limits.zeroes_unmap,
    };
    let parts = parts(sector, sectors, &offer, believed);
    let granules = sector.saturating_add(parts.head);
    let tail = granules.saturating_add(parts.granules);
    fill(disk, sector, parts.head)?;
    if parts.granules > 0 && disk.data.discard(granules, parts.granules).is_err() {
        // It promised more than it can.
        fill(disk, granules, parts.granules)?;
    }
    fill(disk, tail, parts.tail)
}

fn fill(disk: &Local, sector: u64, sectors: u64) -> Result {
    if sectors == 0 {
        return Ok(());
    }
    disk.data.zero_out(sector, sectors, true)
}
