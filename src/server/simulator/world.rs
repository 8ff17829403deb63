//! The server's parts, wired as its tasks wire them, one step at a time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    sync::Arc,
};

use bytes::Bytes;

use super::{
    atomics::{Atomics, ToCoordinator},
    compaction::Compaction,
    model::{Change, Keeps, Model, Staged, Stored, counter_id, state},
    set_unix_ms, unix_ms,
};
use crate::{
    api,
    config::Fsync,
    id::{CoreId, Id},
    log::{
        AppendError, Disk, Kind, Lsn, RollJob, Room, SegmentHeader, SpareJob, Successor,
        SyncTarget, Verdict, Writer, memory::MemoryDisk, recover, scan_segment, testing::Random,
    },
    op::{
        AtomicKey, AtomicOp, Chosen, Condition, Durability, Edit, Expires, Expiry, Increment,
        Match, Op, Outcome, Pointer, Shows, Ttl, Version,
    },
    server::{
        coordinator::Coordinator,
        rounds::{Appended, Group, GroupNews, Rounds},
    },
    shard::{Batch, Conclusion, Finding, IdSource, Inquiry, Rules, Settled, Shard},
};

const SEGMENT_BYTES: u64 = 4096;

/// As those of the server, but for equality, which the model has byte for byte.
const RULES: Rules = Rules {
    same_document: |a, b| a == b,
    edit: api::edit,
    document_bytes_max: 2000,
};

/// Who waits for an answer: an operation, and how many chosen ids were taken before it.
type Waiter = (usize, u32);

pub(super) struct World {
    pub(super) random: Random,
    weights: Weights,
    fsync: Fsync,
    pub(super) model: Model,
    pub(super) atomics: Atomics,
    /// What was sent, by waiter.
    pub(super) sent: Vec<Op>,
    /// Which of them have no answer yet.
    pub(super) unanswered: BTreeSet<usize>,
    made: u32,
    /// What was asked of each, by waiter.
    durabilities: Vec<Durability>,
    /// When each was asked, by waiter.
    pub(super) asked_at_ms: Vec<u64>,
    /// A write whose writer asked for it was told to be on disk at this position.
    pub(super) told_synced: Lsn,
    /// Versions that writes were told to have made, and the positions that they were told.
    pub(super) positions: Vec<(Id, Version, Lsn)>,
    /// Creations whose chosen id was in use, to be tried with the next one.
    taken_ids: Vec<Waiter>,
    /// Every record that the log ever took, less those that a crash took back;
    /// compaction drops none of these.
    pub(super) history: Vec<Change>,
    pub(super) server: Server,
}

/// What a run has much of; runs differ, so that rare events meet in some.
struct Weights {
    document_bytes_max: u32,
    /// Steps in a thousand that fill the disk, free it or make its syncs fail.
    faults: u32,
    /// Steps that compact, beside ninety-two others.
    compaction: u32,
}

/// One life of the server.
pub(super) struct Server {
    pub(super) disk: Arc<MemoryDisk>,
    pub(super) cores: Vec<Core>,
    ids: IdSource,
    pub(super) rounds: Rounds<MemoryDisk>,
    pub(super) task: Task,
    /// Batches that the task has taken and not appended.
    taken: VecDeque<Submitted>,
    /// Groups of records that the task has not taken.
    pub(super) groups: VecDeque<Group>,
    pub(super) coordinator: Coordinator<usize>,
    /// What the log has to tell of groups.
    pub(super) news: Vec<(AtomicKey, GroupNews)>,
    /// The sync of `everysec`, beside the task.
    pub(super) interval_sync: Option<SyncUnderWay>,
    spare: Option<SpareJob<MemoryDisk>>,
    pub(super) staged: Staged,
    /// Every record up to this one was published to its owner.
    pub(super) published: Lsn,
    pub(super) compaction: Compaction,
    /// What the shards found, for the compaction.
    pub(super) findings: Vec<(CoreId, Finding)>,
    pub(super) findings_awaited: usize,
}

pub(super) struct Core {
    pub(super) shard: Shard<Waiter>,
    to_log: VecDeque<Batch>,
    pub(super) to_coordinator: VecDeque<ToCoordinator>,
    /// In the order in which the core's loop takes them.
    pub(super) from_log: VecDeque<FromLog>,
}

