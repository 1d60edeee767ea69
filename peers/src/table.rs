//! The matrix of ratios, for people.

use std::fmt::Write as _;

use roadbed_benches::report::{Case, Report};
use roadbed_benches::stats::median;
use roadbed_benches::table::short;

use crate::cases;
use crate::peer::Candidate;
use crate::peers::OTHERS;

/// A row a case, a column a peer, then what each peer can't do and how it is set up.
pub fn markdown(report: &Report) -> String {
    let mut text = String::from("| case | ours |");
    for peer in OTHERS {
        push(&mut text, format_args!(" {} |", peer.name));
    }
    push(&mut text, format_args!("\n|---|---|{}\n", "---|".repeat(OTHERS.len())));
    for case in cases::ALL {
        push(&mut text, format_args!("| `{}` | {} |", case.id, ours(report, case.id)));
        for peer in OTHERS {
            match (peer.lacks(case.need), find(report, case.id, peer)) {
                (Some(_), _) => text.push_str(" can't |"),
                (None, Some(case)) => {
                    let [ratio, low, high] = [case.ratio, case.ratio_low, case.ratio_high].map(short);
                    push(&mut text, format_args!(" **{ratio}** ({low}–{high}) |"));
                }
                (None, None) => text.push_str(" |"),
            }
        }
        text.push('\n');
    }
    text.push('\n');
    for peer in OTHERS {
        push(&mut text, format_args!("- **{}**: {}.", peer.name, peer.setup));
        for (need, reason) in peer.lacks {
            push(&mut text, format_args!(" {}: {reason}.", need.name()));
        }
        text.push('\n');
    }
    text
}

/// What a full report has to have and this one has not.
pub fn missing(report: &Report) -> Vec<String> {
    let all = cases::ALL.iter().flat_map(|case| OTHERS.iter().map(move |peer| (case, peer)));
    let missing =
        all.filter(|(case, peer)| peer.lacks(case.need).is_none() && find(report, case.id, peer).is_none());
    missing.map(|(case, peer)| format!("{} of {}", case.id, peer.name)).collect()
}

/// The middle one of what ours took or gave beside each peer.
fn ours(report: &Report, id: &str) -> String {
    let mut of_case = report.cases.iter().filter(|case| case.id == id).peekable();
    let Some(unit) = of_case.peek().map(|case| case.unit.clone()) else {
        return String::new();
    };
    let medians: Vec<f64> = of_case.map(|case| case.ours.median).collect();
    format!("{} {unit}", short(median(&medians)))
}

fn push(text: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _written = text.write_fmt(part);
}

fn find<'a>(report: &'a Report, id: &str, peer: &Candidate) -> Option<&'a Case> {
    report.cases.iter().find(|case| case.id == id && case.params["peer"] == peer.name)
}
