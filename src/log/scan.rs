//! One segment's bytes as a sequence of records: where it stops, and what is beyond.
//!
//! Pure: it judges nothing. What a stop means is in [`ruling`](super::ruling).

use super::{
    codec::{Broken, Decoded, RECORD_HEADER_BYTES, claim, decode},
    position::{Location, Lsn, index, length},
    record::{Flags, Record},
    segment::{HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader},
};

/// Where a scan stopped, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The first byte that belongs to no whole record.
    pub at: Location,
    /// The number that a record there would have.
    pub expected: Lsn,
    /// What stands there instead.
    pub fault: Fault,
    /// Whole records before it.
    pub records: u64,
}

/// Whether a segment is followed by another one, which exists only once this one is on
/// disk whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor {
    /// It is the last one: a group that lacks its end does not count.
    None,
    /// It was synced whole, and so were the groups in it.
    Exists,
}

/// What stands where a whole record could.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing was written there.
    #[error("nothing is written where record {0} should stand")]
    Nothing(Lsn),
    /// Bytes that are not a record.
    #[error("the record is damaged ({0})")]
    Broken(Broken),
    /// A whole record that does not belong there.
    #[error("record {found} stands where record {expected} should")]
    Misplaced {
        /// The number that the record has.
        found: Lsn,
        /// The number that it should have.
        expected: Lsn,
    },
    /// A group of whole records that lacks its end.
    #[error("the group of records that begins here lacks its end")]
    OpenGroup,
    /// Bytes after the last record of a segment that has a successor.
    #[error("there are bytes after the last record of the segment")]
    Leftover,
    /// The segment's header is wrong.
    #[error("{0}")]
    Header(HeaderError),
    /// The file's length is not the one it was created with.
    #[error("the file has {found} bytes, it was created with {expected}")]
    Length {
        /// The length of the file.
        found: u64,
        /// The length in its header.
        expected: u32,
    },
    /// The header is that of another segment.
    #[error("its header is that of another segment; was the file renamed?")]
    Unrelated,
}

