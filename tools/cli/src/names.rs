// SPDX-License-Identifier: GPL-2.0-only

//! The words for DRBD's numbers: states, return codes, exit codes.

use drbd_core::types::{ConnState, DiskState, Role, StateRv};

/// The state of a minor, out of the 32-bit word that the kernel reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateWord(pub u32);

impl StateWord {
    fn bits(self, shift: u32, width: u32) -> u32 {
        (self.0 >> shift) & ((1 << width) - 1)
    }

    /// Our role.
    pub fn role(self) -> &'static str {
        role(self.bits(0, 2))
    }

    /// The peer's role.
    pub fn peer(self) -> &'static str {
        role(self.bits(2, 2))
    }

    /// Number of the connection state.
    pub fn conn_number(self) -> u32 {
        self.bits(4, 5)
    }

    /// Connection and replication state.
    pub fn conn(self) -> &'static str {
        ConnState::from_wire(self.conn_number()).map_or("Unknown", ConnState::name)
    }

    /// Number of the disk state.
    pub fn disk_number(self) -> u32 {
        self.bits(9, 4)
    }

    /// Our disk.
    pub fn disk(self) -> &'static str {
        disk(self.disk_number())
    }

    /// The peer's disk.
    pub fn pdsk(self) -> &'static str {
        disk(self.bits(13, 4))
    }

    /// One of the flags behind the states: susp, aftr_isp, peer_isp, user_isp, susp_nod, susp_fen.
    pub fn flag(self, number: u32) -> bool {
        self.bits(17 + number, 1) != 0
    }
}

/// `disk` number of a device without disk.
pub const DISKLESS: u32 = 0;
/// `disk` number of a good disk.
pub const UP_TO_DATE: u32 = 8;
/// Number of the connection state `Connected`; what is above it is connected, too.
pub const CONNECTED: u32 = 10;

/// A role's name.
pub fn role(number: u32) -> &'static str {
    Role::from_wire(number).unwrap_or(Role::Unknown).name()
}

/// A connection's state as `status` and `events2` name it.
pub fn connection(number: u32) -> &'static str {
    match ConnState::from_wire(number) {
        Some(ConnState::WfConnection) => "Connecting",
        Some(state) if number < 8 => state.name(),
        _ => "Connected",
    }
}

/// A peer device's replication state.
pub fn replication(number: u32) -> &'static str {
    match ConnState::from_wire(number) {
        _ if number < CONNECTED => "Off",
        Some(ConnState::Connected) => "Established",
        Some(state) => state.name(),
        None => "Unknown",
    }
}

/// Whether a replication state moves or compares data.
pub fn has_progress(replication: u32) -> bool {
    (16..=21).contains(&replication)
}

/// A disk's state.
pub fn disk(number: u32) -> &'static str {
    DiskState::from_wire(number).map_or("Unknown", DiskState::name)
}

/// How writes are ordered.
pub fn write_ordering(number: u32) -> &'static str {
    match number {
        0 => "none",
        1 => "drain",
        2 => "flush",
        3 => "barrier",
        _ => "unknown",
    }
}

/// The return code of success.
pub const NO_ERROR: i32 = 101;

/// What a return code means, as drbdsetup has always said it; none for codes that nobody knows.
pub fn code(code: i32) -> Option<&'static str> {
    if code <= 0 {
        return StateRv::from_wire(code).map(StateRv::text);
    }
    let (_, text) = CODES.iter().find(|(number, _)| *number == code)?;
    Some(text)
}

