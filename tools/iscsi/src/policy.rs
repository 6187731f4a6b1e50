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
//! Before all that: who cannot read good data, neither from its own disk nor from a peer's, serves nobody, whatever
//! it did before. With both paths active by request only a lost peer matters: where its portal still answers, one of
//! the two has to give way, or both would write without the other: the first node of drbd.conf goes on.
//!
//! An active node stays active when the peer comes back: whoever returns finds a Primary and is standby. Nothing
//! switches back by itself; `drbd-iscsi standby` here and `drbd-iscsi active` there do. If both were Primary before
//! either was exported, none can know which one is meant: both are standby, no data is at risk, and one is told.

use std::fmt;

use crate::proc::{Known, Minor};

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
    /// Its address is not known.
    Unknown,
}

/// What a decision goes by.
#[derive(Clone, Debug)]
pub struct View {
    /// The mirror.
    pub mirror: Known,
    /// How this node exports it now.
    pub exported: Option<Access>,
    /// Both paths are active by the user's wish.
    pub both_active: bool,
    /// DRBD freezes I/O until a lost peer is fenced.
    pub fenced: bool,
    /// This is the first node of drbd.conf.
    pub first: bool,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// There is no driver.
    NoDriver,
    /// The driver does not have the device.
    NotUp,
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
    /// The peer is lost and fenced.
    PeerFenced,
    /// The peer is lost and not fenced yet; I/O is frozen.
    PeerUnfenced,
    /// The peer is lost, and its portal is silent, too.
    PeerSilent,
    /// The link is lost, but initiators still reach the peer.
    PeerAlive,
    /// The peer is lost and cannot be asked, as its address is not known.
    PeerUnasked,
}

