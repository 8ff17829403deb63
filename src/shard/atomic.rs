//! A shard's part of an atomic batch: prepared, voted on, and then applied or dropped.
//!
//! Whoever brings the parts of a batch together ends what [`Shard::prepare`] began with
//! [`Shard::conclude`], and lets one batch at a time have an id. What stays true:
//! - from its preparation to its conclusion a part holds its ids: other operations on them
//!   wait, and then find all of it or nothing;
//! - it is judged once no write of its ids is under way, so on durable state alone, and
//!   nothing that the log refuses meanwhile takes its vote back;
//! - nobody sees what it does before it is applied, which is when all its records, and those
//!   of the other parts, are as durable as the policy asks.

use std::{collections::VecDeque, mem};

use hashbrown::HashMap;

use super::{
    Place, Shard,
    queue::{Change, Queued, holds},
};
use crate::{
    id::Id,
    limits::{ATOMIC_BYTES_MAX, EDITS_WORK_BYTES_MAX},
    op::{
        AtomicFailure, AtomicKey, AtomicOp, Durability, EditRefusal, Lsn, Op, Outcome, Refusal,
        Version,
    },
};

/// What a shard says of its part.
#[derive(Debug)]
pub enum Vote {
    /// It can be applied.
    Yes(Prepared),
    /// An operation failed; its place is that in the part.
    No(AtomicFailure),
}

/// What a part does once it is applied.
#[derive(Debug)]
pub struct Prepared {
    /// What comes of its operations, in their order; the position of a write is not known yet.
    pub outcomes: Vec<Outcome>,
    /// Its records as drafts, one after the other.
    pub drafts: Vec<u8>,
    /// How many these are.
    pub count: usize,
}

/// How a part ends.
#[derive(Debug)]
pub enum Conclusion {
    /// Its records lie here, as durable as the policy asks.
    Applied(Vec<Place>),
    /// Nothing of it takes effect.
    Dropped,
}

/// The parts of a shard, and what waits for their ids.
pub(super) struct Parts<W> {
    unjudged: Vec<Unjudged<W>>,
    judged: Vec<Judged>,
    /// For each id that a part holds, the operations on it that came later.
    held: HashMap<Id, VecDeque<Deferred<W>>, fxhash::FxBuildHasher>,
    /// Bytes of documents that are kept here.
    bytes: usize,
}

/// A part that waits for writes of its ids.
struct Unjudged<W> {
    key: AtomicKey,
    ops: Vec<AtomicOp>,
    ids: Vec<Id>,
    /// Of the ids before this one no write is under way.
    settled: usize,
    waiter: W,
}

/// A part that has its vote.
struct Judged {
    key: AtomicKey,
    ids: Vec<Id>,
    writes: Vec<Write>,
    bytes: usize,
}

struct Write {
    id: Id,
    version: Version,
    change: Change,
}

struct Deferred<W> {
    op: Op,
    durability: Durability,
    waiter: W,
}

impl<W> Default for Parts<W> {
    fn default() -> Parts<W> {
        Parts {
            unjudged: Vec::new(),
            judged: Vec::new(),
            held: HashMap::default(),
            bytes: 0,
        }
    }
}

impl<W> Parts<W> {
    /// Whether a part holds `id`. Costs a look at a number while there is none.
    pub(super) fn hold(&self, id: &Id) -> bool {
        !self.held.is_empty() && self.held.contains_key(id)
    }

    /// Bytes of documents that wait here.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps an operation until its id is free.
    pub(super) fn defer(&mut self, op: Op, durability: Durability, waiter: W) {
        self.bytes += payload_bytes(&op);
        let held = self.held.get_mut(op.id()).expect("a part holds the id");
        held.push_back(Deferred {
            op,
            durability,
            waiter,
        });
    }
}

