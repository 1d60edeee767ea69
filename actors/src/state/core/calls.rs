//! The table of pending calls: the bound, the depth gauge and the back-pressure in one.
//!
//! Every call that is not answered at once stands here under its kind, until it is answered or its caller is gone.
//! Each kind has a bound of its own in calls and in bytes, so that pushes that wait can never lock out what would
//! free them. When a bound is full the *highest* number that waits or is being verified is answered Busy, so that a
//! lower one gets in: progress always needs the lowest. For what is needed next there is a small reserve beyond the
//! bound, so that a flood of copies of old numbers can't lock it out either.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use roadbed_messages::BlockNumber;
use roadbed_messages::api::workers::CallId;
use roadbed_messages::api::{Error, PushBlock, PushQc};
use roadbed_messages::{AppHash, VerifiedBlock, VerifiedQc};

use super::Request;

/// Calls beyond a full bound that are let in when they bring exactly what is needed next.
const NEEDED_NEXT_RESERVE: usize = 16;

/// What a call waits for; each kind has its own bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Waits for its range to be admissible, and for verification.
    PushQc,
    /// Waits for verification, then for a QC.
    PushBlock,
    /// Waits for its block to be durable.
    PushAppHash,
    /// Waits for a QC.
    GetQc,
    /// Waits for a block in the contiguous run; `GetGlobalBlock` likewise.
    GetBlock,
    /// Waits for an app hash.
    GetAppProposal,
    /// Waits for the stream to go on.
    Subscribe,
    /// Waits for the stream to go on with durable blocks.
    SubscribeDurable,
    /// Waits for a reader only.
    TryGet,
    /// Waits for both logs to have made the truncation durable.
    PruneBefore,
    /// Waits for the end.
    Shutdown,
}

impl Kind {
    /// All kinds, in the order in which waiting calls are looked at, each at the place of its discriminant.
    pub const ALL: [Self; 11] = [
        Self::PushQc,
        Self::PushBlock,
        Self::PushAppHash,
        Self::GetQc,
        Self::GetBlock,
        Self::GetAppProposal,
        Self::Subscribe,
        Self::SubscribeDurable,
        Self::TryGet,
        Self::PruneBefore,
        Self::Shutdown,
    ];

    /// The kind of a stream.
    pub fn of_stream(only_durable: bool) -> Self {
        if only_durable { Self::SubscribeDurable } else { Self::Subscribe }
    }

    /// The name used in errors, metrics and the status.
    pub fn name(self) -> &'static str {
        match self {
            Self::PushQc => "push_qc",
            Self::PushBlock => "push_block",
            Self::PushAppHash => "push_app_hash",
            Self::GetQc => "get_qc",
            Self::GetBlock => "get_block",
            Self::GetAppProposal => "get_app_proposal",
            Self::Subscribe => "subscribe",
            Self::SubscribeDurable => "subscribe_durable",
            Self::TryGet => "try_get",
            Self::PruneBefore => "prune_before",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The bound of one kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The most calls that wait at once.
    pub calls_max: usize,
    /// The most bytes that they hold.
    pub bytes_max: u64,
}

/// What a pending call still needs to know of its request.
#[derive(Clone, Debug)]
pub enum Pending {
    /// A QC push.
    PushQc(PushQc),
    /// A QC push that is verified and waits for its turn.
    InsertQc {
        /// How many headers it brought.
        headers: u64,
        /// The QC, unless it was stale when its job was given.
        qc: Option<VerifiedQc>,
        /// Its blocks.
        blocks: Vec<VerifiedBlock>,
    },
    /// A block push that is not verified yet.
    PushBlock(PushBlock),
    /// A block push that waits for its QC.
    MatchBlock(VerifiedBlock),
    /// An app hash.
    PushAppHash(AppHash),
    /// A QC is wanted.
    GetQc,
    /// A block is wanted.
    GetBlock,
    /// A block with what its QC says of it is wanted.
    GetGlobalBlock,
    /// An app proposal is wanted; once found, its block and hash, while the QC is being read.
    GetAppProposal(Option<(BlockNumber, AppHash)>),
    /// The stream is wanted: at most so many blocks.
    Subscribe(usize),
    /// A block is wanted that does not have to arrive first.
    TryGet,
    /// The same, by its header's hash.
    ByHash,
    /// Nobody waits for it any more, but its read is still under way.
    Forgotten,
    /// Anything that came before recovery was done.
    Early(Request),
    /// A pruning: the range that it took out.
    Prune(Range<BlockNumber>),
    /// An ordered shutdown.
    Shutdown,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Until recovery is done.
    Early,
    /// Until the window reaches its number.
    Ahead,
    /// Until a cursor has passed its number.
    Waiting,
    /// Until the verifier takes it: the lowest number first.
    Queued,
    /// With the verifier.
    Verifying,
    /// With a reader.
    Reading,
    /// Until the logs are done.
    Finishing,
}

impl Stage {
    /// Whether a lower number may take the call's place: a job that is with the verifier is then done for nobody.
    fn is_displaceable(self) -> bool {
        !matches!(self, Self::Reading | Self::Finishing)
    }
}

/// One call in the table.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its kind.
    pub kind: Kind,
    /// The number that it is about.
    pub number: u64,
    /// The bytes that it holds.
    pub bytes: u64,
    /// How far it has come.
    pub stage: Stage,
    /// Its request.
    pub pending: Pending,
    /// Whether a life of the verifier ended while it had this call's job.
    pub suspected: bool,
    /// How many lives of the verifier ended because of it.
    pub verifier_deaths: u32,
}

