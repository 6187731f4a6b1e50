// SPDX-License-Identifier: GPL-2.0-only

//! Locks and waiting: a spinlock that is safe against interrupts, wait queues, a global object.

use crate::bindings;
use core::{marker::PhantomData, mem::ManuallyDrop, pin::Pin};
use kernel::{
    ffi,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        lock::{Backend, Guard, Lock},
        rcu, Arc, LockClassKey,
    },
    types::Opaque,
};

/// A spinlock that keeps this CPU's interrupts off while it is held: for what interrupts touch, too.
pub type IrqLock<T> = Lock<T, IrqSave>;

/// The guard of an [`IrqLock`].
pub type IrqGuard<'a, T> = Guard<'a, T, IrqSave>;

/// The backend of [`IrqLock`].
pub struct IrqSave;

/// Makes an initialiser of an [`IrqLock`] around a value.
#[macro_export]
macro_rules! new_irq_lock {
    ($inner:expr $(,)?) => {
        $crate::sync::IrqLock::new(
            $inner,
            ::kernel::c_str!("irq_lock"),
            ::kernel::static_lock_class!(),
        )
    };
}
pub use new_irq_lock;

// SAFETY: The kernel's spinlock excludes everybody else between `lock` and `unlock`, and `relock` is `lock`.
unsafe impl Backend for IrqSave {
    type State = bindings::spinlock_t;
    type GuardState = ffi::c_ulong;

    unsafe fn init(
        ptr: *mut Self::State,
        name: *const ffi::c_char,
        key: *mut bindings::lock_class_key,
    ) {
        // SAFETY: `ptr` may be written; `name` and `key` live for ever, as the caller promises.
        unsafe { bindings::__spin_lock_init(ptr, name, key) }
    }

    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: The lock is initialised, as the caller promises.
        unsafe { bindings::kx_spin_lock_irqsave(ptr) }
    }

    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        let mut flags = 0;
        // SAFETY: The lock is initialised, as the caller promises; `flags` may be written.
        let held = unsafe { bindings::kx_spin_trylock_irqsave(ptr, &mut flags) };
        (held != 0).then_some(flags)
    }

    unsafe fn unlock(ptr: *mut Self::State, flags: &Self::GuardState) {
        // SAFETY: The caller owns the lock, and `flags` are what locking it returned.
        unsafe { bindings::kx_spin_unlock_irqrestore(ptr, *flags) }
    }

    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: The lock is initialised, as the caller promises.
        unsafe { bindings::spin_assert_is_held(ptr) }
    }
}

/// Threads that wait until something holds.
///
/// The conditions are evaluated while the thread is already marked as sleeping, so that no wake-up is lost: they may
/// take spinlocks, but nothing that sleeps.
#[pin_data]
pub struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head_t>,
}

// SAFETY: A wait queue may be used from any thread; it has its own lock.
unsafe impl Send for WaitQueue {}
// SAFETY: As above.
unsafe impl Sync for WaitQueue {}

/// Makes an initialiser of a [`WaitQueue`].
#[macro_export]
macro_rules! new_wait_queue {
    () => {
        $crate::sync::WaitQueue::new(
            ::kernel::c_str!("wait_queue"),
            ::kernel::static_lock_class!(),
        )
    };
}
pub use new_wait_queue;

/// How a thread sleeps.
#[derive(Clone, Copy)]
enum Sleep {
    /// Until woken; a long sleep is reported as a hung task.
    Uninterruptible,
    /// Until woken; a long sleep is normal.
    Idle,
    /// Until woken or a signal comes.
    Interruptible,
}

impl Sleep {
    fn state(self) -> ffi::c_int {
        let state = match self {
            Sleep::Uninterruptible => bindings::TASK_UNINTERRUPTIBLE,
            Sleep::Idle => bindings::TASK_UNINTERRUPTIBLE | bindings::TASK_NOLOAD,
            Sleep::Interruptible => bindings::TASK_INTERRUPTIBLE,
        };
        state as ffi::c_int
    }
}

