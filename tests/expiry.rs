//! Documents with a time to live: shown with what is left, gone to the millisecond, and for good.

mod support;

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use support::{
    assert_error_naming,
    client::{Client, Response},
    json,
    server::{Launch, PATIENCE, Server, TempDir},
};

fn serve(data: &TempDir, cores: u32) -> Server {
    Launch::serve(data.path()).cores(cores).start()
}

/// What `Expires-In` says, which is never zero and never without its three decimals.
#[track_caller]
fn left(response: &Response) -> Option<Duration> {
    let text = response.header("expires-in")?;
    let (seconds, decimals) = text.split_once('.').expect("decimals");
    assert_eq!(decimals.len(), 3, "{text}");
    let ms = seconds.parse::<u64>().expect("seconds") * 1000
        + decimals.parse::<u64>().expect("milliseconds");
    assert!(ms > 0, "{text}");
    Some(Duration::from_millis(ms))
}

/// Asks until the answer is a 404. An answer to a request that was sent after the moment that
/// an earlier answer promised at the latest must be one.
#[track_caller]
fn await_end(client: &mut Client, target: &str) {
    let (patience, mut end_at_latest) = (Instant::now() + PATIENCE, None::<Instant>);
    loop {
        let sent = Instant::now();
        let response = client.get(target);
        if response.status == 404 {
            return;
        }
        assert_eq!(response.status, 200, "{response:?}");
        let latest = Instant::now() + left(&response).expect("it expires");
        assert!(
            end_at_latest.is_none_or(|end| sent <= end),
            "{target} is there after its end: {response:?}"
        );
        let earliest = end_at_latest.map_or(latest, |end: Instant| end.min(latest));
        end_at_latest = Some(earliest);
        assert!(sent < patience, "{target} does not expire");
    }
}

#[test]
fn a_document_says_what_it_has_left_and_is_gone_to_the_millisecond() {
    for cores in [1, 2] {
        let data = TempDir::new();
        let server = serve(&data, cores);
        let mut client = server.connect();
        for n in 0..24 {
            let (id, ms) = (format!("/docs/{n}"), 50 + 7 * n);
            let before = Instant::now();
            let put = client.put(&format!("{id}?ttl=0.{ms:03}"), "1");
            assert_eq!(put.status, 201);
            let first = client.get(&id);
            if first.status == 404 {
                assert!(
                    before.elapsed() + Duration::from_millis(1) >= Duration::from_millis(ms),
                    "{n} ended early"
                );
                continue;
            }
            let left = left(&first).expect("it expires");
            assert!(left <= Duration::from_millis(ms), "{left:?}");
            await_end(&mut client, &id);
            // Milliseconds are counted whole.
            let lived = before.elapsed() + Duration::from_millis(1);
            assert!(
                lived >= Duration::from_millis(ms),
                "{n} lived {lived:?} of {ms} ms"
            );
            // It is new when it is stored again, under a tag that it never had.
            let again = client.put(&id, "1");
            assert_eq!(again.status, 201);
            assert_ne!(again.etag(), put.etag());
            assert_eq!(self::left(&client.get(&id)), None);
        }
        server.stop();
    }
}