pub(super) enum FromLog {
    Settled(Settled),
    Inquiry(Inquiry),
    Prepare(AtomicKey, Vec<AtomicOp>),
    Conclude(AtomicKey, Conclusion),
}

/// What the log task has taken.
enum Submitted {
    Batch(CoreId, Batch),
    Group(Group),
}

/// Where the log task is.
pub(super) enum Task {
    Taking,
    Appending,
    Rolling(u32, Room),
    RollUnderWay(RollJob<MemoryDisk>),
    Syncing(SyncUnderWay),
}

/// A sync that was begun. The disk may have done it long before it says so.
pub(super) struct SyncUnderWay {
    target: SyncTarget<MemoryDisk>,
    done: Option<bool>,
}

impl World {
    pub(super) fn new(seed: u64, fsync: Fsync) -> World {
        let mut random = Random::new(seed);
        set_unix_ms(1_000_000);
        let cores = 1 + random.below(3);
        let weights = Weights {
            document_bytes_max: [60, 400, 1800][usize::try_from(random.below(3)).expect("few")],
            faults: [0, 20, 100][usize::try_from(random.below(3)).expect("few")],
            compaction: [10, 30][usize::try_from(random.below(2)).expect("few")],
        };
        World {
            random,
            weights,
            fsync,
            model: Model::default(),
            atomics: Atomics::default(),
            sent: Vec::new(),
            unanswered: BTreeSet::new(),
            durabilities: Vec::new(),
            asked_at_ms: Vec::new(),
            told_synced: Lsn::NONE,
            positions: Vec::new(),
            made: 0,
            taken_ids: Vec::new(),
            history: Vec::new(),
            server: Server::start(Arc::new(MemoryDisk::new()), cores).0,
        }
    }

    /// Runs the server for a number of steps.
    pub(super) fn live(&mut self, steps_max: u32) {
        for _ in 0..self.random.below(steps_max) {
            self.step();
        }
    }

    fn step(&mut self) {
        self.create_again();
        set_unix_ms(unix_ms() + u64::from(self.random.below(6)));
        if self.random.below(1000) < self.weights.faults {
            return self.stage_a_fault();
        }
        match self.random.below(92 + self.weights.compaction) {
            0..30 => self.ask(),
            30..36 => self.atomic_step(),
            36..52 => self.send_batch(),
            52..68 => self.log_step(),
            68..82 => self.deliver(),
            82..85 => self.write_back(),
            85..88 => self.spare_step(),
            88..90 => self.interval_step(),
            90..92 => self.sweep(),
            _ => self.compaction_step(),
        }
    }

    fn stage_a_fault(&mut self) {
        let mut faults = self.server.disk.faults();
        if self.random.below(6) == 0 {
            faults.sync_fails = true;
            self.server.staged.failing_sync = true;
        } else if faults.free_bytes < SEGMENT_BYTES * 4 {
            faults.free_bytes = u64::MAX;
        } else {
            faults.free_bytes = u64::from(self.random.below(5000));
            self.server.staged.full = true;
        }
    }

    fn ask(&mut self) {
        if self.random.below(8) == 0 {
            return self.ask_counter();
        }
        match self.random.below(10) {
            0..8 => {
                let op = self.op();
                self.execute(op, 0);
            }
            _ => self.create(self.sent.len(), 0),
        }
    }

    /// An operation on one of a few documents.
    pub(super) fn op(&mut self) -> Op {
        let id = match self.random.below(8) {
            n @ 0..6 => Id::Integer(i64::from(n)),
            6 => Id::Name("name".into()),
            _ => Id::Integer(1 << 32),
        };
        match self.random.below(8) {
            0..3 => Op::Get { id },
            3..6 => {
                let document = match self.model.document(&id) {
                    Some(document) if self.random.below(4) == 0 => document,
                    _ => self.document(),
                };
                let condition = self.condition(&id);
                Op::Put {
                    id,
                    document,
                    condition,
                    chosen: Chosen::ByClient,
                    expires: self.expires(),
                }
            }
            _ => {
                let condition = self.condition(&id);
                Op::Delete { id, condition }
            }
        }
    }

