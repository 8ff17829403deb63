//! The task beside the log task that gives the space of dead records back.
//!
//! One step at a time, each bounded: a slice of records is asked of its owners, the
//! file system works on another thread. What stays true:
//! - owners are asked through the core's loop, behind everything that was settled
//!   before, so no record is taken for dead because its settling is still on its way;
//! - what makes a record dead is on disk before the record goes: the segment is put in
//!   place only after a barrier of the log;
//! - a run's files are removed only after what stands for them is durable.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::Arc,
    thread,
    time::Instant,
};

use super::log_core::LogPort;
use crate::{
    id::CoreId,
    limits::{
        COMPACTION_REST, COMPACTION_SLICE_BYTES, COMPACTION_SLICE_BYTES_URGENT,
        COMPACTION_SLICE_RECORDS,
    },
    log::{
        Directory, InstallFailure, LiveBytes, Lsn, Need, Output, RemoveJob, Rewrite, Run,
        SegmentUse, Slice, SliceRecord, Spare, choose, reader_of,
    },
    mesh::Alarm,
    op::Version,
    shard::{Finding, Inquiry, Relocation},
};

/// Questions of the compactor on their way to the shards, and what they found.
#[derive(Default)]
pub(super) struct Inquiries {
    asked: RefCell<Vec<(CoreId, Inquiry)>>,
    found: RefCell<Vec<(CoreId, Finding)>>,
    answered: Alarm,
    barrier: Cell<Barrier>,
    is_urgent: Cell<bool>,
}

/// Whether the compactor waits for everything appended so far to be on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Barrier {
    #[default]
    NotWanted,
    Wanted,
    Reached,
}

/// How much compaction does at once, and how many times the time of that it then rests.
struct Pace {
    slice_bytes: u32,
    rest: u32,
}

impl Inquiries {
    /// Takes the questions for the shards.
    pub(super) fn take_asked(&self) -> Vec<(CoreId, Inquiry)> {
        self.asked.take()
    }

    /// Leaves what the shard of `core` found.
    pub(super) fn answer(&self, core: CoreId, finding: Finding) {
        self.found.borrow_mut().push((core, finding));
        self.answered.raise();
    }

    /// Whether the log must sync for the compactor.
    pub(super) fn wants_barrier(&self) -> bool {
        self.barrier.get() == Barrier::Wanted
    }

    /// Whether writers wait for what compaction gives back.
    pub(super) fn set_urgent(&self, is_urgent: bool) {
        self.is_urgent.set(is_urgent);
    }

    fn pace(&self) -> Pace {
        match self.is_urgent.get() {
            true => Pace {
                slice_bytes: COMPACTION_SLICE_BYTES_URGENT,
                rest: 0,
            },
            false => Pace {
                slice_bytes: COMPACTION_SLICE_BYTES,
                rest: COMPACTION_REST,
            },
        }
    }

    /// Everything that was appended when the barrier was wanted is on disk.
    pub(super) fn reach_barrier(&self) {
        self.barrier.set(Barrier::Reached);
        self.answered.raise();
    }
}

/// What the log task knows when a compaction begins.
pub(super) struct Snapshot {
    /// Segments whose records were all published to their owners, oldest first.
    pub(super) sealed: Vec<SegmentUse>,
    /// The record after them.
    pub(super) next: Lsn,
    pub(super) segment_bytes: u32,
    pub(super) purpose: Purpose,
    /// Every record up to this one was published to its owner.
    pub(super) published: Lsn,
}

/// Why segments are rewritten.
pub(super) enum Purpose {
    /// To keep the disk use within its bound.
    Tidiness,
    /// A full disk is to have room again; the log's spare, if it was there.
    Room(Option<Spare<Directory>>),
}

/// What came of a step.
pub(super) enum Outcome {
    /// No run is worth rewriting.
    NothingToDo { live_bytes: u64 },
    /// A segment took the place of a run; what is left of the run is to be cleaned up.
    Installed {
        live_bytes: u64,
        segment: SegmentUse,
    },
    /// It was.
    CleanedUp,
}

