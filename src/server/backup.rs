//! A backup as a stream has it: the log of this server, at one position.
//!
//! One at a time in a process: each holds open files, and the space of those that compaction
//! replaces meanwhile.

use std::sync::{Arc, atomic::Ordering};

use rustix::process::{Resource, getrlimit};

use super::process::Process;
use crate::{
    api::{Code, Problem},
    limits::{SNAPSHOT_FILES_SPARED, STREAM_SLICE_BYTES},
    log::{Directory, Lsn, Snapshot, SnapshotError},
};

/// Reads the log on behalf of one backup.
pub struct Backup {
    disk: Arc<Directory>,
    place: Place,
    files_max: usize,
    snapshot: Option<Snapshot>,
}

/// The one place for a backup, free again when this is dropped.
struct Place(Arc<Process>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.has_backup.store(false, Ordering::Release);
    }
}

impl Backup {
    /// A backup that has the place; `connections_max`: those that files must be left for.
    ///
    /// # Errors
    /// The [`Problem`] to answer with while another one has it.
    pub fn begin(
        disk: Arc<Directory>,
        process: &Arc<Process>,
        connections_max: usize,
    ) -> Result<Backup, Problem> {
        if process.has_backup.swap(true, Ordering::Acquire) {
            let message = "a backup is under way; begin another one when it has ended";
            return Err(Problem::new(Code::Overloaded, message));
        }
        let open_max = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let open_max = usize::try_from(open_max).unwrap_or(usize::MAX);
        Ok(Backup {
            disk,
            place: Place(Arc::clone(process)),
            files_max: open_max.saturating_sub(connections_max + SNAPSHOT_FILES_SPARED),
            snapshot: None,
        })
    }

    /// The last record in it, once something was made.
    pub fn position(&self) -> Lsn {
        let snapshot = self.snapshot.as_ref();
        snapshot.map_or(Lsn::NONE, Snapshot::position)
    }

    /// Appends the next part to `out`; whether that was the last. Blocks.
    ///
    /// # Errors
    /// [`SnapshotError`]; the backup is at its end then.
    pub fn make(&mut self, out: &mut Vec<u8>) -> Result<bool, SnapshotError> {
        let snapshot = match &mut self.snapshot {
            Some(snapshot) => snapshot,
            None => {
                let position = || self.place.0.position();
                let opened = Snapshot::open(&self.disk, self.files_max, &position)?;
                self.snapshot.insert(opened)
            }
        };
        snapshot.read(STREAM_SLICE_BYTES, out)
    }
}
