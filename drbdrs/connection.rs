// SPDX-License-Identifier: GPL-2.0-only

//! The connection to the peer: who is woken to use it.

use crate::prelude::*;

/// The connection of a resource. It exists as long as the resource; the streams come and go.
#[pin_data]
pub(crate) struct Connection {
    /// The sender waits here.
    #[pin]
    pub(crate) sender_wait: WaitQueue,
}

impl Connection {
    /// Without streams.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self { sender_wait <- new_wait_queue!() }),
            GFP_KERNEL,
        )
    }

    /// There is something to send. From any context.
    pub(crate) fn wake_sender(&self) {
        self.sender_wait.wake_all();
    }
}
