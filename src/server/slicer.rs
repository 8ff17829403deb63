//! The thread of a core that makes slices of streamed bodies, one after the other.
//!
//! It reads files and renders lines, neither of which a core should wait for. The core takes
//! what it made in one of its turns, and is woken for that; the executor has no part in it, so
//! that a core with streams rests in its ring as any other.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    maker::{MakeError, Maker},
    process::Process,
};
use crate::{http::Transfer, id::CoreId, log::Lsn};

/// Room for the length of a chunk, before it is known.
const CHUNK_HEAD: &[u8; 10] = b"00000000\r\n";

/// A slice to make.
pub struct Order {
    pub stream: usize,
    pub maker: Maker,
    /// Up to which record.
    pub through: Lsn,
    pub framing: Option<Transfer>,
}

/// A slice that is made.
pub struct Made {
    pub stream: usize,
    pub maker: Maker,
    /// Up to which record it was to be made.
    pub through: Lsn,
    /// Whether there is nothing more up to there, or why there is no going on.
    pub result: Result<bool, MakeError>,
    /// The slice, framed; empty: nothing was to be shown.
    pub bytes: Vec<u8>,
    /// How long that took.
    pub took: Duration,
}

/// The thread, as its core sees it; it ends when this is dropped.
pub struct Slicer {
    orders: Option<mpsc::Sender<Order>>,
    made: Arc<Mutex<Vec<Made>>>,
    thread: Option<JoinHandle<()>>,
    under_way: usize,
    /// The stream whose slice was ordered last.
    last: usize,
}

impl Slicer {
    /// Starts the thread of `core`.
    ///
    /// # Errors
    /// If the system has no room for it.
    pub fn start(process: Arc<Process>, core: CoreId) -> io::Result<Slicer> {
        let (sender, orders) = mpsc::channel::<Order>();
        let made = Arc::<Mutex<Vec<Made>>>::default();
        let shelf = Arc::clone(&made);
        let work = move || {
            for order in orders {
                let slice = order.make();
                let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
                shelf.push(slice);
                drop(shelf);
                process.wake(core);
            }
        };
        let thread = thread::Builder::new()
            .name(format!("oxdaas-slice-{}", core.0))
            .spawn(work)?;
        Ok(Slicer {
            orders: Some(sender),
            made,
            thread: Some(thread),
            under_way: 0,
            last: 0,
        })
    }

    /// Has a slice made.
    pub fn begin(&mut self, order: Order) {
        self.under_way += 1;
        self.last = order.stream;
        let orders = self.orders.as_ref().expect("it is there until the end");
        assert!(orders.send(order).is_ok(), "the thread of slices is gone");
    }

    /// Takes what is made.
    pub fn take(&mut self) -> Vec<Made> {
        if self.under_way == 0 {
            return Vec::new();
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let made = std::mem::take(&mut *made);
        self.under_way -= made.len();
        made
    }

    /// Whether a slice is being made.
    pub fn is_busy(&self) -> bool {
        self.under_way > 0
    }

    /// The stream whose slice was ordered last.
    pub fn last(&self) -> usize {
        self.last
    }
}

impl Drop for Slicer {
    /// Waits for the slice that is being made: it may hold files of the data directory.
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // If it has panicked, that was said.
            let _ = thread.join();
        }
    }
}

impl Order {
    fn make(self) -> Made {
        let Order {
            stream,
            mut maker,
            through,
            framing,
        } = self;
        let began = Instant::now();
        let mut result = Ok(false);
        let bytes = frame(framing, |out| result = maker.make(through, out));
        Made {
            stream,
            maker,
            through,
            result,
            bytes,
            took: began.elapsed(),
        }
    }
}

/// What `fill` writes, as a part of a body; empty if that is nothing.
pub fn frame(transfer: Option<Transfer>, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    match transfer {
        Some(Transfer::UntilClose) => fill(&mut out),
        Some(Transfer::Chunked) => {
            out.extend_from_slice(CHUNK_HEAD);
            fill(&mut out);
            let bytes = out.len() - CHUNK_HEAD.len();
            if bytes == 0 {
                return Vec::new();
            }
            let length = format!("{bytes:08x}");
            assert_eq!(length.len(), CHUNK_HEAD.len() - 2, "a slice is below 4 GiB");
            out[..length.len()].copy_from_slice(length.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        // The answer to a HEAD has no body.
        None => fill(&mut Vec::new()),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_its_length_and_nothing_is_no_chunk() {
        let framed = |transfer, text: &'static str| {
            let bytes = frame(transfer, |out| out.extend_from_slice(text.as_bytes()));
            String::from_utf8(bytes).expect("text")
        };
        let chunked = Some(Transfer::Chunked);
        assert_eq!(
            framed(chunked, "0123456789abcdef"),
            "00000010\r\n0123456789abcdef\r\n"
        );
        assert_eq!(framed(chunked, ""), "", "an empty chunk would end the body");
        assert_eq!(framed(Some(Transfer::UntilClose), "a\n"), "a\n");
        assert_eq!(framed(None, "a\n"), "");
    }
}
