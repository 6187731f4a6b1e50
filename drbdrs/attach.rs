// SPDX-License-Identifier: GPL-2.0-only

//! Giving a volume its local disk; [`crate::detach`] takes it away.
//!
//! Attach: open data and metadata device exclusively, read and check the superblock, become Attaching, settle the
//! size, load (or set) the bitmap, and let the metadata decide which disk state to enter. Every refusal has the stock
//! driver's code, because people and scripts know them. Up to the *point of no return* (the volume gets the disk)
//! dropping what was opened undoes everything; behind it, the state engine does: Failed or Diskless.

use crate::{
    activity,
    change::{self, How},
    dependents,
    device::Device,
    limits,
    meta_io::MetaIo,
    metadata, peer_data,
    prelude::*,
    resize,
    resource::{Shared, VolumeShared},
    tag::Tag,
};
use drbd_core::{
    activity_log::slots_for,
    config::{
        choices::{Fencing, Protocol},
        conf::{DiskConf, MD_INDEX_FLEX_INT, MD_INDEX_INTERNAL},
    },
    handshake::{agreed_size, Resized, Ring, SizeFacts},
    meta::{layout, Flags, Layout, Superblock, Why},
    state::{self, Change},
    types::{ConnState, DiskState, RetCode, StateRv},
    uuid::{self, Continues},
    write_order::Reason,
};
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel_ext::block::{BackingDevice, Holder, PageBuf};

/// The local disk of a volume: the data device, the metadata device (often the same one), and where things are.
#[pin_data]
pub(crate) struct Local {
    /// Where the data are.
    pub(crate) data: BackingDevice,
    /// Where the metadata are, if that is another device.
    pub(crate) external: Option<BackingDevice>,
    #[pin]
    layout: IrqLock<Layout>,
    /// Metadata I/O, one at a time; see [`MetaIo`].
    #[pin]
    pub(crate) meta_io: Mutex<MetaIo>,
    flush: Atomic<bool>,
    /// The slot of the metadata, or which kind they are.
    pub(crate) index: i32,
}

impl Local {
    /// Where the parts of the metadata are. They move when an internally kept disk changes its size.
    pub(crate) fn layout(&self) -> Layout {
        *self.layout.lock()
    }

    /// Uses another layout from now on.
    pub(crate) fn set_layout(&self, layout: Layout) {
        *self.layout.lock() = layout;
    }

    /// Whether metadata writes are flushed from now on.
    pub(crate) fn set_flush(&self, flush: bool) {
        self.flush.store(flush, Relaxed);
    }

    /// Size of the metadata device, in sectors.
    pub(crate) fn meta_sectors(&self) -> u64 {
        self.meta().sectors()
    }

    /// Where the metadata are.
    pub(crate) fn meta(&self) -> &BackingDevice {
        self.external.as_ref().unwrap_or(&self.data)
    }

    /// Whether metadata writes are flushed.
    pub(crate) fn flushes(&self) -> bool {
        self.flush.load(Relaxed)
    }
}

/// Why an attach did not happen: the stock code, and words for the administrator if there is more to say.
pub(crate) struct Refused {
    /// One of `ERR_*` or `SS_*`.
    pub(crate) code: i32,
    /// Lines for `additional info from kernel`.
    pub(crate) info: Option<CString>,
}

impl From<RetCode> for Refused {
    fn from(code: RetCode) -> Self {
        Self {
            code: code.to_wire(),
            info: None,
        }
    }
}

impl From<StateRv> for Refused {
    fn from(code: StateRv) -> Self {
        Self {
            code: code.to_wire(),
            info: None,
        }
    }
}

impl From<AllocError> for Refused {
    fn from(_: AllocError) -> Self {
        RetCode::Nomem.into()
    }
}

