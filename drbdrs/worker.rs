// SPDX-License-Identifier: GPL-2.0-only

//! The worker of a resource: one thread that executes, in order, what follows from changes of state.
//!
//! A consequence may sleep (metadata and bitmap I/O, messages to the peer, handlers), which the one who changed the
//! state may not be allowed to. Work that is not bound to a change is a bit in [`TodoSet`]: asked for twice, it is
//! done once.

use crate::{after, attach, congestion, local, metadata, prelude::*, resource::Resource};
use kernel_ext::{block::NoIo, thread::Thread};

/// One kind of work about a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Todo(u32);

impl Todo {
    /// Write the superblock.
    pub(crate) const WRITE_METADATA: Self = Self(1 << 0);
    /// Nobody uses the failed disk any more: become Diskless.
    pub(crate) const GO_DISKLESS: Self = Self(1 << 1);
    /// Nobody uses the disk of the diskless volume any more: close it.
    pub(crate) const RELEASE_DISK: Self = Self(1 << 2);
    /// Write changed pages of the bitmap.
    pub(crate) const WRITE_BITMAP: Self = Self(1 << 3);
    /// The disk did not answer in time: give it up by force.
    pub(crate) const ABANDON_DISK: Self = Self(1 << 4);
    /// The peer can follow again: resync what it was only told of.
    pub(crate) const CATCH_UP: Self = Self(1 << 5);
}

/// The work that waits for the worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TodoSet(u32);

impl TodoSet {
    /// Adds `todo`.
    pub(crate) fn set(&mut self, todo: Todo) {
        self.0 |= todo.0;
    }

    /// Takes `todo` out; tells whether it was there.
    fn take(&mut self, todo: Todo) -> bool {
        let was = self.0 & todo.0 != 0;
        self.0 &= !todo.0;
        was
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The worker's thread.
#[pin_data]
pub(crate) struct Worker {
    wake: Arc<WaitQueue>,
    #[pin]
    thread: Mutex<Option<Thread>>,
    #[pin]
    stop: IrqLock<bool>,
}

impl Worker {
    /// A worker that is not started; `wake` is what changes of state wake.
    pub(crate) fn new(wake: Arc<WaitQueue>) -> impl PinInit<Self> {
        pin_init!(Self {
            wake,
            thread <- new_mutex!(None),
            stop <- new_irq_lock!(false),
        })
    }

    /// Starts the thread. It holds a reference to the resource until [`Worker::stop`].
    pub(crate) fn start(&self, resource: &Arc<Resource>) -> Result {
        let name = CString::try_from_fmt(fmt!("drbd_w_{}", &*resource.name))?;
        let owned = resource.clone();
        let thread = Thread::spawn(&name, move || run(&owned))?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Lets the thread finish what there is to do, and waits for its end.
    pub(crate) fn stop(&self) {
        *self.stop.lock() = true;
        self.wake.wake_all();
        let thread = self.thread.lock().take();
        drop(thread);
    }

    /// There is something to do. From any context.
    pub(crate) fn wake(&self) {
        self.wake.wake_all();
    }

    fn should_stop(&self) -> bool {
        *self.stop.lock()
    }
}

fn run(resource: &Arc<Resource>) {
    // What the worker waits for must not wait for I/O of the device that it serves.
    let _noio = NoIo::enter();
    let worker = &resource.worker;
    loop {
        let watch = local::watch_ms(&resource.shared.lock());
        let wake = || {
            let begins = watch.is_none() && local::watch_ms(&resource.shared.lock()).is_some();
            worker.should_stop() || begins || has_work(resource)
        };
        match watch {
            None => worker.wake.wait_idle(wake),
            Some(limit) => {
                worker.wake.wait_timeout(limit, wake);
                local::check_patience(resource);
            }
        }
        while do_some(resource) {}
        if worker.should_stop() && !has_work(resource) {
            return;
        }
    }
}

fn has_work(resource: &Resource) -> bool {
    let shared = resource.shared.lock();
    !shared.changes.is_empty() || shared.volumes.iter().any(|volume| !volume.todo.is_empty())
}

/// Executes the consequences of one change, or one kind of work for one volume.
fn do_some(resource: &Arc<Resource>) -> bool {
    let change = resource.shared.lock().changes.pop();
    if let Some(change) = change {
        after::execute(resource, &change);
        resource.shared.lock().changes.finish(&change);
        return true;
    }
    const ORDER: [Todo; 6] = [
        Todo::ABANDON_DISK,
        Todo::CATCH_UP,
        Todo::WRITE_BITMAP,
        Todo::WRITE_METADATA,
        Todo::GO_DISKLESS,
        Todo::RELEASE_DISK,
    ];
    for todo in ORDER {
        let vnr = {
            let mut shared = resource.shared.lock();
            shared
                .volumes
                .iter_mut()
                .find_map(|volume| volume.todo.take(todo).then_some(volume.vnr))
        };
        let Some(device) = vnr.and_then(|vnr| resource.device(vnr)) else {
            continue;
        };
        match todo {
            Todo::ABANDON_DISK => local::io_error(&device, local::Failure::Forced),
            Todo::CATCH_UP => congestion::catch_up(&device),
            Todo::WRITE_BITMAP => after::write_bitmap(&device, "write from worker"),
            Todo::WRITE_METADATA => metadata::sync(&device),
            Todo::GO_DISKLESS => attach::go_diskless(&device),
            _ => attach::release_disk(&device),
        }
        return true;
    }
    false
}
