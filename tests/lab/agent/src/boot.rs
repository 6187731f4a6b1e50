// SPDX-License-Identifier: GPL-2.0-only

//! Process 1: from the initramfs to a running agent.
//!
//! What it needs to know is on the kernel command line: `lab.host=NAME` (the host name), `lab.ip=ADDRESS/BITS`
//! (repeated: one for each network interface, in order), `lab.hosts=ADDRESS:NAME` (repeated, for /etc/hosts),
//! `lab.scsi=N` (how many SCSI disks to wait for) and `lab.probe` (switch off at once: does this machine's accelerator
//! boot a guest at all?).

use rustix::mount::{mount, mount_move, MountFlags};
use rustix::system::RebootCommand;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Generous: many guests may boot on one busy core.
const LIMIT: Duration = Duration::from_secs(120);

/// Never returns: when process 1 ends, the kernel panics.
pub fn run() -> ! {
    if let Err(e) = up() {
        eprintln!("lab: boot failed: {e}");
    }
    // Either the boot or the agent has failed; the library sees the guest go.
    let _ = rustix::system::reboot(RebootCommand::Restart);
    loop {
        std::thread::park();
    }
}

fn up() -> io::Result<()> {
    for (kind, at) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        fs::create_dir_all(at)?;
        mount_fs(kind, at)?;
    }
    let line = fs::read_to_string("/proc/cmdline")?;
    if line.split_whitespace().any(|word| word == "lab.probe") {
        // On the console: who probes looks for these words (`image::boots`).
        println!("lab: the first program runs");
        return Ok(());
    }
    enter_root()?;
    for (kind, at) in [
        ("devpts", "/dev/pts"),
        ("tmpfs", "/dev/shm"),
        ("tmpfs", "/run"),
        ("debugfs", "/sys/kernel/debug"),
    ] {
        fs::create_dir_all(at).ok();
        mount_fs(kind, at)?;
    }
    for (from, to) in [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ] {
        symlink(from, to).ok();
    }
    fs::create_dir_all("/run/lock")?;
    fs::create_dir_all("/run/drbd")?;
    std::env::set_current_dir("/root")?;
    let values = |key: &str| -> Vec<&str> {
        line.split_whitespace()
            .filter_map(|word| word.strip_prefix(key))
            .collect()
    };
    name_host(&values("lab.host="), &values("lab.hosts="))?;
    let disks = values("lab.scsi=")
        .first()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    bind_disks(disks)?;
    network(&values("lab.ip="))?;

    let agent = Command::new("/proc/self/exe").arg("serve").spawn()?;
    let agent = agent.id() as i32;
    loop {
        let reaped = rustix::process::wait(rustix::process::WaitOptions::empty())?;
        if let Some((pid, status)) = reaped {
            if pid.as_raw_nonzero().get() == agent {
                return Err(io::Error::other(format!("the agent ended: {status:?}")));
            }
        }
    }
}

fn mount_fs(kind: &str, at: &str) -> io::Result<()> {
    mount(kind, at, kind, MountFlags::empty(), None)
        .map_err(|e| io::Error::other(format!("cannot mount {kind} at {at}: {e}")))
}

/// What this kernel has as modules and needs before it has a root.
fn load_early() -> io::Result<()> {
    let mut modules: Vec<_> = fs::read_dir("/early")?
        .flatten()
        .map(|e| e.path())
        .collect();
    modules.sort();
    for path in modules {
        let module = fs::File::open(&path)?;
        rustix::system::finit_module(&module, c"", 0)
            .map_err(|e| io::Error::other(format!("cannot load {}: {e}", path.display())))?;
    }
    Ok(())
}

