//! What a shard must be told of documents, because it does not know their form.

use crate::op::{Attempt, Edit};

/// What documents mean to the queue of a shard.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whether two documents are equal, so that storing the one over the other changes nothing.
    pub same_document: fn(&[u8], &[u8]) -> bool,
    /// What an edit makes of a document, which has at most so many bytes then.
    pub edit: fn(&Edit, Option<&[u8]>, usize) -> Attempt,
    /// Bytes that a document has after an edit at most.
    pub document_bytes_max: usize,
}