/// Why a compaction did not end. The log is as whole as before.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompactError {
    /// The file system refused; tried again later.
    #[error("{0}; dead space is kept until there is room to compact")]
    Refused(io::Error),
    /// What is on disk is not known.
    #[error("{0}; no space is given back before a restart, check the disk")]
    Unknown(io::Error),
    /// A sealed segment is damaged.
    #[error("{0}; no space is given back, stop the server and run 'oxdaas check'")]
    Damaged(io::Error),
}

impl From<io::Error> for CompactError {
    fn from(error: io::Error) -> CompactError {
        match error.kind() {
            io::ErrorKind::InvalidData => CompactError::Damaged(error),
            _ => CompactError::Refused(error),
        }
    }
}

pub(super) struct Compactor {
    pub(super) port: Rc<LogPort>,
    pub(super) disk: Arc<Directory>,
    pub(super) cores: u16,
}

impl Compactor {
    /// Rewrites the run of segments that gives most, if any is worth it.
    pub(super) async fn run(&self, snapshot: Snapshot) -> Result<Outcome, CompactError> {
        let live = self.usage().await;
        let live_bytes = live.total();
        let Some(run) = snapshot.choose(&live) else {
            return Ok(Outcome::NothingToDo { live_bytes });
        };
        let (disk, published) = (Arc::clone(&self.disk), snapshot.published);
        let reserve = match snapshot.purpose {
            Purpose::Tidiness => None,
            Purpose::Room(spare) => spare,
        };
        let mut rewrite = self
            .port
            .blocking(move || Rewrite::begin(disk, run, published, reserve))
            .await?;
        let mut judged: Option<(Slice, Vec<Option<Version>>)> = None;
        loop {
            let (worked, slice) = self
                .paced(move |bytes| {
                    let kept = judged.map(|(slice, versions)| rewrite.keep(&slice, &versions));
                    let slice = kept.unwrap_or(Ok(())).and_then(|()| rewrite.read(bytes));
                    (rewrite, slice)
                })
                .await;
            rewrite = worked;
            let Some(slice) = slice? else { break };
            let versions = self.versions(slice.records()).await;
            judged = Some((slice, versions));
        }
        self.barrier().await;
        let segment = self.port.blocking(move || rewrite.install()).await;
        let segment = segment.map_err(|failure| match failure {
            InstallFailure::Refused(source) => CompactError::from(source),
            InstallFailure::Unknown(source) => CompactError::Unknown(source),
        })?;
        Ok(Outcome::Installed {
            live_bytes,
            segment,
        })
    }

    /// Removes what is left of a run, and tells the owners where the kept records lie now.
    pub(super) async fn clean_up(
        &self,
        left_over: Vec<RemoveJob<Directory>>,
        segment: &SegmentUse,
    ) -> Result<Outcome, CompactError> {
        self.port
            .blocking(move || left_over.iter().try_for_each(RemoveJob::run))
            .await
            .map_err(CompactError::Unknown)?;
        let mut reader = reader_of(segment);
        loop {
            let disk = Arc::clone(&self.disk);
            let (read, slice) = self
                .paced(move |bytes| {
                    let slice = reader.read(&*disk, bytes);
                    (reader, slice)
                })
                .await;
            reader = read;
            let Some(slice) = slice? else {
                return Ok(Outcome::CleanedUp);
            };
            for records in slice.records().chunks(COMPACTION_SLICE_RECORDS) {
                self.ask(relocations(records, self.cores)).await;
            }
        }
    }

