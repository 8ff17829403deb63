//! Responses: from the outcome of an operation to the bytes that answer it.
//!
//! A [`Render`] remembers of a request what its response needs. It is small and
//! owned, so that it survives until an outcome arrives from another core.

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    Answer, Problem, command::Command, cors::preflight_fields, dashboard::render_dashboard,
    describe::description, part::Part, prefer::Returned, visit::write_string,
};
use crate::{
    http::{
        Coding, Cors, DateField, MediaType, Method, Persistence, Request, ResponseHead, Status,
        gzip, write_head,
    },
    id::Id,
    limits::{GZIP_BODY_BYTES_MAX, GZIP_BODY_BYTES_MIN},
    op::{Condition, Lsn, Match, Outcome, Version},
};

/// Bytes of the longest integer id, `-9223372036854775808`.
const INTEGER_BYTES_MAX: usize = 20;

/// How the outcome of a request's operation is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Render {
    body_mode: BodyMode,
    /// The id that the client named.
    id: Option<Id>,
    face: Face,
    returned: Returned,
}

/// How a response is sent with its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyMode {
    presence: Presence,
    /// The coding of a body that is neither too small nor too large for one.
    coding: Coding,
    /// What a page of another origin may see.
    cors: Cors,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// The body is sent.
    Sent,
    /// The request was a HEAD: only the head is sent, with the length that the body would have.
    LeftOut,
}

/// What a response has beside its outcome.
#[derive(Clone, Copy, Debug)]
pub struct ReplyContext<'a> {
    /// The current second.
    pub date: &'a DateField,
    /// What becomes of the connection.
    pub persistence: Persistence,
}

/// The request that is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Face {
    /// `GET /docs/ID`.
    Document {
        /// What must hold for the document to be shown.
        condition: Option<Box<ReadCondition>>,
        /// What of it is shown; `None`: all.
        part: Option<Box<Part>>,
    },
    /// `PUT /docs/ID`.
    Put,
    /// `POST /docs`.
    Create {
        /// What was sent, if it is to be sent back.
        document: Option<Bytes>,
    },
    /// `PATCH /docs/ID`.
    Patch,
    /// `POST /docs/ID/increment`.
    Increment,
    /// `DELETE /docs/ID`.
    Delete,
    /// `GET /api`.
    ApiGet,
    /// `POST /api`.
    ApiPost {
        /// What was sent, and is sent back.
        document: Bytes,
    },
    /// `/api/cmd`.
    Command(Box<Command>),
}

impl Render {
    pub(super) fn new(request: &Request<'_>, id: Option<Id>, face: Face) -> Render {
        Render {
            body_mode: BodyMode::of(request),
            id,
            face,
            returned: Returned::Usual,
        }
    }

    /// The same for a client that prefers to see `returned` of what it wrote.
    pub(super) fn returning(self, returned: Returned) -> Render {
        Render { returned, ..self }
    }

    /// Whether the response has a body, for a [`Problem`] in place of the outcome.
    #[must_use]
    pub fn body_mode(&self) -> BodyMode {
        self.body_mode
    }
}

impl BodyMode {
    /// The body is sent as it is.
    pub const PLAIN: BodyMode = BodyMode {
        presence: Presence::Sent,
        coding: Coding::Identity,
        cors: Cors::Off,
    };

    /// As it is, to someone whose request was not read.
    #[must_use]
    pub fn plain(cors: Cors) -> BodyMode {
        BodyMode {
            cors,
            ..BodyMode::PLAIN
        }
    }

    /// What a page of another origin may see.
    #[must_use]
    pub(super) fn cors(self) -> Cors {
        self.cors
    }

    /// Whether a body is sent at all.
    #[must_use]
    pub fn has_body(self) -> bool {
        self.presence == Presence::Sent
    }

    /// That of the answer to `request`.
    #[must_use]
    pub fn of(request: &Request<'_>) -> BodyMode {
        BodyMode {
            presence: match request.method {
                Method::Head => Presence::LeftOut,
                _ => Presence::Sent,
            },
            coding: Coding::accepted(&request.fields),
            cors: request.cors,
        }
    }
}

