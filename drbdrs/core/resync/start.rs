// SPDX-License-Identifier: GPL-2.0-only

//! The start of a resync: helpers, and the state to enter.

use crate::state::{is_connected, is_failed_or_less, is_resync_or_verify};
use crate::types::{ConnState, DiskState, State};

/// This node's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It sends.
    Source,
    /// It receives.
    Target,
}

/// Why a resync does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartRefusal {
    /// One runs already ("Resync already running!").
    AlreadyRunning,
    /// The connection or the disk went away meanwhile.
    TooLate,
}

/// What the exit code of `before-resync-source` or `-target` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandlerVerdict {
    /// Go on.
    Go,
    /// The source's tools are old and do not know the handler: go on, with a line in the log.
    GoDespiteOldTools,
    /// The administrator's handler objects: disconnect.
    Disconnect,
}

/// Judges the exit code of the handler that is called before a resync.
pub fn handler_verdict(side: Side, exit_code: u8) -> HandlerVerdict {
    match (side, exit_code) {
        (_, 0) => HandlerVerdict::Go,
        (Side::Source, 3) => HandlerVerdict::GoDespiteOldTools,
        _ => HandlerVerdict::Disconnect,
    }
}

/// The state to enter (verbose, soft). `may_sync_now`: no device that comes first is busy.
/// After it was written: `Progress::begin`, reset the controller, pause dependent devices; the target requests
/// from bit 0. An empty resync before protocol 95 is finished at once.
pub fn start_state(own: &State, side: Side, may_sync_now: bool) -> Result<State, StartRefusal> {
    if is_resync_or_verify(own.conn) {
        return Err(StartRefusal::AlreadyRunning);
    }
    if !is_connected(own.conn) || is_failed_or_less(own.disk) {
        return Err(StartRefusal::TooLate);
    }
    let mut new = State {
        aftr_isp: !may_sync_now,
        ..*own
    };
    match side {
        Side::Source => {
            new.conn = ConnState::SyncSource;
            new.pdsk = DiskState::Inconsistent;
        }
        Side::Target => {
            new.conn = ConnState::SyncTarget;
            new.disk = DiskState::Inconsistent;
        }
    }
    Ok(new)
}

/// Does the target compare checksums before it asks for data?
pub fn uses_checksums(
    version: u32,
    configured: bool,
    after_crash_only: bool,
    crashed_primary: bool,
) -> bool {
    version >= 89 && configured && (!after_crash_only || crashed_primary)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTED: State = State {
        conn: ConnState::WfSyncUuid,
        disk: DiskState::Outdated,
        pdsk: DiskState::UpToDate,
        ..State::NEW
    };

    #[test]
    fn each_side_has_its_state() {
        let t = start_state(&CONNECTED, Side::Target, true).unwrap();
        assert_eq!(
            (t.conn, t.disk),
            (ConnState::SyncTarget, DiskState::Inconsistent)
        );
        assert!(!t.aftr_isp);
        let s = start_state(&CONNECTED, Side::Source, false).unwrap();
        assert_eq!(
            (s.conn, s.pdsk),
            (ConnState::SyncSource, DiskState::Inconsistent)
        );
        assert!(s.aftr_isp);
    }

    #[test]
    fn a_resync_starts_once_and_only_while_it_can() {
        let at = |conn, disk| {
            start_state(
                &State {
                    conn,
                    disk,
                    ..CONNECTED
                },
                Side::Target,
                true,
            )
        };
        let running = Err(StartRefusal::AlreadyRunning);
        assert_eq!(at(ConnState::PausedSyncT, DiskState::Inconsistent), running);
        assert_eq!(at(ConnState::VerifyS, DiskState::UpToDate), running);
        let late = Err(StartRefusal::TooLate);
        assert_eq!(at(ConnState::NetworkFailure, DiskState::UpToDate), late);
        assert_eq!(at(ConnState::WfSyncUuid, DiskState::Failed), late);
        assert!(at(ConnState::Behind, DiskState::Inconsistent).is_ok());
    }

    #[test]
    fn the_handlers_exit_code() {
        assert_eq!(handler_verdict(Side::Target, 0), HandlerVerdict::Go);
        assert_eq!(handler_verdict(Side::Target, 3), HandlerVerdict::Disconnect);
        assert_eq!(
            handler_verdict(Side::Source, 3),
            HandlerVerdict::GoDespiteOldTools
        );
        assert_eq!(handler_verdict(Side::Source, 1), HandlerVerdict::Disconnect);
    }

    #[test]
    fn checksums_where_configured() {
        assert!(uses_checksums(101, true, false, false));
        assert!(!uses_checksums(101, true, true, false));
        assert!(uses_checksums(101, true, true, true));
        assert!(!uses_checksums(101, false, false, true));
        assert!(!uses_checksums(88, true, false, false));
    }
}
