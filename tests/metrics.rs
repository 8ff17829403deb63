//! `/metrics` and `/stats`: every request, every operation and every document is counted once,
//! where it belongs.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{
    client::{Client, Expected},
    json,
    server::{Launch, TempDir},
};

/// What a scraper understood of a page.
#[derive(Debug, Default)]
struct Page {
    kinds: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Page {
    /// Reads the text format of Prometheus, version 0.0.4, and takes nothing that is not in it.
    #[track_caller]
    fn read(text: &str) -> Page {
        assert!(text.ends_with('\n'), "every line ends");
        let mut page = Page::default();
        let mut helped = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect(line);
                assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect(line);
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                let before = page.kinds.insert(name.to_owned(), kind.to_owned());
                assert!(before.is_none(), "{line}: twice");
            } else {
                page.samples.push(Sample::read(line));
            }
        }
        let mut seen = BTreeSet::new();
        for sample in &page.samples {
            let family = page.family(&sample.name);
            assert!(family.is_some(), "{sample:?} has no type");
            assert!(
                family.is_some_and(|name| helped.contains(name)),
                "{sample:?}"
            );
            let key = format!("{}{:?}", sample.name, sample.labels);
            assert!(seen.insert(key), "{sample:?} is there twice");
        }
        page.check_histograms();
        page
    }

    fn family<'p>(&self, name: &'p str) -> Option<&'p str> {
        let is_histogram = |name: &&str| {
            self.kinds
                .get(*name)
                .is_some_and(|kind| kind == "histogram")
        };
        let suffixes = ["_bucket", "_sum", "_count"];
        let part = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
        part.filter(is_histogram)
            .or_else(|| self.kinds.contains_key(name).then_some(name))
    }

    #[track_caller]
    fn check_histograms(&self) {
        let histograms = self.kinds.iter().filter(|(_, kind)| *kind == "histogram");
        for (name, _) in histograms {
            let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
            for bucket in self.of(&format!("{name}_bucket")) {
                let mut labels = bucket.labels.clone();
                let bound = labels.remove("le").expect("a bucket has a bound");
                let bound = bound.parse().expect("a bound is a number");
                series
                    .entry(format!("{labels:?}"))
                    .or_default()
                    .push((bound, bucket.value));
            }
            assert!(!series.is_empty(), "{name} has buckets");
            for (labels, buckets) in series {
                assert!(
                    buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1),
                    "{name}{labels}: {buckets:?}"
                );
                let last = buckets.last().expect("there is one");
                let name_of_count = format!("{name}_count");
                let count = self.of(&name_of_count);
                let count = count.filter(|count| format!("{:?}", count.labels) == labels);
                let count: Vec<f64> = count.map(|count| count.value).collect();
                assert_eq!(
                    (last.0, vec![last.1]),
                    (f64::INFINITY, count),
                    "{name}{labels}"
                );
            }
        }
    }

    fn of(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.samples
            .iter()
            .filter(move |sample| sample.name == name)
    }

    /// The sum of all samples `name` that have these labels.
    #[track_caller]
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let has = |sample: &&Sample| {
            let mut wanted = labels.iter();
            wanted.all(|(label, value)| sample.labels.get(*label).is_some_and(|l| l == value))
        };
        let values = self.of(name).filter(has).map(|sample| sample.value);
        let sum: f64 = values.fold(0.0, |sum, value| sum + value);
        assert_eq!(sum.fract(), 0.0, "{name}: a count");
        format!("{sum:.0}").parse().expect("a count")
    }

    #[track_caller]
    fn only(&self, name: &str) -> f64 {
        let values: Vec<f64> = self.of(name).map(|sample| sample.value).collect();
        assert_eq!(values.len(), 1, "{name}");
        values[0]
    }
}

impl Sample {
    #[track_caller]
    fn read(line: &str) -> Sample {
        let (series, value) = line.rsplit_once(' ').expect(line);
        let (name, labels) = match series.strip_suffix('}') {
            Some(series) => series.split_once('{').expect(line),
            None => (series, ""),
        };
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(
            name.starts_with("oxdaas_") && name.chars().all(is_name),
            "{line}"
        );
        let labels = labels.split_terminator("\",").map(|pair| {
            let (label, text) = pair.split_once("=\"").expect(line);
            assert!(label.chars().all(is_name), "{line}");
            (label.to_owned(), text.trim_end_matches('"').to_owned())
        });
        Sample {
            name: name.to_owned(),
            labels: labels.collect(),
            value: value.parse().expect(line),
        }
    }
}

#[track_caller]
fn scrape(client: &mut Client) -> Page {
    let response = client.get("/metrics");
    assert_eq!(response.status, 200);
    let content_type = response.header("content-type");
    assert_eq!(
        content_type,
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    Page::read(response.text())
}

fn stats_of(client: &mut Client) -> Value {
    let response = client.get("/stats");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    json(&response.body)
}

/// Waits until `is_so` of the stats.
#[track_caller]
fn await_stats(client: &mut Client, is_so: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let stats = stats_of(client);
        if is_so(&stats) {
            return stats;
        }
        assert!(Instant::now() < until, "not so after 20 s: {stats:#}");
    }
}

