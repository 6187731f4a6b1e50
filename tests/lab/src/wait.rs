// SPDX-License-Identifier: GPL-2.0-only

//! Waiting for events with a deadline; never for time to pass.

use crate::{Error, Result};
use std::time::{Duration, Instant};

/// `seconds`, times `$DRBDRS_LAB_PATIENCE` (default 1; on a machine that does much else, 3 is good).
pub fn deadline(seconds: u64) -> Duration {
    let factor = std::env::var("DRBDRS_LAB_PATIENCE")
        .ok()
        .and_then(|f| f.parse::<u64>().ok());
    Duration::from_secs(seconds.saturating_mul(factor.unwrap_or(1)))
}

/// Asks `poll` again and again until it gives a value; an error of `poll` ends the wait.
///
/// `what` completes "… did not happen in N s", e.g. "n1 reaches Connected".
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut poll: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        if let Some(value) = poll()? {
            return Ok(value);
        }
        if start.elapsed() >= limit {
            return Err(Error::new(format!(
                "{what}: did not happen in {} s",
                limit.as_secs()
            )));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}
