// SPDX-License-Identifier: GPL-2.0-only

//! A disk with a volatile write cache that forgets what it was not asked to keep, and that can be told to fail.
//!
//! A write without FUA lands in the cache; a flush moves the whole cache to the platter (a sparse file on tmpfs); a
//! write with FUA goes to the platter at once. When the power is cut ([`Disk::power_cut`]) the owner says what
//! becomes of the cache: all of it kept (a capacitor), all dropped, or each sector by lot, which is what a real disk
//! may do. A full cache is destaged, as a real one is; so at most [`CACHE_LIMIT`] can be lost.

use crate::error::At;
use crate::record::{Recorder, Step};
use crate::Result;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// The unit of atomicity of the model.
pub const SECTOR: u64 = 512;
/// More than this many bytes are not held volatile.
pub const CACHE_LIMIT: u64 = 64 << 20;

/// What becomes of a disk's volatile cache when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerCut {
    /// Everything survives: a write-through disk, or one with a capacitor.
    Keep,
    /// Nothing that was not flushed survives.
    Drop,
    /// Each sector survives or not, by a generator with this seed.
    Random(u64),
}

/// How a disk misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Fault {
    /// It does not.
    #[default]
    None,
    /// Reads fail with EIO.
    Reads,
    /// Writes, flushes and discards fail with EIO.
    Writes,
    /// Everything fails with EIO.
    All,
    /// Requests are neither done nor refused until the fault is cleared.
    Stall,
}

/// What a disk has been asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Read requests.
    pub reads: u64,
    /// Write requests.
    pub writes: u64,
    /// Of these, with FUA.
    pub fua: u64,
    /// Flush requests.
    pub flushes: u64,
    /// Bytes written.
    pub written: u64,
    /// Discard and write-zeroes requests.
    pub discards: u64,
    /// Requests that were refused by a [`Fault`].
    pub failed: u64,
}

/// One disk; shared between its owner and the server that QEMU talks to.
pub struct Disk {
    path: PathBuf,
    size: u64,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    platter: File,
    cache: BTreeMap<u64, [u8; SECTOR as usize]>,
    fault: Fault,
    counters: Counters,
    /// Connections that are served.
    busy: usize,
    /// The power is being cut: nothing is done any more.
    off: bool,
    recorder: Option<(Arc<Recorder>, usize)>,
}

