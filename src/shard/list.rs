//! Pages of the ids of one shard.

use std::ops::Bound;

use super::{Shard, entry::Key};
use crate::{
    limits::LIST_EXPIRED_MAX,
    listing::{Listed, Listing, Page},
};

impl<W> Shard<W> {
    /// The next ids that `listing` asks for: `limit` of them, or all that are left.
    ///
    /// Only durable documents are on the page; a write that was acknowledged before is.
    /// Costs time in proportion to the page, and to the expired documents that it steps over,
    /// after [`LIST_EXPIRED_MAX`] of which it ends.
    #[must_use]
    pub fn list(&self, listing: &Listing) -> Page {
        let start = listing.start();
        let start = match &start {
            Bound::Included(id) => Bound::Included(id),
            Bound::Excluded(id) => Bound::Excluded(id),
            Bound::Unbounded => Bound::Unbounded,
        };
        let wanted = |key: Key<'_>| match (&listing.prefix, key) {
            (None, _) => true,
            (Some(_), Key::Integer(_)) => false,
            (Some(prefix), Key::Name(name)) => name.starts_with(prefix.as_bytes()),
        };
        let now_ms = self.now_ms();
        let mut page = Page::default();
        let mut expired_count = 0;
        let entries = self.index.range(start);
        for entry in entries.take_while(|entry| wanted(entry.key())) {
            if entry.expiry().is_some_and(|at| at.has_come_at(now_ms)) {
                expired_count += 1;
                if expired_count == LIST_EXPIRED_MAX {
                    page.end_at(entry.key().to_id());
                    break;
                }
            } else if page.entries.len() == listing.limit {
                page.more = true;
                break;
            } else {
                page.entries.push(Listed {
                    id: entry.key().to_id(),
                    document_bytes: entry.document_bytes(),
                });
            }
        }
        page
    }
}
