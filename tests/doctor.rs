//! `oxdaas doctor`: each fault is found on a machine that has it, with a remedy and an exit code.

mod support;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use support::{
    certificate::Site,
    server::{Launch, TempDir, snapshot},
};

const CHECKS: [&str; 11] = [
    "kernel",
    "io_uring",
    "locked memory",
    "open files",
    "CPUs",
    "port",
    "clients",
    "data directory",
    "file system",
    "disk space",
    "disk sync",
];

/// Runs the doctor through `wrapper`, a command that gives it less than this machine has.
fn doctor(wrapper: &[&str], data: &Path, options: &[&str]) -> (Option<i32>, String) {
    let binary = env!("CARGO_BIN_EXE_oxdaas");
    let mut words = wrapper.to_vec();
    words.extend([binary, "doctor"]);
    let mut command = Command::new(words[0]);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("OXDAAS_") || text == "PORT" {
            command.env_remove(&name);
        }
    }
    let Output { status, stdout, .. } = command
        .args(&words[1..])
        .arg("--data-dir")
        .arg(data)
        .args(options)
        .output()
        .expect("the command starts");
    (
        status.code(),
        String::from_utf8(stdout).expect("the report is UTF-8"),
    )
}

/// The line of a check.
#[track_caller]
fn line<'r>(report: &'r str, check: &str) -> &'r str {
    let mut lines = report
        .lines()
        .filter(|line| line[5..].starts_with(&format!("{check}: ")));
    let line = lines
        .next()
        .unwrap_or_else(|| panic!("no {check}: {report}"));
    assert!(lines.next().is_none(), "{check} twice: {report}");
    line
}

#[test]
fn a_sound_machine_passes_every_check_and_nothing_is_left_behind() {
    let home = TempDir::new();
    let data = home.path().join("not/there/yet");
    let (code, report) = doctor(&[], &data, &["--listen", "127.0.0.1:0", "--cores", "1"]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report.lines().count(), CHECKS.len(), "{report}");
    for check in CHECKS {
        let line = line(&report, check);
        assert!(!line.starts_with("FAIL"), "{line}");
    }
    assert!(line(&report, "disk sync").contains(" ms"), "{report}");
    assert!(snapshot(home.path()).is_empty(), "something is left behind");
    assert!(!data.exists());
}

#[test]
fn each_fault_is_found_with_its_remedy() {
    let data = TempDir::new();
    let free = ["--listen", "127.0.0.1:0"];
    let faults = |wrapper: &[&str], data: &Path, options: &[&str], check: &str, remedy: &str| {
        let (code, report) = doctor(wrapper, data, options);
        assert_eq!(code, Some(1), "{report}");
        let line = line(&report, check);
        assert!(
            line.starts_with("FAIL ") && line.contains(remedy),
            "{remedy:?} is not told: {report}"
        );
        let count = report.lines().filter(|line| line.starts_with("FAIL"));
        assert_eq!(count.count(), 1, "{report}");
    };
    faults(
        &["prlimit", "--memlock=65536:65536"],
        data.path(),
        &free,
        "locked memory",
        "ulimit -l",
    );
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    faults(
        &[],
        data.path(),
        &["--listen", &address],
        "port",
        "--listen",
    );
    // Where not even root may write.
    faults(
        &[],
        Path::new("/proc/oxdaas"),
        &free,
        "data directory",
        "--data-dir",
    );
    let file = data.path().join("file");
    fs::write(&file, "").expect("writable");
    faults(&[], &file, &free, "data directory", "--data-dir");
}

#[test]
fn what_an_operator_should_know_is_a_warning() {
    let data = TempDir::new();
    let free = ["--listen", "127.0.0.1:0"];
    let warns = |wrapper: &[&str], data: &Path, options: &[&str], check: &str, remedy: &str| {
        let (code, report) = doctor(wrapper, data, options);
        assert_eq!(code, Some(0), "{report}");
        let line = line(&report, check);
        assert!(
            line.starts_with("warn ") && line.contains(remedy),
            "{remedy:?} is not told: {report}"
        );
    };
    warns(
        &["prlimit", "--nofile=256:256"],
        data.path(),
        &free,
        "open files",
        "ulimit -n",
    );
    warns(
        &[],
        data.path(),
        &["--listen", "127.0.0.1:0", "--cores", "200"],
        "CPUs",
        "--cores",
    );
    // The wrapper binds it to one CPU, on a machine of any size.
    warns(
        &["taskset", "--cpu-list", "0"],
        data.path(),
        &["--listen", "127.0.0.1:0", "--cores", "2"],
        "CPUs",
        "--cores",
    );
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        let data = memory.join(format!("oxdaas-test-{}", std::process::id()));
        warns(&[], &data, &free, "file system", "disk");
    }
}

