//! Who rests after costly work, so that light requests keep their share of a core.
//!
//! Costly work cannot be interrupted, so it is paid for afterwards: once some was done, no more
//! of it begins on this core for [`REST`] times as long as it took, or for [`REST_BESIDE_FEW`]
//! times when light requests come so seldom that they would lose little. That holds for all
//! clients with costly work together, and only while others ask for light work; who is alone
//! does not wait. Requests that are known to be light are never held back here, and cost no look
//! at the clock.

use std::time::{Duration, Instant};

use super::ring::Token;
use crate::{
    id::CoreId,
    limits::{
        COSTLY_TURN_MS, LIGHT_ABOUT_MS, LIGHT_SELDOM_US, REST, REST_BESIDE_FEW, REST_DEBT_MS,
    },
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
    /// The same when they ask seldom.
    until_beside_few: Instant,
    /// When costly work was charged last.
    charged: Instant,
    /// How often connections were given light work since then.
    light_count: u32,
    /// The last two clients who were given light work, with the time of the last one's.
    light: [(Option<Client>, Instant); 2],
}

impl Rest {
    pub fn new(now: Instant) -> Rest {
        Rest {
            until: now,
            until_beside_few: now,
            charged: now,
            light_count: 0,
            light: [(None, now); 2],
        }
    }

    /// Notes that `client` was given light work.
    pub fn saw_light(&mut self, client: Client, now: Instant) {
        self.light_count = self.light_count.saturating_add(1);
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
        let debt_max = now + DEBT_MAX.max(REST * took);
        self.until = (self.until.max(now) + REST * took).min(debt_max);
        self.until_beside_few = now + OBSERVED.max(REST_BESIDE_FEW * took);
        self.charged = now;
        self.light_count = 0;
    }

    /// Whether costly work was done lately, so that more of it can wait for other things than its
    /// rest as well: not for ever.
    pub fn had_turn(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.charged) < TURN_AFTER
    }

    /// Whether anyone asks for light work.
    pub fn anyone_about(&self, now: Instant) -> bool {
        (self.light.iter()).any(|(who, at)| who.is_some() && is_recent(*at, now))
    }

    /// Whether anyone but `client` asks for light work.
    pub fn others_about(&self, client: Client, now: Instant) -> bool {
        let is_other = |who: &Option<Client>| who.is_some_and(|who| who != client);
        (self.light.iter()).any(|(who, at)| is_other(who) && is_recent(*at, now))
    }

    /// Whether costly work of `client` has to wait.
    pub fn must_wait(&self, client: Client, now: Instant) -> bool {
        now < self.until
            && (now < self.until_beside_few || !self.is_seldom(now))
            && self.others_about(client, now)
    }

    /// Whether there was little light work since the last costly one.
    fn is_seldom(&self, now: Instant) -> bool {
        LIGHT_SELDOM * self.light_count < now.saturating_duration_since(self.charged)
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < LIGHT_ABOUT
}

const LIGHT_ABOUT: Duration = Duration::from_millis(LIGHT_ABOUT_MS);
const LIGHT_SELDOM: Duration = Duration::from_micros(LIGHT_SELDOM_US);
/// So long it takes to know whether light requests are seldom.
const OBSERVED: Duration = LIGHT_SELDOM.saturating_mul(2);
const TURN_AFTER: Duration = Duration::from_millis(COSTLY_TURN_MS);
const DEBT_MAX: Duration = Duration::from_millis(REST_DEBT_MS);

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
        for _ in 0..1000 {
            rest.saw_light(client(1), now);
        }
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

    #[test]
    fn costly_work_has_a_turn_again_after_a_while() {
        let now = Instant::now();
        let mut rest = Rest::new(now);
        rest.charge(MS, now + MS);
        assert!(rest.had_turn(now + TURN_AFTER));
        assert!(!rest.had_turn(now + MS + TURN_AFTER));
    }

    #[test]
    fn beside_few_light_requests_the_rest_is_short() {
        let now = Instant::now();
        let check = |light_count: u32, took: Duration, rests_for: Duration| {
            let mut rest = Rest::new(now);
            rest.charge(took, now);
            for _ in 0..light_count {
                rest.saw_light(client(1), now);
            }
            let us = Duration::from_micros(1);
            assert!(rest.must_wait(client(2), now + rests_for - us));
            assert!(!rest.must_wait(client(2), now + rests_for));
        };
        check(1, MS, 2 * MS);
        check(1, 2 * MS, REST_BESIDE_FEW * (2 * MS));
        // As many as make it long.
        check(20, MS, REST * MS);
        check(7, MS, 7 * MS + Duration::from_micros(1));
        // Too short for anyone to know.
        check(1, MS / 10, REST * (MS / 10));
    }

    #[test]
    fn what_is_charged_adds_up_and_is_forgotten_in_the_end() {
        let now = Instant::now();
        let mut rest = Rest::new(now);
        for _ in 0..3 {
            rest.charge(MS, now);
        }
        assert_eq!(rest.until, now + 3 * REST * MS);
        for _ in 0..1000 {
            rest.charge(MS, now);
        }
        assert_eq!(rest.until, now + DEBT_MAX);
        rest.charge(DEBT_MAX, now);
        assert_eq!(rest.until, now + REST * DEBT_MAX);
    }
}
