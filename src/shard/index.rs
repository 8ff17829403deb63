//! The durable documents of one shard: id to bytes, version and place in the log.
//!
//! What is here was acknowledged, or may be. Writes that are still on their way
//! to disk are in the queue, and readers never see them.

use std::{collections::BTreeSet, ops::Bound};

use hashbrown::HashTable;

use super::{
    entry::{Entry, Key, NewEntry, write_location},
    order::Order,
    slab::{Slab, Slot},
};
use crate::{
    id::{Id, bucket_hash},
    log::{LiveBytes, Location},
    op::{Expiry, Version},
};

/// Tables of one index. A table that grows moves all of its entries at once; a
/// power of two of small ones keeps each such pause below a millisecond.
const TABLE_COUNT: usize = 256;

/// All durable documents of one shard.
pub struct Index {
    tables: Box<[HashTable<Slot>]>,
    order: Order,
    slab: Slab,
    /// The documents that expire, the next one first.
    expiries: BTreeSet<(Expiry, Slot)>,
    /// What the documents' records take in each segment of the log.
    live: LiveBytes,
    document_count: usize,
}

/// Where a document went.
enum Placed {
    /// To a slot of its own.
    New(Slot),
    /// To the slot that it had.
    InPlace,
    /// From a slot, which is still there, to another one.
    Moved { from: Slot, to: Slot },
}

impl Default for Index {
    fn default() -> Index {
        Index {
            tables: (0..TABLE_COUNT).map(|_| HashTable::new()).collect(),
            order: Order::default(),
            slab: Slab::default(),
            expiries: BTreeSet::new(),
            live: LiveBytes::default(),
            document_count: 0,
        }
    }
}

