//! Every document is on exactly one page of a listing, in order, whatever comes and goes meanwhile.

mod support;

use std::collections::BTreeSet;

use oxdaas::limits::{LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, NAME_BYTES_MAX};
use serde_json::Value;
use support::{
    assert_error_naming,
    client::{Client, Expected, Response, request},
    json,
    random::{Random, seed},
    server::{Launch, Server, TempDir},
};

fn serve(data: &TempDir, cores: u32) -> Server {
    Launch::serve(data.path())
        .small_segments()
        .cores(cores)
        .start()
}

/// Stores a document under each of `ids`, as they stand in a path, pipelined.
fn store<'i>(client: &mut Client, ids: impl IntoIterator<Item = &'i str>) {
    let ids: Vec<&str> = ids.into_iter().collect();
    for ids in ids.chunks(50) {
        let requests: Vec<u8> = ids
            .iter()
            .flat_map(|id| request("PUT", &format!("/docs/{id}"), &[], b"1"))
            .collect();
        client.send(requests);
        for id in ids {
            let response = client.read(Expected::Body);
            assert!(matches!(response.status, 200 | 201), "{id}: {response:?}");
        }
    }
}

/// The ids of a page, names in quotes, and its cursor.
#[track_caller]
fn page(response: &Response) -> (Vec<String>, Option<String>) {
    assert_eq!(response.status, 200, "{response:?}");
    let body = json(&response.body);
    let ids = body["ids"].as_array().expect("ids is a list");
    let after = match &body["after"] {
        Value::Null => None,
        Value::String(cursor) => Some(cursor.clone()),
        other => panic!("after is {other}"),
    };
    (ids.iter().map(ToString::to_string).collect(), after)
}

/// All ids that a listing with `query` shows, page by page.
#[track_caller]
fn all(client: &mut Client, query: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut target = format!("/docs?{query}");
    loop {
        let (page, after) = page(&client.get(&target));
        assert!(
            page.iter().all(|id| !ids.contains(id)),
            "{page:?} again at {target}"
        );
        ids.extend(page);
        match after {
            Some(after) => target = format!("/docs?{query}&after={after}"),
            None => return ids,
        }
    }
}

