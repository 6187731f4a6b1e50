// SPDX-License-Identifier: GPL-2.0-only

//! `c-min-rate`: a resync or verify that is faster than that yields to other users of our disk.
//!
//! The side that asks for blocks asks for no more in this turn. The side that serves them waits a moment before it reads;
//! not if the peer is Primary, because its application's packets are behind that request on the same stream.
//! (`core::resync::Throttle` decides.)

use crate::{
    receiver::Arrived,
    resource::{ResyncShared, VolumeShared, SYNC_MARKS},
};
use drbd_core::{
    resync::{Rates, TURN_MS},
    state,
    types::Role,
};
use kernel_ext::time;

/// How long the serving side waits.
const MOMENT_MS: u32 = TURN_MS as u32;

/// Whether the resync or verify of this volume shall yield now.
pub(crate) fn yields(volume: &mut VolumeShared) -> bool {
    let Some(conf) = volume.disk_conf.as_ref() else {
        return false;
    };
    let rates = Rates::from(conf);
    let used = volume.stat.read.saturating_add(volume.stat.written);
    let left = if state::is_verify(volume.state.conn) {
        volume.resync.verify.left()
    } else {
        let weight = volume.device.bitmap.weight();
        weight.saturating_sub(volume.resync.failed)
    };
    let resync = &mut volume.resync;
    let rate = recent_rate_kib(resync, left);
    let own = resync.disk_sectors;
    resync.throttle.yields(used, own, false, rate, &rates)
}

/// The speed since the mark before the last.
fn recent_rate_kib(resync: &ResyncShared, left: u64) -> u64 {
    let at = resync.last_mark.wrapping_add(SYNC_MARKS - 1) % SYNC_MARKS;
    let mark = |values: &[u64; SYNC_MARKS]| values.get(at).copied().unwrap_or(0);
    let done = mark(&resync.mark_left).saturating_sub(left);
    let seconds = time::now_ms().saturating_sub(mark(&resync.mark_ms)) / 1000;
    done.checked_div(seconds.max(1))
        .unwrap_or(done)
        .saturating_mul(4)
}

/// Disk I/O of the resync or verify itself was done.
pub(crate) fn count(volume: &mut VolumeShared, sectors: u64) {
    let done = &mut volume.resync.disk_sectors;
    *done = done.saturating_add(sectors);
}

/// A resync or verify begins: what others did before does not count.
pub(crate) fn begin(volume: &mut VolumeShared) {
    let used = volume.stat.read.saturating_add(volume.stat.written);
    volume.resync.disk_sectors = 0;
    volume.resync.throttle.reset(used);
}

/// The peer asks for a block: lets other users of our disk go first, if they need it. The receiver's thread.
pub(crate) fn before_serving(packet: &Arrived<'_>) {
    let resource = packet.resource;
    let wait = {
        let mut shared = resource.shared.lock();
        shared
            .vol_mut(packet.vnr)
            .is_some_and(|volume| volume.state.peer != Role::Primary && yields(volume))
    };
    if wait {
        resource
            .state_wait
            .wait_timeout(MOMENT_MS, || !resource.connection_wanted());
    }
}
