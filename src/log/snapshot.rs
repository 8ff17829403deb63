//! The log of a running server as it is at one instant, as the stream of a backup.
//!
//! A [`Snapshot`] reads the files beside the writer. What stays true:
//! - all its files had their names at one instant, and its position is looked up after that: what
//!   a compacted segment left out was dead by then;
//! - it holds every file until that is read, so that a compaction that replaces or removes it
//!   takes nothing away;
//! - no byte behind its position is in the stream, and of a group all records or none.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    time::SystemTime,
};

use super::{
    backup::{BACKUP, Manifest},
    codec::{encode, seal},
    directory::Directory,
    disk::Segments,
    follow::{FollowError, Progress, Source},
    position::{Floors, Lsn, SegmentNumber, length},
    record::{Draft, Flags, Kind},
    roll::segment_length,
    segment::{SEGMENT_HEADER_BYTES, SegmentHeader},
};
use crate::{
    id::Id,
    limits::{FOLLOW_SLICE_BYTES_MAX, SNAPSHOT_LOOKS_MAX},
};

/// Bytes of a block of a tar archive.
const BLOCK_BYTES: u64 = 512;
/// Slices of the last segment that are read in one step.
const SLICES_MAX: usize = 16;

/// A log at one position, to be read once.
#[derive(Debug)]
pub struct Snapshot {
    ending: Ending,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Where the last of these segments ends is looked for.
    Ending(Vec<Source>),
    /// What is left of the stream.
    Reading(VecDeque<Piece>),
}

/// How far the last segment belongs to the snapshot.
#[derive(Debug)]
struct Ending {
    /// The records up to this one are there.
    at_least: Lsn,
    /// No record after this one.
    through: Lsn,
    /// The last record, and where the next one would be.
    position: Lsn,
    offset: u32,
    floors: Floors,
}

/// A part of the stream.
#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    Zeros(u64),
    /// The bytes of a file from the first offset to the second.
    File(Source, u64, u64),
}

/// Why there is no snapshot, or no going on with one.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The process may not have that many files open.
    #[error(
        "the log has {count} segments, and the process has room for {max} more open files; raise 'ulimit -n', or begin a new log with larger segments (--segment-bytes)"
    )]
    TooManyFiles {
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// Segments were replaced again and again.
    #[error("the segments changed {SNAPSHOT_LOOKS_MAX} times while they were opened; try again")]
    Restless,
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] FollowError),
}

impl Snapshot {
    /// Opens the segments of `disk`, `files_max` at most.
    ///
    /// `position` says up to which record the log may be shown. Blocks.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn open(
        disk: &Directory,
        files_max: usize,
        position: &dyn Fn() -> Lsn,
    ) -> Result<Snapshot, SnapshotError> {
        let at_least = position();
        let sources = (0..SNAPSHOT_LOOKS_MAX)
            .find_map(|_| open_all(disk, files_max).transpose())
            .unwrap_or(Err(SnapshotError::Restless))?;
        let last = &sources[sources.len() - 1].header;
        Ok(Snapshot {
            ending: Ending {
                at_least,
                through: position(),
                // A segment exists only once every record before it is on disk.
                position: Lsn(last.first_lsn.0 - 1),
                offset: SEGMENT_HEADER_BYTES,
                floors: last.floors,
            },
            state: State::Ending(sources),
        })
    }

    /// The last record that it shows, once there was something to read.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.ending.position
    }

    /// Appends the next part of the stream to `out`, `bytes_max` bytes or a few more; whether
    /// there is nothing more. At first it may append nothing. Blocks.
    ///
    /// # Errors
    /// [`SnapshotError::Log`]; there is no going on.
    pub fn read(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> Result<bool, SnapshotError> {
        match &mut self.state {
            State::Ending(sources) => {
                if self
                    .ending
                    .look(sources.last_mut().expect("a log has a segment"))?
                {
                    let sources = std::mem::take(sources);
                    self.state = State::Reading(pieces(&self.ending, sources));
                }
                Ok(false)
            }
            State::Reading(pieces) => {
                while out.len() < bytes_max
                    && let Some(piece) = pieces.front_mut()
                {
                    if piece.read(bytes_max, out)? {
                        pieces.pop_front();
                    }
                }
                Ok(pieces.is_empty())
            }
        }
    }
}

/// Opens all segments as they are at one instant; `None`: they changed meanwhile.
fn open_all(disk: &Directory, files_max: usize) -> Result<Option<Vec<Source>>, SnapshotError> {
    let mut sources: Vec<Source> = Vec::new();
    loop {
        let known = sources.last().map(|source| source.header.through());
        let mut newer = list(disk)?;
        newer.retain(|&number| Some(number) > known);
        if newer.is_empty() {
            break;
        }
        let count = sources.len() + newer.len();
        if count > files_max {
            let max = files_max;
            return Err(SnapshotError::TooManyFiles { count, max });
        }
        for number in newer {
            let expected = sources.last().map(|source| source.header.through().next());
            if Some(number) < expected {
                // What a compacted segment stands for; it may not be removed yet.
                continue;
            }
            match Source::open(disk, number) {
                Ok(source) if expected.is_none_or(|expected| expected == number) => {
                    sources.push(source);
                }
                Err(error) if !is_missing(&error) => return Err(error.into()),
                Ok(_) | Err(_) => return Ok(None),
            }
        }
    }
    // Each had its name when it was opened, and has it still: all had it at once in between.
    let all_there = sources.iter().all(is_in_place);
    Ok((all_there && !sources.is_empty()).then_some(sources))
}

