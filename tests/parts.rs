//! Parts of documents over the wire: from every core, and while the document changes.

mod support;

use support::{
    assert_error, assert_error_naming,
    server::{Launch, TempDir},
};

#[test]
fn parts_are_read_from_documents_of_all_cores() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut client = server.connect();
    for n in 0..20 {
        let target = format!("/docs/{n}");
        let document = format!(r#"{{"n":{n},"deep":[{{"a/b":"v{n}"}}],"other":null}}"#);
        assert_eq!(client.put(&target, &document).status, 201);
    }
    for n in 0..20 {
        let response = client.get(&format!("/docs/{n}?pointer=/deep/0/a~1b"));
        assert_eq!(
            (response.status, response.text()),
            (200, format!("\"v{n}\"").as_str())
        );
        let etag = response.etag();
        let whole = client.get(&format!("/docs/{n}"));
        assert_eq!(whole.etag(), etag, "a part has the version of its document");
        let response = client.get(&format!("/docs/{n}?fields=other,n"));
        let expected = format!(r#"{{"n":{n},"other":null}}"#);
        assert_eq!((response.status, response.text()), (200, expected.as_str()));
        assert_error_naming(
            &client.get(&format!("/docs/{n}?pointer=/deep/1")),
            404,
            &["/deep/1"],
        );
    }
    assert_error(&client.get("/docs/99?pointer=/n"), 404);
    assert_error(&client.get("/docs/1?pointer=n"), 400);
    assert_eq!(client.put("/docs/1", "[7]").status, 200);
    assert_eq!(client.get("/docs/1?pointer=/0").text(), "7");
    assert_error(&client.get("/docs/1?fields=n"), 404);
}
