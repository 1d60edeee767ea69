//! The thin actor: it passes jobs on to its pool and never blocks.

use actix::{Actor, ActorContext as _, Context, Handler};
use crossbeam_channel::{Sender, TrySendError};
use roadbed_messages::api::ActorKind;
use roadbed_messages::api::workers::{Generation, Order, VerifyJob};

use crate::supervision::Faults;
use crate::wal_worker::Stamped;

/// One life of the verifier.
pub(crate) struct Verifier {
    generation: Generation,
    jobs: Sender<Stamped<VerifyJob>>,
    faults: Faults,
}

impl Verifier {
    /// An actor that feeds `jobs`, which its pool drains.
    pub(crate) fn new(generation: Generation, jobs: Sender<Stamped<VerifyJob>>, faults: Faults) -> Self {
        Self { generation, jobs, faults }
    }
}

impl Actor for Verifier {
    type Context = Context<Self>;
}

impl Handler<Order<VerifyJob>> for Verifier {
    type Result = ();

    fn handle(&mut self, order: Order<VerifyJob>, ctx: &mut Context<Self>) {
        if order.generation != self.generation {
            return;
        }
        if self.faults.strike_actor(ActorKind::Verifier, ctx) {
            return;
        }
        match self.jobs.try_send(Stamped::now(order.order)) {
            Ok(()) => {}
            // State gives fewer jobs at once than the channel holds.
            Err(TrySendError::Full(_)) => panic!("more jobs than State may give at once"),
            // The pool has ended and has told State why: this life is over.
            Err(TrySendError::Disconnected(_)) => ctx.stop(),
        }
    }
}
