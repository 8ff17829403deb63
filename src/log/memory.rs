//! A disk in memory that loses power: for tests.
//!
//! Each segment is kept twice: as written, and as the disk has it. A sync makes
//! them equal. [`MemoryDisk::crash`] lets each 512-byte sector that differs reach
//! the disk or not, as its caller chooses; [`MemoryDisk::write_back`] does the
//! same without the crash, as a kernel does at any time. Installing and removing
//! segments is durable at once, as [`Disk`] promises; replacing one is not before
//! the directory is synced: until then a crash may find the file of before.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use super::{
    disk::{Disk, Head, InstallError, Installed, Map, Segments},
    position::{SegmentNumber, index, length},
    segment::SEGMENT_HEADER_BYTES,
};

pub(crate) const SECTOR_BYTES: usize = 512;

/// Asked for instead of a sector's offset: whether the new name of a file reaches the disk.
pub(crate) const NAME: usize = usize::MAX;

/// The bytes of one segment.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    pub(crate) written: Vec<u8>,
    pub(crate) on_disk: Vec<u8>,
}

impl Contents {
    /// Offsets of the sectors that were written since they last reached the disk.
    pub(crate) fn dirty_sectors(&self) -> Vec<usize> {
        (0..self.written.len())
            .step_by(SECTOR_BYTES)
            .filter(|&start| {
                let end = self.written.len().min(start + SECTOR_BYTES);
                self.written[start..end] != self.on_disk[start..end]
            })
            .collect()
    }

    fn write_back(&mut self, start: usize) {
        let end = self.written.len().min(start + SECTOR_BYTES);
        self.on_disk[start..end].copy_from_slice(&self.written[start..end]);
    }
}

type Shared = Arc<Mutex<Contents>>;

/// What a test sets before it calls the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    /// Bytes that can still be allocated.
    pub(crate) free_bytes: u64,
    /// Whether syncs fail.
    pub(crate) sync_fails: bool,
    /// Whether syncs of the directory fail.
    pub(crate) directory_sync_fails: bool,
    /// Whether zeroing is silently left out.
    pub(crate) zero_is_lost: bool,
}

/// A data directory in memory.
#[derive(Debug)]
pub(crate) struct MemoryDisk {
    segments: Mutex<BTreeMap<SegmentNumber, Shared>>,
    /// Files that were replaced since the directory was synced.
    replaced: Mutex<Vec<(SegmentNumber, Shared)>>,
    faults: Arc<Mutex<Faults>>,
}

impl MemoryDisk {
    pub(crate) fn new() -> MemoryDisk {
        MemoryDisk {
            segments: Mutex::default(),
            replaced: Mutex::default(),
            faults: Arc::new(Mutex::new(Faults {
                free_bytes: u64::MAX,
                sync_fails: false,
                directory_sync_fails: false,
                zero_is_lost: false,
            })),
        }
    }

    /// A disk with these files, all of them on disk.
    pub(crate) fn with(files: &BTreeMap<SegmentNumber, Vec<u8>>) -> MemoryDisk {
        let disk = MemoryDisk::new();
        for (&number, bytes) in files {
            disk.insert(number, bytes.clone());
        }
        disk
    }

