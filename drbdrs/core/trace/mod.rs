// SPDX-License-Identifier: GPL-2.0-only

//! Decisions of a live module, written down so that they can be made again elsewhere.
//!
//! A [`Record`] has everything that a decision was made from, and what it was. The module keeps the last ones of each
//! resource and shows them as lines of text; [`Record::again`] makes the decision anew. What comes out differs only if
//! the module runs other rules, or a rule looked at something that is not in its question.
//!
//! ```text
//! judge 0x… 0x… = 0x…        a change of state: states, rules asked | the new state or the refusal
//! meet 0x… … 0x… = 0x…       two disks meet: generations, bits, policies | rule, strategy, verdict
//! end 0x… 0x… 0x… = 0x…      a resync or verify ends: state, bits failed, bits set | state, generations, helper
//! promote 0x… 0x… = 0x…      a role was asked for: state and result, the promotion | what next, the promotion then
//! ```

mod end;
mod promote;

pub use end::{ending, Ending};
pub use promote::{attempt, Tried};

use crate::config::choices::{AfterSb0p, AfterSb1p, AfterSb2p, Fencing, OnNoData, RrConflict};
use crate::state::{judge, judge_in_connection, Accepted, Conf, How, Negotiation, NetRules};
use crate::types::{DiskState, Role, State, StateRv, Uuid, UuidSet};
use crate::uuid::{
    sync_handshake, Agreed, Demotion, Direction, Handshake, Outcome, Policies, Policy, Refusal,
    Side, Solved, Strategy,
};
use core::fmt;

/// Words of a question.
const WORDS: usize = 11;

/// What was decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`judge`] and [`judge_in_connection`].
    Judge,
    /// [`sync_handshake`].
    Meet,
    /// [`finished`](crate::resync::finished).
    End,
    /// [`next_attempt`](crate::state::next_attempt).
    Promote,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 4] = [Self::Judge, Self::Meet, Self::End, Self::Promote];

    /// The word at the beginning of its line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Judge => "judge",
            Self::Meet => "meet",
            Self::End => "end",
            Self::Promote => "promote",
        }
    }

    fn words(self) -> usize {
        match self {
            Self::Judge | Self::Promote => 2,
            Self::Meet => WORDS,
            Self::End => 3,
        }
    }
}

/// One decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What about.
    pub kind: Kind,
    question: [u64; WORDS],
    /// What it was.
    pub answer: u64,
}

/// Small numbers side by side in a word.
struct Packer {
    word: u64,
    used: u32,
}

impl Packer {
    fn new() -> Self {
        Self { word: 0, used: 0 }
    }

    fn put(mut self, bits: u32, value: u32) -> Self {
        let value = u64::from(value) & (1u64 << bits).wrapping_sub(1);
        self.word |= value.wrapping_shl(self.used);
        self.used = self.used.wrapping_add(bits);
        self
    }

    fn flag(self, value: bool) -> Self {
        self.put(1, value.into())
    }
}

struct Unpacker(u64);

impl Unpacker {
    fn take(&mut self, bits: u32) -> u32 {
        let value = self.0 & (1u64 << bits).wrapping_sub(1);
        self.0 = self.0.wrapping_shr(bits);
        value as u32
    }

    fn flag(&mut self) -> bool {
        self.take(1) != 0
    }
}

/// The question of [`Kind::Judge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The state there was.
    pub old: State,
    /// The state that was wished for.
    pub wished: State,
    /// How.
    pub how: How,
    /// Together with the other volumes of the connection.
    pub in_connection: bool,
    /// What the rules looked at.
    pub conf: Conf,
}

impl Wish {
    /// The question in words.
    pub fn pack(&self) -> [u64; 2] {
        let conf = &self.conf;
        let (negotiation, disk, pdsk) = match conf.negotiation {
            Negotiation::None => (0, 0, 0),
            Negotiation::Known { disk, pdsk } => (1, disk.to_wire(), pdsk.to_wire()),
            Negotiation::OtherGeneration => (2, 0, 0),
        };
        let rules = Packer::new()
            .flag(self.how.hard)
            .flag(self.how.ignore_outdate_failure)
            .flag(self.in_connection)
            .put(2, conf.fencing.to_wire())
            .put(1, conf.on_no_data.to_wire())
            .flag(conf.net.is_some())
            .flag(conf.net.is_some_and(|net| net.two_primaries))
            .flag(conf.net.is_some_and(|net| net.can_verify))
            .put(2, conf.highest_peer.to_wire())
            .flag(conf.is_open)
            .flag(conf.state_sent)
            .put(2, negotiation)
            .put(4, disk)
            .put(4, pdsk)
            .put(16, conf.version);
        let states = Packer::new()
            .put(32, self.old.to_wire())
            .put(32, self.wished.to_wire());
        [states.word, rules.word]
    }

