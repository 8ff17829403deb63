//! Ways around the tokens, and around what a token grants, that lead nowhere.

mod support;

use std::fs;

use oxdaas::http::gzip;
use support::{
    assert_error,
    client::{Client, Expected, NoResponse, Response, request},
    json,
    server::{Launch, Server, Signal, TempDir},
};

const WRITER: &str = "writer-Token_of.32+chars~/000001==";
const READER: &str = "reader-Token_of.32+chars~/000002";

fn write_tokens(home: &TempDir, lines: &str) {
    fs::write(home.path().join("tokens"), lines).expect("writable");
}

/// A server that knows both tokens and holds document 1, on one core and on two.
fn guarded(home: &TempDir) -> Server {
    write_tokens(home, &format!("{WRITER}\n{READER} ro\n"));
    let launch = Launch::serve(&home.path().join("data")).cores(2);
    let server = launch
        .arg("--token-file")
        .arg(home.path().join("tokens"))
        .start();
    let mut client = server.connect();
    assert_eq!(
        ask(&mut client, WRITER, "PUT", "/docs/1", r#"{"a":1}"#).status,
        201
    );
    server
}

#[track_caller]
fn ask(client: &mut Client, token: &str, method: &str, target: &str, body: &str) -> Response {
    let authorization = format!("Bearer {token}");
    client.request(method, target, &[("Authorization", &authorization)], body)
}

/// Checks that nothing was written since document 1 was.
#[track_caller]
fn expect_untouched(server: &Server) {
    let mut client = server.connect();
    let stats = ask(&mut client, READER, "GET", "/stats", "");
    assert_eq!(json(&stats.body)["log"]["appended"], 1);
    assert_eq!(
        ask(&mut client, READER, "GET", "/docs/1", "").text(),
        r#"{"a":1}"#
    );
}

/// Everything that comes back to these bytes until the server ends the connection.
fn all_that_comes(server: &Server, bytes: &[u8]) -> Vec<Response> {
    let mut client = server.connect();
    let _ = client.try_send(bytes);
    client.finish_sending();
    let mut responses = Vec::new();
    loop {
        match client.try_read(Expected::Body) {
            Ok(response) => responses.push(response),
            Err(NoResponse::Closed | NoResponse::Reset) => return responses,
            Err(torn) => panic!("{torn:?}"),
        }
    }
}

#[test]
fn a_path_written_otherwise_opens_nothing() {
    let home = TempDir::new();
    let server = guarded(&home);
    for target in [
        "/healthz/",
        "//healthz",
        "/./healthz",
        "/%68ealthz",
        "/healthz%3F",
        "/healthz;/docs/1",
        "/healthz/../docs/1",
        "/healthz%2F..%2Fdocs%2F1",
        "/HEALTHZ",
        "/docs/../healthz",
        "/docs/%2e%2e%2fhealthz",
        "/docs/1?/healthz",
        "/docs/1?path=/healthz",
        "/%64ocs/1",
        "/docs/%31",
        "/docs//1",
        "http://test/docs/1",
        "HTTP://test/docs/1",
        "https://healthz/docs/1",
        "http://test",
        "http://test?/healthz",
        "/stats#/healthz",
        "http:///healthz",
        "http://test@healthz/docs/1",
        "healthz",
        "*",
        "test:80",
    ] {
        for method in [
            "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT",
        ] {
            let bytes =
                format!("{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
            let mut client = server.connect();
            client.send(bytes);
            let expected = match method {
                "HEAD" => Expected::NoBody,
                _ => Expected::Body,
            };
            let response = client.read(expected);
            assert!(
                [400, 401].contains(&response.status),
                "{method} {target}: {response:?}"
            );
        }
    }
    // What is open is open in every form of its target.
    for target in [
        "/healthz",
        "/healthz?a=b",
        "http://test/healthz",
        "HTTPS://a:1/readyz?x",
    ] {
        assert_eq!(server.connect().get(target).status, 200, "{target}");
    }
    expect_untouched(&server);
    server.stop();
}

#[test]
fn a_method_written_otherwise_grants_nothing() {
    let home = TempDir::new();
    let server = guarded(&home);
    let authorization = format!("Bearer {READER}");
    for method in [
        "get", "Get", "options", "OPTIONSX", "head", "delete", "PUT", "DELETE", "BREW", "LOCK",
    ] {
        let mut client = server.connect();
        let response = client.plain(method, "/docs/1", "2");
        assert_error(&response, 401);
        let response = client.request(method, "/docs/1", &[("Authorization", &authorization)], "2");
        assert_error(&response, 403);
    }
    for name in [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
    ] {
        let fields = [(name, "DELETE"), ("Authorization", &authorization)];
        for method in ["GET", "OPTIONS"] {
            let response = server
                .connect()
                .request(method, "/docs/1?_method=DELETE", &fields, "");
            assert!(response.status < 300, "{response:?}");
        }
    }
    // Nothing but the methods comes of an OPTIONS, whatever is in it.
    let response = server.connect().request("OPTIONS", "/docs/1", &[], "9");
    assert_eq!((response.status, response.body.len()), (204, 0));
    expect_untouched(&server);
    server.stop();
}

#[test]
fn a_token_counts_in_its_place_alone() {
    let home = TempDir::new();
    let server = guarded(&home);
    for (name, value) in [
        ("Proxy-Authorization", format!("Bearer {WRITER}")),
        ("X-Authorization", format!("Bearer {WRITER}")),
        ("Authorization-", format!("Bearer {WRITER}")),
        ("Authorizatio", format!("Bearer {WRITER}")),
        ("Cookie", format!("Authorization=Bearer {WRITER}")),
        ("X-Api-Key", WRITER.to_owned()),
        ("X-Note", format!("a, Authorization: Bearer {WRITER}")),
        ("Authorization", format!("Basic dXNlcjo=, Bearer {WRITER}")),
        ("Authorization", format!("Bearer\t{WRITER}")),
        ("Authorization", format!("\"Bearer {WRITER}\"")),
        ("Authorization", format!("Bearer token={WRITER}")),
        ("Authorization", format!("Bearer \"{WRITER}\"")),
    ] {
        let response = server
            .connect()
            .request("GET", "/docs/1", &[(name, &value)], "");
        assert_error(&response, 401);
    }
    let target = format!("/docs/1?access_token={}", WRITER.replace('+', "%2B"));
    assert_error(&server.connect().get(&target), 401);
    let form = format!("access_token={WRITER}");
    assert_error(&server.connect().post("/docs", form), 401);
    // In a trailer a token comes too late.
    let trailer = format!(
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n1\r\n7\r\n0\r\nAuthorization: Bearer {WRITER}\r\n\r\n"
    );
    let responses = all_that_comes(&server, trailer.as_bytes());
    assert_eq!(
        responses
            .iter()
            .map(|response| response.status)
            .collect::<Vec<_>>(),
        [401]
    );
    // Fields that are none leave the connection.
    for field in [
        format!("Authorization : Bearer {WRITER}"),
        format!(" Authorization: Bearer {WRITER}"),
        format!("X: y\r\n Authorization: Bearer {WRITER}"),
        format!("Authorization: Bearer\r\n {WRITER}"),
        format!("X: y\nAuthorization: Bearer {WRITER}"),
        format!("X: y\rAuthorization: Bearer {WRITER}"),
        format!("Authorization: Bearer {WRITER}\0"),
    ] {
        let bytes = format!("GET /docs/1 HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        let responses = all_that_comes(&server, bytes.as_bytes());
        assert_eq!(responses.len(), 1, "{field:?}");
        assert_error(&responses[0], 400);
    }
    let many = format!("Authorization: Bearer {WRITER}\r\n").repeat(101);
    let responses = all_that_comes(
        &server,
        format!("GET /docs/1 HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes(),
    );
    assert_eq!(responses.len(), 1);
    assert!([400, 431].contains(&responses[0].status), "{responses:?}");
    expect_untouched(&server);
    server.stop();
}

#[test]
fn each_request_of_a_pipeline_is_judged_for_itself() {
    let home = TempDir::new();
    let server = guarded(&home);
    let reader = format!("Bearer {READER}");
    let with = [("Authorization", reader.as_str())];
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for round in 0..20 {
        // Some on the connection's own core, some on the other one, some on both.
        for target in [
            "/docs/1",
            "/docs/missing",
            "/docs?ids=1,2",
            "/stats",
            "/changes?since=0&wait=0",
        ] {
            bytes.extend(request("GET", target, &with, b""));
            expected.push(if target == "/docs/missing" { 404 } else { 200 });
            bytes.extend(request("GET", target, &[], b""));
            expected.push(401);
            bytes.extend(request("PUT", &format!("/docs/{round}"), &with, b"0"));
            expected.push(403);
        }
    }
    let mut client = server.connect();
    let mut sender = client.sender();
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut sender, &bytes));
    for (n, status) in expected.into_iter().enumerate() {
        let response = client.read(Expected::Body);
        // A body that came in two pieces ends the connection, and rightly so.
        if response.closes() {
            assert_eq!((response.status, status), (403, 403), "{n}: {response:?}");
            break;
        }
        assert_eq!(response.status, status, "{n}: {response:?}");
    }
    // The server may have read no further.
    let _ = sending.join().expect("the thread ends");
    expect_untouched(&server);
    server.stop();
}

#[test]
fn nothing_is_smuggled_behind_a_request_that_is_refused() {
    let home = TempDir::new();
    let server = guarded(&home);
    let inner = request(
        "DELETE",
        "/docs/1",
        &[("Authorization", &format!("Bearer {READER}"))],
        b"",
    );
    let inner = String::from_utf8(inner).expect("ASCII");
    for authorization in [String::new(), format!("Authorization: Bearer {READER}\r\n")] {
        let head = format!("POST /docs HTTP/1.1\r\nHost: a\r\n{authorization}");
        let length = inner.len();
        for (framing, body) in [
            (
                format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"),
                format!("0\r\n\r\n{inner}"),
            ),
            (
                format!("Transfer-Encoding: chunked\r\nContent-Length: {length}"),
                format!("0\r\n\r\n{inner}"),
            ),
            (
                format!("Content-Length: 0\r\nContent-Length: {length}"),
                inner.clone(),
            ),
            ("Content-Length: +0".to_owned(), inner.clone()),
            ("Content-Length: 0x10".to_owned(), inner.clone()),
            ("Content-Length: 0, 0".to_owned(), inner.clone()),
            (
                "Transfer-Encoding: xchunked".to_owned(),
                format!("0\r\n\r\n{inner}"),
            ),
            (
                "Transfer-Encoding: chunked, identity".to_owned(),
                format!("0\r\n\r\n{inner}"),
            ),
            (
                "Transfer-Encoding:\x0bchunked".to_owned(),
                format!("0\r\n\r\n{inner}"),
            ),
            (
                "Content-Length: 99999999999999999999".to_owned(),
                inner.clone(),
            ),
        ] {
            let bytes = format!("{head}{framing}\r\n\r\n{body}");
            let responses = all_that_comes(&server, bytes.as_bytes());
            let statuses: Vec<u16> = responses.iter().map(|response| response.status).collect();
            assert!(
                matches!(statuses[..], [400 | 413]),
                "{framing}: {statuses:?}"
            );
            assert!(responses[0].closes(), "{responses:?}");
        }
        // Where the framing is sound, what is in a body is no request, also in pieces.
        for (framing, body) in [
            (format!("Content-Length: {length}"), inner.clone()),
            (
                "Transfer-Encoding: chunked".to_owned(),
                format!("{length:x}\r\n{inner}\r\n0\r\n\r\n"),
            ),
        ] {
            let bytes = format!("{head}{framing}\r\n\r\n{body}");
            for cut in (0..bytes.len()).step_by(7) {
                let mut client = server.connect();
                client.send(&bytes[..cut]);
                // The server has seen that much once it has answered someone else, likely.
                assert_eq!(server.connect().get("/healthz").status, 200);
                let _ = client.try_send(&bytes[cut..]);
                let _ = client.try_send(request("GET", "/healthz", &[], b""));
                let refused = client.read(Expected::Body);
                assert!(
                    [401, 403].contains(&refused.status),
                    "cut at {cut}: {refused:?}"
                );
                if refused.closes() {
                    client.expect_closed();
                } else {
                    assert_eq!(client.read(Expected::Body).status, 200, "cut at {cut}");
                }
            }
        }
    }
    expect_untouched(&server);
    server.stop();
}

#[test]
fn a_token_that_reads_writes_nothing_by_any_spelling() {
    let home = TempDir::new();
    let server = guarded(&home);
    let authorization = format!("Bearer {READER}");
    for body in [
        r#"{"ops":[{"put":{"id":1,"data":2}}]}"#,
        r#"{"ops":[{"p\u0075t":{"id":1,"data":2}}]}"#,
        r#"{"\u006fps":[{"delete":{"id":1}}]}"#,
        r#"{"ops":[{"get":{"id":1}},{"get":{"id":1}},{"delete":{"id":1,"if_match":"*"}}]}"#,
        r#"{"ops":[{"get":{"id":1}}],"ops":[{"delete":{"id":1}}]}"#,
        r#"{"ops":[{"get":{"id":1},"delete":{"id":1}}]}"#,
        r#"{"ops":[{"put":{"id":null,"data":2,"ttl":1}}]}"#,
        r#"{"ops":[{"increment":{"id":"n","by":0,"default":0}}]}"#,
    ] {
        let plain =
            server
                .connect()
                .request("POST", "/batch", &[("Authorization", &authorization)], body);
        let fields = [
            ("Authorization", authorization.as_str()),
            ("Content-Encoding", "gzip"),
        ];
        let coded = server
            .connect()
            .request("POST", "/batch", &fields, gzip(&[body.as_bytes()]));
        for response in [plain, coded] {
            assert!(
                [400, 403].contains(&response.status),
                "{body}: {response:?}"
            );
        }
    }
    for (method, target, body, statuses) in [
        (
            "POST",
            "/api/cmd",
            r#"{"id":1,"data":2,"cmd":{"query":"ONLY","keys":["a"]}}"#,
            [200, 400],
        ),
        ("GET", "/api?id=1&data=2", "", [200, 200]),
        ("GET", "/api", r#"{"id":1,"data":2}"#, [400, 400]),
        ("GET", "/docs/1?ttl=1", "", [400, 400]),
        ("GET", "/docs/1/increment", "", [405, 405]),
        ("POST", "/docs/%31/increment", "", [403, 403]),
        ("PUT", "/docs/1?ttl=1", "2", [403, 403]),
        ("POST", "/api?id=1", r#"{"id":1,"data":2}"#, [403, 403]),
        ("PATCH", "/docs/1", r#"{"a":2}"#, [403, 403]),
        ("POST", "http://test/docs", "2", [403, 403]),
    ] {
        let fields = [
            ("Authorization", authorization.as_str()),
            ("Prefer", "return=representation"),
        ];
        let response = server.connect().request(method, target, &fields, body);
        assert!(
            statuses.contains(&response.status),
            "{method} {target}: {response:?}"
        );
    }
    expect_untouched(&server);
    server.stop();
}

#[test]
fn a_live_feed_ends_when_the_tokens_change() {
    let home = TempDir::new();
    let server = guarded(&home);
    let authorization = format!("Bearer {READER}");
    let mut feed = server.connect();
    feed.send(request(
        "GET",
        "/changes?since=0",
        &[("Authorization", &authorization)],
        b"",
    ));
    assert_eq!(feed.read_head().status, 200);
    let mut next = || feed.try_read_chunk().expect("the connection is whole");
    let line = |chunk: Option<Vec<u8>>| String::from_utf8(chunk.expect("a line")).expect("UTF-8");
    assert!(line(next()).contains("\"lsn\":1,"));
    // The same tokens, written otherwise, change nothing.
    write_tokens(&home, &format!("# again\n{WRITER} rw\n{READER} ro\n"));
    server.signal(Signal::HUP);
    server.await_stderr("2 tokens", 2);
    let mut writer = server.connect();
    assert_eq!(ask(&mut writer, WRITER, "PUT", "/docs/2", "2").status, 201);
    assert!(line(next()).contains("\"lsn\":2,"));
    write_tokens(&home, WRITER);
    server.signal(Signal::HUP);
    assert_eq!(
        next(),
        None,
        "whoever may not read any more hears nothing more"
    );
    assert_eq!(ask(&mut writer, WRITER, "PUT", "/docs/3", "3").status, 201);
    assert_error(&ask(&mut feed, READER, "GET", "/changes?since=2", ""), 401);
    server.stop();
}

#[test]
fn a_page_of_another_origin_does_not_write_to_a_server_that_trusts_this_machine() {
    let home = TempDir::new();
    let data = home.path().join("data");
    let server = Launch::serve(&data).cores(1).start();
    let mut client = server.connect();
    assert_eq!(client.put("/docs/1", r#"{"a":1}"#).status, 201);
    let own = format!("http://{}", server.address);
    let host = server.address.to_string();
    let send = |client: &mut Client, origin: &str, (method, target, body): (&str, &str, &str)| {
        // What a page sends without being asked for leave: no content type is one of a blob.
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        client.read(Expected::Body)
    };
    for origin in [
        "https://evil.example",
        "null",
        "http://127.0.0.1",
        "http://localhost:1",
        &format!("{own}0"),
        &format!("x{own}"),
        "",
    ] {
        for what in [
            ("POST", "/docs", "2"),
            ("POST", "/api", r#"{"id":1,"data":2}"#),
            ("POST", "/batch", r#"{"ops":[{"delete":{"id":1}}]}"#),
            ("POST", "/docs/1/increment", ""),
            ("PUT", "/docs/1", "2"),
            ("DELETE", "/docs/1", ""),
        ] {
            let response = send(&mut client, origin, what);
            let message = assert_error(&response, 403);
            assert!(
                message.contains("--cors-origin"),
                "{origin} {what:?}: {message}"
            );
        }
        // It may ask, and sees nothing of the answer.
        let response = send(&mut client, origin, ("GET", "/docs/1", ""));
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.header("access-control-allow-origin"), None);
    }
    assert_eq!(client.get("/docs/1").text(), r#"{"a":1}"#);
    // Pages of the server itself, and who is no page.
    for origin in [own.clone(), own.to_uppercase().replace("HTTP", "http")] {
        let response = send(&mut client, &origin, ("PUT", "/docs/1", r#"{"a":1}"#));
        assert_eq!(response.status, 200, "{response:?}");
    }
    server.stop();
    let server = Launch::serve(&data)
        .cores(1)
        .args(&["--cors-origin", "https://app.example"])
        .start();
    for (origin, status) in [("https://app.example", 200), ("https://evil.example", 403)] {
        let response = send(&mut server.connect(), origin, ("PUT", "/docs/1", "3"));
        assert_eq!(response.status, status, "{response:?}");
    }
    server.stop();
}