/// Hands the records of a segment to `each`, in order.
///
/// Their numbers have no gaps, unless the segment is compacted.
///
/// Of a segment without successor, a group that lacks its end is not handed out: the
/// scan stops where it begins.
///
/// # Panics
/// If `bytes` is shorter than a segment header.
pub fn scan_segment(
    bytes: &[u8],
    header: &SegmentHeader,
    successor: Successor,
    each: &mut dyn FnMut(&Record<'_>, Location),
) -> Stop {
    let segment = header.number;
    let mut offset = SEGMENT_HEADER_BYTES;
    let mut expected = header.first_lsn;
    let mut records = 0;
    // The records of a group whose end was not seen yet.
    let mut group: Vec<(Record<'_>, Location)> = Vec::new();
    loop {
        let at = Location { segment, offset };
        let is_due = |lsn| match header.compacted {
            None => lsn == expected,
            Some(_) => lsn >= expected,
        };
        let fault = match decode(&bytes[index(offset)..]) {
            Decoded::Whole(record) if is_due(record.lsn) => {
                offset += record.encoded_bytes();
                expected = record.lsn.next();
                group.push((record, at));
                if successor == Successor::None && record.flags.contain(Flags::GROUPED) {
                    continue;
                }
                for (record, at) in group.drain(..) {
                    each(&record, at);
                    records += 1;
                }
                continue;
            }
            Decoded::Whole(record) => Fault::Misplaced {
                found: record.lsn,
                expected,
            },
            Decoded::End => Fault::Nothing(expected),
            Decoded::Broken(broken) => Fault::Broken(broken),
        };
        // What a newer release wrote must not be cut, also not within a group.
        let is_unknown =
            matches!(fault, Fault::Broken(Broken::Unknown { lsn, .. }) if lsn == expected);
        if let Some((first, at)) = group.first().filter(|_| !is_unknown) {
            return Stop {
                at: *at,
                expected: first.lsn,
                fault: Fault::OpenGroup,
                records,
            };
        }
        return Stop {
            at,
            expected,
            fault,
            records,
        };
    }
}

/// Bytes of `tail` up to its last one that is not zero.
pub(super) fn written_bytes(tail: &[u8]) -> u32 {
    let zeros = tail.iter().rev().take_while(|&&byte| byte == 0).count();
    length(tail) - u32::try_from(zeros).expect("no more than the length")
}

/// Whether `tail` holds a whole record that was appended when record `lost` was
/// known to be on disk.
///
/// Costs a look at every eighth byte, and a checksum only where a header claims
/// what such a record would.
pub(super) fn witnesses(tail: &[u8], lost: Lsn) -> bool {
    // No more records than this fit, so no larger number was in use.
    let possible = tail.len().div_ceil(RECORD_HEADER_BYTES);
    let last = Lsn(lost
        .0
        .saturating_add(u64::try_from(possible).unwrap_or(u64::MAX)));
    (0..tail.len()).step_by(8).any(|offset| {
        let rest = &tail[offset..];
        claim(rest).is_some_and(|claim| {
            lost <= claim.durable && claim.durable < claim.lsn && claim.lsn <= last
        }) && matches!(
            decode(rest),
            Decoded::Whole(_) | Decoded::Broken(Broken::Unknown { .. })
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{
        codec::{drafts, seal},
        position::{Floors, SegmentNumber},
        segment::Compacted,
        testing::put,
    };

    const HEADER: SegmentHeader = SegmentHeader {
        number: SegmentNumber(2),
        first_lsn: Lsn(5),
        floors: Floors::NONE,
        bytes: 256,
        compacted: None,
    };

    /// A segment of three records with these numbers.
    fn segment(numbers: [u64; 3]) -> Vec<u8> {
        let mut bytes = vec![0; index(SEGMENT_HEADER_BYTES)];
        for number in numbers {
            let mut record = put(1, "1");
            seal(&mut record, Lsn(number), Lsn(number - 1));
            bytes.extend_from_slice(&record);
        }
        assert_eq!(drafts(&bytes[64..]).count(), 3);
        bytes
    }

    #[test]
    fn a_scan_hands_out_only_records_of_the_number_that_is_due() {
        for (numbers, expected) in [
            ([5, 6, 7], 3),
            ([5, 6, 8], 2),
            ([5, 5, 6], 1),
            ([5, 7, 6], 1),
            ([4, 5, 6], 0),
            ([6, 7, 8], 0),
        ] {
            let mut seen = Vec::new();
            let stop = scan_segment(&segment(numbers), &HEADER, Successor::None, &mut |r, _| {
                seen.push(r.lsn.0)
            });
            assert_eq!(seen, numbers[..expected]);
            assert_eq!(stop.records, u64::try_from(expected).expect("small"));
            assert_eq!(stop.expected.0, 5 + stop.records);
            assert_eq!(index(stop.at.offset), 64 + 64 * expected);
            let misplaced = matches!(stop.fault, Fault::Misplaced { .. });
            assert_eq!(misplaced, expected < 3, "{numbers:?}: {:?}", stop.fault);
        }
    }

    #[test]
    fn the_numbers_of_a_compacted_segment_ascend_with_gaps() {
        let header = SegmentHeader {
            compacted: Some(Compacted {
                through: SegmentNumber(4),
                records: 3,
                purged_through: Lsn(20),
            }),
            ..HEADER
        };
        for (numbers, expected) in [
            ([5, 6, 7], 3),
            ([6, 8, 20], 3),
            ([6, 6, 20], 1),
            ([9, 8, 20], 1),
            ([4, 5, 6], 0),
        ] {
            let mut seen = Vec::new();
            let stop = scan_segment(
                &segment(numbers),
                &header,
                Successor::Exists,
                &mut |r, _| seen.push(r.lsn.0),
            );
            assert_eq!(seen, numbers[..expected]);
            assert_eq!(stop.expected.0, seen.last().map_or(5, |last| last + 1));
        }
    }

    #[test]
    fn written_bytes_end_with_the_last_that_is_not_zero() {
        assert_eq!(written_bytes(&[]), 0);
        assert_eq!(written_bytes(&[0; 9]), 0);
        assert_eq!(written_bytes(&[0, 0, 1, 0, 2, 0]), 5);
        assert_eq!(written_bytes(&[1]), 1);
    }
}