/// Opens what the configuration names.
fn open_devices(
    device: &Device,
    conf: &DiskConf,
) -> Result<(BackingDevice, Option<BackingDevice>), Refused> {
    let open = |path: &[u8], shared: bool, refusal: RetCode| {
        let path = CStr::from_bytes_with_nul(path).map_err(|_| refusal)?;
        let holder = if shared {
            Holder::SharedMetadata
        } else {
            Holder::Exclusive
        };
        BackingDevice::open(path, holder).map_err(|error| {
            pr_err!(
                "{}: open({:?}) failed with {:?}\n",
                Tag(device),
                path,
                error
            );
            refusal
        })
    };
    let data = open(conf.backing_dev.with_nul(), false, RetCode::OpenDisk)?;
    let internal = matches!(conf.meta_dev_idx, MD_INDEX_INTERNAL | MD_INDEX_FLEX_INT);
    if internal {
        if conf.meta_dev != conf.backing_dev {
            // The same device may have several names, so the paths alone do not decide.
            let path = CStr::from_bytes_with_nul(conf.meta_dev.with_nul())
                .map_err(|_| RetCode::OpenMdDisk)?;
            if !data.is_same(path).map_err(|_| RetCode::OpenMdDisk)? {
                return Err(RetCode::MdIdxInvalid.into());
            }
        }
        return Ok((data, None));
    }
    let same = CStr::from_bytes_with_nul(conf.meta_dev.with_nul())
        .ok()
        .and_then(|path| data.is_same(path).ok());
    if same == Some(true) {
        return Err(RetCode::MdIdxInvalid.into());
    }
    let shared = conf.meta_dev_idx >= 0;
    let meta = open(conf.meta_dev.with_nul(), shared, RetCode::OpenMdDisk)?;
    Ok((data, Some(meta)))
}

/// Sectors of the smallest metadata device that makes sense: 1 MiB.
const MIN_FLEXIBLE_META: u64 = 2 << 10;
/// Sectors of one slot of an indexed metadata device: 128 MiB.
const SLOT: u64 = 128 << 11;

/// What a disk brings along, checked.
struct Candidate {
    local: Arc<Local>,
    block: Superblock,
    conf: DiskConf,
    layout: Layout,
}

/// Gives the volume the disk that `conf` names. Called with `Resource::admin` held.
#[inline(never)]
pub(crate) fn attach(device: &Arc<Device>, conf: DiskConf) -> Result<(), Refused> {
    let resource = &device.resource;
    prepare(device)?;
    let protocol = resource
        .shared
        .lock()
        .conn
        .net_conf
        .map(|net| net.wire_protocol);
    if conf.fencing == Fencing::ResourceAndStonith && protocol == Some(Protocol::A) {
        return Err(RetCode::StonithAndProtA.into());
    }
    if conf.meta_dev_idx < MD_INDEX_FLEX_INT {
        return Err(RetCode::MdIdxInvalid.into());
    }
    let candidate = examine(device, conf)?;
    suspend_io(device);
    let entered = resource.change(
        device.vnr,
        &Change::disk(DiskState::Attaching),
        How::SOFT.verbose(),
    );
    if entered.is_refusal() {
        resume_io(device);
        return Err(entered.into());
    }
    let result = bring_in(device, candidate);
    resume_io(device);
    if let Err(refused) = result {
        let mut shared = resource.shared.lock();
        change::change_hard(&mut shared, device.vnr, &Change::disk(DiskState::Diskless));
        drop(shared);
        wait_released(device);
        return Err(refused);
    }
    Ok(())
}

/// Nothing of a former disk may be left.
fn prepare(device: &Device) -> Result<(), Refused> {
    if device.disk_state() != DiskState::Diskless {
        return Err(RetCode::DiskConfigured.into());
    }
    wait_released(device);
    let mut shared = device.resource.shared.lock();
    let volume = shared.vol_mut(device.vnr).ok_or(RetCode::MinorInvalid)?;
    volume.flags.clear(VolFlag::ForceDetach);
    volume.flags.clear(VolFlag::Abandoned);
    volume.flags.clear(VolFlag::WasIoError);
    volume.flags.clear(VolFlag::WasReadError);
    volume.resync.total = 0;
    volume.resync.failed = 0;
    Ok(())
}

/// Waits until the worker has closed the devices of the last disk.
pub(crate) fn wait_released(device: &Device) {
    device.resource.flush_changes();
    device.resource.state_wait.wait(|| {
        let shared = device.resource.shared.lock();
        shared
            .vol(device.vnr)
            .is_none_or(|volume| volume.local.is_none() && !volume.releasing())
    });
}