    fn ask_counter(&mut self) {
        let op = self.counter_op();
        self.execute(op, 0);
    }

    pub(super) fn counter_op(&mut self) -> Op {
        let id = counter_id();
        match self.random.below(8) {
            0 => Op::Get { id },
            1 => Op::Delete {
                id,
                condition: None,
            },
            _ => {
                let condition = self.condition(&id);
                let edit = Edit::Increment(Box::new(Increment {
                    pointer: Pointer::default(),
                    by: 1,
                    default: Some(0),
                }));
                Op::Edit {
                    id,
                    edit,
                    condition,
                    shows: Shows::Answer,
                }
            }
        }
    }

    /// Goes on with creations, as the server does once all answers of a turn are given.
    fn create_again(&mut self) {
        while let Some((number, taken_in_a_row)) = self.taken_ids.pop() {
            self.create(number, taken_in_a_row);
        }
    }

    /// Stores a new document under an id of the server's choice.
    fn create(&mut self, number: usize, taken_in_a_row: u32) {
        let id = self.server.ids.next_id(taken_in_a_row);
        let document = match taken_in_a_row {
            0 => self.document(),
            // The same document, under the next id.
            _ => Bytes::from(format!("\"again {number} {taken_in_a_row}\"")),
        };
        let op = Op::Put {
            id: Id::Integer(id.expect("few ids are used")),
            document,
            condition: Some(Box::new(Condition::absent())),
            chosen: Chosen::ByServer,
            expires: self.expires(),
        };
        self.execute(op, taken_in_a_row);
    }

    pub(super) fn execute(&mut self, op: Op, taken_in_a_row: u32) {
        self.model.send(&op);
        let cores = u16::try_from(self.server.cores.len()).expect("few");
        let owner = CoreId::owner(op.id().placement(), cores);
        let waiter = (self.sent.len(), taken_in_a_row);
        self.sent.push(op.clone());
        self.unanswered.insert(waiter.0);
        let durability = match self.random.below(4) {
            0 => Durability::Synced,
            _ => Durability::AsConfigured,
        };
        self.durabilities.push(durability);
        self.asked_at_ms.push(unix_ms());
        self.atomics.note_if_held(op.id(), waiter.0);
        let shard = &mut self.server.cores[owner.index()].shard;
        if let Some(outcome) = shard.execute_as(op, durability, waiter) {
            self.answer(waiter, &outcome);
        }
    }

    pub(super) fn answer(&mut self, (number, taken_in_a_row): Waiter, outcome: &Outcome) {
        let op = self.sent[number].clone();
        let asked_at_ms = self.asked_at_ms[number];
        let staged = self.server.staged;
        self.unanswered.remove(&number);
        let model = &mut self.model;
        match self.atomics.state_of(number, &op) {
            None => model.answer(&op, outcome, staged, asked_at_ms),
            Some(stored) => model.answer_on(stored, &op, outcome, staged, asked_at_ms),
        }
        if let Some(position) = outcome.position() {
            if self.durabilities[number] == Durability::Synced {
                self.told_synced = self.told_synced.max(position);
            }
            if let Outcome::Stored { version, .. } | Outcome::Edited { version, .. } = outcome {
                let id = op.id().clone();
                self.positions.push((id, *version, position));
            }
        }
        let was_chosen = matches!(
            op,
            Op::Put {
                chosen: Chosen::ByServer,
                ..
            }
        );
        if was_chosen && *outcome == Outcome::ConditionFailed {
            self.taken_ids.push((number, taken_in_a_row + 1));
        }
    }

    /// A document that was never sent before, of any length up to a page.
    fn document(&mut self) -> Bytes {
        self.made += 1;
        let filler = self.random.below(self.weights.document_bytes_max);
        let filler = "x".repeat(usize::try_from(filler).expect("small"));
        Bytes::from(format!("\"{} {filler}\"", self.made))
    }

    fn expires(&mut self) -> Expires {
        let ms = 1 + u64::from(self.random.below(300));
        match self.random.below(6) {
            0..2 => Expires::In(Ttl::asked(ms).expect("short")),
            // It may have passed.
            2 => Expires::At(Expiry::asked(unix_ms() + ms - 50).expect("long after 1970")),
            _ => Expires::Never,
        }
    }

