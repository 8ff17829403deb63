//! Edits of documents over the wire: what is acknowledged is counted, on every
//! core and across a kill -9.

mod support;

use std::sync::{
    Barrier, Mutex,
    atomic::{AtomicI64, Ordering},
};

use support::{
    assert_error, assert_error_naming,
    client::{Client, Expected, Response, request},
    json,
    random::{Random, seed},
    server::{Launch, Server, Signal, TempDir},
};

fn serve(data: &TempDir) -> Server {
    Launch::serve(data.path()).cores(2).start()
}

#[test]
fn a_counter_is_made_counted_and_refused_over_the_wire() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    for id in ["1", "2", "3", "name"] {
        let target = format!("/docs/{id}/increment");
        let shown = if id == "name" { "\"name\"" } else { id };
        assert_error(&client.post(&target, ""), 404);
        let response = client.post(&target, r#"{"default":0}"#);
        assert_eq!(response.status, 201, "{response:?}");
        assert_eq!(response.text(), format!(r#"{{"id":{shown},"value":1}}"#));
        let place = format!("/docs/{id}");
        assert_eq!(response.header("location"), Some(place.as_str()));
        let first = response.etag();
        let response = client.post(&target, r#"{"by":41}"#);
        assert_eq!(response.text(), format!(r#"{{"id":{shown},"value":42}}"#));
        assert_eq!(client.get(&place).text(), "42");
        let etag = client.get(&place).etag();
        assert_eq!(etag, response.etag());
        assert_ne!(etag, first);
        let stale = [("If-Match", first.as_str())];
        assert_error(&client.request("POST", &target, &stale, "{}"), 412);
        let fresh = [("If-Match", etag.as_str())];
        let response = client.request("POST", &target, &fresh, r#"{"by":0}"#);
        assert_eq!((response.status, response.etag()), (200, etag));
        let overflow = client.post(&target, r#"{"by":9223372036854775807}"#);
        assert_error_naming(&overflow, 409, &["64 bits"]);
        assert_error(&client.post(&target, r#"{"pointer":"/n"}"#), 404);
        assert_eq!(client.get(&place).text(), "42");
        assert_eq!(client.put(&place, r#"{"x":[1.50]}"#).status, 200);
        assert_error(&client.post(&target, ""), 409);
        let response = client.post(&target, r#"{"pointer":"/n","by":5,"default":0}"#);
        assert_eq!(response.status, 200);
        assert_eq!(client.get(&place).text(), r#"{"x":[1.50],"n":5}"#);
    }
    let response = client.plain("GET", "/docs/1/increment", "");
    assert_error(&response, 405);
    assert_eq!(response.header("allow"), Some("POST, OPTIONS"));
}

#[test]
fn an_edit_leaves_no_document_larger_than_a_body_may_be() {
    let data = TempDir::new();
    let launch = Launch::serve(data.path()).cores(1);
    let server = launch.args(&["--body-bytes-max", "64"]).start();
    let mut client = server.connect();
    let full = format!(r#"{{"a":"{}"}}"#, "x".repeat(56));
    assert_eq!(full.len(), 64);
    assert_eq!(client.put("/docs/1", &full).status, 201);
    let response = client.post("/docs/1/increment", r#"{"pointer":"/n","default":0}"#);
    assert_error(&response, 413);
    assert_eq!(json(&response.body)["error"], "edit_too_large");
    assert_eq!(client.get("/docs/1").text(), full);
}

/// Increments one counter on several connections at once until the server is gone or each has
/// sent its share, and notes how many were sent and acknowledged.
fn count_up(
    server: &Server,
    connections: usize,
    each: usize,
    tally: &Tally,
    kill_after: Option<i64>,
) {
    let start = Barrier::new(connections);
    let acknowledged_before = tally.acknowledged.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections)
            .map(|_| {
                let start = &start;
                scope.spawn(move || {
                    let client = Client::try_connect(server.address);
                    start.wait();
                    if let Ok(client) = client {
                        increment_on(client, each, tally);
                    }
                })
            })
            .collect();
        if let Some(answers) = kill_after {
            let is_over = || workers.iter().all(|worker| worker.is_finished());
            let acknowledged = || tally.acknowledged.load(Ordering::Relaxed);
            while acknowledged() < acknowledged_before + answers && !is_over() {
                std::thread::yield_now();
            }
            server.signal(Signal::KILL);
        }
    });
}

#[derive(Default)]
struct Tally {
    sent: AtomicI64,
    acknowledged: AtomicI64,
    /// The sums that were answered.
    sums: Mutex<Vec<i64>>,
}

fn increment_on(mut client: Client, each: usize, tally: &Tally) {
    let bytes = request(
        "POST",
        "/docs/counter/increment",
        &[],
        br#"{"pointer":"/n","default":0}"#,
    );
    let mut last = 0;
    for _ in 0..each {
        tally.sent.fetch_add(1, Ordering::Relaxed);
        let sent = client.try_send(&bytes);
        let Some(response) = sent
            .ok()
            .and_then(|()| client.try_read(Expected::Body).ok())
        else {
            return;
        };
        assert!(matches!(response.status, 200 | 201), "{response:?}");
        let value = json(&response.body)["value"].as_i64().expect("an integer");
        assert!(value > last, "{value} after {last} on one connection");
        last = value;
        tally.sums.lock().expect("no panic").push(value);
        tally.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

fn counted(server: &Server) -> i64 {
    let response = server.connect().get("/docs/counter?pointer=/n");
    match response.status {
        404 => 0,
        _ => response.text().parse().expect("an integer"),
    }
}

#[test]
fn no_increment_is_lost_between_cores() {
    let data = TempDir::new();
    let server = serve(&data);
    let tally = Tally::default();
    count_up(&server, 8, 250, &tally, None);
    assert_eq!(tally.acknowledged.load(Ordering::Relaxed), 8 * 250);
    assert_eq!(counted(&server), 8 * 250);
    let mut sums = tally.sums.into_inner().expect("no panic");
    sums.sort_unstable();
    assert!(
        sums.into_iter().eq(1..=8 * 250),
        "each sum is answered once"
    );
    server.stop();
}

#[test]
fn an_acknowledged_increment_survives_kill_9_and_none_counts_twice() {
    let seed = seed();
    println!("OXDAAS_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    let data = TempDir::new();
    let tally = Tally::default();
    for _ in 0..3 {
        let server = Launch::serve(data.path()).small_segments().cores(2).start();
        let answers = i64::try_from(random.below(600)).expect("small");
        count_up(&server, 8, 200, &tally, Some(answers));
        server.await_end();
    }
    let server = serve(&data);
    let count = counted(&server);
    let acknowledged = tally.acknowledged.load(Ordering::Relaxed);
    let sent = tally.sent.load(Ordering::Relaxed);
    assert!(
        (acknowledged..=sent).contains(&count),
        "{count} counted, {acknowledged} acknowledged, {sent} sent"
    );
    let mut sums = tally.sums.into_inner().expect("no panic");
    sums.sort_unstable();
    let is_once = sums.is_sorted_by(|a, b| a < b);
    assert!(is_once, "no sum is answered twice, also across restarts");
}

const MERGE: (&str, &str) = ("Content-Type", "application/merge-patch+json");
const JSON: (&str, &str) = ("Content-Type", "application/json-patch+json");

#[test]
fn patches_change_documents_of_all_cores_where_they_name_them() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    let document = r#"{"z":100000000000000000001,"a":{"\u0041":1e400,"b":1.0},"k":[1,2]}"#;
    for n in 0..20 {
        let target = format!("/docs/{n}");
        let mut patch = |kind, body: &str| client.request("PATCH", &target, &[kind], body);
        assert_error(&patch(MERGE, "{}"), 404);
        assert_error(&patch(JSON, "[]"), 404);
        let created = client.request("PATCH", &target, &[MERGE, ("If-None-Match", "*")], document);
        assert_eq!(created.status, 201, "{created:?}");
        assert_eq!(created.header("location"), Some(target.as_str()));
        let mut patch = |kind, body: &str| client.request("PATCH", &target, &[kind], body);
        let merged = patch(MERGE, &format!(r#" {{"a": {{"b": null, "n": {n}}}}} "#));
        assert_eq!(
            (merged.status, merged.text()),
            (200, format!(r#"{{"id":{n}}}"#).as_str())
        );
        assert_ne!(merged.etag(), created.etag());
        let unchanged = patch(MERGE, r#"{"k":[1,2],"none":null}"#);
        assert_eq!((unchanged.status, unchanged.etag()), (200, merged.etag()));
        let test_fails =
            r#"[{"op":"add","path":"/k/0","value":0},{"op":"test","path":"/k/0","value":1}]"#;
        let failed = patch(JSON, test_fails);
        assert_error_naming(&failed, 409, &["patch[1]"]);
        assert_eq!(json(&failed.body)["error"], "test_failed");
        let nowhere = patch(JSON, r#"[{"op":"remove","path":"/none"}]"#);
        assert_eq!(json(&nowhere.body)["error"], "edit_conflict");
        let etag = merged.etag();
        let fields = [JSON, ("If-Match", etag.as_str())];
        let body = r#"[{"op":"test","path":"/k/1","value":2.0},{"op":"move","from":"/k/1","path":"/k/0"}]"#;
        let moved = client.request("PATCH", &target, &fields, body);
        assert_eq!(moved.status, 200, "{moved:?}");
        assert_error(&client.request("PATCH", &target, &fields, body), 412);
        let stored = client.get(&target);
        assert_eq!(stored.etag(), moved.etag());
        let expected =
            format!(r#"{{"z":100000000000000000001,"a":{{"\u0041":1e400,"n":{n}}},"k":[2,1]}}"#);
        assert_eq!(stored.text(), expected);
    }
    let undeclared = client.request("PATCH", "/docs/1", &[], "{}");
    assert_error(&undeclared, 415);
    let kinds = "application/merge-patch+json, application/json-patch+json";
    assert_eq!(undeclared.header("accept-patch"), Some(kinds));
    let options = client.plain("OPTIONS", "/docs/1", "");
    assert_eq!(options.header("accept-patch"), Some(kinds));
    assert!(
        options
            .header("allow")
            .is_some_and(|allow| allow.contains("PATCH"))
    );
    assert_error(&client.request("PATCH", "/docs/1", &[JSON], "{}"), 400);
}

#[test]
fn patches_of_many_connections_all_take_effect_and_survive_kill_9() {
    let data = TempDir::new();
    let server = serve(&data);
    server.connect().put("/docs/list", "[]");
    let connections = 6;
    std::thread::scope(|scope| {
        for connection in 0..connections {
            let mut client = server.connect();
            scope.spawn(move || {
                for n in 0..40 {
                    let patch =
                        format!(r#"[{{"op":"add","path":"/-","value":"{connection} {n}"}}]"#);
                    let response = client.request("PATCH", "/docs/list", &[JSON], &patch);
                    assert_eq!(response.status, 200, "{response:?}");
                }
            });
        }
    });
    server.kill();
    let server = serve(&data);
    let list = json(&server.connect().get("/docs/list").body);
    let list = list.as_array().expect("a list");
    assert_eq!(list.len(), connections * 40);
    for connection in 0..connections {
        let own = format!("{connection} ");
        let own = list
            .iter()
            .filter_map(|entry| entry.as_str()?.strip_prefix(&own));
        assert!(own.eq((0..40).map(|n| n.to_string())), "in the order sent");
    }
}

#[test]
fn a_write_is_answered_with_what_its_client_prefers_to_see() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    let whole = ("Prefer", "return=representation");
    let minimal = ("Prefer", "respond-async, return=minimal");
    for n in 0..8 {
        let target = format!("/docs/{n}");
        let put = client.request("PUT", &target, &[minimal], r#"{"a":1,"b":1.50}"#);
        assert_eq!((put.status, put.text()), (201, ""));
        assert_eq!(put.header("location"), Some(target.as_str()));
        let applied = |response: &Response| {
            let applied = response.header("preference-applied");
            applied.map(ToOwned::to_owned).unwrap_or_default()
        };
        assert_eq!(applied(&put), "return=minimal");
        // Equal as JSON: what is stored stays, and that is shown.
        let again = client.request("PUT", &target, &[whole], r#"{"b":1.50,"a":1}"#);
        assert_eq!((again.status, again.text()), (200, r#"{"a":1,"b":1.50}"#));
        assert_eq!(
            (again.etag(), applied(&again)),
            (put.etag(), "return=representation".to_owned())
        );
        assert_eq!(again.header("content-location"), Some(target.as_str()));
        let patch = client.request("PATCH", &target, &[MERGE, whole], r#"{"a":[]}"#);
        assert_eq!((patch.status, patch.text()), (200, r#"{"a":[],"b":1.50}"#));
        assert_eq!(patch.etag(), client.get(&target).etag());
        let increment = format!("{target}/increment");
        let body = r#"{"pointer":"/n","default":6}"#;
        let counted = client.request("POST", &increment, &[whole], body);
        assert_eq!(counted.text(), r#"{"a":[],"b":1.50,"n":7}"#);
        let counted = client.request("POST", &increment, &[minimal], body);
        assert_eq!((counted.status, counted.text()), (204, ""));
        assert_eq!(client.get(&format!("{target}?pointer=/n")).text(), "8");
    }
    let created = client.request("POST", "/docs", &[whole], " [ 1.0 ] ");
    assert_eq!((created.status, created.text()), (201, "[1.0]"));
    let place = created
        .header("location")
        .expect("it has a place")
        .to_owned();
    assert_eq!(client.get(&place).text(), "[1.0]");
}
