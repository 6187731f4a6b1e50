// SPDX-License-Identifier: GPL-2.0-only

//! drbdmeta: the metadata on a disk that is not attached. Works on block devices and on image files.
//!
//! `drbdmeta [OPTIONS] MINOR v08 DEVICE INDEX COMMAND`. A command that writes takes the minor's lock and refuses while
//! the minor is attached.

mod apply;
mod check;
mod create;
mod damage;
mod disk;
mod dump;
#[cfg(test)]
mod fuzz;
mod gi;
mod moved;
mod restore;
mod v09;

use std::io::{self, BufRead as _, IsTerminal as _};

use drbd_config::suggest::nearest;
use drbd_core::meta::layout::{INDEX_FLEX_EXTERNAL, INDEX_FLEX_INTERNAL};
use drbd_core::meta::Why;

use crate::args::{parse, Parsed, Spec, Takes};
use crate::drbdsetup::{attached_to, minor_operand};
use crate::lock::DeviceLock;
use crate::pages::{Entry, Program};
use disk::{Disk, Found};

const EXIT_ARGS: i32 = 10;
const EXIT_BUSY: i32 = 20;

/// One command.
struct Command {
    name: &'static str,
    operand: &'static str,
    help: &'static str,
    writes: bool,
    run: fn(&Session) -> i32,
}

const fn reads(name: &'static str, help: &'static str, run: fn(&Session) -> i32) -> Command {
    Command {
        name,
        operand: "",
        help,
        writes: false,
        run,
    }
}

const fn writes(
    name: &'static str,
    operand: &'static str,
    help: &'static str,
    run: fn(&Session) -> i32,
) -> Command {
    Command {
        name,
        operand,
        help,
        writes: true,
        run,
    }
}

static COMMANDS: &[Command] = &[
    writes(
        "create-md",
        "",
        "new metadata [--al-stripes=N --al-stripe-size-kB=N --initialize-bitmap=automatic|skip]",
        create::run,
    ),
    writes(
        "apply-al",
        "",
        "apply the activity log after a crash",
        apply::run,
    ),
    reads("dump-md", "all of it as text", dump::run),
    reads("get-gi", "generation identifiers", gi::get),
    reads("show-gi", "generation identifiers, explained", gi::show),
    writes("set-gi", "GI", "set generation identifiers", gi::set),
    reads("dstate", "state of the data", gi::dstate),
    reads(
        "check",
        "whether the metadata agrees with itself; names what is damaged",
        check::check,
    ),
    writes(
        "repair",
        "",
        "mend what follows from the rest of the metadata",
        check::repair,
    ),
    writes(
        "restore-md",
        "FILE",
        "write metadata from the text that dump-md printed",
        restore::run,
    ),
    Command {
        name: "verify-dump",
        operand: "FILE",
        help: "whether restore-md would understand the text",
        writes: false,
        run: restore::verify,
    },
    writes("outdate", "", "mark the data as outdated", gi::outdate),
    writes(
        "invalidate",
        "",
        "mark the data as inconsistent",
        gi::invalidate,
    ),
    writes("wipe-md", "", "remove the metadata", gi::wipe),
    reads(
        "read-dev-uuid",
        "the UUID of the metadata",
        gi::read_dev_uuid,
    ),
    writes(
        "write-dev-uuid",
        "HEX",
        "set the UUID of the metadata",
        gi::write_dev_uuid,
    ),
    writes(
        "check-resize",
        "",
        "move internal metadata to the end of a disk that grew",
        moved::check_resize,
    ),
];

const OPTIONS: &[Spec] = &[
    Spec::both("force", 'f', Takes::Nothing),
    Spec::both("verbose", 'v', Takes::Nothing),
    Spec::both("help", 'h', Takes::Nothing),
    Spec::both("version", 'V', Takes::Nothing),
    Spec::long("al-stripes", Takes::Value),
    Spec::long("al-stripe-size-kB", Takes::Value),
    Spec::long("peer-max-bio-size", Takes::Value),
    Spec::long("initialize-bitmap", Takes::Value),
    Spec::long("dry-run", Takes::Nothing),
    Spec::long("ignore-sanity-checks", Takes::Nothing),
    Spec::long("node-id", Takes::Value),
];

