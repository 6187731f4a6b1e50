// SPDX-License-Identifier: GPL-2.0-only

//! A resync from begin to end: when it may start, what is requested and how fast, how far it is, what it
//! leaves behind. (An online verify shares rate and progress.)
//!
//! The target drives. Ten times a second ([`TURN_MS`]) it asks the [`Controller`] how many blocks to request,
//! takes them from the bitmap with [`next_request`], and sends P_RS_DATA_REQUESTs. A block that arrived and
//! was written is cleared in the bitmap; when nothing is left, [`finished`] says what becomes of states and
//! UUIDs. [`Progress`] keeps eight marks, three seconds apart, for the rates that people and the throttle see.
//!
//! ```text
//!   bitmap ──► next_request ──► P_RS_DATA_REQUEST ──► (source) ──► P_RS_DATA_REPLY ──► write ──► bitmap cleared
//!                  ▲                                                                      │
//!                  └─────────── Controller.tick(sectors that arrived) ◄───────────────────┘
//! ```

mod after;
mod controller;
mod finish;
mod progress;
mod request;
mod start;
mod verify;

pub use after::{check_resync_after, may_sync_now, Chain, ChainRefusal};
pub use controller::{Controller, Rates, Throttle, TURN_MS};
pub use finish::{finished, is_unfence_due, may_clear, AfterHelper, Finished, UuidUpdate};
pub use progress::{Progress, Summary};
pub use request::{next_request, Limits, Request};
pub use start::{handler_verdict, start, uses_checksums, HandlerVerdict, Side, StartRefusal};
pub use verify::{can_stop_early, Differing, Verify, VerifyRequest};