/// Appends the whole response for `outcome` to `out`.
///
/// `chosen` is the id that the server chose for a [`super::Plan::Create`], `None` for other plans.
///
/// # Panics
/// If `outcome` or `chosen` is not of the plan that `render` is from.
pub fn render(
    render: &Render,
    outcome: &Outcome,
    chosen: Option<&Id>,
    context: &ReplyContext<'_>,
    out: &mut Vec<u8>,
) {
    let mut reply = Reply::new(render.body_mode, context, out);
    reply.head.log_position = outcome.position();
    reply.head.expires_in = outcome.ttl();
    let id = || {
        let id = render.id.as_ref().or(chosen);
        id.expect("the client named an id, or the server chose one")
    };
    match (&render.face, outcome) {
        (_, Outcome::Refused(refusal)) => reply.problem(&Problem::from(*refusal)),
        (_, Outcome::ConditionFailed) => reply.problem(&Problem::precondition_failed()),
        (
            Face::Document { condition, part },
            Outcome::Found {
                document, version, ..
            },
        ) => {
            reply.head.etag = Some(*version);
            let condition = condition.as_deref().map(|condition| {
                reply.negotiate(match part {
                    None => document.len(),
                    Some(part) => part.bytes(id(), document),
                });
                condition.in_coding(reply.head.negotiated)
            });
            match read_verdict(condition, *version) {
                ReadVerdict::Shown => match part {
                    None => reply.json(Status::Ok, &[document]),
                    Some(part) => reply.part(part, id(), document),
                },
                // It has the tag that the 200 would have (RFC 9110, section 15.4.5).
                ReadVerdict::NotModified => reply.without_body(Status::NotModified),
                ReadVerdict::Failed => {
                    reply.head.etag = None;
                    reply.problem(&Problem::precondition_failed());
                }
            }
        }
        // RFC 9110, section 13.2.1: without a document, conditions of a read do not matter.
        (
            Face::Document { .. } | Face::Patch | Face::Increment | Face::Delete,
            Outcome::Missing,
        ) => {
            reply.problem(&Problem::not_found(id()));
        }
        (
            Face::Put | Face::Create { .. },
            Outcome::Stored {
                created, version, ..
            },
        ) => {
            reply.head.etag = Some(*version);
            let write = Write::of(id(), *created, render.returned);
            let document: &[u8] = match &render.face {
                Face::Create {
                    document: Some(document),
                } => document,
                _ => b"",
            };
            reply.written(&write, &[b"{\"id\":", &id_json(id()), b"}"], document);
        }
        (
            Face::Put | Face::Patch | Face::Increment,
            Outcome::Edited {
                created,
                version,
                shown,
                ..
            },
        ) => {
            reply.head.etag = Some(*version);
            let write = Write::of(id(), *created, render.returned);
            let id = id_json(id());
            match render.face {
                Face::Increment => {
                    let usual: [&[u8]; 5] = [b"{\"id\":", &id, b",\"value\":", shown, b"}"];
                    reply.written(&write, &usual, shown);
                }
                _ => reply.written(&write, &[b"{\"id\":", &id, b"}"], shown),
            }
        }
        (Face::Delete, Outcome::Deleted { .. }) => reply.without_body(Status::NoContent),
        (Face::ApiGet, Outcome::Found { document, .. }) => reply.envelope(id(), document),
        (Face::ApiGet, Outcome::Missing) => reply.envelope(id(), b"null"),
        (Face::ApiPost { document }, Outcome::Stored { version, .. }) => {
            reply.head.etag = Some(*version);
            reply.envelope(id(), document);
        }
        (Face::Command(command), Outcome::Found { document, .. }) => {
            reply.values(command, Some(document));
        }
        (Face::Command(command), Outcome::Missing) => reply.values(command, None),
        (face, outcome) => unreachable!("{outcome:?} is no outcome of {face:?}"),
    }
}

/// The condition of a read, by the coding of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadCondition {
    /// For a body as it is.
    pub identity: Condition,
    /// For a body in gzip.
    pub gzip: Condition,
}

impl ReadCondition {
    fn in_coding(&self, coding: Option<Coding>) -> &Condition {
        match coding {
            Some(Coding::Gzip) => &self.gzip,
            Some(Coding::Identity) | None => &self.identity,
        }
    }
}

/// What becomes of a read of a document that exists.
pub(super) enum ReadVerdict {
    /// The document is shown.
    Shown,
    /// The client has it already: 304.
    NotModified,
    /// It is not the version that the client asked for: 412.
    Failed,
}

