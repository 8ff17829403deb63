//! Records as bytes: encoding, sealing, decoding.
//!
//! The layout is in [`record`](super::record). Decoding has three answers (whole,
//! nothing written, broken) and takes any bytes; encoding asserts what its
//! callers have checked long before.

use std::iter;

use super::{
    position::{Lsn, index},
    record::{Draft, Flags, IdRef, Kind, Record},
};
use crate::{
    id::Id,
    limits::{BODY_BYTES_MAX_CEILING, NAME_BYTES_MAX},
    op::Version,
};

/// Bytes of a record before its payload.
pub const RECORD_HEADER_BYTES: usize = 48;

const CRC: usize = 0;
const PAYLOAD_BYTES: usize = 4;
const LSN: usize = 8;
const DURABLE: usize = 16;
const VERSION: usize = 24;
const EXPIRES_AT_MS: usize = 32;
const KIND: usize = 40;
const ID_KIND: usize = 41;
const ID_BYTES: usize = 42;
const FLAGS: usize = 43;
const RESERVED: usize = 44;

const ID_INTEGER: u8 = 0;
const ID_NAME: u8 = 1;

type Header = [u8; RECORD_HEADER_BYTES];

/// What stands at the start of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A record with the right checksum.
    Whole(Record<'a>),
    /// Nothing was written here.
    End,
    /// Neither.
    Broken(Broken),
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The slice ends inside the header.
    #[error("only {left} bytes are left for its header")]
    Short {
        /// Bytes that are left.
        left: usize,
    },
    /// The payload reaches beyond the slice.
    #[error("its length {payload_bytes} is beyond the {left} bytes that are left")]
    Length {
        /// The length that the header claims.
        payload_bytes: u32,
        /// Bytes that are left, the header included.
        left: usize,
    },
    /// The checksum is not that of the bytes.
    #[error("checksum {stored:#010x}, computed {computed:#010x}")]
    Checksum {
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The checksum is right, so these bytes were written like this, but not by
    /// a release that this one knows.
    #[error("its {field} is not known to this release")]
    Unknown {
        /// The number of the record.
        lsn: Lsn,
        /// What is not known.
        field: &'static str,
    },
}

/// Bytes that a record with this payload takes in a segment, padding included.
///
/// # Panics
/// If the payload is longer than an id and a body may be.
#[must_use]
pub fn encoded_bytes(payload_bytes: usize) -> u32 {
    assert!(
        payload_bytes <= NAME_BYTES_MAX + BODY_BYTES_MAX_CEILING,
        "the payload is within BODY_BYTES_MAX_CEILING"
    );
    let bytes = (RECORD_HEADER_BYTES + payload_bytes).next_multiple_of(8);
    u32::try_from(bytes).expect("SEGMENT_BYTES_MAX fits 32 bits")
}

/// Appends the record to `out`, its number, watermark and checksum left zero
/// for [`seal`].
///
/// # Panics
/// If the id is empty or longer than a name may be, the document is longer than
/// `BODY_BYTES_MAX_CEILING`, or a delete or a mark has a document.
pub fn encode(out: &mut Vec<u8>, draft: &Draft<'_>) {
    assert!(draft.kind == Kind::Put || draft.document.is_empty());
    assert!(draft.document.len() <= BODY_BYTES_MAX_CEILING);
    let integer;
    let (id_kind, id) = match draft.id {
        Id::Integer(value) => {
            integer = value.to_le_bytes();
            (ID_INTEGER, integer.as_slice())
        }
        Id::Name(name) => (ID_NAME, name.as_bytes()),
    };
    assert!(!id.is_empty());
    let payload_bytes = id.len() + draft.document.len();
    let start = out.len();
    let end = start + index(encoded_bytes(payload_bytes));
    let payload_bytes = u32::try_from(payload_bytes).expect("a payload is shorter than a segment");

    let mut header: Header = [0; RECORD_HEADER_BYTES];
    put(&mut header, PAYLOAD_BYTES, payload_bytes.to_le_bytes());
    put(&mut header, VERSION, draft.version.0.to_le_bytes());
    put(
        &mut header,
        EXPIRES_AT_MS,
        draft.expires_at_ms.to_le_bytes(),
    );
    header[KIND] = match draft.kind {
        Kind::Put => 1,
        Kind::Delete => 2,
        Kind::Mark => 3,
    };
    header[ID_KIND] = id_kind;
    header[ID_BYTES] = u8::try_from(id.len()).expect("a name has at most 255 bytes");
    header[FLAGS] = draft.flags.0;
    out.reserve(end - start);
    out.extend_from_slice(&header);
    out.extend_from_slice(id);
    out.extend_from_slice(draft.document);
    out.resize(end, 0);
}

/// Gives an encoded record its place in the log and its checksum.
///
/// # Panics
/// If `bytes` is not exactly one record, or `durable` is not before `lsn`.
pub fn seal(bytes: &mut [u8], lsn: Lsn, durable: Lsn) {
    assert!(durable < lsn);
    assert_eq!(whole_bytes(bytes), Some(bytes.len()));
    put(bytes, LSN, lsn.0.to_le_bytes());
    put(bytes, DURABLE, durable.0.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[PAYLOAD_BYTES..]);
    put(bytes, CRC, crc.to_le_bytes());
}

/// Reads the record at the start of `bytes`, which may go on after it.
#[must_use]
pub fn decode(bytes: &[u8]) -> Decoded<'_> {
    let left = bytes.len();
    let Some(header) = bytes.first_chunk::<RECORD_HEADER_BYTES>() else {
        return match bytes.iter().all(|&byte| byte == 0) {
            true => Decoded::End,
            false => Decoded::Broken(Broken::Short { left }),
        };
    };
    if *header == [0; RECORD_HEADER_BYTES] {
        return Decoded::End;
    }
    let payload_bytes = u32_at(header, PAYLOAD_BYTES);
    let Some(whole) = whole_bytes(bytes).and_then(|whole| bytes.get(..whole)) else {
        return Decoded::Broken(Broken::Length {
            payload_bytes,
            left,
        });
    };
    let stored = u32_at(header, CRC);
    let computed = crc32c::crc32c(&whole[PAYLOAD_BYTES..]);
    if stored != computed {
        return Decoded::Broken(Broken::Checksum { stored, computed });
    }
    match fields(header, whole) {
        Ok(record) => Decoded::Whole(record),
        Err(field) => Decoded::Broken(Broken::Unknown {
            lsn: Lsn(u64_at(header, LSN)),
            field,
        }),
    }
}

