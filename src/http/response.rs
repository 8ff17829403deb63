//! Response heads: from their parts to bytes.
//!
//! A head is written into the connection's output buffer in a few copies of
//! prebuilt pieces, without an allocation of its own. No value can break out
//! of its line.

use std::sync::OnceLock;

use super::etag::write_etag;
use super::grammar::is_token;
use super::{Coding, DateField, Persistence, Status};
use crate::limits::CORS_ORIGINS_MAX;
use crate::op::{Lsn, Ttl, Version};

/// The interim response that lets a client send its body (RFC 9110, section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Room for a head without `location` and `extra`.
const HEAD_BYTES_USUAL: usize = 320;

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// `application/json`.
    Json,
    /// `text/plain` in UTF-8.
    Text,
    /// `text/html` in UTF-8.
    Html,
    /// The text that Prometheus scrapes, in version 0.0.4 of its format.
    Metrics,
    /// `application/x-ndjson`: JSON texts, one a line.
    NdJson,
    /// `text/event-stream`: server-sent events.
    EventStream,
    /// A tar archive.
    Tar,
}

/// How the end of a body is told whose length is not known when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// By an empty chunk.
    Chunked,
    /// By the end of the connection, which HTTP/1.0 needs.
    UntilClose,
}

/// What a page of another origin may see of a response (the Fetch standard, section 3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// Nothing; no page of another origin may see any.
    #[default]
    Off,
    /// Nothing; pages of other origins may see theirs.
    Refused,
    /// It and some of its fields, as these say.
    Allowed(CorsFields),
}

/// The fields of responses to pages of one origin, each with its CRLF: written once, kept as long
/// as the process, and named by one byte, since each request in flight has such a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorsFields(u8);

static CORS_FIELDS: [OnceLock<String>; CORS_ORIGINS_MAX] =
    [const { OnceLock::new() }; CORS_ORIGINS_MAX];

const _: () = assert!(CORS_ORIGINS_MAX <= 1 << u8::BITS);

impl CorsFields {
    /// Keeps `lines`; what was kept before has its name already.
    ///
    /// # Panics
    /// If the process has kept [`CORS_ORIGINS_MAX`] others.
    #[must_use]
    pub fn keep(lines: &str) -> CorsFields {
        let mut kept = CORS_FIELDS.iter();
        let place = kept.position(|kept| kept.get_or_init(|| lines.to_owned()) == lines);
        let place = place.expect("a process has one set of origins, which is bounded");
        CorsFields(u8::try_from(place).expect("asserted above"))
    }

    fn lines(self) -> &'static str {
        let kept = CORS_FIELDS[usize::from(self.0)].get();
        kept.expect("named when they were kept")
    }
}

/// What goes before the body of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status.
    pub status: Status,
    /// The current second.
    pub date: &'a DateField,
    /// What becomes of the connection, as the request asked or as the server must.
    pub persistence: Persistence,
    /// What a page of another origin may see of it.
    pub cors: Cors,
    /// `Content-Length`: bytes of the body, or those it would have in the answer to a HEAD.
    /// `None` for 204, and for 304 if it is not known.
    pub body_bytes: Option<usize>,
    /// How the body ends if it has no `Content-Length`.
    pub transfer: Option<Transfer>,
    /// `Content-Type`.
    pub media_type: Option<MediaType>,
    /// The coding of the body, if the client has a say in it; said by `Vary`, and by the `ETag`:
    /// each coding has its own.
    pub negotiated: Option<Coding>,
    /// `ETag`.
    pub etag: Option<Version>,
    /// `Log-Position`.
    pub log_position: Option<Lsn>,
    /// `Expires-In`, in seconds.
    pub expires_in: Option<Ttl>,
    /// `Location`, percent-encoded.
    pub location: Option<&'a str>,
    /// `Allow`.
    pub allow: Option<&'static str>,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
    /// Further fields, name and value.
    pub extra: &'a [(&'a str, &'a str)],
}

