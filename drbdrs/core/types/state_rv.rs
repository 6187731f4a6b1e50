// SPDX-License-Identifier: GPL-2.0-only

//! Results of state changes.

/// Declares the results with DRBD's numbers, and its sentences for the refusals.
macro_rules! results {
    ($( $(#[$doc:meta])* $variant:ident = $number:literal, $text:literal; )+) => {
        /// The result of a request to change a state: positive for success, negative for a refusal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum StateRv {
            $( $(#[$doc])* $variant = $number, )+
        }

        impl StateRv {
            /// From the number in P_STATE_CHG_REPLY or a netlink reply.
            pub const fn from_wire(number: i32) -> Option<Self> {
                match number {
                    $( $number => Some(Self::$variant), )+
                    _ => None,
                }
            }

            /// The sentence that user space and the log show.
            pub const fn text(self) -> &'static str {
                match self {
                    $( Self::$variant => $text, )+
                }
            }
        }
    };
}

results! {
    /// The peer need not be asked after all.
    CwNoNeed = 4, "No need to ask the peer";
    /// The peer agreed.
    CwSuccess = 3, "Peer agreed";
    /// The state already is so.
    NothingToDo = 2, "Nothing to do";
    /// Done.
    Success = 1, "Success";
    /// No result yet.
    UnknownError = 0, "Unknown error";
    /// Both would be primary.
    TwoPrimaries = -1, "Multiple primaries not allowed by config";
    /// A primary would have no good data.
    NoUpToDateDisk = -2, "Need access to UpToDate data";
    /// A resync needs a disk here.
    NoLocalDisk = -4, "Can not resync without local disk";
    /// A resync needs a disk at the peer.
    NoRemoteDisk = -5, "Can not resync without remote disk";
    /// A connected disk is never outdated.
    ConnectedOutdates = -6, "Refusing to be Outdated while Connected";
    /// The peer might be primary.
    PrimaryNop = -7, "Refusing to be Primary while peer is not outdated";
    /// Busy already.
    ResyncRunning = -8, "Can not start OV/resync since it is already active";
    /// There is no connection.
    AlreadyStandalone = -9, "Can not disconnect a StandAlone device";
    /// The peer refused.
    CwFailedByPeer = -10, "State change was refused by peer node";
    /// There is no disk.
    IsDiskless = -11, "Device is diskless, the requested operation requires a disk";
    /// Somebody has it open.
    DeviceInUse = -12, "Device is held open by someone";
    /// The connection is not configured.
    NoNetConfig = -13, "Have no net/connection configuration";
    /// Verify needs an algorithm.
    NoVerifyAlg = -14, "Need a verify algorithm to start online verify";
    /// There is no connection.
    NeedConnection = -15, "Need a connection to start verify or resync";
    /// The disk is worse than outdated.
    LowerThanOutdated = -16, "Disk state is lower than outdated";
    /// The peer is too old.
    NotSupported = -17, "Peer does not support protocol";
    /// Something is under way: try again.
    InTransientState = -18, "In transient state, retry after next state change";
    /// Both sides asked at once.
    ConcurrentStChg = -19, "Concurrent state changes detected and aborted";
    /// The peer is primary on another volume.
    OVolPeerPri = -20, "Other vol primary on peer not allowed by config";
    /// The peer cannot be outdated without a connection.
    OutdateWoConn = -21, "Need a connection for a graceful disconnect/outdate peer";
}

impl StateRv {
    /// The number in P_STATE_CHG_REPLY and netlink replies.
    pub const fn to_wire(self) -> i32 {
        self as i32
    }

    /// Was the change made, or need not be made?
    pub const fn is_success(self) -> bool {
        self.to_wire() >= Self::Success.to_wire()
    }

    /// Was it refused? "No result yet" is neither.
    pub const fn is_refusal(self) -> bool {
        self.to_wire() < Self::UnknownError.to_wire()
    }
}

impl core::fmt::Display for StateRv {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_divide_into_success_and_refusal() {
        let mut known = 0;
        for number in -64..64 {
            if let Some(rv) = StateRv::from_wire(number) {
                known += 1;
                assert_eq!(rv.to_wire(), number);
                assert_eq!(rv.is_success(), number >= 1);
                assert_eq!(rv.is_refusal(), number < 0);
                assert!(!rv.text().is_empty());
            }
        }
        assert_eq!(known, 25);
    }
}
