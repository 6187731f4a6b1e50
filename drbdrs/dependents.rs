// SPDX-License-Identifier: GPL-2.0-only

//! `resync-after`: devices whose resync waits until that of another one is over.
//!
//! Who may sync is the core's decision, made on copies of the states of all minors. The lock around that makes
//! sure that two devices that look at the same moment do not both find the way free.

use crate::{
    change::{self, How},
    device::Device,
    prelude::*,
    registry::Registry,
};
use drbd_core::{
    resync::{self, Chain, ChainRefusal},
    state::Change,
    types::RetCode,
};

fn chain(registry: &Registry, minor: u32) -> Option<Chain> {
    let device = registry.device(minor)?;
    let shared = device.resource.shared.lock();
    let volume = shared.vol(device.vnr)?;
    let after = volume.disk_conf.as_ref().map(|conf| conf.resync_after);
    Some(Chain {
        state: volume.state,
        after: after.and_then(|after| u32::try_from(after).ok()),
    })
}

/// Whether `minor` may be told to sync after `after`.
pub(crate) fn check(minor: u32, after: i32) -> Result<(), RetCode> {
    let Some(registry) = Registry::get() else {
        return Ok(());
    };
    resync::check_resync_after(minor, after, |minor| chain(&registry, minor)).map_err(|refusal| {
        match refusal {
            ChainRefusal::BadMinor => RetCode::ResyncAfter,
            ChainRefusal::Cycle => RetCode::ResyncAfterCycle,
        }
    })
}

/// Looks at all devices again: some resync started, paused, went on, ended, or a dependency changed. May sleep.
pub(crate) fn update() {
    let Some(registry) = Registry::get() else {
        return;
    };
    let _one_at_a_time = registry.dependents.lock();
    let mut minor = Some(0);
    while let Some(device) = minor.and_then(|minor| registry.device_from(minor)) {
        minor = device.minor.checked_add(1);
        let may = resync::may_sync_now(device.minor, |minor| chain(&registry, minor));
        set_waiting(&device, !may);
    }
}

fn set_waiting(device: &Device, waits: bool) {
    let mut shared = device.resource.shared.lock();
    let needed = shared
        .vol(device.vnr)
        .is_some_and(|volume| volume.has_disk() && volume.state.aftr_isp != waits);
    if needed {
        let change = Change {
            aftr_isp: Some(waits),
            ..Change::NONE
        };
        change::change_locked(&mut shared, device.vnr, &change, How::HARD);
    }
}
