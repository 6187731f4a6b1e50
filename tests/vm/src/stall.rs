// SPDX-License-Identifier: GPL-2.0-only

//! A verifying load whose acknowledgements are heard as they come, whatever the scenario does meanwhile: how long did
//! a write wait?

use crate::acks::{AckLog, Load, Writer};
use drbd_lab::{deadline, Error, Node, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often the listener looks whether it shall end.
const SLICE: Duration = Duration::from_millis(500);

/// The load.
pub struct Heard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<AckLog>>,
}

#[derive(Default)]
struct Shared {
    pulse: Mutex<Pulse>,
    stop: AtomicBool,
}

#[derive(Default)]
struct Pulse {
    acknowledged: u64,
    last: Option<Instant>,
    longest: Duration,
    errors: Vec<String>,
    ended: Option<i32>,
}

impl Shared {
    fn pulse<T>(&self, work: impl FnOnce(&mut Pulse) -> T) -> T {
        work(&mut self.pulse.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ends(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Listens until it shall stop, or the load or its node ends.
    fn follow(&self, mut writer: Writer) -> AckLog {
        loop {
            let begin = Instant::now();
            writer.listen(SLICE, |log| {
                self.pulse(|pulse| pulse.hear(log, Instant::now()));
                self.ends()
            });
            if self.ends() || begin.elapsed() < SLICE {
                self.pulse(|pulse| pulse.ended = writer.ended());
                return writer.stop();
            }
        }
    }
}

impl Pulse {
    fn hear(&mut self, log: &AckLog, now: Instant) {
        if log.errors().len() != self.errors.len() {
            self.errors = log.errors().to_vec();
        }
        if log.acknowledged() == self.acknowledged {
            return;
        }
        let waited = self.last.map_or(Duration::ZERO, |last| now - last);
        self.longest = self.longest.max(waited);
        self.acknowledged = log.acknowledged();
        self.last = Some(now);
    }
}

impl Heard {
    /// Starts a load on a device of a node.
    pub fn start(node: &Node, device: &str, load: Load) -> Result<Heard> {
        let writer = Writer::start(node, device, load)?;
        let shared = Arc::new(Shared::default());
        let listener = shared.clone();
        let thread = Some(thread::spawn(move || listener.follow(writer)));
        Ok(Heard { shared, thread })
    }

    /// Waits until so many more writes are acknowledged.
    pub fn goes_on(&self, more: u64) -> Result<()> {
        let target = self.acknowledged() + more;
        drbd_lab::until("the initiator's writes go on", deadline(120), || {
            Ok((self.acknowledged() >= target).then_some(()))
        })
        .map_err(|e| {
            self.shared.pulse(|p| {
                let (acknowledged, errors, ended) = (p.acknowledged, &p.errors, p.ended);
                Error::new(format!(
                    "{e}: {acknowledged} acknowledged, {errors:?}, ended: {ended:?}"
                ))
            })
        })
    }

    /// How many writes were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.shared.pulse(|pulse| pulse.acknowledged)
    }

    /// The longest time without an acknowledgement since this was asked before.
    pub fn longest(&self) -> Duration {
        self.shared
            .pulse(|pulse| std::mem::take(&mut pulse.longest))
    }

    /// Ends the load. It must not have seen an error.
    pub fn stop(mut self) -> Result<AckLog> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let log = self.thread.take().map(JoinHandle::join);
        let log = log.and_then(|joined| joined.ok());
        let log = log.ok_or_else(|| Error::new("the thread that listened to the load panicked"))?;
        if log.errors().is_empty() {
            return Ok(log);
        }
        Err(Error::new(format!("the initiator saw {:?}", log.errors())))
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_from_one_acknowledgement_to_the_next() {
        let (begin, mut pulse, mut log) = (Instant::now(), Pulse::default(), AckLog::default());
        for (second, said) in [
            (2, "1 1"),
            (3, "2 1"),
            (7, "Input/output error"),
            (8, "1 2"),
        ] {
            log.take(said);
            pulse.hear(&log, begin + Duration::from_secs(second));
        }
        assert_eq!(pulse.longest, Duration::from_secs(5));
        assert_eq!((pulse.acknowledged, pulse.errors.len()), (3, 1));
    }
}