    /// A core removes what has expired.
    fn sweep(&mut self) {
        let core = self.some_core();
        self.server.cores[core].shard.sweep(unix_ms());
    }

    pub(super) fn condition(&mut self, id: &Id) -> Option<Box<Condition>> {
        let current = self.model.version(id).unwrap_or(Version(0));
        let condition = match self.random.below(6) {
            0 => Condition::absent(),
            1 => Condition {
                if_match: Some(Match::Versions(Box::new([current]))),
                if_none_match: None,
            },
            2 => Condition {
                if_match: Some(Match::Any),
                if_none_match: None,
            },
            _ => return None,
        };
        Some(Box::new(condition))
    }

    pub(super) fn some_core(&mut self) -> usize {
        let cores = u32::try_from(self.server.cores.len()).expect("few");
        usize::try_from(self.random.below(cores)).expect("few")
    }

    /// A core's turn ends: what its shard has drafted leaves for the log.
    fn send_batch(&mut self) {
        let core = self.some_core();
        let core = &mut self.server.cores[core];
        core.to_log.extend(core.shard.take_batch());
    }

    /// A core learns what became of its records.
    fn deliver(&mut self) {
        let number = self.some_core();
        let core = &mut self.server.cores[number];
        let settled = match core.from_log.pop_front() {
            None => return,
            Some(FromLog::Settled(settled)) => settled,
            Some(FromLog::Inquiry(inquiry)) => {
                let number = CoreId(u16::try_from(number).expect("few"));
                let finding = core.shard.look_up(inquiry);
                return self.server.findings.push((number, finding));
            }
            Some(FromLog::Prepare(key, ops)) => {
                self.atomics.hold(&ops);
                core.shard.prepare(key, ops, (index_of(key), 0));
                return self.cast_votes(number);
            }
            Some(FromLog::Conclude(key, conclusion)) => {
                return self.conclude(number, key, conclusion);
            }
        };
        let mut answers = Vec::new();
        core.shard
            .settle(settled, |waiter, outcome| answers.push((waiter, outcome)));
        for (waiter, outcome) in answers {
            self.answer(waiter, &outcome);
        }
        self.create_again();
        self.cast_votes(number);
    }

    fn log_step(&mut self) {
        let server = &mut self.server;
        server.task = match mem::replace(&mut server.task, Task::Taking) {
            Task::Taking => {
                for (core, queues) in (0..).zip(&mut server.cores) {
                    let count = self.random.below(3);
                    for _ in 0..count {
                        let batch = queues.to_log.pop_front();
                        let batch = batch.map(|batch| Submitted::Batch(CoreId(core), batch));
                        server.taken.extend(batch);
                    }
                    if self.random.coin() {
                        let group = server.groups.pop_front().map(Submitted::Group);
                        server.taken.extend(group);
                    }
                }
                Task::Appending
            }
            Task::Appending => match server.append(&mut self.history) {
                Appended::NeedsRoll(bytes, room) => Task::Rolling(bytes, room),
                Appended::Whole => match server.taken.pop_front() {
                    Some(Submitted::Batch(core, batch)) => {
                        server.rounds.begin_batch(core, batch);
                        Task::Appending
                    }
                    Some(Submitted::Group(group)) => {
                        server.rounds.begin_group(group);
                        Task::Appending
                    }
                    None => server.end_round(self.fsync, &mut self.random),
                },
            },
            // The task waits for the sync beside it before it rolls.
            Task::Rolling(bytes, room) if server.interval_sync.is_some() => {
                server.finish_interval_sync();
                Task::Rolling(bytes, room)
            }
            Task::Rolling(bytes, room) => match server.rounds.begin_roll(bytes, room) {
                Ok(job) => Task::RollUnderWay(job),
                Err(AppendError::Poisoned | AppendError::NoRoom) => Task::Appending,
            },
            Task::RollUnderWay(job) => {
                let result = job.run();
                // Its refusal is in the round.
                let _ = server.rounds.finish_roll(result);
                Task::Appending
            }
            Task::Syncing(sync) => {
                let synced = sync.finish(&server.disk);
                server.rounds.finish_sync(synced);
                server.rounds.take_back_what_is_not_durable();
                server.publish();
                Task::Taking
            }
        };
        self.hear_news();
    }

