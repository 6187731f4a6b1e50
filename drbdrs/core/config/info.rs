// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel reports: states, statistics, notifications.

use super::nest::{bit, nests, Field, Nest, Nested, Refusal, Secrets};
use super::nlattr::{Full, Reader, Writer, NESTED};
use super::table::{bytes, flag, text, wide, word};
use super::text::{Bytes, Text};

nests! {
    /// Everything about a minor, as `GET_STATUS` and the old events tell it.
    pub struct StateInfo = 8 bare {
        /// Why this is sent: `Reason`.
        1 sib_reason: u32, word("reason");
        /// The state word.
        2 current_state: u32, word("current-state");
        /// Generation of the data that was exposed to the application.
        4 ed_uuid: u64, wide("ed-uuid");
        /// Size in sectors.
        3 capacity: u64, wide("capacity");
        /// KiB sent, in sectors; the following count likewise.
        15 send_cnt: Option<u64>, wide("send");
        /// Received.
        16 recv_cnt: Option<u64>, wide("recv");
        /// Read from the local disk.
        17 read_cnt: Option<u64>, wide("read");
        /// Written to the local disk.
        18 writ_cnt: Option<u64>, wide("writ");
        /// Writes of the activity log.
        19 al_writ_cnt: Option<u64>, wide("al-writ");
        /// Writes of the bitmap.
        20 bm_writ_cnt: Option<u64>, wide("bm-writ");
        /// Application requests not completed.
        21 ap_bio_cnt: Option<u32>, word("ap-bio");
        /// Requests that the peer has not answered.
        22 ap_pending_cnt: Option<u32>, word("ap-pending");
        /// Resync requests that the peer has not answered.
        23 rs_pending_cnt: Option<u32>, word("rs-pending");
        /// Current, bitmap, two history UUIDs (while attached, like all below up to `bits_rs_failed`).
        7 uuids: Option<Bytes<32>>, bytes("uuids", 32);
        /// Flags of the superblock.
        8 disk_flags: Option<u32>, word("disk-flags");
        /// Bits in the bitmap.
        9 bits_total: Option<u64>, wide("bits-total");
        /// Bits that are set.
        10 bits_oos: Option<u64>, wide("bits-oos");
        /// Bits when the resync started.
        11 bits_rs_total: Option<u64>, wide("bits-rs-total");
        /// Blocks that could not be resynced.
        12 bits_rs_failed: Option<u64>, wide("bits-rs-failed");
        /// State before the change.
        5 prev_state: Option<u32>, word("prev-state");
        /// State after it.
        6 new_state: Option<u32>, word("new-state");
        /// The handler that is called.
        13 helper: Option<Text<32>>, text("helper", 32);
        /// What it returned.
        14 helper_exit_code: Option<u32>, word("helper-exit-code");
    }

    /// State of a resource.
    pub struct ResourceInfo = 15 marked {
        /// Role.
        1 role: u32, word("role");
        /// I/O suspended by the administrator.
        2 susp: bool, flag("susp", false);
        /// I/O suspended for lack of data.
        3 susp_nod: bool, flag("susp-nod", false);
        /// I/O suspended while the peer is being fenced.
        4 susp_fen: bool, flag("susp-fen", false);
    }

    /// State of a volume.
    pub struct DeviceInfo = 16 marked {
        /// Disk state.
        1 disk_state: u32, word("disk-state");
    }

    /// State of a connection.
    pub struct ConnectionInfo = 17 marked {
        /// Connection state.
        1 connection_state: u32, word("connection-state");
        /// The peer's role.
        2 role: u32, word("role");
    }

    /// State of a volume on a peer.
    pub struct PeerDeviceInfo = 18 marked {
        /// Replication state.
        1 repl_state: u32, word("repl-state");
        /// The peer's disk state.
        2 disk_state: u32, word("disk-state");
        /// Resync paused by our administrator.
        3 susp_user: u32, word("susp-user");
        /// Resync paused by the peer's.
        4 susp_peer: u32, word("susp-peer");
        /// Resync waits for another one.
        5 susp_dependency: u32, word("susp-dependency");
    }

    /// Counters of a resource.
    pub struct ResourceStatistics = 19 marked {
        /// How writes are ordered: none, drain, flush, barrier.
        1 write_ordering: u32, word("write-ordering");
    }

    /// Counters of a volume.
    pub struct DeviceStatistics = 20 marked {
        /// Size in sectors.
        1 size: u64, wide("size");
        /// Sectors read.
        2 read: u64, wide("read");
        /// Sectors written.
        3 write: u64, wide("write");
        /// Writes of the activity log.
        4 al_writes: u64, wide("al-writes");
        /// Writes of the bitmap.
        5 bm_writes: u64, wide("bm-writes");
        /// Application requests not completed.
        6 upper_pending: u32, word("upper-pending");
        /// Local I/O not completed.
        7 lower_pending: u32, word("lower-pending");
        /// Application I/O waits.
        8 upper_blocked: bool, flag("upper-blocked", false);
        /// The lower disk is congested.
        9 lower_blocked: bool, flag("lower-blocked", false);
        /// The activity log is not kept.
        10 al_suspended: bool, flag("al-suspended", false);
        /// Generation of the data that was exposed to the application.
        11 exposed_data_uuid: u64, wide("exposed-data-uuid");
        /// Current UUID.
        12 current_uuid: u64, wide("current-uuid");
        /// Flags of the superblock.
        13 disk_flags: u32, word("disk-flags");
        /// Older UUIDs.
        14 history_uuids: Bytes<256>, bytes("history-uuids", 256);
    }

    /// Counters of a connection.
    pub struct ConnectionStatistics = 21 marked {
        /// The send path is congested.
        1 congested: bool, flag("congested", false);
    }

    /// Counters of a volume on a peer.
    pub struct PeerDeviceStatistics = 22 marked {
        /// Sectors received.
        1 received: u64, wide("received");
        /// Sectors sent.
        2 sent: u64, wide("sent");
        /// Requests that the peer has not answered.
        3 pending: u32, word("pending");
        /// Requests of the peer that we have not answered.
        4 unacked: u32, word("unacked");
        /// Sectors out of sync.
        5 out_of_sync: u64, wide("out-of-sync");
        /// Sectors that could not be resynced.
        6 resync_failed: u64, wide("resync-failed");
        /// Bitmap UUID.
        7 bitmap_uuid: u64, wide("bitmap-uuid");
        /// Flags.
        9 flags: u32, word("flags");
    }

    /// What a notification is.
    pub struct NotificationHeader = 23 marked {
        /// `NotificationType`, with `CONTINUES` when more messages belong to the same change.
        1 nh_type: u32, word("type");
    }

    /// A call of a handler.
    pub struct HelperInfo = 24 marked {
        /// Which.
        1 name: Text<32>, text("helper-name", 32);
        /// What it returned.
        2 status: u32, word("helper-status");
    }
}

/// More messages belong to the same change.
pub const NOTIFY_CONTINUES: u32 = 0x8000;

/// What a notification says about its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum NotificationType {
    /// It was there when asked.
    Exists = 0,
    /// It is new.
    Create = 1,
    /// It changed.
    Change = 2,
    /// It is gone.
    Destroy = 3,
    /// A handler is called.
    Call = 4,
    /// A handler returned.
    Response = 5,
}

impl NotificationType {
    /// From `nh_type`, whatever its flags.
    pub const fn from_wire(nh_type: u32) -> Option<Self> {
        Some(match nh_type & !NOTIFY_CONTINUES {
            0 => Self::Exists,
            1 => Self::Create,
            2 => Self::Change,
            3 => Self::Destroy,
            4 => Self::Call,
            5 => Self::Response,
            _ => return None,
        })
    }
}

/// Why a `StateInfo` is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// Somebody asked.
    GetStatusReply = 1,
    /// The state changed.
    StateChange = 2,
    /// A handler is about to be called.
    HelperPre = 3,
    /// A handler returned.
    HelperPost = 4,
    /// A resync advanced.
    SyncProgress = 5,
}
