// SPDX-License-Identifier: GPL-2.0-only

//! Identities of data generations. What they mean, and how they move, is in `uuid`.

/// The identity of a data generation. Bit 0 says that a primary made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub u64);

impl Uuid {
    /// No generation.
    pub const ZERO: Self = Self(0);
    /// The current generation of a disk whose metadata was just created.
    pub const JUST_CREATED: Self = Self(4);

    /// No generation?
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl core::fmt::Display for Uuid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}

/// The generation UUIDs of one volume on one node, newest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UuidSet {
    /// The generation of the data on this disk.
    pub current: Uuid,
    /// The generation that the bitmap is relative to; zero: no bitmap is kept.
    pub bitmap: Uuid,
    /// Older generations, newest first.
    pub history: [Uuid; 2],
}

impl UuidSet {
    /// From the order that metadata, P_UUIDS and netlink share: current, bitmap, history.
    pub const fn from_array(a: [Uuid; 4]) -> Self {
        let [current, bitmap, newer, older] = a;
        Self {
            current,
            bitmap,
            history: [newer, older],
        }
    }

    /// In the order that metadata, P_UUIDS and netlink share: current, bitmap, history.
    pub const fn to_array(self) -> [Uuid; 4] {
        let [newer, older] = self.history;
        [self.current, self.bitmap, newer, older]
    }

    /// The UUIDs of a disk whose metadata was just created.
    pub const fn just_created() -> Self {
        Self {
            current: Uuid::JUST_CREATED,
            bitmap: Uuid::ZERO,
            history: [Uuid::ZERO; 2],
        }
    }
}

impl core::fmt::Display for UuidSet {
    /// As 8.4 logs a set: four times 16 hexadecimal digits.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [current, bitmap, newer, older] = self.to_array();
        write!(f, "{current}:{bitmap}:{newer}:{older}")
    }
}
