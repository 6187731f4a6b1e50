// SPDX-License-Identifier: GPL-2.0-only

//! Two disks meet: what is done about the data on them (8.4: `drbd_sync_handshake`).
//!
//! ```text
//!   compare ──► disk states override ──► after-sb policies ──► discard-my-data ──► may I? ──► plan
//!      │ unrelated, needs newer              │ demote first         │ unresolved      │ inconsistent source
//!      └────────────► refuse                 └──► ask again         └──► refuse       │ primary target
//!                                                                                     └─► dry run ─► refuse
//! ```
//!
//! Nothing is written here. The caller applies [`Outcome::repair`], calls the helpers in the order of
//! [`Helpers`], sets the whole bitmap if the plan says so, and enters the planned connection state.

use super::asb::{recover, Demotion, Policies, Recovery};
use super::compare::{compare, Agreed, Decision, Direction, Repair, Rule, Side, Strategy};
use crate::config::choices::RrConflict;
use crate::types::{ConnState, DiskState, Role};
use Direction::{Source, Target};

/// The configuration that the handshake asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `after-sb-0pri`, `-1pri`, `-2pri`
    pub after_sb: Policies,
    /// `always-asbp`: ask the policies even if only older history is shared.
    pub always_asbp: bool,
    /// `rr-conflict`: a primary would become sync target.
    pub rr_conflict: RrConflict,
    /// `tentative`, or the peer asked for a dry run: say what would happen, then part.
    pub dry_run: bool,
}

/// Everything the handshake looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// My side.
    pub me: Side,
    /// The peer's side, from P_UUIDS and P_STATE.
    pub peer: Side,
    /// What was agreed on connect.
    pub agreed: Agreed,
    /// My disk; while it negotiates, what it wants to become.
    pub disk: DiskState,
    /// My disk state as it is now.
    pub disk_now: DiskState,
    /// The peer's disk; while it negotiates, what it wants to become.
    pub peer_disk: DiskState,
    /// The peer's disk state as it is now.
    pub peer_disk_now: DiskState,
    /// The configuration.
    pub policy: Policy,
    /// Has this node already tried to give up its primary role for this handshake? If so, `me.role` stays
    /// what it was before: the policies go by the number of primaries that met.
    pub demotion: Demotion,
}

/// What decided, if it was not the comparison alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Solved {
    /// One disk is inconsistent, the other is not.
    ByDiskStates(Direction),
    /// A Primary attaches its disk: until then it worked with the other one.
    ByAttaching(Direction),
    /// An after-split-brain policy. `full`: the UUIDs were ambiguous.
    ByPolicy {
        /// How many primaries there are.
        primaries: u8,
        /// Who is copied to whom.
        direction: Direction,
        /// A full sync is done.
        full: bool,
        /// The number of changes decided, because no younger or older primary was found.
        fell_back: bool,
    },
    /// One administrator said `discard-my-data`.
    ByDiscardMyData(Direction),
}

/// Why the two disks stay apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing in common.
    Unrelated,
    /// Both sides need at least this protocol.
    NeedsProtocol(u32),
    /// Both sides need at least this protocol and these features.
    NeedsFeature {
        /// The protocol.
        version: u32,
        /// The feature bits.
        features: u32,
    },
    /// Split brain, and no rule solves it.
    SplitBrain,
    /// This side would be the source, but its disk is inconsistent.
    InconsistentSource,
    /// This side would be the target, but it is primary and its data is in use.
    PrimaryTarget,
    /// A dry run was asked for; this is what would have happened.
    DryRun(Strategy),
    /// The whole bitmap had to be set, and could not be written: the plan's executor says so.
    WholeBitmapFailed,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The next connection state: Connected, WFBitMapS or WFBitMapT.
    pub conn: ConnState,
    /// Set the whole bitmap and write it first; if that fails, refuse.
    pub set_whole_bitmap: bool,
    /// A primary becomes sync target because `rr-conflict violently` allows it: worth a warning.
    pub violates_stable_data: bool,
}