/// By kind, then by number.
type Key = (Kind, u64, CallId);

impl Call {
    fn key(&self, id: CallId) -> Key {
        (self.kind, self.number, id)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    calls: usize,
    bytes: u64,
}

/// All pending calls.
#[derive(Debug, Default)]
pub struct Calls {
    table: BTreeMap<CallId, Call>,
    /// Those in [`Stage::Ahead`].
    ahead: BTreeSet<(u64, CallId)>,
    /// Those in [`Stage::Waiting`].
    waiting: BTreeSet<Key>,
    /// Those in [`Stage::Queued`], in the order in which State needs them.
    queued: BTreeSet<(u64, CallId)>,
    /// What may make room for a lower number.
    displaceable: BTreeSet<Key>,
    /// All of them, by kind.
    by_kind: BTreeSet<(Kind, CallId)>,
    held: [Held; Kind::ALL.len()],
}

/// What came of an admission.
#[derive(Debug, PartialEq)]
pub enum Admission {
    /// It is in the table. These calls had to make room: answer each with its error.
    Admitted(Vec<(CallId, Error)>),
    /// The bound is full of lower numbers.
    Refused(Error),
}

impl Calls {
    /// Takes a call into the table, displacing higher numbers where the bound is full.
    ///
    /// `needed_next` is the number without which nothing of this kind goes on.
    pub fn admit(&mut self, id: CallId, call: Call, bound: Bound, needed_next: Option<u64>) -> Admission {
        let held = self.held[call.kind as usize];
        let (mut calls, mut bytes) = (held.calls, held.bytes);
        let mut make_room = Vec::new();
        // An empty bound takes any single call: a block that is larger than the bound must still get in.
        let fits = |calls: usize, bytes: u64| {
            calls == 0 || (calls < bound.calls_max && bytes.saturating_add(call.bytes) <= bound.bytes_max)
        };
        for (_, number, victim) in self.displaceable.range(of_kind(call.kind)).rev() {
            if fits(calls, bytes) || *number <= call.number {
                break;
            }
            calls -= 1;
            bytes = bytes.saturating_sub(self.table.get(victim).map_or(0, |call| call.bytes));
            make_room.push((*victim, *number));
        }
        if !fits(calls, bytes) {
            let reserved = needed_next == Some(call.number) && calls < bound.calls_max + NEEDED_NEXT_RESERVE;
            if !reserved {
                return Admission::Refused(self.busy(call.kind, call.number));
            }
        }
        let mut displaced = Vec::new();
        for (victim, number) in make_room {
            displaced.push((victim, self.busy(call.kind, number)));
            self.remove(victim);
        }
        let held = &mut self.held[call.kind as usize];
        held.calls += 1;
        held.bytes = held.bytes.saturating_add(call.bytes);
        self.by_kind.insert((call.kind, id));
        self.move_between(call.key(id), Stage::Finishing, call.stage);
        let previous = self.table.insert(id, call);
        debug_assert!(previous.is_none(), "a call id is used once");
        Admission::Admitted(displaced)
    }

    /// Removes a call: it is answered, or its caller is gone.
    pub fn remove(&mut self, id: CallId) -> Option<Call> {
        let call = self.table.remove(&id)?;
        self.move_between(call.key(id), call.stage, Stage::Finishing);
        self.by_kind.remove(&(call.kind, id));
        let held = &mut self.held[call.kind as usize];
        held.calls -= 1;
        held.bytes = held.bytes.saturating_sub(call.bytes);
        Some(call)
    }

