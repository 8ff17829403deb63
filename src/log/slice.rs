//! A piece of a segment with the records in it, so that long segments are read in
//! bounded steps.

use std::io;

use super::{
    codec::{Decoded, decode},
    disk::Segments,
    position::{Location, Lsn, SegmentNumber, index, length},
    record::Kind,
};
use crate::{id::Id, op::Version};

/// Whole records of one segment, one after the other; marks are left out.
#[derive(Debug)]
pub struct Slice {
    bytes: Vec<u8>,
    records: Vec<SliceRecord>,
}

/// What must be known of a record to say whether it is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceRecord {
    /// Where it lies.
    pub at: Location,
    /// Its number.
    pub lsn: Lsn,
    /// What it says.
    pub kind: Kind,
    /// Which document.
    pub id: Id,
    /// The version that the document had with it.
    pub version: Version,
    start: usize,
    end: usize,
}

impl Slice {
    /// The records, in order.
    #[must_use]
    pub fn records(&self) -> &[SliceRecord] {
        &self.records
    }

    /// The bytes of one of them.
    pub(super) fn bytes_of(&self, record: &SliceRecord) -> &[u8] {
        &self.bytes[record.start..record.end]
    }
}

/// Reads the records of one segment in slices.
#[derive(Clone, Debug)]
pub struct SliceReader {
    segment: SegmentNumber,
    offset: u32,
    end: u32,
    records: u64,
}

impl SliceReader {
    /// A reader of the records between these offsets.
    #[must_use]
    pub fn new(segment: SegmentNumber, offset: u32, end: u32) -> SliceReader {
        SliceReader {
            segment,
            offset,
            end,
            records: 0,
        }
    }

    /// How many records were read so far, marks included.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Reads the next records, `bytes_max` bytes of them or one; `None`: there are no more. Blocks.
    ///
    /// # Errors
    /// When the segment cannot be read; [`io::ErrorKind::InvalidData`] when it is damaged.
    pub fn read<D: Segments>(&mut self, disk: &D, bytes_max: u32) -> io::Result<Option<Slice>> {
        let mut bytes = Vec::new();
        let mut wanted = bytes_max;
        while self.offset < self.end {
            let left = self.end - self.offset;
            disk.read_part(self.segment, self.offset, wanted.min(left), &mut bytes)?;
            let slice = self.take_records(bytes);
            if slice.end() > 0 {
                return Ok(Some(slice));
            }
            if wanted >= left {
                let message = format!("no record stands at offset {}", self.offset);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            // The first record is longer than a slice.
            bytes = slice.bytes;
            wanted = wanted.saturating_mul(2);
        }
        Ok(None)
    }

    /// The whole records at the start of `bytes`, which are left out from there on.
    fn take_records(&mut self, mut bytes: Vec<u8>) -> Slice {
        let mut records = Vec::new();
        let mut start = 0;
        while let Decoded::Whole(record) = decode(&bytes[start..]) {
            let end = start + index(record.encoded_bytes());
            if record.kind != Kind::Mark {
                records.push(SliceRecord {
                    at: Location {
                        segment: self.segment,
                        offset: self.offset + length(&bytes[..start]),
                    },
                    lsn: record.lsn,
                    kind: record.kind,
                    id: record.id.to_id(),
                    version: record.version,
                    start,
                    end,
                });
            }
            self.records += 1;
            start = end;
        }
        bytes.truncate(start);
        self.offset += length(&bytes);
        Slice { bytes, records }
    }
}

impl Slice {
    fn end(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::{FIRST, closed_log, document};

    /// Bytes of a slice: a few records.
    const SLICE_BYTES: u32 = 4096;

    #[test]
    fn slices_hand_out_every_record_whatever_their_size() {
        let (disk, _) = closed_log();
        let mut reader = SliceReader::new(FIRST, 64, 64 + 3 * 1056);
        let slice = reader
            .read(&disk, SLICE_BYTES)
            .expect("reads")
            .expect("three records");
        let seen: Vec<_> = slice
            .records()
            .iter()
            .map(|r| (r.lsn.0, r.at.offset))
            .collect();
        assert_eq!(seen, [(1, 64), (2, 1120), (3, 2176)]);
        let text = document(2, 1000);
        let second = slice.bytes_of(&slice.records()[1]);
        assert!(
            second
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        );
        assert!(reader.read(&disk, SLICE_BYTES).expect("reads").is_none());
        assert_eq!(reader.records(), 3);
    }

    #[test]
    fn damage_is_an_error() {
        let (disk, _) = closed_log();
        let mut reader = SliceReader::new(FIRST, 72, 64 + 3 * 1056);
        let error = reader
            .read(&disk, SLICE_BYTES)
            .expect_err("in the middle of a record");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
