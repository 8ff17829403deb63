//! Streamed responses: which there are, and the heads that go before them.

use super::{
    Changes, Problem,
    changes::ChangeFormat,
    render::{BodyMode, Reply, ReplyContext},
};
use crate::{
    http::{MediaType, Request, ResponseHead, Status, Transfer, Version, write_head},
    op::Lsn,
};

/// A response whose body is made while it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Of what.
    pub kind: StreamKind,
    /// How its end is told.
    pub transfer: Transfer,
    /// Whether it has a body at all, and how an error is answered in its place.
    pub body_mode: BodyMode,
}

/// What is streamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// `/changes`.
    Changes(Changes),
    /// `/backup`.
    Backup,
}

impl Stream {
    /// A stream that answers `request`.
    pub(super) fn new(request: &Request<'_>, kind: StreamKind) -> Stream {
        Stream {
            kind,
            transfer: match request.version {
                Version::Http11 => Transfer::Chunked,
                Version::Http10 => Transfer::UntilClose,
            },
            body_mode: BodyMode::of(request),
        }
    }

    /// How the parts of the body are framed; `None`: the request was a HEAD.
    #[must_use]
    pub fn framing(&self) -> Option<Transfer> {
        self.body_mode.has_body().then_some(self.transfer)
    }

    fn media_type(&self) -> MediaType {
        match &self.kind {
            StreamKind::Changes(changes) => match changes.format {
                ChangeFormat::NdJson => MediaType::NdJson,
                ChangeFormat::Events => MediaType::EventStream,
            },
            StreamKind::Backup => MediaType::Tar,
        }
    }
}

/// Appends the head of a stream to `out`; `position` is where to go on from when the body says
/// nothing later.
pub fn render_stream_head(
    stream: &Stream,
    position: Lsn,
    context: &ReplyContext<'_>,
    out: &mut Vec<u8>,
) {
    let head = ResponseHead::new(Status::Ok, context.date, context.persistence);
    write_head(
        out,
        &ResponseHead {
            cors: stream.body_mode.cors(),
            transfer: Some(stream.transfer),
            media_type: Some(stream.media_type()),
            log_position: Some(position),
            extra: &[("Cache-Control", "no-store")],
            ..head
        },
    );
}

/// Appends the whole response for `problem`, which a stream has in place of its body, to `out`;
/// `position` is where the log is.
pub fn render_stream_problem(
    stream: &Stream,
    problem: &Problem,
    position: Lsn,
    context: &ReplyContext<'_>,
    out: &mut Vec<u8>,
) {
    Reply::new(stream.body_mode, context, out)
        .positioned(Some(position))
        .problem(problem);
}
