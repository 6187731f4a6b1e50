// SPDX-License-Identifier: GPL-2.0-only

//! The comparison of two sets of UUIDs: a named rule and a strategy for every case.
//!
//! The rules are tried from top to bottom; the first that fits decides. They are written from "my" side:
//! both nodes evaluate them with the roles swapped and must reach mirrored strategies, whatever the UUIDs are
//! (`tests_enumerate`): a rule and its mirror are tried together, and where both fit, neither side is newer.
//!
//! ```text
//!   number  what is seen                                            strategy
//!   10      both disks are brand new                                no sync
//!   20/30   mine / the peer's is brand new                          full sync towards it
//!   34..37  same generation, only one side still keeps a bitmap     bitmap sync, after a repair
//!   40      same generation: nobody / one / both crashed as primary no sync / from the crashed one
//!   41      as 40, but somebody is primary now                      from that primary
//!   50/70   my current is the peer's bitmap UUID / vice versa       bitmap sync from the newer
//!   51/71   the start of the last resync was not seen by one side   undo it, bitmap sync
//!   52/72   one side wrote on, and never saw the end of its resync    bitmap sync from it, after a repair
//!   60/80   my current is in the peer's history / vice versa        full sync from the newer
//!   100     of two such rules for either direction both fit         split brain
//!   90      both left the same generation                           split brain, policies may decide
//!   100     only older history in common / nothing in common        split brain / unrelated
//! ```

use super::set::{Generation, Set};
use crate::types::{Role, Uuid};
use Direction::{Source, Target};

/// What one side brings to the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// Its generations.
    pub uuids: Set,
    /// Bits set in its bitmap, as it told the peer.
    pub dirty_bits: u64,
    /// Its role now.
    pub role: Role,
    /// It was primary when it crashed.
    pub crashed_primary: bool,
    /// Its administrator asked to throw its changes away.
    pub discard_my_data: bool,
}

/// What the two sides agreed on when they connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The protocol version.
    pub version: u32,
    /// Both have the WSAME feature; it also says that both resolve "same generation, a primary is there".
    pub wsame: bool,
    /// This node breaks ties (8.4: RESOLVE_CONFLICTS); exactly one of the two does.
    pub resolve_conflicts: bool,
}

/// Who sends blocks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From this node.
    Source,
    /// To this node.
    Target,
}

/// What the comparison asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The data is equal.
    NoSync,
    /// Copy the blocks that the bitmap names.
    UseBitmap(Direction),
    /// Copy everything.
    SetBitmap(Direction),
    /// Both changed the same generation; the after-split-brain policies may decide.
    SplitBrainAuto,
    /// Both changed, and what they have in common is too old; only an administrator may decide.
    SplitBrain,
    /// Nothing in common.
    Unrelated,
    /// The repair needs a younger protocol on both sides.
    NeedsProtocol(u32),
    /// The repair needs a feature on both sides.
    NeedsFeature {
        /// The protocol version that knows the feature.
        version: u32,
        /// The feature bits.
        features: u32,
    },
}

impl Strategy {
    /// The number that 8.4 logs for it: `uuid_compare()=N`.
    pub fn code(self) -> i32 {
        match self {
            Self::NoSync => 0,
            Self::UseBitmap(Direction::Source) => 1,
            Self::SetBitmap(Direction::Source) => 2,
            Self::UseBitmap(Direction::Target) => -1,
            Self::SetBitmap(Direction::Target) => -2,
            Self::SplitBrainAuto => 100,
            Self::SplitBrain => -100,
            Self::Unrelated => -1000,
            Self::NeedsProtocol(version) => -1000 - (version & 0xff) as i32,
            Self::NeedsFeature { version, features } => {
                -(0x10000 | (version & 0xff) as i32 | (((features & 0xff) as i32) << 8))
            }
        }
    }

    /// The direction of a resync, if this strategy is one.
    pub fn direction(self) -> Option<Direction> {
        match self {
            Self::UseBitmap(direction) | Self::SetBitmap(direction) => Some(direction),
            _ => None,
        }
    }