#[test]
fn ids_are_listed_in_order_page_by_page() {
    for cores in [1, 3] {
        let data = TempDir::new();
        let server = serve(&data, cores);
        let mut client = server.connect();
        assert_eq!(client.get("/docs").text(), r#"{"ids":[],"after":null}"#);
        let ids = [
            "user:2", "-7", "100", "20", "3", "%C3%A9", "a%20%22", "user:10", "Z", "+5",
        ];
        store(&mut client, ids);
        let expected = [
            "-7",
            "3",
            "20",
            "100",
            r#""+5""#,
            r#""Z""#,
            r#""a \"""#,
            r#""user:10""#,
            r#""user:2""#,
            r#""é""#,
        ];
        for limit in [1, 2, 3, 9, 10, 11, LIST_LIMIT_MAX] {
            assert_eq!(
                all(&mut client, &format!("limit={limit}")),
                expected,
                "{limit}"
            );
        }
        let whole = r#"{"ids":[-7,3],"after":"3"}"#;
        assert_eq!(client.get("/docs?limit=2").text(), whole);
        let head = client.plain("HEAD", "/docs?limit=2", "");
        assert_eq!(head.header("content-length"), Some("26"));
        // The last page is told from the one before it.
        let (last, after) = page(&client.get("/docs?limit=10"));
        assert_eq!((last.len(), after), (10, None));
        server.stop();
    }
}

#[test]
fn a_prefix_lists_names_that_begin_with_it() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    store(
        &mut client,
        [
            "user",
            "user:1",
            "user:2",
            "user;",
            "12",
            "12a",
            "use",
            "%F0%9F%98%80",
        ],
    );
    for (prefix, expected) in [
        ("user:", &[r#""user:1""#, r#""user:2""#][..]),
        (
            "user",
            &[r#""user""#, r#""user:1""#, r#""user:2""#, r#""user;""#],
        ),
        ("12", &[r#""12a""#]),
        ("none", &[]),
        (
            "",
            &[
                r#""12a""#,
                r#""use""#,
                r#""user""#,
                r#""user:1""#,
                r#""user:2""#,
                r#""user;""#,
                r#""😀""#,
            ],
        ),
    ] {
        for limit in [1, 2, 100] {
            let query = format!("prefix={prefix}&limit={limit}");
            assert_eq!(all(&mut client, &query), expected, "{query}");
        }
    }
}

#[test]
fn a_page_without_a_limit_has_the_default_and_no_page_has_more_than_the_maximum() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    let ids: Vec<String> = (0..LIST_LIMIT_MAX + 10).map(|n| n.to_string()).collect();
    store(&mut client, ids.iter().map(String::as_str));
    let (first, after) = page(&client.get("/docs"));
    assert_eq!(first, ids[..LIST_LIMIT_DEFAULT]);
    let after = after.expect("there are more");
    let (second, _) = page(&client.get(&format!("/docs?after={after}")));
    assert_eq!(second, ids[LIST_LIMIT_DEFAULT..2 * LIST_LIMIT_DEFAULT]);
    assert_eq!(all(&mut client, &format!("limit={LIST_LIMIT_MAX}")), ids);
}

#[test]
fn bad_parameters_are_400_and_named() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    let long = format!("prefix={}", "p".repeat(NAME_BYTES_MAX + 1));
    for (query, word) in [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=%2B1", "limit"),
        ("limit=1001", "1000"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("after=", "after"),
        ("after=x", "after"),
        ("after=n7", "after"),
        ("after=1.5", "after"),
        ("after=007", "after"),
        ("limit=1&limit=1", "twice"),
        ("after=1&after=1", "twice"),
        ("include=ids", "include"),
        ("include=", "include"),
        ("include=data&include=data", "twice"),
        ("ids=1&limit=1", "ids"),
        ("ids=1&include=data", "ids"),
        ("prefix=%zz", "%"),
        ("prefix=%F0%9F", "UTF-8"),
        (&long, "255"),
    ] {
        let response = client.get(&format!("/docs?{query}"));
        assert_error_naming(&response, 400, &[word]);
    }
    // A cursor of a document that is gone still names its place.
    assert_eq!(
        client.get("/docs?after=5").text(),
        r#"{"ids":[],"after":null}"#
    );
}

#[test]
fn a_page_with_data_has_the_documents_and_ends_early_where_they_are_large() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(3).start();
    let mut client = server.connect();
    client.put("/docs/1", r#"{"a": 1}"#);
    client.put("/docs/n", "[]");
    let page = r#"{"docs":[{"id":1,"data":{"a":1}},{"id":"n","data":[]}],"after":null}"#;
    assert_eq!(client.get("/docs?include=data").text(), page);
    let page = r#"{"docs":[{"id":"n","data":[]}],"after":null}"#;
    assert_eq!(client.get("/docs?include=data&prefix=").text(), page);

    // Two fit a page with the small one; one is larger than a page by itself.
    let large = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    for (id, bytes) in [
        ("2", 400 << 10),
        ("3", 400 << 10),
        ("4", 400 << 10),
        ("5", 2 << 20),
    ] {
        client.put(&format!("/docs/{id}"), large(bytes));
    }
    let mut pages = Vec::new();
    let mut after = String::new();
    loop {
        let body = json(&client.get(&format!("/docs?include=data{after}")).body);
        let docs = body["docs"].as_array().expect("docs is a list");
        let shown = docs.iter().map(|doc| {
            let bytes = doc["data"].as_str().map_or(0, str::len);
            format!("{}: {}", doc["id"], bytes >> 10)
        });
        pages.push(shown.collect::<Vec<_>>());
        match body["after"].as_str() {
            Some(cursor) => after = format!("&after={cursor}"),
            None => break,
        }
        assert!(pages.len() < 10, "{pages:?}");
    }
    let expected = [
        vec!["1: 0", "2: 399", "3: 399"],
        vec!["4: 399"],
        vec!["5: 2047"],
        vec!["\"n\": 0"],
    ];
    assert_eq!(pages, expected);
}

#[test]
fn a_listing_takes_its_turn_among_pipelined_requests() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    let mut client = server.connect();
    let mut requests = Vec::new();
    for n in 0..60 {
        requests.extend(request("PUT", &format!("/docs/{n}"), &[], b"1"));
        requests.extend(request("GET", "/docs?limit=1000", &[], b""));
    }
    client.send(requests);
    for n in 0..60 {
        assert_eq!(client.read(Expected::Body).status, 201);
        let (ids, _) = page(&client.read(Expected::Body));
        let expected: Vec<String> = (0..=n).map(|n| n.to_string()).collect();
        assert_eq!(ids, expected);
    }
}

#[test]
fn more_listings_than_may_be_under_way_wait_for_their_turn() {
    let data = TempDir::new();
    let server = serve(&data, 2);
    store(&mut server.connect(), ["1", "2", "a"]);
    let mut clients: Vec<Client> = (0..300).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(request("GET", "/docs", &[], b"").repeat(3));
    }
    // Some go away without an answer.
    clients.drain(..50);
    for client in &mut clients {
        for _ in 0..3 {
            let (ids, _) = page(&client.read(Expected::Body));
            assert_eq!(ids.len(), 3);
        }
    }
}

/// Half of the ids stay; the others come and go between the pages and through restarts.
#[test]
fn what_exists_throughout_is_seen_exactly_once() {
    let seed = seed();
    println!("OXDAAS_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    let data = TempDir::new();
    let mut server = serve(&data, 2);
    let id = |n: usize| match n % 3 {
        0 => n.to_string(),
        1 => format!("name-{n}"),
        _ => format!("-{n}"),
    };
    let mut client = server.connect();
    let steady: BTreeSet<String> = (0..600).step_by(2).map(id).collect();
    store(&mut client, steady.iter().map(String::as_str));
    for round in 0..4 {
        let mut seen = BTreeSet::new();
        let mut after = String::new();
        loop {
            let mut requests = Vec::new();
            for _ in 0..20 {
                let target = format!("/docs/{}", id(2 * random.below(300) + 1));
                requests.extend(match random.chance(50) {
                    true => request("PUT", &target, &[], &b"1".repeat(1 + random.below(300))),
                    false => request("DELETE", &target, &[], b""),
                });
                // Its bytes change, and with them its place in memory.
                let target = format!("/docs/{}", id(2 * random.below(300)));
                let document = b"1".repeat(1 + random.below(300));
                requests.extend(request("PUT", &target, &[], &document));
            }
            client.send(requests);
            for _ in 0..40 {
                client.read(Expected::Body);
            }
            let limit = 1 + random.below(60);
            let (ids, next) = page(&client.get(&format!("/docs?limit={limit}{after}")));
            for id in ids {
                assert!(seen.insert(id.clone()), "round {round}: {id} is seen twice");
            }
            match next {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
            if random.chance(5) {
                server.kill();
                server = serve(&data, 1 + u32::try_from(random.below(3)).expect("small"));
                client = server.connect();
            }
        }
        for id in &steady {
            let shown = match id.parse::<i64>() {
                Ok(_) => id.clone(),
                Err(_) => format!("\"{id}\""),
            };
            assert!(seen.contains(&shown), "round {round}: {id} is not seen");
        }
    }
}