/// Opens the devices, reads the superblock, and checks everything that can be checked without anybody noticing.
fn examine(device: &Arc<Device>, mut conf: DiskConf) -> Result<Candidate, Refused> {
    let (data, external) = open_devices(device, &conf)?;
    let mut page = PageBuf::new().map_err(|_| RetCode::Nomem)?;
    let data_sectors = data.sectors();
    let meta_sectors = external
        .as_ref()
        .map_or(data_sectors, BackingDevice::sectors);
    let (block, layout) = {
        let meta = external.as_ref().unwrap_or(&data);
        read_superblock(device, meta, &conf, data_sectors, meta_sectors, &mut page)?
    };
    sanitize_for(device, &mut conf, &data, Ring::of(&block));
    check_sizes(device, &conf, &layout, meta_sectors)?;
    let io = MetaIo::new(page).map_err(|_| RetCode::Nomem)?;
    let local = Arc::pin_init(
        try_pin_init!(Local {
            data,
            external,
            layout <- new_irq_lock!(layout),
            meta_io <- new_mutex!(io),
            flush: Atomic::new(conf.md_flushes),
            index: conf.meta_dev_idx,
        }),
        GFP_KERNEL,
    )
    .map_err(|_: Error| RetCode::Nomem)?;
    Ok(Candidate {
        local,
        block,
        conf,
        layout,
    })
}

/// The superblock and the layout that it describes.
fn read_superblock(
    device: &Device,
    meta: &BackingDevice,
    conf: &DiskConf,
    data_sectors: u64,
    meta_sectors: u64,
    page: &mut PageBuf,
) -> Result<(Superblock, Layout), Refused> {
    let refuse = |why: Why| {
        pr_err!("{}: {}\n", Tag(device), why.text());
        why.code()
    };
    let index = conf.meta_dev_idx;
    let sector = layout::superblock_sector(index, meta_sectors).ok_or(RetCode::MdDiskTooSmall)?;
    meta.read(sector, page).map_err(|error| {
        pr_err!(
            "{}: error {:?} while reading metadata\n",
            Tag(device),
            error
        );
        RetCode::IoMdDisk
    })?;
    let block = Superblock::parse(page.bytes()).map_err(refuse)?;
    let layout = Layout::of(&block, index, data_sectors, meta_sectors).map_err(refuse)?;
    Ok((block, layout))
}

/// Brings values that the disk cannot have into its range.
fn sanitize_for(device: &Device, conf: &mut DiskConf, data: &BackingDevice, ring: Ring) {
    let most = slots_for(ring.blocks());
    if conf.al_extents > most {
        conf.al_extents = most;
        pr_info!(
            "{}: al-extents changed to {}: the activity log on disk has room for no more\n",
            Tag(device),
            most
        );
    }
    let limits = data.limits();
    let granularity = if limits.max_discard_sectors > 0 {
        limits.discard_granularity
    } else {
        0
    };
    if conf.rs_discard_granularity > 0 && granularity == 0 {
        conf.rs_discard_granularity = 0;
        pr_info!("{}: rs_discard_granularity feature disabled\n", Tag(device));
    }
    if conf.rs_discard_granularity > 0 {
        let wanted = conf.rs_discard_granularity.max(granularity);
        let whole = wanted
            .div_ceil(granularity.max(1))
            .saturating_mul(granularity);
        if whole != conf.rs_discard_granularity {
            conf.rs_discard_granularity = whole;
            pr_info!(
                "{}: rs_discard_granularity changed to {}\n",
                Tag(device),
                whole
            );
        }
    }
}

fn check_sizes(
    device: &Device,
    conf: &DiskConf,
    layout: &Layout,
    meta_sectors: u64,
) -> Result<(), Refused> {
    let room = layout.max_capacity;
    if room < conf.disk_size {
        let wanted = conf.disk_size;
        pr_err!(
            "{}: max capacity {} smaller than disk size {}\n",
            Tag(device),
            room,
            wanted
        );
        return Err(RetCode::DiskTooSmall.into());
    }
    let least = match u64::try_from(conf.meta_dev_idx) {
        Ok(slot) => slot.saturating_add(1).saturating_mul(SLOT),
        Err(_) => MIN_FLEXIBLE_META,
    };
    if meta_sectors < least {
        pr_warn!(
            "{}: refusing attach: md-device too small, at least {} sectors needed for this meta-disk type\n",
            Tag(device),
            least
        );
        return Err(RetCode::MdDiskTooSmall.into());
    }
    // We may be a Primary that works over the network.
    if room < device.capacity() {
        return Err(RetCode::DiskTooSmall.into());
    }
    Ok(())
}

