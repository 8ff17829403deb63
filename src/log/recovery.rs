//! From the segments on disk to the state that a restart begins with.
//!
//! Three steps, so that every core can read for itself and keep its own ids:
//! [`survey`] reads headers, [`scan_all`] hands out the records and comes to the
//! same [`Verdict`] on every core, [`repair_tail`] is done once, after all agree.
//! Only the last one writes.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::{
    backup::{BACKUP, Manifest, NotWhole},
    codec::{Broken, record_bytes},
    disk::{Disk, Segments},
    map::Scratch,
    position::{Floors, Location, Lsn, SegmentNumber, index},
    record::{Flags, Kind, Record},
    ruling::{Facts, Ruling, rule},
    scan::{Fault, Stop, Successor, scan_segment, witnesses, written_bytes},
    segment::{Compacted, SEGMENT_HEADER_BYTES, SegmentHeader},
};

/// The headers of all segments, oldest first, none missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Empty for a new log.
    pub segments: Vec<SegmentHeader>,
    /// Files that a compacted segment stands for, left over from a crash; ascending.
    pub superseded: Vec<SegmentNumber>,
    /// The last record of a backup that was not started on; `None`: it is none.
    pub backup: Option<Lsn>,
}

/// What the log holds; the same for everyone who reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The segments, oldest first; empty for a new log.
    pub segments: Vec<SegmentUse>,
    /// The number of the next record.
    pub next: Lsn,
    /// The largest document version and server-chosen id ever given out.
    pub floors: Floors,
    /// Whether the log ends with a clean shutdown.
    pub closed: bool,
    /// The torn tail that [`repair_tail`] removes; `None`: the end was clean.
    pub cut: Option<Cut>,
    /// Files left over from a crash in a compaction, which [`repair_tail`] removes.
    pub superseded: Vec<SegmentNumber>,
    /// The last record of a backup that was not started on: [`repair_tail`] makes it a log like
    /// any other.
    pub backup: Option<Lsn>,
}

/// How much of a segment is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentUse {
    /// Which segment.
    pub number: SegmentNumber,
    /// The number of its first record.
    pub first_lsn: Lsn,
    /// The length of its file.
    pub bytes: u32,
    /// Bytes of its header and its records.
    pub used_bytes: u32,
    /// Records in it.
    pub records: u64,
    /// Bytes of those that are puts: the others are never live.
    pub put_bytes: u32,
    /// What compaction made of it; `None`: it is as it was first written.
    pub compacted: Option<Compacted>,
}

impl SegmentUse {
    /// The last of the segments that it stands for: itself, unless it is compacted.
    #[must_use]
    pub fn through(&self) -> SegmentNumber {
        self.compacted
            .map_or(self.number, |compacted| compacted.through)
    }
}

/// A torn tail: written when the power went, never acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Where the tail begins.
    pub at: Location,
    /// Its length up to the last byte that is not zero.
    pub bytes: u32,
    /// What stands at its beginning.
    pub fault: Fault,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Location { segment, offset } = self.at;
        let Cut { bytes, fault, .. } = self;
        write!(
            f,
            "{segment}: cut {bytes} bytes that were never acknowledged at offset {offset}: {fault}"
        )
    }
}

impl Verdict {
    /// Where the next record goes, if there is a segment for it.
    #[must_use]
    pub fn end(&self) -> Option<Location> {
        self.segments.last().map(|last| Location {
            segment: last.number,
            offset: last.used_bytes,
        })
    }

    /// The number of the last record, [`Lsn::NONE`] of a new log.
    #[must_use]
    pub fn last(&self) -> Lsn {
        Lsn(self.next.0 - 1)
    }

    /// Records in all segments.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.segments.iter().map(|segment| segment.records).sum()
    }
}

