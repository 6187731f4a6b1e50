// SPDX-License-Identifier: GPL-2.0-only

//! A generic netlink family whose messages have a header of their own.
//!
//! The kernel checks who may send what; the attributes reach the family as raw bytes, and it checks them with its
//! own tables. Every message here is `nlmsghdr, genlmsghdr, [u8; HEADER], attributes`.

use crate::bindings;
use core::{marker::PhantomData, ptr::NonNull};
use kernel::{error::to_result, prelude::*, ModuleMetadata};

/// Bytes of the family's own header.
pub const HEADER: usize = 8;
/// Bytes of `genlmsghdr`.
const GENL_HEADER: usize = 4;
/// Bytes of `nlmsghdr`.
const NETLINK_HEADER: usize = 16;
/// Room for commands.
const MAX_OPS: usize = 48;

/// A command that user space may send.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    /// Its number.
    pub command: u8,
    /// Only for `CAP_NET_ADMIN`.
    pub admin: bool,
    /// It can be sent as a request.
    pub single: bool,
    /// It can be sent as a dump.
    pub dump: bool,
}

/// What a family does.
pub trait Family: 'static {
    /// The module that the code is in.
    type Module: ModuleMetadata;
    /// The name, at most 15 bytes.
    const NAME: &'static CStr;
    /// The version that user space sees.
    const VERSION: u32;
    /// The name of the one multicast group, at most 15 bytes.
    const GROUP: &'static CStr;
    /// The commands, at most 48.
    const OPS: &'static [Op];

    /// A request came. Process context, several at a time.
    ///
    /// # Errors
    ///
    /// Becomes the netlink error that the sender gets.
    fn request(request: &Request<'_>) -> Result;

    /// A dump goes on: puts messages until there is no room ([`Dump::put`] fails with `EMSGSIZE`) or no more.
    /// Called again until it puts nothing. Process context.
    ///
    /// # Errors
    ///
    /// Becomes the netlink error that the sender gets.
    fn dump(dump: &mut Dump<'_>) -> Result;
}

/// A request.
pub struct Request<'a> {
    skb: NonNull<bindings::sk_buff>,
    info: &'a bindings::genl_info,
}

impl Request<'_> {
    /// Its command.
    pub fn command(&self) -> u8 {
        // SAFETY: The header is valid while the request is being handled.
        unsafe { (*self.info.genlhdr).cmd }
    }

    /// Its `NLM_F_*` flags.
    pub fn flags(&self) -> u16 {
        // SAFETY: The header is valid while the request is being handled.
        unsafe { (*self.info.nlhdr).nlmsg_flags }
    }

    /// The family's header.
    pub fn header(&self) -> [u8; HEADER] {
        split(self.bytes()).0
    }

    /// The attributes.
    pub fn attributes(&self) -> &[u8] {
        split(self.bytes()).1
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: The message is valid while the request is being handled.
        unsafe { payload(self.info.nlhdr) }
    }

    /// Whether the sender has `CAP_SYS_ADMIN`.
    pub fn is_sys_admin(&self) -> bool {
        // SAFETY: The message is valid while the request is being handled.
        unsafe { bindings::netlink_capable(self.skb.as_ptr(), bindings::CAP_SYS_ADMIN as c_int) }
    }

    /// Answers the sender.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or the sender is gone.
    pub fn reply(&self, command: u8, header: [u8; HEADER], attributes: &[u8]) -> Result {
        let message = Message::new(attributes.len(), bindings::GFP_KERNEL)?;
        let family = self.info.family;
        // SAFETY: The family is the one that is handling the request.
        unsafe {
            message.fill(
                family,
                self.info.snd_portid,
                self.info.snd_seq,
                0,
                command,
                header,
                attributes,
            )?;
        }
        let skb = message.into_raw();
        // SAFETY: The reply takes the message; `info` is valid while the request is being handled.
        to_result(unsafe {
            bindings::kx_genlmsg_reply(skb, core::ptr::from_ref(self.info).cast_mut())
        })
    }
}