    fn unpack(words: &[u64]) -> Option<Self> {
        let mut states = Unpacker(*words.first()?);
        let mut rules = Unpacker(*words.get(1)?);
        let (old, wished) = (states.take(32), states.take(32));
        let how = How {
            hard: rules.flag(),
            ignore_outdate_failure: rules.flag(),
        };
        let in_connection = rules.flag();
        let fencing = Fencing::from_wire(rules.take(2))?;
        let on_no_data = OnNoData::from_wire(rules.take(1))?;
        let connected = rules.flag();
        let net = NetRules {
            two_primaries: rules.flag(),
            can_verify: rules.flag(),
        };
        let highest_peer = Role::from_wire(rules.take(2))?;
        let (is_open, state_sent) = (rules.flag(), rules.flag());
        let kind = rules.take(2);
        let (disk, pdsk) = (rules.take(4), rules.take(4));
        let negotiation = match kind {
            0 => Negotiation::None,
            1 => Negotiation::Known {
                disk: DiskState::from_wire(disk)?,
                pdsk: DiskState::from_wire(pdsk)?,
            },
            2 => Negotiation::OtherGeneration,
            _ => return None,
        };
        Some(Self {
            old: State::from_wire(old).ok()?,
            wished: State::from_wire(wished).ok()?,
            how,
            in_connection,
            conf: Conf {
                fencing,
                on_no_data,
                net: connected.then_some(net),
                highest_peer,
                is_open,
                version: rules.take(16),
                state_sent,
                negotiation,
            },
        })
    }

    /// The decision.
    ///
    /// # Errors
    ///
    /// The refusal; `NothingToDo` is none.
    pub fn decide(&self) -> Result<Accepted, StateRv> {
        if self.in_connection {
            judge_in_connection(self.old, self.wished, self.how, &self.conf)
        } else {
            judge(self.old, self.wished, self.how, &self.conf)
        }
    }
}

/// The answer to a [`Wish`] in a word.
pub fn judgement(result: &Result<Accepted, StateRv>) -> u64 {
    match result {
        Ok(accepted) => {
            let warning = accepted
                .warning
                .map_or(0, |warning| (warning as u32).wrapping_add(1));
            Packer::new()
                .put(32, accepted.new.to_wire())
                .put(8, warning)
                .word
        }
        Err(refusal) => 1 << 63 | u64::from(refusal.to_wire().unsigned_abs()),
    }
}

/// The question of [`Kind::Meet`] in words.
pub fn pack_meeting(h: &Handshake) -> [u64; WORDS] {
    let policies = &h.policy.after_sb;
    let demotion = match h.demotion {
        Demotion::NotTried => 0,
        Demotion::Done => 1,
        Demotion::Refused => 2,
    };
    let facts = Packer::new()
        .put(2, h.me.role.to_wire())
        .put(2, h.peer.role.to_wire())
        .flag(h.me.crashed_primary)
        .flag(h.peer.crashed_primary)
        .flag(h.me.discard_my_data)
        .flag(h.peer.discard_my_data)
        .flag(h.agreed.wsame)
        .flag(h.agreed.resolve_conflicts)
        .put(4, h.disk.to_wire())
        .put(4, h.disk_now.to_wire())
        .put(4, h.peer_disk.to_wire())
        .put(4, h.peer_disk_now.to_wire())
        .put(4, policies.none.to_wire())
        .put(4, policies.one.to_wire())
        .put(4, policies.two.to_wire())
        .flag(h.policy.always_asbp)
        .put(4, h.policy.rr_conflict.to_wire())
        .flag(h.policy.dry_run)
        .put(2, demotion)
        .put(16, h.agreed.version);
    let generations = |side: &Side| side.uuids.to_array().map(|uuid| uuid.0);
    let [a, b, c, d] = generations(&h.me);
    let [e, f, g, i] = generations(&h.peer);
    let (mine, theirs) = (h.me.dirty_bits, h.peer.dirty_bits);
    [a, b, c, d, e, f, g, i, mine, theirs, facts.word]
}

fn unpack_meeting(words: &[u64; WORDS]) -> Option<Handshake> {
    let [a, b, c, d, e, f, g, i, mine, theirs, facts] = *words;
    let mut facts = Unpacker(facts);
    let side = |generations: [u64; 4], dirty_bits| Side {
        uuids: UuidSet::from_array(generations.map(Uuid)),
        dirty_bits,
        role: Role::Unknown,
        crashed_primary: false,
        discard_my_data: false,
    };
    let (mut me, mut peer) = (side([a, b, c, d], mine), side([e, f, g, i], theirs));
    me.role = Role::from_wire(facts.take(2))?;
    peer.role = Role::from_wire(facts.take(2))?;
    me.crashed_primary = facts.flag();
    peer.crashed_primary = facts.flag();
    me.discard_my_data = facts.flag();
    peer.discard_my_data = facts.flag();
    let (wsame, resolve_conflicts) = (facts.flag(), facts.flag());
    let disk = DiskState::from_wire(facts.take(4))?;
    let disk_now = DiskState::from_wire(facts.take(4))?;
    let peer_disk = DiskState::from_wire(facts.take(4))?;
    let peer_disk_now = DiskState::from_wire(facts.take(4))?;
    let after_sb = Policies {
        none: AfterSb0p::from_wire(facts.take(4))?,
        one: AfterSb1p::from_wire(facts.take(4))?,
        two: AfterSb2p::from_wire(facts.take(4))?,
    };
    let policy = Policy {
        after_sb,
        always_asbp: facts.flag(),
        rr_conflict: RrConflict::from_wire(facts.take(4))?,
        dry_run: facts.flag(),
    };
    let demotion = match facts.take(2) {
        0 => Demotion::NotTried,
        1 => Demotion::Done,
        2 => Demotion::Refused,
        _ => return None,
    };
    let agreed = Agreed {
        version: facts.take(16),
        wsame,
        resolve_conflicts,
    };
    Some(Handshake {
        me,
        peer,
        agreed,
        disk,
        disk_now,
        peer_disk,
        peer_disk_now,
        policy,
        demotion,
    })
}