impl Index {
    /// The document stored under `id`.
    pub fn get(&self, id: &Id) -> Option<Entry<'_>> {
        let placement = id.placement();
        let slot = self.tables[table_of(placement)].find(bucket_hash(placement), |&slot| {
            Entry(self.slab.bytes(slot)).key() == Key::of(id)
        })?;
        Some(Entry(self.slab.bytes(*slot)))
    }

    /// Has the processor load where the documents of `ids` lie, all at once: the loads of one
    /// look-up wait for each other, those of several do not.
    pub fn warm<'i>(&self, ids: impl Iterator<Item = &'i Id>) {
        let mut loaded = 0;
        for id in ids {
            let placement = id.placement();
            let table = &self.tables[table_of(placement)];
            // One whose hash is like that of the id is nearly always its own.
            if let Some(&slot) = table.iter_hash(bucket_hash(placement)).next() {
                loaded ^= self.slab.bytes(slot)[0];
            }
        }
        std::hint::black_box(loaded);
    }

    /// The documents from `from` on, integers ascending, then names by their bytes.
    pub fn range<'i>(&'i self, from: Bound<&Id>) -> impl Iterator<Item = Entry<'i>> + use<'i> {
        let slots = self.order.range(from, &self.slab);
        slots.map(|slot| Entry(self.slab.bytes(slot)))
    }

    /// Stores the document in place of what was under its id.
    pub fn put(&mut self, new: &NewEntry<'_>) {
        match self.place(new) {
            Placed::New(slot) => self.order.insert(new.id, slot, &self.slab),
            Placed::InPlace => {}
            Placed::Moved { from, to } => {
                self.order.replace(new.id, to, &self.slab);
                self.slab.remove(from);
            }
        }
    }

    /// Removes the document stored under `id` and says whether there was one.
    pub fn remove(&mut self, id: &Id) -> bool {
        let Some(slot) = self.unlink(id) else {
            return false;
        };
        self.order.remove(id, &self.slab);
        self.slab.remove(slot);
        true
    }

    /// The documents whose time has come at `unix_ms`, the earliest first.
    pub fn due(&self, unix_ms: u64) -> impl Iterator<Item = Entry<'_>> {
        let due = self.expiries.iter();
        let due = due.take_while(move |(expiry, _)| expiry.has_come_at(unix_ms));
        due.map(|&(_, slot)| Entry(self.slab.bytes(slot)))
    }

    /// Makes room for `count` documents more, so that tables do not grow step by step, each time
    /// moving all they hold; [`end_restore`](Index::end_restore) gives back what was too much.
    pub fn expect_documents(&mut self, count: usize) {
        let Index { tables, slab, .. } = self;
        for table in tables {
            table.reserve(count / TABLE_COUNT, |&slot| hash_of(slab, slot));
        }
    }

    /// [`put`](Index::put) that leaves the order to [`end_restore`](Index::end_restore).
    pub fn restore_put(&mut self, new: &NewEntry<'_>) {
        if let Placed::Moved { from, .. } = self.place(new) {
            self.slab.remove(from);
        }
    }

    /// [`remove`](Index::remove) that leaves the order to [`end_restore`](Index::end_restore).
    pub fn restore_remove(&mut self, id: &Id) {
        if let Some(slot) = self.unlink(id) {
            self.slab.remove(slot);
        }
    }

    /// Puts everything that was restored in order, which is much cheaper for all at once.
    pub fn end_restore(&mut self) {
        let Index { tables, slab, .. } = self;
        for table in tables {
            table.shrink_to(table.len() + table.len() / 8, |&slot| hash_of(slab, slot));
        }
        let slots = self.tables.iter().flat_map(HashTable::iter).copied();
        self.order = Order::build(slots, &self.slab);
    }

    /// How many documents are stored.
    pub fn document_count(&self) -> usize {
        self.document_count
    }

    /// What the documents' records take in the log.
    pub fn live(&self) -> &LiveBytes {
        &self.live
    }

    /// Notes that the record of a document lies elsewhere, unless the document has another
    /// version by now, which lies where it was written.
    pub fn relocate(&mut self, id: &Id, version: Version, to: Location) {
        let placement = id.placement();
        let slab = &self.slab;
        let found = self.tables[table_of(placement)].find(bucket_hash(placement), |&slot| {
            Entry(slab.bytes(slot)).key() == Key::of(id)
        });
        let Some(&slot) = found else {
            return;
        };
        let entry = Entry(self.slab.bytes(slot));
        if entry.version() == version {
            let bytes = entry.record_bytes();
            self.live.remove(entry.location().segment, bytes);
            self.live.add(to.segment, bytes);
            write_location(self.slab.bytes_mut(slot), to);
        }
    }

    /// Whether every document has its place in the order; costs a look at each block of it.
    pub fn is_in_order(&self) -> bool {
        self.order.slot_count() == self.document_count
    }

    /// Writes the entry, and makes the tables name its slot.
    fn place(&mut self, new: &NewEntry<'_>) -> Placed {
        let placement = new.id.placement();
        let Index {
            tables,
            slab,
            expiries,
            live,
            document_count,
            ..
        } = self;
        live.add(new.location.segment, new.record_bytes());
        let table = &mut tables[table_of(placement)];
        let found = table.find_mut(bucket_hash(placement), |&slot| {
            Entry(slab.bytes(slot)).key() == Key::of(new.id)
        });
        let Some(held) = found else {
            let slot = slab.insert(new.bytes());
            // The entry is written first: growing the table hashes it.
            new.write(slab.bytes_mut(slot));
            *document_count += 1;
            expiries.extend(new.expiry.map(|expiry| (expiry, slot)));
            table.insert_unique(bucket_hash(placement), slot, |&slot| hash_of(slab, slot));
            return Placed::New(slot);
        };
        let from = *held;
        let before = Entry(slab.bytes(from));
        live.remove(before.location().segment, before.record_bytes());
        if let Some(expiry) = before.expiry() {
            expiries.remove(&(expiry, from));
        }
        if slab.fits_exactly(from, new.bytes()) {
            new.write(slab.bytes_mut(from));
            expiries.extend(new.expiry.map(|expiry| (expiry, from)));
            return Placed::InPlace;
        }
        let to = slab.insert(new.bytes());
        *held = to;
        new.write(slab.bytes_mut(to));
        expiries.extend(new.expiry.map(|expiry| (expiry, to)));
        Placed::Moved { from, to }
    }

    /// Makes the tables forget `id`; its entry is still there.
    fn unlink(&mut self, id: &Id) -> Option<Slot> {
        let placement = id.placement();
        let slab = &self.slab;
        let table = &mut self.tables[table_of(placement)];
        let found = table.find_entry(bucket_hash(placement), |&slot| {
            Entry(slab.bytes(slot)).key() == Key::of(id)
        });
        let (slot, _) = found.ok()?.remove();
        let entry = Entry(slab.bytes(slot));
        self.live
            .remove(entry.location().segment, entry.record_bytes());
        if let Some(expiry) = entry.expiry() {
            self.expiries.remove(&(expiry, slot));
        }
        self.document_count -= 1;
        Some(slot)
    }
}