#[test]
fn every_read_tells_what_is_left_and_others_do_not() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    let put = client.put("/docs/1?ttl=1000", r#"{"a":1}"#);
    client.put("/docs/2", "2");
    let tag = put.etag();
    let matching = [("If-None-Match", tag.as_str())];
    for response in [
        client.get("/docs/1"),
        client.get("/docs/1?pointer=/a"),
        client.plain("HEAD", "/docs/1", ""),
        client.request("GET", "/docs/1", &matching, ""),
        client.get("/api?id=1"),
    ] {
        let left = left(&response).unwrap_or_else(|| panic!("{response:?}"));
        assert!(left <= Duration::from_secs(1000) && left > Duration::from_secs(900));
    }
    assert_eq!(left(&client.get("/docs/2")), None);
    assert_eq!(left(&client.get("/docs/1?pointer=/b")), None, "a 404");
    let ttl_of = |value: &Value| value["ttl"].as_f64();
    let is_told = |ttl: Option<f64>| ttl.is_some_and(|ttl| ttl > 900.0 && ttl <= 1000.0);
    let many = json(&client.get("/docs?ids=1,2").body);
    assert!(is_told(ttl_of(&many["docs"][0])), "{many}");
    assert_eq!(ttl_of(&many["docs"][1]), None);
    let page = json(&client.get("/docs?include=data").body);
    assert!(is_told(ttl_of(&page["docs"][0])), "{page}");
    let batch = r#"{"ops":[{"get":{"id":1}},{"get":{"id":2}},{"put":{"id":3,"data":3,"ttl":1000}},{"get":{"id":3}}]}"#;
    let results = json(&client.post("/batch", batch).body);
    let told: Vec<bool> = (0..4)
        .map(|n| is_told(ttl_of(&results["results"][n])))
        .collect();
    assert_eq!(told, [true, false, false, true], "{results}");
    server.stop();
}

