//! The decisions of the log task: what is appended, settled, refused, taken back.
//!
//! Records are taken in rounds. A round appends batches of all cores, is synced
//! when the policy asks for it, and is then published: each core learns where
//! its records lie, or which refusal ends them. Nothing here waits, reads a clock
//! or knows an executor: jobs are handed out and their results come back, so
//! that the simulator can run the same decisions over a disk that fails.
//!
//! What stays true: records of one core are settled in the order of its batches,
//! and nothing of a core's batches is appended behind a record of them that was refused.
//! A group of records is appended, settled and refused whole; it rests on nothing that is not
//! settled, so a refusal before it is none of its concern.

use crate::{
    id::CoreId,
    log::{
        AppendError, Disk, Kind, Lsn, RollError, RollJob, Rolled, Room, SyncTarget, Writer,
        draft_kind, drafts, group,
    },
    op::{AtomicKey, Durability, Refusal},
    shard::{Batch, Place, Settled},
};

/// The writer of the log, and what the round under way has done so far.
pub(super) struct Rounds<D: Disk> {
    writer: Writer<D>,
    cores: Vec<CoreRound>,
    batch: Option<Fed>,
    group: Option<Group>,
    ended: Vec<Ended>,
    /// How many groups of the round a roll has already synced.
    durable_group_count: usize,
    /// How many records of the round must be on disk before it is published.
    synced_count: u32,
}

/// One core's part of the round.
#[derive(Default)]
struct CoreRound {
    /// The epoch that its next valid batch has; see [`Batch::epoch`].
    epoch: u32,
    settled: Settled,
    /// How many of the settled records a roll of this round has already synced.
    durable_count: usize,
    /// How many records have a writer who wants to hear when they are in the log.
    logged_count: u32,
}

/// A batch that is appended up to `at`.
struct Fed {
    core: CoreId,
    batch: Batch,
    at: usize,
}

/// Records of an atomic batch, from all cores that own something of it.
#[derive(Debug)]
pub(super) struct Group {
    pub key: AtomicKey,
    /// Encoded drafts, one after the other; there may be none.
    pub drafts: Vec<u8>,
    /// When the batch may be answered.
    pub durability: Durability,
}

/// What is told of a group.
#[derive(Debug)]
pub(super) enum GroupNews {
    /// It is in the log, and this is its last record.
    Logged(Lsn),
    /// Where its records lie, as durable as the policy asks, or why there are none.
    Ended(Result<Vec<Place>, Refusal>),
}

/// A group of the round under way.
struct Ended {
    key: AtomicKey,
    durability: Durability,
    result: Result<Vec<Place>, Refusal>,
}

/// How far [`Rounds::append`] came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// The batch is done: appended, or refused from some record on.
    Whole,
    /// A record of this length needs a new segment first, in this room.
    NeedsRoll(u32, Room),
}

impl<D: Disk> Rounds<D> {
    /// Rounds of `cores` cores that append to `writer`.
    pub(super) fn new(writer: Writer<D>, cores: u16) -> Rounds<D> {
        Rounds {
            writer,
            cores: (0..cores).map(|_| CoreRound::default()).collect(),
            batch: None,
            group: None,
            ended: Vec::new(),
            durable_group_count: 0,
            synced_count: 0,
        }
    }

    /// The writer, for its watermarks, its spare and its closing mark.
    pub(super) fn writer(&mut self) -> &mut Writer<D> {
        &mut self.writer
    }

    /// Whether every record that was appended is on disk.
    pub(super) fn is_durable(&self) -> bool {
        self.writer.durable() == self.writer.appended()
    }

    /// Takes in the next batch of `core`, unless it is void.
    ///
    /// # Panics
    /// If the batch before it is not whole.
    pub(super) fn begin_batch(&mut self, core: CoreId, batch: Batch) {
        self.assert_fed();
        let round = &mut self.cores[core.index()];
        if batch.epoch == round.epoch {
            round.logged_count += batch.logged_count;
            self.synced_count += batch.synced_count;
            self.batch = Some(Fed { core, batch, at: 0 });
        }
    }

    /// Takes in the next group.
    ///
    /// # Panics
    /// If the batch before it is not whole.
    pub(super) fn begin_group(&mut self, mut group: Group) {
        self.assert_fed();
        self::group(std::iter::once(group.drafts.as_mut_slice()));
        self.synced_count += u32::from(group.durability == Durability::Synced);
        self.group = Some(group);
    }

