//! The task that writes the log, on the one core that was chosen for it.
//!
//! Each round takes the records that all cores have queued, copies them into the
//! log, syncs once, and only then says what is settled (group commit): while one
//! sync is in flight the next round's records gather. What stays true under
//! `--fsync always`: nothing is settled before the sync that covers it returned.
//! What is decided is in [`rounds`](super::rounds); here is when, and the waiting.

use std::{
    cell::{Cell, RefCell},
    fs::File,
    io,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_lite::future::or;
use glommio::timer::sleep;

use super::{
    compactor::{CompactError, Compactor, Inquiries, Outcome, Purpose, Snapshot},
    process::Process,
    rounds::{Appended, Group, GroupNews, Rounds},
    tally::{LogTally, micros},
};
use crate::{
    config::Fsync,
    id::CoreId,
    limits::{COMPACTION_CHECK_MS, COMPACTION_SLACK_SEGMENTS, LOG_UNSYNCED_BYTES},
    log::{AppendError, Directory, Lsn, RollError, Room, Spare, SyncTarget, Writer},
    mesh::Alarm,
    op::AtomicKey,
    shard::{Batch, Settled},
};

/// How often `--fsync everysec` syncs.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Where a core's loop and the log task leave things for each other.
pub struct LogPort {
    submitted: RefCell<Vec<Submitted>>,
    settled: RefCell<Vec<(CoreId, Settled)>>,
    group_news: RefCell<Vec<(AtomicKey, GroupNews)>>,
    closing: Cell<bool>,
    inquiries: Inquiries,
    sync: RefCell<PortSync>,
    /// Raised when the loop has synced what it was asked to.
    synced: Alarm,
    /// What the task waits for.
    waits_for: Cell<WaitsFor>,
    /// How many threads work for the task and what goes on beside it.
    threads: Cell<usize>,
    /// When the task wants to go on whatever happens.
    due: Cell<Option<Instant>>,
    /// Wakes the log task.
    work: Alarm,
    /// Wakes the core's loop.
    core: Rc<Alarm>,
}

/// Records for the log.
enum Submitted {
    Batch(CoreId, Batch),
    Group(Group),
}

/// A sync, which the core's loop does for the task, one at a time.
#[derive(Default)]
enum PortSync {
    #[default]
    None,
    Wanted(Arc<File>),
    UnderWay,
    Done(io::Result<()>),
}

/// What ends a wait of the task.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WaitsFor {
    /// What the core's loop gives it: records, a synced file.
    Loop,
    /// The executor: a new segment, a timer.
    Executor,
}

impl LogPort {
    /// A port whose settled records wake `core`.
    pub fn new(core: Rc<Alarm>) -> LogPort {
        LogPort {
            submitted: RefCell::default(),
            settled: RefCell::default(),
            group_news: RefCell::default(),
            closing: Cell::new(false),
            inquiries: Inquiries::default(),
            sync: RefCell::default(),
            synced: Alarm::default(),
            waits_for: Cell::new(WaitsFor::Executor),
            threads: Cell::new(0),
            due: Cell::new(None),
            work: Alarm::default(),
            core,
        }
    }

    /// Queues records of the shard of `core`.
    pub fn submit(&self, core: CoreId, batch: Batch) {
        self.submit_all(Submitted::Batch(core, batch));
    }

    /// Queues the records of an atomic batch.
    pub(super) fn submit_group(&self, group: Group) {
        self.submit_all(Submitted::Group(group));
    }

    fn submit_all(&self, records: Submitted) {
        self.submitted.borrow_mut().push(records);
        self.work.raise();
    }

    /// Whether the task can go on, or waits for something that only the executor brings.
    pub fn needs_executor(&self) -> bool {
        self.waits_for.get() == WaitsFor::Executor
            || matches!(*self.sync.borrow(), PortSync::Done(_))
            || (self.is_synced() && !self.submitted.borrow().is_empty())
    }