/// One invocation, its operands understood.
pub struct Session {
    minor: Option<u32>,
    device: String,
    index: i32,
    v09: bool,
    force: bool,
    parsed: Parsed,
    command_line: String,
    lock: Option<DeviceLock>,
}

impl Session {
    /// Opens the device.
    fn open(&self, write: bool) -> Result<Disk, i32> {
        // Reading does not disturb a driver that has the device open.
        let dry = self.parsed.has("dry-run");
        let disk = Disk::open(&self.device, self.index, write && !dry, !write)
            .map_err(|error| cannot_open(&self.device, &error))?;
        Ok(if dry { disk.unwritten() } else { disk })
    }

    /// Finds the metadata, or says why there is none.
    fn find(&self, disk: &Disk) -> Result<Found, i32> {
        match disk.find() {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(Why::NoMagic)) => {
                eprintln!("No valid meta data found");
                Err(255)
            }
            Ok(Err(why)) => {
                eprintln!("{}: {}", disk.path, why.text());
                Err(255)
            }
            Err(error) => Err(complain(&disk.path, &error)),
        }
        .map_err(|exit| if exit == 255 { 1 } else { exit })
    }

    fn operand(&self) -> &str {
        self.parsed.operands.get(5).map_or("", String::as_str)
    }
}

/// The UUID of the metadata on a device, whoever uses it.
pub fn device_uuid(path: &str, index: i32) -> Option<u64> {
    let disk = Disk::open(path, index, false, true).ok()?;
    Some(disk.find().ok()?.ok()?.superblock.device_uuid)
}

/// Says that a device cannot be read or written; returns the exit code.
fn complain(device: &str, error: &io::Error) -> i32 {
    eprintln!("{device}: {}", drbd_say::os_error(error));
    EXIT_BUSY
}

/// Says that a device cannot be opened; returns the exit code.
fn cannot_open(device: &str, error: &io::Error) -> i32 {
    eprintln!("open({device}) failed: {}", drbd_say::os_error(error));
    EXIT_BUSY
}

/// Asks a person; without one, only `--force` means yes.
fn confirm(question: &str, force: bool) -> bool {
    eprintln!("\n{question}");
    if force {
        eprintln!("*** confirmation forced via --force option ***");
        return true;
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        eprintln!("stdin not a TTY, not waiting for confirmation");
        return false;
    }
    eprint!("[need to type 'yes' to confirm] ");
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    eprintln!();
    read.is_ok() && answer.trim() == "yes"
}

/// The program as man page and completion need it.
pub fn program() -> Program {
    let entry = |command: &Command| Entry {
        name: command.name,
        operands: command.operand.to_owned(),
        about: command.help,
        options: match command.name {
            "create-md" => OPTIONS
                .iter()
                .filter(|spec| {
                    ["force", "initialize-bitmap"].contains(&spec.name)
                        || spec.name.contains("al-")
                        || spec.name.contains("max")
                })
                .cloned()
                .collect(),
            _ if command.writes => vec![Spec::both("force", 'f', Takes::Nothing)],
            _ => Vec::new(),
        },
        details: Vec::new(),
        words: Vec::new(),
    };
    Program {
        name: "drbdmeta",
        about: "reads and writes the metadata of a DRBD device that is not attached",
        synopsis: "[--force] MINOR v08|v09 DEVICE internal|flex-external|INDEX COMMAND [OPERAND]",
        text: &[
            "MINOR is the device that the metadata belongs to: its lock is taken, and what writes is refused while it \
             is attached. '-' stands for none. DEVICE may be an image file.",
            "Metadata v09 of DRBD 9 is read only: get-gi --node-id=N, show-gi, dump-md, dstate, check, read-dev-uuid.",
        ],
        before: 4,
        common: Vec::new(),
        entries: COMMANDS.iter().map(entry).collect(),
        exits: &[
            (0, "done"),
            (1, "no: not confirmed, not found, damage found"),
            (5, "the data is inconsistent"),
            (10, "wrong arguments"),
            (20, "device busy or unusable"),
            (40, "refused because of data on the device"),
        ],
    }
}