    /// A resync of everything?
    pub fn is_full(self) -> bool {
        matches!(self, Self::SetBitmap(_))
    }
}

/// Why the comparison decided as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// Both disks are brand new.
    BothJustCreated,
    /// My disk is brand new, the peer's is not.
    JustCreated,
    /// The peer's disk is brand new, mine is not.
    PeerJustCreated,
    /// Same generation, one bitmap: the repair needs protocol 91.
    LeftoverBitmapNeedsProtocol,
    /// I was sync source and did not see the end of the resync.
    MissedResyncFinished,
    /// The peer was sync source and did not see the end of the resync.
    PeerMissedResyncFinished,
    /// I was sync source; the peer failed to write the sync UUID.
    PeerFailedToWriteSyncUuid,
    /// The peer was sync source; I failed to write the sync UUID.
    FailedToWriteSyncUuid,
    /// Same generation, nobody crashed as primary: the link was away for a moment.
    LinkHiccup,
    /// Same generation, somebody crashed as primary, somebody is primary: needs a feature.
    PrimaryPresentNeedsFeature,
    /// As above, but both are primary: cannot be decided.
    BothPrimaryPresent,
    /// As above: I am primary.
    PrimaryPresent,
    /// As above: the peer is primary.
    PeerPrimaryPresent,
    /// Same generation, I crashed as primary.
    CrashedPrimary,
    /// Same generation, the peer crashed as primary.
    PeerCrashedPrimary,
    /// Same generation, both crashed as primaries; the tie breaker decides.
    BothCrashedPrimary,
    /// The peer's bitmap counts from my generation: it has newer data.
    PeerBitmapSinceMine,
    /// The peer started a resync that I never heard of; undone in its UUIDs.
    PeerLostSyncUuid,
    /// The peer started a resync that I never heard of; undoing it needs protocol 91.
    PeerLostSyncUuidNeedsProtocol,
    /// The peer wrote on without having heard of the end of its resync to me.
    PeerLeftResyncBehind,
    /// My generation is in the peer's history: its data is newer, the bitmap is gone.
    InPeerHistory,
    /// My bitmap counts from the peer's generation: I have newer data.
    BitmapSincePeer,
    /// I started a resync that the peer never heard of; undone in my UUIDs.
    LostSyncUuid,
    /// I started a resync that the peer never heard of; undoing it needs protocol 91.
    LostSyncUuidNeedsProtocol,
    /// I wrote on without having heard of the end of my resync to the peer.
    LeftResyncBehind,
    /// The peer's generation is in my history: my data is newer, the bitmap is gone.
    PeerInHistory,
    /// Each remembers the other's generation as an older one, and in the same way.
    Crossed,
    /// Both left the same generation.
    SameOrigin,
    /// Only older history in common.
    SharedHistory,
    /// Nothing in common.
    NothingInCommon,
}

impl Rule {
    /// The number that 8.4 logs for it: `by rule N`.
    pub fn number(self) -> u32 {
        match self {
            Self::BothJustCreated => 10,
            Self::JustCreated => 20,
            Self::PeerJustCreated | Self::LeftoverBitmapNeedsProtocol => 30,
            Self::MissedResyncFinished => 34,
            Self::PeerMissedResyncFinished => 35,
            Self::PeerFailedToWriteSyncUuid => 36,
            Self::FailedToWriteSyncUuid => 37,
            Self::LinkHiccup
            | Self::CrashedPrimary
            | Self::PeerCrashedPrimary
            | Self::BothCrashedPrimary => 40,
            Self::PrimaryPresentNeedsFeature
            | Self::BothPrimaryPresent
            | Self::PrimaryPresent
            | Self::PeerPrimaryPresent => 41,
            Self::PeerBitmapSinceMine => 50,
            Self::PeerLostSyncUuid | Self::PeerLostSyncUuidNeedsProtocol => 51,
            Self::PeerLeftResyncBehind => 52,
            Self::InPeerHistory => 60,
            Self::BitmapSincePeer => 70,
            Self::LostSyncUuid | Self::LostSyncUuidNeedsProtocol => 71,
            Self::LeftResyncBehind => 72,
            Self::PeerInHistory => 80,
            Self::SameOrigin => 90,
            Self::Crossed | Self::SharedHistory | Self::NothingInCommon => 100,
        }
    }

