// SPDX-License-Identifier: GPL-2.0-only

//! The lab itself, on real guests: what all other VM tests stand on.
//!
//! Needs QEMU and the guest image, so it is behind a feature:
//! `cargo test -p drbd-lab --features guests --test guests`.

use drbd_lab::switch::Conditions;
use drbd_lab::{deadline, until, Fault, Lab, LabConfig, PowerCut, Result};
use std::time::{Duration, Instant};

fn lab() -> Result<Lab> {
    Lab::start(LabConfig::pair(16 << 20))
}

/// One echo request from n1 to n2, answered within a second?
fn ping(lab: &Lab) -> Result<bool> {
    let target = lab.node(1).address();
    Ok(lab.node(0).run(&["ping", "-c1", "-W1", target])?.code == 0)
}

#[test]
fn an_accelerator_that_boots_a_guest_is_recognized() -> Result<()> {
    let image = drbd_lab::image::image(None)?;
    let boots =
        |accelerator| drbd_lab::image::boots("qemu-system-x86_64", accelerator, &image.kernel);
    // Emulation works everywhere.
    assert!(boots("tcg")?);
    assert!(!boots("no-such-accelerator")?);
    Ok(())
}

#[test]
fn commands_files_and_names() -> Result<()> {
    let lab = lab()?;
    let n1 = lab.node(0);
    let output = n1.run(&["sh", "-c", "echo out; echo err >&2; exit 3"])?;
    assert_eq!(
        (output.code, &*output.text(), &*output.errors()),
        (3, "out\n", "err\n")
    );
    assert_eq!(n1.run(&["sh", "-c", "kill -9 $$"])?.code, 128 + 9);
    assert_eq!(n1.run(&["no-such-program"])?.code, 127);
    assert!(n1.run(&["false"])?.success().is_err());
    // A daemon that keeps the output open does not hide that the command is over.
    let start = Instant::now();
    n1.sh("sleep 300 & echo started")?;
    assert!(start.elapsed() < Duration::from_secs(100));
    // Commands run side by side, and die when told.
    let sleeper = n1.spawn(&["sleep", "300"])?;
    assert_eq!(n1.sh("uname -n")?.trim(), "iSCSI1.au.intranet");
    sleeper.kill(15)?;
    assert_eq!(sleeper.wait(deadline(30))?.code, 128 + 15);
    assert!(n1
        .run_within(Duration::from_millis(300), &["sleep", "60"])
        .is_err());

    // A guest's clock runs as fast as this machine's: its timeouts mean what they say.
    let uptime = || -> Result<f64> {
        let text = n1.get("/proc/uptime")?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(text
            .split(' ')
            .next()
            .and_then(|t| t.parse().ok())
            .unwrap_or(0.0))
    };
    let (guest, host) = (uptime()?, Instant::now());
    n1.sh("sleep 3")?;
    let (guest, host) = (uptime()? - guest, host.elapsed().as_secs_f64());
    assert!(
        (guest - host).abs() < 0.5 + host / 5.0,
        "{guest} s in the guest, {host} s outside"
    );

    let bytes: Vec<u8> = (0..300_000u32).map(|n| (n * 7 % 251) as u8).collect();
    n1.put("/lab/some/file", &bytes, 0o640)?;
    assert_eq!(n1.get("/lab/some/file")?, bytes);
    assert_eq!(n1.sh("stat -c %a /lab/some/file")?.trim(), "640");
    assert!(n1.get("/no/such/file").is_err());

    assert_eq!(
        lab.node(1)
            .sh("getent hosts iSCSI1.au.intranet | cut -d' ' -f1")?
            .trim(),
        "10.254.11.11"
    );
    assert_eq!(
        n1.sh("cat /sys/block/sdb/size")?.trim(),
        (16 * 2048).to_string()
    );
    lab.check_consoles(&[])?;
    n1.sh("echo 'WARNING: made by a test' >/dev/kmsg")?;
    until("the report is seen", deadline(20), || {
        Ok(lab.check_consoles(&[]).err())
    })?;
    lab.check_consoles(&["made by a test"])
}

