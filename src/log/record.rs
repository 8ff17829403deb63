//! What a record says, and its layout in a segment; [`codec`](super::codec) turns one into the other.
//!
//! A record starts at a multiple of 8 and has a header of 48 bytes, all numbers
//! little endian:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 4 | CRC-32C of every byte after this field, padding included |
//! | 4 | 4 | payload length: bytes of the id and of the document |
//! | 8 | 8 | log sequence number |
//! | 16 | 8 | durable: every record up to this number was known to be synced when this one was appended |
//! | 24 | 8 | document version |
//! | 32 | 8 | expiry in milliseconds since 1970, 0 for never |
//! | 40 | 1 | kind: 1 put, 2 delete, 3 mark |
//! | 41 | 1 | id kind: 0 a 64-bit integer, 1 a name |
//! | 42 | 1 | id length |
//! | 43 | 1 | flags, see [`Flags`] |
//! | 44 | 4 | zero |
//!
//! The id, the document and zeros up to the next multiple of 8 follow. A header
//! of zeros means that nothing was written here.
//!
//! A mark has no document; its version and integer id are the log's
//! [`Floors`](super::Floors).
//!
//! JSON holds no zero byte, so no document contains what looks like a header.

use super::{codec::encoded_bytes, position::Lsn};
use crate::{id::Id, op::Version};

/// What a record says about its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The document is now this.
    Put,
    /// The document is gone.
    Delete,
    /// Not about a document: repeats the floors and the durable watermark.
    Mark,
}

/// The flags of a record. Bit 3 is reserved; a set bit that is not listed here
/// makes the record unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub(super) u8);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// The server chose the id.
    pub const CHOSEN_BY_SERVER: Flags = Flags(1);
    /// Compaction copied the record from an older segment.
    pub const RELOCATED: Flags = Flags(1 << 1);
    /// The next record belongs to the same group: all of them count, or none.
    ///
    /// A group lies in one segment. It can lack its end only in the last one, where
    /// it is then cut off whole; in a segment that has a successor it was synced whole,
    /// and the flag means nothing.
    pub const GROUPED: Flags = Flags(1 << 2);
    /// A mark that ends a clean shutdown.
    pub const CLOSING: Flags = Flags(1 << 4);

    pub(super) const KNOWN: u8 =
        Flags::CHOSEN_BY_SERVER.0 | Flags::RELOCATED.0 | Flags::GROUPED.0 | Flags::CLOSING.0;

    /// These flags and those of `other`.
    #[must_use]
    pub fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether every flag of `other` is set.
    #[must_use]
    pub fn contain(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A record before it has its place in the log.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// What it says.
    pub kind: Kind,
    /// Its flags.
    pub flags: Flags,
    /// The version that the document has with it.
    pub version: Version,
    /// When the document expires; 0: never.
    pub expires_at_ms: u64,
    /// Which document.
    pub id: &'a Id,
    /// The document; empty unless the kind is [`Kind::Put`].
    pub document: &'a [u8],
}

/// An [`Id`] in the bytes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdRef<'a> {
    /// A signed 64-bit integer.
    Integer(i64),
    /// A name.
    Name(&'a str),
}

impl IdRef<'_> {
    /// The id, owned.
    #[must_use]
    pub fn to_id(self) -> Id {
        match self {
            IdRef::Integer(integer) => Id::Integer(integer),
            IdRef::Name(name) => Id::Name(name.into()),
        }
    }
}

/// A record, borrowed from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its log sequence number.
    pub lsn: Lsn,
    /// The durable watermark when it was appended.
    pub durable: Lsn,
    /// The version that the document has with it.
    pub version: Version,
    /// When the document expires; 0: never.
    pub expires_at_ms: u64,
    /// What it says.
    pub kind: Kind,
    /// Its flags.
    pub flags: Flags,
    /// Which document.
    pub id: IdRef<'a>,
    /// The document, empty for deletes and marks.
    pub document: &'a [u8],
}

impl Record<'_> {
    /// Bytes that the record takes in a segment, padding included.
    #[must_use]
    pub fn encoded_bytes(&self) -> u32 {
        let id_bytes = match self.id {
            IdRef::Integer(_) => size_of::<i64>(),
            IdRef::Name(name) => name.len(),
        };
        encoded_bytes(id_bytes + self.document.len())
    }
}
