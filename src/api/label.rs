//! Labels: what a request is counted under.

use super::route::{PATH_COUNT, Route, path_text};
use crate::http::{Method, Request};

/// What the methods of requests are called in figures.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "other", "none",
];
/// The method of what was no request.
const NONE: u8 = 8;

/// What a request is counted under: its path, its method, and whether it reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    path: u8,
    method: u8,
    kind: Option<Kind>,
}

/// What a request does with documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It asks for some.
    Read,
    /// It may change some.
    Write,
}

impl Label {
    /// How many labels there are.
    pub const COUNT: usize = PATH_COUNT * METHODS.len();
    /// That of bytes that were no request.
    pub const UNREAD: Label = Label {
        path: Route::UNREAD,
        method: NONE,
        kind: None,
    };

    /// That of `request`.
    #[must_use]
    pub fn of(request: &Request<'_>) -> Label {
        let method = match request.method {
            Method::Get => 0,
            Method::Head => 1,
            Method::Put => 2,
            Method::Post => 3,
            Method::Delete => 4,
            Method::Patch => 5,
            Method::Options => 6,
            Method::Other(_) => 7,
        };
        let (path, route) = Route::locate(request.path);
        let kind = match (route, request.method) {
            (
                Some(
                    Route::Api
                    | Route::Documents
                    | Route::Document(_)
                    | Route::Increment(_)
                    | Route::Batch
                    | Route::Command,
                ),
                Method::Get | Method::Head,
            )
            | (Some(Route::Command), Method::Post) => Some(Kind::Read),
            (
                Some(
                    Route::Api
                    | Route::Documents
                    | Route::Document(_)
                    | Route::Increment(_)
                    | Route::Batch,
                ),
                Method::Put | Method::Post | Method::Delete | Method::Patch,
            ) => Some(Kind::Write),
            _ => None,
        };
        Label { path, method, kind }
    }

    /// Its number, below [`Label::COUNT`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.path) * METHODS.len() + usize::from(self.method)
    }

    /// What the request does with documents; `None`: nothing, or it goes on for as long as it
    /// likes.
    #[must_use]
    pub fn kind(self) -> Option<Kind> {
        self.kind
    }

    /// The path and the method of the label with this number; `{id}` stands for the id.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn texts(index: usize) -> (&'static str, &'static str) {
        (
            path_text(index / METHODS.len()),
            METHODS[index % METHODS.len()],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Bounds, Decoder, Step};

    fn label(line: &str) -> Label {
        let text = format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n");
        let bounds = Bounds { body_bytes_max: 0 };
        match Decoder::new(bounds).next(text.as_bytes()) {
            Ok(Step::Request { request, .. }) => Label::of(&request),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_request_has_a_label_that_names_it() {
        for (line, expected, kind) in [
            ("GET /docs/12", ("/docs/{id}", "GET"), Some(Kind::Read)),
            (
                "PUT /docs/a%2Fb?ttl=1",
                ("/docs/{id}", "PUT"),
                Some(Kind::Write),
            ),
            (
                "POST /docs/1/increment",
                ("/docs/{id}/increment", "POST"),
                Some(Kind::Write),
            ),
            ("POST /api/cmd", ("/api/cmd", "POST"), Some(Kind::Read)),
            ("POST /api", ("/api", "POST"), Some(Kind::Write)),
            ("GET /changes", ("/changes", "GET"), None),
            ("GET /metrics", ("/metrics", "GET"), None),
            ("OPTIONS *", ("*", "OPTIONS"), None),
            ("BREW /docs", ("/docs", "other"), None),
            ("GET /nowhere", ("unknown", "GET"), None),
            ("GET /docs/1/2", ("unknown", "GET"), None),
        ] {
            let label = label(line);
            assert_eq!(Label::texts(label.index()), expected, "{line}");
            assert_eq!(label.kind(), kind, "{line}");
        }
        assert_eq!(Label::texts(Label::UNREAD.index()), ("none", "none"));
        assert!(Label::UNREAD.index() < Label::COUNT);
    }
}
