//! Lines of documents, `{"id":ID,"data":DOCUMENT}`: what `import` takes and `export` writes.
//! A document that expires has `ttl` or `expires_at` beside them, as a put of a batch does.
//!
//! A line is checked here as the server will check it, so that a line that is wrong is known
//! by its number before anything is sent. What it holds is sent as it is.

use serde::Deserialize;

use super::{
    Code, Problem,
    body::json_id,
    expiry::json_expires,
    json::{JsonError, minify_valid, utf8},
    render::id_json,
    visit::{VisitError, members, unquote},
};
use crate::{id::Id, op::Expiry};

/// A line that the server will take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'t> {
    /// The id; `None`: the server chooses.
    pub id: Option<Id>,
    /// The document as it stands in the line.
    pub data: &'t str,
}

/// What the server said to one of many operations, or to a whole request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Said {
    /// The status; 0: the answer has none of its own.
    #[serde(default)]
    pub status: u16,
    /// The code of the error; empty: there is none.
    #[serde(default)]
    pub error: String,
    /// What is wrong and what to do.
    #[serde(default)]
    pub message: String,
}

#[derive(Deserialize)]
struct Results {
    results: Vec<Said>,
}

impl<'t> Line<'t> {
    /// Reads a line; white space around it has no meaning.
    ///
    /// # Errors
    /// What the server would say to it.
    pub fn read(text: &'t [u8]) -> Result<Line<'t>, Problem> {
        let text = utf8(text).map_err(|error| no_json(&error))?;
        let (mut id, mut data, mut fault) = (None, None, None);
        let (mut ttl, mut expires_at) = (None, None);
        let visited = members(text, |raw_key, value| {
            let slot = match unquote(raw_key).as_ref() {
                b"id" => &mut id,
                b"data" => &mut data,
                b"ttl" => &mut ttl,
                b"expires_at" => &mut expires_at,
                _ => {
                    fault = Some(format!(
                        "a line takes no member {raw_key}; it has id and data, and perhaps ttl or expires_at"
                    ));
                    return;
                }
            };
            if slot.replace(value).is_some() {
                fault = Some(format!("{raw_key} stands in the line twice"));
            }
        });
        match visited {
            Err(VisitError::Json(error)) => return Err(no_json(&error)),
            Err(VisitError::OtherType) => {
                fault = Some("the line is not an object with id and data".to_owned());
            }
            Ok(()) => {}
        }
        if let Some(fault) = fault {
            return Err(Problem::new(Code::BadRequest, fault));
        }
        let data = data.ok_or_else(|| Problem::new(Code::MissingField, "data is missing"))?;
        minify_valid(data).map_err(|error| no_json(&error))?;
        json_expires([ttl, expires_at])?;
        Ok(Line {
            id: id.map_or(Ok(None), json_id)?,
            data,
        })
    }
}

/// Appends the line of a document, its line feed included.
pub fn write_line(id: &Id, document: &[u8], expiry: Option<Expiry>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(&id_json(id));
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(document);
    if let Some(expiry) = expiry {
        out.extend_from_slice(b",\"expires_at\":");
        out.extend_from_slice(expiry.to_string().as_bytes());
    }
    out.extend_from_slice(b"}\n");
}

/// Appends the body of a batch that stores `lines`, each one that [`Line::read`] takes.
pub fn write_batch<'l>(lines: impl Iterator<Item = &'l [u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"ops\":[");
    for (place, line) in lines.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"put\":");
        out.extend_from_slice(line);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

/// What the answer to a batch says of each operation; `None` if it is no such answer.
#[must_use]
pub fn read_results(body: &[u8]) -> Option<Vec<Said>> {
    let answer: Results = serde_json::from_slice(body).ok()?;
    Some(answer.results)
}

/// What an error response says; `None` if it is none of this server.
#[must_use]
pub fn read_problem(body: &[u8]) -> Option<Said> {
    let said: Said = serde_json::from_slice(body).ok()?;
    (!said.error.is_empty()).then_some(said)
}

