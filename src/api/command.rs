//! Commands of `/api/cmd`: questions to one document, answered with its own bytes.
//!
//! A command comes as query parameters or as a JSON body, on GET and on POST;
//! what the body says goes before what the query says. It only reads.

use std::collections::HashMap;

use super::{
    Code, Problem,
    body::{json_body, json_id, pick},
    json::utf8,
    visit::{VisitError, elements, members, unquote},
};
use crate::{
    http::{Request, query_pairs},
    id::Id,
    limits::BODY_BYTES_MAX_DEFAULT,
};

/// Bytes of the values in one answer, unless the document itself has more: a key
/// may be listed often, and each time its value is in the answer (400 beyond).
const VALUES_BYTES_MAX: usize = BODY_BYTES_MAX_DEFAULT;

/// A question to a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// `ONLY`: the values of these members.
    Only(Vec<Key>),
    /// `FILTER_BOOL`: the elements of the list `key` whose member `by` is neither false nor null.
    FilterBool {
        /// The member that is a list.
        key: Key,
        /// The member of its elements that decides.
        by: Key,
    },
}

/// The key of a member, as [`unquote`] gives it.
type Key = Box<[u8]>;

/// What the query or the body said so far.
#[derive(Debug, Default)]
struct Draft {
    id: Option<Id>,
    query: Option<Key>,
    list: Option<Vec<Key>>,
    key: Option<Key>,
    by: Option<Key>,
}

/// Reads the document's id and the command from a request.
///
/// # Errors
/// 400 names the field that is missing or wrong, or the query that is not supported.
pub(super) fn command(request: &Request<'_>) -> Result<(Id, Command), Problem> {
    let mut draft = Draft::default();
    draft.read_query(request.query.unwrap_or_default())?;
    if !request.body.is_empty() {
        draft.read_body(&json_body(request)?)?;
    }
    draft.finish()
}

impl Draft {
    fn read_query(&mut self, query: &str) -> Result<(), Problem> {
        for pair in query_pairs(query) {
            let (name, value) = pair?;
            let text = || Some(Key::from(value.as_bytes()));
            let is_repeated = match name.as_ref() {
                "id" => self.id.replace(Id::from_text(&value)?).is_some(),
                "cmd[query]" => std::mem::replace(&mut self.query, text()).is_some(),
                "cmd[keys][key]" => std::mem::replace(&mut self.key, text()).is_some(),
                "cmd[keys][by]" => std::mem::replace(&mut self.by, text()).is_some(),
                "cmd[keys][]" => {
                    self.list.get_or_insert_default().extend(text());
                    false
                }
                _ => false,
            };
            if is_repeated {
                return Err(given_twice(&name));
            }
        }
        Ok(())
    }