/// A dump in progress.
pub struct Dump<'a> {
    skb: NonNull<bindings::sk_buff>,
    callback: &'a mut bindings::netlink_callback,
}

impl Dump<'_> {
    /// The command that asked for it.
    pub fn command(&self) -> u8 {
        // SAFETY: The header is valid while the dump goes on; a generic netlink message has its header there.
        unsafe { *self.callback.nlh.cast::<u8>().add(NETLINK_HEADER) }
    }

    /// The family's header of the request.
    pub fn header(&self) -> [u8; HEADER] {
        split(self.bytes()).0
    }

    /// The attributes of the request.
    pub fn attributes(&self) -> &[u8] {
        split(self.bytes()).1
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: The request is kept while the dump goes on.
        unsafe { payload(self.callback.nlh) }
    }

    /// Whether the sender has `CAP_SYS_ADMIN`.
    pub fn is_sys_admin(&self) -> bool {
        // SAFETY: The request is kept while the dump goes on.
        unsafe { bindings::netlink_capable(self.callback.skb, bindings::CAP_SYS_ADMIN as c_int) }
    }

    /// Where the dump is: zero at first, kept from call to call.
    pub fn cursor(&mut self) -> &mut [i64; 6] {
        // SAFETY: The union's two views have the same size and any bytes are valid; generic netlink leaves it to us.
        unsafe { &mut *(&raw mut self.callback.__bindgen_anon_1.args).cast() }
    }

    /// Adds a message; `multi` sets `NLM_F_MULTI`, `from_kernel` hides who asked.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE`: no room any more; go on in the next call.
    pub fn put(
        &mut self,
        command: u8,
        header: [u8; HEADER],
        attributes: &[u8],
        multi: bool,
        from_kernel: bool,
    ) -> Result {
        // SAFETY: The callback's data are the dump's info, as generic netlink sets them.
        let family = unsafe {
            (*self.callback.data.cast::<bindings::genl_dumpit_info>())
                .info
                .family
        };
        let flags = if multi {
            bindings::NLM_F_MULTI as i32
        } else {
            0
        };
        // SAFETY: The request is kept while the dump goes on.
        let (portid, seq) = unsafe {
            (
                bindings::kx_netlink_portid(self.callback.skb),
                (*self.callback.nlh).nlmsg_seq,
            )
        };
        let portid = if from_kernel { 0 } else { portid };
        // SAFETY: The buffer is the dump's, the family the one that is dumping.
        unsafe {
            fill(
                self.skb, family, portid, seq, flags, command, header, attributes,
            )
        }
    }
}

/// The family's part of a message.
///
/// # Safety
///
/// `message` is a complete message of a generic netlink family, alive for `'a`.
unsafe fn payload<'a>(message: *const bindings::nlmsghdr) -> &'a [u8] {
    // SAFETY: The caller's promise.
    let length = unsafe { (*message).nlmsg_len } as usize;
    let length = length.saturating_sub(NETLINK_HEADER + GENL_HEADER);
    // SAFETY: `nlmsg_len` bytes are there, the headers among them.
    unsafe {
        core::slice::from_raw_parts(
            message.cast::<u8>().add(NETLINK_HEADER + GENL_HEADER),
            length,
        )
    }
}

fn split(bytes: &[u8]) -> ([u8; HEADER], &[u8]) {
    bytes
        .split_first_chunk()
        .map_or(([0; HEADER], &[]), |(header, rest)| (*header, rest))
}

