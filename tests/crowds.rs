//! Too many connections: bounds of the process, of an address, and of open files. Whoever comes
//! is answered, whoever is served stays, and who only holds a place loses it to a newcomer.

mod support;

use std::{
    net::{IpAddr, SocketAddr},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{
    assert_error,
    client::{Client, Expected, NoResponse, request},
    json,
    server::{Launch, PATIENCE, Server, TempDir},
};

/// Set in the process that has a network of its own.
const INSIDE: &str = "HOSTILE_TEST_INSIDE";

fn stats(client: &mut Client) -> Value {
    json(&client.get("/stats").body)
}

/// Connects again and again until a request is answered, or for so long.
fn come_in(address: SocketAddr, patience: Duration) -> Option<Client> {
    let until = Instant::now() + patience;
    while Instant::now() < until {
        let mut client = Client::connect(address);
        let sent = client.try_send(request("GET", "/healthz", &[], b""));
        if sent.is_ok()
            && client
                .try_read(Expected::Body)
                .is_ok_and(|r| r.status == 200)
        {
            return Some(client);
        }
    }
    None
}

/// The processor time that the server has used.
fn cpu(server: &Server) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).expect("it runs");
    let (_, fields) = stat.rsplit_once(") ").expect("proc_pid_stat(5)");
    let ticks = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>());
    let ticks: u64 = ticks.map(|ticks| ticks.expect("a number")).sum();
    Duration::from_millis(1000 * ticks / rustix::param::clock_ticks_per_second())
}

#[test]
fn connections_that_only_hold_a_place_lose_it_to_newcomers() {
    const MAX: usize = 40;
    let data = TempDir::new();
    let server = Launch::serve(data.path())
        .cores(2)
        .args(&["--connections-max", &MAX.to_string()])
        .start();
    let mut busy = server.connect();
    assert_eq!(busy.put("/docs/1", "1").status, 201);
    // Idle, in the middle of a head, in the middle of a body, and not reading.
    let _holding: Vec<Client> = (0..2 * MAX)
        .map(|number| {
            let mut client = server.connect();
            let bytes: &[u8] = match number % 3 {
                0 => b"",
                1 => b"GET /docs/1 HTTP/1.1\r\nHost",
                _ => b"PUT /docs/2 HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\n[",
            };
            // It may be turned away already.
            let _ = client.try_send(bytes);
            client
        })
        .collect();
    // Many newcomers, one after the other, and one who is busy.
    let enough = AtomicBool::new(false);
    let mut busy = std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                assert_eq!(busy.get("/docs/1").text(), "1");
            }
            busy
        });
        let newcomers: Vec<Option<Client>> = (0..MAX / 2)
            .map(|_| come_in(server.address, PATIENCE))
            .collect();
        enough.store(true, Ordering::Relaxed);
        assert!(newcomers.iter().all(Option::is_some), "there is room");
        busy.join().expect("who is busy stays")
    });
    let connections = stats(&mut busy)["connections"].clone();
    assert!(
        connections["closed_for_others"].as_u64() >= Some(10),
        "{connections}"
    );
    assert!(
        connections["turned_away"].as_u64() > Some(0),
        "{connections}"
    );
    assert!(
        connections["open"].as_u64() <= Some(MAX as u64),
        "{connections}"
    );
    server.stop();
}

#[test]
fn a_crowd_that_is_served_is_not_sent_away_for_newcomers() {
    const MAX: usize = 4;
    let data = TempDir::new();
    let server = Launch::serve(data.path())
        .cores(1)
        .args(&["--connections-max", &MAX.to_string()])
        .start();
    let enough = AtomicBool::new(false);
    let served: Vec<Client> = (0..MAX).map(|_| server.connect()).collect();
    std::thread::scope(|scope| {
        let busy = served.into_iter().map(|mut client| {
            let enough = &enough;
            scope.spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    assert_error(&client.get("/docs/1"), 404);
                }
            })
        });
        let busy: Vec<_> = busy.collect();
        let mut refused = 0;
        // Long enough for each of them to have a place that is old.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(2500) {
            let mut newcomer = server.connect();
            match newcomer.try_read(Expected::Body) {
                Ok(response) => {
                    assert!(assert_error(&response, 503).contains("--connections-max"));
                    assert_eq!(response.header("retry-after"), Some("1"));
                    refused += 1;
                }
                Err(error) => panic!("the newcomer is told: {error:?}"),
            }
        }
        enough.store(true, Ordering::Relaxed);
        for busy in busy {
            busy.join().expect("who is served stays");
        }
        assert!(refused > 10, "{refused}");
    });
    server.stop();
}

