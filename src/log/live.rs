//! Bytes of live records, by the segment that holds them: what compaction would keep.
//!
//! A put is live while its document is still the one that it stored; removals and
//! marks never are.

use std::collections::BTreeMap;

use super::position::SegmentNumber;

/// How many bytes of each segment are live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveBytes {
    /// Without those that have none.
    segments: BTreeMap<SegmentNumber, u64>,
    total: u64,
}

impl LiveBytes {
    /// Counts a record of this length in.
    pub fn add(&mut self, segment: SegmentNumber, bytes: u32) {
        *self.segments.entry(segment).or_default() += u64::from(bytes);
        self.total += u64::from(bytes);
    }

    /// Counts a record of this length out.
    ///
    /// # Panics
    /// If it was not counted in.
    pub fn remove(&mut self, segment: SegmentNumber, bytes: u32) {
        let bytes = u64::from(bytes);
        let left = self.segments.get_mut(&segment).and_then(|live| {
            *live = live.checked_sub(bytes)?;
            Some(*live)
        });
        if left.expect("only what was counted in is counted out") == 0 {
            self.segments.remove(&segment);
        }
        self.total -= bytes;
    }

    /// Adds the counts of other documents.
    pub fn absorb(&mut self, other: &LiveBytes) {
        for (&segment, bytes) in &other.segments {
            *self.segments.entry(segment).or_default() += bytes;
        }
        self.total += other.total;
    }

    /// Live bytes of all segments.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Live bytes of the segments from `first` to `last`.
    #[must_use]
    pub fn within(&self, first: SegmentNumber, last: SegmentNumber) -> u64 {
        self.segments
            .range(first..=last)
            .map(|(_, bytes)| bytes)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_in_is_counted_out() {
        let mut live = LiveBytes::default();
        for (segment, bytes) in [(1, 64), (2, 100), (2, 8), (9, 1)] {
            live.add(SegmentNumber(segment), bytes);
        }
        let within =
            |live: &LiveBytes, first, last| live.within(SegmentNumber(first), SegmentNumber(last));
        assert_eq!((live.total(), within(&live, 1, 1)), (173, 64));
        assert_eq!((within(&live, 2, 8), within(&live, 3, 8)), (108, 0));
        live.remove(SegmentNumber(2), 100);
        let mut both = live.clone();
        both.absorb(&live);
        assert_eq!((both.total(), within(&both, 1, 2)), (146, 144));
        for (segment, bytes) in [(1, 64), (2, 8), (9, 1)] {
            live.remove(SegmentNumber(segment), bytes);
        }
        assert_eq!(live, LiveBytes::default());
    }
}
