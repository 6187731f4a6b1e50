// SPDX-License-Identifier: GPL-2.0-only

//! Handlers: programs of the administrator that are run when something happens.
//!
//! The module calls `usermode_helper HANDLER minor-N` (or `HANDLER RESOURCE`), normally `drbdadm`, with the
//! environment that 8.4 gives it, waits for its end, and tells listeners before and after.

use crate::{device::Device, events, prelude::*, resource::Resource};
use drbd_core::config::text::Text;
use kernel_ext::umh;

/// A Primary has no access to up-to-date data.
pub(crate) const PRI_ON_INCON_DEGR: &str = "pri-on-incon-degr";
/// The local disk failed an I/O.
pub(crate) const LOCAL_IO_ERROR: &str = "local-io-error";
/// Fence the peer before we go on without it.
pub(crate) const FENCE_PEER: &str = "fence-peer";
/// Two data generations met that do not descend from each other.
pub(crate) const INITIAL_SPLIT_BRAIN: &str = "initial-split-brain";
/// All volumes are back in sync: the peer may be let in again.
pub(crate) const UNFENCE_PEER: &str = "unfence-peer";
/// And no policy decided between them.
pub(crate) const SPLIT_BRAIN: &str = "split-brain";
/// A split brain was decided against this Primary, which could not be demoted.
pub(crate) const PRI_LOST_AFTER_SB: &str = "pri-lost-after-sb";
/// A resync was decided against this Primary.
pub(crate) const PRI_LOST: &str = "pri-lost";
/// Our data are about to be overwritten by a resync.
pub(crate) const BEFORE_RESYNC_TARGET: &str = "before-resync-target";
/// We are about to be the source of a resync.
pub(crate) const BEFORE_RESYNC_SOURCE: &str = "before-resync-source";

/// Runs a handler and returns its exit code; 0 if it could not be run. May sleep for long.
pub(crate) fn call(resource: &Resource, device: Option<&Device>, handler: &str) -> u8 {
    match run(resource, device, handler) {
        Ok(code) => code,
        Err(error) => {
            pr_err!(
                "{}: handler {} could not be called: {:?}\n",
                resource.name(),
                handler,
                error
            );
            0
        }
    }
}

/// `AF_INET` and `AF_INET6` at the front of a `sockaddr`, in host order.
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

fn peer_environment(resource: &Resource) -> Result<Option<(CString, CString)>> {
    let address = resource.shared.lock().conn.peer_addr;
    let bytes = address.as_bytes();
    let Some((family, rest)) = bytes.split_first_chunk::<2>() else {
        return Ok(None);
    };
    let pair = match u16::from_ne_bytes(*family) {
        AF_INET => {
            let Some(&[a, b, c, d]) = rest.get(2..6) else {
                return Ok(None);
            };
            (
                CString::try_from_fmt(fmt!("DRBD_PEER_AF=ipv4"))?,
                CString::try_from_fmt(fmt!("DRBD_PEER_ADDRESS={}.{}.{}.{}", a, b, c, d))?,
            )
        }
        AF_INET6 => {
            let Some(octets) = rest.get(6..22).and_then(|o| <[u8; 16]>::try_from(o).ok()) else {
                return Ok(None);
            };
            let address = core::net::Ipv6Addr::from(octets);
            (
                CString::try_from_fmt(fmt!("DRBD_PEER_AF=ipv6"))?,
                CString::try_from_fmt(fmt!("DRBD_PEER_ADDRESS={}", Shown(address)))?,
            )
        }
        _ => (
            CString::try_from_fmt(fmt!("DRBD_PEER_AF=ssocks"))?,
            CString::try_from_fmt(fmt!("DRBD_PEER_ADDRESS="))?,
        ),
    };
    Ok(Some(pair))
}

fn run(resource: &Resource, device: Option<&Device>, handler: &str) -> Result<u8> {
    let name = Text::<32>::new(handler.as_bytes()).map_err(|_| EINVAL)?;
    let program = kernel_ext::params::usermode_helper()?;
    let object = match device {
        Some(device) => CString::try_from_fmt(fmt!("minor-{}", device.minor))?,
        None => CString::try_from_fmt(fmt!("{}", resource.name()))?,
    };
    let handler_arg = CString::try_from_fmt(fmt!("{}", handler))?;
    let peer = peer_environment(resource)?;
    let mut env: KVec<&CStr> = KVec::with_capacity(5, GFP_KERNEL)?;
    env.push(c"HOME=/", GFP_KERNEL)?;
    env.push(c"TERM=linux", GFP_KERNEL)?;
    env.push(c"PATH=/sbin:/usr/sbin:/bin:/usr/bin", GFP_KERNEL)?;
    if let Some((family, address)) = &peer {
        env.push(family, GFP_KERNEL)?;
        env.push(address, GFP_KERNEL)?;
    }
    pr_info!(
        "{}: helper command: {} {} {}\n",
        resource.name(),
        &*program,
        handler,
        &*object
    );
    // It may take its time, or reset the node.
    crate::metadata::sync_all(resource);
    events::helper(resource, device, &name, None);
    let status = umh::call_and_wait(&program, &[&program, &handler_arg, &object], &env)?;
    let code = u8::try_from((status >> 8) & 0xff).unwrap_or(0);
    pr_info!(
        "{}: helper command: {} {} {} exit code {}\n",
        resource.name(),
        &*program,
        handler,
        &*object,
        code
    );
    events::helper(resource, device, &name, Some(u32::from(code)));
    Ok(code)
}
