// SPDX-License-Identifier: GPL-2.0-only

//! Block devices from both sides: the disk that we are, the disk that we use, and the bios between.
//!
//! ```text
//!   upper layers --Bio--> BioDriver::submit       OutBio --> BackingDevice
//!                <--end--                          EndIo::end_io <--
//! ```

mod backing;
mod bio;
mod disk;
mod page;
mod pool;

pub use backing::{BackingDevice, Holder, Limits};
pub use bio::{Bio, EndIo, Flags, Op, OutBio, Status};
pub use disk::{BioDisk, BioDriver, Major};
pub use page::{NoIo, PageBuf};
pub use pool::{PagePool, PageVec, StableCopy};
