//! What a write says of its place in the log, and what it can ask of the disk: `Log-Position`
//! and `Durability`.

mod support;

use std::time::Instant;

use support::{
    assert_error_naming,
    client::{Client, Response},
    json,
    server::{Launch, PATIENCE, TempDir},
};

#[track_caller]
fn position(response: &Response) -> u64 {
    let position = response.header("log-position");
    let position = position.unwrap_or_else(|| panic!("no Log-Position: {response:?}"));
    position.parse().expect("a number")
}

fn put(client: &mut Client, path: &str, durability: Option<&str>, document: &str) -> Response {
    let fields: Vec<_> = durability.map(|d| ("Durability", d)).into_iter().collect();
    client.request("PUT", path, &fields, document)
}

#[test]
fn every_write_says_its_position_and_positions_grow() {
    for cores in [1, 3] {
        let data = TempDir::new();
        let launch = Launch::serve(data.path()).cores(cores);
        let server = launch.start();
        let mut client = server.connect();
        let mut last = 0;
        let mut grows = |response: Response| {
            assert!((200..300).contains(&response.status), "{response:?}");
            let position = position(&response);
            assert!(position > last, "{position} after {last}, {cores} cores");
            last = position;
            position
        };
        for id in 0..10 {
            grows(put(&mut client, &format!("/docs/{id}"), None, "1"));
        }
        grows(client.post("/docs", "{}"));
        grows(client.post("/api", r#"{"id":"n","data":1}"#));
        grows(client.post("/api", r#"{"data":1}"#));
        grows(client.post("/docs/n/increment", ""));
        let merge = [("Content-Type", "application/merge-patch+json")];
        grows(client.request("PATCH", "/docs/n", &merge, "{}"));
        grows(client.request("DELETE", "/docs/n", &[], ""));
        let batch = r#"{"ops":[{"put":{"id":3,"data":3}},{"delete":{"id":4}},{"get":{"id":5}}]}"#;
        let batch = grows(client.post("/batch", batch));
        assert_eq!(
            position(&put(&mut client, "/docs/77", None, "1")),
            batch + 1
        );
        let equal = position(&put(&mut client, "/docs/77", None, " 1 "));
        assert_eq!(equal, batch + 1, "nothing was written");
        for none in [
            client.get("/docs/77"),
            client.get("/docs"),
            client.request("DELETE", "/docs/no", &[], ""),
            client.post("/batch", r#"{"ops":[{"get":{"id":1}}]}"#),
        ] {
            assert_eq!(none.header("log-position"), None, "{none:?}");
        }
        server.stop();
        let server = launch.start();
        let mut client = server.connect();
        let equal = position(&put(&mut client, "/docs/77", None, "1"));
        assert!(
            equal > batch,
            "what recovery found is not before its record"
        );
        assert!(position(&put(&mut client, "/docs/77", None, "2")) > equal);
    }
}

#[test]
fn a_durability_that_is_not_known_is_refused_and_nothing_is_written() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut client = server.connect();
    for wrong in ["", "fsync", "Synced", "synced, logged"] {
        let refused = put(&mut client, "/docs/1", Some(wrong), "1");
        assert_error_naming(&refused, 400, &["synced or logged"]);
    }
    let both = [("Durability", "synced"), ("Durability", "logged")];
    assert_error_naming(
        &client.request("PUT", "/docs/1", &both, "1"),
        400,
        &["Durability"],
    );
    let twice = [("Durability", "synced"), ("Durability", "synced")];
    assert_eq!(client.get("/docs/1").status, 404);
    assert_eq!(client.request("PUT", "/docs/1", &twice, "1").status, 201);
}

#[test]
fn writes_of_every_durability_are_seen_by_others_and_survive_a_kill() {
    for policy in ["always", "everysec", "never"] {
        for cores in [1, 3] {
            let data = TempDir::new();
            let launch = Launch::serve(data.path())
                .cores(cores)
                .args(&["--fsync", policy]);
            let server = launch.start();
            let (mut writer, mut reader) = (server.connect(), server.connect());
            let durabilities = [None, Some("logged"), Some("synced")];
            for round in 0..60 {
                let durability = durabilities[round % 3];
                let path = format!("/docs/{}", round % 7);
                let document = round.to_string();
                let response = put(&mut writer, &path, durability, &document);
                assert!(matches!(response.status, 200 | 201), "{response:?}");
                assert_eq!(
                    reader.get(&path).text(),
                    document,
                    "{policy}, {cores} cores"
                );
                let again = put(&mut writer, &path, durabilities[round / 3 % 3], &document);
                assert_eq!(again.etag(), response.etag(), "it is equal");
                assert!(position(&again) >= position(&response));
            }
            let ops = r#"{"ops":[{"put":{"id":1,"data":"b"}},{"put":{"data":"c"}}]}"#;
            for durability in ["logged", "synced"] {
                let fields = [("Durability", durability)];
                let created = writer.request("POST", "/docs", &fields, "1");
                assert_eq!(created.status, 201, "{created:?}");
                assert_eq!(writer.request("POST", "/batch", &fields, ops).status, 200);
            }
            server.kill();
            let server = launch.start();
            let mut reader = server.connect();
            assert_eq!(reader.get("/docs/1").text(), "\"b\"");
            assert_eq!(reader.get("/docs/0").text(), "56");
        }
    }
}

/// A new segment waits until the one before it is on disk: without syncs before that, all
/// writers would wait for all of it.
#[test]
fn much_that_was_written_is_synced_although_nobody_waits_for_it() {
    let data = TempDir::new();
    let server = Launch::serve(data.path())
        .args(&["--fsync", "never"])
        .start();
    let mut client = server.connect();
    let syncs = |client: &mut Client| {
        let stats = json(&client.get("/stats").body);
        stats["log"]["sync_latency"]["count"]
            .as_u64()
            .expect("a number")
    };
    let document = format!("\"{}\"", "0".repeat(1 << 20));
    for id in 0..7 {
        put(&mut client, &format!("/docs/{id}"), None, &document);
    }
    assert_eq!(syncs(&mut client), 0, "never, for so little");
    for id in 7..16 {
        put(&mut client, &format!("/docs/{id}"), None, &document);
    }
    let deadline = Instant::now() + PATIENCE;
    while syncs(&mut client) == 0 {
        assert!(Instant::now() < deadline, "no sync");
    }
    server.stop();
}
