// SPDX-License-Identifier: GPL-2.0-only

//! A first-in first-out queue of fixed capacity: all memory is got when it is made.

use crate::prelude::*;

/// See the module's description.
pub(crate) struct Ring<T> {
    slots: KVVec<Option<T>>,
    head: usize,
    len: usize,
}

impl<T> Ring<T> {
    /// An empty queue for `capacity` elements. May sleep.
    pub(crate) fn new(capacity: usize) -> Result<Self> {
        let mut slots = KVVec::with_capacity(capacity, GFP_KERNEL)?;
        for _ in 0..capacity {
            slots.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            slots,
            head: 0,
            len: 0,
        })
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }

    /// Adds an element at the end; it comes back when there is no room.
    pub(crate) fn push(&mut self, element: T) -> Result<(), T> {
        let capacity = self.slots.len();
        if self.len >= capacity {
            return Err(element);
        }
        let mut at = self.head.wrapping_add(self.len);
        if at >= capacity {
            at = at.wrapping_sub(capacity);
        }
        match self.slots.get_mut(at) {
            Some(slot) => {
                *slot = Some(element);
                self.len = self.len.wrapping_add(1);
                Ok(())
            }
            None => Err(element),
        }
    }

    /// Takes the oldest element.
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        let element = self.slots.get_mut(self.head)?.take();
        self.len = self.len.wrapping_sub(1);
        self.head = self.head.wrapping_add(1);
        if self.head >= self.slots.len() {
            self.head = 0;
        }
        element
    }
}
