//! Random operations against a plain map, with reopen as one of them.
//!
//! A run is determined by its seed, which is printed; `OXDAAS_TEST_SEED`
//! repeats it and `OXDAAS_TEST_ROUNDS` runs more of them. A failure found here
//! becomes a plain test with a name.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use support::{
    client::{Client, Response},
    json,
    random::{Random, seed},
    server::{Launch, Server, TempDir},
};

const STEPS: usize = 400;

/// Few ids, so that they meet often: integers that are also chosen, integers
/// that are alike in their low bits, and names.
const IDS: &[&str] = &[
    "1",
    "2",
    "3",
    "5",
    "40",
    "-1",
    "4294967296",
    "8589934592",
    "12884901888",
    "9223372036854775807",
    "name",
    "007",
    "+7",
    "a%2Fb",
    "%E2%82%AC",
];

#[derive(Clone, Debug)]
struct Stored {
    document: String,
    tag: String,
}

/// What the store must hold.
#[derive(Default)]
struct Model {
    documents: BTreeMap<String, Stored>,
    /// Every tag that each id ever had.
    tags: BTreeMap<String, BTreeSet<String>>,
    handed_out: BTreeSet<String>,
}

impl Model {
    /// Takes over a stored document and the tag that the server shows for it.
    fn store(&mut self, id: &str, document: &str, tag: String) {
        if let Some(stored) = self.documents.get(id)
            && stored.document == document
        {
            assert_eq!(stored.tag, tag, "an equal document got a new version: {id}");
            return;
        }
        let fresh = self
            .tags
            .entry(id.to_owned())
            .or_default()
            .insert(tag.clone());
        assert!(fresh, "the tag {tag} of {id} came back");
        let document = document.to_owned();
        self.documents
            .insert(id.to_owned(), Stored { document, tag });
    }
}

/// What must come of one operation of a batch.
enum Becomes {
    /// A document under an id that the server chooses.
    Created(String),
    /// The status, and what the document is then.
    Stored(u16, String),
    Gone,
    /// A read finds this.
    Shown(Option<String>),
    /// Nothing of the batch takes effect, and this is its status.
    Failed(u16),
}

