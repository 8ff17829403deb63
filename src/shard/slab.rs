//! Memory for many small byte strings, without a heap allocation for each.
//!
//! Strings of like size share a chunk of [`CHUNK_BYTES`]; a string above
//! [`SLOT_BYTES_MAX`] has a chunk of its own. A slot is named by 32 bits, so that
//! a hash table of slots stays small: this is what keeps a million small
//! documents in little more memory than their bytes.

/// Bytes of a chunk that is shared by several strings.
const CHUNK_BYTES: usize = 64 * 1024;
/// The longest string that shares its chunk.
const SLOT_BYTES_MAX: usize = 8 * 1024;
/// The shortest slot: it bounds how many slots a chunk has.
const SLOT_BYTES_MIN: usize = 32;
/// Up to here sizes are rounded to 8 bytes, beyond to an eighth of a power of two.
const FINE_BYTES_MAX: usize = 256;
/// Bits of a [`Slot`] that number it within its chunk.
const INDEX_BITS: u32 = 11;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
/// The end of a chunk's list of free slots.
const NO_SLOT: u16 = u16::MAX;
/// Size classes: one for each multiple of 8 in the fine range, then eight a doubling.
const CLASS_COUNT: usize = FINE_BYTES_MAX / 8 + 1 + 8 * 5;

const _: () = assert!(CHUNK_BYTES / SLOT_BYTES_MIN <= 1 << INDEX_BITS);
const _: () = assert!(SLOT_BYTES_MAX == FINE_BYTES_MAX << 5);

/// Names one byte string of a [`Slab`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u32);

/// Byte strings of any length, each in a slot of about its size.
#[derive(Default)]
pub struct Slab {
    chunks: Vec<Chunk>,
    /// For each class, the chunks that have a free slot.
    open: Vec<Vec<u32>>,
    /// Chunks without memory, to be used again.
    vacant: Vec<u32>,
}

#[derive(Default)]
struct Chunk {
    /// Empty for a vacant chunk. Slots that were never used stay untouched, and so unmapped.
    bytes: Box<[u8]>,
    slot_bytes: usize,
    class: Option<usize>,
    used: u32,
    /// Slots from here on were never used.
    fresh: u32,
    /// The first free slot below `fresh`; each free slot holds the next one's number.
    free: u16,
}

impl Slab {
    /// Reserves a slot for `bytes` bytes; its content is whatever was there before.
    ///
    /// # Panics
    /// Panics when 2^21 chunks (128 GiB) are in use.
    pub fn insert(&mut self, bytes: usize) -> Slot {
        let Some((class, slot_bytes)) = class_of(bytes) else {
            let chunk = self.add_chunk(Chunk {
                bytes: vec![0; bytes].into_boxed_slice(),
                slot_bytes: bytes,
                class: None,
                used: 1,
                fresh: 1,
                free: NO_SLOT,
            });
            return Slot(chunk << INDEX_BITS);
        };
        if self.open.is_empty() {
            self.open.resize_with(CLASS_COUNT, Vec::new);
        }
        let chunk_number = match self.open[class].last() {
            Some(&chunk) => chunk,
            None => {
                let chunk = self.add_chunk(Chunk {
                    bytes: vec![0; CHUNK_BYTES].into_boxed_slice(),
                    slot_bytes,
                    class: Some(class),
                    used: 0,
                    fresh: 0,
                    free: NO_SLOT,
                });
                self.open[class].push(chunk);
                chunk
            }
        };
        let chunk = &mut self.chunks[to_index(chunk_number)];
        let index = chunk.take_slot();
        if chunk.is_full() {
            self.open[class].pop();
        }
        Slot(chunk_number << INDEX_BITS | index)
    }

    /// Gives the slot back.
    pub fn remove(&mut self, slot: Slot) {
        let (chunk_number, index) = slot.split();
        let chunk = &mut self.chunks[to_index(chunk_number)];
        assert!(chunk.used > 0, "a slot is given back once");
        let was_full = chunk.is_full();
        let class = chunk.class;
        chunk.give_back(index);
        let empty = chunk.used == 0;
        match class {
            None => self.vacate(chunk_number),
            Some(class) if empty => {
                if !was_full {
                    self.open[class].retain(|&open| open != chunk_number);
                }
                self.vacate(chunk_number);
            }
            Some(class) if was_full => self.open[class].push(chunk_number),
            Some(_) => {}
        }
    }

    /// The bytes of the slot: at least as many as were asked for.
    pub fn bytes(&self, slot: Slot) -> &[u8] {
        let (chunk, index) = slot.split();
        let chunk = &self.chunks[to_index(chunk)];
        let start = to_index(index) * chunk.slot_bytes;
        &chunk.bytes[start..start + chunk.slot_bytes]
    }

    /// The bytes of the slot, to be written.
    pub fn bytes_mut(&mut self, slot: Slot) -> &mut [u8] {
        let (chunk, index) = slot.split();
        let chunk = &mut self.chunks[to_index(chunk)];
        let start = to_index(index) * chunk.slot_bytes;
        &mut chunk.bytes[start..start + chunk.slot_bytes]
    }