    /// Does a slice of `work` on another thread, then rests there.
    async fn paced<T: Send + 'static>(&self, work: impl FnOnce(u32) -> T + Send + 'static) -> T {
        let Pace { slice_bytes, rest } = self.port.inquiries().pace();
        let slice = move || {
            let began = Instant::now();
            let result = work(slice_bytes);
            thread::sleep(began.elapsed() * rest);
            result
        };
        self.port.blocking(slice).await
    }

    /// Live bytes of each segment, over all shards.
    async fn usage(&self) -> LiveBytes {
        let questions = (0..self.cores).map(|core| (CoreId(core), Inquiry::Usage));
        let mut live = LiveBytes::default();
        for (_, finding) in self.ask(questions.collect()).await {
            let Finding::Usage(usage) = finding else {
                unreachable!("an answer is of the kind of its question");
            };
            live.absorb(&usage);
        }
        live
    }

    /// The versions that the documents of these records have now, in their order.
    async fn versions(&self, records: &[SliceRecord]) -> Vec<Option<Version>> {
        let mut versions = Vec::with_capacity(records.len());
        for records in records.chunks(COMPACTION_SLICE_RECORDS) {
            let findings = self.ask(questions(records, self.cores)).await;
            versions.extend(in_order(records, findings, self.cores));
        }
        versions
    }

    async fn ask(&self, questions: Vec<(CoreId, Inquiry)>) -> Vec<(CoreId, Finding)> {
        let inquiries = self.port.inquiries();
        let count = questions.len();
        inquiries.asked.borrow_mut().extend(questions);
        self.port.wake_core();
        while inquiries.found.borrow().len() < count {
            inquiries.answered.wait().await;
        }
        inquiries.found.take()
    }

    /// Waits until everything that was appended so far is on disk.
    async fn barrier(&self) {
        let inquiries = self.port.inquiries();
        inquiries.barrier.set(Barrier::Wanted);
        self.port.wake_task();
        while inquiries.barrier.get() != Barrier::Reached {
            inquiries.answered.wait().await;
        }
        inquiries.barrier.set(Barrier::NotWanted);
    }
}

impl Snapshot {
    fn choose(&self, live: &LiveBytes) -> Option<Run> {
        let (need, bytes_max) = match &self.purpose {
            Purpose::Tidiness if !self.is_worth_it(live) => return None,
            Purpose::Tidiness | Purpose::Room(None) => (Need::Tidiness, self.segment_bytes),
            Purpose::Room(Some(spare)) => (Need::Room, spare.bytes()),
        };
        let output = Output {
            segment_bytes: self.segment_bytes,
            bytes_max,
        };
        choose(&self.sealed, self.next, live, output, need)
    }

    /// Whether so much is dead that it should be given back.
    fn is_worth_it(&self, live: &LiveBytes) -> bool {
        let held: u64 = self.sealed.iter().map(|s| u64::from(s.bytes)).sum();
        let live: u64 = (self.sealed.iter())
            .map(|segment| live.within(segment.number, segment.through()))
            .sum();
        2 * held > 3 * live + u64::from(self.segment_bytes)
    }
}

/// What the owners of these records are asked, one question a core at most.
pub(super) fn questions(records: &[SliceRecord], cores: u16) -> Vec<(CoreId, Inquiry)> {
    by_core(
        records,
        cores,
        |record| record.id.clone(),
        Inquiry::Versions,
    )
}

/// What the owners of these records are told, one message a core at most.
pub(super) fn relocations(records: &[SliceRecord], cores: u16) -> Vec<(CoreId, Inquiry)> {
    let relocation = |record: &SliceRecord| Relocation {
        id: record.id.clone(),
        version: record.version,
        to: record.at,
    };
    by_core(records, cores, relocation, Inquiry::Relocate)
}

/// The versions that were found, in the order of the records.
pub(super) fn in_order(
    records: &[SliceRecord],
    findings: Vec<(CoreId, Finding)>,
    cores: u16,
) -> Vec<Option<Version>> {
    let mut answers: Vec<_> = (0..cores).map(|_| Vec::new().into_iter()).collect();
    for (core, finding) in findings {
        let Finding::Versions(versions) = finding else {
            unreachable!("an answer is of the kind of its question");
        };
        answers[core.index()] = versions.into_iter();
    }
    let answer = |record: &SliceRecord| answers[owner(record, cores).index()].next();
    let versions: Option<Vec<_>> = records.iter().map(answer).collect();
    versions.expect("there is an answer for each record")
}

fn by_core<T>(
    records: &[SliceRecord],
    cores: u16,
    item: impl Fn(&SliceRecord) -> T,
    inquiry: impl Fn(Vec<T>) -> Inquiry,
) -> Vec<(CoreId, Inquiry)> {
    let mut items: Vec<Vec<T>> = (0..cores).map(|_| Vec::new()).collect();
    for record in records {
        items[owner(record, cores).index()].push(item(record));
    }
    let items = (0..).map(CoreId).zip(items);
    items
        .filter(|(_, items)| !items.is_empty())
        .map(|(core, items)| (core, inquiry(items)))
        .collect()
}

fn owner(record: &SliceRecord, cores: u16) -> CoreId {
    CoreId::owner(record.id.placement(), cores)
}
