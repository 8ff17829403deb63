//! `--cors-origin`: what pages of other origins may send and see.

mod support;

use std::fs;

use support::{
    assert_error,
    client::{Client, Expected, Response},
    server::{Launch, TempDir},
};

const WRITER: &str = "writer-Token_of.32+chars~/000001==";
const READER: &str = "reader-Token_of.32+chars~/000002";

/// A request of a page of `origin`.
#[track_caller]
fn from_page(
    client: &mut Client,
    origin: &str,
    (method, target, body): (&str, &str, &str),
) -> Response {
    client.request(method, target, &[("Origin", origin)], body)
}

fn values<'r>(response: &'r Response, name: &str) -> Vec<&'r str> {
    let fields = response.headers.iter();
    let values = fields.filter(|(known, _)| known == name);
    values.map(|(_, value)| value.as_str()).collect()
}

fn allowed_origin(response: &Response) -> Option<&str> {
    response.header("access-control-allow-origin")
}

const APP: &str = "https://app.example";
const LOCAL: &str = "http://localhost:3000";

/// Every kind of response, of a server with these options: what a page sees.
fn responses(options: &[&str], origin: Option<&str>) -> Vec<(String, Response)> {
    let home = TempDir::new();
    let launch = Launch::serve(&home.path().join("data"))
        .cores(2)
        .args(options);
    let server = launch
        .args(&["--connections-max", "1", "--body-bytes-max", "2048"])
        .start();
    let mut client = server.connect();
    let mut seen = Vec::new();
    let origin_field: Vec<_> = origin.iter().map(|origin| ("Origin", *origin)).collect();
    for (method, target, body) in [
        ("PUT", "/docs/1", "1"),
        ("POST", "/docs", "2"),
        ("GET", "/docs/1", ""),
        ("HEAD", "/docs/1", ""),
        ("GET", "/docs/missing", ""),
        ("GET", "/nowhere", ""),
        ("PUT", "/docs/2", "{nope"),
        ("PUT", "/docs", "1"),
        ("GET", "/docs?ids=1,2", ""),
        ("GET", "/docs", ""),
        ("POST", "/batch", r#"{"ops":[{"get":{"id":1}}]}"#),
        ("POST", "/api", r#"{"id":5,"data":1}"#),
        ("GET", "/stats", ""),
        ("GET", "/metrics", ""),
        ("GET", "/openapi.json", ""),
        ("GET", "/healthz", ""),
        ("GET", "/changes?since=0&wait=0", ""),
        ("GET", "/changes?since=999&wait=0", ""),
        ("DELETE", "/docs/1", ""),
        ("OPTIONS", "/docs/1", ""),
    ] {
        let response = client.request(method, target, &origin_field, body);
        seen.push((format!("{method} {target}"), response));
    }
    // One connection too many, and a request that is too large to be read.
    seen.push(("503".to_owned(), server.connect().read(Expected::Body)));
    let origin_line = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
    client.send(format!(
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\n{origin_line}Content-Length: 9999\r\n\r\n"
    ));
    seen.push(("413".to_owned(), client.read(Expected::Body)));
    server.stop();
    seen
}

#[test]
fn pages_of_an_allowed_origin_see_every_response_errors_too() {
    let one = ["--cors-origin", APP];
    for (what, response) in responses(&one, Some(APP)) {
        assert_eq!(allowed_origin(&response), Some(APP), "{what}: {response:?}");
        assert!(
            values(&response, "vary").contains(&"Origin"),
            "{what}: {response:?}"
        );
        let exposed = response
            .header("access-control-expose-headers")
            .expect("a list");
        for name in [
            "ETag",
            "Location",
            "Log-Position",
            "Expires-In",
            "WWW-Authenticate",
            "Retry-After",
        ] {
            assert!(
                exposed.split(", ").any(|exposed| exposed == name),
                "{exposed}"
            );
        }
        assert_eq!(response.header("access-control-allow-credentials"), None);
    }
    let two = ["--cors-origin", APP, "--cors-origin", LOCAL];
    for origin in [APP, LOCAL] {
        for (what, response) in responses(&two, Some(origin)) {
            assert!(
                values(&response, "vary").contains(&"Origin"),
                "{what}: {response:?}"
            );
            // Of what was not read, nobody knows whose page sent it.
            let expected = (!["413", "503"].contains(&what.as_str())).then_some(origin);
            assert_eq!(allowed_origin(&response), expected, "{what}: {response:?}");
        }
    }
    for origin in [Some(APP), Some("null"), None] {
        for (what, response) in responses(&["--cors-origin", "*"], origin) {
            assert_eq!(allowed_origin(&response), Some("*"), "{what}: {response:?}");
            assert!(
                !values(&response, "vary").contains(&"Origin"),
                "{what}: {response:?}"
            );
        }
    }
}

#[test]
fn pages_of_other_origins_see_nothing_and_caches_are_told() {
    for origin in [
        Some("https://app.example.evil"),
        Some("https://evil"),
        Some("http://app.example"),
        Some("https://app.example:8443"),
        Some("https://APP.example"),
        Some("null"),
        Some(""),
        None,
    ] {
        let home = TempDir::new();
        let launch = Launch::serve(&home.path().join("data")).cores(1);
        let server = launch.args(&["--cors-origin", APP]).start();
        let mut client = server.connect();
        let fields: Vec<_> = origin.iter().map(|origin| ("Origin", *origin)).collect();
        for (method, target) in [
            ("GET", "/docs/1"),
            ("OPTIONS", "/docs/1"),
            ("GET", "/stats"),
        ] {
            let response = client.request(method, target, &fields, "");
            assert_eq!(allowed_origin(&response), None, "{origin:?}: {response:?}");
            assert_eq!(values(&response, "access-control-allow-methods").len(), 0);
            assert!(
                values(&response, "vary").contains(&"Origin"),
                "{response:?}"
            );
        }
        server.stop();
    }
    for (what, response) in responses(&[], Some(APP)) {
        let names = response.headers.iter().map(|(name, _)| name.as_str());
        assert!(
            !names.clone().any(|name| name.starts_with("access-control")),
            "{what}: {response:?}"
        );
        assert!(
            !values(&response, "vary").contains(&"Origin"),
            "{what}: {response:?}"
        );
    }
}

#[test]
fn a_preflight_is_answered_without_a_token_and_the_request_needs_one() {
    let home = TempDir::new();
    let file = home.path().join("tokens");
    fs::write(&file, format!("{WRITER}\n{READER} ro\n")).expect("writable");
    let launch = Launch::serve(&home.path().join("data")).cores(1);
    let launch = launch.arg("--token-file").arg(&file);
    let server = launch
        .env("OXDAAS_CORS_ORIGIN", &format!("{LOCAL}, {APP}"))
        .start();
    let mut client = server.connect();
    for (target, method) in [
        ("/docs/1", "PUT"),
        ("/docs/1", "DELETE"),
        ("/docs", "POST"),
        ("/batch", "POST"),
    ] {
        let fields = [
            ("Origin", APP),
            ("Access-Control-Request-Method", method),
            (
                "Access-Control-Request-Headers",
                "authorization,content-type,if-match",
            ),
        ];
        let response = client.request("OPTIONS", target, &fields, "");
        assert_eq!(response.status, 204, "{response:?}");
        assert_eq!(allowed_origin(&response), Some(APP));
        let list = |name: &str| {
            let list = response
                .header(name)
                .unwrap_or_else(|| panic!("no {name}: {response:?}"));
            list.split(", ")
                .map(str::to_ascii_lowercase)
                .collect::<Vec<_>>()
        };
        assert!(
            list("access-control-allow-methods").contains(&method.to_lowercase()),
            "{response:?}"
        );
        for field in [
            "authorization",
            "content-type",
            "if-match",
            "if-none-match",
            "durability",
            "prefer",
        ] {
            assert!(
                list("access-control-allow-headers").contains(&field.to_owned()),
                "{response:?}"
            );
        }
        assert!(response.header("access-control-max-age").is_some());
    }
    let response = from_page(&mut client, APP, ("GET", "/docs/1", ""));
    assert_error(&response, 401);
    assert_eq!(
        allowed_origin(&response),
        Some(APP),
        "a page sees why: {response:?}"
    );
    let authorization = format!("Bearer {READER}");
    let fields = [("Origin", LOCAL), ("Authorization", authorization.as_str())];
    let response = client.request("PUT", "/docs/1", &fields, "1");
    assert_error(&response, 403);
    assert_eq!(allowed_origin(&response), Some(LOCAL), "{response:?}");
    // A refused body is not waited for, and that is seen as well.
    client.send(format!(
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nOrigin: {APP}\r\nContent-Length: 9999\r\n\r\n"
    ));
    let response = client.read(Expected::Body);
    assert_eq!(
        (response.status, allowed_origin(&response)),
        (401, Some(APP)),
        "{response:?}"
    );
    server.stop();
}

#[test]
fn an_origin_that_no_browser_sends_refuses_to_start() {
    let home = TempDir::new();
    for origin in [
        "app.example",
        "https://app.example/",
        "https://App.example",
        "null",
        "https://app.example:443",
    ] {
        let exit = Launch::serve(&home.path().join("data"))
            .args(&["--cors-origin", origin])
            .run();
        assert_eq!(exit.code, Some(2), "{origin}: {exit:?}");
        assert!(
            exit.stderr.contains("--cors-origin") && exit.stderr.contains("browser"),
            "{exit:?}"
        );
    }
    let many: Vec<String> = (0..65).map(|n| format!("https://a{n}")).collect();
    let exit = Launch::serve(&home.path().join("data"))
        .env("OXDAAS_CORS_ORIGIN", &many.join(","))
        .run();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    assert!(exit.stderr.contains("64"), "{exit:?}");
    // A variable that is set to nothing is as good as unset.
    Launch::serve(&home.path().join("data"))
        .env("OXDAAS_CORS_ORIGIN", "")
        .start()
        .stop();
}
