//! The release tarball, its installation and its way to another machine, through
//! the real scripts.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use support::{
    script::{run, script, succeed, text},
    server::TempDir,
};

/// Packs a release into `home` and returns its tarball.
#[track_caller]
fn release(home: &TempDir) -> PathBuf {
    let said = succeed(script("release.sh"), &["--output", text(home.path())]);
    PathBuf::from(said.stdout.trim_end())
}

/// The tree beside a tarball.
fn tree(tarball: &Path) -> PathBuf {
    PathBuf::from(text(tarball).trim_end_matches(".tar.gz"))
}

#[test]
fn the_tarball_holds_what_an_operator_needs_and_is_made_the_same_again() {
    let home = TempDir::new();
    let tarball = release(&home);
    let name = format!("oxdaas-{}-", env!("CARGO_PKG_VERSION"));
    assert!(text(&tarball).contains(&name), "{tarball:?}");
    let directory = text(home.path());
    let unpacked = home.path().join("unpacked");
    fs::create_dir(&unpacked).expect("a new directory");
    let unpack = ["-C", text(&unpacked), "--strip-components=1", "-xzf"];
    succeed("tar", &[&unpack[..], &[text(&tarball)]].concat());
    for file in [
        "bin/oxdaas",
        "install.sh",
        "systemd/oxdaas.service",
        "systemd/oxdaas.env",
        "README.md",
        "LICENSE",
        "share/completions/oxdaas.bash",
        "share/man/oxdaas.1",
    ] {
        assert!(unpacked.join(file).is_file(), "{file} is missing");
    }
    let check = |directory: &str, sums: &str| {
        let script = format!("cd '{directory}' && sha256sum --check --strict --quiet '{sums}'");
        run("sh", &["-c", &script]).code
    };
    assert_eq!(check(text(&unpacked), "SHA256SUMS"), Some(0));
    assert_eq!(
        check(directory, &format!("{}.sha256", text(&tarball))),
        Some(0)
    );
    let version = succeed(unpacked.join("bin/oxdaas"), &["--version"]);
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")));

    // Every command has its page, and completes in a shell.
    let help = succeed(unpacked.join("bin/oxdaas"), &["--help"]).stdout;
    let (_, commands) = help.split_once("Commands:\n").expect("a list");
    let (commands, _) = commands.split_once("\n\n").expect("an end of it");
    let names = commands.lines().filter_map(|line| {
        let name = line.strip_prefix("  ")?.split(' ').next()?;
        (!name.is_empty() && name != "help").then_some(name)
    });
    let completions = unpacked.join("share/completions/oxdaas.bash");
    let mut count = 0;
    for name in names {
        count += 1;
        let page = unpacked.join(format!("share/man/oxdaas-{name}.1"));
        assert!(page.is_file(), "{}", page.display());
        let complete = format!(
            "source '{}'; COMP_WORDS=(oxdaas {name}); COMP_CWORD=1; _oxdaas oxdaas {name} oxdaas; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            text(&completions)
        );
        let said = succeed("bash", &["-c", &complete]);
        assert!(said.stdout.lines().any(|word| word == name), "{said:?}");
    }
    assert!(count > 5, "{help}");

    let first = fs::read(&tarball).expect("readable");
    release(&home);
    assert!(first == fs::read(&tarball).expect("readable"), "it differs");
}

#[test]
fn an_installation_works_is_upgraded_and_removed() {
    let home = TempDir::new();
    let tree = tree(&release(&home));
    let root = home.path().join("root");
    let install = tree.join("install.sh");
    succeed(&install, &["--root", text(&root)]);
    let binary = root.join("usr/local/bin/oxdaas");
    assert!(
        succeed(&binary, &["--version"])
            .stdout
            .starts_with("oxdaas ")
    );
    let data = root.join("var/lib/oxdaas");
    let mode = fs::metadata(&data)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o750);

    // An upgrade keeps settings and documents.
    let settings = root.join("etc/oxdaas/oxdaas.env");
    fs::write(&settings, "OXDAAS_FSYNC=everysec\n").expect("writable");
    fs::write(data.join("document"), "").expect("writable");
    fs::write(&binary, "old").expect("writable");
    succeed(&install, &["--root", text(&root)]);
    assert_eq!(
        fs::read_to_string(&settings).expect("kept"),
        "OXDAAS_FSYNC=everysec\n"
    );
    succeed(&binary, &["--version"]);

    succeed(&install, &["--uninstall", "--root", text(&root)]);
    let left = succeed("find", &[text(&root), "-type", "f", "-printf", "%P "]);
    let mut left: Vec<&str> = left.stdout.split_whitespace().collect();
    left.sort_unstable();
    assert_eq!(left, ["etc/oxdaas/oxdaas.env", "var/lib/oxdaas/document"]);
    succeed(&install, &["--uninstall", "--purge", "--root", text(&root)]);
    assert!(!data.exists() && !settings.exists());
}

