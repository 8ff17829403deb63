//! Heads: from the bytes of a request's head to what it means.
//!
//! httparse has the grammar; this file adds what RFC 9112 makes of it: the
//! target, the one Host, where the body ends, whether the connection stays.
//! [`Head::read`] accepts or finds a fault in what the grammar accepts; for
//! everything else it has no opinion and [`grammar_fault`] explains.

use std::mem::MaybeUninit;

use memchr::{memchr, memchr_iter};

use super::fields::list_elements;
use super::grammar::{is_host, is_token};
use super::{Fault, Field, Fields};
use crate::limits::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX, REQUEST_LINE_BYTES_MAX};

/// A request method, which is case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each name is that of the method")]
pub enum Method<'b> {
    Get,
    Head,
    Put,
    Post,
    Delete,
    Patch,
    Options,
    /// Any other token.
    Other(&'b str),
}

/// The HTTP version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl Version {
    /// As it is written in a request line.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        }
    }
}

/// What becomes of the connection after the response, and what the response says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It stays, as it does in HTTP/1.1 without a word.
    KeepAlive,
    /// It stays, and the response must say so: HTTP/1.0 with `Connection: keep-alive`.
    KeepAliveAnnounced,
    /// It closes, and the response says so.
    Close,
}

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// That many bytes; without any length field none.
    Length(usize),
    /// As the chunks say.
    Chunked,
}

/// What the client wants to hear before it sends the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expectation {
    Nothing,
    Continue,
}

/// The meaning of one request's head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'b> {
    /// Bytes of the head with its empty line.
    pub bytes: usize,
    pub method: Method<'b>,
    pub path: &'b str,
    pub query: Option<&'b str>,
    pub version: Version,
    pub persistence: Persistence,
    pub fields: Fields<'b>,
    pub framing: Framing,
    pub expectation: Expectation,
}

impl<'b> Head<'b> {
    /// Reads the head at the front of `input`; `None` if there is none that is whole and well formed.
    ///
    /// # Errors
    /// A [`Fault`] if the head is well formed and not acceptable.
    pub(super) fn read(input: &'b [u8], body_bytes_max: usize) -> Result<Option<Head<'b>>, Fault> {
        let visible = &input[..input.len().min(HEAD_BYTES_MAX)];
        let mut storage = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
        let mut parsed = httparse::Request::new(&mut []);
        let Ok(httparse::Status::Complete(bytes)) =
            parsed.parse_with_uninit_headers(visible, &mut storage)
        else {
            return Ok(None);
        };
        let (Some(method), Some(target), Some(minor)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return Ok(None);
        };
        let head = &visible[..bytes];
        let Some(line_end) = memchr(b'\n', head) else {
            return Ok(None);
        };
        // httparse takes a bare LF for a line end and skips empty lines.
        let mut line_feeds = memchr_iter(b'\n', head);
        let strict = line_feeds.all(|at| at > 0 && head[at - 1] == b'\r') && head[0] != b'\r';
        if !strict || line_end > REQUEST_LINE_BYTES_MAX + 1 {
            return Ok(None);
        }

        let version = match minor {
            0 => Version::Http10,
            _ => Version::Http11,
        };
        let method = Method::of(method);
        let (path, query) = split_target(method, target)?;
        let mut fields = Fields::new(&head[line_end + 1..bytes - 2]);
        let mut meaning = FieldMeaning::default();
        for header in &*parsed.headers {
            if let Some(field) = Field::of(header.name.as_bytes()) {
                fields.note(field);
                meaning.add(field, header.value)?;
            }
        }
        Ok(Some(Head {
            bytes,
            method,
            path,
            query,
            version,
            persistence: meaning.persistence(version),
            framing: meaning.framing(version, body_bytes_max)?,
            expectation: meaning.expectation(version)?,
            fields,
        }))
    }
}

impl<'b> Method<'b> {
    fn of(token: &'b str) -> Method<'b> {
        match token {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "PUT" => Method::Put,
            "POST" => Method::Post,
            "DELETE" => Method::Delete,
            "PATCH" => Method::Patch,
            "OPTIONS" => Method::Options,
            _ => Method::Other(token),
        }
    }
}

/// Splits a target into its path and its query, without scheme and authority (RFC 9112, section 3.2).
fn split_target<'b>(
    method: Method<'_>,
    target: &'b str,
) -> Result<(&'b str, Option<&'b str>), Fault> {
    if memchr(b'#', target.as_bytes()).is_some() || !target.is_ascii() {
        return Err(Fault::bad_request(
            "the target holds a byte that no URI has; percent-encode it",
        ));
    }
    let local = match target.as_bytes()[0] {
        b'/' => target,
        b'*' if target == "*" && method == Method::Options => target,
        _ => without_authority(target)?,
    };
    Ok(match memchr(b'?', local.as_bytes()) {
        None if local.is_empty() => ("/", None),
        None => (local, None),
        Some(0) => ("/", Some(&local[1..])),
        Some(mark) => (&local[..mark], Some(&local[mark + 1..])),
    })
}

/// What follows the authority in the absolute form of a target.
fn without_authority(target: &str) -> Result<&str, Fault> {
    let wrong = Fault::bad_request("the target is neither a path nor an http URI; begin it with /");
    let Some((scheme, rest)) = target.split_once("://") else {
        return Err(wrong);
    };
    let (authority, local) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    match is_http && !authority.is_empty() && is_host(authority.as_bytes()) {
        true => Ok(local),
        false => Err(wrong),
    }
}

/// What the fields say of the message and the connection, gathered line by line.
#[derive(Default)]
struct FieldMeaning {
    has_host: bool,
    length: Option<u64>,
    is_chunked: bool,
    says_close: bool,
    says_keep_alive: bool,
    expects_continue: bool,
    expects_other: bool,
}

impl FieldMeaning {
    fn add(&mut self, field: Field, value: &[u8]) -> Result<(), Fault> {
        match field {
            Field::Host => {
                if std::mem::replace(&mut self.has_host, true) {
                    return Err(Fault::bad_request(
                        "the request has two Host fields; send one",
                    ));
                }
                if !is_host(value) {
                    return Err(Fault::bad_request(
                        "the Host field holds no host; send host:port",
                    ));
                }
            }
            Field::ContentLength => {
                if self.length.is_some() {
                    return Err(Fault::bad_framing(
                        "the request has two Content-Length fields; send one",
                    ));
                }
                self.length = Some(content_length(value)?);
            }
            Field::TransferEncoding => {
                if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Fault::bad_framing(
                        "the only Transfer-Encoding this server takes is chunked, once",
                    ));
                }
                self.is_chunked = true;
            }
            Field::Connection => {
                for option in list_elements(value) {
                    self.says_close |= option.eq_ignore_ascii_case(b"close");
                    self.says_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            Field::Expect if value.eq_ignore_ascii_case(b"100-continue") => {
                self.expects_continue = true;
            }
            Field::Expect => self.expects_other = true,
            _ => {}
        }
        Ok(())
    }