struct Run {
    data: TempDir,
    random: Random,
    server: Option<Server>,
    clients: Vec<Client>,
    model: Model,
    /// Counts documents, so that no two are equal by chance.
    made: usize,
    history: Vec<String>,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut run = Run {
            data: TempDir::new(),
            random: Random::new(seed),
            server: None,
            clients: Vec::new(),
            model: Model::default(),
            made: 0,
            history: Vec::new(),
        };
        run.open();
        run
    }

    fn open(&mut self) {
        let cores = *self.random.pick(&[1, 2, 2, 3]);
        self.history.push(format!("open with {cores} cores"));
        let server = Launch::serve(self.data.path())
            .small_segments()
            .cores(cores)
            .start();
        self.clients = (0..3).map(|_| server.connect()).collect();
        self.server = Some(server);
    }

    fn client(&mut self) -> &mut Client {
        let n = self.random.below(self.clients.len());
        &mut self.clients[n]
    }

    /// A document as it is stored, and as it may be sent.
    fn document(&mut self) -> (String, String) {
        self.made += 1;
        let n = self.made;
        let padding = "p".repeat(self.random.below(300));
        match self.random.below(5) {
            0 => (format!("{n}"), format!(" {n}\n")),
            1 => (format!("\"{n} {padding}\""), format!("\t\"{n} {padding}\"")),
            2 => (
                format!("[{n}.50,\"\\u00e9\"]"),
                format!("[ {n}.50 , \"\\u00e9\" ]"),
            ),
            3 => (
                format!("{{\"z\":{n},\"a\":\"{padding}\"}}"),
                format!("{{\"z\": {n}, \"a\": \"{padding}\"}}"),
            ),
            _ => (
                format!("{{\"n\":{n},\"n\":{n}e999}}"),
                format!("{{ \"n\":{n},\r\n\"n\":{n}e999 }}"),
            ),
        }
    }

    /// An id and what the map holds for it.
    fn some_id(&mut self) -> (String, Option<Stored>) {
        let handed_out = self.model.handed_out.len();
        let id = if handed_out > 0 && self.random.chance(25) {
            let n = self.random.below(handed_out);
            self.model
                .handed_out
                .iter()
                .nth(n)
                .cloned()
                .unwrap_or_default()
        } else {
            (*self.random.pick(IDS)).to_owned()
        };
        let stored = self.model.documents.get(&id).cloned();
        (id, stored)
    }

    fn ask(&mut self, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Response {
        self.history
            .push(format!("{method} {target} {fields:?} {body}"));
        let response = self.client().request(method, target, fields, body);
        self.history.push(format!("    {}", response.status));
        response
    }

    fn tag_of(&mut self, id: &str) -> String {
        let response = self.ask("HEAD", &format!("/docs/{id}"), &[], "");
        assert_eq!(response.status, 200, "{id}: {response:?}");
        response.etag()
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..25 => self.get(),
            25..38 => self.put(),
            38..45 => self.patch(),
            45..50 => self.increment(),
            50..55 => self.delete(),
            55..63 => self.put_conditionally(),
            63..70 => self.batch(),
            70..75 => self.delete_conditionally(),
            75..82 => self.post(),
            82..90 => self.post_api(),
            90..97 => self.get_conditionally(),
            97 => self.reopen(),
            98 => self.kill(),
            _ => self.compare_all(),
        }
    }

    fn get(&mut self) {
        let (id, stored) = self.some_id();
        if self.random.chance(50) {
            let response = self.ask("GET", &format!("/docs/{id}"), &[], "");
            check(&response, stored.as_ref());
        } else {
            let response = self.ask(
                "GET",
                &format!("/api?id={}", id.replace('+', "%2B")),
                &[],
                "",
            );
            assert_eq!(response.status, 200, "{response:?}");
            let document = stored.map_or("null".to_owned(), |stored| stored.document);
            let end = format!(",\"data\":{document}}}");
            assert!(
                response.text().ends_with(&end),
                "{id}: {response:?} is not {document}"
            );
        }
    }

    fn put(&mut self) {
        let (id, stored) = self.some_id();
        let (document, sent) = match &stored {
            // The same again, in other white space.
            Some(stored) if self.random.chance(30) => {
                (stored.document.clone(), format!(" {} ", stored.document))
            }
            _ => self.document(),
        };
        let response = self.ask("PUT", &format!("/docs/{id}"), &[], &sent);
        assert_eq!(
            response.status,
            if stored.is_some() { 200 } else { 201 },
            "{id}: {response:?}"
        );
        let tag = self.tag_of(&id);
        self.model.store(&id, &document, tag);
    }

    /// Sets one member of an object, or makes an object of another document.
    fn patch(&mut self) {
        let (id, stored) = self.some_id();
        self.made += 1;
        let n = self.made;
        let fields = [("Content-Type", "application/merge-patch+json")];
        let body = format!(" {{ \"patched\" : {n}.0 }} ");
        let response = self.ask("PATCH", &format!("/docs/{id}"), &fields, &body);
        let Some(stored) = stored else {
            assert_eq!(response.status, 404, "{id}: {response:?}");
            return;
        };
        assert_eq!(response.status, 200, "{id}: {response:?}");
        let member = format!("\"patched\":{n}.0");
        let document = &stored.document;
        let document = match (document.strip_suffix('}'), document.find(",\"patched\"")) {
            (Some(_), Some(at)) => format!("{},{member}}}", &document[..at]),
            (Some(members), None) if members != "{" && !members.starts_with("{\"patched\"") => {
                format!("{members},{member}}}")
            }
            _ => format!("{{{member}}}"),
        };
        self.model.store(&id, &document, response.etag());
    }

    /// Adds to an integer, or makes one.
    fn increment(&mut self) {
        let (id, stored) = self.some_id();
        let by = self.random.below(1000);
        let body = format!(r#"{{"by":{by},"default":5}}"#);
        let response = self.ask("POST", &format!("/docs/{id}/increment"), &[], &body);
        let before = match &stored {
            None => Some(5),
            Some(stored) => stored.document.parse::<usize>().ok(),
        };
        let Some(before) = before else {
            assert_eq!(response.status, 409, "{id}: {response:?}");
            return;
        };
        let status = if stored.is_some() { 200 } else { 201 };
        assert_eq!(response.status, status, "{id}: {response:?}");
        let sum = (before + by).to_string();
        assert!(
            response.text().ends_with(&format!(",\"value\":{sum}}}")),
            "{id}: {response:?} is not {sum}"
        );
        self.model.store(&id, &sum, response.etag());
    }

    /// Operations that take effect together, on few documents and some of them on one, or not
    /// at all because one fails.
    fn batch(&mut self) {
        // What each operation leaves behind for the next; a tag that is not known yet is empty.
        let mut after = self.model.documents.clone();
        let mut ops = Vec::new();
        let mut expected = Vec::new();
        for _ in 0..=self.random.below(5) {
            let (id, _) = self.some_id();
            let stored = after.get(&id).cloned();
            let (op, becomes) = self.operation(&id, stored.as_ref());
            match &becomes {
                Becomes::Stored(_, document) => {
                    let is_equal = stored.as_ref().is_some_and(|s| s.document == *document);
                    let tag = stored.filter(|_| is_equal).map(|stored| stored.tag);
                    let stored = Stored {
                        document: document.clone(),
                        tag: tag.unwrap_or_default(),
                    };
                    after.insert(id.clone(), stored);
                }
                Becomes::Gone => drop(after.remove(&id)),
                Becomes::Created(_) | Becomes::Shown(_) | Becomes::Failed(_) => {}
            }
            ops.push(op);
            expected.push((id, becomes));
        }
        let failed = expected.iter().position(|(_, becomes)| match becomes {
            Becomes::Failed(_) => true,
            Becomes::Created(_) | Becomes::Stored(..) | Becomes::Gone | Becomes::Shown(_) => false,
        });
        let body = format!(r#"{{"atomic":true,"ops":[{}]}}"#, ops.join(","));
        let response = self.ask("POST", "/batch", &[], &body);
        let answer = json(&response.body);
        match failed {
            Some(place) => {
                let (_, Becomes::Failed(status)) = &expected[place] else {
                    unreachable!("it fails");
                };
                assert_eq!(response.status, *status, "{body}: {response:?}");
                assert_eq!(answer["index"], place, "{body}: {response:?}");
            }
            None => {
                assert_eq!(response.status, 200, "{body}: {response:?}");
                let results = answer["results"].as_array().expect("a list");
                assert_eq!(results.len(), expected.len(), "{response:?}");
                for ((id, becomes), result) in expected.iter().zip(results) {
                    self.take_result(id, becomes, result);
                }
            }
        }
        self.compare_all();
    }

    /// An operation of a batch on `id`, and what must come of it.
    fn operation(&mut self, id: &str, stored: Option<&Stored>) -> (String, Becomes) {
        let name = json_id(id);
        let (document, sent) = match stored {
            Some(stored) if self.random.chance(20) => {
                (stored.document.clone(), format!(" {} ", stored.document))
            }
            _ => self.document(),
        };
        let status = match stored {
            Some(_) => 200,
            None => 201,
        };
        // Of a document that the batch has changed before, no tag is known.
        let tag = stored.map(|s| s.tag.clone()).filter(|tag| !tag.is_empty());
        match (self.random.below(14), stored, tag) {
            (0, ..) => {
                let op = format!(r#"{{"put":{{"data":{sent}}}}}"#);
                (op, Becomes::Created(document))
            }
            (1..=2, ..) => {
                let op = format!(r#"{{"get":{{"id":{name}}}}}"#);
                (op, Becomes::Shown(stored.map(|s| s.document.clone())))
            }
            (3..=4, ..) => {
                let by = self.random.below(1000);
                let op = format!(r#"{{"increment":{{"id":{name},"by":{by},"default":5}}}}"#);
                let before = match stored {
                    None => Some(5),
                    Some(stored) => stored.document.parse::<usize>().ok(),
                };
                match before {
                    Some(before) => (op, Becomes::Stored(status, (before + by).to_string())),
                    None => (op, Becomes::Failed(409)),
                }
            }
            // What fails is rarer than what does not, or hardly any batch would take effect.
            (5, Some(_), _) => (format!(r#"{{"delete":{{"id":{name}}}}}"#), Becomes::Gone),
            (6, _, tag) => {
                let old = r#""if_match":"\"never\"""#.to_owned();
                let is_old = self.random.chance(30);
                let (condition, holds) = match tag.filter(|_| !is_old) {
                    Some(tag) => (format!(r#""if_match":{tag:?}"#), true),
                    None if stored.is_none() && !is_old => {
                        (r#""if_none_match":"*""#.to_owned(), true)
                    }
                    None => (old, false),
                };
                let op = format!(r#"{{"put":{{"id":{name},"data":{sent},{condition}}}}}"#);
                match holds {
                    true => (op, Becomes::Stored(status, document)),
                    false => (op, Becomes::Failed(412)),
                }
            }
            (7, None, _) => (
                format!(r#"{{"delete":{{"id":{name}}}}}"#),
                Becomes::Failed(404),
            ),
            (8, ..) => {
                let op = format!(r#"{{"get":{{"id":{name},"if_match":"*"}}}}"#);
                match stored {
                    Some(stored) => (op, Becomes::Shown(Some(stored.document.clone()))),
                    None => (op, Becomes::Failed(412)),
                }
            }
            _ => (
                format!(r#"{{"put":{{"id":{name},"data":{sent}}}}}"#),
                Becomes::Stored(status, document),
            ),
        }
    }

    /// Holds a result of a batch that took effect against what was to come of the operation.
    fn take_result(&mut self, id: &str, becomes: &Becomes, result: &Value) {
        let tag = || result["etag"].as_str().expect("a tag").to_owned();
        match becomes {
            Becomes::Created(document) => {
                assert_eq!(result["status"], 201, "{result}");
                let id = result["id"].as_i64().expect("an integer").to_string();
                assert!(!self.model.documents.contains_key(&id), "{id} is in use");
                let is_new = self.model.handed_out.insert(id.clone());
                assert!(is_new, "{id} was handed out before");
                self.model.store(&id, document, tag());
            }
            Becomes::Stored(status, document) => {
                assert_eq!(result["status"], *status, "{id}: {result}");
                self.model.store(id, document, tag());
            }
            Becomes::Gone => {
                assert_eq!(result["status"], 204, "{id}: {result}");
                self.model.documents.remove(id);
            }
            Becomes::Shown(Some(document)) => {
                assert_eq!(result["status"], 200, "{id}: {result}");
                let stored = &self.model.documents[id];
                assert_eq!((&stored.document, &stored.tag), (document, &tag()));
                let shown = json(document.as_bytes());
                assert_eq!(result["data"], shown, "{id}: {result}");
            }
            Becomes::Shown(None) => assert_eq!(result["status"], 404, "{id}: {result}"),
            Becomes::Failed(_) => unreachable!("the batch took effect"),
        }
    }

    fn delete(&mut self) {
        let (id, stored) = self.some_id();
        let response = self.ask("DELETE", &format!("/docs/{id}"), &[], "");
        assert_eq!(
            response.status,
            if stored.is_some() { 204 } else { 404 },
            "{id}: {response:?}"
        );
        self.model.documents.remove(&id);
    }

    /// A field that holds for the document, or one that does not, and which it is.
    fn condition(&mut self, id: &str, stored: Option<&Stored>) -> (&'static str, String, bool) {
        let current = stored.map(|stored| stored.tag.clone());
        let old = self.model.tags.get(id).and_then(|tags| {
            tags.iter()
                .find(|tag| Some(*tag) != current.as_ref())
                .cloned()
        });
        let old = old.unwrap_or_else(|| "\"never\"".to_owned());
        match (self.random.below(5), current) {
            (0, current) => ("If-Match", "*".to_owned(), current.is_some()),
            (1, current) => ("If-None-Match", "*".to_owned(), current.is_none()),
            (2, Some(current)) => ("If-Match", format!("{old}, {current}"), true),
            (3, Some(current)) => ("If-None-Match", format!("{current},{old}"), false),
            (_, Some(_)) => ("If-Match", old, false),
            (2 | 3, None) => ("If-None-Match", old, true),
            (_, None) => ("If-Match", old, false),
        }
    }

    fn put_conditionally(&mut self) {
        let (id, stored) = self.some_id();
        let (name, value, holds) = self.condition(&id, stored.as_ref());
        let (document, sent) = self.document();
        let response = self.ask("PUT", &format!("/docs/{id}"), &[(name, &value)], &sent);
        let expected = match (holds, stored.is_some()) {
            (false, _) => 412,
            (true, true) => 200,
            (true, false) => 201,
        };
        assert_eq!(response.status, expected, "{id}: {response:?}");
        if holds {
            let tag = self.tag_of(&id);
            self.model.store(&id, &document, tag);
        }
    }

    fn delete_conditionally(&mut self) {
        let (id, stored) = self.some_id();
        let Some(stored) = stored else { return };
        let (name, value, holds) = self.condition(&id, Some(&stored));
        // DELETE honours If-Match; what it makes of If-None-Match is not promised.
        if name != "If-Match" {
            return;
        }
        let response = self.ask("DELETE", &format!("/docs/{id}"), &[(name, &value)], "");
        assert_eq!(
            response.status,
            if holds { 204 } else { 412 },
            "{id}: {response:?}"
        );
        if holds {
            self.model.documents.remove(&id);
        }
    }

    fn get_conditionally(&mut self) {
        let (id, stored) = self.some_id();
        let Some(stored) = stored else { return };
        let fields = [("If-None-Match", stored.tag.as_str())];
        let response = self.ask("GET", &format!("/docs/{id}"), &fields, "");
        assert_eq!(response.status, 304, "{id}: {response:?}");
        assert_eq!(response.etag(), stored.tag);
    }

    fn post(&mut self) {
        let (document, sent) = self.document();
        let response = self.ask("POST", "/docs", &[], &sent);
        assert_eq!(response.status, 201, "{response:?}");
        self.handed_out(&response, &document);
    }

    fn post_api(&mut self) {
        let (document, sent) = self.document();
        if self.random.chance(50) {
            let response = self.ask(
                "POST",
                "/api",
                &[],
                &format!("{{\"id\":null,\"data\":{sent}}}"),
            );
            assert_eq!(response.status, 200, "{response:?}");
            self.handed_out(&response, &document);
            return;
        }
        let n = self.random.below(50);
        let id = n.to_string();
        let response = self.ask(
            "POST",
            "/api",
            &[],
            &format!("{{\"id\":{n},\"data\":{sent}}}"),
        );
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(
            response.text(),
            format!("{{\"id\":{n},\"data\":{document}}}")
        );
        let tag = self.tag_of(&id);
        self.model.store(&id, &document, tag);
    }

    fn handed_out(&mut self, response: &Response, document: &str) {
        let id = json(&response.body)["id"]
            .as_i64()
            .expect("an integer")
            .to_string();
        assert!(!self.model.documents.contains_key(&id), "{id} is in use");
        assert!(
            self.model.handed_out.insert(id.clone()),
            "{id} was handed out before"
        );
        let tag = self.tag_of(&id);
        self.model.store(&id, document, tag);
    }

    fn reopen(&mut self) {
        self.history.push("stop".to_owned());
        self.clients.clear();
        self.server.take().expect("it is open").stop();
        self.open();
        self.compare_all();
    }

    fn kill(&mut self) {
        self.history.push("kill".to_owned());
        self.clients.clear();
        self.server.take().expect("it is open").kill();
        self.open();
        self.compare_all();
    }

    fn compare_all(&mut self) {
        let mut ids: BTreeSet<String> = IDS.iter().map(|id| (*id).to_owned()).collect();
        ids.extend(self.model.tags.keys().cloned());
        for id in ids {
            let stored = self.model.documents.get(&id).cloned();
            let response = self.ask("GET", &format!("/docs/{id}"), &[], "");
            check(&response, stored.as_ref());
        }
    }
}

/// An id of a path as it stands in JSON.
fn json_id(id: &str) -> String {
    match id.parse::<i64>() {
        Ok(integer) if integer.to_string() == id => id.to_owned(),
        _ => {
            let name = percent_encoding::percent_decode_str(id);
            Value::from(name.decode_utf8().expect("a name")).to_string()
        }
    }
}

#[track_caller]
fn check(response: &Response, stored: Option<&Stored>) {
    match stored {
        None => assert_eq!(response.status, 404, "{response:?}"),
        Some(stored) => {
            assert_eq!(response.status, 200, "{response:?} is not {stored:?}");
            assert_eq!(response.text(), stored.document);
            assert_eq!(response.etag(), stored.tag);
        }
    }
}

/// Prints how to repeat the run, and its last steps, when it fails.
struct Report {
    seed: u64,
    run: Run,
}

impl Drop for Report {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let from = self.run.history.len().saturating_sub(60);
            eprintln!("{}", self.run.history[from..].join("\n"));
            eprintln!("repeat with OXDAAS_TEST_SEED={}", self.seed);
        }
    }
}

#[test]
fn the_store_is_a_map_across_restarts_and_crashes() {
    let rounds =
        std::env::var("OXDAAS_TEST_ROUNDS").map_or(3, |text| text.parse().expect("a number"));
    let first = seed();
    for round in 0..rounds {
        let seed = first.wrapping_add(round);
        println!("OXDAAS_TEST_SEED={seed}");
        let mut report = Report {
            seed,
            run: Run::new(seed),
        };
        for _ in 0..STEPS {
            report.run.step();
        }
        report.run.kill();
        report.run.reopen();
    }
}
