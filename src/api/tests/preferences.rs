//! `Prefer: return=` on writes.

use super::*;
use crate::op::{Edit, Shows};

const MINIMAL: &str = "Prefer: return=minimal";
const WHOLE: &str = "Prefer: return=representation";
const MERGE: &str = "Content-Type: application/merge-patch+json";

fn edited(created: bool, shown: &'static str) -> Outcome {
    Outcome::Edited {
        created,
        version: Version(7),
        shown: shown.into(),
        position: Lsn(3),
    }
}

#[test]
fn a_write_that_prefers_little_is_answered_without_a_body() {
    let replaced = "204; ETag: \"7\"; Preference-Applied: return=minimal";
    let created = |place: &str| {
        format!(
            "201; Content-Length: 0; ETag: \"7\"; Location: {place}; \
             Preference-Applied: return=minimal"
        )
    };
    let put = Ask("PUT /docs/1", &[MINIMAL], "1");
    check(put, &stored(false), replaced);
    check(put, &stored(true), &created("/docs/1"));
    check(
        Ask("POST /docs", &[MINIMAL], "1"),
        &stored(true),
        &created("/docs/9"),
    );
    for ask in [
        Ask("PATCH /docs/1", &[MINIMAL, MERGE], "{}"),
        Ask("POST /docs/1/increment", &[MINIMAL], ""),
    ] {
        check(ask, &edited(false, "5"), replaced);
        check(ask, &edited(true, "5"), &created("/docs/1"));
    }
}

#[test]
fn a_write_that_prefers_the_document_is_answered_with_it() {
    let applied = "Preference-Applied: return=representation";
    let replaced = format!("200; ETag: \"7\"; Content-Location: /docs/1; {applied} | [1.0]");
    let created = |id: u32| {
        format!(
            "201; ETag: \"7\"; Location: /docs/{id}; Content-Location: /docs/{id}; {applied} | [1.0]"
        )
    };
    for ask in [
        Ask("PUT /docs/1", &[WHOLE], " [1.0]"),
        Ask("PATCH /docs/1", &[WHOLE, MERGE], "{}"),
        Ask("POST /docs/1/increment", &[WHOLE], ""),
    ] {
        check(ask, &edited(false, "[1.0]"), &replaced);
        check(ask, &edited(true, "[1.0]"), &created(1));
        let Op::Edit { shows, .. } = op(ask.plan()) else {
            panic!("{ask:?} must learn what is stored")
        };
        assert_eq!(shows, Shows::Document);
    }
    let put = op(Ask("PUT /docs/1", &[WHOLE, "If-None-Match: *"], " [1.0]").plan());
    let Op::Edit {
        edit: Edit::Replace { document, .. },
        condition: Some(_),
        ..
    } = put
    else {
        panic!("{put:?}")
    };
    assert_eq!(document, "[1.0]");
    check(
        Ask("POST /docs", &[WHOLE], " [1.0]"),
        &stored(true),
        &created(9),
    );
}

#[test]
fn a_preference_that_cannot_be_met_has_no_meaning() {
    let usual = "200; ETag: \"7\" | {\"id\":1}";
    for fields in [
        &["Prefer: return"][..],
        &["Prefer: return=much"],
        &["Prefer: return=Minimal"],
        &["Prefer: returns=minimal, xreturn=minimal"],
        &["Prefer: a=\", return=minimal\""],
        &["Prefer: a=\", return=minimal, b\""],
        &["Prefer: a=\"\\\", return=minimal, b\""],
        &["Prefer: respond-async; return=minimal"],
        &["Prefer: return=much, return=minimal"],
        &["Prefer:"],
        &["Prefer: \""],
    ] {
        check(Ask("PUT /docs/1", fields, "1"), &stored(false), usual);
    }
    let minimal = "204; ETag: \"7\"; Preference-Applied: return=minimal";
    for fields in [
        &["Prefer: respond-async, RETURN = \"minimal\" ; x=y"][..],
        &["Prefer: a=\",\"", "prefer: return=minimal"],
        &["Prefer: return=minimal, return=representation"],
    ] {
        check(Ask("PUT /docs/1", fields, "1"), &stored(false), minimal);
    }
    // What is not done has an answer that says so, whatever is preferred.
    for field in [MINIMAL, WHOLE] {
        let failed = Ask("PUT /docs/1", &[field], "1").response(&Outcome::ConditionFailed);
        assert!(failed.starts_with("412 | {"), "{failed}");
        let read = Ask("GET /docs/1", &[field], "");
        check(read, &found("1"), "200; ETag: \"7\" | 1");
        let api = Ask("POST /api", &[field], r#"{"id":1,"data":2}"#);
        check(
            api,
            &stored(false),
            "200; ETag: \"7\" | {\"id\":1,\"data\":2}",
        );
    }
}
