// SPDX-License-Identifier: GPL-2.0-only

//! The peer is gone: has it fenced, if that is configured, before we go on alone or are promoted.
//!
//! What the handler says the core judges (`core::state::fencing`); it counts only as long as the peer does not come
//! back meanwhile.

use crate::{
    change::{self, How},
    handlers,
    prelude::*,
    resource::{Resource, Shared},
    transfer,
};
use drbd_core::{
    config::choices::Fencing,
    state::{self, Change, Combined, FenceAnswer},
    types::Role,
};

fn combined(shared: &Shared) -> Combined {
    state::combined(shared.volumes.iter().map(|volume| &volume.state))
}

fn policy(shared: &Shared) -> Option<Fencing> {
    state::highest_policy(shared.volumes.iter().filter_map(|volume| {
        let conf = volume.disk_conf.as_ref()?;
        Some((volume.state.disk, conf.fencing))
    }))
}

/// Whether a Primary that has just lost its peer is to have it fenced.
pub(crate) fn is_due(shared: &Shared) -> bool {
    let all = combined(shared);
    let unknown = all.highest_pdsk == drbd_core::types::DiskState::Unknown;
    let may_be_good = unknown || state::is_better_than_outdated(all.highest_pdsk);
    all.highest_role == Role::Primary && may_be_good && policy(shared) != Some(Fencing::DontCare)
}

/// Runs the handler and does what it says. Tells whether the peer cannot have good data any more. Sleeps for long.
pub(crate) fn peer(resource: &Resource) -> bool {
    let (policy, established) = {
        let shared = resource.shared.lock();
        if !state::is_before_report_params(shared.conn.cstate) {
            return false;
        }
        (policy(&shared), shared.conn.established)
    };
    let policy = match policy {
        None => {
            not_available(resource);
            return false;
        }
        Some(Fencing::DontCare) => return true,
        Some(policy) => policy,
    };
    let code = handlers::call(resource, None, handlers::FENCE_PEER);
    let answer = {
        let shared = resource.shared.lock();
        FenceAnswer::of(code, combined(&shared).highest_disk)
    };
    if answer == FenceAnswer::Broken {
        pr_err!(
            "{}: fence-peer helper broken, returned {}\n",
            resource.name(),
            code
        );
        return false;
    }
    pr_info!(
        "{}: fence-peer helper returned {} ({})\n",
        resource.name(),
        code,
        answer.text()
    );
    if answer == FenceAnswer::PeerShot && policy != Fencing::ResourceAndStonith {
        pr_err!(
            "{}: fence-peer says that the peer was shot, but fencing is not resource-and-stonith\n",
            resource.name()
        );
    }
    let mut shared = resource.shared.lock();
    if let Some(change) = answer.change() {
        let gone = state::is_before_report_params(shared.conn.cstate) && !shared.conn.state_sent;
        if gone && shared.conn.established == established {
            change::change_all_locked(&mut shared, &change, How::SOFT.verbose());
        } else {
            pr_info!(
                "{}: the peer came back: ignoring what fence-peer said\n",
                resource.name()
            );
        }
    }
    let pdsk = combined(&shared).highest_pdsk;
    pdsk != drbd_core::types::DiskState::Unknown && !state::is_better_than_outdated(pdsk)
}

/// Without good data of our own there is nothing to fence for: I/O is no longer frozen for that.
fn not_available(resource: &Resource) {
    pr_warn!(
        "{}: Not fencing peer, I'm not even Consistent myself.\n",
        resource.name()
    );
    let goes_on = {
        let mut shared = resource.shared.lock();
        if !state::is_before_report_params(shared.conn.cstate) {
            return;
        }
        let thawed = Change {
            susp_fen: Some(false),
            ..Change::NONE
        };
        change::change_all_locked(&mut shared, &thawed, How::HARD);
        !shared.volumes.iter().any(|volume| volume.suspended())
    };
    if goes_on {
        transfer::connection_lost(resource);
    }
}
