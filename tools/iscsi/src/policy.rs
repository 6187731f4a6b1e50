// SPDX-License-Identifier: GPL-2.0-only

//! Who serves: the rule that at most one of two nodes is active/optimized.
//!
//! SCSI locks (COMPARE AND WRITE, RESERVE, persistent reservations) hold in the node that granted them and nowhere
//! else. So all I/O goes through one node, the other's path is *standby*. What the two nodes have in common is the
//! role in DRBD, and that is what the rules go by:
//!
//! ```text
//!                       peer Secondary              peer Primary
//!      not exported ──────────────────> active     ──────────────> standby
//!           ^                              ^                          │
//!           │ we are Secondary             └── peer Secondary, or ────┘
//!           └── from everywhere                peer lost: fenced, or silent on its portal, too
//! ```
//! An active node stays active when the peer comes back: whoever returns finds a Primary and is standby. Nothing
//! switches back by itself; `drbd-iscsi standby` here and `drbd-iscsi active` there do. If both were Primary before
//! either was exported, none can know which one is meant: both are standby, no data is at risk, and one is told.

use std::fmt;

use crate::drbd::Minor;

/// The state of a path, with the number that ALUA gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Active/optimized: I/O is served.
    Active = 0,
    /// Standby: the path is there and serves no I/O.
    Standby = 2,
}

impl Access {
    /// ALUA's number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// From ALUA's number.
    pub fn from_number(number: u8) -> Option<Access> {
        match number {
            0 => Some(Access::Active),
            2 => Some(Access::Standby),
            _ => None,
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Active => "active",
            Access::Standby => "standby",
        })
    }
}

/// Whether the peer answers on the network of the initiators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portal {
    /// It does, so it may be serving.
    Answers,
    /// It does not: nobody reaches it.
    Silent,
}

/// What a decision goes by.
#[derive(Clone, Debug)]
pub struct View {
    /// The mirror, if the driver has the device.
    pub minor: Option<Minor>,
    /// How this node exports it now.
    pub exported: Option<Access>,
    /// Both paths are active by the user's wish.
    pub both_active: bool,
    /// DRBD freezes I/O until a lost peer is fenced.
    pub fenced: bool,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Only a Primary can open the device.
    NotPrimary,
    /// The data here are not good.
    NoGoodData,
    /// The user wants both.
    BothActive,
    /// Active already.
    Kept,
    /// The peer is there and serves nobody.
    PeerSecondary,
    /// The peer was here first.
    PeerServes,
    /// The peer is lost, and DRBD has it fenced before I/O goes on.
    PeerFenced,
    /// The peer is lost, and its portal is silent, too.
    PeerSilent,
    /// The link is lost, but initiators still reach the peer.
    PeerAlive,
}

impl Rule {
    /// In words.
    pub fn reason(self) -> &'static str {
        match self {
            Rule::NotPrimary => "this node is not Primary",
            Rule::NoGoodData => "the data of this node are not UpToDate",
            Rule::BothActive => "both nodes shall serve",
            Rule::Kept => "it is active already",
            Rule::PeerSecondary => "the peer is Secondary and serves nobody",
            Rule::PeerServes => "the peer is Primary and may be serving",
            Rule::PeerFenced => "the peer is lost, and fenced before I/O goes on",
            Rule::PeerSilent => "the peer is lost, and its portal is silent, too",
            Rule::PeerAlive => {
                "the replication link is lost, but the peer's portal answers: it may be serving"
            }
        }
    }
}

/// What to do, and why. Without an access the device must not be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Why.
    pub rule: Rule,
    /// How.
    pub access: Option<Access>,
}

/// Decides for one device. `portal` is asked only when the answer matters.
pub fn decide(view: &View, portal: impl FnOnce() -> Portal) -> Decision {
    let refuse = |rule| Decision { rule, access: None };
    let active = |rule| Decision {
        rule,
        access: Some(Access::Active),
    };
    let standby = |rule| Decision {
        rule,
        access: Some(Access::Standby),
    };
    let Some(minor) = view.minor.as_ref().filter(|m| m.role == "Primary") else {
        return refuse(Rule::NotPrimary);
    };
    if view.both_active {
        return active(Rule::BothActive);
    }
    if view.exported == Some(Access::Active) {
        return active(Rule::Kept);
    }
    match minor.peer.as_str() {
        "Secondary" => active(Rule::PeerSecondary),
        "Primary" => standby(Rule::PeerServes),
        _ if minor.disk != "UpToDate" => standby(Rule::NoGoodData),
        _ if view.fenced => active(Rule::PeerFenced),
        _ => match portal() {
            Portal::Silent => active(Rule::PeerSilent),
            Portal::Answers => standby(Rule::PeerAlive),
        },
    }
}

/// Whether this node is to wait before it is promoted, so that the first node of drbd.conf is promoted *and exports*
/// first: where both are promoted before either exports, none knows which one is meant, and both are standby. `node`
/// counts from 1. Only a moment of courtesy: whoever does not wait, or not long enough, is standby at worst.
pub fn waits_for_its_turn(
    node: u16,
    minor: Option<&Minor>,
    portal: impl FnOnce() -> Portal,
) -> bool {
    let Some(minor) = minor.filter(|m| m.role == "Secondary") else {
        return false;
    };
    // A peer that is not there is not waited for, and one that exports has had its turn.
    node > 1 && minor.peer != "Unknown" && portal() == Portal::Silent
}

