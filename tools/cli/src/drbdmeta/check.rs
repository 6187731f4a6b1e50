// SPDX-License-Identifier: GPL-2.0-only

//! `check` and `repair`: names what is damaged, and mends what follows from the rest.

use std::io;

use drbd_core::meta::layout::is_internal;
use drbd_core::meta::log::{block_of, emit_initial, Transaction, TRANSACTION_BYTES};
use drbd_core::meta::{Cleanness, Layout, Superblock, SUPERBLOCK_BYTES};

use super::damage::{examine, Block, Diagnosis, Place};
use super::disk::Disk;
use super::{complain, confirm, Session};

/// Larger logs are not read only to choose between shapes of the log.
const WITNESS_BLOCKS: u32 = 1 << 12;

fn ring(disk: &Disk, layout: &Layout, shape: (u32, u32)) -> io::Result<Vec<u8>> {
    let blocks = u64::from(shape.0) * u64::from(shape.1);
    let mut ring = vec![0; usize::try_from(blocks).unwrap_or(0) * TRANSACTION_BYTES];
    disk.read(layout.al_sector, &mut ring)?;
    Ok(ring)
}

/// Whether every transaction of the log is where this shape would have put it, and there is one.
fn witness(disk: &Disk, layout: &Layout, shape: (u32, u32)) -> bool {
    if shape.0.saturating_mul(shape.1) > WITNESS_BLOCKS {
        return false;
    }
    let Ok(ring) = ring(disk, layout, shape) else {
        return false;
    };
    let mut seen = false;
    let agree = ring
        .chunks(TRANSACTION_BYTES)
        .enumerate()
        .all(|(at, block)| match Transaction::parse(block) {
            Ok(transaction) if !transaction.is_initial() => {
                seen = true;
                block_of(transaction.number(), shape.0, shape.1) as usize == at
            }
            _ => true,
        });
    agree && seen
}

/// The superblock and what is known of it; `Err` is the exit code after the reason was said.
fn diagnose(disk: &Disk) -> Result<(u64, Diagnosis), i32> {
    let none = || {
        eprintln!("No valid meta data found");
        1
    };
    let sector = disk.superblock_sector().ok_or_else(none)?;
    let mut block: Block = [0; SUPERBLOCK_BYTES];
    disk.read(sector, &mut block)
        .map_err(|error| complain(&disk.path, &error))?;
    let place = Place {
        index: disk.index,
        data_sectors: disk.data_sectors(),
        meta_sectors: disk.sectors,
    };
    match examine(&block, place, &|layout, shape| witness(disk, layout, shape)) {
        Some(diagnosis) => Ok((sector, diagnosis)),
        None => {
            if let Err(why) = Superblock::read(&block) {
                eprintln!("{}: {}", disk.path, why.text());
            }
            Err(none())
        }
    }
}

/// How the log is: blocks, those that are no transaction.
fn log_state(disk: &Disk, diagnosis: &Diagnosis) -> io::Result<(usize, usize)> {
    let ring = ring(disk, &diagnosis.layout, diagnosis.shape)?;
    let blocks = ring.chunks(TRANSACTION_BYTES);
    let bad = blocks.filter(|block| Transaction::parse(block).is_err());
    Ok((ring.len() / TRANSACTION_BYTES, bad.count()))
}

fn is_clean(diagnosis: &Diagnosis) -> bool {
    matches!(
        Superblock::read(&diagnosis.mended),
        Ok((_, Cleanness::Clean))
    )
}

/// `check`: what is there, and whether it agrees with itself.
pub fn check(session: &Session) -> i32 {
    let disk = match session.open(false) {
        Ok(disk) => disk,
        Err(exit) => return exit,
    };
    let (sector, diagnosis) = match diagnose(&disk) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let place = if is_internal(disk.index) {
        "internal"
    } else {
        "external"
    };
    println!("superblock: v08, {place}, at byte {}", sector * 512);
    println!(
        "room for a device of {} kB",
        diagnosis.layout.max_capacity / 2
    );
    let clean = is_clean(&diagnosis);
    let state = if clean {
        "applied"
    } else {
        "to be applied: drbdmeta ... apply-al"
    };
    println!("activity log: {state}");
    let mut damaged = !diagnosis.findings.is_empty();
    for finding in &diagnosis.findings {
        let remedy = if finding.mended {
            "; repair mends it"
        } else {
            ""
        };
        println!(
            "DAMAGE: {} (byte {}): {}{remedy}",
            finding.field,
            sector * 512 + finding.at as u64,
            finding.text
        );
    }
    match log_state(&disk, &diagnosis) {
        Ok((blocks, bad)) => {
            println!("activity log: {blocks} blocks, {bad} not valid");
            if bad > 1 {
                damaged = true;
                let remedy = if clean {
                    "it was applied, repair initialises it"
                } else {
                    "which blocks differ is not known: 'drbdadm invalidate' here and a full sync"
                };
                println!(
                    "DAMAGE: activity log: at most one block may be torn by a crash; {remedy}"
                );
            }
        }
        Err(error) => return complain(&disk.path, &error),
    }
    i32::from(damaged)
}

/// `repair`: mends what `check` says that it would.
pub fn repair(session: &Session) -> i32 {
    let disk = match session.open(true) {
        Ok(disk) => disk,
        Err(exit) => return exit,
    };
    let (sector, diagnosis) = match diagnose(&disk) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let bad = match log_state(&disk, &diagnosis) {
        Ok((_, bad)) => bad,
        Err(error) => return complain(&disk.path, &error),
    };
    let superblock = diagnosis.findings.iter().any(|finding| finding.mended);
    let log = bad > 1 && is_clean(&diagnosis);
    for finding in &diagnosis.findings {
        let verb = if finding.mended {
            "mend"
        } else {
            "cannot mend"
        };
        println!("{verb} {}: {}", finding.field, finding.text);
    }
    if log {
        println!("mend activity log: {bad} blocks are not valid; it is initialised");
    }
    let left = diagnosis.findings.iter().any(|finding| !finding.mended) || (bad > 1 && !log);
    if !superblock && !log {
        println!("Nothing to repair.");
        return i32::from(left);
    }
    if !confirm("Write this to disk?", session.force) {
        println!("Operation cancelled.");
        return 1;
    }
    match write(&disk, sector, &diagnosis, log) {
        Ok(()) => i32::from(left),
        Err(error) => complain(&disk.path, &error),
    }
}

/// The log first: the superblock is what makes it count.
fn write(disk: &Disk, sector: u64, diagnosis: &Diagnosis, log: bool) -> io::Result<()> {
    if log {
        let mut initial = [0; TRANSACTION_BYTES];
        emit_initial(&mut initial);
        let (stripes, size) = diagnosis.shape;
        for block in 0..u64::from(stripes) * u64::from(size) {
            disk.write(diagnosis.layout.al_sector + 8 * block, &initial)?;
        }
        disk.sync()?;
    }
    disk.write(sector, &diagnosis.mended)?;
    disk.sync()
}