    fn assert_fed(&self) {
        let is_fed = self.batch.is_none() && self.group.is_none();
        assert!(is_fed, "one batch after the other");
    }

    /// Appends what is left of the batch or group.
    pub(super) fn append(&mut self) -> Appended {
        if let Some(group) = self.group.take() {
            return self.append_group(group);
        }
        let Some(mut fed) = self.batch.take() else {
            return Appended::Whole;
        };
        // A failing disk poisons the writer here, and then every append says so.
        let _ = self
            .writer
            .prepare(drafts_bytes(fed.batch.bytes.len() - fed.at));
        while let Some(draft) = fed.next_draft() {
            match self.writer.append(draft) {
                Ok(location) => {
                    fed.at += draft.len();
                    let lsn = self.writer.appended();
                    let place = Place { lsn, location };
                    self.cores[fed.core.index()].settled.places.push(place);
                }
                Err(AppendError::NoRoom) => {
                    let bytes = u32::try_from(draft.len()).expect("a record is far below 4 GiB");
                    let room = match draft_kind(draft) {
                        Kind::Delete => Room::Spare,
                        Kind::Put | Kind::Mark => Room::Free,
                    };
                    self.batch = Some(fed);
                    return Appended::NeedsRoll(bytes, room);
                }
                Err(AppendError::Poisoned) => {
                    self.refuse(fed.core, Refusal::LogPoisoned);
                    break;
                }
            }
        }
        Appended::Whole
    }

    /// Appends the group, all of it in one segment.
    fn append_group(&mut self, group: Group) -> Appended {
        let bytes = drafts_bytes(group.drafts.len());
        let _ = self.writer.prepare(bytes);
        if !group.drafts.is_empty() && !self.writer.is_poisoned() && self.writer.needs_roll(bytes) {
            let is_delete = |draft| draft_kind(draft) == Kind::Delete;
            let room = match drafts(&group.drafts).all(is_delete) {
                true => Room::Spare,
                false => Room::Free,
            };
            self.group = Some(group);
            return Appended::NeedsRoll(bytes, room);
        }
        let places = drafts(&group.drafts).map(|draft| {
            let location = self.writer.append(draft)?;
            let lsn = self.writer.appended();
            Ok(Place { lsn, location })
        });
        let result = match places.collect() {
            Ok(places) => Ok(places),
            Err(AppendError::Poisoned) => Err(Refusal::LogPoisoned),
            Err(AppendError::NoRoom) => unreachable!("there is room for all of it"),
        };
        self.end_group(&group, result);
        Appended::Whole
    }

    fn end_group(&mut self, group: &Group, result: Result<Vec<Place>, Refusal>) {
        self.ended.push(Ended {
            key: group.key,
            durability: group.durability,
            result,
        });
    }

    /// Begins a new segment that has room for a record of this length.
    ///
    /// # Errors
    /// [`AppendError::Poisoned`]; what is left of the batch is refused.
    ///
    /// # Panics
    /// If a sync or a roll is under way.
    pub(super) fn begin_roll(
        &mut self,
        draft_bytes: u32,
        room: Room,
    ) -> Result<RollJob<D>, AppendError> {
        self.writer
            .begin_roll(draft_bytes, room)
            .inspect_err(|_| self.refuse_batch(Refusal::LogPoisoned))
    }

    /// Takes the new segment into use: all records before it are durable.
    ///
    /// # Errors
    /// The error of the job; what is left of the batch is refused.
    pub(super) fn finish_roll(&mut self, rolled: Rolled<D>) -> Result<(), RollError> {
        let rolled = self.writer.finish_roll(rolled);
        match &rolled {
            Ok(()) => {
                for round in &mut self.cores {
                    round.durable_count = round.settled.places.len();
                }
                self.durable_group_count = self.ended.len();
            }
            Err(RollError::Full { .. }) => self.refuse_batch(Refusal::DiskFull),
            Err(RollError::Refused { .. }) => self.refuse_batch(Refusal::Overloaded),
            Err(RollError::Failed { .. }) => self.refuse_batch(Refusal::LogPoisoned),
        }
        rolled
    }

    /// Ends a roll that failed and is tried again: nothing is refused.
    pub(super) fn put_off_roll(&mut self, rolled: Rolled<D>) {
        let _ = self.writer.finish_roll(rolled);
    }

