//! The end of all faults: everything comes through, and the subsystem ends in order.

use std::sync::Arc;
use std::time::Duration;

use roadbed::state::core::Request;
use roadbed_messages::BlockNumber;
use roadbed_messages::api::{PruneBefore, PushBlock, PushQc};

use super::process::Who;
use super::script::Luck;
use super::world::{Happening, World};

impl World {
    /// The end of all faults: from here on everything must make progress again.
    pub(super) fn calm(&mut self) {
        self.luck = Luck::new(self.seed ^ 0xca11);
        self.tell(format_args!("calm"));
        self.disk.heal();
        self.disk.set_capacity_bytes(None);
        self.stuck.clear();
        self.slow_until = Duration::ZERO;
        self.workers_heal();
        if self.disk.has_crashed() {
            self.power_loss();
        }
        // An armed loss of power is no fault of a calm disk.
        self.disk.crash_at(u64::MAX);
        if self.ledger.rotten {
            self.wipe();
            self.after(Duration::ZERO, Happening::Start);
        }
        // Hung operations end, backoffs pass, budgets fill up again.
        self.pass(Duration::from_secs(45));

        let target = self.everything_comes_through();
        self.pass(Duration::from_secs(3));
        self.check_nobody_waits();
        self.check_healthy();
        self.ends_in_order(target);
        self.pass(Duration::from_secs(8));
        let recovered = self.process.as_ref().and_then(|process| process.running.clone());
        let recovered = recovered.unwrap_or_else(|| panic!("it does not start after an ordered end"));
        let kept = if self.in_memory { self.chain.first_block } else { target };
        assert!(recovered.next_block.0 >= kept, "{recovered:?} after {target}");
        self.fork();
    }

    fn everything_comes_through(&mut self) -> u64 {
        let (next_block, next_qc) = self.tip();
        let asked = self.subscribers.iter().map(|subscriber| subscriber.next);
        let furthest = asked.chain([self.application.next, next_block, next_qc]).max().unwrap_or_default();
        let target = furthest.saturating_add(20).min(self.chain.end());
        for round in 0.. {
            let now = self.process.as_ref().map(|process| process.core.cursors());
            assert!(round < 4000, "no progress since the last fault: {now:?}, up to {target}");
            self.offer_what_is_needed();
            self.execute();
            for at in 0..self.subscribers.len() {
                if self.subscribers[at].call.is_none_or(|call| !self.is_pending(call)) {
                    self.ask_for_more(at, 100);
                }
            }
            self.pass(20 * Duration::from_millis(1));
            let executed = now.is_some_and(|now| now.next_app_proposal.0 >= target);
            if executed && self.subscribers.iter().all(|subscriber| subscriber.next >= target) {
                break;
            }
        }
        target
    }

    /// An honest fetcher: what the node needs next.
    fn offer_what_is_needed(&mut self) {
        let (next_block, next_qc) = self.tip();
        let mut at = next_qc;
        for _ in 0..6 {
            let Some(link) = self.chain.link(at) else { break };
            at = link.end;
            let push = PushQc { qc: Arc::clone(&link.qc), blocks: link.blocks.clone() };
            self.ask(Request::PushQc(push), Who::Peer, true);
        }
        for number in next_block..next_qc.min(next_block.saturating_add(30)) {
            if let Some(block) = self.chain.block(number) {
                let number = BlockNumber(number);
                self.ask(Request::PushBlock(PushBlock { number, block }), Who::Peer, true);
            }
        }
    }

    /// Prunes, shuts down, and looks that nobody is left without an answer.
    fn ends_in_order(&mut self, target: u64) {
        let retain_from = BlockNumber(target.saturating_sub(4));
        let prune = self.ask(Request::PruneBefore(PruneBefore { retain_from }), Who::Other, true);
        self.pass(Duration::from_secs(2));
        assert!(prune.is_some_and(|prune| !self.is_pending(prune)), "a pruning gets no answer");
        let last = self.process.as_ref().map(|process| process.core.cursors());
        assert!(last.is_some_and(|last| last.first >= retain_from), "not pruned: {last:?}");
        self.ask(Request::Shutdown, Who::Other, true);
        for _ in 0..1000 {
            if self.process.is_none() && self.lingering.is_none() {
                break;
            }
            self.pass(Duration::from_millis(1));
        }
        assert!(self.process.is_none(), "an ordered end takes too long");
        assert!(self.lingering.is_none(), "a thread is left behind");
        let promised = self.ledger.promised;
        assert!(self.in_memory || promised >= target, "not everything is durable after an ordered end");
    }
}
