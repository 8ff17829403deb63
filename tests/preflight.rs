//! The command line, the ready line, the exit codes, and the sentences with
//! which the server says why it cannot start.

mod support;

use std::{fs, net::TcpListener, path::Path};

use support::server::{Exit, Launch, Signal, TempDir, find_bytes, snapshot};

/// Checks a refusal: an exit code that is not 0, one sentence on stderr that
/// holds all of `words`, no panic and no backtrace.
#[track_caller]
fn assert_refused(exit: &Exit, words: &[&str]) {
    assert!(exit.code.is_some_and(|code| code != 0), "{exit:?}");
    for word in words {
        assert!(
            exit.stderr.to_lowercase().contains(&word.to_lowercase()),
            "{word:?} is not named: {exit:?}"
        );
    }
    assert!(!exit.stderr.contains("panicked at"), "{exit:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

#[test]
fn the_ready_line_names_the_address_and_the_policy() {
    let data = TempDir::new();
    for policy in ["always", "everysec", "never"] {
        let server = Launch::serve(data.path())
            .cores(2)
            .args(&["--fsync", policy])
            .start();
        assert!(server.address.port() != 0, "{}", server.ready_line);
        assert!(server.ready_line.contains(policy), "{}", server.ready_line);
        let response = server.connect().put(&format!("/docs/{policy}"), "1");
        assert_eq!(response.status, 201);
        server.stop();
    }
    let server = Launch::serve(data.path()).cores(2).start();
    // Always is the default.
    assert!(
        server.ready_line.contains("3 documents"),
        "{}",
        server.ready_line
    );
    assert!(
        server.ready_line.contains("always"),
        "{}",
        server.ready_line
    );
}

#[test]
fn sigterm_and_sigint_end_with_success() {
    for signal in [Signal::TERM, Signal::INT] {
        let data = TempDir::new();
        let server = Launch::serve(data.path()).cores(2).start();
        let mut idle = server.connect();
        assert_eq!(idle.put("/docs/1", "1").status, 201);
        server.signal(signal);
        let exit = server.await_end();
        assert_eq!(exit.code, Some(0), "{signal:?}: {exit:?}");
        idle.expect_closed();
    }
}

#[test]
fn sighup_neither_ends_the_server_nor_keeps_it_from_its_end() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(1).start();
    let mut client = server.connect();
    for count in 1..=2 {
        server.signal(Signal::HUP);
        server.await_stderr("SIGHUP", count);
        assert_eq!(client.put("/docs/1", "1").status, [201, 200][count - 1]);
    }
    server.stop();
}

#[test]
fn help_and_version() {
    for arguments in [&["--help"][..], &["serve", "--help"], &["--version"]] {
        let exit = Launch::bare(arguments).run();
        assert_eq!(exit.code, Some(0), "{arguments:?}: {exit:?}");
        assert!(!exit.stdout.is_empty(), "{arguments:?}: {exit:?}");
    }
    let exit = Launch::bare(&["--version"]).run();
    assert!(exit.stdout.contains(env!("CARGO_PKG_VERSION")), "{exit:?}");
    let exit = Launch::bare(&["--help"]).run();
    assert!(exit.stdout.contains("serve"), "{exit:?}");
    let exit = Launch::bare(&["serve", "--help"]).run();
    for flag in [
        "--listen",
        "--data-dir",
        "--cores",
        "--log-core",
        "--fsync",
        "--segment-bytes",
        "--body-bytes-max",
        "--connections-max",
        "--connections-per-address-max",
        "--head-timeout-ms",
        "--body-timeout-ms",
        "--idle-timeout-ms",
        "--write-timeout-ms",
        "OXDAAS_LISTEN",
        "OXDAAS_DATA_DIR",
        "OXDAAS_FSYNC",
        "127.0.0.1:4000",
        "always",
        "everysec",
        "never",
    ] {
        assert!(
            exit.stdout.contains(flag),
            "{flag} is not explained: {}",
            exit.stdout
        );
    }
}

#[test]
fn bad_flags_are_refused_by_name() {
    let data = TempDir::new();
    for (arguments, word) in [
        (&["--nope"][..], "--nope"),
        (&["--cores", "0"], "cores"),
        (&["--cores", "-1"], "cores"),
        (&["--cores", "many"], "cores"),
        (&["--cores", "100000"], "cores"),
        (&["--cores", "2", "--log-core", "2"], "log-core"),
        (&["--fsync", "sometimes"], "fsync"),
        (&["--segment-bytes", "0"], "segment"),
        (&["--segment-bytes", "4095"], "segment"),
        (&["--segment-bytes", "99999999999999"], "segment"),
        (&["--segment-bytes", "big"], "segment"),
        (&["--body-bytes-max", "0"], "body"),
        (&["--body-bytes-max", "99999999999999"], "body"),
        (&["--connections-max", "0"], "connections"),
        (
            &["--connections-per-address-max", "0"],
            "--connections-per-address-max",
        ),
        (&["--head-timeout-ms", "x"], "head-timeout"),
    ] {
        let exit = Launch::serve(data.path()).args(arguments).run();
        assert_refused(&exit, &[word]);
    }
    for address in [
        "nowhere",
        "127.0.0.1",
        "127.0.0.1:99999",
        ":",
        "1.2.3.4.5:80",
    ] {
        let launch = Launch::bare(&[
            "serve",
            "--data-dir",
            text(data.path()),
            "--listen",
            address,
        ]);
        assert_refused(&launch.run(), &["listen"]);
    }
    assert_refused(
        &Launch::bare(&["no-such-command"]).run(),
        &["no-such-command"],
    );
    assert!(
        snapshot(data.path()).is_empty(),
        "a refusal wrote to the directory"
    );
}

#[test]
fn the_environment_configures_like_the_flags() {
    let data = TempDir::new();
    let server = Launch::bare(&["serve"])
        .env("OXDAAS_LISTEN", "127.0.0.1:0")
        .env("OXDAAS_DATA_DIR", text(data.path()))
        .env("OXDAAS_CORES", "1")
        .env("OXDAAS_FSYNC", "never")
        .env("OXDAAS_BODY_BYTES_MAX", "100")
        .start();
    assert!(server.ready_line.contains("never"), "{}", server.ready_line);
    assert_eq!(server.connect().put("/docs/1", "1").status, 201);
    let mut client = server.connect();
    assert_eq!(client.put("/docs/2", "2".repeat(101)).status, 413);
    server.stop();
    assert!(
        !snapshot(data.path()).is_empty(),
        "the log is in the directory named"
    );
    // A flag wins over the environment.
    let server = Launch::serve(data.path())
        .cores(1)
        .args(&["--fsync", "always"])
        .env("OXDAAS_FSYNC", "never")
        .start();
    assert!(
        server.ready_line.contains("always"),
        "{}",
        server.ready_line
    );
    server.stop();
    let exit = Launch::serve(data.path())
        .env("OXDAAS_FSYNC", "sometimes")
        .run();
    assert_refused(&exit, &["fsync"]);
}

/// The platforms' convention: PORT means every address of the machine.
#[test]
fn port_in_the_environment_means_all_addresses() {
    let data = TempDir::new();
    let arguments = ["serve", "--cores", "1", "--data-dir", text(data.path())];
    let server = Launch::bare(&arguments).env("PORT", "0").start();
    assert!(
        server.address.ip().is_unspecified(),
        "{}",
        server.ready_line
    );
    let loopback = ([127, 0, 0, 1], server.address.port()).into();
    let mut client = support::client::Client::connect(loopback);
    assert_eq!(client.put("/docs/1", "1").status, 201);
    server.stop();
    // What was said explicitly wins.
    let server = Launch::serve(data.path()).cores(1).env("PORT", "1").start();
    assert!(server.address.ip().is_loopback(), "{}", server.ready_line);
    server.stop();
    assert_refused(&Launch::bare(&arguments).env("PORT", "x").run(), &["port"]);
}

#[test]
fn a_port_in_use_is_named() {
    let data = TempDir::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let exit = Launch::bare(&[
        "serve",
        "--data-dir",
        text(data.path()),
        "--listen",
        &address,
    ])
    .run();
    assert_refused(&exit, &[&address, "in use"]);
    // Another server is no exception, although its sockets share the port among themselves.
    let server = Launch::serve(data.path()).cores(2).start();
    let other = TempDir::new();
    let address = server.address.to_string();
    let exit = Launch::bare(&[
        "serve",
        "--data-dir",
        text(other.path()),
        "--listen",
        &address,
    ])
    .run();
    assert_refused(&exit, &[&address, "in use"]);
    assert_eq!(server.connect().put("/docs/1", "1").status, 201);
}

#[test]
fn an_address_that_is_not_of_this_machine_is_named() {
    let data = TempDir::new();
    // TEST-NET-1 (RFC 5737).
    let exit = Launch::bare(&[
        "serve",
        "--data-dir",
        text(data.path()),
        "--listen",
        "192.0.2.1:4000",
    ])
    .run();
    assert_refused(&exit, &["192.0.2.1:4000"]);
}

#[test]
fn a_directory_in_use_is_named() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    assert_eq!(server.connect().put("/docs/1", "1").status, 201);
    let exit = Launch::serve(data.path()).cores(2).run();
    assert_refused(&exit, &[text(data.path()), "lock"]);
    assert_eq!(server.connect().get("/docs/1").text(), "1");
    // A lock dies with its process, however that ended.
    server.kill();
    let server = Launch::serve(data.path()).cores(2).start();
    assert_eq!(server.connect().get("/docs/1").text(), "1");
}

