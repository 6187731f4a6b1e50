// SPDX-License-Identifier: GPL-2.0-only

//! The family `drbd`, version 1: header, commands, which nest goes with which command, and the strict reading of a
//! request. The kernel's policies and the client's tables are both this file.

use super::conf::{DiskConf, NetConf, ResourceOpts};
use super::info::{
    ConnectionInfo, ConnectionStatistics, DeviceInfo, DeviceStatistics, HelperInfo,
    NotificationHeader, PeerDeviceInfo, PeerDeviceStatistics, ResourceInfo, ResourceStatistics,
    StateInfo,
};
use super::nest::Nest;
use super::nlattr::Reader;
use super::parms::{
    CfgContext, CfgReply, DetachParms, DisconnectParms, NewCUuidParms, ResizeParms, SetRoleParms,
    StartOvParms, TimeoutParms,
};

/// Name of the generic netlink family.
pub const FAMILY: &str = "drbd";
/// Version of the API.
pub const VERSION: u8 = 1;
/// The multicast group of state changes.
pub const GROUP: &str = "events";
/// Bytes of the header behind the generic netlink header.
pub const HEADER_SIZE: usize = 8;
/// `Header::minor` of a message that is not about a minor.
pub const NO_MINOR: u32 = u32::MAX;
/// `Header::value` of a request: what is not mentioned goes back to its default.
pub const SET_DEFAULTS: u32 = 1;

/// The header of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which minor, or `NO_MINOR`.
    pub minor: u32,
    /// Flags of a request; return code of a reply.
    pub value: u32,
}

impl Header {
    /// A request's header.
    pub const fn request(minor: u32, flags: u32) -> Self {
        Self {
            minor,
            value: flags,
        }
    }

    /// A reply's header.
    pub const fn reply(minor: u32, ret_code: i32) -> Self {
        Self {
            minor,
            value: u32::from_ne_bytes(ret_code.to_ne_bytes()),
        }
    }

    /// The return code in a reply.
    pub const fn ret_code(self) -> i32 {
        i32::from_ne_bytes(self.value.to_ne_bytes())
    }

    /// Takes the header off the front of a message's payload; the rest is attributes.
    pub fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (minor, rest) = bytes.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_first_chunk::<4>()?;
        let header = Self {
            minor: u32::from_ne_bytes(*minor),
            value: u32::from_ne_bytes(*value),
        };
        Some((header, rest))
    }

    /// The bytes of the header.
    pub fn emit(self) -> [u8; HEADER_SIZE] {
        let [a, b, c, d] = self.minor.to_ne_bytes();
        let [e, f, g, h] = self.value.to_ne_bytes();
        [a, b, c, d, e, f, g, h]
    }
}

/// Which object a command addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nothing, or what the optional resource name in the context says.
    All,
    /// The minor in the header.
    Minor,
    /// The resource in the context.
    Resource,
    /// The pair of addresses in the context.
    Connection,
    /// Nobody sends it to the kernel.
    Notification,
}

/// One command of the family.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    /// Which.
    pub command: Command,
    /// What it is about.
    pub target: Target,
    /// Only with CAP_NET_ADMIN.
    pub admin: bool,
    /// Answers one request with one reply.
    pub single: bool,
    /// Answers a dump.
    pub dump: bool,
    /// The nest with its arguments, beside the context.
    pub nest: Option<&'static Nest>,
}

