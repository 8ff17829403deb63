//! How many connections each address has, over all cores.
//!
//! The kernel spreads the connections of one address over all cores, so this is one of the few
//! things that they share. It is touched when a connection of another machine begins and when it
//! ends, never for a request, and holds no more entries than there are connections.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Whose connections are counted together: those of an IPv4 address, or of the /64 of an IPv6
/// address, which is what one subscriber is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subscriber {
    V4(u32),
    V6(u64),
}

impl Subscriber {
    /// That of a peer; `None`: it is this machine, whose connections are not counted.
    pub fn of(peer: IpAddr) -> Option<Subscriber> {
        let peer = peer.to_canonical();
        (!peer.is_loopback()).then(|| match peer {
            IpAddr::V4(address) => Subscriber::V4(address.to_bits()),
            IpAddr::V6(address) => Subscriber::V6(first_half(address.to_bits())),
        })
    }
}

fn first_half(address: u128) -> u64 {
    u64::try_from(address >> 64).expect("128 bits less 64")
}

/// The counts.
pub struct Addresses {
    max: usize,
    counts: Mutex<HashMap<Subscriber, usize>>,
}

impl Addresses {
    /// Counts of up to `max` connections an address.
    pub fn new(max: usize) -> Addresses {
        Addresses {
            max,
            counts: Mutex::default(),
        }
    }

    /// Counts a connection in, unless its address has as many as it may.
    pub fn enter(&self, subscriber: Subscriber) -> bool {
        let mut counts = self.lock();
        let count = counts.entry(subscriber).or_default();
        let has_room = *count < self.max;
        *count += usize::from(has_room);
        has_room
    }

    /// Counts a connection out that was counted in.
    pub fn leave(&self, subscriber: Subscriber) {
        let mut counts = self.lock();
        let count = counts.get_mut(&subscriber).expect("it was counted in");
        *count -= 1;
        if *count == 0 {
            counts.remove(&subscriber);
            if counts.len() <= counts.capacity() / 4 {
                counts.shrink_to_fit();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Subscriber, usize>> {
        // Nobody panics while they hold it.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(text: &str) -> Option<Subscriber> {
        Subscriber::of(text.parse().expect("an address"))
    }

    #[test]
    fn addresses_are_counted_by_what_one_subscriber_has() {
        for (one, other, together) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
        ] {
            assert_eq!(
                subscriber(one) == subscriber(other),
                together,
                "{one} {other}"
            );
            assert!(subscriber(one).is_some());
        }
        for own in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(subscriber(own), None, "{own}");
        }
    }

    #[test]
    fn what_left_leaves_room_and_nothing_behind() {
        let addresses = Addresses::new(2);
        let [one, other] = [Subscriber::V4(1), Subscriber::V6(1)];
        assert!(addresses.enter(one) && addresses.enter(one));
        assert!(!addresses.enter(one), "beyond the bound");
        assert!(addresses.enter(other), "another one has room");
        addresses.leave(one);
        assert!(addresses.enter(one));
        for subscriber in [one, one, other] {
            addresses.leave(subscriber);
        }
        for address in 0..10_000 {
            assert!(addresses.enter(Subscriber::V4(address)));
        }
        for address in 0..10_000 {
            addresses.leave(Subscriber::V4(address));
        }
        let counts = addresses.lock();
        assert_eq!((counts.len(), counts.capacity()), (0, 0));
    }
}
