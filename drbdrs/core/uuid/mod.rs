// SPDX-License-Identifier: GPL-2.0-only

//! Data generations: which node has which version of the data, and what to do when two nodes meet.
//!
//! Every node keeps four UUIDs per volume. `current` names the generation of the data on its disk. `bitmap`
//! names the generation that the peer had when the two parted: as long as it is set, the bitmap says which
//! blocks changed since. `history` holds the two generations before that. A new `current` is made when a
//! node starts to write without its peer; the old one moves into the `bitmap` slot:
//!
//! ```text
//!   peer lost, primary writes on          resync starts at the source        resync finished
//!   current  A ──────────► N (new)        current  N                         current  N
//!   bitmap   0 ────► A                    bitmap   A + offset (sync UUID)    bitmap   0
//!   history  H1 H2         H1 H2          history  A  H1                     history  A+offset  A
//! ```
//!
//! Bit 0 of a UUID says "a primary wrote this"; all comparisons ignore it.
//! [`compare`] is the comparison of two sets, [`handshake`] what is made of it when two disks meet.

mod asb;
mod compare;
mod exposed;
mod handshake;
mod set;

#[cfg(test)]
mod tests_compare;
#[cfg(test)]
mod tests_enumerate;
#[cfg(test)]
mod tests_enumerate_handshake;
#[cfg(test)]
mod tests_handshake;

pub use asb::{recover, Demotion, Policies, Recovery};
pub use compare::{compare, Agreed, Decision, Direction, Repair, Rule, Side, Strategy};
pub use exposed::{continues, Continues, Unstored};
pub use handshake::{sync_handshake, Handshake, Helpers, Outcome, Plan, Policy, Refusal, Solved};
pub use set::{PeerUuids, Set, Slot};
