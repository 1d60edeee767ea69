//! When a failed worker is started again, and when it is given up: pure, with the clock handed in.

use std::collections::VecDeque;
use std::time::Duration;

/// How failures of a worker are answered.
///
/// A worker that has made progress since it failed last is restarted at once. After every further failure in a row it
/// waits, for `backoff_min` at first and each time twice as long, up to `backoff_max`; each wait is shortened by a random
/// part of up to half, so that workers that failed together don't come back together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// The most restarts within `window`; one more escalates. Default 10.
    pub restarts_max: u32,
    /// The window in which restarts are counted. Default 60 s.
    pub window: Duration,
    /// The most failures in a row without any progress between them, however far apart: growing backoff could
    /// otherwise outrun the window. Default 20.
    pub failures_without_progress_max: u32,
    /// The delay after the second failure in a row. Default 20 ms.
    pub backoff_min: Duration,
    /// The longest delay. Default 5 s.
    pub backoff_max: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            restarts_max: 10,
            window: Duration::from_secs(60),
            failures_without_progress_max: 20,
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(5),
        }
    }
}

/// The failures of one worker, judged by a [`RestartPolicy`].
#[derive(Debug, Default)]
pub struct FailureLog {
    /// When it failed, within the window, oldest first.
    recent: VecDeque<Duration>,
    /// All failures since the last progress: the backoff grows with them.
    since_progress: u32,
    /// Those of them that the budget counts.
    counted_since_progress: u32,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again after this delay.
    RestartAfter(Duration),
    /// The budget is spent.
    Escalate,
}

impl FailureLog {
    /// Judges a failure at `now` (since the start); `jitter` is uniform in `[0, 1)`.
    pub fn failed(&mut self, policy: &RestartPolicy, now: Duration, jitter: f64) -> Verdict {
        while self.recent.front().is_some_and(|at| now.saturating_sub(*at) >= policy.window) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.counted_since_progress = self.counted_since_progress.saturating_add(1);
        let delay = self.outside_budget(policy, jitter);
        let recent = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        if recent > policy.restarts_max || self.counted_since_progress > policy.failures_without_progress_max
        {
            Verdict::Escalate
        } else {
            Verdict::RestartAfter(delay)
        }
    }

    /// The delay after a failure that no budget counts: a full disk is retried for ever.
    pub fn outside_budget(&mut self, policy: &RestartPolicy, jitter: f64) -> Duration {
        let failures_before = self.since_progress;
        self.since_progress = failures_before.saturating_add(1);
        let Some(doublings) = failures_before.checked_sub(1) else { return Duration::ZERO };
        let delay = policy.backoff_min.saturating_mul(1 << doublings.min(30)).min(policy.backoff_max);
        delay.saturating_sub(delay.mul_f64(jitter / 2.0))
    }

    /// The worker did what it is there for: after the next failure it is restarted at once.
    pub fn progressed(&mut self) {
        self.since_progress = 0;
        self.counted_since_progress = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RestartPolicy = RestartPolicy {
        restarts_max: 3,
        window: Duration::from_secs(10),
        failures_without_progress_max: 5,
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(50),
    };

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn backoff_doubles_up_to_its_limit_and_starts_over_after_progress() {
        let mut log = FailureLog::default();
        let delays: Vec<_> = (0..5).map(|_| log.outside_budget(&POLICY, 0.0)).collect();
        assert_eq!(delays, [millis(0), millis(10), millis(20), millis(40), millis(50)]);
        log.progressed();
        assert_eq!(log.outside_budget(&POLICY, 0.0), millis(0));
    }

    #[test]
    fn jitter_takes_away_up_to_half() {
        let mut log = FailureLog { since_progress: 1, ..FailureLog::default() };
        assert_eq!(log.outside_budget(&POLICY, 1.0), millis(5));
    }

    #[test]
    fn budget_is_spent_and_refilled_by_time() {
        let mut log = FailureLog::default();
        for second in 0..3 {
            let verdict = log.failed(&POLICY, Duration::from_secs(second), 0.0);
            assert!(matches!(verdict, Verdict::RestartAfter(_)), "{second}: {verdict:?}");
            log.progressed();
        }
        assert_eq!(log.failed(&POLICY, Duration::from_secs(3), 0.0), Verdict::Escalate);
        log.progressed();
        assert!(matches!(log.failed(&POLICY, Duration::from_secs(13), 0.0), Verdict::RestartAfter(_)));
    }

    #[test]
    fn failures_without_progress_escalate_however_far_apart() {
        let mut log = FailureLog::default();
        let verdicts: Vec<_> =
            (0..6).map(|n| log.failed(&POLICY, Duration::from_secs(n * 100), 0.0)).collect();
        assert!(verdicts[..5].iter().all(|verdict| matches!(verdict, Verdict::RestartAfter(_))));
        assert_eq!(verdicts[5], Verdict::Escalate);
    }

    #[test]
    fn failure_leaves_the_window_when_it_is_as_old_as_the_window_is_long() {
        for (age, verdict) in [(9_999, Verdict::Escalate), (10_000, Verdict::RestartAfter(millis(0)))] {
            let mut log = FailureLog::default();
            for _ in 0..3 {
                log.failed(&POLICY, Duration::ZERO, 0.0);
            }
            log.progressed();
            assert_eq!(log.failed(&POLICY, millis(age), 0.0), verdict);
        }
    }

    #[test]
    fn what_no_budget_counts_does_not_spend_it() {
        let mut log = FailureLog::default();
        for _ in 0..1000 {
            log.outside_budget(&POLICY, 0.0);
        }
        let verdict = log.failed(&POLICY, Duration::from_secs(1), 0.0);
        assert_eq!(
            verdict,
            Verdict::RestartAfter(POLICY.backoff_max),
            "it only waits as long as it did before"
        );
    }

    #[test]
    fn delays_without_a_limit_do_not_overflow() {
        let policy = RestartPolicy { backoff_min: Duration::MAX, backoff_max: Duration::MAX, ..POLICY };
        let again = || FailureLog { since_progress: 1, ..FailureLog::default() };
        assert_eq!(again().outside_budget(&policy, 0.0), Duration::MAX);
        assert!(again().outside_budget(&policy, 0.99) < Duration::MAX);
    }

    #[test]
    fn a_huge_count_of_failures_does_not_overflow() {
        let mut log = FailureLog { since_progress: u32::MAX, ..FailureLog::default() };
        assert_eq!(log.outside_budget(&POLICY, 0.0), POLICY.backoff_max);
    }
}