impl WaitQueue {
    /// Nobody waits yet. Use [`new_wait_queue!`](crate::new_wait_queue).
    pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` may be written; `name` and `key` live for ever.
            head <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_waitqueue_head(slot, name.as_char_ptr(), key.as_ptr())
            }),
        })
    }

    /// Makes every waiter look at its condition again. From any context.
    pub fn wake_all(&self) {
        // SAFETY: The queue is initialised.
        unsafe {
            bindings::__wake_up(
                self.head.get(),
                bindings::TASK_NORMAL,
                0,
                core::ptr::null_mut(),
            )
        };
    }

    /// Waits until `condition` holds.
    pub fn wait(&self, condition: impl FnMut() -> bool) {
        self.sleep(Sleep::Uninterruptible, MAX_TIMEOUT, condition);
    }

    /// As [`WaitQueue::wait`], for threads whose normal state is to have nothing to do.
    pub fn wait_idle(&self, condition: impl FnMut() -> bool) {
        self.sleep(Sleep::Idle, MAX_TIMEOUT, condition);
    }

    /// As [`WaitQueue::wait`]; a signal ends it with `EINTR`.
    pub fn wait_interruptible(&self, condition: impl FnMut() -> bool) -> Result {
        match self.sleep(Sleep::Interruptible, MAX_TIMEOUT, condition) {
            Woken::Signal => Err(EINTR),
            Woken::Condition | Woken::Timeout => Ok(()),
        }
    }

    /// Waits until `condition` holds, but no longer than that; tells whether it holds.
    pub fn wait_timeout(&self, milliseconds: u32, condition: impl FnMut() -> bool) -> bool {
        let jiffies = kernel::time::msecs_to_jiffies(milliseconds);
        let timeout = ffi::c_long::try_from(jiffies).unwrap_or(MAX_TIMEOUT);
        matches!(
            self.sleep(Sleep::Idle, timeout, condition),
            Woken::Condition
        )
    }

    fn sleep(
        &self,
        how: Sleep,
        mut timeout: ffi::c_long,
        mut condition: impl FnMut() -> bool,
    ) -> Woken {
        if condition() {
            return Woken::Condition;
        }
        let entry = Opaque::<bindings::wait_queue_entry>::uninit();
        // SAFETY: The entry lives on this stack frame until `finish_wait` has taken it off the queue.
        unsafe { bindings::init_wait_entry(entry.get(), 0) };
        let woken = loop {
            // SAFETY: Queue and entry are initialised; see above for the entry's life.
            let signal = unsafe {
                bindings::prepare_to_wait_event(self.head.get(), entry.get(), how.state())
            };
            if condition() {
                break Woken::Condition;
            }
            if signal != 0 {
                break Woken::Signal;
            }
            if timeout == 0 {
                break Woken::Timeout;
            }
            // SAFETY: Process context, as everything here.
            timeout = unsafe { bindings::schedule_timeout(timeout) };
        };
        // SAFETY: As above.
        unsafe { bindings::finish_wait(self.head.get(), entry.get()) };
        woken
    }
}

const MAX_TIMEOUT: ffi::c_long = ffi::c_long::MAX;

enum Woken {
    Condition,
    Timeout,
    Signal,
}

/// An object that code without a way to be handed it (callbacks of the kernel) can find, while it is installed.
///
/// # Invariants
///
/// `pointer` is 0, or comes from `Arc::into_raw` and stays valid for an RCU grace period after it was set to 0.
pub struct Global<T: Send + Sync + 'static> {
    pointer: Atomic<usize>,
    _holds: PhantomData<T>,
}

impl<T: Send + Sync + 'static> Default for Global<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + Sync + 'static> Global<T> {
    /// Nothing is installed.
    pub const fn new() -> Self {
        Self {
            pointer: Atomic::new(0),
            _holds: PhantomData,
        }
    }

    /// Installs `object` until the guard is dropped. `EBUSY` if there is one already.
    pub fn install(&'static self, object: Arc<T>) -> Result<Installed<T>> {
        let raw = Arc::into_raw(object);
        if self.pointer.cmpxchg(0, raw as usize, Release).is_err() {
            // SAFETY: `raw` comes from `into_raw` above and went nowhere.
            drop(unsafe { Arc::from_raw(raw) });
            return Err(EBUSY);
        }
        Ok(Installed { global: self })
    }

    /// The object, if one is installed.
    pub fn get(&self) -> Option<Arc<T>> {
        let _reading = rcu::read_lock();
        let raw = self.pointer.load(Acquire) as *const T;
        if raw.is_null() {
            return None;
        }
        // SAFETY: By the invariant the object is alive while we are in this RCU section; its own reference is not
        // dropped here.
        let object = ManuallyDrop::new(unsafe { Arc::from_raw(raw) });
        Some(Arc::clone(&object))
    }
}

/// Keeps an object in its [`Global`].
pub struct Installed<T: Send + Sync + 'static> {
    global: &'static Global<T>,
}

impl<T: Send + Sync + 'static> Drop for Installed<T> {
    fn drop(&mut self) {
        let raw = self.global.pointer.xchg(0, Relaxed) as *const T;
        // INVARIANT: Readers that still see the pointer are waited for before the reference goes.
        rcu::synchronize_rcu();
        // SAFETY: `raw` comes from `into_raw` in `install`; only one guard exists for it.
        drop(unsafe { Arc::from_raw(raw) });
    }
}
