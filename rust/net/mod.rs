// SPDX-License-Identifier: GPL-2.0-only

//! The network: a generic netlink family, and TCP.

pub mod genl;