    /// One sentence for the log.
    pub fn explain(self) -> &'static str {
        match self {
            Self::BothJustCreated => "both disks are brand new",
            Self::JustCreated => "this disk is brand new",
            Self::PeerJustCreated => "the peer's disk is brand new",
            Self::LeftoverBitmapNeedsProtocol => {
                "one side did not see the end of a resync; the repair needs protocol 91"
            }
            Self::MissedResyncFinished => {
                "was SyncSource, missed the resync finished event, corrected myself"
            }
            Self::PeerMissedResyncFinished => {
                "was SyncTarget, peer missed the resync finished event, corrected peer"
            }
            Self::PeerFailedToWriteSyncUuid => "was SyncSource (peer failed to write sync_uuid)",
            Self::FailedToWriteSyncUuid => "was SyncTarget (failed to write sync_uuid)",
            Self::LinkHiccup => "same generation, nobody crashed as primary",
            Self::PrimaryPresentNeedsFeature => {
                "equivalent unrotated UUIDs, but current primary present; needs a newer DRBD"
            }
            Self::BothPrimaryPresent => {
                "equivalent unrotated UUIDs, but both are primary: cannot be resolved"
            }
            Self::PrimaryPresent => "same generation after a crash, this node is primary",
            Self::PeerPrimaryPresent => "same generation after a crash, the peer is primary",
            Self::CrashedPrimary => "same generation, this node crashed as primary",
            Self::PeerCrashedPrimary => "same generation, the peer crashed as primary",
            Self::BothCrashedPrimary => "same generation, both crashed as primaries",
            Self::PeerBitmapSinceMine => "the peer wrote on since this generation",
            Self::PeerLostSyncUuid => "lost last syncUUID packet, corrected",
            Self::PeerLostSyncUuidNeedsProtocol => {
                "lost last syncUUID packet; the repair needs protocol 91"
            }
            Self::PeerLeftResyncBehind => {
                "the peer wrote on without having heard of the end of its resync, corrected"
            }
            Self::InPeerHistory => "this generation is in the peer's history",
            Self::BitmapSincePeer => "this node wrote on since the peer's generation",
            Self::LostSyncUuid => "last syncUUID did not get through, corrected",
            Self::LostSyncUuidNeedsProtocol => {
                "last syncUUID did not get through; the repair needs protocol 91"
            }
            Self::LeftResyncBehind => {
                "wrote on without having heard of the end of the last resync, corrected"
            }
            Self::PeerInHistory => "the peer's generation is in this node's history",
            Self::Crossed => "each remembers the other's generation as an older one",
            Self::SameOrigin => "both wrote on since the same generation",
            Self::SharedHistory => "both wrote on, only older history in common",
            Self::NothingInCommon => "nothing in common",
        }
    }
}

/// A correction of UUIDs that the decision rests on; to be applied before the sync starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// My resync as source is over: its bitmap UUID becomes history.
    FinishMyResync,
    /// The peer's resync as source is over: the same in our copy of its UUIDs.
    FinishPeersResync,
    /// My resync as source was over before I wrote on: my bitmap counts from what the target got.
    FinishMyEarlierResync,
    /// The peer's resync as source was over before it wrote on: the same in our copy of its UUIDs.
    FinishPeersEarlierResync,
    /// My resync as source never started: undo the rotation.
    UndoMySyncStart,
    /// The peer's resync as source never started: the same in our copy of its UUIDs.
    UndoPeersSyncStart,
}

impl Repair {
    /// Does it change my own metadata (to be written), and not just our copy of the peer's?
    pub fn is_mine(self) -> bool {
        matches!(
            self,
            Self::FinishMyResync | Self::FinishMyEarlierResync | Self::UndoMySyncStart
        )
    }

