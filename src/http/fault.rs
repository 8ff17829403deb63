//! Faults: requests after which a connection cannot go on.
//!
//! A fault leaves it unknown where the next request begins, or makes reading
//! on too costly. Mistakes that leave the connection in step (an unknown path,
//! malformed JSON) are not faults.

use std::borrow::Cow;

use super::Status;
use crate::limits::{
    CHUNK_FRAMING_BYTES_MAX, CHUNK_LINE_BYTES_MAX, EMPTY_LINES_MAX, HEAD_BYTES_MAX,
    HEAD_FIELDS_MAX, REQUEST_LINE_BYTES_MAX,
};

/// A request that is answered with `status`, after which the connection closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The status of the response.
    pub status: Status,
    /// The stable code of the error, the same for every message of its kind.
    pub code: &'static str,
    /// What is wrong and what to do.
    pub message: Cow<'static, str>,
}

impl Fault {
    /// 400: the head is not HTTP/1.1 as RFC 9112 has it.
    pub(super) fn bad_request(message: &'static str) -> Fault {
        Fault {
            status: Status::BadRequest,
            code: "bad_request",
            message: Cow::Borrowed(message),
        }
    }

    /// 400: where the body ends is unclear, so is where the next request begins.
    pub(super) fn bad_framing(message: &'static str) -> Fault {
        Fault {
            status: Status::BadRequest,
            code: "bad_framing",
            message: Cow::Borrowed(message),
        }
    }

    /// 400: more empty lines than [`EMPTY_LINES_MAX`].
    pub(super) fn too_many_empty_lines() -> Fault {
        Fault {
            status: Status::BadRequest,
            code: "bad_request",
            message: format!(
                "more than {EMPTY_LINES_MAX} empty lines before the request line; send the request"
            )
            .into(),
        }
    }

    /// 414: the request line is longer than [`REQUEST_LINE_BYTES_MAX`].
    pub(super) fn uri_too_long() -> Fault {
        Fault {
            status: Status::UriTooLong,
            code: "uri_too_long",
            message: format!(
                "the request line is longer than {REQUEST_LINE_BYTES_MAX} bytes; shorten the target or send a body"
            )
            .into(),
        }
    }

    /// 431: the head is longer than [`HEAD_BYTES_MAX`].
    pub(super) fn head_too_long() -> Fault {
        Fault {
            status: Status::RequestHeaderFieldsTooLarge,
            code: "head_too_large",
            message: format!(
                "the request head is longer than {HEAD_BYTES_MAX} bytes; send fewer or shorter fields"
            )
            .into(),
        }
    }

    /// 431: the head has more fields than [`HEAD_FIELDS_MAX`].
    pub(super) fn too_many_fields() -> Fault {
        Fault {
            status: Status::RequestHeaderFieldsTooLarge,
            code: "head_too_large",
            message: format!(
                "the request head has more than {HEAD_FIELDS_MAX} fields; send fewer fields"
            )
            .into(),
        }
    }

    /// 413: the body is longer than `body_bytes_max`.
    pub(super) fn body_too_large(body_bytes_max: usize) -> Fault {
        Fault {
            status: Status::ContentTooLarge,
            code: "body_too_large",
            message: format!(
                "the body is longer than {body_bytes_max} bytes; send less, or start the server with a larger --body-bytes-max"
            )
            .into(),
        }
    }

    /// 505: the request names an HTTP version other than 1.0 and 1.1.
    pub(super) fn version_not_supported() -> Fault {
        Fault {
            status: Status::HttpVersionNotSupported,
            code: "version_not_supported",
            message: Cow::Borrowed("this server speaks HTTP/1.1 and HTTP/1.0; use one of them"),
        }
    }

    /// 417: the request expects something other than `100-continue`.
    pub(super) fn expectation_failed() -> Fault {
        Fault {
            status: Status::ExpectationFailed,
            code: "expectation_failed",
            message: Cow::Borrowed(
                "the only expectation this server meets is 100-continue; leave Expect out",
            ),
        }
    }

    /// 400: a chunk-size line is longer than [`CHUNK_LINE_BYTES_MAX`].
    pub(super) fn chunk_line_too_long() -> Fault {
        Fault {
            status: Status::BadRequest,
            code: "bad_framing",
            message: format!(
                "a chunk-size line is longer than {CHUNK_LINE_BYTES_MAX} bytes; leave chunk extensions out"
            )
            .into(),
        }
    }

    /// 400: the framing outgrows the body by more than [`CHUNK_FRAMING_BYTES_MAX`].
    pub(super) fn chunk_framing_too_long() -> Fault {
        Fault {
            status: Status::BadRequest,
            code: "bad_framing",
            message: format!(
                "the chunk framing outgrows the body by more than {CHUNK_FRAMING_BYTES_MAX} bytes; send larger chunks"
            )
            .into(),
        }
    }
}
