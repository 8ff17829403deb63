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

/// Where connections are counted together: an IPv4 address, or the /64 of an IPv6 address,
/// which is what one subscriber is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    V4(u32),
    V6(u64),
}

impl Origin {
    /// That of a peer; `None`: it is this machine, whose connections are not counted.
    pub fn of(peer: IpAddr) -> Option<Origin> {
        let peer = peer.to_canonical();
        (!peer.is_loopback()).then(|| match peer {
            IpAddr::V4(address) => Origin::V4(address.to_bits()),
            IpAddr::V6(address) => Origin::V6(first_half(address.to_bits())),
        })
    }
}

fn first_half(address: u128) -> u64 {
    u64::try_from(address >> 64).expect("128 bits less 64")
}

/// The counts.
pub struct Addresses {
    max: usize,
    counts: Mutex<HashMap<Origin, usize>>,
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
    pub fn enter(&self, origin: Origin) -> bool {
        let mut counts = self.lock();
        let count = counts.entry(origin).or_default();
        let has_room = *count < self.max;
        *count += usize::from(has_room);
        has_room
    }

    /// Counts a connection out that was counted in.
    pub fn leave(&self, origin: Origin) {
        let mut counts = self.lock();
        let count = counts.get_mut(&origin).expect("it was counted in");
        *count -= 1;
        if *count == 0 {
            counts.remove(&origin);
            if counts.len() <= counts.capacity() / 4 {
                counts.shrink_to_fit();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Origin, usize>> {
        // Nobody panics while they hold it.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Option<Origin> {
        Origin::of(text.parse().expect("an address"))
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
            assert_eq!(origin(one) == origin(other), together, "{one} {other}");
            assert!(origin(one).is_some());
        }
        for own in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(origin(own), None, "{own}");
        }
    }

    #[test]
    fn what_left_leaves_room_and_nothing_behind() {
        let addresses = Addresses::new(2);
        let [one, other] = [Origin::V4(1), Origin::V6(1)];
        assert!(addresses.enter(one) && addresses.enter(one));
        assert!(!addresses.enter(one), "beyond the bound");
        assert!(addresses.enter(other), "another one has room");
        addresses.leave(one);
        assert!(addresses.enter(one));
        for origin in [one, one, other] {
            addresses.leave(origin);
        }
        for address in 0..10_000 {
            assert!(addresses.enter(Origin::V4(address)));
        }
        for address in 0..10_000 {
            addresses.leave(Origin::V4(address));
        }
        let counts = addresses.lock();
        assert_eq!((counts.len(), counts.capacity()), (0, 0));
    }
}
