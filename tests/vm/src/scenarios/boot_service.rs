// SPDX-License-Identifier: GPL-2.0-only

//! The package of the tools, installed by dpkg, and systemd: a node loses its power, starts again, and systemd makes it
//! part of the mirror. The lab's root is new after every start, so the package is installed again, and what dkms and the
//! first boot would do (the module in its place, modules-load) is done here.

use crate::cluster::{Cluster, Config, Setup};
use crate::proc_drbd::Minor;
use drbd_lab::image::source_tree;
use drbd_lab::{Error, PowerCut, Result};
use std::path::{Path, PathBuf};

/// What `scripts/deb` made.
fn package() -> Result<PathBuf> {
    let folder = source_tree().join(".build/deb");
    let found = std::fs::read_dir(&folder).ok().and_then(|files| {
        files
            .flatten()
            .map(|file| file.path())
            .find(|path| path.to_string_lossy().contains("drbdrs-utils_"))
    });
    found.ok_or_else(|| Error::new("the package drbdrs-utils is missing: `make deb` makes it"))
}

/// Puts the package into a node beside Debian's, and the module where dkms puts it; nothing is loaded by it.
fn install(c: &Cluster, node: usize) -> Result<()> {
    let guest = c.lab.node(node);
    guest.put_file(&package()?, "/lab/utils.deb")?;
    let module = source_tree().join(".build/module/drbdrs.ko");
    guest.put_file(&module, "/lab/drbdrs.ko")?;
    c.sh(
        node,
        "dpkg -i --force-depends /lab/utils.deb && \
         [ \"$(command -v drbdadm)\" = /usr/sbin/drbdadm ] && drbdadm --version | grep -q BUILDTAG=drbdrs && \
         d=/lib/modules/$(uname -r)/updates/dkms && mkdir -p $d /usr/lib/modules-load.d && mv /lab/drbdrs.ko $d/ && depmod && \
         printf '%s\\n' 'alias drbd drbdrs' 'alias block-major-147-* drbdrs' >/etc/modprobe.d/drbdrs.conf && \
         echo drbd >/usr/lib/modules-load.d/drbdrs.conf && \
         systemctl enable drbd@r0.service drbd.target",
    )?;
    c.configure(node, &Config::default().text())
}

/// The guest's first process is the lab's; systemd is the first of a namespace, and boots as on any machine.
const BOOT: &str = "mkdir -p /run/lab; setsid unshare --fork --pid --mount --mount-proc \
    env -i container=lab PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    /usr/lib/systemd/systemd --system --unit=multi-user.target </dev/null >/lab/systemd.log 2>&1 &";

/// Runs a script where systemd is.
fn inside(c: &Cluster, node: usize, script: &str) -> Result<String> {
    let enter = format!("nsenter -t $(pgrep -o -x systemd) -m -p /bin/sh -c '{script}'");
    c.sh(node, &enter)
}

/// A container's systemd loads no modules itself: that it would is seen from the list that it reads at boot.
const LOAD: &str = "/usr/lib/systemd/systemd-modules-load && grep -q '^drbdrs ' /proc/modules";

/// Both nodes have the package. One is switched off under load and comes back by itself; then its service is stopped.
pub(super) fn after_power_cut(setup: Setup, logs: &Path) -> Result<()> {
    let mut c = Cluster::start(setup, logs, 16 << 20, &Config::default().text())?;
    c.mirror(1)?;
    c.write_noise(1, 1, 2)?;
    c.lab.node_mut(0).power_cut(PowerCut::Keep)?;
    c.wait(1, "sees that the peer is gone", 90, |m| {
        m.connection == "WFConnection"
    })?;
    c.write_noise(1, 4, 3)?;
    // A guest's root is made anew at each start: what the installation had written there is written again.
    c.lab.node_mut(0).start()?;
    install(&c, 0)?;
    c.sh(
        0,
        &format!("! grep -q '^drbd' /proc/modules && {LOAD} && {BOOT}"),
    )?;
    c.wait_both("is mirrored again", 180, Minor::mirrored)?;
    c.compare()?;
    inside(&c, 0, "systemctl is-active drbd@r0.service drbd.target")?;
    inside(
        &c,
        0,
        "systemctl start drbd@r0.service && systemctl reload drbd@r0.service",
    )?;
    inside(&c, 0, "systemctl stop drbd.target drbd@r0.service")?;
    let text = c.proc_drbd(0)?;
    if text.contains(" 1: cs:") {
        return Err(Error::new(format!("the service ended, but is up:\n{text}")));
    }
    c.wait(1, "is alone", 60, |m| m.connection == "WFConnection")?;
    c.write_noise(1, 8, 1)?;
    inside(&c, 0, "systemctl start drbd.target")?;
    c.wait_both("is mirrored once more", 120, Minor::mirrored)?;
    c.compare()?;
    c.drbdadm(1, &["secondary", "r0"])?;
    c.sh(0, "kill -KILL $(pgrep -o -x systemd)")?;
    c.finish()
}