    /// What to sync; `None`: every record is durable already.
    ///
    /// # Errors
    /// [`AppendError::Poisoned`]; a failed sync is never retried.
    pub(super) fn begin_sync(&mut self) -> Option<Result<SyncTarget<D>, AppendError>> {
        (!self.is_durable()).then(|| self.writer.begin_sync())
    }

    /// Ends the sync under way; a failed one poisons the log.
    pub(super) fn finish_sync(&mut self, synced: bool) {
        match synced {
            true => drop(self.writer.finish_sync()),
            false => self.writer.poison(),
        }
    }

    /// Refuses the records of the round that are not on disk, if there are any.
    pub(super) fn take_back_what_is_not_durable(&mut self) {
        if self.is_durable() {
            return;
        }
        for round in &mut self.cores {
            if round.settled.places.len() > round.durable_count {
                round.settled.places.truncate(round.durable_count);
                if round.settled.refused.is_none() {
                    round.epoch += 1;
                }
                round.settled.refused = Some(Refusal::LogPoisoned);
            }
        }
        for ended in &mut self.ended[self.durable_group_count..] {
            ended.result = Err(Refusal::LogPoisoned);
        }
    }

    /// Whether a writer of the round wants to hear of it only when its record is on disk.
    pub(super) fn must_sync(&self) -> bool {
        self.synced_count > 0
    }

    /// Before a sync: for each core with writers who do not wait for it, which records are
    /// in the log.
    pub(super) fn logged(&mut self) -> impl Iterator<Item = (CoreId, Settled)> + '_ {
        (0..).zip(&mut self.cores).filter_map(|(core, round)| {
            let count = std::mem::take(&mut round.logged_count);
            let logged = || round.settled.places.iter().map(|place| place.lsn).collect();
            (count > 0).then(|| {
                let settled = Settled {
                    logged: logged(),
                    ..Settled::default()
                };
                (CoreId(core), settled)
            })
        })
    }

    /// Before a sync: the groups with a writer who does not wait for it, which are in the log.
    pub(super) fn logged_groups(&self) -> impl Iterator<Item = (AtomicKey, GroupNews)> + '_ {
        let logged = self.ended.iter();
        let logged = logged.filter(|ended| ended.durability == Durability::Logged);
        logged.filter_map(|ended| {
            let last = ended.result.as_ref().ok()?.last()?;
            Some((ended.key, GroupNews::Logged(last.lsn)))
        })
    }

    /// Ends the round for groups: what became of each, to be told behind
    /// [`publish`](Rounds::publish).
    pub(super) fn end_groups(&mut self) -> impl Iterator<Item = (AtomicKey, GroupNews)> + '_ {
        self.durable_group_count = 0;
        let ended = self.ended.drain(..);
        ended.map(|ended| (ended.key, GroupNews::Ended(ended.result)))
    }

    /// Ends the round: what became of the records of each core that had some.
    pub(super) fn publish(&mut self) -> impl Iterator<Item = (CoreId, Settled)> + '_ {
        self.assert_fed();
        self.synced_count = 0;
        let durable = self.writer.durable();
        (0..).zip(&mut self.cores).filter_map(move |(core, round)| {
            round.durable_count = 0;
            round.logged_count = 0;
            let mut settled = std::mem::take(&mut round.settled);
            settled.durable = durable;
            let is_empty = settled.places.is_empty() && settled.refused.is_none();
            (!is_empty).then_some((CoreId(core), settled))
        })
    }

    fn refuse_batch(&mut self, refusal: Refusal) {
        if let Some(group) = self.group.take() {
            self.end_group(&group, Err(refusal));
        }
        if let Some(fed) = self.batch.take() {
            self.refuse(fed.core, refusal);
        }
    }

    fn refuse(&mut self, core: CoreId, refusal: Refusal) {
        let round = &mut self.cores[core.index()];
        round.settled.refused = Some(refusal);
        round.epoch += 1;
    }
}

impl Fed {
    fn next_draft(&self) -> Option<&[u8]> {
        drafts(&self.batch.bytes[self.at..]).next()
    }
}

fn drafts_bytes(bytes: usize) -> u32 {
    // A batch beyond 4 GiB is prepared in part; unsettled bytes are bounded far below.
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
