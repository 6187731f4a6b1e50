// SPDX-License-Identifier: GPL-2.0-only

//! The sender: one thread that puts on the data stream, in this order of preference,
//! answers to the peer's reads, the application's requests in the order of the transfer log with the barriers
//! between their epochs, and resync requests when their time has come.

use crate::{
    congestion,
    link::{Content, Link},
    peer_read,
    prelude::*,
    resource::{Resource, Shared},
    resync,
    transfer::{self, Source},
};
use drbd_core::{
    epoch::{EpochNumber, Wire},
    request::{Event, Expect, Job, Kind, Outgoing, Request, Work},
    state,
    types::ConnState,
    wire::{
        BarrierPacket, BlockDesc, BlockRequest, Command, DataFlags, DataPacket, Features,
        TrimPacket,
    },
};
use kernel_ext::{
    block::{Bio, NoIo},
    thread, time,
};

/// How often resync and timeouts are looked at when nothing else happens.
const TICK_MS: u32 = 100;

/// The body of the thread: sends until it is asked to stop.
pub(crate) fn run(resource: &Arc<Resource>) {
    let _noio = NoIo::enter();
    let connection = &resource.connection;
    let mut wire = Wire::default();
    let (mut last_tick, mut cpus) = (0, 0);
    while !thread::should_stop() {
        resource.follow_cpus(&mut cpus);
        connection.sender_wait.wait_timeout(TICK_MS, || {
            thread::should_stop() || has_work(&resource.shared.lock(), &wire)
        });
        connection.data.cork(true);
        let result = drain(resource, &mut wire, &mut last_tick);
        connection.data.cork(false);
        if let Err(error) = result {
            if !thread::should_stop() {
                pr_err!("{}: sending failed: {:?}\n", resource.name(), error);
                let state = if error == EAGAIN {
                    ConnState::Timeout
                } else {
                    ConnState::NetworkFailure
                };
                resource.connection_failed(state);
            }
            // The receiver tears the connection down and stops us.
            connection.sender_wait.wait_idle(thread::should_stop);
        }
    }
}

fn has_work(shared: &Shared, wire: &Wire) -> bool {
    let log = &shared.transfer.log;
    log.has_to_send(wire, congestion::holds_back(shared)) || peer_read::has_replies(shared)
}