    fn interval_step(&mut self) {
        if self.fsync != Fsync::Everysec {
            return;
        }
        let server = &mut self.server;
        if server.interval_sync.is_some() {
            return server.finish_interval_sync();
        }
        if !matches!(server.task, Task::Taking | Task::Appending) {
            return;
        }
        if let Some(Ok(target)) = server.rounds.begin_sync() {
            server.interval_sync = Some(SyncUnderWay::begin(target, server, &mut self.random));
        }
    }

    fn write_back(&mut self) {
        let random = &mut self.random;
        self.server.disk.write_back(|_, _| random.coin());
    }

    fn spare_step(&mut self) {
        let server = &mut self.server;
        match server.spare.take() {
            Some(job) => server.rounds.writer().finish_spare(job.run()),
            None => server.spare = server.rounds.writer().begin_spare(),
        }
    }

    /// Ends the life, by power loss, a kill or a clean stop, and starts the next.
    pub(super) fn end_and_recover(&mut self) {
        let cores = 1 + self.random.below(3);
        let end = self.random.below(10);
        if end == 0 && !self.server.staged.failing_sync && self.drain() {
            return self.start_again(End::Clean, cores);
        }
        match end {
            0..3 => self.start_again(End::Kill, cores),
            _ => self.start_again(End::PowerLoss, cores),
        }
    }

    /// Lets everything settle and closes the log, as a stop does; whether it closed.
    fn drain(&mut self) -> bool {
        self.server.disk.faults().free_bytes = u64::MAX;
        loop {
            let mut idle = matches!(self.server.task, Task::Taking) && self.server.taken.is_empty();
            idle &= self.server.groups.is_empty();
            for core in &mut self.server.cores {
                core.to_log.extend(core.shard.take_batch());
                idle &= core.to_log.is_empty() && core.from_log.is_empty();
                idle &= core.to_coordinator.is_empty();
            }
            if idle {
                break;
            }
            self.log_step();
            for _ in 0..3 {
                self.deliver();
                self.deliver_to_coordinator();
            }
        }
        self.atomics.check_all_are_answered();
        let server = &mut self.server;
        if server.interval_sync.is_some() {
            server.finish_interval_sync();
        }
        if let Some(job) = server.spare.take() {
            server.rounds.writer().finish_spare(job.run());
        }
        server.sync_now();
        if server.rounds.writer().close() == Err(AppendError::NoRoom) {
            let job = server
                .rounds
                .begin_roll(0, Room::Spare)
                .expect("nothing failed");
            let rolled = server.rounds.finish_roll(job.run());
            rolled.expect("there is room");
            server
                .rounds
                .writer()
                .close()
                .expect("a new segment has room");
        }
        server.sync_now();
        true
    }

