// SPDX-License-Identifier: GPL-2.0-only

//! How far a resync or verify is: marks for the average speed, pauses, positions.

use crate::{
    prelude::*,
    resource::{ResyncShared, VolumeShared, SYNC_MARKS},
    tag::Tag,
};
use drbd_core::{
    proc_text::Progress,
    state::{self, Now},
    types::ConnState,
};

/// Time between two marks.
const MARK_STEP_MS: u64 = 3000;

impl ResyncShared {
    /// A resync or verify of `left` bits begins.
    pub(crate) fn begin(&mut self, left: u64, now_ms: u64) {
        self.total = left;
        self.failed = 0;
        self.equal = 0;
        self.by_checksums = false;
        self.target_has_all = false;
        self.start_ms = now_ms;
        self.paused_ms = 0;
        self.last_mark = 0;
        self.mark_ms = [now_ms; SYNC_MARKS];
        self.mark_left = [left; SYNC_MARKS];
    }

    /// Notes how much is left, if the last mark is old enough.
    pub(crate) fn advance(&mut self, left: u64, now_ms: u64) {
        let Some(&last) = self.mark_ms.get(self.last_mark) else {
            return;
        };
        if now_ms.saturating_sub(last) < MARK_STEP_MS {
            return;
        }
        self.last_mark = self.last_mark.wrapping_add(1) % SYNC_MARKS;
        if let Some(mark) = self.mark_ms.get_mut(self.last_mark) {
            *mark = now_ms;
        }
        if let Some(mark) = self.mark_left.get_mut(self.last_mark) {
            *mark = left;
        }
    }

    /// The pause that began at the last mark is over.
    fn resume(&mut self, now_ms: u64) {
        if let Some(&mark) = self.mark_ms.get(self.last_mark) {
            let pause = now_ms.saturating_sub(mark);
            self.paused_ms = self.paused_ms.saturating_add(pause);
        }
    }

    fn pause(&mut self, now_ms: u64) {
        if let Some(mark) = self.mark_ms.get_mut(self.last_mark) {
            *mark = now_ms;
        }
    }
}

/// The effects of a change of state that concern progress, under the lock; `version`: the agreed protocol's.
pub(crate) fn on_effect(volume: &mut VolumeShared, effect: Now, version: u32) {
    let now_ms = kernel_ext::time::now_ms();
    match effect {
        Now::ContinueResync { .. } => {
            pr_info!("{}: Syncer continues.\n", Tag(&volume.device));
            volume.resync.resume(now_ms);
        }
        Now::PauseResync => {
            pr_info!("{}: Resync suspended\n", Tag(&volume.device));
            volume.resync.pause(now_ms);
        }
        Now::StartVerify { as_source } => {
            let capacity = volume.capacity;
            volume.resync.verify.begin(as_source, version, capacity);
            let left = volume.resync.verify.left();
            volume.resync.begin(left, now_ms);
            crate::throttle::begin(volume);
            volume.requests.reset();
            volume.stat.resync_pending = 0;
            if as_source {
                let start = volume.resync.verify.start_sector();
                pr_info!(
                    "{}: Starting Online Verify from sector {}\n",
                    Tag(&volume.device),
                    start
                );
            }
        }
        Now::KeepVerifyPosition => {
            let capacity = volume.capacity;
            if let Some(reached) = volume.resync.verify.ended(capacity) {
                pr_info!(
                    "{}: Online Verify reached sector {}\n",
                    Tag(&volume.device),
                    reached
                );
            }
        }
        _ => {}
    }
}

/// What /proc/drbd says about a resync or verify that runs; `weight` is the number of set bits.
pub(crate) fn shown(volume: &VolumeShared, weight: u64, now_ms: u64) -> Option<Progress> {
    let conn = volume.state.conn;
    let verify = state::is_verify(conn);
    if !verify && !state::is_running_resync(conn) {
        return None;
    }
    let resync = &volume.resync;
    let left = if verify {
        resync.verify.left()
    } else {
        weight.saturating_sub(resync.failed)
    };
    // The next two marks may be changed any moment; the one behind is the oldest that is stable.
    let oldest = resync.last_mark.wrapping_add(2) % SYNC_MARKS;
    let mark_ms = resync.mark_ms.get(oldest).copied().unwrap_or(now_ms);
    let asks = matches!(conn, ConnState::SyncTarget | ConnState::VerifyS);
    Some(Progress {
        verify,
        total: resync.total,
        left,
        mark_left: resync.mark_left.get(oldest).copied().unwrap_or(left),
        mark_seconds: now_ms.saturating_sub(mark_ms) / 1000,
        run_seconds: now_ms
            .saturating_sub(resync.start_ms)
            .saturating_sub(resync.paused_ms)
            / 1000,
        want_kib: asks.then_some(u64::from(resync.want_kib)),
    })
}