/// Judges the condition of a read by the version that was found (RFC 9110, section 13.2.2).
pub(super) fn read_verdict(condition: Option<&Condition>, version: Version) -> ReadVerdict {
    let Some(condition) = condition else {
        return ReadVerdict::Shown;
    };
    let includes = |versions: &Match| versions.includes(Some(version));
    if !condition.if_match.as_ref().is_none_or(includes) {
        ReadVerdict::Failed
    } else if condition.if_none_match.as_ref().is_some_and(includes) {
        ReadVerdict::NotModified
    } else {
        ReadVerdict::Shown
    }
}

/// Appends the whole response of an [`Answer`] to `out`.
pub fn render_answer(answer: &Answer, context: &ReplyContext<'_>, out: &mut Vec<u8>) {
    match answer {
        Answer::Options { allow, extra, cors } => {
            let mut fields = extra.to_vec();
            if let Cors::Allowed(_) = cors {
                fields.extend(preflight_fields(allow));
            }
            let head = ResponseHead::new(Status::NoContent, context.date, context.persistence);
            write_head(
                out,
                &ResponseHead {
                    allow: Some(allow),
                    cors: *cors,
                    extra: &fields,
                    ..head
                },
            );
        }
        Answer::Description { body_mode } => {
            Reply::new(*body_mode, context, out).ok(&[description()]);
        }
        Answer::Dashboard { body_mode } => render_dashboard(*body_mode, context, out),
    }
}

/// Appends the whole response for `problem` to `out`.
pub fn render_problem(
    problem: &Problem,
    body_mode: BodyMode,
    context: &ReplyContext<'_>,
    out: &mut Vec<u8>,
) {
    Reply::new(body_mode, context, out).problem(problem);
}

/// A write that took effect, for its answer.
struct Write<'a> {
    id: &'a Id,
    created: bool,
    returned: Returned,
}

impl<'a> Write<'a> {
    fn of(id: &'a Id, created: bool, returned: Returned) -> Write<'a> {
        Write {
            id,
            created,
            returned,
        }
    }
}

/// A response under way.
pub(super) struct Reply<'a, 'o> {
    body_mode: BodyMode,
    head: ResponseHead<'a>,
    out: &'o mut Vec<u8>,
}

impl<'a, 'o> Reply<'a, 'o> {
    /// A response without a status yet.
    pub(super) fn new(
        body_mode: BodyMode,
        context: &ReplyContext<'a>,
        out: &'o mut Vec<u8>,
    ) -> Reply<'a, 'o> {
        let mut head = ResponseHead::new(Status::Ok, context.date, context.persistence);
        head.cors = body_mode.cors;
        Reply {
            body_mode,
            head,
            out,
        }
    }

    /// The same with `Log-Position`, if there is one to tell.
    pub(super) fn positioned(mut self, position: Option<Lsn>) -> Reply<'a, 'o> {
        self.head.log_position = position;
        self
    }

    /// The same with further fields, name and value.
    pub(super) fn with_fields(mut self, fields: &'a [(&'a str, &'a str)]) -> Reply<'a, 'o> {
        self.head.extra = fields;
        self
    }

    /// 200 with a JSON body that is `parts` in a row.
    pub(super) fn ok(self, parts: &[&[u8]]) {
        self.json(Status::Ok, parts);
    }

    /// A JSON body that is `parts` in a row.
    pub(super) fn json(mut self, status: Status, parts: &[&[u8]]) {
        self.negotiate(parts.iter().map(|part| part.len()).sum());
        match self.head.negotiated {
            Some(Coding::Gzip) => self.body(status, &[&gzip(parts)]),
            Some(Coding::Identity) | None => self.body(status, parts),
        }
    }

    /// Settles the coding of a body of so many bytes.
    fn negotiate(&mut self, body_bytes: usize) {
        let is_worth_it = (GZIP_BODY_BYTES_MIN..=GZIP_BODY_BYTES_MAX).contains(&body_bytes);
        self.head.negotiated = is_worth_it.then_some(self.body_mode.coding);
    }

    /// 200 with a body of another type.
    pub(super) fn text(mut self, media_type: MediaType, body: &[u8]) {
        self.negotiate(body.len());
        self.head.media_type = Some(media_type);
        match self.head.negotiated {
            Some(Coding::Gzip) => self.body(Status::Ok, &[&gzip(&[body])]),
            Some(Coding::Identity) | None => self.body(Status::Ok, &[body]),
        }
    }

    fn body(mut self, status: Status, parts: &[&[u8]]) {
        let body_bytes = parts.iter().map(|part| part.len()).sum();
        self.head.status = status;
        self.head.media_type.get_or_insert(MediaType::Json);
        self.head.body_bytes = Some(body_bytes);
        write_head(self.out, &self.head);
        if self.body_mode.presence == Presence::Sent {
            self.out.reserve(body_bytes);
            for part in parts {
                self.out.extend_from_slice(part);
            }
        }
    }

