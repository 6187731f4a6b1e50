// SPDX-License-Identifier: GPL-2.0-only

//! What two connected nodes tell each other about a volume: resync parameters, sizes, generations, state.
//!
//! Sending fills a packet from a copy taken under the resource's lock, and sends it outside. Receiving asks the core
//! what the peer's numbers mean, and does that. The generations and the state, from which a resync follows, are in
//! `handshake.rs`.

use crate::{
    attach,
    change::How,
    device::Device,
    limits, metadata,
    prelude::*,
    receiver::Arrived,
    resize::{self, Wish},
    resource::{ReceiverOrder, Resource, Shared},
    tag::{Shown, Tag},
};
use drbd_core::{
    config::{conf::DiskConf, text::Text},
    handshake::{self, FollowUpFacts, GrownPart, LocalSizes, PeerSizes, SizeFacts, SizeRule},
    resync::Side,
    state::{self, Change},
    types::{ConnState, DiskState, State, Uuid},
    wire::{
        AlgName, Command, Features, Packet, QueueLimits, Sizes, SizesFlags, StatePacket, SyncParam,
        SyncUuid, UuidFlags, UuidsPacket, Writer,
    },
};

/// The disk is at least negotiating: its metadata count.
pub(crate) fn has_metadata(disk: DiskState) -> bool {
    !state::is_failed_or_less(disk)
}

/// The peer cannot be talked to like this: no connection until the administrator asks for one again.
pub(crate) fn give_up(resource: &Resource) -> Error {
    resource.change_all(&Change::conn(ConnState::Disconnecting), How::HARD);
    ECONNABORTED
}

/// Changes the volume under the resource's lock, if it (still) exists.
pub(crate) fn with_volume<R>(
    device: &Device,
    work: impl FnOnce(&mut crate::resource::VolumeShared) -> R,
) -> Option<R> {
    device.resource.shared.lock().vol_mut(device.vnr).map(work)
}

/// The introduction of a volume on a new connection.
pub(crate) fn send_initial(device: &Arc<Device>) -> Result {
    {
        let mut shared = device.resource.shared.lock();
        let discard = shared
            .conn
            .net_conf
            .as_ref()
            .is_some_and(|conf| conf.discard_my_data);
        if let Some(volume) = shared.vol_mut(device.vnr) {
            volume.flags.assign(VolFlag::DiscardMyData, discard);
            volume.bitmap_in = None;
            volume.count_dirty();
        }
    }
    send_sync_param(device)?;
    send_sizes(device, false, SizesFlags::NONE)?;
    send_uuids(device)?;
    send_state(device)?;
    with_volume(device, |volume| {
        volume.flags.clear(VolFlag::UseDegrWfcTimeout);
        volume.flags.clear(VolFlag::ResizePending);
    });
    Ok(())
}

/// Sends how we want to resync. The configuration travels so that both sides use the same.
pub(crate) fn send_sync_param(device: &Device) -> Result {
    let resource = &device.resource;
    let (param, version) = {
        let shared = resource.shared.lock();
        let volume = shared.vol(device.vnr).ok_or(ENODEV)?;
        let net = shared.conn.net_conf.as_ref().ok_or(ENOTCONN)?;
        let disk = volume
            .disk_conf
            .filter(|_| volume.has_disk())
            .unwrap_or_default();
        let param = SyncParam {
            resync_rate: disk.resync_rate,
            verify_alg: AlgName::new(net.verify_alg.as_bytes()).unwrap_or(AlgName::NONE),
            csums_alg: AlgName::new(net.csums_alg.as_bytes()).unwrap_or(AlgName::NONE),
            c_plan_ahead: disk.c_plan_ahead,
            c_delay_target: disk.c_delay_target,
            c_fill_target: disk.c_fill_target,
            c_max_rate: disk.c_max_rate,
        };
        (param, shared.conn.agreed_version)
    };
    let command = if version >= 89 {
        Command::SyncParam89
    } else {
        Command::SyncParam
    };
    let packet = VersionedSyncParam { param, version };
    resource.connection.data.send(device.vnr, command, &packet)
}

