//! The ExDaas face: `/api/cmd`.

use super::*;

const MISSING: Outcome = Outcome::Missing;

const COLORS: &str = r#"{"a":1.50,"b":{"x":[1]},"a\"b":"\u00e9","n":null,"colors":[{"c":1,"is_blue":true},{"c":2,"is_blue":false},{"c":3,"is_blue":null},{"c":4},{"c":5,"is_blue":0},{"c":6,"is_blue":false,"is_blue":"x"},7,null,["is_blue"]],"a":2}"#;

#[test]
fn only_answers_the_values_of_the_keys_byte_for_byte() {
    for (keys, expected) in [
        (r#"["b"]"#, r#"[{"x":[1]}]"#),
        (r#"["a"]"#, "[2]"),
        (
            r#"["zz","a\"b","n","a\"b"]"#,
            r#"[null,"\u00e9",null,"\u00e9"]"#,
        ),
        (r#"["\u0062"]"#, r#"[{"x":[1]}]"#),
        ("[]", "[]"),
    ] {
        let body = format!(r#"{{"id":1,"cmd":{{"query":"ONLY","keys":{keys}}}}}"#);
        for line in ["GET /api/cmd", "POST /api/cmd"] {
            let ask = Ask(line, &["Content-Type: application/json"], &body);
            check(
                ask,
                &found(COLORS),
                &format!("200 | {{\"values\":{expected}}}"),
            );
            assert_eq!(op(ask.plan()), Op::Get { id: Id::Integer(1) });
        }
    }
    let two = Ask(
        "GET /api/cmd?id=1&cmd[query]=ONLY&cmd[keys][]=a&cmd[keys][]=b",
        &[],
        "",
    );
    check(two, &MISSING, r#"200 | {"values":[null,null]}"#);
    check(two, &found("[1]"), r#"200 | {"values":[null,null]}"#);
    check(two, &found("\"a\""), r#"200 | {"values":[null,null]}"#);
    let head = Ask("HEAD /api/cmd?id=1&cmd[query]=ONLY&cmd[keys][]=a", &[], "");
    check(head, &MISSING, "200; Content-Length: 17");
}

#[test]
fn a_command_reads_the_same_from_the_query_in_every_encoding() {
    for query in [
        "id=1&cmd[query]=ONLY&cmd[keys][]=a&cmd[keys][]=b",
        "cmd%5Bkeys%5D%5B%5D=a&cmd%5bkeys%5d%5b%5d=b&cmd%5Bquery%5D=ONLY&id=1",
        "id=1&cmd[query]=%4fNLY&cmd[keys][]=%61&cmd[keys][]=b&unknown=1&cmd[x]=2",
    ] {
        let line = format!("GET /api/cmd?{query}");
        check(
            Ask(&line, &[], ""),
            &found(COLORS),
            r#"200 | {"values":[2,{"x":[1]}]}"#,
        );
    }
    let mixed = Ask(
        "GET /api/cmd?id=1&cmd[query]=NOPE",
        &[],
        r#"{"cmd":{"query":"ONLY","keys":["n"]}}"#,
    );
    check(mixed, &found(COLORS), r#"200 | {"values":[null]}"#);
}

#[test]
fn filter_bool_keeps_elements_whose_member_is_neither_false_nor_null() {
    let expected = r#"200 | [{"c":1,"is_blue":true},{"c":5,"is_blue":0},{"c":6,"is_blue":false,"is_blue":"x"}]"#;
    let body = r#"{"id":1,"cmd":{"query":"FILTER_BOOL","keys":{"key":"colors","by":"is_blue"}}}"#;
    check(Ask("POST /api/cmd", &[], body), &found(COLORS), expected);
    let query =
        "GET /api/cmd?id=1&cmd[query]=FILTER_BOOL&cmd[keys][key]=colors&cmd[keys][by]=is_blue";
    check(Ask(query, &[], ""), &found(COLORS), expected);
    for outcome in [
        MISSING,
        found("[]"),
        found("{}"),
        found(r#"{"colors":{"is_blue":1}}"#),
    ] {
        check(Ask(query, &[], ""), &outcome, "200 | []");
    }
}

#[test]
fn a_command_that_lacks_something_is_refused_by_name() {
    for (query, code, part) in [
        (
            "cmd[query]=ONLY&cmd[keys][]=a",
            "400 missing_field",
            "id is missing",
        ),
        ("id=1", "400 missing_field", "cmd[query] is missing"),
        (
            "id=1&cmd[query]=ONLY",
            "400 missing_field",
            "cmd[keys] is missing",
        ),
        (
            "id=1&cmd[query]=ONLY&cmd[keys]=a",
            "400 missing_field",
            "cmd[keys][]=a",
        ),
        (
            "id=1&cmd[query]=FILTER_BOOL&cmd[keys][key]=a",
            "400 missing_field",
            "cmd[keys][by]",
        ),
        (
            "id=1&cmd[query]=only&cmd[keys][]=a",
            "400 unsupported_query",
            "only not supported",
        ),
        ("id=1&id=1&cmd[query]=ONLY", "400 bad_request", "id twice"),
        (
            "id=1&cmd[query]=ONLY&cmd[query]=ONLY",
            "400 bad_request",
            "cmd[query] twice",
        ),
        ("id=&cmd[query]=ONLY&cmd[keys][]=a", "400 bad_id", "empty"),
    ] {
        check_refused(Ask(&format!("GET /api/cmd?{query}"), &[], ""), code, part);
    }
    for (body, code, part) in [
        (
            r#"{"id":null,"cmd":{"query":"ONLY","keys":["a"]}}"#,
            "400 missing_field",
            "id is missing",
        ),
        (r#"{"id":1}"#, "400 missing_field", "cmd[query] is missing"),
        (
            r#"{"id":1,"cmd":"ONLY"}"#,
            "400 bad_request",
            "cmd is not an object",
        ),
        (
            r#"{"id":1,"cmd":{"query":1}}"#,
            "400 bad_request",
            "cmd.query must be a string",
        ),
        (
            r#"{"id":1,"cmd":{"query":"ONLY","keys":"a"}}"#,
            "400 missing_field",
            "cmd[keys]",
        ),
        (
            r#"{"id":1,"cmd":{"query":"ONLY","keys":["a",1]}}"#,
            "400 bad_request",
            "cmd.keys must be a string",
        ),
        (
            r#"{"id":1,"cmd":{"query":"ONLY","keys":{"key":"a","by":"b"}}}"#,
            "400 missing_field",
            "cmd[keys]",
        ),
        (
            r#"{"id":1,"cmd":{"query":"FILTER_BOOL","keys":["a"]}}"#,
            "400 missing_field",
            "cmd[keys][key]",
        ),
        (
            r#"{"id":1,"cmd":{"query":"ONLY","keys":[]},"cmd":{}}"#,
            "400 bad_request",
            "cmd stands in the body twice",
        ),
        (r#"{"id":1.5,"cmd":{}}"#, "400 bad_id", "id is a number"),
        (
            r#"{"id":1,"cmd":{"query":"ONLY","keys":[a]}}"#,
            "400 bad_json",
            "at byte 38",
        ),
        (r#"[]"#, "400 bad_request", "the body is not an object"),
    ] {
        check_refused(Ask("POST /api/cmd", &[], body), code, part);
    }
    check(
        Ask(
            "POST /api/cmd",
            &[],
            r#"{"id":1,"cmd":{"query":"NOPE","keys":[]}}"#,
        ),
        &MISSING,
        r#"400 | {"error":"unsupported_query","message":"NOPE not supported"}"#,
    );
}

#[test]
fn a_key_listed_often_does_not_multiply_a_large_value_without_bound() {
    let keys = vec!["\"a\""; 20].join(",");
    let body = format!(r#"{{"id":1,"cmd":{{"query":"ONLY","keys":[{keys}]}}}}"#);
    let document = |bytes: usize| Outcome::Found {
        ttl: None,
        document: format!("{{\"a\":\"{}\"}}", "x".repeat(bytes)).into(),
        version: Version(1),
    };
    let ask = Ask("POST /api/cmd", &[], &body);
    assert!(ask.response(&document(400_000)).starts_with("200"));
    let response = ask.response(&document(500_000));
    assert!(
        response.starts_with("400 | {\"error\":\"bad_request\""),
        "{response:.99}"
    );
}
