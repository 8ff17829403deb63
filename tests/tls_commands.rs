//! The commands with a server that speaks TLS.

mod support;

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use support::{
    certificate::{P256, Site, openssl},
    server::{Launch, Server, TempDir},
};

/// A server that speaks TLS, and the files for it.
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

    #[track_caller]
    fn serve(&self) -> Server {
        Launch::serve(self.data.path())
            .env("OXDAAS_TLS_CERT", &self.site.cert().display().to_string())
            .env("OXDAAS_TLS_KEY", &self.site.key().display().to_string())
            .start()
    }

    /// Runs a command with `input`; returns its exit code and what it said.
    fn run(
        &self,
        words: &[&str],
        environment: &[(&str, &Path)],
        input: &str,
    ) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oxdaas"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("OXDAAS_") || text == "PORT" {
                command.env_remove(&name);
            }
        }
        let mut child = command
            .args(words)
            .env("OXDAAS_DATA_DIR", self.data.path())
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        // A command that does not start reads nothing.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let Output {
            status,
            stdout,
            stderr,
        } = child.wait_with_output().expect("it ends");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (status.code(), text(stdout), text(stderr))
    }
}

#[test]
fn console_and_import_trust_the_authority_that_is_named_and_no_other() {
    let home = Home::new();
    let server = home.serve();
    let url = format!("https://localhost:{}", server.address.port());
    let ca = home.site.ca();
    let ca = ca.to_str().expect("UTF-8");
    let (code, said, told) = home.run(
        &["console", "--url", &url, "--ca-file", ca],
        &[],
        "put 1 {\"n\": 1}\nget 1\n",
    );
    assert_eq!((code, told.as_str()), (Some(0), ""), "{said}");
    assert!(said.ends_with("{\"n\":1}\n"), "{said}");
    let lines = "{\"id\":2,\"data\":[2]}\n{\"id\":3,\"data\":[3]}\n";
    let address = format!("https://127.0.0.1:{}/", server.address.port());
    let environment = [
        ("OXDAAS_CA_FILE", home.site.ca()),
        ("OXDAAS_URL", address.into()),
    ];
    let environment = environment
        .each_ref()
        .map(|(name, value)| (*name, value.as_path()));
    let (code, said, told) = home.run(&["import", "-"], &environment, lines);
    assert_eq!(code, Some(0), "{said}{told}");
    assert!(said.contains("2 documents stored"), "{said}");

    // This machine does not trust an authority that the test has made.
    let (code, said, told) = home.run(&["console", "--url", &url], &[], "get 1\n");
    assert_eq!((code, said.as_str()), (Some(2), ""), "{told}");
    assert!(
        told.contains("--ca-file") || told.contains("ca-certificates"),
        "{told}"
    );
    // Nor is the certificate for every name.
    let other = url.replace("localhost", "127.0.0.2");
    let (code, _, told) = home.run(
        &["console", "--url", &other, "--ca-file", ca],
        &[],
        "get 1\n",
    );
    assert_eq!(code, Some(2), "{told}");
    // Another authority, and no authority at all.
    let elsewhere = TempDir::new();
    let stranger = Site::new(elsewhere.path()).ca();
    for (file, words) in [
        (stranger.as_path(), "certificate of its authority"),
        (&home.site.key(), "holds no whole certificate"),
        (Path::new("/nowhere.pem"), "/nowhere.pem"),
    ] {
        let file = file.to_str().expect("UTF-8");
        let (code, _, told) = home.run(
            &["console", "--url", &url, "--ca-file", file],
            &[],
            "get 1\n",
        );
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains(words), "{words:?}: {told}");
    }
    // The port speaks TLS alone: a client without is told so.
    let plain = url.replace("https:", "http:");
    let (code, said, told) = home.run(&["console", "--url", &plain], &[], "get 1\n");
    assert_eq!(code, Some(1), "{said}{told}");
    assert!(format!("{said}{told}").contains("https://"), "{said}{told}");
    server.stop();
}

