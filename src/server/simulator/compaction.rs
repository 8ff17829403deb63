//! Compaction in the simulator: the steps of `server::compactor`, with a crash possible
//! between any two of them.

use std::{collections::VecDeque, mem, sync::Arc};

use super::world::{Task, World};
use crate::{
    id::CoreId,
    log::{
        InstallFailure, LiveBytes, Lsn, Need, Output, RemoveJob, Rewrite, SegmentUse, Slice,
        SliceReader, any_run, choose, memory::MemoryDisk, reader_of,
    },
    op::Version,
    server::compactor::{in_order, questions, relocations},
    shard::{Finding, Inquiry},
};

/// Bytes of a slice: a few records.
const SLICE_BYTES: u32 = 4096;

/// Records that owners are asked about at once.
const CHUNK_RECORDS: usize = 3;

/// How far a compaction is.
#[derive(Default)]
pub(super) enum Compaction {
    #[default]
    Idle,
    Counting {
        sealed: Vec<SegmentUse>,
        next: Lsn,
        published: Lsn,
    },
    Reading(Box<Rewrite<MemoryDisk>>),
    Asking {
        rewrite: Box<Rewrite<MemoryDisk>>,
        slice: Slice,
        versions: Vec<Option<Version>>,
    },
    Copied {
        rewrite: Box<Rewrite<MemoryDisk>>,
        barrier: Lsn,
    },
    Removing {
        left: VecDeque<RemoveJob<MemoryDisk>>,
        segment: SegmentUse,
    },
    Telling {
        reader: SliceReader,
        slice: Slice,
        told: usize,
    },
    /// Its disk failed.
    GivenUp,
}

impl World {
    pub(super) fn compaction_step(&mut self) {
        // Between two answers there is nothing to do.
        if self.server.findings.len() < self.server.findings_awaited {
            return;
        }
        let cores = u16::try_from(self.server.cores.len()).expect("few");
        let compaction = mem::take(&mut self.server.compaction);
        self.server.compaction = match compaction {
            Compaction::Idle => {
                let published = self.server.published;
                let (sealed, next) = self.server.rounds.writer().sealed(published);
                if sealed.is_empty() {
                    return;
                }
                let all = (0..cores).map(|core| (CoreId(core), Inquiry::Usage));
                self.server.ask(all.collect());
                Compaction::Counting {
                    sealed,
                    next,
                    published,
                }
            }
            Compaction::Counting {
                sealed,
                next,
                published,
            } => {
                let mut live = LiveBytes::default();
                for (_, finding) in self.server.take_findings() {
                    let Finding::Usage(usage) = finding else {
                        unreachable!("an answer is of the kind of its question");
                    };
                    live.absorb(&usage);
                }
                let segment_bytes = self.server.rounds.writer().segment_bytes();
                let output = Output {
                    segment_bytes,
                    bytes_max: segment_bytes,
                };
                // Which run is worth it is a matter of cost alone: any must be right.
                let run = match self.random.below(3) {
                    0 => choose(&sealed, next, &live, output, Need::Tidiness),
                    1 => choose(&sealed, next, &live, output, Need::Room),
                    _ => {
                        let mut below = |count: usize| {
                            let count = u32::try_from(count).expect("few segments");
                            usize::try_from(self.random.below(count)).expect("few segments")
                        };
                        let first = below(sealed.len());
                        let count = 1 + below(sealed.len() - first);
                        any_run(&sealed, next, &live, output, first, count)
                    }
                };
                let Some(run) = run else {
                    return;
                };
                let disk = Arc::clone(&self.server.disk);
                let writer = self.server.rounds.writer();
                let reserve = match self.random.coin() {
                    true => writer.lend_spare(),
                    false => None,
                };
                let begun = Rewrite::begin(disk, run, published, reserve);
                writer.ask_for_spare_again();
                match begun {
                    Ok(rewrite) => Compaction::Reading(Box::new(rewrite)),
                    // A full disk.
                    Err(_) => Compaction::Idle,
                }
            }
            Compaction::Reading(mut rewrite) => {
                match rewrite.read(SLICE_BYTES).expect("it is whole") {
                    Some(slice) => {
                        let versions = Vec::new();
                        self.ask_chunk(rewrite, slice, versions)
                    }
                    None => Compaction::Copied {
                        rewrite,
                        barrier: self.server.rounds.writer().appended(),
                    },
                }
            }
            Compaction::Asking {
                rewrite,
                slice,
                mut versions,
            } => {
                let records = &slice.records()[versions.len()..];
                let records = &records[..records.len().min(CHUNK_RECORDS)];
                let findings = self.server.take_findings();
                versions.extend(in_order(records, findings, cores));
                self.ask_chunk(rewrite, slice, versions)
            }
            Compaction::Copied { rewrite, barrier } => {
                let server = &mut self.server;
                let is_between_rounds =
                    matches!(server.task, Task::Taking) && server.interval_sync.is_none();
                if server.rounds.writer().durable() < barrier && is_between_rounds {
                    server.sync_for_compaction();
                }
                if server.rounds.writer().durable() < barrier {
                    Compaction::Copied { rewrite, barrier }
                } else {
                    match rewrite.install() {
                        Ok(segment) => Compaction::Removing {
                            left: server.rounds.writer().replace_run(segment).into(),
                            segment,
                        },
                        Err(InstallFailure::Refused(_)) => Compaction::Idle,
                        Err(InstallFailure::Unknown(_)) => Compaction::GivenUp,
                    }
                }
            }
            Compaction::Removing { mut left, segment } => match left.pop_front() {
                Some(job) => {
                    job.run().expect("it exists");
                    Compaction::Removing { left, segment }
                }
                None => self.tell_next(reader_of(&segment)),
            },
            Compaction::Telling {
                reader,
                slice,
                told,
            } => {
                self.server.take_findings();
                self.tell_chunk(reader, slice, told)
            }
            Compaction::GivenUp => Compaction::GivenUp,
        };
    }

    /// Asks about the next records of a slice, or keeps what is needed of it.
    fn ask_chunk(
        &mut self,
        mut rewrite: Box<Rewrite<MemoryDisk>>,
        slice: Slice,
        versions: Vec<Option<Version>>,
    ) -> Compaction {
        let cores = u16::try_from(self.server.cores.len()).expect("few");
        let Some(records) = slice.records()[versions.len()..]
            .chunks(CHUNK_RECORDS)
            .next()
        else {
            return match rewrite.keep(&slice, &versions) {
                Ok(()) => Compaction::Reading(rewrite),
                // The disk fails.
                Err(_) => Compaction::GivenUp,
            };
        };
        self.server.ask(questions(records, cores));
        Compaction::Asking {
            rewrite,
            slice,
            versions,
        }
    }

    fn tell_next(&mut self, mut reader: SliceReader) -> Compaction {
        match reader
            .read(&*self.server.disk, SLICE_BYTES)
            .expect("it is whole")
        {
            Some(slice) => self.tell_chunk(reader, slice, 0),
            None => Compaction::Idle,
        }
    }

    /// Tells the owners of the next records where they lie now.
    fn tell_chunk(&mut self, reader: SliceReader, slice: Slice, told: usize) -> Compaction {
        let cores = u16::try_from(self.server.cores.len()).expect("few");
        let Some(records) = slice.records()[told..].chunks(CHUNK_RECORDS).next() else {
            return self.tell_next(reader);
        };
        let told = told + records.len();
        self.server.ask(relocations(records, cores));
        Compaction::Telling {
            reader,
            slice,
            told,
        }
    }
}
