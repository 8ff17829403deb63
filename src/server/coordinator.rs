//! Atomic batches, on the core that runs the log: whose turn it is, what the owners vote, and
//! how each batch ends.
//!
//! A batch waits until every earlier batch is done with each of its ids. Then the owners prepare
//! their parts and vote; when all say yes, the records of all parts go to the log as one group,
//! and the parts are applied once that is as durable as the policy asks. Otherwise they are
//! dropped, and no record was ever written.
//!
//! Nothing here waits or knows a channel: what is to be done is handed out as [`Action`]s, in
//! order, and whoever does it says what came of it. What stays true:
//! - batches take their place in the queues of all their ids at once, so none waits for a later
//!   one and there is no deadlock;
//! - an id is passed on behind the conclusion of the batch that had it: parcels between two cores
//!   keep their order;
//! - a batch is answered once all its parts are applied, so whatever its client asks then, of
//!   any core, finds all of it. (A client who does not wait for the disk is answered earlier.)

use std::collections::{HashMap, VecDeque};

use slab::Slab;

use super::rounds::{Group, GroupNews};
use crate::{
    id::{CoreId, Id},
    limits::{ATOMIC_BYTES_MAX, ATOMICS_MAX},
    log::Lsn,
    op::{AtomicFailure, AtomicKey, AtomicOp, Durability, Outcome, Refusal},
    shard::{Conclusion, Place, Prepared, Vote},
};

/// The atomic batches of the process. `A` names who asked for one.
pub(super) struct Coordinator<A> {
    cores: u16,
    batches: Slab<Batch<A>>,
    /// For each id, the batches that want it; the first one has it.
    turns: HashMap<Id, VecDeque<usize>>,
    /// Batches that have all their ids and were not begun.
    ready: VecDeque<usize>,
    begun_count: usize,
    actions: VecDeque<Action<A>>,
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Action<A> {
    /// The core prepares its part; its vote goes to [`Coordinator::vote`].
    Prepare(CoreId, AtomicKey, Vec<AtomicOp>),
    /// The log takes the records; its news go to [`Coordinator::hear`].
    Submit(Group),
    /// The core concludes its part, and then [`Coordinator::concluded`].
    Conclude(CoreId, AtomicKey, Conclusion),
    /// Who asked is told what came of it.
    Answer(A, Result<Vec<Outcome>, AtomicFailure>),
}

struct Batch<A> {
    /// `None`: told already.
    asker: Option<A>,
    durability: Durability,
    /// Empty once they are with their owners.
    ops: Vec<AtomicOp>,
    ids: Vec<Id>,
    /// Of how many ids it is not the turn of this batch yet.
    missing_ids: usize,
    parts: Vec<Part>,
    /// Votes or conclusions that have not come.
    missing: usize,
    /// Once all parts can be applied: in the order of the operations.
    outcomes: Vec<Outcome>,
}

/// What one core does of a batch.
struct Part {
    core: CoreId,
    /// The places of its operations.
    places: Vec<usize>,
    vote: Option<Vote>,
    /// How many records it has.
    count: usize,
}

impl<A: Copy> Coordinator<A> {
    /// Of the cores `0..cores`.
    pub(super) fn new(cores: u16) -> Coordinator<A> {
        Coordinator {
            cores,
            batches: Slab::new(),
            turns: HashMap::new(),
            ready: VecDeque::new(),
            begun_count: 0,
            actions: VecDeque::new(),
        }
    }

