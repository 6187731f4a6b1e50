// SPDX-License-Identifier: GPL-2.0-only

//! The log of acknowledged writes, kept outside the guests, and the check that none is missing from a disk.
//!
//! The writer in the guest (`/proc/1/exe write`, see the lab's agent) says `BLOCK SEQUENCE` after each write that was
//! acknowledged. Each block is written by one thread, in the order of the sequence, and each sector of it carries both
//! numbers. So on a disk that has lost nothing every sector of an acknowledged block is at least as new as the newest
//! acknowledgement; it may be newer, for a write whose acknowledgement was under way.

use drbd_lab::frame::Kind;
use drbd_lab::{Disk, Error, Node, Process, Result};
use std::collections::HashMap;
use std::time::{Duration, Instant};

const BLOCK: u64 = 4096;
const SECTOR: usize = 512;

/// A writer that runs in a guest.
pub struct Writer {
    process: Process,
    log: AckLog,
    partial: String,
    ended: Option<i32>,
}

/// What was acknowledged.
#[derive(Clone, Debug, Default)]
pub struct AckLog {
    newest: HashMap<u64, u64>,
    acknowledged: u64,
    errors: Vec<String>,
}

/// What the writer writes.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The size of the area, in 4 KiB blocks.
    pub blocks: u64,
    /// Writers at once.
    pub threads: u64,
    /// Writes of each thread; 0: until it is stopped.
    pub count: u64,
    /// Decides where. A later one gives later sequences.
    pub seed: u64,
    /// Each write is durable when it is acknowledged (O_DSYNC).
    pub durable: bool,
}

impl Writer {
    /// Starts a writer on a device of a node.
    pub fn start(node: &Node, device: &str, load: Load) -> Result<Writer> {
        let numbers = [
            load.blocks,
            load.threads,
            load.count,
            load.seed,
            u64::from(load.durable),
        ];
        let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
        let mut args = vec!["/proc/1/exe", "write", device];
        args.extend(numbers.iter().map(String::as_str));
        let process = node.spawn(&args)?;
        Ok(Writer {
            process,
            log: AckLog::default(),
            partial: String::new(),
            ended: None,
        })
    }

    /// Takes what the writer says until `done` says so; false if `limit` came first, or the writer ended.
    pub fn listen(&mut self, limit: Duration, mut done: impl FnMut(&AckLog) -> bool) -> bool {
        let start = Instant::now();
        while !done(&self.log) {
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() || self.ended.is_some() {
                return false;
            }
            match self.process.next(left) {
                Ok(frame) if frame.kind == Kind::Exit => self.ended = Some(frame.int()),
                Ok(frame) => self.take(&frame.payload),
                Err(_) => return false,
            }
        }
        true
    }

    fn take(&mut self, said: &[u8]) {
        self.partial.push_str(&String::from_utf8_lossy(said));
        while let Some(end) = self.partial.find('\n') {
            let line: String = self.partial.drain(..=end).collect();
            self.log.take(line.trim());
        }
    }

    /// Stops the writer; what it had said is in the log.
    pub fn stop(mut self) -> AckLog {
        let _ = self.process.kill(9);
        self.listen(drbd_lab::deadline(60), |_| false);
        self.log
    }

    /// Takes what is still there of a writer whose node has lost its power.
    pub fn lost(mut self) -> AckLog {
        while let Some(frame) = self.process.try_next() {
            if frame.kind != Kind::Exit {
                self.take(&frame.payload);
            }
        }
        self.log
    }

    /// The log so far.
    pub fn log(&self) -> &AckLog {
        &self.log
    }

    /// Its exit code, once it has ended.
    pub fn ended(&self) -> Option<i32> {
        self.ended
    }
}

impl AckLog {
    /// Takes a line that the writer said.
    pub fn take(&mut self, line: &str) {
        let numbers = line
            .split_once(' ')
            .and_then(|(b, s)| Some((b.parse().ok()?, s.parse().ok()?)));
        match numbers {
            Some((block, sequence)) => {
                self.acknowledged += 1;
                self.newest.insert(block, sequence);
            }
            None => self.errors.push(line.to_owned()),
        }
    }

    /// Adds the log of a later writer of the same device.
    pub fn absorb(&mut self, later: AckLog) {
        self.newest.extend(later.newest);
        self.acknowledged += later.acknowledged;
        self.errors.extend(later.errors);
    }

    /// How many writes were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// What the writer said that was no acknowledgement.
    pub fn errors(&self) -> &[String] {
        &self.errors
    }

    /// Blocks with a sector on `disk` that is older than its newest acknowledgement.
    pub fn missing(&self, disk: &Disk) -> Result<Vec<u64>> {
        let mut missing = Vec::new();
        for (block, acknowledged) in &self.newest {
            let bytes = disk.contents(block * BLOCK, BLOCK as usize)?;
            let present = bytes.chunks_exact(SECTOR).all(|sector| {
                let number = |at: usize| {
                    let bytes = sector.get(at..at + 8).and_then(|b| b.try_into().ok());
                    u64::from_le_bytes(bytes.unwrap_or_default())
                };
                number(0) == *block && number(8) >= *acknowledged
            });
            if !present {
                missing.push(*block);
            }
        }
        missing.sort_unstable();
        Ok(missing)
    }

    /// An error that names what is missing.
    pub fn check(&self, disk: &Disk, place: &str) -> Result<()> {
        let missing = self.missing(disk)?;
        if missing.is_empty() {
            return Ok(());
        }
        let first: Vec<String> = missing.iter().take(8).map(u64::to_string).collect();
        Err(Error::new(format!(
            "{} of {} acknowledged blocks are missing on {place}: blocks {} …",
            missing.len(),
            self.newest.len(),
            first.join(", ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(number: u64, sequence: u64) -> Vec<u8> {
        let mut sector = [0; SECTOR];
        sector[..8].copy_from_slice(&number.to_le_bytes());
        sector[8..16].copy_from_slice(&sequence.to_le_bytes());
        sector.repeat(8)
    }

    #[test]
    fn what_is_older_than_its_acknowledgement_is_missing() {
        let path = std::env::temp_dir().join(format!("vm-acks-{}", std::process::id()));
        let disk = Disk::create(&path, 1 << 20).unwrap();
        let mut log = AckLog::default();
        ["3 1", "3 4", "5 2", "error Input/output error"]
            .iter()
            .for_each(|line| log.take(line));
        assert_eq!((log.acknowledged(), log.errors().len()), (3, 1));
        disk.overwrite(3 * BLOCK, &block(3, 4)).unwrap();
        disk.overwrite(5 * BLOCK, &block(5, 9)).unwrap(); // newer than acknowledged
        assert!(log.missing(&disk).unwrap().is_empty());
        disk.overwrite(3 * BLOCK + 512, &block(3, 3)[..512])
            .unwrap(); // one old sector
        assert_eq!(log.missing(&disk).unwrap(), [3]);
        assert!(log.check(&disk, "here").is_err());
        std::fs::remove_file(path).unwrap();
    }
}
