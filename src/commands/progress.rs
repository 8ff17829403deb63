//! How far a command is: a bar on a terminal, lines or nothing elsewhere.

use std::{
    cell::Cell,
    fmt,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a line says how far it is where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

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

/// Counts bytes and documents on standard error.
pub struct Meter {
    bar: ProgressBar,
    total_bytes: Option<u64>,
    began: Instant,
    said: Cell<Instant>,
}

impl Meter {
    /// A bar on a terminal, else a line now and then; of `total_bytes` if they are known.
    pub fn new(total_bytes: Option<u64>) -> Meter {
        let bar = ProgressBar::with_draw_target(total_bytes, ProgressDrawTarget::stderr());
        let template = match total_bytes {
            Some(_) => "{bar:40} {percent} %, {msg}, {eta} left",
            None => "{spinner} {binary_bytes}, {msg}",
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        let now = Instant::now();
        Meter {
            bar,
            total_bytes,
            began: now,
            said: Cell::new(now),
        }
    }

    /// Shows how far it is.
    pub fn show(&self, bytes: u64, counts: &dyn fmt::Display) {
        if !self.bar.is_hidden() {
            self.bar.set_message(counts.to_string());
            return self.bar.set_position(bytes);
        }
        if self.said.get().elapsed() >= LINE_EVERY {
            self.said.set(Instant::now());
            let seconds = self.began.elapsed().as_secs();
            let part = match self.total_bytes {
                Some(total) if total > 0 => format!(", {} %", 100 * bytes / total),
                _ => String::new(),
            };
            eprintln!("{counts}{part} after {seconds} s");
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
