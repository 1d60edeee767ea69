//! How every tool tells its result: as text, or with `--json` as one line with its schema.

use roadbed_wal::WalError;
use serde::Serialize;

use crate::exit::NodeError;
use crate::output;

/// Prints a report: JSON in one line, or the text.
///
/// # Errors
/// When it can't be written; a reader that went away is no failure.
pub(crate) fn print(
    json: bool,
    report: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<(), NodeError> {
    show(&rendered(json, report, text)?)
}

/// What [`print`] prints.
///
/// # Errors
/// When the report has no JSON form.
pub(crate) fn rendered(
    json: bool,
    report: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<String, NodeError> {
    if json {
        return serde_json::to_string(report)
            .map_err(|error| NodeError::Failed(format!("the report: {error}")));
    }
    Ok(text())
}

/// Prints a report that is rendered.
///
/// # Errors
/// When it can't be written; a reader that went away is no failure.
pub(crate) fn show(text: &str) -> Result<(), NodeError> {
    output::result(text).map_err(|error| NodeError::io("write the report", error))
}

/// Damage in a report that gives its own advice at the end.
pub(crate) fn told(error: &WalError) -> String {
    match error {
        WalError::Corrupt { path, offset, index, expected, found, .. } => {
            let entry = index.map(|index| format!(" (entry {index})")).unwrap_or_default();
            format!("{} at offset {offset}{entry}: expected {expected}, found {found}", path.display())
        }
        error => error.to_string(),
    }
}

/// A number of bytes for people: `512 B`, `4.2 MB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1e3;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if value < 999.95 {
            break;
        }
        value /= 1e3;
        unit = larger;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_told_with_one_decimal_and_a_unit() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_960, "1.0 MB"),
            (64 << 20, "67.1 MB"),
            (3_200_000_000, "3.2 GB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
