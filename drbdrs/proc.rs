// SPDX-License-Identifier: GPL-2.0-only

//! /proc/drbd: collects what `core::proc_text` prints.

use crate::{device::Device, prelude::*, progress, registry::Registry};
use drbd_core::{
    config::choices::Protocol,
    proc_text::{self, Counters, Progress},
    types::{ConnState, DiskState, Role},
};
use kernel::{fmt, seq_file::SeqFile, seq_print};

/// The protocol versions that we speak.
pub(crate) const PROTOCOLS: (u32, u32) = (100, 101);

/// Lets formatting code write to a seq file.
struct Out<'a>(&'a SeqFile);

impl fmt::Write for Out<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        seq_print!(self.0, "{}", text);
        Ok(())
    }
}

/// Writes the whole file.
pub(crate) fn show(file: &SeqFile) {
    let mut out = Out(file);
    let head = proc_text::head(&mut out, PROTOCOLS, crate::source_version());
    let Some(registry) = Registry::get() else {
        return;
    };
    if head.is_err() {
        return;
    }
    let mut expected = 0;
    while let Some(device) = registry.device_from(expected) {
        // A gap between minors is shown as an empty line.
        if device.minor != expected {
            seq_print!(file, "\n");
        }
        if one(&mut out, &device).is_err() {
            return;
        }
        expected = device.minor.saturating_add(1);
    }
}

/// The numbers of one device, copied under the lock.
struct Snapshot {
    state: drbd_core::types::State,
    counters: Counters,
    protocol: Option<char>,
    write_ordering: char,
    suspended: bool,
    al_suspended: bool,
    progress: Option<Progress>,
}

fn snapshot(device: &Device, weight: u64) -> Option<Snapshot> {
    let now_ms = kernel_ext::time::now_ms();
    let shared = device.resource.shared.lock();
    let volume = shared.vol(device.vnr)?;
    let stat = &volume.stat;
    Some(Snapshot {
        state: volume.state,
        counters: Counters {
            sent: stat.sent,
            received: stat.received,
            written: stat.written,
            read: stat.read,
            al_writes: stat.al_writes,
            bm_writes: stat.bm_writes,
            local: stat.local,
            pending: stat.pending.saturating_add(stat.resync_pending),
            unacked: stat.unacked,
            application: stat.application,
            epochs: shared.peer.incoming.epochs(),
        },
        protocol: shared
            .conn
            .net_conf
            .as_ref()
            .map(|net| match net.wire_protocol {
                Protocol::A => 'A',
                Protocol::B => 'B',
                Protocol::C => 'C',
            }),
        write_ordering: shared.conn.write_order.letter(),
        suspended: volume.suspended(),
        al_suspended: volume.flags.has(VolFlag::AlSuspended),
        progress: progress::shown(volume, weight, now_ms),
    })
}

fn one(out: &mut Out<'_>, device: &Device) -> fmt::Result {
    let weight = device.bitmap.weight();
    let Some(snapshot) = snapshot(device, weight) else {
        return Ok(());
    };
    let state = &snapshot.state;
    let unconfigured = state.conn == ConnState::StandAlone
        && state.disk == DiskState::Diskless
        && state.role == Role::Secondary;
    if unconfigured {
        return proc_text::unconfigured(out, device.minor);
    }
    let text = proc_text::Device {
        connection: state.conn.name(),
        roles: (state.role.name(), state.peer.name()),
        disks: (state.disk.name(), state.pdsk.name()),
        protocol: snapshot.protocol,
        suspended: snapshot.suspended,
        paused: (state.aftr_isp, state.peer_isp, state.user_isp),
        al_suspended: snapshot.al_suspended,
        counters: snapshot.counters,
        write_ordering: snapshot.write_ordering,
        out_of_sync_kib: weight.saturating_mul(4),
    };
    text.write(out, device.minor)?;
    snapshot
        .progress
        .map_or(Ok(()), |progress| progress.write(out))
}