    /// Whether a thread works for the task: that it is done is seen only by an executor
    /// that has nothing else to run.
    pub fn waits_for_thread(&self) -> bool {
        self.threads.get() > 0
    }

    /// Wakes the task when it is time: on a core that is never idle its timers stand still.
    pub fn look_at_clock(&self, now: Instant) {
        if self.due.get().is_some_and(|due| due <= now) {
            self.due.set(None);
            self.work.raise();
        }
    }

    /// Does `work` on another thread.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.threads.update(|threads| threads + 1);
        let result = glommio::executor().spawn_blocking(work).await;
        self.threads.update(|threads| threads - 1);
        result
    }

    /// Whether no sync is asked for or under way.
    pub fn is_synced(&self) -> bool {
        matches!(*self.sync.borrow(), PortSync::None)
    }

    /// The file that the loop is to sync now; it says [`LogPort::finish_sync`] then.
    pub fn begin_sync(&self) -> Option<Arc<File>> {
        let mut sync = self.sync.borrow_mut();
        match std::mem::replace(&mut *sync, PortSync::UnderWay) {
            PortSync::Wanted(file) => Some(file),
            other => {
                *sync = other;
                None
            }
        }
    }

    /// Tells the task what came of the sync.
    pub fn finish_sync(&self, result: io::Result<()>) {
        *self.sync.borrow_mut() = PortSync::Done(result);
        self.synced.raise();
    }

    /// Has the loop sync `file`, and waits for it.
    async fn sync(&self, file: Arc<File>) -> io::Result<()> {
        assert!(self.is_synced(), "one sync at a time");
        *self.sync.borrow_mut() = PortSync::Wanted(file);
        self.core.raise();
        loop {
            self.synced.wait().await;
            let mut sync = self.sync.borrow_mut();
            match std::mem::take(&mut *sync) {
                PortSync::Done(result) => return result,
                other => *sync = other,
            }
        }
    }

    /// Takes what became of submitted records, oldest first.
    pub fn take_settled(&self) -> Vec<(CoreId, Settled)> {
        self.settled.take()
    }

    /// Takes what there is to tell of atomic batches, behind what is settled.
    pub(super) fn take_group_news(&self) -> Vec<(AtomicKey, GroupNews)> {
        self.group_news.take()
    }

    /// What compaction wants to know of the shards.
    pub(super) fn inquiries(&self) -> &Inquiries {
        &self.inquiries
    }

    /// Makes the core's loop go through a turn.
    pub(super) fn wake_core(&self) {
        self.core.raise();
    }

    /// Makes the log task look for what it has to do.
    pub(super) fn wake_task(&self) {
        self.work.raise();
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
    process: Arc<Process>,
    rounds: Rounds<Directory>,
    fsync: Fsync,
    spare: Background<Option<Spare<Directory>>>,
    sync: Background<Result<(), String>>,
    synced_at: Instant,
    /// Bytes that had been appended when the last sync beside the task began.
    synced_bytes: u64,
    disk: Arc<Directory>,
    cores: u16,
    compaction: Background<Result<Outcome, CompactError>>,
    /// Every record up to this one was published to its owner.
    published: Lsn,
    /// Live bytes of all segments when a compaction last asked.
    live_bytes: u64,
    /// Whether to look if compaction is worth it, once that is due.
    checks: Checks,
}

/// When compaction is looked at again.
struct Checks {
    checked_at: Instant,
    /// What was appended then.
    appended: Lsn,
    /// After this record nothing could be given back to a full disk.
    no_room_at: Lsn,
    /// Nothing is compacted before a restart.
    given_up: bool,
}

/// Work that goes on beside the task and raises its alarm when it is done.
struct Background<T> {
    done: Rc<RefCell<Option<T>>>,
    under_way: bool,
}

