//! Whole records out of a damaged segment, wherever they stand.
//!
//! Recovery stops at the first fault because it must not guess. Salvage goes on
//! behind it: records are aligned to 8 bytes and carry a checksum, so a whole one
//! is found again; what lies between is reported.

use super::{
    codec::{Decoded, decode},
    position::{Location, SegmentNumber, index, length},
    record::Record,
    segment::SEGMENT_HEADER_BYTES,
};

/// Records start at multiples of this.
const ALIGNMENT: u32 = 8;

/// Bytes that hold something but no whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where they begin.
    pub at: Location,
    /// How many they are, up to the next whole record or the last byte that is not zero.
    pub bytes: u32,
}

/// Hands every whole record of a segment to `each`, in order; returns what lies between.
///
/// A broken header is no obstacle: records are looked for behind where it should end.
pub fn salvage_segment(
    bytes: &[u8],
    segment: SegmentNumber,
    each: &mut dyn FnMut(&Record<'_>, Location),
) -> Vec<Gap> {
    let written = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    let end = length(&bytes[..written]);
    let mut gaps: Vec<Gap> = Vec::new();
    let mut offset = SEGMENT_HEADER_BYTES;
    while offset < end {
        let at = Location { segment, offset };
        if let Decoded::Whole(record) = decode(&bytes[index(offset)..]) {
            each(&record, at);
            offset += record.encoded_bytes();
            continue;
        }
        let step = ALIGNMENT.min(end - offset);
        match gaps.last_mut() {
            Some(gap) if gap.at.offset + gap.bytes == offset => gap.bytes += step,
            _ => gaps.push(Gap { at, bytes: step }),
        }
        offset += step;
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::Id,
        log::{Draft, Flags, Kind, Lsn, encode, seal},
        op::Version,
    };

    #[test]
    fn records_behind_a_damaged_one_are_found() {
        let mut bytes = vec![0; index(SEGMENT_HEADER_BYTES)];
        let mut starts = Vec::new();
        for n in 1..=5_u8 {
            let start = bytes.len();
            starts.push(start);
            let draft = Draft {
                kind: Kind::Put,
                flags: Flags::NONE,
                version: Version(n.into()),
                expires_at_ms: 0,
                id: &Id::Integer(n.into()),
                document: &[b'0' + n],
            };
            encode(&mut bytes, &draft);
            seal(&mut bytes[start..], Lsn(n.into()), Lsn::NONE);
        }
        bytes.resize(4096, 0);
        let salvage = |bytes: &[u8]| {
            let mut found = Vec::new();
            let gaps = salvage_segment(bytes, SegmentNumber(1), &mut |record, _| {
                found.push(record.lsn.0)
            });
            (
                found,
                gaps.iter()
                    .map(|gap| (index(gap.at.offset), index(gap.bytes)))
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(salvage(&bytes), (vec![1, 2, 3, 4, 5], vec![]));
        bytes[starts[2] + 20] ^= 1;
        assert_eq!(
            salvage(&bytes),
            (vec![1, 2, 4, 5], vec![(starts[2], starts[3] - starts[2])])
        );
    }
}
