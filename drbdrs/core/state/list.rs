// SPDX-License-Identifier: GPL-2.0-only

//! A list with room for a fixed number of small items; what does not fit is dropped and noted.

/// Up to `N` items, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List<T, const N: usize> {
    items: [Option<T>; N],
    len: usize,
    overflowed: bool,
}

impl<T: Copy, const N: usize> List<T, N> {
    /// Without items.
    pub const fn new() -> Self {
        Self {
            items: [None; N],
            len: 0,
            overflowed: false,
        }
    }

    /// Appends an item.
    pub fn push(&mut self, item: T) {
        match self.items.get_mut(self.len) {
            Some(slot) => {
                *slot = Some(item);
                self.len = self.len.saturating_add(1);
            }
            None => self.overflowed = true,
        }
    }

    /// Appends an item if `yes`.
    pub fn push_if(&mut self, yes: bool, item: T) {
        if yes {
            self.push(item);
        }
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.items.iter().flatten().copied()
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No items?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Did an item not fit? The tests show that it cannot happen.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }
}

impl<T: Copy + PartialEq, const N: usize> List<T, N> {
    /// Is the item in the list?
    pub fn contains(&self, item: T) -> bool {
        self.iter().any(|i| i == item)
    }
}

impl<T: Copy, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::List;

    #[test]
    fn keeps_order_and_notes_what_does_not_fit() {
        let mut list: List<u8, 2> = List::new();
        assert!(list.is_empty());
        list.push(3);
        list.push_if(false, 9);
        list.push_if(true, 1);
        assert_eq!(list.iter().collect::<Vec<_>>(), [3, 1]);
        assert!(list.contains(1) && !list.contains(9) && !list.overflowed());
        list.push(7);
        assert!(list.overflowed());
        assert_eq!(list.len(), 2);
    }
}