/// [`SyncParam`] in the shape of a protocol version.
struct VersionedSyncParam {
    param: SyncParam,
    version: u32,
}

impl Packet for VersionedSyncParam {
    fn parse(_: &mut drbd_core::wire::Reader<'_>) -> Option<Self> {
        None
    }

    fn emit(&self, out: &mut Writer<'_>) -> Option<()> {
        self.param.emit_version(self.version, out)
    }
}

/// Sends the sizes that we know. Without `current`, the peer answers with its own.
pub(crate) fn send_sizes(device: &Arc<Device>, ask_for_reply: bool, flags: SizesFlags) -> Result {
    let resource = &device.resource;
    let local = Device::get_local_if(device, has_metadata);
    let disk = local.as_ref().and_then(|local| local.disk());
    let queue = match disk {
        Some(disk) => disk.data.limits(),
        None => limits::without_disk(),
    };
    // What it could hold now, as the peer would find it: both settle on the smaller one.
    let capacity = disk.map_or(0, |disk| resize::room(device, disk));
    let (user, current, version, features) = {
        let shared = resource.shared.lock();
        let volume = shared.vol(device.vnr).ok_or(ENODEV)?;
        let user = volume
            .disk_conf
            .filter(|_| disk.is_some())
            .map_or(0, |conf| conf.disk_size);
        (
            user,
            volume.capacity,
            shared.conn.agreed_version,
            shared.conn.agreed_features,
        )
    };
    let own_most = match disk {
        Some(_) => queue
            .max_hw_sectors
            .saturating_mul(512)
            .min(limits::MAX_BIO_SIZE),
        None => limits::MAX_BIO_SIZE,
    };
    let most = match version {
        0..=94 => 1 << 15,
        95..=99 => 1 << 17,
        _ => limits::MAX_BIO_SIZE,
    };
    let queue_limits = QueueLimits {
        physical_block_size: queue.physical_block_size,
        logical_block_size: queue.logical_block_size,
        alignment_offset: 0,
        io_min: queue.io_min,
        io_opt: queue.io_opt,
        discard_enabled: disk.is_some() && queue.max_discard_sectors > 0,
        ..QueueLimits::default()
    };
    let packet = Sizes {
        disk: capacity,
        user,
        current: if ask_for_reply { 0 } else { current },
        max_bio_size: own_most.min(most),
        queue_order_type: 0,
        flags,
        limits: Features(features)
            .contains(Features::WRITE_SAME)
            .then_some(queue_limits),
    };
    resource
        .connection
        .data
        .send(device.vnr, Command::Sizes, &packet)
}

/// Sends the generations of our data; without a disk there are none.
pub(crate) fn send_uuids(device: &Device) -> Result {
    send_uuids_with(device, UuidFlags::NONE)
}

/// As [`send_uuids`]; the peer takes our generation over without a sync.
pub(crate) fn send_uuids_skip_initial_sync(device: &Device) -> Result {
    send_uuids_with(device, UuidFlags::SKIP_INITIAL_SYNC)
}

fn send_uuids_with(device: &Device, flags: UuidFlags) -> Result {
    let packet = {
        let mut shared = device.resource.shared.lock();
        let discard = shared
            .conn
            .net_conf
            .as_ref()
            .is_some_and(|conf| conf.discard_my_data);
        let volume = shared.vol_mut(device.vnr).ok_or(ENODEV)?;
        let Some(md) = volume
            .md
            .as_ref()
            .filter(|_| has_metadata(volume.state.disk))
        else {
            return Ok(());
        };
        UuidsPacket {
            current: md.uuids.current,
            bitmap: md.uuids.bitmap,
            history: md.uuids.history,
            dirty_bits: volume.told_dirty_bits,
            flags: flags
                .with(UuidFlags::DISCARD_MY_DATA, discard)
                .with(
                    UuidFlags::CRASHED_PRIMARY,
                    volume.flags.has(VolFlag::CrashedPrimary),
                )
                .with(
                    UuidFlags::INCONSISTENT,
                    volume.state.disk == DiskState::Negotiating
                        && volume.negotiated.0 == DiskState::Inconsistent,
                ),
        }
    };
    device
        .resource
        .connection
        .data
        .send(device.vnr, Command::Uuids, &packet)
}

