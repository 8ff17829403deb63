//! Edits: `PATCH /docs/ID` and `POST /docs/ID/increment`.

use super::*;
use crate::op::{
    Absent, Condition, Edit, EditRefusal, Increment, Match, PatchStep, Pointer, Refusal, Shows,
};

fn edited(created: bool, shown: &'static str) -> Outcome {
    Outcome::Edited {
        created,
        version: Version(7),
        shown: shown.into(),
        position: Lsn(3),
    }
}

#[test]
fn an_increment_is_planned_with_its_defaults_and_conditions() {
    let expected = |place: &[&str], by, default, condition: Option<Condition>| Op::Edit {
        id: name("a/b"),
        edit: Edit::Increment(Box::new(Increment {
            pointer: Pointer(place.iter().map(|token| Box::from(*token)).collect()),
            by,
            default,
        })),
        condition: condition.map(Box::new),
        shows: Shows::Answer,
    };
    let ask = |fields, body| op(Ask("POST /docs/a%2Fb/increment", fields, body).plan());
    assert_eq!(ask(&[], ""), expected(&[], 1, None, None));
    assert_eq!(ask(&[], " {} "), expected(&[], 1, None, None));
    assert_eq!(
        ask(
            &["If-None-Match: *"],
            r#"{"default": 0, "by": -5, "pointer": "/a~1b/\u00e9"}"#
        ),
        expected(&["a/b", "é"], -5, Some(0), Some(Condition::absent()))
    );
}

