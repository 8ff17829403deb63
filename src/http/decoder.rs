//! The decoder of one connection: received bytes to requests, in order.
//!
//! It does no I/O and keeps no bytes but those of a chunked body under way. It
//! has three answers: a request, not yet, or a [`Fault`], and the same ones
//! however the bytes were cut on their way.

use std::borrow::Cow;

use super::chunked::Chunked;
use super::head::{Expectation, Framing, Head};
use super::scan::HeadScan;
use super::{Cors, Fault, Fields, Method, Persistence, Version};
use crate::limits::BODY_BYTES_MAX_CEILING;

/// The bounds that the operator chooses; the others are constants of [`crate::limits`].
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of a body, decoded if it is chunked (413 beyond).
    pub body_bytes_max: usize,
}

/// Decodes the requests of one connection.
#[derive(Debug)]
pub struct Decoder {
    bounds: Bounds,
    state: State,
}

/// One answer of a [`Decoder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'b> {
    /// The input holds no whole request.
    NeedMore,
    /// The head is acceptable and the client waits for [`super::CONTINUE`] before it sends the
    /// body. Said once a request, and not when bytes of the body are there already.
    Continue,
    /// A whole request.
    Request {
        /// The request.
        request: Request<'b>,
        /// How many bytes of the input it took; the caller drops them before the next call.
        consumed: usize,
    },
}

/// What a connection waits for, which decides how long it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The next request; no byte of it was seen.
    Idle,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
}

/// A whole, well-formed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'b> {
    /// The method.
    pub method: Method<'b>,
    /// The path, still percent-encoded: it begins with `/`, or is `*` of an OPTIONS.
    pub path: &'b str,
    /// What follows the `?`, still encoded.
    pub query: Option<&'b str>,
    /// The HTTP version.
    pub version: Version,
    /// What the response does to the connection.
    pub persistence: Persistence,
    /// The header fields.
    pub fields: Fields<'b>,
    /// The body: a slice of the input, or owned if it was chunked.
    pub body: Cow<'b, [u8]>,
    /// What a page of another origin may see of the response; the caller knows.
    pub cors: Cors,
    /// Bytes that the body may have, also once its coding is undone.
    pub body_bytes_max: usize,
}

#[derive(Debug)]
enum State {
    Head(HeadScan),
    /// The head lies at `start..body_start` of the input, the body behind it.
    Length {
        start: usize,
        announced: bool,
        body_start: usize,
        body_end: usize,
    },
    /// The head begins at `start` of the input.
    Chunked {
        start: usize,
        announced: bool,
        body: Chunked,
    },
}

impl Decoder {
    /// A decoder for a new connection.
    ///
    /// # Panics
    /// If a body may be larger than [`BODY_BYTES_MAX_CEILING`].
    #[must_use]
    pub fn new(bounds: Bounds) -> Decoder {
        assert!(bounds.body_bytes_max <= BODY_BYTES_MAX_CEILING);
        Decoder {
            bounds,
            state: State::Head(HeadScan::default()),
        }
    }