/// Sends the state that we have now.
pub(crate) fn send_state(device: &Device) -> Result {
    let state = with_volume(device, |volume| volume.state).ok_or(ENODEV)?;
    send_state_value(device, state)
}

/// Sends a state that we had: the peer hears of each.
pub(crate) fn send_state_value(device: &Device, state: State) -> Result {
    let packet = StatePacket {
        state: state.to_wire(),
    };
    device
        .resource
        .connection
        .data
        .send(device.vnr, Command::State, &packet)
}

/// Begins a bitmap generation as source of a resync, and tells the peer.
pub(crate) fn send_sync_uuid(device: &Arc<Device>) -> Result {
    let fresh = Uuid(kernel_ext::random_u64());
    let uuid = {
        let mut shared = device.resource.shared.lock();
        let volume = shared.vol_mut(device.vnr).ok_or(ENODEV)?;
        if !state::target_hears_sync_uuid(&volume.state) {
            // It is out of reach already. (8.4 begins all the same.)
            return Ok(());
        }
        let Some(md) = volume.md.as_mut() else {
            return Ok(());
        };
        let target = volume.peer_uuids.as_ref().map(|peer| &peer.uuids);
        let uuid = md.start_sync_source(fresh, target);
        volume.md_dirty = true;
        pr_info!("{}: updated sync UUID {}\n", Tag(device), Shown(md.uuids));
        uuid
    };
    metadata::sync(device);
    if state::is_failed_or_less(device.disk_state()) {
        // Our disk may not know of it. The peer must not, either: the two would have nothing in common.
        return Ok(());
    }
    let packet = SyncUuid { uuid: uuid.0 };
    device
        .resource
        .connection
        .data
        .send(device.vnr, Command::SyncUuid, &packet)
}

/// A volume that is configured on the peer only; it will be introduced again when it is configured here.
pub(crate) fn unknown_volume(packet: &Arrived<'_>) -> Result {
    pr_warn!(
        "{}: {} packet received for volume {}, which is not configured locally\n",
        packet.resource.name(),
        packet.command.name(),
        packet.vnr
    );
    let mut left = packet.payload;
    let mut buffer = [0; 64];
    while left > 0 {
        let part = usize::try_from(left)
            .unwrap_or(buffer.len())
            .min(buffer.len());
        packet
            .stream
            .recv_exact(buffer.get_mut(..part).ok_or(EINVAL)?)?;
        left = left.saturating_sub(u32::try_from(part).unwrap_or(left));
    }
    Ok(())
}

/// What holds where the peer's version of the packet says nothing.
#[inline(never)]
fn sync_param_defaults(verify_alg: &Text<64>, csums_alg: &Text<64>) -> SyncParam {
    let name = |text: &Text<64>| AlgName::new(text.as_bytes()).unwrap_or(AlgName::NONE);
    let disk = DiskConf::default();
    SyncParam {
        resync_rate: disk.resync_rate,
        verify_alg: name(verify_alg),
        csums_alg: name(csums_alg),
        c_plan_ahead: disk.c_plan_ahead,
        c_delay_target: disk.c_delay_target,
        c_fill_target: disk.c_fill_target,
        c_max_rate: disk.c_max_rate,
    }
}