/// Splits a batch, as [`encode`] filled it, into its drafts.
///
/// # Panics
/// The iterator panics if the batch is not a sequence of whole drafts.
pub fn drafts(batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = batch;
    iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let whole = whole_bytes(rest).expect("a batch is a sequence of whole drafts");
        let (draft, after) = rest.split_at(whole);
        rest = after;
        Some(draft)
    })
}

/// Makes the drafts of all `batches`, in a row, one group: each but the last gets
/// [`Flags::GROUPED`].
///
/// # Panics
/// If a batch is not a sequence of whole drafts.
pub fn group<'b>(batches: impl Iterator<Item = &'b mut [u8]>) {
    let mut last: Option<&mut u8> = None;
    for batch in batches {
        let mut rest = batch;
        while !rest.is_empty() {
            let whole = whole_bytes(rest).expect("a batch is a sequence of whole drafts");
            let (draft, after) = rest.split_at_mut(whole);
            if let Some(flags) = last.replace(&mut draft[FLAGS]) {
                *flags |= Flags::GROUPED.0;
            }
            rest = after;
        }
    }
}

/// What a draft does.
///
/// # Panics
/// If `draft` is not exactly one draft.
#[must_use]
pub fn draft_kind(draft: &[u8]) -> Kind {
    draft_fields(draft).kind
}