    /// Applies the correction.
    pub fn apply(self, mine: &mut Set, peer: &mut Set) {
        match self {
            Self::FinishMyResync => finish_resync(mine),
            Self::FinishPeersResync => finish_resync(peer),
            Self::FinishMyEarlierResync => finish_earlier_resync(mine),
            Self::FinishPeersEarlierResync => finish_earlier_resync(peer),
            Self::UndoMySyncStart => undo_sync_start(mine),
            Self::UndoPeersSyncStart => undo_sync_start(peer),
        }
    }
}

fn finish_resync(set: &mut Set) {
    set.push_history(set.bitmap);
    set.bitmap = Uuid::ZERO;
}

fn finish_earlier_resync(set: &mut Set) {
    let [newer, left] = set.history;
    set.history = [set.bitmap, newer];
    set.bitmap = left;
}

fn undo_sync_start(set: &mut Set) {
    let [newer, older] = set.history;
    set.bitmap = newer;
    set.history = [older, older];
}

/// The result of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Why.
    pub rule: Rule,
    /// What to do.
    pub strategy: Strategy,
    /// What to correct first.
    pub repair: Option<Repair>,
}

fn decide(rule: Rule, strategy: Strategy) -> Decision {
    Decision {
        rule,
        strategy,
        repair: None,
    }
}

fn repaired(rule: Rule, strategy: Strategy, repair: Repair) -> Decision {
    Decision {
        rule,
        strategy,
        repair: Some(repair),
    }
}

/// Protocol from which on a missed start or end of a resync can be repaired.
const REPAIR_VERSION: u32 = 91;
/// Protocol from which on a sync UUID is recognised by its offset.
const SYNC_UUID_VERSION: u32 = 96;
/// What "equivalent UUIDs, a primary is present" needs on both sides.
const NEEDS_WSAME: Strategy = Strategy::NeedsFeature {
    version: 101,
    features: 4,
};

/// Compares my generations with the peer's.
pub fn compare(me: &Side, peer: &Side, agreed: &Agreed) -> Decision {
    let same = || me.uuids.current.unmarked() == peer.uuids.current.unmarked();
    just_created(&me.uuids, &peer.uuids)
        .or_else(|| same().then(|| same_generation(me, peer, agreed)))
        .or_else(|| one_is_ahead(&me.uuids, &peer.uuids, agreed))
        .unwrap_or_else(|| both_changed(&me.uuids, &peer.uuids))
}

/// Rules 10 to 30.
fn just_created(me: &Set, peer: &Set) -> Option<Decision> {
    let mine = me.current.unmarked();
    let theirs = peer.current.unmarked();
    let new = |u: Uuid| u == Uuid::JUST_CREATED;
    if new(mine) && new(theirs) {
        return Some(decide(Rule::BothJustCreated, Strategy::NoSync));
    }
    if mine.is_zero() && theirs.is_zero() {
        // No disk is like that. (8.4: both are the target.)
        return Some(decide(Rule::NothingInCommon, Strategy::Unrelated));
    }
    if (new(mine) || mine.is_zero()) && !new(theirs) {
        return Some(decide(Rule::JustCreated, Strategy::SetBitmap(Target)));
    }
    if !new(mine) && (new(theirs) || theirs.is_zero()) {
        return Some(decide(Rule::PeerJustCreated, Strategy::SetBitmap(Source)));
    }
    None
}

/// Rules 34 to 41: the current UUIDs are equal.
fn same_generation(me: &Side, peer: &Side, agreed: &Agreed) -> Decision {
    let my_bitmap = !me.uuids.bitmap.is_zero();
    let peer_bitmap = !peer.uuids.bitmap.is_zero();
    if my_bitmap != peer_bitmap && agreed.version < REPAIR_VERSION {
        let strategy = Strategy::NeedsProtocol(REPAIR_VERSION);
        return decide(Rule::LeftoverBitmapNeedsProtocol, strategy);
    }
    if my_bitmap && !peer_bitmap {
        let strategy = Strategy::UseBitmap(Source);
        return if saw_end_of_resync(&me.uuids, &peer.uuids) {
            repaired(Rule::MissedResyncFinished, strategy, Repair::FinishMyResync)
        } else {
            decide(Rule::PeerFailedToWriteSyncUuid, strategy)
        };
    }
    if peer_bitmap && !my_bitmap {
        let strategy = Strategy::UseBitmap(Target);
        return if saw_end_of_resync(&peer.uuids, &me.uuids) {
            repaired(
                Rule::PeerMissedResyncFinished,
                strategy,
                Repair::FinishPeersResync,
            )
        } else {
            decide(Rule::FailedToWriteSyncUuid, strategy)
        };
    }
    common_crash(me, peer, agreed)
}

