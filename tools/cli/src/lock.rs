// SPDX-License-Identifier: GPL-2.0-only

//! The lock per minor that drbdmeta and drbdsetup take, so that nobody rewrites metadata that is being attached.
//! Same file and same kind of lock as drbd-utils, whose programs respect ours and the other way round.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use rustix::fs::{fcntl_lock, FlockOperation};

/// Held until dropped.
pub struct DeviceLock {
    _file: File,
}

impl DeviceLock {
    /// Waits up to a second for whoever has it.
    pub fn take(minor: u32) -> Result<Self, String> {
        let path = format!("/var/lock/drbd-147-{minor}");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .read(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| {
                format!(
                    "cannot open {path}: {}; it guards the metadata of minor {minor}",
                    drbd_say::os_error(&error)
                )
            })?;
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(_) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20))
                }
                Err(error) => {
                    return Err(format!(
                    "minor {minor} is in use by another drbdsetup or drbdmeta ({path}: {error})"
                ))
                }
            }
        }
    }
}
