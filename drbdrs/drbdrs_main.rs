// SPDX-License-Identifier: GPL-2.0-only

//! The shell: which resources, devices and connections exist, and the I/O that the core's decisions ask for.
#![crate_name = "drbdrs"]
#![forbid(unsafe_code)]

mod ack;
mod acks;
mod activity;
mod admin;
mod after;
mod attach;
mod authentication;
mod bitmap;
mod bitmap_exchange;
mod change;
mod checksums;
mod conflict;
mod congestion;
mod connection;
mod consent;
mod cpus;
mod deallocate;
mod debugfs;
mod dependents;
mod detach;
mod device;
mod digests;
mod events;
mod faults;
mod fence;
mod flags;
mod handlers;
mod handshake;
mod limits;
mod link;
mod living;
mod local;
mod meta_io;
mod metadata;
mod params;
mod peer_data;
mod peer_read;
mod prelude;
mod proc;
mod progress;
mod receiver;
mod registry;
mod requests;
mod resize;
mod resource;
mod resync;
mod retry;
mod ring;
mod sender;
mod session;
mod stable;
mod submit;
mod tag;
mod throttle;
mod trace;
mod transfer;
mod verify;
mod views;
mod worker;

use crate::{admin::family, debugfs::Debugfs, living::Living, prelude::*, registry::Registry};
use kernel_ext::{net::genl::Registration, proc::ProcFile, sync::Installed};

module! {
    type: Drbdrs,
    name: "drbdrs",
    authors: ["The drbdrs founders"],
    description: "drbdrs - a replicated block device that speaks DRBD 8.4",
    license: "GPL",
}

/// What identifies this build in /proc/drbd, as in `modinfo`.
pub(crate) fn source_version() -> &'static str {
    kernel_ext::module::source_version::<Drbdrs>()
}

/// The module. Dropped in the order of the fields: first nobody can reach us any more, then everything goes.
struct Drbdrs {
    living: Arc<Living>,
    _proc: ProcFile,
    _debugfs: Pin<KBox<Debugfs>>,
    _family: Installed<Registration<family::Drbd>>,
    _registry: Installed<Registry>,
}

impl kernel::Module for Drbdrs {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let living = Living::new()?;
        let registry = Registry::install(living.clone())?;
        let family = family::register()?;
        let proc = ProcFile::new(c"drbd", proc::show)?;
        pr_info!("initialized. Version: 8.4.11 (api:1/proto:100-101)\n");
        Ok(Self {
            living,
            _proc: proc,
            _debugfs: Debugfs::new()?,
            _family: family,
            _registry: registry,
        })
    }
}

impl Drop for Drbdrs {
    fn drop(&mut self) {
        self.living.wait_for_none();
        // Who let the last one go has a few instructions of ours left.
        kernel_ext::module::wait_for_code();
    }
}