fn usage() -> String {
    let mut text = String::from(
        "USAGE: drbdmeta [--force] MINOR v08|v09 DEVICE internal|flex-external|INDEX COMMAND [OPERAND]\n\n\
         MINOR is the device that the metadata belongs to (its lock is taken; '-' for none).\n\
         DEVICE may be a block device or an image file. v09 is read only (get-gi --node-id=N, show-gi, dump-md, dstate, check).\n\
         --dry-run tells what would be written, and writes nothing.\n\nCOMMANDS:\n",
    );
    for command in COMMANDS {
        text += &format!(
            "  {:<15} {:<4} {}\n",
            command.name, command.operand, command.help
        );
    }
    text += "\nExit codes: 0 done, 1 no (not confirmed, not found), 5 inconsistent, 10 wrong arguments,\n\
             20 device busy or unusable, 40 refused because of data on the device.\n";
    text
}

fn index(text: &str) -> Option<i32> {
    match text {
        "internal" | "flex-internal" => Some(INDEX_FLEX_INTERNAL),
        "flexible" | "flex-external" => Some(INDEX_FLEX_EXTERNAL),
        _ => text
            .parse::<i32>()
            .ok()
            .filter(|index| (0..=255).contains(index)),
    }
}

/// Runs one command line (without the program's name); the result is the exit code.
pub fn main(args: &[String]) -> i32 {
    let parsed = match parse(args, OPTIONS) {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("drbdmeta: {error}");
            return EXIT_ARGS;
        }
    };
    if parsed.has("version") {
        println!("drbdmeta {} (drbdrs)", env!("CARGO_PKG_VERSION"));
        return 0;
    }
    if parsed.has("help") || parsed.operands == ["help"] {
        print!("{}", usage());
        return 0;
    }
    match session(parsed, args) {
        Ok((command, session)) if session.v09 => v09::run(&session, command.name),
        Ok((command, session)) => (command.run)(&session),
        Err((exit, text)) => {
            eprint!("{text}");
            exit
        }
    }
}