/// As [`sanitize_for`], for a disk that is attached.
pub(crate) fn sanitize(device: &Device, conf: &mut DiskConf, local: &Local) {
    let ring = {
        let shared = device.resource.shared.lock();
        let md = shared.vol(device.vnr).and_then(|volume| volume.md.as_ref());
        md.map(Ring::of)
    };
    if let Some(ring) = ring {
        sanitize_for(device, conf, &local.data, ring);
    }
}

/// The second half: everybody can see that we are Attaching.
fn bring_in(device: &Arc<Device>, candidate: Candidate) -> Result<(), Refused> {
    let Candidate {
        local,
        mut block,
        conf,
        layout,
    } = candidate;
    check_generation(device, &mut block)?;
    check_shrink(device, &block, &conf, layout.max_capacity)?;
    dependents::check(device.minor, conf.resync_after)?;
    device.meta_pages.reserve().map_err(|_| RetCode::Nomem)?;
    link(device, &local)?;
    let fencing = conf.fencing;
    let (al_extents, al_updates) = (conf.al_extents, conf.al_updates);
    let attached = {
        let mut shared = device.resource.shared.lock();
        let volume = shared.vol_mut(device.vnr).ok_or(RetCode::MinorInvalid)?;
        let (role, frozen) = (volume.state.role, volume.state.susp_nod);
        let attached = state::attach(block.flags, role, frozen, fencing);
        take_over(volume, local.clone(), block, conf, &attached);
        peer_data::choose_order(&mut shared, Reason::Configured);
        attached
    };
    activity::attach(device, al_extents, al_updates).map_err(|_| RetCode::Nomem)?;
    limits::apply(device);
    load(device, &local, &attached)?;
    enter(device, &attached)?;
    dependents::update();
    metadata::mark_role(device, device.role());
    metadata::mark_dirty(device);
    metadata::sync(device);
    device.with_disk(|disk| disk.announce_change());
    Ok(())
}

/// Shows in sysfs that we use the devices.
fn link(device: &Device, local: &Local) -> Result<(), Refused> {
    let linked = device.with_disk(|disk| {
        local.data.link(disk)?;
        let Some(external) = &local.external else {
            return Ok(());
        };
        external.link(disk).inspect_err(|_| local.data.unlink(disk))
    });
    match linked {
        Some(Ok(())) => Ok(()),
        other => {
            pr_err!(
                "{}: linking the lower device failed: {:?}\n",
                Tag(device),
                other
            );
            Err(RetCode::OpenDisk.into())
        }
    }
}

/// A generation that the application has seen must not be replaced by another one behind its back.
/// A disk that failed before it could be told of one is told now.
fn check_generation(device: &Device, block: &mut Superblock) -> Result<(), Refused> {
    let mut shared = device.resource.shared.lock();
    let volume = shared.vol_mut(device.vnr).ok_or(RetCode::MinorInvalid)?;
    let exposed = volume.exposed_uuid;
    let state = volume.state;
    let unstored = volume.unstored.take();
    if state.pdsk == DiskState::UpToDate {
        return Ok(());
    }
    let (found, disk) = (block.uuids.current, block.device_uuid);
    let continues = uuid::continues(&state, exposed, unstored.as_ref(), found, disk);
    if continues != Continues::Yes {
        // Until the superblock is written, or another disk is tried.
        volume.unstored = unstored;
    }
    drop(shared);
    match continues {
        Continues::Yes => Ok(()),
        Continues::Unaware => {
            block.resume_generation(exposed, state.role);
            Ok(())
        }
        Continues::No => {
            pr_err!(
                "{}: can only attach to data with current UUID={}\n",
                Tag(device),
                Shown(exposed)
            );
            Err(RetCode::DataNotCurrent.into())
        }
    }
}