#[test]
fn each_way_to_store_takes_a_ttl_and_a_write_without_one_clears_it() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    let whole = [("Prefer", "return=representation")];
    let at = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    let batch = format!(
        r#"{{"ops":[{{"put":{{"id":"batch","data":1,"ttl":99.5}}}},{{"put":{{"data":1,"ttl":99}}}},{{"put":{{"id":"at","data":1,"expires_at":{}.5}}}}]}}"#,
        at.as_secs() + 99
    );
    let ids: Vec<String> = vec![
        client.put("/docs/put?ttl=99", "1").status.to_string(),
        client
            .request("PUT", "/docs/whole?ttl=99", &whole, "1")
            .status
            .to_string(),
        client
            .post("/docs?ttl=99", "1")
            .header("location")
            .unwrap_or_default()
            .to_owned(),
        client
            .post("/api", r#"{"id":"api","data":1,"ttl":99}"#)
            .status
            .to_string(),
        client
            .post("/api", {
                let at_s = at.as_secs() + 99;
                format!(r#"{{"id":"api-at","data":1,"expires_at":{at_s}.25}}"#)
            })
            .status
            .to_string(),
        json(&client.post("/api", r#"{"data":1,"ttl":0.5e2}"#).body)["error"].to_string(),
        json(&client.post("/api", r#"{"data":1,"ttl":99}"#).body)["id"].to_string(),
        json(&client.post("/batch", batch).body)["results"][1]["id"].to_string(),
    ];
    assert_eq!(
        ids,
        [
            "201",
            "201",
            "/docs/1",
            "200",
            "200",
            "\"bad_request\"",
            "2",
            "3"
        ]
    );
    for id in [
        "put", "whole", "1", "api", "api-at", "2", "3", "batch", "at",
    ] {
        let target = format!("/docs/{id}");
        let before = left(&client.get(&target));
        assert!(
            before.is_some_and(|left| left > Duration::from_secs(50)),
            "{id}: {before:?}"
        );
        // An edit leaves it as it is, and storing the same again for a time is a write.
        let plus_one = client.post(&format!("{target}/increment"), "");
        assert_eq!(plus_one.status, 200);
        let merge = [("Content-Type", "application/merge-patch+json")];
        assert_eq!(client.request("PATCH", &target, &merge, "[2]").status, 200);
        let after = left(&client.get(&target));
        assert!(after.is_some() && after <= before, "{id}: {after:?}");
        let same = client.put(&format!("{target}?ttl=5000"), "[2]");
        assert_eq!(same.status, 200);
        assert!(
            left(&client.get(&target)) > Some(Duration::from_secs(2000)),
            "{id}"
        );
        // Storing an equal document without a time keeps it for ever, and that is a write too.
        let cleared = client.put(&target, "[2]");
        assert_eq!(
            (cleared.status, left(&client.get(&target))),
            (200, None),
            "{id}"
        );
        assert_ne!(cleared.etag(), same.etag());
        assert_eq!(client.put(&target, "[2]").etag(), cleared.etag());
    }
    client.put("/docs/whole?ttl=99", "1");
    let cleared = client.request("PUT", "/docs/whole", &whole, "1");
    assert_eq!(
        (cleared.status, left(&client.get("/docs/whole"))),
        (200, None)
    );
    server.stop();
}

#[test]
fn a_ttl_that_is_none_is_refused_and_so_is_one_without_effect() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    for bad in [
        "ttl=",
        "ttl",
        "ttl=0",
        "ttl=0.000",
        "ttl=-1",
        "ttl=%2B5",
        "ttl=1e3",
        "ttl=soon",
        "ttl=1.2345",
        "ttl=3153600000.001",
        "ttl=99999999999999999999",
        "ttl=1&ttl=1",
    ] {
        let response = client.put(&format!("/docs/1?{bad}"), "1");
        assert_error_naming(&response, 400, &["ttl"]);
        assert_error_naming(&client.post(&format!("/docs?{bad}"), "1"), 400, &["ttl"]);
    }
    for bad in [
        "0",
        "-1",
        "\"60\"",
        "1e2",
        "[]",
        "3153600001",
        "true",
        "1.0001",
    ] {
        let body = format!(r#"{{"id":1,"data":1,"ttl":{bad}}}"#);
        assert_error_naming(&client.post("/api", &body), 400, &["ttl"]);
        let batch = format!(r#"{{"ops":[{{"put":{body}}}]}}"#);
        assert_error_naming(&client.post("/batch", &batch), 400, &["ops[0]: ttl"]);
        let at = batch.replace("ttl", "expires_at");
        let at = at.replace("3153600001", "253402300800");
        let response = client.post("/batch", &at);
        assert!(bad == "1.0001" || response.status == 400, "{at}");
    }
    let both = r#"{"ops":[{"put":{"id":1,"data":1,"ttl":1,"expires_at":1}}]}"#;
    assert_error_naming(&client.post("/batch", both), 400, &["side by side"]);
    assert_eq!(client.get("/docs/1").status, 404, "nothing was stored");
    client.put("/docs/1", "1");
    let merge = [("Content-Type", "application/merge-patch+json")];
    for response in [
        client.delete("/docs/1?ttl=5"),
        client.get("/docs/1?ttl=5"),
        client.request("PATCH", "/docs/1?ttl=5", &merge, "{}"),
        client.post("/docs/1/increment?ttl=5", ""),
        client.post("/api?ttl=5", r#"{"id":1,"data":2}"#),
        client.post("/batch?ttl=5", r#"{"ops":[]}"#),
        client.get("/docs?ids=1&ttl=5"),
    ] {
        assert_error_naming(&response, 400, &["ttl has no place"]);
    }
    let nulls = client.post("/api", r#"{"id":1,"data":2,"ttl":null}"#);
    assert_eq!((nulls.status, left(&client.get("/docs/1"))), (200, None));
    assert_eq!(client.put("/docs/1?ttl=3153600000", "3").status, 200);
    server.stop();
}

#[test]
fn nothing_finds_a_document_that_has_expired() {
    for cores in [1, 3] {
        let data = TempDir::new();
        let server = serve(&data, cores);
        let mut client = server.connect();
        let names = [
            "get", "cmd", "delete", "patch", "none", "match", "count", "ids", "api",
        ];
        let tags: Vec<String> = names
            .iter()
            .map(|name| client.put(&format!("/docs/{name}?ttl=0.2"), "[7]").etag())
            .collect();
        client.put("/docs/stays?ttl=1000", "7");
        let listed = json(&client.get("/docs").body)["ids"]
            .as_array()
            .map(Vec::len);
        assert!(listed <= Some(names.len() + 1));
        await_end(&mut client, "/docs/get");
        std::thread::sleep(Duration::from_millis(200));
        let merge = [("Content-Type", "application/merge-patch+json")];
        let any = [("If-Match", "*")];
        let old = [("If-Match", tags[5].as_str())];
        let none = [("If-None-Match", "*")];
        assert_eq!(
            json(&client.get("/docs").body)["ids"],
            serde_json::json!(["stays"])
        );
        let page = json(&client.get("/docs?include=data").body);
        assert_eq!(page["docs"].as_array().map(Vec::len), Some(1), "{page}");
        let ids = json(&client.get("/docs?ids=ids,stays").body);
        assert_eq!(ids["docs"][0]["error"], "not_found", "{ids}");
        assert_eq!(json(&client.get("/api?id=api").body)["data"], Value::Null);
        for body in [
            r#"{"query":"ONLY","keys":["a"]}"#,
            r#"{"query":"FILTER_BOOL","keys":{"key":"a","by":"b"}}"#,
        ] {
            let command = format!(r#"{{"id":"cmd","cmd":{body}}}"#);
            let absent = command.replace("\"cmd\",", "\"never\",");
            let (found, expected) = (
                client.post("/api/cmd", command),
                client.post("/api/cmd", absent),
            );
            assert_eq!(
                (found.status, found.text()),
                (expected.status, expected.text())
            );
        }
        let statuses = [
            client.delete("/docs/delete").status,
            client.request("PATCH", "/docs/patch", &merge, "{}").status,
            client.request("PUT", "/docs/match", &any, "1").status,
            client.request("PUT", "/docs/match", &old, "1").status,
            client.request("PUT", "/docs/none", &none, "1").status,
            client.post("/docs/count/increment", "").status,
            client
                .post("/docs/count/increment", r#"{"default":4}"#)
                .status,
        ];
        assert_eq!(statuses, [404, 404, 412, 412, 201, 404, 201]);
        assert_eq!(client.get("/docs/count").text(), "5");
        assert_eq!(
            left(&client.get("/docs/count")),
            None,
            "it is another document"
        );
        server.stop();
    }
}

#[test]
fn an_edit_keeps_when_its_document_ends_and_what_it_creates_has_no_end() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    let merge = [("Content-Type", "application/merge-patch+json")];
    let steps = [("Content-Type", "application/json-patch+json")];
    let step = r#"[{"op":"replace","path":"/n","value":9}]"#;
    let op = |id: &str, kind: &str, fields: &str| {
        format!(r#"{{"ops":[{{"{kind}":{{"id":"{id}",{fields}}}}}]}}"#)
    };
    let atomic = |body: String| body.replace(r#"{"ops""#, r#"{"atomic":true,"ops""#);
    type Edit<'a> = &'a dyn Fn(&mut Client, &str) -> Response;
    let edits: [(&str, Edit<'_>); 7] = [
        ("merged", &|client, target| {
            client.request("PATCH", target, &merge, r#"{"a":1}"#)
        }),
        ("patched", &|client, target| {
            client.request("PATCH", target, &steps, step)
        }),
        ("counted", &|client, target| {
            client.post(&format!("{target}/increment"), r#"{"pointer":"/n"}"#)
        }),
        ("batch-merged", &|client, _| {
            client.post("/batch", op("batch-merged", "patch", r#""merge":{"a":1}"#))
        }),
        ("batch-counted", &|client, _| {
            let fields = r#""pointer":"/n""#;
            client.post("/batch", op("batch-counted", "increment", fields))
        }),
        ("atomic-merged", &|client, _| {
            let body = op("atomic-merged", "patch", r#""merge":{"a":1}"#);
            client.post("/batch", atomic(body))
        }),
        ("atomic-counted", &|client, _| {
            let body = op("atomic-counted", "increment", r#""pointer":"/n""#);
            client.post("/batch", atomic(body))
        }),
    ];
    for (id, edit) in edits {
        let target = format!("/docs/{id}");
        client.put(&format!("{target}?ttl=1000"), r#"{"n":1}"#);
        assert_eq!(edit(&mut client, &target).status, 200, "{id}");
    }
    // None of them takes a time of its own.
    let ttl = "/docs/merged?ttl=5";
    assert_error_naming(&client.request("PATCH", ttl, &merge, "{}"), 400, &["ttl"]);
    let ttl = "/docs/counted/increment";
    let in_query = client.post(&format!("{ttl}?ttl=5"), r#"{"pointer":"/n"}"#);
    assert_error_naming(&in_query, 400, &["ttl"]);
    let in_body = client.post(ttl, r#"{"pointer":"/n","ttl":5}"#);
    assert_error_naming(&in_body, 400, &["ttl"]);
    for (kind, fields) in [
        ("patch", r#""merge":{},"ttl":5"#),
        ("increment", r#""pointer":"/n","ttl":5"#),
    ] {
        let refused = client.post("/batch", op("counted", kind, fields));
        assert_error_naming(&refused, 400, &["ops[0]", "ttl"]);
    }
    // What was there before ended, and the new one has nothing of it.
    for id in ["made", "made-by-merge"] {
        let target = format!("/docs/{id}");
        client.put(&format!("{target}?ttl=0.05"), "1");
        await_end(&mut client, &target);
    }
    let made = client.post("/docs/made/increment", r#"{"default":0}"#);
    assert_eq!(made.status, 201, "{made:?}");
    let absent = [merge[0], ("If-None-Match", "*")];
    let made = client.request("PATCH", "/docs/made-by-merge", &absent, "{}");
    assert_eq!(made.status, 201, "{made:?}");
    let check = |client: &mut Client| {
        for (id, _) in edits {
            let read = client.get(&format!("/docs/{id}"));
            assert_ne!(read.text(), r#"{"n":1}"#, "{id}");
            let left = left(&read);
            let is_kept = left.is_some_and(|left| left > Duration::from_secs(800));
            assert!(is_kept, "{id}: {left:?}");
        }
        for id in ["made", "made-by-merge"] {
            let read = client.get(&format!("/docs/{id}"));
            assert_eq!((read.status, left(&read)), (200, None), "{id}");
        }
    };
    check(&mut client);
    server.kill();
    let server = serve(&data, 1);
    check(&mut server.connect());
    server.stop();
}

#[test]
fn an_expiry_survives_restarts_and_an_end_that_was_told_is_one() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    for n in 0..20 {
        client.put(&format!("/docs/long{n}?ttl=1000"), "1");
        client.put(&format!("/docs/short{n}?ttl=0.3"), "1");
        client.put(&format!("/docs/cleared{n}?ttl=0.3"), "1");
        client.put(&format!("/docs/cleared{n}"), "1");
    }
    let began = Instant::now();
    server.kill();
    let server = serve(&data, 1);
    let mut client = server.connect();
    for n in 0..20 {
        let left = left(&client.get(&format!("/docs/long{n}"))).expect("it expires");
        let at_most = Duration::from_secs(1000) - began.elapsed().min(Duration::from_secs(1));
        assert!(left > Duration::from_secs(800) && left <= at_most + Duration::from_secs(1));
        let target = format!("/docs/short{n}");
        if client.get(&target).status == 200 {
            await_end(&mut client, &target);
        }
        let cleared = client.get(&format!("/docs/cleared{n}"));
        assert_eq!((cleared.status, self::left(&cleared)), (200, None));
    }
    server.kill();
    // What was answered to be gone has a record that says so: no clock can bring it back.
    let dump = Launch::bare(&["dump"]).arg(data.path()).run();
    for n in 0..20 {
        let of = |id: &str| {
            let id = format!("\"id\":\"{id}{n}\"");
            let last = dump.stdout.lines().rfind(|line| line.contains(&id));
            json(last.expect("it was stored").as_bytes())
        };
        assert_eq!(of("short")["deleted"], true);
        assert!(of("long")["expires_at"].as_f64() > Some(1.7e9));
        assert_eq!(of("cleared").get("expires_at"), None);
    }
    let repaired = TempDir::new();
    let repair = Launch::bare(&["repair"])
        .arg(data.path())
        .arg(repaired.path())
        .run();
    assert_eq!(repair.code, Some(0), "{repair:?}");
    let export = Launch::bare(&["export"]).arg(repaired.path()).run();
    let expiring = export
        .stdout
        .lines()
        .filter(|line| line.contains("expires_at"));
    assert_eq!(expiring.count(), 20, "{export:?}");
    let server = serve(&data, 3);
    let ids = json(&server.connect().get("/docs?limit=1000").body);
    assert_eq!(ids["ids"].as_array().map(Vec::len), Some(40));
    server.stop();
}

#[test]
fn the_space_of_expired_documents_comes_back_unasked() {
    const SEGMENT: u64 = 512 * 1024;
    let data = TempDir::new();
    let server = Launch::serve(data.path())
        .cores(2)
        .args(&["--segment-bytes", &SEGMENT.to_string()])
        .args(&["--body-bytes-max", "250000"])
        .start();
    let mut client = server.connect();
    let text = "x".repeat(2000);
    for batch in 0..40 {
        let put = |n| format!(r#"{{"put":{{"id":"{batch}/{n}","data":"{text}","ttl":4}}}}"#);
        let puts: Vec<String> = (0..100).map(put).collect();
        let response = client.post("/batch", format!(r#"{{"ops":[{}]}}"#, puts.join(",")));
        assert_eq!(response.status, 200);
    }
    client.put("/docs/kept", "1");
    let log_bytes = || -> u64 {
        let entries = std::fs::read_dir(data.path()).expect("the data directory");
        let lengths = entries.map(|entry| entry.and_then(|entry| entry.metadata()));
        lengths
            .map(|found| found.map_or(0, |found| found.len()))
            .sum()
    };
    // Of 8 MB, nobody having asked for one of them: a listing removes nothing.
    let until = Instant::now() + PATIENCE;
    let kept = serde_json::json!(["kept"]);
    while json(&client.get("/docs").body)["ids"] != kept || log_bytes() > 9 * SEGMENT {
        assert!(Instant::now() < until, "{} bytes are left", log_bytes());
        std::thread::sleep(Duration::from_millis(100));
    }
    server.stop();
}

#[test]
fn export_and_import_keep_when_a_document_ends() {
    let (data, other) = (TempDir::new(), TempDir::new());
    let server = serve(&data, 2);
    let mut client = server.connect();
    client.put("/docs/1?ttl=5000", "1");
    client.put("/docs/2", "2");
    client.put("/docs/3?ttl=0.001", "3");
    server.stop();
    let exported = Launch::bare(&["export"]).arg(data.path()).run();
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let file = data.path().join("lines");
    std::fs::write(&file, &exported.stdout).expect("the directory can be written");
    let server = serve(&other, 1);
    let url = format!("http://{}", server.address);
    let imported = Launch::bare(&["import", "--url", &url]).arg(&file).run();
    assert_eq!(imported.code, Some(0), "{imported:?}");
    let mut client = server.connect();
    let left = left(&client.get("/docs/1")).expect("it expires");
    assert!(left < Duration::from_secs(5000) && left > Duration::from_secs(4000));
    assert_eq!(self::left(&client.get("/docs/2")), None);
    assert_eq!(client.get("/docs/3").status, 404);
    server.stop();
    let again = Launch::bare(&["export"]).arg(other.path()).run();
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.contains("\"id\":3"));
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(lines(&again.stdout), lines(&exported.stdout));
}
