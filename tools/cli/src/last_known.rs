// SPDX-License-Identifier: GPL-2.0-only

//! How large a minor's lower disk was when it was last attached: internal metadata is at the end of the disk, and when the
//! disk grows while nobody looks, that is where it is left behind. The file is the one that drbd-utils keep.

use std::io::{Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// Where the files are.
pub const FOLDER: &str = "/var/lib/drbd";

/// What is remembered of a minor's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastKnown {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its path.
    pub path: String,
    /// The UUID of its metadata; 0 if none was given.
    pub uuid: u64,
}

fn file(folder: &Path, minor: u32) -> PathBuf {
    folder.join(format!("drbd-minor-{minor}.lkbd"))
}

impl LastKnown {
    /// What is remembered of a minor; none if nothing is, or nothing that can be read.
    pub fn load(folder: &Path, minor: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(file(folder, minor)).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (bytes, rest) = text.split_once('\t')?;
        let (path, rest) = rest.split_once('\n')?;
        let uuid = rest
            .strip_prefix("uuid:")
            .and_then(|uuid| u64::from_str_radix(uuid.trim(), 16).ok());
        Some(Self {
            bytes: bytes.trim().parse().ok()?,
            path: path.to_owned(),
            uuid: uuid.unwrap_or(0),
        })
    }

    fn text(&self) -> String {
        format!("{}\t{}\nuuid:\t{:016X}\n", self.bytes, self.path, self.uuid)
    }

    /// Remembers it: the new file is complete before it is in its place.
    pub fn save(&self, folder: &Path, minor: u32) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let place = file(folder, minor);
        let new = place.with_extension("lkbd.new");
        std::fs::write(&new, self.text())?;
        std::fs::rename(new, place)
    }
}

/// Remembers the disk of a minor that has just been attached. That it cannot is no failure of the attach.
pub fn remember(minor: u32, path: &str, uuid: u64) {
    let size = std::fs::File::open(path).and_then(|mut disk| disk.seek(SeekFrom::End(0)));
    if let Ok(bytes) = size {
        let path = path.to_owned();
        let _ = LastKnown { bytes, path, uuid }.save(Path::new(FOLDER), minor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_stock_tools() {
        let text = "16777216\t/dev/ram0\nuuid:\tA9604690CF3A435D\n";
        let known = LastKnown {
            bytes: 16 << 20,
            path: "/dev/ram0".into(),
            uuid: 0xa960_4690_cf3a_435d,
        };
        assert_eq!(LastKnown::parse(text), Some(known.clone()));
        assert_eq!(known.text(), text);
        // Older ones had no UUID.
        let old = LastKnown::parse("4096\t/dev/x\n").unwrap();
        assert_eq!((old.bytes, old.uuid), (4096, 0));
        for broken in ["", "x\t/dev/x\n", "4096 /dev/x"] {
            assert_eq!(LastKnown::parse(broken), None);
        }
        let folder = std::env::temp_dir().join(format!("drbd-known-{}", std::process::id()));
        known.save(&folder, 7).unwrap();
        assert_eq!(LastKnown::load(&folder, 7), Some(known));
        assert_eq!(LastKnown::load(&folder, 8), None);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