impl LogCore {
    /// A task that appends to `writer` for `cores` cores.
    pub fn new(
        port: Rc<LogPort>,
        process: Arc<Process>,
        writer: Writer<Directory>,
        fsync: Fsync,
        cores: u16,
    ) -> LogCore {
        let (disk, published) = (writer.disk(), writer.appended());
        LogCore {
            port,
            process,
            rounds: Rounds::new(writer, cores),
            fsync,
            spare: Background::idle(),
            sync: Background::idle(),
            synced_at: Instant::now(),
            synced_bytes: 0,
            disk,
            cores,
            published,
            compaction: Background::idle(),
            live_bytes: 0,
            checks: Checks {
                checked_at: Instant::now(),
                appended: Lsn::NONE,
                no_room_at: Lsn::NONE,
                given_up: false,
            },
        }
    }

    /// Writes until the port is closed; whether the log was closed cleanly then.
    pub async fn run(mut self) -> bool {
        self.count_files();
        loop {
            self.finish_background();
            if self.rounds.writer().is_poisoned() {
                self.process.log_failed.store(true, Ordering::Relaxed);
            }
            self.reach_barrier().await;
            self.begin_compaction();
            let submitted = self.port.submitted.take();
            if submitted.is_empty() {
                if self.port.closing.get() {
                    return self.close().await;
                }
                self.wait().await;
                continue;
            }
            for records in submitted {
                self.append(records).await;
            }
            match self.fsync {
                Fsync::Everysec | Fsync::Never if !self.rounds.must_sync() => {
                    self.begin_sync_beside();
                }
                _ => {
                    self.publish_logged();
                    self.wait_for_sync().await;
                    self.sync_round().await;
                }
            }
            self.publish_round();
            self.begin_spare();
        }
    }

    async fn append(&mut self, records: Submitted) {
        let appended_bytes = &self.process.log_tally.appended_bytes;
        match records {
            Submitted::Batch(core, batch) => {
                appended_bytes.add_count(batch.bytes.len());
                self.rounds.begin_batch(core, batch);
            }
            Submitted::Group(group) => {
                appended_bytes.add_count(group.drafts.len());
                self.rounds.begin_group(group);
            }
        }
        while let Appended::NeedsRoll(bytes, room) = self.rounds.append() {
            // Its refusal is in the round.
            let _ = self.roll(bytes, room).await;
        }
    }

    /// Rolls to a new segment and says whether there is one.
    async fn roll(&mut self, draft_bytes: u32, room: Room) -> bool {
        self.wait_for_sync().await;
        self.wait_for_space().await;
        let rolled = loop {
            self.wait_for_spare().await;
            let Ok(job) = self.rounds.begin_roll(draft_bytes, room) else {
                return false;
            };
            let rolled = self.port.blocking(move || job.run()).await;
            let is_full = matches!(rolled.segment, Err(RollError::Full { .. }));
            if !is_full || !self.may_make_room() {
                break self.rounds.finish_roll(rolled);
            }
            self.rounds.put_off_roll(rolled);
            self.make_room().await;
        };
        match &rolled {
            Ok(()) => {
                self.synced_at = Instant::now();
                self.process.log_tally.rolls.add(1);
                self.count_files();
            }
            Err(error) => tracing::error!(%error, "no new segment"),
        }
        rolled.is_ok()
    }

    /// Makes this round durable, or refuses what of it is not.
    async fn sync_round(&mut self) {
        let result = match self.rounds.begin_sync() {
            None => return,
            Some(Ok(target)) => {
                self.port.waits_for.set(WaitsFor::Loop);
                let result = sync(&self.port, &self.process.log_tally, target).await;
                self.port.waits_for.set(WaitsFor::Executor);
                result
            }
            Some(Err(error)) => Err(error.to_string()),
        };
        self.finish_sync(result);
        self.rounds.take_back_what_is_not_durable();
    }

