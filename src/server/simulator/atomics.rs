//! Atomic batches in the simulator: a coordinator as it ships, whose messages cross between
//! cores one step at a time.
//!
//! A batch takes effect in the model when its conclusion leaves for the shards: from there on no
//! answer may rest on less than all of it, and before no answer on any of it.

use std::{collections::BTreeMap, mem};

use super::{
    model::{Change, Stored},
    unix_ms,
    world::{FromLog, World},
};
use crate::{
    id::{CoreId, Id},
    log::{Lsn, draft_fields, drafts},
    op::{AtomicFailure, AtomicKey, AtomicOp, Condition, Durability, Op, Outcome, Version},
    server::coordinator::Action,
    shard::{Conclusion, Vote},
};

/// The atomic batches of one life of the server.
#[derive(Default)]
pub(super) struct Atomics {
    asked: Vec<Asked>,
    /// Which of them has which key.
    keys: BTreeMap<u32, usize>,
    /// Operations that came while an id was held, by the id.
    held: BTreeMap<Id, Vec<usize>>,
    /// Operations without an answer that were judged before a batch which has taken effect
    /// since, and what their document was then.
    overtaken: BTreeMap<usize, Option<Stored>>,
    /// The same for reads, which find what is applied when they are answered: what documents
    /// are while their batch is decided and not applied.
    not_applied: BTreeMap<Id, Option<Stored>>,
    /// The records of each group that was handed to the log.
    groups: Vec<Vec<(Id, Version)>>,
}

struct Asked {
    ops: Vec<AtomicOp>,
    durability: Durability,
    /// What came of each operation, and when it was judged.
    judged: Vec<Option<(Outcome, u64)>>,
    applied: bool,
    answered: bool,
}

/// What a core has for the coordinator.
pub(super) enum ToCoordinator {
    Vote(AtomicKey, Vote),
    Concluded(AtomicKey),
}

impl Atomics {
    /// Notes that a core holds the ids of its part.
    pub(super) fn hold(&mut self, ops: &[AtomicOp]) {
        for atomic in ops {
            self.held.insert(atomic.op.id().clone(), Vec::new());
        }
    }

    /// Notes an operation that must wait for a batch.
    pub(super) fn note_if_held(&mut self, id: &Id, number: usize) {
        if let Some(waiting) = self.held.get_mut(id) {
            waiting.push(number);
        }
    }

    /// What the document of `op` was when that was judged, if a batch has overtaken it.
    pub(super) fn state_of(&mut self, number: usize, op: &Op) -> Option<Option<Stored>> {
        let judged = self.overtaken.remove(&number)?;
        match op {
            Op::Get { id } => self.not_applied.get(id).cloned(),
            _ => Some(judged),
        }
    }

    pub(super) fn check_all_are_answered(&self) {
        for asked in &self.asked {
            assert!(asked.answered, "{:?} has no answer", asked.ops);
        }
    }

    /// Of each group a restart that finds the log up to `last` has all records or none.
    pub(super) fn check_groups(&self, history: &[Change], last: Lsn) {
        for group in &self.groups {
            let lsns = group.iter().filter_map(|(id, version)| {
                let is_its = |change: &&Change| change.id == *id && change.version == *version;
                Some(history.iter().find(is_its)?.lsn)
            });
            let lsns: Vec<Lsn> = lsns.collect();
            let found = lsns.iter().filter(|lsn| **lsn <= last).count();
            assert!(
                found == 0 || found == group.len(),
                "{found} of the {} records {group:?} are left",
                group.len()
            );
        }
    }
}

impl World {
    /// A client asks for a batch, or a core's message to the coordinator arrives.
    pub(super) fn atomic_step(&mut self) {
        match self.random.below(4) {
            0 => self.ask_atomic(),
            _ => self.deliver_to_coordinator(),
        }
    }