    /// Whether a string of `bytes` bytes takes the same size of slot as `slot` has.
    pub fn fits_exactly(&self, slot: Slot, bytes: usize) -> bool {
        let slot_bytes = self.chunks[to_index(slot.split().0)].slot_bytes;
        class_of(bytes).map_or(bytes, |(_, class_bytes)| class_bytes) == slot_bytes
    }

    fn add_chunk(&mut self, chunk: Chunk) -> u32 {
        if let Some(number) = self.vacant.pop() {
            self.chunks[to_index(number)] = chunk;
            return number;
        }
        let number = u32::try_from(self.chunks.len()).expect("chunk numbers are asserted below");
        assert!(
            number < 1 << (32 - INDEX_BITS),
            "a shard holds at most 2^21 chunks"
        );
        self.chunks.push(chunk);
        number
    }

    fn vacate(&mut self, number: u32) {
        self.chunks[to_index(number)] = Chunk::default();
        self.vacant.push(number);
    }
}

impl Chunk {
    fn slot_count(&self) -> u32 {
        u32::try_from(self.bytes.len() / self.slot_bytes).expect("a chunk has at most 2^11 slots")
    }

    fn is_full(&self) -> bool {
        self.used == self.slot_count()
    }

    fn take_slot(&mut self) -> u32 {
        assert!(!self.is_full(), "only open chunks are asked");
        self.used += 1;
        if self.free == NO_SLOT {
            self.fresh += 1;
            return self.fresh - 1;
        }
        let index = u32::from(self.free);
        let start = to_index(index) * self.slot_bytes;
        self.free = u16::from_le_bytes([self.bytes[start], self.bytes[start + 1]]);
        index
    }

    fn give_back(&mut self, index: u32) {
        self.used -= 1;
        if self.class.is_some() {
            let start = to_index(index) * self.slot_bytes;
            self.bytes[start..start + 2].copy_from_slice(&self.free.to_le_bytes());
            self.free = u16::try_from(index).expect("a chunk has at most 2^11 slots");
        }
    }
}

impl Slot {
    fn split(self) -> (u32, u32) {
        (self.0 >> INDEX_BITS, self.0 & INDEX_MASK)
    }
}

/// The class of strings of `bytes` bytes and the size of its slots; `None`: a chunk of its own.
fn class_of(bytes: usize) -> Option<(usize, usize)> {
    if bytes > SLOT_BYTES_MAX {
        return None;
    }
    let bytes = bytes.max(SLOT_BYTES_MIN);
    if bytes <= FINE_BYTES_MAX {
        let class = bytes.div_ceil(8);
        return Some((class, class * 8));
    }
    // 2^k < bytes <= 2^(k+1), in eight steps of 2^(k-3).
    let k = (bytes - 1).ilog2();
    let step = 1_usize << (k - 3);
    let steps = (bytes - (1 << k)).div_ceil(step);
    let doubling = to_index(k - FINE_BYTES_MAX.ilog2());
    Some((
        FINE_BYTES_MAX / 8 + doubling * 8 + steps,
        (1 << k) + steps * step,
    ))
}

fn to_index(number: u32) -> usize {
    usize::try_from(number).expect("usize has at least 32 bits on the platforms of io_uring")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_a_slot_that_holds_it_with_little_waste() {
        let mut last = (0, 0);
        for bytes in 0..=SLOT_BYTES_MAX {
            let (class, slot_bytes) = class_of(bytes).expect("small");
            assert!(slot_bytes >= bytes && class < CLASS_COUNT);
            assert!(
                class >= last.0 && slot_bytes >= last.1,
                "classes grow with sizes"
            );
            assert!(
                bytes < 64 || slot_bytes <= bytes + bytes / 8 + 8,
                "{bytes} in {slot_bytes}"
            );
            last = (class, slot_bytes);
        }
        assert_eq!(class_of(SLOT_BYTES_MAX + 1), None);
    }

    #[test]
    fn strings_keep_their_bytes_while_others_come_and_go() {
        let mut slab = Slab::default();
        let mut live: Vec<(Slot, usize, u8)> = Vec::new();
        let mut random = 1_u64;
        for step in 0..20_000_u32 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let pick = usize::try_from(random >> 33).expect("31 bits");
            if live.len() > 500 || (pick % 3 == 0 && !live.is_empty()) {
                let (slot, bytes, fill) = live.swap_remove(pick % live.len());
                assert!(slab.bytes(slot)[..bytes].iter().all(|&byte| byte == fill));
                slab.remove(slot);
            } else {
                let bytes = if pick.is_multiple_of(50) {
                    70_000
                } else {
                    pick % 9000
                };
                let fill = step.to_le_bytes()[0];
                let slot = slab.insert(bytes);
                assert!(slab.fits_exactly(slot, bytes));
                slab.bytes_mut(slot)[..bytes].fill(fill);
                live.push((slot, bytes, fill));
            }
        }
        for (slot, bytes, fill) in live.drain(..) {
            assert!(slab.bytes(slot)[..bytes].iter().all(|&byte| byte == fill));
            slab.remove(slot);
        }
        assert_eq!(
            slab.vacant.len(),
            slab.chunks.len(),
            "all memory comes back"
        );
    }
}
