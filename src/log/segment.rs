//! The header of a segment file: encoding and decoding.
//!
//! A segment file is allocated at its full length, which never changes, and
//! starts with 64 bytes, all numbers little endian:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | magic: `OxDaaS`, carriage return, line feed |
//! | 8 | 4 | format version: 1 |
//! | 12 | 4 | segment number, the same as in the file name |
//! | 16 | 8 | number of the first record that belongs here |
//! | 24 | 8 | version floor: no earlier record has a larger document version |
//! | 32 | 8 | id floor: no earlier record has a larger id chosen by the server; 0: none |
//! | 40 | 4 | length of the file |
//! | 44 | 4 | compacted: number of the last segment that it stands for; else 0 |
//! | 48 | 4 | compacted: records in it; else 0 |
//! | 52 | 8 | compacted: no record in it was dead once this record was settled; else 0 |
//! | 60 | 4 | CRC-32C of the 60 bytes before |
//!
//! Records follow, see [`record`](super::record), then zeros up to the end. The
//! header is on disk before the file has its name, and a segment has its name
//! only after every earlier record is on disk.
//!
//! A compacted segment took the place of all segments from its own number to the
//! one at offset 44. It ends with its last record; the numbers of its records
//! ascend with gaps, so their count says whether all are there. Files of the
//! other segments that it stands for are left over from a crash and mean nothing.

use super::position::{Floors, Lsn, SegmentNumber};
use crate::op::Version;

/// Bytes of a segment before its first record.
pub const SEGMENT_HEADER_BYTES: u32 = 64;

/// The format that this release reads and writes.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"OxDaaS\r\n";
const CRC: usize = 60;

type Bytes = [u8; SEGMENT_HEADER_BYTES as usize];

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Its number.
    pub number: SegmentNumber,
    /// The number of the first record that belongs here.
    pub first_lsn: Lsn,
    /// The floors of every earlier record.
    pub floors: Floors,
    /// The length of its file.
    pub bytes: u32,
    /// What compaction made of it; `None`: it is as it was first written.
    pub compacted: Option<Compacted>,
}

/// What the header of a compacted segment says beyond the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The last of the segments that it stands for.
    pub through: SegmentNumber,
    /// Records in it.
    pub records: u32,
    /// Whatever was dead when this record was settled is not in it.
    pub purged_through: Lsn,
}

/// Why bytes are not the header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The file ends inside the header.
    #[error("the file has {0} bytes; its header alone has {SEGMENT_HEADER_BYTES}")]
    Short(usize),
    /// The magic is another one.
    #[error("it does not start like an OxDaaS segment; if it is a foreign file, move it away")]
    Foreign,
    /// The format is another one.
    #[error("it has format version {0}, this release reads version {FORMAT_VERSION}")]
    FormatVersion(u32),
    /// The checksum is not that of the header.
    #[error("its header is damaged (checksum {stored:#010x}, computed {computed:#010x})")]
    Checksum {
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the header.
        computed: u32,
    },
}

impl SegmentHeader {
    /// The last of the segments that it stands for: itself, unless it is compacted.
    #[must_use]
    pub fn through(&self) -> SegmentNumber {
        self.compacted
            .map_or(self.number, |compacted| compacted.through)
    }

    /// The header as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = [0; SEGMENT_HEADER_BYTES as usize];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.number.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.first_lsn.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.floors.version.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.floors.chosen_id.to_le_bytes());
        out[40..44].copy_from_slice(&self.bytes.to_le_bytes());
        if let Some(compacted) = &self.compacted {
            out[44..48].copy_from_slice(&compacted.through.0.to_le_bytes());
            out[48..52].copy_from_slice(&compacted.records.to_le_bytes());
            out[52..60].copy_from_slice(&compacted.purged_through.0.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out[..CRC]);
        out[CRC..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the header at the start of `bytes`, which may go on after it.
    ///
    /// # Errors
    /// [`HeaderError`] says what is there instead.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderError> {
        let header: &Bytes = bytes.first_chunk().ok_or(HeaderError::Short(bytes.len()))?;
        if header[..8] != MAGIC {
            return Err(HeaderError::Foreign);
        }
        // Before the checksum: another format may keep its checksum elsewhere.
        let version = u32::from_le_bytes(field(header, 8));
        if version != FORMAT_VERSION {
            return Err(HeaderError::FormatVersion(version));
        }
        let stored = u32::from_le_bytes(field(header, CRC));
        let computed = crc32c::crc32c(&header[..CRC]);
        if stored != computed {
            return Err(HeaderError::Checksum { stored, computed });
        }
        Ok(SegmentHeader {
            number: SegmentNumber(u32::from_le_bytes(field(header, 12))),
            first_lsn: Lsn(u64::from_le_bytes(field(header, 16))),
            floors: Floors {
                version: Version(u64::from_le_bytes(field(header, 24))),
                chosen_id: i64::from_le_bytes(field(header, 32)),
            },
            bytes: u32::from_le_bytes(field(header, 40)),
            compacted: match u32::from_le_bytes(field(header, 44)) {
                0 => None,
                through => Some(Compacted {
                    through: SegmentNumber(through),
                    records: u32::from_le_bytes(field(header, 48)),
                    purged_through: Lsn(u64::from_le_bytes(field(header, 52))),
                }),
            },
        })
    }
}

fn field<const N: usize>(header: &Bytes, at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&header[at..at + N]);
    value
}

const _: () = assert!(SEGMENT_HEADER_BYTES.is_multiple_of(8));
const _: () = assert!(CRC + size_of::<u32>() == SEGMENT_HEADER_BYTES as usize);

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        number: SegmentNumber(3),
        first_lsn: Lsn(1000),
        floors: Floors {
            version: Version(77),
            chosen_id: 41,
        },
        bytes: 4096,
        compacted: Some(Compacted {
            through: SegmentNumber(7),
            records: 12,
            purged_through: Lsn(1 << 40),
        }),
    };

    #[test]
    fn a_header_comes_back_as_it_was() {
        let first_written = SegmentHeader {
            compacted: None,
            ..HEADER
        };
        for header in [HEADER, first_written] {
            assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn a_header_cut_anywhere_is_short() {
        for cut in 0..HEADER.encode().len() {
            let decoded = SegmentHeader::decode(&HEADER.encode()[..cut]);
            assert_eq!(decoded, Err(HeaderError::Short(cut)));
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_detected() {
        for bit in 0..HEADER.encode().len() * 8 {
            let mut bytes = HEADER.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = SegmentHeader::decode(&bytes).expect_err("a flipped bit");
            match bit / 8 {
                0..8 => assert_eq!(error, HeaderError::Foreign),
                8..12 => assert!(matches!(error, HeaderError::FormatVersion(_))),
                _ => assert!(matches!(error, HeaderError::Checksum { .. })),
            }
        }
    }

    #[test]
    fn an_unknown_version_is_refused_naming_both() {
        let message = HeaderError::FormatVersion(9).to_string();
        assert!(message.contains("version 9") && message.contains("version 1"));
    }
}
