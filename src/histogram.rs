//! How durations are counted: which bucket one is counted in, and what the counts say.
//!
//! Buckets are eight a doubling, in microseconds, as in HDR histograms: a quantile is known to
//! an eighth of its value, from one microsecond to a minute, in a fixed number of counters.
//! Counting is left to whoever owns the counters; the hdrhistogram package would need a lock
//! or a copy to be read from another thread.

/// Buckets of a doubling.
const PARTS: usize = 8;
/// As a power of two.
const PARTS_LOG2: u32 = PARTS.ilog2();
/// Durations from 2 to this power of microseconds on, 67 s, are counted as the longest below.
const LIMIT_LOG2: u32 = 26;
/// How many buckets there are.
pub const BUCKETS: usize = (LIMIT_LOG2 - PARTS_LOG2 + 1) as usize * PARTS;

/// The bucket that a duration is counted in.
#[must_use]
pub fn bucket(micros: u64) -> usize {
    let micros = micros.min((1 << LIMIT_LOG2) - 1);
    let parts = u64::try_from(PARTS).expect("it is small");
    let index = match micros < parts {
        true => micros,
        false => {
            let doublings = u64::from(micros.ilog2() - PARTS_LOG2);
            doublings * parts + (micros >> doublings)
        }
    };
    usize::try_from(index).expect("it is below BUCKETS")
}

/// The shortest duration of a bucket, in microseconds; of [`BUCKETS`] the limit of all.
#[must_use]
pub fn lower_bound(bucket: usize) -> u64 {
    let (doubling, part) = (bucket / PARTS, bucket % PARTS);
    let wide = |count: usize| u64::try_from(count).expect("it is small");
    match doubling {
        0 => wide(part),
        _ => wide(PARTS + part) << (doubling - 1),
    }
}

/// Counted durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// How many are in each bucket.
    counts: Vec<u64>,
    /// All together.
    sum_us: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new(vec![0; BUCKETS], 0)
    }
}

impl Histogram {
    /// That of `counts`, one for each bucket, of durations that add up to `sum_us`.
    ///
    /// # Panics
    /// If there are not as many counts as buckets.
    #[must_use]
    pub fn new(counts: Vec<u64>, sum_us: u64) -> Histogram {
        assert_eq!(counts.len(), BUCKETS, "one count a bucket");
        Histogram { counts, sum_us }
    }

    /// Counts the durations of `other` in.
    pub fn absorb(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum_us += other.sum_us;
    }

    /// How many durations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All durations together, in microseconds.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// The duration that `share` of all (0 to 1) do not exceed, in microseconds: the upper end
    /// of its bucket. 0 if there are none.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> u64 {
        let count = self.count();
        let mut left = share_of(count, share).max(1);
        for (bucket, &in_it) in self.counts.iter().enumerate() {
            if in_it >= left {
                return lower_bound(bucket + 1) - 1;
            }
            left -= in_it;
        }
        0
    }

    /// How many durations are shorter than `2^log2` microseconds, a bound between buckets.
    #[must_use]
    pub fn below(&self, log2: u32) -> u64 {
        self.counts[..bucket(1 << log2)].iter().sum()
    }

    /// The shortest duration and the count of each bucket that has any, in microseconds.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let counts = self.counts.iter().enumerate();
        counts
            .filter(|(_, count)| **count > 0)
            .map(|(bucket, count)| (lower_bound(bucket), *count))
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank of up to 2^53 is exact, and a share of it is neither negative nor larger"
)]
fn share_of(count: u64, share: f64) -> u64 {
    (count as f64 * share).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_within_the_bounds_of_its_bucket() {
        for micros in (0..5000).chain([1 << 20, (1 << 26) - 1]) {
            let bucket = bucket(micros);
            let (lower, next) = (lower_bound(bucket), lower_bound(bucket + 1));
            assert!((lower..next).contains(&micros), "{micros}: {lower}..{next}");
            assert!((next - lower) * 8 <= lower.max(8), "an eighth: {micros}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(lower_bound(BUCKETS), 1 << LIMIT_LOG2);
    }

    #[test]
    fn quantiles_and_bounds_are_counted_from_the_buckets() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_us(0.99), 0);
        let mut counts = vec![0; BUCKETS];
        for micros in 1..=100 {
            counts[bucket(micros)] += 1;
        }
        histogram.absorb(&Histogram::new(counts, 5050));
        assert_eq!((histogram.count(), histogram.sum_us()), (100, 5050));
        assert_eq!(histogram.below(3), 7);
        assert_eq!(histogram.below(6), 63);
        for (share, exact) in [(0.5, 50), (0.99, 99), (1.0, 100)] {
            let found = histogram.quantile_us(share);
            assert!(
                (exact..=exact + exact / 8).contains(&found),
                "{share}: {found}"
            );
        }
        assert_eq!(
            histogram.buckets().map(|(_, count)| count).sum::<u64>(),
            100
        );
    }
}