macro_rules! commands {
    ($( $(#[$doc:meta])* $command:ident = $nr:literal, $target:ident, $access:ident, $mode:ident $(, $nest:ident)?; )+) => {
        /// The commands, by their numbers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Command {
            $( $(#[$doc])* $command = $nr, )+
        }

        impl Command {
            /// From the number in the generic netlink header.
            pub const fn from_wire(nr: u8) -> Option<Self> {
                match nr {
                    $( $nr => Some(Command::$command), )+
                    _ => None,
                }
            }

            /// What there is to know about it.
            pub const fn op(self) -> &'static Op {
                match self {
                    $( Command::$command => const {
                        &Op {
                            command: Command::$command,
                            target: Target::$target,
                            admin: commands!(@access $access),
                            single: commands!(@single $mode),
                            dump: commands!(@dump $mode),
                            nest: commands!(@nest $($nest)?),
                        }
                    }, )+
                }
            }

            /// All of them, by number.
            pub const ALL: &'static [Command] = &[$( Command::$command ),+];
        }
    };
    (@access admin) => { true };
    (@access anyone) => { false };
    (@single single) => { true };
    (@single both) => { true };
    (@single $other:ident) => { false };
    (@dump dump) => { true };
    (@dump both) => { true };
    (@dump $other:ident) => { false };
    (@nest) => { None };
    (@nest $nest:ident) => { Some(&$nest::NEST) };
}

commands! {
    /// Multicast: the old events.
    Event = 1, Notification, anyone, multicast;
    /// State and configuration of a minor, or of all.
    GetStatus = 2, Minor, anyone, both;
    /// Adds a volume to a resource.
    NewMinor = 5, Resource, admin, single;
    /// Removes a volume.
    DelMinor = 6, Minor, admin, single;
    /// Adds a resource.
    NewResource = 7, Resource, admin, single, ResourceOpts;
    /// Removes an empty resource.
    DelResource = 8, Resource, admin, single;
    /// Changes a resource's options.
    ResourceOpts = 9, Resource, admin, single, ResourceOpts;
    /// Configures the connection.
    Connect = 10, Connection, admin, single, NetConf;
    /// Removes the connection.
    Disconnect = 11, Connection, admin, single, DisconnectParms;
    /// Gives a volume its disk.
    Attach = 12, Minor, admin, single, DiskConf;
    /// Adapts to a disk's new size.
    Resize = 13, Minor, admin, single, ResizeParms;
    /// Becomes primary.
    Primary = 14, Minor, admin, single, SetRoleParms;
    /// Becomes secondary.
    Secondary = 15, Minor, admin, single, SetRoleParms;
    /// Starts a new data generation.
    NewCUuid = 16, Minor, admin, single, NewCUuidParms;
    /// Starts an online verify.
    StartOv = 17, Minor, admin, single, StartOvParms;
    /// Takes the disk away.
    Detach = 18, Minor, admin, single, DetachParms;
    /// Resyncs from the peer in full.
    Invalidate = 19, Minor, admin, single;
    /// Resyncs to the peer in full.
    InvalPeer = 20, Minor, admin, single;
    /// Pauses the resync.
    PauseSync = 21, Minor, admin, single;
    /// Lets it go on.
    ResumeSync = 22, Minor, admin, single;
    /// Freezes I/O.
    SuspendIo = 23, Minor, admin, single;
    /// Thaws it.
    ResumeIo = 24, Minor, admin, single;
    /// Marks our data as outdated.
    Outdate = 25, Minor, admin, single;
    /// Which of the `wfc` timeouts applies.
    GetTimeoutType = 26, Minor, admin, single;
    /// Removes a resource with all that it has.
    Down = 27, Resource, admin, single;
    /// Changes a disk's options.
    ChgDiskOpts = 28, Minor, admin, single, DiskConf;
    /// Changes a connection's options.
    ChgNetOpts = 29, Connection, admin, single, NetConf;
    /// Lists resources.
    GetResources = 30, All, anyone, dump;
    /// Lists volumes.
    GetDevices = 31, All, anyone, dump;
    /// Lists connections.
    GetConnections = 32, All, anyone, dump;
    /// Lists volumes on peers.
    GetPeerDevices = 33, All, anyone, dump;
    /// Multicast: a resource.
    ResourceState = 34, Notification, anyone, multicast;
    /// Multicast: a volume.
    DeviceState = 35, Notification, anyone, multicast;
    /// Multicast: a connection.
    ConnectionState = 36, Notification, anyone, multicast;
    /// Multicast: a volume on a peer.
    PeerDeviceState = 37, Notification, anyone, multicast;
    /// Everything that exists, as notifications.
    GetInitialState = 38, All, anyone, dump;
    /// Multicast: a handler.
    Helper = 40, Notification, anyone, multicast;
    /// The end of the answer to `GetInitialState`.
    InitialStateDone = 41, Notification, anyone, multicast;
}

/// Every nest of the family, by number.
pub const NESTS: &[Nest] = &[
    CfgReply::NEST,
    CfgContext::NEST,
    DiskConf::NEST,
    ResourceOpts::NEST,
    NetConf::NEST,
    SetRoleParms::NEST,
    ResizeParms::NEST,
    StateInfo::NEST,
    StartOvParms::NEST,
    NewCUuidParms::NEST,
    TimeoutParms::NEST,
    DisconnectParms::NEST,
    DetachParms::NEST,
    ResourceInfo::NEST,
    DeviceInfo::NEST,
    ConnectionInfo::NEST,
    PeerDeviceInfo::NEST,
    ResourceStatistics::NEST,
    DeviceStatistics::NEST,
    ConnectionStatistics::NEST,
    PeerDeviceStatistics::NEST,
    NotificationHeader::NEST,
    HelperInfo::NEST,
];

/// A request that does not follow the schema: -EINVAL, before any command looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// The bytes are no sequence of attributes.
    Malformed,
    /// A top-level attribute that this command does not take.
    Nest {
        /// Its number.
        nr: u16,
    },
    /// An attribute that its nest does not have, or whose bytes do not fit its type.
    Attribute {
        /// The nest's number.
        nest: u16,
        /// The attribute's.
        nr: u16,
    },
}

/// A request's attributes, every one of them known to the command and of the right type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// Bytes of the context, verbatim, without its own header.
    pub context_bytes: Option<&'a [u8]>,
    /// The whole context attribute as it came: what a reply echoes.
    pub context: CfgContext,
    /// Bytes of the command's own nest.
    pub arguments: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Reads the attributes behind the header.
    pub fn parse(command: Command, attributes: &'a [u8]) -> Result<Self, Invalid> {
        let mut request = Request::default();
        for attribute in Reader::new(attributes) {
            let attribute = attribute.map_err(|_| Invalid::Malformed)?;
            let nest = match command.op().nest {
                Some(nest) if nest.nr == attribute.nr => nest,
                _ if attribute.nr == CfgContext::NEST.nr => &CfgContext::NEST,
                _ => return Err(Invalid::Nest { nr: attribute.nr }),
            };
            check(nest, attribute.payload)?;
            if nest.nr == CfgContext::NEST.nr {
                request.context_bytes = Some(attribute.payload);
                request.context =
                    CfgContext::parse(attribute.payload).map_err(|_| Invalid::Malformed)?;
            } else {
                request.arguments = Some(attribute.payload);
            }
        }
        Ok(request)
    }

    /// The command's own nest; no bytes where there was none.
    pub fn arguments(&self) -> &'a [u8] {
        self.arguments.unwrap_or(&[])
    }
}

fn check(nest: &'static Nest, bytes: &[u8]) -> Result<(), Invalid> {
    for attribute in Reader::new(bytes) {
        let attribute = attribute.map_err(|_| Invalid::Malformed)?;
        let fits = nest
            .attr(attribute.nr)
            .is_some_and(|attr| attr.admits(attribute.payload));
        if !fits {
            return Err(Invalid::Attribute {
                nest: nest.nr,
                nr: attribute.nr,
            });
        }
    }
    Ok(())
}
