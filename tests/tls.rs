//! TLS through the real binary: who is let in and who is not, what a stranger sees, and that
//! everything else is as it is without.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use support::{
    certificate::{P256, Site, openssl},
    client::{Client, Expected, TIMEOUT, request, try_connect},
    json,
    server::{Launch, PATIENCE, Signal, TempDir},
};

/// A directory with certificates, and one for documents.
struct Home {
    data: TempDir,
    _files: TempDir,
    site: Site,
}

impl Home {
    fn new() -> Home {
        let files = TempDir::new();
        Home {
            data: TempDir::new(),
            site: Site::new(files.path()),
            _files: files,
        }
    }

    /// `serve` with the certificate.
    fn launch(&self) -> Launch {
        Launch::serve(self.data.path())
            .arg("--tls-cert")
            .arg(self.site.cert())
            .arg("--tls-key")
            .arg(self.site.key())
    }

    /// Runs curl for `path` of the server; `None`: it could not agree on TLS.
    fn curl(&self, address: SocketAddr, path: &str, options: &[&str]) -> Option<String> {
        let url = format!("https://localhost:{}{path}", address.port());
        let Output { status, stdout, .. } = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60", "--cacert"])
            .arg(self.site.ca())
            .args(options)
            .arg(url)
            .output()
            .expect("curl is installed");
        let text = String::from_utf8(stdout).expect("UTF-8");
        status.success().then_some(text)
    }
}

/// A figure of `/stats`.
#[track_caller]
fn figure(client: &mut Client, name: &str) -> u64 {
    let stats = json(&client.get("/stats").body);
    stats["connections"][name].as_u64().expect("a number")
}

#[test]
fn curl_and_openssl_are_let_in_by_tls_1_2_and_1_3_and_older_versions_are_refused() {
    let home = Home::new();
    let server = home.launch().cores(2).start();
    assert!(server.ready_line.contains("(TLS)"), "{}", server.ready_line);
    for (version, path) in [("1.2", "/docs/1"), ("1.3", "/docs/2")] {
        let only = format!("--tlsv{version}");
        let options = [&only, "--tls-max", version];
        let put = [
            "-X",
            "PUT",
            "-d",
            "{\"n\": 1}",
            "-H",
            "Content-Type: application/json",
        ];
        let stored = home.curl(server.address, path, &[&options[..], &put].concat());
        assert!(stored.is_some(), "PUT by TLS {version}");
        let shown = ["-w", " %{http_version} %{ssl_verify_result}"];
        let read = home.curl(server.address, path, &[&options[..], &shown].concat());
        assert_eq!(
            read.as_deref(),
            Some("{\"n\":1} 1.1 0"),
            "GET by TLS {version}"
        );
    }
    let http_1_0 = home.curl(server.address, "/docs/1", &["--http1.0"]);
    assert_eq!(http_1_0.as_deref(), Some("{\"n\":1}"));
    for (option, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        assert_eq!(
            s_client(server.address, &[option]).as_deref(),
            Some(version)
        );
    }
    let weak = ["-cipher", "ALL:@SECLEVEL=0"];
    for option in ["-tls1_1", "-tls1"] {
        assert_eq!(
            s_client(server.address, &[&[option][..], &weak].concat()),
            None,
            "{option}"
        );
    }
    // No suite without forward secrecy, and none that is not authenticated.
    for cipher in [
        "AES128-SHA",
        "AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-SHA",
        "ADH",
        "aNULL",
    ] {
        let options = ["-tls1_2", "-cipher", cipher];
        assert_eq!(s_client(server.address, &options), None, "{cipher}");
    }
    assert_eq!(
        s_client(server.address, &["-alpn", "h2"]),
        None,
        "nothing but HTTP/1"
    );
    assert!(s_client(server.address, &["-alpn", "h2,http/1.1"]).is_some());
    server.stop();
}

/// The version that `openssl s_client` agrees on; `None`: on none.
fn s_client(address: SocketAddr, options: &[&str]) -> Option<String> {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string()])
        .args(options)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
    // A version may be agreed on before something else is not.
    let said = output.status.success().then_some(output.stdout)?;
    let said = String::from_utf8_lossy(&said).into_owned();
    let (_, line) = said.split_once("\nNew, ")?;
    let version = line.split(',').next()?;
    version.starts_with("TLS").then(|| version.to_owned())
}

