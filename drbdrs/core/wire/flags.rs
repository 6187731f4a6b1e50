// SPDX-License-Identifier: GPL-2.0-only

//! The bit sets inside packets.

macro_rules! flags {
    ($(
        $(#[$doc:meta])*
        pub struct $name:ident: $int:ty {
            $( $(#[$fdoc:meta])* $flag:ident = $bit:literal; )+
        }
    )+) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name(pub $int);

        impl $name {
            $( $(#[$fdoc])* pub const $flag: Self = Self($bit); )+
            /// No flag.
            pub const NONE: Self = Self(0);

            /// Whether all of `other` is set.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether any of `other` is set.
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// Both sets.
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// What is in both sets.
            pub const fn intersection(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }

            /// `other` as well, if `wanted`.
            pub const fn with(self, other: Self, wanted: bool) -> Self {
                if wanted {
                    self.union(other)
                } else {
                    self
                }
            }

            /// Without `other`.
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }
        }

        impl core::ops::BitOr for $name {
            type Output = Self;
            fn bitor(self, other: Self) -> Self {
                self.union(other)
            }
        }
    )+ };
}

flags! {
    /// How a write shall be done.
    pub struct DataFlags: u32 {
        /// No longer used.
        HARD_BARRIER = 1;
        /// The writer waits for it.
        SYNC = 2;
        /// When it is on both disks, the range is in sync (sent during a resync).
        MAY_SET_IN_SYNC = 4;
        /// No longer used.
        UNPLUG = 8;
        /// Past the volatile cache.
        FUA = 16;
        /// After flushing the volatile cache.
        FLUSH = 32;
        /// A discard.
        DISCARD = 64;
        /// Protocol B: acknowledge when received.
        SEND_RECEIVE_ACK = 128;
        /// Protocol C: acknowledge when written.
        SEND_WRITE_ACK = 256;
        /// No longer used.
        WRITE_SAME = 512;
        /// A zero-out; with [`Self::DISCARD`], blocks may be deallocated.
        ZEROES = 1024;
    }

    /// What both sides of a connection can do.
    pub struct Features: u32 {
        /// [`super::Command::Trim`].
        TRIM = 1;
        /// [`super::Command::RsThinReq`] and its answer.
        THIN_RESYNC = 2;
        /// Queue limits in [`super::Sizes`], and trims up to 128 MiB. (Write-same itself is gone.)
        WRITE_SAME = 4;
        /// [`super::Command::Zeroes`].
        WRITE_ZEROES = 8;
        /// All that this version speaks.
        ALL = 15;
    }

    /// What [`super::UuidsPacket`] says besides the generations.
    pub struct UuidFlags: u64 {
        /// My data may be discarded.
        DISCARD_MY_DATA = 1;
        /// I was primary when I crashed.
        CRASHED_PRIMARY = 2;
        /// My data is inconsistent.
        INCONSISTENT = 4;
        /// The initial sync shall be skipped.
        SKIP_INITIAL_SYNC = 8;
    }

    /// What [`super::Protocol`] asks for.
    pub struct ConnFlags: u32 {
        /// My data may be discarded.
        DISCARD_MY_DATA = 1;
        /// Only find out what a connection would do.
        DRY_RUN = 2;
    }

    /// How [`super::Sizes`] are meant.
    pub struct SizesFlags: u16 {
        /// Grow although the peer is away.
        FORCED = 1;
        /// Do not resync the new space.
        NO_RESYNC = 2;
    }
}
