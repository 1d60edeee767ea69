//! The sections of `docs/performance.md` that runs write.

use std::fs;

use anyhow::{Context as _, Result};

use crate::args::workspace;
use crate::report::{Machine, Report};

/// A section, known by the command that writes it.
#[derive(Clone, Copy, Debug)]
pub struct Section(&'static str);

/// Written by the benchmarks.
pub const BENCH: Section = Section("make bench ARGS=--write-docs");
/// Written by the comparison with other logs.
pub const PEERS: Section = Section("make bench-peers ARGS=--write-docs");

/// Puts a text between the markers of a section, below a line that says where the report comes from.
///
/// # Errors
/// When the page or its markers are missing.
pub fn write(section: &Section, report: &Report, text: &str) -> Result<()> {
    let path = workspace().join("docs/performance.md");
    let page = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let replaced = section
        .replace(&page, &format!("{}\n\n{text}", origin(report)))
        .with_context(|| format!("{} lacks the markers of the section", path.display()))?;
    fs::write(&path, replaced).with_context(|| format!("write {}", path.display()))
}

fn origin(report: &Report) -> String {
    let Machine { cpu, cores, kernel, file_system, rustc, quick, load_before, load_after } = &report.machine;
    let commit = report.commit.get(..12).unwrap_or(&report.commit);
    let how = if *quick { "`--quick`" } else { "in full" };
    format!(
        "Commit {commit}, run {how}, on {cores} cores ({cpu}), Linux {kernel}, {file_system}, {rustc}; load \
         {load_before:.1} before and {load_after:.1} after."
    )
}

impl Section {
    fn markers(self) -> [String; 2] {
        ["begin", "end"].map(|which| format!("<!-- {which}: written by `{}` -->\n", self.0))
    }

    fn replace(self, page: &str, text: &str) -> Option<String> {
        let [begin, end] = self.markers();
        let (before, rest) = page.split_once(&begin)?;
        let (_, after) = rest.split_once(&end)?;
        Some(format!("{before}{begin}\n{text}\n{end}{after}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let [begin, end] = PEERS.markers();
        let text = format!("a\n{begin}old\n{end}b\n");
        let once = PEERS.replace(&text, "new").unwrap();
        assert_eq!(once, format!("a\n{begin}\nnew\n{end}b\n"));
        assert_eq!(PEERS.replace(&once, "new").unwrap(), once);
        assert_eq!(BENCH.replace(&once, "new"), None);
    }

    #[test]
    fn the_page_has_the_markers() {
        let page = fs::read_to_string(workspace().join("docs/performance.md")).unwrap();
        for section in [BENCH, PEERS] {
            assert!(section.replace(&page, "").is_some(), "{section:?}");
        }
    }
}
