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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_between_neighbours() {
        let samples = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(median(&samples), 2.5);
        assert_eq!((quantile(&samples, 0.0), quantile(&samples, 1.0)), (1.0, 4.0));
        assert_eq!(quantile(&samples, 0.25), 1.75);
        assert_eq!(median(&[7.0]), 7.0);
    }
}