    fn finish_sync(&mut self, result: Result<(), String>) {
        self.synced_at = Instant::now();
        // Once: writers go on asking, and every round of theirs comes here.
        if let Err(error) = &result
            && !self.process.log_failed.swap(true, Ordering::Relaxed)
        {
            tracing::error!(
                error,
                "a sync of the log failed; writes are refused until a restart"
            );
        }
        self.rounds.finish_sync(result.is_ok());
        self.tell_position();
    }

    /// Tells those who read the log how far it is, and how far it may be shown.
    fn tell_position(&mut self) {
        let published = self.published;
        let writer = self.rounds.writer();
        let position = match self.fsync {
            // What is acknowledged may be shown: nothing says when it is on disk.
            Fsync::Never if !writer.is_poisoned() => published.max(writer.durable()),
            Fsync::Never => self.process.position(),
            Fsync::Always | Fsync::Everysec => writer.durable(),
        };
        self.process.set_position(writer.appended(), position);
    }

    /// Counts the files anew, which is done when there are more or fewer.
    fn count_files(&mut self) {
        let writer = self.rounds.writer();
        let tally = &self.process.log_tally;
        tally.segments.set_count(writer.segments().len());
        tally.held_bytes.set(writer.held_bytes());
    }

    /// Syncs beside the task when the last sync is long enough ago, or when much was appended
    /// since.
    fn begin_sync_beside(&mut self) {
        let is_long_ago =
            self.fsync == Fsync::Everysec && self.synced_at.elapsed() >= SYNC_INTERVAL;
        let appended_bytes = self.process.log_tally.appended_bytes.get();
        let is_much = appended_bytes - self.synced_bytes >= LOG_UNSYNCED_BYTES;
        if self.sync.under_way || !is_long_ago && !is_much {
            return;
        }
        let Some(Ok(target)) = self.rounds.begin_sync() else {
            return;
        };
        self.synced_bytes = appended_bytes;
        let (port, process) = (Rc::clone(&self.port), Arc::clone(&self.process));
        self.sync.begin(&self.port, async move {
            sync(&port, &process.log_tally, target).await
        });
    }

    /// A roll may not begin while a sync is in flight: its failure would be told to neither.
    async fn wait_for_sync(&mut self) {
        while self.sync.under_way {
            self.port.work.wait().await;
            self.finish_background();
        }
    }

    /// Has the spare there, if there is room for it: before a segment takes what is left.
    async fn wait_for_spare(&mut self) {
        self.begin_spare();
        while self.spare.under_way {
            self.port.work.wait().await;
            self.finish_background();
        }
    }

    fn begin_spare(&mut self) {
        if let Some(job) = self.rounds.writer().begin_spare() {
            let port = Rc::clone(&self.port);
            self.spare.begin(
                &self.port,
                async move { port.blocking(move || job.run()).await },
            );
        }
    }

    fn finish_background(&mut self) {
        if let Some(spare) = self.spare.take() {
            self.rounds.writer().finish_spare(spare);
            self.count_files();
        }
        if let Some(result) = self.sync.take() {
            self.finish_sync(result);
        }
        if let Some(result) = self.compaction.take() {
            self.finish_compaction(result);
            self.count_files();
        }
    }

    /// Puts on disk what compaction waits for.
    async fn reach_barrier(&mut self) {
        if !self.port.inquiries.wants_barrier() {
            return;
        }
        self.wait_for_sync().await;
        self.sync_round().await;
        // On a poisoned log the compaction waits for ever, and changes nothing.
        if self.rounds.is_durable() {
            self.port.inquiries.reach_barrier();
        }
    }

    /// Looks, beside the task, whether a run of segments should be rewritten, and does it.
    fn begin_compaction(&mut self) {
        let appended = self.rounds.writer().appended();
        let checks = &mut self.checks;
        let is_due = appended != checks.appended
            && checks.checked_at.elapsed() >= Duration::from_millis(COMPACTION_CHECK_MS);
        if !is_due || checks.given_up || self.compaction.under_way || self.port.closing.get() {
            return;
        }
        checks.checked_at = Instant::now();
        checks.appended = appended;
        self.compact(Purpose::Tidiness);
    }