fn list(disk: &Directory) -> Result<Vec<SegmentNumber>, FollowError> {
    disk.list().map_err(|source| FollowError::Io {
        path: disk.directory().to_owned(),
        source,
    })
}

fn is_missing(error: &FollowError) -> bool {
    matches!(error, FollowError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// Whether the file still has its name; while it is open no other file has its inode.
fn is_in_place(source: &Source) -> bool {
    match (source.file.metadata(), fs::metadata(&source.path)) {
        (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
        _ => false,
    }
}

impl Ending {
    /// Looks through the next records of the last segment; whether the end is found.
    fn look(&mut self, source: &mut Source) -> Result<bool, FollowError> {
        let mut next = source.expected;
        for _ in 0..SLICES_MAX {
            let mut offset = source.offset;
            let through = self.through;
            let progress =
                source.read(&mut next, through, FOLLOW_SLICE_BYTES_MAX, &mut |record| {
                    offset += record.encoded_bytes();
                    self.floors.observe(record);
                    if !record.flags.contain(Flags::GROUPED) {
                        self.position = record.lsn;
                        self.offset = offset;
                    }
                })?;
            match progress {
                Progress::Read => {}
                // Zeros in the middle of a segment look like its end.
                Progress::End if source.expected <= self.at_least => return Err(source.damaged()),
                Progress::End => return Ok(true),
            }
        }
        Ok(false)
    }

    /// The mark that ends the log of the backup.
    fn closing_mark(&self) -> Vec<u8> {
        let mut mark = Vec::new();
        let draft = Draft {
            kind: Kind::Mark,
            flags: Flags::CLOSING,
            version: self.floors.version,
            expires_at_ms: 0,
            id: &Id::Integer(self.floors.chosen_id),
            document: &[],
        };
        encode(&mut mark, &draft);
        seal(&mut mark, self.position.next(), self.position);
        mark
    }
}

/// The stream of these segments.
fn pieces(ending: &Ending, mut sources: Vec<Source>) -> VecDeque<Piece> {
    let mark = ending.closing_mark();
    let used_bytes = ending.offset + length(&mark);
    let last = sources.pop().expect("a log has a segment");
    let last_bytes = segment_length(used_bytes);
    let header = SegmentHeader {
        bytes: last_bytes,
        ..last.header
    };
    let mut segments: Vec<_> = (sources.iter())
        .map(|source| (source.header.number, source.header.bytes))
        .collect();
    segments.push((header.number, last_bytes));
    let manifest = Manifest {
        position: ending.position,
        segments,
    };
    let mut archive = Archive::default();
    let manifest = manifest.encode();
    archive.begin(BACKUP, length(&manifest));
    archive.pieces.push_back(Piece::Bytes(manifest));
    for source in sources {
        let bytes = source.header.bytes;
        archive.begin(&source.header.number.to_string(), bytes);
        archive
            .pieces
            .push_back(Piece::File(source, 0, bytes.into()));
    }
    archive.begin(&header.number.to_string(), last_bytes);
    archive.pieces.extend([
        Piece::Bytes(header.encode().to_vec()),
        Piece::File(last, SEGMENT_HEADER_BYTES.into(), ending.offset.into()),
        Piece::Bytes(mark),
        Piece::Zeros((last_bytes - used_bytes).into()),
    ]);
    archive.end()
}

/// A tar archive under construction.
#[derive(Default)]
struct Archive {
    pieces: VecDeque<Piece>,
    /// Bytes that the file before the next one lacks to whole blocks.
    padding: u64,
}

impl Archive {
    /// Begins a file of this length, whose bytes are pushed next.
    fn begin(&mut self, name: &str, bytes: u32) {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).expect("a short name without a slash");
        header.set_size(bytes.into());
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        let now = SystemTime::UNIX_EPOCH.elapsed();
        header.set_mtime(now.map_or(0, |now| now.as_secs()));
        header.set_cksum();
        self.pad();
        self.pieces
            .push_back(Piece::Bytes(header.as_bytes().to_vec()));
        let bytes = u64::from(bytes);
        self.padding = bytes.next_multiple_of(BLOCK_BYTES) - bytes;
    }

    fn pad(&mut self) {
        self.pieces.push_back(Piece::Zeros(self.padding));
    }

    fn end(mut self) -> VecDeque<Piece> {
        self.pad();
        self.pieces.push_back(Piece::Zeros(2 * BLOCK_BYTES));
        self.pieces
    }
}

impl Piece {
    /// Appends what fits to `out`; whether that is all of it.
    fn read(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> Result<bool, FollowError> {
        let start = out.len();
        let step = |left: u64| {
            let room = bytes_max.saturating_sub(start).max(1);
            usize::try_from(left).map_or(room, |left| left.min(room))
        };
        match self {
            Piece::Bytes(bytes) => {
                out.append(bytes);
                Ok(true)
            }
            Piece::Zeros(left) => {
                let bytes = step(*left);
                out.resize(start + bytes, 0);
                *left -= wide(bytes);
                Ok(*left == 0)
            }
            Piece::File(source, at, end) => {
                let bytes = step(*end - *at);
                out.resize(start + bytes, 0);
                read_exact(source, &mut out[start..], *at)?;
                *at += wide(bytes);
                Ok(at == end)
            }
        }
    }
}

fn read_exact(source: &Source, out: &mut [u8], at: u64) -> Result<(), FollowError> {
    let file: &File = &source.file;
    file.read_exact_at(out, at)
        .map_err(|error| FollowError::Io {
            path: source.path.clone(),
            source: error,
        })
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("a length fits 64 bits")
}

#[cfg(test)]
mod tests;