fn no_json(error: &JsonError) -> Problem {
    Problem::new(Code::BadJson, format!("the line is not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_or_says_what_is_wrong() {
        let check = |text: &str, expected: Result<(Option<Id>, &str), (&str, &str)>| {
            let read = Line::read(text.as_bytes());
            let read = read.as_ref().map(|line| (line.id.clone(), line.data));
            match (read, expected) {
                (Ok(read), Ok(expected)) => assert_eq!(read, expected, "{text}"),
                (Err(problem), Err((code, part))) => {
                    assert_eq!(problem.code, code, "{text}");
                    assert!(problem.message.contains(part), "{text}: {problem:?}");
                }
                (read, expected) => panic!("{text}: {read:?}, expected {expected:?}"),
            }
        };
        let seven = || Some(Id::Integer(7));
        check(
            r#"{"id":7,"data":{"a":1.0}}"#,
            Ok((seven(), r#"{"a":1.0}"#)),
        );
        check(r#" {"data": [ ], "id": "7"} "#, Ok((seven(), "[ ]")));
        check(r#"{"id":null,"data":null}"#, Ok((None, "null")));
        check(r#"{"data":1}"#, Ok((None, "1")));
        let name = Id::Name("a\"b/ü".into());
        check(
            r#"{"\u0069d":"a\"b/\u00fc","data":0}"#,
            Ok((Some(name), "0")),
        );
        check(r#"{"id":7,"data":1,"ttl":0.5}"#, Ok((seven(), "1")));
        check(
            r#"{"expires_at":1e9,"id":7,"data":1}"#,
            Err(("bad_request", "expires_at")),
        );
        check(
            r#"{"id":7,"data":1,"ttl":0}"#,
            Err(("bad_request", "ttl is not")),
        );
        check(r#"{"id":7}"#, Err(("missing_field", "data")));
        check(r#"{"id":7,"data":1,"x":2}"#, Err(("bad_request", "\"x\"")));
        check(r#"{"id":7,"id":8,"data":1}"#, Err(("bad_request", "twice")));
        check("[1]", Err(("bad_request", "not an object")));
        check(r#"{"id":7,"data":"#, Err(("bad_json", "at byte")));
        check(r#"{"id":7,"data":1} x"#, Err(("bad_json", "at byte")));
        check(r#"{"id":1.5,"data":1}"#, Err(("bad_id", "fraction")));
        check(r#"{"id":"","data":1}"#, Err(("bad_id", "empty")));
        let deep = format!("{{\"data\":{}{}}}", "[".repeat(101), "]".repeat(101));
        check(&deep, Err(("bad_json", "nest")));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut out = Vec::new();
        let id = Id::Name("q\"\\ \u{2028}".into());
        write_line(&id, br#"{"n":1e400,"s":"\u00fc\/"}"#, None, &mut out);
        let line = Line::read(&out).expect("its own line");
        assert_eq!(line.id, Some(id));
        assert_eq!(line.data, r#"{"n":1e400,"s":"\u00fc\/"}"#);
        out.clear();
        write_line(
            &Id::Integer(7),
            b"1",
            Expiry::asked(1_790_000_000_050),
            &mut out,
        );
        let expected = br#"{"id":7,"data":1,"expires_at":1790000000.050}"#;
        assert_eq!(out.trim_ascii_end(), expected);
        assert!(Line::read(&out).is_ok());
        let mut body = Vec::new();
        write_batch([b"1".as_slice(), b"2"].into_iter(), &mut body);
        assert_eq!(body, br#"{"ops":[{"put":1},{"put":2}]}"#);
    }

    #[test]
    fn answers_are_read_and_others_are_none() {
        let results = read_results(
            br#"{"results":[{"status":201,"id":1,"etag":"\"1\""},{"status":507,"error":"disk_full","message":"m"}]}"#,
        );
        let results = results.expect("the answer to a batch");
        assert_eq!((results[0].status, results[0].error.as_str()), (201, ""));
        assert_eq!(
            (results[1].status, results[1].error.as_str()),
            (507, "disk_full")
        );
        assert_eq!(read_results(b"<html>"), None);
        assert_eq!(read_problem(b"{}"), None);
        let said = read_problem(br#"{"error":"bad_json","message":"m"}"#);
        assert_eq!(said.map(|said| said.error).as_deref(), Some("bad_json"));
    }
}
