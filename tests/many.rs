//! Many documents in one request: `GET /docs?ids=`.

mod support;

use oxdaas::limits::{GET_IDS_MAX, RESPONSE_BYTES_MAX};
use support::{
    assert_error_naming,
    client::{Expected, request},
    json,
    server::{Launch, Server, TempDir},
};

fn serve(data: &TempDir, cores: u32) -> Server {
    Launch::serve(data.path()).cores(cores).start()
}

#[test]
fn documents_are_read_together_in_the_order_asked() {
    for cores in [1, 3] {
        let data = TempDir::new();
        let server = serve(&data, cores);
        let mut client = server.connect();
        client.put("/docs/1", r#"{"z": 1.50}"#);
        client.put("/docs/user:7", "null");
        client.put("/docs/%C3%A9", "[]");
        let expected = concat!(
            r#"{"docs":[{"id":"user:7","data":null},"#,
            r#"{"id":2,"data":null,"error":"not_found"},"#,
            r#"{"id":1,"data":{"z":1.50}},{"id":1,"data":{"z":1.50}},"#,
            r#"{"id":"é","data":[]}]}"#
        );
        for ids in ["user:7,2,1,1,é", "user%3A7%2C2%2C1%2C1%2C%C3%A9"] {
            let target = format!("/docs?ids={ids}");
            let response = match ids.is_ascii() {
                true => client.get(&target),
                false => client.get(&target.replace('é', "%C3%A9")),
            };
            assert_eq!((response.status, response.text()), (200, expected));
        }
        let head = client.plain("HEAD", "/docs?ids=1", "");
        assert_eq!(head.header("content-length"), Some("37"));
        server.stop();
    }
}

#[test]
fn a_bad_id_is_named_by_its_place() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    let many = vec!["1"; GET_IDS_MAX + 1].join(",");
    for (ids, words) in [
        ("", &["ids[0]"][..]),
        ("1,", &["ids[1]"]),
        ("1,,2", &["ids[1]"]),
        ("1,2,9223372036854775808", &["ids[2]", "64 bits"]),
        ("1,a%0Ab", &["ids[1]", "control"]),
        (&many, &["1000"]),
        ("1&ids=2", &["twice"]),
    ] {
        for word in words {
            let response = client.get(&format!("/docs?ids={ids}"));
            assert_error_naming(&response, 400, &[word]);
        }
    }
    let whole = vec!["1"; GET_IDS_MAX].join(",");
    let response = client.get(&format!("/docs?ids={whole}"));
    let docs = json(&response.body)["docs"].as_array().map(Vec::len);
    assert_eq!(docs, Some(GET_IDS_MAX));
}

#[test]
fn an_answer_about_many_is_bounded_and_says_what_it_left_out() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    let document = format!("\"{}\"", "x".repeat((7 << 20) - 2));
    for id in ["1", "2", "3", "4"] {
        assert_eq!(client.put(&format!("/docs/{id}"), &document).status, 201);
    }
    client.put("/docs/small", "1");
    let body = json(&client.get("/docs?ids=1,2,3,4,small,none").body);
    let shown: Vec<String> = body["docs"]
        .as_array()
        .expect("docs is a list")
        .iter()
        .map(|doc| match &doc["error"] {
            serde_json::Value::Null => format!("{}", doc["id"]),
            error => format!("{} {error}", doc["id"]),
        })
        .collect();
    // Two of 7 MiB fit, and the small one after them.
    const { assert!(RESPONSE_BYTES_MAX == 16 << 20) };
    let expected = [
        "1",
        "2",
        r#"3 "response_full""#,
        r#"4 "response_full""#,
        r#""small""#,
        r#""none" "not_found""#,
    ];
    assert_eq!(shown, expected);
}

#[test]
fn a_read_of_many_sees_the_writes_before_it_and_none_behind_it() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    let mut requests = Vec::new();
    for n in 0..50 {
        for id in ["a", "b", "1", "2"] {
            let target = format!("/docs/{id}");
            requests.extend(request("PUT", &target, &[], n.to_string().as_bytes()));
        }
        requests.extend(request("GET", "/docs?ids=a,b,1,2", &[], b""));
    }
    client.send(requests);
    for n in 0..50 {
        for _ in 0..4 {
            assert!(client.read(Expected::Body).status < 300);
        }
        let expected = format!(
            r#"{{"docs":[{{"id":"a","data":{n}}},{{"id":"b","data":{n}}},{{"id":1,"data":{n}}},{{"id":2,"data":{n}}}]}}"#
        );
        assert_eq!(client.read(Expected::Body).text(), expected);
    }
}
