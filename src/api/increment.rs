//! Increments: integers in documents that count, exact to 64 bits.

use bytes::Bytes;

use super::{
    Code, Problem,
    body::{json_body, pick_only},
    json::utf8,
    pointer::{find, pointer},
    tree::quoted,
    visit::unquote,
    work::Work,
};
use crate::{
    http::Request,
    op::{EditRefusal, EditResult, Edited, Increment},
};

/// The members that an increment is written with.
pub(super) const FIELDS: [&str; 3] = ["pointer", "by", "default"];

/// Reads the body of `POST /docs/ID/increment`; an empty one adds 1 to the whole document.
///
/// # Errors
/// 400 names what is wrong with the body or its fields.
pub(super) fn increment_of(request: &Request<'_>) -> Result<Increment, Problem> {
    if request.body.is_empty() {
        return increment_with([None; 3]);
    }
    let body = json_body(request)?;
    let body = utf8(&body).map_err(|error| Problem::bad_json(&error))?;
    increment_with(pick_only(body, FIELDS, "the body")?)
}

/// Reads an increment from the raw values of its [`FIELDS`].
///
/// # Errors
/// 400 names the field that is wrong.
pub(super) fn increment_with(
    [place, by, default]: [Option<&str>; 3],
) -> Result<Increment, Problem> {
    Ok(Increment {
        pointer: place.map_or(Ok(Default::default()), |raw| {
            pointer(&string(raw, "pointer")?, "pointer")
        })?,
        by: by.map_or(Ok(1), |raw| sent_integer(raw, "by"))?,
        default: default
            .map(|raw| sent_integer(raw, "default"))
            .transpose()?,
    })
}

/// The content of the JSON string `raw`; 400 for what is none, which `label` names.
pub(super) fn string(raw: &str, label: &str) -> Result<String, Problem> {
    if raw.starts_with('"')
        && let Ok(text) = String::from_utf8(unquote(raw).into_owned())
    {
        return Ok(text);
    }
    Err(Problem::new(
        Code::BadRequest,
        format!("{label} is not a string of characters; send one"),
    ))
}

fn sent_integer(raw: &str, label: &str) -> Result<i64, Problem> {
    integer(raw).ok_or_else(|| {
        Problem::new(
            Code::BadRequest,
            format!(
                "{label} is not an integer from {} to {}; send one without fraction and exponent",
                i64::MIN,
                i64::MAX
            ),
        )
    })
}

/// The integer of 64 bits that is written as `raw`, a JSON value.
fn integer(raw: &str) -> Option<i64> {
    raw.parse().ok()
}

/// What `increment` makes of `document`.
pub(super) fn increment(
    increment: &Increment,
    document: Option<&str>,
    work: &mut Work,
) -> EditResult {
    let tokens = &increment.pointer.0;
    let sum_with = |before: i64| {
        let sum = before.checked_add(increment.by);
        sum.map(|sum| sum.to_string()).ok_or(EditRefusal::Overflow)
    };
    work.spend(document.map_or(0, str::len))?;
    let found = match document {
        None => None,
        Some(document) => find(document, tokens, work)?,
    };
    let (document, sum) = match (document, found, increment.default) {
        (Some(document), Some(value), _) => {
            let sum = sum_with(integer(value).ok_or(EditRefusal::NotAnInteger)?)?;
            let start = value.as_ptr().addr() - document.as_ptr().addr();
            let end = start + value.len();
            ([&document[..start], &sum, &document[end..]].concat(), sum)
        }
        (None, _, None) => return Ok(None),
        (Some(_), None, None) => return Err(EditRefusal::NoSuchPart),
        (document, None, Some(default)) => {
            let sum = sum_with(default)?;
            let document = match (document, &**tokens) {
                (None, []) => sum.clone(),
                (document, [parents @ .., key]) => {
                    with_member(document.unwrap_or("{}"), parents, key, &sum, work)?
                }
                (Some(_), []) => unreachable!("the whole document was found"),
            };
            (document, sum)
        }
        (None, Some(_), _) => unreachable!("it was looked for in the document"),
    };
    Ok(Some(Edited {
        document: Bytes::from(document),
        shown: Bytes::from(sum),
    }))
}

