//! `GET /dashboard`: one page that needs nothing else and may do nothing else. What it shows and
//! does is tested in a browser, by `scripts/dashboard-test.sh`.

mod support;

use support::{
    assert_error,
    server::{Launch, TempDir},
};

#[test]
fn the_dashboard_is_one_page_that_may_talk_to_its_server_alone() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(1).start();
    let mut client = server.connect();
    let page = client.get("/dashboard");
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy").expect("a policy");
    let directives: Vec<&str> = policy.split("; ").collect();
    for expected in [
        "default-src 'none'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(directives.contains(&expected), "{expected}: {policy}");
    }
    for kind in ["style-src", "script-src"] {
        let sources = directives.iter().find_map(|d| d.strip_prefix(kind));
        let digest = sources.and_then(|sources| sources.strip_prefix(" 'sha256-"));
        assert!(digest.is_some_and(|digest| digest.len() == 45), "{policy}");
    }
    assert_eq!(directives.len(), 8, "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-cache"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    let text = page.text();
    assert!(text.starts_with("<!doctype html>") && text.ends_with("</html>\n"));
    // No link, font, picture or frame of another place, and no code outside the one script.
    for outside in ["https:", "http:/", "src=", "@import", "url(", "javascript:"] {
        let ours = "http://www.w3.org/2000/svg";
        assert!(!text.replace(ours, "").contains(outside), "{outside}");
    }
    assert_eq!(text.matches("<script>").count(), 1);

    let gzip = [("Accept-Encoding", "gzip")];
    let coded = client.request("GET", "/dashboard", &gzip, "");
    assert_eq!(coded.header("content-encoding"), Some("gzip"));
    assert!(
        coded.body.len() * 2 < page.body.len(),
        "{}",
        coded.body.len()
    );
    let head = client.plain("HEAD", "/dashboard", "");
    let length = page.body.len().to_string();
    assert_eq!(head.header("content-length"), Some(length.as_str()));
    assert_error(&client.post("/dashboard", "{}"), 405);
    server.stop();
}
