// SPDX-License-Identifier: GPL-2.0-only

//! The shell: which resources, devices and connections exist, and the I/O that the core's decisions ask for.
#![crate_name = "drbdrs"]
#![forbid(unsafe_code)]

use kernel::prelude::*;

module! {
    type: Drbdrs,
    name: "drbdrs",
    authors: ["The drbdrs founders"],
    description: "drbdrs - a replicated block device that speaks DRBD 8.4",
    license: "GPL",
}

struct Drbdrs;

impl kernel::Module for Drbdrs {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}
