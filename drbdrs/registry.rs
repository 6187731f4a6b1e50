// SPDX-License-Identifier: GPL-2.0-only

//! Every resource and every minor that exists, and the way to find them.

use crate::{device::Device, events::Events, living::Living, prelude::*, resource::Resource};
use drbd_core::config::{text::Bytes, ResourceOpts};
use kernel_ext::{
    block::Major,
    sync::{Global, Installed},
};

/// The major number of DRBD's block devices.
const MAJOR: u32 = 147;

static REGISTRY: Global<Registry> = Global::new();

/// The lists. Both are ordered: resources by age, minors by number.
#[derive(Default)]
struct Objects {
    resources: KVec<Arc<Resource>>,
    minors: KVec<Arc<Device>>,
    serial: u64,
}

/// See the module's description.
#[pin_data]
pub(crate) struct Registry {
    /// The notifications, which outlive every single object.
    #[pin]
    pub(crate) events: Events,
    /// What is not in the lists any more may still live.
    pub(crate) living: Arc<Living>,
    /// Block major 147.
    pub(crate) major: Major,
    /// Held while it is worked out whose resync waits for whose.
    #[pin]
    pub(crate) dependents: Mutex<()>,
    #[pin]
    objects: Mutex<Objects>,
}

impl Registry {
    /// Makes the one registry; it goes when the guard is dropped.
    pub(crate) fn install(living: Arc<Living>) -> Result<Installed<Registry>> {
        let events = Events::new()?;
        let major = Major::register(MAJOR, c"drbd")?;
        let registry = Arc::pin_init(
            pin_init!(Self {
                events <- events,
                major,
                living,
                dependents <- new_mutex!(()),
                objects <- new_mutex!(Objects::default()),
            }),
            GFP_KERNEL,
        )?;
        REGISTRY.install(registry)
    }

    /// The registry; none while the module comes or goes.
    pub(crate) fn get() -> Option<Arc<Registry>> {
        REGISTRY.get()
    }

    /// The resource of that name.
    pub(crate) fn resource(&self, name: &[u8]) -> Option<Arc<Resource>> {
        let objects = self.objects.lock();
        objects
            .resources
            .iter()
            .find(|resource| resource.name.to_bytes() == name)
            .cloned()
    }

    /// The first resource that is younger than `serial`.
    pub(crate) fn resource_after(&self, serial: u64) -> Option<Arc<Resource>> {
        let objects = self.objects.lock();
        objects
            .resources
            .iter()
            .find(|resource| resource.serial > serial)
            .cloned()
    }

    /// The resource whose connection has these end points.
    pub(crate) fn resource_by_addresses(&self, my: &[u8], peer: &[u8]) -> Option<Arc<Resource>> {
        let objects = self.objects.lock();
        let matches = |resource: &&Arc<Resource>| {
            let shared = resource.shared.lock();
            shared.conn.my_addr.as_bytes() == my && shared.conn.peer_addr.as_bytes() == peer
        };
        objects.resources.iter().find(matches).cloned()
    }

    /// Whether some connection has our address, or the peer's, already.
    pub(crate) fn addresses_in_use(&self, my: &Bytes<128>, peer: &Bytes<128>) -> (bool, bool) {
        let objects = self.objects.lock();
        objects
            .resources
            .iter()
            .fold((false, false), |(mine, theirs), resource| {
                let shared = resource.shared.lock();
                (
                    mine || shared.conn.my_addr == *my,
                    theirs || shared.conn.peer_addr == *peer,
                )
            })
    }

    /// Makes a resource, unless there is one of that name: then that one, and `false`.
    #[inline(never)]
    pub(crate) fn create_resource(
        &self,
        name: CString,
        opts: ResourceOpts,
    ) -> Result<(Arc<Resource>, bool)> {
        let mut objects = self.objects.lock();
        if let Some(old) = objects
            .resources
            .iter()
            .find(|resource| resource.name.to_bytes() == name.to_bytes())
        {
            return Ok((old.clone(), false));
        }
        objects.resources.reserve(1, GFP_KERNEL)?;
        let serial = objects.serial.wrapping_add(1);
        let resource = Resource::new(name, serial, opts, &self.living)?;
        objects.serial = serial;
        objects.resources.push(resource.clone(), GFP_KERNEL)?;
        Ok((resource, true))
    }

    /// Takes a resource out of the list.
    pub(crate) fn remove_resource(&self, resource: &Arc<Resource>) {
        let mut objects = self.objects.lock();
        objects
            .resources
            .retain(|other| !Arc::ptr_eq(other, resource));
    }

    /// The device of that minor.
    pub(crate) fn device(&self, minor: u32) -> Option<Arc<Device>> {
        let objects = self.objects.lock();
        objects
            .minors
            .iter()
            .find(|device| device.minor == minor)
            .cloned()
    }

    /// The first device with a minor of at least `minor`.
    pub(crate) fn device_from(&self, minor: u32) -> Option<Arc<Device>> {
        let objects = self.objects.lock();
        objects
            .minors
            .iter()
            .find(|device| device.minor >= minor)
            .cloned()
    }

    /// Adds a device; `EEXIST` if its minor is taken.
    pub(crate) fn insert_device(&self, device: &Arc<Device>) -> Result {
        let mut objects = self.objects.lock();
        if objects
            .minors
            .iter()
            .any(|other| other.minor == device.minor)
        {
            return Err(EEXIST);
        }
        objects.minors.reserve(1, GFP_KERNEL)?;
        let at = objects
            .minors
            .iter()
            .take_while(|other| other.minor < device.minor)
            .count();
        objects
            .minors
            .insert_within_capacity(at, device.clone())
            .map_err(|_| ENOMEM)
    }

    /// Takes a device out of the list.
    pub(crate) fn remove_device(&self, device: &Arc<Device>) {
        let mut objects = self.objects.lock();
        objects.minors.retain(|other| !Arc::ptr_eq(other, device));
    }
}
