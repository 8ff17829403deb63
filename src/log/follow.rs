//! Reads the records of a log that is being written, in order and each once.
//!
//! A [`Follower`] reads the files beside the writer, in slices, and never looks at a byte
//! behind the record that it is told to stop at: what stands there may be half written.
//! What stays true:
//! - it hands out every record after the one it began at, or says that it cannot;
//! - it holds the file that it reads, so that a compaction that replaces or removes the
//!   segment takes nothing away from under it;
//! - it reads no compacted segment: what such a one left out would be missed.

use std::{fs::File, io, os::unix::fs::FileExt, path::PathBuf, sync::Arc};

use super::{
    codec::{Broken, Decoded, RECORD_HEADER_BYTES, decode},
    directory::Directory,
    disk::Segments,
    position::{Lsn, SegmentNumber, index, length},
    record::Record,
    segment::{SEGMENT_HEADER_BYTES, SegmentHeader},
};
use crate::limits::{FOLLOW_SLICE_BYTES_MAX, FOLLOW_SLICE_BYTES_MIN};

/// How often a segment is looked for that a compaction moves about meanwhile.
const LOOKS_MAX: u32 = 10;

/// Reads on from one record.
#[derive(Debug)]
pub struct Follower {
    disk: Arc<Directory>,
    /// The record that is handed out next.
    next: Lsn,
    source: Option<Source>,
    /// How much is read at once: little as long as it keeps up.
    slice_bytes: u32,
}

/// Why a follower cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// Compaction took records away that it would have to hand out.
    #[error("compaction has passed the position; {oldest} is the oldest that can be read on from")]
    Compacted {
        /// The records after this one are all there.
        oldest: Lsn,
    },
    /// The log is not what was written.
    #[error("{path} at offset {offset}: record {expected} should stand there; stop the server and run 'oxdaas check'", path = .path.display())]
    Damaged {
        /// The segment's file.
        path: PathBuf,
        /// Where in the file.
        offset: u32,
        /// What should stand there.
        expected: Lsn,
    },
    /// The system refused to read.
    #[error("{path} cannot be read: {source}", path = .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A segment that is read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) header: SegmentHeader,
    pub(super) offset: u32,
    /// The record at the offset.
    pub(super) expected: Lsn,
}

/// What came of a read of a segment.
pub(super) enum Progress {
    Read,
    /// The segment has no more records.
    End,
}

impl Follower {
    /// A follower of the records after `since`, of which those up to `through` exist. Blocks.
    ///
    /// # Errors
    /// [`FollowError::Compacted`] when some of them are gone.
    pub fn begin(disk: Arc<Directory>, since: Lsn, through: Lsn) -> Result<Follower, FollowError> {
        let mut follower = Follower {
            disk,
            next: since.next(),
            source: None,
            slice_bytes: FOLLOW_SLICE_BYTES_MIN,
        };
        if follower.next <= through {
            follower.source = Some(follower.locate()?);
        }
        Ok(follower)
    }

    /// The last record that was handed out, or where it began.
    #[must_use]
    pub fn position(&self) -> Lsn {
        Lsn(self.next.0 - 1)
    }

