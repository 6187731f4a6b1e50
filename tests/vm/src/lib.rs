// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios on two real guests, in which each node loads either our module or the stock one.
//!
//! A scenario is a function over a [`Cluster`]; it is run in several [`Setup`]s: ours on both nodes, ours against the
//! stock driver in either role, with our tools or with the stock ones. The stock driver on both nodes is the control:
//! it shows that a scenario asks for what DRBD does.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[macro_use]
extern crate drbd_say;

pub mod acks;
pub mod cluster;
pub mod crash_points;
pub mod initiator;
pub mod proc_drbd;
pub mod runner;
pub mod scenarios;
pub mod stall;

pub use cluster::{Cluster, Config, Module, Setup, Tools};
pub use drbd_lab::{Error, Result};
