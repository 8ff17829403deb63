//! `GET /openapi.json`: the description of the API is served, and the server keeps to it.

mod support;

use serde_json::Value;
use support::{
    json,
    server::{Launch, TempDir},
};

#[test]
fn the_description_is_served_with_its_version() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(1).start();
    let mut client = server.connect();
    let response = client.get("/openapi.json");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    let document = json(&response.body);
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    server.stop();
}

#[test]
fn every_operation_that_is_described_is_taken_and_no_other_method_is() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut client = server.connect();
    let document = json(&client.get("/openapi.json").body);
    let paths = document["paths"].as_object().expect("paths");
    for (path, item) in paths {
        let mut target = path.replace("{id}", "1");
        if path == "/changes" {
            // Otherwise the answer goes on.
            target.push_str("?wait=0");
        }
        let target = target.as_str();
        for method in [
            "GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE",
        ] {
            let described = item.get(method.to_lowercase());
            let response = client.plain(method, target, "");
            assert_eq!(
                described.is_none(),
                response.status == 405,
                "{method} {target}: {response:?}"
            );
            if let Some(operation) = described {
                let status = response.status.to_string();
                let listed = operation["responses"].get(&status);
                assert!(
                    listed.is_some_and(Value::is_object),
                    "{method} {target} answers {status}, which is not described"
                );
            }
        }
    }
    server.stop();
}
