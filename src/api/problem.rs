//! Problems: what an error response says, and the list of its stable codes.
//!
//! Faults of the framing, mistakes of the client and refusals of the store all
//! end here, because a client reads them in one form:
//! `{"error":CODE,"message":TEXT}`.

use std::borrow::Cow;

use super::json::JsonError;
use crate::{
    http::{DecodeError, EtagError, Fault, Status},
    id::{Id, IdError},
    limits::{ATOMIC_BYTES_MAX, RESPONSE_BYTES_MAX},
    op::Refusal,
};

/// Seconds after which a client may try again what was refused with a 503.
const RETRY_AFTER_S: u32 = 1;

/// Writes the enum and its tables from one list, so that they cannot disagree.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal $status:ident,)*) => {
        /// The stable name of a kind of problem; each has one status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, for the lists that users read.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code as it stands in a response.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// The status of its responses.
            #[must_use]
            pub const fn status(self) -> Status {
                match self { $(Code::$name => Status::$status,)* }
            }
        }
    };
}

codes! {
    /// A part of the request is malformed.
    BadRequest = "bad_request" BadRequest,
    /// The body is not JSON, or nests too deep.
    BadJson = "bad_json" BadRequest,
    /// The id is neither an integer nor a name.
    BadId = "bad_id" BadRequest,
    /// A field or the body is missing.
    MissingField = "missing_field" BadRequest,
    /// `/api/cmd` does not know the query.
    UnsupportedQuery = "unsupported_query" BadRequest,
    /// The port speaks TLS, and the request came without.
    TlsRequired = "tls_required" BadRequest,
    /// The request shows no token that is known.
    Unauthorized = "unauthorized" Unauthorized,
    /// Whoever asks may not have that done.
    Forbidden = "forbidden" Forbidden,
    /// There is no such document.
    NotFound = "not_found" NotFound,
    /// The document has no such part.
    NoSuchPart = "no_such_part" NotFound,
    /// Changes after the position were left out by compaction.
    ChangesCompacted = "changes_compacted" Gone,
    /// There is no such path.
    NoSuchRoute = "no_such_route" NotFound,
    /// The path does not take the method.
    MethodNotAllowed = "method_not_allowed" MethodNotAllowed,
    /// The document has no place for what an edit would write.
    EditConflict = "edit_conflict" Conflict,
    /// A test of a JSON patch does not hold.
    TestFailed = "test_failed" Conflict,
    /// What would be counted up is no integer of 64 bits.
    NotAnInteger = "not_an_integer" Conflict,
    /// The sum has more than 64 bits.
    IntegerOverflow = "integer_overflow" Conflict,
    /// `If-Match` or `If-None-Match` does not hold.
    PreconditionFailed = "precondition_failed" PreconditionFailed,
    /// The body is declared as something other than JSON in UTF-8.
    UnsupportedMediaType = "unsupported_media_type" UnsupportedMediaType,
    /// An edit makes a document, or goes over values, of too many bytes.
    EditTooLarge = "edit_too_large" ContentTooLarge,
    /// The records of an atomic batch have too many bytes.
    BatchTooLarge = "batch_too_large" ContentTooLarge,
    /// The answer about many documents has no room for this one.
    ResponseFull = "response_full" ContentTooLarge,
    /// The request did not arrive in time.
    Timeout = "timeout" RequestTimeout,
    /// The server has as many connections as it may.
    TooManyConnections = "too_many_connections" ServiceUnavailable,
    /// The server has more to do than its queues hold.
    Overloaded = "overloaded" ServiceUnavailable,
    /// The server is about to end.
    Draining = "draining" ServiceUnavailable,
    /// A sync of the log failed.
    LogFailed = "log_failed" ServiceUnavailable,
    /// The log cannot be read back.
    LogUnreadable = "log_unreadable" ServiceUnavailable,
    /// The file system is full.
    DiskFull = "disk_full" InsufficientStorage,
    /// The server has no id left to choose.
    IdsExhausted = "ids_exhausted" InsufficientStorage,
}

/// Names and values of header fields that a response has beside those of its kind.
pub(super) type ExtraFields = &'static [(&'static str, &'static str)];

/// An error response before it is rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status.
    pub status: Status,
    /// The stable code.
    pub code: &'static str,
    /// What is wrong and what to do.
    pub message: Cow<'static, str>,
    /// The place of the operation with which an atomic batch failed.
    pub index: Option<usize>,
    /// `Allow`, of a 405.
    pub allow: Option<&'static str>,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
    /// Further fields.
    pub extra: ExtraFields,
}

