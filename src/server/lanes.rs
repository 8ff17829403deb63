//! Calls of peers that wait: one lane for each of their connections.
//!
//! A call waits when a turn has gone on for long, when it is costly and costly work has to rest,
//! or when an earlier one of its connection waits. So what one connection asks is done in the
//! order in which it was asked, and no connection waits for all that another one has asked.
//! Pure: it knows no shard.

use std::collections::{HashMap, VecDeque};

use super::rest::Client;

/// The lanes of a core.
pub struct Lanes<C> {
    /// None is empty.
    calls: HashMap<Client, VecDeque<C>, fxhash::FxBuildHasher>,
    /// Each of them once; the first one is next.
    order: VecDeque<Client>,
    /// Whether the first calls of all lanes were found to have to wait.
    pub all_wait: bool,
}

impl<C> Lanes<C> {
    pub fn new() -> Lanes<C> {
        Lanes {
            calls: HashMap::default(),
            order: VecDeque::new(),
            all_wait: false,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How many connections wait.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether calls of `client` wait.
    pub fn has(&self, client: Client) -> bool {
        !self.is_empty() && self.calls.contains_key(&client)
    }

    /// Has a call wait behind the others of `client`.
    pub fn push(&mut self, client: Client, call: C) {
        self.all_wait = false;
        let lane = self.calls.entry(client).or_default();
        if lane.is_empty() {
            self.order.push_back(client);
        }
        lane.push_back(call);
    }

    /// Whose lane is next.
    pub fn first(&self) -> Option<Client> {
        self.order.front().copied()
    }

    /// Puts the next lane last and shows its first call.
    pub fn advance(&mut self) -> Option<(Client, &C)> {
        let client = self.order.pop_front()?;
        self.order.push_back(client);
        let lane = self.calls.get(&client)?;
        lane.front().map(|call| (client, call))
    }

    /// Takes the call that [`advance`](Lanes::advance) showed last.
    pub fn take(&mut self) -> Option<C> {
        let client = *self.order.back()?;
        let lane = self.calls.get_mut(&client)?;
        let call = lane.pop_front();
        if lane.is_empty() {
            self.calls.remove(&client);
            self.order.pop_back();
        }
        call
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::CoreId;

    #[test]
    fn lanes_take_turns_and_each_keeps_its_order() {
        let client = |token| Client {
            core: CoreId(1),
            token,
        };
        let mut lanes = Lanes::new();
        for call in 0..4 {
            lanes.push(client(1), call);
        }
        lanes.push(client(2), 10);
        lanes.push(client(3), 20);
        lanes.push(client(3), 21);
        assert!(lanes.has(client(2)) && !lanes.has(client(4)));
        let mut taken = Vec::new();
        while lanes.advance().is_some() {
            taken.extend(lanes.take());
        }
        assert_eq!(taken, [0, 10, 20, 1, 21, 2, 3]);
        assert!(lanes.is_empty() && !lanes.has(client(1)));
        // What is shown and not taken stays.
        lanes.push(client(1), 5);
        assert_eq!(lanes.advance(), Some((client(1), &5)));
        assert_eq!(lanes.advance(), Some((client(1), &5)));
        assert_eq!((lanes.take(), lanes.len()), (Some(5), 0));
    }
}