#[test]
fn a_certificate_of_ones_own_is_trusted_by_itself() {
    let home = Home::new();
    let own = |constraint: &str| {
        let options = [
            &[
                "req",
                "-x509",
                "-nodes",
                "-days",
                "30",
                "-subj",
                "/CN=localhost",
            ],
            &[
                "-addext",
                "subjectAltName=DNS:localhost",
                "-addext",
                constraint,
            ][..],
            P256,
        ];
        let files = [("-out", home.site.cert()), ("-keyout", home.site.key())];
        let files = files
            .each_ref()
            .map(|(option, path)| (*option, path.as_path()));
        openssl(&options.concat(), &files);
    };
    let ask = |server: &Server| {
        let url = format!("https://localhost:{}", server.address.port());
        let cert = home.site.cert();
        home.run(
            &[
                "console",
                "--url",
                &url,
                "--ca-file",
                cert.to_str().expect("UTF-8"),
            ],
            &[],
            "put 1 1\n",
        )
    };
    own("basicConstraints=critical,CA:FALSE");
    let server = home.serve();
    assert_eq!(ask(&server).0, Some(0));
    server.stop();
    own("basicConstraints=critical,CA:TRUE");
    let server = home.serve();
    let (code, _, told) = ask(&server);
    assert_eq!(code, Some(2));
    assert!(told.contains("CA:FALSE"), "{told}");
    server.stop();
}

#[test]
fn a_daemon_with_tls_starts_is_seen_and_stops() {
    let home = Home::new();
    let (cert, key) = (home.site.cert(), home.site.key());
    let environment = [
        ("OXDAAS_TLS_CERT", cert.as_path()),
        ("OXDAAS_TLS_KEY", key.as_path()),
    ];
    let start = ["start", "--cores", "1", "--listen", "127.0.0.1:0"];
    let (code, said, told) = home.run(&start, &environment, "");
    assert_eq!(code, Some(0), "{said}{told}");
    assert!(said.contains(" (TLS), 1 core"), "{said}");
    let (code, said, _) = home.run(&["status"], &environment, "");
    assert_eq!(code, Some(0), "{said}");
    let (_, port) = said
        .split_once("listens on 127.0.0.1:")
        .expect("an address");
    let port = port.split(',').next().expect("a port");
    let url = format!("https://localhost:{port}");
    let ca = home.site.ca();
    let console = [
        "console",
        "--url",
        &url,
        "--ca-file",
        ca.to_str().expect("UTF-8"),
    ];
    let (code, said, told) = home.run(&console, &[], "put 1 1\n");
    assert_eq!(code, Some(0), "{said}{told}");
    let (code, said, told) = home.run(&["stop"], &environment, "");
    assert_eq!(code, Some(0), "{said}{told}");
    // One that cannot begin says why, here and at once.
    std::fs::remove_file(&key).expect("it was made");
    let (code, _, told) = home.run(&start, &environment, "");
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains(&key.display().to_string()), "{told}");
}

#[test]
fn a_healthcheck_finds_a_server_that_speaks_tls_well() {
    let home = Home::new();
    let server = home.serve();
    let answers = format!("https://127.0.0.1:{} answers", server.address.port());
    let (cert, key) = (home.site.cert(), home.site.key());
    let options = [
        ("OXDAAS_TLS_CERT", cert.as_path()),
        ("OXDAAS_TLS_KEY", key.as_path()),
    ];
    // With the options of the server, as in its container, and without.
    for environment in [&options[..], &[]] {
        let (code, said, told) = home.run(&["healthcheck"], environment, "");
        assert_eq!((code, said.trim_end()), (Some(0), &*answers), "{told}");
    }
    server.kill();
    let (code, said, _) = home.run(&["healthcheck"], &options, "");
    assert_eq!((code, said.as_str()), (Some(1), ""));
}

