// SPDX-License-Identifier: GPL-2.0-only

//! On a machine that is a folder.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::drbd::{mirrors, Me};

const CONF: &str = "\
    common { net { allow-two-primaries; } }
    resource r0 { device /dev/drbd1; disk /dev/disk/by-id/first; meta-disk /dev/sdc;
        on a { address 192.0.2.1:1; } on b { address 192.0.2.2:1; } }
    resource r1 { device /dev/drbd2; disk /dev/vg/lower; meta-disk internal;
        on a { address 192.0.2.1:2; } on b { address 192.0.2.2:2; } }
    resource r1-U { stacked-on-top-of r1 { device /dev/drbd10; address 192.0.2.1:3; }
        on c { device /dev/drbd10; disk /dev/sdz; meta-disk internal; address 192.0.2.3:3; } }";

struct Stage {
    folder: PathBuf,
    mirrors: Mirrors,
}

impl Stage {
    fn new(name: &str) -> Stage {
        let name = format!("drbd-iscsi-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&folder);
        let loaded = drbd_config::from_text("drbd.conf", CONF);
        assert!(!loaded.is_broken(), "{}", loaded.report());
        let stage = Stage {
            folder,
            mirrors: mirrors(&loaded.config, &Me::Numbered(1)),
        };
        for (name, number, below) in [
            ("drbd1", "147:1", &["sdb"][..]),
            ("drbd2", "147:2", &["dm-9"]),
            ("drbd7", "147:7", &[]),
            ("sdb", "8:16", &[]),
            ("sdc", "8:32", &[]),
            ("sdd", "8:48", &[]),
            ("sde", "8:64", &[]),
            ("dm-9", "253:9", &["sde"]),
            ("dm-0", "253:0", &["drbd1"]),
            ("dm-1", "253:1", &["drbd1", "drbd2"]),
            ("dm-2", "253:2", &["drbd1", "sdd"]),
            ("dm-3", "253:3", &["drbd7"]),
            ("dm-4", "253:4", &["dm-0"]),
            ("dm-5", "253:5", &["sde"]),
        ] {
            stage.device(name, number, below);
        }
        for (to, link) in [
            ("../../drbd1", "disk/by-id/mirror"),
            ("../../sdb", "disk/by-id/first"),
            ("../dm-0", "mapper/vg-lv"),
            ("../dm-9", "vg/lower"),
            ("../dm-5", "vg/other"),
            ("sdd", "drbd3"),
        ] {
            let link = stage.folder.join("dev").join(link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(to, link).unwrap();
        }
        // A partition is a folder in that of its disk.
        let disks = stage.folder.join("sys/devices");
        for (disk, part, number) in [("drbd1", "drbd1p1", "259:1"), ("sdb", "sdb1", "8:17")] {
            let folder = disks.join(disk).join(part);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("dev"), number).unwrap();
            fs::write(folder.join("partition"), "1").unwrap();
            let class = stage.folder.join("sys/class/block").join(part);
            symlink(format!("../../devices/{disk}/{part}"), class).unwrap();
            fs::write(stage.folder.join("dev").join(part), "").unwrap();
        }
        stage
    }

    fn device(&self, name: &str, number: &str, below: &[&str]) {
        let class = self.folder.join("sys/class/block").join(name);
        fs::create_dir_all(class.join("slaves")).unwrap();
        fs::create_dir_all(self.folder.join("dev")).unwrap();
        fs::write(class.join("dev"), format!("{number}\n")).unwrap();
        for name in below {
            fs::write(class.join("slaves").join(name), "").unwrap();
        }
        fs::write(self.folder.join("dev").join(name), "").unwrap();
    }

    fn look(&self, path: &str) -> Result<Behind, Refusal> {
        look(&self.mirrors, &Machine::in_folder(&self.folder), path)
    }

    /// The resource, and whether its device itself was named.
    fn mirror(&self, path: &str) -> Option<(String, bool)> {
        let behind = self.look(path).unwrap_or_else(|e| panic!("{path}: {e:?}"));
        behind.mirror.map(|m| (m.resource, behind.is_mirror))
    }

    fn refusal(&self, path: &str) -> String {
        self.look(path)
            .map_or_else(|(problem, _)| problem, |b| panic!("{path}: {b:?}"))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_mirror_is_one_by_whatever_path() {
    let stage = Stage::new("paths");
    for path in [
        "/dev/drbd1",
        "/dev//drbd1",
        "/dev/disk/../drbd1",
        "/dev/disk/by-id/mirror",
        // Not there on this machine, and known by its name all the same.
        "/dev/drbd/by-res/r0",
    ] {
        assert_eq!(stage.mirror(path), Some(("r0".to_owned(), true)), "{path}");
    }
    assert_eq!(stage.mirror("/dev/sdd"), None);
    assert!(stage.refusal("/dev/drbd7").contains("in no resource"));
    assert!(stage.refusal("/dev/drbd10").contains("stacked"));
    assert!(stage.refusal("/dev/drbd9").contains("in no resource"));
}

#[test]
fn what_lies_on_a_mirror_has_its_policy() {
    let stage = Stage::new("on-top");
    for path in [
        "/dev/mapper/vg-lv",
        "/dev/dm-0",
        "/dev/dm-4",
        "/dev/drbd1p1",
    ] {
        assert_eq!(stage.mirror(path), Some(("r0".to_owned(), false)), "{path}");
    }
    assert!(stage
        .refusal("/dev/dm-1")
        .contains("several mirrors: /dev/drbd1 and /dev/drbd2"));
    let told = stage.refusal("/dev/dm-2");
    assert!(
        told.contains("the mirror /dev/drbd1 and on /dev/sdd, which is not"),
        "{told}"
    );
    assert!(stage
        .refusal("/dev/dm-3")
        .contains("lies on a mirror: '/dev/drbd7'"));
}

#[test]
fn disks_of_a_mirror_are_not_exported_beside_it() {
    let stage = Stage::new("lower");
    for path in ["/dev/sdb", "/dev//sdb", "/dev/disk/by-id/first"] {
        let (problem, advice) = stage.look(path).unwrap_err();
        assert!(
            problem.ends_with("is the lower disk of resource r0"),
            "{problem}"
        );
        assert!(advice.ends_with("export /dev/drbd1"), "{advice}");
    }
    assert!(stage
        .refusal("/dev/sdc")
        .contains("is the meta-disk of resource r0"));
    assert!(stage.refusal("/dev/sdb1").contains("have blocks in common"));
    assert!(stage
        .refusal("/dev/sde")
        .contains("r1, /dev/vg/lower, have blocks in common"));
    // Another volume on the same disk is nobody's.
    assert_eq!(stage.mirror("/dev/vg/other"), None);
    // The mirror that a stacked one lies on.
    assert!(stage
        .refusal("/dev/drbd2")
        .contains("is the lower disk of resource r1-U"));
}

#[test]
fn what_is_not_what_it_is_called() {
    let stage = Stage::new("lies");
    fs::remove_file(stage.folder.join("dev/drbd1")).unwrap();
    symlink("sdd", stage.folder.join("dev/drbd1")).unwrap();
    assert!(stage
        .refusal("/dev/drbd1")
        .contains("is sdd here, not the mirror"));
    assert_eq!(
        stage.mirror("/dev/drbd3"),
        None,
        "a strange name for a disk"
    );
    fs::remove_file(stage.folder.join("dev/drbd1")).unwrap();
    fs::remove_dir_all(stage.folder.join("sys/class/block/drbd1")).unwrap();
    fs::write(stage.folder.join("dev/drbd1"), "data").unwrap();
    assert!(stage
        .refusal("/dev/drbd1")
        .contains("is a file, not the mirror"));
}

#[test]
fn files() {
    let stage = Stage::new("files");
    let (problem, advice) = stage.look("/nonexist").unwrap_err();
    assert_eq!(problem, "there is no /nonexist");
    assert!(advice.contains("truncate"), "{advice}");
    assert!(stage
        .look("/dev/nonexist")
        .unwrap_err()
        .1
        .contains("attached"));
    fs::write(stage.folder.join("empty"), "").unwrap();
    assert!(stage.look("/empty").unwrap().is_empty);
    assert!(stage.refusal("/dev").contains("is a folder"));
    // The file system that this folder is in is said to be on the mirror.
    let machine = Machine::in_folder(&stage.folder);
    let own = fs::metadata(&stage.folder).unwrap();
    let number = std::os::unix::fs::MetadataExt::dev(&own);
    let number = format!(
        "{}:{}",
        rustix::fs::major(number),
        rustix::fs::minor(number)
    );
    stage.device("dm-20", &number, &["drbd1"]);
    let refused = look(&stage.mirrors, &machine, "/empty").unwrap_err();
    assert!(
        refused.0.contains("in a file system on /dev/drbd1"),
        "{}",
        refused.0
    );
    let mut one = stage.mirrors.clone();
    one.devices[0].two_primaries = false;
    let behind = look(&one, &machine, "/empty").unwrap();
    assert_eq!(behind.mirror.unwrap().resource, "r0");
}

#[test]
fn units_that_share_blocks() {
    let stage = Stage::new("overlap");
    let look = |path| stage.look(path).unwrap();
    assert!(look("/dev/drbd1").overlaps(&look("/dev/mapper/vg-lv")));
    assert!(look("/dev/dm-4").overlaps(&look("/dev/dm-0")));
    assert!(look("/dev/disk/by-id/mirror").overlaps(&look("/dev/drbd/by-res/r0/0")));
    assert!(!look("/dev/sdd").overlaps(&look("/dev/drbd1")));
}
