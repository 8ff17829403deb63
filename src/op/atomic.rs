//! Operations that take effect together, or not at all.

use super::{Condition, Op, Outcome};

/// One operation of an atomic batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtomicOp {
    /// What it does.
    pub op: Op,
    /// What must hold of the document that it reads; a write has its own condition.
    pub guard: Option<Box<Condition>>,
}

/// Names an atomic batch that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtomicKey(pub u32);

/// Why nothing of an atomic batch took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtomicFailure {
    /// The place of the operation that failed; `None`: the batch as a whole did.
    pub place: Option<usize>,
    /// What came of it.
    pub outcome: Outcome,
}

impl AtomicOp {
    /// Whether `outcome` is one with which nothing of the batch may take effect. That a read
    /// finds nothing is none.
    #[must_use]
    pub fn fails_with(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::ConditionFailed | Outcome::Refused(_) => true,
            Outcome::Missing => !matches!(self.op, Op::Get { .. }),
            Outcome::Found { .. }
            | Outcome::Stored { .. }
            | Outcome::Edited { .. }
            | Outcome::Deleted { .. } => false,
        }
    }
}