#[test]
fn an_increment_answers_the_sum_and_the_place_of_a_new_document() {
    let ask = Ask("POST /docs/12/increment", &[], r#"{"pointer":"/n"}"#);
    let body = r#"{"id":12,"value":-3}"#;
    check(
        ask,
        &edited(false, "-3"),
        &format!("200; ETag: \"7\" | {body}"),
    );
    check(
        ask,
        &edited(true, "-3"),
        &format!("201; ETag: \"7\"; Location: /docs/12 | {body}"),
    );
    let missing = r#"404 | {"error":"not_found","message":"no document 12"}"#;
    check(ask, &Outcome::Missing, missing);
    for (refusal, expected) in [
        (
            EditRefusal::NoSuchPart,
            "404 | {\"error\":\"no_such_part\",",
        ),
        (
            EditRefusal::NoSuchParent,
            "409 | {\"error\":\"edit_conflict\",",
        ),
        (
            EditRefusal::NotAnInteger,
            "409 | {\"error\":\"not_an_integer\",",
        ),
        (
            EditRefusal::Overflow,
            "409 | {\"error\":\"integer_overflow\",",
        ),
        (
            EditRefusal::TooLarge,
            "413 | {\"error\":\"edit_too_large\",",
        ),
    ] {
        let response = ask.response(&Outcome::Refused(Refusal::Edit(refusal)));
        assert!(response.starts_with(expected), "{response}");
    }
    let failed = ask.response(&Outcome::ConditionFailed);
    assert!(failed.starts_with("412 | {\"error\":\"precondition_failed\""));
}

#[test]
fn an_increment_that_is_not_one_is_refused() {
    for (body, expected, part) in [
        ("[]", "400 bad_request", "the body is not an object"),
        ("{", "400 bad_json", "EOF"),
        (r#"{"by":1.0}"#, "400 bad_request", "by is not an integer"),
        (r#"{"by":"1"}"#, "400 bad_request", "by is not an integer"),
        (r#"{"by":null}"#, "400 bad_request", "by is not an integer"),
        (
            r#"{"by":9223372036854775808}"#,
            "400 bad_request",
            "9223372036854775807",
        ),
        (r#"{"default":[]}"#, "400 bad_request", "default is not"),
        (
            r#"{"pointer":1}"#,
            "400 bad_request",
            "pointer is not a string",
        ),
        (
            r#"{"pointer":"/\ud800"}"#,
            "400 bad_request",
            "pointer is not a string",
        ),
        (r#"{"pointer":"n"}"#, "400 bad_request", "begin with /"),
        (
            r#"{"pointer":"/~2"}"#,
            "400 bad_request",
            "~ without 0 or 1",
        ),
        (r#"{"By":2}"#, "400 bad_request", "takes no member \"By\""),
        (r#"{"by":2,"by":3}"#, "400 bad_request", "by stands in"),
    ] {
        check_refused(Ask("POST /docs/1/increment", &[], body), expected, part);
    }
    let declared = Ask(
        "POST /docs/1/increment",
        &["Content-Type: text/plain"],
        "{}",
    );
    check_refused(declared, "415 unsupported_media_type", "text/plain");
    check_refused(Ask("POST /docs//increment", &[], ""), "400 bad_id", "");
    check_refused(
        Ask("POST /docs/1/decrement", &[], ""),
        "404 no_such_route",
        "%2F",
    );
}

const MERGE: &str = "Content-Type: application/merge-patch+json";
const JSON: &str = "Content-Type: application/json-patch+json; charset=UTF-8";

#[test]
fn a_merge_patch_is_planned_and_creates_only_if_there_must_be_no_document() {
    let expected = |absent, condition: Option<Condition>| Op::Edit {
        id: name("a"),
        edit: Edit::Merge {
            patch: r#"{"k":1.0}"#.into(),
            absent,
        },
        condition: condition.map(Box::new),
        shows: Shows::Answer,
    };
    let ask = |fields| op(Ask("PATCH /docs/a", fields, r#" { "k" : 1.0 } "#).plan());
    assert_eq!(ask(&[MERGE]), expected(Absent::Missing, None));
    assert_eq!(
        ask(&[MERGE, "If-None-Match: *"]),
        expected(Absent::Create, Some(Condition::absent()))
    );
    let other = Condition {
        if_match: None,
        if_none_match: Some(Match::Versions(Box::new([Version(7)]))),
    };
    assert_eq!(
        ask(&[MERGE, "If-None-Match: \"7\""]),
        expected(Absent::Missing, Some(other))
    );
}

#[test]
fn a_json_patch_is_planned_as_its_steps() {
    let body = r#"[{"op":"add","path":"/a~1b/-","value":{ "n" : 1.0 }},
        {"path":"/x","from":"","op":"copy"}]"#;
    let pointer = |tokens: &[&str]| Pointer(tokens.iter().map(|token| Box::from(*token)).collect());
    let steps = [
        PatchStep::Add {
            path: pointer(&["a/b", "-"]),
            value: r#"{"n":1.0}"#.into(),
        },
        PatchStep::Copy {
            from: pointer(&[]),
            path: pointer(&["x"]),
        },
    ];
    let expected = Op::Edit {
        id: Id::Integer(1),
        edit: Edit::Patch(Box::new(steps)),
        condition: None,
        shows: Shows::Answer,
    };
    assert_eq!(op(Ask("PATCH /docs/1", &[JSON], body).plan()), expected);
}

#[test]
fn a_patch_answers_as_a_put_does() {
    let ask = Ask("PATCH /docs/12", &[MERGE], "{}");
    let body = r#"{"id":12}"#;
    check(
        ask,
        &edited(false, ""),
        &format!("200; ETag: \"7\" | {body}"),
    );
    check(
        ask,
        &edited(true, ""),
        &format!("201; ETag: \"7\"; Location: /docs/12 | {body}"),
    );
    let missing = r#"404 | {"error":"not_found","message":"no document 12"}"#;
    check(ask, &Outcome::Missing, missing);
    for (refusal, expected, part) in [
        (
            EditRefusal::TestFailed { step: 3 },
            "409 | {\"error\":\"test_failed\",",
            "patch[3]",
        ),
        (
            EditRefusal::NoTarget { step: 4 },
            "409 | {\"error\":\"edit_conflict\",",
            "patch[4]",
        ),
        (
            EditRefusal::TooDeep { step: 5 },
            "409 | {\"error\":\"edit_conflict\",",
            "deeper than 100",
        ),
    ] {
        let response = ask.response(&Outcome::Refused(Refusal::Edit(refusal)));
        assert!(response.starts_with(expected), "{response}");
        assert!(response.contains(part), "{response}");
    }
}

#[test]
fn a_patch_that_is_not_declared_as_one_is_415_with_those_that_there_are() {
    for fields in [
        &[][..],
        &["Content-Type: application/json"],
        &["Content-Type:"],
        &[
            "Content-Type: application/merge-patch+json",
            "Content-Type: application/json",
        ],
        &["Content-Type: application/merge-patch"],
    ] {
        let response = Ask("PATCH /docs/1", fields, "{}").response(&edited(false, ""));
        let expected = "415; Accept-Patch: application/merge-patch+json, \
             application/json-patch+json | {\"error\":\"unsupported_media_type\"";
        assert!(response.starts_with(expected), "{fields:?}: {response}");
    }
    let latin = ["Content-Type: application/merge-patch+json; charset=latin1"];
    check_refused(
        Ask("PATCH /docs/1", &latin, "{}"),
        "415 unsupported_media_type",
        "charset",
    );
    check_refused(Ask("PATCH /docs/1", &[MERGE], "{"), "400 bad_json", "EOF");
    check_refused(
        Ask("PATCH /docs/1", &[MERGE], ""),
        "400 missing_field",
        "empty",
    );
    check_refused(
        Ask("PATCH /docs/1", &[JSON], "{}"),
        "400 bad_request",
        "list of operations",
    );
    let misspelt = r#"[{"op":"add","path":"/a"}]"#;
    check_refused(
        Ask("PATCH /docs/1", &[JSON], misspelt),
        "400 missing_field",
        "patch[0]",
    );
    check_refused(
        Ask("PATCH /docs/1", &[MERGE, "If-Match: 7"], "{}"),
        "400 bad_request",
        "If-Match",
    );
}