/// Has the target already rotated away what the source still keeps as bitmap UUID?
fn saw_end_of_resync(source: &Set, target: &Set) -> bool {
    let [source_newer, _] = source.history;
    let [target_newer, target_older] = target.history;
    source.bitmap.unmarked() == target_newer.unmarked()
        && source_newer.unmarked() == target_older.unmarked()
}

/// Rules 40 and 41: equal in everything; did a primary crash with writes under way?
fn common_crash(me: &Side, peer: &Side, agreed: &Agreed) -> Decision {
    if !me.crashed_primary && !peer.crashed_primary {
        return decide(Rule::LinkHiccup, Strategy::NoSync);
    }
    let mine = me.role == Role::Primary;
    let theirs = peer.role == Role::Primary;
    if mine || theirs {
        return if !agreed.wsame {
            decide(Rule::PrimaryPresentNeedsFeature, NEEDS_WSAME)
        } else if mine && theirs {
            decide(Rule::BothPrimaryPresent, Strategy::SplitBrain)
        } else if mine {
            decide(Rule::PrimaryPresent, Strategy::UseBitmap(Source))
        } else {
            decide(Rule::PeerPrimaryPresent, Strategy::UseBitmap(Target))
        };
    }
    match (me.crashed_primary, peer.crashed_primary) {
        (true, false) => decide(Rule::CrashedPrimary, Strategy::UseBitmap(Source)),
        (false, true) => decide(Rule::PeerCrashedPrimary, Strategy::UseBitmap(Target)),
        _ => {
            let direction = if agreed.resolve_conflicts {
                Target
            } else {
                Source
            };
            decide(Rule::BothCrashedPrimary, Strategy::UseBitmap(direction))
        }
    }
}

/// Rules 50 to 80: one side remembers the other's generation. What tells more about the missed changes comes first, so
/// that both sides find the same. (8.4 asks whether it is behind, by whatever rule, before it asks whether it is ahead:
/// then both are, now and then.)
fn one_is_ahead(me: &Set, peer: &Set, agreed: &Agreed) -> Option<Decision> {
    let wrote_on = |one: &Set, other: &Set| one.bitmap.unmarked() == other.current.unmarked();
    let unseen = |one: &Set, other: &Set| sync_start_unseen(one, other, agreed);
    let left_behind = |one: &Set, other: &Set| remembers(one, other.current.unmarked());
    let bitmap_since = |direction| match direction {
        Source => decide(Rule::BitmapSincePeer, Strategy::UseBitmap(Source)),
        Target => decide(Rule::PeerBitmapSinceMine, Strategy::UseBitmap(Target)),
    };
    let resync_behind = |direction| match direction {
        Source => repaired(
            Rule::LeftResyncBehind,
            Strategy::UseBitmap(Source),
            Repair::FinishMyEarlierResync,
        ),
        Target => repaired(
            Rule::PeerLeftResyncBehind,
            Strategy::UseBitmap(Target),
            Repair::FinishPeersEarlierResync,
        ),
    };
    let history = |direction| match direction {
        Source => decide(Rule::PeerInHistory, Strategy::SetBitmap(Source)),
        Target => decide(Rule::InPeerHistory, Strategy::SetBitmap(Target)),
    };
    let sync_start = |direction| lost_sync_uuid(direction, agreed);
    from_either_side(me, peer, wrote_on, bitmap_since)
        .or_else(|| from_either_side(me, peer, unseen, sync_start))
        .or_else(|| from_either_side(me, peer, left_resync_behind, resync_behind))
        .or_else(|| from_either_side(me, peer, left_behind, history))
}