#[test]
fn a_release_with_a_changed_file_is_not_installed() {
    let home = TempDir::new();
    let tree = tree(&release(&home));
    fs::write(tree.join("systemd/oxdaas.service"), "changed").expect("writable");
    let root = home.path().join("root");
    let said = run(tree.join("install.sh"), &["--root", text(&root)]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("unpack it again"), "{said:?}");
    assert!(!root.exists());
    // Out of the repository there is nothing to install.
    let said = run(script("install.sh"), &["--root", text(&root)]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("release.sh"), "{said:?}");
}

#[test]
fn systemd_takes_the_unit_and_finds_it_closed() {
    let home = TempDir::new();
    let tree = tree(&release(&home));
    let root = home.path().join("root");
    succeed(tree.join("install.sh"), &["--root", text(&root)]);
    // The units that ours depends on are those of this machine.
    let units = root.join("usr/lib/systemd");
    fs::create_dir_all(&units).expect("a new directory");
    succeed("cp", &["-r", "/usr/lib/systemd/system", text(&units)]);
    // So is what the unit runs beside the server.
    fs::create_dir_all(root.join("bin")).expect("a new directory");
    fs::copy("/bin/kill", root.join("bin/kill")).expect("every Debian has it");
    let at_root = format!("--root={}", text(&root));
    let verify = ["verify", "--man=no", &at_root, "oxdaas.service"];
    let said = succeed("systemd-analyze", &verify);
    assert_eq!(said.stderr, "", "{said:?}");
    // 0 is closed, 10 is open; a bare unit has 9.6.
    succeed(
        "systemd-analyze",
        &[
            "security",
            "--offline=true",
            "--threshold=20",
            &at_root,
            "oxdaas.service",
        ],
    );
    let unit = root.join("etc/systemd/system/oxdaas.service");
    let unit_text = fs::read_to_string(&unit).expect("readable");
    fs::write(&unit, unit_text.replace("Type=notify", "Type=nonsense")).expect("writable");
    let said = run("systemd-analyze", &verify);
    assert!(
        said.stderr.contains("nonsense"),
        "the check is blind: {said:?}"
    );
}

/// An ssh server on the loopback with a key of its own; ended with the test.
struct Sshd {
    child: Child,
    port: u16,
    key: PathBuf,
}

impl Sshd {
    fn start(home: &TempDir) -> Sshd {
        let file = |name: &str| home.path().join(name);
        for name in ["host", "user"] {
            let key = file(name);
            succeed(
                "ssh-keygen",
                &["-q", "-t", "ed25519", "-N", "", "-f", text(&key)],
            );
        }
        fs::copy(file("user.pub"), file("authorized")).expect("writable");
        // sshd wants this directory when it runs as root.
        let _ = fs::create_dir_all("/run/sshd");
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let configuration = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n",
            text(&file("host")),
            text(&file("authorized")),
        );
        fs::write(file("configuration"), configuration).expect("writable");
        let mut child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", text(&file("configuration"))])
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssh-server is installed");
        let mut said = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let line = said.next().expect("sshd listens").expect("UTF-8");
            if line.contains("listening on") {
                break;
            }
            assert!(Instant::now() < deadline, "sshd does not listen");
        }
        // What it says later must not fill the pipe.
        std::thread::spawn(move || said.for_each(drop));
        Sshd {
            child,
            port,
            key: file("user"),
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_release_is_deployed_over_ssh() {
    let home = TempDir::new();
    let tarball = release(&home);
    let sshd = Sshd::start(&home);
    let user = succeed("id", &["-un"]);
    let target = format!("{}@127.0.0.1", user.stdout.trim());
    let root = home.path().join("there with a space");
    let deploy = |tarball: &Path, more: &[&str]| {
        let port = sshd.port.to_string();
        let mut arguments = vec!["-p", &port, "-i", text(&sshd.key)];
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
        ] {
            arguments.extend(["-o", option]);
        }
        arguments.extend(["--tarball", text(tarball), &target]);
        arguments.extend(more);
        run(script("deploy.sh"), &arguments)
    };
    let said = deploy(&tarball, &["--", "--root", text(&root)]);
    assert_eq!(said.code, Some(0), "{said:?}");
    succeed(root.join("usr/local/bin/oxdaas"), &["--version"]);
    // What fails there fails here.
    let said = deploy(&tarball, &["--", "--nope"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("--nope"), "{said:?}");
    let said = deploy(&home.path().join("none.tar.gz"), &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("none.tar.gz"), "{said:?}");
}
