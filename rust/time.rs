// SPDX-License-Identifier: GPL-2.0-only

//! The steady clock, sleep, and randomness.

use crate::bindings;

/// Milliseconds since some moment before the start of the module; never goes back. As of the last tick, at most 10 ms ago:
/// it is asked for with every packet, and a look at the hardware's clock costs many times as much.
pub fn now_ms() -> u64 {
    let mut now = bindings::timespec64::default();
    // SAFETY: May be called in any context; `now` may be written.
    unsafe { bindings::ktime_get_coarse_ts64(&mut now) };
    let seconds = now.tv_sec.unsigned_abs().wrapping_mul(1000);
    seconds.wrapping_add(now.tv_nsec.unsigned_abs() as u64 / 1_000_000)
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