/// P_SYNC_PARAM, P_SYNC_PARAM89
#[inline(never)]
pub(crate) fn sync_param(packet: &Arrived<'_>) -> Result {
    let Some(device) = packet.device() else {
        return unknown_volume(packet);
    };
    let mut bytes = [0; 160];
    let payload = usize::try_from(packet.payload).map_err(|_| EPROTO)?;
    let end = packet.fixed.len().checked_add(payload).ok_or(EPROTO)?;
    let (head, tail) = bytes
        .split_at_mut_checked(packet.fixed.len())
        .ok_or(EPROTO)?;
    for (to, from) in head.iter_mut().zip(packet.fixed) {
        *to = *from;
    }
    packet
        .stream
        .recv_exact(tail.get_mut(..payload).ok_or(EPROTO)?)?;
    let bytes = bytes.get(..end).ok_or(EPROTO)?;
    let (version, known, conn) = {
        let shared = packet.resource.shared.lock();
        let volume = shared.vol(device.vnr).ok_or(ENODEV)?;
        let net = shared.conn.net_conf.as_ref().ok_or(ENOTCONN)?;
        let version = shared.conn.agreed_version;
        (
            version,
            sync_param_defaults(&net.verify_alg, &net.csums_alg),
            volume.state.conn,
        )
    };
    let peer = known.decode_version(version, bytes).ok_or(EPROTO)?;
    let options = [
        ("verify-alg", &known.verify_alg, &peer.verify_alg),
        ("csums-alg", &known.csums_alg, &peer.csums_alg),
    ];
    for &(option, mine, peer) in &options {
        if mine == peer {
            continue;
        }
        if conn == ConnState::WfReportParams {
            let tag = Tag(&device);
            pr_err!(
                "{}: Different {} settings. me={:?} peer={:?}\n",
                tag,
                option,
                mine,
                peer
            );
            return Err(give_up(packet.resource));
        }
        pr_info!("{}: using {}: {:?}\n", Tag(&device), option, peer);
    }
    adopt_sync_param(packet.resource, &device, &peer, version)
}

/// The peer's administrator changed these options: they hold for both sides. Values beyond the options' bounds are
/// cut to them.
#[inline(never)]
fn adopt_sync_param(
    resource: &Resource,
    device: &Device,
    peer: &SyncParam,
    version: u32,
) -> Result {
    let mut shared = resource.shared.lock();
    if let Some(net) = shared.conn.net_conf.as_mut().filter(|_| version >= 88) {
        net.verify_alg = Text::new(peer.verify_alg.as_bytes()).map_err(|_| EPROTO)?;
        net.csums_alg = Text::new(peer.csums_alg.as_bytes()).map_err(|_| EPROTO)?;
    }
    let volume = shared.vol_mut(device.vnr).ok_or(ENODEV)?;
    if let Some(disk) = volume.disk_conf.as_mut() {
        disk.resync_rate = peer.resync_rate.clamp(1, 4 << 20);
        if version >= 95 {
            disk.c_plan_ahead = peer.c_plan_ahead.min(300);
            disk.c_delay_target = peer.c_delay_target.clamp(1, 100);
            disk.c_fill_target = peer.c_fill_target.min(1 << 20);
            disk.c_max_rate = peer.c_max_rate.clamp(250, 4 << 20);
        }
    }
    Ok(())
}

/// P_SIZES
#[inline(never)]
pub(crate) fn sizes(packet: &Arrived<'_>) -> Result {
    let Some(device) = packet.device() else {
        return unknown_volume(packet);
    };
    let theirs = Sizes::decode(packet.fixed).ok_or(EPROTO)?;
    let peer = PeerSizes {
        disk: theirs.disk,
        requested: theirs.user,
        current: theirs.current,
    };
    // A disk that negotiates has a size, too.
    let local = Device::get_local_if(&device, has_metadata);
    let capacity = local
        .as_ref()
        .and_then(|l| l.disk())
        .map(|disk| resize::room(&device, disk));
    let (rule, current) = {
        let mut shared = packet.resource.shared.lock();
        let volume = shared.vol_mut(device.vnr).ok_or(ENODEV)?;
        volume.peer_disk_size = theirs.disk;
        let mine = capacity.map(|capacity| LocalSizes {
            capacity,
            last_agreed: volume.md.as_ref().map_or(0, |md| md.effective_size),
            requested: volume.disk_conf.as_ref().map_or(0, |conf| conf.disk_size),
        });
        if let Some(mine) = &mine {
            warn_if_different(
                &device,
                "lower level device sizes",
                peer.disk,
                mine.capacity,
            );
            warn_if_different(
                &device,
                "user requested size",
                peer.requested,
                mine.requested,
            );
        }
        let current = volume.capacity;
        (
            handshake::on_peer_sizes(&peer, mine.as_ref(), current, &volume.state),
            current,
        )
    };
    if rule.is_refusal() {
        refuse_sizes(&device, rule, current);
        return Err(give_up(packet.resource));
    }
    with_volume(&device, |volume| {
        volume.peer_max_bio_size = theirs.max_bio_size
    });
    let disk_size_changed = local
        .as_ref()
        .and_then(|l| l.disk())
        .is_some_and(|disk| resize::disk_changed(&device, disk));
    let resized = settle_size(&device, rule, theirs.flags)?;
    metadata::sync(&device);
    drop(local);
    after_sizes(&device, &theirs, resized, disk_size_changed)
}