#[test]
fn a_data_directory_is_created_with_its_parents() {
    let data = TempDir::new();
    let nested = data.path().join("a/b");
    let server = Launch::serve(&nested).cores(1).start();
    assert_eq!(server.connect().put("/docs/1", "1").status, 201);
    server.stop();
    assert!(nested.is_dir());
}

#[test]
fn a_data_directory_that_cannot_be_one_is_named() {
    let scratch = TempDir::new();
    let file = scratch.path().join("file");
    fs::write(&file, "not a directory").expect("the file can be written");
    assert_refused(&Launch::serve(&file).run(), &[text(&file)]);
    assert_refused(&Launch::serve(&file.join("below")).run(), &[text(&file)]);
    assert_eq!(
        fs::read(&file).expect("it is still there"),
        b"not a directory"
    );
    // Where not even root may write.
    assert_refused(
        &Launch::serve(Path::new("/proc/oxdaas")).run(),
        &["/proc/oxdaas"],
    );
}

#[test]
fn a_data_directory_without_the_right_to_write_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let data = TempDir::new();
    fs::set_permissions(data.path(), fs::Permissions::from_mode(0o500)).expect("it is ours");
    if fs::write(data.path().join("probe"), "").is_ok() {
        eprintln!("skipped: this user may write everywhere");
        fs::remove_file(data.path().join("probe")).expect("it was just written");
        return;
    }
    assert_refused(&Launch::serve(data.path()).run(), &[text(data.path())]);
}

