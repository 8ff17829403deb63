//! Takes samples of an operation, and prints one line for it.

use std::time::{Duration, Instant};

/// Samples of one operation.
const SAMPLES: usize = 31;
/// How long a sample takes at least, so that reading the clock does not count.
const SAMPLE_TIME: Duration = Duration::from_millis(4);

/// Runs the operations whose name was asked for.
pub struct Meter {
    filter: String,
}

impl Meter {
    /// The first argument that is no flag is what names must contain; cargo adds `--bench`.
    pub fn from_arguments(arguments: impl Iterator<Item = String>) -> Meter {
        let mut words = arguments.filter(|argument| !argument.starts_with('-'));
        Meter {
            filter: words.next().unwrap_or_default(),
        }
    }

    /// Whether `name` was asked for; what prepares a costly bench asks first.
    pub fn wants(&self, name: &str) -> bool {
        name.contains(&self.filter)
    }

    /// Measures `operation`, which can be repeated at will.
    pub fn repeat(&self, name: &str, mut operation: impl FnMut()) {
        if !self.wants(name) {
            return;
        }
        let mut rounds = 1_u32;
        let mut time = |rounds: u32| {
            let began = Instant::now();
            for _ in 0..rounds {
                operation();
            }
            began.elapsed()
        };
        while time(rounds) < SAMPLE_TIME && rounds < u32::MAX / 2 {
            rounds *= 2;
        }
        let samples = (0..SAMPLES)
            .map(|_| nanoseconds(time(rounds)) / f64::from(rounds))
            .collect();
        report(name, samples);
    }

    /// Measures what takes long and does `operations` of them at a time: `sample`
    /// prepares what it needs and returns how long the operations alone took.
    pub fn sample(&self, name: &str, operations: u32, mut sample: impl FnMut() -> Duration) {
        if !self.wants(name) {
            return;
        }
        let samples = (0..SAMPLES)
            .map(|_| nanoseconds(sample()) / f64::from(operations))
            .collect();
        report(name, samples);
    }
}

fn report(name: &str, mut samples: Vec<f64>) {
    samples.sort_by(f64::total_cmp);
    let at = |quarter: usize| samples[samples.len() * quarter / 4];
    let (low, median, high) = (at(1), at(2), at(3));
    println!(
        "{name:<44} {median:>10.1} ns  +- {:>4.1} %",
        (high - low) / 2.0 / median * 100.0
    );
}

fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}
