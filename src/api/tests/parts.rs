//! Parts of a document: `pointer=` and `fields=`.

use super::*;
use crate::{http::Status, limits::POINTER_SCAN_BYTES_MAX};

/// The document of RFC 6901, section 5.
const EXAMPLE: &str =
    r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;

fn holding(document: &str) -> Outcome {
    Outcome::Found {
        document: document.to_owned().into(),
        version: Version(7),
        ttl: None,
    }
}

#[track_caller]
fn shows(document: &str, query: &str, expected: &str) {
    let line = format!("GET /docs/12?{query}");
    let expected = format!("200; ETag: \"7\" | {expected}");
    check(Ask(&line, &[], ""), &holding(document), &expected);
}

#[track_caller]
fn fails(document: &str, query: &str, status: u16, naming: &str) {
    let line = format!("GET /docs/12?{query}");
    let response = Ask(&line, &[], "").response(&holding(document));
    assert!(
        response.starts_with(&status.to_string()),
        "{query}: {response}"
    );
    assert!(response.contains(naming), "{query}: {response}");
    assert!(!response.contains("ETag"), "{query}: {response}");
}

#[test]
fn the_examples_of_rfc_6901_lead_where_it_says() {
    for (pointer, expected) in [
        ("", EXAMPLE),
        ("/foo", r#"["bar","baz"]"#),
        ("/foo/0", r#""bar""#),
        ("/", "0"),
        ("/a~1b", "1"),
        ("/c%25d", "2"),
        ("/e%5Ef", "3"),
        ("/g%7Ch", "4"),
        ("/i%5Cj", "5"),
        ("/k%22l", "6"),
        ("/%20", "7"),
        ("/m~0n", "8"),
    ] {
        shows(EXAMPLE, &format!("pointer={pointer}"), expected);
    }
}

#[test]
fn a_part_is_shown_byte_for_byte() {
    let document = r#"{"a":{"n":1.500e+3,"s":"\u0041\/"},"a":[{"~1":1e999,"é":null}]}"#;
    shows(document, "pointer=/a/0/~01", "1e999");
    shows(document, "pointer=/a/0/%C3%A9", "null");
    shows(r#"{"\u0061":1.50}"#, "pointer=/a", "1.50");
    shows(
        r#"{"\u0061":1.50,"b":[ ]}"#,
        "fields=x,a",
        r#"{"\u0061":1.50}"#,
    );
    shows(r#"{"a":1,"b":2,"c":3}"#, "fields=c,a", r#"{"a":1,"c":3}"#);
    shows(r#"{"a":1}"#, "fields=b", "{}");
    shows(r#"{"a":1,"":2}"#, "fields=,z", r#"{"":2}"#);
    shows("17", "pointer=", "17");
}

#[test]
fn a_part_that_is_not_there_is_404() {
    let document = r#"{"a":[1,{"b":2}],"n":1e999,"s":"x"}"#;
    for pointer in [
        "/b",
        "/a/2",
        "/a/-",
        "/a/01",
        "/a/+1",
        "/a/%2B1",
        "/a/1/c",
        "/a/1/b/0",
        "/n/0",
        "/s/0",
        "/a/99999999999999999999999",
    ] {
        fails(document, &format!("pointer={pointer}"), 404, "no_such_part");
    }
    fails(
        document,
        "pointer=/q/r",
        404,
        "document 12 has nothing at /q/r",
    );
    fails("[1]", "fields=a", 404, "document 12 is no object");
    let missing = Ask("GET /docs/12?pointer=/a", &[], "").response(&Outcome::Missing);
    assert!(missing.contains("not_found"), "{missing}");
}

#[test]
fn a_query_that_names_no_part_is_400() {
    for (query, naming) in [
        ("pointer=a", "does not begin with /"),
        ("pointer=/a~", "~ without 0 or 1"),
        ("pointer=/a~2", "~ without 0 or 1"),
        ("pointer=/~%C3%A9", "~ without 0 or 1"),
        ("pointer=/a&pointer=/b", "pointer twice"),
        ("fields=a&fields=b", "fields twice"),
        ("fields=", "fields is empty"),
        ("pointer=/a&fields=a", "side by side"),
        ("pointer=%zz", "%25"),
        ("pointer=/%ff", "UTF-8"),
    ] {
        let line = format!("GET /docs/12?{query}");
        let (plan, _) = Ask(&line, &[], "").planned();
        let problem = plan.expect_err(query);
        assert_eq!(problem.status, Status::BadRequest, "{query}: {problem:?}");
        assert!(problem.message.contains(naming), "{query}: {problem:?}");
    }
}

#[test]
fn conditions_hold_for_parts_too() {
    let document = found(r#"{"a":1}"#);
    let ask = |field| Ask("GET /docs/12?pointer=/a", field, "");
    check(
        ask(&["If-None-Match: \"7\""]),
        &document,
        "304; ETag: \"7\"",
    );
    check(ask(&["If-Match: \"7\""]), &document, "200; ETag: \"7\" | 1");
    let failed = ask(&["If-Match: \"6\""]).response(&document);
    assert!(failed.starts_with("412"), "{failed}");
    check(
        Ask("HEAD /docs/12?pointer=/a", &[], ""),
        &document,
        "200; Content-Length: 1; ETag: \"7\"",
    );
}

#[test]
fn a_pointer_through_a_large_document_is_bounded_in_work() {
    let deep = |bytes: usize| {
        let (depth, filler) = (50, "x".repeat(bytes));
        let document = format!("{}\"{filler}\"{}", "[".repeat(depth), "]".repeat(depth));
        (document, format!("pointer={}", "/0".repeat(depth)))
    };
    let (small, pointer) = deep(100);
    shows(&small, &pointer, &format!("\"{}\"", "x".repeat(100)));
    let (large, pointer) = deep(POINTER_SCAN_BYTES_MAX / 32);
    fails(&large, &pointer, 400, "read the document whole");
    // Each document can be looked into, however long it is.
    let long = format!("[\"{}\",5]", "x".repeat(POINTER_SCAN_BYTES_MAX));
    shows(&long, "pointer=/1", "5");
}