/// Appends a message to a buffer.
///
/// # Safety
///
/// `skb` and `family` are alive, nobody else uses `skb`.
#[expect(clippy::too_many_arguments, reason = "the fields of a message")]
unsafe fn fill(
    skb: NonNull<bindings::sk_buff>,
    family: *const bindings::genl_family,
    portid: u32,
    seq: u32,
    flags: i32,
    command: u8,
    header: [u8; HEADER],
    attributes: &[u8],
) -> Result {
    let skb = skb.as_ptr();
    let needed = attributes
        .len()
        .saturating_add(NETLINK_HEADER + GENL_HEADER + HEADER);
    // SAFETY: The caller's promise; the room is checked before anything is put.
    unsafe {
        if (bindings::kx_skb_tailroom(skb) as usize) < needed {
            return Err(EMSGSIZE);
        }
        let start = bindings::genlmsg_put(skb, portid, seq, family, flags, command);
        let start = NonNull::new(start).ok_or(EMSGSIZE)?.as_ptr();
        core::ptr::copy_nonoverlapping(header.as_ptr(), start.cast(), HEADER);
        let tail = bindings::skb_put(skb, attributes.len() as u32);
        core::ptr::copy_nonoverlapping(attributes.as_ptr(), tail.cast(), attributes.len());
        bindings::kx_genlmsg_end(skb, start);
    }
    Ok(())
}

/// A message that is not sent yet.
struct Message(NonNull<bindings::sk_buff>);

impl Message {
    fn new(attributes: usize, gfp: bindings::gfp_t) -> Result<Self> {
        // SAFETY: Any size may be asked for.
        let skb = unsafe { bindings::kx_genlmsg_new(attributes.saturating_add(HEADER), gfp) };
        Ok(Self(NonNull::new(skb).ok_or(ENOMEM)?))
    }

    /// # Safety
    ///
    /// `family` is alive.
    #[expect(clippy::too_many_arguments, reason = "the fields of a message")]
    unsafe fn fill(
        &self,
        family: *const bindings::genl_family,
        portid: u32,
        seq: u32,
        flags: i32,
        command: u8,
        header: [u8; HEADER],
        attributes: &[u8],
    ) -> Result {
        // SAFETY: The buffer is ours alone; the caller's promise.
        unsafe {
            fill(
                self.0, family, portid, seq, flags, command, header, attributes,
            )
        }
    }

    fn into_raw(self) -> *mut bindings::sk_buff {
        let skb = self.0.as_ptr();
        core::mem::forget(self);
        skb
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: Never sent.
        unsafe { bindings::nlmsg_free(self.0.as_ptr()) };
    }
}

/// What the kernel keeps pointers to.
struct Tables {
    family: bindings::genl_family,
    ops: [bindings::genl_small_ops; MAX_OPS],
    group: bindings::genl_multicast_group,
}

/// A registered family; it is there until this is dropped, which waits for its handlers.
///
/// # Invariants
///
/// `tables` is registered and does not move.
pub struct Registration<F: Family> {
    tables: NonNull<Tables>,
    _family: PhantomData<fn(F)>,
}

// SAFETY: The kernel serialises what it does with a family.
unsafe impl<F: Family> Send for Registration<F> {}
// SAFETY: As above.
unsafe impl<F: Family> Sync for Registration<F> {}

impl<F: Family> Registration<F> {
    /// Registers the family. Sleeps.
    ///
    /// # Errors
    ///
    /// `EEXIST` when somebody has the name; `EINVAL` when a name or the list of commands is too long; `ENOMEM`.
    pub fn new() -> Result<Self> {
        let mut tables: KBox<Tables> = KBox::new(
            Tables {
                family: pin_init::zeroed(),
                ops: [pin_init::zeroed(); MAX_OPS],
                group: pin_init::zeroed(),
            },
            GFP_KERNEL,
        )?;
        if F::OPS.len() > MAX_OPS {
            return Err(EINVAL);
        }
        for (raw, op) in tables.ops.iter_mut().zip(F::OPS) {
            raw.cmd = op.command;
            raw.flags = if op.admin {
                bindings::GENL_ADMIN_PERM as u8
            } else {
                0
            };
            raw.doit = op.single.then_some(doit::<F>);
            raw.dumpit = op.dump.then_some(dumpit::<F>);
        }
        copy_name(&mut tables.family.name, F::NAME)?;
        copy_name(&mut tables.group.name, F::GROUP)?;
        let tables = NonNull::from(KBox::leak(tables));
        let ptr = tables.as_ptr();
        // SAFETY: The tables are alive until `drop` takes them back, and nobody else knows them yet.
        let registered = to_result(unsafe {
            let family = &mut (*ptr).family;
            family.hdrsize = HEADER as u32;
            family.version = F::VERSION;
            family.resv_start_op = MAX_RESERVED_OP;
            family.set_netnsok(1);
            family.set_parallel_ops(1);
            family.small_ops = (&raw const (*ptr).ops).cast();
            family.n_small_ops = F::OPS.len() as u8;
            family.mcgrps = &raw const (*ptr).group;
            family.n_mcgrps = 1;
            family.module = <F::Module as ModuleMetadata>::THIS_MODULE.as_ptr();
            bindings::genl_register_family(family)
        });
        if let Err(error) = registered {
            // SAFETY: Leaked above, and not registered.
            drop(unsafe { KBox::from_raw(ptr) });
            return Err(error);
        }
        // INVARIANT: Just registered.
        Ok(Self {
            tables,
            _family: PhantomData,
        })
    }