impl Disk {
    /// A new disk of `size` bytes, all zero, whose platter is the file `path`.
    pub fn create(path: &Path, size: u64) -> Result<Disk> {
        let platter = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path);
        let platter = platter.at(path.display())?;
        platter.set_len(size)?;
        let state = State {
            platter,
            cache: BTreeMap::new(),
            fault: Fault::None,
            counters: Counters::default(),
            busy: 0,
            off: false,
            recorder: None,
        };
        Ok(Disk {
            path: path.to_owned(),
            size,
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The file with what is on the platter.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the disk misbehave, or well again; stalled requests then go on.
    pub fn set_fault(&self, fault: Fault) {
        self.lock().fault = fault;
        self.changed.notify_all();
    }

    /// What it has been asked to do since it was made.
    pub fn counters(&self) -> Counters {
        self.lock().counters
    }

    /// Bytes that a power cut could take.
    pub fn volatile(&self) -> u64 {
        self.lock().cache.len() as u64 * SECTOR
    }

    /// Cuts the disk's power: decides what becomes of the cache. Its node must be off.
    pub fn power_cut(&self, cut: PowerCut) -> Result<()> {
        // A server that still holds the last request of the dead QEMU must not write after the cut.
        let mut state = self.lock();
        state.off = true;
        self.changed.notify_all();
        while state.busy > 0 {
            state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        state.off = false;
        let cache = std::mem::take(&mut state.cache);
        let mut lot = Lot::new(if let PowerCut::Random(seed) = cut {
            seed
        } else {
            1
        });
        for (sector, bytes) in cache {
            let kept = match cut {
                PowerCut::Keep => true,
                PowerCut::Drop => false,
                PowerCut::Random(_) => lot.draw() & 1 == 0,
            };
            if kept {
                state.platter.write_all_at(&bytes, sector * SECTOR)?;
            }
        }
        Ok(())
    }

    /// What the disk answers to a read now, cache included, past any fault.
    pub fn contents(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.lock()
            .read(&mut bytes, offset)
            .at(self.path.display())?;
        Ok(bytes)
    }

    /// From now on its writes and flushes are recorded, under this number; what is in its cache is on the platter then.
    pub fn record(&self, recorder: &Arc<Recorder>, number: usize) -> Result<()> {
        let mut state = self.lock();
        state.destage().at(self.path.display())?;
        state.recorder = Some((recorder.clone(), number));
        Ok(())
    }

    /// Changes the platter from outside, past the cache (which forgets this range): bit rot, or a prepared image.
    pub fn overwrite(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.lock()
            .write(bytes, offset, true)
            .at(self.path.display())?;
        Ok(())
    }

    /// The first byte where two disks differ in `range`; `None` if they are equal there.
    pub fn first_difference(
        &self,
        other: &Disk,
        range: std::ops::Range<u64>,
    ) -> Result<Option<u64>> {
        const STEP: u64 = 1 << 20;
        let mut at = range.start;
        while at < range.end {
            let length = STEP.min(range.end - at) as usize;
            let (mine, others) = (self.contents(at, length)?, other.contents(at, length)?);
            if let Some(index) = mine.iter().zip(&others).position(|(a, b)| a != b) {
                return Ok(Some(at + index as u64));
            }
            at += length as u64;
        }
        Ok(None)
    }

    /// A request of QEMU begins. It waits here while the disk is stalled.
    fn begin(&self, write: bool) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        while state.fault == Fault::Stall && !state.off {
            state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        let refused = match state.fault {
            _ if state.off => true,
            Fault::All => true,
            Fault::Reads => !write,
            Fault::Writes => write,
            Fault::None | Fault::Stall => false,
        };
        if refused {
            state.counters.failed += 1;
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(state)
    }

    /// A connection of QEMU is served from now on, or (`false`) no longer.
    pub(crate) fn attach(&self, attached: bool) {
        let mut state = self.lock();
        state.busy = if attached {
            state.busy + 1
        } else {
            state.busy.saturating_sub(1)
        };
        drop(state);
        self.changed.notify_all();
    }

    pub(crate) fn serve_read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.begin(false)?;
        state.counters.reads += 1;
        state.read(bytes, offset)
    }

    pub(crate) fn serve_write(&self, bytes: &[u8], offset: u64, fua: bool) -> io::Result<()> {
        let mut state = self.begin(true)?;
        state.counters.writes += 1;
        state.counters.fua += u64::from(fua);
        state.counters.written += bytes.len() as u64;
        state.note_write(bytes, offset, fua);
        state.write(bytes, offset, fua)
    }

    pub(crate) fn serve_flush(&self) -> io::Result<()> {
        let mut state = self.begin(true)?;
        state.counters.flushes += 1;
        state.note(|| Step::Flush);
        state.destage()
    }

    /// Discard and write zeroes: the range reads as zero afterwards.
    pub(crate) fn serve_zero(&self, offset: u64, length: u64, fua: bool) -> io::Result<()> {
        let mut state = self.begin(true)?;
        state.counters.discards += 1;
        let zeroes = vec![0; length.min(1 << 20) as usize];
        let mut done = 0;
        while done < length {
            let step = (length - done).min(1 << 20);
            state.note_write(&zeroes[..step as usize], offset + done, fua);
            state.write(&zeroes[..step as usize], offset + done, fua)?;
            done += step;
        }
        Ok(())
    }
}

impl State {
    fn note(&self, step: impl FnOnce() -> Step) {
        if let Some((recorder, number)) = &self.recorder {
            recorder.add(*number, step());
        }
    }

    fn note_write(&self, bytes: &[u8], offset: u64, stable: bool) {
        self.note(|| Step::Write {
            offset,
            bytes: bytes.to_vec(),
            stable,
        });
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.platter.read_exact_at(bytes, offset)?;
        let end = offset + bytes.len() as u64;
        for (sector, cached) in self.cache.range(offset / SECTOR..end.div_ceil(SECTOR)) {
            let start = sector * SECTOR;
            let from = offset.max(start);
            let to = end.min(start + SECTOR);
            let target = (from - offset) as usize..(to - offset) as usize;
            bytes[target].copy_from_slice(&cached[(from - start) as usize..(to - start) as usize]);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], offset: u64, fua: bool) -> io::Result<()> {
        let aligned = offset % SECTOR == 0 && bytes.len() as u64 % SECTOR == 0;
        if fua || !aligned {
            let first = offset / SECTOR;
            let end = (offset + bytes.len() as u64).div_ceil(SECTOR);
            let stale: Vec<u64> = self.cache.range(first..end).map(|(s, _)| *s).collect();
            for sector in stale {
                // The rest of a sector that is only touched must not be lost.
                if let (false, Some(cached)) = (aligned, self.cache.remove(&sector)) {
                    self.platter.write_all_at(&cached, sector * SECTOR)?;
                } else {
                    self.cache.remove(&sector);
                }
            }
            return self.platter.write_all_at(bytes, offset);
        }
        for (index, chunk) in bytes.chunks_exact(SECTOR as usize).enumerate() {
            let mut sector = [0; SECTOR as usize];
            sector.copy_from_slice(chunk);
            self.cache.insert(offset / SECTOR + index as u64, sector);
        }
        if self.cache.len() as u64 * SECTOR > CACHE_LIMIT {
            self.destage()?;
        }
        Ok(())
    }

    fn destage(&mut self) -> io::Result<()> {
        let mut run: Vec<u8> = Vec::new();
        let mut start = 0;
        for (sector, bytes) in std::mem::take(&mut self.cache) {
            if !run.is_empty() && (sector - start) * SECTOR != run.len() as u64 {
                self.platter.write_all_at(&run, start * SECTOR)?;
                run.clear();
            }
            if run.is_empty() {
                start = sector;
            }
            run.extend_from_slice(&bytes);
        }
        self.platter.write_all_at(&run, start * SECTOR)
    }
}

/// A small generator (splitmix64): the same seed gives the same lots on every machine.
pub struct Lot(u64);

impl Lot {
    /// Begins at `seed`.
    pub fn new(seed: u64) -> Lot {
        Lot(seed)
    }

    /// The next lot.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str) -> Disk {
        let path = std::env::temp_dir().join(format!("lab-disk-{}-{name}", std::process::id()));
        Disk::create(&path, 1 << 20).unwrap()
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    #[test]
    fn an_unflushed_write_is_read_but_does_not_survive_a_drop() {
        let disk = disk("drop");
        disk.serve_write(&[1; 4096], 8192, false).unwrap();
        disk.serve_flush().unwrap();
        disk.serve_write(&[2; 4096], 8192, false).unwrap();
        assert_eq!(disk.contents(8192, 4096).unwrap(), [2; 4096]);
        assert_eq!(disk.volatile(), 4096);
        disk.power_cut(PowerCut::Drop).unwrap();
        assert_eq!(disk.contents(8192, 4096).unwrap(), [1; 4096]);
    }

    #[test]
    fn fua_and_flush_survive_and_keep_keeps() {
        let disk = disk("fua");
        disk.serve_write(&[1; 1024], 0, false).unwrap();
        disk.serve_write(&[2; 512], 512, true).unwrap();
        disk.power_cut(PowerCut::Drop).unwrap();
        assert_eq!(disk.contents(0, 512).unwrap(), [0; 512]);
        assert_eq!(disk.contents(512, 512).unwrap(), [2; 512]);
        disk.serve_write(&[3; 512], 0, false).unwrap();
        disk.power_cut(PowerCut::Keep).unwrap();
        assert_eq!(disk.contents(0, 512).unwrap(), [3; 512]);
    }

    #[test]
    fn random_loses_some_and_keeps_some_the_same_each_time() {
        let outcome = |seed| {
            let disk = disk("random");
            for sector in 0..256 {
                disk.serve_write(&[7; 512], sector * 512, false).unwrap();
            }
            disk.power_cut(PowerCut::Random(seed)).unwrap();
            disk.contents(0, 256 * 512).unwrap()
        };
        let kept = outcome(5).iter().filter(|byte| **byte == 7).count() / 512;
        assert!(kept > 64 && kept < 192, "{kept}");
        assert_eq!(outcome(5), outcome(5));
        assert_ne!(outcome(5), outcome(6));
    }

    #[test]
    fn faults_refuse_what_they_say() {
        let disk = disk("fault");
        let mut bytes = [0; 512];
        disk.set_fault(Fault::Writes);
        assert!(disk.serve_write(&bytes, 0, false).is_err());
        assert!(disk.serve_flush().is_err());
        assert!(disk.serve_read(&mut bytes, 0).is_ok());
        disk.set_fault(Fault::Reads);
        assert!(disk.serve_read(&mut bytes, 0).is_err());
        assert!(disk.serve_write(&bytes, 0, false).is_ok());
        disk.set_fault(Fault::None);
        assert!(disk.serve_read(&mut bytes, 0).is_ok());
        assert_eq!(disk.counters().failed, 3);
    }

    #[test]
    fn a_difference_is_found_where_it_is() {
        let (a, b) = (disk("a"), disk("b"));
        a.serve_write(&[9; 512], 700 * 512, false).unwrap();
        assert_eq!(a.first_difference(&b, 0..1 << 20).unwrap(), Some(700 * 512));
        assert_eq!(a.first_difference(&b, 0..700 * 512).unwrap(), None);
        b.serve_write(&[9; 512], 700 * 512, true).unwrap();
        assert_eq!(a.first_difference(&b, 0..1 << 20).unwrap(), None);
    }
}
