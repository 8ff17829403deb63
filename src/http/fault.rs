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

/// Writes the enum and its tables from one list, so that they cannot disagree.
macro_rules! fault_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal $status:ident,)*) => {
        /// The stable name of a kind of fault; each has one status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FaultCode { $($(#[$doc])* $name,)* }

        impl FaultCode {
            /// Every code, for the lists that users read.
            pub const ALL: &'static [FaultCode] = &[$(FaultCode::$name,)*];

            /// The code as it stands in a response.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(FaultCode::$name => $text,)* }
            }

            /// The status of its responses.
            #[must_use]
            pub const fn status(self) -> Status {
                match self { $(FaultCode::$name => Status::$status,)* }
            }
        }
    };
}

fault_codes! {
    /// The head is not HTTP/1.1 as RFC 9112 has it.
    BadRequest = "bad_request" BadRequest,
    /// Where the body ends is unclear, so is where the next request begins.
    BadFraming = "bad_framing" BadRequest,
    /// The request line is too long.
    UriTooLong = "uri_too_long" UriTooLong,
    /// The head is too long, or has too many fields.
    HeadTooLarge = "head_too_large" RequestHeaderFieldsTooLarge,
    /// The body is too long.
    BodyTooLarge = "body_too_large" ContentTooLarge,
    /// The request names an HTTP version other than 1.0 and 1.1.
    VersionNotSupported = "version_not_supported" HttpVersionNotSupported,
    /// The request expects something other than `100-continue`.
    ExpectationFailed = "expectation_failed" ExpectationFailed,
}

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
    fn new(code: FaultCode, message: impl Into<Cow<'static, str>>) -> Fault {
        Fault {
            status: code.status(),
            code: code.text(),
            message: message.into(),
        }
    }

    /// 400: the head is not HTTP/1.1 as RFC 9112 has it.
    pub(super) fn bad_request(message: &'static str) -> Fault {
        Fault::new(FaultCode::BadRequest, message)
    }

    /// 400: where the body ends is unclear, so is where the next request begins.
    pub(super) fn bad_framing(message: &'static str) -> Fault {
        Fault::new(FaultCode::BadFraming, message)
    }

    /// 400: more empty lines than [`EMPTY_LINES_MAX`].
    pub(super) fn too_many_empty_lines() -> Fault {
        Fault::new(
            FaultCode::BadRequest,
            format!(
                "more than {EMPTY_LINES_MAX} empty lines before the request line; send the request"
            ),
        )
    }

    /// 414: the request line is longer than [`REQUEST_LINE_BYTES_MAX`].
    pub(super) fn uri_too_long() -> Fault {
        Fault::new(
            FaultCode::UriTooLong,
            format!(
                "the request line is longer than {REQUEST_LINE_BYTES_MAX} bytes; shorten the target or send a body"
            ),
        )
    }

    /// 431: the head is longer than [`HEAD_BYTES_MAX`].
    pub(super) fn head_too_long() -> Fault {
        Fault::new(
            FaultCode::HeadTooLarge,
            format!(
                "the request head is longer than {HEAD_BYTES_MAX} bytes; send fewer or shorter fields"
            ),
        )
    }

    /// 431: the head has more fields than [`HEAD_FIELDS_MAX`].
    pub(super) fn too_many_fields() -> Fault {
        Fault::new(
            FaultCode::HeadTooLarge,
            format!("the request head has more than {HEAD_FIELDS_MAX} fields; send fewer fields"),
        )
    }

    /// 413: the body is longer than `body_bytes_max`.
    pub(super) fn body_too_large(body_bytes_max: usize) -> Fault {
        Fault::new(
            FaultCode::BodyTooLarge,
            format!(
                "the body is longer than {body_bytes_max} bytes; send less, or start the server with a larger --body-bytes-max"
            ),
        )
    }

    /// 505: the request names an HTTP version other than 1.0 and 1.1.
    pub(super) fn version_not_supported() -> Fault {
        Fault::new(
            FaultCode::VersionNotSupported,
            "this server speaks HTTP/1.1 and HTTP/1.0; use one of them",
        )
    }

    /// 417: the request expects something other than `100-continue`.
    pub(super) fn expectation_failed() -> Fault {
        Fault::new(
            FaultCode::ExpectationFailed,
            "the only expectation this server meets is 100-continue; leave Expect out",
        )
    }

    /// 400: a chunk-size line is longer than [`CHUNK_LINE_BYTES_MAX`].
    pub(super) fn chunk_line_too_long() -> Fault {
        Fault::new(
            FaultCode::BadFraming,
            format!(
                "a chunk-size line is longer than {CHUNK_LINE_BYTES_MAX} bytes; leave chunk extensions out"
            ),
        )
    }

    /// 400: the framing outgrows the body by more than [`CHUNK_FRAMING_BYTES_MAX`].
    pub(super) fn chunk_framing_too_long() -> Fault {
        Fault::new(
            FaultCode::BadFraming,
            format!(
                "the chunk framing outgrows the body by more than {CHUNK_FRAMING_BYTES_MAX} bytes; send larger chunks"
            ),
        )
    }
}
