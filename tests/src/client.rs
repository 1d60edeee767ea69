//! A caller that speaks to State through its address.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, MailboxError, Message};
use roadbed::State;
use roadbed_messages::api::{
    ActorKind, Cursors, Error, GetStatus, NextBlock, PruneBefore, PushAppHash, PushBlock, PushQc, Status,
    WorkerStatus,
};
use roadbed_messages::{BlockNumber, testing};

use crate::{Certified, Fixture, app_hash};

/// How often the status is asked for while a test waits for it to show something.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A test that waits for so long will wait for ever: it fails with what it saw last.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120);

/// A caller that speaks to State through its address.
#[derive(Clone)]
pub struct Client {
    addr: Addr<State>,
}

impl Client {
    /// A caller of this State.
    pub fn new(addr: Addr<State>) -> Self {
        Self { addr }
    }

    /// Sends a message now; its reply may be waited for later, or never.
    pub fn send<M>(&self, message: M) -> Sent<M::Result>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        State: Handler<M>,
        <State as Actor>::Context: ToEnvelope<State, M>,
    {
        // A clone has a place of its own in the mailbox: the message is there when this returns.
        Sent { request: Box::pin(self.addr.clone().send(message)), reply: None }
    }

    /// Sends a message and waits for its reply.
    ///
    /// # Errors
    /// What State answers.
    pub async fn ask<M, R>(&self, message: M) -> Result<R, Error>
    where
        M: Message<Result = Result<R, Error>> + Send + 'static,
        R: Send + 'static,
        State: Handler<M>,
        <State as Actor>::Context: ToEnvelope<State, M>,
    {
        self.send(message).reply().await
    }

    /// Pushes a QC with all its blocks.
    ///
    /// # Errors
    /// What State answers.
    pub async fn push(&self, (qc, blocks): &Certified) -> Result<(), Error> {
        self.ask(PushQc { qc: qc.clone(), blocks: blocks.clone() }).await
    }

    /// Pushes a QC without any block.
    ///
    /// # Errors
    /// What State answers.
    pub async fn push_bare(&self, (qc, _): &Certified) -> Result<(), Error> {
        self.ask(PushQc { qc: qc.clone(), blocks: Vec::new() }).await
    }

    /// Pushes a block of the fixture's chain under its number.
    ///
    /// # Errors
    /// What State answers.
    pub async fn push_block(&self, fixture: &Fixture, number: BlockNumber) -> Result<(), Error> {
        self.ask(PushBlock { number, block: fixture.block(number).clone() }).await
    }

    /// Reports the app hash of a block.
    ///
    /// # Errors
    /// What State answers.
    pub async fn execute(&self, number: BlockNumber) -> Result<(), Error> {
        self.ask(PushAppHash { number, hash: app_hash(number) }).await
    }

    /// Prunes.
    ///
    /// # Errors
    /// What State answers.
    pub async fn prune(&self, retain_from: BlockNumber) -> Result<Range<BlockNumber>, Error> {
        self.ask(PruneBefore { retain_from }).await
    }

    /// The five cursors.
    ///
    /// # Panics
    /// When State has stopped.
    pub async fn cursors(&self) -> Cursors {
        let cursors = self.ask(NextBlock).await.expect("State answers");
        assert!(cursors.in_order(), "{cursors:?}");
        cursors
    }

    /// The status.
    ///
    /// # Panics
    /// When State has stopped.
    pub async fn status(&self) -> Status {
        let status = self.ask(GetStatus).await.expect("State answers");
        assert!(status.cursors.in_order(), "{status:?}");
        status
    }

    /// One worker's part of the status.
    ///
    /// # Panics
    /// When there is no such worker.
    pub async fn worker(&self, actor: ActorKind) -> WorkerStatus {
        worker(&self.status().await, actor).clone()
    }

    /// Asks for the status until it shows what it must, and answers it.
    ///
    /// # Panics
    /// When it never does.
    pub async fn until(&self, shows: impl Fn(&Status) -> bool) -> Status {
        let mut last = None;
        let found = tokio::time::timeout(GIVE_UP_AFTER, async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                let status = self.status().await;
                if shows(&status) {
                    return status;
                }
                last = Some(status);
            }
        });
        match found.await {
            Ok(status) => status,
            Err(_) => panic!("the status never shows what it must; last: {last:#?}"),
        }
    }

    /// Waits until a worker looks as it must.
    ///
    /// # Panics
    /// When it never does.
    pub async fn until_worker(
        &self,
        actor: ActorKind,
        looks: impl Fn(&WorkerStatus) -> bool,
    ) -> WorkerStatus {
        worker(&self.until(|status| looks(worker(status, actor))).await, actor).clone()
    }

    /// Waits until everything in the contiguous run is durable.
    ///
    /// # Panics
    /// When it never is.
    pub async fn until_durable(&self) -> Cursors {
        let durable = |status: &Status| status.cursors.next_block_to_persist == status.cursors.next_block;
        self.until(durable).await.cursors
    }

    /// Resolves once State has seen all that was sent before, and a verifier with one thread has answered all that it
    /// was given before: whatever still has no reply then waits for something else.
    ///
    /// # Panics
    /// When an invalid block is accepted.
    pub async fn settled(&self, fixture: &Fixture) {
        let invalid = Arc::new(testing::wrong_payload(fixture.block(fixture.first())));
        let push = PushBlock { number: BlockNumber(u64::MAX), block: invalid.clone() };
        let refused = match self.ask(push).await {
            // A test of that bound; the other kind of push has its own.
            Err(Error::Busy { .. }) => {
                let qc = fixture.chain[0].0.clone();
                self.ask(PushQc { qc, blocks: vec![invalid] }).await
            }
            refused => refused,
        };
        assert!(matches!(refused, Err(Error::InvalidBlock(_))), "{refused:?}");
    }
}

/// One worker's part of a status.
fn worker(status: &Status, actor: ActorKind) -> &WorkerStatus {
    let found = status.workers.iter().find(|worker| worker.actor == actor);
    found.unwrap_or_else(|| panic!("no {actor} in {status:#?}"))
}

/// A message that was sent, and whose reply is an `R`. Dropping it is what a caller does who gives up.
pub struct Sent<R> {
    request: Pin<Box<dyn Future<Output = Result<R, MailboxError>> + Send>>,
    reply: Option<Result<R, MailboxError>>,
}

impl<R> Sent<R> {
    /// The reply.
    ///
    /// # Panics
    /// When State ends without a reply, or none ever comes.
    pub async fn reply(self) -> R {
        self.outcome().await.expect("State answers every call before it ends")
    }

    /// The reply, or that State ended without one.
    ///
    /// # Errors
    /// When State ended without a reply.
    ///
    /// # Panics
    /// When none ever comes.
    pub async fn outcome(self) -> Result<R, MailboxError> {
        if let Some(reply) = self.reply {
            return reply;
        }
        match tokio::time::timeout(GIVE_UP_AFTER, self.request).await {
            Ok(reply) => reply,
            Err(_) => panic!("no reply ever came: {}", std::any::type_name::<R>()),
        }
    }

    /// Whether there is no reply yet.
    pub fn waits(&mut self) -> bool {
        if self.reply.is_none() {
            // However many are looked at: tokio would answer Pending once a task has polled for long.
            let request = std::pin::pin!(tokio::task::unconstrained(&mut self.request));
            if let Poll::Ready(reply) = request.poll(&mut Context::from_waker(Waker::noop())) {
                self.reply = Some(reply);
            }
        }
        self.reply.is_none()
    }
}
