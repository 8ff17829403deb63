//! Routes: which paths there are, and which methods each takes.
//!
//! The tables here are the only place with paths: what finds a route, what a client is told
//! that there is, and what `openapi.json` is held against.

use super::{Code, Problem, Report};

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'r> {
    /// `*`, the server as a whole.
    Server,
    /// `/api`.
    Api,
    /// `/api/cmd`.
    Command,
    /// `/docs`.
    Documents,
    /// A report on the server.
    Report(Report),
    /// `/docs/ID`, its segment still encoded.
    Document(&'r str),
    /// `/docs/ID/increment`, the same.
    Increment(&'r str),
    /// `/batch`.
    Batch,
    /// `/changes`.
    Changes,
    /// `/openapi.json`.
    Description,
}

/// Paths without an id.
const FIXED: &[(&str, Route<'static>)] = &[
    ("/docs", Route::Documents),
    ("/batch", Route::Batch),
    ("/changes", Route::Changes),
    ("/api", Route::Api),
    ("/api/cmd", Route::Command),
    ("/openapi.json", Route::Description),
    ("/healthz", Route::Report(Report::Health)),
    ("/readyz", Route::Report(Report::Readiness)),
];

/// A route to a document whose segment is given.
type OfDocument = for<'r> fn(&'r str) -> Route<'r>;

/// What follows `/docs/ID`.
const OF_DOCUMENT: &[(&str, OfDocument)] = &[
    ("", |segment| Route::Document(segment)),
    ("/increment", |segment| Route::Increment(segment)),
];

impl<'r> Route<'r> {
    /// Where `path` leads.
    ///
    /// # Errors
    /// 404 lists the paths that there are.
    pub(super) fn of(path: &'r str) -> Result<Route<'r>, Problem> {
        if let Some(rest) = path.strip_prefix("/docs/") {
            let (segment, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let found = OF_DOCUMENT.iter().find(|(known, _)| *known == tail);
            return match found {
                Some((_, route)) => Ok(route(segment)),
                None => Err(Problem::new(
                    Code::NoSuchRoute,
                    "an id is one segment, /docs/ID; write a slash in it as %2F",
                )),
            };
        }
        let found = FIXED.iter().find(|(known, _)| *known == path);
        match found {
            Some((_, route)) => Ok(*route),
            None if path == "*" => Ok(Route::Server),
            None => Err(no_such_path()),
        }
    }

    /// The methods that the path takes, as `Allow` lists them.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Route::Server => "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
            Route::Api | Route::Command => "GET, HEAD, POST, OPTIONS",
            Route::Report(_) | Route::Description | Route::Changes => "GET, HEAD, OPTIONS",
            Route::Documents => "GET, HEAD, POST, OPTIONS",
            Route::Batch | Route::Increment(_) => "POST, OPTIONS",
            Route::Document(_) => "GET, HEAD, PUT, PATCH, DELETE, OPTIONS",
        }
    }

    /// Every path, `{id}` standing for the id, with its route.
    pub(super) fn all() -> impl Iterator<Item = (String, Route<'static>)> {
        let of_document = OF_DOCUMENT
            .iter()
            .map(|(tail, route)| (format!("/docs/{{id}}{tail}"), route("{id}")));
        let fixed = FIXED
            .iter()
            .map(|(path, route)| ((*path).to_owned(), *route));
        fixed.chain(of_document)
    }
}

fn no_such_path() -> Problem {
    let paths: Vec<String> = Route::all()
        .map(|(path, _)| path.replace("{id}", "ID"))
        .collect();
    Problem::new(
        Code::NoSuchRoute,
        format!("no such path; there are {}", paths.join(", ")),
    )
}
