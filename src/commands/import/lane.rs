//! A connection of an import: it sends its batches one after the other.
//!
//! What the server refuses for now is sent again, with a growing pause; from the first line of a
//! batch that it refused on, so that no line overtakes an earlier one of its id. A line that it
//! refuses for good is a reject. A line without an id is sent again only when it is not known to
//! be stored.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc::Receiver},
    time::Duration,
};

use super::place::Tally;
use crate::{
    api::{Line, Said, read_problem, read_results, write_batch},
    commands::client::{Client, Method, document_target},
    limits::{
        CLIENT_BODY_BYTES_MAX, IMPORT_ATTEMPTS_MAX, IMPORT_PAUSE_MS_MAX, IMPORT_PAUSE_MS_MIN,
    },
};

/// Lines that are stored by one request.
#[derive(Debug, Default)]
pub struct Batch {
    text: Vec<u8>,
    lines: Vec<BatchLine>,
}

#[derive(Clone, Copy, Debug)]
struct BatchLine {
    number: u64,
    start: usize,
    end: usize,
    has_id: bool,
}

impl Batch {
    /// Appends a line that was checked.
    pub fn add(&mut self, number: u64, text: &[u8], has_id: bool) {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        self.lines.push(BatchLine {
            number,
            start,
            end: self.text.len(),
            has_id,
        });
    }

    /// Whether there are no lines in it.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How many lines are in it.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Bytes of its lines.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    fn text_of(&self, line: &BatchLine) -> &[u8] {
        &self.text[line.start..line.end]
    }
}

