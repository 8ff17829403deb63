//! A client of ExDaas keeps working: `/api` and `/api/cmd`, with every error.
//!
//! The replays send what ExDaas's own tests and its `ab` script sent over the
//! wire. Where ExDaas failed, they hold what its users meant.

mod support;

use serde_json::json;
use support::{
    assert_error, assert_error_naming, json,
    server::{Launch, Server, TempDir},
};

fn serve(data: &TempDir) -> Server {
    Launch::serve(data.path()).cores(2).start()
}

#[test]
fn a_post_creates_or_replaces_and_a_get_answers_the_document() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    for (request, answer) in [
        (
            r#"{"id":12,"data":{"color":"blue"}}"#,
            r#"{"id":12,"data":{"color":"blue"}}"#,
        ),
        // Replaced, not merged.
        (
            r#"{"id":12,"data":{"size":1}}"#,
            r#"{"id":12,"data":{"size":1}}"#,
        ),
        (r#"{"data":[1,2],"id":-5}"#, r#"{"id":-5,"data":[1,2]}"#),
        (
            r#" { "id" : 0 , "data" : "x y" } "#,
            r#"{"id":0,"data":"x y"}"#,
        ),
        (
            r#"{"id":"user:7","data":null}"#,
            r#"{"id":"user:7","data":null}"#,
        ),
        (r#"{"id":"13","data":true}"#, r#"{"id":13,"data":true}"#),
        (
            r#"{"id":9223372036854775807,"data":1}"#,
            r#"{"id":9223372036854775807,"data":1}"#,
        ),
        (
            r#"{"id":-9223372036854775808,"data":2}"#,
            r#"{"id":-9223372036854775808,"data":2}"#,
        ),
    ] {
        let response = client.request(
            "POST",
            "/api",
            &[("Content-Type", "application/json")],
            request,
        );
        assert_eq!(response.status, 200, "{request}: {response:?}");
        assert_eq!(response.text(), answer);
        assert!(
            response
                .header("content-type")
                .is_some_and(|value| value.starts_with("application/json")),
            "{response:?}"
        );
        let id = json(answer.as_bytes())["id"].to_string();
        let target = format!("/api?id={}", id.trim_matches('"'));
        let response = client.get(&target);
        assert_eq!(
            (response.status, response.text()),
            (200, answer),
            "{target}"
        );
    }
}

#[test]
fn an_unknown_id_is_null() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    for (target, answer) in [
        ("/api?id=12", r#"{"id":12,"data":null}"#),
        ("/api?id=-7", r#"{"id":-7,"data":null}"#),
        ("/api?id=nobody", r#"{"id":"nobody","data":null}"#),
        ("/api?id=12abc", r#"{"id":"12abc","data":null}"#),
        ("/api?id=%E2%82%AC", r#"{"id":"€","data":null}"#),
    ] {
        let response = client.get(target);
        assert_eq!(
            (response.status, response.text()),
            (200, answer),
            "{target}"
        );
    }
}

#[test]
fn the_server_counts_ids_from_one_on_an_empty_store() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    for (n, request) in [
        r#"{"id":null,"data":{"color":"blue"}}"#,
        r#"{"data":{"color":"blue"}}"#,
        r#"{"data":null,"id":null}"#,
        r#"{"id": null, "data": {"color": "blue"}}"#,
    ]
    .iter()
    .enumerate()
    {
        let response = client.post("/api", request);
        assert_eq!(response.status, 200, "{response:?}");
        let answer = json(&response.body);
        assert_eq!(answer["id"], json!(n + 1), "{response:?}");
        assert_eq!(answer["data"], json(request.as_bytes())["data"]);
    }
    assert_eq!(
        client.get("/api?id=2").text(),
        r#"{"id":2,"data":{"color":"blue"}}"#
    );
}

#[test]
fn text_that_is_no_canonical_integer_is_a_name_of_its_own() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    let ids = [
        (r#"12"#, "12"),
        (r#""+7""#, "%2B7"),
        (r#"7"#, "7"),
        (r#""007""#, "007"),
        (r#""12abc""#, "12abc"),
        (r#""-0""#, "-0"),
        (r#""1.5""#, "1.5"),
        (r#""1e3""#, "1e3"),
        (r#"" 12""#, "%2012"),
        (r#""a/b""#, "a%2Fb"),
        (r#""a&b=c""#, "a%26b%3Dc"),
        (r#""Ω≈ç√""#, "%CE%A9%E2%89%88%C3%A7%E2%88%9A"),
        (r#""true""#, "true"),
        (r#""null""#, "null"),
    ];
    for (n, (id, _)) in ids.iter().enumerate() {
        let response = client.post("/api", format!(r#"{{"id":{id},"data":{n}}}"#));
        assert_eq!(response.status, 200, "{id}: {response:?}");
    }
    for (n, (id, encoded)) in ids.iter().enumerate() {
        let response = client.get(&format!("/api?id={encoded}"));
        let expected = format!(r#"{{"id":{id},"data":{n}}}"#);
        assert_eq!((response.status, response.text()), (200, expected.as_str()));
        let response = client.get(&format!("/docs/{encoded}"));
        assert_eq!(
            (response.status, response.text()),
            (200, n.to_string().as_str()),
            "{id}"
        );
    }
    // "12" and 12 are one id.
    client.post("/api", r#"{"id":"12","data":"text"}"#);
    assert_eq!(client.get("/docs/12").text(), r#""text""#);
}

#[test]
fn what_is_no_id_is_refused_and_stores_nothing() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    let long = format!("\"{}\"", "n".repeat(256));
    for id in [
        "1.5",
        "12.0",
        "1e2",
        "true",
        "false",
        "[]",
        "[1]",
        "{}",
        r#"{"id":1}"#,
        "9223372036854775808",
        "-9223372036854775809",
        "123456789012345678901234567890",
        r#""9223372036854775808""#,
        r#""""#,
        r#""a\nb""#,
        r#""\u0000""#,
        r#""\u007f""#,
        &long,
    ] {
        let response = client.post("/api", format!(r#"{{"id":{id},"data":1}}"#));
        assert_error_naming(&response, 400, &["id", "name", "integer"]);
    }
    for target in [
        "/api?id=9223372036854775808",
        "/api?id=-9223372036854775809",
        "/api?id=",
        "/api?id=%00",
        "/api?id=%0A",
        "/api?id=%FF",
        "/api",
        "/api?other=1",
    ] {
        let response = client.get(target);
        assert_error(&response, 400);
    }
    // Nothing was stored, and no id was handed out.
    let response = client.post("/api", r#"{"id":null,"data":1}"#);
    assert_eq!(response.text(), r#"{"id":1,"data":1}"#);
}

#[test]
fn a_malformed_body_is_refused_with_the_offset() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    let deep = format!(
        r#"{{"id":1,"data":{}{}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    for body in [
        r#"{"id":1,"data":}"#,
        r#"{"id":1,"data":1"#,
        r#"{"id":1,"data":1}}"#,
        r#"{"id":1 "data":1}"#,
        r#"{"id":1,"data":{"a":1,}}"#,
        r#"{'id':1,'data':1}"#,
        r#"{"id":1,"data":01}"#,
        r#"{"id":1,"data":NaN}"#,
        r#"{"id":1,"data":"a"#,
        "{\"id\":1,\"data\":\"\u{1}\"}",
        "{",
        "x",
        &deep,
    ] {
        let response = client.post("/api", body);
        let message = assert_error(&response, 400);
        assert!(
            message.contains(|c: char| c.is_ascii_digit()),
            "no offset in {message:?} for {:?}",
            &body[..body.len().min(60)]
        );
    }
    for body in [
        "",
        "  ",
        "[]",
        "1",
        "\"x\"",
        "null",
        r#"{"id":1}"#,
        r#"{"id":null}"#,
        "{}",
    ] {
        assert_error(&client.post("/api", body), 400);
    }
    assert_error(&client.post("/api", b"{\"id\":1,\"data\":\"\xff\"}"), 400);
    assert_eq!(client.get("/api?id=1").text(), r#"{"id":1,"data":null}"#);
}

#[test]
fn documents_come_back_byte_for_byte() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    for (n, document) in support_documents().iter().enumerate() {
        let expected = format!(r#"{{"id":{n},"data":{document}}}"#);
        let response = client.post("/api", &expected);
        assert_eq!((response.status, response.text()), (200, expected.as_str()));
        assert_eq!(client.get(&format!("/api?id={n}")).text(), expected);
        assert_eq!(client.get(&format!("/docs/{n}")).text(), *document);
    }
}

fn support_documents() -> Vec<&'static str> {
    vec![
        r#"{"z":1,"a":2,"m":{"y":[],"b":{}}}"#,
        "1.0",
        "1",
        "-0",
        "1e400",
        "123456789012345678901234567890",
        "0.1000000000000000055511151231257827",
        r#""\u0041\u00e9\/\n\ud83d\ude00😀""#,
        r#"{"a":1,"a":2}"#,
        r#"{"\u0061":"\t"}"#,
        r#"{"":""}"#,
        "null",
        "false",
        r#""""#,
    ]
}

const COLORS: &str = r#"{"id":1,"data":{"colors":[{"type":"blue","is_blue":true},{"type":"red","is_blue":false}],"color":"blue","n":1.0,"none":null,"list":[1,{"b":2,"a":1}]}}"#;

#[test]
fn only_answers_the_values_of_the_named_keys() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    assert_eq!(client.post("/api", COLORS).status, 200);
    for (target, answer) in [
        (
            "/api/cmd?id=1&cmd[query]=ONLY&cmd[keys][]=color",
            r#"{"values":["blue"]}"#,
        ),
        (
            "/api/cmd?id=1&cmd[query]=ONLY&cmd[keys][]=color&cmd[keys][]=n",
            r#"{"values":["blue",1.0]}"#,
        ),
        (
            "/api/cmd?cmd[keys][]=color&cmd[keys][]=uhh+oh&cmd[query]=ONLY&id=1",
            r#"{"values":["blue",null]}"#,
        ),
        (
            "/api/cmd?id=1&cmd%5Bquery%5D=ONLY&cmd%5Bkeys%5D%5B%5D=color&cmd%5Bkeys%5D%5B%5D=uhh%20oh",
            r#"{"values":["blue",null]}"#,
        ),
        (
            "/api/cmd?cmd%5bkeys%5d%5b%5d=list&cmd%5bquery%5d=ONLY&id=1",
            r#"{"values":[[1,{"b":2,"a":1}]]}"#,
        ),
    ] {
        let response = client.get(target);
        assert_eq!(
            (response.status, response.text()),
            (200, answer),
            "{target}"
        );
    }
    for (body, answer) in [
        (
            r#"{"id":1,"cmd":{"query":"ONLY","keys":["color"]}}"#,
            r#"{"values":["blue"]}"#,
        ),
        (
            r#"{"id":"1","cmd":{"query":"ONLY","keys":["none","n","x"]}}"#,
            r#"{"values":[null,1.0,null]}"#,
        ),
        (
            r#"{"cmd":{"keys":["color","color"],"query":"ONLY"},"id":1}"#,
            r#"{"values":["blue","blue"]}"#,
        ),
        (
            r#"{"id":1,"cmd":{"query":"ONLY","keys":[]}}"#,
            r#"{"values":[]}"#,
        ),
    ] {
        for method in ["GET", "POST"] {
            let fields = [("Content-Type", "application/json")];
            let response = client.request(method, "/api/cmd", &fields, body);
            assert_eq!(
                (response.status, response.text()),
                (200, answer),
                "{method} {body}"
            );
        }
    }
}

#[test]
fn filter_bool_keeps_the_elements_whose_field_is_neither_false_nor_null() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    assert_eq!(client.post("/api", COLORS).status, 200);
    let blue = r#"[{"type":"blue","is_blue":true}]"#;
    for target in [
        "/api/cmd?id=1&cmd[query]=FILTER_BOOL&cmd[keys][key]=colors&cmd[keys][by]=is_blue",
        "/api/cmd?cmd%5Bkeys%5D%5Bby%5D=is_blue&cmd%5Bkeys%5D%5Bkey%5D=colors&cmd%5Bquery%5D=FILTER_BOOL&id=1",
    ] {
        let response = client.get(target);
        assert_eq!((response.status, response.text()), (200, blue), "{target}");
    }
    let command =
        r#"{"id":1,"cmd":{"query":"FILTER_BOOL","keys":{"key":"colors","by":"is_blue"}}}"#;
    for method in ["GET", "POST"] {
        let response = client.plain(method, "/api/cmd", command);
        assert_eq!((response.status, response.text()), (200, blue), "{method}");
    }
    // Everything but false and null counts as true, as in Elixir.
    let list = r#"{"id":2,"data":{"l":[{"k":0},{"k":""},{"k":[]},{"k":false},{"k":null},{"j":1},{"k":"no"}]}}"#;
    assert_eq!(client.post("/api", list).status, 200);
    let command = r#"{"id":2,"cmd":{"query":"FILTER_BOOL","keys":{"key":"l","by":"k"}}}"#;
    let response = client.post("/api/cmd", command);
    let kept = r#"[{"k":0},{"k":""},{"k":[]},{"k":"no"}]"#;
    assert_eq!((response.status, response.text()), (200, kept));
}

#[test]
fn an_unsupported_query_is_a_client_mistake() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    assert_eq!(client.post("/api", COLORS).status, 200);
    let body = r#"{"id":1,"cmd":{"query":"NOPE","keys":[]}}"#;
    for response in [
        client.plain("GET", "/api/cmd", body),
        client.post("/api/cmd", body),
        client.get("/api/cmd?id=1&cmd[query]=NOPE&cmd[keys][]=a"),
    ] {
        assert_eq!(assert_error(&response, 400), "NOPE not supported");
    }
    for body in [
        "",
        "[]",
        "{}",
        r#"{"id":1}"#,
        r#"{"cmd":{"query":"ONLY","keys":["a"]}}"#,
        r#"{"id":1,"cmd":{}}"#,
        r#"{"id":1,"cmd":{"keys":["a"]}}"#,
        r#"{"id":1,"cmd":7}"#,
        r#"{"id":1,"cmd":{"query":"ONLY"}}"#,
        r#"{"id":1,"cmd":{"query":"ONLY","keys":7}}"#,
        r#"{"id":1,"cmd":{"query":"ONLY","keys":[7]}}"#,
        r#"{"id":1,"cmd":{"query":"FILTER_BOOL","keys":[]}}"#,
        r#"{"id":1,"cmd":{"query":"FILTER_BOOL","keys":{"key":"colors"}}}"#,
        r#"{"id":1,"cmd":{"query":7,"keys":["a"]}}"#,
        r#"{"id":1.5,"cmd":{"query":"ONLY","keys":["a"]}}"#,
        r#"{"id":1,"cmd":{"query":"ONLY","#,
    ] {
        assert_error(&client.post("/api/cmd", body), 400);
    }
    for target in [
        "/api/cmd",
        "/api/cmd?id=1",
        "/api/cmd?cmd[query]=ONLY&cmd[keys][]=a",
    ] {
        assert_error(&client.get(target), 400);
    }
}

/// ExDaas failed inside on these; whatever the answer, it is not a 5xx.
#[test]
fn a_command_that_does_not_fit_the_document_is_no_fault_of_the_server() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    assert_eq!(client.post("/api", COLORS).status, 200);
    assert_eq!(client.post("/api", r#"{"id":2,"data":[1,2]}"#).status, 200);
    assert_eq!(client.post("/api", r#"{"id":3,"data":null}"#).status, 200);
    for id in [2, 3, 4] {
        for command in [
            r#"{"query":"ONLY","keys":["a"]}"#,
            r#"{"query":"FILTER_BOOL","keys":{"key":"colors","by":"is_blue"}}"#,
        ] {
            let response = client.post("/api/cmd", format!(r#"{{"id":{id},"cmd":{command}}}"#));
            assert!(response.status < 500, "{id} {command}: {response:?}");
        }
    }
    for keys in [
        r#"{"key":"color","by":"x"}"#,
        r#"{"key":"absent","by":"x"}"#,
        r#"{"key":"list","by":"a"}"#,
    ] {
        let command = format!(r#"{{"id":1,"cmd":{{"query":"FILTER_BOOL","keys":{keys}}}}}"#);
        let response = client.post("/api/cmd", command);
        assert!(response.status < 500, "{keys}: {response:?}");
    }
}

#[test]
fn other_methods_and_types_are_refused() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    for (method, target, allowed) in [
        ("PUT", "/api", &["GET", "POST"]),
        ("DELETE", "/api", &["GET", "POST"]),
        ("PATCH", "/api", &["GET", "POST"]),
        ("PUT", "/api/cmd", &["GET", "POST"]),
        ("DELETE", "/api/cmd", &["GET", "POST"]),
    ] {
        let response = client.plain(method, target, "");
        assert_error(&response, 405);
        let allow = response.header("allow").unwrap_or_default();
        let listed: Vec<&str> = allow.split(',').map(str::trim).collect();
        assert!(
            allowed.iter().all(|m| listed.contains(m)),
            "{method} {target}: {allow:?}"
        );
    }
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
        "application/jsonx",
    ] {
        let fields = [("Content-Type", content_type)];
        let response = client.request("POST", "/api", &fields, r#"{"id":1,"data":1}"#);
        assert_error(&response, 415);
    }
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=UTF-8",
    ] {
        let fields = [("Content-Type", content_type)];
        let response = client.request("POST", "/api", &fields, r#"{"id":1,"data":1}"#);
        assert_eq!(response.status, 200, "{content_type}: {response:?}");
    }
    for target in ["/", "/nope", "/apix", "/api/nope", "/API?id=1"] {
        assert_error(&client.get(target), 404);
    }
}

/// The requests of ExDaas's own controller tests, in their order and as its
/// HTTP client wrote them, with its answers.
#[test]
fn the_wire_of_exdaas_replayed() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    let fields = [
        ("User-Agent", "hackney/1.15.2"),
        ("Accept", "application/json"),
        ("Content-Type", "application/json"),
        ("Accept-Encoding", "gzip, deflate"),
    ];
    let blue = r#"{"id":null,"data":{"color":"blue"}}"#;
    for (method, target, body, answer) in [
        (
            "POST",
            "/api",
            blue,
            json!({"id": 1, "data": {"color": "blue"}}),
        ),
        (
            "POST",
            "/api",
            blue,
            json!({"id": 2, "data": {"color": "blue"}}),
        ),
        (
            "GET",
            "/api?id=2",
            "",
            json!({"id": 2, "data": {"color": "blue"}}),
        ),
        (
            "POST",
            "/api",
            r#"{"id":1,"data":{"color":"blue"}}"#,
            json!({"id": 1, "data": {"color": "blue"}}),
        ),
        (
            "POST",
            "/api",
            r#"{"id":"1","data":{"color":"blue"}}"#,
            json!({"id": 1, "data": {"color": "blue"}}),
        ),
        (
            "GET",
            "/api?id=1",
            "",
            json!({"id": 1, "data": {"color": "blue"}}),
        ),
        (
            "POST",
            "/api",
            r#"{"data":{"color":"green"},"id":20000}"#,
            json!({"id": 20000, "data": {"color": "green"}}),
        ),
        (
            "GET",
            "/api?id=20000",
            "",
            json!({"id": 20000, "data": {"color": "green"}}),
        ),
        ("GET", "/api?id=404", "", json!({"id": 404, "data": null})),
        (
            "GET",
            "/api/cmd?id=1&cmd[query]=ONLY&cmd[keys][]=color&cmd[keys][]=uhh%20oh",
            "",
            json!({"values": ["blue", null]}),
        ),
        (
            "POST",
            "/api",
            r#"{"id":3,"data":{"colors":[{"type":"blue","is_blue":true},{"type":"red","is_blue":false}]}}"#,
            json!({"id": 3, "data": {"colors": [{"type": "blue", "is_blue": true}, {"type": "red", "is_blue": false}]}}),
        ),
        (
            "GET",
            "/api/cmd?id=3&cmd[query]=FILTER_BOOL&cmd[keys][key]=colors&cmd[keys][by]=is_blue",
            "",
            json!([{"is_blue": true, "type": "blue"}]),
        ),
    ] {
        let response = client.request(method, target, &fields, body);
        assert_eq!(
            response.status, 200,
            "{method} {target} {body}: {response:?}"
        );
        assert_eq!(json(&response.body), answer, "{method} {target} {body}");
    }
}

/// Storing one list twice emptied a shard of ExDaas from memory.
#[test]
fn a_list_stored_twice_leaves_its_neighbours_alone() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    for id in 0..32 {
        let response = client.post("/api", format!(r#"{{"id":{id},"data":{{"n":{id}}}}}"#));
        assert_eq!(response.status, 200);
    }
    for _ in 0..2 {
        let response = client.post("/api", r#"{"id":100,"data":[1,2,3]}"#);
        assert_eq!(
            (response.status, response.text()),
            (200, r#"{"id":100,"data":[1,2,3]}"#)
        );
    }
    for id in 0..32 {
        let expected = format!(r#"{{"id":{id},"data":{{"n":{id}}}}}"#);
        assert_eq!(client.get(&format!("/api?id={id}")).text(), expected);
    }
}

/// The counter of ExDaas overwrote documents stored under explicit ids.
#[test]
fn the_counter_passes_over_ids_in_use() {
    let data = TempDir::new();
    let server = serve(&data);
    let mut client = server.connect();
    for id in [1, 2, 4, 5, i64::MAX] {
        let response = client.post("/api", format!(r#"{{"id":{id},"data":"explicit"}}"#));
        assert_eq!(response.status, 200, "{response:?}");
    }
    let mut chosen = Vec::new();
    for _ in 0..10 {
        let response = client.post("/api", r#"{"id":null,"data":"counted"}"#);
        assert_eq!(response.status, 200, "{response:?}");
        let id = json(&response.body)["id"].as_i64().expect("an integer id");
        assert!(
            id > 0 && ![1, 2, 4, 5, i64::MAX].contains(&id),
            "{id} is in use"
        );
        assert!(!chosen.contains(&id), "{id} was handed out twice");
        chosen.push(id);
    }
    for id in [1, 2, 4, 5, i64::MAX] {
        assert_eq!(client.get(&format!("/docs/{id}")).text(), r#""explicit""#);
    }
}
