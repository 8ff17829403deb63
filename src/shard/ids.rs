//! Ids that the server chooses: 1, 2, 3, ..., each handed out once for ever.
//!
//! One core holds the source. The log remembers the highest id handed out (a
//! flag on its record, a floor in each segment's header), so a restart goes on
//! above it, also when the documents were deleted since.

/// So many taken ids in a row are stepped over one by one; then the steps double,
/// so that a block of a million documents under explicit ids costs twenty tries.
const SINGLE_STEPS: u32 = 16;

/// Hands out ids in ascending order.
#[derive(Debug)]
pub struct IdSource {
    highest: i64,
}

impl IdSource {
    /// A source that goes on above `highest`, the largest id handed out so far (0: none).
    #[must_use]
    pub fn above(highest: i64) -> IdSource {
        IdSource { highest }
    }

    /// The next id; `taken_in_a_row` tells how many ids handed out for the same
    /// document turned out to be in use. `None`: 64 bits are used up.
    pub fn next_id(&mut self, taken_in_a_row: u32) -> Option<i64> {
        let doublings = taken_in_a_row.saturating_sub(SINGLE_STEPS).min(62);
        self.highest = self.highest.checked_add(1 << doublings)?;
        Some(self.highest)
    }

    /// The next `count` ids, fewer only if 64 bits are used up.
    pub fn next_ids(&mut self, count: usize, taken_in_a_row: u32) -> Vec<i64> {
        // Only the first one steps far: the others follow it.
        let tries = std::iter::once(taken_in_a_row).chain(std::iter::repeat(0));
        tries
            .take(count)
            .map_while(|taken| self.next_id(taken))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_up_from_one_and_end_at_64_bits() {
        let mut source = IdSource::above(0);
        assert_eq!(
            [source.next_id(0), source.next_id(0), source.next_id(1)],
            [Some(1), Some(2), Some(3)]
        );
        assert_eq!(source.next_ids(3, 0), [4, 5, 6]);
        assert_eq!(source.next_ids(2, 20), [22, 23]);
        assert_eq!(IdSource::above(i64::MAX).next_id(0), None);
        assert_eq!(IdSource::above(i64::MAX - 1).next_ids(3, 0), [i64::MAX]);
    }

    #[test]
    fn a_long_block_of_taken_ids_is_passed_in_few_steps() {
        let mut source = IdSource::above(0);
        let tries =
            (0..).take_while(|&taken| source.next_id(taken).is_some_and(|id| id <= 1_000_000));
        assert!(tries.count() < 40);
    }
}
