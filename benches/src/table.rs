//! The numbers for people.

use std::fmt::Write as _;

use crate::report::{Case, Report};

/// The printed table's first line.
pub fn head() -> String {
    format!(
        "{:<28} {:>9} {:>10} {:>10} {:>10} {:>10}  {:<16} limit",
        "case", "unit", "ours", "p99", "limit", "p99", "ratio"
    )
}

/// A line of the printed table.
pub fn line(case: &Case) -> String {
    format!(
        "{:<28} {:>9} {:>10} {:>10} {:>10} {:>10}  {:<16} {}",
        case.id,
        case.unit,
        short(case.ours.median),
        short(case.ours.p99),
        short(case.limit.median),
        short(case.limit.p99),
        format!("{:.2} ({:.2}–{:.2})", case.ratio, case.ratio_low, case.ratio_high),
        case.limit.name,
    )
}

/// The same as Markdown.
pub fn markdown(report: &Report) -> String {
    let mut text = String::from(
        "| case | unit | ours, p50 | p99 | limit, p50 | p99 | ratio (quartiles) | the limit |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for case in &report.cases {
        let Case { id, unit, ours, limit, ratio, ratio_low, ratio_high, .. } = case;
        // Writing to a string can't fail.
        let _written = writeln!(
            text,
            "| `{id}` | {unit} | {} | {} | {} | {} | **{ratio:.2}** ({ratio_low:.2}–{ratio_high:.2}) | {} |",
            short(ours.median),
            short(ours.p99),
            short(limit.median),
            short(limit.p99),
            limit.name,
        );
    }
    text
}

/// Three digits that count.
pub fn short(number: f64) -> String {
    let whole = format!("{number:.0}");
    match whole.len() {
        1 => format!("{number:.2}"),
        2 => format!("{number:.1}"),
        digits if digits <= 3 => whole,
        digits => {
            let (thousands, rest) = whole.split_at(digits - 3);
            if thousands.len() > 3 { whole } else { format!("{thousands},{rest}") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_the_digits_that_count() {
        let shown: Vec<String> = [1.234, 12.34, 123.4, 1234.5, 123_456.0].into_iter().map(short).collect();
        assert_eq!(shown, ["1.23", "12.3", "123", "1,234", "123,456"]);
    }
}