    /// A call by its id.
    pub fn get(&self, id: CallId) -> Option<&Call> {
        self.table.get(&id)
    }

    /// A call's request; its place in the table can't be changed through this.
    pub fn pending_mut(&mut self, id: CallId) -> Option<&mut Pending> {
        self.table.get_mut(&id).map(|call| &mut call.pending)
    }

    /// Notes that a life of the verifier ended while it had this call's job, and whether that was to blame. Answers
    /// how many lives it is to blame for by now.
    pub fn suspect(&mut self, id: CallId, to_blame: bool) -> Option<u32> {
        let call = self.table.get_mut(&id)?;
        call.suspected = true;
        call.verifier_deaths += u32::from(to_blame);
        Some(call.verifier_deaths)
    }

    /// Moves a call to another stage.
    pub fn set_stage(&mut self, id: CallId, stage: Stage) {
        let Some(call) = self.table.get_mut(&id) else { return };
        let before = std::mem::replace(&mut call.stage, stage);
        let key = call.key(id);
        self.move_between(key, before, stage);
    }

    /// Moves a call from the set of one stage to that of another; [`Stage::Finishing`] has none.
    fn move_between(&mut self, (kind, number, id): Key, before: Stage, after: Stage) {
        for (stage, member) in [(before, false), (after, true)] {
            match stage {
                Stage::Ahead => set_member(&mut self.ahead, (number, id), member),
                Stage::Waiting => set_member(&mut self.waiting, (kind, number, id), member),
                Stage::Queued => set_member(&mut self.queued, (number, id), member),
                Stage::Early | Stage::Verifying | Stage::Reading | Stage::Finishing => {}
            }
        }
        if before.is_displaceable() != after.is_displaceable() {
            set_member(&mut self.displaceable, (kind, number, id), after.is_displaceable());
        }
    }

    /// The call that the verifier should take next: the lowest from `needed` on, else the lowest of all.
    pub fn next_queued(&self, needed: u64) -> Option<CallId> {
        let next = self.queued.range((needed, CallId(0))..).next().or_else(|| self.queued.first());
        next.map(|(_, id)| *id)
    }

    /// The lowest call that waits for the window, if the window ends beyond it.
    pub fn next_ahead(&self, window_end: u64) -> Option<CallId> {
        let (number, id) = *self.ahead.first()?;
        (number < window_end).then_some(id)
    }

    /// The lowest waiting call of a kind whose number is below `cursor`.
    pub fn next_below(&self, kind: Kind, cursor: u64) -> Option<CallId> {
        // Most kinds have none at most times, and this is asked of each after every message.
        if self.count(kind) == 0 {
            return None;
        }
        let (_, number, id) = *self.waiting.range(of_kind(kind)).next()?;
        (number < cursor).then_some(id)
    }

    /// All calls of one kind, oldest first.
    pub fn of_kind(&self, kind: Kind) -> Vec<CallId> {
        if self.count(kind) == 0 {
            return Vec::new();
        }
        self.by_kind.range((kind, CallId(0))..=(kind, CallId(u64::MAX))).map(|(_, id)| *id).collect()
    }

    /// All calls, oldest first.
    pub fn ids(&self) -> Vec<CallId> {
        self.table.keys().copied().collect()
    }

    /// How many calls of a kind are pending.
    pub fn count(&self, kind: Kind) -> usize {
        self.held[kind as usize].calls
    }

    /// How many bytes the pending calls of a kind hold.
    pub fn bytes(&self, kind: Kind) -> u64 {
        self.held[kind as usize].bytes
    }

    fn busy(&self, kind: Kind, number: u64) -> Error {
        Error::Busy { kind: kind.name(), number, waiting: self.count(kind), waiting_bytes: self.bytes(kind) }
    }
}

/// The keys of every waiting call of one kind, in ascending order of their numbers.
fn of_kind(kind: Kind) -> std::ops::RangeInclusive<Key> {
    (kind, 0, CallId(0))..=(kind, u64::MAX, CallId(u64::MAX))
}

fn set_member<T: Ord>(set: &mut BTreeSet<T>, key: T, member: bool) {
    if member {
        set.insert(key);
    } else {
        set.remove(&key);
    }
}
