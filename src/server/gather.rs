//! Requests that several cores answer together.
//!
//! Such a request is alone on its connection: it begins once everything before
//! it there is answered, and nothing behind it is read until it is answered. So
//! requests of a connection take effect in order, and what is under way is
//! bounded by [`GATHERS_MAX`] a core.

use super::{
    connection::Stage,
    core::{Caller, Core},
    desk::Seat,
};
use crate::{
    api::{self, ListRender, ReplyContext},
    http::Persistence,
    id::CoreId,
    limits::GATHERS_MAX,
    listing::{Listing, Page},
    mesh::Ask,
};

/// A request that waits for its turn.
pub struct Waiting {
    pub seat: Seat,
    pub persistence: Persistence,
    pub listing: Listing,
    pub render: ListRender,
}

/// A request whose parts are on their way.
pub struct Gather {
    seat: Seat,
    persistence: Persistence,
    listing: Listing,
    render: ListRender,
    pages: Vec<Page>,
}

impl Core {
    /// Begins the requests whose turn has come, as far as there is room; whether there was one.
    pub(super) fn begin_gathers(&mut self) -> bool {
        let mut any = false;
        let waiting = std::mem::take(&mut self.waiting);
        for waiting in waiting {
            let Seat { token, number } = waiting.seat;
            let connection = self.desk.connection(token);
            if connection.stage == Stage::Dead {
                connection.finish(number, Vec::new());
                self.desk.list(token);
            } else if connection.is_first(number) && self.gathers.len() < GATHERS_MAX {
                self.begin_list(waiting);
                any = true;
            } else {
                self.waiting.push_back(waiting);
            }
        }
        any
    }

    fn begin_list(&mut self, waiting: Waiting) {
        let Waiting {
            seat,
            persistence,
            listing,
            render,
        } = waiting;
        let gather = self.gathers.insert(Gather {
            seat,
            persistence,
            listing: listing.clone(),
            render,
            pages: Vec::new(),
        });
        for core in (0..self.config.cores).map(CoreId) {
            if core == self.id {
                let page = self.shard.list(&listing);
                self.on_listed(gather, page);
            } else {
                self.call(core, Ask::List(listing.clone()), Caller::Gather(gather));
            }
        }
    }

    /// Takes in the page of one shard.
    pub(super) fn on_listed(&mut self, gather: usize, page: Page) {
        let pages = &mut self.gathers[gather].pages;
        pages.push(page);
        if pages.len() < usize::from(self.config.cores) {
            return;
        }
        let gather = self.gathers.remove(gather);
        let page = gather.listing.merge(gather.pages);
        let Seat { token, number } = gather.seat;
        let (connection, date) = self.desk.connection_and_date(token);
        let context = ReplyContext {
            persistence: gather.persistence,
            date,
        };
        let mut response = Vec::new();
        api::render_list(&gather.render, &page, &context, &mut response);
        connection.finish(number, response);
        connection.render_ready(date);
        self.desk.list(token);
    }
}
