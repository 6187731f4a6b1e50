// SPDX-License-Identifier: GPL-2.0-only

//! Every directive of ietd.conf, and what becomes of it.

/// What a value has to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// `Yes` or `No`.
    Bool,
    /// A number in this range.
    Number(u32, u32),
    /// `CRC32C`, `None`, or both with a comma.
    Digest,
    /// The rest of the line.
    Text,
}

/// What LIO has for a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Becomes {
    /// A negotiated parameter: `tpgt_1/param/NAME`.
    Parameter,
    /// An attribute of the portal group: `tpgt_1/attrib/NAME`.
    Attribute(&'static str),
    /// An attribute of each initiator's access list.
    AclAttribute(&'static str),
    /// A user that initiators name themselves by.
    IncomingUser,
    /// A user that the target names itself by.
    OutgoingUser,
    /// A logical unit.
    Lun,
    /// `param/TargetAlias`.
    Alias,
    /// Starts a target.
    Target,
    /// Nothing: it is dropped, for this reason, unless it has this value, which asks for nothing.
    Nothing(&'static str, &'static str),
    /// Nothing that would do: the configuration is refused, with this reason, unless it has this value.
    Refused(&'static str, &'static str),
}

/// One directive.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As IET's manual writes it. Compared without regard to case, as ietd does.
    pub name: &'static str,
    /// Its value.
    pub value: Value,
    /// What becomes of it.
    pub becomes: Becomes,
    /// It may stand in front of the first target.
    pub global: bool,
    /// It may stand in a target.
    pub target: bool,
}

const fn parameter(name: &'static str, value: Value) -> Key {
    Key {
        name,
        value,
        becomes: Becomes::Parameter,
        global: false,
        target: true,
    }
}

const fn other(name: &'static str, value: Value, becomes: Becomes) -> Key {
    Key {
        becomes,
        ..parameter(name, value)
    }
}

const fn anywhere(name: &'static str, becomes: Becomes) -> Key {
    Key {
        global: true,
        ..other(name, Value::Text, becomes)
    }
}

const fn global(name: &'static str, value: Value, becomes: Becomes) -> Key {
    Key {
        global: true,
        target: false,
        ..other(name, value, becomes)
    }
}

const MARKERS: &str = "RFC 7143 took markers out of iSCSI and the kernel's target has none";
const ONE_CONNECTION: &str =
    "the connections of one session must end in one node, and the two paths are two sessions";

/// All of them, in the order of the manual.
pub const KEYS: &[Key] = &[
    other("Target", Value::Text, Becomes::Target),
    anywhere("IncomingUser", Becomes::IncomingUser),
    anywhere("OutgoingUser", Becomes::OutgoingUser),
    global(
        "iSNSServer",
        Value::Text,
        Becomes::Nothing(
            "",
            "the kernel's target does not register with iSNS; give initiators the addresses of both nodes",
        ),
    ),
    global(
        "iSNSAccessControl",
        Value::Bool,
        Becomes::Nothing("No", "the kernel's target does not ask iSNS who may log in"),
    ),
    other("Lun", Value::Text, Becomes::Lun),
    other("Alias", Value::Text, Becomes::Alias),
    other("HeaderDigest", Value::Digest, Becomes::Parameter),
    other("DataDigest", Value::Digest, Becomes::Parameter),
    other(
        "MaxConnections",
        Value::Number(1, 65535),
        Becomes::Refused("1", ONE_CONNECTION),
    ),
    other(
        "MaxSessions",
        Value::Number(0, 65535),
        Becomes::Nothing("0", "the kernel's target does not limit the number of sessions"),
    ),
    parameter("InitialR2T", Value::Bool),
    parameter("ImmediateData", Value::Bool),
    parameter("MaxRecvDataSegmentLength", Value::Number(512, 16_777_215)),
    parameter("MaxXmitDataSegmentLength", Value::Number(512, 16_777_215)),
    parameter("MaxBurstLength", Value::Number(512, 16_777_215)),
    parameter("FirstBurstLength", Value::Number(512, 16_777_215)),
    parameter("DefaultTime2Wait", Value::Number(0, 3600)),
    parameter("DefaultTime2Retain", Value::Number(0, 3600)),
    parameter("MaxOutstandingR2T", Value::Number(1, 65535)),
    parameter("DataPDUInOrder", Value::Bool),
    parameter("DataSequenceInOrder", Value::Bool),
    parameter("ErrorRecoveryLevel", Value::Number(0, 2)),
    other("IFMarker", Value::Bool, Becomes::Nothing("No", MARKERS)),
    other("OFMarker", Value::Bool, Becomes::Nothing("No", MARKERS)),
    other(
        "IFMarkInt",
        Value::Number(1, 65535),
        Becomes::Nothing("", MARKERS),
    ),
    other(
        "OFMarkInt",
        Value::Number(1, 65535),
        Becomes::Nothing("", MARKERS),
    ),
    other(
        "NOPInterval",
        Value::Number(0, 90),
        Becomes::AclAttribute("nopin_timeout"),
    ),
    other(
        "NOPTimeout",
        Value::Number(0, 90),
        Becomes::AclAttribute("nopin_response_timeout"),
    ),
    other(
        "QueuedCommands",
        Value::Number(1, 256),
        Becomes::Attribute("default_cmdsn_depth"),
    ),
    other(
        "Wthreads",
        Value::Number(1, 128),
        Becomes::Nothing("", "the kernel's target has no threads of its own for I/O"),
    ),
    other(
        "Type",
        Value::Number(0, 1),
        Becomes::Nothing("0", "the kernel's target has one kind of logical unit, a disk"),
    ),
];

/// The directive with that name.
pub fn find(word: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name.eq_ignore_ascii_case(word))
}
