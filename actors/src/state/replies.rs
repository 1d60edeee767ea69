//! Replies that come later: they live in State's table, never in a worker, so that no worker's death can lose one. Not
//! even State's own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, Message};
use roadbed_messages::api::workers::CallId;
use roadbed_messages::api::{Cursors, Error, ShutdownReport, Status, StopReason};
use roadbed_messages::{AppProposal, Block, BlockNumber, FullCommitQc, GlobalBlock};

use super::core::Answer;

/// A reply type that the core's answers convert into.
pub trait FromAnswer: Sized + 'static {
    /// `None` for an answer of another type.
    fn from_answer(answer: Answer) -> Option<Self>;
}

macro_rules! from_answer {
    ($($variant:ident => $reply:ty),* $(,)?) => {
        $(impl FromAnswer for $reply {
            fn from_answer(answer: Answer) -> Option<Self> {
                match answer {
                    Answer::$variant(reply) => Some(reply.into()),
                    _ => None,
                }
            }
        })*
    };
}

from_answer! {
    Qc => Arc<FullCommitQc>,
    Block => Arc<Block>,
    GlobalBlock => GlobalBlock,
    GlobalBlocks => Vec<GlobalBlock>,
    AppProposal => AppProposal,
    Flag => bool,
    Cursors => Cursors,
    Pruned => Range<BlockNumber>,
    Shutdown => ShutdownReport,
}

impl FromAnswer for () {
    fn from_answer(answer: Answer) -> Option<Self> {
        matches!(answer, Answer::Done).then_some(())
    }
}

impl FromAnswer for Status {
    fn from_answer(answer: Answer) -> Option<Self> {
        match answer {
            Answer::Status(status) => Some(*status),
            _ => None,
        }
    }
}

/// The replies that are owed. Clones share the table: it outlives State, so that a death that answers nobody can still
/// be told to everybody.
#[derive(Clone, Default)]
pub(crate) struct Replies(Rc<RefCell<BTreeMap<CallId, Box<dyn Reply>>>>);

impl Replies {
    /// Owes a reply to a call.
    pub(super) fn owe(&self, call: CallId, reply: Box<dyn Reply>) {
        self.0.borrow_mut().insert(call, reply);
    }

    /// Answers a call, if its caller still waits.
    pub(super) fn answer(&self, call: CallId, answer: Result<Answer, Error>) {
        let reply = self.0.borrow_mut().remove(&call);
        if let Some(reply) = reply {
            reply.answer(answer);
        }
    }

    /// Takes out the calls whose callers no longer wait.
    pub(super) fn take_abandoned(&self) -> Vec<CallId> {
        let mut abandoned = Vec::new();
        self.0.borrow_mut().retain(|call, reply| {
            let gone = reply.is_abandoned();
            if gone {
                abandoned.push(*call);
            }
            !gone
        });
        abandoned
    }

    /// Tells everybody who still waits that State failed.
    pub(crate) fn state_failed(&self, reason: &StopReason) {
        for (_, reply) in std::mem::take(&mut *self.0.borrow_mut()) {
            reply.answer(Err(Error::Stopped(reason.clone())));
        }
    }
}

/// A place for one reply, in State's table.
pub(super) trait Reply {
    /// Sends the answer, if the caller still waits.
    fn answer(&self, answer: Result<Answer, Error>);

    /// Whether the caller no longer waits.
    fn is_abandoned(&self) -> bool;
}

enum Slot<R> {
    /// The handler has not returned yet: who waits is not known.
    New,
    /// The caller waits.
    Waiting(OneshotSender<Result<R, Error>>),
    /// Answered before it was known who waits.
    Early(Result<R, Error>),
    /// Answered, or nobody ever waited.
    Over,
}

/// What a handler of State returns: the reply will come through the table.
pub struct Deferred<R>(Rc<RefCell<Slot<R>>>);

impl<R: FromAnswer> Deferred<R> {
    /// A reply to come, and its place in the table.
    pub(super) fn new() -> (Self, Box<dyn Reply>) {
        let slot = Rc::new(RefCell::new(Slot::New));
        (Self(Rc::clone(&slot)), Box::new(Deferred(slot)))
    }
}

impl<R: FromAnswer> Reply for Deferred<R> {
    fn answer(&self, answer: Result<Answer, Error>) {
        let reply =
            answer.map(|answer| R::from_answer(answer).expect("a request is answered with its reply type"));
        let mut slot = self.0.borrow_mut();
        *slot = match std::mem::replace(&mut *slot, Slot::Over) {
            Slot::Waiting(caller) => {
                // An error here only says that the caller has gone.
                drop(caller.send(reply));
                Slot::Over
            }
            Slot::New => Slot::Early(reply),
            other => other,
        };
    }

    fn is_abandoned(&self) -> bool {
        match &*self.0.borrow() {
            Slot::Waiting(caller) => caller.is_closed(),
            Slot::New | Slot::Early(_) => false,
            Slot::Over => true,
        }
    }
}

impl<A, M, R> MessageResponse<A, M> for Deferred<R>
where
    A: Actor,
    M: Message<Result = Result<R, Error>>,
{
    fn handle(self, _: &mut A::Context, caller: Option<OneshotSender<Result<R, Error>>>) {
        let mut slot = self.0.borrow_mut();
        *slot = match (std::mem::replace(&mut *slot, Slot::Over), caller) {
            (Slot::Early(reply), Some(caller)) => {
                drop(caller.send(reply));
                Slot::Over
            }
            (Slot::New, Some(caller)) => Slot::Waiting(caller),
            // Sent without waiting for a reply.
            _ => Slot::Over,
        };
    }
}
