// SPDX-License-Identifier: GPL-2.0-only

//! What an administrator configures: the lower disk, the connection, the resource.
//!
//! Numbers, ranges and defaults are those of DRBD 8.4 (`include/uapi/linux/drbd_genl.h` and `drbd_limits.h`).

use super::choices::{
    AfterSb0p, AfterSb1p, AfterSb2p, Fencing, OnCongestion, OnIoError, OnNoData, Protocol,
    ReadBalancing, RrConflict,
};
use super::nest::{bit, nests, Field, Nest, Nested, Refusal, Secrets};
use super::nlattr::{Full, Reader, Writer, NESTED};
use super::table::{
    choice, flag, number, text,
    Unit::{Bytes, Count, KibPerSecond, Seconds, Sectors, Tenths},
    Wire::{I32, U32, U64},
};
use super::text::{Secret, Text};

nests! {
    /// The lower disk of a volume: section `disk`.
    pub struct DiskConf = 3 marked {
        /// Path of the data device.
        1 backing_dev: Text<128>, text("backing-dev", 128).required().invariant();
        /// Path of the metadata device.
        2 meta_dev: Text<128>, text("meta-dev", 128).required().invariant();
        /// Slot on the metadata device, or one of `MD_INDEX_*`.
        3 meta_dev_idx: i32, number(I32, "meta-dev-idx", (-3, 0x7fff_ffff), 0, Count).required().invariant();
        /// Use only so much of the disk (0: all).
        4 disk_size: u64, number(U64, "size", (0, 2 << 40), 0, Sectors).invariant().config();
        /// Without effect since bios are split by the block layer.
        5 max_bio_bvecs: u32, number(U32, "max-bio-bvecs", (0, 128), 0, Count).invariant().config();
        /// When the disk fails an I/O.
        6 on_io_error: OnIoError, choice("on-io-error", OnIoError::NAMES, OnIoError::DEFAULT).config();
        /// When the peer's fate is unknown.
        7 fencing: Fencing, choice("fencing", Fencing::NAMES, Fencing::DEFAULT).config();
        /// Fixed resync rate, and the controller's start value.
        8 resync_rate: u32, number(U32, "resync-rate", (1, 4 << 20), 250, KibPerSecond).config();
        /// Resync only when that minor has finished (-1: at once).
        9 resync_after: i32, number(I32, "resync-after", (-1, (1 << 20) - 1), -1, Count).config();
        /// Size of the activity log in extents of 4 MiB.
        10 al_extents: u32, number(U32, "al-extents", (67, 65534), 1237, Count).config();
        /// How far the resync controller plans ahead (0: fixed rate).
        11 c_plan_ahead: u32, number(U32, "c-plan-ahead", (0, 300), 20, Tenths).config();
        /// Delay that the controller aims for when `c-fill-target` is 0.
        12 c_delay_target: u32, number(U32, "c-delay-target", (1, 100), 10, Tenths).config();
        /// Amount in flight that the controller aims for.
        13 c_fill_target: u32, number(U32, "c-fill-target", (0, 1 << 20), 100, Sectors).config();
        /// Upper bound of the controlled rate.
        14 c_max_rate: u32, number(U32, "c-max-rate", (250, 4 << 20), 102_400, KibPerSecond).config();
        /// The rate below which resync does not yield to the application.
        15 c_min_rate: u32, number(U32, "c-min-rate", (0, 4 << 20), 250, KibPerSecond).config();
        /// Order writes by barriers.
        16 disk_barrier: bool, flag("disk-barrier", false).config();
        /// Order writes by flushes.
        17 disk_flushes: bool, flag("disk-flushes", true).config();
        /// Order writes by waiting.
        18 disk_drain: bool, flag("disk-drain", true).config();
        /// Flush metadata writes.
        19 md_flushes: bool, flag("md-flushes", true).config();
        /// Give a silent disk up after this time (0: never).
        20 disk_timeout: u32, number(U32, "disk-timeout", (0, 6000), 0, Tenths).config();
        /// Where reads go.
        21 read_balancing: ReadBalancing, choice("read-balancing", ReadBalancing::NAMES, ReadBalancing::DEFAULT).config();
        /// Keep the activity log up to date.
        23 al_updates: bool, flag("al-updates", true).config();
        /// Pass discards on that a disk answers with zeroes only where aligned.
        24 discard_zeroes_if_aligned: bool, flag("discard-zeroes-if-aligned", true).config();
        /// Resync blocks of zeroes of that size as discards (0: never).
        25 rs_discard_granularity: u32, number(U32, "rs-discard-granularity", (0, 1 << 20), 0, Bytes).config();
        /// Do not offer WRITE SAME.
        26 disable_write_same: bool, flag("disable-write-same", false).config();
    }

    /// A resource: section `options`.
    pub struct ResourceOpts = 4 marked {
        /// CPUs for this resource's threads, as a hexadecimal mask.
        1 cpu_mask: Text<32>, text("cpu-mask", 32).config();
        /// I/O while no good data is reachable.
        2 on_no_data: OnNoData, choice("on-no-data-accessible", OnNoData::NAMES, OnNoData::DEFAULT).config();
    }

    /// A connection: section `net`.
    pub struct NetConf = 5 marked {
        /// Proves to the peer who we are.
        1 shared_secret: Secret<64>, text("shared-secret", 64).sensitive().config();
        /// Digest for that proof.
        2 cram_hmac_alg: Text<64>, text("cram-hmac-alg", 64).config();
        /// Digest over every data packet.
        3 integrity_alg: Text<64>, text("data-integrity-alg", 64).config();
        /// Digest for online verify.
        4 verify_alg: Text<64>, text("verify-alg", 64).config();
        /// Digest for checksum-based resync.
        5 csums_alg: Text<64>, text("csums-alg", 64).config();
        /// When a write is complete.
        6 wire_protocol: Protocol, choice("protocol", Protocol::NAMES, Protocol::DEFAULT).config();
        /// Time between attempts to connect.
        7 connect_int: u32, number(U32, "connect-int", (1, 120), 10, Seconds).config();
        /// The peer is gone when it does not answer for so long.
        8 timeout: u32, number(U32, "timeout", (1, 600), 60, Tenths).config();
        /// Ping after so much silence.
        9 ping_int: u32, number(U32, "ping-int", (1, 120), 10, Seconds).config();
        /// The answer to a ping must come within.
        10 ping_timeo: u32, number(U32, "ping-timeout", (1, 300), 5, Tenths).config();
        /// Size of the send buffer (0: automatic).
        11 sndbuf_size: u32, number(U32, "sndbuf-size", (0, 10 << 20), 0, Bytes).config();
        /// Size of the receive buffer (0: automatic).
        12 rcvbuf_size: u32, number(U32, "rcvbuf-size", (0, 10 << 20), 0, Bytes).config();
        /// Drop a peer that left a request unanswered for so many timeouts (0: never).
        13 ko_count: u32, number(U32, "ko-count", (0, 200), 7, Count).config();
        /// Pages reserved for what the peer sends.
        14 max_buffers: u32, number(U32, "max-buffers", (32, 131_072), 2048, Count).config();
        /// Most writes between two barriers.
        15 max_epoch_size: u32, number(U32, "max-epoch-size", (1, 20_000), 2048, Count).config();
        /// Accepted; the block layer no longer plugs.
        16 unplug_watermark: u32, number(U32, "unplug-watermark", (1, 131_072), 128, Count).config();
        /// Split brain, no primary.
        17 after_sb_0p: AfterSb0p, choice("after-sb-0pri", AfterSb0p::NAMES, AfterSb0p::DEFAULT).config();
        /// Split brain, one primary.
        18 after_sb_1p: AfterSb1p, choice("after-sb-1pri", AfterSb1p::NAMES, AfterSb1p::DEFAULT).config();
        /// Split brain, two primaries.
        19 after_sb_2p: AfterSb2p, choice("after-sb-2pri", AfterSb2p::NAMES, AfterSb2p::DEFAULT).config();
        /// Roles contradict the generations.
        20 rr_conflict: RrConflict, choice("rr-conflict", RrConflict::NAMES, RrConflict::DEFAULT).config();
        /// The send path is congested.
        21 on_congestion: OnCongestion, choice("on-congestion", OnCongestion::NAMES, OnCongestion::DEFAULT).config();
        /// Amount in flight that counts as congestion (0: never).
        22 cong_fill: u32, number(U32, "congestion-fill", (0, 10 << 21), 0, Sectors).config();
        /// Active extents that count as congestion.
        23 cong_extents: u32, number(U32, "congestion-extents", (67, 65534), 1237, Count).config();
        /// Both nodes may be primary.
        24 two_primaries: bool, flag("allow-two-primaries", false).config();
        /// Resolve a split brain at our expense.
        25 discard_my_data: bool, flag("discard-my-data", false).invariant().argument();
        /// Leave corking to us, not to the kernel's heuristics.
        26 tcp_cork: bool, flag("tcp-cork", true).config();
        /// Apply the after-split-brain policies even to differing histories.
        27 always_asbp: bool, flag("always-asbp", false).config();
        /// Connect, say what would be synced, disconnect.
        28 tentative: bool, flag("tentative", false).invariant().argument();
        /// Compress bitmaps.
        29 use_rle: bool, flag("use-rle", true).config();
        /// Checksum-based resync only after a primary crashed.
        33 csums_after_crash_only: bool, flag("csums-after-crash-only", false).config();
        /// Bound for the check of a new socket (0: `ping-timeout`).
        34 sock_check_timeo: u32, number(U32, "socket-check-timeout", (0, 300), 0, Tenths).config();
    }
}

/// `meta-disk internal;` of DRBD 0.7.
pub const MD_INDEX_INTERNAL: i32 = -1;
/// `meta-disk DEV;`
pub const MD_INDEX_FLEX_EXT: i32 = -2;
/// `meta-disk internal;`
pub const MD_INDEX_FLEX_INT: i32 = -3;
