//! Space for one segment that the log owns ahead of need.
//!
//! It has two purposes. A new segment takes it, if there is room for another one
//! in its stead: so a roll has not to wait for the file system. And when there is
//! none it stays for compaction, which needs space before it gives any back: a
//! full disk would otherwise stay full.

use std::{io, sync::Arc};

use super::{
    disk::Disk,
    roll::segment_length,
    writer::{State, Writer},
};
use crate::limits::SEGMENT_BYTES_MIN;

/// Space that no segment has yet; it is given back when this is dropped.
#[derive(Debug)]
pub struct Spare<D: Disk> {
    pub(super) bytes: u32,
    pub(super) space: D::Spare,
}

impl<D: Disk> Spare<D> {
    pub(super) fn allocate(disk: &D, bytes: u32) -> io::Result<Spare<D>> {
        let space = disk.allocate(bytes)?;
        Ok(Spare { bytes, space })
    }

    /// Halves the length, from `wanted` to `needed`, until there is room for it.
    pub(super) fn at_most(disk: &D, wanted: u32, needed: u32) -> io::Result<Spare<D>> {
        let mut bytes = wanted;
        loop {
            match Spare::allocate(disk, bytes) {
                Err(error) if is_full(&error) && bytes > needed => {
                    bytes = segment_length(bytes / 2).max(needed);
                }
                allocated => return allocated,
            }
        }
    }

    /// How long a segment can be in it.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        self.bytes
    }
}

/// Reserves the spare.
#[derive(Debug)]
pub struct SpareJob<D: Disk> {
    pub(super) disk: Arc<D>,
    pub(super) bytes: u32,
}

impl<D: Disk> SpareJob<D> {
    /// Reserves the space, or as much of it as there is; `None` if there is none, which is
    /// no error before it is needed. Blocks.
    #[must_use]
    pub fn run(self) -> Option<Spare<D>> {
        let least = u32::try_from(SEGMENT_BYTES_MIN).expect("far below 4 GiB");
        Spare::at_most(&*self.disk, self.bytes, least).ok()
    }
}

/// Where the spare is.
#[derive(Debug)]
pub(super) enum Ahead<D: Disk> {
    Wanted,
    UnderWay,
    Ready(Spare<D>),
    /// A roll or a compaction has it, or there was no room for it.
    Gone,
}

impl<D: Disk> Ahead<D> {
    /// Gives the spare away, if it is there.
    pub(super) fn lend(&mut self) -> Option<Spare<D>> {
        match std::mem::replace(self, Ahead::Gone) {
            Ahead::Ready(spare) => Some(spare),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Keeps a spare that was given away, unless another was asked for since.
    pub(super) fn take_back(&mut self, spare: Spare<D>) {
        if !matches!(self, Ahead::UnderWay | Ahead::Ready(_)) {
            *self = Ahead::Ready(spare);
        }
    }

    pub(super) fn ask_again(&mut self) {
        if matches!(self, Ahead::Gone) {
            *self = Ahead::Wanted;
        }
    }
}

impl<D: Disk> Writer<D> {
    /// Asks for the spare once half of the first segment is used, and later whenever there
    /// is none; end with [`finish_spare`](Writer::finish_spare).
    pub fn begin_spare(&mut self) -> Option<SpareJob<D>> {
        let is_soon_needed =
            self.segments.len() > 1 || self.last().used_bytes > self.last().bytes / 2;
        let wanted =
            matches!(self.ahead, Ahead::Wanted) && self.state != State::Poisoned && is_soon_needed;
        wanted.then(|| {
            self.ahead = Ahead::UnderWay;
            SpareJob {
                disk: Arc::clone(&self.disk),
                bytes: self.segment_bytes,
            }
        })
    }

    /// Keeps the space.
    ///
    /// # Panics
    /// If it was not asked for.
    pub fn finish_spare(&mut self, spare: Option<Spare<D>>) {
        assert!(matches!(self.ahead, Ahead::UnderWay));
        self.ahead = spare.map_or(Ahead::Gone, Ahead::Ready);
    }

    /// Gives the spare to a compaction that has no other room; when that has ended, say
    /// [`ask_for_spare_again`](Writer::ask_for_spare_again).
    pub fn lend_spare(&mut self) -> Option<Spare<D>> {
        self.ahead.lend()
    }

    /// There may be room for a spare again.
    pub fn ask_for_spare_again(&mut self) {
        self.ahead.ask_again();
    }

    /// Bytes of files: the segments and the spare.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let segments: u64 = (self.segments.iter())
            .map(|segment| u64::from(segment.bytes))
            .sum();
        match &self.ahead {
            Ahead::Ready(spare) => segments + u64::from(spare.bytes),
            Ahead::UnderWay => segments + u64::from(self.segment_bytes),
            Ahead::Wanted | Ahead::Gone => segments,
        }
    }
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
