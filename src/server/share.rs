//! One core's share of a request about many documents: operations on its shard,
//! whose outcomes are answered together.

use super::core::{Core, Waiter};
use crate::{
    id::CoreId,
    limits::EDITS_WORK_BYTES_MAX,
    mesh::{Answer, CallId},
    op::{Durability, EditRefusal, Op, Outcome, Refusal},
};

/// Operations that this core executes for one request.
pub struct Share {
    asker: Asker,
    /// In the order of the operations; `None`: not known yet.
    outcomes: Vec<Option<Outcome>>,
    missing: usize,
    /// Bytes of the documents among the outcomes.
    document_bytes: usize,
}

/// Who is told the outcomes of a [`Share`].
#[derive(Clone, Copy, Debug)]
pub enum Asker {
    /// A gather of this core, by its index.
    Gather(usize),
    /// A call of another core.
    Peer(CoreId, CallId),
}

impl Share {
    /// Takes in an outcome; when it is the last, whom to tell what.
    pub fn finish_one(&mut self, index: usize, outcome: Outcome) -> Option<(Asker, Vec<Outcome>)> {
        let outcome = outcome.within_bound(&mut self.document_bytes);
        let earlier = self.outcomes[index].replace(outcome);
        assert!(earlier.is_none(), "an operation has one outcome");
        self.missing -= 1;
        if self.missing > 0 {
            return None;
        }
        let outcomes = std::mem::take(&mut self.outcomes).into_iter();
        Some((self.asker, outcomes.flatten().collect()))
    }
}

impl Core {
    /// Executes `ops`, in order, and tells `asker` once all outcomes are known.
    pub(super) fn begin_share(&mut self, ops: Vec<Op>, durability: Durability, asker: Asker) {
        assert!(!ops.is_empty(), "only cores that own something are asked");
        let share = self.shares.insert(Share {
            asker,
            outcomes: vec![None; ops.len()],
            missing: ops.len(),
            document_bytes: 0,
        });
        let work_before = self.shard.edit_work_bytes();
        for (index, op) in ops.into_iter().enumerate() {
            let waiter = Waiter::Share { share, index };
            let work_bytes = self.shard.edit_work_bytes() - work_before;
            let executed = match op {
                // Each has its bound; together they must not keep the core from all others.
                Op::Edit { .. } if work_bytes > EDITS_WORK_BYTES_MAX => {
                    Some(Outcome::Refused(Refusal::Edit(EditRefusal::TooLarge)))
                }
                op => self.shard.execute_as(op, durability, waiter),
            };
            if let Some(outcome) = executed
                && let Some((asker, outcomes)) = self.shares[share].finish_one(index, outcome)
            {
                self.shares.remove(share);
                self.tell(asker, outcomes);
            }
        }
    }

    /// Tells the outcomes of a share to the one who asked.
    pub(super) fn tell(&mut self, asker: Asker, outcomes: Vec<Outcome>) {
        match asker {
            Asker::Gather(gather) => self.on_outcomes(gather, self.id, outcomes),
            Asker::Peer(peer, call) => self.reply(peer, call, Answer::Outcomes(outcomes)),
        }
    }
}