/// The shared image read-only, a tmpfs over it, and both as the root.
fn enter_root() -> io::Result<()> {
    load_early()?;
    let disk = "/dev/nvme0n1";
    wait_for(disk, || Path::new(disk).exists())?;
    for at in ["/base", "/rw", "/new"] {
        fs::create_dir_all(at)?;
    }
    mount(disk, "/base", "ext4", MountFlags::RDONLY, None)?;
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let module = format!("/base/usr/lib/modules/{release}/kernel/fs/overlayfs/overlay.ko");
    if let Ok(module) = fs::File::open(module) {
        rustix::system::finit_module(&module, c"", 0)?;
    }
    mount(
        "tmpfs",
        "/rw",
        "tmpfs",
        MountFlags::empty(),
        Some(c"size=75%"),
    )?;
    fs::create_dir_all("/rw/upper")?;
    fs::create_dir_all("/rw/work")?;
    let layers = c"lowerdir=/base,upperdir=/rw/upper,workdir=/rw/work";
    mount(
        "overlay",
        "/new",
        "overlay",
        MountFlags::empty(),
        Some(layers),
    )?;
    for at in ["dev", "proc", "sys"] {
        mount_move(format!("/{at}"), format!("/new/{at}"))?;
    }
    std::env::set_current_dir("/new")?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    std::env::set_current_dir("/")
}

fn name_host(name: &[&str], hosts: &[&str]) -> io::Result<()> {
    let name = name.first().copied().unwrap_or("node");
    rustix::system::sethostname(name.as_bytes())?;
    fs::write("/etc/hostname", format!("{name}\n"))?;
    let mut text = String::from("127.0.0.1 localhost\n");
    for (address, name) in hosts.iter().filter_map(|entry| entry.split_once(':')) {
        text.push_str(&format!("{address} {name}\n"));
    }
    fs::write("/etc/hosts", text)
}

/// sd probes asynchronously: left alone, sda and sdb change places between boots. So nothing is probed by itself, and
/// the disks are bound one by one in the order of their addresses.
fn bind_disks(expected: usize) -> io::Result<()> {
    let modules: &[&str] = if expected > 0 {
        &["virtio_net", "virtio_blk", "scsi_mod", "sd_mod"]
    } else {
        &["virtio_net", "virtio_blk"]
    };
    run_command(Command::new("modprobe").arg("-a").args(modules))?;
    if expected == 0 {
        return Ok(());
    }
    fs::write("/sys/bus/scsi/drivers_autoprobe", "0")?;
    run_command(Command::new("modprobe").arg("virtio_scsi"))?;
    let found = || -> Vec<String> {
        let entries = fs::read_dir("/sys/bus/scsi/devices")
            .into_iter()
            .flatten()
            .flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        // h:c:t:l, not hostN or targetN.
        let mut names: Vec<_> = names.filter(|n| n.matches(':').count() == 3).collect();
        names.sort_by_key(|n| {
            n.split(':')
                .map(|f| f.parse().unwrap_or(0))
                .collect::<Vec<u32>>()
        });
        names
    };
    wait_for("the SCSI disks", || found().len() >= expected)?;
    for name in found() {
        fs::write("/sys/bus/scsi/drivers/sd/bind", &name)?;
    }
    let last = format!(
        "/dev/sd{}",
        char::from(b'a' + (expected as u8).saturating_sub(1))
    );
    wait_for(&last, || Path::new(&last).exists())
}

fn network(addresses: &[&str]) -> io::Result<()> {
    let mut batch = String::from("link set lo up\n");
    for (index, address) in addresses.iter().enumerate() {
        let name = format!("/sys/class/net/eth{index}");
        wait_for(&name, || Path::new(&name).exists())?;
        batch.push_str(&format!(
            "link set eth{index} up\naddress add {address} dev eth{index}\n"
        ));
    }
    fs::write("/run/ip.batch", batch)?;
    run_command(Command::new("ip").args(["-batch", "/run/ip.batch"]))
}

fn run_command(command: &mut Command) -> io::Result<()> {
    let status = command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .status()?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{command:?}: {status}")))
}

fn wait_for(what: &str, done: impl Fn() -> bool) -> io::Result<()> {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > LIMIT {
            return Err(io::Error::other(format!(
                "{what} did not appear in {LIMIT:?}"
            )));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