/// `document` with a further member of the object to which `parents` lead.
fn with_member(
    document: &str,
    parents: &[Box<str>],
    key: &str,
    value: &str,
    work: &mut Work,
) -> Result<String, EditRefusal> {
    let object = find(document, parents, work)?.filter(|value| value.starts_with('{'));
    let object = object.ok_or(EditRefusal::NoSuchParent)?;
    let start = object.as_ptr().addr() - document.as_ptr().addr();
    // A stored document has no white space, so that the object ends with its brace.
    let (before, after) = document.split_at(start + object.len() - 1);
    let name = quoted(key);
    let comma = if object == "{}" { "" } else { "," };
    Ok([before, comma, &name, ":", value, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expects `body` to make of `document` what is given, or to be refused so.
    fn check(
        document: Option<&str>,
        body: &str,
        expected: Result<Option<(&str, &str)>, EditRefusal>,
    ) {
        let fields = pick_only(body, FIELDS, "the body").expect(body);
        let by = increment_with(fields).expect(body);
        let edited = increment(&by, document, &mut Work::up_to(1000));
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let got =
            edited.map(|edited| edited.map(|edited| (text(&edited.document), text(&edited.shown))));
        let expected = expected.map(|expected| {
            expected.map(|(document, shown)| (document.to_owned(), shown.to_owned()))
        });
        assert_eq!(got, expected, "{body} on {document:?}");
    }

    #[test]
    fn an_integer_is_counted_where_it_stands_and_every_other_byte_stays() {
        check(Some("41"), "{}", Ok(Some(("42", "42"))));
        check(Some("-1"), r#"{"by":1}"#, Ok(Some(("0", "0"))));
        check(Some("-0"), r#"{"by":-1}"#, Ok(Some(("-1", "-1"))));
        let document =
            r#"{"a\u0041":1e400,"n":[0,{"\u006e/":99}],"b":1.0,"n2":100000000000000000001}"#;
        let expected = document.replace("99", "104");
        let by = r#"{"pointer":"/n/1/n~1","by":5}"#;
        check(Some(document), by, Ok(Some((&expected, "104"))));
        // Of a key that stands twice, the last one counts.
        let twice = Some(r#"{"n":1,"n":2}"#);
        check(
            twice,
            r#"{"pointer":"/n"}"#,
            Ok(Some((r#"{"n":1,"n":3}"#, "3"))),
        );
    }

    #[test]
    fn counting_is_exact_to_the_last_of_64_bits() {
        let (min, max) = ("-9223372036854775808", "9223372036854775807");
        check(Some("9223372036854775806"), "{}", Ok(Some((max, max))));
        let by_max = r#"{"by":9223372036854775807}"#;
        check(Some(min), by_max, Ok(Some(("-1", "-1"))));
        check(
            Some("-9223372036854775807"),
            r#"{"by":-1}"#,
            Ok(Some((min, min))),
        );
        check(Some(max), "{}", Err(EditRefusal::Overflow));
        check(Some(min), r#"{"by":-1}"#, Err(EditRefusal::Overflow));
        check(
            None,
            r#"{"by":9223372036854775807,"default":1}"#,
            Err(EditRefusal::Overflow),
        );
    }

    #[test]
    fn what_is_no_integer_of_64_bits_is_not_counted() {
        for value in [
            "1.0",
            "1e2",
            "\"1\"",
            "null",
            "true",
            "[]",
            "{}",
            "9223372036854775808",
        ] {
            check(
                Some(value),
                r#"{"default":0}"#,
                Err(EditRefusal::NotAnInteger),
            );
            let document = format!(r#"{{"n":{value}}}"#);
            check(
                Some(&document),
                r#"{"pointer":"/n"}"#,
                Err(EditRefusal::NotAnInteger),
            );
        }
    }

    #[test]
    fn a_default_stands_in_for_what_is_missing_but_its_parents() {
        let n = r#"{"pointer":"/n","by":5,"default":0}"#;
        check(None, "{}", Ok(None));
        check(None, r#"{"pointer":"/n"}"#, Ok(None));
        check(
            Some("{}"),
            r#"{"pointer":"/n"}"#,
            Err(EditRefusal::NoSuchPart),
        );
        check(
            Some("[1]"),
            r#"{"pointer":"/1"}"#,
            Err(EditRefusal::NoSuchPart),
        );
        check(None, r#"{"by":-5,"default":7}"#, Ok(Some(("2", "2"))));
        check(None, n, Ok(Some((r#"{"n":5}"#, "5"))));
        check(Some("{}"), n, Ok(Some((r#"{"n":5}"#, "5"))));
        check(Some(r#"{"a":{}}"#), n, Ok(Some((r#"{"a":{},"n":5}"#, "5"))));
        check(Some(r#"{"n":1}"#), n, Ok(Some((r#"{"n":6}"#, "6"))));
        let deep = r#"{"pointer":"/a/\"b\n","default":0}"#;
        check(
            Some(r#"{"a":{"x":[]},"c":1}"#),
            deep,
            Ok(Some((r#"{"a":{"x":[],"\"b\n":1},"c":1}"#, "1"))),
        );
        for document in [
            None,
            Some("{}"),
            Some(r#"{"a":1}"#),
            Some(r#"{"a":[]}"#),
            Some("7"),
        ] {
            check(document, deep, Err(EditRefusal::NoSuchParent));
        }
        check(
            Some("[1]"),
            r#"{"pointer":"/-","default":0}"#,
            Err(EditRefusal::NoSuchParent),
        );
    }
}
