// SPDX-License-Identifier: GPL-2.0-only

//! Congestion: what a primary does when the way to its peer is full (`on-congestion`, protocol A).
//!
//! ```text
//!              a write finds too much in flight
//!  replicating ---------------------------------> Ahead: blocks are marked, the peer hears only which
//!       ^                                           |
//!       |  resync of the marked blocks              |  nothing in flight for a second
//!       '------------------- SyncSource <-----------'
//! ```
//!
//! [`on_write`] decides about the first arrow, [`CatchUp`] about the second.

use crate::config::choices::OnCongestion;
use crate::config::conf::NetConf;
use crate::state::replicates;
use crate::types::{ConnState, DiskState, State};

/// The first protocol version whose nodes know what Ahead is.
pub const FIRST_VERSION: u32 = 96;

/// How long nothing must be in flight before the peer is brought up to date.
pub const QUIET_MS: u64 = 1000;

/// The options that decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `on-congestion`
    pub action: OnCongestion,
    /// `congestion-fill`, in sectors; 0: does not count.
    pub fill_sectors: u32,
    /// `congestion-extents`
    pub extents: u32,
}

impl From<&NetConf> for Policy {
    fn from(conf: &NetConf) -> Self {
        Policy {
            action: conf.on_congestion,
            fill_sectors: conf.cong_fill,
            extents: conf.cong_extents,
        }
    }
}

/// What is under way on a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Sectors of writes that were sent and that no barrier confirms yet.
    pub in_flight_sectors: u64,
    /// Extents of the activity log that writes hold.
    pub active_extents: u32,
}

/// Which threshold was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `congestion-fill`
    Fill,
    /// `congestion-extents`
    Extents,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go Ahead.
    PullAhead,
    /// Give the connection up.
    Disconnect,
}

/// A decision and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Why.
    pub rule: Rule,
    /// What.
    pub step: Step,
}

/// A write is about to start: is the way to the peer too full for it? `version`: the agreed one.
pub fn on_write(policy: &Policy, state: &State, version: u32, load: &Load) -> Option<Decision> {
    let step = match policy.action {
        OnCongestion::Block => return None,
        OnCongestion::PullAhead => Step::PullAhead,
        OnCongestion::Disconnect => Step::Disconnect,
    };
    // Ahead with bad data would leave nobody with good ones.
    let able = version >= FIRST_VERSION && state.disk == DiskState::UpToDate && replicates(state);
    if !able {
        return None;
    }
    let fill = u64::from(policy.fill_sectors);
    let rule = if fill > 0 && load.in_flight_sectors >= fill {
        Rule::Fill
    } else if load.active_extents >= policy.extents {
        Rule::Extents
    } else {
        return None;
    };
    Some(Decision { rule, step })
}

/// When a node that is ahead brings its peer up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatchUp {
    quiet_since_ms: Option<u64>,
}

impl CatchUp {
    /// Looks at the volume every now and then; `true`: start the resync. `unanswered`: requests of an earlier resync
    /// that one of the two has not answered; they would be mistaken for those of the new one.
    pub fn is_due(&mut self, conn: ConnState, load: &Load, unanswered: u32, now_ms: u64) -> bool {
        if conn != ConnState::Ahead || load.in_flight_sectors > 0 {
            self.quiet_since_ms = None;
            return false;
        }
        let since = *self.quiet_since_ms.get_or_insert(now_ms);
        now_ms.saturating_sub(since) >= QUIET_MS && unanswered == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: State = State {
        conn: ConnState::Connected,
        disk: DiskState::UpToDate,
        pdsk: DiskState::UpToDate,
        ..State::NEW
    };
    const POLICY: Policy = Policy {
        action: OnCongestion::PullAhead,
        fill_sectors: 2048,
        extents: 100,
    };
    const IDLE: Load = Load {
        in_flight_sectors: 0,
        active_extents: 0,
    };
    const FULL: Load = Load {
        in_flight_sectors: 2048,
        active_extents: 3,
    };

    fn decide(policy: Policy, state: State, load: Load) -> Option<Decision> {
        on_write(&policy, &state, 101, &load)
    }

    #[test]
    fn each_threshold_has_its_rule() {
        let one_less = Load {
            in_flight_sectors: 2047,
            active_extents: 99,
        };
        assert_eq!(decide(POLICY, PRIMARY, one_less), None);
        let because = |load| decide(POLICY, PRIMARY, load).map(|d| d.rule);
        assert_eq!(because(FULL), Some(Rule::Fill));
        let many = Load {
            active_extents: 100,
            ..IDLE
        };
        assert_eq!(because(many), Some(Rule::Extents));
    }

    #[test]
    fn the_policy_says_what_to_do() {
        let step = |action| decide(Policy { action, ..POLICY }, PRIMARY, FULL).map(|d| d.step);
        assert_eq!(step(OnCongestion::Block), None);
        assert_eq!(step(OnCongestion::PullAhead), Some(Step::PullAhead));
        assert_eq!(step(OnCongestion::Disconnect), Some(Step::Disconnect));
    }

    #[test]
    fn a_fill_of_0_never_counts() {
        let no_fill = Policy {
            fill_sectors: 0,
            ..POLICY
        };
        assert_eq!(decide(no_fill, PRIMARY, FULL), None);
    }

    #[test]
    fn only_who_replicates_good_data_can_run_ahead() {
        let with = |conn, disk, pdsk| {
            let state = State {
                conn,
                disk,
                pdsk,
                ..PRIMARY
            };
            decide(POLICY, state, FULL).is_some()
        };
        use {ConnState as C, DiskState as D};
        assert!(with(C::Connected, D::UpToDate, D::UpToDate));
        assert!(with(C::SyncSource, D::UpToDate, D::Inconsistent));
        assert!(
            !with(C::Ahead, D::UpToDate, D::Consistent),
            "is ahead already"
        );
        assert!(
            !with(C::SyncTarget, D::Inconsistent, D::UpToDate),
            "needs the peer"
        );
        assert!(!with(C::StandAlone, D::UpToDate, D::Unknown));
        assert!(
            !with(C::WfBitmapS, D::UpToDate, D::Consistent),
            "sends no data"
        );
        assert_eq!(on_write(&POLICY, &PRIMARY, 95, &FULL), None);
    }

    #[test]
    fn the_peer_is_brought_up_to_date_after_a_second_of_quiet() {
        let mut due = CatchUp::default();
        let ahead = ConnState::Ahead;
        assert!(!due.is_due(ahead, &FULL, 0, 0));
        assert!(!due.is_due(ahead, &IDLE, 0, 100));
        assert!(!due.is_due(ahead, &IDLE, 0, 1099));
        assert!(
            !due.is_due(ahead, &IDLE, 1, 1100),
            "an answer of the last resync is missing"
        );
        assert!(due.is_due(ahead, &IDLE, 0, 1200));
        assert!(
            !due.is_due(ahead, &FULL, 0, 1300),
            "the queue was not empty after all"
        );
        assert!(!due.is_due(ahead, &IDLE, 0, 1400));
        assert!(due.is_due(ahead, &IDLE, 0, 2400));
        assert!(!due.is_due(ConnState::SyncSource, &IDLE, 0, 2500));
        assert!(!due.is_due(ahead, &IDLE, 0, 2600), "the quiet begins anew");
    }
}