    /// The answer to a write: `usual` or what the client prefers to see, which may be the
    /// document as it is stored.
    fn written(self, write: &Write<'_>, usual: &[&[u8]], document: &[u8]) {
        if write.returned == Returned::Usual && !write.created {
            return self.ok(usual);
        }
        let place = location(write.id);
        let applied = match write.returned {
            Returned::Usual => "",
            Returned::Minimal => "return=minimal",
            Returned::Representation => "return=representation",
        };
        let fields = [
            ("Content-Location", place.as_str()),
            ("Preference-Applied", applied),
        ];
        let mut reply = Reply {
            body_mode: self.body_mode,
            head: self.head,
            out: self.out,
        };
        reply.head.location = write.created.then_some(place.as_str());
        let status = match write.created {
            true => Status::Created,
            false => Status::Ok,
        };
        match write.returned {
            Returned::Usual => reply.json(status, usual),
            Returned::Representation => {
                reply.head.extra = &fields;
                reply.json(status, &[document]);
            }
            Returned::Minimal => {
                reply.head.extra = &fields[1..];
                match write.created {
                    false => reply.without_body(Status::NoContent),
                    true => {
                        reply.head.body_bytes = Some(0);
                        reply.without_body(Status::Created);
                    }
                }
            }
        }
    }

    fn without_body(mut self, status: Status) {
        self.head.status = status;
        write_head(self.out, &self.head);
    }

    pub(super) fn problem(mut self, problem: &Problem) {
        self.head.expires_in = None;
        self.head.allow = problem.allow;
        self.head.retry_after_s = problem.retry_after_s;
        self.head.extra = problem.extra;
        let mut message = Vec::with_capacity(problem.message.len() + 2);
        write_string(&problem.message, &mut message);
        let code = problem.code.as_bytes();
        if let Some(index) = problem.index {
            message.extend_from_slice(b",\"index\":");
            message.extend_from_slice(itoa::Buffer::new().format(index).as_bytes());
        }
        let parts: [&[u8]; 5] = [b"{\"error\":\"", code, b"\",\"message\":", &message, b"}"];
        self.json(problem.status, &parts);
    }

    /// The form in which the ExDaas face shows a document.
    fn envelope(self, id: &Id, document: &[u8]) {
        let parts: [&[u8]; 5] = [b"{\"id\":", &id_json(id), b",\"data\":", document, b"}"];
        self.json(Status::Ok, &parts);
    }

    fn part(mut self, part: &Part, id: &Id, document: &[u8]) {
        match part.show(id, document) {
            Ok(pieces) => self.ok(&pieces),
            Err(problem) => {
                self.head.etag = None;
                self.problem(&problem);
            }
        }
    }

    fn values(self, command: &Command, document: Option<&[u8]>) {
        let values = match command.values(document) {
            Ok(values) => values,
            Err(problem) => return self.problem(&problem),
        };
        let mut parts: Vec<&[u8]> = Vec::with_capacity(2 * values.len() + 2);
        let (open, close): (&[u8], &[u8]) = match command {
            Command::Only(_) => (b"{\"values\":[", b"]}"),
            Command::FilterBool { .. } => (b"[", b"]"),
        };
        parts.push(open);
        for (n, value) in values.iter().enumerate() {
            if n > 0 {
                parts.push(b",");
            }
            parts.push(value.as_bytes());
        }
        parts.push(close);
        self.json(Status::Ok, &parts);
    }
}

/// An id as JSON: an integer as a number, a name as a string.
#[must_use]
pub fn id_json(id: &Id) -> SmallVec<[u8; INTEGER_BYTES_MAX]> {
    match id {
        Id::Integer(integer) => {
            SmallVec::from_slice(itoa::Buffer::new().format(*integer).as_bytes())
        }
        Id::Name(name) => {
            let mut json = Vec::with_capacity(name.len() + 2);
            write_string(name, &mut json);
            SmallVec::from_vec(json)
        }
    }
}

/// The path of a document, its id percent-encoded (RFC 3986, section 3.3).
pub(super) fn location(id: &Id) -> String {
    let mut path = String::from("/docs/");
    for byte in id.to_string().bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                path.push(char::from(byte));
            }
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                path.push('%');
                path.push(char::from(HEX[usize::from(byte >> 4)]));
                path.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    path
}