#[test]
fn a_server_without_a_free_descriptor_does_not_spin_and_goes_on_when_there_are_some() {
    let data = TempDir::new();
    let with_files = |files: u32| {
        let limit = format!("--nofile={files}:{files}");
        let launch = Launch::serve(data.path()).cores(1);
        launch.under(&["prlimit", &limit]).try_start()
    };
    let at_ease = with_files(1024).expect("these are enough");
    let open = std::fs::read_dir(format!("/proc/{}/fd", at_ease.pid())).expect("it runs");
    let open = u32::try_from(open.count()).expect("few");
    at_ease.stop();
    // Few enough for some that it does not even start.
    let server = (open - 4..open + 16).find_map(|files| {
        let server = with_files(files).ok()?;
        let mut first = server.connect();
        first.send(request("GET", "/docs/1", &[], b""));
        let first = first.sender();
        let moment = Some(Duration::from_millis(500));
        first.set_read_timeout(moment).expect("a time");
        match first.peek(&mut [0]) {
            Ok(_) => Some(server),
            Err(_) => {
                server.stop();
                None
            }
        }
    });
    let server = server.expect("these are enough for a connection");
    let ask = || {
        let mut client = server.connect();
        client.send(request("GET", "/docs/1", &[], b""));
        client
    };
    // More than it has room for.
    let clients: Vec<Client> = (0..20).map(|_| ask()).collect();
    let stuck = clients.iter().map(Client::sender).next_back();
    let stuck = stuck.expect("there are some");
    stuck
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("a time");
    let (began, used) = (Instant::now(), cpu(&server));
    stuck.peek(&mut [0]).expect_err("it is not accepted");
    let used = cpu(&server) - used;
    assert!(
        used < began.elapsed() / 3,
        "{used:?} in {:?}",
        began.elapsed()
    );
    drop(stuck);
    // Each that goes makes room for the next.
    for mut client in clients {
        assert_error(&client.read(Expected::Body), 404);
    }
    let said = server.stderr();
    assert_eq!(said.matches("are not accepted").count(), 1, "{said}");
    server.stop();
}

#[test]
fn connections_leave_descriptors_to_the_log() {
    let data = TempDir::new();
    let launch = Launch::serve(data.path()).cores(2);
    let server = launch.under(&["prlimit", "--nofile=160:160"]).start();
    let said = server.stderr();
    assert!(
        said.contains("ulimit -n") && said.contains("64 connections"),
        "{said}"
    );
    let mut client = server.connect();
    assert_eq!(stats(&mut client)["connections"]["max"], 64);
    server.stop();
}

#[test]
fn an_address_has_so_many_connections_and_others_have_theirs() {
    if std::env::var_os(INSIDE).is_none() {
        let me = std::env::current_exe().expect("this test");
        let mut inside = Command::new("unshare");
        inside.arg("--net").arg(me).env(INSIDE, "yes").args([
            "--exact",
            "--nocapture",
            "an_address_has_so_many_connections_and_others_have_theirs",
        ]);
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root makes a network of its own");
            return;
        }
        let output = inside.output().expect("util-linux is installed");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "{}{said}",
            String::from_utf8_lossy(&output.stdout)
        );
        return;
    }
    let addresses = [
        "192.0.2.1/32",
        "192.0.2.2/32",
        "2001:db8:0:1::1/128",
        "2001:db8:0:1::2/128",
        "2001:db8:0:2::1/128",
    ];
    run("ip link set lo up");
    addresses
        .iter()
        .for_each(|address| run(&format!("ip address add {address} dev lo nodad")));
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    for (listen, own, first, same, other) in [
        (
            "0.0.0.0:0",
            "127.0.0.1",
            "192.0.2.1",
            "192.0.2.1",
            "192.0.2.2",
        ),
        (
            "[::]:0",
            "::1",
            "2001:db8:0:1::1",
            "2001:db8:0:1::2",
            "2001:db8:0:2::1",
        ),
        ("[::]:0", "127.0.0.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"),
    ] {
        let data = TempDir::new();
        let server = Launch::bare(&["serve", "--listen", listen, "--data-dir"])
            .arg(data.path())
            .args(&[
                "--connections-per-address-max",
                "4",
                "--connections-max",
                "64",
            ])
            .cores(2)
            .start();
        let mut local = Client::connect(SocketAddr::new(ip(own), server.address.port()));
        // The peer's address is the one that it connects to: all of them are this machine's.
        let connect = |to: &str| Client::connect(SocketAddr::new(ip(to), server.address.port()));
        let served = |client: &mut Client| client.get("/healthz").status == 200;
        let mut crowd: Vec<Client> = [first, first, same, same].map(connect).into();
        assert!(
            crowd.iter_mut().all(served),
            "{listen}: as many as an address may have"
        );
        let refused = connect(first).try_read(Expected::Body);
        match refused {
            Ok(response) => {
                assert!(assert_error(&response, 503).contains("--connections-per-address-max"))
            }
            Err(error) => assert_ne!(error, NoResponse::Torn(Vec::new()), "{listen}"),
        }
        let mut others: Vec<Client> = (0..4).map(|_| connect(other)).collect();
        assert!(others.iter_mut().all(served), "{listen}: another address");
        let mut own_ones: Vec<Client> = (0..8)
            .map(|_| Client::connect(SocketAddr::new(ip(own), server.address.port())))
            .collect();
        assert!(
            own_ones.iter_mut().all(served),
            "{listen}: this machine's own are not counted"
        );
        let page = local.get("/metrics");
        let line = "oxdaas_connections_turned_away_total{bound=\"connections-per-address-max\"} 1";
        assert!(page.text().contains(line), "{listen}: {}", page.text());
        // One goes, one comes.
        crowd.pop();
        let newcomer = come_in(SocketAddr::new(ip(first), server.address.port()), PATIENCE);
        assert!(newcomer.is_some(), "{listen}: no room after one has gone");
        server.stop();
    }
}

#[track_caller]
fn run(line: &str) {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().expect("a word"));
    let output = command.args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
