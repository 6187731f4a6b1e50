// SPDX-License-Identifier: GPL-2.0-only

//! What the receiving node answers to a write of the peer, and how two primaries settle a conflict.

use crate::interval::Range;

/// Why the peer sent us data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A write of the peer's application.
    Application {
        /// It wants to know that it was received (protocol B).
        receipt: bool,
        /// It wants to know that it was written (protocol C, or a resync is running).
        written: bool,
        /// Writing it may clear out-of-sync bits.
        may_set_in_sync: bool,
    },
    /// The answer to our own resync request.
    Resync,
}

/// The packet that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// P_WRITE_ACK.
    Write,
    /// P_RS_WRITE_ACK: written, and the bits of both sides can be cleared.
    ResyncWrite,
    /// P_NEG_ACK.
    Negative,
}

/// What follows from the end of a write on our disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The answer, if the peer wants one.
    pub ack: Option<Ack>,
    /// Clear our out-of-sync bits of the range.
    pub set_in_sync: bool,
    /// Set our out-of-sync bits of the range.
    pub set_out_of_sync: bool,
    /// Count it as a failed resync block.
    pub resync_failed: bool,
}

/// Whether a protocol B write is acknowledged as soon as it is received.
pub fn ack_on_receipt(origin: Origin) -> bool {
    matches!(
        origin,
        Origin::Application {
            receipt: true,
            written: false,
            ..
        }
    )
}

/// Our disk completed a write of the peer. `resync_running`: the replication state is one in which
/// an application write also serves the resync (SyncSource to PausedSyncT).
pub fn written(origin: Origin, ok: bool, resync_running: bool) -> Outcome {
    match origin {
        Origin::Resync => Outcome {
            ack: Some(if ok { Ack::ResyncWrite } else { Ack::Negative }),
            set_in_sync: ok,
            set_out_of_sync: false,
            resync_failed: !ok,
        },
        Origin::Application {
            written,
            may_set_in_sync,
            ..
        } => {
            let in_sync = ok && resync_running && may_set_in_sync;
            let positive = if in_sync {
                Ack::ResyncWrite
            } else {
                Ack::Write
            };
            let ack = match (ok, written) {
                (true, true) => Some(positive),
                (true, false) => None,
                (false, _) => Some(Ack::Negative),
            };
            // What the peer is not told about, it must not believe to be in sync.
            let set_in_sync = in_sync && written;
            Outcome {
                ack,
                set_in_sync,
                set_out_of_sync: !ok,
                resync_failed: false,
            }
        }
    }
}

/// What a node does with a write of the other primary that overlaps one of its own in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Ours wins and covers all of it: P_SUPERSEDED, the peer's data is dropped.
    Supersede,
    /// Ours wins but covers only a part: the peer must write again, P_RETRY_WRITE.
    AskRetry,
    /// The peer resolves conflicts: our write waits for its verdict, then theirs is written.
    WaitForVerdict,
    /// Ours is settled with the peer, only our disk is busy: write theirs after it.
    WaitForDisk,
}

/// Two primaries write the same sectors at the same time. Exactly one node of a connection resolves
/// conflicts, so both come to the same content. `ours_pending`: the peer has not answered ours, though
/// everything that it sent before theirs has been seen.
///
/// A peer that has answered ours wrote it before it began theirs: theirs is the younger one, and comes
/// after ours on our disk, too, however slow that is. (8.4 drops it, and the disks differ.)
pub fn conflict(we_resolve: bool, ours: &Range, theirs: &Range, ours_pending: bool) -> Conflict {
    if !ours_pending {
        Conflict::WaitForDisk
    } else if !we_resolve {
        Conflict::WaitForVerdict
    } else if ours.contains(theirs) {
        Conflict::Supersede
    } else {
        Conflict::AskRetry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: Origin = Origin::Application {
        receipt: false,
        written: true,
        may_set_in_sync: true,
    };
    const B: Origin = Origin::Application {
        receipt: true,
        written: false,
        may_set_in_sync: false,
    };
    const A: Origin = Origin::Application {
        receipt: false,
        written: false,
        may_set_in_sync: false,
    };

    #[test]
    fn each_protocol_gets_its_ack() {
        assert_eq!(written(C, true, false).ack, Some(Ack::Write));
        assert_eq!(written(B, true, false).ack, None);
        assert_eq!(written(A, true, false).ack, None);
        assert!(ack_on_receipt(B) && !ack_on_receipt(A) && !ack_on_receipt(C));
    }

    #[test]
    fn failure_is_always_told_and_marked() {
        for origin in [A, B, C] {
            let o = written(origin, false, true);
            assert_eq!(
                (o.ack, o.set_out_of_sync, o.set_in_sync),
                (Some(Ack::Negative), true, false)
            );
        }
        let o = written(Origin::Resync, false, true);
        assert_eq!(
            (o.ack, o.resync_failed, o.set_in_sync),
            (Some(Ack::Negative), true, false)
        );
    }

    #[test]
    fn bits_are_cleared_only_with_a_resync_ack() {
        for origin in [A, B, C, Origin::Resync] {
            for ok in [false, true] {
                for running in [false, true] {
                    let o = written(origin, ok, running);
                    assert_eq!(o.set_in_sync, o.ack == Some(Ack::ResyncWrite));
                }
            }
        }
        assert!(written(C, true, true).set_in_sync);
    }

    #[test]
    fn one_side_resolves() {
        let big = Range {
            volume: 0,
            sector: 0,
            sectors: 16,
        };
        let small = Range {
            volume: 0,
            sector: 8,
            sectors: 8,
        };
        assert_eq!(conflict(true, &big, &small, true), Conflict::Supersede);
        assert_eq!(conflict(true, &small, &big, true), Conflict::AskRetry);
        assert_eq!(
            conflict(false, &small, &big, true),
            Conflict::WaitForVerdict
        );
        assert_eq!(conflict(false, &small, &big, false), Conflict::WaitForDisk);
        // The peer wrote ours before it began its own: nobody gives way.
        assert_eq!(conflict(true, &big, &small, false), Conflict::WaitForDisk);
        assert_eq!(conflict(true, &small, &big, false), Conflict::WaitForDisk);
    }
}
