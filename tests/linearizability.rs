//! One document is linearizable: histories of get, put, delete, conditional put and
//! increment from many connections over all cores, with a kill -9 in the middle of
//! some, are held against a register by stateright's tester. Atomic batches on two
//! documents of different cores are held against a pair of registers, together with
//! requests to one of the two.
//!
//! A request without an answer may have taken effect or not. Every document
//! that is written is another one, so that an entity tag stands for its value.
//! The tester's search has no memory of what it tried; histories are short for
//! that reason, and many.

mod support;

use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Barrier, Mutex,
        atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering},
    },
};

use oxdaas::id::{CoreId, Id};
use serde_json::Value;
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

/// The core, of two, that has a document.
fn owner(id: &str) -> CoreId {
    CoreId::owner(Id::from_text(id).expect("an id").placement(), 2)
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

/// What connections do and record, each until it has its answers or the server is gone.
trait Record: Sync {
    /// `number` is that of the connection.
    fn run(&self, number: usize, server: &Server, random: &mut Random);
    /// How many requests were answered.
    fn answered(&self) -> u32;
}

impl Record for Recorder {
    fn run(&self, number: usize, server: &Server, random: &mut Random) {
        Recorder::run(self, number, server, random);
    }

    fn answered(&self) -> u32 {
        self.answered.load(Ordering::Relaxed)
    }
}

/// One life of the server under connections of these numbers; when `answers_before_kill` is
/// given, it ends by SIGKILL after about so many answers.
fn live(
    data: &TempDir,
    recorder: &impl Record,
    numbers: Range<usize>,
    random: &mut Random,
    answers_before_kill: Option<u32>,
) {
    let server = Launch::serve(data.path()).small_segments().cores(2).start();
    let start = Barrier::new(numbers.len());
    let answers_at_start = recorder.answered();
    std::thread::scope(|scope| {
        let connections: Vec<_> = numbers
            .map(|number| {
                let mut random = Random::new(random.bits());
                let (server, start) = (&server, &start);
                scope.spawn(move || {
                    start.wait();
                    recorder.run(number, server, &mut random);
                })
            })
            .collect();
        if let Some(answers) = answers_before_kill {
            let is_over = || {
                connections
                    .iter()
                    .all(|connection| connection.is_finished())
            };
            while recorder.answered() < answers_at_start + answers && !is_over() {
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
    assert_ne!(owner(IDS[1]), owner(IDS[2]), "on different cores");
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
        let numbers = 0..CONNECTIONS;
        let answers = kill.then_some(answers);
        live(&data, &recorder, numbers, &mut random, answers);
        if kill {
            let numbers = CONNECTIONS..2 * CONNECTIONS;
            live(&data, &recorder, numbers, &mut random, None);
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

/// Two documents that are on different cores when there are two.
const PAIR: [&str; 2] = ["1", "user:7"];
/// The tester's search over both documents grows faster: fewer connections with fewer requests.
const PAIR_CONNECTIONS: usize = 4;
const PAIR_REQUESTS: usize = 10;

/// What the two documents hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Pair([Option<i64>; 2]);

/// A request to one of the two, or an atomic batch on both.
#[derive(Clone, Debug, PartialEq)]
enum PairOp {
    Get(usize),
    Put(usize, i64),
    Delete(usize),
    GetBoth,
    PutBoth([i64; 2]),
    /// Takes so much from the first and adds it to the second.
    Move(i64),
    /// `if_match` with the tags of the first two numbers.
    ReplaceBoth([i64; 2], [i64; 2]),
    /// Puts both, if the second is absent.
    PutUnless(i64),
}

#[derive(Clone, Debug, PartialEq)]
enum PairRet {
    Found(Option<i64>),
    Put(bool),
    Deleted(bool),
    FoundBoth([Option<i64>; 2]),
    /// Whether each is a new one.
    PutBoth([bool; 2]),
    Moved([i64; 2]),
    /// Nothing took effect because of the operation at this place.
    Failed(usize),
}

impl SequentialSpec for Pair {
    type Op = PairOp;
    type Ret = PairRet;

    fn invoke(&mut self, op: &PairOp) -> PairRet {
        let before = self.0;
        match *op {
            PairOp::Get(n) => PairRet::Found(before[n]),
            PairOp::Put(n, value) => {
                self.0[n] = Some(value);
                PairRet::Put(before[n].is_none())
            }
            PairOp::Delete(n) => {
                self.0[n] = None;
                PairRet::Deleted(before[n].is_some())
            }
            PairOp::GetBoth => PairRet::FoundBoth(before),
            PairOp::PutBoth(values) => {
                self.0 = values.map(Some);
                PairRet::PutBoth(before.map(|value| value.is_none()))
            }
            PairOp::Move(by) => match before {
                [Some(from), Some(to)] => {
                    let sums = [from - by, to + by];
                    self.0 = sums.map(Some);
                    PairRet::Moved(sums)
                }
                [from, _] => PairRet::Failed(usize::from(from.is_some())),
            },
            PairOp::ReplaceBoth(expected, values) => {
                let differs = (0..2).find(|&n| before[n] != Some(expected[n]));
                match differs {
                    Some(n) => PairRet::Failed(n),
                    None => {
                        self.0 = values.map(Some);
                        PairRet::PutBoth([false, false])
                    }
                }
            }
            PairOp::PutUnless(_) if before[1].is_some() => PairRet::Failed(1),
            PairOp::PutUnless(value) => {
                self.0 = [Some(value); 2];
                PairRet::PutBoth([before[0].is_none(), true])
            }
        }
    }
}

/// The history of both documents, and what counts up in one round.
struct PairRecorder {
    history: Mutex<LinearizabilityTester<usize, Pair>>,
    written: AtomicI64,
    answered: AtomicU32,
}

impl Record for PairRecorder {
    fn run(&self, number: usize, server: &Server, random: &mut Random) {
        let Ok(mut client) = Client::try_connect(server.address) else {
            return;
        };
        // The tags that this connection saw last, with what they stand for.
        let mut seen: [Option<(String, i64)>; 2] = [None, None];
        for _ in 0..PAIR_REQUESTS {
            let op = self.choose(random, &seen);
            let bytes = pair_request(&op, &seen);
            let history = || self.history.lock().expect("no panic");
            let invoked = history().on_invoke(number, op.clone()).map(drop);
            invoked.expect("one request at a time");
            let answer = client
                .try_send(bytes)
                .ok()
                .and_then(|()| client.try_read(Expected::Body).ok());
            let Some(response) = answer else {
                return;
            };
            let ret = pair_ret(&op, &response, &mut seen);
            let returned = history().on_return(number, ret).map(drop);
            returned.expect("it was invoked");
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn answered(&self) -> u32 {
        self.answered.load(Ordering::Relaxed)
    }
}

impl PairRecorder {
    fn choose(&self, random: &mut Random, seen: &[Option<(String, i64)>; 2]) -> PairOp {
        let next = || self.written.fetch_add(1, Ordering::Relaxed);
        let n = random.below(2);
        match (random.below(100), seen) {
            (0..18, _) => PairOp::Get(n),
            (18..28, _) => PairOp::Put(n, next()),
            (28..34, _) => PairOp::Delete(n),
            (34..50, _) => PairOp::GetBoth,
            (50..62, _) => PairOp::PutBoth([next(), next()]),
            // So many numbers that no two sums are the same.
            (62..80, _) => PairOp::Move(i64::try_from(random.bits() >> 14).expect("50 bits")),
            (80..85, _) => PairOp::PutUnless(next()),
            (_, [Some((_, first)), Some((_, second))]) => {
                PairOp::ReplaceBoth([*first, *second], [next(), next()])
            }
            _ => PairOp::GetBoth,
        }
    }
}

fn pair_request(op: &PairOp, seen: &[Option<(String, i64)>; 2]) -> Vec<u8> {
    let target = |n: usize| format!("/docs/{}", PAIR[n]);
    let batch = |first: String, second: String| {
        let body = format!(r#"{{"atomic":true,"ops":[{first},{second}]}}"#);
        request("POST", "/batch", &[], body.as_bytes())
    };
    // Both of them as strings: `"1"` and `1` are one id.
    let op_on = |kind: &str, n: usize, fields: &str| {
        let id = PAIR[n];
        format!(r#"{{"{kind}":{{"id":"{id}"{fields}}}}}"#)
    };
    let tag = |n: usize| &seen[n].as_ref().expect("a tag was seen").0;
    match op {
        PairOp::Get(n) => request("GET", &target(*n), &[], b""),
        PairOp::Put(n, value) => request("PUT", &target(*n), &[], value.to_string().as_bytes()),
        PairOp::Delete(n) => request("DELETE", &target(*n), &[], b""),
        PairOp::GetBoth => batch(op_on("get", 0, ""), op_on("get", 1, "")),
        PairOp::PutBoth(values) => {
            let put = |n: usize| op_on("put", n, &format!(r#","data":{}"#, values[n]));
            batch(put(0), put(1))
        }
        PairOp::Move(by) => {
            let add = |n: usize, by: i64| op_on("increment", n, &format!(r#","by":{by}"#));
            batch(add(0, -by), add(1, *by))
        }
        PairOp::ReplaceBoth(_, values) => {
            let put = |n: usize| {
                let fields = format!(r#","data":{},"if_match":{:?}"#, values[n], tag(n));
                op_on("put", n, &fields)
            };
            batch(put(0), put(1))
        }
        PairOp::PutUnless(value) => batch(
            op_on("put", 0, &format!(r#","data":{value}"#)),
            op_on("put", 1, &format!(r#","data":{value},"if_none_match":"*""#)),
        ),
    }
}

fn pair_ret(op: &PairOp, response: &Response, seen: &mut [Option<(String, i64)>; 2]) -> PairRet {
    let is_batch = !matches!(op, PairOp::Get(_) | PairOp::Put(..) | PairOp::Delete(_));
    if is_batch && response.status != 200 {
        let expected = match op {
            PairOp::Move(_) => 404,
            PairOp::ReplaceBoth(..) | PairOp::PutUnless(_) => 412,
            _ => 0,
        };
        assert_eq!(response.status, expected, "{op:?}: {response:?}");
        let place = json(&response.body)["index"].as_u64();
        return PairRet::Failed(usize::try_from(place.expect("a place")).expect("a place"));
    }
    let answer = match is_batch {
        true => json(&response.body),
        false => Value::Null,
    };
    let result = |n: usize| &answer["results"][n];
    let is_new = |n: usize| match result(n)["status"].as_u64() {
        Some(201) => true,
        Some(200) => false,
        _ => panic!("{op:?} was answered with {response:?}"),
    };
    match (op, response.status) {
        (PairOp::Get(n), 200) => {
            let value = response.text().parse().expect("a number");
            seen[*n] = Some((response.etag(), value));
            PairRet::Found(Some(value))
        }
        (PairOp::Get(_), 404) => PairRet::Found(None),
        (PairOp::Put(..), 200 | 201) => PairRet::Put(response.status == 201),
        (PairOp::Delete(_), 204 | 404) => PairRet::Deleted(response.status == 204),
        (PairOp::GetBoth, 200) => PairRet::FoundBoth([0, 1].map(|n| {
            let value = result(n)["data"].as_i64();
            if let Some(value) = value {
                let tag = result(n)["etag"].as_str().expect("a tag");
                seen[n] = Some((tag.to_owned(), value));
            }
            value
        })),
        (PairOp::Move(_), 200) => PairRet::Moved([0, 1].map(|n| {
            let sum = result(n)["value"].as_i64();
            sum.expect("a number")
        })),
        (PairOp::PutBoth(_) | PairOp::ReplaceBoth(..) | PairOp::PutUnless(_), 200) => {
            PairRet::PutBoth([0, 1].map(is_new))
        }
        _ => panic!("{op:?} was answered with {response:?}"),
    }
}

#[test]
fn every_history_of_batches_on_two_documents_has_an_order_that_a_pair_could_have_seen() {
    assert_ne!(owner(PAIR[0]), owner(PAIR[1]), "on different cores");
    let rounds =
        std::env::var("OXDAAS_TEST_ROUNDS").map_or(16, |text| text.parse().expect("a number"));
    let first = seed();
    for round in 0..rounds {
        let seed = first.wrapping_add(round);
        println!("OXDAAS_TEST_SEED={seed}");
        let mut random = Random::new(seed);
        let recorder = PairRecorder {
            history: Mutex::new(LinearizabilityTester::new(Pair::default())),
            written: AtomicI64::new(0),
            answered: AtomicU32::new(0),
        };
        let data = TempDir::new();
        let kill = round % 2 == 1;
        let all = PAIR_CONNECTIONS * PAIR_REQUESTS;
        let answers = u32::try_from(random.below(all)).expect("few");
        let answers = kill.then_some(answers);
        live(&data, &recorder, 0..PAIR_CONNECTIONS, &mut random, answers);
        if kill {
            let numbers = PAIR_CONNECTIONS..2 * PAIR_CONNECTIONS;
            live(&data, &recorder, numbers, &mut random, None);
        }
        let history = recorder.history.into_inner().expect("no panic");
        assert!(
            history.is_consistent(),
            "no order explains what the two documents showed: {history:#?}"
        );
    }
}