#[test]
fn a_running_server_of_the_same_directory_is_no_fault() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(1).start();
    let address = server.address.to_string();
    let (code, report) = doctor(&[], data.path(), &["--listen", &address]);
    assert_eq!(code, Some(0), "{report}");
    let process = format!("process {}", server.pid());
    assert!(line(&report, "port").contains(&process), "{report}");
    assert!(
        line(&report, "data directory").contains(&process),
        "{report}"
    );
    server.stop();
}

#[test]
fn who_may_come_in_is_told_for_each_listener() {
    let home = TempDir::new();
    let file = home.path().join("tokens");
    let mode = |mode| {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(&file, permissions).expect("ours");
    };
    let token = "doctor-Token_of.32+chars~/00001==";
    fs::write(&file, format!("{token}\n")).expect("writable");
    mode(0o600);
    let site = Site::new(home.path());
    let [file, cert, key] = [file.clone(), site.cert(), site.key()].map(|path| {
        let path = path.to_str().expect("UTF-8");
        path.to_owned()
    });
    let data = home.path().join("data");
    let clients = |options: &[&str]| {
        let (code, report) = doctor(&[], &data, options);
        assert_eq!(code, Some(0), "{report}");
        assert!(!report.contains(token), "{report}");
        line(&report, "clients").to_owned()
    };
    let anonymous = &["--allow-anonymous"][..];
    let tokens = &["--token-file", &file][..];
    let tls = &["--tls-cert", &cert, "--tls-key", &key][..];
    let (here, wide) = ("127.0.0.1:0", "0.0.0.0:0");
    for (listen, options, beginning, remedies) in [
        (
            here,
            vec![],
            "ok   clients: everyone on this machine",
            &[][..],
        ),
        (here, vec![anonymous], "ok   clients: everyone, at", &[]),
        (
            here,
            vec![tokens],
            "ok   clients: whoever shows one of 1 token of",
            &[],
        ),
        (
            wide,
            vec![],
            "warn clients: without tokens",
            &["--token-file", "all but this machine are refused"],
        ),
        (
            wide,
            vec![tls],
            "warn clients: without tokens",
            &["--token-file"],
        ),
        (
            wide,
            vec![anonymous],
            "warn clients: everyone reads and writes",
            &["--token-file", "in place of --allow-anonymous"],
        ),
        (
            wide,
            vec![anonymous, tls],
            "warn clients: everyone reads and writes",
            &["--token-file"],
        ),
        (
            wide,
            vec![tokens],
            "warn clients: whoever shows one of 1 token of",
            &["in plain text", "--tls-cert", "127.0.0.1 behind a proxy"],
        ),
        (
            wide,
            vec![tokens, tls],
            "ok   clients: whoever shows one",
            &[", by TLS"],
        ),
    ] {
        let options = [&["--listen", listen][..], &options.concat()].concat();
        let line = clients(&options);
        assert!(line.starts_with(beginning), "{options:?}: {line}");
        assert_eq!(line.contains("every address"), listen == wide, "{line}");
        for remedy in remedies {
            assert!(line.contains(remedy), "{remedy:?}: {line}");
        }
    }
    // The convention of platforms is every address.
    let line = clients(&["--port", "0"]);
    assert!(
        line.starts_with("warn ") && line.contains("0.0.0.0:0"),
        "{line}"
    );
    // A file that gives its tokens away.
    mode(0o644);
    let line = clients(&[&["--listen", here][..], tokens].concat());
    assert!(
        line.starts_with("warn ") && line.contains("chmod o-r"),
        "{line}"
    );
}

/// Completions and man pages name what the binary can do.
#[test]
fn completions_and_man_pages_are_written() {
    let home = TempDir::new();
    let exit = Launch::bare(&["generate"]).arg(home.path()).run();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    for (file, words) in [
        ("completions/oxdaas.bash", ["--fsync", "doctor"]),
        ("completions/_oxdaas", ["--fsync", "doctor"]),
        ("completions/oxdaas.fish", ["fsync", "doctor"]),
        ("man/oxdaas.1", ["oxdaas\\-serve", "oxdaas\\-doctor"]),
        ("man/oxdaas-serve.1", ["OXDAAS_FSYNC", "\\-\\-data\\-dir"]),
    ] {
        let text = fs::read_to_string(home.path().join(file));
        let text = text.unwrap_or_else(|error| panic!("{file}: {error}"));
        for word in words {
            assert!(text.contains(word), "{file}: {word}");
        }
    }
    assert!(!home.path().join("man/oxdaas-help.1").exists());
    let exit = Launch::bare(&["generate", "/proc/none"]).run();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    assert!(exit.stderr.contains("/proc/none"), "{exit:?}");
}
