// SPDX-License-Identifier: GPL-2.0-only

//! Kernel threads.

use crate::bindings;
use core::ptr::NonNull;
use kernel::{error::from_err_ptr, prelude::*};

/// A thread of our own. Dropping it asks it to stop and waits until it has.
///
/// # Invariants
///
/// `task` is a thread made by [`Thread::spawn`], on which we hold a reference.
pub struct Thread {
    task: NonNull<bindings::task_struct>,
}

// SAFETY: A task may be stopped from any thread.
unsafe impl Send for Thread {}
// SAFETY: As above.
unsafe impl Sync for Thread {}

impl Thread {
    /// Starts a thread named `name` (15 bytes are shown) that runs `work`. Sleeps.
    ///
    /// `work` should return soon after [`should_stop`] has become true; whoever makes it stop wakes what it
    /// waits for. It may also return on its own.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EINTR`.
    pub fn spawn<F: FnOnce() + Send + 'static>(name: &CStr, work: F) -> Result<Self> {
        let work = KBox::into_raw(KBox::new(work, GFP_KERNEL)?);
        // SAFETY: `run::<F>` takes the box back; the format consumes one C string.
        let task = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(run::<F>),
                work.cast(),
                bindings::NUMA_NO_NODE,
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            )
        });
        let task = task
            .and_then(|task| NonNull::new(task).ok_or(ENOMEM))
            .inspect_err(|_| {
                // SAFETY: No thread was made, so nobody else takes the box back.
                drop(unsafe { KBox::from_raw(work) });
            })?;
        // SAFETY: The thread does not run yet, so it is alive; the reference keeps it so until `drop`.
        unsafe {
            bindings::kx_get_task_struct(task.as_ptr());
            bindings::wake_up_process(task.as_ptr());
        }
        // INVARIANT: As just made.
        Ok(Self { task })
    }

    /// Whether this is the thread that runs.
    pub fn is_current(&self) -> bool {
        self.task.as_ptr() == kernel::current!().as_ptr()
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if self.is_current() {
            // A thread cannot wait for itself: let it go, it ends when its work returns.
            // SAFETY: Our reference; the one that every running task has on itself is left.
            unsafe { bindings::kx_put_task_struct(self.task.as_ptr()) };
            return;
        }
        // SAFETY: Alive by our reference. A kthread that already returned is fine, too.
        unsafe {
            bindings::kthread_stop(self.task.as_ptr());
            bindings::kx_put_task_struct(self.task.as_ptr());
        }
    }
}

/// Whether the current thread was asked to stop. Only for threads of [`Thread::spawn`].
pub fn should_stop() -> bool {
    // SAFETY: Reads a flag of the current kthread.
    unsafe { bindings::kthread_should_stop() }
}

/// # Safety
///
/// Called once by the kthread machinery with the box of [`Thread::spawn`].
unsafe extern "C" fn run<F: FnOnce()>(data: *mut c_void) -> c_int {
    // SAFETY: The box of `spawn`, handed over once.
    KBox::into_inner(unsafe { KBox::from_raw(data.cast::<F>()) })();
    0
}
