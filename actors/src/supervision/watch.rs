//! The death watch: an actor's context is polled inside a wrapper that notices every way in which it can end.
//!
//! actix restarts nothing after a panic and tells nobody. Here the context's future is polled under
//! `catch_unwind`; whichever way it ends, the actor is dropped and its end is told exactly once.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use actix::dev::ContextFut;
use actix::{Actor, ActorContext as _, Addr, Context};

/// How an actor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It stopped by itself, or nobody had its address any more.
    Stopped,
    /// It panicked, with this message.
    Panicked(String),
    /// Its arbiter dropped it.
    Cancelled,
}

/// Starts an actor on the current arbiter under a death watch. `build` runs inside the watch too.
///
/// `on_end` is called exactly once, after the actor was dropped.
pub fn spawn_watched<A>(
    build: impl FnOnce(&mut Context<A>) -> A,
    on_end: impl FnOnce(Ended) + 'static,
) -> Option<Addr<A>>
where
    A: Actor<Context = Context<A>>,
{
    let mut ctx = Context::new();
    match catch_unwind(AssertUnwindSafe(|| build(&mut ctx))) {
        Ok(actor) => {
            let future = ctx.into_future(actor);
            let addr = future.address();
            actix::spawn(Watched { future: Some(future), on_end: Some(on_end) });
            Some(addr)
        }
        Err(panic) => {
            on_end(Ended::Panicked(panic_message(panic.as_ref())));
            None
        }
    }
}

/// What a panic said.
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

struct Watched<A: Actor<Context = Context<A>>, F: FnOnce(Ended)> {
    /// `None` once it has ended.
    future: Option<ContextFut<A, Context<A>>>,
    on_end: Option<F>,
}

impl<A: Actor<Context = Context<A>>, F: FnOnce(Ended)> Unpin for Watched<A, F> {}

impl<A: Actor<Context = Context<A>>, F: FnOnce(Ended)> Watched<A, F> {
    fn end(&mut self, ended: Ended) {
        if let Some(mut future) = self.future.take() {
            // A context that is dropped alive is polled once more by its destructor: after a panic that must not be.
            let dropped = catch_unwind(AssertUnwindSafe(move || {
                future.ctx().terminate();
                drop(future);
            }));
            if let Err(panic) = dropped {
                tracing::error!(
                    panic = panic_message(panic.as_ref()),
                    "an actor panicked while it was dropped"
                );
            }
        }
        if let Some(on_end) = self.on_end.take() {
            on_end(ended);
        }
    }
}

impl<A: Actor<Context = Context<A>>, F: FnOnce(Ended)> Future for Watched<A, F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let Some(future) = &mut self.future else { return Poll::Ready(()) };
        match catch_unwind(AssertUnwindSafe(|| Pin::new(future).poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => self.end(Ended::Stopped),
            Err(panic) => self.end(Ended::Panicked(panic_message(panic.as_ref()))),
        }
        Poll::Ready(())
    }
}

impl<A: Actor<Context = Context<A>>, F: FnOnce(Ended)> Drop for Watched<A, F> {
    fn drop(&mut self) {
        self.end(Ended::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use actix::{Handler, Message, System};
    use tokio::sync::oneshot;

    use super::*;

    struct Worker;

    impl Actor for Worker {
        type Context = Context<Self>;
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    enum Do {
        Panic,
        SpawnPanic,
        Stop,
    }

    impl Handler<Do> for Worker {
        type Result = ();

        fn handle(&mut self, what: Do, ctx: &mut Context<Self>) {
            use actix::{AsyncContext as _, WrapFuture as _};
            match what {
                Do::Panic => panic!("in a handler"),
                Do::SpawnPanic => {
                    ctx.spawn(async { panic!("in a spawned future") }.into_actor(self));
                }
                Do::Stop => ctx.stop(),
            }
        }
    }

    /// Lets a worker end, and answers how that was told.
    fn end_of(what: Option<Do>) -> Ended {
        System::new().block_on(async {
            let (tx, rx) = oneshot::channel();
            let addr = spawn_watched(|_| Worker, move |ended| tx.send(ended).unwrap()).unwrap();
            if let Some(what) = what {
                addr.do_send(what);
            }
            drop(addr);
            rx.await.unwrap()
        })
    }

    #[test]
    fn tells_a_panic_in_a_handler() {
        assert_eq!(end_of(Some(Do::Panic)), Ended::Panicked("in a handler".to_owned()));
    }

    #[test]
    fn tells_a_panic_in_a_spawned_future() {
        assert_eq!(end_of(Some(Do::SpawnPanic)), Ended::Panicked("in a spawned future".to_owned()));
    }

    #[test]
    fn tells_a_stop_by_itself_and_for_want_of_addresses() {
        assert_eq!(end_of(Some(Do::Stop)), Ended::Stopped);
        assert_eq!(end_of(None), Ended::Stopped);
    }

    #[test]
    fn tells_a_panic_in_the_start_up() {
        let ended = Rc::new(RefCell::new(Vec::new()));
        System::new().block_on(async {
            let told = Rc::clone(&ended);
            let addr = spawn_watched::<Worker>(
                |_| panic!("in start-up"),
                move |ended| told.borrow_mut().push(ended),
            );
            assert!(addr.is_none());
        });
        assert_eq!(*ended.borrow(), [Ended::Panicked("in start-up".to_owned())]);
    }
}
