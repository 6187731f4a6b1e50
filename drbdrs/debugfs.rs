// SPDX-License-Identifier: GPL-2.0-only

//! Files in debugfs, for people who ask why something does not move.
//!
//! `drbd/version` says who we really are; `drbd/volumes` has, for each volume, everything that others may be waiting
//! for: who uses the local disk, who suspended I/O, what is in flight, which facts hold. `drbd/trace` has the last
//! decisions of each resource, see [`trace`](crate::trace): resource, volume, number, milliseconds since the start of
//! the machine, and what [`drbd_core::trace`] reads.

use crate::{prelude::*, registry::Registry};
use drbd_core::proc_text::COMPATIBLE_VERSION;
use kernel::{
    debugfs::{Dir, File},
    fmt,
};

/// The directory with its files.
#[pin_data]
pub(crate) struct Debugfs {
    #[pin]
    version: File<Version>,
    #[pin]
    volumes: File<Volumes>,
    #[pin]
    trace: File<Trace>,
}

/// The file `version`.
struct Version;

fn show_version(_: &Version, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (lowest, highest) = crate::proc::PROTOCOLS;
    writeln!(out, "# drbdrs, srcversion {}", crate::source_version())?;
    writeln!(out, "VERSION={COMPATIBLE_VERSION}")?;
    writeln!(out, "API_VERSION=1")?;
    writeln!(out, "PRO_VERSION_MIN={lowest}")?;
    writeln!(out, "PRO_VERSION_MAX={highest}")
}

/// The file `volumes`.
struct Volumes;

fn show_volumes(_: &Volumes, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(registry) = Registry::get() else {
        return Ok(());
    };
    let mut minor = Some(0);
    while let Some(device) = minor.and_then(|minor| registry.device_from(minor)) {
        minor = device.minor.checked_add(1);
        let (bits, weight) = device.bitmap.size_and_weight();
        let shared = device.resource.shared.lock();
        let Some(volume) = shared.vol(device.vnr) else {
            continue;
        };
        fmt::Display::fmt(device.resource.name(), out)?;
        writeln!(
            out,
            "/{} minor {}: {}",
            device.vnr, device.minor, volume.state
        )?;
        writeln!(out, "  flags {:?} openers {}", volume.flags, volume.openers)?;
        writeln!(
            out,
            "  I/O suspended by {}; {:?}",
            volume.io_suspenders, volume.stat
        )?;
        writeln!(out, "  bitmap {weight} of {bits}; {:?}", volume.resync)?;
        writeln!(
            out,
            "  exposed {} metadata dirty {}",
            volume.exposed_uuid, volume.md_dirty
        )?;
        let cstate = shared.conn.cstate;
        writeln!(
            out,
            "  connection {cstate} receiver {:?}",
            shared.conn.receiver
        )?;
    }
    Ok(())
}

/// The file `trace`.
struct Trace;

fn show_trace(_: &Trace, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(registry) = Registry::get() else {
        return Ok(());
    };
    let mut serial = 0;
    while let Some(resource) = registry.resource_after(serial) {
        serial = resource.serial;
        let mut last = 0;
        // One at a time: nothing is formatted under the lock.
        while let Some(entry) = resource.trace.after(last) {
            last = entry.serial;
            fmt::Display::fmt(resource.name(), out)?;
            writeln!(
                out,
                "/{} {} {}: {}",
                entry.vnr, entry.serial, entry.ms, entry.record
            )?;
        }
    }
    Ok(())
}

impl Debugfs {
    /// Makes `drbd` in debugfs. Where there is no debugfs, nothing.
    pub(crate) fn new() -> Result<Pin<KBox<Self>>> {
        let dir = Dir::new(c"drbd");
        KBox::try_pin_init(
            try_pin_init!(Self {
                version <- dir.read_callback_file(c"version", Version, &show_version),
                trace <- dir.read_callback_file(c"trace", Trace, &show_trace),
                volumes <- dir.read_callback_file(c"volumes", Volumes, &show_volumes),
            }? Error),
            GFP_KERNEL,
        )
    }
}
