//! Edits of documents over the wire: what is acknowledged is counted, on every
//! core and across a kill -9.

mod support;

use std::sync::{
    Barrier,
    atomic::{AtomicI64, Ordering},
};

use support::{
    assert_error, assert_error_naming,
    client::{Client, Expected, request},
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
}