    fn start_again(&mut self, end: End, cores: u32) {
        let acknowledged = self.model.check_log(&self.history);
        let random = &mut self.random;
        let after = Arc::new(match end {
            End::PowerLoss => {
                let odds = random.below(4);
                self.server.disk.crash(|_, _| random.below(4) < odds)
            }
            End::Kill | End::Clean => self.server.disk.crash(|_, _| true),
        });
        let durable = match (end, self.fsync) {
            (End::Kill | End::Clean, _) => self.server.rounds.writer().appended(),
            (End::PowerLoss, Fsync::Always) => acknowledged,
            // What was on disk when the life began is the least.
            (End::PowerLoss, _) => self.server.rounds.writer().durable(),
        };
        // Nobody knows what the clock says after a power loss.
        let ms = u64::from(self.random.below(600));
        set_unix_ms(unix_ms() + ms - 300);
        let (server, found, verdict) = Server::start_with(Arc::clone(&after), cores);
        let last = Lsn(verdict.next.0 - 1);
        assert!(
            last >= durable,
            "{end:?}, {:?}: {durable} was durable, the log ends with {last}",
            self.fsync,
        );
        assert!(
            last >= self.told_synced,
            "{end:?}, {:?}: {} was told to be on disk, the log ends with {last}",
            self.fsync,
            self.told_synced,
        );
        for (id, version, position) in self.positions.drain(..) {
            let is_its = |change: &&Change| change.id == id && change.version == version;
            let record = self.history.iter().find(is_its);
            let lsn = record.expect("what was told is in the log").lsn;
            assert!(lsn <= position, "{id:?} was told {position}, it is {lsn}");
        }
        self.atomics.check_groups(&self.history, last);
        self.history.retain(|change| change.lsn <= last);
        for change in &found {
            let at = self.history.binary_search_by_key(&change.lsn, |c| c.lsn);
            let at = at.unwrap_or_else(|_| panic!("{change:?} was never written"));
            assert_eq!(self.history[at], *change);
        }
        assert_eq!(
            state(&found),
            state(&self.history),
            "compaction changed what is stored"
        );
        assert!(verdict.closed || end != End::Clean);
        // What was recovered is durable: power may go again at once.
        if self.random.coin() {
            let (again, second) = scan(&after.crash(|_, _| false));
            assert_eq!(again, found);
            assert_eq!(second.cut, None);
        }
        let keeps = match (end, self.fsync) {
            (End::PowerLoss, Fsync::Everysec | Fsync::Never) => Keeps::WhatIsInTheLog,
            _ => Keeps::Everything,
        };
        self.taken_ids.clear();
        self.model.restart(&self.history, keeps);
        self.atomics = Atomics::default();
        self.unanswered.clear();
        self.server = server;
        self.check_reads();
    }

    /// Reads everything: a restart shows what the model holds.
    fn check_reads(&mut self) {
        let documents: BTreeMap<Id, Stored> = self.model.documents().clone();
        for id in documents.into_keys() {
            self.execute(Op::Get { id }, 0);
        }
        let count: usize = (self.server.cores.iter())
            .map(|core| core.shard.document_count())
            .sum();
        assert_eq!(count, self.model.documents().len());
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Clean,
    Kill,
    PowerLoss,
}

impl Server {
    fn start(disk: Arc<MemoryDisk>, cores: u32) -> (Server, Verdict) {
        let (server, _, verdict) = Server::start_with(disk, cores);
        (server, verdict)
    }

    /// Recovers, as `server::start` does, and returns the records that it found.
    fn start_with(disk: Arc<MemoryDisk>, cores: u32) -> (Server, Vec<Change>, Verdict) {
        let cores = u16::try_from(cores).expect("few");
        let mut shards: Vec<Shard<Waiter>> = (0..cores)
            .map(|_| Shard::new(RULES).with_clock(unix_ms))
            .collect();
        let mut found = Vec::new();
        let verdict = recover(&*disk, &mut |record, location| {
            let id = record.id.to_id();
            let shard = &mut shards[CoreId::owner(id.placement(), cores).index()];
            match record.kind {
                Kind::Put => shard.restore_put(
                    &id,
                    record.version,
                    location,
                    record.document,
                    Expiry::of_record(record.expires_at_ms),
                ),
                Kind::Delete => shard.restore_delete(&id),
                Kind::Mark => return,
            }
            found.push(Change::of(record));
        })
        .expect("a crash is never damage");
        let writer =
            Writer::open(Arc::clone(&disk), &verdict, SEGMENT_BYTES).expect("the disk has room");
        let cores_state = shards.into_iter().map(|mut shard| {
            shard.end_restore();
            shard.begin_versions_above(verdict.floors.version);
            shard.begin_positions_at(Lsn(verdict.next.0 - 1));
            Core {
                shard,
                to_log: VecDeque::new(),
                to_coordinator: VecDeque::new(),
                from_log: VecDeque::new(),
            }
        });
        let server = Server {
            cores: cores_state.collect(),
            ids: IdSource::above(verdict.floors.chosen_id),
            rounds: Rounds::new(writer, cores),
            task: Task::Taking,
            taken: VecDeque::new(),
            groups: VecDeque::new(),
            coordinator: Coordinator::new(cores),
            news: Vec::new(),
            interval_sync: None,
            spare: None,
            staged: Staged::default(),
            published: Lsn(verdict.next.0 - 1),
            compaction: Compaction::default(),
            findings: Vec::new(),
            findings_awaited: 0,
            disk,
        };
        (server, found, verdict)
    }

