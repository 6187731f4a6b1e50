// SPDX-License-Identifier: GPL-2.0-only

//! The steady clock, sleep, and randomness.

use crate::bindings;

/// Milliseconds since some moment before the start of the module; never goes back.
pub fn now_ms() -> u64 {
    // SAFETY: May be called in any context.
    let nanoseconds = unsafe { bindings::ktime_get() };
    nanoseconds.unsigned_abs() / 1_000_000
}

/// Sleeps for at least `ms` milliseconds.
pub fn sleep_ms(ms: u32) {
    // SAFETY: Process context, as the documentation asks.
    unsafe { bindings::msleep(ms) };
}

/// A random number that nobody can guess.
pub fn random_u64() -> u64 {
    let mut value = 0u64;
    // SAFETY: Eight bytes that may be written.
    unsafe { bindings::get_random_bytes((&raw mut value).cast(), 8) };
    value
}