/// That the import ends, for those who wait.
#[derive(Debug, Default)]
pub struct Stop {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Ends the import.
    pub fn raise(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether it ends.
    pub fn is_raised(&self) -> bool {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for so long, or until it ends.
    fn pause(&self, pause: Duration) {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        // A poisoned lock is no reason to wait longer or shorter.
        let _ = self
            .changed
            .wait_timeout_while(raised, pause, |raised| !*raised);
    }
}

/// One connection.
pub struct Lane {
    number: usize,
    client: Client,
    tally: Arc<Tally>,
    stop: Arc<Stop>,
}

/// Why a batch is not done.
enum Undone {
    /// The import ends.
    Stopped,
    /// It cannot go on.
    Failed(String),
}

/// What a request came to.
enum Answer {
    /// What the server said to each line.
    Results(Vec<Said>),
    /// Nothing was stored, or it is not known: try again.
    Busy(String),
    /// The request as a whole is refused.
    Refused(Said),
}

impl Lane {
    /// The lane of that number.
    pub fn new(number: usize, client: Client, tally: Arc<Tally>, stop: Arc<Stop>) -> Lane {
        Lane {
            number,
            client,
            tally,
            stop,
        }
    }

    /// Sends batches until there are no more, or the import ends.
    ///
    /// # Errors
    /// Why it cannot go on.
    pub fn run(&self, batches: &Receiver<Batch>) -> Result<(), String> {
        while let Ok(batch) = batches.recv() {
            match self.store(&batch, batch.lines.clone()) {
                Ok(()) => self.tally.end(self.number),
                Err(Undone::Stopped) => return Ok(()),
                Err(Undone::Failed(message)) => return Err(message),
            }
        }
        Ok(())
    }

    /// Stores `lines` of `batch`, however many requests it takes.
    fn store(&self, batch: &Batch, mut lines: Vec<BatchLine>) -> Result<(), Undone> {
        let mut attempts = 0;
        while !lines.is_empty() {
            if self.stop.is_raised() {
                return Err(Undone::Stopped);
            }
            let busy = match self.ask(batch, &lines)? {
                Answer::Results(results) => {
                    let left = self.settle(&lines, &results)?;
                    let Some((left, said)) = left else {
                        return Ok(());
                    };
                    if left.len() < lines.len() {
                        attempts = 0;
                    }
                    lines = left;
                    said
                }
                Answer::Busy(said) => said,
                Answer::Refused(said) if lines.len() == 1 => {
                    self.tally
                        .reject_as(lines[0].number, &said.error, &said.message);
                    return Ok(());
                }
                Answer::Refused(_) => {
                    // Which line it is for shows when the others are gone.
                    let second = lines.split_off(lines.len() / 2);
                    self.store(batch, lines)?;
                    lines = second;
                    attempts = 0;
                    continue;
                }
            };
            attempts += 1;
            if attempts == IMPORT_ATTEMPTS_MAX {
                return Err(Undone::Failed(format!(
                    "{busy}; tried {IMPORT_ATTEMPTS_MAX} times"
                )));
            }
            self.stop.pause(pause(attempts));
        }
        Ok(())
    }

    /// Counts what came of `lines`; those that must be sent again, and why.
    fn settle(
        &self,
        lines: &[BatchLine],
        results: &[Said],
    ) -> Result<Option<(Vec<BatchLine>, String)>, Undone> {
        let busy = results.iter().position(|said| said.status == 503);
        let mut stored = 0;
        let mut left = Vec::new();
        let mut full = None;
        for (place, (line, said)) in lines.iter().zip(results).enumerate() {
            let is_behind = busy.is_some_and(|busy| place >= busy);
            match said.status {
                // The later of two lines with one id is to be stored last.
                200..=299 if is_behind && line.has_id => left.push(*line),
                200..=299 => stored += 1,
                503 => left.push(*line),
                507 => full = Some(said),
                _ => self
                    .tally
                    .reject_as(line.number, &said.error, &said.message),
            }
        }
        self.tally.add_stored(stored);
        match (full, busy) {
            (Some(said), _) => Err(Undone::Failed(format!("{}: {}", said.error, said.message))),
            (None, None) => Ok(None),
            (None, Some(busy)) => Ok(Some((left, results[busy].message.clone()))),
        }
    }

    /// Sends `lines` in one request.
    fn ask(&self, batch: &Batch, lines: &[BatchLine]) -> Result<Answer, Undone> {
        let mut body = Vec::with_capacity(batch.bytes() + 16 * lines.len());
        write_batch(lines.iter().map(|line| batch.text_of(line)), &mut body);
        let answer = match self.exchange(Method::Post, "/batch", &body) {
            Ok((200, body)) => match read_results(&body) {
                Some(results) if results.len() == lines.len() => Answer::Results(results),
                _ => return Err(self.stranger(200)),
            },
            other => self.refusal(other)?,
        };
        match (&answer, lines) {
            // A document may have as many bytes as a body; a batch around it has more.
            (Answer::Refused(said), [line]) if said.status == 413 => {
                self.ask_alone(batch.text_of(line))
            }
            _ => Ok(answer),
        }
    }

    /// Sends the document of a line as a body of its own.
    fn ask_alone(&self, text: &[u8]) -> Result<Answer, Undone> {
        let line = Line::read(text).expect("it was checked when it was read");
        let (method, target) = match &line.id {
            Some(id) => (Method::Put, document_target(id)),
            None => (Method::Post, "/docs".to_owned()),
        };
        match self.exchange(method, &target, line.data.as_bytes()) {
            Ok((status @ 200..=299, _)) => Ok(Answer::Results(vec![Said {
                status,
                error: String::new(),
                message: String::new(),
            }])),
            other => self.refusal(other),
        }
    }

    /// The status and the body of the answer, or why there is none.
    fn exchange(
        &self,
        method: Method,
        target: &str,
        body: &[u8],
    ) -> Result<(u16, Vec<u8>), String> {
        let asked = self.client.send(method, target, Some(body));
        let response = asked.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = response.into_bytes(CLIENT_BODY_BYTES_MAX);
        Ok((status, body.map_err(|error| error.to_string())?))
    }

    /// What an answer that is no success means.
    fn refusal(&self, answered: Result<(u16, Vec<u8>), String>) -> Result<Answer, Undone> {
        let (status, body) = match answered {
            Ok(answered) => answered,
            Err(message) => return Ok(Answer::Busy(message)),
        };
        let Some(said) = read_problem(&body) else {
            return Err(self.stranger(status));
        };
        let said = Said { status, ..said };
        match status {
            503 | 408 => Ok(Answer::Busy(said.message)),
            400 | 413 | 415 => Ok(Answer::Refused(said)),
            _ => Err(Undone::Failed(format!("{}: {}", said.error, said.message))),
        }
    }

    fn stranger(&self, status: u16) -> Undone {
        let url = self.client.url();
        Undone::Failed(format!(
            "{url} answers {status} as OxDaaS does not; is it the right server?"
        ))
    }
}

/// The pause before an attempt: twice as long each time, up to a bound.
fn pause(attempts: u32) -> Duration {
    let doubled = IMPORT_PAUSE_MS_MIN.saturating_mul(1 << (attempts - 1).min(32));
    Duration::from_millis(doubled.min(IMPORT_PAUSE_MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_their_bound() {
        assert_eq!(pause(1), Duration::from_millis(IMPORT_PAUSE_MS_MIN));
        assert_eq!(pause(2), 2 * pause(1));
        assert_eq!(pause(60), Duration::from_millis(IMPORT_PAUSE_MS_MAX));
    }
}