#[test]
fn keys_of_each_kind_and_form_are_taken() {
    let home = Home::new();
    let kinds: [(&str, &[&str]); 4] = [
        ("p256", P256),
        (
            "p384",
            &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
        ),
        ("ed25519", &["-newkey", "ed25519"]),
        ("rsa", &["-newkey", "rsa:2048"]),
    ];
    for (name, options) in kinds {
        home.site.renew(name, options);
        // As it is (PKCS#8), and in the older forms (SEC1, PKCS#1) where there is one.
        let forms: &[&[&str]] = match name {
            "ed25519" => &[],
            "rsa" => &[&["rsa", "-traditional"]],
            _ => &[&["ec"]],
        };
        let pkcs8 = fs::read(home.site.key()).expect("it was made");
        assert!(pkcs8.starts_with(b"-----BEGIN PRIVATE KEY-----"));
        let mut keys = vec![pkcs8];
        for form in forms {
            let text = openssl(form, &[("-in", &home.site.key())]);
            assert!(!text.contains("BEGIN PRIVATE KEY"), "{text}");
            keys.push(text.into_bytes());
        }
        for key in keys {
            fs::write(home.site.key(), key).expect("the directory takes files");
            let server = home.launch().cores(1).start();
            assert_eq!(home.site.shown_name(server.address), name);
            server.stop();
        }
    }
}

#[test]
fn a_reload_shows_the_new_certificate_to_new_connections_and_a_bad_file_changes_nothing() {
    let home = Home::new();
    let server = home.launch().cores(2).start();
    let mut old = home.site.connect(server.address);
    assert_eq!(old.put("/docs/1", "1").status, 201);
    assert_eq!(home.site.shown_name(server.address), "first");
    home.site.renew("second", P256);
    assert_eq!(
        home.site.shown_name(server.address),
        "first",
        "nobody asked for it"
    );
    server.signal(Signal::HUP);
    server.await_stderr("the certificate is valid until", 2);
    assert_eq!(home.site.shown_name(server.address), "second");
    assert_eq!(old.get("/docs/1").status, 200, "an old connection goes on");

    let key = fs::read(home.site.key()).expect("it was made");
    fs::write(home.site.key(), "no key").expect("the directory takes files");
    server.signal(Signal::HUP);
    server.await_stderr("stays in force", 1);
    let said = server.stderr();
    let line = said.lines().find(|line| line.contains("stays in force"));
    let line = line.expect("it was awaited");
    let name = home.site.key().display().to_string();
    assert!(line.contains("ERROR") && line.contains(&name), "{line}");
    assert_eq!(home.site.shown_name(server.address), "second");
    fs::write(home.site.key(), key).expect("the directory takes files");
    // A key of another certificate is as bad.
    home.site.renew("third", P256);
    let third = fs::read(home.site.key()).expect("it was made");
    fs::remove_file(home.site.cert()).expect("it was made");
    server.signal(Signal::HUP);
    server.await_stderr("stays in force", 2);
    assert_eq!(home.site.shown_name(server.address), "second");
    home.site.renew("fourth", P256);
    fs::write(home.site.key(), third).expect("the directory takes files");
    server.signal(Signal::HUP);
    server.await_stderr("does not belong to the first certificate", 1);
    assert_eq!(home.site.shown_name(server.address), "second");
    assert_eq!(old.get("/docs/1").status, 200);
    server.stop();
}