    /// Decodes the request at the front of `input`: all bytes received and not yet consumed.
    ///
    /// After [`Step::NeedMore`] and [`Step::Continue`] the caller comes back with the same bytes
    /// and more behind them. Costs linear time over all calls, and no allocation for a request
    /// that arrives whole and is not chunked.
    ///
    /// # Errors
    /// The [`Fault`] that is the last response of the connection; the decoder is then done.
    pub fn next<'b>(&mut self, input: &'b [u8]) -> Result<Step<'b>, Fault> {
        let body_bytes_max = self.bounds.body_bytes_max;
        if let State::Head(scan) = &mut self.state {
            let Some((start, head)) = scan.next(input, body_bytes_max)? else {
                return Ok(Step::NeedMore);
            };
            let body_start = start + head.bytes;
            match head.framing {
                Framing::Length(length) => {
                    let body_end = body_start + length;
                    if let Some(body) = input.get(body_start..body_end) {
                        return Ok(self.finish(head, Cow::Borrowed(body), body_end));
                    }
                    self.state = State::Length {
                        start,
                        announced: false,
                        body_start,
                        body_end,
                    };
                }
                Framing::Chunked => {
                    let body = Chunked::new(body_start);
                    self.state = State::Chunked {
                        start,
                        announced: false,
                        body,
                    };
                }
            }
            if head.expectation == Expectation::Continue && input.len() == body_start {
                return Ok(Step::Continue);
            }
        }
        self.next_of_body(input)
    }

    /// The request whose body is under way, still without it: said once a request, so that a
    /// body that nobody wants need not be waited for.
    ///
    /// `input` is what the last call of [`Decoder::next`] was given.
    pub fn announced<'b>(&mut self, input: &'b [u8]) -> Option<Request<'b>> {
        let (start, announced) = match &mut self.state {
            State::Head(_) => return None,
            State::Length {
                start, announced, ..
            }
            | State::Chunked {
                start, announced, ..
            } => (*start, announced),
        };
        if std::mem::replace(announced, true) {
            return None;
        }
        let head = Head::read(&input[start..], self.bounds.body_bytes_max)
            .ok()
            .flatten()
            .expect("the caller gives the same bytes again, and this head was read from them");
        Some(self.request(head, Cow::Borrowed(b"")))
    }

    /// What the connection waits for after the last call of [`Decoder::next`].
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Head(scan) if scan.has_begun() => Phase::Head,
            State::Head(_) => Phase::Idle,
            State::Length { .. } | State::Chunked { .. } => Phase::Body,
        }
    }

    /// Bytes that it keeps of a body under way.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        match &self.state {
            State::Chunked { body, .. } => body.body_bytes(),
            State::Head(_) | State::Length { .. } => 0,
        }
    }

    /// Forgets what it has seen of a request, which is not waited for any more.
    pub fn forget(&mut self) {
        self.state = State::Head(HeadScan::default());
    }

    /// How long the input is going to be, when a body of known length is under way.
    #[must_use]
    pub fn wanted_bytes(&self) -> Option<usize> {
        match self.state {
            State::Length { body_end, .. } => Some(body_end),
            State::Head(_) | State::Chunked { .. } => None,
        }
    }

    /// Goes on with a body; its head was accepted before and is read again when the body is whole.
    fn next_of_body<'b>(&mut self, input: &'b [u8]) -> Result<Step<'b>, Fault> {
        let body_bytes_max = self.bounds.body_bytes_max;
        let (start, body, body_end) = match &mut self.state {
            State::Head(_) => return Ok(Step::NeedMore),
            State::Length {
                start,
                body_start,
                body_end,
                ..
            } => match input.get(*body_start..*body_end) {
                Some(body) => (*start, Cow::Borrowed(body), *body_end),
                None => return Ok(Step::NeedMore),
            },
            State::Chunked { start, body, .. } => match body.next(input, body_bytes_max)? {
                Some(end) => (*start, Cow::Owned(body.take_body()), end),
                None => return Ok(Step::NeedMore),
            },
        };
        let head = Head::read(&input[start..], body_bytes_max)?
            .expect("the caller gives the same bytes again, and this head was read from them");
        Ok(self.finish(head, body, body_end))
    }

    fn finish<'b>(&mut self, head: Head<'b>, body: Cow<'b, [u8]>, consumed: usize) -> Step<'b> {
        self.state = State::Head(HeadScan::default());
        Step::Request {
            request: self.request(head, body),
            consumed,
        }
    }

    fn request<'b>(&self, head: Head<'b>, body: Cow<'b, [u8]>) -> Request<'b> {
        Request {
            method: head.method,
            path: head.path,
            query: head.query,
            version: head.version,
            persistence: head.persistence,
            fields: head.fields,
            body,
            cors: Cors::Off,
            body_bytes_max: self.bounds.body_bytes_max,
        }
    }
}
