//! Pages of the ids of one shard.

use std::ops::Bound;

use super::{Shard, entry::Key};
use crate::listing::{Listed, Listing, Page};

impl<W> Shard<W> {
    /// The next ids that `listing` asks for: `limit` of them, or all that are left.
    ///
    /// Only durable documents are on the page; a write that was acknowledged before is.
    /// Costs time in proportion to the page.
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
        let mut entries = self
            .index
            .range(start)
            .take_while(|entry| wanted(entry.key()))
            .map(|entry| Listed {
                id: entry.key().to_id(),
                document_bytes: entry.document_bytes(),
            });
        Page {
            entries: entries.by_ref().take(listing.limit).collect(),
            more: entries.next().is_some(),
        }
    }
}