    /// Hands the next records to `each`: none behind `through`, and no more than a slice of a
    /// segment holds. Before the first ones, slices may hold none. Blocks.
    ///
    /// # Errors
    /// [`FollowError`]; what it handed out is right, and there is no going on.
    pub fn read(
        &mut self,
        through: Lsn,
        each: &mut dyn FnMut(&Record<'_>),
    ) -> Result<(), FollowError> {
        while self.next <= through {
            let Some(source) = &mut self.source else {
                self.source = Some(self.locate()?);
                continue;
            };
            match source.read(&mut self.next, through, self.slice_bytes, each)? {
                Progress::Read => {
                    self.slice_bytes = match self.next <= through {
                        true => (self.slice_bytes * 2).min(FOLLOW_SLICE_BYTES_MAX),
                        false => FOLLOW_SLICE_BYTES_MIN,
                    };
                    return Ok(());
                }
                Progress::End => {
                    let ended = source.header.number;
                    let damaged = source.damaged();
                    let source = match self.following(ended.next()) {
                        Some(source) => source,
                        None => self.locate()?,
                    };
                    // Zeros in the middle of a segment look like its end.
                    if source.header.number == ended {
                        return Err(damaged);
                    }
                    self.source = Some(source);
                }
            }
        }
        Ok(())
    }

    /// The segment by that number, if the next record is its first one.
    fn following(&self, number: SegmentNumber) -> Option<Source> {
        let source = Source::open(&self.disk, number).ok()?;
        let is_next = source.header.compacted.is_none() && source.header.first_lsn == self.next;
        is_next.then_some(source)
    }

    /// Finds the segment of the next record, which exists.
    fn locate(&self) -> Result<Source, FollowError> {
        let mut looks = 0;
        loop {
            looks += 1;
            match self.look() {
                // A compaction was quicker; what it made of the file is found next time.
                Err(FollowError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && looks < LOOKS_MAX => {}
                other => return other,
            }
        }
    }

    fn look(&self) -> Result<Source, FollowError> {
        let io = |source| FollowError::Io {
            path: self.disk.directory().to_owned(),
            source,
        };
        let numbers = self.disk.list().map_err(io)?;
        // Those that were looked at and begin too late, newest first.
        let mut later: Vec<SegmentHeader> = Vec::new();
        for number in numbers.into_iter().rev() {
            let source = Source::open(&self.disk, number)?;
            if source.header.compacted.is_some() {
                // Files that it stands for may not be removed yet.
                later.retain(|header| header.number > source.header.through());
                break;
            }
            if source.header.first_lsn <= self.next {
                return Ok(source);
            }
            later.push(source.header);
        }
        match later.last() {
            Some(oldest) => Err(FollowError::Compacted {
                oldest: Lsn(oldest.first_lsn.0 - 1),
            }),
            // Only what has a successor is compacted: it was created since the list was read.
            None => Err(io(io::ErrorKind::NotFound.into())),
        }
    }
}

impl Source {
    /// The segment by that number, from its first record on.
    pub(super) fn open(disk: &Directory, number: SegmentNumber) -> Result<Source, FollowError> {
        let path = disk.path(number);
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        let read = File::open(&path).and_then(|file| {
            file.read_exact_at(&mut bytes, 0)?;
            let header = SegmentHeader::decode(&bytes)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            Ok((file, header))
        });
        match read {
            Ok((file, header)) => Ok(Source {
                path,
                file,
                header,
                offset: SEGMENT_HEADER_BYTES,
                expected: header.first_lsn,
            }),
            Err(source) => Err(FollowError::Io { path, source }),
        }
    }

    /// Hands the records from `next` to `through` to `each`, as many as a slice holds.
    pub(super) fn read(
        &mut self,
        next: &mut Lsn,
        through: Lsn,
        slice_bytes: u32,
        each: &mut dyn FnMut(&Record<'_>),
    ) -> Result<Progress, FollowError> {
        let mut wanted = slice_bytes;
        loop {
            let left = self.header.bytes - self.offset;
            let mut bytes = vec![0; index(wanted.min(left))];
            self.file
                .read_exact_at(&mut bytes, self.offset.into())
                .map_err(|source| FollowError::Io {
                    path: self.path.clone(),
                    source,
                })?;
            let (taken, stop) = self.take(&bytes, next, through, each);
            self.offset += length(&bytes[..taken]);
            // A slice that ends within a record ends like damage, and blank like a segment.
            let is_cut = wanted < left;
            match stop {
                _ if taken > 0 => return Ok(Progress::Read),
                Decoded::End if !is_cut || bytes.len() >= RECORD_HEADER_BYTES => {
                    return Ok(Progress::End);
                }
                Decoded::End | Decoded::Broken(Broken::Length { .. } | Broken::Short { .. })
                    if is_cut =>
                {
                    wanted = wanted.saturating_mul(2);
                }
                _ => return Err(self.damaged()),
            }
        }
    }

    /// Something else stands where the next record should.
    pub(super) fn damaged(&self) -> FollowError {
        FollowError::Damaged {
            path: self.path.clone(),
            offset: self.offset,
            expected: self.expected,
        }
    }

    /// Hands out the whole records at the start of `bytes`; how many bytes they have, and what
    /// stands behind them.
    fn take<'b>(
        &mut self,
        bytes: &'b [u8],
        next: &mut Lsn,
        through: Lsn,
        each: &mut dyn FnMut(&Record<'_>),
    ) -> (usize, Decoded<'b>) {
        let mut taken = 0;
        while self.expected <= through {
            match decode(&bytes[taken..]) {
                Decoded::Whole(record) if record.lsn == self.expected => {
                    if record.lsn >= *next {
                        each(&record);
                        *next = record.lsn.next();
                    }
                    self.expected = record.lsn.next();
                    taken += index(record.encoded_bytes());
                }
                other => return (taken, other),
            }
        }
        (taken, Decoded::End)
    }
}

const _: () = assert!(RECORD_HEADER_BYTES < FOLLOW_SLICE_BYTES_MIN as usize);
const _: () = assert!(FOLLOW_SLICE_BYTES_MIN <= FOLLOW_SLICE_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{
        Kind, LiveBytes, Output, Rewrite, any_run,
        testing::{Scratch, append, close, document, open, put, sync},
        writer::Writer,
    };

    /// Records 1 to `count` in segments of 4 KiB, some longer than a slice could be small.
    fn log(scratch: &Scratch, count: u32) -> (Arc<Directory>, Writer<Directory>) {
        let disk = Arc::new(Directory::open(scratch.path()).expect("opens"));
        let mut writer = open(&disk);
        for n in 1..=count {
            append(&mut writer, &put(n, &document(n, 700 + 97 * index(n % 7))));
        }
        sync(&*disk, &mut writer);
        (disk, writer)
    }

    /// The numbers of the records up to `through` that the follower hands out.
    fn read_on(follower: &mut Follower, through: u64) -> Vec<u64> {
        let mut seen = Vec::new();
        while follower.position() < Lsn(through) {
            follower
                .read(Lsn(through), &mut |record| seen.push(record.lsn.0))
                .expect("reads");
        }
        seen
    }

    #[test]
    fn every_record_after_any_position_is_handed_out_once_up_to_any_other() {
        let scratch = Scratch::new("follow");
        let (disk, writer) = log(&scratch, 23);
        assert!(writer.segments().len() > 4);
        for since in 0..=23 {
            for through in since..=23 {
                let begun = Follower::begin(Arc::clone(&disk), Lsn(since), Lsn(through));
                let mut follower = begun.expect("begins");
                for slice_bytes in [64, FOLLOW_SLICE_BYTES_MAX] {
                    follower.slice_bytes = slice_bytes;
                    let expected: Vec<u64> = (follower.position().0 + 1..=through).collect();
                    assert_eq!(read_on(&mut follower, through), expected);
                }
                let rest: Vec<u64> = (through + 1..=23).collect();
                assert_eq!(read_on(&mut follower, 23), rest);
            }
        }
    }

    #[test]
    fn what_stands_behind_the_last_record_is_not_looked_at() {
        let scratch = Scratch::new("follow-torn");
        let (disk, writer) = log(&scratch, 2);
        let last = writer.segments().last().copied().expect("a segment");
        let file = File::options()
            .write(true)
            .open(disk.path(last.number))
            .expect("opens");
        file.write_all_at(&[0xff; 100], last.used_bytes.into())
            .expect("writes");
        let mut follower = Follower::begin(disk, Lsn::NONE, Lsn(2)).expect("begins");
        assert_eq!(read_on(&mut follower, 2), [1, 2]);
        let error = follower.read(Lsn(3), &mut |_| {}).expect_err("no record");
        assert!(
            matches!(error, FollowError::Damaged { offset, expected: Lsn(3), .. } if offset == last.used_bytes),
            "{error}"
        );
    }

    #[test]
    fn zeros_in_the_middle_of_a_segment_are_damage() {
        let scratch = Scratch::new("follow-zeros");
        let (disk, writer) = log(&scratch, 23);
        let second = *writer.segments().nth(1).expect("a second");
        let file = File::options()
            .write(true)
            .open(disk.path(second.number))
            .expect("opens");
        let from = u64::from(SEGMENT_HEADER_BYTES);
        file.write_all_at(&[0; 100], from).expect("writes");
        let mut follower = Follower::begin(disk, Lsn::NONE, Lsn(23)).expect("begins");
        let mut last = Lsn::NONE;
        let error = loop {
            match follower.read(Lsn(23), &mut |record| last = record.lsn) {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(last.next(), second.first_lsn);
        assert!(matches!(error, FollowError::Damaged { .. }), "{error}");
    }

    #[test]
    fn a_position_that_compaction_has_passed_is_told_and_a_file_in_use_is_read_to_its_end() {
        let scratch = Scratch::new("follow-compacted");
        let (disk, mut writer) = log(&scratch, 23);
        close(&*disk, &mut writer);
        let mut early = Follower::begin(Arc::clone(&disk), Lsn::NONE, Lsn(23)).expect("begins");
        early.slice_bytes = 64;
        early.read(Lsn(23), &mut |_| {}).expect("reads");
        let (sealed, next) = writer.sealed(writer.durable());
        let output = Output {
            segment_bytes: 4096,
            bytes_max: 4096,
        };
        let run = any_run(&sealed, next, &LiveBytes::default(), output, 0, 2).expect("fits");
        let after_run = writer.segments().nth(2).expect("a third").first_lsn.0;
        let mut rewrite = Rewrite::begin(Arc::clone(&disk), run, Lsn(23), None).expect("begins");
        while let Some(slice) = rewrite.read(4096).expect("reads") {
            assert!(
                slice
                    .records()
                    .iter()
                    .all(|record| record.kind == Kind::Put)
            );
            let gone = vec![None; slice.records().len()];
            rewrite.keep(&slice, &gone).expect("keeps nothing");
        }
        let segment = rewrite.install().expect("installs");
        let first_end = sealed[1].first_lsn.0 - 1;
        // The second file of the run is still there, and then it is not.
        for job in [None, writer.replace_run(segment).into_iter().next()] {
            if let Some(job) = job {
                job.run().expect("removes");
            }
            for since in 0..first_end {
                let begun = Follower::begin(Arc::clone(&disk), Lsn(since), Lsn(23));
                let error = begun.expect_err("records are gone");
                assert!(
                    matches!(error, FollowError::Compacted { oldest } if oldest.0 == after_run - 1),
                    "{since}: {error}"
                );
            }
        }
        let mut at_oldest =
            Follower::begin(Arc::clone(&disk), Lsn(after_run - 1), Lsn(23)).expect("begins");
        let rest: Vec<u64> = (after_run..=23).collect();
        assert_eq!(read_on(&mut at_oldest, 23), rest);
        let mut seen = early.position().0;
        let error = loop {
            match early.read(Lsn(23), &mut |record| {
                seen += 1;
                assert_eq!(record.lsn.0, seen);
            }) {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(seen, first_end, "the rest of the file that it held");
        assert!(matches!(error, FollowError::Compacted { .. }), "{error}");
    }
}
