// SPDX-License-Identifier: GPL-2.0-only

//! A third guest that uses the mirrored disk over iSCSI: open-iscsi, multipath-tools, udev.

use crate::cluster::Cluster;
use drbd_lab::{deadline, Error, LabConfig, Result};

/// The index of the initiator among the lab's nodes.
pub const INITIATOR: usize = 2;
/// The first user's export, as they wrote it.
pub const SEED_IETD: &str = include_str!("../seed/ietd.conf");
/// What every initiator must see of it.
pub const SERIAL: &str = "AMHDSK-061031-03";
/// The name that multipath gives to the disk.
pub const MAP: &str = "/dev/mapper/36001405ad06103103000000000000000";

/// What an initiator of a mirrored disk should have: paths in groups by their state, back as soon as they are back, and
/// no error while none serves.
const MULTIPATH_CONF: &str = "defaults {\n\
    \tuser_friendly_names no\n\
    \tfind_multipaths no\n\
    \tpolling_interval 2\n\
    \tmax_polling_interval 2\n\
    }\n\
    blacklist {\n\
    \tdevnode \"^(nvme|vd|drbd|loop)\"\n\
    }\n\
    overrides {\n\
    \tpath_grouping_policy group_by_prio\n\
    \tprio alua\n\
    \tpath_checker tur\n\
    \tfailback immediate\n\
    \tno_path_retry queue\n\
    \tfast_io_fail_tmo 5\n\
    \tdev_loss_tmo 600\n\
    }\n";

/// Two storage nodes with a spare disk of `size` bytes, and an initiator without disks.
pub fn lab(size: u64) -> LabConfig {
    let mut config = LabConfig::nodes(3, size);
    let initiator = &mut config.nodes[INITIATOR];
    initiator.host = "esx1.au.intranet".to_owned();
    initiator.disks.clear();
    initiator.memory_mib = 384;
    // Its caches are large, and what is tested is not its kernel.
    initiator.detectors = false;
    config
}

/// Starts udev, iscsid and multipathd in the initiator, with times that find a dead path in seconds.
pub fn start(c: &Cluster) -> Result<()> {
    let node = c.lab.node(INITIATOR);
    node.put("/etc/multipath.conf", MULTIPATH_CONF.as_bytes(), 0o644)?;
    c.sh(
        INITIATOR,
        "modprobe -a iscsi_tcp sd_mod dm_multipath dm_round_robin dm_service_time\n\
         echo InitiatorName=iqn.1998-01.com.vmware:esx1 >/etc/iscsi/initiatorname.iscsi\n\
         sed -i -e 's/^\\(node.conn\\[0\\].timeo.noop_out_[a-z]*\\) *=.*/\\1 = 2/' \
         -e 's/^node.session.timeo.replacement_timeout *=.*/node.session.timeo.replacement_timeout = 5/' \
         -e 's/^iscsid.startup/#&/' /etc/iscsi/iscsid.conf\n\
         /usr/lib/systemd/systemd-udevd --daemon && udevadm trigger --action=add && udevadm settle\n\
         iscsid && multipathd",
    )
    .map(drop)
}

/// Logs in to the target on both nodes.
pub fn login(c: &Cluster) -> Result<()> {
    for node in 0..2 {
        let portal = c.lab.node(node).address().to_owned();
        c.sh(
            INITIATOR,
            &format!("iscsiadm -m discovery -t st -p {portal}"),
        )?;
    }
    c.sh(INITIATOR, "iscsiadm -m node -L all && udevadm settle")
        .map(drop)
}

/// Forgets the map, once nobody has it open, and logs out everywhere. While the map is there the sessions must be:
/// it queues what udev or anybody reads of it, for ever.
pub fn logout(c: &Cluster) -> Result<()> {
    drbd_lab::until("the map is given up", deadline(90), || {
        let script = "multipath -F; ! dmsetup ls --target multipath | grep -q :";
        let output = c.run(INITIATOR, &["/bin/sh", "-c", script])?;
        Ok((output.code == 0).then_some(()))
    })?;
    // multipathd may have made the map anew before the sessions went: it must not queue then.
    c.sh(
        INITIATOR,
        "iscsiadm -m node -U all && multipathd disablequeueing maps && { multipath -F; udevadm settle -t 90; }",
    )
    .map(drop)
}

/// Waits until multipath shows one disk with these paths (how many serve, how many wait), and udev has named it.
pub fn wait_paths(c: &Cluster, active: usize, ghost: usize, seconds: u64) -> Result<String> {
    let mut last = String::new();
    let what = format!("{active} paths serve and {ghost} wait");
    let result = drbd_lab::until(&what, deadline(seconds), || {
        last = c
            .lab
            .node(INITIATOR)
            .sh(&format!("multipath -ll 2>/dev/null; test -b {MAP}"))
            .unwrap_or_default();
        // The columns are as wide as the words of both paths need.
        let plain = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let count = |word: &str| {
            last.lines()
                .filter(|line| plain(line).contains(word))
                .count()
        };
        let maps = count(" dm-");
        let is = maps == 1 && count("ready running") == active && count("ghost running") == ghost;
        Ok(is.then_some(()))
    });
    c.note(&format!("{what}: {}\n{last}", result.is_ok()));
    result.map_err(|e| Error::new(format!("{e}; multipath says:\n{last}")))?;
    Ok(last)
}

/// The disks (`sda`, `sdb`) behind the map, in the order of the nodes.
pub fn path_of(c: &Cluster, node: usize) -> Result<String> {
    let address = c.lab.node(node).address();
    let script = format!(
        "ls -l /dev/disk/by-path | sed -n 's|.*ip-{address}:3260-iscsi-.*-lun-0 -> .*/\\(sd[a-z]*\\)$|\\1|p'"
    );
    let name = c.sh(INITIATOR, &script)?.trim().to_owned();
    if name.is_empty() {
        return Err(Error::new(format!("no path to {address}")));
    }
    Ok(format!("/dev/{name}"))
}