const CODES: &[(i32, &str)] = &[
    (102, "Local address(port) already in use."),
    (103, "Remote address(port) already in use."),
    (104, "Can not open backing device."),
    (105, "Can not open meta device."),
    (107, "Lower device is not a block device."),
    (108, "Meta device is not a block device."),
    (111, "Low.dev. smaller than requested DRBD-dev. size."),
    (112, "Meta device too small."),
    (114, "Lower device is already claimed. This usually means it is mounted."),
    (115, "Meta device is already claimed."),
    (116, "Meta device index invalid."),
    (118, "IO error(s) occurred during initial access to meta-data.\n"),
    (119, "No valid meta-data signature found.\n\n\t==> Use 'drbdadm create-md res' to initialize meta-data area. <==\n"),
    (120, "The 'cram-hmac-alg' you specified is not known in the kernel.\n"),
    (121, "The 'cram-hmac-alg' is not a digest."),
    (122, "kmalloc() failed. Out of memory?"),
    (123, "--discard-my-data not allowed when primary."),
    (124, "Device is attached to a disk (use detach first)"),
    (125, "Device has a net-config (use disconnect first)"),
    (126, "UnknownMandatoryTag"),
    (127, "Device minor not allocated"),
    (129, "interrupted by Signal"),
    (130, "Resize not allowed during resync."),
    (131, "Need one Primary node to resize."),
    (132, "The resync-after minor number is invalid"),
    (133, "This would cause a resync-after dependency cycle"),
    (134, "Sync-pause flag is already set"),
    (135, "Sync-pause flag is already cleared"),
    (137, "The packet number is invalid"),
    (138, "Device does not have a disk-config"),
    (139, "Protocol C required"),
    (140, "vmalloc() failed. Out of memory?"),
    (141, "The 'data-integrity-alg' you specified is not known in the kernel."),
    (142, "The 'data-integrity-alg' is not a digest."),
    (143, "Cpu mask is out of range or not understood"),
    (144, "The 'csums-alg' you specified is not known in the kernel."),
    (145, "The 'csums-alg' is not a digest."),
    (146, "The 'verify-alg' you specified is not known in the kernel."),
    (147, "The 'verify-alg' is not a digest."),
    (148, "Can not change csums-alg while resync is in progress"),
    (149, "Can not change verify-alg while online verify runs"),
    (150, "Can only attach to the data we lost last (see kernel log)."),
    (151, "Need to be StandAlone"),
    (152, "Not allowed: CAP_SYS_ADMIN is missing"),
    (153, "Needs a peer that speaks protocol 93 or newer"),
    (154, "Fencing policy resource-and-stonith only with prot B or C allowed."),
    (155, "on-congestion policy pull-ahead only with prot A allowed"),
    (156, "Sync-pause flag is already cleared.\nNote: Resync pause caused by a local sync-after dependency."),
    (157, "Sync-pause flag is already cleared.\nNote: Resync pause caused by the peer node."),
    (158, "Unknown resource"),
    (159, "Resource still in use (delete all minors first)"),
    (160, "Minor still configured (down it first)"),
    (161, "Minor or volume exists already (delete it first)"),
    (162, "Invalid configuration request"),
    (163, "Needs a peer that speaks protocol 100 or newer"),
    (164, "Can not clear allow_two_primaries as long as there is a primary on both sides"),
    (165, "Unclean meta-data found.\nYou need to 'drbdadm apply-al res'\n"),
    (166, "DRBD need to be connected for online MD layout change\n"),
    (167, "Resulting AL area too big\n"),
    (168, "Resulting AL are too small\n"),
    (169, "Resulting AL does not fit into available meta data space\n"),
    (170, "Implicit device shrinking not allowed. See kernel log.\n"),
];

/// The exit code that a kernel's return code becomes.
pub fn exit_code(ret: i32) -> i32 {
    match ret {
        NO_ERROR | 1..=4 => 0,
        ret if code(ret).is_none() => 20,
        102.. => 10,
        -2 => 17,
        -4 => 16,
        -16 => 5,
        _ => 11,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_word_of_the_stock_driver() {
        // 0x2c82 of tests/golden/netlink: what `drbdsetup role 0` was answered, and printed.
        let state = StateWord(0xc082);
        assert_eq!((state.role(), state.peer()), ("Secondary", "Unknown"));
        assert_eq!(
            (state.conn(), state.disk(), state.pdsk()),
            ("WFConnection", "Diskless", "DUnknown")
        );
        assert!(!(0..6).any(|flag| state.flag(flag)));
    }

    #[test]
    fn exit_codes_as_tabled() {
        let table = [
            (101, 0),
            (1, 0),
            (2, 0),
            (127, 10),
            (0, 11),
            (-1, 11),
            (-2, 17),
            (-4, 16),
            (-16, 5),
            (-99, 20),
            (5, 20),
            (200, 20),
        ];
        for (ret, exit) in table {
            assert_eq!(exit_code(ret), exit, "{ret}");
        }
    }
}
