// SPDX-License-Identifier: GPL-2.0-only

//! How many resources there are in memory. A resource that was removed may live on for a moment in a thread or a
//! callback that still holds it; `rmmod`, which is possible from then on, waits for that moment here, and then until the
//! one that dropped it has left our code (`kernel_ext::module::wait_for_code`): it does not sleep any more in there.

use crate::prelude::*;

/// The count, and who waits for its end.
#[pin_data]
pub(crate) struct Living {
    #[pin]
    count: IrqLock<usize>,
    #[pin]
    gone: WaitQueue,
}

impl Living {
    /// Nothing lives yet.
    pub(crate) fn new() -> Result<Arc<Living>> {
        Arc::pin_init(
            pin_init!(Self {
                count <- new_irq_lock!(0),
                gone <- new_wait_queue!(),
            }),
            GFP_KERNEL,
        )
    }

    /// One more, as long as what this returns lives.
    pub(crate) fn one(this: &Arc<Living>) -> Life {
        let mut count = this.count.lock();
        *count = count.saturating_add(1);
        Life(this.clone())
    }

    /// Waits until nothing lives. Process context.
    pub(crate) fn wait_for_none(&self) {
        self.gone.wait_idle(|| *self.count.lock() == 0);
    }
}

/// Something that lives.
pub(crate) struct Life(Arc<Living>);

impl Drop for Life {
    fn drop(&mut self) {
        let mut count = self.0.count.lock();
        *count = count.saturating_sub(1);
        drop(count);
        self.0.gone.wake_all();
    }
}
