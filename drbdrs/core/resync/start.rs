// SPDX-License-Identifier: GPL-2.0-only

//! The start of a resync: helpers, and the state to enter.

use crate::state::{is_connected, is_failed_or_less, is_resync, Change};
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
    /// Go on. So does a source whose tools are old and do not know the handler.
    Go,
    /// The administrator's handler objects: disconnect.
    Disconnect,
}

/// The exit code of a handler that old tools give for a handler they do not know.
const HANDLER_UNKNOWN: u8 = 3;

/// Judges the exit code of the handler that is called before a resync.
pub fn handler_verdict(side: Side, exit_code: u8) -> HandlerVerdict {
    match (side, exit_code) {
        (_, 0) | (Side::Source, HANDLER_UNKNOWN) => HandlerVerdict::Go,
        _ => HandlerVerdict::Disconnect,
    }
}

/// The change to ask for (verbose, soft).
pub fn start(own: &State, side: Side) -> Result<Change, StartRefusal> {
    if is_resync(own.conn) {
        return Err(StartRefusal::AlreadyRunning);
    }
    if !is_connected(own.conn) || is_failed_or_less(own.disk) {
        return Err(StartRefusal::TooLate);
    }
    Ok(match side {
        Side::Source => Change {
            pdsk: Some(DiskState::Inconsistent),
            ..Change::conn(ConnState::SyncSource)
        },
        Side::Target => Change {
            disk: Some(DiskState::Inconsistent),
            ..Change::conn(ConnState::SyncTarget)
        },
    })
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
        let t = start(&CONNECTED, Side::Target).unwrap();
        assert_eq!(
            (t.conn, t.disk, t.pdsk),
            (
                Some(ConnState::SyncTarget),
                Some(DiskState::Inconsistent),
                None
            )
        );
        let s = start(&CONNECTED, Side::Source).unwrap();
        assert_eq!(
            (s.conn, s.disk, s.pdsk),
            (
                Some(ConnState::SyncSource),
                None,
                Some(DiskState::Inconsistent)
            )
        );
    }

    #[test]
    fn a_resync_starts_once_and_only_while_it_can() {
        let at = |conn, disk| {
            let own = State {
                conn,
                disk,
                ..CONNECTED
            };
            start(&own, Side::Target)
        };
        let running = Err(StartRefusal::AlreadyRunning);
        assert_eq!(at(ConnState::PausedSyncT, DiskState::Inconsistent), running);
        let late = Err(StartRefusal::TooLate);
        assert_eq!(at(ConnState::NetworkFailure, DiskState::UpToDate), late);
        assert_eq!(at(ConnState::WfSyncUuid, DiskState::Failed), late);
        assert!(at(ConnState::Behind, DiskState::Inconsistent).is_ok());
    }

    #[test]
    fn the_handlers_exit_code() {
        assert_eq!(handler_verdict(Side::Target, 0), HandlerVerdict::Go);
        assert_eq!(handler_verdict(Side::Target, 3), HandlerVerdict::Disconnect);
        assert_eq!(handler_verdict(Side::Source, 3), HandlerVerdict::Go);
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
