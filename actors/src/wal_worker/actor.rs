//! The thin actor: it passes orders on to its I/O thread and never blocks.

use actix::{Actor, ActorContext as _, Context, Handler};
use crossbeam_channel::{Sender, TrySendError};
use roadbed_messages::api::workers::{Generation, Order, WalOrder};

use super::{Record, Stamped};
use crate::supervision::Faults;

/// One life of a WAL actor.
pub(crate) struct WalActor<R> {
    generation: Generation,
    orders: Sender<Stamped<WalOrder<R>>>,
    faults: Faults,
}

impl<R: Record> WalActor<R> {
    /// An actor that feeds `orders`, which its I/O thread drains.
    pub(crate) fn new(generation: Generation, orders: Sender<Stamped<WalOrder<R>>>, faults: Faults) -> Self {
        Self { generation, orders, faults }
    }
}

impl<R: Record> Actor for WalActor<R> {
    type Context = Context<Self>;
}

impl<R: Record> Handler<Order<WalOrder<R>>> for WalActor<R> {
    type Result = ();

    fn handle(&mut self, order: Order<WalOrder<R>>, ctx: &mut Context<Self>) {
        if order.generation != self.generation {
            return;
        }
        if self.faults.strike_actor(R::WAL.actor(), ctx) {
            return;
        }
        match self.orders.try_send(Stamped::now(order.order)) {
            Ok(()) => {}
            // State gives fewer orders at once than the channel holds.
            Err(TrySendError::Full(_)) => panic!("more orders than State may give at once"),
            // The thread has ended and has told State why: this life is over.
            Err(TrySendError::Disconnected(_)) => ctx.stop(),
        }
    }
}
