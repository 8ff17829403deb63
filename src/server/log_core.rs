//! The task that writes the log, on the one core that was chosen for it.
//!
//! Each round takes the records that all cores have queued, copies them into the
//! log, syncs once, and only then says what is settled (group commit): while one
//! sync is in flight the next round's records gather. What stays true under
//! `--fsync always`: nothing is settled before the sync that covers it returned.

use std::{
    cell::{Cell, RefCell},
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use futures_lite::future::or;
use glommio::{io::BufferedFile, timer::sleep};

use crate::{
    config::Fsync,
    id::CoreId,
    log::{AppendError, Directory, RollError, Spare, Writer, drafts},
    mesh::Alarm,
    op::Refusal,
    shard::{Batch, Settled},
};

/// How often `--fsync everysec` syncs.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Where a core's loop and the log task leave things for each other.
pub struct LogPort {
    submitted: RefCell<Vec<(CoreId, Batch)>>,
    settled: RefCell<Vec<(CoreId, Settled)>>,
    closing: Cell<bool>,
    /// Wakes the log task.
    work: Alarm,
    /// Wakes the core's loop.
    core: Rc<Alarm>,
}

impl LogPort {
    /// A port whose settled records wake `core`.
    pub fn new(core: Rc<Alarm>) -> LogPort {
        LogPort {
            submitted: RefCell::default(),
            settled: RefCell::default(),
            closing: Cell::new(false),
            work: Alarm::default(),
            core,
        }
    }

    /// Queues records of the shard of `core`.
    pub fn submit(&self, core: CoreId, batch: Batch) {
        self.submitted.borrow_mut().push((core, batch));
        self.work.raise();
    }

    /// Takes what became of submitted records, oldest first.
    pub fn take_settled(&self) -> Vec<(CoreId, Settled)> {
        self.settled.take()
    }

    /// Makes the task write what is queued, close the log and end.
    pub fn close(&self) {
        self.closing.set(true);
        self.work.raise();
    }
}

/// The log task.
pub struct LogCore {
    port: Rc<LogPort>,
    writer: Writer<Directory>,
    fsync: Fsync,
    /// For each core, the epoch its next valid batch has; see [`Batch::epoch`].
    epochs: Vec<u32>,
    /// The current segment, open for the ring's fdatasync.
    file: Option<(PathBuf, BufferedFile)>,
    /// What this round has done so far, by core.
    round: Vec<Round>,
    spare: Background<Option<Spare<Directory>>>,
    sync: Background<Result<(), String>>,
    synced_at: Instant,
}

/// The records of one core in one round.
#[derive(Default)]
struct Round {
    settled: Settled,
    /// How many of the settled records a roll of this round has already synced.
    durable_count: usize,
}

/// Work that goes on beside the task and raises its alarm when it is done.
struct Background<T> {
    done: Rc<RefCell<Option<T>>>,
    under_way: bool,
}

impl LogCore {
    /// A task that appends to `writer` for `cores` cores.
    pub fn new(port: Rc<LogPort>, writer: Writer<Directory>, fsync: Fsync, cores: u16) -> LogCore {
        LogCore {
            port,
            writer,
            fsync,
            epochs: vec![0; usize::from(cores)],
            file: None,
            round: (0..cores).map(|_| Round::default()).collect(),
            spare: Background::idle(),
            sync: Background::idle(),
            synced_at: Instant::now(),
        }
    }

    /// Writes until the port is closed; whether the log was closed cleanly then.
    pub async fn run(mut self) -> bool {
        loop {
            self.finish_background();
            let submitted = self.port.submitted.take();
            if submitted.is_empty() {
                if self.port.closing.get() {
                    return self.close().await;
                }
                self.wait().await;
                continue;
            }
            for (core, batch) in submitted {
                self.append(core, &batch).await;
            }
            match self.fsync {
                Fsync::Always => self.sync_round().await,
                Fsync::Everysec => self.begin_interval_sync(),
                Fsync::Never => {}
            }
            self.publish_round();
            self.begin_spare();
        }
    }

    /// Appends the records of a batch, up to one that is refused.
    async fn append(&mut self, core: CoreId, batch: &Batch) {
        if batch.epoch != self.epochs[core.index()] {
            return;
        }
        let mut rest = batch.bytes.len();
        // A failing disk poisons the writer here, and then every append says so.
        let _ = self.writer.prepare(drafts_bytes(rest));
        for draft in drafts(&batch.bytes) {
            let appended = match self.writer.append(draft) {
                Err(AppendError::NoRoom) => match self.roll(draft.len()).await {
                    Ok(()) => {
                        let _ = self.writer.prepare(drafts_bytes(rest));
                        self.writer.append(draft).map_err(|_| Refusal::LogPoisoned)
                    }
                    Err(refusal) => Err(refusal),
                },
                Err(AppendError::Poisoned) => Err(Refusal::LogPoisoned),
                Ok(location) => Ok(location),
            };
            rest -= draft.len();
            let settled = &mut self.round[core.index()].settled;
            match appended {
                Ok(location) => settled.locations.push(location),
                Err(refusal) => {
                    settled.refused = Some(refusal);
                    self.epochs[core.index()] += 1;
                    return;
                }
            }
        }
    }

    async fn roll(&mut self, draft_bytes: usize) -> Result<(), Refusal> {
        self.wait_for_sync().await;
        let bytes = u32::try_from(draft_bytes).expect("a record is far below 4 GiB");
        let job = self
            .writer
            .begin_roll(bytes)
            .map_err(|_| Refusal::LogPoisoned)?;
        let result = glommio::executor().spawn_blocking(move || job.run()).await;
        let refusal = match self.writer.finish_roll(result) {
            Ok(()) => {
                for round in &mut self.round {
                    round.durable_count = round.settled.locations.len();
                }
                self.synced_at = Instant::now();
                return Ok(());
            }
            Err(error) => {
                tracing::error!(%error, "no new segment");
                match error {
                    RollError::Full { .. } => Refusal::DiskFull,
                    RollError::Refused { .. } => Refusal::Overloaded,
                    RollError::Failed { .. } => Refusal::LogPoisoned,
                }
            }
        };
        Err(refusal)
    }

    /// Makes this round durable, or refuses what of it is not.
    async fn sync_round(&mut self) {
        if self.writer.durable() == self.writer.appended() {
            return;
        }
        let result = match self.writer.begin_sync() {
            Ok(target) => self.fdatasync(target.path).await,
            Err(error) => Err(error.to_string()),
        };
        self.finish_sync(result);
        if self.writer.durable() != self.writer.appended() {
            for (core, round) in self.round.iter_mut().enumerate() {
                if round.settled.locations.len() > round.durable_count {
                    round.settled.locations.truncate(round.durable_count);
                    if round.settled.refused.is_none() {
                        self.epochs[core] += 1;
                    }
                    round.settled.refused = Some(Refusal::LogPoisoned);
                }
            }
        }
    }

    fn finish_sync(&mut self, result: Result<(), String>) {
        self.synced_at = Instant::now();
        match result {
            Ok(()) => drop(self.writer.finish_sync()),
            Err(error) => {
                tracing::error!(
                    error,
                    "a sync of the log failed; writes are refused until a restart"
                );
                self.writer.poison();
            }
        }
    }

    async fn fdatasync(&mut self, path: PathBuf) -> Result<(), String> {
        if self.file.as_ref().is_none_or(|(open, _)| *open != path) {
            let file = open(&path).await?;
            self.file = Some((path, file));
        }
        let (path, file) = self.file.as_ref().expect("opened above");
        file.fdatasync()
            .await
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Syncs beside the task when the last sync is long enough ago.
    fn begin_interval_sync(&mut self) {
        let due = self.synced_at.elapsed() >= SYNC_INTERVAL;
        if !due || self.sync.under_way || self.writer.durable() == self.writer.appended() {
            return;
        }
        let Ok(target) = self.writer.begin_sync() else {
            return;
        };
        self.sync.begin(&self.port, async move {
            let file = open(&target.path).await?;
            let synced = file.fdatasync().await;
            synced.map_err(|error| format!("{}: {error}", target.path.display()))
        });
    }

    /// A roll may not begin while a sync is in flight: its failure would be told to neither.
    async fn wait_for_sync(&mut self) {
        while self.sync.under_way {
            self.port.work.wait().await;
            self.finish_background();
        }
    }

    fn begin_spare(&mut self) {
        if let Some(job) = self.writer.begin_spare() {
            self.spare.begin(
                &self.port,
                glommio::executor().spawn_blocking(move || job.run()),
            );
        }
    }

    fn finish_background(&mut self) {
        if let Some(spare) = self.spare.take() {
            self.writer.finish_spare(spare);
        }
        if let Some(result) = self.sync.take() {
            self.finish_sync(result);
        }
    }

    fn publish_round(&mut self) {
        for (core, round) in self.round.iter_mut().enumerate() {
            let Round { settled, .. } = std::mem::take(round);
            if !settled.locations.is_empty() || settled.refused.is_some() {
                let core = CoreId(u16::try_from(core).expect("CORES_MAX fits 16 bits"));
                self.port.settled.borrow_mut().push((core, settled));
            }
        }
        self.port.core.raise();
    }

    async fn wait(&mut self) {
        let unsynced = self.writer.durable() != self.writer.appended();
        if self.fsync == Fsync::Everysec && unsynced && !self.sync.under_way {
            let left = SYNC_INTERVAL.saturating_sub(self.synced_at.elapsed());
            or(self.port.work.wait(), sleep(left)).await;
            self.begin_interval_sync();
        } else {
            self.port.work.wait().await;
        }
    }

    /// Syncs what is left and marks the log as cleanly closed.
    async fn close(mut self) -> bool {
        self.wait_for_sync().await;
        while self.spare.under_way {
            self.port.work.wait().await;
            self.finish_background();
        }
        self.sync_round().await;
        if self.writer.durable() != self.writer.appended() {
            return false;
        }
        let closed = match self.writer.close() {
            Err(AppendError::NoRoom) => self.roll(0).await.is_ok() && self.writer.close().is_ok(),
            closed => closed.is_ok(),
        };
        if !closed {
            return false;
        }
        self.sync_round().await;
        self.writer.durable() == self.writer.appended()
    }
}

impl<T: 'static> Background<T> {
    fn idle() -> Background<T> {
        Background {
            done: Rc::default(),
            under_way: false,
        }
    }

    fn begin(&mut self, port: &Rc<LogPort>, work: impl Future<Output = T> + 'static) {
        assert!(!self.under_way, "one at a time");
        self.under_way = true;
        let (done, port) = (Rc::clone(&self.done), Rc::clone(port));
        glommio::spawn_local(async move {
            let result = work.await;
            *done.borrow_mut() = Some(result);
            port.work.raise();
        })
        .detach();
    }

    fn take(&mut self) -> Option<T> {
        let result = self.done.borrow_mut().take();
        self.under_way &= result.is_none();
        result
    }
}

fn drafts_bytes(bytes: usize) -> u32 {
    // A batch beyond 4 GiB is prepared in part; unsettled bytes are bounded far below.
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

async fn open(path: &PathBuf) -> Result<BufferedFile, String> {
    BufferedFile::open(path)
        .await
        .map_err(|error| format!("{}: {error}", path.display()))
}