#[test]
fn links_fail_and_heal() -> Result<()> {
    let mut lab = lab()?;
    assert!(ping(&lab)?);
    lab.network().cut(1, 0);
    let before = lab.network().traffic(0, 1);
    assert!(!ping(&lab)?);
    // The request arrived; the answer did not.
    assert!(lab.network().traffic(0, 1).frames > before.frames);
    lab.network().heal_all();
    assert!(ping(&lab)?);
    lab.network().set(
        0,
        1,
        Conditions {
            delay: Duration::from_millis(400),
            ..Conditions::default()
        },
    );
    let start = Instant::now();
    assert!(ping(&lab)?);
    assert!(start.elapsed() >= Duration::from_millis(400));
    lab.network().heal_all();
    let carrier = |lab: &Lab| {
        lab.node(0)
            .run(&["cat", "/sys/class/net/eth0/carrier"])
            .map(|o| o.text())
    };
    lab.node_mut(0).set_cable(false)?;
    lab.until("n1 sees the cable go", 30, || {
        Ok((carrier(&lab)?.trim() == "0").then_some(()))
    })?;
    lab.node_mut(0).set_cable(true)?;
    lab.until("n1 sees the cable come", 30, || {
        Ok((carrier(&lab)?.trim() == "1").then_some(()))
    })?;
    assert!(ping(&lab)?);
    lab.node_mut(1).freeze()?;
    assert!(!ping(&lab)?);
    lab.node_mut(1).thaw()?;
    assert!(ping(&lab)?);
    lab.check_consoles(&[])
}

#[test]
fn a_power_cut_takes_what_was_not_flushed_and_only_that() -> Result<()> {
    let mut lab = lab()?;
    let write = |lab: &Lab, text: &str, flush: bool| -> Result<()> {
        let flags = if flush {
            "oflag=direct conv=fsync"
        } else {
            "oflag=direct"
        };
        let script =
            format!("printf %-4096s {text} | dd of=/dev/sdb bs=4k seek=5 iflag=fullblock {flags}");
        lab.node(0).sh(&script).map(drop)
    };
    let read = |lab: &Lab| -> Result<String> {
        Ok(lab
            .node(0)
            .sh("dd if=/dev/sdb bs=4k skip=5 count=1 iflag=direct 2>/dev/null")?
            .trim()
            .to_owned())
    };
    write(&lab, "flushed", true)?;
    write(&lab, "volatile", false)?;
    assert_eq!(read(&lab)?, "volatile");
    lab.node_mut(0).power_cut(PowerCut::Drop)?;
    assert!(lab.node(0).run(&["true"]).is_err());
    lab.node_mut(0).start()?;
    assert_eq!(read(&lab)?, "flushed");
    write(&lab, "kept", false)?;
    lab.node_mut(0).power_cut(PowerCut::Keep)?;
    lab.node_mut(0).start()?;
    assert_eq!(read(&lab)?, "kept");
    lab.check_consoles(&[])
}

#[test]
fn disks_fail_when_told() -> Result<()> {
    let lab = lab()?;
    let disk = lab.node(0).disk("sdb")?;
    let dd = |args: &str| {
        lab.node(0)
            .run(&["sh", "-c", &format!("dd {args} bs=4k count=1")])
    };
    disk.set_fault(Fault::Writes);
    assert_ne!(dd("if=/dev/zero of=/dev/sdb oflag=direct")?.code, 0);
    assert_eq!(dd("if=/dev/sdb of=/dev/null iflag=direct")?.code, 0);
    disk.set_fault(Fault::None);
    assert_eq!(dd("if=/dev/zero of=/dev/sdb oflag=direct")?.code, 0);
    disk.set_fault(Fault::Stall);
    let stuck = lab.node(0).spawn(&[
        "dd",
        "if=/dev/sdb",
        "of=/dev/null",
        "iflag=direct",
        "bs=4k",
        "count=1",
    ])?;
    assert!(stuck.next(Duration::from_secs(1)).is_err());
    disk.set_fault(Fault::None);
    assert_eq!(stuck.wait(deadline(60))?.code, 0);
    // The other node's disk was never asked to fail.
    assert_eq!(lab.node(1).disk("sdb")?.counters().failed, 0);
    lab.check_consoles(&[])
}
