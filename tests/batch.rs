//! Many operations in one request: `POST /batch`, checked whole before anything is applied.

mod support;

use std::collections::BTreeSet;

use oxdaas::limits::{BATCH_OPS_MAX, JSON_DEPTH_MAX};
use serde_json::{Value, json};
use support::{
    assert_error_naming,
    client::{Client, Expected, request},
    json,
    server::{Launch, Server, TempDir},
};

fn serve(data: &TempDir, cores: u32) -> Server {
    Launch::serve(data.path()).cores(cores).start()
}

/// The results of a batch that is accepted.
#[track_caller]
fn results(client: &mut Client, body: impl AsRef<[u8]>) -> Vec<Value> {
    let response = client.post("/batch", body);
    assert_eq!(response.status, 200, "{response:?}");
    let body = json(&response.body);
    body["results"].as_array().expect("a list").clone()
}

#[track_caller]
fn statuses(client: &mut Client, ops: &str) -> Vec<u64> {
    let results = results(client, format!(r#"{{"ops":[{ops}]}}"#));
    let status = |result: &Value| result["status"].as_u64().expect("a status");
    results.iter().map(status).collect()
}

#[test]
fn operations_take_effect_in_order_and_are_answered_in_order() {
    for cores in [1, 3] {
        let data = TempDir::new();
        let server = serve(&data, cores);
        let mut client = server.connect();
        let response = client.post(
            "/batch",
            r#" {"ops": [
                {"get": {"id": 1}},
                {"put": {"id": 1, "data": {"a": [1.50, 2]}}},
                {"get": {"id": "1"}},
                {"put": {"id": "n", "data": null}},
                {"put": {"id": 1, "data": {"a":[1.50,2]}}},
                {"put": {"id": 1, "data": 7}},
                {"get": {"id": 1}},
                {"delete": {"id": 1}},
                {"delete": {"id": 1}},
                {"get": {"id": 1}}
            ]} "#,
        );
        let tag = |n: usize| -> String {
            let etag = &json(&response.body)["results"][n]["etag"];
            etag.as_str().unwrap_or_default().replace('"', r#"\""#)
        };
        let (first, named, second) = (tag(1), tag(3), tag(5));
        assert_ne!(first, second);
        let missing = r#"{"status":404,"error":"not_found","message":"no document 1"}"#;
        let expected = [
            r#"{"results":["#,
            missing,
            &format!(r#",{{"status":201,"id":1,"etag":"{first}"}}"#),
            &format!(r#",{{"status":200,"id":1,"etag":"{first}","data":{{"a":[1.50,2]}}}}"#),
            &format!(r#",{{"status":201,"id":"n","etag":"{named}"}}"#),
            &format!(r#",{{"status":200,"id":1,"etag":"{first}"}}"#),
            &format!(r#",{{"status":200,"id":1,"etag":"{second}"}}"#),
            &format!(r#",{{"status":200,"id":1,"etag":"{second}","data":7}}"#),
            r#",{"status":204,"id":1},"#,
            missing,
            ",",
            missing,
            "]}",
        ];
        assert_eq!(response.text(), expected.concat(), "{cores} cores");
        let etag = client.get("/docs/n").etag().replace('"', r#"\""#);
        assert_eq!(etag, named, "the tag of a batch is the tag of the resource");
        server.stop();
    }
}

#[test]
fn each_operation_has_its_condition() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    client.put("/docs/1", "1");
    let tag = client.get("/docs/1").etag().replace('"', r#"\""#);
    for (op, expected) in [
        (format!(r#"{{"get":{{"id":1,"if_match":"{tag}"}}}}"#), 200),
        (r#"{"get":{"id":1,"if_match":"\"0\""}}"#.to_owned(), 412),
        (
            format!(r#"{{"get":{{"id":1,"if_none_match":"{tag}"}}}}"#),
            304,
        ),
        (
            r#"{"get":{"id":1,"if_none_match":"\"0\", W/\"1\""}}"#.to_owned(),
            304,
        ),
        (r#"{"get":{"id":2,"if_match":"*"}}"#.to_owned(), 404),
        (
            r#"{"put":{"id":1,"data":2,"if_none_match":"*"}}"#.to_owned(),
            412,
        ),
        (
            r#"{"put":{"id":2,"data":2,"if_match":"*"}}"#.to_owned(),
            412,
        ),
        (
            r#"{"put":{"id":1,"data":2,"if_match":"\"0\""}}"#.to_owned(),
            412,
        ),
        (r#"{"delete":{"id":1,"if_match":"\"0\""}}"#.to_owned(), 412),
        (
            format!(r#"{{"put":{{"id":1,"data":2,"if_match":"\"0\",{tag}"}}}}"#),
            200,
        ),
        (
            format!(r#"{{"delete":{{"id":1,"if_match":"{tag}"}}}}"#),
            412,
        ),
        (r#"{"delete":{"id":1,"if_match":"*"}}"#.to_owned(), 204),
        (
            r#"{"put":{"id":1,"data":3,"if_none_match":"*"}}"#.to_owned(),
            201,
        ),
    ] {
        assert_eq!(statuses(&mut client, &op), [expected], "{op}");
    }
    assert_eq!(client.get("/docs/1").text(), "3");
    let results = results(
        &mut client,
        r#"{"ops":[{"put":{"id":1,"data":4,"if_match":"\"0\""}}]}"#,
    );
    assert_eq!(results[0]["error"], "precondition_failed");
}

#[test]
fn a_batch_is_checked_whole_and_the_fault_is_named_by_its_place() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    let good = r#"{"put":{"id":1,"data":1}}"#;
    let deep = format!(
        "{}{}",
        "[".repeat(JSON_DEPTH_MAX + 1),
        "]".repeat(JSON_DEPTH_MAX + 1)
    );
    let deep = format!(r#"{{"put":{{"id":2,"data":{deep}}}}}"#);
    for (op, words) in [
        ("1", &["ops[1]", "get, put, patch, increment, delete"][..]),
        ("{}", &["ops[1]"]),
        (r#"{"get":{"id":1},"put":{"id":1,"data":1}}"#, &["ops[1]"]),
        (r#"{"frob":{"id":1}}"#, &["ops[1]"]),
        (r#"{"get":1}"#, &["ops[1]", "object"]),
        (r#"{"get":{}}"#, &["ops[1]", "id"]),
        (r#"{"get":{"id":null}}"#, &["ops[1]", "id"]),
        (r#"{"get":{"id":1.5}}"#, &["ops[1]", "id"]),
        (r#"{"get":{"id":true}}"#, &["ops[1]", "id"]),
        (r#"{"get":{"id":""}}"#, &["ops[1]", "empty"]),
        (
            r#"{"get":{"id":9223372036854775808}}"#,
            &["ops[1]", "64 bits"],
        ),
        (r#"{"get":{"id":1,"id":2}}"#, &["ops[1]", "twice"]),
        (r#"{"get":{"id":1,"data":2}}"#, &["ops[1]", "\"data\""]),
        (r#"{"put":{"id":1}}"#, &["ops[1]", "data"]),
        (
            r#"{"put":{"id":1,"data":1,"ifmatch":"*"}}"#,
            &["ops[1]", "ifmatch"],
        ),
        (
            r#"{"put":{"id":1,"data":1,"if_match":1}}"#,
            &["ops[1]", "if_match"],
        ),
        (
            r#"{"put":{"id":1,"data":1,"if_match":"1"}}"#,
            &["ops[1]", "if_match"],
        ),
        (
            r#"{"put":{"id":1,"data":1,"if_none_match":""}}"#,
            &["ops[1]", "if_none_match"],
        ),
        (
            r#"{"put":{"id":null,"data":1,"if_none_match":"*"}}"#,
            &["ops[1]", "if_none_match"],
        ),
        (r#"{"patch":{"merge":{}}}"#, &["ops[1]", "id"]),
        (r#"{"patch":{"id":1}}"#, &["ops[1]", "merge", "json_patch"]),
        (
            r#"{"patch":{"id":1,"merge":{},"json_patch":[]}}"#,
            &["ops[1]", "one of"],
        ),
        (
            r#"{"patch":{"id":1,"json_patch":[{"op":"add","path":"/a"}]}}"#,
            &["ops[1]", "patch[0]", "value"],
        ),
        (
            r#"{"patch":{"id":1,"merge":{},"if_match":1}}"#,
            &["ops[1]", "if_match"],
        ),
        (r#"{"increment":{"by":1}}"#, &["ops[1]", "id"]),
        (r#"{"increment":{"id":1,"by":0.5}}"#, &["ops[1]", "by"]),
        (
            r#"{"increment":{"id":1,"pointer":"n"}}"#,
            &["ops[1]", "pointer"],
        ),
        (r#"{"increment":{"id":1,"from":1}}"#, &["ops[1]", "from"]),
        (r#"{"delete":{"data":1}}"#, &["ops[1]", "data"]),
        (r#"{"delete":{}}"#, &["ops[1]", "id"]),
        (deep.as_str(), &["ops[1]", "deeper", "at byte 15"]),
    ] {
        for word in words {
            let response = client.post("/batch", format!(r#"{{"ops":[{good},{op}]}}"#));
            assert_error_naming(&response, 400, &[word]);
        }
    }
    for (body, words) in [
        ("", &["empty"][..]),
        ("[]", &["object", "ops"]),
        ("{}", &["ops is missing"]),
        (r#"{"ops":{}}"#, &["ops", "list"]),
        (r#"{"ops":[],"ops":[]}"#, &["twice"]),
        (r#"{"ops":[],"atomik":true}"#, &["atomik"]),
        (r#"{"ops":[1,]}"#, &["JSON", "at byte 10"]),
        (r#"{"ops":[{"get":{"id":1}}"#, &["JSON"]),
    ] {
        for word in words {
            assert_error_naming(&client.post("/batch", body), 400, &[word]);
        }
    }
    let many = vec![r#"{"put":{"id":1,"data":1}}"#; BATCH_OPS_MAX + 1].join(",");
    let response = client.post("/batch", format!(r#"{{"ops":[{many}]}}"#));
    assert_error_naming(&response, 400, &["10000"]);
    let fields = [("If-Match", "*")];
    let response = client.request("POST", "/batch", &fields, r#"{"ops":[]}"#);
    assert_error_naming(&response, 400, &["if_match"]);
    let fields = [("Content-Type", "text/plain")];
    let response = client.request("POST", "/batch", &fields, r#"{"ops":[]}"#);
    assert_error_naming(&response, 415, &["application/json"]);
    assert_error_naming(&client.get("/batch"), 405, &["POST"]);
    assert_eq!(client.get("/docs/1").status, 404, "nothing was applied");
    assert_eq!(
        client.post("/batch", r#"{"ops":[]}"#).text(),
        r#"{"results":[]}"#
    );
}

#[test]
fn ids_are_chosen_for_documents_that_have_none() {
    for cores in [1, 2] {
        let data = TempDir::new();
        let server = serve(&data, cores);
        let mut client = server.connect();
        // Taken, two of them within the batch.
        client.put("/docs/2", "0");
        let results = results(
            &mut client,
            r#"{"ops":[{"put":{"data":"a"}},{"put":{"id":1,"data":"own"}},{"put":{"id":null,"data":"b"}},
                {"put":{"id":4,"data":"own"}},{"put":{"data":"c"}}]}"#,
        );
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
        let next = client.post("/docs", "1");
        let id = json(&next.body)["id"].as_i64().expect("an integer");
        assert!(!ids.contains(&id) && id != 2, "{id} in {ids:?}");
    }
}

#[test]
fn the_largest_batch_is_taken_and_survives_a_kill() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    let op = |n: usize| match n % 2 {
        0 => format!(r#"{{"put":{{"id":{n},"data":{{"n":{n}}}}}}}"#),
        _ => format!(r#"{{"put":{{"id":"name-{n}","data":[{n}]}}}}"#),
    };
    let ops: Vec<String> = (0..BATCH_OPS_MAX).map(op).collect();
    let results = results(&mut client, format!(r#"{{"ops":[{}]}}"#, ops.join(",")));
    assert_eq!(results.len(), BATCH_OPS_MAX);
    assert!(results.iter().all(|result| result["status"] == 201));
    server.kill();
    let server = serve(&data, 1);
    let mut client = server.connect();
    let reads: Vec<String> = (0..BATCH_OPS_MAX)
        .map(|n| match n % 2 {
            0 => format!(r#"{{"get":{{"id":{n}}}}}"#),
            _ => format!(r#"{{"get":{{"id":"name-{n}"}}}}"#),
        })
        .collect();
    let body = format!(r#"{{"ops":[{}]}}"#, reads.join(","));
    let response = client.post("/batch", body);
    let found = json(&response.body);
    for (n, result) in found["results"]
        .as_array()
        .expect("a list")
        .iter()
        .enumerate()
    {
        let expected = match n % 2 {
            0 => json!({ "n": n }),
            _ => json!([n]),
        };
        assert_eq!(result["data"], expected, "{n}");
    }
}

#[test]
fn batches_of_many_clients_and_single_writes_meet_in_one_order() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    // Every client appends its writes to the same ids, by compare and swap.
    let stored: usize = std::thread::scope(|scope| {
        let append = || {
            let mut client = server.connect();
            let mut done = 0;
            while done < 20 {
                let read = results(
                    &mut client,
                    r#"{"ops":[{"get":{"id":"a"}},{"get":{"id":"b"}}]}"#,
                );
                let ops: Vec<String> = ["a", "b"]
                    .iter()
                    .zip(&read)
                    .map(|(id, read)| match read["etag"].as_str() {
                        None => {
                            format!(r#"{{"put":{{"id":"{id}","data":1,"if_none_match":"*"}}}}"#)
                        }
                        Some(etag) => {
                            let next = read["data"].as_u64().expect("a number") + 1;
                            format!(
                                r#"{{"put":{{"id":"{id}","data":{next},"if_match":{}}}}}"#,
                                json!(etag)
                            )
                        }
                    })
                    .collect();
                let put = results(&mut client, format!(r#"{{"ops":[{}]}}"#, ops.join(",")));
                done += put.iter().filter(|put| put["status"] != 412).count();
            }
            done
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(append)).collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("the client did not fail"))
            .sum()
    });
    let mut client = server.connect();
    let read = results(
        &mut client,
        r#"{"ops":[{"get":{"id":"a"}},{"get":{"id":"b"}}]}"#,
    );
    let sum: u64 = read
        .iter()
        .map(|read| read["data"].as_u64().expect("a number"))
        .sum();
    let stored = u64::try_from(stored).expect("few");
    assert_eq!(sum, stored, "each write that was acknowledged counts once");
}

#[test]
fn a_batch_takes_its_turn_among_pipelined_requests() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    let mut requests = Vec::new();
    for n in 0..40 {
        let body = format!(r#"{{"ops":[{{"get":{{"id":1}}}},{{"put":{{"id":2,"data":{n}}}}}]}}"#);
        requests.extend(request("PUT", "/docs/1", &[], n.to_string().as_bytes()));
        requests.extend(request("POST", "/batch", &[], body.as_bytes()));
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
fn edits_of_a_batch_go_on_from_one_another_on_every_core() {
    for cores in [1, 3] {
        let data = TempDir::new();
        let server = serve(&data, cores);
        let mut client = server.connect();
        let mut ops = Vec::new();
        for id in 0..10 {
            ops.push(format!(r#"{{"increment":{{"id":{id}}}}}"#));
            ops.push(format!(
                r#"{{"patch":{{"id":{id},"merge":{{"a":[1.50],"z":null}},"if_none_match":"*"}}}}"#
            ));
            ops.push(format!(
                r#"{{"increment":{{"id":{id},"pointer":"/n","by":5,"default":{id}}}}}"#
            ));
            ops.push(format!(
                r#"{{"patch":{{"id":{id},"json_patch":[{{"op":"test","path":"/n","value":{}}},
                    {{"op":"move","from":"/n","path":"/a/0"}}]}}}}"#,
                id + 5
            ));
            ops.push(format!(
                r#"{{"patch":{{"id":{id},"json_patch":[{{"op":"test","path":"/n","value":1}}]}}}}"#
            ));
            ops.push(format!(
                r#"{{"patch":{{"id":{id},"merge":{{}},"if_match":"\"0\""}}}}"#
            ));
            ops.push(format!(r#"{{"get":{{"id":{id}}}}}"#));
        }
        let results = results(&mut client, format!(r#"{{"ops":[{}]}}"#, ops.join(",")));
        for (id, results) in (0..10).zip(results.chunks(7)) {
            let statuses = results.iter().map(|result| result["status"].as_u64());
            let expected = [404, 201, 200, 200, 409, 412, 200].map(Some);
            assert!(statuses.eq(expected), "{cores} cores: {results:?}");
            assert_eq!(results[2]["value"], id + 5);
            assert_eq!(results[4]["error"], "edit_conflict");
            let data = format!(r#"{{"a":[{},1.50]}}"#, id + 5);
            assert_eq!(results[6]["data"].to_string(), data);
            assert_eq!(results[6]["etag"], results[3]["etag"]);
            let etag = client.get(&format!("/docs/{id}")).etag();
            assert_eq!(results[6]["etag"], etag);
        }
        server.stop();
    }
}

#[test]
fn edits_of_a_batch_that_cost_too_much_together_are_refused_from_there() {
    let data = TempDir::new();
    let server = serve(&data, 1);
    let mut client = server.connect();
    // Two bytes an element: opened for a change, each takes many times that.
    let list = format!("[{}1]", "1,".repeat(1 << 20));
    assert_eq!(client.put("/docs/list", &list).status, 201);
    let failing = r#"{"patch":{"id":"list","json_patch":[{"op":"remove","path":"/x"}]}}"#;
    let ops = vec![failing; 100].join(",");
    let got = statuses(&mut client, &format!(r#"{ops},{{"get":{{"id":1}}}}"#));
    let tried = got.iter().take_while(|status| **status == 409).count();
    assert!((3..50).contains(&tried), "{tried} were tried");
    assert!(
        got[tried..100].iter().all(|status| *status == 413),
        "{got:?}"
    );
    assert_eq!(got[100], 404, "what is no edit goes on");
}