/// A consistent device does not become smaller without being told to.
fn check_shrink(
    device: &Device,
    block: &Superblock,
    conf: &DiskConf,
    mine: u64,
) -> Result<(), Refused> {
    let facts = SizeFacts {
        mine,
        peer: device.peer_disk_size(),
        last_agreed: block.effective_size,
        requested: conf.disk_size,
        assume_peer_has_space: false,
    };
    let conn = device
        .state()
        .map_or(ConnState::StandAlone, |state| state.conn);
    let new = agreed_size(&facts, conn).sectors;
    let last = block.effective_size;
    if !block.flags.contains(Flags::CONSISTENT) || new >= last {
        return Ok(());
    }
    let tag = Tag(device);
    if new == conf.disk_size {
        pr_warn!(
            "{}: truncating a consistent device during attach ({} < {})\n",
            tag,
            new,
            last
        );
        return Ok(());
    }
    pr_warn!(
        "{}: refusing to truncate a consistent device ({} < {})\n",
        tag,
        new,
        last
    );
    let info = CString::try_from_fmt(fmt!(
        "To-be-attached device has last effective > current size, and is consistent\n({} > {} sectors). Refusing to attach.",
        last,
        new
    ));
    Err(Refused {
        code: RetCode::ImplicitShrink.to_wire(),
        info: info.ok(),
    })
}

/// The point of no return: the volume owns the disk.
fn take_over(
    volume: &mut VolumeShared,
    local: Arc<Local>,
    block: Superblock,
    conf: DiskConf,
    attached: &state::Attached,
) {
    volume.local = Some(local);
    volume.peer_max_bio_size = if state::is_connected(volume.state.conn) {
        volume.peer_max_bio_size
    } else {
        block.la_peer_max_bio_size.max(limits::MAX_BIO_SIZE_SAFE)
    };
    volume.md = Some(block);
    if let Some(md) = volume.md.as_mut() {
        activity::flag(&mut md.flags, conf.al_updates);
    }
    volume.disk_conf = Some(conf);
    volume.flags.assign(VolFlag::MdNoFua, !conf.md_flushes);
    volume
        .flags
        .assign(VolFlag::CrashedPrimary, attached.crashed_primary);
    volume
        .flags
        .assign(VolFlag::UseDegrWfcTimeout, attached.use_degr_wfc_timeout);
    volume.stat.sent = 0;
    volume.stat.received = 0;
    volume.stat.read = 0;
    volume.stat.written = 0;
}

/// Gets the bitmap and settles the size.
fn load(device: &Arc<Device>, local: &Local, attached: &state::Attached) -> Result<(), Refused> {
    read_bitmap(device, local, attached)?;
    match resize::determine(device, local, resize::Wish::default()) {
        Ok(Resized::Grew) => {
            let mut shared = device.resource.shared.lock();
            if let Some(volume) = shared.vol_mut(device.vnr) {
                volume.flags.set(VolFlag::ResyncAfterNegotiation);
            }
        }
        Ok(_) => {}
        Err(_) => return Err(RetCode::NomemBitmap.into()),
    }
    let (bits, weight) = device.bitmap.size_and_weight();
    if bits == weight {
        let mut shared = device.resource.shared.lock();
        if let Some(volume) = shared.vol_mut(device.vnr) {
            volume.flags.set(VolFlag::AlSuspended);
        }
    }
    Ok(())
}

/// The bitmap as it is on the disk, for the size that was agreed on last. A new size is settled afterwards: that writes
/// the whole bitmap, and what the disk alone knows, such as the extents of a replayed log, must be in it. (8.4 settles
/// the size first.)
fn read_bitmap(
    device: &Arc<Device>,
    local: &Local,
    attached: &state::Attached,
) -> Result<(), Refused> {
    let last = {
        let shared = device.resource.shared.lock();
        let md = shared.vol(device.vnr).and_then(|volume| volume.md.as_ref());
        md.map_or(0, |md| md.effective_size)
    };
    if device.bitmap.capacity() != last {
        device
            .resize_bitmap(last, false)
            .map_err(|_| Refused::from(RetCode::NomemBitmap))?;
    }
    let loaded = if attached.set_whole_bitmap {
        pr_info!(
            "{}: assuming that all blocks are out of sync (aka FullSync)\n",
            Tag(device)
        );
        fill_bitmap(device, local)
    } else {
        device.bitmap.read(device, local)
    };
    loaded.map_err(|error| {
        pr_err!("{}: bitmap I/O failed: {:?}\n", Tag(device), error);
        RetCode::IoMdDisk.into()
    })
}