    fn insert(&self, number: SegmentNumber, bytes: Vec<u8>) -> Shared {
        let contents = on_disk(bytes);
        let previous = lock(&self.segments).insert(number, Arc::clone(&contents));
        assert!(previous.is_none(), "a segment number is never used again");
        contents
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    /// The files as programs see them.
    pub(crate) fn files(&self) -> BTreeMap<SegmentNumber, Vec<u8>> {
        let segments = lock(&self.segments);
        let file = |(&number, contents): (&SegmentNumber, &Shared)| {
            (number, lock(contents).written.clone())
        };
        segments.iter().map(file).collect()
    }

    /// Both views of a segment.
    pub(crate) fn contents(&self, number: SegmentNumber) -> Contents {
        lock(&lock(&self.segments)[&number]).clone()
    }

    /// Lets the sectors for which `reaches` answers true reach the disk.
    pub(crate) fn write_back(&self, mut reaches: impl FnMut(SegmentNumber, usize) -> bool) {
        lock(&self.replaced).retain(|&(number, _)| !reaches(number, NAME));
        for (&number, contents) in lock(&self.segments).iter() {
            let mut contents = lock(contents);
            for start in contents.dirty_sectors() {
                if reaches(number, start) {
                    contents.write_back(start);
                }
            }
        }
    }

    /// The disk after a power loss at which only the sectors for which `reaches`
    /// answers true still reached it.
    pub(crate) fn crash(
        &self,
        mut reaches: impl FnMut(SegmentNumber, usize) -> bool,
    ) -> MemoryDisk {
        let after = MemoryDisk::new();
        for (&number, contents) in lock(&self.segments).iter() {
            let mut contents = lock(contents).clone();
            for start in contents.dirty_sectors() {
                if reaches(number, start) {
                    contents.write_back(start);
                }
            }
            after.insert(number, contents.on_disk);
        }
        for (number, before) in lock(&self.replaced).iter().rev() {
            if !reaches(*number, NAME) {
                let before = lock(before).on_disk.clone();
                lock(&after.segments).insert(*number, on_disk(before));
            }
        }
        after
    }

    fn find(&self, number: SegmentNumber) -> io::Result<Shared> {
        let segments = lock(&self.segments);
        let found = segments.get(&number).map(Arc::clone);
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Segments for MemoryDisk {
    fn directory(&self) -> &Path {
        Path::new("data")
    }

    fn list(&self) -> io::Result<Vec<SegmentNumber>> {
        Ok(lock(&self.segments).keys().copied().collect())
    }

    fn head(&self, number: SegmentNumber) -> io::Result<Head> {
        let contents = self.find(number)?;
        let bytes = &lock(&contents).written;
        Ok(Head {
            bytes: bytes[..bytes.len().min(index(SEGMENT_HEADER_BYTES))].to_vec(),
            length: length(bytes).into(),
        })
    }

    fn read(&self, number: SegmentNumber, out: &mut Vec<u8>) -> io::Result<()> {
        let contents = self.find(number)?;
        out.clone_from(&lock(&contents).written);
        Ok(())
    }

    fn read_part(
        &self,
        number: SegmentNumber,
        offset: u32,
        bytes: u32,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let contents = self.find(number)?;
        let written = &lock(&contents).written;
        let start = index(offset).min(written.len());
        let end = written.len().min(start + index(bytes));
        *out = written[start..end].to_vec();
        Ok(())
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;
    type Map = MemoryMap;
    type Spare = MemorySpare;

    fn allocate(&self, bytes: u32) -> io::Result<MemorySpare> {
        let mut faults = self.faults();
        let left = faults.free_bytes.checked_sub(bytes.into());
        faults.free_bytes = left.ok_or(io::ErrorKind::StorageFull)?;
        Ok(MemorySpare {
            bytes: vec![0; index(bytes)],
            faults: Arc::clone(&self.faults),
        })
    }

    fn install(
        &self,
        mut spare: MemorySpare,
        number: SegmentNumber,
        header: &[u8],
    ) -> Result<Installed<MemoryDisk>, InstallError> {
        if self.faults().sync_fails {
            return Err(InstallError::Unknown(io::ErrorKind::Other.into()));
        }
        let mut bytes = std::mem::take(&mut spare.bytes);
        bytes[..header.len()].copy_from_slice(header);
        Ok(installed(self.insert(number, bytes)))
    }

    fn open(&self, number: SegmentNumber) -> io::Result<Installed<MemoryDisk>> {
        self.find(number).map(installed)
    }

    fn sync(&self, file: &MemoryFile) -> io::Result<()> {
        if self.faults().sync_fails {
            return Err(io::ErrorKind::Other.into());
        }
        let mut contents = lock(&file.0);
        contents.on_disk = contents.written.clone();
        Ok(())
    }

    fn zero(&self, file: &MemoryFile, offset: u32) -> io::Result<()> {
        if !self.faults().zero_is_lost {
            lock(&file.0).written[index(offset)..].fill(0);
        }
        Ok(())
    }

    fn fill(&self, spare: &mut MemorySpare, offset: u32, bytes: &[u8]) -> io::Result<()> {
        if self.faults().sync_fails {
            return Err(io::ErrorKind::Other.into());
        }
        spare.bytes[index(offset)..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn replace(
        &self,
        mut spare: MemorySpare,
        number: SegmentNumber,
        header: &[u8],
        bytes: u32,
    ) -> io::Result<()> {
        if self.faults().sync_fails {
            return Err(io::ErrorKind::Other.into());
        }
        let cut = spare.bytes.split_off(index(bytes));
        self.faults().give_back(cut.len());
        let mut bytes = std::mem::take(&mut spare.bytes);
        bytes[..header.len()].copy_from_slice(header);
        let before = lock(&self.segments).insert(number, on_disk(bytes));
        let before = before.expect("a segment that exists is replaced");
        self.faults().give_back(lock(&before).written.len());
        lock(&self.replaced).push((number, before));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let Faults {
            sync_fails,
            directory_sync_fails,
            ..
        } = *self.faults();
        if sync_fails || directory_sync_fails {
            return Err(io::ErrorKind::Other.into());
        }
        lock(&self.replaced).clear();
        Ok(())
    }

    fn remove(&self, number: SegmentNumber) -> io::Result<()> {
        let removed = lock(&self.segments).remove(&number);
        let removed = removed.ok_or(io::ErrorKind::NotFound)?;
        self.faults().give_back(lock(&removed).written.len());
        Ok(())
    }
}

impl Faults {
    fn give_back(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).expect("memory is smaller than 2^64 bytes");
        self.free_bytes = self.free_bytes.saturating_add(bytes);
    }
}

/// Space that no segment has; what of it is not used any more is free again.
#[derive(Debug)]
pub(crate) struct MemorySpare {
    bytes: Vec<u8>,
    faults: Arc<Mutex<Faults>>,
}

impl Drop for MemorySpare {
    fn drop(&mut self) {
        lock(&self.faults).give_back(self.bytes.len());
    }
}

/// A handle for syncing.
#[derive(Debug)]
pub(crate) struct MemoryFile(Shared);

/// A segment for writing.
#[derive(Debug)]
pub(crate) struct MemoryMap {
    contents: Shared,
    /// Offset and length of what was prepared last.
    pub(super) prepared: (u32, u32),
}

impl Map for MemoryMap {
    fn prepare(&mut self, offset: u32, length: u32) -> io::Result<()> {
        self.prepared = (offset, length);
        Ok(())
    }

    fn fill(&mut self, offset: u32, length: u32, fill: impl FnOnce(&mut [u8])) {
        let start = index(offset);
        fill(&mut lock(&self.contents).written[start..start + index(length)]);
    }
}

fn on_disk(bytes: Vec<u8>) -> Shared {
    Arc::new(Mutex::new(Contents {
        written: bytes.clone(),
        on_disk: bytes,
    }))
}

fn installed(contents: Shared) -> Installed<MemoryDisk> {
    Installed {
        map: MemoryMap {
            contents: Arc::clone(&contents),
            prepared: (0, 0),
        },
        file: Arc::new(MemoryFile(contents)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("no test panics while it holds the lock")
}
