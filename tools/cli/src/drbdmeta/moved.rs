// SPDX-License-Identifier: GPL-2.0-only

//! `check-resize`, and what precedes `apply-al`: a disk that grew while it was not attached has its internal metadata
//! where its end was. They are moved to where the end is now.

use std::path::Path;

use drbd_core::meta::layout::is_internal;
use drbd_core::meta::Cleanness;

use super::create::initialize;
use super::disk::{Disk, Found};
use super::restore::Dump;
use super::{apply, complain, dump, Session};
use crate::last_known::{LastKnown, FOLDER};

/// `check-resize`
pub fn check_resize(session: &Session) -> i32 {
    let Some(minor) = session.minor else {
        return 0;
    };
    match LastKnown::load(Path::new(FOLDER), minor) {
        Some(known) if is_internal(session.index) => {
            look(session, minor, &known, Path::new(FOLDER))
        }
        // Nothing is remembered: but a disk that is not there is told.
        _ => session.open(false).map_or_else(|exit| exit, |_| 0),
    }
}

/// Before a disk is attached. What hinders it is said here, and again by whoever finds no metadata.
pub fn follow(session: &Session) {
    let Some(minor) = session.minor.filter(|_| is_internal(session.index)) else {
        return;
    };
    if let Some(known) = LastKnown::load(Path::new(FOLDER), minor) {
        look(session, minor, &known, Path::new(FOLDER));
    }
}

fn look(session: &Session, minor: u32, known: &LastKnown, folder: &Path) -> i32 {
    let disk = match session.open(true) {
        Ok(disk) => disk,
        Err(exit) => return exit,
    };
    if disk.sectors * 512 == known.bytes {
        return 0;
    }
    let now = LastKnown {
        bytes: disk.sectors * 512,
        path: disk.path.clone(),
        uuid: known.uuid,
    };
    let found = match disk.find() {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => bring(&disk, known, folder, minor),
        Err(error) => return complain(&disk.path, &error),
    };
    match found.map(|()| now.save(folder, minor)) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => complain(&folder.display().to_string(), &error),
        Err(text) => {
            eprintln!("{}: {text}", disk.path);
            1
        }
    }
}

/// Moves the metadata from the end of a disk of the size that is known to the end as it is now.
fn bring(disk: &Disk, known: &LastKnown, folder: &Path, minor: u32) -> Result<(), String> {
    let error = |error: std::io::Error| drbd_say::os_error(&error);
    let sectors = known.bytes / 512;
    if sectors > disk.sectors {
        return Err(format!(
            "it has {} bytes and had {}: a disk must not be made smaller below DRBD; make it that large again",
            disk.sectors * 512,
            known.bytes
        ));
    }
    let old = disk.with_end_at(sectors).map_err(error)?;
    let mut found: Found = match old.find().map_err(error)? {
        Ok(found) => found,
        Err(why) => {
            return Err(format!(
                "it grew, and at its former end are no metadata either: {}",
                why.text()
            ))
        }
    };
    let uuid = found.superblock.device_uuid;
    if known.uuid != 0 && uuid != known.uuid {
        return Err(format!(
            "at its former end are the metadata {uuid:016X}, which are not those of minor {minor} ({:016X})",
            known.uuid
        ));
    }
    if found.cleanness == Cleanness::Unclean {
        if apply::apply(&old, &mut found).map_err(error)? != 0 {
            return Err("its activity log could not be applied".to_owned());
        }
        found = match old.find().map_err(error)? {
            Ok(found) => found,
            Err(why) => return Err(why.text().to_owned()),
        };
    }
    let text = dump::text(&old, &found, "check-resize", 0, "").map_err(error)?;
    // The new place may overlap the old one: until all is written, there is a copy.
    let copy = folder.join(format!("drbd-minor-{minor}.moving"));
    std::fs::write(&copy, &text)
        .and_then(|()| std::fs::File::open(&copy)?.sync_all())
        .map_err(|e| format!("{}: {}", copy.display(), drbd_say::os_error(&e)))?;
    let dump = Dump::parse(&text)?;
    let place = dump.placed(disk)?;
    let former = found.layout.superblock_sector;
    disk.write(former, &[0; 4096])
        .and_then(|()| initialize(disk, &place.layout, dump.log_blocks()))
        .and_then(|()| dump.write_bitmap(disk, &place.layout))
        .and_then(|()| disk.sync())
        .and_then(|()| disk.write_superblock(&place))
        .map_err(|e| {
            format!(
                "{}; the metadata are in {}, for drbdmeta restore-md",
                drbd_say::os_error(&e),
                copy.display()
            )
        })?;
    println!(
        "{}: it grew from {} to {} bytes; the metadata were moved to its end",
        disk.path,
        known.bytes,
        disk.sectors * 512
    );
    let _ = std::fs::remove_file(copy);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drbdmeta::tests::Image;
    use drbd_core::meta::layout::INDEX_FLEX_INTERNAL;

    fn grow(image: &Image, bytes: u64) {
        std::fs::OpenOptions::new()
            .write(true)
            .open(image.path())
            .unwrap()
            .set_len(bytes)
            .unwrap();
    }

    fn bring_it(image: &Image, known: &LastKnown) -> Result<(), String> {
        let disk = Disk::open(&image.path(), INDEX_FLEX_INTERNAL, true, false).unwrap();
        bring(&disk, known, &std::env::temp_dir(), 99)
    }

    #[test]
    fn metadata_follow_a_disk_that_grew() {
        // By much, and by so little that the new place overlaps the old one.
        for more in [64 << 20, 8192] {
            let image = Image::new("moved", 64 << 20);
            assert_eq!(image.run("internal", "create-md"), 0);
            assert_eq!(image.run("internal", "write-dev-uuid 1234ABCD"), 0);
            let gi = "set-gi AA:BB:CC:DD:1:1:0:0:0:0:0 --force";
            assert_eq!(image.run("internal", gi), 0);
            let before = image.find(INDEX_FLEX_INTERNAL).superblock;
            let known = LastKnown {
                bytes: 64 << 20,
                path: image.path(),
                uuid: 0x1234_abcd,
            };
            grow(&image, (64 << 20) + more);
            assert_eq!(image.run("internal", "get-gi"), 1, "not where the end is");
            let stranger = LastKnown {
                uuid: 5,
                ..known.clone()
            };
            assert!(bring_it(&image, &stranger)
                .unwrap_err()
                .contains("not those"));
            bring_it(&image, &known).unwrap();
            let after = image.find(INDEX_FLEX_INTERNAL).superblock;
            assert_eq!(after.uuids, before.uuids);
            assert_eq!(after.device_uuid, before.device_uuid);
            assert_eq!(image.run("internal", "check"), 0);
            // Nothing is found at the old place any more.
            let disk = Disk::open(&image.path(), INDEX_FLEX_INTERNAL, true, false).unwrap();
            assert!(disk
                .with_end_at((64 << 20) / 512)
                .unwrap()
                .find()
                .unwrap()
                .is_err());
        }
    }

    #[test]
    fn a_disk_that_shrank_is_left_alone() {
        let image = Image::new("shrunk", 64 << 20);
        assert_eq!(image.run("internal", "create-md"), 0);
        let known = LastKnown {
            bytes: 128 << 20,
            path: image.path(),
            uuid: 0,
        };
        assert!(bring_it(&image, &known).unwrap_err().contains("smaller"));
        assert_eq!(image.run("internal", "get-gi"), 0);
    }
}
