// SPDX-License-Identifier: GPL-2.0-only

//! What a command is about: the objects that its header and context name, found and checked against each other.

use super::Answer;
use crate::{device::Device, prelude::*, registry::Registry, resource::Resource, views::Fits};
use drbd_core::{
    config::{
        nlattr::Writer,
        parms::CfgReply,
        schema::{Command, Header, Request, Target},
        text::Text,
        Secrets,
    },
    types::RetCode,
};

/// What a reply carries behind the echoed context: lines for the administrator, or the answer's nests.
pub(super) struct Info {
    bytes: KVec<u8>,
    len: usize,
}

/// Room for one reply's attributes.
const ROOM: usize = 3584;

impl Info {
    /// Nothing to say yet.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            bytes: KVec::from_elem(0u8, ROOM, GFP_KERNEL)?,
            len: 0,
        })
    }

    /// Appends whatever `write` writes; if it does not fit, nothing.
    pub(super) fn append(
        &mut self,
        write: impl FnOnce(&mut Writer<'_>) -> Fits,
    ) -> Result<(), Answer> {
        let room = self.bytes.get_mut(self.len..).unwrap_or(&mut []);
        let mut out = Writer::new(room);
        write(&mut out).map_err(|_| RetCode::Nomem)?;
        let added = out.len();
        self.len = self.len.saturating_add(added);
        Ok(())
    }

    /// A line for the administrator. Lines that are too long or too many are lost: the code says enough.
    pub(super) fn say(&mut self, line: &str) {
        let cut = line.as_bytes().get(..127).unwrap_or(line.as_bytes());
        if let Ok(info_text) = Text::new(cut) {
            let reply = CfgReply { info_text };
            let _ = self.append(|out| reply.emit_nest(out, Secrets::Show));
        }
    }

    /// The attributes.
    pub(super) fn attributes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// What came from user space.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) command: Command,
    pub(super) header: Header,
    /// NLM_F_EXCL: refuse what exists already.
    pub(super) exclusive: bool,
    /// Secrets may be shown.
    pub(super) privileged: bool,
    pub(super) request: &'a Request<'a>,
}

/// A request with its objects.
pub(super) struct Context<'a> {
    pub(super) registry: Arc<Registry>,
    pub(super) command: Command,
    pub(super) header: Header,
    pub(super) exclusive: bool,
    pub(super) privileged: bool,
    pub(super) request: &'a Request<'a>,
    device: Option<Arc<Device>>,
    resource: Option<Arc<Resource>>,
}

impl<'a> Context<'a> {
    /// Finds the objects. What is wrong about them is the answer.
    pub(super) fn prepare(
        registry: Arc<Registry>,
        asked: Asked<'a>,
        info: &mut Info,
    ) -> Result<Self, Answer> {
        let Asked {
            command,
            header,
            exclusive,
            privileged,
            request,
        } = asked;
        let name = request.context.resource_name;
        let device = registry.device(header.minor);
        let mut resource = name
            .as_ref()
            .and_then(|name| registry.resource(name.as_bytes()));
        let target = command.op().target;
        if target == Target::Minor && device.is_none() {
            info.say("unknown minor");
            return Err(RetCode::MinorInvalid.into());
        }
        let needs_resource = target == Target::Resource || command == Command::Connect;
        if needs_resource && command != Command::NewResource && resource.is_none() {
            info.say("unknown resource");
            return Err(match name {
                Some(_) => RetCode::ResNotKnown.into(),
                None => RetCode::InvalidRequest.into(),
            });
        }
        if matches!(command, Command::Disconnect | Command::ChgNetOpts) {
            let named = resource.is_some();
            resource = Some(by_addresses(
                &registry,
                request,
                named,
                device.is_some(),
                info,
            )?);
        }
        check(request, &device, &resource, info)?;
        let resource = resource.or_else(|| device.as_ref().map(|device| device.resource.clone()));
        Ok(Self {
            registry,
            command,
            header,
            exclusive,
            privileged,
            request,
            device,
            resource,
        })
    }

    /// The device that the command is about.
    pub(super) fn device(&self) -> Result<&Arc<Device>, Answer> {
        self.device.as_ref().ok_or(RetCode::MinorInvalid.into())
    }

    /// The device of the header's minor, if there is one.
    pub(super) fn existing_device(&self) -> Option<&Arc<Device>> {
        self.device.as_ref()
    }

    /// The resource that the command is about.
    pub(super) fn resource(&self) -> Result<&Arc<Resource>, Answer> {
        self.resource.as_ref().ok_or(RetCode::ResNotKnown.into())
    }

    /// The resource of the context's name, if there is one.
    pub(super) fn existing_resource(&self) -> Option<&Arc<Resource>> {
        self.resource.as_ref()
    }
}

fn by_addresses(
    registry: &Registry,
    request: &Request<'_>,
    named: bool,
    with_minor: bool,
    info: &mut Info,
) -> Result<Arc<Resource>, Answer> {
    let mut wrong = |line: &str| {
        info.say(line);
        Answer::from(RetCode::InvalidRequest)
    };
    if named {
        return Err(wrong("no resource name expected"));
    }
    if with_minor {
        return Err(wrong("no minor number expected"));
    }
    let context = &request.context;
    let found = match (&context.my_addr, &context.peer_addr) {
        (Some(my), Some(peer)) => registry.resource_by_addresses(my.as_bytes(), peer.as_bytes()),
        _ => None,
    };
    found.ok_or_else(|| wrong("unknown connection"))
}

/// A request that says more than it has to must not contradict itself.
fn check(
    request: &Request<'_>,
    device: &Option<Arc<Device>>,
    resource: &Option<Arc<Resource>>,
    info: &mut Info,
) -> Result<(), Answer> {
    let Some(device) = device else { return Ok(()) };
    if resource
        .as_ref()
        .is_some_and(|resource| !Arc::ptr_eq(resource, &device.resource))
    {
        info.say("minor exists in different resource");
        return Err(RetCode::InvalidRequest.into());
    }
    if request
        .context
        .volume
        .is_some_and(|volume| volume != u32::from(device.vnr))
    {
        info.say("minor exists as different volume");
        return Err(RetCode::InvalidRequest.into());
    }
    Ok(())
}
