// SPDX-License-Identifier: GPL-2.0-only

//! The after-split-brain policies: who gives up its changes, depending on how many primaries there are.

use super::compare::{Direction, Side};
use crate::config::choices::{AfterSb0p, AfterSb1p, AfterSb2p};
use crate::types::Role;
use Direction::{Source, Target};

/// Whether this node has tried to give up its primary role; the policy `call-pri-lost-after-sb` needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demotion {
    /// Not yet: [`Recovery::DemoteFirst`] may be answered.
    NotTried,
    /// It worked: this node is secondary now.
    Done,
    /// The state engine refused (the device is open).
    Refused,
}

/// What a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Copy in this direction.
    Sync {
        /// Who is copied to whom.
        direction: Direction,
        /// No younger or older primary was found; the number of changes decided instead.
        fell_back: bool,
    },
    /// Give up the primary role, then ask again with the outcome.
    DemoteFirst,
    /// No decision.
    Unsolved,
    /// No decision: giving up the primary role was refused; call the helper `pri-lost-after-sb`.
    DemotionRefused,
}

/// The policies, by the number of primaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policies {
    /// `after-sb-0pri`
    pub none: AfterSb0p,
    /// `after-sb-1pri`
    pub one: AfterSb1p,
    /// `after-sb-2pri`
    pub two: AfterSb2p,
}

/// Asks the policy for as many primaries as there are.
pub fn recover(
    me: &Side,
    peer: &Side,
    policies: &Policies,
    tie_breaker: bool,
    demotion: Demotion,
) -> Recovery {
    let zero = || without_primary(me, peer, policies.none, tie_breaker);
    match (me.role == Role::Primary, peer.role == Role::Primary) {
        (false, false) => zero(),
        (true, true) => with_two(zero, policies.two, demotion),
        (i_am, _) => with_one(zero, policies.one, i_am, demotion),
    }
}

fn sync(direction: Direction) -> Recovery {
    Recovery::Sync {
        direction,
        fell_back: false,
    }
}

fn broken_tie(tie_breaker: bool) -> Direction {
    if tie_breaker {
        Target
    } else {
        Source
    }
}

fn without_primary(me: &Side, peer: &Side, policy: AfterSb0p, tie_breaker: bool) -> Recovery {
    let was_primary = |side: &Side| side.uuids.bitmap.0 & 1 != 0;
    let younger = (was_primary(me), was_primary(peer));
    match policy {
        AfterSb0p::Disconnect => Recovery::Unsolved,
        AfterSb0p::DiscardLocal => sync(Target),
        AfterSb0p::DiscardRemote => sync(Source),
        AfterSb0p::DiscardYoungerPrimary => match younger {
            (false, true) => sync(Target),
            (true, false) => sync(Source),
            _ => fewer_changes(me, peer, tie_breaker, true),
        },
        AfterSb0p::DiscardOlderPrimary => match younger {
            (false, true) => sync(Source),
            (true, false) => sync(Target),
            _ => fewer_changes(me, peer, tie_breaker, true),
        },
        AfterSb0p::DiscardZeroChanges => match no_changes(me, peer, tie_breaker) {
            Some(direction) => sync(direction),
            None => Recovery::Unsolved,
        },
        AfterSb0p::DiscardLeastChanges => fewer_changes(me, peer, tie_breaker, false),
    }
}

/// The side without any change loses nothing.
fn no_changes(me: &Side, peer: &Side, tie_breaker: bool) -> Option<Direction> {
    match (me.dirty_bits == 0, peer.dirty_bits == 0) {
        (true, true) => Some(broken_tie(tie_breaker)),
        (false, true) => Some(Source),
        (true, false) => Some(Target),
        (false, false) => None,
    }
}

fn fewer_changes(me: &Side, peer: &Side, tie_breaker: bool, fell_back: bool) -> Recovery {
    let direction = match me.dirty_bits.cmp(&peer.dirty_bits) {
        core::cmp::Ordering::Less => Target,
        core::cmp::Ordering::Greater => Source,
        core::cmp::Ordering::Equal => broken_tie(tie_breaker),
    };
    Recovery::Sync {
        direction,
        fell_back,
    }
}

fn with_one(
    zero: impl Fn() -> Recovery,
    policy: AfterSb1p,
    i_am_primary: bool,
    demotion: Demotion,
) -> Recovery {
    match policy {
        AfterSb1p::Disconnect => Recovery::Unsolved,
        AfterSb1p::Violently => zero(),
        AfterSb1p::DiscardSecondary => sync(if i_am_primary { Source } else { Target }),
        AfterSb1p::Consensus => match zero() {
            r @ Recovery::Sync {
                direction: Target, ..
            } if !i_am_primary => r,
            r @ Recovery::Sync {
                direction: Source, ..
            } if i_am_primary => r,
            Recovery::Sync { .. } => Recovery::Unsolved,
            other => other,
        },
        AfterSb1p::CallPriLost => demote_a_losing_primary(zero(), i_am_primary, demotion),
    }
}

