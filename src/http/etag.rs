//! Entity tags: the lists that clients send, and the versions they name.
//!
//! The tag of a document is its version in decimal between quotes, with `-gzip`
//! behind it for what was sent in that coding: both name the version. A tag that
//! is neither is well formed all the same and names no version.

use memchr::memchr;
use smallvec::SmallVec;

use super::Coding;
use crate::op::{Match, Version};

/// What tells the tag of a gzip body from that of the same one as it is.
const GZIP_MARK: &[u8] = b"-gzip";

/// The value of `If-Match` or `If-None-Match` (RFC 9110, section 13.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntityTags<'b> {
    /// `*`.
    Any,
    /// At least one tag.
    List(SmallVec<[EntityTag<'b>; 2]>),
}

/// One entity tag (RFC 9110, section 8.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'b> {
    /// Whether it is marked `W/`.
    pub weak: bool,
    /// What stands between the quotes.
    pub tag: &'b [u8],
}

/// The field is neither `*` nor a list of entity tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the field is neither * nor a list of quoted entity tags; send an ETag as it was received")]
pub struct EtagError;

impl<'b> EntityTags<'b> {
    /// Reads the values of all lines of a field; `None` if there is no line.
    ///
    /// # Errors
    /// [`EtagError`], a 400 for the client: ignoring a condition could destroy what it protects.
    pub fn parse(
        values: impl IntoIterator<Item = &'b [u8]>,
    ) -> Result<Option<EntityTags<'b>>, EtagError> {
        let mut lines = 0_usize;
        let mut stars = 0_usize;
        let mut tags = SmallVec::new();
        for value in values {
            lines += 1;
            match value {
                b"*" => stars += 1,
                _ => parse_list(value, &mut tags)?,
            }
        }
        match (lines, stars) {
            (0, _) => Ok(None),
            (1, 1) => Ok(Some(EntityTags::Any)),
            (_, 0) if !tags.is_empty() => Ok(Some(EntityTags::List(tags))),
            _ => Err(EtagError),
        }
    }

    /// The versions named for `If-Match`, which compares strongly: a weak tag names none.
    #[must_use]
    pub fn versions_strong(&self) -> Match {
        self.versions(|tag| !tag.weak)
    }

    /// The versions named for `If-None-Match`, which compares weakly: a weak tag names its own.
    #[must_use]
    pub fn versions_weak(&self) -> Match {
        self.versions(|_| true)
    }

    /// The same of tags of bodies in `coding` alone (RFC 9110, section 8.8.3.3): a cache that
    /// has the other body could not tell which one a 304 is about.
    #[must_use]
    pub fn versions_in(&self, coding: Coding) -> Match {
        self.versions(|tag| tag.coding() == coding)
    }

    fn versions(&self, counts: impl Fn(&EntityTag<'_>) -> bool) -> Match {
        match self {
            EntityTags::Any => Match::Any,
            EntityTags::List(tags) => {
                let counted = tags.iter().filter(|tag| counts(tag));
                Match::Versions(counted.filter_map(|tag| tag.version()).collect())
            }
        }
    }
}

impl EntityTag<'_> {
    /// The coding of the body that has the tag.
    #[must_use]
    pub fn coding(&self) -> Coding {
        match self.tag.ends_with(GZIP_MARK) {
            true => Coding::Gzip,
            false => Coding::Identity,
        }
    }

    /// The version that the tag names; `None` if it is not the canonical decimal form of one.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        let tag = self.tag.strip_suffix(GZIP_MARK).unwrap_or(self.tag);
        let digits = std::str::from_utf8(tag).ok()?;
        let is_canonical = match tag {
            [b'0'] => true,
            [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        digits.parse().ok().filter(|_| is_canonical).map(Version)
    }
}

/// Appends the entity tag of `version` in `coding`, quotes included.
pub(super) fn write_etag(out: &mut Vec<u8>, version: Version, coding: Coding) {
    out.push(b'"');
    out.extend_from_slice(itoa::Buffer::new().format(version.0).as_bytes());
    if coding == Coding::Gzip {
        out.extend_from_slice(GZIP_MARK);
    }
    out.push(b'"');
}

