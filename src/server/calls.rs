//! What peers ask of this core, and large operations of its own: when each is done, and how.

use std::{sync::atomic::Ordering, time::Instant};

use super::{
    core::{Core, Waiter},
    desk::Seat,
    rest::Client,
    share::Asker,
};
use crate::{
    id::CoreId,
    limits::{
        ANSWERS_UNDER_WAY_BYTES_MAX, COSTLY_BYTES, COSTLY_BYTES_EACH, TURN_CALLS_MIN, WEIGHTY_BYTES,
    },
    mesh::{Answer, Ask, Call},
    shard::Shard,
};

impl Core {
    /// Does what a peer asks, as far as there is time for it.
    pub(super) fn take_calls(&mut self, peer: CoreId, calls: Vec<Call>) {
        if calls.len() > 1 {
            let ids = calls.iter().filter_map(|call| match &call.ask {
                Ask::Run(op, _) => Some(op.id()),
                _ => None,
            });
            self.shard.warm(ids);
        }
        let mut is_long = self.has_enough(peer);
        for (number, call) in calls.into_iter().enumerate() {
            if number % TURN_CALLS_MIN == TURN_CALLS_MIN - 1 {
                is_long |= self.turn_is_long();
            }
            let client = Client {
                core: peer,
                token: call.connection,
            };
            if !can_wait(&call.ask) {
                self.answer_call(peer, call);
                continue;
            }
            let weight = weight(&self.shard, &call.ask);
            let is_costly = is_costly(weight, call.is_light);
            let waits = || self.must_rest(client) || self.waits_for_log(client);
            if is_long || self.lanes.has(client) || is_costly && waits() {
                self.lanes.push(client, call);
            } else if weight >= WEIGHTY_BYTES {
                self.answer_costly_call(client, call);
                is_long |= self.turn_is_long();
            } else {
                if call.is_light {
                    self.rest.saw_light(client, self.now);
                }
                let is_large = self.answer_call(peer, call);
                is_long |= is_large && self.has_enough(peer);
            }
        }
    }

    /// Goes on with what peers asked before; whether there was something to be done.
    pub(super) fn take_lanes(&mut self) -> bool {
        let Some(first) = self.lanes.first() else {
            return false;
        };
        if self.lanes.all_wait && self.must_rest(first) {
            self.puts_off = true;
            return false;
        }
        self.lanes.all_wait = false;
        let (mut any, mut passed) = (false, 0);
        while passed < self.lanes.len() {
            if self.turn_is_long() {
                self.puts_off = true;
                break;
            }
            let (client, call) = self.lanes.advance().expect("there are lanes");
            let weight = weight(&self.shard, &call.ask);
            let is_costly = is_costly(weight, call.is_light);
            let rests = is_costly && (self.must_rest(client) || self.waits_for_log(client));
            if rests || self.has_enough(client.core) {
                self.puts_off = true;
                passed += 1;
                self.lanes.all_wait = passed == self.lanes.len() && !any;
                continue;
            }
            (any, passed) = (true, 0);
            let call = self.lanes.take().expect("it was shown");
            match weight >= WEIGHTY_BYTES {
                true => self.answer_costly_call(client, call),
                false => {
                    self.answer_call(client.core, call);
                }
            }
        }
        any
    }

    /// Whether a peer has to take large documents before it is answered more.
    fn has_enough(&self, peer: CoreId) -> bool {
        let under_way = self.process.under_way(peer).load(Ordering::Relaxed);
        under_way > ANSWERS_UNDER_WAY_BYTES_MAX
    }

    fn answer_costly_call(&mut self, client: Client, call: Call) {
        let began = Instant::now();
        self.answer_call(client.core, call);
        // However little it is, there may be any number of them.
        let now = Instant::now();
        self.rest.charge(now - began, now);
    }

    /// Does what is asked; whether a large document was answered.
    fn answer_call(&mut self, peer: CoreId, call: Call) -> bool {
        let Call {
            id: call,
            connection,
            ask,
            ..
        } = call;
        match ask {
            Ask::Run(op, durability) => {
                if peer == self.id {
                    let seat = Seat {
                        token: connection,
                        number: call,
                    };
                    let waiter = Waiter::Seat(seat);
                    if let Some(outcome) = self.shard.execute_as(op, durability, waiter) {
                        self.settle(seat, outcome);
                    }
                    return false;
                }
                self.tally().served.add(1);
                let waiter = Waiter::Peer(peer, call);
                if let Some(outcome) = self.shard.execute_as(op, durability, waiter) {
                    self.process.note_answer(peer, &outcome);
                    let is_large = outcome.document_bytes() >= WEIGHTY_BYTES;
                    self.reply(peer, call, Answer::Outcome(outcome));
                    return is_large;
                }
            }
            Ask::RunAll(ops, durability) => {
                self.tally().served.add_count(ops.len());
                self.begin_share(ops, durability, Asker::Peer(peer, call));
            }
            Ask::Atomic(ops, durability) => {
                self.tally().served.add_count(ops.len());
                let asker = Asker::Peer(peer, call);
                let _ = self.coordinator.ask(asker, ops, durability);
            }
            Ask::Prepare(key, ops) => self.prepare(key, ops, Waiter::Peer(peer, call)),
            Ask::Conclude(key, conclusion) => {
                self.conclude(key, conclusion);
                self.reply(peer, call, Answer::Concluded);
            }
            Ask::List(listing) => {
                let page = self.shard.list(&listing);
                self.reply(peer, call, Answer::Listed(page));
            }
            Ask::Examine(inquiry) => {
                let finding = self.shard.look_up(inquiry);
                self.reply(peer, call, Answer::Found(finding));
            }
            Ask::NextId { taken_in_a_row } => {
                let ids = self
                    .ids
                    .as_mut()
                    .expect("ids are asked of the core that has their source");
                let id = ids.next_id(taken_in_a_row);
                self.reply(peer, call, Answer::NextId(id));
            }
            Ask::NextIds {
                count,
                taken_in_a_row,
            } => {
                let ids = self
                    .ids
                    .as_mut()
                    .expect("ids are asked of the core that has their source");
                let ids = ids.next_ids(count, taken_in_a_row);
                self.reply(peer, call, Answer::NextIds(ids));
            }
        }
        false
    }
}

/// Whether a call may be done after later ones of other connections.
fn can_wait(ask: &Ask) -> bool {
    matches!(ask, Ask::Run(..) | Ask::RunAll(..) | Ask::List(_))
}

/// Whether a call that goes over so many bytes has to rest as costly ones do.
fn is_costly(weight: usize, is_light: bool) -> bool {
    weight >= COSTLY_BYTES || !is_light && weight >= WEIGHTY_BYTES
}

/// Bytes that a call goes over, roughly; of a document that is only read, none.
fn weight<W>(shard: &Shard<W>, ask: &Ask) -> usize {
    match ask {
        Ask::Run(op, _) => shard.bytes_at_hand(op),
        Ask::RunAll(ops, _) => {
            let bytes = ops.iter().map(|op| shard.bytes_at_hand(op));
            bytes.sum::<usize>() + COSTLY_BYTES_EACH * ops.len()
        }
        Ask::List(listing) => COSTLY_BYTES_EACH * listing.limit,
        _ => 0,
    }
}
