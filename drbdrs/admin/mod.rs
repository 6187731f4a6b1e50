// SPDX-License-Identifier: GPL-2.0-only

//! Administration: the commands of the generic netlink family `drbd`, version 1.
//!
//! A request is validated against the schema before anything looks at it (`core::config::schema`); a request that
//! does not follow it is an error of the transport (-EINVAL). Everything else is answered with a reply that echoes
//! the request's context and carries a code of DRBD's own, with words for the administrator where there are any.
//!
//! Commands about one resource are serialised by `Resource::admin`; different resources do not wait for each other.

mod context;
mod disk;
mod dump;
pub(crate) mod family;
mod network;
mod objects;
mod role;
mod sync;

use crate::prelude::*;
use context::{Context, Info};
use drbd_core::{
    config::{nest::Refusal, schema::Command},
    types::{RetCode, StateRv},
};

/// How long a command waits for what is being settled with the peer: a wish of the peer's that collided with ours, two nodes
/// that introduce each other, the end of a connection.
const SETTLE_MS: u32 = 3000;

/// What a command says in the end: one number space, two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer(i32);

impl Answer {
    /// Everything went well.
    const OK: Self = Self(RetCode::NoError.to_wire());

    /// The number in the reply.
    fn code(self) -> i32 {
        self.0
    }
}

impl From<RetCode> for Answer {
    fn from(code: RetCode) -> Self {
        Self(code.to_wire())
    }
}

impl From<StateRv> for Answer {
    fn from(code: StateRv) -> Self {
        Self(code.to_wire())
    }
}

impl From<AllocError> for Answer {
    fn from(_: AllocError) -> Self {
        RetCode::Nomem.into()
    }
}

/// Commands end early with `?`: the answer is the error.
type Outcome = Result<Answer, Answer>;

/// Tells why the arguments were not accepted.
fn refuse(info: &mut Info, refusal: Refusal) -> Answer {
    info.say(refusal.text());
    Answer(Refusal::CODE)
}

/// Executes one command.
fn execute(context: &Context<'_>, info: &mut Info) -> Answer {
    let outcome = match context.command {
        Command::NewResource => objects::new_resource(context, info),
        Command::DelResource => objects::del_resource(context),
        Command::ResourceOpts => objects::resource_options(context, info),
        Command::NewMinor => objects::new_minor(context, info),
        Command::DelMinor => objects::del_minor(context),
        Command::Down => objects::down(context, info),
        Command::Attach => disk::attach(context, info),
        Command::Detach => disk::detach(context, info),
        Command::ChgDiskOpts => disk::options(context, info),
        Command::Resize => disk::resize(context, info),
        Command::Primary => role::primary(context, info),
        Command::Secondary => role::secondary(context, info),
        Command::Connect => network::connect(context, info),
        Command::Disconnect => network::disconnect(context, info),
        Command::ChgNetOpts => network::options(context, info),
        Command::Invalidate => sync::invalidate(context),
        Command::InvalPeer => sync::invalidate_peer(context),
        Command::PauseSync => sync::pause(context),
        Command::ResumeSync => sync::resume(context),
        Command::SuspendIo => sync::suspend_io(context),
        Command::ResumeIo => sync::resume_io(context),
        Command::Outdate => sync::outdate(context),
        Command::NewCUuid => sync::new_current_uuid(context, info),
        Command::StartOv => sync::start_verify(context, info),
        Command::GetTimeoutType => sync::timeout_type(context, info),
        Command::GetStatus => dump::one_status(context, info),
        // The others are dumps, or nobody sends them to the kernel.
        _ => Ok(RetCode::InvalidRequest.into()),
    };
    outcome.unwrap_or_else(|answer| answer)
}