fn towards(direction: Direction) -> u32 {
    match direction {
        Direction::Source => 0,
        Direction::Target => 1,
    }
}

/// The answer to it in a word.
pub fn conclusion(outcome: &Outcome) -> u64 {
    let strategy =
        |strategy: Strategy| strategy.code().unsigned_abs() << 1 | u32::from(strategy.code() < 0);
    let solved = match outcome.solved {
        None => 0,
        Some(Solved::ByDiskStates(direction)) => 1 | towards(direction) << 3,
        Some(Solved::ByPolicy {
            direction, full, ..
        }) => 2 | towards(direction) << 3 | u32::from(full) << 4,
        Some(Solved::ByDiscardMyData(direction)) => 3 | towards(direction) << 3,
        Some(Solved::ByAttaching(direction)) => 4 | towards(direction) << 3,
    };
    let verdict = match outcome.verdict {
        Ok(plan) => {
            1 | plan.conn.to_wire() << 4
                | u32::from(plan.set_whole_bitmap) << 9
                | u32::from(plan.violates_stable_data) << 10
        }
        Err(Refusal::Unrelated) => 2,
        Err(Refusal::NeedsProtocol(_)) => 3,
        Err(Refusal::NeedsFeature { .. }) => 4,
        Err(Refusal::SplitBrain) => 5,
        Err(Refusal::InconsistentSource) => 6,
        Err(Refusal::PrimaryTarget) => 7,
        Err(Refusal::DryRun(_)) => 8,
        Err(Refusal::WholeBitmapFailed) => 9,
    };
    let helpers = &outcome.helpers;
    Packer::new()
        .put(8, outcome.decision.rule.number())
        .put(12, strategy(outcome.decision.strategy))
        .flag(outcome.decision.repair.is_some())
        .put(5, solved)
        .flag(helpers.initial_split_brain)
        .flag(helpers.pri_lost_after_sb)
        .flag(helpers.split_brain)
        .flag(helpers.pri_lost)
        .flag(outcome.demote_first)
        .put(11, verdict)
        .word
}

impl Record {
    /// None.
    pub const EMPTY: Self = Self {
        kind: Kind::Judge,
        question: [0; WORDS],
        answer: 0,
    };

    /// Says something else from now on; false if that many words are no question of `kind`.
    pub fn set(&mut self, kind: Kind, words: &[u64], answer: u64) -> bool {
        let Some((asked, rest)) = self.question.split_at_mut_checked(kind.words()) else {
            return false;
        };
        if asked.len() != words.len() {
            return false;
        }
        asked
            .iter_mut()
            .zip(words)
            .for_each(|(to, from)| *to = *from);
        rest.fill(0);
        (self.kind, self.answer) = (kind, answer);
        true
    }

    /// The decision, made once more; none if the question makes no sense.
    pub fn again(&self) -> Option<u64> {
        match self.kind {
            Kind::Judge => Some(judgement(&Wish::unpack(&self.question)?.decide())),
            Kind::Meet => Some(conclusion(&sync_handshake(&unpack_meeting(
                &self.question,
            )?))),
            Kind::End => Some(ending(&Ending::unpack(&self.question)?.decide())),
            Kind::Promote => {
                let (next, after) = Tried::unpack(&self.question)?.decide();
                Some(attempt(&next, &after))
            }
        }
    }

    /// The question, for people.
    pub fn explain(&self, f: &mut impl fmt::Write) -> fmt::Result {
        match self.kind {
            Kind::Judge => match Wish::unpack(&self.question) {
                Some(wish) => write!(f, "{} -> {}, {:?}", wish.old, wish.wished, wish.conf),
                None => write!(f, "no states"),
            },
            Kind::Meet => match unpack_meeting(&self.question) {
                Some(question) => write!(f, "{question:?}"),
                None => write!(f, "no generations"),
            },
            Kind::End => match Ending::unpack(&self.question) {
                Some(end) => write!(f, "{end:?}"),
                None => write!(f, "no state"),
            },
            Kind::Promote => match Tried::unpack(&self.question) {
                Some(tried) => write!(f, "{tried:?}"),
                None => write!(f, "no promotion"),
            },
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        for word in self.question.iter().take(self.kind.words()) {
            write!(f, " {word:#x}")?;
        }
        write!(f, " = {:#x}", self.answer)
    }
}

#[cfg(test)]
mod tests;
