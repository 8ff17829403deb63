//! Edits: changes of a document that depend on what it is.
//!
//! Plain data. What an edit makes of a document is up to whoever knows the form
//! of documents; the owner of the document says what it is at that moment.

use bytes::Bytes;

use super::Expires;

/// A change of a document that depends on what the document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Puts another document in the place of this one, or where there is none.
    Replace {
        /// Valid JSON without insignificant white space.
        document: Bytes,
        /// When it ends by itself; other edits leave that as it is.
        expires: Expires,
    },
    /// Sets and removes members of objects (RFC 7396).
    Merge {
        /// Valid JSON without insignificant white space.
        patch: Bytes,
        /// What comes of it if there is no document.
        absent: Absent,
    },
    /// Takes steps in order, all of them or none (RFC 6902).
    Patch(Box<[PatchStep]>),
    /// Adds to an integer in the document.
    Increment(Box<Increment>),
}

impl Edit {
    /// Bytes of the values that it brings along.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        match self {
            Edit::Replace { document, .. } => document.len(),
            Edit::Merge { patch, .. } => patch.len(),
            Edit::Patch(steps) => steps.iter().map(PatchStep::payload_bytes).sum(),
            Edit::Increment(_) => 0,
        }
    }
}

impl PatchStep {
    fn payload_bytes(&self) -> usize {
        match self {
            PatchStep::Add { value, .. }
            | PatchStep::Replace { value, .. }
            | PatchStep::Test { value, .. } => value.len(),
            PatchStep::Remove { .. } | PatchStep::Move { .. } | PatchStep::Copy { .. } => 0,
        }
    }
}

/// What of its result an edit is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// What the kind of the edit has to say: the sum of an increment, else nothing.
    Answer,
    /// The document as it is stored.
    Document,
}

/// What comes of a merge if there is no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Nothing: the document is missing.
    Missing,
    /// A document that has what the patch sets.
    Create,
}

/// One operation of a JSON patch (RFC 6902, section 4); values are valid JSON without
/// insignificant white space.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each name is that of the RFC")]
pub enum PatchStep {
    Add { path: Pointer, value: Bytes },
    Remove { path: Pointer },
    Replace { path: Pointer, value: Bytes },
    Move { from: Pointer, path: Pointer },
    Copy { from: Pointer, path: Pointer },
    Test { path: Pointer, value: Bytes },
}

/// The place of a value in a document (RFC 6901): the keys and indexes that lead to it,
/// unescaped; none: the whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointer(pub Box<[Box<str>]>);

/// An addition to an integer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Increment {
    /// Where the integer is.
    pub pointer: Pointer,
    /// What is added to it.
    pub by: i64,
    /// What it was if it is not there yet; `None`: it must be there.
    pub default: Option<i64>,
}

/// What an edit makes of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The document after it.
    pub document: Bytes,
    /// What of it is answered.
    pub shown: Bytes,
}

/// What came of trying an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What the edit makes of the document.
    pub result: EditResult,
    /// What it cost, in bytes that it went over.
    pub work_bytes: usize,
}

/// What comes of an edit; `Ok(None)`: it needs a document, and there is none.
pub type EditResult = Result<Option<Edited>, EditRefusal>;

/// Why an edit has no result; the document stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditRefusal {
    /// A test of a patch does not hold.
    TestFailed {
        /// Which step, from 0.
        step: u32,
    },
    /// The document has no place for a step of a patch.
    NoTarget {
        /// Which step, from 0.
        step: u32,
    },
    /// The document would nest too deep.
    TooDeep {
        /// After which step, from 0.
        step: u32,
    },
    /// The document has nothing at the pointer.
    NoSuchPart,
    /// The value would be a member of something that is not an object, or is not there.
    NoSuchParent,
    /// The value at the pointer is not an integer of 64 bits.
    NotAnInteger,
    /// The sum has more than 64 bits.
    Overflow,
    /// The document would be too large, or the edit costs too much.
    TooLarge,
}