/// Why the log cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The log is not what was written.
    #[error(
        "{path} at offset {offset}: {fault}; nothing was changed. Run 'oxdaas check {directory}' to see more, 'oxdaas repair {directory} NEW_DIR' to salvage what is whole",
        path = .path.display(), directory = .directory.display()
    )]
    Damaged {
        /// The segment's file.
        path: PathBuf,
        /// The data directory.
        directory: PathBuf,
        /// Where in the file.
        offset: u32,
        /// What is wrong there.
        fault: Fault,
    },
    /// A segment is missing.
    #[error(
        "{path} is missing, though {later} exists; nothing was changed. Put it back, or run 'oxdaas check {directory}' to see more, 'oxdaas repair {directory} NEW_DIR' to salvage what is left",
        path = .path.display(), directory = .directory.display()
    )]
    Gap {
        /// The file that is missing.
        path: PathBuf,
        /// The data directory.
        directory: PathBuf,
        /// The segment that shows it: a later one, or a compacted one, which is never the last.
        later: SegmentNumber,
    },
    /// The directory is a backup, and not all of it.
    #[error(
        "{directory} is a backup that was interrupted or changed: {fault}; nothing was changed. Make another one with 'oxdaas backup', or run 'oxdaas repair {directory} NEW_DIR' to salvage what is there",
        directory = .directory.display()
    )]
    Backup {
        /// The directory.
        directory: PathBuf,
        /// What it lacks.
        fault: NotWhole,
    },
    /// The system refused to read or write.
    #[error(
        "{path}: {source}; check the disk, then run 'oxdaas check {directory}' to see what is readable",
        path = .path.display(), directory = .directory.display()
    )]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The data directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Reads names and headers of all segments.
///
/// # Errors
/// [`RecoveryError`] when a header is not whole, foreign or of another version,
/// a file has another length or name than it was created with, or one is missing.
pub fn survey<D: Segments>(disk: &D) -> Result<Survey, RecoveryError> {
    let numbers = disk
        .list()
        .map_err(|source| io_error(disk, disk.directory(), source))?;
    let backup = survey_backup(disk, &numbers)?;
    let mut segments: Vec<SegmentHeader> = Vec::with_capacity(numbers.len());
    let mut superseded = Vec::new();
    for number in numbers {
        if let Some(previous) = segments.last() {
            if number <= previous.through() {
                superseded.push(number);
                continue;
            }
            let expected = previous.through().next();
            if number != expected {
                return Err(gap(disk, expected, number));
            }
        }
        let head = disk
            .head(number)
            .map_err(|source| io_error(disk, &disk.path(number), source))?;
        let start = Location {
            segment: number,
            offset: 0,
        };
        let header = SegmentHeader::decode(&head.bytes)
            .map_err(|error| damaged(disk, start, Fault::Header(error)))?;
        if header.number != number || header.first_lsn == Lsn::NONE {
            return Err(damaged(disk, start, Fault::Unrelated));
        }
        if head.length != u64::from(header.bytes) || header.bytes < SEGMENT_HEADER_BYTES {
            return Err(wrong_length(disk, &header, head.length));
        }
        if header.through() < number || header.through().0 == u32::MAX {
            return Err(damaged(disk, start, Fault::Unrelated));
        }
        segments.push(header);
    }
    // Only what has a successor is ever compacted.
    match segments.last() {
        Some(last) if last.compacted.is_some() => {
            Err(gap(disk, last.through().next(), last.number))
        }
        _ => Ok(Survey {
            segments,
            superseded,
            backup,
        }),
    }
}

/// The last record of a backup whose files are all there; `None`: the directory is none.
fn survey_backup<D: Segments>(
    disk: &D,
    numbers: &[SegmentNumber],
) -> Result<Option<Lsn>, RecoveryError> {
    let text = disk
        .backup()
        .map_err(|source| io_error(disk, &disk.directory().join(BACKUP), source))?;
    let Some(text) = text else {
        return Ok(None);
    };
    let not_whole = |fault| not_whole(disk, fault);
    let manifest = Manifest::decode(&text).map_err(not_whole)?;
    let mut files = Vec::with_capacity(numbers.len());
    for &number in numbers {
        let head = disk
            .head(number)
            .map_err(|source| io_error(disk, &disk.path(number), source))?;
        files.push((number, head.length));
    }
    manifest.check_files(&files).map_err(not_whole)?;
    Ok(Some(manifest.last()))
}

