//! The reader of an import: from bytes to lines, from lines to batches for the lanes.

use std::{
    io::{self, BufRead, BufReader, Read},
    sync::{Arc, mpsc::SyncSender},
};

use super::{
    lane::Batch,
    place::{Place, Tally},
};
use crate::{
    api::{Code, Line, Problem},
    limits::{IMPORT_BATCH_BYTES, IMPORT_BATCH_OPS, IMPORT_LINE_BYTES_MAX},
};

/// Bytes that are read at once.
const READ_BYTES: usize = 256 * 1024;

/// Reads lines and deals them out.
pub struct Feed {
    input: BufReader<Box<dyn Read + Send>>,
    place: Place,
    skip: u64,
    lanes: Vec<Pending>,
    tally: Arc<Tally>,
}

/// What a lane gets next.
struct Pending {
    batch: Batch,
    queue: SyncSender<Batch>,
}

/// The lanes do not take batches any more.
struct Stopped;

impl Feed {
    /// A reader of `input`, which begins at `place`, that leaves out `skip` lines.
    pub fn new(
        input: Box<dyn Read + Send>,
        place: Place,
        skip: u64,
        queues: Vec<SyncSender<Batch>>,
        tally: Arc<Tally>,
    ) -> Feed {
        let pending = |queue| Pending {
            batch: Batch::default(),
            queue,
        };
        Feed {
            input: BufReader::with_capacity(READ_BYTES, input),
            place,
            skip,
            lanes: queues.into_iter().map(pending).collect(),
            tally,
        }
    }

    /// Reads to the end, or until the lanes stopped.
    ///
    /// # Errors
    /// Those of reading.
    pub fn run(mut self) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = read_line(&mut self.input, IMPORT_LINE_BYTES_MAX, &mut line)?;
            if read == 0 {
                break;
            }
            let before = self.place;
            self.place.lines += 1;
            self.place.bytes += read;
            if self.place.lines > self.skip && self.deal(&line, read, before).is_err() {
                return Ok(());
            }
        }
        for lane in 0..self.lanes.len() {
            if !self.lanes[lane].batch.is_empty() && self.hand_over(lane).is_err() {
                return Ok(());
            }
        }
        self.tally.read_to(self.place);
        Ok(())
    }

    /// Puts a line, which had `read` bytes, into the batch of its lane, or rejects it.
    fn deal(&mut self, line: &[u8], read: u64, before: Place) -> Result<(), Stopped> {
        let number = self.place.lines;
        let text = match number {
            // Some programs begin a file of UTF-8 with a byte order mark.
            1 => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line),
            _ => line,
        }
        .trim_ascii();
        if text.is_empty() {
            return Ok(());
        }
        if read > IMPORT_LINE_BYTES_MAX + 1 {
            let message = format!("the line has more than {IMPORT_LINE_BYTES_MAX} bytes");
            let problem = Problem::new(Code::BadRequest, message);
            self.reject(number, &problem);
            return Ok(());
        }
        let id = match Line::read(text) {
            Ok(line) => line.id,
            Err(problem) => {
                self.reject(number, &problem);
                return Ok(());
            }
        };
        let lane = self.lane_of(id.as_ref().map_or(number, |id| id.placement()));
        let batch = &self.lanes[lane].batch;
        if !batch.is_empty() && batch.bytes() + text.len() > IMPORT_BATCH_BYTES {
            self.hand_over(lane)?;
        }
        let batch = &mut self.lanes[lane].batch;
        if batch.is_empty() {
            self.tally.begin(lane, before);
        }
        batch.add(number, text, id.is_some());
        if batch.len() == IMPORT_BATCH_OPS {
            self.hand_over(lane)?;
        }
        Ok(())
    }

    fn reject(&self, number: u64, problem: &Problem) {
        self.tally.reject(number, problem);
        self.tally.read_to(self.place);
    }

    /// The lane of an id at this place of the ring.
    fn lane_of(&self, placement: u64) -> usize {
        let lanes = u64::try_from(self.lanes.len()).expect("a length fits 64 bits");
        usize::try_from(placement % lanes).expect("less than a length")
    }

    fn hand_over(&mut self, lane: usize) -> Result<(), Stopped> {
        // Other lines up to here are done, or in a batch that was begun.
        self.tally.read_to(self.place);
        let lane = &mut self.lanes[lane];
        let batch = std::mem::take(&mut lane.batch);
        lane.queue.send(batch).map_err(|_| Stopped)
    }
}

/// Reads a line, as far as `bytes_max`, into `line`, less its line feed if it is longer; how many
/// bytes of the input it took, 0 at the end.
fn read_line(input: &mut impl BufRead, bytes_max: u64, line: &mut Vec<u8>) -> io::Result<u64> {
    let mut taken = 0;
    loop {
        let available = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if available.is_empty() {
            return Ok(taken);
        }
        let end = memchr::memchr(b'\n', available);
        let piece = &available[..end.map_or(available.len(), |end| end + 1)];
        let piece_bytes = piece.len();
        let room = bytes_max.saturating_sub(taken);
        let kept = usize::try_from(room).map_or(piece_bytes, |room| room.min(piece_bytes));
        line.extend_from_slice(&piece[..kept]);
        input.consume(piece_bytes);
        taken += u64::try_from(piece_bytes).expect("a length fits 64 bits");
        if end.is_some() {
            return Ok(taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_too_long_is_passed_over_in_bounded_memory() {
        let mut input = io::Cursor::new(b"12345\n1234567890\n\n12".to_vec());
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            let read = read_line(&mut input, 6, &mut line).expect("memory reads");
            if read == 0 {
                break;
            }
            lines.push((read, String::from_utf8(line).expect("ASCII")));
        }
        let expected = [(6, "12345\n"), (11, "123456"), (1, "\n"), (2, "12")];
        let expected = expected.map(|(read, text)| (read, text.to_owned()));
        assert_eq!(lines, expected);
    }
}
