// SPDX-License-Identifier: GPL-2.0-only

//! A whole cluster in one process. The core that the module links decides; disks, network, clock, applications and
//! administrators are drawn from a seed.

pub mod admin;
pub mod disk;
pub mod io;
pub mod link;
pub mod node;
pub mod oracle;
pub mod peer;
pub mod rng;
pub mod worker;
pub mod world;
