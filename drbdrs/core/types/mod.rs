// SPDX-License-Identifier: GPL-2.0-only

//! DRBD's vocabulary: states, results and identifiers, with the numbers and names that are its ABI.
//!
//! The numbers go over the wire, into netlink messages and onto disks; the names into /proc/drbd and logs.
//! Nothing here decides anything: see `state` and `uuid` for that.

mod ret_code;
mod state;
mod state_rv;

pub use ret_code::RetCode;
pub use state::{ConnState, DiskState, Role, State, UnknownState};
pub use state_rv::StateRv;

/// The identity of a data generation. Bit 0 says that a primary made it; see `uuid` for what it means.
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
