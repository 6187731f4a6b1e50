// SPDX-License-Identifier: GPL-2.0-only

//! The door: the registered family, and the way from bytes to a command and back.

use super::{
    context::{Asked, Context, Info},
    dump, execute, Answer,
};
use crate::{events, prelude::*, registry::Registry};
use drbd_core::config::{
    nlattr::Writer,
    schema::{self, Command, Header, Request},
    CfgContext,
};
use kernel_ext::{
    block::NoIo,
    module::ModuleRef,
    net::genl::{self, Dump, Family, Op, Registration, HEADER},
    sync::{Global, Installed},
};

/// `NLM_F_EXCL` of a request.
const EXCLUSIVE: u16 = 0x200;

/// The family `drbd`.
pub(crate) struct Drbd;

/// How many commands user space can send: the others are notifications.
const COMMANDS: usize = {
    let mut count = 0;
    let mut at = 0;
    while at < Command::ALL.len() {
        let op = Command::ALL[at].op();
        if op.single || op.dump {
            count += 1;
        }
        at += 1;
    }
    count
};

/// The family's table, from the schema.
const fn ops() -> [Op; COMMANDS] {
    let mut ops = [Op {
        command: 0,
        admin: true,
        single: false,
        dump: false,
    }; COMMANDS];
    let mut at = 0;
    let mut to = 0;
    while at < Command::ALL.len() {
        let op = Command::ALL[at].op();
        if op.single || op.dump {
            ops[to] = Op {
                command: op.command as u8,
                admin: op.admin,
                single: op.single,
                dump: op.dump,
            };
            to += 1;
        }
        at += 1;
    }
    ops
}

impl Family for Drbd {
    type Module = crate::Drbdrs;
    const NAME: &'static CStr = c"drbd";
    const VERSION: u32 = schema::VERSION as u32;
    const GROUP: &'static CStr = c"events";
    const OPS: &'static [Op] = &ops();

    fn request(request: &genl::Request<'_>) -> Result {
        // The module must not go while a request is handled: that would wait for itself.
        let _stay = ModuleRef::<crate::Drbdrs>::get().ok_or(ENODEV)?;
        // Commands allocate while they suspend I/O or hold what I/O needs: memory must not be got by I/O to ourselves.
        let _noio = NoIo::enter();
        let command = Command::from_wire(request.command()).ok_or(EOPNOTSUPP)?;
        let header = parse_header(request.header())?;
        let parsed = Request::parse(command, request.attributes()).map_err(|invalid| {
            pr_info!("request {} refused: {:?}\n", command as u8, invalid);
            EINVAL
        })?;
        let registry = Registry::get().ok_or(ENODEV)?;
        let mut info = Info::new()?;
        let asked = Asked {
            command,
            header,
            exclusive: request.flags() & EXCLUSIVE != 0,
            privileged: request.is_sys_admin(),
            request: &parsed,
        };
        let answer = answer(registry, asked, &mut info);
        let reply = Header::reply(header.minor, answer.code());
        let mut buffer = KVec::from_elem(0u8, events::BODY.saturating_add(1024), GFP_KERNEL)?;
        let mut out = Writer::new(&mut buffer);
        let context = raw_context(request.attributes());
        out.raw(context)
            .and_then(|()| out.raw(info.attributes()))
            .map_err(|_| ENOBUFS)?;
        request.reply(command as u8, reply.emit(), out.bytes())
    }

    fn dump(dump: &mut Dump<'_>) -> Result {
        let _stay = ModuleRef::<crate::Drbdrs>::get().ok_or(ENODEV)?;
        let _noio = NoIo::enter();
        let command = Command::from_wire(dump.command()).ok_or(EOPNOTSUPP)?;
        let registry = Registry::get().ok_or(ENODEV)?;
        dump::go_on(registry, command, dump)
    }
}

fn answer(registry: Arc<Registry>, asked: Asked<'_>, info: &mut Info) -> Answer {
    match Context::prepare(registry, asked, info) {
        Ok(context) => execute(&context, info),
        Err(answer) => answer,
    }
}

fn parse_header(bytes: [u8; HEADER]) -> Result<Header> {
    Header::parse(&bytes)
        .map(|(header, _)| header)
        .ok_or(EINVAL)
}

/// The context attribute with its own header, flags and all, as a reply echoes it.
fn raw_context(attributes: &[u8]) -> &[u8] {
    let mut rest = attributes;
    while let Some((head, _)) = rest.split_first_chunk::<4>() {
        let [l0, l1, t0, t1] = *head;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let kind = u16::from_ne_bytes([t0, t1]) & 0x3fff;
        let Some(attribute) = rest.get(..length) else {
            break;
        };
        if kind == CfgContext::NEST.nr {
            return attribute;
        }
        let next = length.saturating_add(3) & !3;
        rest = rest.get(next.max(4)..).unwrap_or(&[]);
    }
    &[]
}

/// Where notifications find the family.
static FAMILY: Global<Registration<Drbd>> = Global::new();

/// Registers the family until the guard is dropped.
pub(crate) fn register() -> Result<Installed<Registration<Drbd>>> {
    FAMILY.install(Arc::new(Registration::new()?, GFP_KERNEL)?)
}

/// Sends a notification to whoever listens.
pub(crate) fn multicast(command: Command, header: Header, seq: u32, body: &[u8]) {
    let Some(family) = FAMILY.get() else { return };
    if let Err(error) = family.multicast(command as u8, header.emit(), body, seq) {
        if error != ENOBUFS {
            pr_err!("error {:?} while broadcasting event {}\n", error, seq);
        }
    }
}
