//! How the writer's list of segments grows and shrinks: the next one, a spare
//! ahead of it, one in place of several.
//!
//! The work blocks, so each piece is a job: made by the [`Writer`], run on any
//! thread, its result given back to the writer.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    disk::{Disk, InstallError, Installed},
    position::{Floors, Lsn, SegmentNumber},
    recovery::SegmentUse,
    segment::{SEGMENT_HEADER_BYTES, SegmentHeader},
    writer::{AppendError, MARK_BYTES, State, Syncing, Writer},
};
use crate::limits::{BODY_BYTES_MAX_CEILING, NAME_BYTES_MAX, SEGMENT_BYTES_MAX};

/// Why there is no next segment.
#[derive(Debug, thiserror::Error)]
pub enum RollError {
    /// The file system has no room, not even for a segment of one record; small
    /// records may still fit the current segment.
    #[error("{path} has no room for a segment of {bytes} bytes; free some space, writes go on then", path = .path.display())]
    Full {
        /// The data directory.
        path: PathBuf,
        /// The smallest segment that would do.
        bytes: u32,
    },
    /// The system refused, for now; nothing changed.
    #[error("{path} cannot be created: {source}; writes go on when it can", path = .path.display())]
    Refused {
        /// The segment's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is on disk is not known; the log is poisoned.
    #[error("{path} cannot be synced: {source}; writes stop, check the disk and restart", path = .path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Reserved space for the next segment.
#[derive(Debug)]
pub struct Spare<D: Disk> {
    pub(super) bytes: u32,
    pub(super) space: D::Spare,
}

/// Reserves space for the next segment, ahead of need.
#[derive(Debug)]
pub struct SpareJob<D: Disk> {
    pub(super) disk: Arc<D>,
    pub(super) bytes: u32,
}

impl<D: Disk> SpareJob<D> {
    /// Reserves the space; `None` if there is none, which is no error before the
    /// segment is needed. Blocks.
    #[must_use]
    pub fn run(self) -> Option<Spare<D>> {
        let space = self.disk.allocate(self.bytes).ok()?;
        Some(Spare {
            bytes: self.bytes,
            space,
        })
    }
}

/// Removes a segment that a compacted one stands for.
#[derive(Debug)]
pub struct RemoveJob<D: Disk> {
    pub(super) disk: Arc<D>,
    pub(super) number: SegmentNumber,
}

impl<D: Disk> RemoveJob<D> {
    /// Removes it, durably. Blocks.
    ///
    /// # Errors
    /// What the system said; a restart tries again.
    pub fn run(&self) -> io::Result<()> {
        self.disk.remove(self.number)
    }
}

/// Syncs the current segment, then creates the next.
#[derive(Debug)]
pub struct RollJob<D: Disk> {
    pub(super) disk: Arc<D>,
    /// The current segment, if there is one.
    pub(super) current: Option<(SegmentNumber, Arc<D::File>)>,
    pub(super) spare: Option<Spare<D>>,
    pub(super) number: SegmentNumber,
    pub(super) first_lsn: Lsn,
    pub(super) floors: Floors,
    /// The length that the segment should have.
    pub(super) wanted_bytes: u32,
    /// The length that it must have.
    pub(super) needed_bytes: u32,
}

/// The next segment, on disk and empty.
#[derive(Debug)]
pub struct NewSegment<D: Disk> {
    pub(super) header: SegmentHeader,
    pub(super) installed: Installed<D>,
}

impl<D: Disk> RollJob<D> {
    /// Does both. Blocks for several syncs.
    ///
    /// # Errors
    /// [`RollError`]; give it to `finish_roll` like a success.
    pub fn run(mut self) -> Result<NewSegment<D>, RollError> {
        assert!(self.needed_bytes <= self.wanted_bytes);
        // Only when all records before it are on disk may a successor exist:
        // recovery takes a fault in any segment but the last for damage.
        if let Some((number, file)) = &self.current {
            self.disk.sync(file).map_err(|source| RollError::Failed {
                path: self.disk.path(*number),
                source,
            })?;
        }
        let spare = match self.spare.take() {
            Some(spare) if spare.bytes >= self.needed_bytes => spare,
            // Drops a spare that is too small, which gives its space back.
            _ => self.allocate()?,
        };
        let header = SegmentHeader {
            number: self.number,
            first_lsn: self.first_lsn,
            floors: self.floors,
            bytes: spare.bytes,
            compacted: None,
        };
        let installed = self
            .disk
            .install(spare.space, self.number, &header.encode())
            .map_err(|error| match error {
                InstallError::Refused(source) => self.refusal(source),
                InstallError::Unknown(source) => RollError::Failed {
                    path: self.disk.directory().to_owned(),
                    source,
                },
            })?;
        Ok(NewSegment { header, installed })
    }

    /// Halves the length until there is room for it.
    fn allocate(&self) -> Result<Spare<D>, RollError> {
        let mut bytes = self.wanted_bytes;
        loop {
            match self.disk.allocate(bytes) {
                Ok(space) => return Ok(Spare { bytes, space }),
                Err(error) if is_full(&error) && bytes > self.needed_bytes => {
                    bytes = segment_length(bytes / 2).max(self.needed_bytes);
                }
                Err(error) => return Err(self.refusal(error)),
            }
        }
    }

    fn refusal(&self, source: io::Error) -> RollError {
        if is_full(&source) {
            let path: &Path = self.disk.directory();
            return RollError::Full {
                path: path.to_owned(),
                bytes: self.needed_bytes,
            };
        }
        RollError::Refused {
            path: self.disk.path(self.number),
            source,
        }
    }
}

/// The spare for the segment after the current one.
#[derive(Debug)]
pub(super) enum Ahead<D: Disk> {
    Wanted,
    UnderWay,
    Ready(Spare<D>),
    /// There was no room; not asked for again before the next roll.
    NoRoom,
}

impl<D: Disk> Writer<D> {
    /// Begins a new segment that has room for a draft of this length.
    ///
    /// Until [`finish_roll`](Writer::finish_roll) nothing can be appended.
    ///
    /// # Errors
    /// [`AppendError::Poisoned`].
    ///
    /// # Panics
    /// If a sync is under way (its failure would be told to only one of the
    /// two), a roll is, or the draft is larger than a record may be.
    pub fn begin_roll(&mut self, draft_bytes: u32) -> Result<RollJob<D>, AppendError> {
        assert_eq!(
            self.sync,
            Syncing::Idle,
            "no roll while a sync is under way"
        );
        assert!(u64::from(draft_bytes) <= SEGMENT_BYTES_MAX / 2);
        self.check_writable()?;
        self.state = State::Rolling;
        let needed_bytes = needed_length(draft_bytes);
        let spare = match std::mem::replace(&mut self.ahead, Ahead::Wanted) {
            Ahead::Ready(spare) => Some(spare),
            under_way_or_none => {
                self.ahead = under_way_or_none;
                None
            }
        };
        Ok(RollJob {
            disk: Arc::clone(&self.disk),
            current: Some((self.last().number, Arc::clone(&self.current.file))),
            spare,
            number: self.last().number.next(),
            first_lsn: self.appended.next(),
            floors: self.floors,
            wanted_bytes: self.segment_bytes.max(needed_bytes),
            needed_bytes,
        })
    }

    /// Takes the new segment into use. Everything before it is durable.
    ///
    /// # Errors
    /// The error of the job. After [`RollError::Failed`] the log is poisoned,
    /// after the others it goes on with the current segment.
    ///
    /// # Panics
    /// If no roll is under way.
    pub fn finish_roll(
        &mut self,
        result: Result<NewSegment<D>, RollError>,
    ) -> Result<(), RollError> {
        assert_eq!(self.state, State::Rolling);
        self.state = match &result {
            Err(RollError::Failed { .. }) => State::Poisoned,
            _ => State::Ready,
        };
        let new = result?;
        assert_eq!(new.header.first_lsn, self.appended.next());
        assert_eq!(new.header.number, self.last().number.next());
        self.raise_durable(self.appended);
        self.segments.push_back(unused(&new));
        self.current = new.installed;
        if matches!(self.ahead, Ahead::NoRoom) {
            self.ahead = Ahead::Wanted;
        }
        Ok(())
    }

    /// Asks for space for the next segment once half of the current one is used;
    /// end with [`finish_spare`](Writer::finish_spare).
    pub fn begin_spare(&mut self) -> Option<SpareJob<D>> {
        let wanted = matches!(self.ahead, Ahead::Wanted)
            && self.state != State::Poisoned
            && self.last().used_bytes > self.last().bytes / 2;
        wanted.then(|| {
            self.ahead = Ahead::UnderWay;
            SpareJob {
                disk: Arc::clone(&self.disk),
                bytes: self.segment_bytes,
            }
        })
    }

    /// Keeps the space for the next roll.
    ///
    /// # Panics
    /// If it was not asked for.
    pub fn finish_spare(&mut self, spare: Option<Spare<D>>) {
        assert!(matches!(self.ahead, Ahead::UnderWay));
        self.ahead = spare.map_or(Ahead::NoRoom, Ahead::Ready);
    }

    /// The length that segments have unless a record needs more.
    #[must_use]
    pub fn segment_bytes(&self) -> u32 {
        self.segment_bytes
    }

    /// Bytes of files: the segments and the space for the next one.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let segments: u64 = (self.segments.iter())
            .map(|segment| u64::from(segment.bytes))
            .sum();
        match &self.ahead {
            Ahead::Ready(spare) => segments + u64::from(spare.bytes),
            Ahead::UnderWay => segments + u64::from(self.segment_bytes),
            Ahead::Wanted | Ahead::NoRoom => segments,
        }
    }

    /// The segments before the current one whose records all are at most `settled`, oldest
    /// first, and the number of the record after them.
    #[must_use]
    pub fn sealed(&self, settled: Lsn) -> (Vec<SegmentUse>, Lsn) {
        let starts = self.segments.iter().skip(1).map(|next| next.first_lsn);
        let count = starts.take_while(|next| next.0 - 1 <= settled.0).count();
        let sealed = self.segments.iter().take(count).copied().collect();
        (sealed, self.segments[count].first_lsn)
    }

    /// Takes a compacted segment into use, which is installed in place of those that it
    /// stands for. The jobs remove what is left of them, oldest first.
    ///
    /// # Panics
    /// If the segments are not what it stands for.
    pub fn replace_run(&mut self, compacted: SegmentUse) -> Vec<RemoveJob<D>> {
        let within = |segment: &SegmentUse| {
            compacted.number <= segment.number && segment.number <= compacted.through()
        };
        let first = self.segments.iter().position(within);
        let first = first.expect("a run is replaced once");
        let count = self
            .segments
            .iter()
            .filter(|segment| within(segment))
            .count();
        assert!(
            first + count < self.segments.len(),
            "the current segment stays"
        );
        let run: Vec<SegmentUse> = self.segments.drain(first..first + count).collect();
        assert_eq!(run[0].number, compacted.number);
        assert_eq!(run[count - 1].through(), compacted.through());
        self.segments.insert(first, compacted);
        let remove = |segment: &SegmentUse| RemoveJob {
            disk: Arc::clone(&self.disk),
            number: segment.number,
        };
        run[1..].iter().map(remove).collect()
    }
}

/// The length of the shortest segment that has room for a draft of this length.
pub(super) const fn needed_length(draft_bytes: u32) -> u32 {
    segment_length(SEGMENT_HEADER_BYTES + draft_bytes + MARK_BYTES)
}

/// Lengths of segments are whole pages.
pub(super) const fn segment_length(bytes: u32) -> u32 {
    bytes.next_multiple_of(4096)
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// A new segment's entry in the list.
pub(super) fn unused<D: Disk>(new: &NewSegment<D>) -> SegmentUse {
    SegmentUse {
        number: new.header.number,
        first_lsn: new.header.first_lsn,
        bytes: new.header.bytes,
        used_bytes: SEGMENT_HEADER_BYTES,
        records: 0,
        put_bytes: 0,
        compacted: None,
    }
}

const _: () = assert!(
    (BODY_BYTES_MAX_CEILING + NAME_BYTES_MAX + 4096) as u64 <= SEGMENT_BYTES_MAX / 2,
    "a segment of its own has room for the largest record"
);
