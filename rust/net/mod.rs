// SPDX-License-Identifier: GPL-2.0-only

//! The network: a generic netlink family, and TCP.

mod address;
pub mod genl;
mod socket;

pub use address::SocketAddr;
pub use socket::{Listener, Priority, TcpStream};
