// SPDX-License-Identifier: GPL-2.0-only

//! A change of state as a line for the log.

use super::predicates::is_suspended;
use crate::types::State;
use core::fmt::{self, Display, Formatter};

/// Prints what changed, as 8.4 logs it: `role( Secondary -> Primary ) disk( Inconsistent -> UpToDate ) `.
/// Prints nothing if nothing that is logged changed.
#[derive(Clone, Copy, Debug)]
pub struct StateChange<'a> {
    /// The state before.
    pub old: &'a State,
    /// The state after.
    pub new: &'a State,
}

fn step<T: Display + PartialEq>(f: &mut Formatter<'_>, name: &str, old: T, new: T) -> fmt::Result {
    if old == new {
        return Ok(());
    }
    write!(f, "{name}( {old} -> {new} ) ")
}

impl Display for StateChange<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { old, new } = self;
        step(f, "role", old.role, new.role)?;
        step(f, "peer", old.peer, new.peer)?;
        step(f, "conn", old.conn, new.conn)?;
        step(f, "disk", old.disk, new.disk)?;
        step(f, "pdsk", old.pdsk, new.pdsk)?;
        step(
            f,
            "susp",
            u8::from(is_suspended(old)),
            u8::from(is_suspended(new)),
        )?;
        step(
            f,
            "aftr_isp",
            u8::from(old.aftr_isp),
            u8::from(new.aftr_isp),
        )?;
        step(
            f,
            "peer_isp",
            u8::from(old.peer_isp),
            u8::from(new.peer_isp),
        )?;
        step(
            f,
            "user_isp",
            u8::from(old.user_isp),
            u8::from(new.user_isp),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::*;
    use super::*;

    #[test]
    fn only_what_changed_is_printed() {
        let text = |old, new| StateChange { old, new }.to_string();
        assert_eq!(text(&CONNECTED, &CONNECTED), "");
        assert_eq!(text(&CONNECTED, &PRIMARY), "role( Secondary -> Primary ) ");
        let paused = State {
            user_isp: true,
            susp: true,
            ..TARGET
        };
        assert_eq!(text(&TARGET, &paused), "susp( 0 -> 1 ) user_isp( 0 -> 1 ) ");
    }
}
