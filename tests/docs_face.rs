//! The resource face: `/docs`, its entity tags and conditions, with every error.

mod support;

use oxdaas::limits::{JSON_DEPTH_MAX, NAME_BYTES_MAX};
use serde_json::json;
use support::{
    assert_error, assert_error_naming,
    client::{Client, Response},
    json,
    server::{Launch, Server, TempDir},
};

fn serve(data: &TempDir) -> Server {
    Launch::serve(data.path()).cores(2).start()
}

/// The current tag of the document at `target`.
#[track_caller]
fn tag(client: &mut Client, target: &str) -> String {
    let response = client.get(target);
    assert_eq!(response.status, 200, "{response:?}");
    response.etag()
}

/// The path of the `Location`, which must be there.
#[track_caller]
fn location(response: &Response) -> String {
    let location = response.header("location");
    let location = location.unwrap_or_else(|| panic!("no Location: {response:?}"));
    let at = location.find("/docs/");
    location[at.unwrap_or_else(|| panic!("Location {location:?}"))..].to_owned()
}

#[track_caller]
fn allowed(response: &Response) -> Vec<String> {
    let allow = response.header("allow");
    let allow = allow.unwrap_or_else(|| panic!("no Allow: {response:?}"));
    let mut methods: Vec<String> = allow.split(',').map(|m| m.trim().to_owned()).collect();
    methods.sort();
    methods
}