#[test]
fn files_that_do_not_serve_are_told_in_one_sentence() {
    let home = Home::new();
    let text = |path: &Path| fs::read_to_string(path).expect("it was made");
    let (cert, key) = (home.site.cert(), home.site.key());
    let (good_cert, good_key) = (text(&cert), text(&key));
    let encrypted = openssl(
        &["pkcs8", "-topk8", "-passout", "pass:secret"],
        &[("-in", &key)],
    );
    let p521 = openssl(
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-521",
        ],
        &[],
    );
    let other = openssl(
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ],
        &[],
    );
    let cut = &good_cert[..good_cert.len() / 2 - 200];
    let malformed = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let in_cert = cert.display().to_string();
    let in_key = key.display().to_string();
    for (cert_text, key_text, words) in [
        (
            "",
            good_key.as_str(),
            [in_cert.as_str(), "no whole certificate in PEM"],
        ),
        (cut, &good_key, [&in_cert, "no whole certificate in PEM"]),
        (malformed, &good_key, [&in_cert, "malformed"]),
        (&good_key, &good_key, [&in_cert, "no whole certificate"]),
        (&good_cert, "", [&in_key, "no whole private key"]),
        (&good_cert, &good_cert, [&in_key, "no whole private key"]),
        (&good_cert, &encrypted, [&in_key, "passphrase"]),
        (&good_cert, &p521, [&in_key, "P-256, P-384"]),
        (&good_cert, &other, [&in_key, "does not belong"]),
    ] {
        fs::write(&cert, cert_text).expect("the directory takes files");
        fs::write(&key, key_text).expect("the directory takes files");
        let exit = home.launch().run();
        assert_eq!(exit.code, Some(1), "{exit:?}");
        let lines: Vec<&str> = exit.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "one sentence: {exit:?}");
        for word in words {
            assert!(lines[0].contains(word), "{word:?}: {exit:?}");
        }
        assert!(
            !lines[0].contains("secret") && !lines[0].contains("MIG"),
            "{exit:?}"
        );
    }
    fs::remove_file(&cert).expect("it was made");
    let exit = home.launch().run();
    assert!(
        exit.stderr.contains(&in_cert) && exit.stderr.contains("No such file"),
        "{exit:?}"
    );
    for (option, missing) in [("--tls-cert", "--tls-key"), ("--tls-key", "--tls-cert")] {
        let exit = Launch::serve(home.data.path())
            .args(&[option, "x.pem"])
            .run();
        assert_eq!(exit.code, Some(1), "{exit:?}");
        assert!(exit.stderr.contains(missing), "{exit:?}");
    }
}

#[test]
fn a_request_without_tls_and_garbage_are_refused_at_once_and_counted() {
    let home = Home::new();
    let server = home.launch().cores(1).start();
    let mut plain = Client::connect(server.address);
    let response = plain.get("/docs/1");
    assert_eq!(response.status, 400);
    assert_eq!(json(&response.body)["error"], "tls_required");
    assert!(
        response.closes() && response.text().contains("https://"),
        "{response:?}"
    );
    plain.expect_closed();
    // One byte is enough to tell, and what follows is not read as a request.
    let mut plain = Client::connect(server.address);
    plain.send("P");
    assert_eq!(plain.read(Expected::Body).status, 400);
    let mut witness = home.site.connect(server.address);
    assert_eq!(witness.put("/docs/1", "1").status, 201);
    let faults = figure(&mut witness, "tls_faults");
    for garbage in [
        &b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"[..],
        b"\x16\x03\x01\xff\xff",
        b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10",
        b"\0\0\0\0\0\0\0\0\0\0\0\0",
        &[0xff; 4096],
    ] {
        let mut socket = try_connect(server.address).expect("the server listens");
        socket.write_all(garbage).expect("it is taken");
        let mut said = Vec::new();
        socket.read_to_end(&mut said).expect("it is closed well");
        assert_eq!(
            said.first(),
            Some(&21),
            "an alert to {garbage:?}, and nothing but it"
        );
        assert!(said.len() <= 7, "{said:?}");
    }
    assert_eq!(figure(&mut witness, "tls_faults"), faults + 5);
    assert!(figure(&mut witness, "tls_handshakes") >= 1);
    server.stop();
}

#[test]
fn a_stalled_handshake_is_closed_in_time_however_it_trickles() {
    let home = Home::new();
    let server = home
        .launch()
        .cores(1)
        .args(&["--head-timeout-ms", "700"])
        .start();
    let mut hello = Vec::new();
    home.site
        .client()
        .write_tls(&mut hello)
        .expect("memory takes it");
    for (sent, trickle) in [
        (0, false),
        (1, false),
        (hello.len() - 1, false),
        (hello.len(), false),
        (1, true),
    ] {
        let mut socket = try_connect(server.address).expect("the server listens");
        let began = Instant::now();
        socket.write_all(&hello[..sent]).expect("it is taken");
        if trickle {
            // One byte at a time, until the server has had enough.
            let mut trickling = socket.try_clone().expect("a descriptor");
            let hello = hello.clone();
            std::thread::spawn(move || {
                for byte in &hello[1..] {
                    if trickling.write_all(&[*byte]).is_err() {
                        break;
                    }
                    std::thread::park_timeout(Duration::from_millis(50));
                }
            });
        }
        let mut said = Vec::new();
        // Closed, or reset under what was still on its way.
        let _ = socket.read_to_end(&mut said);
        let took = began.elapsed();
        assert!(took < TIMEOUT, "{sent} bytes: closed after {took:?}");
        assert!(
            took >= Duration::from_millis(600),
            "{sent} bytes: closed after {took:?}"
        );
    }
    let mut witness = home.site.connect(server.address);
    assert_eq!(figure(&mut witness, "tls_faults"), 5);
    server.stop();
}