impl<'a> ResponseHead<'a> {
    /// A head without any optional field.
    #[must_use]
    pub fn new(status: Status, date: &'a DateField, persistence: Persistence) -> ResponseHead<'a> {
        ResponseHead {
            status,
            date,
            persistence,
            cors: Cors::Off,
            body_bytes: None,
            transfer: None,
            media_type: None,
            negotiated: None,
            etag: None,
            log_position: None,
            expires_in: None,
            location: None,
            allow: None,
            retry_after_s: None,
            extra: &[],
        }
    }
}

/// Appends `head` with its empty line to `out`.
///
/// # Panics
/// If the head would not be HTTP: a control character in a value, a name that is no token, a 204
/// with a length, or a body without one.
pub fn write_head(out: &mut Vec<u8>, head: &ResponseHead<'_>) {
    let bodiless = head.status.is_bodiless();
    assert!(
        head.status != Status::NoContent || head.body_bytes.is_none(),
        "204 has no length"
    );
    assert!(
        bodiless || head.body_bytes.is_some() != head.transfer.is_some(),
        "a body has a Content-Length, or another end"
    );
    out.reserve(HEAD_BYTES_USUAL);
    out.extend_from_slice(head.status.line());
    out.extend_from_slice(head.date.line());
    match head.media_type {
        Some(MediaType::Json) => out.extend_from_slice(b"Content-Type: application/json\r\n"),
        Some(MediaType::Text) => {
            out.extend_from_slice(b"Content-Type: text/plain; charset=utf-8\r\n");
        }
        Some(MediaType::Html) => {
            out.extend_from_slice(b"Content-Type: text/html; charset=utf-8\r\n");
        }
        Some(MediaType::Metrics) => {
            out.extend_from_slice(b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
        }
        Some(MediaType::Tar) => out.extend_from_slice(b"Content-Type: application/x-tar\r\n"),
        Some(MediaType::NdJson) => out.extend_from_slice(b"Content-Type: application/x-ndjson\r\n"),
        Some(MediaType::EventStream) => {
            out.extend_from_slice(b"Content-Type: text/event-stream\r\n");
        }
        None => {}
    }
    if head.transfer == Some(Transfer::Chunked) {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if let Some(bytes) = head.body_bytes {
        write_number(out, b"Content-Length: ", bytes);
    }
    if let Some(version) = head.etag {
        out.extend_from_slice(b"ETag: ");
        write_etag(out, version, head.negotiated.unwrap_or(Coding::Identity));
        out.extend_from_slice(b"\r\n");
    }
    if let Some(coding) = head.negotiated {
        out.extend_from_slice(b"Vary: Accept-Encoding\r\n");
        if coding == Coding::Gzip && !bodiless {
            out.extend_from_slice(b"Content-Encoding: gzip\r\n");
        }
    }
    if let Some(Lsn(position)) = head.log_position {
        write_number(out, b"Log-Position: ", position);
    }
    if let Some(ttl) = head.expires_in {
        write_field(out, "Expires-In", &ttl.to_string());
    }
    if let Some(location) = head.location {
        write_field(out, "Location", location);
    }
    if let Some(allow) = head.allow {
        write_field(out, "Allow", allow);
    }
    if let Some(seconds) = head.retry_after_s {
        write_number(out, b"Retry-After: ", seconds);
    }
    for (name, value) in head.extra {
        write_field(out, name, value);
    }
    match head.cors {
        Cors::Off => {}
        Cors::Refused => out.extend_from_slice(b"Vary: Origin\r\n"),
        Cors::Allowed(fields) => out.extend_from_slice(fields.lines().as_bytes()),
    }
    out.extend_from_slice(match head.persistence {
        Persistence::KeepAlive => b"\r\n",
        Persistence::KeepAliveAnnounced => b"Connection: keep-alive\r\n\r\n",
        Persistence::Close => b"Connection: close\r\n\r\n",
    });
}

fn write_number(out: &mut Vec<u8>, name: &[u8], number: impl itoa::Integer) {
    out.extend_from_slice(name);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes one field. Its parts are the server's own, so that a bad one is a bug and not input.
fn write_field(out: &mut Vec<u8>, name: &str, value: &str) {
    assert!(is_token(name.as_bytes()), "{name:?} is no field name");
    let is_text = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    assert!(
        value.bytes().all(is_text),
        "the value of {name} would leave its line"
    );
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &ResponseHead<'_>, expected: &str) {
        let mut out = b"before".to_vec();
        write_head(&mut out, head);
        assert_eq!(String::from_utf8_lossy(&out), format!("before{expected}"));
    }

    fn head(status: Status, persistence: Persistence) -> ResponseHead<'static> {
        static DATE: std::sync::LazyLock<DateField> =
            std::sync::LazyLock::new(|| DateField::new(784_111_777));
        ResponseHead::new(status, &DATE, persistence)
    }

    #[test]
    fn a_document_has_type_length_and_tag() {
        let head = ResponseHead {
            media_type: Some(MediaType::Json),
            body_bytes: Some(17),
            etag: Some(Version(42)),
            ..head(Status::Ok, Persistence::KeepAlive)
        };
        check(
            &head,
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Type: application/json\r\nContent-Length: 17\r\nETag: \"42\"\r\n\r\n",
        );
    }

    #[test]
    fn every_field_has_its_line() {
        let head = ResponseHead {
            media_type: Some(MediaType::Text),
            body_bytes: Some(0),
            log_position: Some(Lsn(9)),
            location: Some("/docs/a%20b"),
            allow: Some("GET, HEAD"),
            retry_after_s: Some(1),
            extra: &[("Vary", "Origin"), ("X", "")],
            ..head(Status::ServiceUnavailable, Persistence::Close)
        };
        check(
            &head,
            "HTTP/1.1 503 Service Unavailable\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: 0\r\n\
             Log-Position: 9\r\nLocation: /docs/a%20b\r\nAllow: GET, HEAD\r\nRetry-After: 1\r\n\
             Vary: Origin\r\nX: \r\nConnection: close\r\n\r\n",
        );
    }

    #[test]
    fn a_bodiless_response_has_no_length() {
        check(
            &head(Status::NoContent, Persistence::KeepAliveAnnounced),
            "HTTP/1.1 204 No Content\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Connection: keep-alive\r\n\r\n",
        );
        check(
            &ResponseHead {
                etag: Some(Version(1)),
                ..head(Status::NotModified, Persistence::KeepAlive)
            },
            "HTTP/1.1 304 Not Modified\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             ETag: \"1\"\r\n\r\n",
        );
    }

    #[test]
    fn a_body_of_unknown_length_is_chunked_or_ends_with_the_connection() {
        let date = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let head = |transfer, media_type, persistence| ResponseHead {
            media_type: Some(media_type),
            transfer: Some(transfer),
            ..head(Status::Ok, persistence)
        };
        check(
            &head(Transfer::Chunked, MediaType::NdJson, Persistence::KeepAlive),
            &format!(
                "{date}Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
            ),
        );
        check(
            &head(
                Transfer::UntilClose,
                MediaType::EventStream,
                Persistence::Close,
            ),
            &format!("{date}Content-Type: text/event-stream\r\nConnection: close\r\n\r\n"),
        );
    }

    #[test]
    #[should_panic(expected = "would leave its line")]
    fn a_value_cannot_begin_a_second_field() {
        let head = ResponseHead {
            body_bytes: Some(0),
            location: Some("/\r\nSet-Cookie: x"),
            ..head(Status::Created, Persistence::KeepAlive)
        };
        write_head(&mut Vec::new(), &head);
    }

    #[test]
    #[should_panic(expected = "a body has a Content-Length, or another end")]
    fn a_body_without_an_end_is_never_written() {
        write_head(&mut Vec::new(), &head(Status::Ok, Persistence::KeepAlive));
    }
}
