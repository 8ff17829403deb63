//! The durable documents of one shard: id to bytes, version and place in the log.
//!
//! What is here was acknowledged, or may be. Writes that are still on their way
//! to disk are in the queue, and readers never see them.

use hashbrown::HashTable;

use super::slab::{Slab, Slot};
use crate::{
    id::{Id, bucket_hash},
    log::Location,
    op::Version,
};

/// Tables of one index. A table that grows moves all of its entries at once; a
/// power of two of small ones keeps each such pause below a millisecond.
const TABLE_COUNT: usize = 256;

/// version, segment, offset, document length, id length (0: an integer).
const HEAD_BYTES: usize = 8 + 4 + 4 + 4 + 1;

/// All durable documents of one shard.
pub struct Index {
    tables: Box<[HashTable<Slot>]>,
    slab: Slab,
    document_count: usize,
}

/// One stored document, as it lies in its slot.
///
/// Layout: version u64, segment u32, offset u32, document length u32, id length
/// u8 (0: the id is the next 8 bytes as an integer), id, document; little endian.
#[derive(Clone, Copy)]
pub struct Entry<'a>(&'a [u8]);

impl Default for Index {
    fn default() -> Index {
        Index {
            tables: (0..TABLE_COUNT).map(|_| HashTable::new()).collect(),
            slab: Slab::default(),
            document_count: 0,
        }
    }
}

impl Index {
    /// The document stored under `id`.
    pub fn get(&self, id: &Id) -> Option<Entry<'_>> {
        let placement = id.placement();
        let slot = self.tables[table_of(placement)].find(bucket_hash(placement), |&slot| {
            Entry(self.slab.bytes(slot)).is_of(id)
        })?;
        Some(Entry(self.slab.bytes(*slot)))
    }

    /// Stores `document` under `id` in place of what was there.
    pub fn put(&mut self, id: &Id, version: Version, location: Location, document: &[u8]) {
        let placement = id.placement();
        let id_bytes = IdBytes::new(id);
        let bytes = HEAD_BYTES + id_bytes.as_slice().len() + document.len();
        let Index {
            tables,
            slab,
            document_count,
        } = self;
        let table = &mut tables[table_of(placement)];
        let found = table.find_mut(bucket_hash(placement), |&slot| {
            Entry(slab.bytes(slot)).is_of(id)
        });
        let slot = match found {
            Some(slot) if slab.fits_exactly(*slot, bytes) => *slot,
            Some(slot) => {
                slab.remove(*slot);
                *slot = slab.insert(bytes);
                *slot
            }
            None => {
                let slot = slab.insert(bytes);
                // The entry is written first: growing the table hashes it.
                write_entry(slab.bytes_mut(slot), &id_bytes, version, location, document);
                *document_count += 1;
                table.insert_unique(bucket_hash(placement), slot, |&slot| {
                    bucket_hash(Entry(slab.bytes(slot)).id().placement())
                });
                return;
            }
        };
        write_entry(slab.bytes_mut(slot), &id_bytes, version, location, document);
    }

    /// Removes the document stored under `id` and says whether there was one.
    pub fn remove(&mut self, id: &Id) -> bool {
        let placement = id.placement();
        let slab = &self.slab;
        let table = &mut self.tables[table_of(placement)];
        let found = table.find_entry(bucket_hash(placement), |&slot| {
            Entry(slab.bytes(slot)).is_of(id)
        });
        let Ok(occupied) = found else { return false };
        let (slot, _) = occupied.remove();
        self.slab.remove(slot);
        self.document_count -= 1;
        true
    }

    /// How many documents are stored.
    pub fn document_count(&self) -> usize {
        self.document_count
    }
}

impl<'a> Entry<'a> {
    /// The version of the document.
    pub fn version(self) -> Version {
        Version(u64::from_le_bytes(self.field(0)))
    }

