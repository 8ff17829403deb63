//! The one writer of the log: appends drafts, and keeps the durable watermark.
//!
//! It waits for nothing. Syncing, creating and removing segments are handed out
//! as jobs ([`SyncTarget`], [`RollJob`], ...) whose results come back, so that
//! its owner can run them elsewhere.
//!
//! What stays true: `durable <= appended`, neither ever falls, and after a
//! failed sync nothing is appended again.

use std::{collections::VecDeque, path::PathBuf, sync::Arc};

use super::{
    codec::{draft_fields, encode, seal},
    disk::{Disk, Installed, Map},
    position::{Floors, Location, Lsn, SegmentNumber, length},
    record::{Draft, Flags, Kind},
    recovery::{SegmentUse, Verdict},
    roll::{RollError, RollJob, Room, needed_length, segment_length, unused},
    spare::Ahead,
};
use crate::{
    id::Id,
    limits::{LOG_PREPARE_BYTES, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN},
};

/// Bytes that other records leave free at the end of a segment, so that a clean
/// shutdown needs no new one: a record header and an integer id.
pub(super) const MARK_BYTES: u32 = 56;

/// Appends records to the last segment.
#[derive(Debug)]
pub struct Writer<D: Disk> {
    pub(super) disk: Arc<D>,
    pub(super) segment_bytes: u32,
    pub(super) current: Installed<D>,
    /// Oldest first; the last one is `current`.
    pub(super) segments: VecDeque<SegmentUse>,
    pub(super) appended: Lsn,
    durable: Lsn,
    pub(super) floors: Floors,
    pub(super) state: State,
    pub(super) sync: Syncing,
    pub(super) ahead: Ahead<D>,
    /// As much of the current segment was prepared at least once.
    pub(super) prepared_bytes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    Rolling,
    /// The last record is a closing mark.
    Closed,
    Poisoned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syncing {
    Idle,
    UnderWay(Lsn),
}

/// What to sync, and what is durable then.
#[derive(Debug)]
pub struct SyncTarget<D: Disk> {
    /// The file of the current segment; earlier ones are on disk.
    pub file: Arc<D::File>,
    /// Its path.
    pub path: PathBuf,
    /// Every record up to this one is durable once the file is synced.
    pub through: Lsn,
}

/// Why a record was not appended. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// It does not fit the current segment; roll first.
    #[error("the record does not fit the current segment")]
    NoRoom,
    /// A sync failed; the log takes no more records until a restart.
    #[error("an earlier sync of the log failed; check the disk and restart")]
    Poisoned,
}

impl<D: Disk> Writer<D> {
    /// Opens the log where `verdict` says it ends; its tail must be repaired.
    ///
    /// Creates the first segment of a new log. Blocks.
    ///
    /// # Errors
    /// [`RollError`] when the segment cannot be created or opened.
    ///
    /// # Panics
    /// If `segment_bytes` is not within its limits.
    pub fn open(
        disk: Arc<D>,
        verdict: &Verdict,
        segment_bytes: u64,
    ) -> Result<Writer<D>, RollError> {
        assert!((SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes));
        let segment_bytes = u32::try_from(segment_bytes).expect("SEGMENT_BYTES_MAX fits 32 bits");
        let segment_bytes = segment_length(segment_bytes);
        let mut segments = VecDeque::from(verdict.segments.clone());
        let current = match segments.back() {
            Some(last) => disk
                .open(last.number)
                .map_err(|source| RollError::Refused {
                    path: disk.path(last.number),
                    source,
                })?,
            None => {
                let job = RollJob {
                    disk: Arc::clone(&disk),
                    current: None,
                    spare: None,
                    room: Room::Free,
                    spare_bytes: segment_bytes,
                    number: SegmentNumber::FIRST,
                    first_lsn: verdict.next,
                    floors: verdict.floors,
                    wanted_bytes: segment_bytes,
                    needed_bytes: needed_length(MARK_BYTES),
                };
                let new = job.run().segment?;
                segments.push_back(unused(&new));
                new.installed
            }
        };
        let appended = Lsn(verdict.next.0 - 1);
        Ok(Writer {
            disk,
            segment_bytes,
            current,
            segments,
            appended,
            durable: appended,
            floors: verdict.floors,
            state: if verdict.closed {
                State::Closed
            } else {
                State::Ready
            },
            sync: Syncing::Idle,
            ahead: Ahead::Wanted,
            prepared_bytes: 0,
        })
    }

    /// Makes sure that the next `bytes` of drafts can be written, as far as they fit the
    /// current segment; once for many drafts, because it is a system call.
    ///
    /// New space is prepared by the piece ([`LOG_PREPARE_BYTES`]), and goes to disk with the
    /// next sync, as zeros: the syncs after that one find it written before.
    ///
    /// # Errors
    /// [`AppendError::Poisoned`], also when the disk turns out to be failing.
    ///
    /// # Panics
    /// If a roll is under way.
    pub fn prepare(&mut self, bytes: u32) -> Result<(), AppendError> {
        self.check_writable()?;
        let offset = self.last().used_bytes;
        let mut bytes = bytes.min(self.room_bytes());
        if offset + bytes > self.prepared_bytes {
            let pieces = (offset + bytes).next_multiple_of(LOG_PREPARE_BYTES);
            self.prepared_bytes = pieces.min(self.last().bytes);
            bytes = self.prepared_bytes - offset;
        }
        if bytes > 0
            && let Err(error) = self.current.map.prepare(offset, bytes)
        {
            tracing::error!(%error, "the log cannot be written; writes are refused until a restart");
            self.poison();
            return Err(AppendError::Poisoned);
        }
        Ok(())
    }

