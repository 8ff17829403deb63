//! Content codings over the wire: gzip for those who take it, and from those who send it.

mod support;

use std::io::{Read, Write};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use oxdaas::limits::{GZIP_BODY_BYTES_MAX, GZIP_BODY_BYTES_MIN};
use support::{
    assert_error, assert_error_naming,
    client::{Client, Expected, Response, request},
    json,
    server::{Launch, Server, TempDir},
};

const TAKES_GZIP: (&str, &str) = ("Accept-Encoding", "br, gzip");
const SENDS_GZIP: (&str, &str) = ("Content-Encoding", "gzip");

fn serve(data: &TempDir) -> Server {
    Launch::serve(data.path()).cores(2).start()
}

/// A document of `bytes` bytes.
fn document(bytes: usize) -> String {
    format!("\"{}\"", "ab ".repeat(bytes).split_at(bytes - 2).0)
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).expect("a vector");
    encoder.finish().expect("a vector")
}

#[track_caller]
fn gunzipped(response: &Response) -> String {
    assert_eq!(
        response.header("content-encoding"),
        Some("gzip"),
        "{response:?}"
    );
    let mut text = String::new();
    let read = GzDecoder::new(&response.body[..]).read_to_string(&mut text);
    read.expect("gzip of UTF-8");
    text
}

fn read(client: &mut Client, method: &str, target: &str, fields: &[(&str, &str)]) -> Response {
    client.send(request(method, target, fields, b""));
    client.read(match method {
        "HEAD" => Expected::NoBody,
        _ => Expected::Body,
    })
}

#[test]
fn a_body_is_coded_for_a_client_that_takes_it_and_has_a_tag_of_its_own() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    for n in 0..6 {
        let target = format!("/docs/{n}");
        let text = document(GZIP_BODY_BYTES_MIN + n);
        client.put(&target, &text);
        let plain = client.get(&target);
        assert_eq!(plain.header("vary"), Some("Accept-Encoding"));
        assert_eq!(plain.header("content-encoding"), None);
        let coded = read(&mut client, "GET", &target, &[TAKES_GZIP]);
        assert_eq!((coded.status, gunzipped(&coded)), (200, text));
        assert_eq!(coded.header("vary"), Some("Accept-Encoding"));
        assert!(coded.body.len() < 200);
        assert_ne!(coded.etag(), plain.etag());
        let head = read(&mut client, "HEAD", &target, &[TAKES_GZIP]);
        for name in [
            "content-length",
            "content-encoding",
            "etag",
            "vary",
            "content-type",
        ] {
            assert_eq!(head.header(name), coded.header(name), "{name}");
        }
        for (fields, expected) in [
            (&[TAKES_GZIP, ("If-None-Match", &coded.etag())][..], &coded),
            (&[("If-None-Match", &plain.etag())], &plain),
        ] {
            let unchanged = read(&mut client, "GET", &target, fields);
            assert_eq!((unchanged.status, unchanged.etag()), (304, expected.etag()));
            assert_eq!(unchanged.header("vary"), Some("Accept-Encoding"));
            assert_eq!(unchanged.header("content-encoding"), None);
        }
        // What the client has is not what it asks for: a cache could not tell what a 304 is about.
        for (fields, expected) in [
            (&[TAKES_GZIP, ("If-None-Match", &plain.etag())][..], &coded),
            (&[("If-None-Match", &coded.etag())], &plain),
        ] {
            let shown = read(&mut client, "GET", &target, fields);
            assert_eq!((shown.status, shown.etag()), (200, expected.etag()));
            assert_eq!(shown.body, expected.body);
        }
        // Either tag says which version a change is meant for.
        let etag = coded.etag();
        let changed = client.request("PUT", &target, &[("If-Match", &etag)], "1");
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_error(
            &client.request("PUT", &target, &[("If-Match", &etag)], "2"),
            412,
        );
    }
}

#[test]
fn a_body_that_is_small_or_large_is_sent_as_it_is() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    for bytes in [2, GZIP_BODY_BYTES_MIN - 1, GZIP_BODY_BYTES_MAX + 1] {
        let text = document(bytes);
        client.put("/docs/1", &text);
        let response = read(&mut client, "GET", "/docs/1", &[TAKES_GZIP]);
        assert_eq!(response.text(), text);
        assert_eq!(response.header("content-encoding"), None);
        assert_eq!(response.etag(), client.get("/docs/1").etag());
    }
    let refuses = ("Accept-Encoding", "gzip;q=0");
    client.put("/docs/1", document(5000));
    let response = read(&mut client, "GET", "/docs/1", &[refuses]);
    assert_eq!(response.text(), document(5000));
}

