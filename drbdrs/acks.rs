// SPDX-License-Identifier: GPL-2.0-only

//! Acknowledgements: ours, in the order in which writes came to an end, and the peer's.
//!
//! Ours wait in a queue that interrupts fill and the ack sender's thread empties. A barrier's acknowledgement goes
//! through the same queue, so it can never overtake those of the writes before it.

use crate::{
    conflict,
    peer_data::{self, plausible},
    prelude::*,
    receiver::Arrived,
    resource::{Resource, Shared, VolumeShared},
    resync,
    ring::Ring,
    tag::Tag,
    transfer, verify,
};
use drbd_core::{
    epoch::EpochNumber,
    interval::Range,
    request::{BlockId, Event, SlotId},
    wire::{BarrierAck, BlockAck, Command, Packet, ID_SYNCER},
};

/// What goes to the peer on the meta stream.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Block {
        vnr: u16,
        command: Command,
        ack: BlockAck,
    },
    Barrier(BarrierAck),
}

/// The acknowledgements that wait to be sent.
pub(crate) struct Queue {
    waiting: Ring<Answer>,
    /// The ack sender has one in its hands.
    sending: bool,
}

impl Queue {
    /// Room for `capacity` of them. May sleep.
    pub(crate) fn new(capacity: usize) -> Result<Self> {
        Ok(Self {
            waiting: Ring::new(capacity)?,
            sending: false,
        })
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether all that was queued has been sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.sending
    }

    /// Forgets all: the peer is gone.
    pub(crate) fn clear(&mut self) {
        while self.waiting.pop().is_some() {}
        self.sending = false;
    }

    fn push(&mut self, answer: Answer) {
        if self.waiting.push(answer).is_err() {
            // Cannot happen: the receiver takes nothing in without room for its answer.
            pr_err!(
                "the queue of acknowledgements is full: {:?} is lost\n",
                answer
            );
        }
    }
}

/// Queues the acknowledgement of a block. Wake the ack sender afterwards.
pub(crate) fn queue(shared: &mut Shared, command: Command, range: &Range, block_id: u64) {
    let Some(volume) = shared
        .volumes
        .iter_mut()
        .find(|volume| volume.vnr == range.volume)
    else {
        return;
    };
    volume.packet_seq = volume.packet_seq.wrapping_add(1);
    let ack = BlockAck {
        sector: range.sector,
        block_id,
        blksize: range.bytes(),
        seq_num: volume.packet_seq,
    };
    shared.peer.acks.push(Answer::Block {
        vnr: range.volume,
        command,
        ack,
    });
}

/// As [`queue`], and wakes the ack sender.
pub(crate) fn send(resource: &Resource, command: Command, range: &Range, block_id: u64) {
    queue(&mut resource.shared.lock(), command, range, block_id);
    resource.connection.wake_acks();
}

/// Queues the acknowledgement of a barrier. Wake the ack sender afterwards.
pub(crate) fn queue_barrier(shared: &mut Shared, barrier: u32, writes: u32) {
    let ack = BarrierAck {
        barrier,
        set_size: writes,
    };
    shared.peer.acks.push(Answer::Barrier(ack));
}

/// Whether the ack sender has something to do.
pub(crate) fn pending(shared: &Shared) -> bool {
    shared.peer.acks.len() > 0
}

/// Sends what is queued. The ack sender's thread; may sleep.
///
/// # Errors
///
/// Those of the network.
pub(crate) fn send_queued(resource: &Resource) -> Result {
    let link = &resource.connection.control;
    link.cork(true);
    let result = loop {
        let (answer, waited) = {
            let mut shared = resource.shared.lock();
            let answer = shared.peer.acks.waiting.pop();
            shared.peer.acks.sending = answer.is_some();
            let waited = shared.peer.take_waiting();
            (answer, waited)
        };
        if waited {
            resource.state_wait.wake_all();
        }
        let sent = match answer {
            None => break Ok(()),
            Some(Answer::Block { vnr, command, ack }) => link.send(vnr, command, &ack),
            Some(Answer::Barrier(ack)) => link.send(0, Command::BarrierAck, &ack),
        };
        if let Err(error) = sent {
            break Err(error);
        }
    };
    link.cork(false);
    result
}

/// An acknowledgement, positive or negative, came in on the meta stream.
///
/// # Errors
///
/// `EPROTO` when it answers nothing that we asked.
pub(crate) fn receive(packet: &Arrived<'_>) -> Result {
    if packet.command == Command::BarrierAck {
        return barrier_ack(packet);
    }
    let ack = block(packet)?;
    carry_out(packet, &ack)?;
    conflict::acknowledged(packet, &ack);
    Ok(())
}