    /// Sends a message to everybody in the group. Process context; nobody listening is no error.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ENOBUFS` when a listener lost it.
    pub fn multicast(
        &self,
        command: u8,
        header: [u8; HEADER],
        attributes: &[u8],
        seq: u32,
    ) -> Result {
        let message = Message::new(attributes.len(), bindings::GFP_NOIO)?;
        // SAFETY: Registered by the type invariant.
        let family = unsafe { &raw const (*self.tables.as_ptr()).family };
        // SAFETY: As above.
        unsafe { message.fill(family, 0, seq, 0, command, header, attributes)? };
        // SAFETY: As above; the call takes the message.
        let sent = to_result(unsafe {
            bindings::kx_genlmsg_multicast(family, message.into_raw(), bindings::GFP_NOIO)
        });
        match sent {
            Err(error) if error == ESRCH => Ok(()),
            other => other,
        }
    }
}

/// Commands below this number are older than the rule that reserved header fields must be zero.
const MAX_RESERVED_OP: u8 = MAX_OPS as u8;

fn copy_name(to: &mut [c_char], name: &CStr) -> Result {
    let bytes = name.to_bytes_with_nul();
    let to = to.get_mut(..bytes.len()).ok_or(EINVAL)?;
    for (to, from) in to.iter_mut().zip(bytes) {
        *to = *from as c_char;
    }
    Ok(())
}

impl<F: Family> Drop for Registration<F> {
    fn drop(&mut self) {
        // SAFETY: Registered and leaked by `new`; after the call no handler runs and nobody knows the tables.
        unsafe {
            bindings::genl_unregister_family(&raw const (*self.tables.as_ptr()).family);
            drop(KBox::from_raw(self.tables.as_ptr()));
        }
    }
}

/// # Safety
///
/// Called by generic netlink with a request for a family of ours.
unsafe extern "C" fn doit<F: Family>(
    skb: *mut bindings::sk_buff,
    info: *mut bindings::genl_info,
) -> c_int {
    let Some(skb) = NonNull::new(skb) else {
        return EINVAL.to_errno();
    };
    // SAFETY: Valid during the call.
    let info = unsafe { &*info };
    let request = Request { skb, info };
    match F::request(&request) {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// # Safety
///
/// Called by generic netlink with a dump of a family of ours.
unsafe extern "C" fn dumpit<F: Family>(
    skb: *mut bindings::sk_buff,
    callback: *mut bindings::netlink_callback,
) -> c_int {
    let Some(skb) = NonNull::new(skb) else {
        return EINVAL.to_errno();
    };
    // SAFETY: Valid and ours during the call.
    let callback = unsafe { &mut *callback };
    let mut dump = Dump { skb, callback };
    match F::dump(&mut dump) {
        // SAFETY: The buffer is ours during the call.
        Ok(()) => unsafe { (*skb.as_ptr()).len as c_int },
        Err(error) => error.to_errno(),
    }
}