/// Hands every record of the log to `each`, in order, and says where it ends.
///
/// Reads each segment into memory, one at a time.
///
/// # Errors
/// [`RecoveryError`] when anything but the tail of the last segment is not as it
/// was written; what `each` was given by then must be thrown away.
pub fn scan_all<D: Segments>(
    disk: &D,
    survey: &Survey,
    each: &mut dyn FnMut(&Record<'_>, Location),
) -> Result<Verdict, RecoveryError> {
    scan_all_expecting(disk, survey, &mut |_| {}, each)
}

/// As [`scan_all`], and tells `expect` before each segment how many records it holds at most,
/// unless it is damaged.
///
/// # Errors
/// As [`scan_all`].
pub fn scan_all_expecting<D: Segments>(
    disk: &D,
    survey: &Survey,
    expect: &mut dyn FnMut(usize),
    each: &mut dyn FnMut(&Record<'_>, Location),
) -> Result<Verdict, RecoveryError> {
    let mut verdict = Verdict {
        segments: Vec::with_capacity(survey.segments.len()),
        next: Lsn::NONE.next(),
        floors: Floors::NONE,
        closed: false,
        cut: None,
        superseded: survey.superseded.clone(),
        backup: survey.backup,
    };
    let longest = survey.segments.iter().map(|segment| index(segment.bytes));
    let mut scratch = Scratch::new(longest.max().unwrap_or_default())
        .map_err(|source| io_error(disk, disk.directory(), source))?;
    for (position, header) in survey.segments.iter().enumerate() {
        let SegmentHeader { number, .. } = *header;
        let bytes = scratch.first(index(header.bytes));
        let found = disk
            .read_into(number, bytes)
            .map_err(|source| io_error(disk, &disk.path(number), source))?;
        if found != u64::from(header.bytes) {
            return Err(wrong_length(disk, header, found));
        }
        expect(records(bytes));
        verdict.floors.raise(header.floors);
        let next = survey.segments.get(position + 1);
        let successor = match next {
            Some(_) => Successor::Exists,
            None => Successor::None,
        };
        let mut put_bytes = 0;
        let stop = scan_segment(bytes, header, successor, &mut |record, at| {
            verdict.floors.observe(record);
            if record.kind == Kind::Put {
                put_bytes += record.encoded_bytes();
            }
            verdict.closed = record.kind == Kind::Mark && record.flags.contain(Flags::CLOSING);
            each(record, at);
        });
        verdict.cut =
            judge(bytes, header, &stop, next).map_err(|(at, fault)| damaged(disk, at, fault))?;
        verdict.next = stop.expected;
        verdict.segments.push(SegmentUse {
            number,
            first_lsn: header.first_lsn,
            bytes: header.bytes,
            used_bytes: stop.at.offset,
            records: stop.records,
            put_bytes,
            compacted: header.compacted,
        });
    }
    verdict.closed &= verdict.cut.is_none();
    let found = verdict.last();
    match survey.backup {
        Some(expected) if found != expected || !verdict.closed => {
            Err(not_whole(disk, NotWhole::Records { found, expected }))
        }
        _ => Ok(verdict),
    }
}

/// Zeroes the torn tail, so that none of it is ever taken for a record, and puts
/// the last segment on disk: what was recovered is durable when this returns.
/// Then removes the files that a crash in a compaction left over, and what says that the
/// directory is a backup: from now on it changes.
///
/// # Errors
/// [`RecoveryError::Io`]; it can be called again after a restart.
pub fn repair_tail<D: Disk>(disk: &D, verdict: &Verdict) -> Result<(), RecoveryError> {
    let Some(end) = verdict.end() else {
        return Ok(());
    };
    let repaired = disk.open(end.segment).and_then(|segment| {
        if let Some(cut) = verdict.cut {
            assert_eq!(cut.at, end);
            disk.zero(&segment.file, end.offset)?;
        }
        disk.sync(&segment.file)
    });
    repaired.map_err(|source| io_error(disk, &disk.path(end.segment), source))?;
    for &number in &verdict.superseded {
        disk.remove(number)
            .map_err(|source| io_error(disk, &disk.path(number), source))?;
    }
    if verdict.backup.is_some() {
        disk.remove_backup()
            .map_err(|source| io_error(disk, &disk.directory().join(BACKUP), source))?;
    }
    Ok(())
}

/// All three steps, for a single reader.
///
/// # Errors
/// As [`survey`], [`scan_all`] and [`repair_tail`].
pub fn recover<D: Disk>(
    disk: &D,
    each: &mut dyn FnMut(&Record<'_>, Location),
) -> Result<Verdict, RecoveryError> {
    let verdict = scan_all(disk, &survey(disk)?, each)?;
    repair_tail(disk, &verdict)?;
    Ok(verdict)
}

/// Records of a segment by their lengths alone, up to the first that has none.
fn records(segment: &[u8]) -> usize {
    let mut at = index(SEGMENT_HEADER_BYTES);
    let lengths = std::iter::from_fn(|| {
        let record = record_bytes(segment.get(at..)?)?;
        at += record;
        (at <= segment.len()).then_some(())
    });
    lengths.count()
}

/// Gathers the facts about a stop and turns the ruling into a cut or a fault.
fn judge(
    bytes: &[u8],
    header: &SegmentHeader,
    stop: &Stop,
    successor: Option<&SegmentHeader>,
) -> Result<Option<Cut>, (Location, Fault)> {
    let tail = &bytes[index(stop.at.offset)..];
    let written = written_bytes(tail);
    let complete = successor.is_some_and(|next| match header.compacted {
        None => next.first_lsn == stop.expected,
        Some(Compacted { records, .. }) => {
            stop.records == u64::from(records)
                && stop.at.offset == header.bytes
                && stop.expected <= next.first_lsn
        }
    });
    let facts = Facts {
        understood: !matches!(
            stop.fault,
            Fault::Broken(Broken::Unknown { lsn, .. }) if lsn == stop.expected
        ),
        witness: witnesses(
            &tail[..index(written.next_multiple_of(8)).min(tail.len())],
            stop.expected,
        ),
        last: successor.is_none(),
        complete,
        blank: written == 0,
    };
    match rule(facts) {
        Ruling::End => Ok(None),
        Ruling::Torn => Ok(Some(Cut {
            at: stop.at,
            bytes: written,
            fault: stop.fault,
        })),
        Ruling::Damaged if complete && facts.understood => Err((stop.at, Fault::Leftover)),
        Ruling::Damaged => Err((stop.at, stop.fault)),
    }
}

fn damaged<D: Segments>(disk: &D, at: Location, fault: Fault) -> RecoveryError {
    RecoveryError::Damaged {
        path: disk.path(at.segment),
        directory: disk.directory().to_owned(),
        offset: at.offset,
        fault,
    }
}

fn not_whole<D: Segments>(disk: &D, fault: NotWhole) -> RecoveryError {
    RecoveryError::Backup {
        directory: disk.directory().to_owned(),
        fault,
    }
}

fn gap<D: Segments>(disk: &D, missing: SegmentNumber, later: SegmentNumber) -> RecoveryError {
    RecoveryError::Gap {
        path: disk.path(missing),
        directory: disk.directory().to_owned(),
        later,
    }
}

fn wrong_length<D: Segments>(disk: &D, header: &SegmentHeader, found: u64) -> RecoveryError {
    let expected = header.bytes;
    let end = found.min(expected.into());
    let at = Location {
        segment: header.number,
        offset: u32::try_from(end).expect("no more than a segment's length"),
    };
    damaged(disk, at, Fault::Length { found, expected })
}

fn io_error<D: Segments>(disk: &D, path: &Path, source: io::Error) -> RecoveryError {
    RecoveryError::Io {
        path: path.to_owned(),
        directory: disk.directory().to_owned(),
        source,
    }
}
