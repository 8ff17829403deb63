//! What makes the body of a stream: one kind for each kind of stream.

use super::{backup::Backup, feed::Feed};
use crate::{
    api::{self, Code, Problem},
    log::{FollowError, Lsn, SnapshotError},
};

/// Makes a body, slice by slice, on any thread.
pub enum Maker {
    Changes(Box<Feed>),
    Backup(Box<Backup>),
}

/// Why there is no next slice.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    #[error(transparent)]
    Changes(#[from] FollowError),
    #[error(transparent)]
    Backup(#[from] SnapshotError),
}

impl Maker {
    /// Appends the next slice to `out`, of changes none after `through`; whether nothing more
    /// is to come up to there. Blocks.
    ///
    /// # Errors
    /// [`MakeError`]; there is no going on.
    pub fn make(&mut self, through: Lsn, out: &mut Vec<u8>) -> Result<bool, MakeError> {
        match self {
            Maker::Changes(feed) => Ok(feed.make(through, out)?),
            Maker::Backup(backup) => Ok(backup.make(out)?),
        }
    }

    /// What to answer when there is no first slice; `position` is where the log is.
    pub fn problem(&self, error: &MakeError, position: Lsn) -> Problem {
        match (self, error) {
            (Maker::Changes(feed), MakeError::Changes(FollowError::Compacted { oldest })) => {
                api::changes_compacted(feed.since(), *oldest, position)
            }
            (
                _,
                MakeError::Backup(
                    refusal @ (SnapshotError::TooManyFiles { .. } | SnapshotError::Restless),
                ),
            ) => Problem::new(Code::Overloaded, refusal.to_string()),
            (_, error) => {
                tracing::error!(%error, "the log cannot be read back");
                let message = "the log cannot be read back; the operator finds the reason in the \
                               log of the server";
                Problem::new(Code::LogUnreadable, message)
            }
        }
    }
}
