//! The scan for a head: finds its end in an input that grows.
//!
//! A head that arrives in one piece is read at once. Any other is scanned line
//! by line, each byte once, so that a client that sends byte by byte costs
//! linear time and a mistake is answered when it is seen, not when the head
//! would have ended. Both ways come to the same answer.

use super::Fault;
use super::grammar::is_token_byte;
use super::head::{Head, check_request_line, grammar_fault};
use super::lines::{LineError, LineScan};
use crate::limits::{EMPTY_LINES_MAX, HEAD_BYTES_MAX, REQUEST_LINE_BYTES_MAX};

/// Where the scan for one head stands.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    lines: LineScan,
    place: Place,
    /// Where the request line begins: after the empty lines.
    start: usize,
}

/// Which line the scan is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nothing was scanned.
    #[default]
    Untouched,
    /// Before the request line, after so many empty lines.
    EmptyLines(usize),
    RequestLine,
    Fields,
}

impl HeadScan {
    /// Whether a byte of the head was seen; empty lines before it do not count.
    pub(super) fn has_begun(&self) -> bool {
        matches!(self.place, Place::RequestLine | Place::Fields)
    }

    /// The head in `input` and where it begins; `None` until it is whole.
    ///
    /// # Errors
    /// A [`Fault`] as soon as the head is known to be unacceptable.
    pub(super) fn next<'b>(
        &mut self,
        input: &'b [u8],
        body_bytes_max: usize,
    ) -> Result<Option<(usize, Head<'b>)>, Fault> {
        if self.place == Place::Untouched {
            // Asked before anything arrived, the scan stays fit to read a whole head at once.
            if input.is_empty() {
                return Ok(None);
            }
            if let Some(head) = Head::read(input, body_bytes_max)? {
                return Ok(Some((0, head)));
            }
            self.place = Place::EmptyLines(0);
        }
        let Some(end) = self.scan(input)? else {
            return Ok(None);
        };
        let bytes = &input[self.start..end];
        match Head::read(bytes, body_bytes_max)? {
            Some(head) => Ok(Some((self.start, head))),
            None => Err(grammar_fault(bytes)),
        }
    }

    /// Where the head ends, after its empty line; `None` until it is whole.
    fn scan(&mut self, input: &[u8]) -> Result<Option<usize>, Fault> {
        loop {
            match self.place {
                Place::Untouched => self.place = Place::EmptyLines(0),
                Place::EmptyLines(count) => {
                    self.start = self.lines.position();
                    match input.get(self.start) {
                        None => return Ok(None),
                        Some(b'\r' | b'\n') => {
                            let end = self.start + 2;
                            if self.lines.next(input, end).map_err(fault)?.is_none() {
                                return Ok(None);
                            }
                            if count == EMPTY_LINES_MAX {
                                return Err(Fault::too_many_empty_lines());
                            }
                            self.place = Place::EmptyLines(count + 1);
                        }
                        Some(&byte) if is_token_byte(byte) => self.place = Place::RequestLine,
                        Some(_) => {
                            return Err(Fault::bad_request(
                                "the request line does not begin with a method; send HTTP/1.1 in clear text",
                            ));
                        }
                    }
                }
                Place::RequestLine => {
                    let end = self.start + REQUEST_LINE_BYTES_MAX + 2;
                    match self.lines.next(input, end) {
                        Ok(Some(_)) => {
                            check_request_line(&input[self.start..self.lines.position()])?
                        }
                        Ok(None) => return Ok(None),
                        Err(LineError::TooLong) => return Err(Fault::uri_too_long()),
                        Err(error) => return Err(fault(error)),
                    }
                    self.place = Place::Fields;
                }
                Place::Fields => match self.lines.next(input, self.start + HEAD_BYTES_MAX) {
                    Ok(Some([])) => return Ok(Some(self.lines.position())),
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok(None),
                    Err(LineError::TooLong) => return Err(Fault::head_too_long()),
                    Err(error) => return Err(fault(error)),
                },
            }
        }
    }
}

fn fault(error: LineError) -> Fault {
    Fault::bad_request(error.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A caller asks for the next request as soon as it dropped the last one.
    #[test]
    fn asking_before_anything_arrived_does_not_make_the_next_head_slow() {
        let mut scan = HeadScan::default();
        assert!(matches!(scan.next(b"", 0), Ok(None)));
        assert_eq!(scan.place, Place::Untouched);
    }
}
