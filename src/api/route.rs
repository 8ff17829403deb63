//! Routes: which paths there are, and which methods each takes.
//!
//! The tables here are the only place with paths: what finds a route, what a client is told
//! that there is, and what `openapi.json` is held against.

use super::{Code, FiguresFormat, Problem, Report};
use crate::http::Method;

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
    /// What the server counts.
    Figures(FiguresFormat),
    /// `/docs/ID`, its segment still encoded.
    Document(&'r str),
    /// `/docs/ID/increment`, the same.
    Increment(&'r str),
    /// `/batch`.
    Batch,
    /// `/changes`.
    Changes,
    /// `/backup`.
    Backup,
    /// `/openapi.json`.
    Description,
    /// `/dashboard`.
    Dashboard,
}

/// Paths without an id.
const FIXED: &[(&str, Route<'static>)] = &[
    ("/docs", Route::Documents),
    ("/batch", Route::Batch),
    ("/changes", Route::Changes),
    ("/backup", Route::Backup),
    ("/api", Route::Api),
    ("/api/cmd", Route::Command),
    ("/openapi.json", Route::Description),
    ("/dashboard", Route::Dashboard),
    ("/healthz", Route::Report(Report::Health)),
    ("/readyz", Route::Report(Report::Readiness)),
    ("/metrics", Route::Figures(FiguresFormat::Prometheus)),
    ("/stats", Route::Figures(FiguresFormat::Json)),
];

/// A route to a document whose segment is given.
type OfDocument = for<'r> fn(&'r str) -> Route<'r>;

/// Paths with an id.
const OF_DOCUMENT: &[(&str, OfDocument)] = &[
    ("/docs/{id}", |segment| Route::Document(segment)),
    ("/docs/{id}/increment", |segment| Route::Increment(segment)),
];
/// What each of them begins with.
const DOCUMENT: &str = "/docs/{id}";

/// How many numbers [`Route::locate`] gives.
pub(super) const PATH_COUNT: usize = FIXED.len() + OF_DOCUMENT.len() + 3;
const _: () = assert!(PATH_COUNT <= u8::MAX as usize);

/// The path of a number that [`Route::locate`] gives.
///
/// # Panics
/// If it gives no such number.
pub(super) fn path_text(number: usize) -> &'static str {
    let texts = FIXED.iter().map(|(path, _)| *path);
    let texts = texts.chain(OF_DOCUMENT.iter().map(|(path, _)| *path));
    let mut texts = texts.chain(["*", "unknown", "none"]);
    texts.nth(number).expect("a number that was given")
}

fn number(index: usize) -> u8 {
    u8::try_from(index).expect("PATH_COUNT fits 8 bits")
}

impl<'r> Route<'r> {
    /// The number of what was no request.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a constant; its fit is asserted above"
    )]
    pub(super) const UNREAD: u8 = (PATH_COUNT - 1) as u8;

    /// The number of `path` among all, for counting, and where it leads, if anywhere.
    pub(super) fn locate(path: &'r str) -> (u8, Option<Route<'r>>) {
        let first_special = FIXED.len() + OF_DOCUMENT.len();
        let nowhere = (number(first_special + 1), None);
        if let Some(rest) = path.strip_prefix("/docs/") {
            let (segment, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let mut known = OF_DOCUMENT.iter();
            let found = known.position(|(path, _)| &path[DOCUMENT.len()..] == tail);
            return found.map_or(nowhere, |index| {
                let route = OF_DOCUMENT[index].1(segment);
                (number(FIXED.len() + index), Some(route))
            });
        }
        match FIXED.iter().position(|(known, _)| *known == path) {
            Some(index) => (number(index), Some(FIXED[index].1)),
            None if path == "*" => (number(first_special), Some(Route::Server)),
            None => nowhere,
        }
    }

    /// Where `path` leads.
    ///
    /// # Errors
    /// 404 lists the paths that there are.
    pub(super) fn of(path: &'r str) -> Result<Route<'r>, Problem> {
        match Route::locate(path) {
            (_, Some(route)) => Ok(route),
            (_, None) if path.starts_with("/docs/") => Err(Problem::new(
                Code::NoSuchRoute,
                "an id is one segment, /docs/ID; write a slash in it as %2F",
            )),
            (_, None) => Err(no_such_path()),
        }
    }

    /// The methods that the path takes, as `Allow` lists them.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Route::Server => "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
            Route::Api | Route::Command => "GET, HEAD, POST, OPTIONS",
            Route::Report(_)
            | Route::Figures(_)
            | Route::Description
            | Route::Dashboard
            | Route::Changes
            | Route::Backup => "GET, HEAD, OPTIONS",
            Route::Documents => "GET, HEAD, POST, OPTIONS",
            Route::Batch | Route::Increment(_) => "POST, OPTIONS",
            Route::Document(_) => "GET, HEAD, PUT, PATCH, DELETE, OPTIONS",
        }
    }

    /// Whether everyone may GET it, whoever may come in.
    pub(super) fn is_open(self) -> bool {
        matches!(
            self,
            Route::Report(Report::Health | Report::Readiness) | Route::Dashboard
        )
    }

    /// Whether the path takes `method`.
    pub(super) fn takes(self, method: Method<'_>) -> bool {
        let name = match method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Delete => "DELETE",
            Method::Patch => "PATCH",
            Method::Options => "OPTIONS",
            Method::Other(_) => return false,
        };
        self.allow().split(", ").any(|allowed| allowed == name)
    }

    /// Every path, `{id}` standing for the id, with its route.
    pub(super) fn all() -> impl Iterator<Item = (String, Route<'static>)> {
        let of_document = OF_DOCUMENT
            .iter()
            .map(|(path, route)| ((*path).to_owned(), route("{id}")));
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
