// SPDX-License-Identifier: GPL-2.0-only

//! What an administrator holds up: I/O (`suspend-io`, `resume-io`) and resyncs (`pause-sync`, `resume-sync`); as in
//! `admin/sync.rs`.

use crate::node::Node;
use drbd_core::{
    request::Event,
    state::{self, Change, How},
    types::{ConnState, StateRv, Uuid},
};

impl Node {
    /// `pause-sync` or `resume-sync`
    pub(crate) fn pause(&mut self, pause: bool) {
        let change = Change {
            user_isp: Some(pause),
            ..Change::NONE
        };
        self.change(&change, How::SOFT);
    }

    /// `suspend-io`
    pub(crate) fn suspend(&mut self) {
        let change = Change {
            susp: Some(true),
            ..Change::NONE
        };
        self.change(&change, How::SOFT);
    }

    /// `resume-io`; true when it is over.
    pub(crate) fn step_resume(&mut self, locked: &mut bool) -> bool {
        if !std::mem::replace(locked, true) {
            self.begin_put_off_generation();
            self.io_suspenders += 1;
            return false;
        }
        if !self.suspended() && self.application > 0 {
            return false;
        }
        let change = Change {
            susp: Some(false),
            susp_nod: Some(false),
            susp_fen: Some(false),
            ..Change::NONE
        };
        if self.change(&change, How::SOFT) == StateRv::Success {
            self.thawed();
        }
        self.resume_io();
        true
    }

    /// While I/O was suspended no new generation was begun; now it must be, before the first write.
    pub(crate) fn begin_put_off_generation(&mut self) {
        let put_off = std::mem::take(&mut self.flags.new_current_uuid);
        if !put_off || !state::put_off_generation_is_due(&self.state) {
            return;
        }
        if self.local {
            self.new_current_uuid(false);
            if self.state.conn == ConnState::WfReportParams {
                self.change_all(&Change::conn(ConnState::NetworkFailure), How::HARD);
            }
        } else {
            self.exposed = Uuid(self.rng.any() & !0xff | 0x300);
        }
    }

    fn thawed(&mut self) {
        if !state::is_connected(self.state.conn) {
            self.requests_lost();
            return;
        }
        let since = self.since_ms;
        self.tell_all(Event::Resend, |request| request.sent_ms < since);
    }
}