fn warn_if_different(device: &Device, what: &str, peer: u64, mine: u64) {
    if handshake::differ_considerably(peer, mine) {
        let tag = Tag(device);
        pr_warn!(
            "{}: Considerable difference in {}: {}s vs. {}s\n",
            tag,
            what,
            peer,
            mine
        );
    }
}

fn refuse_sizes(device: &Device, rule: SizeRule, current: u64) {
    let tag = Tag(device);
    match rule {
        SizeRule::RefuseShrink { new } => {
            pr_err!(
                "{}: The peer's disk size is too small! ({} < {} sectors)\n",
                tag,
                new,
                current
            );
        }
        SizeRule::RefuseShrinkOfPrimary { new } => pr_err!(
            "{}: The peer's device size is too small! ({} < {} sectors); demote me first!\n",
            tag,
            new,
            current
        ),
        _ => {}
    }
}

/// Does what the rule says; tells how the size changed.
fn settle_size(
    device: &Arc<Device>,
    rule: SizeRule,
    flags: SizesFlags,
) -> Result<handshake::Resized> {
    limits::apply(device);
    match rule {
        SizeRule::Determine { requested } => {
            with_volume(device, |volume| {
                let Some(conf) = volume.disk_conf.as_mut() else {
                    return;
                };
                let old = core::mem::replace(&mut conf.disk_size, requested);
                if old != requested {
                    let tag = Tag(device);
                    pr_info!(
                        "{}: Peer sets u_size to {} sectors (old: {})\n",
                        tag,
                        requested,
                        old
                    );
                }
            });
            determine(device, flags)
        }
        SizeRule::TakePeerSize { new } => {
            resize::set_capacity(device, new);
            Ok(handshake::Resized::Unchanged)
        }
        SizeRule::IgnoreDisklessPeer { peer } => {
            let tag = Tag(device);
            pr_warn!(
                "{}: Ignored diskless peer device size (peer: {} sectors)!\n",
                tag,
                peer
            );
            Ok(handshake::Resized::Unchanged)
        }
        _ => Ok(handshake::Resized::Unchanged),
    }
}

/// Application I/O is only suspended when something really changes: its answers may be behind this very packet.
fn determine(device: &Arc<Device>, flags: SizesFlags) -> Result<handshake::Resized> {
    let Some(local) = Device::get_local_if(device, has_metadata) else {
        return Ok(handshake::Resized::Unchanged);
    };
    let Some(disk) = local.disk() else {
        return Ok(handshake::Resized::Unchanged);
    };
    // The disk may have grown since it was looked at last; the metadata then move.
    let layout = resize::layout_now(device, disk).map_err(|_| EIO)?;
    let moved = layout != disk.layout();
    let mine = layout.max_capacity;
    let changes = with_volume(device, |volume| {
        let facts = SizeFacts {
            mine,
            peer: volume.peer_disk_size,
            last_agreed: volume.md.as_ref().map_or(0, |md| md.effective_size),
            requested: volume.disk_conf.as_ref().map_or(0, |conf| conf.disk_size),
            assume_peer_has_space: flags.contains(SizesFlags::FORCED),
        };
        let sectors = handshake::agreed_size(&facts, volume.state.conn).sectors;
        let now = [volume.capacity, device.bitmap.capacity()];
        now.into_iter().any(|now| now != sectors)
    });
    if !moved && changes != Some(true) {
        return Ok(handshake::Resized::Unchanged);
    }
    let wish = Wish {
        assume_peer_has_space: flags.contains(SizesFlags::FORCED),
        assume_clean: flags.contains(SizesFlags::NO_RESYNC),
        ring: None,
    };
    // Requests that wait for a connection that is gone end only after this: we are the receiver.
    let alive = |shared: &Shared| shared.conn.receiver == ReceiverOrder::Run;
    attach::suspend_io_while(device, alive);
    if !alive(&device.resource.shared.lock()) {
        attach::resume_io(device);
        return Err(ECONNRESET);
    }
    let result = resize::determine(device, disk, wish);
    attach::resume_io(device);
    result.map_err(|failed| {
        pr_err!(
            "{}: the size could not be settled ({:?})\n",
            Tag(device),
            failed
        );
        EIO
    })
}

