//! HTTP/1.1 as bytes on a connection (RFC 9112): cut, pipelined, chunked,
//! smuggled, slow, and beyond each limit.

mod support;

use std::{io::Write, time::Duration, time::Instant};

use oxdaas::limits::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX, PIPELINE_MAX, REQUEST_LINE_BYTES_MAX};
use support::{
    assert_error,
    client::{Client, Expected, NoResponse, Response, request},
    server::{Launch, Server, TempDir},
};

fn serve(data: &TempDir) -> Server {
    Launch::serve(data.path()).cores(2).start()
}

/// Sends `bytes` on a fresh connection and reads one response.
#[track_caller]
fn exchange(server: &Server, bytes: impl AsRef<[u8]>) -> (Client, Response) {
    let mut client = server.connect();
    client.send(bytes);
    let response = client.read(Expected::Body);
    (client, response)
}

#[test]
fn a_request_cut_anywhere_is_whole_in_the_end() {
    let data = TempDir::new();
    // One core: the probe on the other connection then takes its turn after
    // the server has seen the first part.
    let server = Launch::serve(data.path()).cores(1).start();
    let mut probe = server.connect();
    let requests: [(&[u8], u16); 6] = [
        (b"GET /docs/1 HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"GET /api?id=1 HTTP/1.1\r\nHost: a\r\nX-Y:\t z \t\r\n\r\n", 200),
        (b"PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n{\"a\":1}", 200),
        (b"PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\n{\"a\r\n4\r\n\":1}\r\n0\r\nT: t\r\n\r\n", 200),
        (b"\r\nGET http://a/docs/1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", 200),
        (b"GET /docs/1 HTTP/1.1\r\n\r\n", 400),
    ];
    assert_eq!(probe.put("/docs/1", r#"{"a":1}"#).status, 201);
    for (bytes, status) in requests {
        let mut client = server.connect();
        for cut in 0..=bytes.len() {
            client.send(&bytes[..cut]);
            assert_eq!(probe.get("/docs/1").status, 200);
            client.send(&bytes[cut..]);
            let response = client.read(Expected::Body);
            assert_eq!(response.status, status, "cut at {cut}: {response:?}");
            if status == 400 {
                client.expect_closed();
                client = server.connect();
            }
        }
    }
}

#[test]
fn two_pipelined_requests_cut_anywhere_are_two() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(1).start();
    let mut probe = server.connect();
    assert_eq!(probe.put("/docs/2", "2").status, 201);
    let mut bytes = request("PUT", "/docs/1", &[], b"[1]");
    bytes.extend(request("GET", "/docs/2", &[], b""));
    let mut client = server.connect();
    for cut in 0..=bytes.len() {
        client.send(&bytes[..cut]);
        assert_eq!(probe.get("/docs/2").status, 200);
        client.send(&bytes[cut..]);
        let first = client.read(Expected::Body);
        assert!(
            [200, 201].contains(&first.status),
            "cut at {cut}: {first:?}"
        );
        assert_eq!(client.read(Expected::Body).text(), "2", "cut at {cut}");
    }
}

#[test]
fn one_byte_at_a_time_is_enough() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    for byte in request(
        "PUT",
        "/docs/1",
        &[("X-Long", "some value")],
        br#"{"slow":"but whole"}"#,
    ) {
        client.send([byte]);
    }
    assert_eq!(client.read(Expected::Body).status, 201);
    assert_eq!(client.get("/docs/1").text(), r#"{"slow":"but whole"}"#);
}

#[test]
fn pipelined_answers_come_in_request_order_over_all_cores() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut client = server.connect();
    let count = PIPELINE_MAX / 2;
    let mut bytes = Vec::new();
    for n in 0..count {
        bytes.extend(request(
            "PUT",
            &format!("/docs/{n}"),
            &[],
            format!("[{n}]").as_bytes(),
        ));
    }
    client.send(&bytes);
    for n in 0..count {
        assert_eq!(client.read(Expected::Body).status, 201, "{n}");
    }
    bytes.clear();
    for n in 0..count {
        bytes.extend(request("GET", &format!("/docs/{n}"), &[], b""));
        bytes.extend(request("GET", &format!("/docs/missing-{n}"), &[], b""));
        bytes.extend(request("GET", &format!("/api?id={n}"), &[], b""));
    }
    client.send(&bytes);
    for n in 0..count {
        assert_eq!(client.read(Expected::Body).text(), format!("[{n}]"));
        let missing = assert_error(&client.read(Expected::Body), 404);
        assert!(missing.contains(&format!("missing-{n}")), "{missing}");
        assert_eq!(
            client.read(Expected::Body).text(),
            format!(r#"{{"id":{n},"data":[{n}]}}"#)
        );
    }
}

#[test]
fn pipelined_requests_to_one_id_take_effect_in_order() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    // Several ids, so that some are on the connection's own core and some are not.
    for id in 0..8 {
        for round in 0..4 {
            let target = format!("/docs/order-{id}");
            let mut bytes = Vec::new();
            bytes.extend(request(
                "PUT",
                &target,
                &[],
                format!("[{round},1]").as_bytes(),
            ));
            bytes.extend(request("GET", &target, &[], b""));
            bytes.extend(request(
                "PUT",
                &target,
                &[],
                format!("[{round},2]").as_bytes(),
            ));
            bytes.extend(request("GET", &target, &[], b""));
            bytes.extend(request("DELETE", &target, &[], b""));
            bytes.extend(request("GET", &target, &[], b""));
            bytes.extend(request("PUT", &target, &[("If-None-Match", "*")], b"3"));
            bytes.extend(request("PUT", &target, &[("If-None-Match", "*")], b"4"));
            bytes.extend(request("GET", &target, &[], b""));
            bytes.extend(request("DELETE", &target, &[], b""));
            client.send(&bytes);
            let answers: Vec<Response> = (0..10).map(|_| client.read(Expected::Body)).collect();
            let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
            assert_eq!(statuses, [201, 200, 200, 200, 204, 404, 201, 412, 200, 204]);
            assert_eq!(answers[1].text(), format!("[{round},1]"));
            assert_eq!(answers[3].text(), format!("[{round},2]"));
            assert_eq!(answers[8].text(), "3");
        }
    }
}

#[test]
fn a_thousand_requests_in_one_write_are_all_answered() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    assert_eq!(client.put("/docs/1", "1").status, 201);
    let mut bytes = Vec::new();
    for n in 0..1000 {
        let target = if n % 3 == 0 {
            "/docs/1".to_owned()
        } else {
            format!("/api?id={n}")
        };
        bytes.extend(request("GET", &target, &[], b""));
    }
    let mut sender = client.sender();
    let sending = std::thread::spawn(move || sender.write_all(&bytes));
    for n in 0..1000 {
        let response = client.read(Expected::Body);
        assert_eq!(response.status, 200, "{n}");
        if n % 3 != 0 {
            let data = if n == 1 { "1" } else { "null" };
            assert_eq!(response.text(), format!(r#"{{"id":{n},"data":{data}}}"#));
        }
    }
    sending.join().expect("no panic").expect("all is sent");
}

#[test]
fn a_pipeline_of_costly_requests_leaves_others_their_turn() {
    const COSTLY: usize = 96;
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(1).start();
    let mut costly = server.connect();
    let mut other = server.connect();
    // Each request goes through the whole document in vain.
    let list = format!("[{}1]", "1,".repeat(1 << 18));
    assert_eq!(costly.put("/docs/list", &list).status, 201);
    let search = request("GET", "/docs/list?pointer=/999999", &[], b"");
    assert_error(&costly.get("/docs/list?pointer=/999999"), 404);
    let began = Instant::now();
    costly.send(search.repeat(COSTLY));
    assert_error(&costly.read(Expected::Body), 404);
    let first_after = began.elapsed();
    assert_error(&other.get("/docs/none"), 404);
    let other_after = began.elapsed();
    for _ in 1..COSTLY {
        assert_error(&costly.read(Expected::Body), 404);
    }
    let all_after = began.elapsed();
    assert!(
        first_after * 2 < all_after && other_after * 2 < all_after,
        "{first_after:?} to the first, {other_after:?} to another's, {all_after:?} to the last"
    );
}

#[test]
fn a_client_that_has_finished_sending_gets_all_answers() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    let mut bytes = Vec::new();
    for n in 0..20 {
        bytes.extend(request("PUT", &format!("/docs/{n}"), &[], b"1"));
    }
    client.send(&bytes);
    client.finish_sending();
    for _ in 0..20 {
        assert_eq!(client.read(Expected::Body).status, 201);
    }
    client.expect_closed();
    // A request that is not whole is no request.
    let mut client = server.connect();
    client.send(b"GET /docs/1 HTTP/1.1\r\nHost: a\r\n\r\nPUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n\"h");
    client.finish_sending();
    assert_eq!(client.read(Expected::Body).text(), "1");
    match client.try_read(Expected::Body) {
        Ok(response) => assert!((400..500).contains(&response.status), "{response:?}"),
        Err(NoResponse::Closed) => {}
        Err(error) => panic!("{error:?}"),
    }
    assert_eq!(server.connect().get("/docs/1").text(), "1");
}

#[test]
fn keep_alive_and_close_by_version() {
    let data = TempDir::new();
    let server = serve(&data);
    assert_eq!(server.connect().put("/docs/1", "1").status, 201);

    // HTTP/1.1 stays open unless it is told otherwise.
    let (mut client, response) = exchange(&server, "GET /docs/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!response.closes(), "{response:?}");
    assert_eq!(client.get("/docs/1").text(), "1");
    for value in ["close", "Close", "keep-alive, close", "foo,close"] {
        let bytes = format!("GET /docs/1 HTTP/1.1\r\nHost: a\r\nConnection: {value}\r\n\r\n");
        let (mut client, response) = exchange(&server, bytes);
        assert_eq!(response.text(), "1");
        assert!(response.closes(), "{value}: {response:?}");
        client.expect_closed();
    }
    // HTTP/1.0 closes, and needs no Host.
    let (mut client, response) = exchange(&server, "GET /docs/1 HTTP/1.0\r\n\r\n");
    assert_eq!((response.status, response.text()), (200, "1"));
    client.expect_closed();
    // What ab -k sends, and needs to see.
    let bytes = "GET /docs/1 HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: 127.0.0.1:4000\r\nUser-Agent: ApacheBench/2.3\r\nAccept: */*\r\n\r\n";
    let mut client = server.connect();
    for _ in 0..3 {
        client.send(bytes);
        let response = client.read(Expected::Body);
        assert_eq!(response.text(), "1");
        let connection = response.header("connection").unwrap_or_default();
        assert!(
            connection.eq_ignore_ascii_case("keep-alive"),
            "{response:?}"
        );
    }
    let bytes = "POST /api HTTP/1.0\r\nContent-length: 36\r\nContent-type: application/json\r\nConnection: Keep-Alive\r\nHost: a\r\n\r\n{\"id\":1,\"data\":{\"color\":\"blue\"    }}";
    let (mut client, response) = exchange(&server, bytes);
    assert_eq!(response.text(), r#"{"id":1,"data":{"color":"blue"}}"#);
    client.send(bytes);
    assert_eq!(client.read(Expected::Body).status, 200);
}

#[test]
fn every_answer_has_a_date_of_now() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    for target in ["/docs/1", "/api?id=1", "/nope", "/api?id="] {
        let response = client.get(target);
        let date = response.header("date").unwrap_or_default();
        let parsed = httpdate::parse_http_date(date).unwrap_or_else(|_| panic!("Date {date:?}"));
        assert_eq!(httpdate::fmt_http_date(parsed), date, "the preferred form");
        let now = std::time::SystemTime::now();
        let distance = now
            .duration_since(parsed)
            .or_else(|_| parsed.duration_since(now));
        assert!(
            distance.is_ok_and(|d| d < Duration::from_secs(3)),
            "Date {date:?}"
        );
    }
}

#[test]
fn chunked_bodies_are_bodies() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    for body in [
        "9\r\n{\"a\":[1]}\r\n0\r\n\r\n",
        "1\r\n{\r\n8\r\n\"a\":[1]}\r\n0\r\n\r\n",
        "0009\r\n{\"a\":[1]}\r\n000\r\n\r\n",
        "9;name=value\r\n{\"a\":[1]}\r\n0\r\n\r\n",
        "9;name=\"quoted \\\" value\"\r\n{\"a\":[1]}\r\n0;last\r\n\r\n",
        "9\r\n{\"a\":[1]}\r\n0\r\nTrailer: ignored\r\nOther: x\r\n\r\n",
        "A\r\n{\"a\": [1]}\r\n0\r\n\r\n",
        "a\r\n{\"a\": [1]}\r\n0\r\n\r\n",
    ] {
        for coding in ["chunked", "Chunked"] {
            client.send(format!(
                "PUT /docs/c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n{body}"
            ));
            let response = client.read(Expected::Body);
            assert!(
                [200, 201].contains(&response.status),
                "{body:?}: {response:?}"
            );
            assert_eq!(client.get("/docs/c").text(), r#"{"a":[1]}"#);
            assert_eq!(client.delete("/docs/c").status, 204);
        }
    }
    // No chunk but the last: an empty body, which is no JSON.
    client.send("PUT /docs/c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_error(&client.read(Expected::Body), 400);
    // A GET may have a body too; it is read and does not disturb the next request.
    client.send("GET /docs/c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_error(&client.read(Expected::Body), 404);
    client.send("GET /docs/c HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_error(&client.read(Expected::Body), 404);
    assert_error(&client.get("/docs/c"), 404);
}

#[test]
fn expectations() {
    let data = TempDir::new();
    let server = Launch::serve(data.path())
        .cores(2)
        .args(&["--body-bytes-max", "1000"])
        .start();
    let mut client = server.connect();
    for value in ["100-continue", "100-Continue"] {
        client.send(format!(
            "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nExpect: {value}\r\nContent-Length: 3\r\n\r\n"
        ));
        assert_eq!(client.read(Expected::Body).status, 100, "{value}");
        client.send("[1]");
        assert!([200, 201].contains(&client.read(Expected::Body).status));
    }
    // With the body there already, the interim response may be left out.
    client.send(
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n[2]",
    );
    let mut response = client.read(Expected::Body);
    if response.status == 100 {
        response = client.read(Expected::Body);
    }
    assert_eq!(response.status, 200);
    // Without a body there is nothing to continue.
    client.send("GET /docs/1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.read(Expected::Body).text(), "[2]");
    // An HTTP/1.0 client does not know interim responses (RFC 9110, section 10.1.1).
    let (_, response) = exchange(
        &server,
        "PUT /docs/1 HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n3",
    );
    assert_eq!(response.status, 200);
    let (_, response) = exchange(
        &server,
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nExpect: a-miracle\r\nContent-Length: 3\r\n\r\n[4]",
    );
    assert_error(&response, 417);
    // Refused at once: the body is never asked for.
    let (_, response) = exchange(
        &server,
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n",
    );
    assert_error(&response, 413);
    assert_eq!(server.connect().get("/docs/1").text(), "3");
}

#[test]
fn targets_in_every_form() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    assert_eq!(client.put("/docs/1", "1").status, 201);
    for target in [
        "http://a/docs/1",
        "http://127.0.0.1:4000/docs/1",
        "HTTP://A/docs/1",
        "/docs/1?ignored=1",
    ] {
        assert_eq!(client.get(target).text(), "1", "{target}");
    }
    let response = client.plain("OPTIONS", "*", "");
    assert!([200, 204].contains(&response.status), "{response:?}");
    assert!(response.header("allow").is_some(), "{response:?}");
    // The client still has its connection.
    assert_eq!(client.get("/docs/1").text(), "1");
    for line in [
        "GET * HTTP/1.1",
        "GET docs/1 HTTP/1.1",
        "CONNECT a:80 HTTP/1.1",
    ] {
        let (_, response) = exchange(&server, format!("{line}\r\nHost: a\r\n\r\n"));
        assert!(
            [400, 404, 405].contains(&response.status),
            "{line}: {response:?}"
        );
        assert_error(&response, response.status);
    }
}

#[test]
fn smuggling_is_refused_and_the_connection_closed() {
    let data = TempDir::new();
    let server = serve(&data);
    assert_eq!(server.connect().put("/docs/1", "1").status, 201);
    let attempts: &[&str] = &[
        // Two ways to frame one body.
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n22",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n22",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        // A length that is no number.
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\n22222222222",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1.0\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n2222222222",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: one\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999999\r\n\r\n2",
        // A coding that is not chunked, or not last.
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        // Lines that end or continue where they must not.
        "PUT /docs/1 HTTP/1.1\nHost: a\nContent-Length: 1\n\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\nContent-Length: 1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\rX: y\r\nContent-Length: 1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\rHost: a\r\nContent-Length: 1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\r\nHost: a\r\nContent-Length: 1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nX: one\r\n two\r\nContent-Length: 1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nX: one\r\n\ttwo\r\nContent-Length: 1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\n Host: a\r\nContent-Length: 1\r\n\r\n2",
        // Names and values that others read differently.
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length\t: 1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent Length: 1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\n: empty\r\nContent-Length: 1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nno colon\r\nContent-Length: 1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nX: \0\r\nContent-Length: 1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nX\x01: y\r\nContent-Length: 1\r\n\r\n2",
        // The Host.
        "PUT /docs/1 HTTP/1.1\r\nContent-Length: 1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nHost: a\r\nContent-Length: 1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 1\r\n\r\n2",
        "PUT http://a/docs/1 HTTP/1.1\r\nContent-Length: 1\r\n\r\n2",
        // The request line.
        "PUT  /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n2",
        "PUT /docs/1  HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n2",
        " PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n2",
        "PUT /docs/1 HTTP/1.1 \r\nHost: a\r\nContent-Length: 1\r\n\r\n2",
        "PUT\t/docs/1\tHTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n2",
        "PUT /docs/1 http/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n2",
        "PUT /docs/1\r\nHost: a\r\nContent-Length: 1\r\n\r\n2",
        "P@T /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n2",
        "PUT /docs/\x011 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n2",
        // Chunks.
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n2\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\n2\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\n2\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n2\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n2\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n 1\r\n2\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\n2\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n2\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\n2\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x\ny\r\n2\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n2\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n222\r\n0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n2XX0\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n2\r\n0\r\nTrailer : x\r\n\r\n",
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n2\r\n0\r\nTrailer: x\n\r\n",
    ];
    for attempt in attempts {
        let mut client = server.connect();
        client.send(attempt);
        // What hides behind it must not be taken for a request. The server may
        // have closed already.
        let _ = client.try_send("DELETE /docs/1 HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client
            .try_read(Expected::Body)
            .unwrap_or_else(|error| panic!("{attempt:?}: {error:?}"));
        assert_eq!(response.status, 400, "{attempt:?}: {response:?}");
        assert_error(&response, 400);
        assert!(response.closes(), "{attempt:?}: {response:?}");
        client.expect_closed();
        assert_eq!(server.connect().get("/docs/1").text(), "1", "{attempt:?}");
    }
}

#[test]
fn faulty_framing_behind_a_good_request_spoils_only_itself() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut bytes = request("PUT", "/docs/1", &[], b"1");
    bytes.extend(b"GET /docs/1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    bytes.extend(request("DELETE", "/docs/1", &[], b""));
    let (mut client, response) = exchange(&server, &bytes);
    assert_eq!(response.status, 201);
    assert_error(&client.read(Expected::Body), 400);
    client.expect_closed();
    assert_eq!(server.connect().get("/docs/1").text(), "1");
}

/// RFC 9112, section 6.1: such framing is faulty, whatever it says.
#[test]
fn a_coding_in_http_1_0_never_keeps_the_connection() {
    let data = TempDir::new();
    let server = serve(&data);
    let (mut client, _) = exchange(
        &server,
        "PUT /docs/1 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n",
    );
    client.expect_closed();
}

#[test]
fn a_long_request_line_is_414() {
    let data = TempDir::new();
    let server = serve(&data);
    let line = |bytes: usize| {
        let fixed = "GET /docs/1? HTTP/1.1".len();
        format!("GET /docs/1?{} HTTP/1.1", "q".repeat(bytes - fixed))
    };
    let head = format!("{}\r\nHost: a\r\n\r\n", line(REQUEST_LINE_BYTES_MAX));
    let (_, response) = exchange(&server, head);
    assert_error(&response, 404);
    for bytes in [
        REQUEST_LINE_BYTES_MAX + 1,
        2 * REQUEST_LINE_BYTES_MAX,
        10 * HEAD_BYTES_MAX,
    ] {
        let mut client = server.connect();
        client.send(format!("{}\r\nHost: a\r\n\r\n", line(bytes)));
        assert_error(&client.read(Expected::Body), 414);
        client.expect_closed();
    }
    // The answer does not wait for the end of the line.
    let (_, response) = exchange(
        &server,
        "GET /".to_owned() + &"x".repeat(REQUEST_LINE_BYTES_MAX + 1),
    );
    assert_error(&response, 414);
}

#[test]
fn a_long_head_is_431() {
    let data = TempDir::new();
    let server = serve(&data);
    let head = |fields: usize, value_bytes: usize| {
        let mut head = "GET /docs/1 HTTP/1.1\r\nHost: a\r\n".to_owned();
        for n in 1..fields {
            head.push_str(&format!("X-{n}: {}\r\n", "v".repeat(value_bytes)));
        }
        head + "\r\n"
    };
    assert_error(&exchange(&server, head(HEAD_FIELDS_MAX, 8)).1, 404);
    assert_error(&exchange(&server, head(HEAD_FIELDS_MAX + 1, 8)).1, 431);
    assert_error(&exchange(&server, head(2, HEAD_BYTES_MAX - 200)).1, 404);
    assert_error(&exchange(&server, head(2, HEAD_BYTES_MAX)).1, 431);
    assert_error(&exchange(&server, head(90, 1000)).1, 431);
    // The answer does not wait for the end of the head.
    let endless = "GET /docs/1 HTTP/1.1\r\nHost: a\r\nX: ".to_owned() + &"v".repeat(HEAD_BYTES_MAX);
    let (mut client, response) = exchange(&server, endless);
    assert_error(&response, 431);
    client.expect_closed();
}

#[test]
fn a_large_body_is_413_before_it_is_sent() {
    let data = TempDir::new();
    let server = Launch::serve(data.path())
        .cores(2)
        .args(&["--body-bytes-max", "1000"])
        .start();
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    assert_eq!(server.connect().put("/docs/1", text(1000)).status, 201);
    // Not a byte of the body was sent.
    for length in ["1001", "9000000000", "18446744073709551615"] {
        let mut client = server.connect();
        client.send(format!(
            "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
        ));
        let response = client.read(Expected::Body);
        let message = assert_error(&response, 413);
        assert!(message.contains("1000"), "the limit is named: {message:?}");
        client.finish_sending();
        client.expect_closed();
    }
    // A client that sends it all before it reads still gets the answer.
    let mut client = server.connect();
    client.send("PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\n");
    let _ = client.try_send("x".repeat(65_536));
    assert_error(&client.read(Expected::Body), 413);
    // Chunks add up.
    let chunk = format!("64\r\n{}\r\n", "x".repeat(100));
    let mut client = server.connect();
    client.send(
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()
            + &chunk.repeat(11),
    );
    assert_error(&client.read(Expected::Body), 413);
    let mut client = server.connect();
    client.send("PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3E9\r\n");
    assert_error(&client.read(Expected::Body), 413);
    assert_eq!(server.connect().get("/docs/1").text(), text(1000));
}

/// Chunk framing without end is bounded like a body.
#[test]
fn endless_chunk_framing_is_refused() {
    let data = TempDir::new();
    let server = serve(&data);
    let start = "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for endless in [
        format!("1;{}", "x".repeat(1_000_000)),
        "0".repeat(1_000_000),
        format!("1\r\n1\r\n0\r\n{}", "T: trailer\r\n".repeat(100_000)),
        format!("1\r\n1\r\n0\r\nT: {}", "t".repeat(1_000_000)),
        format!("{}0\r\n\r\n", "1;ext\r\n \r\n".repeat(100_000)),
    ] {
        let mut client = server.connect();
        client.send(start);
        let _ = client.try_send(&endless);
        let response = client.read(Expected::Body);
        let shown = &endless[..20];
        assert!(
            [400, 413, 431].contains(&response.status),
            "{shown:?}: {response:?}"
        );
        assert_error(&response, response.status);
    }
    assert_error(&server.connect().get("/docs/1"), 404);
}

#[test]
fn another_version_is_505() {
    let data = TempDir::new();
    let server = serve(&data);
    for line in [
        "GET / HTTP/2.0",
        "GET / HTTP/0.9",
        "GET / HTTP/3.0",
        "PRI * HTTP/2.0",
    ] {
        let mut client = server.connect();
        client.send(format!("{line}\r\nHost: a\r\n\r\n"));
        assert_error(&client.read(Expected::Body), 505);
        client.expect_closed();
    }
}

#[test]
fn what_is_not_http_is_400_and_closed() {
    let data = TempDir::new();
    let server = serve(&data);
    let tls_hello = [
        0x16, 0x03, 0x01, 0x00, 0x2f, 0x01, 0x00, 0x00, 0x2b, 0x03, 0x03, 0x01, 0x02, 0x03, 0x04,
        0x05,
    ];
    let garbage: &[&[u8]] = &[
        &tls_hello,
        b"\0\0\0\0\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"{\"id\":1}\r\n\r\n",
        b"\x80\x80\x80\x80\r\n\r\n",
    ];
    for bytes in garbage {
        let mut client = server.connect();
        client.send(bytes);
        let response = client.read(Expected::Body);
        assert_error(&response, 400);
        client.expect_closed();
    }
}

#[test]
fn slow_clients_meet_their_timeouts() {
    let data = TempDir::new();
    let server = Launch::serve(data.path())
        .cores(2)
        .args(&[
            "--head-timeout-ms",
            "300",
            "--body-timeout-ms",
            "300",
            "--idle-timeout-ms",
            "600",
        ])
        .start();
    // A head that does not end, also behind a good request, and also when bytes trickle.
    let mut client = server.connect();
    client.send("GET /docs/1 HTTP/1.1\r\nHost: a");
    assert_error(&client.read(Expected::Body), 408);
    client.expect_closed();
    let mut client = server.connect();
    assert_eq!(client.put("/docs/1", "1").status, 201);
    client.send("GET");
    assert_error(&client.read(Expected::Body), 408);
    client.expect_closed();
    // A body that does not come.
    let mut client = server.connect();
    client.send("PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n[1");
    assert_error(&client.read(Expected::Body), 408);
    client.expect_closed();
    let mut client = server.connect();
    client.send("PUT /docs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n");
    assert_error(&client.read(Expected::Body), 408);
    client.expect_closed();
    // Nothing at all: closed without a word.
    let mut fresh = server.connect();
    let mut used = server.connect();
    assert_eq!(used.get("/docs/1").text(), "1");
    let started = Instant::now();
    fresh.expect_closed();
    used.expect_closed();
    assert!(
        started.elapsed() > Duration::from_millis(200),
        "closed too early"
    );
}

#[test]
fn a_peer_that_does_not_read_is_dropped_and_disturbs_nobody() {
    let data = TempDir::new();
    let server = Launch::serve(data.path())
        .cores(1)
        .args(&["--write-timeout-ms", "500"])
        .start();
    let mut neighbour = server.connect();
    let megabyte = format!("\"{}\"", "x".repeat(1 << 20));
    assert_eq!(neighbour.put("/docs/big", &megabyte).status, 201);
    let mut greedy = server.connect();
    let requests = 100;
    greedy.send(request("GET", "/docs/big", &[], b"").repeat(requests));
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        assert_error(&neighbour.get("/docs/none"), 404);
        assert!(
            asked.elapsed() < Duration::from_secs(1),
            "the neighbour starves"
        );
    }
    // What was under way in the kernel may still come, but not all of it.
    let answered = (0..requests)
        .take_while(|_| greedy.try_read(Expected::Body).is_ok())
        .count();
    assert!(
        answered < requests,
        "a peer that read nothing was waited for"
    );
    assert_eq!(neighbour.get("/docs/big").body.len(), megabyte.len());
}

#[test]
fn more_connections_than_allowed_do_not_harm_those_that_are() {
    let data = TempDir::new();
    let server = Launch::serve(data.path())
        .cores(2)
        .args(&["--connections-max", "16"])
        .start();
    let mut first = server.connect();
    assert_eq!(first.put("/docs/1", "1").status, 201);
    let mut others: Vec<Client> = (0..64).map(|_| server.connect()).collect();
    assert_eq!(first.get("/docs/1").text(), "1");
    // Once the crowd has gone, new ones are served.
    others.clear();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut client = server.connect();
        if client.try_send(request("GET", "/docs/1", &[], b"")).is_ok()
            && client
                .try_read(Expected::Body)
                .is_ok_and(|response| response.status == 200)
        {
            break;
        }
        assert!(Instant::now() < deadline, "no new connection is served");
    }
}