fn carry_out(packet: &Arrived<'_>, ack: &BlockAck) -> Result {
    match packet.command {
        Command::WriteAck => answered(packet, ack, Event::WriteAcked { in_sync: false }),
        Command::RsWriteAck => answered(packet, ack, Event::WriteAcked { in_sync: true }),
        Command::RecvAck => answered(packet, ack, Event::ReceiptAcked),
        Command::Superseded => answered(packet, ack, Event::Superseded),
        Command::RetryWrite => answered(packet, ack, Event::RetryWrite),
        Command::NegAck => neg_ack(packet, ack),
        Command::NegDreply => neg_data_reply(packet, ack),
        Command::NegRsDreply => resync::refused(packet, ack, true),
        Command::RsCancel => resync::refused(packet, ack, false),
        Command::RsIsInSync => resync::is_in_sync(packet, ack),
        Command::OvResult => verify::result(packet, ack),
        other => {
            pr_err!(
                "{}: {} is no acknowledgement\n",
                packet.resource.name(),
                other.name()
            );
            Err(EPROTO)
        }
    }
}

fn block(packet: &Arrived<'_>) -> Result<BlockAck> {
    BlockAck::decode(packet.fixed).ok_or(EPROTO)
}

/// Tells the request that `ack` names; `false` when there is none that is owed this answer.
fn tell(shared: &mut Shared, vnr: u16, ack: &BlockAck, event: Event) -> bool {
    let log = &shared.transfer.log;
    let slot = log.find(BlockId(ack.block_id), vnr, ack.sector);
    let owed = |slot: &SlotId| log.get(*slot).is_some_and(|request| request.owed(event));
    match slot.filter(owed) {
        Some(slot) => {
            transfer::tell(shared, slot, event);
            true
        }
        None => false,
    }
}

fn unknown(packet: &Arrived<'_>, ack: &BlockAck) -> Result {
    pr_err!(
        "{}/{}: {} for block id {:#x}, sector {}: there is no such request\n",
        packet.resource.name(),
        packet.vnr,
        packet.command.name(),
        ack.block_id,
        ack.sector
    );
    Err(EPROTO)
}

fn answered(packet: &Arrived<'_>, ack: &BlockAck, event: Event) -> Result {
    if ack.block_id == ID_SYNCER {
        return resync::written_by_peer(packet, ack);
    }
    let known = tell(&mut packet.resource.shared.lock(), packet.vnr, ack, event);
    if !known {
        return unknown(packet, ack);
    }
    transfer::finish(packet.resource);
    Ok(())
}

fn neg_ack(packet: &Arrived<'_>, ack: &BlockAck) -> Result {
    if ack.block_id == ID_SYNCER {
        return resync::refused(packet, ack, true);
    }
    {
        let mut shared = packet.resource.shared.lock();
        if !tell(&mut shared, packet.vnr, ack, Event::NegAcked) {
            // Protocols A and B: the request may be done with already. What the peer has not, it must get.
            let Some(volume) = shared.vol(packet.vnr) else {
                return Err(EPROTO);
            };
            mark_out_of_sync(volume, ack)?;
        }
    }
    transfer::finish(packet.resource);
    Ok(())
}

fn mark_out_of_sync(volume: &VolumeShared, ack: &BlockAck) -> Result {
    if !plausible(volume, ack.sector, ack.blksize, peer_data::MAX_RANGE) {
        return Err(EPROTO);
    }
    let sectors = u64::from(ack.blksize / 512);
    volume.device.bitmap.set_out_of_sync(ack.sector, sectors);
    Ok(())
}

fn neg_data_reply(packet: &Arrived<'_>, ack: &BlockAck) -> Result {
    let known = {
        let mut shared = packet.resource.shared.lock();
        if let Some(volume) = shared.vol(packet.vnr) {
            let tag = Tag(&volume.device);
            pr_err!(
                "{}: the peer could not read sector {} (+{})\n",
                tag,
                ack.sector,
                ack.blksize
            );
        }
        tell(&mut shared, packet.vnr, ack, Event::NegAcked)
    };
    if !known {
        return unknown(packet, ack);
    }
    transfer::finish(packet.resource);
    Ok(())
}

fn barrier_ack(packet: &Arrived<'_>) -> Result {
    let ack = BarrierAck::decode(packet.fixed).ok_or(EPROTO)?;
    let confirmed = {
        let mut shared = packet.resource.shared.lock();
        transfer::confirm_barrier(&mut shared, EpochNumber(ack.barrier), ack.set_size)
    };
    if let Err(mismatch) = confirmed {
        pr_err!(
            "{}: BarrierAck {} with {} writes; expected {:?}\n",
            packet.resource.name(),
            ack.barrier,
            ack.set_size,
            mismatch
        );
        return Err(EPROTO);
    }
    transfer::finish(packet.resource);
    Ok(())
}