    /// All batches are appended: syncs if the policy says so, or publishes.
    fn end_round(&mut self, fsync: Fsync, random: &mut Random) -> Task {
        if fsync == Fsync::Always || self.rounds.must_sync() {
            // The task waits for the sync beside it.
            self.finish_interval_sync();
            for (core, settled) in self.rounds.logged() {
                let settled = FromLog::Settled(settled);
                self.cores[core.index()].from_log.push_back(settled);
            }
            self.news.extend(self.rounds.logged_groups());
            match self.rounds.begin_sync() {
                None => {}
                Some(Ok(target)) => {
                    return Task::Syncing(SyncUnderWay::begin(target, self, random));
                }
                Some(Err(_)) => {
                    self.rounds.finish_sync(false);
                    self.rounds.take_back_what_is_not_durable();
                }
            }
        }
        self.publish();
        Task::Taking
    }

    fn publish(&mut self) {
        for (core, settled) in self.rounds.publish() {
            let settled = FromLog::Settled(settled);
            self.cores[core.index()].from_log.push_back(settled);
        }
        self.news.extend(self.rounds.end_groups());
        self.published = self.rounds.writer().appended();
    }

    fn finish_interval_sync(&mut self) {
        if let Some(sync) = self.interval_sync.take() {
            let synced = sync.finish(&self.disk);
            self.rounds.finish_sync(synced);
        }
    }

    /// Asks shards, behind everything that was published.
    pub(super) fn ask(&mut self, inquiries: Vec<(CoreId, Inquiry)>) {
        self.findings_awaited = inquiries.len();
        for (core, inquiry) in inquiries {
            let inquiry = FromLog::Inquiry(inquiry);
            self.cores[core.index()].from_log.push_back(inquiry);
        }
    }

    pub(super) fn take_findings(&mut self) -> Vec<(CoreId, Finding)> {
        self.findings_awaited = 0;
        mem::take(&mut self.findings)
    }

    /// Syncs for the barrier of a compaction; a failure poisons the log.
    pub(super) fn sync_for_compaction(&mut self) {
        if let Some(Ok(target)) = self.rounds.begin_sync() {
            let synced = self.disk.sync(&target.file).is_ok();
            self.rounds.finish_sync(synced);
        }
    }

    fn sync_now(&mut self) {
        if let Some(target) = self.rounds.begin_sync() {
            let target = target.expect("nothing failed");
            let synced = self.disk.sync(&target.file).is_ok();
            self.rounds.finish_sync(synced);
        }
    }

    /// Appends what is left of a batch, and notes it.
    fn append(&mut self, history: &mut Vec<Change>) -> Appended {
        let appended = self.rounds.append();
        let last = *self
            .rounds
            .writer()
            .segments()
            .last()
            .expect("there is one");
        let noted = history.last().map_or(Lsn::NONE, |change| change.lsn);
        let bytes = self.disk.contents(last.number).written;
        let header = SegmentHeader::decode(&bytes).expect("it is whole");
        scan_segment(&bytes, &header, Successor::None, &mut |record, _| {
            if record.lsn > noted && record.kind != Kind::Mark {
                history.push(Change::of(record));
            }
        });
        appended
    }
}

impl SyncUnderWay {
    /// The disk does it now, or only when its end is told.
    fn begin(target: SyncTarget<MemoryDisk>, server: &Server, random: &mut Random) -> SyncUnderWay {
        let done = random
            .coin()
            .then(|| server.disk.sync(&target.file).is_ok());
        SyncUnderWay { target, done }
    }

    fn finish(self, disk: &MemoryDisk) -> bool {
        self.done
            .unwrap_or_else(|| disk.sync(&self.target.file).is_ok())
    }
}

pub(super) fn index_of(key: AtomicKey) -> usize {
    usize::try_from(key.0).expect("few")
}

/// The records of a disk, marks left out.
fn scan(disk: &MemoryDisk) -> (Vec<Change>, Verdict) {
    let mut changes = Vec::new();
    let verdict = recover(disk, &mut |record, _| {
        if record.kind != Kind::Mark {
            changes.push(Change::of(record));
        }
    })
    .expect("what was written can be read");
    (changes, verdict)
}
