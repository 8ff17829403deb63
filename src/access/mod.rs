//! Who may come in: this machine, everyone, or those with a token of a file; and which pages.

mod origin;
mod tokens;

use std::net::IpAddr;

pub use origin::{Origin, OriginError};
pub use tokens::{Grant, Mistake, TokenFile, TokenFileError, Tokens};

/// Who is answered.
#[derive(Clone, Debug)]
pub enum Access {
    /// Peers on this machine.
    Loopback,
    /// Everyone.
    Anyone,
    /// Those who show a token of the file.
    Tokens(TokenFile),
}

/// Whether a peer with this address is on this machine: 127.0.0.0/8 or ::1, also when a socket
/// of IPv6 shows the former.
#[must_use]
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_this_machine_are_told_from_others() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("127.255.255.254", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("126.255.255.255", false),
            ("128.0.0.1", false),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("::", false),
            ("::2", false),
            ("::127.0.0.1", false),
            ("::ffff:128.0.0.1", false),
            ("64:ff9b::127.0.0.1", false),
            ("fe80::1", false),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(is_loopback(address), expected, "{address}");
        }
    }
}
