//! What a client can ask of a document, and what can come of it.
//!
//! [`Op`] and [`Outcome`] are plain owned values: no socket, no JSON tree, no
//! file handle. They cross cores, are built by hand in tests, and are replayed
//! by the simulator.

mod atomic;
mod edit;
mod expiry;

use std::fmt;

use bytes::Bytes;

pub use atomic::{AtomicFailure, AtomicKey, AtomicOp};
pub use edit::{
    Absent, Attempt, Edit, EditRefusal, EditResult, Edited, Increment, PatchStep, Pointer, Shows,
};
pub use expiry::{Expires, Expiry, Ttl};

use crate::{id::Id, limits::RESPONSE_BYTES_MAX};

/// The version of a document: it grows with every stored change of that
/// document and never comes back, also not after delete and re-create.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// A log sequence number: 1 for the first record ever, growing by exactly 1.
///
/// As a watermark, `Lsn(0)` means "no record yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The watermark before the first record.
    pub const NONE: Lsn = Lsn(0);

    /// The number that follows.
    ///
    /// # Panics
    /// After 2^64 records, which no disk holds.
    #[must_use]
    pub fn next(self) -> Lsn {
        Lsn(self.0.checked_add(1).expect("2^64 records fit no disk"))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When a write may be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// As the server is configured.
    #[default]
    AsConfigured,
    /// Once its record is on disk.
    Synced,
    /// Once its record is in the log, whether or not that is on disk.
    Logged,
}

/// Which versions a precondition names (RFC 9110, section 13.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// `*`: any version, so the document exists.
    Any,
    /// One of these versions.
    Versions(Box<[Version]>),
}

impl Match {
    /// Whether `current` (`None`: no such document) is one of the named versions.
    #[must_use]
    pub fn includes(&self, current: Option<Version>) -> bool {
        match (self, current) {
            (_, None) => false,
            (Match::Any, Some(_)) => true,
            (Match::Versions(versions), Some(version)) => versions.contains(&version),
        }
    }
}

/// What must hold of the stored document for an operation to take effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// `If-Match`: the current version is one of these.
    pub if_match: Option<Match>,
    /// `If-None-Match`: the current version is none of these.
    pub if_none_match: Option<Match>,
}

impl Condition {
    /// Whether the condition holds of a document with version `current` (`None`: absent).
    #[must_use]
    pub fn holds(&self, current: Option<Version>) -> bool {
        self.if_match.as_ref().is_none_or(|m| m.includes(current))
            && self
                .if_none_match
                .as_ref()
                .is_none_or(|m| !m.includes(current))
    }

    /// The condition that the document does not exist.
    #[must_use]
    pub fn absent() -> Condition {
        Condition {
            if_match: None,
            if_none_match: Some(Match::Any),
        }
    }
}

/// Who chose the id of a document that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// The client named it.
    ByClient,
    /// The server counted it out; the log remembers that it was handed out.
    ByServer,
}

/// One operation on one document, executed by the core that owns its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Reads the document.
    Get {
        /// Which document.
        id: Id,
    },
    /// Creates or replaces the document.
    Put {
        /// Which document.
        id: Id,
        /// Valid JSON without insignificant white space.
        document: Bytes,
        /// What must hold for the write to take effect; `None`: nothing.
        condition: Option<Box<Condition>>,
        /// Who chose `id`.
        chosen: Chosen,
        /// When the document ends by itself.
        expires: Expires,
    },
    /// Changes the document by what it is at that moment.
    Edit {
        /// Which document.
        id: Id,
        /// What becomes of it.
        edit: Edit,
        /// What must hold for the edit to take effect; `None`: nothing.
        condition: Option<Box<Condition>>,
        /// What of the result is answered.
        shows: Shows,
    },
    /// Removes the document.
    Delete {
        /// Which document.
        id: Id,
        /// What must hold for the removal to take effect; `None`: nothing.
        condition: Option<Box<Condition>>,
    },
}

