//! Changes of documents as a stream has them: records of the log that pass a filter, as lines.

use std::sync::Arc;

use crate::{
    api::{self, Changes},
    limits::STREAM_SLICE_BYTES,
    log::{Directory, FollowError, Follower, Kind, Lsn},
};

/// Slices of the log that are read at once, though nothing in them may be shown.
const SLICES_MAX: usize = 16;

/// Reads the log on behalf of one stream.
pub struct Feed {
    disk: Arc<Directory>,
    changes: Changes,
    since: Lsn,
    follower: Option<Follower>,
}

impl Feed {
    /// The changes after `since`.
    pub fn new(disk: Arc<Directory>, changes: Changes, since: Lsn) -> Feed {
        Feed {
            disk,
            changes,
            since,
            follower: None,
        }
    }

    /// Where it began.
    pub fn since(&self) -> Lsn {
        self.since
    }

    /// Appends the next changes up to `through` to `out`; whether those are all. Blocks.
    ///
    /// # Errors
    /// [`FollowError`]; the feed is at its end then.
    pub fn make(&mut self, through: Lsn, out: &mut Vec<u8>) -> Result<bool, FollowError> {
        let Feed {
            disk,
            changes,
            since,
            follower,
        } = self;
        let follower = match follower {
            Some(follower) => follower,
            None => follower.insert(Follower::begin(Arc::clone(disk), *since, through)?),
        };
        for _ in 0..SLICES_MAX {
            if follower.position() >= through {
                return Ok(true);
            }
            follower.read(through, &mut |record| {
                let document = match record.kind {
                    Kind::Put => Some(record.document),
                    Kind::Delete => None,
                    Kind::Mark => return,
                };
                let id = record.id.to_id();
                if changes.shows(&id) {
                    api::write_change(changes.format, record.lsn, &id, document, out);
                }
            })?;
            if out.len() >= STREAM_SLICE_BYTES {
                break;
            }
        }
        Ok(follower.position() >= through)
    }
}
