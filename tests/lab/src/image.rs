// SPDX-License-Identifier: GPL-2.0-only

//! What guests boot from: the cached kernel and root image, the initramfs with the agent, and which accelerator works.

use crate::error::At;
use crate::process;
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The agent, linked statically by build.rs.
const AGENT: &[u8] = include_bytes!(env!("LAB_AGENT"));

/// The files that a guest boots from, made by `scripts/guest-image` and shared by all labs of this user.
#[derive(Clone, Debug)]
pub struct Image {
    /// The kernel, uncompressed.
    pub kernel: PathBuf,
    /// The root file system, attached read-only.
    pub root: PathBuf,
    /// The kernel's release, as `uname -r` says it.
    pub release: String,
    /// The modules that it needs before it has its root, in the order of loading.
    pub early: Vec<PathBuf>,
}

/// Makes a script of the source tree work for a flavour of Debian's kernel, whatever the user has chosen otherwise.
pub fn for_flavour(script: &mut Command, flavour: &str) {
    for own in ["KDIR", "DRBDRS_KERNEL"] {
        script.env_remove(own);
    }
    // In the root that the scripts make: this machine may run another kernel.
    script
        .env("DRBDRS_FLAVOUR", flavour)
        .env("DRBDRS_ROOT", "1");
}

/// The top of the source tree, for scripts and build results.
pub fn source_tree() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Finds the image, and makes it if there is none yet (minutes, once for a kernel version). `flavour` is of Debian's
/// kernel; if `None`, it is the one that the user chose.
pub fn image(flavour: Option<&str>) -> Result<Image> {
    let script = source_tree().join("scripts/guest-image");
    let mut command = Command::new(&script);
    if let Some(flavour) = flavour {
        for_flavour(&mut command, flavour);
    }
    let made = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let made = made.at(script.display())?;
    let folder = String::from_utf8_lossy(&made.stdout)
        .lines()
        .last()
        .unwrap_or("")
        .trim()
        .to_owned();
    if !made.status.success() || folder.is_empty() {
        return Err(Error::new(format!(
            "{} failed: its messages are above",
            script.display()
        )));
    }
    let folder = PathBuf::from(folder);
    let release = fs::read_to_string(folder.join("release"))
        .at(folder.display())?
        .trim()
        .to_owned();
    let early = fs::read_dir(folder.join("early")).into_iter().flatten();
    let mut early: Vec<PathBuf> = early.flatten().map(|entry| entry.path()).collect();
    early.sort();
    Ok(Image {
        kernel: folder.join("vmlinux"),
        root: folder.join("root.img"),
        release,
        early,
    })
}

/// The initramfs, a cpio archive of the agent as /init, a console, and the modules to load first.
pub fn initramfs(early: &[PathBuf]) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    let mut add = |name: &str, mode: u32, device: (u32, u32), content: &[u8]| {
        let fields = [
            1,
            mode,
            0,
            0,
            1,
            0,
            content.len() as u32,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0,
        ];
        archive.extend_from_slice(b"070701");
        for field in fields {
            archive.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        archive.extend_from_slice(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    };
    add("dev", 0o040755, (0, 0), &[]);
    add("dev/console", 0o020600, (5, 1), &[]);
    add("init", 0o100755, (0, 0), AGENT);
    add("early", 0o040755, (0, 0), &[]);
    for module in early {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        let content = fs::read(module).at(module.display())?;
        add(&format!("early/{name}"), 0o100644, (0, 0), &content);
    }
    add("TRAILER!!!", 0, (0, 0), &[]);
    Ok(archive)
}

/// The frequency of this machine's time stamp counter: the kernel derives BogoMIPS from it (500 kHz each).
pub fn tsc_khz() -> Option<u64> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("bogomips"))?;
    let bogomips: f64 = line.split(':').nth(1)?.trim().parse().ok()?;
    Some((bogomips * 500.0).round() as u64)
}