    /// Takes in a batch, and says how it is named until it ends.
    pub(super) fn ask(
        &mut self,
        asker: A,
        ops: Vec<AtomicOp>,
        durability: Durability,
    ) -> AtomicKey {
        let mut ids: Vec<Id> = ops.iter().map(|atomic| atomic.op.id().clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        let entry = self.batches.vacant_entry();
        let number = entry.key();
        let mut missing_ids = 0;
        for id in &ids {
            let turns = self.turns.entry(id.clone()).or_default();
            missing_ids += usize::from(!turns.is_empty());
            turns.push_back(number);
        }
        entry.insert(Batch {
            asker: Some(asker),
            durability,
            ops,
            ids,
            missing_ids,
            parts: Vec::new(),
            missing: 0,
            outcomes: Vec::new(),
        });
        if missing_ids == 0 {
            self.ready.push_back(number);
        }
        key_of(number)
    }

    /// What is to be done next, until there is nothing.
    pub(super) fn next(&mut self) -> Option<Action<A>> {
        while self.actions.is_empty() && self.begun_count < ATOMICS_MAX {
            let number = self.ready.pop_front()?;
            self.begin(number);
        }
        self.actions.pop_front()
    }

    /// Takes in the vote of `core`.
    pub(super) fn vote(&mut self, key: AtomicKey, core: CoreId, vote: Vote) {
        let batch = &mut self.batches[index(key)];
        let part = batch.parts.iter_mut().find(|part| part.core == core);
        let earlier = part.expect("its part was prepared").vote.replace(vote);
        assert!(earlier.is_none(), "a part is voted on once");
        batch.missing -= 1;
        if batch.missing == 0 {
            self.decide(index(key));
        }
    }

    /// Takes in what became of a group of records.
    pub(super) fn hear(&mut self, key: AtomicKey, news: GroupNews) {
        let number = index(key);
        let batch = &mut self.batches[number];
        match news {
            GroupNews::Logged(last) => {
                batch.stand_at(last);
                let outcomes = batch.outcomes.clone();
                self.answer(number, Ok(outcomes));
            }
            GroupNews::Ended(Ok(places)) => {
                if let Some(last) = places.last() {
                    batch.stand_at(last.lsn);
                }
                self.apply(number, places);
            }
            GroupNews::Ended(Err(refusal)) => {
                let outcome = Outcome::Refused(refusal);
                self.fail(
                    number,
                    AtomicFailure {
                        place: None,
                        outcome,
                    },
                );
            }
        }
    }

    /// Takes in that a core has concluded its part.
    pub(super) fn concluded(&mut self, key: AtomicKey) {
        let number = index(key);
        self.batches[number].missing -= 1;
        self.end_if_concluded(number);
    }

    /// Has the owners prepare their parts.
    fn begin(&mut self, number: usize) {
        self.begun_count += 1;
        let key = key_of(number);
        let batch = &mut self.batches[number];
        let mut shares: Vec<(Vec<usize>, Vec<AtomicOp>)> = Vec::new();
        shares.resize_with(usize::from(self.cores), Default::default);
        for (place, atomic) in std::mem::take(&mut batch.ops).into_iter().enumerate() {
            let owner = CoreId::owner(atomic.op.id().placement(), self.cores);
            let (places, ops) = &mut shares[owner.index()];
            places.push(place);
            ops.push(atomic);
        }
        for (core, (places, ops)) in (0..).map(CoreId).zip(shares) {
            if ops.is_empty() {
                continue;
            }
            batch.missing += 1;
            batch.parts.push(Part {
                core,
                places,
                vote: None,
                count: 0,
            });
            self.actions.push_back(Action::Prepare(core, key, ops));
        }
        if batch.missing == 0 {
            self.decide(number);
        }
    }

    /// All parts are voted on.
    fn decide(&mut self, number: usize) {
        match self.batches[number].bring_together() {
            Err(failure) => self.fail(number, failure),
            Ok(drafts) => {
                let batch = &self.batches[number];
                let is_write = batch.outcomes.iter().any(|o| o.position().is_some());
                let is_synced = batch.durability == Durability::Synced && is_write;
                if drafts.is_empty() && !is_synced {
                    // Every part rests on what is settled.
                    return self.apply(number, Vec::new());
                }
                self.actions.push_back(Action::Submit(Group {
                    key: key_of(number),
                    drafts,
                    durability: batch.durability,
                }));
            }
        }
    }

    fn apply(&mut self, number: usize, places: Vec<Place>) {
        let mut places = places.into_iter();
        self.conclude(number, |part| {
            Conclusion::Applied(places.by_ref().take(part.count).collect())
        });
        assert!(places.next().is_none(), "each record is of a part");
        self.end_if_concluded(number);
    }

    /// Nothing of the batch takes effect.
    fn fail(&mut self, number: usize, failure: AtomicFailure) {
        self.conclude(number, |_| Conclusion::Dropped);
        self.answer(number, Err(failure));
        self.end_if_concluded(number);
    }

    /// Has every part concluded, and passes the ids on.
    fn conclude(&mut self, number: usize, mut conclusion: impl FnMut(&Part) -> Conclusion) {
        let key = key_of(number);
        let batch = &mut self.batches[number];
        batch.missing = batch.parts.len();
        for part in &batch.parts {
            let action = Action::Conclude(part.core, key, conclusion(part));
            self.actions.push_back(action);
        }
        for id in std::mem::take(&mut batch.ids) {
            let turns = self.turns.get_mut(&id).expect("the batch has the id");
            assert_eq!(turns.pop_front(), Some(number));
            match turns.front() {
                None => drop(self.turns.remove(&id)),
                Some(&next) => {
                    let waiting = &mut self.batches[next];
                    waiting.missing_ids -= 1;
                    if waiting.missing_ids == 0 {
                        self.ready.push_back(next);
                    }
                }
            }
        }
    }

    fn end_if_concluded(&mut self, number: usize) {
        let batch = &mut self.batches[number];
        if batch.missing > 0 {
            return;
        }
        let outcomes = std::mem::take(&mut batch.outcomes);
        self.answer(number, Ok(outcomes));
        self.batches.remove(number);
        self.begun_count -= 1;
    }

    /// Tells who asked, unless that was done.
    fn answer(&mut self, number: usize, result: Result<Vec<Outcome>, AtomicFailure>) {
        if let Some(asker) = self.batches[number].asker.take() {
            self.actions.push_back(Action::Answer(asker, result));
        }
    }
}

impl<A> Batch<A> {
    /// Takes the votes together: the outcomes, and the records of all parts; or the first
    /// failure in the order of the operations.
    fn bring_together(&mut self) -> Result<Vec<u8>, AtomicFailure> {
        let mut outcomes: Vec<(usize, Outcome)> = Vec::new();
        let mut failed: Option<AtomicFailure> = None;
        let mut drafts = Vec::new();
        for part in &mut self.parts {
            match part.vote.take().expect("every part is voted on") {
                Vote::Yes(Prepared {
                    outcomes: of_part,
                    drafts: of_log,
                    count,
                }) => {
                    part.count = count;
                    outcomes.extend(part.places.iter().copied().zip(of_part));
                    drafts.extend_from_slice(&of_log);
                }
                Vote::No(failure) => {
                    let place = failure.place.map(|place| part.places[place]);
                    if failed.as_ref().is_none_or(|first| place < first.place) {
                        failed = Some(AtomicFailure { place, ..failure });
                    }
                }
            }
        }
        if let Some(failure) = failed {
            return Err(failure);
        }
        if drafts.len() > ATOMIC_BYTES_MAX {
            return Err(AtomicFailure {
                place: None,
                outcome: Outcome::Refused(Refusal::AtomicTooLarge),
            });
        }
        outcomes.sort_unstable_by_key(|(place, _)| *place);
        let mut document_bytes = 0;
        for (place, outcome) in outcomes {
            let outcome = outcome.within_bound(&mut document_bytes);
            if let Outcome::Refused(_) = outcome {
                let place = Some(place);
                return Err(AtomicFailure { place, outcome });
            }
            self.outcomes.push(outcome);
        }
        Ok(drafts)
    }

    /// Says of its writes where they stand: at its last record.
    fn stand_at(&mut self, last: Lsn) {
        let outcomes = std::mem::take(&mut self.outcomes).into_iter();
        self.outcomes = outcomes.map(|outcome| outcome.at(last)).collect();
    }
}

fn index(key: AtomicKey) -> usize {
    usize::try_from(key.0).expect("usize has at least 32 bits on the platforms of io_uring")
}

fn key_of(number: usize) -> AtomicKey {
    AtomicKey(u32::try_from(number).expect("requests about many documents are bounded"))
}

#[cfg(test)]
mod tests;
