//! How the writer's list of segments grows and shrinks: the next one, one in place
//! of several.
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
    spare::{Spare, is_full},
    writer::{AppendError, MARK_BYTES, State, Syncing, Writer},
};
use crate::limits::{BODY_BYTES_MAX_CEILING, NAME_BYTES_MAX, SEGMENT_BYTES_MAX};

/// A removal on a full disk gets this part of the spare.
const SPARE_PARTS: u32 = 8;

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

/// What a new segment may use of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// What leaves the spare to compaction: whatever else there is.
    Free,
    /// Part of the spare as well, when there is nothing else: for a removal, which must be
    /// possible on a full disk, because that is how it becomes less full.
    Spare,
}

/// Syncs the current segment, then creates the next.
#[derive(Debug)]
pub struct RollJob<D: Disk> {
    pub(super) disk: Arc<D>,
    /// The current segment, if there is one.
    pub(super) current: Option<(SegmentNumber, Arc<D::File>)>,
    pub(super) spare: Option<Spare<D>>,
    pub(super) room: Room,
    pub(super) number: SegmentNumber,
    pub(super) first_lsn: Lsn,
    pub(super) floors: Floors,
    /// The length of a spare.
    pub(super) spare_bytes: u32,
    /// The length that the segment should have.
    pub(super) wanted_bytes: u32,
    /// The length that it must have.
    pub(super) needed_bytes: u32,
}

/// What came of a roll, for `finish_roll`.
#[derive(Debug)]
pub struct Rolled<D: Disk> {
    /// The new segment.
    pub segment: Result<NewSegment<D>, RollError>,
    /// The spare for the one after it, if the job had one.
    pub(super) spare: Option<Spare<D>>,
}

/// The next segment, on disk and empty.
#[derive(Debug)]
pub struct NewSegment<D: Disk> {
    pub(super) header: SegmentHeader,
    pub(super) installed: Installed<D>,
}

impl<D: Disk> RollJob<D> {
    /// Does both. Blocks for several syncs.
    #[must_use]
    pub fn run(mut self) -> Rolled<D> {
        assert!(self.needed_bytes <= self.wanted_bytes);
        let mut spare = self.spare.take();
        let segment = self
            .sync_current()
            .and_then(|()| self.space(&mut spare))
            .and_then(|space| self.install(space));
        Rolled { segment, spare }
    }

    /// Only when all records before it are on disk may a successor exist: recovery takes a
    /// fault in any segment but the last for damage.
    fn sync_current(&self) -> Result<(), RollError> {
        let Some((number, file)) = &self.current else {
            return Ok(());
        };
        self.disk.sync(file).map_err(|source| RollError::Failed {
            path: self.disk.path(*number),
            source,
        })
    }

    /// Takes the spare only when there is another one for compaction.
    fn space(&self, spare: &mut Option<Spare<D>>) -> Result<Spare<D>, RollError> {
        let Some(ahead) = spare.take() else {
            return self.allocate();
        };
        if ahead.bytes >= self.needed_bytes
            && let Ok(next) = Spare::allocate(&*self.disk, self.spare_bytes)
        {
            *spare = Some(next);
            return Ok(ahead);
        }
        match self.allocate() {
            Err(RollError::Full { .. }) if self.room == Room::Spare => self.cut(ahead, spare),
            allocated => {
                *spare = Some(ahead);
                allocated
            }
        }
    }

    /// Halves the length until there is room for it.
    fn allocate(&self) -> Result<Spare<D>, RollError> {
        Spare::at_most(&*self.disk, self.wanted_bytes, self.needed_bytes)
            .map_err(|error| self.refusal(error))
    }

    /// Cuts the new segment out of the spare, as little of it as is of use.
    fn cut(&self, ahead: Spare<D>, spare: &mut Option<Spare<D>>) -> Result<Spare<D>, RollError> {
        let whole_bytes = ahead.bytes;
        let bytes = segment_length(whole_bytes / SPARE_PARTS).max(self.needed_bytes);
        if bytes >= whole_bytes {
            *spare = Some(ahead);
            return Err(self.refusal(io::ErrorKind::StorageFull.into()));
        }
        drop(ahead);
        let space = Spare::allocate(&*self.disk, bytes).map_err(|error| self.refusal(error))?;
        *spare = Spare::allocate(&*self.disk, whole_bytes - bytes).ok();
        Ok(space)
    }

    fn install(&self, spare: Spare<D>) -> Result<NewSegment<D>, RollError> {
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
    pub fn begin_roll(&mut self, draft_bytes: u32, room: Room) -> Result<RollJob<D>, AppendError> {
        assert_eq!(
            self.sync,
            Syncing::Idle,
            "no roll while a sync is under way"
        );
        assert!(u64::from(draft_bytes) <= SEGMENT_BYTES_MAX / 2);
        self.check_writable()?;
        self.state = State::Rolling;
        let needed_bytes = needed_length(draft_bytes);
        Ok(RollJob {
            disk: Arc::clone(&self.disk),
            current: Some((self.last().number, Arc::clone(&self.current.file))),
            spare: self.ahead.lend(),
            room,
            number: self.last().number.next(),
            first_lsn: self.appended.next(),
            floors: self.floors,
            spare_bytes: self.segment_bytes,
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
    pub fn finish_roll(&mut self, rolled: Rolled<D>) -> Result<(), RollError> {
        assert_eq!(self.state, State::Rolling);
        self.state = match &rolled.segment {
            Err(RollError::Failed { .. }) => State::Poisoned,
            _ => State::Ready,
        };
        if let Some(spare) = rolled.spare {
            self.ahead.take_back(spare);
        }
        let new = rolled.segment?;
        assert_eq!(new.header.first_lsn, self.appended.next());
        assert_eq!(new.header.number, self.last().number.next());
        self.raise_durable(self.appended);
        self.segments.push_back(unused(&new));
        self.current = new.installed;
        self.prepared_bytes = 0;
        self.ahead.ask_again();
        Ok(())
    }

    /// The length that segments have unless a record needs more.
    #[must_use]
    pub fn segment_bytes(&self) -> u32 {
        self.segment_bytes
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
