//! One document is linearizable: histories of get, put, delete, conditional put and
//! increment from many connections over all cores, with a kill -9 in the middle of
//! some, are held against a register by stateright's tester.
//!
//! A request without an answer may have taken effect or not. Every document
//! that is written is another one, so that an entity tag stands for its value.
//! The tester's search has no memory of what it tried; histories are short for
//! that reason, and many.

mod support;

use std::{
    collections::HashMap,
    sync::{
        Barrier, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};
use support::{
    client::{Client, Expected, Response, request},
    json,
    random::{Random, seed},
    server::{Launch, Server, TempDir},
};

const CONNECTIONS: usize = 6;
/// Requests of one connection in one life of the server, over all ids.
const REQUESTS: usize = 14;
/// An integer and a name that are on different cores when there are two, and one more.
const IDS: [&str; 3] = ["1", "2", "name"];

/// What a document holds: the number of the put that wrote it and what was added since;
/// `None`: absent.
#[derive(Clone, Debug, Default, PartialEq)]
struct Register(Option<u64>);

#[derive(Clone, Debug, PartialEq)]
enum Op {
    Get,
    Put(u64),
    /// `If-None-Match: *`.
    Create(u64),
    /// `If-Match` with the tag of the first number.
    Replace(u64, u64),
    /// Adds so much, to 0 when there is no document.
    Increment(u64),
    Delete,
}

#[derive(Clone, Debug, PartialEq)]
enum Ret {
    Found(Option<u64>),
    Created,
    Replaced,
    Counted(u64),
    CountedFirst(u64),
    Refused,
    Deleted,
    Missing,
}

impl SequentialSpec for Register {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        let before = self.0;
        match *op {
            Op::Get => Ret::Found(before),
            Op::Create(_) if before.is_some() => Ret::Refused,
            Op::Replace(expected, _) if before != Some(expected) => Ret::Refused,
            Op::Put(number) | Op::Create(number) | Op::Replace(_, number) => {
                self.0 = Some(number);
                match before {
                    Some(_) => Ret::Replaced,
                    None => Ret::Created,
                }
            }
            Op::Increment(by) => {
                let sum = before.unwrap_or(0) + by;
                self.0 = Some(sum);
                match before {
                    Some(_) => Ret::Counted(sum),
                    None => Ret::CountedFirst(sum),
                }
            }
            Op::Delete => {
                self.0 = None;
                match before {
                    Some(_) => Ret::Deleted,
                    None => Ret::Missing,
                }
            }
        }
    }
}

type History = LinearizabilityTester<usize, Register>;

/// The histories of all ids, and what counts up in one round.
struct Recorder {
    histories: HashMap<&'static str, Mutex<History>>,
    written: AtomicU64,
    answered: AtomicU32,
}

impl Recorder {
    fn new() -> Recorder {
        let histories = IDS.map(|id| (id, Mutex::new(History::new(Register::default()))));
        Recorder {
            histories: HashMap::from(histories),
            written: AtomicU64::new(0),
            answered: AtomicU32::new(0),
        }
    }

