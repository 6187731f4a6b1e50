// SPDX-License-Identifier: GPL-2.0-only

//! The last decisions of a resource, kept so that they can be made again elsewhere (`drbd/trace` in debugfs).

use crate::prelude::*;
use drbd_core::trace::{Kind, Record};
use kernel_ext::time;

/// How many decisions of a resource are kept.
const RING: usize = 512;

/// A decision that was made.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// Its number, from 1.
    pub(crate) serial: u64,
    /// When, in milliseconds since the machine was started.
    pub(crate) ms: u64,
    /// About which volume.
    pub(crate) vnr: u16,
    /// What.
    pub(crate) record: Record,
}

/// The last decisions.
#[pin_data]
pub(crate) struct Trace {
    #[pin]
    ring: IrqLock<Ring>,
}

struct Ring {
    entries: KVVec<Entry>,
    last: u64,
}

fn place(serial: u64) -> usize {
    (serial % RING as u64) as usize
}

impl Trace {
    /// Nothing was decided yet.
    pub(crate) fn new() -> Result<impl PinInit<Self>> {
        let empty = Entry {
            serial: 0,
            ms: 0,
            vnr: 0,
            record: Record::EMPTY,
        };
        let entries = KVVec::from_elem(empty, RING, GFP_KERNEL)?;
        let ring = Ring { entries, last: 0 };
        Ok(pin_init!(Self { ring <- new_irq_lock!(ring) }))
    }

    /// Notes a decision about volume `vnr`. From any context.
    pub(crate) fn note(&self, vnr: u16, kind: Kind, question: &[u64], answer: u64) {
        let mut ring = self.ring.lock();
        let serial = ring.last.wrapping_add(1);
        ring.last = serial;
        if let Some(entry) = ring.entries.get_mut(place(serial)) {
            (entry.serial, entry.ms, entry.vnr) = (serial, time::now_ms(), vnr);
            entry.record.set(kind, question, answer);
        }
    }

    /// The oldest that is kept of those after `serial`.
    pub(crate) fn after(&self, serial: u64) -> Option<Entry> {
        let ring = self.ring.lock();
        let kept = ring.last.saturating_sub(RING as u64);
        let wanted = serial.max(kept).wrapping_add(1);
        if wanted > ring.last {
            return None;
        }
        ring.entries.get(place(wanted)).copied()
    }
}
