// SPDX-License-Identifier: GPL-2.0-only

//! What an ietd.conf says, as data.

use drbd_config::source::Span;

/// A whole file.
#[derive(Clone, Debug, Default)]
pub struct Ietd {
    /// Who may ask which targets there are.
    pub discovery: Auth,
    /// The targets.
    pub targets: Vec<Target>,
    /// Where passwords stand: they are not to be shown.
    pub secrets: Vec<Span>,
}

/// CHAP.
#[derive(Clone, Debug, Default)]
pub struct Auth {
    /// Users that initiators may be.
    pub incoming: Vec<User>,
    /// The user that the target is.
    pub outgoing: Option<User>,
}

/// A user and its password.
#[derive(Clone, Debug)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
    /// Where.
    pub span: Span,
}

/// One target.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its iSCSI qualified name.
    pub iqn: String,
    /// Where the name stands.
    pub span: Span,
    /// Its alias.
    pub alias: Option<String>,
    /// Who may log in.
    pub auth: Auth,
    /// Its logical units.
    pub luns: Vec<Lun>,
    /// `param/NAME = value`.
    pub parameters: Vec<Setting>,
    /// `attrib/NAME = value`.
    pub attributes: Vec<Setting>,
    /// `acls/*/attrib/NAME = value`.
    pub acl_attributes: Vec<Setting>,
    /// A unit of it could not be read.
    pub unread: bool,
}

/// A value for a name that LIO has.
#[derive(Clone, Debug)]
pub struct Setting {
    /// LIO's name.
    pub name: &'static str,
    /// The value as LIO takes it.
    pub value: String,
    /// Where.
    pub span: Span,
}

/// What is behind a logical unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Through the page cache.
    FileIo,
    /// Straight to a block device.
    BlockIo,
    /// Nothing.
    NullIo,
}

/// One logical unit.
#[derive(Clone, Debug)]
pub struct Lun {
    /// Its number.
    pub number: u32,
    /// Where the number stands.
    pub span: Span,
    /// What is behind it, and where that is written.
    pub kind: (Kind, Span),
    /// The device or the file.
    pub path: Option<(String, Span)>,
    /// Nobody may write.
    pub read_only: bool,
    /// Writes are complete when they are in memory.
    pub write_back: Option<Span>,
    /// What the initiator reads as serial number (page 0x80).
    pub serial: Option<(String, Span)>,
    /// What IET puts into the device identification (page 0x83).
    pub id: Option<(String, Span)>,
    /// Bytes of a block.
    pub block_size: Option<(u32, Span)>,
    /// Blocks of a unit without anything behind it.
    pub blocks: Option<u64>,
    /// An option could not be read: what is missing may have been meant there.
    pub unread: bool,
}

impl Lun {
    /// Where an option's value stands; the unit's number, if it was not written.
    pub fn place_of(&self, option: Option<&(String, Span)>) -> Span {
        option.map_or(self.span, |(_, span)| *span)
    }
}