/// After a `resize` command: the peer learns of it, and answers with what it has. May sleep.
pub(crate) fn announce_resize(
    device: &Arc<Device>,
    resized: handshake::Resized,
    flags: SizesFlags,
) -> Result {
    let announcement = with_volume(device, |volume| {
        let announcement = handshake::announcement(volume.state.conn, resized);
        if announcement.pending {
            volume.flags.set(VolFlag::ResizePending);
        }
        announcement
    });
    if announcement.is_some_and(|a| a.tell_peer) {
        send_uuids(device)?;
        send_sizes(device, true, flags)?;
    }
    Ok(())
}

/// The peer may need our new size, and a part that is new on both sides wants a resync.
fn after_sizes(
    device: &Arc<Device>,
    theirs: &Sizes,
    resized: handshake::Resized,
    disk_size_changed: bool,
) -> Result {
    let follow_up = {
        let mut shared = device.resource.shared.lock();
        let volume = shared.vol_mut(device.vnr).ok_or(ENODEV)?;
        let facts = FollowUpFacts {
            state: volume.state,
            peer_current: theirs.current,
            current: volume.capacity,
            disk_size_changed,
            resized,
            resize_pending: state::is_connected(volume.state.conn)
                && volume.flags.clear(VolFlag::ResizePending),
            assume_clean: theirs.flags.contains(SizesFlags::NO_RESYNC),
        };
        let follow_up = handshake::follow_up(&facts);
        if follow_up.grown_part == GrownPart::SyncLater {
            volume.flags.set(VolFlag::ResyncAfterNegotiation);
        }
        follow_up
    };
    if follow_up.send_sizes {
        send_sizes(device, false, theirs.flags)?;
    }
    match follow_up.grown_part {
        GrownPart::Sync => sync_grown_part(device, false)?,
        GrownPart::AssumeClean => {
            let tag = Tag(device);
            pr_info!(
                "{}: Resync of new storage suppressed with --assume-clean\n",
                tag
            );
        }
        GrownPart::Nothing | GrownPart::SyncLater => {}
    }
    Ok(())
}

/// Syncs what is new on both sides: from the primary, or from the side that breaks ties. `worker`: it is the worker who
/// calls.
pub(crate) fn sync_grown_part(device: &Arc<Device>, worker: bool) -> Result {
    pr_info!("{}: Resync of new storage after online grow\n", Tag(device));
    let source = {
        let shared = device.resource.shared.lock();
        let Some(volume) = shared.vol(device.vnr) else {
            return Ok(());
        };
        // A resync that was agreed on meanwhile copies what is new, too; its target must not become a source.
        let calm =
            volume.state.conn == ConnState::Connected && state::both_up_to_date(&volume.state);
        if worker && !calm {
            return Ok(());
        }
        handshake::leads_grown_part(&volume.state, shared.conn.resolve_conflicts)
    };
    if source && worker {
        crate::handshake::start_resync_from_worker(device, Side::Source);
    } else if source {
        crate::handshake::start_resync(device, Side::Source);
    } else {
        let wait = Change::conn(ConnState::WfSyncUuid);
        device
            .resource
            .change(device.vnr, &wait, How::SOFT.verbose());
        send_state(device)?;
    }
    Ok(())
}
