// SPDX-License-Identifier: GPL-2.0-only

//! DRBD itself, without a kernel: no allocation, no clock, no log, no randomness.
#![forbid(unsafe_code)]
#![cfg_attr(not(any(test, CONFIG_RUST)), no_std)]

pub mod activity_log;
pub mod bitmap;
pub mod config;
pub mod congestion;
pub mod deallocate;
pub mod epoch;
pub mod faults;
pub mod handshake;
pub mod interval;
pub mod meta;
pub mod peer_request;
pub mod proc_text;
pub mod read_balance;
pub mod request;
pub mod resync;
pub mod state;
pub mod trace;
pub mod transaction;
pub mod types;
pub mod uuid;
pub mod wire;
pub mod write_order;
