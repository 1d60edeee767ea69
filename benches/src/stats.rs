//! Order statistics.

/// The value below which a part `q` of the samples lies, interpolated.
///
/// # Panics
/// When there are no samples, or one is no number.
pub fn quantile(samples: &[f64], q: f64) -> f64 {
    assert!(!samples.is_empty() && samples.iter().all(|sample| !sample.is_nan()), "no samples: {samples:?}");
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within 0..len, and rounded down"
    )]
    let below = place as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

/// The middle one.
///
/// # Panics
/// As [`quantile`].
pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// Two samples between which the median of what they were drawn from lies with a probability of at least 95 %, however
/// it is distributed (the sign test); with fewer than six samples, the extremes.
///
/// # Panics
/// As [`quantile`].
pub fn median_interval_95(samples: &[f64]) -> (f64, f64) {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    assert!(count > 0 && !sorted.iter().any(|sample| sample.is_nan()), "no samples: {samples:?}");
    // The chance that fewer than `low + 1` of `count` fair coins fall on one side, from the binomial distribution.
    let (mut chance, mut tail, mut low) = (0.5_f64.powf(count as f64), 0.0, 0);
    for at in 0..count / 2 {
        tail += chance;
        if tail > 0.025 {
            break;
        }
        low = at;
        chance *= (count - at) as f64 / (at + 1) as f64;
    }
    (sorted[low], sorted[count - 1 - low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_of_the_median_is_that_of_the_sign_test() {
        let upto = |count: u32| (1..=count).map(f64::from).collect::<Vec<_>>();
        // As tables of the binomial distribution have it.
        assert_eq!(median_interval_95(&upto(5)), (1.0, 5.0));
        assert_eq!(median_interval_95(&upto(15)), (4.0, 12.0));
        assert_eq!(median_interval_95(&upto(40)), (14.0, 27.0));
        assert_eq!(median_interval_95(&upto(120)), (49.0, 72.0));
    }

    #[test]
    fn quantiles_interpolate_between_neighbours() {
        let samples = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(median(&samples), 2.5);
        assert_eq!((quantile(&samples, 0.0), quantile(&samples, 1.0)), (1.0, 4.0));
        assert_eq!(quantile(&samples, 0.25), 1.75);
        assert_eq!(median(&[7.0]), 7.0);
    }
}
