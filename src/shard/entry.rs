//! One stored document as the bytes of its slot.
//!
//! Layout: version u64, segment u32, offset u32, document length u32 (its highest
//! bit: it expires), id length u8 (0: the id is the next 8 bytes as an integer), id,
//! document, and if it expires the moment as u64; little endian.

use crate::{
    id::Id,
    limits::BODY_BYTES_MAX_CEILING,
    log::{Location, SegmentNumber, encoded_bytes},
    op::{Expiry, Version},
};

/// version, segment, offset, document length, id length (0: an integer).
const HEAD_BYTES: usize = 8 + 4 + 4 + 4 + 1;
/// In the document length: the entry ends with when the document expires.
const EXPIRES: u32 = 1 << 31;

const _: () = assert!(BODY_BYTES_MAX_CEILING < EXPIRES as usize);

/// One stored document, as it lies in its slot.
#[derive(Clone, Copy)]
pub struct Entry<'a>(pub &'a [u8]);

/// An id as it lies in a slot; ordered like [`Id`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key<'a> {
    Integer(i64),
    Name(&'a [u8]),
}

/// What a slot is written from.
pub struct NewEntry<'a> {
    pub id: &'a Id,
    pub version: Version,
    pub location: Location,
    pub document: &'a [u8],
    pub expiry: Option<Expiry>,
}

impl<'a> Entry<'a> {
    /// The version of the document.
    pub fn version(self) -> Version {
        Version(u64::from_le_bytes(self.field(0)))
    }

    /// Where the record of the document lies.
    pub fn location(self) -> Location {
        Location {
            segment: SegmentNumber(u32::from_le_bytes(self.field(8))),
            offset: u32::from_le_bytes(self.field(12)),
        }
    }

    /// How many bytes the record of the document has in the log.
    pub fn record_bytes(self) -> u32 {
        encoded_bytes(self.id_bytes().len() + self.document_bytes())
    }

    /// The stored bytes.
    pub fn document(self) -> &'a [u8] {
        let start = HEAD_BYTES + self.id_bytes().len();
        &self.0[start..start + self.document_bytes()]
    }

    /// How many bytes the document has.
    pub fn document_bytes(self) -> usize {
        let bytes = u32::from_le_bytes(self.field(16)) & !EXPIRES;
        usize::try_from(bytes).expect("a document fits memory")
    }

    /// When the document expires; `None`: never.
    pub fn expiry(self) -> Option<Expiry> {
        if u32::from_le_bytes(self.field(16)) & EXPIRES == 0 {
            return None;
        }
        let at = HEAD_BYTES + self.id_bytes().len() + self.document_bytes();
        Expiry::of_record(u64::from_le_bytes(self.field(at)))
    }

    /// The id of the document.
    pub fn key(self) -> Key<'a> {
        let bytes = self.id_bytes();
        match self.0[20] {
            0 => Key::Integer(i64::from_le_bytes(
                bytes.try_into().expect("8 bytes by layout"),
            )),
            _ => Key::Name(bytes),
        }
    }

    fn id_bytes(self) -> &'a [u8] {
        let bytes = match self.0[20] {
            0 => size_of::<i64>(),
            name_bytes => usize::from(name_bytes),
        };
        &self.0[HEAD_BYTES..HEAD_BYTES + bytes]
    }

    fn field<const N: usize>(self, at: usize) -> [u8; N] {
        self.0[at..at + N]
            .try_into()
            .expect("the slice has N bytes")
    }
}

impl<'a> Key<'a> {
    /// The key of `id`.
    pub fn of(id: &'a Id) -> Key<'a> {
        match id {
            Id::Integer(integer) => Key::Integer(*integer),
            Id::Name(name) => Key::Name(name.as_bytes()),
        }
    }

    /// The id, owned.
    pub fn to_id(self) -> Id {
        match self {
            Key::Integer(integer) => Id::Integer(integer),
            Key::Name(name) => Id::Name(
                std::str::from_utf8(name)
                    .expect("written from a name")
                    .into(),
            ),
        }
    }

    fn bytes(self) -> usize {
        match self {
            Key::Integer(_) => size_of::<i64>(),
            Key::Name(name) => name.len(),
        }
    }
}

impl NewEntry<'_> {
    /// How many bytes its slot needs.
    pub fn bytes(&self) -> usize {
        let expiry_bytes = self.expiry.map_or(0, |_| size_of::<u64>());
        HEAD_BYTES + Key::of(self.id).bytes() + self.document.len() + expiry_bytes
    }

    /// How many bytes its record has in the log.
    pub fn record_bytes(&self) -> u32 {
        encoded_bytes(Key::of(self.id).bytes() + self.document.len())
    }

    /// Writes it to the start of `out`.
    pub fn write(&self, out: &mut [u8]) {
        let document_bytes =
            u32::try_from(self.document.len()).expect("bodies are bounded below 4 GiB");
        out[0..8].copy_from_slice(&self.version.0.to_le_bytes());
        write_location(out, self.location);
        let flag = self.expiry.map_or(0, |_| EXPIRES);
        out[16..20].copy_from_slice(&(document_bytes | flag).to_le_bytes());
        let key = Key::of(self.id);
        out[20] = match key {
            Key::Integer(_) => 0,
            Key::Name(name) => u8::try_from(name.len()).expect("NAME_BYTES_MAX fits a byte"),
        };
        let (id_out, document_out) = out[HEAD_BYTES..].split_at_mut(key.bytes());
        match key {
            Key::Integer(integer) => id_out.copy_from_slice(&integer.to_le_bytes()),
            Key::Name(name) => id_out.copy_from_slice(name),
        }
        let (document_out, expiry_out) = document_out.split_at_mut(self.document.len());
        document_out.copy_from_slice(self.document);
        if self.expiry.is_some() {
            let moment = Expiry::in_record(self.expiry).to_le_bytes();
            expiry_out[..moment.len()].copy_from_slice(&moment);
        }
    }
}

/// Changes where the record of an entry lies.
pub fn write_location(entry: &mut [u8], location: Location) {
    entry[8..12].copy_from_slice(&location.segment.0.to_le_bytes());
    entry[12..16].copy_from_slice(&location.offset.to_le_bytes());
}
