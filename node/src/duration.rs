//! Durations as people write them: `500ms`, `10s`, `5m`, `1h`, `7d`.

use std::time::Duration;

/// A whole number with a unit.
///
/// # Errors
/// What is wrong with the text, and an example.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong(text))?;
    let seconds_per_unit = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong(text)),
    };
    let seconds = number.checked_mul(seconds_per_unit);
    seconds.map(Duration::from_secs).ok_or_else(|| format!("{text:?} is too long"))
}

fn wrong(text: &str) -> String {
    format!("{text:?} is no time: write a whole number and ms, s, m, h or d, such as 10s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_number_with_a_unit() {
        for (text, ms) in [
            ("0s", 0),
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn refuses_anything_else() {
        for text in ["", "10", "s", "1.5s", "-1s", "10 s", "10S", "1w", "99999999999999999999s"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&format!("{}d", u64::MAX)).is_err());
    }
}
