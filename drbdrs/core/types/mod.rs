// SPDX-License-Identifier: GPL-2.0-only

//! DRBD's vocabulary: states, results and identifiers, with the numbers and names that are its ABI.
//!
//! The numbers go over the wire, into netlink messages and onto disks; the names into /proc/drbd and logs.
//! Nothing here decides anything: see `state` and `uuid` for that.

mod ret_code;
mod state;
mod state_rv;
mod uuid;

pub use ret_code::RetCode;
pub use state::{ConnState, DiskState, Role, State, UnknownState};
pub use state_rv::StateRv;
pub use uuid::{Uuid, UuidSet};
