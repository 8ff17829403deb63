//! The bound on what one request may cost, where that depends on documents.

use crate::op::EditRefusal;

/// Work in bytes that are gone over.
pub(super) struct Work {
    bound: usize,
    spent: usize,
}

/// Something costs more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

impl Work {
    /// Work on no more than `bound` bytes.
    pub(super) fn up_to(bound: usize) -> Work {
        Work { bound, spent: 0 }
    }

    /// Takes the cost of going over `bytes`.
    ///
    /// # Errors
    /// [`TooMuch`] when the sum is beyond the bound.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), TooMuch> {
        match self.bound - self.spent {
            left if left < bytes => Err(TooMuch),
            _ => {
                self.spent += bytes;
                Ok(())
            }
        }
    }

    /// What was gone over.
    pub(super) fn spent(&self) -> usize {
        self.spent
    }
}

impl From<TooMuch> for EditRefusal {
    fn from(_: TooMuch) -> EditRefusal {
        EditRefusal::TooLarge
    }
}