fn session(parsed: Parsed, args: &[String]) -> Result<(&'static Command, Session), (i32, String)> {
    let operand = |at: usize| parsed.operands.get(at).map(String::as_str);
    let (Some(minor), Some(format), Some(device), Some(place), Some(name)) =
        (operand(0), operand(1), operand(2), operand(3), operand(4))
    else {
        return Err((EXIT_BUSY, usage()));
    };
    if !matches!(format, "v08" | "v09") {
        let text = format!(
            "'{format}': v08 is supported, and v09 is read; DRBD 8.4 and drbdrs use no older\n"
        );
        return Err((EXIT_BUSY, text));
    }
    if format == "v09" {
        v09::may(name).map_err(|text| (EXIT_BUSY, text))?;
    }
    let minor = match minor {
        "-" => None,
        text => match minor_operand(text) {
            Some(minor) => Some(minor),
            None => return Err((EXIT_ARGS, format!("'{text}' is not a minor number\n"))),
        },
    };
    let Some(index) = index(place) else {
        return Err((
            EXIT_ARGS,
            format!("'{place}' is not a valid index number.\n"),
        ));
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        let near = nearest(name, COMMANDS.iter().map(|command| command.name));
        let hint = near.map_or_else(String::new, |near| format!(" Did you mean '{near}'?"));
        return Err((EXIT_BUSY, format!("Unknown command '{name}'.{hint}\n")));
    };
    if parsed.operands.len() != 5 + usize::from(!command.operand.is_empty()) {
        return Err((
            EXIT_ARGS,
            format!("USAGE: drbdmeta ... {name} {}\n", command.operand),
        ));
    }
    let mut session = Session {
        minor,
        device: device.to_owned(),
        index,
        v09: format == "v09",
        force: parsed.has("force"),
        command_line: format!("drbdmeta {}", args.join(" ")),
        lock: None,
        parsed,
    };
    if let Some(minor) = session.minor {
        session.lock = Some(DeviceLock::take(minor).map_err(|text| (EXIT_BUSY, text + "\n"))?);
        if command.writes && attached_to(minor).is_some() {
            return Err((EXIT_BUSY, format!("Device '{minor}' is configured!\n")));
        }
    }
    Ok((command, session))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::path::PathBuf;

    /// An image file that goes away with the test.
    pub struct Image(PathBuf);

    impl Image {
        pub fn path(&self) -> String {
            self.0.display().to_string()
        }

        pub fn new(name: &str, bytes: u64) -> Self {
            let path = std::env::temp_dir().join(format!("drbdmeta-{}-{name}", std::process::id()));
            std::fs::File::create(&path)
                .unwrap()
                .set_len(bytes)
                .unwrap();
            Self(path)
        }

        pub fn run(&self, index: &str, words: &str) -> i32 {
            let line = format!("- v08 {} {index} {words}", self.0.display());
            main(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
        }

        pub fn find(&self, index: i32) -> Found {
            Disk::open(self.0.to_str().unwrap(), index, false, false)
                .unwrap()
                .find()
                .unwrap()
                .unwrap()
        }
    }

    impl Drop for Image {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn life_of_internal_metadata() {
        let image = Image::new("life", 64 << 20);
        assert_eq!(image.run("internal", "get-gi"), 1);
        assert_eq!(image.run("internal", "create-md"), 0);
        // Over existing metadata nobody is asked here, and so nothing is done.
        assert_eq!(image.run("internal", "create-md"), 1);
        assert_eq!(image.run("internal", "create-md --force"), 0);
        assert_eq!(image.run("internal", "outdate"), 5);
        assert_eq!(
            image.run("internal", "set-gi AA:BB:0:0:1:1:0:0:0:0:0 --force"),
            0
        );
        assert_eq!(image.run("internal", "outdate"), 0);
        let found = image.find(INDEX_FLEX_INTERNAL);
        assert_eq!(found.superblock.flags.bits() & 0x7f, 1);
        assert_eq!(image.run("internal", "invalidate"), 0);
        let found = image.find(INDEX_FLEX_INTERNAL);
        assert_eq!(found.superblock.flags.bits() & 0x7f, 8);
        assert_eq!(image.run("internal", "write-dev-uuid 1234ABCD"), 0);
        assert_eq!(
            image.find(INDEX_FLEX_INTERNAL).superblock.device_uuid,
            0x1234_abcd
        );
        for command in [
            "get-gi",
            "show-gi",
            "dump-md",
            "dstate",
            "check",
            "read-dev-uuid",
            "apply-al",
        ] {
            assert_eq!(image.run("internal", command), 0, "{command}");
        }
        assert_eq!(image.run("internal", "wipe-md"), 1);
        assert_eq!(image.run("internal", "wipe-md --force"), 0);
        assert_eq!(image.run("internal", "dump-md"), 1);
        assert_eq!(image.run("internal", "wipe-md"), 0);
    }

    #[test]
    fn external_metadata_in_both_forms() {
        let flexible = Image::new("flex", 1 << 20);
        assert_eq!(
            flexible.run(
                "flex-external",
                "create-md --al-stripes=2 --al-stripe-size-kB=16"
            ),
            0
        );
        assert_eq!(flexible.run("flex-external", "check"), 0);
        assert_eq!(flexible.find(INDEX_FLEX_EXTERNAL).superblock.al_stripes, 2);
        assert_eq!(flexible.run("0", "create-md"), 10);
        let indexed = Image::new("indexed", 3 * (128 << 20));
        assert_eq!(indexed.run("2", "create-md"), 0);
        assert_eq!(indexed.find(2).layout.superblock_sector, 2 << 18);
        assert_eq!(indexed.run("1", "get-gi"), 1);
    }

    #[test]
    fn a_dump_comes_back_as_it_was() {
        let golden = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/golden/metadata/dump-flexible.txt"
        );
        let image = Image::new("restore", 1 << 20);
        assert_eq!(
            image.run("flex-external", &format!("verify-dump {golden}")),
            0
        );
        assert_eq!(
            image.run("flex-external", &format!("restore-md {golden}")),
            0
        );
        assert_eq!(
            image.run("flex-external", &format!("restore-md {golden}")),
            1
        );
        assert_eq!(image.run("flex-external", "check"), 0);
        let disk =
            Disk::open(image.0.to_str().unwrap(), INDEX_FLEX_EXTERNAL, false, false).unwrap();
        let found = disk.find().unwrap().unwrap();
        let text = dump::text(&disk, &found, "", 0, "").unwrap();
        let content = |text: &str| text.split_once("version").unwrap().1.to_owned();
        assert_eq!(
            content(&text),
            content(&std::fs::read_to_string(golden).unwrap())
        );
        // Too small for what the dump describes: refused before anything is written.
        let small = Image::new("restore-small", 36 << 10);
        assert_eq!(
            small.run("flex-external", &format!("restore-md {golden}")),
            10
        );
        assert_eq!(small.run("flex-external", "restore-md /nonexistent"), 20);
    }

    #[test]
    fn damage_is_named_and_mended_on_disk() {
        let image = Image::new("repair", 64 << 20);
        assert_eq!(image.run("internal", "create-md"), 0);
        let sound = std::fs::read(&image.0).unwrap();
        for at in [64, 68, 76, 80, 88, 200] {
            let mut bytes = sound.clone();
            let block = bytes.len() - 4096;
            bytes[block + at] ^= 0x40;
            std::fs::write(&image.0, &bytes).unwrap();
            assert_eq!(image.run("internal", "check"), 1);
            assert_eq!(image.run("internal", "repair"), 1);
            assert_eq!(image.run("internal", "repair --force"), 0);
            assert!(std::fs::read(&image.0).unwrap() == sound, "{at}");
        }
        assert_eq!(image.run("internal", "repair"), 0);
        // A log that was applied is not needed any more.
        let mut bytes = sound.clone();
        let log = bytes.len() - 9 * 4096;
        bytes[log..log + 8192].fill(7);
        std::fs::write(&image.0, &bytes).unwrap();
        assert_eq!(image.run("internal", "check"), 1);
        assert_eq!(image.run("internal", "repair --force"), 0);
        assert!(std::fs::read(&image.0).unwrap() == sound);
    }

    #[test]
    fn metadata_of_drbd_9_is_read_and_left_alone() {
        let image = Image::new("v09", 1 << 20);
        let mut bytes = include_bytes!("../../../../tests/golden/metadata/v09.bin").to_vec();
        bytes.resize(1 << 20, 0);
        std::fs::write(&image.0, &bytes).unwrap();
        let run = |words: &str| {
            let line = format!("- v09 {} flex-external {words}", image.0.display());
            main(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
        };
        assert_eq!(run("get-gi"), 10);
        assert_eq!(run("get-gi --node-id=1"), 0);
        assert_eq!(run("get-gi --node-id=32"), 10);
        for (command, exit) in [("check", 0), ("dstate", 0), ("show-gi", 0)] {
            assert_eq!(run(command), exit, "{command}");
        }
        for command in ["create-md --force", "wipe-md --force", "repair --force"] {
            assert_eq!(run(command), EXIT_BUSY, "{command}");
        }
        for command in ["get-gi", "check", "repair --force", "apply-al"] {
            assert_eq!(image.run("flex-external", command), 1, "{command}");
        }
        assert!(std::fs::read(&image.0).unwrap() == bytes);
    }

    /// Every command on garbage, where the superblock would be and as a whole: an exit code, never a panic.
    #[test]
    fn what_can_have_no_metadata_is_refused() {
        for device in ["/dev/null", "/dev/zero", "/", "/nothere"] {
            for command in ["dump-md", "create-md"] {
                let line = ["--force", "-", "v08", device, "internal", command];
                assert_eq!(main(&line.map(str::to_owned)), EXIT_BUSY, "{device}");
            }
        }
        assert_eq!(main(&["help".to_owned()]), 0);
    }

    #[test]
    fn garbage_is_survived() {
        let image = Image::new("garbage", 1 << 20);
        assert_eq!(image.run("flex-external", "create-md"), 0);
        let sound = std::fs::read(&image.0).unwrap();
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..30u64 {
            let mut bytes = sound.clone();
            for _ in 0..=round % 7 {
                let number = random();
                bytes[usize::try_from(number % 100).unwrap()] = number.to_le_bytes()[6];
            }
            if round % 10 == 9 {
                bytes[..4096].chunks_mut(8).for_each(|word| {
                    word.copy_from_slice(&random().to_le_bytes());
                });
            }
            std::fs::write(&image.0, &bytes).unwrap();
            for command in COMMANDS {
                let operand = match command.operand {
                    "" => "",
                    "GI" => " 1:2:3:4:1:1",
                    _ => " 12",
                };
                for place in ["internal", "flex-external", "0"] {
                    image.run(place, &format!("{}{operand}", command.name));
                }
            }
        }
    }

    #[test]
    fn a_crashed_primary_marks_its_hot_extents() {
        use drbd_core::meta::log::{block_of, emit, TRANSACTION_BYTES};
        let image = Image::new("crash", 64 << 20);
        assert_eq!(image.run("internal", "create-md"), 0);
        let disk = Disk::open(image.0.to_str().unwrap(), INDEX_FLEX_INTERNAL, true, false).unwrap();
        let mut found = disk.find().unwrap().unwrap();
        found.superblock.effective_size = found.layout.max_capacity;
        found.superblock.flags = drbd_core::meta::Flags::from_bits(0x13);
        found.cleanness = drbd_core::meta::Cleanness::Unclean;
        disk.write_superblock(&found).unwrap();
        let mut block = [0; TRANSACTION_BYTES];
        // Extent 15 is the last and only partly on the device; 99 is behind its end.
        emit(
            &mut block,
            0,
            [(0, 3), (1, 15), (2, 99)].into_iter(),
            1237,
            0,
            [].into_iter(),
        );
        disk.write(
            found.layout.al_sector + 8 * u64::from(block_of(0, 1, 8)),
            &block,
        )
        .unwrap();
        assert_eq!(image.run("internal", "dump-md"), 1);
        assert_eq!(image.run("internal", "apply-al"), 0);
        let found = image.find(INDEX_FLEX_INTERNAL);
        assert_eq!(found.cleanness, drbd_core::meta::Cleanness::Clean);
        let mut bytes = [0; 4096];
        disk.read(found.layout.bitmap_sector, &mut bytes).unwrap();
        let bits: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
        assert_eq!(bits, 2 * 1024);
        assert_eq!(bytes[3 * 128..4 * 128], [0xff; 128]);
        // Once applied, it is applied.
        assert_eq!(image.run("internal", "dump-md"), 0);
        assert_eq!(image.run("internal", "apply-al"), 0);
    }

    #[test]
    fn a_real_crash_is_repaired_as_the_stock_tool_does() {
        use std::os::unix::fs::FileExt as _;
        let crashed = include_bytes!("../../../../tests/golden/metadata/crashed-primary.bin");
        let applied =
            include_bytes!("../../../../tests/golden/metadata/crashed-primary-applied.bin");
        let image = Image::new("real", 32 << 20);
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&image.0)
            .unwrap();
        let tail = (32 << 20) - crashed.len() as u64;
        file.write_all_at(crashed, tail).unwrap();
        assert_eq!(image.run("internal", "apply-al"), 0);
        let mut bytes = vec![0; applied.len()];
        file.read_exact_at(&mut bytes, tail).unwrap();
        assert!(bytes == applied);
    }

    #[test]
    fn wrong_command_lines() {
        let run = |line: &str| main(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(run("- v08 /dev/null"), EXIT_BUSY);
        assert_eq!(run("- v07 /dev/null internal get-gi"), EXIT_BUSY);
        assert_eq!(run("- v09 /dev/null internal create-md"), EXIT_BUSY);
        assert_eq!(run("- v08 /dev/null internal convert"), EXIT_BUSY);
        assert_eq!(run("- v08 /dev/null 256 get-gi"), EXIT_ARGS);
        assert_eq!(run("x v08 /dev/null internal get-gi"), EXIT_ARGS);
        assert_eq!(run("- v08 /nonexistent internal get-gi"), EXIT_BUSY);
        assert_eq!(run("--help"), 0);
    }
}