#[test]
fn a_backup_by_tls_needs_the_authority_and_a_token_and_starts() {
    const READER: &str = "reader-Token_of.32+chars~/000002";
    let home = Home::new();
    let elsewhere = TempDir::new();
    let tokens = elsewhere.path().join("tokens");
    let write = |path: &Path, text: &str| std::fs::write(path, text).expect("writable");
    write(&tokens, &format!("writer-Token_of.32+chars\n{READER} ro\n"));
    let server = Launch::serve(home.data.path())
        .arg("--tls-cert")
        .arg(home.site.cert())
        .arg("--tls-key")
        .arg(home.site.key())
        .arg("--token-file")
        .arg(&tokens)
        .start();
    let mut client = home.site.connect(server.address);
    let writer = [("Authorization", "Bearer writer-Token_of.32+chars")];
    for n in 0..100 {
        let target = format!("/docs/{n}");
        assert_eq!(client.request("PUT", &target, &writer, "[1]").status, 201);
    }
    let url = format!("https://localhost:{}", server.address.port());
    let ca = home.site.ca();
    let shown = elsewhere.path().join("shown");
    let copy = elsewhere.path().join("copy");
    let backup = |token: &str, ca: &Path| {
        write(&shown, token);
        let words = [
            "backup",
            "--url",
            &url,
            "--ca-file",
            ca.to_str().expect("UTF-8"),
            "--token-file",
            shown.to_str().expect("UTF-8"),
            copy.to_str().expect("UTF-8"),
        ];
        let (code, said, told) = home.run(&words, &[], "");
        assert!(!format!("{said}{told}").contains(token), "{said}{told}");
        (code, told)
    };
    let stranger = Site::new(elsewhere.path()).ca();
    for (token, ca, words) in [
        (READER, &stranger, "certificate of its authority"),
        ("stranger-Token_of.32+chars", &ca, "answered 401"),
    ] {
        let (code, told) = backup(token, ca);
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(words), "{words:?}: {told}");
        assert!(!copy.exists(), "nothing is left behind");
    }
    // Whoever may read everything may have a copy of it.
    let (code, told) = backup(READER, &ca);
    assert_eq!(code, Some(0), "{told}");
    server.stop();
    let server = Launch::serve(&copy).start();
    assert_eq!(server.connect().get("/docs/99").text(), "[1]");
    server.stop();
}

#[test]
fn the_doctor_looks_at_the_certificate() {
    let home = Home::new();
    let (cert, key) = (home.site.cert(), home.site.key());
    let line = || {
        let (cert, key) = (cert.to_str().expect("UTF-8"), key.to_str().expect("UTF-8"));
        let words = [
            "doctor",
            "--tls-cert",
            cert,
            "--tls-key",
            key,
            "--listen",
            "127.0.0.1:0",
        ];
        let (_, said, _) = home.run(&words, &[], "");
        let mut lines = said
            .lines()
            .filter(|line| line[5..].starts_with("certificate: "));
        lines.next().expect("a line").to_owned()
    };
    assert!(
        line().starts_with("ok   certificate: with its key, valid until 20"),
        "{}",
        line()
    );
    let valid_for = |days: &str| {
        let options = [
            &[
                "req",
                "-x509",
                "-nodes",
                "-subj",
                "/CN=localhost",
                "-days",
                days,
            ],
            P256,
        ];
        openssl(&options.concat(), &[("-out", &cert), ("-keyout", &key)]);
        line()
    };
    let soon = valid_for("3");
    assert!(
        soon.starts_with("warn") && soon.contains("SIGHUP"),
        "{soon}"
    );
    let mode = |mode: &str| {
        let status = Command::new("chmod").arg(mode).arg(&key).status();
        assert!(status.expect("chmod is there").success());
        line()
    };
    valid_for("30");
    assert!(
        mode("644").starts_with("warn"),
        "everybody may read the key"
    );
    assert!(mode("600").starts_with("ok"));
    std::fs::write(&key, "no key").expect("the directory takes files");
    let fault = line();
    assert!(
        fault.starts_with("FAIL") && fault.contains(&key.display().to_string()),
        "{fault}"
    );
}
