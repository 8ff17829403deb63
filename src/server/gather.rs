//! Requests about many documents: cores answer them together.
//!
//! Such a request is alone on its connection: it begins once everything before
//! it there is answered, and nothing behind it is read until it is answered. So
//! requests of a connection take effect in order, and what is under way is
//! bounded by [`GATHERS_MAX`] a core.

use std::time::Instant;

use super::{
    connection::Stage,
    core::{Caller, Core},
    desk::Seat,
    ring::Token,
    run::{AtomicRun, Run},
    share::Asker,
};
use crate::{
    api::{self, Element, Gathering, ListRender, ManyRender, ReplyContext},
    http::Persistence,
    id::CoreId,
    limits::{COSTLY_BYTES, COSTLY_BYTES_EACH, GATHERS_MAX, LIST_BYTES_MAX, WEIGHTY_BYTES},
    listing::{Listing, Page},
    mesh::Ask,
    op::{AtomicFailure, Durability, Op, Outcome},
};

/// A request that waits for its turn.
pub struct Waiting {
    pub seat: Seat,
    pub persistence: Persistence,
    pub durability: Durability,
    pub gathering: Gathering,
}

impl Waiting {
    /// Bytes that it goes over at least.
    fn weight(&self) -> usize {
        let count = match &self.gathering {
            Gathering::List { listing, .. } => listing.limit,
            Gathering::Many { elements, .. } | Gathering::Atomic { elements, .. } => elements.len(),
        };
        COSTLY_BYTES_EACH * count
    }
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
    durability: Durability,
    /// Bytes that the request goes over at least.
    weight: usize,
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
    Run { run: Run, then: Then },
    /// Outcomes of operations that take effect together.
    Atomic { run: AtomicRun, render: ManyRender },
}

/// What the outcomes are for.
enum Then {
    /// The documents of a page.
    ShowPage { page: Page, render: ListRender },
    /// A response of their own.
    Answer(ManyRender),
}

impl Core {
    /// The connection that `gather` is for.
    pub(super) fn asked_by(&self, gather: usize) -> Token {
        self.gathers[gather].place.seat.token
    }

    /// Begins the requests whose turn has come, as far as there is room and time; whether there
    /// was one.
    pub(super) fn begin_gathers(&mut self) -> bool {
        let mut any = false;
        let waiting = std::mem::take(&mut self.waiting);
        for waiting in waiting {
            let Seat { token, number } = waiting.seat;
            let is_costly = waiting.weight() >= COSTLY_BYTES;
            let rests = is_costly && self.must_rest(self.client(token));
            self.puts_off |= rests;
            let connection = self.desk.connection(token);
            if connection.stage == Stage::Dead {
                connection.finish(number, Vec::new());
                self.desk.list(token);
            } else if connection.is_first(number)
                && self.gathers.len() < GATHERS_MAX
                && !self.is_put_off(token)
                && !rests
            {
                let (began, weight) = (Instant::now(), waiting.weight());
                self.begin_gather(waiting);
                self.charge_gather(token, weight, began);
                any = true;
            } else {
                self.waiting.push_back(waiting);
            }
        }
        any
    }

    /// Notes what was done for a request since `began`; of one that goes over much, all of it
    /// counts.
    fn charge_gather(&mut self, token: Token, weight: usize, began: Instant) {
        if weight >= WEIGHTY_BYTES {
            self.charge_part(token, began);
        } else {
            self.charge(token, began);
        }
    }

