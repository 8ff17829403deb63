//! `GET /dashboard`: a page that shows what the server counts as it changes, and documents.
//!
//! The page holds no data. It polls `/stats` and uses `/docs` and `/api/cmd` as any client does,
//! with the token that is typed into it, if there is one. Its parts are beside this file and
//! become one text here. A browser runs and loads nothing else in it: the policy that goes with
//! it names the digests of its style and its script, and no place but this server to talk to.

use std::sync::LazyLock;

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use super::render::{BodyMode, Reply, ReplyContext};
use crate::http::MediaType;

const FRAME: &str = include_str!("dashboard/page.html");
const STYLE: &str = include_str!("dashboard/style.css");
/// In this order, as one script.
const SCRIPT: [&str; 2] = [
    include_str!("dashboard/figures.js"),
    include_str!("dashboard/documents.js"),
];

/// The page, and what a browser may do with it.
struct Dashboard {
    page: String,
    policy: String,
}

static DASHBOARD: LazyLock<Dashboard> = LazyLock::new(|| {
    let script = SCRIPT.concat();
    let page = FRAME.replacen("/*style*/", STYLE, 1);
    Dashboard {
        page: page.replacen("/*script*/", &script, 1),
        policy: format!(
            "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            source(STYLE),
            source(&script),
        ),
    }
});

/// What a policy calls an element with this text (Content Security Policy Level 3, 2.3.1).
fn source(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    format!("sha256-{}", BASE64_STANDARD.encode(digest))
}

/// Appends the answer to `/dashboard`.
pub(super) fn render_dashboard(body_mode: BodyMode, context: &ReplyContext<'_>, out: &mut Vec<u8>) {
    let Dashboard { page, policy } = &*DASHBOARD;
    let fields = [
        ("Content-Security-Policy", policy.as_str()),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Cache-Control", "no-cache"),
    ];
    Reply::new(body_mode, context, out)
        .with_fields(&fields)
        .text(MediaType::Html, page.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_in_their_places_and_end_where_they_should() {
        let page = &DASHBOARD.page;
        for (element, text) in [("style", STYLE), ("script", &SCRIPT.concat())] {
            assert!(page.contains(&format!("<{element}>{text}</{element}>")));
            assert_eq!(
                page.matches(&format!("</{element}")).count(),
                1,
                "{element}"
            );
        }
        // Attributes with code or style would be against the policy, and foreign places as well.
        let lower = FRAME.to_lowercase();
        let is_code = |word: &str| word.starts_with("on") && word.contains('=');
        assert!(!lower.split_whitespace().any(is_code));
        assert!(!lower.contains(" style=") && !lower.contains("//"));
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    }

    #[test]
    fn a_digest_is_that_of_the_recommendation() {
        // Subresource Integrity and the policy have the same form.
        let known = "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng=";
        assert_eq!(source("alert('Hello, world.');"), known);
    }
}