    /// Sends requests on one connection and records them, until `REQUESTS` are
    /// answered or the server is gone.
    fn run(&self, number: usize, server: &Server, random: &mut Random) {
        let Ok(mut client) = Client::try_connect(server.address) else {
            return;
        };
        // The tags that this connection has seen, with what they stand for.
        let mut seen: HashMap<&str, (String, u64)> = HashMap::new();
        for _ in 0..REQUESTS {
            let id = *random.pick(&IDS);
            let op = self.choose(random, seen.get(id));
            let bytes = to_request(id, &op, seen.get(id).map(|(tag, _)| tag.as_str()));
            let history = &self.histories[id];
            let invoked = history
                .lock()
                .expect("no panic")
                .on_invoke(number, op.clone())
                .map(drop);
            invoked.expect("one request at a time");
            let answer = client
                .try_send(bytes)
                .ok()
                .and_then(|()| client.try_read(Expected::Body).ok());
            let Some(response) = answer else {
                return;
            };
            let ret = to_ret(&op, &response);
            if let Ret::Found(Some(value)) = ret {
                seen.insert(id, (response.etag(), value));
            }
            let returned = history
                .lock()
                .expect("no panic")
                .on_return(number, ret)
                .map(drop);
            returned.expect("it was invoked");
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn choose(&self, random: &mut Random, seen: Option<&(String, u64)>) -> Op {
        let next = || self.written.fetch_add(1, Ordering::Relaxed);
        match (random.below(100), seen) {
            (0..40, _) => Op::Get,
            (40..55, _) => Op::Put(next()),
            (55..65, _) => Op::Create(next()),
            (65..75, _) => Op::Delete,
            // So many numbers that no two sums are the same.
            (75..85, _) => Op::Increment(random.bits() >> 14),
            (_, Some((_, value))) => Op::Replace(*value, next()),
            (_, None) => Op::Get,
        }
    }
}

fn to_request(id: &str, op: &Op, tag: Option<&str>) -> Vec<u8> {
    let target = format!("/docs/{id}");
    let put = |fields: &[(&str, &str)], number: u64| {
        request("PUT", &target, fields, number.to_string().as_bytes())
    };
    match *op {
        Op::Get => request("GET", &target, &[], b""),
        Op::Put(number) => put(&[], number),
        Op::Create(number) => put(&[("If-None-Match", "*")], number),
        Op::Replace(_, number) => put(&[("If-Match", tag.expect("a tag was seen"))], number),
        Op::Increment(by) => {
            let body = format!(r#"{{"by":{by},"default":0}}"#);
            request("POST", &format!("{target}/increment"), &[], body.as_bytes())
        }
        Op::Delete => request("DELETE", &target, &[], b""),
    }
}

fn to_ret(op: &Op, response: &Response) -> Ret {
    match (op, response.status) {
        (Op::Get, 200) => Ret::Found(Some(response.text().parse().expect("a number"))),
        (Op::Get, 404) => Ret::Found(None),
        (Op::Increment(_), 200 | 201) => {
            let sum = json(&response.body)["value"].as_u64().expect("a number");
            match response.status {
                201 => Ret::CountedFirst(sum),
                _ => Ret::Counted(sum),
            }
        }
        (Op::Put(_) | Op::Create(_) | Op::Replace(..), 201) => Ret::Created,
        (Op::Put(_) | Op::Create(_) | Op::Replace(..), 200) => Ret::Replaced,
        (Op::Create(_) | Op::Replace(..), 412) => Ret::Refused,
        (Op::Delete, 204) => Ret::Deleted,
        (Op::Delete, 404) => Ret::Missing,
        _ => panic!("{op:?} was answered with {response:?}"),
    }
}

/// One life of the server under all connections; when `answers_before_kill` is
/// given, it ends by SIGKILL after about so many answers.
fn live(
    data: &TempDir,
    recorder: &Recorder,
    first_number: usize,
    random: &mut Random,
    answers_before_kill: Option<u32>,
) {
    let server = Launch::serve(data.path()).small_segments().cores(2).start();
    let start = Barrier::new(CONNECTIONS);
    let answers_at_start = recorder.answered.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        let connections: Vec<_> = (0..CONNECTIONS)
            .map(|n| {
                let mut random = Random::new(random.bits());
                let (server, start) = (&server, &start);
                scope.spawn(move || {
                    start.wait();
                    recorder.run(first_number + n, server, &mut random);
                })
            })
            .collect();
        if let Some(answers) = answers_before_kill {
            let is_over = || {
                connections
                    .iter()
                    .all(|connection| connection.is_finished())
            };
            while recorder.answered.load(Ordering::Relaxed) < answers_at_start + answers
                && !is_over()
            {
                std::thread::yield_now();
            }
            server.signal(support::server::Signal::KILL);
        }
    });
    match answers_before_kill {
        Some(_) => drop(server.await_end()),
        None => server.stop(),
    }
}

#[test]
fn every_history_of_a_document_has_an_order_that_a_register_could_have_seen() {
    let rounds =
        std::env::var("OXDAAS_TEST_ROUNDS").map_or(12, |text| text.parse().expect("a number"));
    let first = seed();
    for round in 0..rounds {
        let seed = first.wrapping_add(round);
        println!("OXDAAS_TEST_SEED={seed}");
        let mut random = Random::new(seed);
        let recorder = Recorder::new();
        let data = TempDir::new();
        let kill = round % 2 == 1;
        let answers = u32::try_from(random.below(CONNECTIONS * REQUESTS)).expect("few");
        live(&data, &recorder, 0, &mut random, kill.then_some(answers));
        if kill {
            live(&data, &recorder, CONNECTIONS, &mut random, None);
        }
        for (id, history) in recorder.histories {
            let history = history.into_inner().expect("no panic");
            assert!(
                history.is_consistent(),
                "no order explains what document {id} showed: {history:#?}"
            );
        }
    }
}