    fn begin_gather(&mut self, waiting: Waiting) {
        let place = Place {
            seat: waiting.seat,
            persistence: waiting.persistence,
            durability: waiting.durability,
            weight: waiting.weight(),
        };
        match waiting.gathering {
            Gathering::List { listing, render } => self.ask_for_pages(place, listing, render),
            Gathering::Many { elements, render } => {
                self.run_many(place, Run::new(elements), Then::Answer(render));
            }
            Gathering::Atomic { elements, render } => {
                let run = AtomicRun::new(elements, render.guards());
                self.run_atomic(place, run, render);
            }
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

    /// Runs operations at the owners of their ids, and then goes on.
    fn run_many(&mut self, place: Place, run: Run, then: Then) {
        let count = run.ids_needed();
        let taken_in_a_row = run.taken_in_a_row();
        let gather = self.gathers.insert(Gather {
            place,
            missing: 0,
            work: Work::Run { run, then },
        });
        if count == 0 {
            return self.begin_wave(gather);
        }
        self.ask_for_ids(gather, count, taken_in_a_row);
    }

    /// Takes in the ids that the server chose for documents of `gather`.
    pub(super) fn on_ids(&mut self, gather: usize, ids: Vec<i64>) {
        let Gather { place, work, .. } = &mut self.gathers[gather];
        let durability = place.durability;
        match work {
            Work::Run { run, .. } => {
                run.give_ids(ids);
                self.begin_wave(gather);
            }
            Work::Atomic { run, .. } => match run.begin(ids) {
                Ok(ops) => self.ask_atomic(gather, ops, durability),
                Err(failure) => self.answer_atomic(gather, Err(failure)),
            },
            Work::List { .. } => unreachable!("a listing needs no ids"),
        }
    }

    /// Runs operations that take effect together.
    fn run_atomic(&mut self, place: Place, run: AtomicRun, render: ManyRender) {
        let count = run.ids_needed();
        let taken_in_a_row = run.taken_in_a_row();
        let gather = self.gathers.insert(Gather {
            place,
            missing: 1,
            work: Work::Atomic { run, render },
        });
        match count {
            0 => self.on_ids(gather, Vec::new()),
            count => self.ask_for_ids(gather, count, taken_in_a_row),
        }
    }

    /// Takes in what came of the operations of `gather` that take effect together.
    pub(super) fn end_atomic(
        &mut self,
        gather: usize,
        result: Result<Vec<Outcome>, AtomicFailure>,
    ) {
        let Work::Atomic { run, .. } = &mut self.gathers[gather].work else {
            unreachable!("only an atomic batch is answered so");
        };
        match run.end(result) {
            Some(result) => self.answer_atomic(gather, result),
            None => {
                let (count, taken_in_a_row) = (run.ids_needed(), run.taken_in_a_row());
                self.ask_for_ids(gather, count, taken_in_a_row);
            }
        }
    }

    fn answer_atomic(&mut self, gather: usize, result: Result<Vec<Outcome>, AtomicFailure>) {
        let Gather { place, work, .. } = self.gathers.remove(gather);
        let Work::Atomic { run, render } = work else {
            unreachable!("only an atomic batch is answered so");
        };
        let ids = run.into_ids();
        self.finish_gather(place, |context, out| match result {
            Ok(outcomes) => api::render_many(&render, &ids, &outcomes, context, out),
            Err(failure) => api::render_failure(&render, &ids, &failure, context, out),
        });
    }

    /// Asks for ids that were never used, for documents of `gather`.
    fn ask_for_ids(&mut self, gather: usize, count: usize, taken_in_a_row: u32) {
        match &mut self.ids {
            Some(ids) => {
                let ids = ids.next_ids(count, taken_in_a_row);
                self.on_ids(gather, ids);
            }
            None => {
                let ask = Ask::NextIds {
                    count,
                    taken_in_a_row,
                };
                let log_core = CoreId(self.config.log_core);
                self.call(log_core, ask, Caller::Gather(gather));
            }
        }
    }

    fn begin_wave(&mut self, gather: usize) {
        let began = Instant::now();
        let Place {
            seat: Seat { token, .. },
            weight,
            ..
        } = self.gathers[gather].place;
        let cores = self.config.cores;
        let shares = self.run_of(gather).begin_wave(cores);
        let durability = self.gathers[gather].place.durability;
        // One more than there are, so that it ends only when all have begun.
        self.gathers[gather].missing = shares.len() + 1;
        for (core, ops) in shares {
            if core == self.id {
                self.tally().local.add_count(ops.len());
                self.begin_share(ops, durability, Asker::Gather(gather));
            } else {
                self.tally().forwarded.add_count(ops.len());
                self.call(core, Ask::RunAll(ops, durability), Caller::Gather(gather));
            }
        }
        self.charge_gather(token, weight, began);
        self.one_has_answered(gather);
    }

    /// Takes in the outcomes of the operations of `gather` that `core` executed.
    pub(super) fn on_outcomes(&mut self, gather: usize, core: CoreId, outcomes: Vec<Outcome>) {
        let cores = self.config.cores;
        self.run_of(gather).take_in(core, cores, outcomes);
        self.one_has_answered(gather);
    }

    fn run_of(&mut self, gather: usize) -> &mut Run {
        match &mut self.gathers[gather].work {
            Work::Run { run, .. } => run,
            Work::List { .. } | Work::Atomic { .. } => unreachable!("it runs in no waves"),
        }
    }

    fn one_has_answered(&mut self, gather: usize) {
        let missing = &mut self.gathers[gather].missing;
        *missing -= 1;
        if *missing > 0 {
            return;
        }
        let Gather { place, work, .. } = self.gathers.remove(gather);
        match work {
            Work::Run { mut run, then } => match run.end_wave() {
                true => self.run_many(place, run, then),
                false => self.end_run(place, run, then),
            },
            Work::List {
                listing,
                render,
                pages,
            } => self.end_list(place, listing.merge(pages), render),
            Work::Atomic { .. } => unreachable!("it is answered at once"),
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
        let reads = ids.map(|id| Element::Run(Op::Get { id })).collect();
        self.run_many(place, Run::new(reads), Then::ShowPage { page, render });
    }

    fn end_run(&mut self, place: Place, run: Run, then: Then) {
        let (ids, outcomes) = run.finish();
        let mut document_bytes = 0;
        let outcomes = outcomes.into_iter();
        let outcomes = outcomes.map(|outcome| outcome.within_bound(&mut document_bytes));
        let outcomes: Vec<Outcome> = outcomes.collect();
        self.finish_gather(place, |context, out| match then {
            Then::ShowPage { mut page, render } => {
                // Documents that grew meanwhile and do not fit are on the next page.
                let is_known = |outcome: &&Outcome| !matches!(outcome, Outcome::Refused(_));
                page.cut(outcomes.iter().take_while(is_known).count());
                api::render_documents(&render, &page, &outcomes, context, out);
            }
            Then::Answer(render) => api::render_many(&render, &ids, &outcomes, context, out),
        });
    }

    fn finish_gather(
        &mut self,
        place: Place,
        render: impl FnOnce(&ReplyContext<'_>, &mut Vec<u8>),
    ) {
        let Place {
            seat,
            persistence,
            weight,
            ..
        } = place;
        let date = self.desk.date();
        let mut response = Vec::new();
        let began = Instant::now();
        render(&ReplyContext { persistence, date }, &mut response);
        self.desk.finish(seat, response);
        self.charge_gather(seat.token, weight, began);
    }
}
