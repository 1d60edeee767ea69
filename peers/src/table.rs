//! The matrix of ratios, for people.

use std::fmt::Write as _;

use roadbed_benches::report::{Case, Report};

use crate::cases;
use crate::peer::Candidate;
use crate::peers::OTHERS;

/// A row a case, a column a peer, then what each peer can't do and how it is set up.
pub fn markdown(report: &Report) -> String {
    let mut text = String::from("| case |");
    for peer in OTHERS {
        push(&mut text, format_args!(" {} |", peer.name));
    }
    push(&mut text, format_args!("\n|---|{}\n", "---|".repeat(OTHERS.len())));
    for case in cases::ALL {
        push(&mut text, format_args!("| `{}` |", case.id));
        for peer in OTHERS {
            match (peer.lacks(case.need), find(report, case.id, peer)) {
                (Some(_), _) => text.push_str(" can't |"),
                (None, Some(case)) => {
                    let Case { ratio, ratio_low, ratio_high, .. } = case;
                    push(&mut text, format_args!(" **{ratio:.2}** ({ratio_low:.2}–{ratio_high:.2}) |"));
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

fn push(text: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _written = text.write_fmt(part);
}

fn find<'a>(report: &'a Report, id: &str, peer: &Candidate) -> Option<&'a Case> {
    report.cases.iter().find(|case| case.id == id && case.params["peer"] == peer.name)
}