#[test]
fn every_request_and_operation_is_counted_once_where_it_belongs() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut client = server.connect();
    for id in 100..140 {
        assert_eq!(client.put(&format!("/docs/{id}"), "{\"n\":1}").status, 201);
    }
    for id in 100..150 {
        let expected = if id < 140 { 200 } else { 404 };
        assert_eq!(client.get(&format!("/docs/{id}")).status, expected);
    }
    assert_eq!(client.plain("DELETE", "/docs/100", "").status, 204);
    assert_eq!(client.plain("POST", "/docs", "[]").status, 201);
    assert_eq!(client.get("/docs?ids=1,2,3,4,5,6,7,8").status, 200);
    assert_eq!(client.get("/nowhere").status, 404);
    assert_eq!(client.put("/docs/1", "{").status, 400);
    let mut broken = server.connect();
    broken.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(broken.read(Expected::Body).status, 400);

    let page = scrape(&mut client);
    let requests = |path, method, status| {
        let labels = [("path", path), ("method", method), ("status", status)];
        page.sum("oxdaas_requests_total", &labels)
    };
    for (path, method, status, count) in [
        ("/docs/{id}", "PUT", "201", 40),
        ("/docs/{id}", "PUT", "400", 1),
        ("/docs/{id}", "GET", "200", 40),
        ("/docs/{id}", "GET", "404", 10),
        ("/docs/{id}", "DELETE", "204", 1),
        ("/docs", "POST", "201", 1),
        ("/docs", "GET", "200", 1),
        ("unknown", "GET", "404", 1),
        ("none", "none", "400", 1),
        // The one that asks is not answered yet.
        ("/metrics", "GET", "200", 0),
    ] {
        assert_eq!(
            requests(path, method, status),
            count,
            "{method} {path} {status}"
        );
    }
    assert_eq!(page.sum("oxdaas_requests_total", &[]), 96);
    let operations = |what| page.sum(&format!("oxdaas_operations_{what}_total"), &[]);
    let (local, forwarded) = (operations("local"), operations("forwarded"));
    assert_eq!(local + forwarded, 40 + 50 + 1 + 1 + 8);
    assert!(forwarded > 10 && local > 10, "{local} {forwarded}");
    assert_eq!(operations("served"), forwarded);
    let durations = |kind| page.sum("oxdaas_request_duration_seconds_count", &[("kind", kind)]);
    assert_eq!((durations("read"), durations("write")), (51, 43));
    assert_eq!(page.sum("oxdaas_documents", &[]), 40);
    assert_eq!(page.only("oxdaas_connections_accepted_total"), 2.0);
    assert_eq!(page.only("oxdaas_ready"), 1.0);

    drop(broken);
    let stats = await_stats(&mut client, |stats| stats["connections"]["open"] == 1);
    assert_eq!(stats["documents"], 40);
    let cores = stats["cores"].as_array().expect("a list");
    let sum = |name: &str| {
        cores
            .iter()
            .map(|core| core[name].as_u64().expect("a count"))
            .sum()
    };
    assert_eq!((local, forwarded), (sum("local"), sum("forwarded")));
    assert_eq!(
        stats["requests"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|r| r["path"] == "/metrics")
            .count(),
        1
    );
    for latency in [
        &stats["read_latency"],
        &stats["write_latency"],
        &stats["log"]["sync_latency"],
    ] {
        let of = |name: &str| latency[name].as_u64().expect("a number");
        assert!(0 < of("p50_us") && of("p50_us") <= of("p99_us") && of("p99_us") <= of("p999_us"));
        let buckets = latency["buckets"].as_array().expect("a list");
        let counted: u64 = buckets
            .iter()
            .map(|b| b[1].as_u64().expect("a count"))
            .sum();
        assert_eq!(counted, of("count"));
    }
    server.stop();
}

