// SPDX-License-Identifier: GPL-2.0-only

//! How a log line names its object: `RESOURCE/VOLUME drbdMINOR`.

use crate::device::Device;
use kernel::fmt;

/// Displays a volume.
pub(crate) struct Tag<'a>(pub(crate) &'a Device);

impl fmt::Display for Tag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.0;
        fmt::Display::fmt(device.resource.name(), f)?;
        write!(f, "/{} drbd{}", device.vnr, device.minor)
    }
}

/// Displays what the core can display: the kernel's log has a trait of its own for that.
pub(crate) struct Shown<T>(pub(crate) T);

impl<T: core::fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(&self.0, f)
    }
}
