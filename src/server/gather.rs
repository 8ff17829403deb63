//! Requests about many documents: cores answer them together.
//!
//! Such a request is alone on its connection: it begins once everything before
//! it there is answered, and nothing behind it is read until it is answered. So
//! requests of a connection take effect in order, and what is under way is
//! bounded by [`GATHERS_MAX`] a core.

use super::{
    connection::Stage,
    core::{Caller, Core},
    desk::Seat,
    share::{Asker, within_bound},
};
use crate::{
    api::{self, Gathering, ListRender, ManyRender, ReplyContext},
    http::Persistence,
    id::{CoreId, Id},
    limits::{GATHERS_MAX, LIST_BYTES_MAX},
    listing::{Listing, Page},
    mesh::Ask,
    op::{Op, Outcome},
};

/// A request that waits for its turn.
pub struct Waiting {
    pub seat: Seat,
    pub persistence: Persistence,
    pub gathering: Gathering,
}

/// A request whose parts are on their way.
pub struct Gather {
    place: Place,
    /// Cores that have not answered.
    missing: usize,
    work: Work,
}

/// Where the response goes.
#[derive(Clone, Copy)]
struct Place {
    seat: Seat,
    persistence: Persistence,
}

/// What a gather brings together.
enum Work {
    /// Pages of ids.
    List {
        listing: Listing,
        render: ListRender,
        pages: Vec<Page>,
    },
    /// Outcomes of operations.
    Run(Run),
}

/// Operations on their way to the owners of their ids.
struct Run {
    ids: Vec<Id>,
    /// In the order of the ids; `None`: not known yet.
    outcomes: Vec<Option<Outcome>>,
    then: Then,
}

/// What the outcomes are for.
enum Then {
    /// The documents of a page.
    ShowPage { page: Page, render: ListRender },
    /// A response of their own.
    Answer(ManyRender),
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
                self.begin_gather(waiting);
                any = true;
            } else {
                self.waiting.push_back(waiting);
            }
        }
        any
    }

    fn begin_gather(&mut self, waiting: Waiting) {
        let place = Place {
            seat: waiting.seat,
            persistence: waiting.persistence,
        };
        match waiting.gathering {
            Gathering::List { listing, render } => self.ask_for_pages(place, listing, render),
            Gathering::Many { ops, render } => self.run_many(place, ops, Then::Answer(render)),
        }
    }

    fn ask_for_pages(&mut self, place: Place, listing: Listing, render: ListRender) {
        let gather = self.gathers.insert(Gather {
            place,
            missing: usize::from(self.config.cores),
            work: Work::List {
                listing: listing.clone(),
                render,
                pages: Vec::new(),
            },
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
        let Work::List { pages, .. } = &mut self.gathers[gather].work else {
            unreachable!("only a listing asks for pages");
        };
        pages.push(page);
        self.one_has_answered(gather);
    }

    /// Sends `ops` to the owners of their ids.
    fn run_many(&mut self, place: Place, ops: Vec<Op>, then: Then) {
        let run = Run {
            ids: ops.iter().map(|op| op.id().clone()).collect(),
            outcomes: vec![None; ops.len()],
            then,
        };
        let mut shares: Vec<Vec<Op>> = (0..self.config.cores).map(|_| Vec::new()).collect();
        for op in ops {
            let owner = CoreId::owner(op.id().placement(), self.config.cores);
            shares[owner.index()].push(op);
        }
        let shares = (0..).map(CoreId).zip(shares);
        let shares: Vec<_> = shares.filter(|(_, ops)| !ops.is_empty()).collect();
        if shares.is_empty() {
            return self.end_run(place, run);
        }
        let gather = self.gathers.insert(Gather {
            place,
            missing: shares.len(),
            work: Work::Run(run),
        });
        for (core, ops) in shares {
            if core == self.id {
                self.begin_share(ops, Asker::Gather(gather));
            } else {
                self.call(core, Ask::RunAll(ops), Caller::Gather(gather));
            }
        }
    }

    /// Takes in the outcomes of the operations of `gather` that `core` executed.
    pub(super) fn on_outcomes(&mut self, gather: usize, core: CoreId, outcomes: Vec<Outcome>) {
        let cores = self.config.cores;
        let Work::Run(run) = &mut self.gathers[gather].work else {
            unreachable!("a listing runs no operation");
        };
        let is_of_core = |id: &Id| CoreId::owner(id.placement(), cores) == core;
        let places = run.ids.iter().zip(&mut run.outcomes);
        let places = places.filter(|(id, _)| is_of_core(id));
        for ((_, place), outcome) in places.zip(outcomes) {
            assert!(place.is_none(), "an operation has one outcome");
            *place = Some(outcome);
        }
        self.one_has_answered(gather);
    }

    fn one_has_answered(&mut self, gather: usize) {
        let missing = &mut self.gathers[gather].missing;
        *missing -= 1;
        if *missing > 0 {
            return;
        }
        let Gather { place, work, .. } = self.gathers.remove(gather);
        match work {
            Work::Run(run) => self.end_run(place, run),
            Work::List {
                listing,
                render,
                pages,
            } => self.end_list(place, listing.merge(pages), render),
        }
    }

    fn end_list(&mut self, place: Place, mut page: Page, render: ListRender) {
        if !render.has_documents() {
            return self.finish_gather(place, |context, out| {
                api::render_list(&render, &page, context, out);
            });
        }
        page.cut_to_bytes(LIST_BYTES_MAX);
        let ids = page.entries.iter().map(|entry| entry.id.clone());
        let ops = ids.map(|id| Op::Get { id }).collect();
        self.run_many(place, ops, Then::ShowPage { page, render });
    }

    fn end_run(&mut self, place: Place, run: Run) {
        let mut document_bytes = 0;
        let outcomes = run.outcomes.into_iter().map(|outcome| {
            let outcome = outcome.expect("every core has answered");
            within_bound(outcome, &mut document_bytes)
        });
        let outcomes: Vec<Outcome> = outcomes.collect();
        self.finish_gather(place, |context, out| match run.then {
            Then::ShowPage { mut page, render } => {
                // Documents that grew meanwhile and do not fit are on the next page.
                let is_known = |outcome: &&Outcome| !matches!(outcome, Outcome::Refused(_));
                page.cut(outcomes.iter().take_while(is_known).count());
                api::render_documents(&render, &page, &outcomes, context, out);
            }
            Then::Answer(render) => api::render_many(&render, &run.ids, &outcomes, context, out),
        });
    }

    fn finish_gather(
        &mut self,
        place: Place,
        render: impl FnOnce(&ReplyContext<'_>, &mut Vec<u8>),
    ) {
        let Place { seat, persistence } = place;
        let (connection, date) = self.desk.connection_and_date(seat.token);
        let mut response = Vec::new();
        render(&ReplyContext { persistence, date }, &mut response);
        connection.finish(seat.number, response);
        connection.render_ready(date);
        self.desk.list(seat.token);
    }
}
