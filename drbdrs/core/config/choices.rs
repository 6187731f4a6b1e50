// SPDX-License-Identifier: GPL-2.0-only

//! The options whose value is a word: the words, and their numbers on the wire.

/// Declares an enum with DRBD's numbers and drbd.conf's words.
macro_rules! choices {
    ($(
        $(#[$doc:meta])*
        pub enum $name:ident default $default:ident {
            $( $(#[$vdoc:meta])* $variant:ident = $number:literal, $word:literal; )+
        }
    )+) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum $name {
            $( $(#[$vdoc])* $variant = $number, )+
        }

        impl $name {
            /// The words with their numbers.
            pub const NAMES: &'static [(&'static str, u32)] = &[$(($word, $number)),+];
            /// The number of the default.
            pub const DEFAULT: u32 = $name::$default as u32;

            /// From the number on the wire.
            pub const fn from_wire(number: u32) -> Option<Self> {
                match number {
                    $( $number => Some($name::$variant), )+
                    _ => None,
                }
            }

            /// The number on the wire.
            pub const fn to_wire(self) -> u32 {
                self as u32
            }

            /// The word in drbd.conf.
            pub const fn name(self) -> &'static str {
                match self {
                    $( $name::$variant => $word, )+
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $name::$default
            }
        }
    )+ };
}

choices! {
    /// What happens when the local disk fails an I/O.
    pub enum OnIoError default Detach {
        /// Report it upwards; a replica then differs, marked in the bitmap.
        PassOn = 0, "pass_on";
        /// Call the handler `local-io-error`.
        CallHandler = 1, "call-local-io-error";
        /// Give the disk up, go on diskless.
        Detach = 2, "detach";
    }

    /// What a primary does with its I/O while it does not know whether the peer is primary too.
    pub enum Fencing default DontCare {
        /// Go on.
        DontCare = 0, "dont-care";
        /// Call `fence-peer`, go on meanwhile.
        ResourceOnly = 1, "resource-only";
        /// Freeze I/O, call `fence-peer`.
        ResourceAndStonith = 2, "resource-and-stonith";
    }

    /// Where reads go while both disks are up to date.
    pub enum ReadBalancing default PreferLocal {
        /// The local disk.
        PreferLocal = 0, "prefer-local";
        /// The peer's.
        PreferRemote = 1, "prefer-remote";
        /// In turn.
        RoundRobin = 2, "round-robin";
        /// The one with fewer requests pending.
        LeastPending = 3, "least-pending";
        /// The peer's while the local one is congested.
        WhenCongestedRemote = 4, "when-congested-remote";
        /// In turn by stripe of 32 KiB.
        Striping32K = 5, "32K-striping";
        /// In turn by stripe of 64 KiB.
        Striping64K = 6, "64K-striping";
        /// In turn by stripe of 128 KiB.
        Striping128K = 7, "128K-striping";
        /// In turn by stripe of 256 KiB.
        Striping256K = 8, "256K-striping";
        /// In turn by stripe of 512 KiB.
        Striping512K = 9, "512K-striping";
        /// In turn by stripe of 1 MiB.
        Striping1M = 10, "1M-striping";
    }

    /// When a replicated write is complete.
    pub enum Protocol default C {
        /// Written here and in the socket's send buffer.
        A = 1, "A";
        /// Written here and received there.
        B = 2, "B";
        /// Written on both.
        C = 3, "C";
    }

    /// After a split brain, nobody primary. The numbers are those of `AfterSb` in the protocol packet.
    pub enum AfterSb0p default Disconnect {
        /// Refuse to connect.
        Disconnect = 0, "disconnect";
        /// Drop what the node wrote that became primary last.
        DiscardYoungerPrimary = 1, "discard-younger-primary";
        /// Drop what the node wrote that became primary first.
        DiscardOlderPrimary = 2, "discard-older-primary";
        /// Drop the side without changes, if there is one.
        DiscardZeroChanges = 3, "discard-zero-changes";
        /// Drop the side with fewer changes.
        DiscardLeastChanges = 4, "discard-least-changes";
        /// Drop this side.
        DiscardLocal = 5, "discard-local";
        /// Drop the other side.
        DiscardRemote = 6, "discard-remote";
    }

    /// After a split brain, one side primary.
    pub enum AfterSb1p default Disconnect {
        /// Refuse to connect.
        Disconnect = 0, "disconnect";
        /// Apply `after-sb-0pri` if it would drop the secondary.
        Consensus = 7, "consensus";
        /// Drop the secondary.
        DiscardSecondary = 8, "discard-secondary";
        /// Apply `after-sb-0pri`; call `pri-lost-after-sb` when it drops the primary.
        CallPriLost = 9, "call-pri-lost-after-sb";
        /// Apply `after-sb-0pri`, whoever loses.
        Violently = 10, "violently-as0p";
    }

    /// After a split brain, both sides primary.
    pub enum AfterSb2p default Disconnect {
        /// Refuse to connect.
        Disconnect = 0, "disconnect";
        /// Apply `after-sb-0pri`; call `pri-lost-after-sb` on the loser.
        CallPriLost = 9, "call-pri-lost-after-sb";
        /// Apply `after-sb-0pri`, whoever loses.
        Violently = 10, "violently-as0p";
    }

    /// When the roles contradict the outcome of the comparison of generations.
    pub enum RrConflict default Disconnect {
        /// Refuse to connect.
        Disconnect = 0, "disconnect";
        /// Call `pri-lost`.
        CallPriLost = 9, "call-pri-lost";
        /// Sync to the primary.
        Violently = 10, "violently";
    }

    /// When the send path is congested (protocol A).
    pub enum OnCongestion default Block {
        /// Writers wait.
        Block = 0, "block";
        /// Stop replicating, note what changed.
        PullAhead = 1, "pull-ahead";
        /// Drop the connection.
        Disconnect = 2, "disconnect";
    }

    /// What happens to I/O when no disk with good data is reachable.
    pub enum OnNoData default IoError {
        /// It fails.
        IoError = 0, "io-error";
        /// It waits.
        SuspendIo = 1, "suspend-io";
    }
}
