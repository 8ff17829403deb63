//! Where things are in the log, and what it promises never to hand out again.

use std::fmt;

use super::record::{Flags, IdRef, Kind, Record};
pub use crate::op::Lsn;
use crate::op::Version;

/// The number of a segment: from 1, ascending without gaps, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(pub u32);

impl SegmentNumber {
    /// The number of the first segment of a new log.
    pub const FIRST: SegmentNumber = SegmentNumber(1);

    /// The number that follows.
    ///
    /// # Panics
    /// After 2^32 segments.
    #[must_use]
    pub fn next(self) -> SegmentNumber {
        SegmentNumber(self.0.checked_add(1).expect("2^32 segments fit no disk"))
    }

    /// The number that the file name `name` stands for, if it is a segment's.
    #[must_use]
    pub fn from_file_name(name: &str) -> Option<SegmentNumber> {
        let digits = name.strip_suffix(".seg")?;
        let canonical = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse().ok().filter(|&number| number > 0)?;
        canonical.then_some(SegmentNumber(number))
    }
}

/// The file name of the segment.
impl fmt::Display for SegmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}.seg", self.0)
    }
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The segment that holds it.
    pub segment: SegmentNumber,
    /// Bytes from the start of that segment's file to the record's first byte.
    pub offset: u32,
}

/// What the log has given out so far and must never give out again.
///
/// Segment headers and marks repeat it, so that it outlives the records that
/// compaction removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floors {
    /// The largest document version.
    pub version: Version,
    /// The largest id that the server chose; 0: none.
    pub chosen_id: i64,
}

impl Floors {
    /// The floors of an empty log.
    pub const NONE: Floors = Floors {
        version: Version(0),
        chosen_id: 0,
    };

    /// Raises the floors to what `record` says.
    pub fn observe(&mut self, record: &Record<'_>) {
        let chosen_id = match record.id {
            IdRef::Integer(id)
                if record.kind == Kind::Mark || record.flags.contain(Flags::CHOSEN_BY_SERVER) =>
            {
                id
            }
            IdRef::Integer(_) | IdRef::Name(_) => 0,
        };
        self.raise(Floors {
            version: record.version,
            chosen_id,
        });
    }

    /// Raises the floors to at least `other`.
    pub fn raise(&mut self, other: Floors) {
        self.version = self.version.max(other.version);
        self.chosen_id = self.chosen_id.max(other.chosen_id);
    }
}

const _: () = assert!(usize::BITS >= u32::BITS);

/// A 32-bit size or offset as an index; never shortens, as asserted above.
pub(super) const fn index(value: u32) -> usize {
    value as usize
}

/// The length of a slice within a segment, which 32 bits hold.
pub(super) fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("SEGMENT_BYTES_MAX fits 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_number_is_read_only_from_its_own_file_name() {
        assert_eq!(SegmentNumber(3).to_string(), "0000000003.seg");
        for (name, expected) in [
            ("0000000003.seg", Some(SegmentNumber(3))),
            ("4294967295.seg", Some(SegmentNumber(u32::MAX))),
            ("4294967296.seg", None),
            ("0000000000.seg", None),
            ("3.seg", None),
            ("+000000003.seg", None),
            ("0000000003.tmp", None),
            ("0000000003.seg~", None),
            ("LOCK", None),
        ] {
            assert_eq!(SegmentNumber::from_file_name(name), expected, "{name}");
        }
    }
}