/// User space helpers to call, in the order of the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Helpers {
    /// `initial-split-brain`
    pub initial_split_brain: bool,
    /// `pri-lost-after-sb`
    pub pri_lost_after_sb: bool,
    /// `split-brain`
    pub split_brain: bool,
    /// `pri-lost`
    pub pri_lost: bool,
}

/// What the handshake decided and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The comparison of the UUIDs.
    pub decision: Decision,
    /// What decided if it was not the comparison.
    pub solved: Option<Solved>,
    /// The helpers to call.
    pub helpers: Helpers,
    /// Give up the primary role, then do the handshake again with the outcome in `demotion`. Neither the
    /// helpers nor the verdict are valid before that.
    pub demote_first: bool,
    /// The plan, or why there is none.
    pub verdict: Result<Plan, Refusal>,
}

impl Outcome {
    /// The correction to make at once. A resync that ended unseen stays in my generations for as long as what I marked
    /// since is not about to travel: the start of the next resync makes it history. If the connection breaks before, the
    /// next comparison finds it again. (8.4 writes the correction; what was marked then stays behind.)
    pub fn repair(&self) -> Option<Repair> {
        let starts = matches!(self.verdict, Ok(plan) if plan.conn == ConnState::WfBitmapS);
        self.decision
            .repair
            .filter(|repair| !(starts && *repair == Repair::FinishMyResync))
    }
}

/// Decides what to do about two disks that meet.
pub fn sync_handshake(h: &Handshake) -> Outcome {
    let decision = compare(&h.me, &h.peer, &h.agreed);
    let mut out = Outcome {
        decision,
        solved: None,
        helpers: Helpers::default(),
        demote_first: false,
        verdict: Err(Refusal::SplitBrain),
    };
    out.verdict = resolve(h, &mut out).and_then(|strategy| admit(h, strategy, &mut out));
    out
}

/// From the comparison to a strategy that is a resync, or none.
fn resolve(h: &Handshake, out: &mut Outcome) -> Result<Strategy, Refusal> {
    let mut strategy = match out.decision.strategy {
        Strategy::Unrelated => return Err(Refusal::Unrelated),
        Strategy::NeedsProtocol(version) => return Err(Refusal::NeedsProtocol(version)),
        Strategy::NeedsFeature { version, features } => {
            return Err(Refusal::NeedsFeature { version, features })
        }
        other => other,
    };
    if let Some(direction) = by_attaching(h, out.decision.rule) {
        out.solved = Some(Solved::ByAttaching(direction));
        strategy = resync(direction, false);
    }
    if let Some((direction, full)) = by_disk_states(h, strategy) {
        out.solved = Some(Solved::ByDiskStates(direction));
        strategy = resync(direction, full);
    }
    let ambiguous = strategy == Strategy::SplitBrain;
    if strategy == Strategy::SplitBrainAuto || ambiguous {
        out.helpers.initial_split_brain = true;
        if !ambiguous || h.policy.always_asbp {
            strategy = by_policy(h, ambiguous, out);
        }
    }
    // Where a Primary should have given way, the policies have chosen the source, and the other side knows. (8.4 goes by
    // the administrators' wish if that Primary cannot: two sources.)
    let chosen = out.demote_first || out.helpers.pri_lost_after_sb;
    if strategy == Strategy::SplitBrain && !chosen {
        strategy = by_discard_my_data(h, ambiguous, out);
    }
    if strategy == Strategy::SplitBrain {
        out.helpers.split_brain = !out.demote_first;
        return Err(Refusal::SplitBrain);
    }
    Ok(strategy)
}

fn resync(direction: Direction, full: bool) -> Strategy {
    if full {
        Strategy::SetBitmap(direction)
    } else {
        Strategy::UseBitmap(direction)
    }
}

fn is_better_than_inconsistent(disk: DiskState) -> bool {
    matches!(
        disk,
        DiskState::Outdated | DiskState::Unknown | DiskState::Consistent | DiskState::UpToDate
    )
}