impl Op {
    /// The id of the document that the operation is about.
    #[must_use]
    pub fn id(&self) -> &Id {
        match self {
            Op::Get { id } | Op::Put { id, .. } | Op::Edit { id, .. } | Op::Delete { id, .. } => id,
        }
    }
}

/// What came of an [`Op`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The document as it is stored and durable.
    Found {
        /// The stored bytes.
        document: Bytes,
        /// Its version.
        version: Version,
        /// How long it still had when it was read; `None`: it does not expire.
        ttl: Option<Ttl>,
    },
    /// There is no such document.
    Missing,
    /// The document is stored (an equal one was stored already, or this one is now).
    Stored {
        /// Whether the document did not exist before.
        created: bool,
        /// The version it has now.
        version: Version,
        /// See [`Outcome::position`].
        position: Lsn,
    },
    /// The document is stored as an edit left it (or the edit left it as it was).
    Edited {
        /// Whether the document did not exist before.
        created: bool,
        /// The version it has now.
        version: Version,
        /// What the edit was to show.
        shown: Bytes,
        /// See [`Outcome::position`].
        position: Lsn,
    },
    /// The document is removed.
    Deleted {
        /// See [`Outcome::position`].
        position: Lsn,
    },
    /// The condition did not hold; nothing changed.
    ConditionFailed,
    /// The operation was refused; nothing changed.
    Refused(Refusal),
}

impl Outcome {
    /// How long the document that was found still had; `None`: none was, or it does not expire.
    #[must_use]
    pub fn ttl(&self) -> Option<Ttl> {
        match self {
            Outcome::Found { ttl, .. } => *ttl,
            _ => None,
        }
    }

    /// The position of a write in the log: its record has that number. When nothing had to be
    /// written, it is that of a later record, or that of the one that is there.
    #[must_use]
    pub fn position(&self) -> Option<Lsn> {
        match self {
            Outcome::Stored { position, .. }
            | Outcome::Edited { position, .. }
            | Outcome::Deleted { position } => Some(*position),
            _ => None,
        }
    }

    /// Bytes of the document that is answered.
    #[must_use]
    pub fn document_bytes(&self) -> usize {
        match self {
            Outcome::Found { document, .. } => document.len(),
            Outcome::Edited { shown, .. } => shown.len(),
            _ => 0,
        }
    }

    /// The same outcome, or a refusal in place of a document that is too much beside
    /// `document_bytes` of others in one answer.
    #[must_use]
    pub fn within_bound(self, document_bytes: &mut usize) -> Outcome {
        let Outcome::Found { document, .. } = &self else {
            return self;
        };
        let sum = *document_bytes + document.len();
        // The first is shown whatever its size, as it is alone.
        if sum > RESPONSE_BYTES_MAX && *document_bytes > 0 {
            return Outcome::Refused(Refusal::ResponseFull);
        }
        *document_bytes = sum;
        self
    }

    /// The same outcome at `position`, if it is that of a write.
    #[must_use]
    pub fn at(mut self, at: Lsn) -> Outcome {
        if let Outcome::Stored { position, .. }
        | Outcome::Edited { position, .. }
        | Outcome::Deleted { position } = &mut self
        {
            *position = at;
        }
        self
    }
}

/// Why the server does not do what it was validly asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The file system has no room for the record (507).
    DiskFull,
    /// An earlier sync failed; the log takes no more writes until a restart (503).
    LogPoisoned,
    /// More is under way than a bound allows; later there will be room (503).
    Overloaded,
    /// The answer to a request about many documents has no room for this one (413).
    ResponseFull,
    /// Every 64-bit id that the server could choose was handed out (507).
    IdsExhausted,
    /// The records of an atomic batch have more bytes than one may write (413).
    AtomicTooLarge,
    /// The edit has no result (404, 409 or 413).
    Edit(EditRefusal),
}
