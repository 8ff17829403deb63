//! Rewrites a run of segments as one that holds only what is live.
//!
//! Whoever compacts reads a slice, asks the shards which versions their documents
//! have, gives the answers back, and in the end installs the new segment. Records
//! are copied unchanged. What stays true:
//! - until the new file has the name of the run's first segment, durably, nothing
//!   of the run is touched; only then may the other files be removed;
//! - nothing is left out that a state still needs that a restart may find: the
//!   answers rest on settled records, and these are on disk before the new file
//!   takes its name (see [`Rewrite::install`]);
//! - a removal is left out only where no older segment holds a put that it hides.

use std::{io, sync::Arc};

use super::{
    disk::{Disk, Head},
    plan::Run,
    position::{Lsn, length},
    record::Kind,
    recovery::SegmentUse,
    roll::segment_length,
    segment::{Compacted, SEGMENT_HEADER_BYTES, SegmentHeader},
    slice::{Slice, SliceReader, SliceRecord},
    spare::Spare,
};
use crate::op::Version;

/// A compaction under way.
#[derive(Debug)]
pub struct Rewrite<D: Disk> {
    disk: Arc<D>,
    run: Run,
    spare: D::Spare,
    /// Every shard had applied the records up to this one before it answered.
    settled: Lsn,
    /// Which segment of the run is read, and how far.
    source: usize,
    reader: SliceReader,
    used_bytes: u32,
    records: u32,
    put_bytes: u32,
}

impl<D: Disk> Rewrite<D> {
    /// Reserves space for what is kept of `run`; takes `reserve` for it, if there is one.
    ///
    /// `settled`: a record that every shard has applied, with all before it, when it is
    /// asked about the first slice. Blocks.
    ///
    /// # Errors
    /// When there is no space; nothing was changed.
    pub fn begin(
        disk: Arc<D>,
        run: Run,
        settled: Lsn,
        reserve: Option<Spare<D>>,
    ) -> io::Result<Rewrite<D>> {
        let bytes = segment_length(SEGMENT_HEADER_BYTES + run.kept_bytes_max);
        let spare = match reserve {
            Some(reserve) if reserve.bytes >= bytes => reserve.space,
            _ => disk.allocate(bytes)?,
        };
        Ok(Rewrite {
            reader: reader_of(&run.segments[0]),
            disk,
            run,
            spare,
            settled,
            source: 0,
            used_bytes: SEGMENT_HEADER_BYTES,
            records: 0,
            put_bytes: 0,
        })
    }

    /// Reads the next records, `bytes_max` bytes of them or one; `None`: there are no more. Blocks.
    ///
    /// # Errors
    /// When a segment cannot be read, or is damaged.
    pub fn read(&mut self, bytes_max: u32) -> io::Result<Option<Slice>> {
        loop {
            if let Some(slice) = self.reader.read(&*self.disk, bytes_max)? {
                return Ok(Some(slice));
            }
            let source = &self.run.segments[self.source];
            if self.reader.records() != source.records {
                let message = format!("{} of {} records", self.reader.records(), source.records);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            let Some(next) = self.run.segments.get(self.source + 1) else {
                return Ok(None);
            };
            self.source += 1;
            self.reader = reader_of(next);
        }
    }

    /// Copies of `slice` what is needed on; `current` has for each of its records the
    /// version that the document has now, `None` if there is no such document. Blocks.
    ///
    /// # Errors
    /// When the disk does not take it; give up then.
    ///
    /// # Panics
    /// If there is not one answer for each record.
    pub fn keep(&mut self, slice: &Slice, current: &[Option<Version>]) -> io::Result<()> {
        assert_eq!(slice.records().len(), current.len());
        let mut kept = Vec::new();
        for (record, &current) in slice.records().iter().zip(current) {
            if !is_needed(record, current, self.run.hides_nothing_through) {
                continue;
            }
            let bytes = slice.bytes_of(record);
            kept.extend_from_slice(bytes);
            self.records += 1;
            if record.kind == Kind::Put {
                self.put_bytes += length(bytes);
            }
        }
        if !kept.is_empty() {
            self.disk.fill(&mut self.spare, self.used_bytes, &kept)?;
            self.used_bytes += length(&kept);
        }
        Ok(())
    }

    /// Puts the new segment in place of the run's first one, durably. The other files of
    /// the run must be removed then, oldest first. Blocks.
    ///
    /// Everything that was settled when the last answer was given must be on disk before:
    /// a put that a crash takes back would have made its predecessor dead.
    ///
    /// # Errors
    /// [`InstallFailure`] says whether the new segment may be there.
    pub fn install(self) -> Result<SegmentUse, InstallFailure> {
        let Rewrite {
            disk, run, spare, ..
        } = self;
        let first = run.segments[0];
        let last = run.segments[run.segments.len() - 1];
        let Head { bytes, .. } = disk.head(first.number).map_err(InstallFailure::Refused)?;
        let before = SegmentHeader::decode(&bytes).map_err(|error| {
            InstallFailure::Refused(io::Error::new(io::ErrorKind::InvalidData, error))
        })?;
        assert_eq!(
            (before.number, before.first_lsn, before.compacted),
            (first.number, first.first_lsn, first.compacted),
            "nobody else replaces segments"
        );
        let compacted = Compacted {
            through: last.through(),
            records: self.records,
            purged_through: self.settled,
        };
        let header = SegmentHeader {
            bytes: self.used_bytes,
            compacted: Some(compacted),
            ..before
        };
        disk.replace(spare, first.number, &header.encode(), self.used_bytes)
            .map_err(InstallFailure::Refused)?;
        disk.sync_directory().map_err(InstallFailure::Unknown)?;
        Ok(SegmentUse {
            number: first.number,
            first_lsn: first.first_lsn,
            bytes: self.used_bytes,
            used_bytes: self.used_bytes,
            records: self.records.into(),
            put_bytes: self.put_bytes,
            compacted: Some(compacted),
        })
    }
}

/// Why a run was not replaced. The segments of before are all still there.
#[derive(Debug, thiserror::Error)]
pub enum InstallFailure {
    /// Nothing changed.
    #[error("{0}")]
    Refused(io::Error),
    /// The first segment may be the new one or not, now or after a crash; both are right.
    #[error("the directory cannot be synced: {0}")]
    Unknown(io::Error),
}

/// Reads the records of a segment.
#[must_use]
pub fn reader_of(segment: &SegmentUse) -> SliceReader {
    SliceReader::new(segment.number, SEGMENT_HEADER_BYTES, segment.used_bytes)
}

/// Whether a restart would miss the record; `current` is the version that its document
/// has now.
fn is_needed(record: &SliceRecord, current: Option<Version>, hides_nothing_through: Lsn) -> bool {
    match record.kind {
        // A document never has a version twice.
        Kind::Put => current == Some(record.version),
        // Whatever it hid is hidden as well by a document that was stored since.
        Kind::Delete => current.is_none() && record.lsn > hides_nothing_through,
        Kind::Mark => false,
    }
}
