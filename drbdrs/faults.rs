// SPDX-License-Identifier: GPL-2.0-only

//! Faults on purpose: the parameters `enable_faults`, `fault_rate`, `fault_devs` and `fault_count` of the module. Off
//! unless they are set.

use crate::prelude::*;
use drbd_core::{
    faults::{Fault, FaultRules},
    request::{Kind, Request},
};
use kernel_ext::{params, time};

fn rules() -> FaultRules {
    let [enabled, rate, devices] = params::faults();
    FaultRules {
        enabled,
        rate,
        devices,
    }
}

/// Whether nothing can fail on purpose: the usual case, and cheap to know.
pub(crate) fn is_off() -> bool {
    rules().is_off()
}

/// Whether this I/O of a device is to fail. Any context.
pub(crate) fn strikes(minor: u32, fault: Fault) -> bool {
    let rules = rules();
    if rules.is_off() || !rules.strikes(fault, minor, time::random_u64()) {
        return false;
    }
    params::count_fault();
    pr_warn!("drbd{}: ***Simulating {} failure\n", minor, fault.name());
    true
}

/// What an application's I/O on our disk is.
pub(crate) fn of_application(request: &Request) -> Fault {
    match request.kind {
        Kind::Read if request.retry => Fault::DataRead,
        Kind::Read => Fault::ReadAhead,
        Kind::Write | Kind::Discard | Kind::Zeroes | Kind::Flush => Fault::DataWrite,
    }
}