/// Why a unit with SCSI locks must be made anew when its path changes, if it must.
///
/// A node that ceases to serve: the kernel's target (7.3) answers *new* commands by the new state and carries on with
/// those it has begun. A COMPARE AND WRITE that has compared here would write after the other node granted the same
/// to somebody else. Taking the unit down waits for all of them. Its reservations, of which the other node knows
/// nothing, end with it, and initiators are told by the loss of the session.
///
/// A node that begins to serve: the target releases the lock of COMPARE AND WRITE without having taken it when such
/// a command is answered by a standby path or by a unit attention, which is what a mere change of the state would give
/// to every initiator. From then on two of them are carried out at once, and updates are lost.
///
/// A unit without locks (`locks`) has neither.
pub fn begins_anew(before: Option<Access>, now: Access, locks: bool) -> Option<&'static str> {
    match (before?, now) {
        (before, now) if before == now || !locks => None,
        (_, Access::Active) => Some("this node's locks begin anew"),
        (_, Access::Standby) => {
            Some("what they began here ends here, and so do their reservations")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(role: &str, peer: &str, exported: Option<Access>) -> View {
        View {
            minor: Some(Minor {
                connection: String::new(),
                role: role.into(),
                peer: peer.into(),
                disk: "UpToDate".into(),
            }),
            exported,
            both_active: false,
            fenced: false,
        }
    }

    fn rule(view: &View, portal: Portal) -> (Rule, Option<Access>) {
        let decision = decide(view, || portal);
        (decision.rule, decision.access)
    }

    const ACTIVE: Option<Access> = Some(Access::Active);
    const STANDBY: Option<Access> = Some(Access::Standby);

    #[test]
    fn not_primary_is_not_exported() {
        for exported in [None, ACTIVE, STANDBY] {
            let view = view("Secondary", "Primary", exported);
            assert_eq!(rule(&view, Portal::Silent), (Rule::NotPrimary, None));
        }
        let view = View {
            minor: None,
            ..view("", "", None)
        };
        assert_eq!(rule(&view, Portal::Silent), (Rule::NotPrimary, None));
    }

    #[test]
    fn peer_secondary_makes_active_and_peer_serves_makes_standby() {
        for exported in [None, STANDBY] {
            let secondary = view("Primary", "Secondary", exported);
            assert_eq!(
                rule(&secondary, Portal::Answers),
                (Rule::PeerSecondary, ACTIVE)
            );
            let primary = view("Primary", "Primary", exported);
            assert_eq!(rule(&primary, Portal::Silent), (Rule::PeerServes, STANDBY));
        }
    }

    #[test]
    fn kept_when_the_peer_returns_or_goes() {
        for peer in ["Primary", "Secondary", "Unknown"] {
            let view = view("Primary", peer, ACTIVE);
            assert_eq!(rule(&view, Portal::Answers), (Rule::Kept, ACTIVE));
        }
    }

    #[test]
    fn a_lost_peer_is_replaced_only_if_it_cannot_be_serving() {
        let lost = view("Primary", "Unknown", STANDBY);
        assert_eq!(rule(&lost, Portal::Silent), (Rule::PeerSilent, ACTIVE));
        assert_eq!(rule(&lost, Portal::Answers), (Rule::PeerAlive, STANDBY));
        let fenced = View {
            fenced: true,
            ..lost.clone()
        };
        assert_eq!(rule(&fenced, Portal::Answers), (Rule::PeerFenced, ACTIVE));
        let mut outdated = lost;
        outdated.minor.as_mut().unwrap().disk = "Outdated".into();
        assert_eq!(rule(&outdated, Portal::Silent), (Rule::NoGoodData, STANDBY));
    }

    #[test]
    fn a_switch_ends_commands_and_locks_on_both_sides() {
        let anew = |before, now, locks| begins_anew(before, now, locks).is_some();
        assert!(anew(STANDBY, Access::Active, true));
        assert!(anew(ACTIVE, Access::Standby, true));
        assert!(!anew(ACTIVE, Access::Active, true));
        assert!(!anew(STANDBY, Access::Standby, true));
        assert!(!anew(STANDBY, Access::Active, false));
        assert!(!anew(ACTIVE, Access::Standby, false));
        assert!(!anew(None, Access::Active, true));
    }

    #[test]
    fn the_first_node_has_the_first_turn() {
        let waits = |node, role, peer, portal| {
            waits_for_its_turn(node, view(role, peer, None).minor.as_ref(), || portal)
        };
        for peer in ["Secondary", "Primary"] {
            assert!(waits(2, "Secondary", peer, Portal::Silent));
            assert!(!waits(2, "Secondary", peer, Portal::Answers));
            assert!(!waits(2, "Primary", peer, Portal::Silent));
            assert!(!waits(1, "Secondary", peer, Portal::Silent));
        }
        assert!(!waits(2, "Secondary", "Unknown", Portal::Silent));
        assert!(!waits_for_its_turn(2, None, || Portal::Silent));
    }

    #[test]
    fn both_active_on_request() {
        let view = View {
            both_active: true,
            ..view("Primary", "Primary", None)
        };
        assert_eq!(rule(&view, Portal::Answers), (Rule::BothActive, ACTIVE));
    }
}