/// How QEMU runs guests on this machine: `kvm` if a guest really boots with it, else `tcg`.
///
/// A /dev/kvm that exists may still not work, so one is booted with it, once for each start of this machine.
pub fn accelerator(image: &Image) -> &'static str {
    static CHOICE: OnceLock<&str> = OnceLock::new();
    CHOICE.get_or_init(|| {
        if let Ok(forced) = std::env::var("DRBDRS_LAB_ACCEL") {
            return if forced == "kvm" { "kvm" } else { "tcg" };
        }
        if fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
        {
            return "tcg";
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let note = cache().join(format!("kvm-boots-{}", boot.trim()));
        let works = match fs::read_to_string(&note) {
            Ok(text) => text.trim() == "yes",
            Err(_) => {
                let works = boots("qemu-system-x86_64", "kvm", &image.kernel).unwrap_or(false);
                // Two labs may find out at once; they find the same.
                let _ = fs::create_dir_all(cache());
                let _ = fs::write(&note, if works { "yes\n" } else { "no\n" });
                works
            }
        };
        if works {
            "kvm"
        } else {
            "tcg"
        }
    })
}

fn cache() -> PathBuf {
    let home =
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache");
    std::env::var_os("XDG_CACHE_HOME")
        .map_or_else(home, PathBuf::from)
        .join("drbdrs")
}

/// Whether a guest really comes as far as its first program, which says so. QEMU's exit code alone does not tell: it is
/// 0 as well when the guest's kernel crashed into a reset.
pub fn boots(qemu: &str, accelerator: &str, kernel: &Path) -> Result<bool> {
    const REACHED: &str = "lab: the first program runs";
    let file = |what| {
        std::env::temp_dir().join(format!(
            "lab-probe-{}-{accelerator}.{what}",
            std::process::id()
        ))
    };
    let (archive, console) = (file("cpio"), file("console"));
    fs::write(&archive, initramfs(&[])?)?;
    fs::write(&console, "")?;
    let mut qemu = Command::new(qemu);
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
    ])
    .args(["-machine", "pc,acpi=off", "-serial", "stdio", "-m", "256"])
    .args([
        "-accel",
        accelerator,
        "-cpu",
        if accelerator == "kvm" { "host" } else { "max" },
    ])
    .arg("-kernel")
    .arg(kernel)
    .arg("-initrd")
    .arg(&archive)
    .args(["-append", "console=ttyS0 lab.probe panic=0"]);
    let ended = ends_well(&qemu, &console);
    let reached = fs::read_to_string(&console)
        .unwrap_or_default()
        .contains(REACHED);
    fs::remove_file(&archive)?;
    fs::remove_file(&console)?;
    Ok(ended? && reached)
}

/// Whether a program ends by itself, soon, and with success.
fn ends_well(program: &Command, output: &Path) -> Result<bool> {
    // What does not work hangs as a rule, and is waited for once; emulation on a busy machine takes its time.
    const LIMIT: Duration = Duration::from_secs(60);
    let mut child = process::spawn_logged(program, output)?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if start.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An emulator of a few lines of shell, in the place of QEMU.
    fn stands_in(name: &str, script: &str) -> bool {
        use std::os::unix::fs::PermissionsExt;
        let program = std::env::temp_dir().join(format!("lab-qemu-{}-{name}", std::process::id()));
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let works = boots(program.to_str().unwrap(), name, Path::new("/dev/null")).unwrap();
        fs::remove_file(&program).unwrap();
        works
    }

    #[test]
    fn an_accelerator_counts_only_when_a_guest_came_to_its_first_program() {
        assert!(stands_in(
            "good",
            "echo '[ 0.1] lab: the first program runs'"
        ));
        assert!(!stands_in(
            "refused",
            "echo 'failed to initialize kvm' >&2; exit 1"
        ));
        // The guest crashed at once, and -no-reboot made that an orderly end.
        assert!(!stands_in("reset", "echo 'Decompressing Linux...'; exit 0"));
        // It crashed on its way to user space.
        assert!(!stands_in(
            "early",
            "echo 'Run /init as init process'; exit 0"
        ));
        assert!(!stands_in(
            "late-crash",
            "echo 'lab: the first program runs'; exit 1"
        ));
    }
}
