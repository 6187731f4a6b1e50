// SPDX-License-Identifier: GPL-2.0-only

//! Reads that the peer did not serve, on their way to our disk.
//!
//! That the peer does not is known in an interrupt, or to a thread that others wait for; submitting may have to wait for
//! our disk. So a thread of the device does it. It waits for nothing else: what is started again from the beginning may
//! have to wait for the end of such a read, and goes through the thread of the activity log.

use crate::{device::Device, prelude::*, submit, transfer};
use kernel_ext::{block::NoIo, thread::Thread};

/// What a device has for it.
#[pin_data]
pub(crate) struct Retry {
    #[pin]
    wake: WaitQueue,
    #[pin]
    stop: IrqLock<bool>,
    #[pin]
    thread: Mutex<Option<Thread>>,
}

impl Retry {
    /// Nothing is to be read.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            wake <- new_wait_queue!(),
            stop <- new_irq_lock!(false),
            thread <- new_mutex!(None),
        })
    }

    /// The device comes. May sleep.
    ///
    /// # Errors
    ///
    /// Those of making a thread.
    pub(crate) fn start(&self, device: &Arc<Device>) -> Result {
        let name = CString::try_from_fmt(fmt!("drbd{}_rd", device.minor))?;
        let owned = device.clone();
        *self.thread.lock() = Some(Thread::spawn(&name, move || run(&owned))?);
        Ok(())
    }

    /// The device is deleted: the thread ends.
    pub(crate) fn stop(&self) {
        *self.stop.lock() = true;
        self.wake.wake_all();
        let thread = self.thread.lock().take();
        drop(thread);
    }

    /// There is a read. Any context.
    pub(crate) fn wake(&self) {
        self.wake.wake_all();
    }
}

/// The body of the thread.
fn run(device: &Arc<Device>) {
    let _noio = NoIo::enter();
    let retry = &device.retry;
    loop {
        let mut found = None;
        retry.wake.wait_idle(|| {
            found = found.or_else(|| transfer::take_read(&device.resource, device.vnr));
            found.is_some() || *retry.stop.lock()
        });
        match found {
            Some(slot) => submit::read_here(device, slot),
            None => return,
        }
    }
}
