//! Stands for the consensus above the data layer: finalizes one QC after the other, at the pace that was asked for,
//! and tells every peer. A peer that can't send holds it up, so nothing piles up between the two.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, WrapFuture};
use roadbed_messages::BlockNumber;
use roadbed_messages::testing::Chain;
use tokio::time::Instant;

use super::clock::ChainClock;
use super::history::{History, next_road};
use super::peers::{Finalized, Peer};

/// The actor.
pub(crate) struct Consensus {
    /// Behind what was finalized.
    pub(crate) chain: Chain,
    /// Where it stops by itself.
    pub(crate) until: Option<BlockNumber>,
    /// Blocks per second; 0: as many as the peers take.
    pub(crate) rate: u64,
    /// Told when blocks are made.
    pub(crate) clock: ChainClock,
    /// What peers answer from.
    pub(crate) history: Arc<Mutex<History>>,
    /// Everyone who is told.
    pub(crate) peers: Vec<Addr<Peer>>,
}

/// Ends it: nothing further is finalized.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Stop;

impl Actor for Consensus {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let run = finalize(
            self.chain.clone(),
            self.until,
            self.rate,
            self.clock.clone(),
            Arc::clone(&self.history),
            std::mem::take(&mut self.peers),
        );
        ctx.spawn(run.into_actor(self));
    }
}

impl Handler<Stop> for Consensus {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

async fn finalize(
    mut chain: Chain,
    until: Option<BlockNumber>,
    rate: u64,
    clock: ChainClock,
    history: Arc<Mutex<History>>,
    peers: Vec<Addr<Peer>>,
) {
    let (begin, start) = (chain.next_first(), Instant::now());
    while until.is_none_or(|until| chain.next_first() < until) {
        if rate > 0 {
            let blocks = chain.next_first().0 - begin.0;
            tokio::time::sleep_until(start + due(blocks, rate)).await;
        }
        let Some(road) = next_road(&mut chain).map(Arc::new) else { break };
        clock.made_now(road.qc.qc.proposal.timestamp);
        history.lock().unwrap_or_else(PoisonError::into_inner).finalized(&road);
        for peer in &peers {
            // Answered once the peer has room for it; a peer that is gone is not waited for.
            let _ = peer.send(Finalized(Arc::clone(&road))).await;
        }
    }
}

/// When the block behind `blocks` others is due at this rate.
fn due(blocks: u64, rate: u64) -> Duration {
    let rest_ns = u128::from(blocks % rate) * 1_000_000_000 / u128::from(rate);
    Duration::new(blocks / rate, u32::try_from(rest_ns).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_due_at_the_rate() {
        assert_eq!(due(0, 7), Duration::ZERO);
        assert_eq!(due(150, 100), Duration::from_millis(1500));
        assert_eq!(due(u64::MAX, 1), Duration::from_secs(u64::MAX));
        assert_eq!(due(3, u64::MAX), Duration::ZERO);
    }
}
