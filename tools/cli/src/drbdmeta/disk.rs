// SPDX-License-Identifier: GPL-2.0-only

//! The device or image file that holds metadata: blocks in, blocks out, everything synced before a command ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _};

use drbd_core::meta::layout::{is_internal, superblock_sector};
use drbd_core::meta::{Cleanness, Flags, Layout, Superblock, Why, SUPERBLOCK_BYTES};

/// An open metadata device.
pub struct Disk {
    file: File,
    /// As it was named.
    pub path: String,
    /// Its size in sectors.
    pub sectors: u64,
    /// `meta_dev_idx`.
    pub index: i32,
    /// What would be written is told only.
    dry: bool,
}

/// Metadata that was found.
#[derive(Clone, Copy)]
pub struct Found {
    /// What the superblock says.
    pub superblock: Superblock,
    /// Whether the activity log is applied.
    pub cleanness: Cleanness,
    /// Where everything is.
    pub layout: Layout,
}

impl Disk {
    /// Opens a device; a block device exclusively, so that nobody uses it meanwhile, unless `shared`.
    pub fn open(path: &str, index: i32, write: bool, shared: bool) -> io::Result<Self> {
        const EXCLUSIVE: i32 = 0o200;
        let kind = std::fs::metadata(path)?.file_type();
        let block = kind.is_block_device();
        if !block && !kind.is_file() && !kind.is_dir() {
            return Err(io::Error::other("neither a block device nor an image file"));
        }
        let flags = if block && !shared { EXCLUSIVE } else { 0 };
        let mut file = OpenOptions::new()
            .read(true)
            .write(write)
            .custom_flags(flags)
            .open(path)?;
        let sectors = file.seek(SeekFrom::End(0))? / 512;
        Ok(Self {
            file,
            path: path.to_owned(),
            sectors,
            index,
            dry: false,
        })
    }

    /// The same disk, to which nothing is written (`--dry-run`).
    pub fn unwritten(self) -> Self {
        Self { dry: true, ..self }
    }

    /// The same disk as it was when it ended there.
    pub fn with_end_at(&self, sectors: u64) -> io::Result<Self> {
        Ok(Self {
            file: self.file.try_clone()?,
            path: self.path.clone(),
            sectors,
            index: self.index,
            dry: self.dry,
        })
    }

    /// Reads bytes at a sector.
    pub fn read(&self, sector: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, sector * 512)
    }

    /// Writes bytes at a sector.
    pub fn write(&self, sector: u64, bytes: &[u8]) -> io::Result<()> {
        if self.dry {
            eprintln!(
                "{}: {} bytes at byte {} not written (--dry-run)",
                self.path,
                bytes.len(),
                sector.saturating_mul(512)
            );
            return Ok(());
        }
        self.file.write_all_at(bytes, sector * 512)
    }

    /// Waits until everything written is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Where the superblock is; none if the device has no room for one.
    pub fn superblock_sector(&self) -> Option<u64> {
        superblock_sector(self.index, self.sectors)
    }

    /// Looks for metadata.
    pub fn find(&self) -> io::Result<Result<Found, Why>> {
        let Some(sector) = self.superblock_sector() else {
            return Ok(Err(Why::NoRoom));
        };
        let mut bytes = [0; SUPERBLOCK_BYTES];
        self.read(sector, &mut bytes)?;
        Ok(
            Superblock::read(&bytes).and_then(|(superblock, cleanness)| {
                let layout =
                    Layout::of(&superblock, self.index, self.data_sectors(), self.sectors)?;
                Ok(Found {
                    superblock,
                    cleanness,
                    layout,
                })
            }),
        )
    }

    /// Size of the data device as far as it is known: external metadata does not know it.
    pub fn data_sectors(&self) -> u64 {
        if is_internal(self.index) {
            self.sectors
        } else {
            u64::MAX
        }
    }

    /// Writes a superblock, as clean or unclean as `cleanness` says.
    pub fn write_superblock(&self, found: &Found) -> io::Result<()> {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        match found.cleanness {
            Cleanness::Clean => found.superblock.emit_clean(&mut bytes),
            Cleanness::Unclean => {
                let mut superblock = found.superblock;
                superblock.flags.remove(Flags::AL_CLEAN);
                superblock.emit_unclean(&mut bytes);
            }
        }
        self.write(found.layout.superblock_sector, &bytes)?;
        self.sync()
    }
}