    fn ask_atomic(&mut self) {
        let reads_only = self.random.below(3) == 0;
        let count = self.random.below(7);
        let mut ops = Vec::new();
        for _ in 0..count {
            let op = match self.random.below(8) {
                0 => self.counter_op(),
                _ => self.op(),
            };
            let op = match reads_only {
                true => Op::Get {
                    id: op.id().clone(),
                },
                false => op,
            };
            let guard = match op {
                Op::Get { .. } if self.random.below(4) == 0 => self.condition(op.id()),
                _ => None,
            };
            self.model.send(&op);
            ops.push(AtomicOp { op, guard });
        }
        let durability = match self.random.below(4) {
            0 => Durability::Synced,
            1 => Durability::Logged,
            _ => Durability::AsConfigured,
        };
        let number = self.atomics.asked.len();
        self.atomics.asked.push(Asked {
            judged: ops.iter().map(|_| None).collect(),
            ops: ops.clone(),
            durability,
            applied: false,
            answered: false,
        });
        let key = self.server.coordinator.ask(number, ops, durability);
        self.atomics.keys.insert(key.0, number);
        self.run_atomics();
    }

    pub(super) fn deliver_to_coordinator(&mut self) {
        let core = self.some_core();
        match self.server.cores[core].to_coordinator.pop_front() {
            None => return,
            Some(ToCoordinator::Vote(key, vote)) => {
                let core = CoreId(u16::try_from(core).expect("few"));
                self.server.coordinator.vote(key, core, vote);
            }
            Some(ToCoordinator::Concluded(key)) => self.server.coordinator.concluded(key),
        }
        self.run_atomics();
    }

    /// The coordinator hears at once: its core asks the shards for compaction behind that.
    pub(super) fn hear_news(&mut self) {
        for (key, news) in mem::take(&mut self.server.news) {
            self.server.coordinator.hear(key, news);
        }
        self.run_atomics();
    }

    fn run_atomics(&mut self) {
        while let Some(action) = self.server.coordinator.next() {
            match action {
                Action::Prepare(core, key, ops) => {
                    let message = FromLog::Prepare(key, ops);
                    self.server.cores[core.index()].from_log.push_back(message);
                }
                Action::Submit(group) => {
                    let records = drafts(&group.drafts).map(draft_fields);
                    let records = records.map(|record| (record.id.to_id(), record.version));
                    self.atomics.groups.push(records.collect());
                    self.server.groups.push_back(group);
                }
                Action::Conclude(core, key, conclusion) => {
                    if let Conclusion::Applied(_) = conclusion {
                        self.apply_to_model(self.atomics.keys[&key.0]);
                    }
                    let message = FromLog::Conclude(key, conclusion);
                    self.server.cores[core.index()].from_log.push_back(message);
                }
                Action::Answer(number, result) => self.answer_atomic(number, result),
            }
        }
    }

    fn apply_to_model(&mut self, number: usize) {
        let asked = &mut self.atomics.asked[number];
        if mem::replace(&mut asked.applied, true) {
            return;
        }
        let staged = self.server.staged;
        for atomic in &asked.ops {
            let id = atomic.op.id();
            let stored = self.model.documents().get(id);
            for number in &self.unanswered {
                let waits = self.atomics.held[id].contains(number);
                if self.sent[*number].id() == id && !waits {
                    let overtaken = self.atomics.overtaken.entry(*number);
                    overtaken.or_insert_with(|| stored.cloned());
                }
            }
            self.atomics.not_applied.insert(id.clone(), stored.cloned());
        }
        for (atomic, judged) in asked.ops.iter().zip(&asked.judged) {
            let (outcome, at_ms) = judged.as_ref().expect("all parts said yes");
            assert!(!atomic.fails_with(outcome), "{atomic:?}: {outcome:?}");
            self.model.answer(&atomic.op, outcome, staged, *at_ms);
            let found = self.model.version(atomic.op.id());
            assert!(holds(atomic.guard.as_deref(), found), "{atomic:?}");
        }
    }

    fn answer_atomic(&mut self, number: usize, result: Result<Vec<Outcome>, AtomicFailure>) {
        let asked = &mut self.atomics.asked[number];
        assert!(!mem::replace(&mut asked.answered, true));
        let outcomes = match result {
            Ok(outcomes) => outcomes,
            Err(failure) => return self.check_failure(number, &failure),
        };
        assert_eq!(outcomes.len(), asked.ops.len());
        let is_early = asked.durability == Durability::Logged || asked.ops.is_empty();
        assert!(asked.applied || is_early);
        for ((atomic, judged), outcome) in asked.ops.iter().zip(&asked.judged).zip(outcomes) {
            let (judged, _) = judged.as_ref().expect("all parts said yes");
            let Some(position) = outcome.position() else {
                assert_eq!(outcome, *judged);
                continue;
            };
            assert_eq!(outcome, judged.clone().at(position));
            if asked.durability == Durability::Synced {
                self.told_synced = self.told_synced.max(position);
            }
            if let Outcome::Stored { version, .. } | Outcome::Edited { version, .. } = outcome {
                let id = atomic.op.id().clone();
                self.positions.push((id, version, position));
            }
        }
    }

