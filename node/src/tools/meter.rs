//! Progress of something long, on stderr: a bar on a terminal, a plain line now and then otherwise.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// How far something is.
#[derive(Debug)]
pub(crate) struct Meter {
    what: &'static str,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
    told: Instant,
}

impl Meter {
    /// Of `total` units; 0 where the end is not known.
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let template = "{prefix} {bar:30} {percent:>3} %  {elapsed_precise}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.with_prefix(what)
        });
        Self { what, total, done: 0, bar, told: Instant::now() }
    }

    /// So much more is done.
    pub(crate) fn add(&mut self, units: u64) {
        self.done += units;
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None if self.told.elapsed() >= LINE_EVERY => {
                self.told = Instant::now();
                output::note(&match (self.done * 100).checked_div(self.total) {
                    Some(percent) => format!("{}: {percent} %", self.what),
                    None => format!("{}: {}", self.what, self.done),
                });
            }
            None => {}
        }
    }

    /// The end is known only now.
    pub(crate) fn set_total(&mut self, total: u64) {
        self.total = total;
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
