// SPDX-License-Identifier: GPL-2.0-only

//! Programs that tests run in a guest, as `/proc/1/exe WORD ...`: a writer that tells what was acknowledged, one that
//! changes its buffer while it is written, and a stranger that speaks nonsense to a port.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const BLOCK: usize = 4096;
const SECTOR: usize = 512;

/// Runs the word of the command line; false if it is none of ours.
pub fn run(args: &[String]) -> bool {
    let result = match args.first().map(String::as_str) {
        Some("write") => write(&args[1..]),
        Some("scribble") => scribble(&args[1..]),
        Some("scribbles") => scribbles(&args[1..]),
        Some("turns") => turns(&args[1..]),
        Some("overlap") => overlap(&args[1..]),
        Some("stale") => stale(&args[1..]),
        Some("nonsense") => nonsense(&args[1..]),
        _ => return false,
    };
    if let Err(e) = result {
        eprintln!("{}: {e}", args.join(" "));
        std::process::exit(1);
    }
    true
}

fn number(args: &[String], index: usize) -> io::Result<u64> {
    let text = args
        .get(index)
        .ok_or_else(|| io::Error::other("an argument is missing"))?;
    text.parse()
        .map_err(|_| io::Error::other(format!("'{text}' is no number")))
}

/// `write DEVICE BLOCKS THREADS COUNT SEED SYNC`: each thread writes COUNT blocks (0: until killed) of 4 KiB at random
/// places among its share of the first BLOCKS blocks, directly (SYNC 1: O_DSYNC), and says `BLOCK SEQUENCE` for each
/// write *after* it was acknowledged. A later SEED gives later sequences. Every sector of a block carries its number and the sequence, so a checker
/// outside sees how old each sector is. An error of the device is said as `error TEXT` and ends the thread.
fn write(args: &[String]) -> io::Result<()> {
    let device = args
        .first()
        .ok_or_else(|| io::Error::other("an argument is missing"))?;
    let (blocks, threads) = (number(args, 1)?, number(args, 2)?);
    let (count, seed, sync) = (number(args, 3)?, number(args, 4)?, number(args, 5)?);
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    let dsync = if sync == 1 {
        rustix::fs::OFlags::DSYNC.bits() as i32
    } else {
        0
    };
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(direct | dsync)
        .open(device)?;
    let file = Arc::new(file);
    let failed = Arc::new(AtomicBool::new(false));
    let running: Vec<_> = (0..threads)
        .map(|thread| {
            let (file, failed) = (file.clone(), failed.clone());
            thread::spawn(move || {
                let share = blocks / threads;
                let places = (thread * share, share);
                if let Err(e) = write_share(&file, places, count, seed ^ thread, seed << 32) {
                    say(&format!("error {e}\n"));
                    failed.store(true, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for thread in running {
        let _ = thread.join();
    }
    if failed.load(Ordering::Relaxed) {
        return Err(io::Error::other("a write failed"));
    }
    Ok(())
}

fn write_share(
    file: &File,
    (first, share): (u64, u64),
    count: u64,
    seed: u64,
    before: u64,
) -> io::Result<()> {
    let mut memory = vec![0u8; 2 * BLOCK];
    let start = memory.as_ptr().align_offset(BLOCK);
    let mut lot = seed;
    let mut sequence = before;
    while count == 0 || sequence - before < count {
        sequence += 1;
        let block = first + random(&mut lot) % share.max(1);
        let Some(bytes) = memory.get_mut(start..start + BLOCK) else {
            return Err(io::Error::other("no aligned memory"));
        };
        for sector in bytes.chunks_exact_mut(SECTOR) {
            sector.fill(sequence as u8);
            sector[..8].copy_from_slice(&block.to_le_bytes());
            sector[8..16].copy_from_slice(&sequence.to_le_bytes());
        }
        file.write_all_at(bytes, block * BLOCK as u64)?;
        say(&format!("{block} {sequence}\n"));
    }
    Ok(())
}

/// `scribble DEVICE BLOCKS COUNT LENGTH`: writes a buffer of LENGTH bytes COUNT times, directly, over the first BLOCKS
/// blocks, while another thread changes bytes of it all the time, and says how many writes there were and how many
/// changes came while one was under way.
fn scribble(args: &[String]) -> io::Result<()> {
    let device = args
        .first()
        .ok_or_else(|| io::Error::other("an argument is missing"))?;
    let (blocks, count) = (number(args, 1)?, number(args, 2)?);
    let length = number(args, 3)? as usize;
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(direct)
        .open(device)?;
    let memory = vec![0u8; length + BLOCK];
    let start = memory.as_ptr().align_offset(BLOCK);
    let buffer = memory
        .get(start..start + length)
        .ok_or_else(|| io::Error::other("no aligned memory"))?;
    let address = buffer.as_ptr() as u64;
    // The kernel changes the buffer for us: no two threads of this program touch it.
    let own = OpenOptions::new().write(true).open("/proc/self/mem")?;
    let (done, busy) = (AtomicBool::new(false), AtomicBool::new(false));
    let changes = thread::scope(|scope| {
        let scribbler = scope.spawn(|| {
            let (mut lot, mut changes) = (1, 0u64);
            while !done.load(Ordering::Relaxed) {
                let value = random(&mut lot);
                let place = address + value % length as u64 / 8 * 8;
                let under_way = busy.load(Ordering::Relaxed);
                own.write_all_at(&value.to_le_bytes(), place)?;
                changes += u64::from(under_way);
            }
            Ok::<u64, io::Error>(changes)
        });
        let places = (blocks * BLOCK as u64 / length as u64).max(1);
        let written = (0..count).try_for_each(|round| {
            busy.store(true, Ordering::Relaxed);
            let written = file.write_all_at(buffer, round % places * length as u64);
            busy.store(false, Ordering::Relaxed);
            written
        });
        done.store(true, Ordering::Relaxed);
        let changes = scribbler.join();
        let changes = changes.map_err(|_| io::Error::other("the scribbler died"))??;
        written.map(|()| changes)
    })?;
    println!("{count} writes, {changes} changes");
    Ok(())
}

/// `scribbles DEVICE BLOCKS COUNT THREADS`: as `scribble`, COUNT writes of 4 KiB in all, by THREADS at once, each over
/// its share of the first BLOCKS blocks. All write the same buffer: one change of it changes all that are under way.
fn scribbles(args: &[String]) -> io::Result<()> {
    let device = args
        .first()
        .ok_or_else(|| io::Error::other("an argument is missing"))?;
    let (blocks, count) = (number(args, 1)?, number(args, 2)?);
    let threads = number(args, 3)?.max(1);
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    let mut options = OpenOptions::new();
    let file = options.write(true).custom_flags(direct).open(device)?;
    let memory = vec![0u8; 2 * BLOCK];
    let start = memory.as_ptr().align_offset(BLOCK);
    let buffer = memory
        .get(start..start + BLOCK)
        .ok_or_else(|| io::Error::other("no aligned memory"))?;
    let address = buffer.as_ptr() as u64;
    let own = OpenOptions::new().write(true).open("/proc/self/mem")?;
    let (begun, ended) = (AtomicU64::new(0), AtomicU64::new(0));
    let (share, each) = ((blocks / threads).max(1), count / threads);
    let changes = thread::scope(|scope| {
        let writers: Vec<_> = (0..threads)
            .map(|thread| {
                let (file, begun, ended) = (&file, &begun, &ended);
                scope.spawn(move || {
                    (0..each).try_for_each(|round| {
                        let block = thread * share + round % share;
                        begun.fetch_add(1, Ordering::Relaxed);
                        let written = file.write_all_at(buffer, block * BLOCK as u64);
                        ended.fetch_add(1, Ordering::Relaxed);
                        written
                    })
                })
            })
            .collect();
        let (mut lot, mut changes) = (1, 0u64);
        while writers.iter().any(|writer| !writer.is_finished()) {
            let value = random(&mut lot);
            let place = address + value % BLOCK as u64 / 8 * 8;
            let under_way = begun.load(Ordering::Relaxed) - ended.load(Ordering::Relaxed);
            own.write_all_at(&value.to_le_bytes(), place)?;
            changes += under_way;
            // The writers need the processor, too.
            thread::sleep(Duration::from_micros(300));
        }
        for writer in writers {
            let written = writer.join();
            written.map_err(|_| io::Error::other("a writer died"))??;
        }
        Ok::<u64, io::Error>(changes)
    })?;
    println!("{} writes, {changes} changes", each * threads);
    Ok(())
}

/// The device that an argument names, past the page cache.
fn open_direct(args: &[String], index: usize, how: &mut OpenOptions) -> io::Result<File> {
    let path = args
        .get(index)
        .ok_or_else(|| io::Error::other("an argument is missing"))?;
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    how.custom_flags(direct).open(path)
}

/// `turns DEVICE DEVICE BLOCKS FIRST`: writes FIRST to the first device, directly, then to the second one, then the next
/// number, each when the write before is complete, until it is killed; says each number that is on both. Number N is in
/// block N modulo BLOCKS.
fn turns(args: &[String]) -> io::Result<()> {
    let open = |index| open_direct(args, index, OpenOptions::new().write(true));
    let (devices, blocks) = ([open(0)?, open(1)?], number(args, 2)?);
    let mut memory = vec![0u8; 2 * BLOCK];
    let start = memory.as_ptr().align_offset(BLOCK);
    for n in number(args, 3)?.. {
        let bytes = memory
            .get_mut(start..start + BLOCK)
            .ok_or_else(|| io::Error::other("no aligned memory"))?;
        for word in bytes.chunks_exact_mut(8) {
            word.copy_from_slice(&n.to_le_bytes());
        }
        for device in &devices {
            device.write_all_at(bytes, n % blocks * BLOCK as u64)?;
        }
        say(&format!("{n}\n"));
    }
    Ok(())
}

/// `overlap DEVICE SECTORS THREADS COUNT SEED FIRST`: each thread writes COUNT times, directly, 1 to 16 sectors at random
/// places among the SECTORS from FIRST on, so that writes overlap in part. Every sector says who wrote it and when.
/// Says how many writes were made.
fn overlap(args: &[String]) -> io::Result<()> {
    let file = Arc::new(open_direct(args, 0, OpenOptions::new().write(true))?);
    let (sectors, threads) = (number(args, 1)?, number(args, 2)?);
    let (count, seed) = (number(args, 3)?, number(args, 4)?);
    let begin = number(args, 5)?;
    let running: Vec<_> = (0..threads)
        .map(|thread| {
            let (file, seed) = (file.clone(), (seed << 8) | thread);
            thread::spawn(move || overlap_alone(&file, begin, sectors, count, seed))
        })
        .collect();
    for thread in running {
        let result = thread.join();
        result.map_err(|_| io::Error::other("a thread panicked"))??;
    }
    println!("{} written", threads * count);
    Ok(())
}

fn overlap_alone(file: &File, begin: u64, sectors: u64, count: u64, seed: u64) -> io::Result<()> {
    const LONGEST: u64 = 16;
    let mut memory = vec![0u8; LONGEST as usize * SECTOR + BLOCK];
    let start = memory.as_ptr().align_offset(BLOCK);
    let mut lot = seed;
    for sequence in 0..count {
        let length = 1 + random(&mut lot) % LONGEST;
        let first = begin + random(&mut lot) % (sectors - length);
        let bytes = memory.get_mut(start..start + length as usize * SECTOR);
        let bytes = bytes.ok_or_else(|| io::Error::other("no aligned memory"))?;
        for sector in bytes.chunks_exact_mut(SECTOR) {
            sector.fill(sequence as u8);
            sector[..8].copy_from_slice(&seed.to_le_bytes());
            sector[8..16].copy_from_slice(&sequence.to_le_bytes());
        }
        file.write_all_at(bytes, first * SECTOR as u64)?;
    }
    Ok(())
}

/// `stale DEVICE DEVICE COUNT`: two paths to one disk. Writes a sector through one and reads it through the other, in
/// turn, COUNT times, directly; says how many reads were stale.
fn stale(args: &[String]) -> io::Result<()> {
    let open = |index| open_direct(args, index, OpenOptions::new().read(true).write(true));
    let (devices, count) = ([open(0)?, open(1)?], number(args, 2)?);
    let mut memory = vec![0u8; 3 * BLOCK];
    let start = memory.as_ptr().align_offset(BLOCK);
    let mut stale = 0;
    for sequence in 1..=count {
        let (from, to) = if sequence % 2 == 0 { (0, 1) } else { (1, 0) };
        let at = (sequence % 64) * BLOCK as u64;
        let area = memory
            .get_mut(start..start + 2 * BLOCK)
            .ok_or_else(|| io::Error::other("no aligned memory"))?;
        let (written, read) = area.split_at_mut(BLOCK);
        for word in written.chunks_exact_mut(8) {
            word.copy_from_slice(&sequence.to_le_bytes());
        }
        devices[from].write_all_at(written, at)?;
        devices[to].read_exact_at(read, at)?;
        stale += u64::from(written != read);
    }
    println!("{stale} of {count} reads were stale");
    Ok(())
}

/// At once and whole: lines of different threads do not mix, and none waits in a buffer when the power goes.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(line.as_bytes());
    let _ = out.flush();
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `nonsense ADDRESS:PORT COUNT SEED`: connects COUNT times, each time with another kind of malformed beginning, and
/// says how many connections were accepted.
fn nonsense(args: &[String]) -> io::Result<()> {
    let target = args
        .first()
        .ok_or_else(|| io::Error::other("an argument is missing"))?;
    let (count, mut lot) = (number(args, 1)?, number(args, 2)?);
    let mut accepted = 0;
    let mut silent = Vec::new();
    for round in 0..count {
        let Ok(mut stream) = TcpStream::connect(target) else {
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        accepted += 1;
        let bytes = beginning(round, &mut lot);
        let sent = stream.write_all(&bytes);
        if round % 4 == 3 {
            silent.push(stream); // says no more, and stays
            continue;
        }
        if sent.is_ok() {
            stream.set_read_timeout(Some(Duration::from_millis(100)))?;
            let _ = stream.read(&mut [0; 512]);
        }
    }
    println!("{accepted} accepted");
    Ok(())
}

/// Headers of the three formats with lengths and commands that nobody sends, first packets cut short, and noise.
fn beginning(round: u64, lot: &mut u64) -> Vec<u8> {
    let mut noise = |length: u64| -> Vec<u8> { (0..length).map(|_| random(lot) as u8).collect() };
    let h80 = |command: u16, length: u16| {
        let mut header = 0x8374_0267u32.to_be_bytes().to_vec();
        header.extend_from_slice(&command.to_be_bytes());
        header.extend_from_slice(&length.to_be_bytes());
        header
    };
    let h95 = |command: u16, length: u32| {
        let mut header = 0x835au16.to_be_bytes().to_vec();
        header.extend_from_slice(&command.to_be_bytes());
        header.extend_from_slice(&length.to_be_bytes());
        header
    };
    let h100 = |command: u16, length: u32| {
        let mut header = 0x8620_ec20u32.to_be_bytes().to_vec();
        header.extend_from_slice(&[0, 0]);
        header.extend_from_slice(&command.to_be_bytes());
        header.extend_from_slice(&length.to_be_bytes());
        header.extend_from_slice(&[0; 4]);
        header
    };
    const INITIAL_META: u16 = 0xfff1;
    const INITIAL_DATA: u16 = 0xfff2;
    const FEATURES: u16 = 0xfffe;
    match round % 12 {
        0 => noise(64),
        1 => Vec::new(),
        2 => h80(INITIAL_DATA, 0),
        3 => h80(INITIAL_META, 0),
        4 => h80(INITIAL_DATA, u16::MAX),
        5 => h95(0, u32::MAX),
        6 => h100(FEATURES, u32::MAX),
        7 => h80(INITIAL_DATA, 0)[..5].to_vec(),
        8 => [h80(INITIAL_DATA, 0), h80(FEATURES, 80), noise(80)].concat(),
        9 => [h80(INITIAL_META, 0), noise(4096)].concat(),
        10 => [h80(INITIAL_DATA, 0), h100(0x1b, 1 << 30), noise(200)].concat(),
        _ => noise(20_000),
    }
}