    fn check_failure(&mut self, number: usize, failure: &AtomicFailure) {
        let staged = self.server.staged;
        let AtomicFailure { place, outcome } = failure;
        let asked = &self.atomics.asked[number];
        assert!(!asked.applied, "{:?} took effect", asked.ops);
        let Some(place) = *place else {
            let Outcome::Refused(refusal) = *outcome else {
                panic!("{failure:?} names no operation");
            };
            for atomic in &asked.ops {
                if !matches!(atomic.op, Op::Get { .. }) {
                    self.model.refuse(&atomic.op, refusal, staged);
                }
            }
            return;
        };
        let atomic = &asked.ops[place];
        assert!(atomic.fails_with(outcome), "{atomic:?}: {outcome:?}");
        let id = atomic.op.id();
        if asked.ops[..place].iter().any(|other| other.op.id() == id) {
            return;
        }
        let (judged, at_ms) = asked.judged[place].as_ref().expect("it was judged");
        assert_eq!(judged, outcome);
        if let Op::Get { .. } = atomic.op {
            self.model.expire(id, staged, *at_ms);
            let found = self.model.version(id);
            assert!(!holds(atomic.guard.as_deref(), found), "{atomic:?}");
        } else {
            self.model.answer(&atomic.op, outcome, staged, *at_ms);
        }
    }

    /// A core votes on the parts that it can judge.
    pub(super) fn cast_votes(&mut self, core: usize) {
        let cores = u16::try_from(self.server.cores.len()).expect("few");
        for ((key, _), vote) in self.server.cores[core].shard.take_votes() {
            let key = AtomicKey(u32::try_from(key).expect("few"));
            let asked = &mut self.atomics.asked[self.atomics.keys[&key.0]];
            let is_its = |place: &usize| {
                let placement = asked.ops[*place].op.id().placement();
                CoreId::owner(placement, cores).index() == core
            };
            let places: Vec<usize> = (0..asked.ops.len()).filter(is_its).collect();
            match &vote {
                Vote::Yes(prepared) => {
                    assert_eq!(places.len(), prepared.outcomes.len());
                    for (place, outcome) in places.into_iter().zip(&prepared.outcomes) {
                        asked.judged[place] = Some((outcome.clone(), unix_ms()));
                    }
                }
                Vote::No(failure) => {
                    let place = places[failure.place.expect("one of them failed")];
                    asked.judged[place] = Some((failure.outcome.clone(), unix_ms()));
                }
            }
            let vote = ToCoordinator::Vote(key, vote);
            self.server.cores[core].to_coordinator.push_back(vote);
        }
    }

    /// A core concludes its part, and goes on with what waited for it.
    pub(super) fn conclude(&mut self, core: usize, key: AtomicKey, conclusion: Conclusion) {
        self.release(core, key);
        let mut answers = Vec::new();
        let core = &mut self.server.cores[core];
        core.shard.conclude(key, conclusion, |waiter, outcome| {
            answers.push((waiter, outcome));
        });
        core.to_coordinator.push_back(ToCoordinator::Concluded(key));
        for (waiter, outcome) in answers {
            self.answer(waiter, &outcome);
        }
    }

    /// What waited is judged now, and the time is what it is now.
    fn release(&mut self, core: usize, key: AtomicKey) {
        let cores = u16::try_from(self.server.cores.len()).expect("few");
        let number = self.atomics.keys[&key.0];
        for atomic in &self.atomics.asked[number].ops {
            let id = atomic.op.id();
            if CoreId::owner(id.placement(), cores).index() != core {
                continue;
            }
            self.atomics.not_applied.remove(id);
            for waiting in self.atomics.held.remove(id).unwrap_or_default() {
                self.asked_at_ms[waiting] = unix_ms();
            }
        }
    }
}

fn holds(guard: Option<&Condition>, found: Option<Version>) -> bool {
    guard.is_none_or(|guard| guard.holds(found))
}
