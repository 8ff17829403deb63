//! TLS together with what decides who may come in: tokens, pages of other origins, and files that
//! are read again.

mod support;

use std::{fs, path::PathBuf};

use support::{
    assert_error,
    certificate::{P256, Site},
    client::{Client, Expected, Response},
    json,
    server::{Launch, Server, Signal, TempDir},
};

const WRITER: &str = "writer-Token_of.32+chars~/000001==";
const READER: &str = "reader-Token_of.32+chars~/000002";
const STRANGE: &str = "stranger-Token_of.32+chars/000003";
const APP: &str = "https://app.example";

/// A directory with a certificate, tokens and documents.
struct Home {
    directory: TempDir,
    site: Site,
}

impl Home {
    fn new() -> Home {
        let directory = TempDir::new();
        let site = Site::new(directory.path());
        Home { directory, site }
    }

    /// `serve` with the certificate.
    fn launch(&self) -> Launch {
        Launch::serve(&self.directory.path().join("data"))
            .arg("--tls-cert")
            .arg(self.site.cert())
            .arg("--tls-key")
            .arg(self.site.key())
    }

    /// The token file, with these lines from now on.
    fn tokens(&self, lines: &str) -> PathBuf {
        let path = self.directory.path().join("tokens");
        fs::write(&path, lines).expect("writable");
        path
    }

    /// A server that knows both tokens.
    fn guarded(&self) -> Server {
        let file = self.tokens(&format!("{WRITER}\n{READER} ro\n"));
        let launch = self.launch().cores(2).args(&["--cors-origin", APP]);
        launch.arg("--token-file").arg(file).start()
    }
}

/// A request with a token, of a page of `APP`.
#[track_caller]
fn ask(client: &mut Client, token: &str, method: &str, target: &str, body: &str) -> Response {
    let authorization = format!("Bearer {token}");
    let fields = [("Authorization", authorization.as_str()), ("Origin", APP)];
    client.request(method, target, &fields, body)
}

fn allowed_origin(response: &Response) -> Option<&str> {
    response.header("access-control-allow-origin")
}

#[test]
fn tokens_and_origins_hold_by_tls_as_they_do_without() {
    let home = Home::new();
    let server = home.guarded();
    let mut client = home.site.connect(server.address);
    assert_error(&client.get("/docs/1"), 401);
    for (token, method, status) in [
        (STRANGE, "PUT", 401),
        (&WRITER[..20], "PUT", 401),
        (READER, "PUT", 403),
        (READER, "GET", 404),
        (WRITER, "PUT", 201),
        (READER, "GET", 200),
        (WRITER, "DELETE", 204),
    ] {
        let response = ask(&mut client, token, method, "/docs/1", "1");
        assert_eq!(response.status, status, "{token} {method}: {response:?}");
        // Errors as well: a page sees why.
        assert_eq!(allowed_origin(&response), Some(APP), "{response:?}");
    }
    // A preflight shows no token.
    let preflight = |origin: &'static str| {
        [
            ("Origin", origin),
            ("Access-Control-Request-Method", "PUT"),
            ("Access-Control-Request-Headers", "authorization"),
        ]
    };
    let response = client.request("OPTIONS", "/docs/1", &preflight(APP), "");
    assert_eq!(response.status, 204, "{response:?}");
    assert_eq!(allowed_origin(&response), Some(APP));
    let methods = response.header("access-control-allow-methods");
    assert!(methods.is_some_and(|methods| methods.contains("PUT")));
    let plain_app = "http://app.example";
    let response = client.request("OPTIONS", "/docs/1", &preflight(plain_app), "");
    assert_eq!(allowed_origin(&response), None, "another scheme is another");
    assert_eq!(response.header("access-control-allow-methods"), None);
    // A body of nobody known is not waited for, and the connection ends by TLS's own word.
    let mut refused = home.site.connect(server.address);
    refused.send("PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n");
    assert_error(&refused.read(Expected::Body), 401);
    refused.expect_closed();
    // A token that is shown without TLS was shown in vain, and is not shown again.
    let mut plain = Client::connect(server.address);
    let response = ask(&mut plain, WRITER, "GET", "/docs/1", "");
    assert_eq!(json(&response.body)["error"], "tls_required");
    plain.expect_closed();
    let said = server.stderr();
    for token in [WRITER, READER, STRANGE] {
        let shown = format!("{response:?}{}{said}", response.text());
        assert!(!shown.contains(&token[..20]), "{shown}");
    }
    server.stop();
}

#[test]
fn a_page_of_the_server_itself_writes_by_tls_and_pages_of_others_do_not() {
    let home = Home::new();
    let server = home.launch().cores(1).start();
    let mut client = home.site.connect(server.address);
    let host = "localhost:4000";
    let mut put = |origin: &str| {
        // A field of its own, so that the client adds no other.
        client.send(format!(
            "PUT /docs/1 HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nContent-Length: 1\r\n\r\n1"
        ));
        client.read(Expected::Body).status
    };
    assert_eq!(put("https://localhost:4000"), 201);
    assert_eq!(put("https://localhost:4001"), 403);
    assert_eq!(put("https://evil.example"), 403);
    assert_eq!(put("null"), 403);
    server.stop();
}

#[test]
fn one_sighup_brings_both_tokens_and_certificate_into_force() {
    let home = Home::new();
    let server = home.guarded();
    let mut old = home.site.connect(server.address);
    assert_eq!(ask(&mut old, WRITER, "PUT", "/docs/1", "1").status, 201);
    assert_eq!(home.site.shown_name(server.address), "first");
    home.tokens(&format!("{STRANGE}\n"));
    home.site.renew("second", P256);
    assert_eq!(ask(&mut old, STRANGE, "GET", "/docs/1", "").status, 401);
    server.signal(Signal::HUP);
    server.await_stderr("1 tokens", 1);
    server.await_stderr("the certificate is valid until", 2);
    assert_eq!(home.site.shown_name(server.address), "second");
    let mut new = home.site.connect(server.address);
    for client in [&mut old, &mut new] {
        assert_eq!(ask(client, STRANGE, "GET", "/docs/1", "").status, 200);
        assert_eq!(ask(client, WRITER, "GET", "/docs/1", "").status, 401);
    }

    // Neither waits for the other to be right.
    home.tokens(&format!("{WRITER}\n"));
    let key = fs::read(home.site.key()).expect("it was made");
    fs::write(home.site.key(), "no key").expect("writable");
    server.signal(Signal::HUP);
    server.await_stderr("stays in force", 1);
    server.await_stderr("1 tokens", 2);
    assert_eq!(home.site.shown_name(server.address), "second");
    assert_eq!(ask(&mut old, WRITER, "GET", "/docs/1", "").status, 200);
    assert_eq!(ask(&mut old, STRANGE, "GET", "/docs/1", "").status, 401);

    fs::write(home.site.key(), key).expect("writable");
    home.site.renew("third", P256);
    home.tokens("two words too many\n");
    server.signal(Signal::HUP);
    server.await_stderr("the tokens stay what they were", 1);
    server.await_stderr("the certificate is valid until", 3);
    assert_eq!(home.site.shown_name(server.address), "third");
    assert_eq!(ask(&mut old, WRITER, "GET", "/docs/1", "").status, 200);
    server.stop();
}
