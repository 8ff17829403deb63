//! Routes, methods, and what may be declared of a body.

use super::*;

#[test]
fn a_path_that_leads_nowhere_says_where_paths_lead() {
    for path in [
        "/",
        "/api/",
        "/api/cmd/",
        "/apix",
        "/api/x",
        "/doc",
        "/docsx",
        "//docs",
        "/API",
    ] {
        for method in ["GET", "PUT", "OPTIONS", "BREW"] {
            let ask = Ask(&format!("{method} {path}"), &[], "").planned().0;
            let problem = ask.expect_err(path);
            assert_eq!(
                (problem.status.code(), problem.code),
                (404, "no_such_route")
            );
            assert_eq!(
                problem.message,
                "no such path; there are /docs, /batch, /changes, /backup, /api, /api/cmd, /openapi.json, \
                 /dashboard, /healthz, /readyz, /metrics, /stats, /docs/ID, /docs/ID/increment"
            );
        }
    }
    for path in ["/docs/1/", "/docs/a/b", "/docs//", "/docs//1"] {
        check_refused(
            Ask(&format!("GET {path}"), &[], ""),
            "404 no_such_route",
            "%2F",
        );
    }
    // In absolute form as well (RFC 9112, section 3.2.2).
    let plan = Ask("GET http://h/docs/1", &[], "").plan();
    assert_eq!(op(plan), Op::Get { id: Id::Integer(1) });
}

#[test]
fn a_bad_id_in_the_path_is_refused() {
    let long = "n".repeat(256);
    for (id, code, part) in [
        ("", "400 bad_id", "empty"),
        ("%0A", "400 bad_id", "control character"),
        ("9223372036854775808", "400 bad_id", "beyond 64 bits"),
        (&long, "400 bad_id", "256 bytes"),
        ("%", "400 bad_request", "%25"),
        ("%ff", "400 bad_request", "UTF-8"),
    ] {
        for method in ["GET", "HEAD", "PUT", "DELETE"] {
            check_refused(Ask(&format!("{method} /docs/{id}"), &[], "1"), code, part);
        }
    }
}

#[test]
fn a_method_that_the_path_does_not_take_is_405_with_those_it_takes() {
    for (path, allow, refused) in [
        (
            "/api",
            "GET, HEAD, POST, OPTIONS",
            &["PUT", "DELETE", "PATCH", "BREW"][..],
        ),
        (
            "/api/cmd",
            "GET, HEAD, POST, OPTIONS",
            &["PUT", "DELETE", "PATCH"],
        ),
        (
            "/docs",
            "GET, HEAD, POST, OPTIONS",
            &["PUT", "DELETE", "PATCH", "get"],
        ),
        ("/batch", "POST, OPTIONS", &["GET", "HEAD", "PUT", "DELETE"]),
        (
            "/docs/1",
            "GET, HEAD, PUT, PATCH, DELETE, OPTIONS",
            &["POST", "TRACE"],
        ),
        (
            "/healthz",
            "GET, HEAD, OPTIONS",
            &["POST", "PUT", "DELETE", "PATCH"],
        ),
        ("/readyz", "GET, HEAD, OPTIONS", &["POST"]),
        ("/metrics", "GET, HEAD, OPTIONS", &["POST"]),
        (
            "/docs/1/increment",
            "POST, OPTIONS",
            &["GET", "HEAD", "PUT", "PATCH"],
        ),
        (
            "/docs/%",
            "GET, HEAD, PUT, PATCH, DELETE, OPTIONS",
            &["POST"],
        ),
    ] {
        let options = Ask(&format!("OPTIONS {path}"), &[], "").response(&Outcome::Missing);
        let patches = match allow.contains("PATCH") {
            true => "; Accept-Patch: application/merge-patch+json, application/json-patch+json",
            false => "",
        };
        assert_eq!(options, format!("204; Allow: {allow}{patches}"));
        let brewed = Ask(&format!("BREW {path}"), &[], "").response(&Outcome::Missing);
        let brewed_head = format!("405; Allow: {allow} | ");
        for method in refused {
            let response = Ask(&format!("{method} {path}"), &[], "").response(&Outcome::Missing);
            let (head, body) = response.split_once(" | ").unwrap_or((&response, ""));
            let length = match *method {
                "HEAD" => format!("; Content-Length: {}", brewed.len() - brewed_head.len()),
                _ => String::new(),
            };
            let expected = format!("405{length}; Allow: {allow}");
            assert_eq!(head, expected, "{method} {path}");
            assert_eq!(body.is_empty(), *method == "HEAD", "{method} {path}");
        }
    }
    // Also where the query would be wrong for any method.
    for line in [
        "TRACE /docs/1?ttl=5",
        "DELETE /docs?ttl=5",
        "PUT /changes?ttl=x",
    ] {
        check_refused(Ask(line, &[], ""), "405 method_not_allowed", "");
    }
    let server = Ask("OPTIONS *", &[], "").response(&Outcome::Missing);
    assert_eq!(
        server,
        "204; Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
    );
}

