//! What a core does for atomic batches: its part of them, and, where the log runs, what the
//! [`coordinator`](super::coordinator) wants done.

use std::time::Instant;

use super::{
    coordinator::Action,
    core::{Caller, Core, Waiter},
    share::Asker,
};
use crate::{
    id::CoreId,
    mesh::{Answer, Ask},
    op::{AtomicKey, AtomicOp, Durability},
    shard::Conclusion,
};

impl Core {
    /// Has the batch of `gather` take effect, whole or not at all.
    pub(super) fn ask_atomic(&mut self, gather: usize, ops: Vec<AtomicOp>, durability: Durability) {
        let log_core = CoreId(self.config.log_core);
        match log_core == self.id {
            true => {
                self.tally().local.add_count(ops.len());
                let asker = Asker::Gather(gather);
                let _ = self.coordinator.ask(asker, ops, durability);
            }
            false => {
                self.tally().forwarded.add_count(ops.len());
                let ask = Ask::Atomic(ops, durability);
                self.call(log_core, ask, Caller::Gather(gather));
            }
        }
    }

    /// Does what the coordinator has to be done; whether there was something.
    pub(super) fn run_atomics(&mut self) -> bool {
        let mut any = false;
        while let Some(action) = self.coordinator.next() {
            any = true;
            match action {
                Action::Prepare(core, key, ops) if core == self.id => {
                    self.prepare(key, ops, Waiter::Coordinator(key));
                }
                Action::Prepare(core, key, ops) => {
                    self.call(core, Ask::Prepare(key, ops), Caller::Coordinator(key));
                }
                Action::Submit(group) => {
                    let log = self.log.as_ref();
                    log.expect("the log runs here").submit_group(group);
                }
                Action::Conclude(core, key, conclusion) if core == self.id => {
                    self.conclude(key, conclusion);
                    self.coordinator.concluded(key);
                }
                Action::Conclude(core, key, conclusion) => {
                    let ask = Ask::Conclude(key, conclusion);
                    self.call(core, ask, Caller::Coordinator(key));
                }
                Action::Answer(Asker::Gather(gather), result) => self.end_atomic(gather, result),
                Action::Answer(Asker::Peer(peer, call), result) => {
                    self.reply(peer, call, Answer::Atomic(result));
                }
            }
        }
        any
    }

    /// Prepares this core's part of a batch.
    pub(super) fn prepare(&mut self, key: AtomicKey, ops: Vec<AtomicOp>, waiter: Waiter) {
        let began = Instant::now();
        self.shard.prepare(key, ops, waiter);
        self.charge_anyone(began);
        self.cast_votes();
    }

    /// Gives the votes that can be given.
    pub(super) fn cast_votes(&mut self) {
        for (waiter, vote) in self.shard.take_votes() {
            match waiter {
                Waiter::Coordinator(key) => self.coordinator.vote(key, self.id, vote),
                Waiter::Peer(peer, call) => self.reply(peer, call, Answer::Vote(vote)),
                Waiter::Seat(_) | Waiter::Share { .. } => {
                    unreachable!("only a coordinator has parts prepared")
                }
            }
        }
    }

    /// Applies or drops this core's part, and answers everyone who waited for it.
    pub(super) fn conclude(&mut self, key: AtomicKey, conclusion: Conclusion) {
        let began = Instant::now();
        self.answer_all(|shard, answers| {
            shard.conclude(key, conclusion, |waiter, outcome| {
                answers.give(waiter, outcome);
            });
        });
        self.charge_anyone(began);
    }
}