impl<W: Copy> Shard<W> {
    /// Takes the ids of `ops` and holds them until the part is concluded.
    ///
    /// # Panics
    /// If another part holds one of them.
    pub fn prepare(&mut self, key: AtomicKey, ops: Vec<AtomicOp>, waiter: W) {
        let mut ids: Vec<Id> = ops.iter().map(|atomic| atomic.op.id().clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in &ids {
            let earlier = self.parts.held.insert(id.clone(), VecDeque::new());
            assert!(earlier.is_none(), "batches take turns at an id");
        }
        self.parts.unjudged.push(Unjudged {
            key,
            ops,
            ids,
            settled: 0,
            waiter,
        });
    }

    /// The votes that can be given now, each with who waits for it.
    ///
    /// Look again after each preparation and settlement; costs nothing when no part is left.
    pub fn take_votes(&mut self) -> Vec<(W, Vote)> {
        let mut votes = Vec::new();
        for mut part in mem::take(&mut self.parts.unjudged) {
            match self.vote(&mut part) {
                Some(vote) => votes.push((part.waiter, vote)),
                None => self.parts.unjudged.push(part),
            }
        }
        votes
    }

    /// Ends the part: applies it or drops it, and goes on with what waited for its ids.
    ///
    /// # Panics
    /// If the part is not judged, or the log has not one place for each of its records.
    pub fn conclude(
        &mut self,
        key: AtomicKey,
        conclusion: Conclusion,
        mut answer: impl FnMut(W, Outcome),
    ) {
        let at = self.parts.judged.iter().position(|part| part.key == key);
        let at = at.expect("a part is concluded once, after its vote");
        let part = self.parts.judged.swap_remove(at);
        if let Conclusion::Applied(places) = conclusion {
            assert_eq!(places.len(), part.writes.len(), "each record has its place");
            for (place, write) in places.into_iter().zip(&part.writes) {
                self.apply(&write.id, write.version, &write.change, place);
            }
        }
        self.parts.bytes -= part.bytes;
        for id in &part.ids {
            let deferred = self.parts.held.remove(id).expect("the part holds its ids");
            for deferred in deferred {
                self.parts.bytes -= payload_bytes(&deferred.op);
                let Deferred {
                    op,
                    durability,
                    waiter,
                } = deferred;
                if let Some(outcome) = self.execute_as(op, durability, waiter) {
                    answer(waiter, outcome);
                }
            }
        }
    }

    /// Judges the part, unless it has to wait.
    fn vote(&mut self, part: &mut Unjudged<W>) -> Option<Vote> {
        let judgement = loop {
            let left = part.ids[part.settled..].iter();
            part.settled += left.take_while(|id| !self.is_queued(id)).count();
            if part.settled < part.ids.len() {
                return None;
            }
            // That a document has expired is on disk before anything rests on it.
            if self.remove_due(&part.ids) {
                part.settled = 0;
                return None;
            }
            let judgement = self.judge(&part.ops);
            // A moment that came meanwhile may have been met by one operation and not by another.
            if !self.has_due(&part.ids) {
                break judgement;
            }
        };
        let (vote, writes, bytes) = match judgement {
            Ok((prepared, writes, bytes)) => (Vote::Yes(prepared), writes, bytes),
            Err(failure) => (Vote::No(failure), Vec::new(), 0),
        };
        self.parts.bytes += bytes;
        self.parts.judged.push(Judged {
            key: part.key,
            ids: mem::take(&mut part.ids),
            writes,
            bytes,
        });
        Some(vote)
    }

    /// Removes documents whose time has come; whether there were some.
    fn remove_due(&mut self, ids: &[Id]) -> bool {
        if !self.has_due(ids) {
            return false;
        }
        let now_ms = self.now_ms();
        for id in ids {
            let entry = self.index.get(id);
            let expiry = entry.and_then(|entry| entry.expiry());
            if expiry.is_some_and(|expiry| expiry.has_come_at(now_ms)) {
                self.remove_expired(id.clone());
            }
        }
        true
    }

    /// Whether the time of a document has come; while the log takes nothing, the clock alone
    /// decides on it.
    fn has_due(&self, ids: &[Id]) -> bool {
        let now_ms = self.now_ms();
        let has_come = |id: &Id| {
            let expiry = self.index.get(id).and_then(|entry| entry.expiry());
            expiry.is_some_and(|expiry| expiry.has_come_at(now_ms))
        };
        ids.iter().any(has_come) && !self.sweep.is_paused(now_ms)
    }

    /// What the operations come to, one after the other, and the writes that make it so.
    ///
    /// They run as any others, on a shard that has the same documents and a queue of its own.
    fn judge(&mut self, ops: &[AtomicOp]) -> Result<(Prepared, Vec<Write>, usize), AtomicFailure> {
        let bytes_before = self.unsettled_bytes();
        let mut trial = Shard::new(self.rules).with_clock(self.clock);
        trial.index = mem::take(&mut self.index);
        trial.last_version = self.last_version;
        trial.position = self.position;
        trial.unsettled_bytes = bytes_before;
        let outcomes = trial.run(ops);
        self.index = mem::take(&mut trial.index);
        self.last_version = trial.last_version;
        self.edit_work_bytes += trial.edit_work_bytes;
        let prepared = Prepared {
            outcomes: outcomes?,
            count: usize::try_from(trial.draft_count).expect("usize has 64 bits"),
            drafts: trial.drafts,
        };
        let writes = trial.queue.into_iter().filter_map(|queued| match queued {
            Queued::Write {
                id,
                version,
                change,
                ..
            } => Some(Write {
                id,
                version,
                change,
            }),
            Queued::Read { .. } | Queued::Answer { .. } => None,
        });
        let bytes = trial.unsettled_bytes - bytes_before;
        Ok((prepared, writes.collect(), bytes))
    }
}

/// A trial: nobody waits for an answer.
impl Shard<()> {
    fn run(&mut self, ops: &[AtomicOp]) -> Result<Vec<Outcome>, AtomicFailure> {
        let mut outcomes = Vec::with_capacity(ops.len());
        let mut document_bytes = 0;
        for (place, atomic) in ops.iter().enumerate() {
            let mut outcome = match &atomic.op {
                Op::Get { id } => self.newest(id, atomic),
                Op::Edit { .. } if self.edit_work_bytes > EDITS_WORK_BYTES_MAX => {
                    Outcome::Refused(Refusal::Edit(EditRefusal::TooLarge))
                }
                op => {
                    let outcome = self.execute(op.clone(), ());
                    outcome.unwrap_or_else(|| self.last_outcome())
                }
            };
            if self.drafts.len() > ATOMIC_BYTES_MAX {
                outcome = Outcome::Refused(Refusal::AtomicTooLarge);
            }
            let outcome = outcome.within_bound(&mut document_bytes);
            if atomic.fails_with(&outcome) {
                let place = Some(place);
                return Err(AtomicFailure { place, outcome });
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// What a read finds, the writes before it included.
    fn newest(&mut self, id: &Id, atomic: &AtomicOp) -> Outcome {
        let now_ms = self.now_ms();
        let outcome = match self.is_queued(id) {
            true => {
                // What was written before may have expired by now.
                self.current(id);
                match self.latest[id].state.as_ref() {
                    Some(held) => held.found_at(now_ms),
                    None => Outcome::Missing,
                }
            }
            false => self.read_at(id, now_ms),
        };
        let version = match outcome {
            Outcome::Found { version, .. } => Some(version),
            _ => None,
        };
        match holds(atomic.guard.as_deref(), version) {
            true => outcome,
            false => Outcome::ConditionFailed,
        }
    }

    /// What comes of the operation that was queued last.
    fn last_outcome(&self) -> Outcome {
        match self.queue.back() {
            Some(Queued::Write {
                version, change, ..
            }) => change.outcome(*version, Lsn::NONE),
            Some(Queued::Answer { outcome, .. }) => outcome.clone(),
            Some(Queued::Read { .. }) | None => unreachable!("the operation is queued"),
        }
    }
}

/// Bytes that an operation brings along.
fn payload_bytes(op: &Op) -> usize {
    match op {
        Op::Get { .. } | Op::Delete { .. } => 0,
        Op::Put { document, .. } => document.len(),
        Op::Edit { edit, .. } => edit.payload_bytes(),
    }
}

#[cfg(test)]
mod tests;
