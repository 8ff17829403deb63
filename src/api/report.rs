//! What the server says of itself to those who watch over it.
//!
//! Health is that the process answers; readiness is that it can do all of its
//! work. A server that drains, or whose log takes no more writes, is healthy and
//! not ready: a balancer should pass it by, and nobody should kill it for that.

use super::{
    Code, Problem,
    render::{BodyMode, Reply, ReplyContext},
};
use crate::http::Status;

/// Why the server is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// It was told to end.
    Draining,
    /// A sync of the log failed; reads go on.
    LogFailed,
}

/// Appends the answer to `/healthz`.
pub fn render_health(body_mode: BodyMode, context: &ReplyContext<'_>, out: &mut Vec<u8>) {
    Reply::new(body_mode, context, out).json(Status::Ok, &[br#"{"status":"ok"}"#]);
}

/// Appends the answer to `/readyz`.
pub fn render_readiness(
    readiness: Result<(), NotReady>,
    body_mode: BodyMode,
    context: &ReplyContext<'_>,
    out: &mut Vec<u8>,
) {
    let reply = Reply::new(body_mode, context, out);
    match readiness {
        Ok(()) => reply.json(Status::Ok, &[br#"{"status":"ready"}"#]),
        Err(not_ready) => reply.problem(&not_ready.into()),
    }
}

impl From<NotReady> for Problem {
    fn from(not_ready: NotReady) -> Problem {
        match not_ready {
            NotReady::Draining => Problem::new(
                Code::Draining,
                "the server is about to end; ask another one",
            ),
            NotReady::LogFailed => Problem::new(
                Code::LogFailed,
                "a sync of the log failed; documents are read and not written until the operator \
                 has checked the disk and restarted the server",
            ),
        }
    }
}
