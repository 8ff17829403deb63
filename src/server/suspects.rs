//! Which addresses sent what is no request, again and again.
//!
//! To refuse such a connection costs as much as to serve one, and whoever makes them opens the
//! next at once. So a new connection of a suspect is not read before the next tick of its core,
//! while others ask for something: they pay for no more than [`FAULTS_MAX`] a tick. Pure, and
//! bounded by [`SUSPECTS_MAX`].

use std::collections::HashMap;

use super::addresses::Subscriber;
use crate::limits::{FAULTS_MAX, SUSPECTS_MAX};

/// The addresses, each with its faults of late; `None`: this machine.
#[derive(Default)]
pub struct Suspects(HashMap<Option<Subscriber>, u32>);

impl Suspects {
    /// Notes a fault; forgets it when there are too many addresses.
    pub fn note(&mut self, who: Option<Subscriber>) {
        if self.0.len() < SUSPECTS_MAX || self.0.contains_key(&who) {
            let count = self.0.entry(who).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Whether someone is a suspect.
    pub fn has(&self, who: Option<Subscriber>) -> bool {
        !self.0.is_empty() && self.0.get(&who).is_some_and(|count| *count > FAULTS_MAX)
    }

    /// Forgets half of what was noted.
    pub fn tick(&mut self) {
        self.0.retain(|_, count| {
            *count /= 2;
            *count > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> Option<Subscriber> {
        Some(Subscriber::V4(number))
    }

    #[test]
    fn who_goes_on_sending_faults_is_a_suspect_and_others_are_not() {
        let mut suspects = Suspects::default();
        for _ in 0..FAULTS_MAX {
            suspects.note(address(1));
            suspects.note(None);
            assert!(!suspects.has(address(1)));
        }
        suspects.note(address(1));
        assert!(suspects.has(address(1)));
        assert!(!suspects.has(address(2)) && !suspects.has(None));
        // Who goes on at this pace stays one; who stops is none, and nothing is left of it.
        suspects.tick();
        assert!(!suspects.has(address(1)));
        for _ in 0..FAULTS_MAX {
            suspects.note(address(1));
        }
        assert!(suspects.has(address(1)));
        for _ in 0..32 {
            suspects.tick();
        }
        assert_eq!(suspects.0.len(), 0);
    }

    #[test]
    fn no_more_addresses_are_known_than_the_bound() {
        let mut suspects = Suspects::default();
        for number in 0..2 * u32::try_from(SUSPECTS_MAX).expect("few") {
            suspects.note(address(number));
        }
        assert_eq!(suspects.0.len(), SUSPECTS_MAX);
        for _ in 0..FAULTS_MAX {
            suspects.note(address(0));
        }
        assert!(suspects.has(address(0)), "it is known");
    }
}
