// SPDX-License-Identifier: GPL-2.0-only

//! The state of a volume: which combinations are legal, which changes, and what follows from a change.
//!
//! A change is judged in this order; everything here is a pure function of values:
//!
//! ```text
//!   wanted = Change.apply(old)
//!      │ sanitize      implied corrections: a lost connection makes the peer unknown, ...
//!      ▼
//!   new ── == old ──► NothingToDo
//!      │ transition    what not even facts may do (a network error cannot configure a connection)
//!      │ soft only:    valid(new) — or the old state was just as invalid — and soft_transition(old, new)
//!      │ needs_peer    promotion, disconnect, start of a full sync, detach: ask the peer first
//!      ▼
//!   accepted ──► write new ──► now_effects (under the lock) ──► after_effects (in the worker, in order)
//! ```
//!
//! A *hard* change is a fact (the disk broke, the link is gone): it is checked against `transition` only.

mod attach;
mod change;
mod cluster;
mod connection;
mod effects;
mod fencing;
mod io;
mod judge;
mod list;
mod predicates;
mod promote;
mod sanitize;
mod text;
mod valid;

#[cfg(test)]
mod tests_effects;
#[cfg(test)]
mod tests_judge;
#[cfg(test)]
mod tests_open_resync;
#[cfg(test)]
mod tests_support;
#[cfg(test)]
mod tests_valid;

pub use attach::{attach, metadata_flags, primary_on_disk, Attached};
pub use change::{BadChange, Change};
pub use cluster::{collides, connection_needs_peer, needs_peer, Pending};
pub use connection::{combined, connection_transition, Combined};
pub use effects::{
    after_connection_effects, after_effects, lost_contact_to_peer_data, now_effects, After,
    AfterConnection, AfterContext, AfterList, BitmapWrite, Helper, Io, Now, NowContext, NowList,
    BITMAP_WRITE_REASONS,
};
pub use fencing::{highest_policy, FenceAnswer};
pub use io::{
    accepts_new_io, peer_attaches, peer_keeps_no_copy, put_off_generation_is_due, replicates,
    sends_out_of_sync, thaw, Thaw,
};
pub use judge::{judge, judge_in_connection, Accepted, How};
pub use list::List;
pub use predicates::*;
pub use promote::{next_attempt, starts_generation, Attempt, Promotion, MAX_ATTEMPTS};
pub use sanitize::{sanitize, Negotiation, Warning};
pub use text::StateChange;
pub use valid::{soft_transition, transition, valid, Conf, NetRules};