    fn read_body(&mut self, body: &[u8]) -> Result<(), Problem> {
        let body = utf8(body).map_err(|error| Problem::bad_json(&error))?;
        let [id, cmd] = pick(body, ["id", "cmd"], "the body")?;
        if let Some(id) = id.map_or(Ok(None), json_id)? {
            self.id = Some(id);
        }
        let Some(cmd) = cmd else {
            return Ok(());
        };
        let [query, keys] = pick(cmd, ["query", "keys"], "cmd")?;
        if let Some(query) = query {
            self.query = Some(string(query, "cmd.query")?);
        }
        match keys {
            Some(keys) if keys.starts_with('[') => {
                let mut list = Ok(Vec::new());
                let visited = elements(keys, |key| {
                    if let Ok(keys) = &mut list {
                        match string(key, "each of cmd.keys") {
                            Ok(key) => keys.push(key),
                            Err(problem) => list = Err(problem),
                        }
                    }
                });
                visited.expect("the grammar of the whole body was checked, and this is a list");
                self.list = Some(list?);
            }
            Some(keys) if keys.starts_with('{') => {
                let [key, by] = pick(keys, ["key", "by"], "cmd.keys")?;
                self.key = key.map(|key| string(key, "cmd.keys.key")).transpose()?;
                self.by = by.map(|by| string(by, "cmd.keys.by")).transpose()?;
            }
            // Whatever else it is: not the keys that the query needs.
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<(Id, Command), Problem> {
        let id = self
            .id
            .ok_or_else(|| missing("id is", "the document's id"))?;
        let query = self
            .query
            .ok_or_else(|| missing("cmd[query] is", "ONLY or FILTER_BOOL"))?;
        let command = match query.as_ref() {
            b"ONLY" => Command::Only(self.list.ok_or_else(|| {
                missing(
                    "cmd[keys] is",
                    "a list of strings, cmd[keys][]=a in a query",
                )
            })?),
            b"FILTER_BOOL" => {
                let (Some(key), Some(by)) = (self.key, self.by) else {
                    return Err(missing(
                        "cmd[keys][key] or cmd[keys][by] is",
                        "the member that is a list, and the member of its elements that decides",
                    ));
                };
                Command::FilterBool { key, by }
            }
            other => {
                return Err(Problem::new(
                    Code::UnsupportedQuery,
                    format!("{} not supported", String::from_utf8_lossy(other)),
                ));
            }
        };
        Ok((id, command))
    }
}

impl Command {
    /// The values that answer the command, each as it stands in `document`, or `null`.
    ///
    /// Costs a pass over the document, which `None` says is missing.
    ///
    /// # Errors
    /// 400 if the values together are too long, which only keys listed often can cause.
    pub(super) fn values<'d>(&self, document: Option<&'d [u8]>) -> Result<Vec<&'d str>, Problem> {
        let document = document.map_or("null", |document| {
            str::from_utf8(document).expect("a stored document was checked to be UTF-8")
        });
        match self {
            Command::Only(keys) => {
                let mut found: HashMap<&[u8], Option<&'d str>> =
                    keys.iter().map(|key| (key.as_ref(), None)).collect();
                object_members(document, |key, value| {
                    if let Some(slot) = found.get_mut(key) {
                        *slot = Some(value);
                    }
                });
                let value = |key: &Key| found[key.as_ref()].unwrap_or("null");
                let bytes: usize = keys.iter().map(|key| value(key).len() + 1).sum();
                let bytes_max = VALUES_BYTES_MAX.max(document.len());
                if bytes > bytes_max {
                    return Err(Problem::new(
                        Code::BadRequest,
                        format!(
                            "the values have more than {bytes_max} bytes; list fewer keys, each once"
                        ),
                    ));
                }
                Ok(keys.iter().map(value).collect())
            }
            Command::FilterBool { key, by } => {
                let mut kept = Vec::new();
                if let Some(list) = member(document, key).filter(|list| list.starts_with('[')) {
                    let visited = elements(list, |element| {
                        if !matches!(member(element, by), None | Some("false" | "null")) {
                            kept.push(element);
                        }
                    });
                    assert_valid(visited);
                }
                Ok(kept)
            }
        }
    }
}

/// The value of the last member `key` of `document`; `None` also if it is no object.
pub(super) fn member<'d>(document: &'d str, key: &[u8]) -> Option<&'d str> {
    let mut found = None;
    object_members(document, |name, value| {
        if name == key {
            found = Some(value);
        }
    });
    found
}

/// Calls `each` for the members of a stored document; never if it is no object.
fn object_members<'d>(document: &'d str, mut each: impl FnMut(&[u8], &'d str)) {
    if document.starts_with('{') {
        assert_valid(members(document, |key, value| each(&unquote(key), value)));
    }
}

/// Passes on that what was visited is a stored document, or a part of one.
pub(super) fn assert_valid(visited: Result<(), VisitError>) {
    visited.expect("the grammar of a stored document was checked before it was stored");
}

/// The content of the JSON string `raw`; 400 for another value, which `label` names.
fn string(raw: &str, label: &str) -> Result<Key, Problem> {
    if !raw.starts_with('"') {
        return Err(Problem::new(
            Code::BadRequest,
            format!("{label} must be a string"),
        ));
    }
    Ok(unquote(raw).into())
}

fn missing(what: &str, wanted: &str) -> Problem {
    Problem::new(Code::MissingField, format!("{what} missing; send {wanted}"))
}

/// 400: a query parameter that may stand once stands twice.
pub(super) fn given_twice(name: &str) -> Problem {
    Problem::new(
        Code::BadRequest,
        format!("the query has {name} twice; send it once"),
    )
}