/// The generations are equal, and a disk was not detached in order: the rules ask who is Primary now. A Primary that only
/// attaches is no source: what was written while it had no disk, the other one has. That one made no generation of its own
/// for it if it had not seen yet that the resync of this disk had ended. (8.4 takes this Primary for the source, or two
/// Primaries for a split brain.)
fn by_attaching(h: &Handshake, rule: Rule) -> Option<Direction> {
    let present = matches!(
        rule,
        Rule::PrimaryPresent | Rule::PeerPrimaryPresent | Rule::BothPrimaryPresent
    );
    let attaches = |role, disk| role == Role::Primary && disk == DiskState::Negotiating;
    let mine = attaches(h.me.role, h.disk_now);
    let theirs = attaches(h.peer.role, h.peer_disk_now);
    match (mine, theirs) {
        (true, false) if present => Some(Target),
        (false, true) if present => Some(Source),
        _ => None,
    }
}

/// An inconsistent disk can only be a target.
fn by_disk_states(h: &Handshake, strategy: Strategy) -> Option<(Direction, bool)> {
    let full = strategy == Strategy::SplitBrain || strategy.is_full();
    if h.disk == DiskState::Inconsistent && is_better_than_inconsistent(h.peer_disk) {
        Some((Target, full))
    } else if h.peer_disk == DiskState::Inconsistent && is_better_than_inconsistent(h.disk) {
        Some((Source, full))
    } else {
        None
    }
}

fn by_policy(h: &Handshake, ambiguous: bool, out: &mut Outcome) -> Strategy {
    let policies = &h.policy.after_sb;
    match recover(
        &h.me,
        &h.peer,
        policies,
        h.agreed.resolve_conflicts,
        h.demotion,
    ) {
        Recovery::Sync {
            direction,
            fell_back,
        } => {
            let is_primary = |side: &Side| u8::from(side.role == Role::Primary);
            let primaries = is_primary(&h.me) + is_primary(&h.peer);
            let full = ambiguous;
            out.solved = Some(Solved::ByPolicy {
                primaries,
                direction,
                full,
                fell_back,
            });
            resync(direction, full)
        }
        Recovery::DemoteFirst => {
            out.demote_first = true;
            Strategy::SplitBrain
        }
        Recovery::DemotionRefused => {
            out.helpers.pri_lost_after_sb = true;
            Strategy::SplitBrain
        }
        Recovery::Unsolved => Strategy::SplitBrain,
    }
}

/// `ambiguous`: the bitmaps count from different generations, so they do not name all that differs. (8.4 goes by them
/// all the same.)
fn by_discard_my_data(h: &Handshake, ambiguous: bool, out: &mut Outcome) -> Strategy {
    let direction = match (h.me.discard_my_data, h.peer.discard_my_data) {
        (true, false) => Target,
        (false, true) => Source,
        _ => return Strategy::SplitBrain,
    };
    out.solved = Some(Solved::ByDiscardMyData(direction));
    resync(direction, ambiguous)
}

/// May this node take the part that the strategy gives it?
fn admit(h: &Handshake, strategy: Strategy, out: &mut Outcome) -> Result<Plan, Refusal> {
    let direction = strategy.direction();
    let mut violates_stable_data = false;
    if direction == Some(Source) && !is_better_than_inconsistent(h.disk) {
        return Err(Refusal::InconsistentSource);
    }
    // The state now, not the one aimed at: only a disk that serves a primary must not change under it.
    let in_use = h.me.role == Role::Primary
        && h.demotion != Demotion::Done
        && matches!(h.disk_now, DiskState::Consistent | DiskState::UpToDate);
    if direction == Some(Target) && in_use {
        if h.policy.rr_conflict != RrConflict::Violently {
            out.helpers.pri_lost = h.policy.rr_conflict == RrConflict::CallPriLost;
            return Err(Refusal::PrimaryTarget);
        }
        violates_stable_data = true;
    }
    if h.policy.dry_run {
        return Err(Refusal::DryRun(strategy));
    }
    let conn = match direction {
        Some(Source) => ConnState::WfBitmapS,
        Some(Target) => ConnState::WfBitmapT,
        None => ConnState::Connected,
    };
    Ok(Plan {
        conn,
        set_whole_bitmap: strategy.is_full(),
        violates_stable_data,
    })
}