#[test]
fn every_kind_of_answer_can_be_coded() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    let text = document(2000);
    for n in 0..4 {
        client.put(&format!("/docs/{n}"), &text);
    }
    client.put("/docs/part", format!(r#"{{"a":{text}}}"#));
    for (target, count) in [
        ("/docs?ids=0,1,2,3", 4),
        ("/docs?include=data&prefix=part", 1),
        ("/docs/part?pointer=/a", 1),
        ("/api?id=2", 1),
        ("/api/cmd?id=part&cmd[query]=ONLY&cmd[keys][]=a", 1),
    ] {
        let target = target.replace('[', "%5B").replace(']', "%5D");
        let coded = read(&mut client, "GET", &target, &[TAKES_GZIP]);
        let plain = read(&mut client, "GET", &target, &[]);
        assert_eq!(gunzipped(&coded), plain.text(), "{target}");
        assert_eq!(plain.text().matches(&text).count(), count, "{target}");
    }
    let part = read(&mut client, "GET", "/docs/part?pointer=/a", &[TAKES_GZIP]);
    let fields = [TAKES_GZIP, ("If-None-Match", &part.etag())];
    let unchanged = read(&mut client, "GET", "/docs/part?pointer=/a", &fields);
    assert_eq!((unchanged.status, unchanged.etag()), (304, part.etag()));
    let fields = [TAKES_GZIP, ("Prefer", "return=representation")];
    let put = client.request("PUT", "/docs/new", &fields, &text);
    assert_eq!((put.status, gunzipped(&put)), (201, text.clone()));
    let get = r#"{"get":{"id":1}}"#;
    let body = format!(r#"{{"ops":[{get},{get}]}}"#);
    let batch = client.request("POST", "/batch", &[TAKES_GZIP], body);
    assert_eq!(gunzipped(&batch).matches(&text).count(), 2);
}

#[test]
fn a_coded_body_is_stored_as_what_it_holds() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    let text = document(100_000);
    let coded = gzipped(&format!(" {text} "));
    assert!(coded.len() < 1000);
    let put = client.request("PUT", "/docs/1", &[SENDS_GZIP], &coded);
    assert_eq!(put.status, 201, "{put:?}");
    assert_eq!(client.get("/docs/1").text(), text);
    let merge = ("Content-Type", "application/merge-patch+json");
    let patch = gzipped(r#"{"a":1}"#);
    let patched = client.request("PATCH", "/docs/1", &[SENDS_GZIP, merge], patch);
    assert_eq!(patched.status, 200);
    assert_eq!(client.get("/docs/1").text(), r#"{"a":1}"#);
    for (target, body) in [
        ("/docs", "[7]"),
        ("/api", r#"{"id":2,"data":[7]}"#),
        ("/batch", r#"{"ops":[{"put":{"id":3,"data":[7]}}]}"#),
        ("/docs/4/increment", r#"{"default":6}"#),
    ] {
        let response = client.request("POST", target, &[SENDS_GZIP], gzipped(body));
        assert!(
            matches!(response.status, 200 | 201),
            "{target}: {response:?}"
        );
    }
    assert_eq!(client.get("/docs/2").text(), "[7]");
    assert_eq!(client.get("/docs/3").text(), "[7]");
    assert_eq!(client.get("/docs/4").text(), "7");
}

#[test]
fn a_coded_body_that_is_broken_too_large_or_unknown_is_refused_and_the_connection_goes_on() {
    let data = TempDir::new();
    let server = Launch::serve(data.path())
        .cores(1)
        .args(&["--body-bytes-max", "10000"])
        .start();
    let mut client = server.connect();
    let mut put = |coding: &str, body: &[u8]| {
        client.request("PUT", "/docs/1", &[("Content-Encoding", coding)], body)
    };
    let fits = gzipped(&document(10_000));
    assert_eq!(put("gzip", &fits).status, 201);
    let bomb = put("gzip", &gzipped(&document(10_001)));
    assert_error_naming(&bomb, 413, &["10000", "--body-bytes-max"]);
    assert_eq!(json(&bomb.body)["error"], "body_too_large");
    assert_error(&put("gzip", &fits[..fits.len() - 1]), 400);
    assert_error(&put("gzip", b"{}"), 400);
    assert_error_naming(&put("gzip", &gzipped("")), 400, &["empty"]);
    assert_error_naming(&put("gzip", &gzipped("[1,")), 400, &["byte 3"]);
    for coding in ["br", "gzip, gzip", "deflate"] {
        let unknown = put(coding, b"{}");
        assert_error_naming(&unknown, 415, &["gzip"]);
        assert_eq!(unknown.header("accept-encoding"), Some("gzip"));
    }
    assert_eq!(put("identity", b"7").status, 200);
    assert_eq!(client.get("/docs/1").text(), "7");
}
