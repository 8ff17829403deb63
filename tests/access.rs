//! Who may come in: tokens, this machine alone, or everyone; and that no token is ever shown.
//!
//! Another machine is a network namespace with a cable to this one, which needs root.

mod support;

use std::{
    fs::{self, File},
    io::Write,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use support::{
    assert_error,
    client::{Client, Expected, Response, request},
    json,
    server::{Launch, Server, Signal, TempDir},
};

const WRITER: &str = "writer-Token_of.32+chars~/000001==";
const READER: &str = "reader-Token_of.32+chars~/000002";
const STRANGE: &str = "stranger-Token_of.32+chars/000003";

/// A file with these lines that only its owner can read.
fn token_file(home: &TempDir, lines: &str) -> PathBuf {
    let path = home.path().join("tokens");
    fs::write(&path, lines).expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
    path
}

/// A server that knows both tokens.
fn guarded(home: &TempDir, cores: u32) -> Server {
    let file = token_file(home, &format!("# who writes\n{WRITER}\n\n{READER} ro\n"));
    let data = home.path().join("data");
    let launch = Launch::serve(&data).cores(cores);
    launch.arg("--token-file").arg(file).start()
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A request with a token.
#[track_caller]
fn ask(client: &mut Client, token: &str, method: &str, target: &str, body: &str) -> Response {
    client.request(method, target, &[("Authorization", &bearer(token))], body)
}

/// Checks a 401 and its challenge; `why`: the error in it, if it has one.
#[track_caller]
fn expect_unauthorized(response: &Response, why: Option<&str>) {
    let message = assert_error(response, 401);
    assert_eq!(json(&response.body)["error"], "unauthorized");
    assert!(message.contains("token"), "{message}");
    expect_challenge(response, why);
}

#[track_caller]
fn expect_forbidden(response: &Response) {
    assert_error(response, 403);
    assert_eq!(json(&response.body)["error"], "forbidden");
    expect_challenge(response, Some("insufficient_scope"));
}

#[track_caller]
fn expect_challenge(response: &Response, why: Option<&str>) {
    let challenge = response.header("www-authenticate").expect("a challenge");
    assert!(
        challenge.starts_with("Bearer realm=\"oxdaas\""),
        "{challenge}"
    );
    let error = why.map(|why| format!("error=\"{why}\""));
    match error {
        Some(error) => assert!(challenge.ends_with(&error), "{challenge}"),
        None => assert!(!challenge.contains("error="), "{challenge}"),
    }
}

/// Requests of every kind, and whether each writes.
const REQUESTS: &[(&str, &str, &str, bool)] = &[
    ("GET", "/docs/1", "", false),
    ("HEAD", "/docs/1", "", false),
    ("GET", "/docs", "", false),
    ("GET", "/docs?ids=1,2", "", false),
    ("GET", "/api?id=1", "", false),
    ("GET", "/changes?since=0&wait=0", "", false),
    ("GET", "/backup", "", false),
    ("GET", "/openapi.json", "", false),
    ("GET", "/metrics", "", false),
    ("GET", "/stats", "", false),
    (
        "POST",
        "/api/cmd",
        r#"{"id":1,"cmd":{"query":"ONLY","keys":["a"]}}"#,
        false,
    ),
    (
        "POST",
        "/batch",
        r#"{"ops":[{"get":{"id":1}},{"get":{"id":2}}]}"#,
        false,
    ),
    ("POST", "/batch", r#"{"ops":[]}"#, false),
    (
        "POST",
        "/batch",
        r#"{"ops":[{"get":{"id":1}},{"put":{"id":3,"data":1}}]}"#,
        true,
    ),
    ("POST", "/batch", r#"{"ops":[{"put":{"data":1}}]}"#, true),
    ("POST", "/batch", r#"{"ops":[{"delete":{"id":1}}]}"#, true),
    (
        "POST",
        "/batch",
        r#"{"ops":[{"increment":{"id":"n","default":0}}]}"#,
        true,
    ),
    (
        "POST",
        "/batch",
        r#"{"ops":[{"patch":{"id":1,"merge":{"b":1}}}]}"#,
        true,
    ),
    ("PUT", "/docs/1", r#"{"a":2}"#, true),
    ("PATCH", "/docs/1", r#"{"a":3}"#, true),
    ("POST", "/docs", "4", true),
    ("POST", "/docs/n/increment", r#"{"default":0}"#, true),
    ("POST", "/api", r#"{"id":1,"data":{"a":5}}"#, true),
    ("DELETE", "/docs/1", "", true),
];

#[track_caller]
fn send(
    client: &mut Client,
    token: Option<&str>,
    (method, target, body): (&str, &str, &str),
) -> Response {
    let authorization = token.map(bearer);
    let mut fields = vec![];
    if let Some(authorization) = &authorization {
        fields.push(("Authorization", authorization.as_str()));
    }
    if method == "PATCH" {
        fields.push(("Content-Type", "application/merge-patch+json"));
    }
    client.request(method, target, &fields, body)
}

#[test]
fn each_request_needs_a_token_that_grants_it() {
    let home = TempDir::new();
    let server = guarded(&home, 2);
    let mut client = server.connect();
    assert_eq!(
        ask(&mut client, WRITER, "PUT", "/docs/1", r#"{"a":1}"#).status,
        201
    );
    let position = |client: &mut Client| {
        let stats = ask(client, WRITER, "GET", "/stats", "");
        json(&stats.body)["log"]["appended"]
            .as_u64()
            .expect("a number")
    };
    let before = position(&mut client);
    for &(method, target, body, writes) in REQUESTS {
        let what = (method, target, body);
        let is_head = method == "HEAD";
        for (token, why) in [(None, None), (Some(STRANGE), Some("invalid_token"))] {
            let response = send(&mut client, token, what);
            assert_eq!(response.status, 401, "{what:?}: {response:?}");
            match is_head {
                true => expect_challenge(&response, why),
                false => expect_unauthorized(&response, why),
            }
        }
        let response = send(&mut client, Some(READER), what);
        match writes {
            true => expect_forbidden(&response),
            false => assert!(
                [200, 404].contains(&response.status),
                "{what:?}: {response:?}"
            ),
        }
    }
    assert_eq!(position(&mut client), before, "nothing was written so far");
    assert_eq!(
        ask(&mut client, READER, "GET", "/docs/1", "").text(),
        r#"{"a":1}"#
    );
    for &(method, target, body, _) in REQUESTS {
        let response = send(&mut client, Some(WRITER), (method, target, body));
        assert!(response.status < 300, "{method} {target}: {response:?}");
    }
    server.stop();
}

#[test]
fn health_and_options_are_open_and_unknown_paths_are_not() {
    let home = TempDir::new();
    let server = guarded(&home, 1);
    let mut client = server.connect();
    for target in ["/healthz", "/readyz", "/dashboard"] {
        for method in ["GET", "HEAD"] {
            assert_eq!(
                client.plain(method, target, "").status,
                200,
                "{method} {target}"
            );
        }
        expect_unauthorized(&client.post(target, ""), None);
    }
    for target in ["/docs/1", "/batch", "/stats", "*"] {
        let response = client.plain("OPTIONS", target, "");
        assert_eq!(response.status, 204, "{target}");
        assert!(response.header("allow").is_some(), "{target}");
    }
    // Without a token nothing tells which paths and documents there are.
    for (method, target) in [
        ("GET", "/nowhere"),
        ("TRACE", "/docs"),
        ("GET", "/docs/1"),
        ("GET", "/healthz/"),
    ] {
        expect_unauthorized(&client.plain(method, target, ""), None);
    }
    assert_eq!(ask(&mut client, READER, "GET", "/nowhere", "").status, 404);
    server.stop();
}

#[test]
fn the_scheme_is_in_any_case_and_everything_else_about_it_exact() {
    let home = TempDir::new();
    let server = guarded(&home, 1);
    let mut client = server.connect();
    for field in [
        format!("Bearer {READER}"),
        format!("bearer {READER}"),
        format!("BEARER   {READER}  "),
    ] {
        for name in ["Authorization", "authorization", "AUTHORIZATION"] {
            let response = client.request("GET", "/docs/1", &[(name, &field)], "");
            assert_eq!(response.status, 404, "{name}: {field}");
        }
    }
    for (field, why) in [
        (String::new(), None),
        ("Bearer".to_owned(), None),
        (READER.to_owned(), None),
        (format!("Basic {READER}"), None),
        (format!("Bearer{READER}"), None),
        (format!("Bearer, {READER}"), None),
        (format!("BearerX {READER}"), None),
        (format!("Bearer {READER}x"), Some("invalid_token")),
        (format!("Bearer {}", &READER[1..]), Some("invalid_token")),
        (
            format!("Bearer {}", READER.to_lowercase()),
            Some("invalid_token"),
        ),
        (format!("Bearer {READER} ro"), Some("invalid_token")),
        (format!("Bearer {READER},{WRITER}"), Some("invalid_token")),
        (format!("Bearer {STRANGE}"), Some("invalid_token")),
        (
            format!("Bearer {}", "x".repeat(8000)),
            Some("invalid_token"),
        ),
        ("Bearer #".to_owned(), Some("invalid_token")),
    ] {
        let response = client.request("GET", "/docs/1", &[("Authorization", &field)], "");
        expect_unauthorized(&response, why);
    }
    // Two readers of two fields could each believe another one.
    for (first, second) in [(READER, READER), (STRANGE, READER), (READER, STRANGE)] {
        let fields = [
            ("Authorization", &*bearer(first)),
            ("X-Between", "1"),
            ("authorization", &bearer(second)),
        ];
        let response = client.request("GET", "/docs/1", &fields, "");
        assert_error(&response, 400);
        assert!(response.text().contains("Authorization"), "{response:?}");
    }
    assert_eq!(ask(&mut client, READER, "GET", "/docs/1", "").status, 404);
    server.stop();
}

#[test]
fn a_refused_request_is_read_to_its_end_and_not_understood() {
    let home = TempDir::new();
    let server = guarded(&home, 2);
    let mut client = server.connect();
    // What is in the bodies looks like requests, and is no JSON either.
    let inner = request(
        "PUT",
        "/docs/9",
        &[("Authorization", &bearer(WRITER))],
        b"9",
    );
    let mut bytes = Vec::new();
    for token in [STRANGE, READER] {
        let authorization = bearer(token);
        bytes.extend(request(
            "PUT",
            "/docs/1",
            &[("Authorization", &authorization)],
            &inner,
        ));
        bytes.extend(format!(
            "POST /docs HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
            inner.len()
        ).into_bytes());
        bytes.extend(&inner);
        bytes.extend(b"\r\n0\r\n\r\n");
    }
    bytes.extend(request(
        "GET",
        "/docs/9",
        &[("Authorization", &bearer(READER))],
        b"",
    ));
    client.send(&bytes);
    for _ in 0..2 {
        expect_unauthorized(&client.read(Expected::Body), Some("invalid_token"));
    }
    for _ in 0..2 {
        expect_forbidden(&client.read(Expected::Body));
    }
    assert_eq!(
        client.read(Expected::Body).status,
        404,
        "it was never stored"
    );
    // A body that is no JSON is none of the reasons.
    let response = send(&mut client, Some(READER), ("PUT", "/docs/1", "{nope"));
    expect_forbidden(&response);
    server.stop();
}

#[test]
fn a_refused_body_is_not_waited_for() {
    let home = TempDir::new();
    let server = guarded(&home, 1);
    let length = 1 << 20;
    for expects in ["", "Expect: 100-continue\r\n"] {
        for framing in [
            format!("Content-Length: {length}"),
            "Transfer-Encoding: chunked".to_owned(),
        ] {
            for (line, token, status) in [
                ("PUT /docs/1", STRANGE, 401),
                ("PUT /docs/1", READER, 403),
                ("POST /batch", STRANGE, 401),
                // Nobody needs a body to ask for that.
                ("GET /healthz", STRANGE, 401),
                ("OPTIONS /docs", STRANGE, 401),
            ] {
                let mut client = server.connect();
                client.send(request("GET", "/healthz", &[], b""));
                client.send(format!(
                    "{line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{expects}{framing}\r\n\r\n"
                ));
                assert_eq!(client.read(Expected::Body).status, 200);
                let response = client.read(Expected::Body);
                assert_eq!(
                    response.status, status,
                    "{line} {expects} {framing}: {response:?}"
                );
                assert!(
                    response.closes(),
                    "where the next request begins is not known"
                );
                // What is still on its way is no request.
                let _ = client.try_send(request("GET", "/healthz", &[], b""));
                client.expect_closed();
            }
        }
    }
    // With a token, the body is taken as ever.
    let mut client = server.connect();
    client.send(format!(
        "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {WRITER}\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
    ));
    assert_eq!(client.read(Expected::Body).status, 100);
    client.send("1");
    assert_eq!(client.read(Expected::Body).status, 201);
    // One byte after the other, whatever of it was judged meanwhile.
    for byte in request(
        "PUT",
        "/docs/1",
        &[("Authorization", &bearer(WRITER))],
        b"[1,2]",
    ) {
        client.send([byte]);
    }
    assert_eq!(client.read(Expected::Body).status, 200);
    server.stop();
}

#[test]
fn sighup_brings_the_tokens_of_the_file_into_force_on_open_connections() {
    let home = TempDir::new();
    let server = guarded(&home, 2);
    // One a core, likely; each has requests before and after.
    let mut clients: Vec<Client> = (0..6).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(ask(client, WRITER, "GET", "/docs/1", "").status, 404);
        assert_eq!(ask(client, STRANGE, "GET", "/docs/1", "").status, 401);
    }
    token_file(&home, &format!("{STRANGE}\n{WRITER} ro\n"));
    server.signal(Signal::HUP);
    server.await_stderr("2 tokens", 2);
    for client in &mut clients {
        assert_eq!(ask(client, STRANGE, "PUT", "/docs/1", "1").status / 100, 2);
        assert_eq!(ask(client, WRITER, "PUT", "/docs/1", "1").status, 403);
        assert_eq!(ask(client, READER, "GET", "/docs/1", "").status, 401);
    }
    // A file that is wrong changes nothing, and is told without what it holds.
    token_file(&home, &format!("{READER}\n{WRITER} all\n"));
    server.signal(Signal::HUP);
    server.await_stderr("line 2", 1);
    fs::remove_file(home.path().join("tokens")).expect("it is there");
    server.signal(Signal::HUP);
    server.await_stderr("cannot be read", 1);
    for client in &mut clients {
        assert_eq!(ask(client, STRANGE, "GET", "/docs/1", "").status, 200);
        assert_eq!(ask(client, READER, "GET", "/docs/1", "").status, 401);
    }
    let said = server.stderr();
    for token in [WRITER, READER, STRANGE] {
        assert!(!said.contains(token), "{said}");
    }
    server.stop();
}

#[test]
fn a_token_file_that_is_wrong_refuses_to_start_and_stays_secret() {
    let home = TempDir::new();
    let data = home.path().join("data");
    let secret = "Sup3rSecret-token-that-nobody-sees";
    for (lines, expected) in [
        (format!("# one\n{secret} all\n"), "line 2"),
        (format!("{secret}\u{e4} rw\n"), "line 1"),
        (format!("x\n\n{secret} rw rw\n"), "line 3"),
        (
            format!("{secret}\n{secret} ro\n"),
            "line 2: the token of line 1",
        ),
        (format!("{secret}={secret}\n"), "line 1"),
        (format!("{}\n", secret.repeat(100)), "line 1"),
        (format!("# {secret}\n"), "no token"),
        (String::new(), "no token"),
    ] {
        let path = token_file(&home, &lines);
        let path = path.to_str().expect("UTF-8");
        for launch in [
            Launch::serve(&data).arg("--token-file").arg(path),
            Launch::serve(&data).env("OXDAAS_TOKEN_FILE", path),
            Launch::bare(&[
                "start",
                "--listen",
                "127.0.0.1:0",
                "--token-file",
                path,
                "--data-dir",
            ])
            .arg(&data),
        ] {
            let exit = launch.run();
            assert_eq!(exit.code, Some(1), "{exit:?}");
            assert!(
                exit.stderr.contains(expected) && exit.stderr.contains(path),
                "{expected}: {exit:?}"
            );
            assert!(!exit.stderr.contains(&secret[..12]), "{exit:?}");
        }
    }
    let exit = Launch::serve(&data)
        .args(&["--token-file", "/nonexistent/tokens"])
        .run();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    assert!(exit.stderr.contains("/nonexistent/tokens"), "{exit:?}");
}

#[test]
fn a_token_file_that_others_can_read_is_told_with_the_remedy() {
    let home = TempDir::new();
    let path = token_file(&home, &format!("{WRITER}\nshort\n"));
    let launch = Launch::serve(&home.path().join("data")).cores(1);
    let launch = launch.arg("--token-file").arg(&path);
    let server = launch.start();
    let said = server.stderr();
    assert!(!said.contains("chmod"), "{said}");
    assert!(
        said.contains("line 2") && !said.contains("line 1") && !said.contains("short"),
        "{said}"
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
    server.signal(Signal::HUP);
    server.await_stderr(&format!("chmod o-r {}", path.display()), 1);
    server.stop();
    let server = launch.start();
    server.await_stderr(&format!("chmod o-r {}", path.display()), 1);
    server.stop();
}

/// Runs a command with `input`, on this server and with this token file; its exit code and all
/// that it said.
#[track_caller]
fn command(server: &Server, file: &Path, words: &[&str], input: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxdaas"));
    let mut child = command
        .args(words)
        .args([
            "--url",
            &format!("http://{}", server.address),
            "--token-file",
        ])
        .arg(file)
        .env_remove("OXDAAS_TOKEN")
        .env_remove("OXDAAS_TOKEN_FILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // It may end before it has read everything.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8(said).expect("UTF-8"),
    )
}

#[test]
fn the_commands_work_with_the_file_of_the_server() {
    let home = TempDir::new();
    let server = guarded(&home, 2);
    let file = home.path().join("tokens");
    let (code, said) = command(
        &server,
        &file,
        &["console"],
        "put 1 {\"n\":1}\nget 1\nstats\n",
    );
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = command(
        &server,
        &file,
        &["import", "-"],
        "{\"id\":2,\"data\":2}\n{\"id\":3,\"data\":3}\n",
    );
    assert_eq!(code, Some(0), "{said}");
    let reads = home.path().join("reads");
    fs::write(&reads, format!("{READER}\n")).expect("writable");
    let (code, said) = command(&server, &reads, &["console"], "get 2\nput 2 3\n");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.starts_with("2\n") && said.contains("forbidden"),
        "{said}"
    );
    let (code, said) = command(&server, &reads, &["import", "-"], "{\"id\":2,\"data\":4}\n");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("may only read"), "{said}");
    let strange = home.path().join("strange");
    fs::write(&strange, STRANGE).expect("writable");
    for (words, input, expected) in [
        (&["console"][..], "get 2\n", 1),
        (&["import", "-"], "{\"id\":2,\"data\":4}\n", 2),
    ] {
        let (code, said) = command(&server, &strange, words, input);
        assert_eq!(code, Some(expected), "{said}");
        assert!(said.contains("token") && !said.contains(STRANGE), "{said}");
    }
    let mut client = server.connect();
    assert_eq!(ask(&mut client, READER, "GET", "/docs/2", "").text(), "2");
    server.stop();
}

#[test]
fn no_token_is_shown_anywhere() {
    let home = TempDir::new();
    let data = home.path().join("data");
    let file = token_file(&home, &format!("{WRITER} rw # one\n{READER} ro\n"));
    let (data_text, file_text) = (data.to_str().expect("UTF-8"), file.to_str().expect("UTF-8"));
    let oxdaas = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_oxdaas"))
            .args(words)
            .env("OXDAAS_DATA_DIR", data_text)
            .env("OXDAAS_TOKEN_FILE", file_text)
            .env("OXDAAS_ACCESS_LOG", data.join("access.log"))
            .env("OXDAAS_SLOW_MS", "1")
            .env_remove("OXDAAS_TOKEN")
            .env_remove("PORT")
            .output()
            .expect("the binary starts");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8(said).expect("UTF-8"),
        )
    };
    // A daemon: what it says is in a file that stays.
    let (code, said) = oxdaas(&["start", "--listen", "127.0.0.1:0", "--cores", "2"]);
    assert_eq!(code, Some(0), "{said}");
    let mut shown = vec![said];
    let (code, status) = oxdaas(&["status"]);
    assert_eq!(code, Some(0), "{status}");
    let word = |mark: &str| {
        let (_, rest) = status.split_once(mark).expect("status says it");
        rest.split([' ', ',']).next().expect("a word").to_owned()
    };
    let (process, address) = (word("process "), word("listens on "));
    shown.push(status.clone());
    let mut client = Client::connect(address.parse().expect("an address"));
    for token in [WRITER, READER, STRANGE] {
        for &(method, target, body, _) in REQUESTS {
            let response = send(&mut client, Some(token), (method, target, body));
            let body = String::from_utf8_lossy(&response.body);
            shown.push(format!("{:?}{body}", response.headers));
        }
    }
    // Requests that are no requests, with a token in them.
    for bytes in [
        format!("GET /docs/1 HTTP/1.1\r\nAuthorization: Bearer {WRITER}\r\n\r\n"),
        format!("GET /docs/1 HTTP/9.9\r\nHost: a\r\nAuthorization: Bearer {WRITER}\r\n\r\n"),
        format!("GET /docs/1 HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer {WRITER}\r\n\r\n"),
        format!("GET /docs/1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {WRITER}\n\r\n"),
        format!("Bearer {WRITER}\r\n\r\n"),
        format!(
            "PUT /docs/1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {WRITER}\r\nContent-Length: 99999999999\r\n\r\n"
        ),
    ] {
        let mut client = Client::connect(address.parse().expect("an address"));
        client.send(bytes);
        let response = client.read(Expected::Body);
        assert!(response.status >= 400, "{response:?}");
        shown.push(format!("{response:?}{}", response.text()));
    }
    for target in ["/metrics", "/stats"] {
        shown.push(
            ask(&mut client, READER, "GET", target, "")
                .text()
                .to_owned(),
        );
    }
    let of_process = |name: &str| {
        let path = format!("/proc/{process}/{name}");
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        String::from_utf8_lossy(&bytes).into_owned()
    };
    for name in ["cmdline", "comm", "environ", "status"] {
        shown.push(of_process(name));
    }
    for thread in fs::read_dir(format!("/proc/{process}/task")).expect("ours") {
        let comm = thread.expect("an entry").path().join("comm");
        shown.push(fs::read_to_string(comm).unwrap_or_default());
    }
    // A file that became wrong is told in the log.
    token_file(&home, &format!("{WRITER} everything\n"));
    let pid = rustix::process::Pid::from_raw(process.parse().expect("a number")).expect("not 0");
    rustix::process::kill_process(pid, Signal::HUP).expect("ours");
    let log = || fs::read_to_string(data.join("oxdaas.log")).expect("the daemon has a log");
    let deadline = std::time::Instant::now() + support::server::PATIENCE;
    while !log().contains("line 1") {
        assert!(std::time::Instant::now() < deadline, "{}", log());
        std::thread::yield_now();
    }
    let (code, said) = oxdaas(&["stop"]);
    assert_eq!(code, Some(0), "{said}");
    shown.extend([said, log()]);
    for file in fs::read_dir(&data).expect("it is there") {
        let bytes = fs::read(file.expect("an entry").path()).expect("readable");
        shown.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    for token in [WRITER, READER, STRANGE] {
        for text in &shown {
            assert!(!text.contains(token), "{token} is in {text}");
            assert!(
                !text.contains(&token[..20]),
                "a part of {token} is in {text}"
            );
        }
    }
}

/// Another machine: a network namespace with a cable to this one.
struct Elsewhere {
    name: String,
    /// This machine, as seen from there.
    here: [IpAddr; 2],
}

impl Elsewhere {
    /// `None` where nobody may make one, which is said.
    fn new() -> Option<Elsewhere> {
        let number = std::process::id() % 16_000;
        let name = format!("oxt{number}");
        // Of the networks for tests of devices (RFC 2544), and a unique local one.
        let v4 = format!("198.18.{}.{}", number / 64, number % 64 * 4);
        let v4: std::net::Ipv4Addr = v4.parse().expect("an address");
        let v4 = |host: u32| std::net::Ipv4Addr::from(u32::from(v4) + host);
        let v6 = |host: u32| format!("fd6f:7864:6161:{number:x}::{host}");
        if let Err(why) = ip(&["netns", "add", &name]) {
            eprintln!(
                "SKIPPED: no network namespace can be made here (as root, with iproute2): {why}"
            );
            return None;
        }
        let elsewhere = Elsewhere {
            here: [IpAddr::from(v4(1)), v6(1).parse().expect("an address")],
            name: name.clone(),
        };
        let (near, far) = (format!("{name}n"), format!("{name}f"));
        let there = ["-n", &name];
        let must = |words: &[&str]| ip(words).unwrap_or_else(|why| panic!("ip {words:?}: {why}"));
        must(&[
            "link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &name,
        ]);
        must(&["addr", "add", &format!("{}/30", v4(1)), "dev", &near]);
        must(&[
            "addr",
            "add",
            &format!("{}/64", v6(1)),
            "dev",
            &near,
            "nodad",
        ]);
        must(&["link", "set", &near, "up"]);
        must(
            &[
                &there[..],
                &["addr", "add", &format!("{}/30", v4(2)), "dev", &far],
            ]
            .concat(),
        );
        must(
            &[
                &there[..],
                &[
                    "addr",
                    "add",
                    &format!("{}/64", v6(2)),
                    "dev",
                    &far,
                    "nodad",
                ],
            ]
            .concat(),
        );
        must(&[&there[..], &["link", "set", &far, "up"]].concat());
        Some(elsewhere)
    }

    /// Connects from there.
    #[track_caller]
    fn connect(&self, address: SocketAddr) -> Client {
        let there = File::open(Path::new("/run/netns").join(&self.name)).expect("it was made");
        // A socket stays in the namespace of the thread that made it.
        let connecting = std::thread::spawn(move || {
            use std::os::fd::AsFd;
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(there.as_fd(), network).expect("root may");
            Client::try_connect(address)
        });
        let connected = connecting.join().expect("the thread ends");
        connected.unwrap_or_else(|error| panic!("connect {address}: {error}"))
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // The cable goes with it.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).output();
    let output = output.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_owned()),
    }
}

/// A server on all addresses of both kinds, and its data.
fn reachable(home: &TempDir, options: &[&str]) -> Server {
    let launch = Launch::bare(&["serve", "--listen", "[::]:0", "--cores", "2", "--data-dir"]);
    launch.arg(home.path().join("data")).args(options).start()
}

#[test]
fn without_tokens_other_machines_are_told_what_to_do() {
    let Some(elsewhere) = Elsewhere::new() else {
        return;
    };
    let home = TempDir::new();
    let server = reachable(&home, &[]);
    let said = server.stderr();
    assert!(
        said.contains("only this machine") && said.contains("--token-file"),
        "{said}"
    );
    let port = server.address.port();
    // This machine, by every name of it that is one of the loopback.
    for here in ["127.0.0.1", "127.8.9.10", "::1"] {
        let address = SocketAddr::new(here.parse().expect("an address"), port);
        let response = Client::connect(address).put("/docs/1", "1");
        assert!(response.status < 300, "{here}: {response:?}");
    }
    for here in elsewhere.here {
        let address = SocketAddr::new(here, port);
        let mut client = elsewhere.connect(address);
        for &(method, target, body, _) in REQUESTS {
            // No token helps, and no claim about where a request comes from.
            let fields = [
                ("Authorization", "Bearer x"),
                ("X-Forwarded-For", "127.0.0.1"),
                ("Forwarded", "for=127.0.0.1"),
            ];
            let response = client.request(method, target, &fields, body);
            assert_eq!(response.status, 403, "{method} {target}: {response:?}");
            if method != "HEAD" {
                let message = assert_error(&response, 403);
                assert_eq!(json(&response.body)["error"], "forbidden");
                for remedy in ["--token-file", "OXDAAS_TOKEN_FILE", "--allow-anonymous"] {
                    assert!(message.contains(remedy), "{message}");
                }
            }
        }
        assert_eq!(client.get("/healthz").status, 200);
        assert_eq!(client.get("/readyz").status, 200);
        assert_eq!(client.plain("OPTIONS", "/docs", "").status, 204);
        // Nobody has a body kept here who may not come in.
        client.send("PUT /docs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n");
        assert_error(&client.read(Expected::Body), 403);
        client.expect_closed();
    }
    // From here to the same address: that is no loopback either.
    let address = SocketAddr::new(elsewhere.here[0], port);
    assert_error(&Client::connect(address).get("/docs/1"), 403);
    server.stop();
}

#[test]
fn other_machines_come_in_with_a_token_or_where_everyone_does() {
    let Some(elsewhere) = Elsewhere::new() else {
        return;
    };
    let home = TempDir::new();
    let file = token_file(&home, WRITER);
    let address = |server: &Server| SocketAddr::new(elsewhere.here[0], server.address.port());
    let server = reachable(&home, &["--token-file", file.to_str().expect("UTF-8")]);
    let mut client = elsewhere.connect(address(&server));
    assert_eq!(ask(&mut client, WRITER, "PUT", "/docs/1", "1").status, 201);
    expect_unauthorized(&client.get("/docs/1"), None);
    // To be on the same machine is no token.
    let here = SocketAddr::new(
        "127.0.0.1".parse().expect("an address"),
        server.address.port(),
    );
    expect_unauthorized(&Client::connect(here).get("/docs/1"), None);
    server.stop();
    let server = reachable(&home, &["--allow-anonymous"]);
    assert!(
        server.stderr().contains("everyone who reaches"),
        "{}",
        server.stderr()
    );
    let mut client = elsewhere.connect(address(&server));
    assert_eq!(client.put("/docs/1", "2").status, 200);
    assert_eq!(client.get("/docs/1").text(), "2");
    server.stop();
    // The convention of platforms: all addresses, and nobody but this machine.
    let launch =
        Launch::bare(&["serve", "--cores", "1", "--data-dir"]).arg(home.path().join("data"));
    let server = launch.clone().env("PORT", "0").start();
    assert!(
        server.stderr().contains("only this machine"),
        "{}",
        server.stderr()
    );
    assert_error(&elsewhere.connect(address(&server)).get("/docs/1"), 403);
    server.stop();
    let server = launch
        .env("PORT", "0")
        .env("OXDAAS_ALLOW_ANONYMOUS", "1")
        .start();
    assert_eq!(
        elsewhere.connect(address(&server)).get("/docs/1").text(),
        "2"
    );
    server.stop();
}

#[test]
fn contradictions_refuse_to_start() {
    let home = TempDir::new();
    let file = token_file(&home, WRITER);
    let serve = || Launch::serve(&home.path().join("data")).cores(1);
    for launch in [
        serve()
            .arg("--allow-anonymous")
            .arg("--token-file")
            .arg(&file),
        serve()
            .env("OXDAAS_ALLOW_ANONYMOUS", "true")
            .arg("--token-file")
            .arg(&file),
    ] {
        let exit = launch.run();
        assert_eq!(exit.code, Some(1), "{exit:?}");
        assert!(exit.stderr.contains("give one of them"), "{exit:?}");
    }
    let exit = serve().env("OXDAAS_ALLOW_ANONYMOUS", "perhaps").run();
    assert_eq!(exit.code, Some(2), "{exit:?}");
    for value in ["", "0", "false"] {
        let launch = serve().env("OXDAAS_ALLOW_ANONYMOUS", value);
        let server = launch.arg("--token-file").arg(&file).start();
        assert_eq!(server.connect().get("/docs/1").status, 401, "{value:?}");
        server.stop();
    }
    // That someone forgot which file it is must not let everyone in.
    let exit = serve().env("OXDAAS_TOKEN_FILE", "").run();
    assert_eq!(exit.code, Some(2), "{exit:?}");
    assert!(exit.stderr.contains("--token-file"), "{exit:?}");
}
