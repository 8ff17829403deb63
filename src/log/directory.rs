//! The data directory of a running server: segments as files, held by a lock.
//!
//! Beside the segments it holds `LOCK` (see `lock.rs`), `NNNNNNNNNN.tmp`, a segment
//! under creation, removed when the directory is opened, and before the first start
//! on a backup `BACKUP` (see `backup.rs`). All other names are left alone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    net::SocketAddr,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use rustix::{
    fs::{Advice, FallocateFlags},
    io::Errno,
};

use super::{
    backup::BACKUP,
    disk::{Disk, Head, InstallError, Installed, Segments},
    lock::Lock,
    map::SegmentMap,
    position::{SegmentNumber, length},
    segment::SEGMENT_HEADER_BYTES,
};

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// A data directory that this process alone uses.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Open as long as the directory, so that syncing it needs no file descriptor.
    handle: File,
    lock: Lock,
    spares: AtomicU32,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// There is something else by that name.
    #[error("{path} is not a directory; give --data-dir a directory", path = .0.display())]
    NotADirectory(PathBuf),
    /// Another process uses it.
    #[error("{path} is locked, in use by process {holder}; stop it, or give --data-dir another directory", path = .path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process id that the holder wrote.
        holder: String,
    },
    /// This process may not write there.
    #[error("{path} is not writable: {source}; change its owner or mode, or give --data-dir another directory", path = .path.display())]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused something else.
    #[error("{path} cannot be opened: {source}", path = .path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Directory {
    /// Opens the data directory at `path`, creating it if it is missing, locks
    /// it, and removes segments whose creation was interrupted.
    ///
    /// # Errors
    /// [`DirectoryError`] says what to do.
    pub fn open(path: &Path) -> Result<Directory, DirectoryError> {
        let refused = |source: io::Error| refusal(path, source);
        create_directory(path)?;
        let handle = File::open(path).map_err(refused)?;
        let lock = Lock::acquire(path)?;
        let directory = Directory {
            path: path.to_owned(),
            handle,
            lock,
            spares: AtomicU32::new(0),
        };
        directory.remove_spares().map_err(refused)?;
        directory.forget_unwritten().map_err(refused)?;
        Ok(directory)
    }

    /// Writes into the lock file where this process answers, for `oxdaas status`.
    ///
    /// # Errors
    /// The file system's; the directory is as usable as before.
    pub fn note_address(&self, address: SocketAddr) -> io::Result<()> {
        self.lock.note(&address.to_string())
    }

    fn remove_spares(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if name.to_str().is_some_and(is_spare_name) {
                fs::remove_file(self.path.join(name))?;
            }
        }
        Ok(())
    }

    /// Makes reads of the last segment answer from the disk.
    ///
    /// After a killed process the page cache may be ahead of the disk: sync. After
    /// a failed sync it may show, as clean pages, what the disk never took: drop them.
    fn forget_unwritten(&self) -> io::Result<()> {
        let Some(&last) = self.list()?.last() else {
            return Ok(());
        };
        let file = File::open(self.path(last))?;
        file.sync_data()?;
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        Ok(())
    }

    fn open_segment(&self, number: SegmentNumber) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).open(self.path(number))
    }
}

impl Segments for Directory {
    fn directory(&self) -> &Path {
        &self.path
    }

    fn list(&self) -> io::Result<Vec<SegmentNumber>> {
        list_segments(&self.path)
    }

    fn head(&self, number: SegmentNumber) -> io::Result<Head> {
        read_head(&self.path(number))
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

    fn backup(&self) -> io::Result<Option<Vec<u8>>> {
        read_backup(&self.path)
    }

    fn read_into(&self, number: SegmentNumber, out: &mut [u8]) -> io::Result<u64> {
        let mut file = File::open(self.path(number))?;
        let length = file.metadata()?.len();
        // Of a file that is shorter than it should be, the caller wants to know just that.
        if length >= u64::try_from(out.len()).expect("a length fits 64 bits") {
            file.read_exact(out)?;
        }
        Ok(length)
    }
}

impl Disk for Directory {
    type File = File;
    type Map = SegmentMap;
    type Spare = SpareFile;

    fn allocate(&self, bytes: u32) -> io::Result<SpareFile> {
        let name = spare_name(self.spares.fetch_add(1, Ordering::Relaxed));
        let path = self.path.join(name);
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        let spare = SpareFile { path, file, bytes };
        match rustix::fs::fallocate(&spare.file, FallocateFlags::empty(), 0, bytes.into()) {
            // A file system without reservations: slower to sync, but as safe.
            Err(Errno::OPNOTSUPP) => write_zeros(&spare.file, 0, bytes.into())?,
            other => other?,
        }
        Ok(spare)
    }

