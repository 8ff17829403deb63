//! What a client can ask of the list of all ids, and a page of the answer.
//!
//! Ids have one order everywhere, that of [`Id`]: integers ascending, then names
//! by their bytes. So a page is continued by the last id on it, whichever
//! documents come and go meanwhile, and on any number of cores.

use std::ops::Bound;

use crate::id::Id;

/// Asks for the ids that come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Only ids after this one; `None`: from the first on.
    pub after: Option<Id>,
    /// Only names that begin with this.
    pub prefix: Option<Box<str>>,
    /// No more ids than this.
    pub limit: usize,
}

/// Ids in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The ids, each once.
    pub entries: Vec<Listed>,
    /// Whether there are more after the last one.
    pub more: bool,
    /// Which id the page ends at, if not at that of the last entry: no entry is after it.
    pub end: Option<Id>,
}

/// A document that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: Id,
    /// How many bytes it has.
    pub document_bytes: usize,
}

impl Listing {
    /// Where the ids begin that can be on the page.
    #[must_use]
    pub fn start(&self) -> Bound<Id> {
        let prefix = self.prefix.clone().map(Id::Name);
        match (self.after.clone(), prefix) {
            (Some(after), Some(prefix)) if after < prefix => Bound::Included(prefix),
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(prefix)) => Bound::Included(prefix),
            (None, None) => Bound::Unbounded,
        }
    }

    /// Puts together the pages of all shards, each of which answered this.
    #[must_use]
    pub fn merge(&self, pages: Vec<Page>) -> Page {
        let mut merged = Page::default();
        for page in pages {
            // Whatever a shard left out comes after all that it could give to this page.
            assert!(page.entries.len() == self.limit || !page.more || page.end.is_some());
            merged.more |= page.more;
            merged.entries.extend(page.entries);
            merged.end = match (merged.end, page.end) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        // Each page is in order: a stable sort finds that out, and merges them.
        merged.entries.sort_by(|a, b| a.id.cmp(&b.id));
        if let Some(end) = &merged.end {
            merged.entries.retain(|entry| entry.id < *end);
        }
        merged.cut(self.limit);
        merged
    }
}

impl Page {
    /// Leaves out documents at the end until the others have at most `bytes` together, but
    /// never the first.
    pub fn cut_to_bytes(&mut self, bytes: usize) {
        let mut sum = 0_usize;
        let fits = |entry: &&Listed| {
            sum = sum.saturating_add(entry.document_bytes);
            sum <= bytes
        };
        let count = self.entries.iter().take_while(fits).count();
        self.cut(count.max(1));
    }

    /// Leaves out all but the first `count` documents.
    pub fn cut(&mut self, count: usize) {
        if self.entries.len() > count {
            self.entries.truncate(count);
            (self.more, self.end) = (true, None);
        }
    }

    /// Ends the page at `id`, which is not on it, although there may be more after it.
    pub fn end_at(&mut self, id: Id) {
        (self.more, self.end) = (true, Some(id));
    }

    /// The id after which the next page begins; `None`: this is the last one.
    #[must_use]
    pub fn next(&self) -> Option<&Id> {
        let last = self.entries.last().map(|entry| &entry.id);
        self.end.as_ref().or(last).filter(|_| self.more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(ids: &[i64], more: bool) -> Page {
        let entries = ids.iter().map(|&id| Listed {
            id: Id::Integer(id),
            document_bytes: 10,
        });
        Page {
            entries: entries.collect(),
            more,
            end: None,
        }
    }

    fn listing(after: Option<i64>, prefix: Option<&str>, limit: usize) -> Listing {
        Listing {
            after: after.map(Id::Integer),
            prefix: prefix.map(Into::into),
            limit,
        }
    }

    #[test]
    fn pages_of_shards_merge_in_order_and_say_whether_there_is_more() {
        let merge = |pages: &[Page]| listing(None, None, 3).merge(pages.to_vec());
        let whole = merge(&[page(&[5], false), page(&[1, 9], false)]);
        assert_eq!(whole, page(&[1, 5, 9], false));
        let cut = merge(&[page(&[5, 7, 8], false), page(&[1], false)]);
        assert_eq!(cut, page(&[1, 5, 7], true));
        let further = merge(&[page(&[1, 2, 3], true), page(&[], false)]);
        assert_eq!(further, page(&[1, 2, 3], true));
    }

    #[test]
    fn a_page_that_ends_early_goes_on_from_there() {
        let ended = |ids: &[i64], end: i64| {
            let mut page = page(ids, false);
            page.end_at(Id::Integer(end));
            page
        };
        let next = |pages: &[Page]| {
            let merged = listing(None, None, 3).merge(pages.to_vec());
            let ids: Vec<_> = merged
                .entries
                .iter()
                .map(|entry| entry.id.clone())
                .collect();
            (ids, merged.next().cloned())
        };
        let ids = |ids: &[i64]| ids.iter().copied().map(Id::Integer).collect::<Vec<_>>();
        let at = |id| Some(Id::Integer(id));
        // What other shards have after it is on the next page.
        let pages = [ended(&[1], 5), page(&[2, 6, 7], true)];
        assert_eq!(next(&pages), (ids(&[1, 2]), at(5)));
        // The shard that came least far decides, also when it has nothing to show.
        let pages = [ended(&[1], 5), ended(&[], 0), page(&[2], false)];
        assert_eq!(next(&pages), (ids(&[]), at(0)));
        // A full page ends with its last entry.
        let pages = [ended(&[1, 2], 9), page(&[3, 4, 5], false)];
        assert_eq!(next(&pages), (ids(&[1, 2, 3]), at(3)));
        assert_eq!(next(&[page(&[1], false)]), (ids(&[1]), None));
    }

    #[test]
    fn a_page_is_cut_to_bytes_but_never_to_nothing() {
        for (bytes, expected) in [
            (30, page(&[1, 2, 3], false)),
            (29, page(&[1, 2], true)),
            (9, page(&[1], true)),
        ] {
            let mut cut = page(&[1, 2, 3], false);
            cut.cut_to_bytes(bytes);
            assert_eq!(cut, expected, "{bytes}");
        }
        let mut empty = page(&[], false);
        empty.cut_to_bytes(0);
        assert_eq!(empty, page(&[], false));
    }

    #[test]
    fn a_listing_starts_after_its_cursor_and_not_before_its_prefix() {
        let name = |name: &str| Id::Name(name.into());
        assert_eq!(listing(None, None, 1).start(), Bound::Unbounded);
        let after = Bound::Excluded(Id::Integer(4));
        assert_eq!(listing(Some(4), None, 1).start(), after);
        let prefix = Bound::Included(name("ab"));
        assert_eq!(listing(None, Some("ab"), 1).start(), prefix);
        assert_eq!(listing(Some(4), Some("ab"), 1).start(), prefix);
        let mut further = listing(None, Some("ab"), 1);
        further.after = Some(name("abc"));
        assert_eq!(further.start(), Bound::Excluded(name("abc")));
    }
}
