//! What a backup says about itself: encoding, decoding, and whether a directory holds it whole.
//!
//! The stream of `GET /backup` is a tar archive (POSIX.1-1988, ustar): first the file `BACKUP`,
//! then the segments of the log, oldest first, each under its name. Whoever unpacks it has a data
//! directory. A segment is the file that the server has, see [`segment`](super::segment), but the
//! last one ends soon after the last record of the backup: its header says the shorter length,
//! and a closing mark follows that record, with the next number. Since the mark was written when
//! every record before it was on disk, recovery takes no damage of a copy for a torn tail.
//!
//! `BACKUP` is text, each line ended by a line feed:
//!
//! | line | |
//! |---|---|
//! | `oxdaas backup 1` | format version: 1 |
//! | `position N` | the number of the last record |
//! | `NNNNNNNNNN.seg BYTES` | a segment and the length of its file; as many lines as there are segments |
//! | `crc32c XXXXXXXX` | the CRC-32C of every byte before this line, in lower-case hexadecimal |
//!
//! A directory with that file and anything but those segments and those records is not whole, and
//! is refused. The first start on a whole one removes the file before it writes anything.

use std::{fmt::Write, str};

use super::position::{Lsn, SegmentNumber};

/// The name of the file.
pub const BACKUP: &str = "BACKUP";

const FORMAT: &str = "oxdaas backup 1";
const POSITION: &str = "position ";
const CRC: &str = "crc32c ";

/// What a backup consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The last record in it but for the closing mark, which has the next number.
    pub position: Lsn,
    /// Its segments and the lengths of their files, oldest first.
    pub segments: Vec<(SegmentNumber, u32)>,
}

/// Why a directory does not hold what its `BACKUP` says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWhole {
    /// `BACKUP` itself ends early, or its checksum is another.
    #[error("its file {BACKUP} is cut off or damaged")]
    Manifest,
    /// A release that this one does not know wrote it.
    #[error("its file {BACKUP} begins with '{0}', this release reads '{FORMAT}'")]
    Format(String),
    /// A segment is not there.
    #[error("{0} is missing")]
    Missing(SegmentNumber),
    /// A segment is not all there.
    #[error("{number} has {found} of {expected} bytes")]
    Length {
        /// Which segment.
        number: SegmentNumber,
        /// The length of its file.
        found: u64,
        /// The length that it should have.
        expected: u32,
    },
    /// A segment is there that belongs to another log, or another backup.
    #[error("{0} does not belong to it")]
    Foreign(SegmentNumber),
    /// The records end elsewhere.
    #[error("its records end with {found} in place of {expected}")]
    Records {
        /// The last one.
        found: Lsn,
        /// The last one that there should be.
        expected: Lsn,
    },
}

impl Manifest {
    /// The number of the closing mark, with which the log of the backup ends.
    #[must_use]
    pub fn last(&self) -> Lsn {
        self.position.next()
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        let bytes = self.segments.iter().map(|(_, bytes)| u64::from(*bytes));
        bytes.sum()
    }

