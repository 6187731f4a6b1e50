// SPDX-License-Identifier: GPL-2.0-only

//! Generation identifiers and flags on a disk that is not attached: reading and changing them.

use drbd_core::meta::{Cleanness, Flags, Why};
use drbd_core::types::Uuid;
use drbd_core::uuid::Set;

use super::apply::pretty;
use super::disk::{Disk, Found};
use super::{complain, confirm, Session};
use crate::drbdsetup::GenerationIds;

/// Opens the disk, finds the metadata, hands both to `act`.
fn with(session: &Session, write: bool, act: impl FnOnce(&Disk, Found) -> i32) -> i32 {
    let disk = match session.open(write) {
        Ok(disk) => disk,
        Err(exit) => return exit,
    };
    match session.find(&disk) {
        Ok(found) => act(&disk, found),
        Err(exit) => exit,
    }
}

fn ids(found: &Found) -> GenerationIds {
    let mut flags = found.superblock.flags;
    flags.set(Flags::AL_CLEAN, found.cleanness == Cleanness::Clean);
    GenerationIds {
        uuids: found.superblock.uuids.to_array().map(|uuid| uuid.0),
        flags: flags.bits(),
    }
}

fn store(disk: &Disk, found: &Found) -> i32 {
    match disk.write_superblock(found) {
        Ok(()) => 0,
        Err(error) => complain(&disk.path, &error),
    }
}

/// `get-gi`
pub fn get(session: &Session) -> i32 {
    with(session, false, |_, found| {
        println!("{}", ids(&found).line());
        0
    })
}

/// `show-gi`
pub fn show(session: &Session) -> i32 {
    with(session, false, |_, found| {
        print!("{}", ids(&found).explained());
        match found.superblock.effective_size {
            0 => println!("zero size device -- never seen peer yet?"),
            sectors => println!(
                "last agreed size: {} ({sectors} sectors)",
                pretty(sectors / 2)
            ),
        }
        if found.superblock.la_peer_max_bio_size > 0 {
            let bytes = found.superblock.la_peer_max_bio_size;
            println!("last agreed max bio size: {bytes} Byte");
        }
        0
    })
}

/// `dstate`
pub fn dstate(session: &Session) -> i32 {
    with(session, false, |_, found| {
        let flags = found.superblock.flags;
        println!(
            "{}",
            match (
                flags.contains(Flags::CONSISTENT),
                flags.contains(Flags::WAS_UP_TO_DATE)
            ) {
                // Whether the peer has newer data is not known here.
                (true, true) => "Consistent",
                (true, false) => "Outdated",
                _ => "Inconsistent",
            }
        );
        0
    })
}

/// `outdate`
pub fn outdate(session: &Session) -> i32 {
    with(session, true, |disk, mut found| {
        if !found.superblock.flags.contains(Flags::CONSISTENT) {
            eprintln!("Device is inconsistent.");
            return 5;
        }
        found.superblock.flags.remove(Flags::WAS_UP_TO_DATE);
        store(disk, &found)
    })
}

/// `invalidate`
pub fn invalidate(session: &Session) -> i32 {
    with(session, true, |disk, mut found| {
        let flags = &mut found.superblock.flags;
        flags.remove(Flags::CONSISTENT);
        flags.remove(Flags::WAS_UP_TO_DATE);
        // Nothing of the data may be taken for good: the driver sets the whole bitmap at attach.
        flags.insert(Flags::FULL_SYNC);
        store(disk, &found)
    })
}

/// `read-dev-uuid`
pub fn read_dev_uuid(session: &Session) -> i32 {
    with(session, false, |_, found| {
        println!("{:016X}", found.superblock.device_uuid);
        0
    })
}

/// `write-dev-uuid HEX`
pub fn write_dev_uuid(session: &Session) -> i32 {
    let Ok(uuid) = u64::from_str_radix(session.operand(), 16) else {
        eprintln!(
            "'{}' is not a UUID: up to 16 hexadecimal digits are expected",
            session.operand()
        );
        return 10;
    };
    with(session, true, |disk, mut found| {
        found.superblock.device_uuid = uuid;
        store(disk, &found)
    })
}

/// `CUR:BM:H1:H2:f:f:f:f:f:f:f`; what is left out stays.
fn parse_ids(text: &str, old: &GenerationIds) -> Option<GenerationIds> {
    const FLAGS: [u32; 7] = [0x01, 0x10, 0x02, 0x04, 0x08, 0x20, 0x40];
    let mut new = *old;
    let fields: Vec<&str> = text.trim_end_matches(':').split(':').collect();
    if fields.len() > 11 {
        return None;
    }
    for (at, field) in fields.iter().enumerate() {
        if field.is_empty() {
            continue;
        }
        if let Some(uuid) = new.uuids.get_mut(at) {
            *uuid = u64::from_str_radix(field, 16).ok()?;
            continue;
        }
        let flag = FLAGS[at - 4];
        match *field {
            "1" => new.flags |= flag,
            "0" => new.flags &= !flag,
            _ => return None,
        }
    }
    Some(new)
}

/// `set-gi`
pub fn set(session: &Session) -> i32 {
    with(session, true, |disk, mut found| {
        let old = ids(&found);
        let Some(new) = parse_ids(session.operand(), &old) else {
            eprintln!(
                "'{}' is no list of identifiers as get-gi prints it",
                session.operand()
            );
            return 10;
        };
        println!("previously {}\nset GI to  {}", old.line(), new.line());
        if !confirm("Write new GI to disk?", session.force) {
            println!("Operation canceled.");
            return 0;
        }
        found.superblock.uuids = Set::from_array(new.uuids.map(Uuid));
        found.superblock.flags = Flags::from_bits(new.flags);
        store(disk, &found)
    })
}

/// `wipe-md`
pub fn wipe(session: &Session) -> i32 {
    let found = match session.open(false) {
        Ok(disk) => disk.find(),
        Err(exit) => return exit,
    };
    if let Ok(Err(Why::NoMagic)) = found {
        println!("There appears to be no drbd meta data to wipe out?");
        return 0;
    }
    with(session, true, |disk, found| {
        if !confirm(
            "Do you really want to wipe out the DRBD meta data?",
            session.force,
        ) {
            println!("Operation cancelled.");
            return 1;
        }
        println!("Wiping meta data...");
        match disk
            .write(found.layout.superblock_sector, &[0; 4096])
            .and_then(|()| disk.sync())
        {
            Ok(()) => {
                println!("DRBD meta data block successfully wiped out.");
                0
            }
            Err(error) => complain(&disk.path, &error),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_read_as_they_are_printed() {
        let old = GenerationIds {
            uuids: [1, 2, 3, 4],
            flags: 0x80,
        };
        let all = parse_ids("AA:BB:0:0:1:1:0:0:0:0:0", &old).unwrap();
        assert_eq!((all.uuids, all.flags), ([0xaa, 0xbb, 0, 0], 0x91));
        assert_eq!(parse_ids(&all.line(), &old), Some(all));
        assert_eq!(
            parse_ids("5::::::1", &old).unwrap(),
            GenerationIds {
                uuids: [5, 2, 3, 4],
                flags: 0x82
            }
        );
        for bad in ["x", "1:2:3:4:5", "1:2:3:4:0:0:0:0:0:0:0:0"] {
            assert_eq!(parse_ids(bad, &old), None, "{bad}");
        }
    }
}
