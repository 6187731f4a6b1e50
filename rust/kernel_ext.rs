// SPDX-License-Identifier: GPL-2.0-only

//! What the `kernel` crate lacks: block devices, sockets, generic netlink, threads.
//!
//! All the unsafe code of the module lives in this crate; it knows nothing of DRBD.
#![crate_name = "kernel_ext"]

mod bindings;

pub mod block;
pub mod crypto;
pub mod module;
pub mod net;
pub mod params;
pub mod proc;
pub mod sync;
pub mod thread;
pub mod time;
pub mod umh;

pub use time::random_u64;
