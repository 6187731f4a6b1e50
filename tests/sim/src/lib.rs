// SPDX-License-Identifier: GPL-2.0-only

//! A whole cluster in one process. The core that the module links decides; disks, network, clock, applications and
//! administrators are drawn from a seed.

#[macro_use]
extern crate drbd_say;

pub mod acks;
pub mod activity;
pub mod admin;
mod checks;
pub mod disk;
pub mod handshake;
pub mod io;
pub mod link;
mod luck;
pub mod metadata;
pub mod mutations;
pub mod node;
pub mod oracle;
pub mod peer_data;
pub mod progress;
pub mod receiver;
pub mod replay;
mod resize;
pub mod rng;
mod subset;
mod users;
mod verify;
pub mod worker;
pub mod world;
