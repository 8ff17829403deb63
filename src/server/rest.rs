//! Who rests after costly work, so that light requests keep their share of a core.
//!
//! Costly work cannot be interrupted, so it is paid for afterwards: once some was done, no more
//! of it begins on this core for [`REST`] times as long as it took. That holds for all clients
//! with costly work together, and only while others ask for light work; who is alone does not
//! wait. Requests that are known to be light are never held back here, and cost no look at the
//! clock.

use std::time::{Duration, Instant};

use super::ring::Token;
use crate::{
    id::CoreId,
    limits::{LIGHT_ABOUT_MS, REST},
};

/// A connection, whichever core it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    pub core: CoreId,
    pub token: Token,
}

/// What a core remembers of the work that it did.
pub struct Rest {
    /// Until when no costly work begins, while others are about.
    until: Instant,
    /// The last two clients who were given light work, with the time of the last one's.
    light: [(Option<Client>, Instant); 2],
}

impl Rest {
    pub fn new(now: Instant) -> Rest {
        Rest {
            until: now,
            light: [(None, now); 2],
        }
    }

    /// Notes that `client` was given light work.
    pub fn saw_light(&mut self, client: Client, now: Instant) {
        if self.light[0].0 != Some(client) {
            self.light[1] = self.light[0];
            self.light[0].0 = Some(client);
        }
        self.light[0].1 = now;
    }

    /// Notes costly work that took so long and ended now.
    pub fn charge(&mut self, took: Duration, now: Instant) {
        // Who was kept waiting by it is still about.
        for (_, at) in &mut self.light {
            *at += took;
        }
        self.until = self.until.max(now + REST * took);
    }

    /// Whether anyone but `client` asks for light work.
    pub fn others_about(&self, client: Client, now: Instant) -> bool {
        self.light.iter().any(|(who, at)| {
            let is_recent = now.saturating_duration_since(*at) < LIGHT_ABOUT;
            is_recent && who.is_some_and(|who| who != client)
        })
    }

    /// Whether costly work of `client` has to wait.
    pub fn must_wait(&self, client: Client, now: Instant) -> bool {
        now < self.until && self.others_about(client, now)
    }
}

const LIGHT_ABOUT: Duration = Duration::from_millis(LIGHT_ABOUT_MS);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn client(token: Token) -> Client {
        Client {
            core: CoreId(0),
            token,
        }
    }

    #[test]
    fn costly_work_waits_while_others_are_about_and_not_for_itself() {
        let now = Instant::now();
        let mut rest = Rest::new(now);
        rest.saw_light(client(1), now);
        rest.charge(10 * MS, now + 10 * MS);
        let soon = now + 11 * MS;
        assert!(rest.must_wait(client(2), soon), "another one is about");
        assert!(!rest.must_wait(client(1), soon), "it is alone");
        rest.saw_light(client(2), soon);
        assert!(rest.must_wait(client(1), soon));
        assert!(
            rest.must_wait(client(2), soon),
            "the first one is still about"
        );
        let rested = now + 10 * MS + REST * (10 * MS);
        rest.saw_light(client(3), rested);
        assert!(!rest.must_wait(client(1), rested), "it has rested");
    }

    #[test]
    fn who_was_kept_waiting_is_still_about_and_who_left_is_not() {
        let now = Instant::now();
        let mut rest = Rest::new(now);
        rest.saw_light(client(1), now);
        let long = 10 * LIGHT_ABOUT;
        rest.charge(long, now + long);
        assert!(rest.must_wait(client(2), now + long));
        assert!(!rest.must_wait(client(2), now + long + LIGHT_ABOUT));
    }
}