    /// Begins to compact; whether there is anything that could be.
    fn compact(&mut self, purpose: Purpose) -> bool {
        let published = self.published;
        let writer = self.rounds.writer();
        let (sealed, next) = writer.sealed(published);
        if sealed.is_empty() {
            return false;
        }
        let snapshot = Snapshot {
            sealed,
            next,
            segment_bytes: writer.segment_bytes(),
            purpose,
            published,
        };
        let compactor = self.compactor();
        self.compaction
            .begin(&self.port, async move { compactor.run(snapshot).await });
        self.process.log_tally.compacting.set(1);
        true
    }

    fn compactor(&self) -> Compactor {
        Compactor {
            port: Rc::clone(&self.port),
            disk: Arc::clone(&self.disk),
            cores: self.cores,
        }
    }

    fn finish_compaction(&mut self, result: Result<Outcome, CompactError>) {
        let process = Arc::clone(&self.process);
        let tally = &process.log_tally;
        tally.compacting.set(0);
        match result {
            Ok(Outcome::NothingToDo { live_bytes }) => {
                self.live_bytes = live_bytes;
                self.rounds.writer().ask_for_spare_again();
            }
            Ok(Outcome::Installed {
                live_bytes,
                segment,
            }) => {
                self.live_bytes = live_bytes;
                let left_over = self.rounds.writer().replace_run(segment);
                tally.compactions.add(1);
                tally.compacting.set(1);
                let compactor = self.compactor();
                self.compaction.begin(&self.port, async move {
                    compactor.clean_up(left_over, &segment).await
                });
            }
            // Another run may be worth it as well.
            Ok(Outcome::CleanedUp) => {
                self.checks.no_room_at = Lsn::NONE;
                self.rounds.writer().ask_for_spare_again();
                if !self.port.closing.get() {
                    self.compact(Purpose::Tidiness);
                }
            }
            Err(error) => {
                self.rounds.writer().ask_for_spare_again();
                tracing::error!(%error, "compaction stopped");
                tally.failed_compactions.add(1);
                self.checks.given_up = !matches!(error, CompactError::Refused(_));
                // Looked at again after a while, though nothing is written.
                self.checks.appended = Lsn::NONE;
            }
        }
    }

    /// Keeps the files within their bound: a new segment waits while compaction works.
    async fn wait_for_space(&mut self) {
        if self.holds_too_much() && (self.compaction.under_way || self.compact(Purpose::Tidiness)) {
            self.wait_for_compaction().await;
        }
    }

    /// Whether a full disk may have room once dead records are gone.
    fn may_make_room(&mut self) -> bool {
        let appended = self.rounds.writer().appended();
        self.compaction.under_way || !self.checks.given_up && self.checks.no_room_at != appended
    }

    /// Rewrites what it can on a full disk, in the space that was kept for that.
    async fn make_room(&mut self) {
        self.wait_for_compaction().await;
        // Unless something is given back, and that takes this again.
        self.checks.no_room_at = self.rounds.writer().appended();
        let spare = self.rounds.writer().lend_spare();
        if self.compact(Purpose::Room(spare)) {
            self.wait_for_compaction().await;
        }
        self.rounds.writer().ask_for_spare_again();
    }

    async fn wait_for_compaction(&mut self) {
        self.port.inquiries.set_urgent(true);
        self.wait_for_urgent_compaction().await;
        self.port.inquiries.set_urgent(false);
    }

    async fn wait_for_urgent_compaction(&mut self) {
        while self.compaction.under_way {
            if self.rounds.writer().is_poisoned() || self.port.closing.get() {
                return;
            }
            self.port.work.wait().await;
            self.finish_background();
            self.reach_barrier().await;
        }
    }

