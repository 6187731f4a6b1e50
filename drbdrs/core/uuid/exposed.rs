// SPDX-License-Identifier: GPL-2.0-only

//! The generation that the application has seen, and the disk that a Primary without one may go on with.

use super::set::Generation;
use crate::types::{Role, State, Uuid};

/// A generation that began, and that the disk may not know of: its superblock was not written since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unstored {
    /// The generation.
    pub exposed: Uuid,
    /// What the superblock on disk has instead.
    pub stored: Uuid,
    /// Which disk it is.
    pub device: u64,
}

/// What a disk is to those who have seen a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continues {
    /// It has that generation, or nothing was seen, or nobody works with the data.
    Yes,
    /// It failed before it could be told of the generation, and has all that was written in it: it must be told now.
    Unaware,
    /// It has other data.
    No,
}

/// Compares the generation that was `exposed` with the one `found` on a disk. 8.4 knows no [`Continues::Unaware`]: a
/// Primary whose peer and whose disk failed in one moment cannot attach that disk again.
pub fn continues(
    state: &State,
    exposed: Uuid,
    unstored: Option<&Unstored>,
    found: Uuid,
    device: u64,
) -> Continues {
    let same = |a: Uuid, b: Uuid| a.unmarked() == b.unmarked();
    let in_use = state.role == Role::Primary || state.peer == Role::Primary;
    if !in_use || exposed.is_zero() || same(exposed, found) {
        return Continues::Yes;
    }
    let unaware = unstored.is_some_and(|unstored| {
        same(unstored.exposed, exposed) && same(unstored.stored, found) && unstored.device == device
    });
    if unaware {
        Continues::Unaware
    } else {
        Continues::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Uuid = Uuid(0x100);
    const NEW: Uuid = Uuid(0x201);
    const FAILED: Unstored = Unstored {
        exposed: NEW,
        stored: OLD,
        device: 7,
    };

    const PRIMARY: State = State {
        role: Role::Primary,
        ..State::NEW
    };

    #[test]
    fn only_data_in_use_must_go_on() {
        let of = |role, peer| {
            let state = State {
                role,
                peer,
                ..State::NEW
            };
            continues(&state, NEW, None, OLD, 7)
        };
        assert_eq!(of(Role::Secondary, Role::Primary), Continues::No);
        assert_eq!(of(Role::Secondary, Role::Unknown), Continues::Yes);
    }

    #[test]
    fn the_primary_mark_is_no_difference() {
        assert_eq!(
            continues(&PRIMARY, NEW, None, Uuid(0x200), 7),
            Continues::Yes
        );
        assert_eq!(
            continues(&PRIMARY, Uuid::ZERO, None, OLD, 7),
            Continues::Yes
        );
    }

    #[test]
    fn a_disk_that_failed_before_it_was_told_goes_on() {
        assert_eq!(continues(&PRIMARY, NEW, None, OLD, 7), Continues::No);
        assert_eq!(
            continues(&PRIMARY, NEW, Some(&FAILED), OLD, 7),
            Continues::Unaware
        );
    }

    #[test]
    fn another_disk_or_a_later_generation_does_not() {
        assert_eq!(
            continues(&PRIMARY, NEW, Some(&FAILED), OLD, 8),
            Continues::No
        );
        assert_eq!(
            continues(&PRIMARY, NEW, Some(&FAILED), Uuid(0x300), 7),
            Continues::No
        );
        assert_eq!(
            continues(&PRIMARY, Uuid(0x400), Some(&FAILED), OLD, 7),
            Continues::No
        );
    }
}
