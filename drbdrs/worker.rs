// SPDX-License-Identifier: GPL-2.0-only

//! The worker of a resource: one thread that executes, in order, what follows from changes of state.
//!
//! A consequence may sleep (metadata and bitmap I/O, messages to the peer, handlers), which the one who changed the
//! state may not be allowed to. Work that is not bound to a change is a bit in [`TodoSet`]: asked for twice, it is
//! done once.

use crate::{after, congestion, detach, local, metadata, prelude::*, resource::Resource, verify};
use kernel_ext::{block::NoIo, thread::Thread};

/// One kind of work about a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Todo {
    /// Write the superblock.
    WriteMetadata,
    /// Nobody uses the failed disk any more: become Diskless.
    GoDiskless,
    /// Nobody uses the disk of the diskless volume any more: close it.
    ReleaseDisk,
    /// Write changed pages of the bitmap.
    WriteBitmap,
    /// The disk did not answer in time: give it up by force.
    AbandonDisk,
    /// The peer can follow again: resync what it was only told of.
    CatchUp,
}

impl Todo {
    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The work that waits for the worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TodoSet(u32);

impl TodoSet {
    /// Adds `todo`.
    pub(crate) fn set(&mut self, todo: Todo) {
        self.0 |= todo.bit();
    }

    /// Takes `todo` out; tells whether it was there.
    fn take(&mut self, todo: Todo) -> bool {
        let was = self.0 & todo.bit() != 0;
        self.0 &= !todo.bit();
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
    let mut cpus = 0;
    loop {
        resource.follow_cpus(&mut cpus);
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
    let mut shared = resource.shared.lock();
    !shared.changes.is_empty()
        || shared.volumes.iter().any(|volume| !volume.todo.is_empty())
        || verify::is_put_off_ready(&mut shared)
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
        Todo::AbandonDisk,
        Todo::CatchUp,
        Todo::WriteBitmap,
        Todo::WriteMetadata,
        Todo::GoDiskless,
        Todo::ReleaseDisk,
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
            Todo::AbandonDisk => local::io_error(&device, local::Failure::Forced),
            Todo::CatchUp => congestion::catch_up(&device),
            Todo::WriteBitmap => after::write_bitmap(&device, "write from worker"),
            Todo::WriteMetadata => metadata::sync(&device),
            Todo::GoDiskless => detach::go_diskless(&device),
            Todo::ReleaseDisk => detach::release_disk(&device),
        }
        return true;
    }
    verify::serve_put_off(resource)
}
