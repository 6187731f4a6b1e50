// SPDX-License-Identifier: GPL-2.0-only

//! Options and the netlink schema: one table with two users, the kernel module and the tools.
//!
//! ```text
//!   table    what an attribute is: number, name, type, range, default, unit
//!   choices  the options whose value is a word
//!   nest     a struct whose fields are attributes; the macro that makes struct and table from the same rows
//!   conf     disk, net and resource options      parms  operands of commands      info  what the kernel reports
//!   schema   the family: header, commands, which nest goes with which command, strict reading of a request
//!   nlattr   attributes over byte slices         text   strings without an allocator
//! ```
//!
//! To add an option, add a row in `conf`; the kernel's policy, the parser, `--help` and `show` follow.

pub mod choices;
pub mod conf;
pub mod info;
pub mod nest;
pub mod nlattr;
pub mod parms;
pub mod schema;
pub mod table;
pub mod text;

#[cfg(test)]
mod tests;

pub use conf::{DiskConf, NetConf, ResourceOpts};
pub use nest::{Nest, Nested, Refusal, Secrets};
pub use parms::CfgContext;
pub use schema::{Command, Header, Request};
pub use table::{Attr, BadValue, Kind, Value};
