//! The server can be watched: health, readiness.

mod support;

use support::{
    assert_error,
    client::Expected,
    json,
    server::{Launch, Signal, TempDir},
};

#[test]
fn a_draining_server_is_healthy_and_not_ready() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut idle = server.connect();
    for (target, body) in [
        ("/healthz", r#"{"status":"ok"}"#),
        ("/readyz", r#"{"status":"ready"}"#),
    ] {
        let response = idle.get(target);
        assert_eq!((response.status, response.text()), (200, body));
    }
    // Requests that have begun are still answered; the 100 says that they have.
    let mut watchers = ["/readyz", "/healthz"].map(|target| {
        let mut watcher = server.connect();
        watcher.send(format!(
            "GET {target} HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        ));
        assert_eq!(watcher.read(Expected::Body).status, 100);
        watcher
    });
    server.signal(Signal::TERM);
    idle.expect_closed();
    let [ready, health] = watchers.each_mut().map(|watcher| {
        watcher.send("{}");
        watcher.read(Expected::Body)
    });
    assert_error(&ready, 503);
    assert_eq!(json(&ready.body)["error"], "draining");
    assert_eq!(health.status, 200);
    assert_eq!(server.await_end().code, Some(0));
}
