//! A segment mapped for writing: the only file of the log with `unsafe` code.
#![expect(
    unsafe_code,
    reason = "mapping a file is a promise about other processes"
)]

use std::{fs::File, io};

use memmap2::{Advice, MmapMut, MmapOptions};

use super::{disk::Map, position::index};

/// The bytes of a segment file, written through the page cache.
#[derive(Debug)]
pub struct SegmentMap(MmapMut);

impl SegmentMap {
    /// Maps the first `bytes` of `file`, which must be allocated.
    ///
    /// # Errors
    /// When the file is shorter, or the kernel refuses the mapping.
    pub(super) fn new(file: &File, bytes: u32) -> io::Result<SegmentMap> {
        if file.metadata()?.len() < u64::from(bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: nobody else may write or shorten the file while it is mapped.
        // The data directory guarantees it: `Directory::open` holds its lock, a
        // segment is mapped for writing once, by the one writer, and nothing
        // here changes a segment's length. The length was checked above.
        let map = unsafe { MmapOptions::new().len(index(bytes)).map_mut(file)? };
        // Without it the kernel reads ahead into large folios, and a sync writes all of one when
        // a byte of it changed: for documents of 700 bytes, 64 writers, 28.8 KB of disk writes a
        // record instead of 1.8 KB.
        map.advise(Advice::Random)?;
        Ok(SegmentMap(map))
    }
}

/// Memory for the bytes of one segment after the other, zero at first.
///
/// It comes from the system and goes back to it when it is dropped: an allocator would keep
/// two segments' worth of it for every core, for as long as the server runs.
#[derive(Debug)]
pub(super) struct Scratch(MmapMut);

impl Scratch {
    /// Room for `bytes` bytes.
    ///
    /// # Errors
    /// When the system has no memory.
    pub(super) fn new(bytes: usize) -> io::Result<Scratch> {
        // An empty map is an error.
        MmapMut::map_anon(bytes.max(1)).map(Scratch)
    }

    /// Its first `bytes` bytes.
    ///
    /// # Panics
    /// If it has less.
    pub(super) fn first(&mut self, bytes: usize) -> &mut [u8] {
        &mut self.0[..bytes]
    }
}

impl Map for SegmentMap {
    /// `MADV_POPULATE_WRITE` takes the page faults of the writes that follow, and where one of
    /// them would have raised SIGBUS it returns an error (madvise(2)).
    fn prepare(&mut self, offset: u32, length: u32) -> io::Result<()> {
        let populate = || {
            self.0
                .advise_range(Advice::PopulateWrite, index(offset), index(length))
        };
        loop {
            match populate() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn fill(&mut self, offset: u32, length: u32, fill: impl FnOnce(&mut [u8])) {
        let start = index(offset);
        fill(&mut self.0[start..start + index(length)]);
    }
}
