//! What the policies want to keep: pure, with the clock handed in.

use std::collections::VecDeque;
use std::time::Duration;

use roadbed_messages::BlockNumber;

use crate::config::RetentionPolicy;
use crate::state::core::Retention;

/// The policies' memory: when which blocks were seen to have been executed, on a monotonic clock.
///
/// A clock that is set back, or a restart, can only make blocks stay longer.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    /// Every block below the number had been executed at the time; ascending in both.
    executed: VecDeque<(BlockNumber, Duration)>,
}

impl Retained {
    /// The oldest block that `policy` wants to keep at `now`; nothing goes below `first` anyway.
    pub(crate) fn retain_from(
        &mut self,
        policy: &RetentionPolicy,
        now: Duration,
        retention: &Retention,
    ) -> BlockNumber {
        let cursors = retention.cursors;
        let mut retain_from = cursors.first;
        if let Some(age) = policy.age_after_execution {
            let newer = |(number, _): &(BlockNumber, Duration)| *number < cursors.next_app_proposal;
            if self.executed.back().is_none_or(newer) {
                self.executed.push_back((cursors.next_app_proposal, now));
            }
            while let Some((number, at)) = self.executed.front().copied()
                && now.saturating_sub(at) >= age
            {
                retain_from = retain_from.max(number);
                self.executed.pop_front();
            }
        }
        if let Some(blocks_max) = policy.blocks_max {
            retain_from = retain_from.max(cursors.next_block.saturating_sub(blocks_max));
        }
        if let Some(bytes_max) = policy.bytes_max {
            retain_from = retain_from.max(first_within(bytes_max, retention));
        }
        retain_from
    }
}

/// The first stretch from which on at most `bytes_max` bytes are retained.
fn first_within(bytes_max: u64, retention: &Retention) -> BlockNumber {
    let mut bytes = 0_u64;
    let mut first = retention.cursors.next_block;
    for (number, size_bytes) in retention.sizes_bytes.iter().rev() {
        bytes = bytes.saturating_add(*size_bytes);
        if bytes > bytes_max {
            return first;
        }
        first = *number;
    }
    retention.cursors.first
}

#[cfg(test)]
mod tests {
    use roadbed_messages::api::Cursors;

    use super::*;

    fn retention(first: u64, executed: u64, next_block: u64) -> Retention {
        let cursors = Cursors {
            first: BlockNumber(first),
            next_app_proposal: BlockNumber(executed),
            next_block_to_persist: BlockNumber(next_block),
            next_block: BlockNumber(next_block),
            next_qc: BlockNumber(next_block),
        };
        Retention { cursors, sizes_bytes: (first..next_block).map(|n| (BlockNumber(n), 100)).collect() }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_a_policy_nothing_goes() {
        let mut retained = Retained::default();
        let policy = RetentionPolicy::default();
        assert_eq!(retained.retain_from(&policy, SECOND, &retention(3, 9, 10)), BlockNumber(3));
    }

    #[test]
    fn blocks_go_when_they_are_old_enough_after_their_execution() {
        let mut retained = Retained::default();
        let policy = RetentionPolicy { age_after_execution: Some(10 * SECOND), ..RetentionPolicy::default() };
        assert_eq!(retained.retain_from(&policy, SECOND, &retention(0, 5, 10)), BlockNumber(0));
        assert_eq!(retained.retain_from(&policy, 6 * SECOND, &retention(0, 8, 10)), BlockNumber(0));
        assert_eq!(retained.retain_from(&policy, 11 * SECOND, &retention(0, 8, 10)), BlockNumber(5));
        assert_eq!(retained.retain_from(&policy, 16 * SECOND, &retention(5, 8, 10)), BlockNumber(8));
    }

    #[test]
    fn what_executes_nothing_more_is_remembered_once() {
        let mut retained = Retained::default();
        let policy = RetentionPolicy { age_after_execution: Some(10 * SECOND), ..RetentionPolicy::default() };
        for second in 1..9 {
            retained.retain_from(&policy, second * SECOND, &retention(0, 5, 10));
        }
        assert_eq!(retained.executed, [(BlockNumber(5), SECOND)]);
    }

    #[test]
    fn a_count_and_a_size_keep_the_newest() {
        let mut retained = Retained::default();
        let count = RetentionPolicy { blocks_max: Some(4), ..RetentionPolicy::default() };
        assert_eq!(retained.retain_from(&count, SECOND, &retention(0, 10, 10)), BlockNumber(6));
        let size = RetentionPolicy { bytes_max: Some(350), ..RetentionPolicy::default() };
        assert_eq!(retained.retain_from(&size, SECOND, &retention(0, 10, 10)), BlockNumber(7));
        assert_eq!(retained.retain_from(&size, SECOND, &retention(8, 10, 10)), BlockNumber(8));
        let size = RetentionPolicy { bytes_max: Some(300), ..RetentionPolicy::default() };
        assert_eq!(
            retained.retain_from(&size, SECOND, &retention(0, 10, 10)),
            BlockNumber(7),
            "a bound is kept"
        );
    }

    #[test]
    fn the_strictest_policy_wins() {
        let mut retained = Retained::default();
        let policy =
            RetentionPolicy { blocks_max: Some(4), bytes_max: Some(250), ..RetentionPolicy::default() };
        assert_eq!(retained.retain_from(&policy, SECOND, &retention(0, 10, 10)), BlockNumber(8));
    }
}