    /// RFC 9112, section 9.3.
    fn persistence(&self, version: Version) -> Persistence {
        match version {
            _ if self.says_close => Persistence::Close,
            Version::Http11 => Persistence::KeepAlive,
            Version::Http10 if self.says_keep_alive => Persistence::KeepAliveAnnounced,
            Version::Http10 => Persistence::Close,
        }
    }

    /// RFC 9112, sections 3.2 and 6.3.
    fn framing(&self, version: Version, body_bytes_max: usize) -> Result<Framing, Fault> {
        if version == Version::Http11 && !self.has_host {
            return Err(Fault::bad_request(
                "the request has no Host field; send one",
            ));
        }
        match (self.is_chunked, self.length) {
            (true, Some(_)) => Err(Fault::bad_framing(
                "the request has both Content-Length and Transfer-Encoding; send one of them",
            )),
            (true, None) if version == Version::Http10 => Err(Fault::bad_framing(
                "HTTP/1.0 has no Transfer-Encoding; send a Content-Length",
            )),
            (true, None) => Ok(Framing::Chunked),
            (false, None) => Ok(Framing::Length(0)),
            (false, Some(length)) => match usize::try_from(length) {
                Ok(length) if length <= body_bytes_max => Ok(Framing::Length(length)),
                _ => Err(Fault::body_too_large(body_bytes_max)),
            },
        }
    }

    /// RFC 9110, section 10.1.1; an expectation in HTTP/1.0 is ignored.
    fn expectation(&self, version: Version) -> Result<Expectation, Fault> {
        match version {
            Version::Http10 => Ok(Expectation::Nothing),
            Version::Http11 if self.expects_other => Err(Fault::expectation_failed()),
            Version::Http11 if self.expects_continue => Ok(Expectation::Continue),
            Version::Http11 => Ok(Expectation::Nothing),
        }
    }
}

/// Reads `1*DIGIT`: no sign, no list, nothing beyond 64 bits.
fn content_length(value: &[u8]) -> Result<u64, Fault> {
    let digits = value.iter().try_fold(0_u64, |length, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    });
    digits.filter(|_| !value.is_empty()).ok_or_else(|| {
        Fault::bad_framing("the Content-Length is not one decimal number of 64 bits")
    })
}

/// Refuses a request line that httparse refuses; `line` is whole and with its CRLF.
///
/// # Errors
/// 505 for a version other than 1.0 and 1.1, else 400.
pub(super) fn check_request_line(line: &[u8]) -> Result<(), Fault> {
    match httparse::Request::new(&mut []).parse(line) {
        Ok(_) => Ok(()),
        Err(_) => Err(request_line_fault(
            line.strip_suffix(b"\r\n").unwrap_or(line),
        )),
    }
}

fn request_line_fault(line: &[u8]) -> Fault {
    let parts: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    match parts.as_slice() {
        [method, ..] if !is_token(method) => {
            Fault::bad_request("the request line does not begin with a method")
        }
        [_, target, _] if std::str::from_utf8(target).is_err() => {
            Fault::bad_request("the target holds a byte that no URI has; percent-encode it")
        }
        [
            _,
            [_, ..],
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor],
        ] if major.is_ascii_digit() && minor.is_ascii_digit() => Fault::version_not_supported(),
        _ => Fault::bad_request(
            "the request line is not a method, a target and a version with one space between them",
        ),
    }
}

/// Why `head`, whole and with strict line ends, is not one that [`Head::read`] reads.
pub(super) fn grammar_fault(head: &[u8]) -> Fault {
    let mut storage = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut storage) {
        Err(httparse::Error::TooManyHeaders) => Fault::too_many_fields(),
        Err(httparse::Error::HeaderName) => Fault::bad_request(
            "a header field is not a name right before its colon; fold no lines, put no space there",
        ),
        _ => Fault::bad_request("the request head is not that of HTTP/1.1"),
    }
}