impl Rule {
    /// In words.
    pub fn reason(self) -> &'static str {
        match self {
            Rule::NoDriver => "no driver is loaded: modprobe drbdrs; drbdadm up all",
            Rule::NotUp => "the driver does not have this device: drbdadm up all",
            Rule::NotPrimary => "this node is not Primary",
            Rule::NoGoodData => {
                "the data of this node are not UpToDate, and there is no peer with good ones"
            }
            Rule::BothActive => "both nodes shall serve",
            Rule::Kept => "it is active already",
            Rule::PeerSecondary => "the peer is Secondary and serves nobody",
            Rule::PeerServes => "the peer is Primary and may be serving",
            Rule::PeerFenced => "the peer is lost and fenced",
            Rule::PeerUnfenced => "the peer is lost and not fenced yet: I/O is frozen until it is",
            Rule::PeerSilent => "the peer is lost, and its portal is silent, too",
            Rule::PeerAlive => {
                "the replication link is lost, but the peer's portal answers: it may be serving"
            }
            Rule::PeerUnasked => {
                "the peer is lost and cannot be asked: it may be serving; say --peer-portal IP"
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
    let minor = match &view.mirror {
        Known::NoDriver => return refuse(Rule::NoDriver),
        Known::NoDevice => return refuse(Rule::NotUp),
        Known::Is(minor) => minor,
    };
    if minor.role != "Primary" {
        return refuse(Rule::NotPrimary);
    }
    if !minor.has_good_data() {
        return standby(Rule::NoGoodData);
    }
    let goes_on = match view.exported {
        _ if view.both_active => Some(Rule::BothActive),
        Some(Access::Active) => Some(Rule::Kept),
        _ => None,
    };
    if !minor.is_alone() {
        return match (goes_on, minor.peer.as_str()) {
            (Some(rule), _) => active(rule),
            (None, "Secondary") => active(Rule::PeerSecondary),
            _ => standby(Rule::PeerServes),
        };
    }
    if view.fenced && minor.is_peer_fenced() && !minor.frozen {
        return active(goes_on.unwrap_or(Rule::PeerFenced));
    }
    match goes_on {
        // Frozen I/O does no harm, whichever of the two is fenced.
        Some(rule) if rule == Rule::Kept || view.first || minor.frozen => active(rule),
        None if minor.frozen => standby(Rule::PeerUnfenced),
        _ => match portal() {
            Portal::Silent => active(goes_on.unwrap_or(Rule::PeerSilent)),
            Portal::Answers => standby(Rule::PeerAlive),
            Portal::Unknown => standby(Rule::PeerUnasked),
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
    node > 1 && minor.peer != "Unknown" && portal() != Portal::Answers
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
/// A unit without locks has neither. Where locks are switched on or off, initiators have to see that it is another unit.
///
/// `before` and `now` are the path and whether there are locks.
pub fn begins_anew(before: Option<(Access, bool)>, now: (Access, bool)) -> Option<&'static str> {
    match (before?, now) {
        ((_, had), (_, has)) if had != has => {
            Some("SCSI locks are switched, and initiators must not go on as before")
        }
        ((before, _), (now, locks)) if before == now || !locks => None,
        (_, (Access::Active, _)) => Some("this node's locks begin anew"),
        (_, (Access::Standby, _)) => {
            Some("what they began here ends here, and so do their reservations")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(role: &str, peer: &str, exported: Option<Access>) -> View {
        View {
            mirror: Known::Is(Minor {
                role: role.into(),
                peer: peer.into(),
                disk: "UpToDate".into(),
                peer_disk: if peer == "Unknown" {
                    "DUnknown"
                } else {
                    "UpToDate"
                }
                .into(),
                ..Minor::default()
            }),
            exported,
            both_active: false,
            fenced: false,
            first: true,
        }
    }

    fn minor(view: &mut View) -> &mut Minor {
        match &mut view.mirror {
            Known::Is(minor) => minor,
            _ => panic!(),
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
        for (mirror, why) in [
            (Known::NoDriver, Rule::NoDriver),
            (Known::NoDevice, Rule::NotUp),
        ] {
            let view = View {
                mirror,
                ..view("", "", ACTIVE)
            };
            assert_eq!(rule(&view, Portal::Silent), (why, None));
        }
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
        assert_eq!(rule(&lost, Portal::Unknown), (Rule::PeerUnasked, STANDBY));
        let mut outdated = lost;
        minor(&mut outdated).disk = "Outdated".into();
        assert_eq!(rule(&outdated, Portal::Silent), (Rule::NoGoodData, STANDBY));
    }

    #[test]
    fn fenced_is_who_was_fenced_and_not_who_is_to_be() {
        let mut lost = View {
            fenced: true,
            ..view("Primary", "Unknown", STANDBY)
        };
        minor(&mut lost).frozen = true;
        assert_eq!(rule(&lost, Portal::Silent), (Rule::PeerUnfenced, STANDBY));
        let mut done = lost.clone();
        minor(&mut done).frozen = false;
        minor(&mut done).peer_disk = "Outdated".into();
        assert_eq!(rule(&done, Portal::Answers), (Rule::PeerFenced, ACTIVE));
        // Somebody said resume-io: the peer was not fenced, so it is asked.
        let mut resumed = lost.clone();
        minor(&mut resumed).frozen = false;
        assert_eq!(rule(&resumed, Portal::Answers), (Rule::PeerAlive, STANDBY));
        assert_eq!(rule(&resumed, Portal::Silent), (Rule::PeerSilent, ACTIVE));
        let served = View {
            exported: ACTIVE,
            ..lost
        };
        assert_eq!(rule(&served, Portal::Answers), (Rule::Kept, ACTIVE));
    }

    #[test]
    fn nobody_serves_without_good_data() {
        for (peer, disk, peer_disk) in [
            ("Unknown", "Outdated", "DUnknown"),
            ("Unknown", "Diskless", "DUnknown"),
            ("Unknown", "Inconsistent", "DUnknown"),
            ("Secondary", "Diskless", "Inconsistent"),
        ] {
            for both_active in [false, true] {
                let mut bad = View {
                    both_active,
                    ..view("Primary", peer, ACTIVE)
                };
                minor(&mut bad).disk = disk.into();
                minor(&mut bad).peer_disk = peer_disk.into();
                let decided = rule(&bad, Portal::Silent);
                assert_eq!(decided, (Rule::NoGoodData, STANDBY), "{disk}");
            }
        }
        let mut through_the_peer = view("Primary", "Primary", ACTIVE);
        minor(&mut through_the_peer).disk = "Diskless".into();
        let decided = rule(&through_the_peer, Portal::Answers);
        assert_eq!(decided, (Rule::Kept, ACTIVE));
    }

    #[test]
    fn a_switch_ends_commands_and_locks_on_both_sides() {
        let anew = |before: Option<Access>, now, locks| {
            begins_anew(before.map(|access| (access, locks)), (now, locks)).is_some()
        };
        assert!(begins_anew(Some((Access::Active, false)), (Access::Active, true)).is_some());
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
            waits_for_its_turn(node, Some(minor(&mut view(role, peer, None))), || portal)
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

    #[test]
    fn both_active_ends_where_both_would_write_without_each_other() {
        let first = View {
            both_active: true,
            ..view("Primary", "Unknown", ACTIVE)
        };
        assert_eq!(rule(&first, Portal::Answers), (Rule::BothActive, ACTIVE));
        let second = View {
            first: false,
            ..first
        };
        assert_eq!(rule(&second, Portal::Answers), (Rule::PeerAlive, STANDBY));
        assert_eq!(rule(&second, Portal::Silent), (Rule::BothActive, ACTIVE));
        let mut frozen = second;
        frozen.fenced = true;
        minor(&mut frozen).frozen = true;
        assert_eq!(rule(&frozen, Portal::Answers), (Rule::BothActive, ACTIVE));
    }
}
