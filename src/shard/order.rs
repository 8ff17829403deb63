//! The slots of one shard in the order of their ids: integers ascending, then
//! names by their bytes.
//!
//! The hash tables find a document; this is for those who go through them all.
//! Slots lie in blocks, sorted through the slab, so that an id is not held a
//! second time: 4 bytes a document, and a little for the blocks.
//!
//! What stays true: a block holds the ids from its bound up to the next one's
//! bound, and no block is empty or has more than [`BLOCK_SLOTS`] slots.

use std::{collections::BTreeMap, ops::Bound};

use super::{
    entry::{Entry, Key},
    slab::{Slab, Slot},
};
use crate::id::Id;

/// Slots of a full block.
const BLOCK_SLOTS: usize = 256;
/// Slots of a block after recovery: with some room, or the first new id of each would split it.
const BUILT_SLOTS: usize = BLOCK_SLOTS - BLOCK_SLOTS / 16;
/// A block below this is put together with its neighbour where both fit one.
const SPARSE_SLOTS: usize = BLOCK_SLOTS / 4;
/// Slots by which a block's memory grows: in between, it has a tenth more than it needs.
const GROWTH_SLOTS: usize = 32;

/// All slots of a shard, ordered.
#[derive(Default)]
pub struct Order {
    blocks: BTreeMap<Id, Vec<Slot>>,
}

impl Order {
    /// The order of `slots`, whose entries are written.
    ///
    /// Sorts by the first 8 bytes of ids, and looks at the rest only where those are alike.
    pub fn build(slots: impl Iterator<Item = Slot>, slab: &Slab) -> Order {
        let mut integers = Vec::new();
        let mut names = Vec::new();
        for slot in slots {
            match key(slab, slot) {
                Key::Integer(integer) => integers.push((integer, slot)),
                Key::Name(name) => names.push((first_bytes(name), slot)),
            }
        }
        integers.sort_unstable_by_key(|&(integer, _)| integer);
        names.sort_unstable_by(|(a, a_slot), (b, b_slot)| {
            a.cmp(b)
                .then_with(|| key(slab, *a_slot).cmp(&key(slab, *b_slot)))
        });
        let integers = integers.into_iter().map(|(_, slot)| slot);
        let names = names.into_iter().map(|(_, slot)| slot);
        let mut ordered = integers.chain(names).peekable();
        let mut blocks = BTreeMap::new();
        while let Some(&first) = ordered.peek() {
            let mut block = Vec::with_capacity(BLOCK_SLOTS);
            block.extend(ordered.by_ref().take(BUILT_SLOTS));
            block.shrink_to(block.len() + GROWTH_SLOTS);
            blocks.insert(key(slab, first).to_id(), block);
        }
        Order { blocks }
    }

    /// Takes in the slot of `id`, which is new.
    pub fn insert(&mut self, id: &Id, slot: Slot, slab: &Slab) {
        let Some((_, block)) = self.blocks.range_mut(..=id).next_back() else {
            return self.insert_first(id, slot);
        };
        let at = position(block, id, slab).expect_err("an id has one slot");
        if block.len() < BLOCK_SLOTS {
            return insert_at(block, at, slot);
        }
        if at == block.len() {
            // Ids that ascend or descend fill each block before they begin the next.
            return self.insert_between(id, slot);
        }
        let mut upper = block.split_off(BLOCK_SLOTS / 2);
        block.shrink_to(BLOCK_SLOTS / 2 + GROWTH_SLOTS);
        match at.checked_sub(block.len()) {
            Some(at) if at > 0 => insert_at(&mut upper, at, slot),
            _ => insert_at(block, at, slot),
        }
        let bound = key(slab, upper[0]).to_id();
        self.blocks.insert(bound, upper);
    }

    /// Forgets the slot of `id`; its entry is still there.
    pub fn remove(&mut self, id: &Id, slab: &Slab) {
        let (bound, block) = self.block_of(id);
        let bound = bound.clone();
        let at = position(block, id, slab).expect("each document has its place in the order");
        block.remove(at);
        if block.len() >= SPARSE_SLOTS {
            if block.capacity() - block.len() > 2 * GROWTH_SLOTS {
                block.shrink_to(block.len() + GROWTH_SLOTS);
            }
            return;
        }
        self.merge_with_next(&bound);
        if self.blocks[&bound].is_empty() {
            self.blocks.remove(&bound);
        }
    }

    /// Gives `id` another slot; the entries of both are there.
    pub fn replace(&mut self, id: &Id, slot: Slot, slab: &Slab) {
        let (_, block) = self.block_of(id);
        let at = position(block, id, slab).expect("each document has its place in the order");
        block[at] = slot;
    }