/// Sets the whole bitmap and writes it; the superblock says so for as long as that takes.
fn fill_bitmap(device: &Arc<Device>, local: &Local) -> Result {
    set_full_sync(device, true);
    metadata::sync(device);
    device.bitmap.set_all();
    device.bitmap.write_all(device, local)?;
    set_full_sync(device, false);
    metadata::sync(device);
    Ok(())
}

pub(crate) fn set_full_sync(device: &Device, needed: bool) {
    let mut shared = device.resource.shared.lock();
    let Some(volume) = shared.vol_mut(device.vnr) else {
        return;
    };
    let Some(md) = volume.md.as_mut() else { return };
    if needed {
        md.flags.insert(Flags::FULL_SYNC);
    } else {
        md.flags.remove(Flags::FULL_SYNC);
    }
    volume.md_dirty = true;
}

/// Sets and writes the whole bitmap of an attached disk. May sleep.
pub(crate) fn set_whole_bitmap(device: &Arc<Device>) -> Result {
    let local = Device::get_local_if(device, |disk| !state::is_failed_or_less(disk));
    let local = local.ok_or(ENODEV)?;
    fill_bitmap(device, local.disk().ok_or(ENODEV)?)
}

/// From Attaching to what the metadata say, or to Negotiating if a peer is there.
fn enter(device: &Device, attached: &state::Attached) -> Result<(), Refused> {
    let mut shared = device.resource.shared.lock();
    let volume = shared.vol_mut(device.vnr).ok_or(RetCode::MinorInvalid)?;
    volume.negotiated = (attached.disk, attached.pdsk.unwrap_or(volume.state.pdsk));
    let change = if volume.state.conn == ConnState::Connected {
        volume.peer_uuids = None;
        Change::disk(DiskState::Negotiating)
    } else {
        Change {
            disk: Some(attached.disk),
            pdsk: attached.pdsk,
            ..Change::NONE
        }
    };
    let result = change::change_locked(&mut shared, device.vnr, &change, How::SOFT.verbose());
    if result.is_refusal() {
        return Err(result.into());
    }
    Ok(())
}

/// The backing devices can be read and written, whatever the data on them are worth.
pub(crate) fn is_open(disk: DiskState) -> bool {
    disk != DiskState::Diskless
}

/// No application I/O from here on, and none in flight. Counted: see [`resume_io`].
pub(crate) fn suspend_io(device: &Device) {
    suspend_io_while(device, |_| true);
}

/// As [`suspend_io`]; what is under way is not waited for any longer when `worth` does not hold any more.
pub(crate) fn suspend_io_while(device: &Device, worth: impl Fn(&Shared) -> bool) {
    let resource = &device.resource;
    {
        let mut shared = resource.shared.lock();
        let Some(volume) = shared.vol_mut(device.vnr) else {
            return;
        };
        volume.io_suspenders = volume.io_suspenders.saturating_add(1);
        if volume.suspended() {
            return;
        }
    }
    resource.state_wait.wait(|| {
        let shared = resource.shared.lock();
        let quiet = |volume: &VolumeShared| volume.stat.application == 0 || volume.suspended();
        !worth(&shared) || shared.vol(device.vnr).is_none_or(quiet)
    });
}

/// Ends one [`suspend_io`].
pub(crate) fn resume_io(device: &Arc<Device>) {
    let last = {
        let mut shared = device.resource.shared.lock();
        let Some(volume) = shared.vol_mut(device.vnr) else {
            return;
        };
        volume.io_suspenders = volume.io_suspenders.saturating_sub(1);
        volume.io_suspenders == 0
    };
    if last {
        device.resource.state_wait.wake_all();
        crate::submit::resume(device);
    }
}
