//! How far a command is: a bar on a terminal, nothing elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Counts segments on standard error.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar for so many segments; drawn on a terminal only.
    pub fn new(segments: usize) -> Progress {
        let length = u64::try_from(segments).expect("fewer segments than 2^64");
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:40} {pos} of {len} segments, {eta} left");
        bar.set_style(style.expect("the template is valid"));
        Progress(bar)
    }

    /// One segment more.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
