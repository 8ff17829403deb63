//! Status codes: the ones the server uses, each with its whole status line.

/// Writes the enum and its tables from one list, so that they cannot disagree.
macro_rules! statuses {
    ($($name:ident = $code:literal $reason:literal,)*) => {
        /// A final status code that the server answers with (RFC 9110, section 15).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each name is the reason phrase of RFC 9110")]
        pub enum Status { $($name,)* }

        impl Status {
            /// Every status, for tests and tables.
            pub const ALL: &'static [Status] = &[$(Status::$name,)*];

            /// The three-digit code.
            #[must_use]
            pub const fn code(self) -> u16 {
                match self { $(Status::$name => $code,)* }
            }

            /// The status line with its CRLF.
            #[must_use]
            pub const fn line(self) -> &'static [u8] {
                match self {
                    $(Status::$name =>
                        concat!("HTTP/1.1 ", $code, " ", $reason, "\r\n").as_bytes(),)*
                }
            }
        }
    };
}

statuses! {
    Ok = 200 "OK",
    Created = 201 "Created",
    NoContent = 204 "No Content",
    NotModified = 304 "Not Modified",
    BadRequest = 400 "Bad Request",
    Unauthorized = 401 "Unauthorized",
    Forbidden = 403 "Forbidden",
    NotFound = 404 "Not Found",
    MethodNotAllowed = 405 "Method Not Allowed",
    RequestTimeout = 408 "Request Timeout",
    Conflict = 409 "Conflict",
    Gone = 410 "Gone",
    PreconditionFailed = 412 "Precondition Failed",
    ContentTooLarge = 413 "Content Too Large",
    UriTooLong = 414 "URI Too Long",
    UnsupportedMediaType = 415 "Unsupported Media Type",
    ExpectationFailed = 417 "Expectation Failed",
    UnprocessableContent = 422 "Unprocessable Content",
    TooManyRequests = 429 "Too Many Requests",
    RequestHeaderFieldsTooLarge = 431 "Request Header Fields Too Large",
    InternalServerError = 500 "Internal Server Error",
    NotImplemented = 501 "Not Implemented",
    ServiceUnavailable = 503 "Service Unavailable",
    HttpVersionNotSupported = 505 "HTTP Version Not Supported",
    InsufficientStorage = 507 "Insufficient Storage",
}

impl Status {
    /// Whether a response of this status has no body and no `Content-Length`
    /// (RFC 9110, sections 8.6 and 15.3.5).
    #[must_use]
    pub const fn is_bodiless(self) -> bool {
        matches!(self, Status::NoContent | Status::NotModified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_carries_its_code() {
        assert_eq!(Status::Ok.line(), b"HTTP/1.1 200 OK\r\n");
        for status in Status::ALL {
            let line = std::str::from_utf8(status.line()).expect("ASCII");
            assert_eq!(line.get(9..12), Some(status.code().to_string().as_str()));
            assert!(line.starts_with("HTTP/1.1 ") && line.ends_with("\r\n"));
        }
    }
}