    /// The stored bytes.
    pub fn document(self) -> &'a [u8] {
        let start = HEAD_BYTES + self.id_bytes().len();
        let bytes = u32::from_le_bytes(self.field(16));
        &self.0[start..start + usize::try_from(bytes).expect("a document fits memory")]
    }

    fn id(self) -> Id {
        let bytes = self.id_bytes();
        if self.0[20] == 0 {
            return Id::Integer(i64::from_le_bytes(
                bytes.try_into().expect("8 bytes by layout"),
            ));
        }
        Id::Name(
            std::str::from_utf8(bytes)
                .expect("written from a name")
                .into(),
        )
    }

    fn is_of(self, id: &Id) -> bool {
        match id {
            Id::Integer(integer) => self.0[20] == 0 && self.id_bytes() == integer.to_le_bytes(),
            Id::Name(name) => self.0[20] != 0 && self.id_bytes() == name.as_bytes(),
        }
    }

    fn id_bytes(self) -> &'a [u8] {
        let bytes = match self.0[20] {
            0 => 8,
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

/// The bytes of an id as an entry holds them.
enum IdBytes<'a> {
    Integer([u8; 8]),
    Name(&'a [u8]),
}

impl<'a> IdBytes<'a> {
    fn new(id: &'a Id) -> IdBytes<'a> {
        match id {
            Id::Integer(integer) => IdBytes::Integer(integer.to_le_bytes()),
            Id::Name(name) => IdBytes::Name(name.as_bytes()),
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            IdBytes::Integer(bytes) => bytes,
            IdBytes::Name(bytes) => bytes,
        }
    }

    fn length_byte(&self) -> u8 {
        match self {
            IdBytes::Integer(_) => 0,
            IdBytes::Name(bytes) => u8::try_from(bytes.len()).expect("NAME_BYTES_MAX fits a byte"),
        }
    }
}

fn write_entry(
    out: &mut [u8],
    id: &IdBytes<'_>,
    version: Version,
    location: Location,
    document: &[u8],
) {
    let document_bytes = u32::try_from(document.len()).expect("bodies are bounded below 4 GiB");
    out[0..8].copy_from_slice(&version.0.to_le_bytes());
    out[8..12].copy_from_slice(&location.segment.0.to_le_bytes());
    out[12..16].copy_from_slice(&location.offset.to_le_bytes());
    out[16..20].copy_from_slice(&document_bytes.to_le_bytes());
    out[20] = id.length_byte();
    let (id_out, document_out) = out[HEAD_BYTES..].split_at_mut(id.as_slice().len());
    id_out.copy_from_slice(id.as_slice());
    document_out[..document.len()].copy_from_slice(document);
}

/// Bits that neither the owner (the high ones) nor the bucket (the low ones) is taken from.
fn table_of(placement: u64) -> usize {
    usize::from((placement >> 32).to_le_bytes()[0]) % TABLE_COUNT
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::log::SegmentNumber;

    #[test]
    fn the_index_is_a_map() {
        let mut index = Index::default();
        let mut model: BTreeMap<Id, (u64, Vec<u8>)> = BTreeMap::new();
        let mut random = 7_u64;
        for step in 1..60_000_u64 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let pick = random >> 33;
            let id = match pick % 5 {
                0 => Id::from_text(&format!("name {}", pick % 700)).expect("a name"),
                1 => Id::Integer(i64::from(u16::try_from(pick % 700).expect("small")) << 32),
                _ => Id::Integer(-i64::try_from(pick % 700).expect("small")),
            };
            if pick.is_multiple_of(7) {
                assert_eq!(index.remove(&id), model.remove(&id).is_some());
            } else {
                let document = vec![b'x'; usize::try_from(pick % 300).expect("small")];
                let location = Location {
                    segment: SegmentNumber(1),
                    offset: 64,
                };
                index.put(&id, Version(step), location, &document);
                model.insert(id, (step, document));
            }
        }
        assert_eq!(index.document_count(), model.len());
        for (id, (version, document)) in &model {
            let entry = index.get(id).expect("the model has it");
            assert_eq!(
                (entry.version().0, entry.document()),
                (*version, document.as_slice())
            );
            assert_eq!(entry.id(), *id);
        }
    }
}
