// SPDX-License-Identifier: GPL-2.0-only

//! A lab of QEMU nodes on stock Debian kernels, for tests, the demonstration and people who want to play.
//!
//! ```no_run
//! use drbd_lab::{Lab, LabConfig, PowerCut};
//!
//! let mut lab = Lab::start(LabConfig::pair(128 << 20))?;
//! lab.node(0).run(&["drbdadm", "--version"])?.success()?;
//! lab.network().cut(0, 1); // frames from n1 no longer reach n2
//! lab.network().heal_all();
//! lab.node_mut(1).power_cut(PowerCut::Drop)?; // what the disk was not asked to flush is gone
//! lab.node_mut(1).start()?;
//! lab.check_consoles(&[])?; // no BUG, WARNING, hung task, KFENCE or slab report
//! # Ok::<(), drbd_lab::Error>(())
//! ```
//!
//! How it is made: every node is a QEMU process that connects to unix sockets of this process, for its network link
//! ([`switch`]), its disks ([`nbd`], [`disk`]), its console ([`console`]), its monitor ([`qmp`]) and the agent that
//! runs commands in it ([`agent`]). So this process sees and controls all that a node says, sends and writes, and a
//! node can be killed and started again at any time. Nothing uses a fixed port or a fixed path: labs do not disturb
//! each other. Nothing outlives the process: QEMU dies with it.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod agent;
pub mod console;
pub mod disk;
mod error;
pub mod frame;
pub mod image;
mod lab;
pub mod nbd;
mod node;
pub mod process;
pub mod qmp;
pub mod record;
mod socket;
pub mod switch;
mod wait;

pub use agent::{Input, Output, Process};
pub use disk::{Disk, Fault, Lot, PowerCut};
pub use error::{Error, Result};
pub use lab::{Bus, DiskBack, DiskSpec, Lab, LabConfig, NodeConfig};
pub use node::Node;
pub use switch::Switch;
pub use wait::{deadline, until};
