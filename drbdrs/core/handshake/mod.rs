// SPDX-License-Identifier: GPL-2.0-only

//! Two nodes introduce each other: the decisions of a connection's first moments, without any I/O.
//!
//! ```text
//!   dial and listen at once ──► sockets: one for data, one for meta (Pairing)
//!   data socket, both ways:     P_CONNECTION_FEATURES     versions and features (features)
//!                               P_AUTH_*                  if a secret is configured
//!                               P_PROTOCOL                options that must agree (protocol)
//!   WFReportParams, per volume: P_SYNC_PARAM89
//!                               P_SIZES                   how big is the device (sizes)
//!                               P_UUIDS                   what data is there (uuids)
//!                               P_STATE                   roles and disks: what now (peer_state)
//! ```
//!
//! Later P_SIZES, P_UUIDS and P_STATE (an attach, a resize, a change of role) go through the same functions.

mod features;
mod grown;
mod peer_state;
mod peer_uuids;
mod protocol;
mod reshape;
mod sizes;
mod sockets;

#[cfg(test)]
mod tests_peer_state;

pub use features::{negotiate, Features, Incompatible, Negotiated, FEATURES, VERSIONS};
pub use grown::{begins_for_waiting_peer, leads_grown_part, same_generation, WaitFacts};
pub use peer_state::{
    conclude, consider, counts_anew, owes_answer, real_peer_disk, Conclusion, Considered, Facts,
    Pending, Reason,
};
pub use peer_uuids::{on_peer_uuids, sync_uuid_arrival, SyncUuidArrival, UuidFacts, UuidReaction};
pub use protocol::{adopt_protocol, check_protocol, Mismatch, ProtocolOptions};
pub use reshape::{Reshape, Ring};
pub use sizes::{
    agreed_size, announcement, differ_considerably, follow_up, on_peer_sizes, resized,
    Announcement, DevSize, FollowUp, FollowUpFacts, GrownPart, LocalSizes, PeerSizes,
    ResizeRefusal, Resized, SizeFacts, SizeRule,
};
pub use sockets::{Accepted, Dialed, First, Next, Pairing};
