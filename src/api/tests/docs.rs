//! The resource face: `/docs` and `/docs/ID`.

use super::*;
use crate::op::{Chosen, Condition, Expires, Match, Refusal};

#[test]
fn a_document_is_read_as_it_is_stored() {
    let document = found(r#"{"b":1.50,"a":"\u0041"}"#);
    let body = r#"{"b":1.50,"a":"\u0041"}"#;
    let get = Ask("GET /docs/12", &[], "");
    check(get, &document, &format!("200; ETag: \"7\" | {body}"));
    let head = Ask("HEAD /docs/12", &[], "");
    check(head, &document, "200; Content-Length: 23; ETag: \"7\"");
    assert_eq!(
        op(get.plan()),
        Op::Get {
            id: Id::Integer(12)
        }
    );
    assert_eq!(
        op(head.plan()),
        Op::Get {
            id: Id::Integer(12)
        }
    );
    // An unknown parameter and a body have no meaning.
    assert_eq!(
        op(Ask("GET /docs/12?x=%41", &["Content-Type: text/plain"], "?").plan()),
        Op::Get {
            id: Id::Integer(12)
        }
    );
}

#[test]
fn a_missing_document_is_404_also_under_a_condition() {
    let body = r#"{"error":"not_found","message":"no document a\"b"}"#;
    let expected = format!("404 | {body}");
    check(
        Ask("GET /docs/a%22b", &[], ""),
        &Outcome::Missing,
        &expected,
    );
    check(
        Ask("GET /docs/a%22b", &["If-Match: \"1\""], ""),
        &Outcome::Missing,
        &expected,
    );
    check(
        Ask("GET /docs/a%22b", &["If-None-Match: *"], ""),
        &Outcome::Missing,
        &expected,
    );
    check(
        Ask("DELETE /docs/a%22b", &[], ""),
        &Outcome::Missing,
        &expected,
    );
    let head = format!("404; Content-Length: {}", body.len());
    check(Ask("HEAD /docs/a%22b", &[], ""), &Outcome::Missing, &head);
}

#[test]
fn a_read_meets_its_conditions_before_the_document_is_shown() {
    for (fields, expected) in [
        (&["If-None-Match: \"7\""][..], "304; ETag: \"7\""),
        (&["If-None-Match: W/\"7\""], "304; ETag: \"7\""),
        (&["If-None-Match: \"6\", \"7\""], "304; ETag: \"7\""),
        (
            &["If-None-Match: \"6\"", "If-None-Match: \"7\""],
            "304; ETag: \"7\"",
        ),
        (&["If-None-Match: *"], "304; ETag: \"7\""),
        (&["If-None-Match: \"6\""], "200; ETag: \"7\" | 1"),
        (
            &["If-None-Match: \"seven\", \"07\""],
            "200; ETag: \"7\" | 1",
        ),
        (&["If-Match: \"7\""], "200; ETag: \"7\" | 1"),
        (&["If-Match: *"], "200; ETag: \"7\" | 1"),
        (
            &["If-Match: \"7\"", "If-None-Match: \"7\""],
            "304; ETag: \"7\"",
        ),
    ] {
        check(Ask("GET /docs/1", fields, ""), &found("1"), expected);
    }
    for fields in [
        &["If-Match: \"6\""][..],
        &["If-Match: W/\"7\""],
        &["If-Match: \"seven\""],
        &["If-Match: \"6\"", "If-None-Match: \"7\""],
    ] {
        let response = Ask("GET /docs/1", fields, "").response(&found("1"));
        assert!(
            response.starts_with("412 | {\"error\":\"precondition_failed\""),
            "{response}"
        );
    }
    check(
        Ask("HEAD /docs/1", &["If-None-Match: *"], ""),
        &found("1"),
        "304; ETag: \"7\"",
    );
}

#[test]
fn what_is_wrong_with_a_request_itself_goes_before_its_condition() {
    for line in ["PUT /docs/1", "POST /docs", "POST /api"] {
        let ask = Ask(line, &["If-Match: *"], "");
        check_refused(ask, "400 missing_field", "the body is empty");
    }
    for (line, body) in [("POST /docs", "1"), ("POST /api", "{\"data\":1}")] {
        let ask = Ask(line, &["If-Match: *", "Durability: now"], body);
        check_refused(ask, "400 bad_request", "Durability");
    }
}

#[test]
fn a_malformed_condition_is_refused_wherever_conditions_count() {
    for line in [
        "GET /docs/1",
        "PUT /docs/1",
        "DELETE /docs/1",
        "POST /docs",
        "POST /api",
    ] {
        for field in ["If-Match: 7", "If-None-Match: \"7", "If-Match: *, \"7\""] {
            let ask = Ask(line, &[field], r#"{"id":1,"data":1}"#);
            check_refused(ask, "400 bad_request", "If-Match or If-None-Match");
        }
    }
}

#[test]
fn a_put_stores_the_body_under_the_id_with_its_condition() {
    let put = Ask("PUT /docs/a%2Fb", &[], " { \"k\" : [1, 2.0] } ");
    let expected = |condition| Op::Put {
        id: name("a/b"),
        document: "{\"k\":[1,2.0]}".into(),
        condition,
        chosen: Chosen::ByClient,
        expires: Expires::Never,
    };
    assert_eq!(op(put.plan()), expected(None));
    check(put, &stored(false), "200; ETag: \"7\" | {\"id\":\"a/b\"}");
    check(
        put,
        &stored(true),
        "201; ETag: \"7\"; Location: /docs/a%2Fb | {\"id\":\"a/b\"}",
    );
    let create = Ask("PUT /docs/a%2Fb", &["If-None-Match: *"], put.2);
    assert_eq!(
        op(create.plan()),
        expected(Some(Box::new(Condition::absent())))
    );
    let replace = Ask(
        "PUT /docs/a%2Fb",
        &["If-Match: \"3\", W/\"4\", \"x\""],
        put.2,
    );
    let versions = Match::Versions([Version(3)].into());
    let condition = Condition {
        if_match: Some(versions),
        if_none_match: None,
    };
    assert_eq!(op(replace.plan()), expected(Some(Box::new(condition))));
    let response = replace.response(&Outcome::ConditionFailed);
    assert!(
        response.starts_with("412 | {\"error\":\"precondition_failed\""),
        "{response}"
    );
    check_refused(
        Ask("PUT /docs/1", &["Content-Range: bytes 0-1/3"], "12"),
        "400 bad_request",
        "Content-Range",
    );
}

#[test]
fn scalars_are_documents() {
    for document in ["null", "1", "-0.0", "\"x\"", "true", "[]"] {
        let plan = Ask("PUT /docs/1", &[], document).plan();
        assert!(matches!(op(plan), Op::Put { document: d, .. } if d == document));
    }
}

#[test]
fn a_post_creates_under_an_id_that_the_server_chooses() {
    let post = Ask("POST /docs", &[], "[1, 2]");
    assert!(matches!(post.plan(), Plan::Create { document, .. } if document == "[1,2]"));
    check(
        post,
        &stored(true),
        "201; ETag: \"7\"; Location: /docs/9 | {\"id\":9}",
    );
    check_refused(
        Ask("POST /docs", &["If-Match: *"], "1"),
        "412 precondition_failed",
        "",
    );
    let absent = Ask("POST /docs", &["If-None-Match: *"], "1");
    assert!(matches!(absent.plan(), Plan::Create { .. }));
}

#[test]
fn a_delete_has_no_body() {
    let delete = Ask("DELETE /docs/-5", &["If-Match: \"7\""], "");
    check(delete, &Outcome::Deleted { position: Lsn(3) }, "204");
    let condition = Condition {
        if_match: Some(Match::Versions([Version(7)].into())),
        if_none_match: None,
    };
    let expected = Op::Delete {
        id: Id::Integer(-5),
        condition: Some(Box::new(condition)),
    };
    assert_eq!(op(delete.plan()), expected);
    assert!(
        delete
            .response(&Outcome::ConditionFailed)
            .starts_with("412 | ")
    );
}

#[test]
fn a_refusal_of_the_store_is_an_error_of_the_server() {
    for (refusal, expected) in [
        (Refusal::DiskFull, "507 | {\"error\":\"disk_full\","),
        (
            Refusal::LogPoisoned,
            "503; Retry-After: 1 | {\"error\":\"log_failed\",",
        ),
        (Refusal::IdsExhausted, "507 | {\"error\":\"ids_exhausted\","),
    ] {
        for line in [
            "PUT /docs/1",
            "POST /docs",
            "POST /api",
            "DELETE /docs/1",
            "GET /docs/1",
        ] {
            let ask = Ask(line, &[], r#"{"id":1,"data":1}"#);
            let response = ask.response(&Outcome::Refused(refusal));
            assert!(response.starts_with(expected), "{response}");
        }
    }
}

#[test]
fn the_location_of_a_document_leads_back_to_its_id() {
    for text in [
        "a b", "a/b?c#d", "100%", "user:7", "é😀", "..", "a+b&c=d", "~-._", "\"\\",
    ] {
        let id = name(text);
        let path = super::super::render::location(&id);
        assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
        let plan = Ask(&format!("GET {path}"), &[], "").plan();
        assert_eq!(op(plan), Op::Get { id }, "{path}");
    }
}