    /// Whether the files, with another segment and the space for its successor, would be more
    /// than their bound.
    fn holds_too_much(&mut self) -> bool {
        let writer = self.rounds.writer();
        let segment_bytes = u64::from(writer.segment_bytes());
        let bound = 2 * self.live_bytes + COMPACTION_SLACK_SEGMENTS * segment_bytes;
        // The next spare, and what compaction writes meanwhile.
        !self.checks.given_up && writer.held_bytes() + 2 * segment_bytes > bound
    }

    /// Tells writers who do not wait for the disk that their records are in the log.
    fn publish_logged(&mut self) {
        self.tell_position();
        self.port.settled.borrow_mut().extend(self.rounds.logged());
        let groups = self.rounds.logged_groups();
        self.port.group_news.borrow_mut().extend(groups);
        self.port.core.raise();
    }

    fn publish_round(&mut self) {
        self.port.settled.borrow_mut().extend(self.rounds.publish());
        let groups = self.rounds.end_groups();
        self.port.group_news.borrow_mut().extend(groups);
        self.published = self.rounds.writer().appended();
        self.tell_position();
        self.port.core.raise();
    }

    async fn wait(&mut self) {
        let unsynced = !self.rounds.is_durable();
        if self.fsync == Fsync::Everysec && unsynced && !self.sync.under_way {
            let left = SYNC_INTERVAL.saturating_sub(self.synced_at.elapsed());
            self.wait_at_most(left).await;
            self.begin_sync_beside();
        } else if let Some(left) = self.until_compaction_check() {
            self.wait_at_most(left).await;
        } else {
            self.wait_for_records().await;
        }
    }

    async fn wait_at_most(&self, time: Duration) {
        self.port.due.set(Some(Instant::now() + time));
        or(self.wait_for_records(), sleep(time)).await;
        self.port.due.set(None);
        self.port.waits_for.set(WaitsFor::Executor);
    }

    /// The executor's timers and threads may wake the task meanwhile, a little late.
    async fn wait_for_records(&self) {
        self.port.waits_for.set(WaitsFor::Loop);
        self.port.work.wait().await;
        self.port.waits_for.set(WaitsFor::Executor);
    }

    /// How long until compaction is to be looked at; `None`: nothing changed since.
    fn until_compaction_check(&mut self) -> Option<Duration> {
        let writer = self.rounds.writer();
        let changed = writer.appended() != self.checks.appended && writer.segments().len() > 1;
        let waits = self.compaction.under_way || self.checks.given_up;
        let interval = Duration::from_millis(COMPACTION_CHECK_MS);
        (changed && !waits).then(|| interval.saturating_sub(self.checks.checked_at.elapsed()))
    }

    /// Syncs what is left and marks the log as cleanly closed.
    async fn close(mut self) -> bool {
        self.wait_for_sync().await;
        while self.spare.under_way {
            self.port.work.wait().await;
            self.finish_background();
        }
        self.sync_round().await;
        if !self.rounds.is_durable() {
            return false;
        }
        let closed = match self.rounds.writer().close() {
            Err(AppendError::NoRoom) => {
                self.roll(0, Room::Spare).await && self.rounds.writer().close().is_ok()
            }
            closed => closed.is_ok(),
        };
        if !closed {
            return false;
        }
        self.sync_round().await;
        self.rounds.is_durable()
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

/// Syncs through the core's ring, which is busy with sockets anyway; at the end, when nobody
/// turns that ring any more, on a thread.
async fn sync(
    port: &LogPort,
    tally: &LogTally,
    target: SyncTarget<Directory>,
) -> Result<(), String> {
    let began = Instant::now();
    let file = target.file;
    let result = match port.closing.get() {
        false => port.sync(file).await,
        true => port.blocking(move || file.sync_data()).await,
    };
    tally.syncs.add(micros(began.elapsed()));
    result.map_err(|error| format!("{}: {error}", target.path.display()))
}