/// A log of 40 documents over several segments, cleanly closed.
fn closed_log(data: &TempDir) {
    let server = Launch::serve(data.path()).cores(2).small_segments().start();
    let mut client = server.connect();
    for n in 0..40 {
        let document = format!("\"marker-{n:04}-{}\"", "x".repeat(300));
        assert_eq!(client.put(&format!("/docs/{n}"), document).status, 201);
    }
    server.stop();
}

/// Checks that the damaged directory is refused with file and offset, again
/// and again, and left as it is.
#[track_caller]
fn assert_damage_is_refused(data: &TempDir, file: &Path, offset: usize) {
    let before = snapshot(data.path());
    for cores in [1, 2] {
        let exit = Launch::serve(data.path())
            .cores(cores)
            .small_segments()
            .run();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        assert_refused(&exit, &[&name]);
        let after_name = exit.stderr.split_once(&*name).map_or("", |(_, rest)| rest);
        let near = numbers(after_name).any(|n| n <= offset + 1024 && n + 1024 >= offset);
        assert!(near, "no offset near {offset} is named: {}", exit.stderr);
    }
    assert!(
        before == snapshot(data.path()),
        "a refusal changed the directory"
    );
}

/// The decimal and hexadecimal numbers in `text`.
fn numbers(text: &str) -> impl Iterator<Item = usize> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|word| match word.strip_prefix("0x") {
            Some(digits) => usize::from_str_radix(digits, 16).ok(),
            None => word.parse().ok(),
        })
}

#[test]
fn a_flipped_bit_in_the_middle_is_refused_with_file_and_offset() {
    // In the first segment, in one between, and in the last with records behind it.
    for n in [3, 20, 36] {
        for bit in [0x01, 0x80] {
            let data = TempDir::new();
            closed_log(&data);
            let marker = format!("marker-{n:04}");
            let (file, offset) = find_bytes(data.path(), marker.as_bytes());
            let mut bytes = fs::read(&file).expect("the segment can be read");
            bytes[offset + 2] ^= bit;
            fs::write(&file, bytes).expect("the segment can be written");
            assert_damage_is_refused(&data, &file, offset);
        }
    }
}

