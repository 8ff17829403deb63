//! The bound on what one edit may cost.

use crate::{limits::EDIT_WORK_BYTES_MAX, op::EditRefusal};

/// What an edit may still cost, in bytes that it goes over.
pub(super) struct Work {
    left: usize,
}

/// An edit costs more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

impl Work {
    /// The work that an edit of a document of so many bytes may be.
    pub(super) fn on(document_bytes: usize) -> Work {
        Work {
            left: EDIT_WORK_BYTES_MAX.max(32 * document_bytes),
        }
    }

    /// Takes the cost of going over `bytes`.
    ///
    /// # Errors
    /// [`TooMuch`] when that is more than is left.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), TooMuch> {
        self.left = self.left.checked_sub(bytes).ok_or(TooMuch)?;
        Ok(())
    }
}

impl From<TooMuch> for EditRefusal {
    fn from(_: TooMuch) -> EditRefusal {
        EditRefusal::TooLarge
    }
}
