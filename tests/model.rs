//! Random operations against a plain map, with reopen as one of them.
//!
//! A run is determined by its seed, which is printed; `OXDAAS_TEST_SEED`
//! repeats it and `OXDAAS_TEST_ROUNDS` runs more of them. A failure found here
//! becomes a plain test with a name.

mod support;

use std::collections::{BTreeMap, BTreeSet};

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
            55..70 => self.put_conditionally(),
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
