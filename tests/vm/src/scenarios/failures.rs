// SPDX-License-Identifier: GPL-2.0-only

//! What goes wrong beside a dead node: buffers that change in flight.

use crate::cluster::{Cluster, Config, Module, Setup, DEVICE};
use drbd_lab::{Error, Result};
use std::path::Path;

/// A program writes with O_DIRECT from a buffer that it changes meanwhile; the mirrors are equal afterwards. The
/// stock driver does not promise that.
pub(super) fn scribble(setup: Setup, logs: &Path) -> Result<()> {
    let c = Cluster::start(setup, logs, 16 << 20, &Config::default().text())?;
    c.mirror(0)?;
    let mut differences = 0;
    for length in [4096, 65536, 1 << 20] {
        let said = c.sh(
            0,
            &format!("/proc/1/exe scribble {DEVICE} 2048 200 {length}"),
        )?;
        if said.contains(" 0 changes") {
            return Err(Error::new(format!("nothing was changed in flight: {said}")));
        }
        match (c.compare(), setup.modules[0]) {
            (Err(error), Module::Drbdrs) => return Err(error),
            (Err(_), Module::Stock) => differences += 1,
            (Ok(()), _) => {}
        }
    }
    c.note(&format!("{differences} of 3 runs left a difference"));
    c.drbdadm(0, &["secondary", "r0"])?;
    c.finish()
}
