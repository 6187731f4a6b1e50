// SPDX-License-Identifier: GPL-2.0-only

//! Buffers that change in flight, and the pages that data are kept in.
//!
//! A program that writes with O_DIRECT may change its buffer before the write has ended. The disk and the network
//! read the buffer at different moments, so the replicas would differ. Therefore the data of such a write are copied
//! once, and disk and network get the copy. Data that cannot change (pages of a file under writeback) are not copied.
//! The parameter `stable_buffers` of the module turns copies off.

use crate::{device::Device, prelude::*};
use drbd_core::{request, state};
use kernel_ext::{
    block::{Bio, PagePool, StableCopy},
    params,
};

/// Pages of copies that can be in flight: 32 MiB. Who writes more waits.
const COPIES: usize = 8192;

/// Where the pages of a resource come from. What waits for one of them never holds up what gives its pages back.
pub(crate) struct Pools {
    /// For copies of the application's writes: given back when disk and peer have them.
    copies: Arc<PagePool>,
    /// For what the peer sends: given back when our disk has it. `max-buffers` limits it.
    pub(crate) received: Arc<PagePool>,
    /// For what our disk reads for the peer: given back when it is sent. `max-buffers` limits it.
    pub(crate) served: Arc<PagePool>,
}

impl Pools {
    /// The reserves are got here. May sleep.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            copies: PagePool::new(COPIES)?,
            received: PagePool::new(usize::MAX)?,
            served: PagePool::new(usize::MAX)?,
        })
    }
}

/// Whether a write may change before it ends, and that matters to us.
pub(crate) fn may_change(kind: request::Kind, bio: &Bio) -> bool {
    kind == request::Kind::Write && params::stable_buffers() && !bio.is_stable()
}

/// Whether a write that starts now would go to our disk and to the peer.
pub(crate) fn two_readers(device: &Device) -> bool {
    let shared = device.resource.shared.lock();
    shared
        .vol(device.vnr)
        .is_some_and(|volume| volume.has_disk() && state::replicates(&volume.state))
}

/// Copies the data of a write; none if that needs waiting and it must not wait.
pub(crate) fn copy(device: &Device, bio: &Bio) -> Option<StableCopy> {
    StableCopy::of(&device.resource.pools.copies, bio, !bio.is_nowait())
}
