//! The append-only log: records in segments, one writer, exact recovery.
//!
//! It knows neither HTTP nor shards nor threads. What is pure (the record
//! codec, the segment header, the scan, the ruling on a fault) works on slices;
//! file operations go through [`Disk`], which [`Directory`] implements and a
//! simulator can replace.
//!
//! What stays true:
//! - records carry log sequence numbers that start at 1 and grow by exactly 1;
//!   compaction removes records and changes none;
//! - a segment is wholly durable before its successor exists, so only the last
//!   one can have a torn tail;
//! - recovery writes nothing before the verdict over all segments is known;
//! - a group of records is recovered whole or not at all;
//! - no byte after the end of the log is ever taken for a record later.

mod backup;
mod codec;
mod directory;
mod disk;
mod follow;
mod live;
mod lock;
mod map;
mod plan;
mod position;
mod reader;
mod record;
mod recovery;
mod rewrite;
mod roll;
mod ruling;
mod salvage;
mod scan;
mod segment;
mod slice;
mod snapshot;
mod spare;
mod writer;

#[cfg(test)]
mod compaction_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod group_tests;
#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
pub(crate) mod testing;

pub use backup::{BACKUP, Manifest, NotWhole};
pub use codec::{
    Broken, Decoded, RECORD_HEADER_BYTES, decode, draft_fields, draft_kind, drafts, encode,
    encoded_bytes, group, seal,
};
pub use directory::{Directory, DirectoryError, create_directory};
pub use disk::{Disk, Head, InstallError, Installed, Map, Segments};
pub use follow::{FollowError, Follower};
pub use live::LiveBytes;
pub use lock::{Holder, holder};
#[cfg(test)]
pub(crate) use plan::any_run;
pub use plan::{Need, Output, Run, choose};
pub use position::{Floors, Location, Lsn, SegmentNumber};
pub use reader::Reader;
pub use record::{Draft, Flags, IdRef, Kind, Record};
pub use recovery::{
    Cut, RecoveryError, SegmentUse, Survey, Verdict, recover, repair_tail, scan_all,
    scan_all_expecting, survey,
};
pub use rewrite::{InstallFailure, Rewrite, reader_of};
pub use roll::{NewSegment, RemoveJob, RollError, RollJob, Rolled, Room};
pub use salvage::{Gap, salvage_segment};
pub use scan::{Fault, Stop, Successor, scan_segment};
pub use segment::{Compacted, FORMAT_VERSION, HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader};
pub use slice::{Slice, SliceReader, SliceRecord};
pub use snapshot::{Snapshot, SnapshotError};
pub use spare::{Spare, SpareJob};
pub use writer::{AppendError, SyncTarget, Writer};