/// `ahead(one, other)`: is `one` ahead of `other`? Both of each other: there is no telling.
fn from_either_side(
    me: &Set,
    peer: &Set,
    ahead: impl Fn(&Set, &Set) -> bool,
    decision: impl Fn(Direction) -> Decision,
) -> Option<Decision> {
    match (ahead(me, peer), ahead(peer, me)) {
        (true, true) => Some(decide(Rule::Crossed, Strategy::SplitBrain)),
        (true, false) => Some(decision(Source)),
        (false, true) => Some(decision(Target)),
        (false, false) => None,
    }
}

/// Rules 51 and 71: the start of a resync from me (`Source`) or from the peer was not seen by the other side.
fn lost_sync_uuid(direction: Direction, agreed: &Agreed) -> Decision {
    let (rule, too_old, repair) = match direction {
        Source => (
            Rule::LostSyncUuid,
            Rule::LostSyncUuidNeedsProtocol,
            Repair::UndoMySyncStart,
        ),
        Target => (
            Rule::PeerLostSyncUuid,
            Rule::PeerLostSyncUuidNeedsProtocol,
            Repair::UndoPeersSyncStart,
        ),
    };
    if agreed.version < REPAIR_VERSION {
        decide(too_old, Strategy::NeedsProtocol(REPAIR_VERSION))
    } else {
        repaired(rule, Strategy::UseBitmap(direction), repair)
    }
}

/// Has `source` rotated its UUIDs for a resync whose P_SYNC_UUID never reached `target`?
fn sync_start_unseen(source: &Set, target: &Set, agreed: &Agreed) -> bool {
    let [source_newer, source_older] = source.history;
    let [target_newer, _] = target.history;
    if target.current.unmarked() != source_newer.unmarked() {
        return false;
    }
    if agreed.version < SYNC_UUID_VERSION {
        target_newer.unmarked() == source_older.unmarked()
    } else {
        source_newer.unmarked().sync_uuid() == source.bitmap.unmarked()
    }
}

/// Has `source` begun its generation after a resync to `target` of whose end it has not heard, or whose start `target` has
/// not heard of ([`Set::leave_behind_resync`])? A generation that is left as usual goes to the younger place; so `target`
/// can have the older one, and know what `source` has as the younger one, in no other way.
fn left_resync_behind(source: &Set, target: &Set) -> bool {
    let [source_newer, left] = source.history;
    let [target_newer, _] = target.history;
    let left_it = target.current.unmarked() == left.unmarked() && !source.bitmap.is_zero();
    let never_started = || source_newer.unmarked() == target_newer.unmarked();
    let ended = source.bitmap.unmarked() == target_newer.unmarked();
    left_it && (ended || never_started())
}

fn in_history(uuid: Uuid, of: &Set) -> bool {
    of.history.iter().any(|old| old.unmarked() == uuid)
}

/// Is `uuid` older history of `set`, or what it has begun resyncs from? Those that are broken off push it out of history.
/// (8.4 calls the two unrelated then.)
fn remembers(set: &Set, uuid: Uuid) -> bool {
    let began = |sync: &Uuid| sync.comes_from(uuid);
    in_history(uuid, set) || began(&set.bitmap) || set.history.iter().any(began)
}

/// Rules 90 and 100: neither is behind the other.
fn both_changed(me: &Set, peer: &Set) -> Decision {
    let mine = me.bitmap.unmarked();
    if mine == peer.bitmap.unmarked() && !mine.is_zero() {
        return decide(Rule::SameOrigin, Strategy::SplitBrainAuto);
    }
    // Empty slots count as common history, as they do in 8.4: two young disks are a split brain that an
    // administrator may solve with discard-my-data, not unrelated data.
    let history = me
        .history
        .iter()
        .any(|old| in_history(old.unmarked(), peer));
    // One wrote on from a generation that the other left behind long ago. (8.4 calls that unrelated data.)
    let wrote_on = |one: &Set, other: &Set| {
        let from = one.bitmap.unmarked();
        !from.is_zero() && remembers(other, from)
    };
    if history || wrote_on(me, peer) || wrote_on(peer, me) {
        return decide(Rule::SharedHistory, Strategy::SplitBrain);
    }
    decide(Rule::NothingInCommon, Strategy::Unrelated)
}