/// Sends everything that waits.
fn drain(resource: &Arc<Resource>, wire: &mut Wire, last_tick: &mut u64) -> Result {
    let link = &resource.connection.data;
    while !thread::should_stop() {
        let now = time::now_ms();
        if now.saturating_sub(*last_tick) >= u64::from(TICK_MS) {
            *last_tick = now;
            resync::tick(resource)?;
            check_patience(resource, now);
        }
        if peer_read::send_reply(resource)? {
            continue;
        }
        let (next, source) = {
            let mut shared = resource.shared.lock();
            let held_back = congestion::holds_back(&shared);
            let next = shared.transfer.log.next_to_send(wire, held_back);
            let source = match &next {
                Some(Outgoing::Request(work)) => shared.transfer.take_source(work),
                Some(Outgoing::Barrier(_)) | None => None,
            };
            (next, source)
        };
        match next {
            Some(Outgoing::Request(work)) => send_request(resource, &work, source)?,
            Some(Outgoing::Barrier(epoch)) => send_barrier(link, epoch)?,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// Sends one request and tells it. An error is also told: the connection is lost with it.
fn send_request(resource: &Resource, work: &Work, source: Option<Source>) -> Result {
    let sent = put(resource, work, source.as_ref());
    {
        let mut shared = resource.shared.lock();
        if let Some(source) = source {
            shared.transfer.put_bio(work.slot, source.bio);
        }
        if sent.is_ok() {
            shared.transfer.log.note_sent(work.slot, time::now_ms());
            count(&mut shared, &work.request);
        }
        let event = if sent.is_ok() {
            Event::Sent
        } else {
            Event::SendFailed
        };
        transfer::tell(&mut shared, work.slot, event);
    }
    transfer::finish(resource);
    sent
}

fn put(resource: &Resource, work: &Work, source: Option<&Source>) -> Result {
    let link = &resource.connection.data;
    let request = &work.request;
    let range = &request.range;
    match request.job() {
        Job::Replicate => replicate(resource, work, source.ok_or(EINVAL)?),
        Job::Read => link.send(
            range.volume,
            Command::DataRequest,
            &BlockRequest {
                sector: range.sector,
                block_id: work.id.0,
                blksize: range.bytes(),
            },
        ),
        Job::OutOfSync => link.send(
            range.volume,
            Command::OutOfSync,
            &BlockDesc {
                sector: range.sector,
                blksize: range.bytes(),
            },
        ),
        Job::Nothing => Ok(()),
    }
}

fn replicate(resource: &Resource, work: &Work, source: &Source) -> Result {
    let Source { bio, copy } = source;
    let link = &resource.connection.data;
    let request = &work.request;
    let vnr = request.range.volume;
    let (seq_num, resync_running, features) = {
        let mut shared = resource.shared.lock();
        let volume = shared.vol_mut(vnr).ok_or(ENODEV)?;
        volume.packet_seq = volume.packet_seq.wrapping_add(1);
        let (seq_num, resync) = (volume.packet_seq, state::is_resync(volume.state.conn));
        if resync {
            shared.transfer.log.note_clears(work.slot);
        }
        (seq_num, resync, Features(shared.conn.agreed_features))
    };
    let head = DataPacket {
        sector: request.range.sector,
        block_id: work.id.0,
        seq_num,
        flags: flags(request, bio, resync_running),
    };
    let size = bio.bytes();
    match request.kind {
        Kind::Write => {
            let content = match copy {
                Some(copy) => Content::Pages(copy.pages()),
                None => Content::Bio(bio),
            };
            link.send_data(vnr, Command::Data, &head, size, content)
        }
        Kind::Discard => link.send(vnr, Command::Trim, &TrimPacket { data: head, size }),
        Kind::Zeroes => {
            // To a peer that does not know of zeroes a trim means them.
            let command = match features.contains(Features::WRITE_ZEROES) {
                true => Command::Zeroes,
                false => Command::Trim,
            };
            link.send(vnr, command, &TrimPacket { data: head, size })
        }
        Kind::Read | Kind::Flush => Ok(()),
    }
}

/// How the peer shall do the write, and when it shall say so.
fn flags(request: &Request, bio: &Bio, resync_running: bool) -> DataFlags {
    let zeroes = request.kind == Kind::Zeroes;
    let discard = request.kind == Kind::Discard || (zeroes && !bio.is_no_unmap());
    // During a resync every write is acknowledged, because it may bring blocks in sync.
    let written = request.wanted() == Expect::Written || resync_running;
    DataFlags::NONE
        .with(DataFlags::SYNC, bio.is_sync())
        .with(DataFlags::FUA, bio.is_fua())
        .with(DataFlags::FLUSH, bio.is_preflush())
        .with(DataFlags::DISCARD, discard)
        .with(DataFlags::ZEROES, zeroes)
        .with(DataFlags::MAY_SET_IN_SYNC, resync_running)
        .with(
            DataFlags::SEND_RECEIVE_ACK,
            request.wanted() == Expect::Receipt,
        )
        .with(DataFlags::SEND_WRITE_ACK, written)
}

fn send_barrier(link: &Link, epoch: EpochNumber) -> Result {
    link.send(
        0,
        Command::Barrier,
        &BarrierPacket {
            barrier: epoch.0,
            pad: 0,
        },
    )
}

fn count(shared: &mut Shared, request: &Request) {
    if request.job() != Job::Replicate {
        return;
    }
    if let Some(volume) = shared.vol_mut(request.range.volume) {
        let sectors = u64::from(request.range.sectors);
        volume.stat.sent = volume.stat.sent.saturating_add(sectors);
    }
}

/// A peer that takes our data but does not answer for `timeout` times `ko-count` is given up.
fn check_patience(resource: &Arc<Resource>, now: u64) {
    let overdue = {
        let shared = resource.shared.lock();
        let limit = shared.conn.net_conf.as_ref().map_or(0, |conf| {
            u64::from(conf.timeout)
                .saturating_mul(100)
                .saturating_mul(u64::from(conf.ko_count))
        });
        let oldest = shared
            .transfer
            .log
            .iter()
            .find(|(_, request)| request.awaits_answer());
        limit > 0
            && oldest.is_some_and(|(_, request)| {
                // What was sent on an earlier connection is sent again, or was given up.
                request.sent_ms > resource.connection.since_ms()
                    && now.saturating_sub(request.sent_ms) > limit
            })
    };
    if overdue {
        pr_warn!(
            "{}: the peer did not answer a request within ko-count * timeout\n",
            resource.name()
        );
        resource.connection_failed(ConnState::Timeout);
    }
}