#[test]
fn a_record_that_does_not_become_whole_is_a_request_that_does_not() {
    let home = Home::new();
    let server = home
        .launch()
        .cores(1)
        .args(&["--head-timeout-ms", "700"])
        .start();
    let mut wire = home.site.wire(server.address);
    wire.write_all(&request("GET", "/docs/1", &[], b""))
        .expect("open");
    let mut head = [0; 12];
    wire.read_exact(&mut head).expect("an answer");
    // The first bytes of a record, and no more.
    wire.0
        .sock
        .write_all(&[23, 3, 3, 0, 200, 1, 2, 3])
        .expect("open");
    let mut rest = String::new();
    wire.read_to_string(&mut rest)
        .expect("it ends with close_notify");
    assert!(rest.contains("HTTP/1.1 408 "), "{rest}");
    server.stop();
}

#[test]
fn what_is_asked_ahead_is_answered_in_order_and_long_bodies_pass_both_ways() {
    let home = Home::new();
    let server = home.launch().cores(2).start();
    let mut client = home.site.connect(server.address);
    // Far more than is answered before it is read, so that reading stops and goes on.
    let text = format!("\"{}\"", "x".repeat(20_000));
    assert_eq!(client.put("/docs/0", &text).status, 201);
    let count = 1000;
    let mut ahead = Vec::new();
    for n in 1..=count {
        let target = format!("/docs/{n}");
        ahead.extend(request("PUT", &target, &[], n.to_string().as_bytes()));
        ahead.extend(request("GET", &target, &[], b""));
        ahead.extend(request("GET", "/docs/0", &[], b""));
    }
    let mut written = home.site.connect(server.address);
    written.send(ahead);
    for n in 1..=count {
        assert_eq!(written.read(Expected::Body).status, 201);
        assert_eq!(written.read(Expected::Body).text(), n.to_string());
        assert!(written.read(Expected::Body).body == text.as_bytes());
    }
    let body = format!("\"{}\"", "y".repeat(8 * 1024 * 1024 - 2));
    assert_eq!(client.put("/docs/long", &body).status, 201);
    assert!(client.get("/docs/long").body == body.as_bytes());
    // Chunked, and after a 100.
    client.send("PUT /docs/c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.read(Expected::NoBody).status, 100);
    client.send("3\r\n\"ab\r\n2\r\nc\"\r\n0\r\n\r\n");
    assert_eq!(client.read(Expected::Body).status, 201);
    assert_eq!(client.get("/docs/c").text(), "\"abc\"");
    let head = client.request("HEAD", "/docs/long", &[], "");
    assert_eq!(
        head.header("content-length"),
        Some(body.len().to_string().as_str())
    );
    let too_long = client.put("/docs/long", format!("{body} "));
    assert_eq!(too_long.status, 413);
    server.stop();
}

#[test]
fn each_side_says_that_it_ends_and_a_server_that_ends_says_so_as_well() {
    let home = Home::new();
    let server = home.launch().cores(1).start();
    let mut close = home.site.connect(server.address);
    close.send(request("GET", "/docs/1", &[("Connection", "close")], b""));
    assert_eq!(close.read(Expected::Body).status, 404);
    // An end without close_notify is an error to this client.
    assert!(close.read_rest().is_empty());
    // A peer that sends no more gets what it asked for, and the word that this was all.
    let mut wire = home.site.wire(server.address);
    wire.write_all(&request("GET", "/docs/1", &[], b""))
        .expect("open");
    wire.0.conn.send_close_notify();
    wire.flush().expect("open");
    let mut rest = String::new();
    wire.read_to_string(&mut rest)
        .expect("it ends with close_notify");
    assert!(rest.contains("HTTP/1.1 404 "), "{rest}");
    let mut idle = home.site.connect(server.address);
    assert_eq!(idle.get("/docs/1").status, 404);
    let silent = try_connect(server.address).expect("the server listens");
    server.signal(Signal::TERM);
    assert!(idle.read_rest().is_empty());
    let exit = server.await_end();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    drop(silent);
}

#[test]
fn an_idle_connection_is_closed_with_a_word_and_one_that_does_not_read_without() {
    let home = Home::new();
    let options = ["--idle-timeout-ms", "500", "--write-timeout-ms", "1000"];
    let server = home.launch().cores(1).args(&options).start();
    let mut idle = home.site.connect(server.address);
    assert_eq!(
        idle.put("/docs/1", format!("\"{}\"", "x".repeat(1 << 20)))
            .status,
        201
    );
    assert!(
        idle.read_rest().is_empty(),
        "closed by the server, with close_notify"
    );
    let mut deaf = home.site.wire(server.address);
    let mut ahead = Vec::new();
    for _ in 0..100 {
        ahead.extend(request("GET", "/docs/1", &[], b""));
    }
    deaf.write_all(&ahead).expect("open");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut witness = home.site.connect(server.address);
        if figure(&mut witness, "open") == 1 {
            break;
        }
        assert!(Instant::now() < deadline, "it is still there");
    }
    let mut taken = Vec::new();
    assert!(
        deaf.read_to_end(&mut taken).is_err(),
        "it was cut: no close_notify"
    );
    assert!(taken.len() < 100 << 20);
    server.stop();
}