fn with_two(zero: impl Fn() -> Recovery, policy: AfterSb2p, demotion: Demotion) -> Recovery {
    match policy {
        AfterSb2p::Disconnect => Recovery::Unsolved,
        AfterSb2p::Violently => zero(),
        AfterSb2p::CallPriLost => demote_a_losing_primary(zero(), true, demotion),
    }
}

/// A primary that has to become sync target must stop being one.
fn demote_a_losing_primary(loser: Recovery, i_am_primary: bool, tried: Demotion) -> Recovery {
    match loser {
        Recovery::Sync {
            direction: Target, ..
        } if i_am_primary => match tried {
            Demotion::NotTried => Recovery::DemoteFirst,
            Demotion::Done => loser,
            Demotion::Refused => Recovery::DemotionRefused,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Uuid;
    use crate::uuid::Set;

    const ZERO_PRI_POLICIES: [AfterSb0p; 7] = [
        AfterSb0p::Disconnect,
        AfterSb0p::DiscardYoungerPrimary,
        AfterSb0p::DiscardOlderPrimary,
        AfterSb0p::DiscardZeroChanges,
        AfterSb0p::DiscardLeastChanges,
        AfterSb0p::DiscardLocal,
        AfterSb0p::DiscardRemote,
    ];

    fn side(was_primary: bool, dirty_bits: u64, role: Role) -> Side {
        let bitmap = Uuid(if was_primary { 0x101 } else { 0x100 });
        let uuids = Set {
            bitmap,
            ..Set::default()
        };
        Side {
            uuids,
            dirty_bits,
            role,
            crashed_primary: false,
            discard_my_data: false,
        }
    }

    fn all(none: AfterSb0p, one: AfterSb1p, two: AfterSb2p) -> Policies {
        Policies { none, one, two }
    }

    fn zero_pri(policy: AfterSb0p, me: (bool, u64), peer: (bool, u64), tie: bool) -> Recovery {
        let me = side(me.0, me.1, Role::Secondary);
        let peer = side(peer.0, peer.1, Role::Secondary);
        let p = all(policy, AfterSb1p::Disconnect, AfterSb2p::Disconnect);
        recover(&me, &peer, &p, tie, Demotion::NotTried)
    }

    #[test]
    fn without_a_primary_the_policy_decides_or_falls_back_to_fewer_changes() {
        use AfterSb0p::*;
        let (pri, sec) = ((true, 5), (false, 5));
        assert_eq!(
            zero_pri(DiscardYoungerPrimary, sec, pri, false),
            sync(Target)
        );
        assert_eq!(
            zero_pri(DiscardYoungerPrimary, pri, sec, false),
            sync(Source)
        );
        assert_eq!(zero_pri(DiscardOlderPrimary, sec, pri, false), sync(Source));
        assert_eq!(zero_pri(DiscardOlderPrimary, pri, sec, false), sync(Target));
        let fell_back = Recovery::Sync {
            direction: Source,
            fell_back: true,
        };
        assert_eq!(
            zero_pri(DiscardOlderPrimary, (true, 9), (true, 5), true),
            fell_back
        );
        assert_eq!(
            zero_pri(DiscardYoungerPrimary, (false, 9), (false, 0), true),
            fell_back
        );
        assert_eq!(
            zero_pri(DiscardZeroChanges, (true, 0), (true, 5), false),
            sync(Target)
        );
        assert_eq!(
            zero_pri(DiscardZeroChanges, (true, 5), (true, 0), false),
            sync(Source)
        );
        assert_eq!(
            zero_pri(DiscardZeroChanges, (true, 5), (true, 6), false),
            Recovery::Unsolved
        );
        assert_eq!(
            zero_pri(DiscardLeastChanges, (true, 5), (true, 6), false),
            sync(Target)
        );
        assert_eq!(zero_pri(DiscardLocal, pri, sec, false), sync(Target));
        assert_eq!(zero_pri(DiscardRemote, pri, sec, false), sync(Source));
        assert_eq!(zero_pri(Disconnect, pri, sec, false), Recovery::Unsolved);
    }

    /// `discard-local` here is `discard-remote` there: the handshake checks that.
    fn as_seen_by_the_peer(policy: AfterSb0p) -> AfterSb0p {
        match policy {
            AfterSb0p::DiscardLocal => AfterSb0p::DiscardRemote,
            AfterSb0p::DiscardRemote => AfterSb0p::DiscardLocal,
            same => same,
        }
    }

    #[test]
    fn both_sides_always_agree_on_the_loser() {
        for policy in ZERO_PRI_POLICIES {
            for bits in 0..64_u32 {
                let me = (bits & 1 != 0, u64::from((bits >> 1) & 3));
                let peer = (bits & 8 != 0, u64::from((bits >> 4) & 3));
                let here = zero_pri(policy, me, peer, true);
                let there = zero_pri(as_seen_by_the_peer(policy), peer, me, false);
                match (here, there) {
                    (
                        Recovery::Sync {
                            direction: a,
                            fell_back: f,
                        },
                        Recovery::Sync {
                            direction: b,
                            fell_back: g,
                        },
                    ) => {
                        assert_ne!(a, b, "{policy:?} {me:?} {peer:?}");
                        assert_eq!(f, g);
                    }
                    (a, b) => assert_eq!(a, b, "{policy:?} {me:?} {peer:?}"),
                }
            }
        }
    }

    fn one_pri(policy: AfterSb1p, i_am: bool, zero: AfterSb0p, demotion: Demotion) -> Recovery {
        let role = |primary| {
            if primary {
                Role::Primary
            } else {
                Role::Secondary
            }
        };
        let me = side(true, 5, role(i_am));
        let peer = side(true, 6, role(!i_am));
        recover(
            &me,
            &peer,
            &all(zero, policy, AfterSb2p::Disconnect),
            false,
            demotion,
        )
    }

    #[test]
    fn with_one_primary() {
        use AfterSb1p::*;
        use Demotion::*;
        assert_eq!(
            one_pri(DiscardSecondary, true, AfterSb0p::Disconnect, NotTried),
            sync(Source)
        );
        assert_eq!(
            one_pri(DiscardSecondary, false, AfterSb0p::Disconnect, NotTried),
            sync(Target)
        );
        assert_eq!(
            one_pri(Violently, true, AfterSb0p::DiscardLocal, NotTried),
            sync(Target)
        );
        assert_eq!(
            one_pri(Disconnect, true, AfterSb0p::DiscardLocal, NotTried),
            Recovery::Unsolved
        );
        assert_eq!(
            one_pri(Consensus, false, AfterSb0p::DiscardLocal, NotTried),
            sync(Target)
        );
        assert_eq!(
            one_pri(Consensus, true, AfterSb0p::DiscardRemote, NotTried),
            sync(Source)
        );
        assert_eq!(
            one_pri(Consensus, true, AfterSb0p::DiscardLocal, NotTried),
            Recovery::Unsolved
        );
        assert_eq!(
            one_pri(Consensus, false, AfterSb0p::DiscardRemote, NotTried),
            Recovery::Unsolved
        );
        assert_eq!(
            one_pri(Consensus, true, AfterSb0p::Disconnect, NotTried),
            Recovery::Unsolved
        );
    }

    #[test]
    fn a_losing_primary_gives_up_its_role_or_calls_the_helper() {
        use AfterSb1p::*;
        use Demotion::*;
        assert_eq!(
            one_pri(CallPriLost, true, AfterSb0p::DiscardLocal, NotTried),
            Recovery::DemoteFirst
        );
        assert_eq!(
            one_pri(CallPriLost, true, AfterSb0p::DiscardLocal, Done),
            sync(Target)
        );
        assert_eq!(
            one_pri(CallPriLost, true, AfterSb0p::DiscardLocal, Refused),
            Recovery::DemotionRefused
        );
        assert_eq!(
            one_pri(CallPriLost, true, AfterSb0p::DiscardRemote, NotTried),
            sync(Source)
        );
        assert_eq!(
            one_pri(CallPriLost, false, AfterSb0p::DiscardLocal, NotTried),
            sync(Target)
        );
        assert_eq!(
            one_pri(CallPriLost, false, AfterSb0p::Disconnect, NotTried),
            Recovery::Unsolved
        );
    }

    #[test]
    fn with_two_primaries() {
        use AfterSb2p::*;
        let both = |policy, zero, demotion| {
            let me = side(true, 5, Role::Primary);
            recover(
                &me,
                &me,
                &all(zero, AfterSb1p::Disconnect, policy),
                true,
                demotion,
            )
        };
        assert_eq!(
            both(
                Violently,
                AfterSb0p::DiscardLeastChanges,
                Demotion::NotTried
            ),
            sync(Target)
        );
        assert_eq!(
            both(
                Disconnect,
                AfterSb0p::DiscardLeastChanges,
                Demotion::NotTried
            ),
            Recovery::Unsolved
        );
        let lost = both(CallPriLost, AfterSb0p::DiscardLocal, Demotion::NotTried);
        assert_eq!(lost, Recovery::DemoteFirst);
        assert_eq!(
            both(CallPriLost, AfterSb0p::DiscardLocal, Demotion::Refused),
            Recovery::DemotionRefused
        );
        assert_eq!(
            both(CallPriLost, AfterSb0p::DiscardRemote, Demotion::NotTried),
            sync(Source)
        );
    }
}