#[test]
fn a_body_is_json_unless_it_is_declared_as_something_else() {
    let asks = [
        ("PUT /docs/1", "1"),
        ("POST /docs", "1"),
        ("POST /api", r#"{"id":1,"data":1}"#),
        (
            "GET /api/cmd",
            r#"{"id":1,"cmd":{"query":"ONLY","keys":[]}}"#,
        ),
    ];
    for (line, body) in asks {
        for field in [
            "X: y",
            "Content-Type:",
            "Content-Type: application/json",
            "content-type: Application/JSON;charset=UTF-8",
            "Content-Type: application/json ; charset=\"utf-8\" ; x=y",
            "Content-Type: application/json;",
            "Content-Type: application/vnd.api+json",
            "Content-Encoding: identity",
            "Content-Encoding: Identity",
        ] {
            Ask(line, &[field], body).plan();
        }
        for (field, part) in [
            (
                "Content-Type: application/x-www-form-urlencoded",
                "Content-Type: application/json",
            ),
            ("Content-Type: text/plain", "text/plain"),
            ("Content-Type: application/jsonx", "application/json"),
            ("Content-Type: +json", "application/json"),
            ("Content-Type: application/+json", "application/json"),
            ("Content-Type: json", "application/json"),
            ("Content-Type: application/json; charset=latin1", "utf-8"),
            (
                "Content-Type: application/json; charset=\"utf-16\"",
                "utf-8",
            ),
            ("Content-Encoding: br", "Content-Encoding"),
            ("Content-Encoding: identity, br", "Content-Encoding"),
        ] {
            check_refused(
                Ask(line, &[field], body),
                "415 unsupported_media_type",
                part,
            );
        }
        let both = &["Content-Type: application/json", "Content-Type: text/plain"][..];
        check_refused(
            Ask(line, both, body),
            "415 unsupported_media_type",
            "text/plain",
        );
    }
    // Without a body there is nothing to declare.
    Ask("GET /docs/1", &["Content-Type: text/plain"], "").plan();
    Ask("GET /api?id=1", &["Content-Type: text/plain"], "").plan();
}

#[test]
fn a_body_that_is_needed_must_be_there_and_be_json() {
    for line in ["PUT /docs/1", "POST /docs", "POST /api"] {
        check_refused(Ask(line, &[], ""), "400 missing_field", "the body is empty");
        check_refused(Ask(line, &[], "  "), "400 bad_json", "at byte 2");
        check_refused(Ask(line, &[], "{\"a\":}"), "400 bad_json", "at byte 5");
    }
}

#[test]
fn a_problem_is_rendered_as_its_connection_and_method_want_it() {
    let date = DateField::new(0);
    let context = ReplyContext {
        date: &date,
        persistence: Persistence::Close,
    };
    let rendered = |method: &str| {
        let (_, body_mode) = Ask(&format!("{method} /docs/1"), &[], "").planned();
        let mut out = Vec::new();
        render_problem(&Problem::overloaded(), body_mode, &context, &mut out);
        shown(&String::from_utf8(out).expect("UTF-8"))
    };
    let body = r#"{"error":"overloaded","message":"the server is overloaded; try again later"}"#;
    assert_eq!(
        rendered("GET"),
        format!("503; Retry-After: 1; Connection: close | {body}")
    );
    assert_eq!(
        rendered("HEAD"),
        format!(
            "503; Content-Length: {}; Retry-After: 1; Connection: close",
            body.len()
        )
    );
}

#[test]
fn health_and_readiness_are_told_apart() {
    let check = |line: &str, expected: &str| {
        assert_eq!(Ask(line, &[], "").response(&Outcome::Missing), expected);
    };
    check("GET /healthz", r#"200 | {"status":"ok"}"#);
    check("HEAD /healthz", "200; Content-Length: 15");
    check("GET /readyz", r#"200 | {"status":"ready"}"#);
    for (why, code) in [
        (NotReady::Draining, "draining"),
        (NotReady::LogFailed, "log_failed"),
    ] {
        let problem = Problem::from(why);
        assert_eq!((problem.status.code(), problem.code), (503, code));
    }
}

#[test]
fn what_waits_for_an_outcome_stays_small() {
    // A connection may have many requests in flight, each with its Render.
    assert!(size_of::<Render>() <= 72, "{}", size_of::<Render>());
    assert!(size_of::<Plan>() <= 160, "{}", size_of::<Plan>());
}