    /// Appends `draft`, as [`encode`] wrote it; its number is
    /// [`appended`](Writer::appended) then.
    ///
    /// The bytes are in the page cache when this returns, and on disk only once
    /// the watermark reaches that number.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was written.
    ///
    /// # Panics
    /// If `draft` is not exactly one draft, or a roll is under way.
    pub fn append(&mut self, draft: &[u8]) -> Result<Location, AppendError> {
        self.check_writable()?;
        if self.needs_roll(length(draft)) {
            return Err(AppendError::NoRoom);
        }
        Ok(self.write(draft))
    }

    /// Whether a draft of this length needs a new segment.
    #[must_use]
    pub fn needs_roll(&self, draft_bytes: u32) -> bool {
        self.room_bytes() < draft_bytes.saturating_add(MARK_BYTES)
    }

    /// The last record that was appended.
    #[must_use]
    pub fn appended(&self) -> Lsn {
        self.appended
    }

    /// The durable watermark: this record and all before it are on disk.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// The largest document version and server-chosen id in the log.
    #[must_use]
    pub fn floors(&self) -> Floors {
        self.floors
    }

    /// The disk that it writes to.
    #[must_use]
    pub fn disk(&self) -> Arc<D> {
        Arc::clone(&self.disk)
    }

    /// The segments, oldest first; the last one is being written.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = &SegmentUse> {
        self.segments.iter()
    }

    /// What to sync now; end with [`finish_sync`](Writer::finish_sync), or
    /// [`poison`](Writer::poison) when it failed. Appending goes on meanwhile.
    ///
    /// # Errors
    /// [`AppendError::Poisoned`]: a failed sync is never retried.
    ///
    /// # Panics
    /// If a sync or a roll is under way.
    pub fn begin_sync(&mut self) -> Result<SyncTarget<D>, AppendError> {
        assert_eq!(self.sync, Syncing::Idle, "one sync at a time");
        self.check_writable()?;
        self.sync = Syncing::UnderWay(self.appended);
        Ok(SyncTarget {
            file: Arc::clone(&self.current.file),
            path: self.disk.path(self.last().number),
            through: self.appended,
        })
    }

    /// The sync under way succeeded; returns the new watermark.
    ///
    /// # Panics
    /// If none is under way.
    pub fn finish_sync(&mut self) -> Lsn {
        let Syncing::UnderWay(through) = self.sync else {
            panic!("no sync is under way");
        };
        self.sync = Syncing::Idle;
        self.raise_durable(through);
        self.durable
    }

    /// A sync failed: nothing is appended or synced any more.
    ///
    /// # Panics
    /// If a roll is under way: no sync can fail meanwhile but the roll's own.
    pub fn poison(&mut self) {
        assert_ne!(self.state, State::Rolling);
        self.sync = Syncing::Idle;
        self.state = State::Poisoned;
    }

    /// Whether the log takes no more records until a restart.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.state == State::Poisoned
    }

    /// Appends the mark of a clean shutdown, unless the log ends with one; sync
    /// before it, and once more after it. With it, damage to even the last
    /// record is told from a torn tail.
    ///
    /// # Errors
    /// - [`AppendError::NoRoom`]: an earlier mark used the room that is kept;
    ///   roll, or leave the log as after a crash.
    /// - [`AppendError::Poisoned`].
    ///
    /// # Panics
    /// If a record is not durable yet, or a roll is under way.
    pub fn close(&mut self) -> Result<(), AppendError> {
        self.check_writable()?;
        if self.state == State::Closed {
            return Ok(());
        }
        assert_eq!(self.durable, self.appended, "sync before closing");
        if self.room_bytes() < MARK_BYTES {
            return Err(AppendError::NoRoom);
        }
        let mut mark = Vec::new();
        encode(
            &mut mark,
            &Draft {
                kind: Kind::Mark,
                flags: Flags::CLOSING,
                version: self.floors.version,
                expires_at_ms: 0,
                id: &Id::Integer(self.floors.chosen_id),
                document: &[],
            },
        );
        assert_eq!(length(&mark), MARK_BYTES);
        self.write(&mark);
        self.state = State::Closed;
        Ok(())
    }

    pub(super) fn check_writable(&self) -> Result<(), AppendError> {
        assert_ne!(self.state, State::Rolling, "a roll is under way");
        match self.state {
            State::Poisoned => Err(AppendError::Poisoned),
            _ => Ok(()),
        }
    }

    fn room_bytes(&self) -> u32 {
        self.last().bytes - self.last().used_bytes
    }

    pub(super) fn last(&self) -> &SegmentUse {
        self.segments.back().expect("a writer has a segment")
    }

    pub(super) fn raise_durable(&mut self, through: Lsn) {
        assert!(self.durable <= through && through <= self.appended);
        self.durable = through;
    }

    fn write(&mut self, draft: &[u8]) -> Location {
        let record = draft_fields(draft);
        let bytes = length(draft);
        assert_eq!(record.encoded_bytes(), bytes);
        assert!(bytes <= self.room_bytes());
        let (lsn, durable) = (self.appended.next(), self.durable);
        let at = Location {
            segment: self.last().number,
            offset: self.last().used_bytes,
        };
        assert!(at.offset.is_multiple_of(8));
        self.current.map.fill(at.offset, bytes, |place| {
            place.copy_from_slice(draft);
            seal(place, lsn, durable);
        });
        self.floors.observe(&record);
        self.appended = lsn;
        self.state = State::Ready;
        let last = self.segments.back_mut().expect("a writer has a segment");
        last.used_bytes += bytes;
        last.records += 1;
        if record.kind == Kind::Put {
            last.put_bytes += bytes;
        }
        at
    }
}

#[cfg(test)]
mod tests;
