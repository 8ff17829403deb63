//! `POST /batch` with `"atomic":true`: all of its operations take effect or none does, nobody
//! sees a part of them, and no crash leaves one.

mod support;

use std::{
    collections::BTreeSet,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use oxdaas::limits::{ATOMIC_BYTES_MAX, BATCH_OPS_MAX, RESPONSE_BYTES_MAX};
use serde_json::{Value, json};
use support::{
    assert_error_naming,
    client::{Client, Expected, Response, request},
    json,
    random::{Random, seed},
    server::{Launch, Server, TempDir},
};

fn serve(data: &TempDir, cores: u32) -> Server {
    Launch::serve(data.path()).cores(cores).start()
}

fn body(ops: &str) -> String {
    format!(r#"{{"atomic":true,"ops":[{ops}]}}"#)
}

fn ask(client: &mut Client, ops: &str) -> Response {
    client.post("/batch", body(ops))
}

/// The results of a batch that takes effect.
#[track_caller]
fn results(client: &mut Client, ops: &str) -> Vec<Value> {
    let response = ask(client, ops);
    assert_eq!(response.status, 200, "{response:?}");
    json(&response.body)["results"]
        .as_array()
        .expect("a list")
        .clone()
}

#[track_caller]
fn statuses(client: &mut Client, ops: &str) -> Vec<u64> {
    let results = results(client, ops);
    let status = |result: &Value| result["status"].as_u64().expect("a status");
    results.iter().map(status).collect()
}

/// An ETag as it stands in a JSON string.
fn quoted(etag: &str) -> String {
    etag.replace('"', r#"\""#)
}

#[test]
fn operations_of_all_kinds_go_on_from_one_another_on_every_core() {
    for cores in [1, 3] {
        let data = TempDir::new();
        let server = serve(&data, cores);
        let mut client = server.connect();
        let mut ops = Vec::new();
        for id in 0..12 {
            ops.push(format!(r#"{{"get":{{"id":{id}}}}}"#));
            ops.push(format!(
                r#"{{"put":{{"id":{id},"data":{{"n": 1.50}},"if_none_match":"*"}}}}"#
            ));
            ops.push(format!(r#"{{"put":{{"id":{id},"data":{{"n":1.50}}}}}}"#));
            ops.push(format!(
                r#"{{"patch":{{"id":{id},"merge":{{"n":{id}}},"if_match":"*"}}}}"#
            ));
            ops.push(format!(
                r#"{{"increment":{{"id":{id},"pointer":"/n","by":5}}}}"#
            ));
            ops.push(format!(r#"{{"get":{{"id":{id},"if_match":"*"}}}}"#));
            ops.push(format!(
                r#"{{"put":{{"id":"gone-{id}","data":1,"ttl":60}}}}"#
            ));
            ops.push(format!(r#"{{"get":{{"id":"gone-{id}"}}}}"#));
            ops.push(format!(r#"{{"delete":{{"id":"gone-{id}"}}}}"#));
            ops.push(format!(
                r#"{{"get":{{"id":"gone-{id}","if_none_match":"*"}}}}"#
            ));
        }
        let response = ask(&mut client, &ops.join(","));
        assert_eq!(response.status, 200, "{response:?}");
        assert!(response.header("log-position").is_some());
        let answer = json(&response.body);
        let results = answer["results"].as_array().expect("a list");
        for (id, results) in (0..12).zip(results.chunks(10)) {
            let statuses = results.iter().map(|result| result["status"].as_u64());
            let expected = [404, 201, 200, 200, 200, 200, 201, 200, 204, 404].map(Some);
            assert!(statuses.eq(expected), "{cores} cores: {results:?}");
            assert_eq!(results[1]["etag"], results[2]["etag"], "an equal document");
            assert_eq!(results[4]["value"], id + 5);
            assert_eq!(results[5]["data"], json!({"n": id + 5}));
            assert_eq!(results[5]["etag"], results[4]["etag"]);
            let ttl = results[7]["ttl"].as_f64().expect("seconds");
            assert!((30.0..=60.0).contains(&ttl), "{ttl}");
            let read = client.get(&format!("/docs/{id}"));
            assert_eq!(read.etag(), results[5]["etag"]);
            assert_eq!(client.get(&format!("/docs/gone-{id}")).status, 404);
        }
        assert_eq!(
            ask(&mut client, "").text(),
            r#"{"results":[]}"#,
            "nothing is done at once"
        );
        let equal = ask(&mut client, r#"{"put":{"id":1,"data":{"n":6}}}"#);
        assert!(equal.header("log-position").is_some());
        server.kill();
        let server = serve(&data, 4 - cores);
        let mut client = server.connect();
        for id in 0..12 {
            let found = client.get(&format!("/docs/{id}")).text().to_owned();
            assert_eq!(found, format!(r#"{{"n":{}}}"#, id + 5));
        }
        server.stop();
    }
}

#[test]
fn when_one_operation_fails_nothing_is_applied_and_the_answer_says_which_and_why() {
    for cores in [1, 3] {
        let data = TempDir::new();
        let server = serve(&data, cores);
        let mut client = server.connect();
        client.put("/docs/1", r#"{"n":1,"text":"a"}"#);
        client.put("/docs/max", "9223372036854775807");
        let tag = quoted(&client.get("/docs/1").etag());
        for (op, status, code, word) in [
            (
                r#"{"put":{"id":1,"data":2,"if_match":"\"0\""}}"#,
                412,
                "precondition_failed",
                "If-Match",
            ),
            (
                r#"{"put":{"id":1,"data":2,"if_none_match":"*"}}"#,
                412,
                "precondition_failed",
                "ETag",
            ),
            (
                r#"{"delete":{"id":1,"if_match":"\"0\""}}"#,
                412,
                "precondition_failed",
                "ETag",
            ),
            (
                r#"{"get":{"id":1,"if_match":"\"0\""}}"#,
                412,
                "precondition_failed",
                "ETag",
            ),
            (
                r#"{"get":{"id":1,"if_none_match":"*"}}"#,
                412,
                "precondition_failed",
                "ETag",
            ),
            (
                r#"{"get":{"id":2,"if_match":"*"}}"#,
                412,
                "precondition_failed",
                "ETag",
            ),
            (r#"{"delete":{"id":2}}"#, 404, "not_found", "no document 2"),
            (
                r#"{"patch":{"id":2,"merge":{}}}"#,
                404,
                "not_found",
                "no document 2",
            ),
            (
                r#"{"increment":{"id":2}}"#,
                404,
                "not_found",
                "no document 2",
            ),
            (
                r#"{"patch":{"id":1,"json_patch":[{"op":"test","path":"/n","value":2}]}}"#,
                409,
                "test_failed",
                "patch[0]",
            ),
            (
                r#"{"patch":{"id":1,"json_patch":[{"op":"remove","path":"/x"}]}}"#,
                409,
                "edit_conflict",
                "patch[0]",
            ),
            (
                r#"{"increment":{"id":1,"pointer":"/text"}}"#,
                409,
                "not_an_integer",
                "integer",
            ),
            (
                r#"{"increment":{"id":"max"}}"#,
                409,
                "integer_overflow",
                "64",
            ),
        ] {
            // Writes on every core, before and behind it.
            let writes = |from: i64| {
                let write = |n| format!(r#"{{"put":{{"id":{n},"data":7}}}}"#);
                (from..from + 20).map(write).collect::<Vec<_>>().join(",")
            };
            let ops = format!(
                r#"{},{{"patch":{{"id":"max","merge":{{}}}}}},{op},{{"delete":{{"id":"nobody"}}}},{}"#,
                writes(100),
                writes(200)
            );
            let ops = match op.contains("max") {
                true => ops.replace(
                    r#"{"patch":{"id":"max","merge":{}}}"#,
                    r#"{"get":{"id":9}}"#,
                ),
                false => ops,
            };
            let response = ask(&mut client, &ops);
            assert_error_naming(&response, status, &[word]);
            assert_error_naming(&response, status, &["ops[21]"]);
            let answer = json(&response.body);
            assert_eq!(answer["error"], code, "{op}");
            assert_eq!(answer["index"], 21, "{op}");
            for id in (100..120).chain(200..220) {
                assert_eq!(client.get(&format!("/docs/{id}")).status, 404, "{op}");
            }
            assert_eq!(client.get("/docs/max").text(), "9223372036854775807");
            assert_eq!(quoted(&client.get("/docs/1").etag()), tag, "{op}");
        }
        let both = format!(
            r#"{{"get":{{"id":1,"if_match":"{tag}"}}}},{{"put":{{"id":2,"data":2,"if_none_match":"*"}}}}"#
        );
        assert_eq!(statuses(&mut client, &both), [200, 201]);
        assert_eq!(ask(&mut client, &both).status, 412, "now there is one");
        server.stop();
    }
}

#[test]
fn a_batch_that_is_malformed_or_too_large_is_refused_whole() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    for (body, words) in [
        (r#"{"ops":[],"atomic":1}"#, &["atomic", "true"][..]),
        (r#"{"ops":[],"atomic":null}"#, &["atomic"]),
        (r#"{"ops":[],"atomic":"true"}"#, &["atomic"]),
        (r#"{"ops":[],"atomic":true,"atomic":true}"#, &["twice"]),
        (r#"{"atomic":true}"#, &["ops is missing"]),
        (
            r#"{"atomic":true,"ops":[{"put":{"id":1,"data":1}},{"get":{}}]}"#,
            &["ops[1]", "id"],
        ),
    ] {
        for word in words {
            assert_error_naming(&client.post("/batch", body), 400, &[word]);
        }
    }
    let separate = client.post("/batch", r#"{"atomic":false,"ops":[{"delete":{"id":1}}]}"#);
    assert_eq!(json(&separate.body)["results"][0]["status"], 404);
    // Each increment writes the whole document.
    let long = format!(r#"{{"n":1,"long":"{}"}}"#, "x".repeat(7 << 20));
    client.put("/docs/a", &long);
    client.put("/docs/b", &long);
    client.put("/docs/c", &long);
    let count = ATOMIC_BYTES_MAX / long.len() + 1;
    let increments = vec![r#"{"increment":{"id":"a","pointer":"/n"}}"#; count].join(",");
    let response = ask(&mut client, &increments);
    let bound = ATOMIC_BYTES_MAX.to_string();
    assert_error_naming(&response, 413, &[&bound]);
    assert_error_naming(&response, 413, &[&format!("ops[{}]", count - 1)]);
    assert_eq!(json(&response.body)["error"], "batch_too_large");
    // An answer without a document would be no snapshot.
    let reads =
        r#"{"put":{"id":1,"data":1}},{"get":{"id":"a"}},{"get":{"id":"b"}},{"get":{"id":"c"}}"#;
    let response = ask(&mut client, reads);
    assert_error_naming(&response, 413, &[&RESPONSE_BYTES_MAX.to_string()]);
    assert_eq!(json(&response.body)["error"], "response_full");
    assert_eq!(json(&response.body)["index"], 3);
    assert_eq!(client.get("/docs/1").status, 404);
    assert_eq!(client.get("/docs/a?pointer=/n").text(), "1");
    server.kill();
    // In a segment of its own.
    let server = Launch::serve(data.path())
        .cores(1)
        .args(&["--segment-bytes", "4096"])
        .start();
    let increment = r#"{"increment":{"id":"a","pointer":"/n"}}"#;
    let increments = format!("{increment},{increment}");
    assert_eq!(statuses(&mut server.connect(), &increments), [200, 200]);
    server.kill();
    let server = serve(&data, 1);
    let found = server.connect().get("/docs/a?pointer=/n").text().to_owned();
    assert_eq!(found, "3");
    server.stop();
}

#[test]
fn the_server_chooses_ids_that_are_free_also_of_those_that_the_batch_names() {
    for cores in [1, 2] {
        let data = TempDir::new();
        let server = serve(&data, cores);
        let mut client = server.connect();
        client.put("/docs/2", "0");
        let creates = r#"{"put":{"data":"a"}},{"put":{"id":1,"data":"own"}},
            {"put":{"id":null,"data":"b"}},{"put":{"id":4,"data":"own"}},{"put":{"data":"c"}}"#;
        let failing = format!(r#"{creates},{{"delete":{{"id":"nobody"}}}}"#);
        let response = ask(&mut client, &failing);
        assert_eq!(json(&response.body)["index"], 5, "{response:?}");
        let results = results(&mut client, creates);
        let ids: Vec<i64> = results
            .iter()
            .map(|result| {
                assert_eq!(result["status"], 201, "{result}");
                result["id"].as_i64().expect("an integer")
            })
            .collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 5, "{ids:?}");
        for (id, document) in ids.iter().zip(["a", "own", "b", "own", "c"]) {
            let text = client.get(&format!("/docs/{id}")).text().to_owned();
            assert_eq!(text, format!("\"{document}\""), "{ids:?}");
        }
        assert_eq!(client.get("/docs/2").text(), "0");
        server.kill();
        let server = serve(&data, cores);
        let mut client = server.connect();
        let next = client.post("/docs", "1");
        let id = json(&next.body)["id"].as_i64().expect("an integer");
        assert!(!ids.contains(&id) && id != 2, "{id} in {ids:?}");
        server.stop();
    }
}

#[test]
fn the_largest_batch_takes_effect_whole_and_survives_a_kill() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    let op = |n: usize| format!(r#"{{"put":{{"id":{n},"data":[{n}],"if_none_match":"*"}}}}"#);
    let ops: Vec<String> = (0..BATCH_OPS_MAX).map(op).collect();
    client.put("/docs/9999", "1");
    assert_eq!(ask(&mut client, &ops.join(",")).status, 412);
    client.delete("/docs/9999");
    let results = results(&mut client, &ops.join(","));
    assert!(results.iter().all(|result| result["status"] == 201));
    server.kill();
    let server = serve(&data, 1);
    let mut client = server.connect();
    for id in [0, 1, 777, 5000, 9999] {
        let found = client.get(&format!("/docs/{id}")).text().to_owned();
        assert_eq!(found, format!("[{id}]"));
    }
    server.stop();
}

#[test]
fn requests_of_a_connection_around_a_batch_take_effect_in_order() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    let mut requests = Vec::new();
    for n in 0..40 {
        let ops = format!(r#"{{"get":{{"id":1}}}},{{"put":{{"id":2,"data":{n}}}}}"#);
        requests.extend(request("PUT", "/docs/1", &[], n.to_string().as_bytes()));
        requests.extend(request("POST", "/batch", &[], body(&ops).as_bytes()));
        requests.extend(request("GET", "/docs/2", &[], b""));
    }
    client.send(requests);
    for n in 0..40 {
        assert!(client.read(Expected::Body).status < 300);
        let results = json(&client.read(Expected::Body).body);
        assert_eq!(results["results"][0]["data"], n);
        assert_eq!(client.read(Expected::Body).text(), n.to_string());
    }
}

#[test]
fn an_expired_document_is_gone_for_a_batch_and_its_removal_is_in_the_log() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    for id in 0..8 {
        client.put(&format!("/docs/{id}?ttl=0.05"), "1");
    }
    let ops: Vec<String> = (0..8)
        .map(|id| format!(r#"{{"get":{{"id":{id}}}}}"#))
        .collect();
    let all_gone = || {
        let statuses = statuses(&mut server.connect(), &ops.join(","));
        statuses.iter().all(|status| *status == 404)
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(100);
    while !all_gone() {
        assert!(std::time::Instant::now() < deadline, "they have expired");
    }
    let created = r#"{"put":{"id":1,"data":2,"if_none_match":"*"}},{"increment":{"id":2,"default":4}},
        {"put":{"id":3,"data":3,"expires_at":1.5}},{"get":{"id":3}}"#;
    assert_eq!(statuses(&mut client, created), [201, 201, 201, 404]);
    assert_eq!(client.get("/docs/3").status, 404);
    assert_eq!(client.get("/docs/2").text(), "5");
    server.kill();
    let server = serve(&data, 1);
    let mut client = server.connect();
    assert_eq!(client.get("/docs/1").text(), "2");
    assert_eq!(client.get("/docs/3").status, 404);
    server.stop();
}

#[test]
fn a_batch_is_answered_as_early_as_its_durability_says_and_never_shown_too_early() {
    for (fsync, durability) in [
        ("always", "logged"),
        ("never", "synced"),
        ("everysec", "synced"),
    ] {
        let data = TempDir::new();
        let launch = Launch::serve(data.path()).cores(2);
        let server = launch.args(&["--fsync", fsync]).start();
        let mut client = server.connect();
        let fields = [("Durability", durability)];
        for n in 0..50 {
            let ops = format!(
                r#"{{"put":{{"id":1,"data":{n}}}}},{{"put":{{"id":2,"data":{n}}}}},{{"put":{{"id":3,"data":0}}}}"#
            );
            let response = client.request("POST", "/batch", &fields, body(&ops));
            assert_eq!(response.status, 200, "{response:?}");
            assert!(response.header("log-position").is_some());
            for id in [2, 1] {
                assert_eq!(client.get(&format!("/docs/{id}")).text(), n.to_string());
            }
            // Nothing to write, and yet it is to be on disk.
            let response = client.request("POST", "/batch", &fields, body(&ops));
            assert_eq!(response.status, 200, "{response:?}");
        }
        server.stop();
    }
}

#[test]
fn changes_of_a_batch_follow_one_another() {
    let data = TempDir::new();
    let server = serve(&data, 3);
    let rounds = 60;
    thread::scope(|scope| {
        for writer in 0..3 {
            let mut client = server.connect();
            scope.spawn(move || {
                for n in 0..rounds {
                    let put =
                        |m| format!(r#"{{"put":{{"id":"{writer}-{m}","data":[{writer},{n}]}}}}"#);
                    let ops: Vec<String> = (0..5).map(put).collect();
                    assert_eq!(ask(&mut client, &ops.join(",")).status, 200);
                }
            });
            let mut client = server.connect();
            scope.spawn(move || {
                for n in 0..rounds {
                    client.put(&format!("/docs/{}", writer * 1000 + n), "0");
                }
            });
        }
    });
    let mut client = server.connect();
    let lines = client.get("/changes?since=0&wait=0").text().to_owned();
    let changes: Vec<Value> = lines.lines().map(|line| json(line.as_bytes())).collect();
    let groups: Vec<&Value> = (changes.iter().map(|change| &change["data"]))
        .filter(|data| data.is_array())
        .collect();
    assert_eq!(groups.len(), 3 * 5 * rounds);
    let mut at = 0;
    while at < changes.len() {
        let data = &changes[at]["data"];
        if !data.is_array() {
            at += 1;
            continue;
        }
        for change in &changes[at..at + 5] {
            assert_eq!(&change["data"], data, "in between at {at}");
        }
        at += 5;
    }
    server.stop();
}

/// Counters on all cores, which batches and single requests change at the same time.
const COUNTERS: usize = 6;
/// What a single increment adds, so that a counter says how many there were of both kinds.
const SINGLE: i64 = 1_000_000;

#[test]
fn what_others_write_between_the_vote_and_the_end_of_a_batch_is_not_lost_nor_half_of_it_read() {
    let data = TempDir::new();
    let server = serve(&data, 3);
    let target = |n: usize| format!("/docs/counter-{n}");
    let (writers, rounds) = (3, 60);
    for n in 0..COUNTERS {
        assert_eq!(server.connect().put(&target(n), "0").status, 201);
    }
    let running = AtomicUsize::new(2 * writers);
    thread::scope(|scope| {
        for _ in 0..writers {
            let (running, mut client) = (&running, server.connect());
            scope.spawn(move || {
                let one = |n| format!(r#"{{"increment":{{"id":"counter-{n}"}}}}"#);
                let ops: Vec<String> = (0..COUNTERS).map(one).collect();
                for _ in 0..rounds {
                    assert_eq!(ask(&mut client, &ops.join(",")).status, 200);
                }
                running.fetch_sub(1, Ordering::SeqCst);
            });
            let mut client = server.connect();
            scope.spawn(move || {
                let by = format!(r#"{{"by":{SINGLE}}}"#);
                for n in (0..COUNTERS).cycle().take(COUNTERS * rounds) {
                    let response = client.post(&format!("{}/increment", target(n)), &by);
                    assert_eq!(response.status, 200, "{response:?}");
                }
                running.fetch_sub(1, Ordering::SeqCst);
            });
        }
        // Single reads, one after the other: whoever has seen a batch in one document finds it
        // in all that it reads after that.
        for from in 0..2 {
            let (running, mut client) = (&running, server.connect());
            scope.spawn(move || {
                let mut batches = 0;
                for n in (0..COUNTERS).cycle().skip(from) {
                    let read = client.get(&target(n)).text().to_owned();
                    let seen = read.parse::<i64>().expect("a counter") % SINGLE;
                    assert!(seen >= batches, "{seen} batches after {batches}");
                    batches = seen;
                    if running.load(Ordering::SeqCst) == 0 {
                        break;
                    }
                }
            });
        }
    });
    let each = i64::try_from(writers * rounds).expect("few");
    let expected = each * SINGLE + each;
    for n in 0..COUNTERS {
        let found = server.connect().get(&target(n)).text().to_owned();
        assert_eq!(found, expected.to_string(), "counter {n}");
    }
    server.stop();
}

/// Accounts of the bank, on all cores.
const ACCOUNTS: usize = 24;
const AMOUNT: i64 = 1000;

fn account(n: usize) -> String {
    match n % 2 {
        0 => n.to_string(),
        _ => format!(r#""account-{n}""#),
    }
}

fn all_accounts() -> String {
    let get = |n| format!(r#"{{"get":{{"id":{}}}}}"#, account(n));
    (0..ACCOUNTS).map(get).collect::<Vec<_>>().join(",")
}

fn sum(response: &Response) -> i64 {
    let answer = json(&response.body);
    let results = answer["results"].as_array().expect("a list");
    let amounts = results.iter().map(|result| result["data"].as_i64());
    amounts.map(|amount| amount.expect("an amount")).sum()
}

/// Moves an amount between two accounts, in one of the ways there are; `None`: the server ended.
fn transfer(client: &mut Client, random: &mut Random) -> Option<u16> {
    let (from, to) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
    let by = 1 + random.below(9);
    let post = |client: &mut Client, ops: &str| {
        let request = request("POST", "/batch", &[], body(ops).as_bytes());
        client.try_send(request).ok()?;
        client.try_read(Expected::Body).ok()
    };
    let ops = match random.below(3) {
        0 => {
            let gets = format!(
                r#"{{"get":{{"id":{}}}}},{{"get":{{"id":{}}}}}"#,
                account(from),
                account(to)
            );
            let read = json(&post(client, &gets)?.body);
            let put = |n: usize, id: usize, by: i64| {
                let read = &read["results"][n];
                let amount = read["data"].as_i64().expect("an amount") + by;
                let etag = &read["etag"];
                let id = account(id);
                format!(r#"{{"put":{{"id":{id},"data":{amount},"if_match":{etag}}}}}"#)
            };
            if from == to {
                return Some(200);
            }
            let by = i64::try_from(by).expect("small");
            format!("{},{}", put(0, from, -by), put(1, to, by))
        }
        1 => format!(
            r#"{{"increment":{{"id":{},"by":-{by}}}}},{{"increment":{{"id":{},"by":{by}}}}}"#,
            account(from),
            account(to)
        ),
        // One that would move it in part, and fails.
        _ => format!(
            r#"{{"increment":{{"id":{},"by":-{by}}}}},{{"increment":{{"id":"nobody","by":{by}}}}}"#,
            account(from)
        ),
    };
    Some(post(client, &ops)?.status)
}

#[test]
fn money_moves_between_accounts_and_none_is_made_or_lost_whatever_happens() {
    let seed = seed();
    println!("repeat with OXDAAS_TEST_SEED={seed}");
    let data = TempDir::new();
    let launch = |cores| Launch::serve(data.path()).cores(cores).small_segments();
    let server = launch(2).start();
    let put = |n| format!(r#"{{"put":{{"id":{},"data":{AMOUNT}}}}}"#, account(n));
    let puts: Vec<String> = (0..ACCOUNTS).map(put).collect();
    assert_eq!(ask(&mut server.connect(), &puts.join(",")).status, 200);
    let total = AMOUNT * i64::try_from(ACCOUNTS).expect("few");
    let mut server = Some(server);
    for (life, cores) in [3, 1, 2, 4].into_iter().enumerate() {
        let running = server.take().expect("it is started");
        let (moved, seen) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let ended = AtomicBool::new(false);
        let begin = Barrier::new(9);
        let in_time = thread::scope(|scope| {
            let mut threads = Vec::new();
            for number in 0..5_u64 {
                let mut random = Random::new(seed ^ number << 8 ^ (life as u64) << 32);
                let mut client = running.connect();
                let (moved, begin, ended) = (&moved, &begin, &ended);
                threads.push(scope.spawn(move || {
                    begin.wait();
                    while let Some(status) = transfer(&mut client, &mut random) {
                        assert!([200, 412, 404].contains(&status), "{status}");
                        moved.fetch_add(usize::from(status == 200), Ordering::Relaxed);
                    }
                    assert!(ended.load(Ordering::SeqCst), "nobody ended the server");
                }));
            }
            for _ in 0..2 {
                let mut client = running.connect();
                let (seen, begin) = (&seen, &begin);
                threads.push(scope.spawn(move || {
                    begin.wait();
                    let bytes = request("POST", "/batch", &[], body(&all_accounts()).as_bytes());
                    while client.try_send(&bytes).is_ok() {
                        let Ok(response) = client.try_read(Expected::Body) else {
                            break;
                        };
                        assert_eq!(sum(&response), total, "half of a transfer was seen");
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                }));
            }
            // Writes that take no part in batches, on the same documents: they change nothing.
            let mut client = running.connect();
            let begin_patches = &begin;
            threads.push(scope.spawn(move || {
                begin_patches.wait();
                for n in 0.. {
                    let target = match n % ACCOUNTS {
                        n if n % 2 == 0 => format!("/docs/{n}/increment"),
                        n => format!("/docs/account-{n}/increment"),
                    };
                    let bytes = request("POST", &target, &[], br#"{"by":0}"#);
                    if client.try_send(bytes).is_err() || client.try_read(Expected::Body).is_err() {
                        break;
                    }
                }
            }));
            begin.wait();
            let deadline = std::time::Instant::now() + Duration::from_secs(300);
            let is_enough =
                || moved.load(Ordering::Relaxed) >= 150 && seen.load(Ordering::Relaxed) >= 30;
            // They end only once the server does: one that ended before has failed.
            let goes_on = || {
                std::time::Instant::now() < deadline
                    && !threads.iter().any(thread::ScopedJoinHandle::is_finished)
            };
            while !is_enough() && goes_on() {
                thread::yield_now();
            }
            let in_time = is_enough();
            ended.store(true, Ordering::SeqCst);
            running.kill();
            in_time
        });
        assert!(in_time, "it takes too long");
        let next = launch(cores).start();
        let response = ask(&mut next.connect(), &all_accounts());
        assert_eq!(sum(&response), total, "life {life}");
        server = Some(next);
    }
    server.expect("it is started").stop();
}