    /// The slots of ids from `from` on.
    pub fn range<'o>(
        &'o self,
        from: Bound<&Id>,
        slab: &'o Slab,
    ) -> impl Iterator<Item = Slot> + use<'o> {
        let (block, start) = match from {
            Bound::Unbounded => (None, Bound::Unbounded),
            Bound::Included(id) | Bound::Excluded(id) => {
                let block = self.blocks.range(..=id).next_back();
                (block.map(|(_, block)| (block, id)), Bound::Excluded(id))
            }
        };
        let rest = match block {
            None => &[][..],
            Some((block, id)) => match (position(block, id, slab), from) {
                (Ok(at), Bound::Excluded(_)) => &block[at + 1..],
                (Ok(at) | Err(at), _) => &block[at..],
            },
        };
        let later = self.blocks.range::<Id, _>((start, Bound::Unbounded));
        rest.iter()
            .chain(later.flat_map(|(_, block)| block))
            .copied()
    }

    /// How many slots there are; costs a look at each block.
    pub fn slot_count(&self) -> usize {
        self.blocks.values().map(Vec::len).sum()
    }

    /// Checks what the header of this file says stays true, and that memory is not wasted.
    #[cfg(test)]
    pub fn check(&self, slab: &Slab) {
        let mut bounds = self.blocks.keys().skip(1);
        let mut capacity = 0;
        for (bound, block) in &self.blocks {
            assert!((1..=BLOCK_SLOTS).contains(&block.len()));
            assert!(block.is_sorted_by(|&a, &b| key(slab, a) < key(slab, b)));
            assert!(Key::of(bound) <= key(slab, block[0]));
            let next = bounds.next();
            let last = key(slab, block[block.len() - 1]);
            assert!(next.is_none_or(|next| last < Key::of(next)));
            capacity += block.capacity();
        }
        let (slots, blocks) = (self.slot_count(), self.blocks.len());
        assert!(
            capacity <= slots + 2 * GROWTH_SLOTS * blocks + blocks,
            "{capacity} for {slots}"
        );
        assert!(
            blocks <= 2 + slots / (SPARSE_SLOTS / 2),
            "{blocks} for {slots}"
        );
    }

    /// The block that holds `id`, and its bound.
    fn block_of(&mut self, id: &Id) -> (&Id, &mut Vec<Slot>) {
        self.blocks
            .range_mut(..=id)
            .next_back()
            .expect("a bound is no larger than the ids of its block")
    }

    /// Takes in an id below all bounds.
    fn insert_first(&mut self, id: &Id, slot: Slot) {
        let block = match self.blocks.first_entry() {
            Some(first) if first.get().len() < BLOCK_SLOTS => {
                let mut block = first.remove();
                insert_at(&mut block, 0, slot);
                block
            }
            _ => single(slot),
        };
        self.blocks.insert(id.clone(), block);
    }

    /// Takes in an id above all of a full block and below the next one.
    fn insert_between(&mut self, id: &Id, slot: Slot) {
        let next = self
            .blocks
            .range::<Id, _>((Bound::Excluded(id), Bound::Unbounded))
            .next();
        let block = match next {
            Some((bound, block)) if block.len() < BLOCK_SLOTS => {
                let bound = bound.clone();
                let mut block = self.blocks.remove(&bound).expect("just found");
                insert_at(&mut block, 0, slot);
                block
            }
            _ => single(slot),
        };
        self.blocks.insert(id.clone(), block);
    }

    fn merge_with_next(&mut self, bound: &Id) {
        let mut from_here = self.blocks.range_mut::<Id, _>(bound..);
        let Some((_, block)) = from_here.next() else {
            return;
        };
        let Some((next, rest)) = from_here.next() else {
            return;
        };
        if block.len() + rest.len() > BUILT_SLOTS {
            return;
        }
        block.reserve_exact(rest.len() + GROWTH_SLOTS);
        block.append(rest);
        let next = next.clone();
        self.blocks.remove(&next);
    }
}

fn key(slab: &Slab, slot: Slot) -> Key<'_> {
    Entry(slab.bytes(slot)).key()
}

fn position(block: &[Slot], id: &Id, slab: &Slab) -> Result<usize, usize> {
    let wanted = Key::of(id);
    block.binary_search_by(|&slot| key(slab, slot).cmp(&wanted))
}

fn insert_at(block: &mut Vec<Slot>, at: usize, slot: Slot) {
    if block.len() == block.capacity() {
        block.reserve_exact(GROWTH_SLOTS);
    }
    block.insert(at, slot);
}

fn single(slot: Slot) -> Vec<Slot> {
    let mut block = Vec::with_capacity(GROWTH_SLOTS);
    block.push(slot);
    block
}

/// A number that orders names like their first 8 bytes do.
fn first_bytes(name: &[u8]) -> u64 {
    let mut first = [0; 8];
    let bytes = name.len().min(first.len());
    first[..bytes].copy_from_slice(&name[..bytes]);
    u64::from_be_bytes(first)
}