/// Appends the tags of one line; a tag may hold commas, and empty elements are left out.
fn parse_list<'b>(
    line: &'b [u8],
    tags: &mut SmallVec<[EntityTag<'b>; 2]>,
) -> Result<(), EtagError> {
    let mut rest = line.trim_ascii();
    while !rest.is_empty() {
        if rest[0] != b',' {
            let (opaque, weak) = match rest.strip_prefix(b"W/") {
                Some(opaque) => (opaque, true),
                None => (rest, false),
            };
            let quoted = opaque.strip_prefix(b"\"").ok_or(EtagError)?;
            let end = memchr(b'"', quoted).ok_or(EtagError)?;
            let tag = &quoted[..end];
            if !tag.iter().all(|&byte| byte > b' ' && byte != 0x7f) {
                return Err(EtagError);
            }
            tags.push(EntityTag { weak, tag });
            rest = quoted[end + 1..].trim_ascii_start();
            if rest.is_empty() {
                break;
            }
        }
        rest = rest.strip_prefix(b",").ok_or(EtagError)?.trim_ascii_start();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expects `lines` to be this list, written with `W/` for a weak tag.
    fn check(lines: &[&str], expected: Result<&[&str], EtagError>) {
        let parsed = EntityTags::parse(lines.iter().map(|line| line.as_bytes()));
        let shown = parsed.map(|tags| match tags {
            None => vec![],
            Some(EntityTags::Any) => vec!["*".to_owned()],
            Some(EntityTags::List(tags)) => tags
                .iter()
                .map(|tag| {
                    let mark = if tag.weak { "W/" } else { "" };
                    format!("{mark}{}", String::from_utf8_lossy(tag.tag))
                })
                .collect(),
        });
        let expected = expected.map(|tags| tags.iter().map(|tag| (*tag).to_owned()).collect());
        assert_eq!(shown, expected, "{lines:?}");
    }

    #[test]
    fn a_condition_is_a_star_or_a_list_of_tags() {
        check(&[], Ok(&[]));
        check(&["*"], Ok(&["*"]));
        check(&["\"1\""], Ok(&["1"]));
        check(&["W/\"1\" , \"2\""], Ok(&["W/1", "2"]));
        check(&["\"1\"", "\"2\""], Ok(&["1", "2"]));
        check(&["\"a,b\",,\"\""], Ok(&["a,b", ""]));
        check(&[", \"1\" ,"], Ok(&["1"]));
        check(&["\"1\"", ""], Ok(&["1"]));
    }

    #[test]
    fn a_malformed_condition_is_refused() {
        for lines in [
            &[""][..],
            &[","],
            &["1"],
            &["\"1"],
            &["1\""],
            &["w/\"1\""],
            &["W/1"],
            &["\"1\" \"2\""],
            &["\"1\"\"2\""],
            &["\"a b\""],
            &["*, \"1\""],
            &["*", "\"1\""],
            &["*", "*"],
        ] {
            check(lines, Err(EtagError));
        }
    }

    #[test]
    fn a_version_survives_its_tag_and_other_tags_name_none() {
        for version in [0, 1, 10, u64::MAX] {
            for coding in [Coding::Identity, Coding::Gzip] {
                let mut written = Vec::new();
                write_etag(&mut written, Version(version), coding);
                let tags = EntityTags::parse([&written[..]]).expect("well formed");
                let tags = tags.expect("present");
                assert!(tags.versions_strong().includes(Some(Version(version))));
            }
        }
        for tag in [
            "",
            "-gzip",
            "1-gzi",
            "1-gzip-gzip",
            "01",
            "+1",
            "-1",
            "1 ",
            "x",
            "18446744073709551616",
        ] {
            let tag = EntityTag {
                weak: false,
                tag: tag.as_bytes(),
            };
            assert_eq!(tag.version(), None, "{tag:?}");
        }
    }

    #[test]
    fn a_weak_tag_names_a_version_only_in_the_weak_comparison() {
        let tags = EntityTags::parse([&b"W/\"7\", \"8\", \"x\""[..]]).expect("well formed");
        let tags = tags.expect("present");
        let versions = |list: &[u64]| Match::Versions(list.iter().copied().map(Version).collect());
        assert_eq!(tags.versions_strong(), versions(&[8]));
        assert_eq!(tags.versions_weak(), versions(&[7, 8]));
    }

    #[test]
    fn a_tag_is_of_the_coding_that_its_end_says() {
        let tags = EntityTags::parse([&b"\"7\", \"8-gzip\", W/\"9-gzip\", \"x-gzip\""[..]]);
        let tags = tags.expect("well formed").expect("present");
        let versions = |list: &[u64]| Match::Versions(list.iter().copied().map(Version).collect());
        assert_eq!(tags.versions_weak(), versions(&[7, 8, 9]));
        assert_eq!(tags.versions_in(Coding::Identity), versions(&[7]));
        assert_eq!(tags.versions_in(Coding::Gzip), versions(&[8, 9]));
        let any = EntityTags::Any;
        assert_eq!(any.versions_in(Coding::Gzip), Match::Any);
    }
}
