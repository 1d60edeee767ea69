//! The section of `docs/performance.md` that a run writes.

use std::fs;

use anyhow::{Context as _, Result};

use crate::args::workspace;
use crate::report::{Machine, Report};
use crate::table;

const BEGIN: &str = "<!-- begin: written by `make bench ARGS=--write-docs` -->\n";
const END: &str = "<!-- end: written by `make bench ARGS=--write-docs` -->\n";

/// Puts the report between its markers.
pub(crate) fn write(report: &Report) -> Result<()> {
    let path = workspace().join("docs/performance.md");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let section = section(report);
    let replaced = replace(&text, &section)
        .with_context(|| format!("{} lacks the markers of the section", path.display()))?;
    fs::write(&path, replaced).with_context(|| format!("write {}", path.display()))
}

fn section(report: &Report) -> String {
    let Machine { cpu, cores, kernel, file_system, rustc, quick, load_before, load_after } = &report.machine;
    let commit = report.commit.get(..12).unwrap_or(&report.commit);
    let how = if *quick { "`--quick`" } else { "in full" };
    format!(
        "Commit {commit}, run {how}, on {cores} cores ({cpu}), Linux {kernel}, {file_system}, {rustc}; load \
         {load_before:.1} before and {load_after:.1} after.\n\n{}",
        table::markdown(report)
    )
}

fn replace(text: &str, section: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{section}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let text = format!("a\n{BEGIN}old\n{END}b\n");
        let once = replace(&text, "new").unwrap();
        assert_eq!(once, format!("a\n{BEGIN}\nnew\n{END}b\n"));
        assert_eq!(replace(&once, "new").unwrap(), once);
        assert_eq!(replace("no markers", "new"), None);
    }

    #[test]
    fn the_page_has_the_markers() {
        let page = fs::read_to_string(workspace().join("docs/performance.md")).unwrap();
        assert!(replace(&page, "").is_some());
    }
}