#[test]
fn sessions_are_resumed_by_either_version_on_any_core() {
    let home = Home::new();
    let server = home.launch().cores(2).start();
    let directory = TempDir::new();
    let ticket = directory.path().join("ticket").display().to_string();
    let ask = |version: &str, options: &[&str]| {
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-no_ign_eof", version, "-connect"])
            .arg(server.address.to_string())
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is installed");
        let mut input = child.stdin.take().expect("it is piped");
        let text = "GET /docs/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        input.write_all(text.as_bytes()).expect("it is read");
        let output = child.wait_with_output().expect("it ends");
        drop(input);
        assert!(output.status.success(), "{output:?}");
    };
    for (version, each) in [("-tls1_3", 3), ("-tls1_2", 3)] {
        ask(version, &["-sess_out", &ticket]);
        for _ in 0..each {
            let output = Command::new("openssl")
                .args(["s_client", version, "-sess_in", &ticket, "-connect"])
                .arg(server.address.to_string())
                .stdin(Stdio::null())
                .output()
                .expect("openssl is installed");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(said.contains("\nReused, TLSv1."), "{version}: {said}");
        }
    }
    server.stop();
}

#[test]
fn a_feed_of_changes_flows_and_ends_by_tls() {
    let home = Home::new();
    let server = home.launch().cores(2).start();
    let mut feed = home.site.connect(server.address);
    feed.send(request("GET", "/changes?since=0", &[], b""));
    let head = feed.read_head();
    assert_eq!(head.status, 200, "{head:?}");
    let mut writer = home.site.connect(server.address);
    let mut seen = String::new();
    for n in 0..50 {
        assert_eq!(writer.put(&format!("/docs/{n}"), n.to_string()).status, 201);
        while !seen.contains(&format!("\"id\":{n},")) {
            let chunk = feed.try_read_chunk().expect("a change").expect("no end");
            seen.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }
    server.signal(Signal::TERM);
    while let Some(chunk) = feed.try_read_chunk().expect("it ends well") {
        seen.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
    }
    assert!(feed.read_rest().is_empty(), "with close_notify");
    let exit = server.await_end();
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[test]
fn what_was_acknowledged_by_tls_survives_a_kill() {
    let home = Home::new();
    let server = home.launch().cores(2).start();
    let mut client = home.site.connect(server.address);
    let mut ahead = Vec::new();
    for n in 0..500 {
        ahead.extend(request(
            "PUT",
            &format!("/docs/{n}"),
            &[],
            n.to_string().as_bytes(),
        ));
    }
    client.send(ahead);
    for _ in 0..250 {
        assert_eq!(client.read(Expected::Body).status, 201);
    }
    server.kill();
    let server = home.launch().cores(2).start();
    let mut client = home.site.connect(server.address);
    for n in 0..250 {
        assert_eq!(client.get(&format!("/docs/{n}")).text(), n.to_string());
    }
    server.stop();
}

#[test]
fn a_connection_too_many_is_told_so_in_the_words_of_tls() {
    let home = Home::new();
    let server = home
        .launch()
        .cores(1)
        .args(&["--connections-max", "1"])
        .start();
    let mut first = home.site.connect(server.address);
    assert_eq!(first.get("/docs/1").status, 404);
    let mut second = home.site.wire(server.address);
    let refused = second.write_all(b"x").expect_err("there is no room");
    assert!(refused.to_string().contains("InternalError"), "{refused}");
    assert_eq!(first.get("/docs/1").status, 404);
    server.stop();
}