/// The hash of a document that is stored.
fn hash_of(slab: &Slab, slot: Slot) -> u64 {
    bucket_hash(Entry(slab.bytes(slot)).key().to_id().placement())
}

/// Bits that neither the owner (the high ones) nor the bucket (the low ones) is taken from.
fn table_of(placement: u64) -> usize {
    usize::from((placement >> 32).to_le_bytes()[0]) % TABLE_COUNT
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::log::SegmentNumber;

    const LOCATION: Location = Location {
        segment: SegmentNumber(1),
        offset: 64,
    };

    fn entry<'a>(
        id: &'a Id,
        version: Version,
        document: &'a [u8],
        expiry: Option<u64>,
    ) -> NewEntry<'a> {
        NewEntry {
            id,
            version,
            location: LOCATION,
            document,
            expiry: expiry.and_then(Expiry::asked),
        }
    }

    /// A sequence of numbers below `end` that looks random.
    fn randoms(end: u64) -> impl FnMut() -> u64 {
        let mut state = 7_u64;
        move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % end
        }
    }

    #[test]
    fn the_index_is_a_map() {
        let mut index = Index::default();
        let mut model: BTreeMap<Id, (u64, Vec<u8>)> = BTreeMap::new();
        let mut random = randoms(1 << 31);
        for step in 1..60_000_u64 {
            let pick = random();
            let id = match pick % 5 {
                0 => Id::from_text(&format!("name {}", pick % 700)).expect("a name"),
                1 => Id::Integer(i64::from(u16::try_from(pick % 700).expect("small")) << 32),
                _ => Id::Integer(-i64::try_from(pick % 700).expect("small")),
            };
            if pick.is_multiple_of(7) {
                assert_eq!(index.remove(&id), model.remove(&id).is_some());
            } else {
                let document = vec![b'x'; usize::try_from(pick % 300).expect("small")];
                index.put(&entry(&id, Version(step), &document, None));
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
            assert_eq!(entry.key().to_id(), *id);
        }
    }

    #[test]
    fn what_expires_is_due_in_its_order_and_takes_no_memory_of_others() {
        let mut index = Index::default();
        let mut model: BTreeMap<Id, Option<u64>> = BTreeMap::new();
        let mut random = randoms(1 << 31);
        for _ in 0..20_000 {
            let pick = random();
            let id = id_of(i64::try_from(pick % 500).expect("small"));
            let expiry = (!pick.is_multiple_of(3)).then(|| 1 + random() % 1_000);
            match pick % 8 {
                0 => assert_eq!(index.remove(&id), model.remove(&id).is_some()),
                _ => {
                    let document = vec![b'x'; usize::try_from(random() % 60).expect("small")];
                    index.put(&entry(&id, Version(1), &document, expiry));
                    assert_eq!(index.get(&id).expect("stored").document(), document);
                    model.insert(id, expiry);
                }
            }
        }
        for (id, expiry) in &model {
            let stored = index.get(id).expect("stored").expiry();
            assert_eq!(stored, expiry.and_then(Expiry::asked));
        }
        for now in [0, 1, 500, 1_000] {
            let due = |(_, expiry): &(&Id, &Option<u64>)| expiry.is_some_and(|at| at <= now);
            let expected: BTreeSet<&Id> = model.iter().filter(due).map(|(id, _)| id).collect();
            let found: Vec<Id> = index.due(now).map(|entry| entry.key().to_id()).collect();
            assert_eq!(found.iter().collect::<BTreeSet<_>>(), expected, "{now}");
            assert_eq!(found.len(), expected.len(), "{now}");
            let moments: Vec<_> = index.due(now).map(Entry::expiry).collect();
            assert!(moments.is_sorted());
        }
        let plain = entry(&Id::Integer(1), Version(1), b"12345", None).bytes();
        assert_eq!(plain, 21 + 8 + 5);
    }

    fn id_of(number: i64) -> Id {
        match number.rem_euclid(3) {
            0 => Id::Name(format!("name {number}").into()),
            _ => Id::Integer(number),
        }
    }

    fn ids(index: &Index, from: Bound<&Id>) -> Vec<Id> {
        index.range(from).map(|entry| entry.key().to_id()).collect()
    }

    #[test]
    fn the_order_is_that_of_ids_however_they_come_and_go() {
        let mut random = randoms(9_000);
        let mut index = Index::default();
        let mut model = BTreeSet::new();
        let put = |index: &mut Index, model: &mut BTreeSet<Id>, number: i64, bytes: usize| {
            index.put(&entry(&id_of(number), Version(1), &vec![b'x'; bytes], None));
            model.insert(id_of(number));
        };
        for phase in 0..6 {
            for n in 0..3_000 {
                let picked = i64::try_from(random()).expect("small");
                match phase {
                    0 => put(&mut index, &mut model, n, 10),
                    1 => put(&mut index, &mut model, -n, 10),
                    2 => put(&mut index, &mut model, picked, 100),
                    3 => put(
                        &mut index,
                        &mut model,
                        100_000 + 2 * n - (n % 2) * 5_000,
                        10,
                    ),
                    // Almost everything goes, and then some comes back.
                    4 => {
                        for number in [picked, -picked, 94_000 + picked, picked / 3, n, -n] {
                            let existed = model.remove(&id_of(number));
                            assert_eq!(index.remove(&id_of(number)), existed);
                        }
                    }
                    _ => put(&mut index, &mut model, picked, 10),
                }
            }
            assert!(index.is_in_order(), "phase {phase}");
            let expected: Vec<Id> = model.iter().cloned().collect();
            assert_eq!(ids(&index, Bound::Unbounded), expected, "phase {phase}");
            for _ in 0..200 {
                let start = id_of(i64::try_from(random()).expect("small") - 4_000);
                for bound in [Bound::Included(&start), Bound::Excluded(&start)] {
                    let expected = model.range((bound, Bound::Unbounded)).take(3);
                    let found: Vec<Id> = index
                        .range(bound)
                        .take(3)
                        .map(|entry| entry.key().to_id())
                        .collect();
                    assert!(expected.eq(&found), "phase {phase}, {bound:?}: {found:?}");
                }
            }
            index.order.check(&index.slab);
        }
    }

    #[test]
    fn what_was_restored_is_in_order() {
        let mut restored = Index::default();
        let mut random = randoms(5_000);
        for _ in 0..10_000 {
            let number = i64::try_from(random()).expect("small") - 2_000;
            if number % 5 == 0 {
                restored.restore_remove(&id_of(number / 5));
            } else {
                let document = vec![b'x'; usize::try_from(random() % 100).expect("small")];
                restored.restore_put(&entry(&id_of(number), Version(1), &document, None));
            }
        }
        // Alike in their first 8 bytes, and shorter than that.
        for name in [
            "prefix",
            "prefix: b",
            "prefix: a",
            "é",
            "prefix:",
            "zz",
            "z",
        ] {
            restored.restore_put(&entry(&Id::Name(name.into()), Version(1), b"1", None));
        }
        assert!(!restored.is_in_order());
        restored.end_restore();
        assert!(restored.is_in_order());
        restored.order.check(&restored.slab);
        let found = ids(&restored, Bound::Unbounded);
        assert_eq!(found.len(), restored.document_count());
        assert!(found.is_sorted_by(|a, b| a < b));
        // It goes on from there.
        for number in 0..1_000 {
            restored.put(&entry(&id_of(number), Version(2), b"1", None));
        }
        assert!(restored.is_in_order());
        restored.order.check(&restored.slab);
    }
}
