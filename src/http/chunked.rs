//! Chunked bodies: decoded as they arrive (RFC 9112, section 7.1).
//!
//! Each byte is looked at once, however the body is cut. Extensions are
//! skipped and trailers are dropped; both are bounded, and every line end is
//! CRLF, because a lenient reader beside a strict proxy is how requests are
//! smuggled.

use memchr::memchr;

use super::Fault;
use super::grammar::is_token;
use super::lines::{LineError, LineScan};
use crate::limits::{
    CHUNK_FRAMING_BYTES_MAX, CHUNK_LINE_BYTES_MAX, HEAD_BYTES_MAX, HEAD_FIELDS_MAX,
};

/// A chunked body under way.
#[derive(Debug)]
pub(super) struct Chunked {
    stage: Stage,
    lines: LineScan,
    body: Vec<u8>,
    framing_bytes: usize,
}

/// Which part of the framing comes next.
#[derive(Clone, Copy, Debug)]
enum Stage {
    SizeLine,
    Data { at: usize, left: usize },
    DataEnd { at: usize },
    Trailers { start: usize, count: usize },
}

impl Chunked {
    /// A body whose first chunk-size line begins at `start` of the input.
    pub(super) fn new(start: usize) -> Chunked {
        Chunked {
            stage: Stage::SizeLine,
            lines: LineScan::at(start),
            body: Vec::new(),
            framing_bytes: 0,
        }
    }

    /// Bytes of the body that are decoded.
    pub(super) fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// Takes the decoded body, once [`Chunked::next`] returned its end.
    pub(super) fn take_body(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.body)
    }

    /// Decodes what is new in `input`; returns where the body ends, `None` until it does.
    ///
    /// # Errors
    /// A [`Fault`] as soon as the framing is malformed or a bound is passed.
    pub(super) fn next(
        &mut self,
        input: &[u8],
        body_bytes_max: usize,
    ) -> Result<Option<usize>, Fault> {
        loop {
            match self.stage {
                Stage::SizeLine => {
                    let at = self.lines.position();
                    let line = match self.lines.next(input, at + CHUNK_LINE_BYTES_MAX) {
                        Ok(Some(line)) => line,
                        Ok(None) => return Ok(None),
                        Err(LineError::TooLong) => return Err(Fault::chunk_line_too_long()),
                        Err(error) => return Err(Fault::bad_framing(error.message())),
                    };
                    let size = chunk_size(line)?;
                    // The line's CRLF and, after data, another.
                    self.framing_bytes += line.len() + 4;
                    if self.framing_bytes > CHUNK_FRAMING_BYTES_MAX + self.body.len() {
                        return Err(Fault::chunk_framing_too_long());
                    }
                    let room = body_bytes_max - self.body.len();
                    let left = usize::try_from(size)
                        .ok()
                        .filter(|&size| size <= room)
                        .ok_or_else(|| Fault::body_too_large(body_bytes_max))?;
                    let at = self.lines.position();
                    self.stage = match left {
                        0 => Stage::Trailers {
                            start: at,
                            count: 0,
                        },
                        _ => Stage::Data { at, left },
                    };
                }
                Stage::Data { at, left } => {
                    let arrived = input.get(at..).unwrap_or_default();
                    let taken = left.min(arrived.len());
                    self.body.extend_from_slice(&arrived[..taken]);
                    let at = at + taken;
                    if taken < left {
                        let left = left - taken;
                        self.stage = Stage::Data { at, left };
                        return Ok(None);
                    }
                    self.stage = Stage::DataEnd { at };
                }
                Stage::DataEnd { at } => match input.get(at..).unwrap_or_default() {
                    [b'\r', b'\n', ..] => {
                        self.lines = LineScan::at(at + 2);
                        self.stage = Stage::SizeLine;
                    }
                    [] | [b'\r'] => return Ok(None),
                    _ => {
                        return Err(Fault::bad_framing(
                            "a chunk does not end with CRLF after as many bytes as its size says",
                        ));
                    }
                },
                Stage::Trailers { start, count } => {
                    match self.lines.next(input, start + HEAD_BYTES_MAX) {
                        Ok(Some([])) => return Ok(Some(self.lines.position())),
                        Ok(Some(line)) if is_field(line) && count < HEAD_FIELDS_MAX => {}
                        Ok(None) => return Ok(None),
                        Ok(Some(_)) | Err(LineError::TooLong) => {
                            return Err(Fault::bad_framing(
                                "the trailer is malformed or larger than a head may be; leave it out",
                            ));
                        }
                        Err(error) => return Err(Fault::bad_framing(error.message())),
                    }
                    let count = count + 1;
                    self.stage = Stage::Trailers { start, count };
                }
            }
        }
    }
}

/// Reads `1*HEXDIG`, after which only an extension may follow.
fn chunk_size(line: &[u8]) -> Result<u64, Fault> {
    let is_digit = |byte: &&u8| byte.is_ascii_hexdigit();
    let (digits, after) = line.split_at(line.iter().take_while(is_digit).count());
    let size = std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let has_extension = after.trim_ascii_start().starts_with(b";");
    match size {
        Some(size) if after.is_empty() || has_extension => Ok(size),
        _ => Err(Fault::bad_framing(
            "a chunk size is not one hexadecimal number of 64 bits",
        )),
    }
}

/// Whether `line` is a field: a token, a colon, a value.
fn is_field(line: &[u8]) -> bool {
    memchr(b':', line).is_some_and(|colon| is_token(&line[..colon]))
}
