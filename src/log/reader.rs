//! A data directory that is only looked at: nothing in it is created or changed.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::{
    directory::{DirectoryError, list_segments, read_backup, read_head, read_part, read_whole},
    disk::{Head, Segments},
    lock::{LOCK, named_holder},
    position::SegmentNumber,
};

/// The segments of a data directory that no server uses, to be read.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    /// Keeps servers out while it is held; a directory that was copied may have none.
    _lock: Option<File>,
}

impl Reader {
    /// Opens the data directory at `path`; a read-only file system will do.
    ///
    /// # Errors
    /// [`DirectoryError`]: missing, no directory, not readable, or in use.
    pub fn open(path: &Path) -> Result<Reader, DirectoryError> {
        let io = |source| DirectoryError::Io {
            path: path.to_owned(),
            source,
        };
        if !fs::metadata(path).map_err(io)?.is_dir() {
            return Err(DirectoryError::NotADirectory(path.to_owned()));
        }
        let lock = match File::open(path.join(LOCK)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => Some(other.map_err(io)?),
        };
        match lock.as_ref().map(File::try_lock) {
            Some(Err(TryLockError::WouldBlock)) => Err(DirectoryError::Locked {
                path: path.to_owned(),
                holder: lock.as_ref().map(named_holder).unwrap_or_default(),
            }),
            Some(Err(TryLockError::Error(source))) => Err(io(source)),
            Some(Ok(())) | None => Ok(Reader {
                path: path.to_owned(),
                _lock: lock,
            }),
        }
    }
}

impl Segments for Reader {
    fn directory(&self) -> &Path {
        &self.path
    }

    fn list(&self) -> io::Result<Vec<SegmentNumber>> {
        list_segments(&self.path)
    }

    fn head(&self, number: SegmentNumber) -> io::Result<Head> {
        read_head(&self.path(number))
    }

    fn backup(&self) -> io::Result<Option<Vec<u8>>> {
        read_backup(&self.path)
    }

    fn read(&self, number: SegmentNumber, out: &mut Vec<u8>) -> io::Result<()> {
        read_whole(&self.path(number), out)
    }

    fn read_part(
        &self,
        number: SegmentNumber,
        offset: u32,
        bytes: u32,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        read_part(&self.path(number), offset, bytes, out)
    }
}