/// The fields of a draft, its number and watermark zero; the checksum is not looked at.
///
/// # Panics
/// If `draft` is not exactly one draft.
pub fn draft_fields(draft: &[u8]) -> Record<'_> {
    assert_eq!(whole_bytes(draft), Some(draft.len()), "one whole draft");
    let header = draft.first_chunk().expect("a whole draft has a header");
    fields(header, draft).expect("a draft is what encode wrote")
}

/// What a header claims about its place in the log, before any checksum.
pub(super) struct Claim {
    /// Its number.
    pub lsn: Lsn,
    /// Its watermark.
    pub durable: Lsn,
}

/// Reads only the claim at the start of `bytes`.
pub(super) fn claim(bytes: &[u8]) -> Option<Claim> {
    let header = bytes.first_chunk::<RECORD_HEADER_BYTES>()?;
    Some(Claim {
        lsn: Lsn(u64_at(header, LSN)),
        durable: Lsn(u64_at(header, DURABLE)),
    })
}

/// The length that the record at the start of `bytes` claims, before any checksum; `None`:
/// nothing is written there, or no segment can hold it.
pub(super) fn record_bytes(bytes: &[u8]) -> Option<usize> {
    let written = bytes.first_chunk::<8>()? != &[0; 8];
    written.then(|| whole_bytes(bytes)).flatten()
}

/// The length of the record whose header `bytes` starts with, if a segment can hold it.
fn whole_bytes(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<RECORD_HEADER_BYTES>()?;
    let payload_bytes = index(u32_at(header, PAYLOAD_BYTES));
    (payload_bytes <= NAME_BYTES_MAX + BODY_BYTES_MAX_CEILING)
        .then(|| index(encoded_bytes(payload_bytes)))
}

/// The fields of a record that is as long as its header says, or which of them is unknown.
fn fields<'a>(header: &Header, whole: &'a [u8]) -> Result<Record<'a>, &'static str> {
    let kind = match header[KIND] {
        1 => Kind::Put,
        2 => Kind::Delete,
        3 => Kind::Mark,
        _ => return Err("kind"),
    };
    if header[FLAGS] & !Flags::KNOWN != 0 {
        return Err("set of flags");
    }
    if header[RESERVED..] != [0; RECORD_HEADER_BYTES - RESERVED] {
        return Err("reserved field");
    }
    let lsn = Lsn(u64_at(header, LSN));
    // The next number must exist.
    if lsn.0 == u64::MAX {
        return Err("number");
    }
    let (payload, padding) =
        whole[RECORD_HEADER_BYTES..].split_at(index(u32_at(header, PAYLOAD_BYTES)));
    if padding.iter().any(|&byte| byte != 0) {
        return Err("padding");
    }
    let (id, document) = payload
        .split_at_checked(usize::from(header[ID_BYTES]))
        .ok_or("id length")?;
    if document.len() > BODY_BYTES_MAX_CEILING || (kind != Kind::Put && !document.is_empty()) {
        return Err("document length");
    }
    let id = match header[ID_KIND] {
        ID_INTEGER => IdRef::Integer(i64::from_le_bytes(id.try_into().map_err(|_| "id length")?)),
        ID_NAME if !id.is_empty() => IdRef::Name(str::from_utf8(id).map_err(|_| "name")?),
        _ => return Err("kind of id"),
    };
    Ok(Record {
        lsn,
        durable: Lsn(u64_at(header, DURABLE)),
        version: Version(u64_at(header, VERSION)),
        expires_at_ms: u64_at(header, EXPIRES_AT_MS),
        kind,
        flags: Flags(header[FLAGS]),
        id,
        document,
    })
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

fn u32_at(header: &Header, at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&header[at..at + 4]);
    u32::from_le_bytes(value)
}

fn u64_at(header: &Header, at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&header[at..at + 8]);
    u64::from_le_bytes(value)
}

const _: () = assert!(RESERVED < RECORD_HEADER_BYTES && RECORD_HEADER_BYTES.is_multiple_of(8));

#[cfg(test)]
mod tests;