    /// The contents of `BACKUP`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("{FORMAT}\n{POSITION}{}\n", self.position);
        for (number, bytes) in &self.segments {
            writeln!(text, "{number} {bytes}").expect("a string takes all");
        }
        let crc = crc32c::crc32c(text.as_bytes());
        writeln!(text, "{CRC}{crc:08x}").expect("a string takes all");
        text.into_bytes()
    }

    /// Reads the contents of `BACKUP`.
    ///
    /// # Errors
    /// [`NotWhole::Manifest`] and [`NotWhole::Format`].
    pub fn decode(bytes: &[u8]) -> Result<Manifest, NotWhole> {
        let text = str::from_utf8(bytes).map_err(|_| NotWhole::Manifest)?;
        let (first, _) = text.split_once('\n').ok_or(NotWhole::Manifest)?;
        // Before the checksum: another format may keep its checksum elsewhere.
        if first != FORMAT {
            return Err(NotWhole::Format(first.chars().take(80).collect()));
        }
        Manifest::parse(text).ok_or(NotWhole::Manifest)
    }

    fn parse(text: &str) -> Option<Manifest> {
        let (before, end) = text.split_at(text.rfind(CRC)?);
        let crc = end.strip_prefix(CRC)?.strip_suffix('\n')?;
        if crc != format!("{:08x}", crc32c::crc32c(before.as_bytes())) {
            return None;
        }
        let mut lines = before.lines().skip(1);
        let position = lines.next()?.strip_prefix(POSITION)?.parse().ok()?;
        let segment = |line: &str| {
            let (name, bytes) = line.split_once(' ')?;
            Some((SegmentNumber::from_file_name(name)?, bytes.parse().ok()?))
        };
        let segments: Option<Vec<_>> = lines.map(segment).collect();
        Some(Manifest {
            position: Lsn(position),
            segments: segments?,
        })
    }

    /// Compares the segments with the files that there are, in ascending order.
    ///
    /// # Errors
    /// [`NotWhole`] names the first difference.
    pub fn check_files(&self, files: &[(SegmentNumber, u64)]) -> Result<(), NotWhole> {
        let found = |number| files.iter().find(|(found, _)| *found == number);
        for &(number, expected) in &self.segments {
            match found(number) {
                None => return Err(NotWhole::Missing(number)),
                Some(&(_, found)) if found != u64::from(expected) => {
                    return Err(NotWhole::Length {
                        number,
                        found,
                        expected,
                    });
                }
                Some(_) => {}
            }
        }
        let is_foreign = |number| self.segments.iter().all(|(listed, _)| *listed != number);
        match files.iter().find(|(number, _)| is_foreign(*number)) {
            Some(&(number, _)) => Err(NotWhole::Foreign(number)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            position: Lsn(1234),
            segments: vec![(SegmentNumber(1), 4096), (SegmentNumber(7), 8192)],
        }
    }

    #[test]
    fn a_manifest_is_the_text_that_is_documented_and_comes_back() {
        let encoded = manifest().encode();
        let text = str::from_utf8(&encoded).expect("text");
        let (before, crc) = text.split_at(text.len() - 16);
        assert_eq!(
            before,
            "oxdaas backup 1\nposition 1234\n0000000001.seg 4096\n0000000007.seg 8192\n"
        );
        assert_eq!(
            crc,
            format!("crc32c {:08x}\n", crc32c::crc32c(before.as_bytes()))
        );
        assert_eq!(Manifest::decode(&encoded), Ok(manifest()));
        assert_eq!(manifest().segment_bytes(), 4096 + 8192);
    }

    #[test]
    fn a_manifest_cut_or_flipped_anywhere_is_none() {
        let encoded = manifest().encode();
        for cut in 0..encoded.len() {
            assert!(Manifest::decode(&encoded[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..encoded.len() * 8 {
            let mut bytes = encoded.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_format_is_refused_naming_both() {
        let error = Manifest::decode(b"oxdaas backup 2\nanything").expect_err("unknown");
        let message = error.to_string();
        assert!(message.contains("backup 2") && message.contains("backup 1"));
    }

    #[test]
    fn every_difference_of_the_files_is_named() {
        let check = |files: &[(u32, u64)]| {
            let files: Vec<_> = files.iter().map(|&(n, b)| (SegmentNumber(n), b)).collect();
            let checked = manifest().check_files(&files);
            checked.map_err(|error| error.to_string())
        };
        assert_eq!(check(&[(1, 4096), (7, 8192)]), Ok(()));
        for (files, named) in [
            (
                [(1, 4096), (8, 8192)].as_slice(),
                "0000000007.seg is missing",
            ),
            (&[(7, 8192)], "0000000001.seg is missing"),
            (&[], "0000000001.seg is missing"),
            (&[(1, 4096), (7, 8191)], "0000000007.seg has 8191 of 8192"),
            (&[(1, 4097), (7, 8192)], "0000000001.seg has 4097 of 4096"),
            (&[(1, 4096), (7, 8192), (9, 1)], "0000000009.seg does not"),
        ] {
            let message = check(files).expect_err("not whole");
            assert!(message.contains(named), "{message}");
        }
    }
}