#[test]
fn a_missing_segment_is_refused() {
    let data = TempDir::new();
    closed_log(&data);
    let (file, _) = find_bytes(data.path(), b"marker-0020");
    fs::remove_file(&file).expect("it was just found");
    let before = snapshot(data.path());
    let exit = Launch::serve(data.path()).cores(2).small_segments().run();
    assert_refused(&exit, &[text(data.path())]);
    assert!(
        before == snapshot(data.path()),
        "a refusal changed the directory"
    );
}

#[test]
fn a_foreign_file_in_place_of_a_segment_is_refused() {
    for foreign in [&b"this is not a log\n"[..], b"", &[0xff; 4096]] {
        let data = TempDir::new();
        closed_log(&data);
        let (file, _) = find_bytes(data.path(), b"marker-0020");
        fs::write(&file, foreign).expect("the segment can be written");
        let before = snapshot(data.path());
        let exit = Launch::serve(data.path()).cores(2).small_segments().run();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        assert_refused(&exit, &[&name]);
        assert!(
            before == snapshot(data.path()),
            "a refusal changed the directory"
        );
    }
}

/// Whichever it is, it is said: refused with a sentence, or run with a warning.
#[test]
fn more_cores_than_cpus_are_run_or_refused_with_a_sentence() {
    let data = TempDir::new();
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cores = u32::try_from(2 * cpus).expect("a machine has fewer CPUs");
    match Launch::serve(data.path()).cores(cores).try_start() {
        Ok(server) => {
            let said = server.stderr().to_lowercase() + &server.ready_line.to_lowercase();
            assert!(
                said.contains("cpu") || said.contains("pinned"),
                "no warning: {said}"
            );
            assert_eq!(server.connect().put("/docs/1", "1").status, 201);
            server.stop();
        }
        Err(exit) => assert_refused(&exit, &["cores"]),
    }
}

#[test]
fn the_log_core_may_be_any_core() {
    let data = TempDir::new();
    for log_core in ["0", "1"] {
        let server = Launch::serve(data.path())
            .cores(2)
            .args(&["--log-core", log_core])
            .start();
        let mut client = server.connect();
        for n in 0..20 {
            let response = client.put(&format!("/docs/{log_core}-{n}"), "1");
            assert_eq!(response.status, 201);
        }
        server.stop();
    }
    let server = Launch::serve(data.path()).cores(1).start();
    for n in 0..20 {
        assert_eq!(server.connect().get(&format!("/docs/1-{n}")).text(), "1");
        assert_eq!(server.connect().get(&format!("/docs/0-{n}")).text(), "1");
    }
}

/// `prlimit` starts the server with less locked memory than an executor needs.
#[test]
fn too_little_locked_memory_is_told_with_its_remedy() {
    let data = TempDir::new();
    let output = std::process::Command::new("prlimit")
        .args([
            "--memlock=65536:65536",
            env!("CARGO_BIN_EXE_oxdaas"),
            "serve",
        ])
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.path())
        .output()
        .expect("prlimit is part of util-linux, which is essential");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("65536") && stderr.contains("ulimit -l"),
        "{stderr}"
    );
}

/// Enough for the preflight and the first core, and too little for all of them: kernels that
/// count rings as locked memory refuse one (6.18 does), older ones do not.
#[test]
fn too_little_locked_memory_for_the_cores_is_told_with_its_remedy() {
    let data = TempDir::new();
    let output = std::process::Command::new("timeout")
        .args(["--kill-after=60", "60"])
        // Root locks what it likes, unless it may not.
        .args(["setpriv", "--bounding-set=-all", "--inh-caps=-all"])
        .args(["prlimit", "--memlock=524288:524288"])
        .args([env!("CARGO_BIN_EXE_oxdaas"), "serve", "--cores", "32"])
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.path())
        .output()
        .expect("these are part of util-linux and coreutils, which are essential");
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("cannot start") {
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains("limited to 524288 bytes") && stderr.contains("LimitMEMLOCK="),
            "{stderr}"
        );
    } else {
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(stdout.contains("32 cores"), "it hangs: {stdout} {stderr}");
    }
}
