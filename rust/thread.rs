// SPDX-License-Identifier: GPL-2.0-only

//! Kernel threads.

use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::{from_err_ptr, to_result},
    prelude::*,
};

/// A thread of our own. Dropping it asks it to stop and waits until it has.
///
/// # Invariants
///
/// `task` is a thread made by [`Thread::spawn`], on which we hold a reference. `work` is the box that it was made with,
/// and belongs to it once it has run; `discard` drops a box of that type.
pub struct Thread {
    task: NonNull<bindings::task_struct>,
    work: *mut c_void,
    discard: unsafe fn(*mut c_void),
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
        Ok(Self {
            task,
            work: work.cast(),
            discard: discard::<F>,
        })
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
        let result = unsafe { bindings::kthread_stop(self.task.as_ptr()) };
        // SAFETY: Our reference, not used any more.
        unsafe { bindings::kx_put_task_struct(self.task.as_ptr()) };
        if result != RAN {
            // SAFETY: Only a thread that never came to `run` ends with something else: stopped before its first
            // instruction. It is gone now, so its box is nobody's but ours.
            unsafe { (self.discard)(self.work) };
        }
    }
}

/// What [`run`] returns. A kthread that is stopped before it begins never gets there: its result is `-EINTR`.
const RAN: c_int = 0;

/// # Safety
///
/// `work` is a box of [`Thread::spawn`] with the same `F`, and nobody else's.
unsafe fn discard<F>(work: *mut c_void) {
    // SAFETY: The caller's promise.
    drop(unsafe { KBox::from_raw(work.cast::<F>()) });
}

/// Whether the current thread was asked to stop. Only for threads of [`Thread::spawn`].
pub fn should_stop() -> bool {
    // SAFETY: Reads a flag of the current kthread.
    unsafe { bindings::kthread_should_stop() }
}

/// Lets the current thread run on the CPUs of `mask` only: hexadecimal, a comma between words of 32 bits (`f,ffffffff`).
/// On all if it is empty, or names CPUs that do not exist. Sleeps.
///
/// # Errors
///
/// `EINVAL`: no such mask, or none of its CPUs is online; `ENOMEM`.
pub fn run_on(mask: &CStr) -> Result {
    // SAFETY: The text ends with its NUL; this is process context.
    to_result(unsafe { bindings::kx_run_on(mask.as_char_ptr(), true) })
}

/// Whether [`run_on`] would understand `mask`. Sleeps.
///
/// # Errors
///
/// `EINVAL`: it would not; `ENOMEM`.
pub fn check_cpus(mask: &CStr) -> Result {
    // SAFETY: As above.
    to_result(unsafe { bindings::kx_run_on(mask.as_char_ptr(), false) })
}

/// # Safety
///
/// Called once by the kthread machinery with the box of [`Thread::spawn`].
unsafe extern "C" fn run<F: FnOnce()>(data: *mut c_void) -> c_int {
    // SAFETY: The box of `spawn`, handed over once.
    KBox::into_inner(unsafe { KBox::from_raw(data.cast::<F>()) })();
    RAN
}

#[kunit_tests(kernel_ext_thread)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU32, Ordering};

    static DROPPED: AtomicU32 = AtomicU32::new(0);

    struct Counted;

    impl Drop for Counted {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_thread_runs_where_its_mask_says() -> Result {
        assert!(check_cpus(c"").is_ok() && check_cpus(c"1").is_ok());
        assert!(check_cpus(c"f,ffffffff").is_ok() && check_cpus(c"x").is_err());
        let work = || assert!(run_on(c"1").is_ok() && run_on(c"").is_ok());
        drop(Thread::spawn(c"drbd_test", work)?);
        Ok(())
    }

    /// On one CPU, most of them are stopped before they begin.
    #[test]
    fn what_a_thread_owns_is_dropped_whether_it_ran_or_not() -> Result {
        for _ in 0..50 {
            let owned = Counted;
            drop(Thread::spawn(c"drbd_test", move || drop(owned))?);
        }
        assert_eq!(DROPPED.load(Ordering::Relaxed), 50);
        Ok(())
    }
}