#[test]
fn pipelined_requests_are_counted_each_with_its_own_status() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut client = server.connect();
    assert_eq!(client.put("/docs/3", "3").status, 201);
    // Some are forwarded and wait for their turn, some are refused at once, one is a 100.
    let mut bytes = String::new();
    for id in 0..20 {
        bytes += &format!("GET /docs/{id} HTTP/1.1\r\nHost: h\r\n\r\n");
        bytes += &format!("DELETE /docs/{id}?ttl=1 HTTP/1.1\r\nHost: h\r\n\r\n");
        bytes += &format!("HEAD /docs/{id} HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    bytes += "PUT /docs/4 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    client.send(&bytes);
    for id in 0..20 {
        let found = if id == 3 { 200 } else { 404 };
        assert_eq!(client.read(Expected::Body).status, found);
        assert_eq!(client.read(Expected::Body).status, 400);
        assert_eq!(client.read(Expected::NoBody).status, found);
    }
    assert_eq!(client.read(Expected::Body).status, 100);
    client.send("4");
    assert_eq!(client.read(Expected::Body).status, 201);
    let page = scrape(&mut client);
    for (method, status, count) in [
        ("GET", "200", 1),
        ("GET", "404", 19),
        ("HEAD", "200", 1),
        ("HEAD", "404", 19),
        ("DELETE", "400", 20),
        ("PUT", "201", 2),
    ] {
        let labels = [
            ("path", "/docs/{id}"),
            ("method", method),
            ("status", status),
        ];
        let counted = page.sum("oxdaas_requests_total", &labels);
        assert_eq!(counted, count, "{method} {status}");
    }
    assert_eq!(page.sum("oxdaas_requests_total", &[]), 62);
    server.stop();
}

#[test]
fn a_live_stream_is_counted_when_it_begins_and_not_again() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(1).start();
    let (mut client, mut live) = (server.connect(), server.connect());
    live.send("GET /changes?since=0 HTTP/1.1\r\nHost: h\r\n\r\n");
    let streams = |stats: &Value| stats["cores"][0]["queues"]["streams"].clone();
    let counted = |stats: &Value| {
        let requests = stats["requests"].as_array().expect("a list").iter();
        let mut feeds = requests.filter(|request| request["path"] == "/changes");
        let count = feeds
            .next()
            .map_or(Value::from(0), |feed| feed["count"].clone());
        assert!(feeds.next().is_none(), "with one status");
        count
    };
    await_stats(&mut client, |stats| {
        counted(stats) == 1 && streams(stats) == 1
    });
    drop(live);
    let after = await_stats(&mut client, |stats| streams(stats) == 0);
    assert_eq!(counted(&after), 1);
    server.stop();
}

#[test]
fn the_log_is_counted_and_documents_are_there_after_a_restart() {
    let data = TempDir::new();
    let launch = Launch::serve(data.path()).cores(2).small_segments();
    let server = launch.start();
    let mut client = server.connect();
    let text = "x".repeat(300);
    for round in 0..60 {
        let document = format!("\"{round}{text}\"");
        let response = client.put(&format!("/docs/{}", round % 3), &document);
        assert!(response.status < 300);
    }
    let stats = await_stats(&mut client, |stats| {
        let compaction = &stats["log"]["compaction"];
        compaction["installed"].as_u64() > Some(0) && compaction["running"] == false
    });
    let log = &stats["log"];
    assert_eq!(
        (&log["appended"], &log["durable"]),
        (&60.into(), &60.into())
    );
    assert!(log["appended_bytes"].as_u64() > Some(60 * 300), "{log}");
    assert!(log["rolls"].as_u64() > Some(3), "{log}");
    assert!(log["sync_latency"]["count"].as_u64() >= Some(50), "{log}");
    let live = log["live_bytes"].as_u64().expect("a number");
    assert!((3 * 300..3 * 400).contains(&live), "{log}");
    assert!(log["free_bytes"].as_u64() > Some(0), "{log}");
    let held = || {
        let files = fs::read_dir(data.path()).expect("the directory is there");
        let bytes = files.map(|file| {
            let file = file.expect("an entry").path();
            match file.file_name().is_some_and(|name| name == "LOCK") {
                true => 0,
                false => fs::metadata(file).map_or(0, |file| file.len()),
            }
        });
        bytes.sum::<u64>()
    };
    // Files that compaction replaced are removed a moment later.
    await_stats(&mut client, |stats| stats["log"]["held_bytes"] == held());
    server.stop();

    let server = launch.start();
    let after = stats_of(&mut server.connect());
    assert_eq!(after["documents"], 3);
    assert_eq!(after["write_latency"]["count"], 0);
    server.stop();
}

#[test]
fn the_description_of_stats_is_what_they_are() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(1).start();
    let mut client = server.connect();
    client.get("/docs/1");
    let document = json(&client.get("/openapi.json").body);
    let schemas = &document["components"]["schemas"];
    let stats = stats_of(&mut client);
    let names = |value: &Value| {
        let members = value.as_object().expect("an object");
        members.keys().cloned().collect::<BTreeSet<String>>()
    };
    for (schema, value) in [
        ("Stats", &stats),
        ("Latency", &stats["read_latency"]),
        ("RequestCount", &stats["requests"][0]),
        ("ConnectionStats", &stats["connections"]),
        ("LogStats", &stats["log"]),
        ("CompactionStats", &stats["log"]["compaction"]),
        ("JournalStats", &stats["journals"]),
        ("ProcessStats", &stats["process"]),
        ("CoreStats", &stats["cores"][0]),
        ("QueueStats", &stats["cores"][0]["queues"]),
    ] {
        assert_eq!(
            names(&schemas[schema]["properties"]),
            names(value),
            "{schema}"
        );
    }
    server.stop();
}