    fn install(
        &self,
        spare: SpareFile,
        number: SegmentNumber,
        header: &[u8],
    ) -> Result<Installed<Directory>, InstallError> {
        let path = self.path(number);
        let mapped = (|| {
            assert!(!path.try_exists()?, "a segment number is never used again");
            let mut file = spare.file.try_clone()?;
            assert_eq!(header.len(), super::position::index(SEGMENT_HEADER_BYTES));
            file.write_all(header)?;
            file.sync_all()?;
            let map = SegmentMap::new(&file, spare.bytes)?;
            fs::rename(&spare.path, &path)?;
            Ok((map, file))
        })();
        let (map, file) = mapped.map_err(InstallError::Refused)?;
        self.handle.sync_all().map_err(InstallError::Unknown)?;
        Ok(Installed {
            map,
            file: Arc::new(file),
        })
    }

    fn open(&self, number: SegmentNumber) -> io::Result<Installed<Directory>> {
        let file = self.open_segment(number)?;
        let bytes = u32::try_from(file.metadata()?.len())
            .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        Ok(Installed {
            map: SegmentMap::new(&file, bytes)?,
            file: Arc::new(file),
        })
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn zero(&self, file: &File, offset: u32) -> io::Result<()> {
        let offset = u64::from(offset);
        let bytes = file.metadata()?.len().saturating_sub(offset);
        if bytes == 0 {
            return Ok(());
        }
        // Keeps the space reserved and unwritten, as a fresh segment's is.
        match rustix::fs::fallocate(file, FallocateFlags::ZERO_RANGE, offset, bytes) {
            Err(Errno::OPNOTSUPP) => write_zeros(file, offset, bytes),
            other => Ok(other?),
        }
    }

    fn fill(&self, spare: &mut SpareFile, offset: u32, bytes: &[u8]) -> io::Result<()> {
        spare.file.write_all_at(bytes, offset.into())?;
        spare.file.sync_data()
    }

    fn replace(
        &self,
        spare: SpareFile,
        number: SegmentNumber,
        header: &[u8],
        bytes: u32,
    ) -> io::Result<()> {
        spare.file.set_len(bytes.into())?;
        spare.file.write_all_at(header, 0)?;
        spare.file.sync_all()?;
        fs::rename(&spare.path, self.path(number))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn remove_backup(&self) -> io::Result<()> {
        fs::remove_file(self.path.join(BACKUP))?;
        self.handle.sync_all()
    }

    fn remove(&self, number: SegmentNumber) -> io::Result<()> {
        fs::remove_file(self.path(number))?;
        self.handle.sync_all()
    }
}

/// A segment under creation; its file goes when it is dropped before it is renamed.
#[derive(Debug)]
pub struct SpareFile {
    path: PathBuf,
    file: File,
    bytes: u32,
}

impl Drop for SpareFile {
    fn drop(&mut self) {
        // Gone already once renamed; if it stays, the next opening removes it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Creates the directory and what is missing above it, durably.
/// Creates the data directory at `path` with its parents, durably, if it is missing.
///
/// # Errors
/// [`DirectoryError`] says what to do.
pub fn create_directory(path: &Path) -> Result<(), DirectoryError> {
    create(path).map_err(|source| refusal(path, source))
}

fn create(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        other => other?,
    }
    File::open(parent)?.sync_all()
}

/// The numbers of the segments in the directory at `path`, ascending.
pub(super) fn list_segments(path: &Path) -> io::Result<Vec<SegmentNumber>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(SegmentNumber::from_file_name));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The first bytes of the segment file at `path`.
pub(super) fn read_head(path: &Path) -> io::Result<Head> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    file.take(SEGMENT_HEADER_BYTES.into())
        .read_to_end(&mut bytes)?;
    Ok(Head { bytes, length })
}

/// Replaces the contents of `out` with a part of the file at `path`.
pub(super) fn read_part(path: &Path, offset: u32, bytes: u32, out: &mut Vec<u8>) -> io::Result<()> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset.into()))?;
    out.clear();
    file.take(bytes.into()).read_to_end(out)?;
    Ok(())
}

/// The contents of the file `BACKUP` in the directory at `path`, if there is one.
pub(super) fn read_backup(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path.join(BACKUP)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Replaces the contents of `out` with the file at `path`.
pub(super) fn read_whole(path: &Path, out: &mut Vec<u8>) -> io::Result<()> {
    out.clear();
    File::open(path)?.read_to_end(out)?;
    Ok(())
}

pub(super) fn refusal(path: &Path, source: io::Error) -> DirectoryError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            DirectoryError::NotADirectory(path)
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            DirectoryError::NotWritable { path, source }
        }
        _ => DirectoryError::Io { path, source },
    }
}

fn spare_name(number: u32) -> String {
    format!("{number:010}.tmp")
}

fn is_spare_name(name: &str) -> bool {
    let number = name.strip_suffix(".tmp").and_then(|n| n.parse().ok());
    number.is_some_and(|number| spare_name(number) == name)
}

fn write_zeros(mut file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    let mut left = bytes;
    while left > 0 {
        let step = left.min(length(&ZEROS).into());
        let step_bytes = usize::try_from(step).expect("at most the length of ZEROS");
        file.write_all(&ZEROS[..step_bytes])?;
        left -= step;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(())
}

#[cfg(test)]
mod tests;
