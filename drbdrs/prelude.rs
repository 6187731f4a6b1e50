// SPDX-License-Identifier: GPL-2.0-only

//! What nearly every file of the shell uses.

pub(crate) use crate::flags::{VolFlag, VolFlags};
pub(crate) use crate::tag::Shown;
pub(crate) use kernel::{
    alloc::AllocError,
    new_mutex,
    prelude::*,
    str::CString,
    sync::{Arc, Mutex},
};
pub(crate) use kernel_ext::sync::{new_irq_lock, new_wait_queue, IrqLock, WaitQueue};