impl Problem {
    /// A problem of the kind `code`.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Problem {
        let status = code.status();
        Problem {
            status,
            code: code.text(),
            message: message.into(),
            index: None,
            allow: None,
            retry_after_s: (status == Status::ServiceUnavailable).then_some(RETRY_AFTER_S),
            extra: &[],
        }
    }

    /// 503: a queue of the server is full.
    #[must_use]
    pub fn overloaded() -> Problem {
        Problem::new(
            Code::Overloaded,
            "the server is overloaded; try again later",
        )
    }

    /// 404: there is no document `id`.
    pub(super) fn not_found(id: &Id) -> Problem {
        Problem::new(Code::NotFound, format!("no document {id}"))
    }

    /// 405: the path takes only the methods in `allow`.
    pub(super) fn method_not_allowed(allow: &'static str) -> Problem {
        Problem {
            allow: Some(allow),
            ..Problem::new(
                Code::MethodNotAllowed,
                format!("this path takes {allow}; use one of them"),
            )
        }
    }

    /// 412: the stored version is not one that the client asked for.
    pub(super) fn precondition_failed() -> Problem {
        Problem::new(
            Code::PreconditionFailed,
            "the document's version does not meet If-Match or If-None-Match; \
             nothing was done; read the document again and use its ETag",
        )
    }

    /// The same problem, of the part of the request that `label` names.
    pub(super) fn at(self, label: &str) -> Problem {
        Problem {
            message: format!("{label}: {}", self.message).into(),
            ..self
        }
    }

    /// 400: the body is not JSON.
    pub(super) fn bad_json(error: &JsonError) -> Problem {
        Problem::new(Code::BadJson, format!("the body is not JSON: {error}"))
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Problem {
        Problem {
            status: fault.status,
            code: fault.code,
            message: fault.message,
            index: None,
            allow: None,
            retry_after_s: None,
            extra: &[],
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        match refusal {
            Refusal::DiskFull => Problem::new(
                Code::DiskFull,
                "the file system is full and nothing was stored; make room and try again",
            ),
            Refusal::LogPoisoned => Problem::new(
                Code::LogFailed,
                "a sync of the log failed, so this write may or may not survive; no more are \
                 taken until the operator has checked the disk and restarted the server",
            ),
            Refusal::Overloaded => Problem::overloaded(),
            Refusal::ResponseFull => Problem::new(
                Code::ResponseFull,
                format!(
                    "the answer has its {RESPONSE_BYTES_MAX} bytes of documents; \
                     ask for this one with fewer others"
                ),
            ),
            Refusal::IdsExhausted => Problem::new(
                Code::IdsExhausted,
                "the server has no id left to choose; store the document under an id of your own",
            ),
            Refusal::AtomicTooLarge => Problem::new(
                Code::BatchTooLarge,
                format!(
                    "an atomic batch would write more than {ATOMIC_BYTES_MAX} bytes; \
                     send fewer operations in one"
                ),
            ),
            Refusal::Edit(refusal) => refusal.into(),
        }
    }
}

impl From<IdError> for Problem {
    fn from(error: IdError) -> Problem {
        Problem::new(Code::BadId, error.to_string())
    }
}

impl From<DecodeError> for Problem {
    fn from(error: DecodeError) -> Problem {
        Problem::new(Code::BadRequest, error.to_string())
    }
}

impl From<EtagError> for Problem {
    fn from(error: EtagError) -> Problem {
        Problem::new(
            Code::BadRequest,
            format!("If-Match or If-None-Match: {error}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_listed_once_and_is_an_error() {
        let mut texts: Vec<_> = Code::ALL.iter().map(|code| code.text()).collect();
        texts.sort_unstable();
        assert!(texts.is_sorted_by(|a, b| a < b), "{texts:?}");
        for code in Code::ALL {
            assert!(code.status().code() >= 400, "{code:?}");
        }
    }

    #[test]
    fn a_refusal_says_when_to_come_back_only_if_that_may_help() {
        for (refusal, status, code, retry_after_s) in [
            (Refusal::DiskFull, 507, "disk_full", None),
            (Refusal::LogPoisoned, 503, "log_failed", Some(RETRY_AFTER_S)),
            (Refusal::IdsExhausted, 507, "ids_exhausted", None),
        ] {
            let problem = Problem::from(refusal);
            assert_eq!(problem.status.code(), status);
            assert_eq!(problem.code, code);
            assert_eq!(problem.retry_after_s, retry_after_s);
        }
        assert_eq!(Problem::overloaded().retry_after_s, Some(RETRY_AFTER_S));
    }
}
