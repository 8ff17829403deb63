//! What the log asks of a disk.
//!
//! Shipped as [`Directory`](super::Directory); a simulator implements it to cut,
//! tear and reorder what was written. Every call may block, except those of [`Map`].

use std::{
    fmt::Debug,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::position::SegmentNumber;

/// The segments of a data directory, to be read.
pub trait Segments: Debug + Send + Sync + 'static {
    /// The data directory, for messages.
    fn directory(&self) -> &Path;

    /// The file of a segment, for messages.
    fn path(&self, number: SegmentNumber) -> PathBuf {
        self.directory().join(number.to_string())
    }

    /// The segments in the directory, ascending.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self) -> io::Result<Vec<SegmentNumber>>;

    /// The first bytes of a segment.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn head(&self, number: SegmentNumber) -> io::Result<Head>;

    /// Replaces the contents of `out` with the whole segment.
    ///
    /// # Errors
    /// When the file cannot be read; a bad sector is an error here, not a signal.
    fn read(&self, number: SegmentNumber, out: &mut Vec<u8>) -> io::Result<()>;

    /// Replaces the contents of `out` with the `bytes` bytes of a segment at `offset`,
    /// or with what is left there.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn read_part(
        &self,
        number: SegmentNumber,
        offset: u32,
        bytes: u32,
        out: &mut Vec<u8>,
    ) -> io::Result<()>;

    /// The contents of the file [`BACKUP`](super::BACKUP), if the directory has it.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn backup(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// Copies the segment into `out`, as far as that reaches, and returns how long the segment is.
    ///
    /// # Errors
    /// As [`Segments::read`].
    fn read_into(&self, number: SegmentNumber, out: &mut [u8]) -> io::Result<u64> {
        let mut bytes = Vec::new();
        self.read(number, &mut bytes)?;
        let common = bytes.len().min(out.len());
        out[..common].copy_from_slice(&bytes[..common]);
        Ok(u64::try_from(bytes.len()).expect("a length fits 64 bits"))
    }
}

/// The files of one data directory, to be read and written.
pub trait Disk: Segments {
    /// A segment's file as a handle for syncing.
    type File: Debug + Send + Sync;
    /// A segment's bytes for writing.
    type Map: Debug + Map;
    /// Allocated space that has no segment number yet; dropping it gives the space back.
    type Spare: Debug + Send;

    /// Reserves `bytes` that read as zero.
    ///
    /// # Errors
    /// `StorageFull` or `QuotaExceeded` when there is no room; nothing is left behind.
    fn allocate(&self, bytes: u32) -> io::Result<Self::Spare>;

    /// Writes `header` to the spare and makes it segment `number`, all of it on
    /// disk when this returns.
    ///
    /// # Errors
    /// [`InstallError`] says whether the segment may exist now.
    fn install(
        &self,
        spare: Self::Spare,
        number: SegmentNumber,
        header: &[u8],
    ) -> Result<Installed<Self>, InstallError>
    where
        Self: Sized;

    /// Opens an existing segment for writing.
    ///
    /// # Errors
    /// When the file cannot be opened or mapped.
    fn open(&self, number: SegmentNumber) -> io::Result<Installed<Self>>
    where
        Self: Sized;

    /// Puts every byte written to the segment so far on disk.
    ///
    /// # Errors
    /// When the disk did not take them; they must be taken for lost then.
    fn sync(&self, file: &Self::File) -> io::Result<()>;

    /// Zeroes a segment from `offset` to its end; durable only after a sync.
    ///
    /// # Errors
    /// When the file cannot be written.
    fn zero(&self, file: &Self::File, offset: u32) -> io::Result<()>;

    /// Writes `bytes` at `offset` of the spare, on disk when this returns.
    ///
    /// # Errors
    /// When the disk did not take them; the spare must be dropped then.
    fn fill(&self, spare: &mut Self::Spare, offset: u32, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the spare to its first `bytes` bytes, writes `header` to it, puts all of it on
    /// disk, and gives it the name of segment `number`, whose file is gone then.
    ///
    /// After a crash the one file or the other has the name, until
    /// [`sync_directory`](Disk::sync_directory) has returned.
    ///
    /// # Errors
    /// When the system refuses; the segment is as it was.
    fn replace(
        &self,
        spare: Self::Spare,
        number: SegmentNumber,
        header: &[u8],
        bytes: u32,
    ) -> io::Result<()>;

    /// Puts the names of all files on disk.
    ///
    /// # Errors
    /// When the disk did not take them; what it has is not known then.
    fn sync_directory(&self) -> io::Result<()>;

    /// Removes the file [`BACKUP`](super::BACKUP), durably: the directory is changed from now on.
    ///
    /// # Errors
    /// When the file cannot be removed.
    fn remove_backup(&self) -> io::Result<()> {
        Ok(())
    }

    /// Removes a segment, durably: removals reach the disk in the order of the calls.
    ///
    /// # Errors
    /// When the file cannot be removed.
    fn remove(&self, number: SegmentNumber) -> io::Result<()>;
}

/// A segment's bytes for writing, shared with its file.
pub trait Map: Send + 'static {
    /// Finds out whether the `length` bytes at `offset` can be written, and marks them to be
    /// put on disk by the next sync.
    ///
    /// # Errors
    /// When the disk is failing, so that writing them would end the process.
    ///
    /// # Panics
    /// If they are not within the segment.
    fn prepare(&mut self, offset: u32, length: u32) -> io::Result<()>;

    /// Lets `fill` write the `length` bytes at `offset`.
    ///
    /// # Panics
    /// If they are not within the segment.
    fn fill(&mut self, offset: u32, length: u32, fill: impl FnOnce(&mut [u8]));
}

/// The start of a segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its first bytes, as many as a segment header has if the file has them.
    pub bytes: Vec<u8>,
    /// The length of the file.
    pub length: u64,
}

/// A segment that is open for writing.
#[derive(Debug)]
pub struct Installed<D: Disk> {
    /// Its bytes.
    pub map: D::Map,
    /// Its file.
    pub file: Arc<D::File>,
}

/// Why a spare did not become a segment.
#[derive(Debug)]
pub enum InstallError {
    /// Nothing happened; the spare is gone.
    Refused(io::Error),
    /// The segment may exist or not, now or after a crash.
    Unknown(io::Error),
}
