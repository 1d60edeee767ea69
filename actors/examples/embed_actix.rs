//! Roadbed inside an actix System: an actor of the embedder sends State the typed messages.
//!
//! `cargo run --package roadbed --example embed_actix`

#![allow(clippy::print_stdout, reason = "an example says what happens")]

use std::sync::Arc;

use actix::{
    Actor, ActorFutureExt as _, Addr, Context, Handler, Message, ResponseActFuture, WrapFuture as _,
};
use roadbed::{Roadbed, State};
use roadbed_messages::api::{Error, GetGlobalBlock, PushAppHash, PushQc};
use roadbed_messages::testing::{self, ChainShape};
use roadbed_messages::{BlockNumber, GlobalBlock};

/// The embedder's application: it executes one block at a time.
struct Application {
    data: Addr<State>,
    executed: u64,
}

impl Actor for Application {
    type Context = Context<Self>;
}

/// Execute the block with this number, when it is there; answered when it may be voted on.
#[derive(Message)]
#[rtype(result = "Result<GlobalBlock, Error>")]
struct Execute(BlockNumber);

impl Handler<Execute> for Application {
    type Result = ResponseActFuture<Self, Result<GlobalBlock, Error>>;

    fn handle(&mut self, Execute(number): Execute, _: &mut Context<Self>) -> Self::Result {
        let data = self.data.clone();
        let work = async move {
            // A mailbox that is closed says that the data layer has ended; `Roadbed::stopped` says why.
            let gone = |_| Error::NotFound;
            let block = data.send(GetGlobalBlock { number }).await.map_err(gone)??;
            let hash = testing::app_hash(7, number);
            data.send(PushAppHash { number, hash }).await.map_err(gone)??;
            Ok(block)
        };
        Box::pin(work.into_actor(self).map(|done, application, _| {
            application.executed += u64::from(done.is_ok());
            println!("{} blocks executed", application.executed);
            done
        }))
    }
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    actix::System::new().block_on(async {
        let members = testing::committee(7, 4);
        let roadbed = Roadbed::builder(members.committee.clone()).in_memory().start().await?;
        let application = Application { data: roadbed.addr(), executed: 0 }.start();

        // The application waits for a block that has not arrived yet; nothing is blocked by that.
        let executed = application.send(Execute(BlockNumber(0)));
        let (qc, blocks) =
            testing::chain(7, &members, ChainShape::default()).next().ok_or("a chain goes on")?;
        let push = PushQc { qc: Arc::new(qc), blocks: blocks.into_iter().map(Arc::new).collect() };
        roadbed.addr().send(push).await??;

        let block = executed.await??;
        println!("block {} of {} may be voted on", block.number, block.header.lane);
        roadbed.shutdown().await?;
        Ok(())
    })
}