#[test]
fn a_document_is_put_read_replaced_and_deleted() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    assert_error(&client.get("/docs/42"), 404);

    let response = client.put("/docs/42", r#"{"a":1}"#);
    assert_eq!(response.status, 201, "{response:?}");
    assert_eq!(location(&response), "/docs/42");

    let first = client.get("/docs/42");
    assert_eq!((first.status, first.text()), (200, r#"{"a":1}"#));
    let content_type = first.header("content-type").unwrap_or_default();
    assert!(content_type.starts_with("application/json"), "{first:?}");

    let response = client.put("/docs/42", r#"{"a":2}"#);
    assert_eq!(response.status, 200, "{response:?}");
    let second = client.get("/docs/42");
    assert_eq!(second.text(), r#"{"a":2}"#);
    assert_ne!(first.etag(), second.etag());

    let response = client.delete("/docs/42");
    assert_eq!(
        (response.status, response.body.len()),
        (204, 0),
        "{response:?}"
    );
    let response = client.get("/docs/42");
    assert_error_naming(&response, 404, &["42"]);
    assert_eq!(json(&response.body)["error"], json!("not_found"));
    assert_error_naming(&client.delete("/docs/42"), 404, &["42"]);
}

#[test]
fn head_is_get_without_the_body() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    client.put("/docs/h", r#"{"a": [1, 2]}"#);
    let get = client.get("/docs/h");
    let head = client.plain("HEAD", "/docs/h", "");
    assert_eq!(head.status, 200);
    assert_eq!(head.etag(), get.etag());
    for name in ["content-length", "content-type"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    let etag = get.etag();
    let response = client.request("HEAD", "/docs/h", &[("If-None-Match", &etag)], "");
    assert_eq!(response.status, 304);
    // Were a body sent, the next response could not be framed.
    assert_eq!(client.plain("HEAD", "/docs/none", "").status, 404);
    assert_eq!(client.get("/docs/h").text(), r#"{"a":[1,2]}"#);
}

#[test]
fn a_post_stores_under_a_chosen_id() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    for n in 1..=3 {
        let document = format!(r#"{{"n":{n}}}"#);
        let response = client.post("/docs", &document);
        assert_eq!(response.status, 201, "{response:?}");
        assert_eq!(response.text(), format!(r#"{{"id":{n}}}"#));
        assert_eq!(location(&response), format!("/docs/{n}"));
        assert_eq!(client.get(&format!("/docs/{n}")).text(), document);
    }
    // Both faces count with one counter.
    let response = client.post("/api", r#"{"id":null,"data":0}"#);
    assert_eq!(response.text(), r#"{"id":4,"data":0}"#);
}

#[test]
fn documents_come_back_byte_for_byte() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    let nested = format!(
        "{}1{}",
        "[".repeat(JSON_DEPTH_MAX),
        "]".repeat(JSON_DEPTH_MAX)
    );
    for (n, (sent, stored)) in [
        (
            r#"{"z":1,"a":2,"m":{"y":[],"b":{}}}"#,
            r#"{"z":1,"a":2,"m":{"y":[],"b":{}}}"#,
        ),
        (" \t\r\n{ \"a\" :\n[ 1 , 2 ] }\n", r#"{"a":[1,2]}"#),
        ("1.0", "1.0"),
        ("1", "1"),
        ("-0.0", "-0.0"),
        ("1E+2", "1E+2"),
        ("1e400", "1e400"),
        ("-1e-400", "-1e-400"),
        (
            "123456789012345678901234567890",
            "123456789012345678901234567890",
        ),
        (
            "0.1000000000000000055511151231257827",
            "0.1000000000000000055511151231257827",
        ),
        (
            r#""\u0041\u00e9\/\b\f\n\r\t\"\\""#,
            r#""\u0041\u00e9\/\b\f\n\r\t\"\\""#,
        ),
        (
            r#""\ud83d\ude00😀 two  spaces""#,
            r#""\ud83d\ude00😀 two  spaces""#,
        ),
        (r#"{"a":1, "a":2}"#, r#"{"a":1,"a":2}"#),
        (r#"{"a b" : " : , "}"#, r#"{"a b":" : , "}"#),
        (r#"" \" { } [ ] ""#, r#"" \" { } [ ] ""#),
        ("\"\u{2028}\u{feff}\u{7f}\"", "\"\u{2028}\u{feff}\u{7f}\""),
        ("[]", "[]"),
        ("{ }", "{}"),
        ("null", "null"),
        (" true ", "true"),
        (r#""""#, r#""""#),
        (&nested, &nested),
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("/docs/{n}");
        assert_eq!(client.put(&target, sent).status, 201, "{sent:?}");
        let response = client.get(&target);
        assert_eq!((response.status, response.text()), (200, stored));
    }
    // A document larger than any single read.
    let large = format!("[{}0]", r#"{"k":"some text",  "n":1.50},"#.repeat(40_000));
    assert_eq!(client.put("/docs/large", &large).status, 201);
    assert_eq!(client.get("/docs/large").text(), large.replace("  ", ""));
}

#[test]
fn what_is_not_json_is_refused_and_stores_nothing() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    assert_eq!(client.put("/docs/1", "\"before\"").status, 201);
    let before = tag(&mut client, "/docs/1");
    let too_deep = format!(
        "{}{}",
        "[".repeat(JSON_DEPTH_MAX + 1),
        "]".repeat(JSON_DEPTH_MAX + 1)
    );
    let far_too_deep = "[".repeat(1_000_000);
    let deep_objects = r#"{"a":"#.repeat(100_000);
    let bodies: [&[u8]; 36] = [
        b"",
        b" ",
        b"{",
        b"}",
        b"[1 2]",
        b"[1,]",
        b"{\"a\":1,}",
        b"{\"a\"}",
        b"{a:1}",
        b"{'a':1}",
        b"nul",
        b"True",
        b"NaN",
        b"Infinity",
        b"+1",
        b"01",
        b"-",
        b"1.",
        b".5",
        b"1e",
        b"0x1",
        b"\"a",
        b"\"\\x\"",
        b"\"\\u12\"",
        b"\"a\nb\"",
        b"\"\x00\"",
        b"\"\xff\"",
        b"\"\xc0\x80\"",
        b"\"\xed\xa0\x80\"",
        b"\xef\xbb\xbf1",
        b"1 1",
        b"{} x",
        b"// x\n1",
        too_deep.as_bytes(),
        far_too_deep.as_bytes(),
        deep_objects.as_bytes(),
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let response = client.put("/docs/1", body);
        assert_eq!(response.status, 400, "{shown:?}: {response:?}");
        let message = assert_error(&response, 400);
        if !body.trim_ascii().is_empty() {
            assert!(
                message.contains(|c: char| c.is_ascii_digit()),
                "no offset in {message:?} for {shown:?}"
            );
        }
        assert_error(&client.post("/docs", body), 400);
    }
    assert_eq!(client.get("/docs/1").text(), "\"before\"");
    assert_eq!(tag(&mut client, "/docs/1"), before);
    // The refused ones took no id.
    assert_eq!(client.post("/docs", "0").status, 201);
}

#[test]
fn ids_in_the_path() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    let longest = "n".repeat(NAME_BYTES_MAX);
    let longest_encoded = "%6E".repeat(NAME_BYTES_MAX);
    let names = [
        ("a%2Fb", "a/b"),
        ("%E2%82%AC", "€"),
        ("%F0%9F%98%80", "😀"),
        ("with%20space", "with space"),
        ("+7", "+7"),
        ("007", "007"),
        ("12abc", "12abc"),
        ("1.5", "1.5"),
        ("50%25", "50%"),
        ("q%3Fx%23y", "q?x#y"),
        ("..%2F..%2Fetc", "../../etc"),
        ("a:b@c!$&'()*,;=-._~", "a:b@c!$&'()*,;=-._~"),
        ("%22quoted%22%5C", "\"quoted\"\\"),
        (&longest_encoded, &longest),
    ];
    for (n, (path, name)) in names.iter().enumerate() {
        let response = client.put(&format!("/docs/{path}"), n.to_string());
        assert_eq!(response.status, 201, "{name}: {response:?}");
        let location = location(&response);
        assert_eq!(
            client.get(&location).text(),
            n.to_string(),
            "{name} at {location}"
        );
    }
    for (n, (path, name)) in names.iter().enumerate() {
        assert_eq!(
            client.get(&format!("/docs/{path}")).text(),
            n.to_string(),
            "{name}"
        );
        // The other face sees the same name; storing an equal document changes nothing.
        let body = json!({"id": name, "data": n}).to_string();
        let response = client.post("/api", body);
        assert_eq!(json(&response.body), json!({"id": name, "data": n}));
    }
    // One id, however it is written.
    assert_eq!(client.put("/docs/12", "\"twelve\"").status, 201);
    assert_eq!(client.get("/docs/%31%32").text(), "\"twelve\"");
    assert_eq!(client.put("/docs/-9223372036854775808", "1").status, 201);
    assert_eq!(client.get("/docs/%2D9223372036854775808").text(), "1");

    let too_long = format!("/docs/{}", "n".repeat(NAME_BYTES_MAX + 1));
    for target in [
        "/docs/9223372036854775808",
        "/docs/-9223372036854775809",
        "/docs/%",
        "/docs/%4",
        "/docs/%zz",
        "/docs/%FF",
        "/docs/%C0%80",
        "/docs/%00",
        "/docs/a%0Ab",
        "/docs/%7F",
        "/docs/%C2%85",
        &too_long,
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let response = client.plain(method, target, if method == "PUT" { "1" } else { "" });
            assert_error(&response, 400);
        }
    }
    for target in ["/docs/", "/docs/a/b"] {
        let response = client.get(target);
        assert!(
            [400, 404].contains(&response.status),
            "{target}: {response:?}"
        );
    }
}

#[test]
fn an_equal_document_keeps_its_version() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    assert_eq!(
        client.put("/docs/e", r#"{"a":1,"b":[true,"x"]}"#).status,
        201
    );
    let first = tag(&mut client, "/docs/e");
    for equal in [
        r#"{"a":1,"b":[true,"x"]}"#,
        "{ \"a\": 1,\n \"b\": [ true, \"x\" ] }",
        r#"{"b":[true,"x"],"a":1}"#,
        r#"{"a":1,"b":[true,"\u0078"]}"#,
    ] {
        assert_eq!(client.put("/docs/e", equal).status, 200, "{equal}");
        assert_eq!(tag(&mut client, "/docs/e"), first, "{equal}");
        let response = client.post("/api", format!(r#"{{"id":"e","data":{equal}}}"#));
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(tag(&mut client, "/docs/e"), first, "{equal}");
    }
    let mut seen = vec![first];
    for different in [
        r#"{"a":2,"b":[true,"x"]}"#,
        r#"{"a":1,"b":["x",true]}"#,
        r#"{"a":1}"#,
        r#"{"a":"1"}"#,
    ] {
        assert_eq!(client.put("/docs/e", different).status, 200, "{different}");
        assert_eq!(client.get("/docs/e").text(), different);
        let tag = tag(&mut client, "/docs/e");
        assert!(!seen.contains(&tag), "{different}: {tag} came back");
        seen.push(tag);
    }
    // Also after delete and re-create, also with an old document.
    for _ in 0..3 {
        assert_eq!(client.delete("/docs/e").status, 204);
        assert_eq!(
            client.put("/docs/e", r#"{"a":1,"b":[true,"x"]}"#).status,
            201
        );
        let tag = tag(&mut client, "/docs/e");
        assert!(!seen.contains(&tag), "{tag} came back");
        seen.push(tag);
    }
}

#[test]
fn equal_documents_write_nothing_to_the_log() {
    let data = TempDir::new();
    // The default segments are allocated whole, so growth would hide; these are small.
    let server = Launch::serve(data.path()).cores(2).small_segments().start();
    let mut client = server.connect();
    let document = format!(r#"{{"text":"{}"}}"#, "x".repeat(500));
    assert_eq!(client.put("/docs/1", &document).status, 201);
    let before = support::server::snapshot(data.path());
    for _ in 0..100 {
        assert_eq!(client.put("/docs/1", &document).status, 200);
    }
    let after = support::server::snapshot(data.path());
    assert!(before == after, "100 equal documents changed the log");
}

#[test]
fn if_none_match_on_a_read() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    assert_eq!(client.put("/docs/1", "1").status, 201);
    let tag = tag(&mut client, "/docs/1");
    for (value, status) in [
        (tag.clone(), 304),
        (format!("W/{tag}"), 304),
        ("*".to_owned(), 304),
        (format!("\"x\", {tag}"), 304),
        (format!("\"x\",W/{tag} , \"y\""), 304),
        ("\"x\"".to_owned(), 200),
        ("\"x\", W/\"y\"".to_owned(), 200),
        ("\"a,b\"".to_owned(), 200),
    ] {
        for method in ["GET", "HEAD"] {
            let response = client.request(method, "/docs/1", &[("If-None-Match", &value)], "");
            assert_eq!(response.status, status, "{method} {value}: {response:?}");
            assert_eq!(response.etag(), tag);
        }
    }
    // A list over two fields is one list (RFC 9110, section 5.3).
    let fields = [("If-None-Match", "\"x\""), ("If-None-Match", tag.as_str())];
    assert_eq!(client.request("GET", "/docs/1", &fields, "").status, 304);
    assert_error(
        &client.request("GET", "/docs/2", &[("If-None-Match", "*")], ""),
        404,
    );
}

#[test]
fn if_match_guards_a_write() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    for value in ["*", "\"x\""] {
        let response = client.request("PUT", "/docs/1", &[("If-Match", value)], "0");
        assert_error(&response, 412);
    }
    assert_error(&client.get("/docs/1"), 404);
    assert_eq!(client.put("/docs/1", "1").status, 201);
    let first = tag(&mut client, "/docs/1");

    // Weak tags never match here (RFC 9110, section 13.1.1).
    for value in [
        "\"x\"".to_owned(),
        format!("W/{first}"),
        "\"x\", \"y\"".to_owned(),
    ] {
        let fields = [("If-Match", value.as_str())];
        assert_error(&client.request("PUT", "/docs/1", &fields, "2"), 412);
        assert_error(&client.request("DELETE", "/docs/1", &fields, ""), 412);
        assert_eq!(client.get("/docs/1").text(), "1", "{value}");
    }
    // The current tag, but of an equal document too.
    let response = client.request("PUT", "/docs/1", &[("If-Match", &first)], "1");
    assert_eq!(response.status, 200);
    assert_eq!(tag(&mut client, "/docs/1"), first);
    let list = format!("\"x\", {first}");
    for (value, document) in [(list.as_str(), "2"), ("*", "3")] {
        let response = client.request("PUT", "/docs/1", &[("If-Match", value)], document);
        assert_eq!(response.status, 200, "{value}: {response:?}");
        assert_eq!(client.get("/docs/1").text(), document);
    }
    // The old tag is stale now, for good.
    assert_error(
        &client.request("PUT", "/docs/1", &[("If-Match", &first)], "4"),
        412,
    );
    assert_error(
        &client.request("DELETE", "/docs/1", &[("If-Match", &first)], ""),
        412,
    );
    assert_error(
        &client.request("GET", "/docs/1", &[("If-Match", &first)], ""),
        412,
    );
    let current = tag(&mut client, "/docs/1");
    assert_eq!(
        client
            .request("DELETE", "/docs/1", &[("If-Match", &current)], "")
            .status,
        204
    );
    let response = client.request("DELETE", "/docs/1", &[("If-Match", &current)], "");
    assert!([404, 412].contains(&response.status), "{response:?}");
}

#[test]
fn if_none_match_guards_a_write() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    let absent = [("If-None-Match", "*")];
    assert_eq!(client.request("PUT", "/docs/1", &absent, "1").status, 201);
    assert_error(&client.request("PUT", "/docs/1", &absent, "2"), 412);
    // Not even when nothing would change.
    assert_error(&client.request("PUT", "/docs/1", &absent, "1"), 412);
    assert_eq!(client.get("/docs/1").text(), "1");
    let current = tag(&mut client, "/docs/1");
    assert_error(
        &client.request("PUT", "/docs/1", &[("If-None-Match", &current)], "2"),
        412,
    );
    assert_eq!(
        client
            .request("PUT", "/docs/1", &[("If-None-Match", "\"x\"")], "2")
            .status,
        200
    );
    assert_eq!(client.delete("/docs/1").status, 204);
    assert_eq!(client.request("PUT", "/docs/1", &absent, "1").status, 201);
}

#[test]
fn a_condition_that_is_no_list_of_tags_never_lets_a_write_through() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    assert_eq!(client.put("/docs/1", "1").status, 201);
    for value in [
        "",
        "x",
        "\"x",
        "x\"",
        "W/",
        "**",
        "* , \"x\"",
        "\"a\" \"b\"",
    ] {
        let response = client.request("PUT", "/docs/1", &[("If-Match", value)], "2");
        assert!(
            [400, 412].contains(&response.status),
            "{value:?}: {response:?}"
        );
        assert_eq!(client.get("/docs/1").text(), "1", "{value:?}");
    }
}

/// Of many writers that read the same version, one wins.
#[test]
fn one_of_many_conditional_writers_wins_each_version() {
    let data = TempDir::new();
    let server = serve(&data);
    const WRITERS: usize = 4;
    const ROUNDS: usize = 50;
    assert_eq!(server.connect().put("/docs/n", "0").status, 201);
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let mut client = server.connect();
                let mut won = 0;
                while won < ROUNDS {
                    let current = client.get("/docs/n");
                    let next = current.text().parse::<usize>().expect("a count") + 1;
                    let fields = [("If-Match", &*current.etag())];
                    let response = client.request("PUT", "/docs/n", &fields, next.to_string());
                    match response.status {
                        200 => won += 1,
                        412 => {}
                        _ => panic!("{response:?}"),
                    }
                }
            });
        }
    });
    let total = (WRITERS * ROUNDS).to_string();
    assert_eq!(server.connect().get("/docs/n").text(), total);
}

#[test]
fn other_methods_are_refused_with_those_allowed() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    for (method, target, expected) in [
        ("PUT", "/docs", vec!["GET", "HEAD", "POST"]),
        ("DELETE", "/docs", vec!["GET", "HEAD", "POST"]),
        (
            "POST",
            "/docs/1",
            vec!["DELETE", "GET", "HEAD", "PATCH", "PUT"],
        ),
        ("PATCH", "/docs", vec!["GET", "HEAD", "POST"]),
        (
            "BREW",
            "/docs/1",
            vec!["DELETE", "GET", "HEAD", "PATCH", "PUT"],
        ),
        (
            "get",
            "/docs/1",
            vec!["DELETE", "GET", "HEAD", "PATCH", "PUT"],
        ),
    ] {
        let response = client.plain(method, target, "");
        assert_error(&response, 405);
        let allowed = allowed(&response);
        assert!(
            expected.iter().all(|m| allowed.iter().any(|a| a == m)),
            "{method} {target}: {allowed:?}"
        );
        assert!(
            !allowed.iter().any(|a| a == method),
            "{method} {target}: {allowed:?}"
        );
    }
    for (target, expected) in [
        ("/docs", vec!["POST"]),
        ("/docs/1", vec!["DELETE", "GET", "HEAD", "PATCH", "PUT"]),
        ("/api", vec!["GET", "POST"]),
        ("/api/cmd", vec!["GET", "POST"]),
    ] {
        let response = client.plain("OPTIONS", target, "");
        assert!(
            [200, 204].contains(&response.status),
            "{target}: {response:?}"
        );
        let allowed = allowed(&response);
        assert!(
            expected.iter().all(|m| allowed.iter().any(|a| a == m)),
            "{target}: {allowed:?}"
        );
    }
}

#[test]
fn a_body_that_says_it_is_something_else_is_refused() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "text/html; charset=utf-8",
        "image/png",
    ] {
        let fields = [("Content-Type", content_type)];
        assert_error(&client.request("PUT", "/docs/1", &fields, "1"), 415);
        assert_error(&client.request("POST", "/docs", &fields, "1"), 415);
    }
    assert_error(&client.get("/docs/1"), 404);
    for content_type in [
        "application/json",
        "application/json;charset=utf-8",
        "APPLICATION/JSON",
    ] {
        let fields = [("Content-Type", content_type)];
        let response = client.request("PUT", "/docs/1", &fields, "1");
        assert!(
            [200, 201].contains(&response.status),
            "{content_type}: {response:?}"
        );
    }
    // Without a body there is nothing that the type could describe.
    let fields = [("Content-Type", "text/plain")];
    assert_eq!(client.request("GET", "/docs/1", &fields, "").status, 200);
    assert_eq!(client.request("DELETE", "/docs/1", &fields, "").status, 204);
}
