//! TLS without a network: whatever bytes come, in whatever pieces, a session takes them or ends,
//! and never panics.

mod support;

use oxdaas::{
    config::TlsFiles,
    limits::TLS_INCOMING_BYTES_MAX,
    tls::{Fault, Identity, Session},
};
use rustls::ClientConnection;
use support::{
    certificate::Site,
    random::{Random, seed},
    server::TempDir,
};

/// A certificate, and the server's and the client's side of it.
struct Pair {
    _directory: TempDir,
    site: Site,
    identity: Identity,
}

impl Pair {
    fn new() -> Pair {
        let directory = TempDir::new();
        let site = Site::new(directory.path());
        let files = TlsFiles {
            cert: site.cert(),
            key: site.key(),
        };
        let identity = Identity::load(&files).expect("a certificate and its key");
        Pair {
            _directory: directory,
            site,
            identity,
        }
    }

    /// A client and a session whose handshake is done.
    fn open(&self) -> (ClientConnection, Session) {
        let (mut client, mut session) = (self.site.client(), self.identity.begin());
        while client.is_handshaking() || session.is_handshaking() {
            let plain = give(&mut session, &said(&mut client)).expect("a good handshake");
            assert!(plain.is_empty());
            hear(&mut client, &session.take_outgoing());
        }
        (client, session)
    }
}

/// What the client has to send.
fn said(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("memory takes it");
    }
    bytes
}

/// Has the client take `bytes`; returns what they say.
fn hear(client: &mut ClientConnection, mut bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while !bytes.is_empty() && client.read_tls(&mut bytes).expect("memory gives it") > 0 {
        client.process_new_packets().expect("a good server");
        // Without more to read that is an error, and what there was is in `plain`.
        let _ = std::io::Read::read_to_end(&mut client.reader(), &mut plain);
    }
    plain
}

fn give(session: &mut Session, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut plain = Vec::new();
    session.open(bytes, &mut plain).map(|()| plain)
}

fn write(client: &mut ClientConnection, plain: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = plain;
    while !rest.is_empty() {
        let taken = std::io::Write::write(&mut client.writer(), rest).expect("memory takes it");
        rest = &rest[taken..];
        bytes.extend(said(client));
    }
    bytes
}

#[test]
fn bytes_that_come_one_at_a_time_are_as_good_as_all_at_once() {
    let pair = Pair::new();
    let (mut client, mut session) = (pair.site.client(), pair.identity.begin());
    let mut plain = Vec::new();
    std::io::Write::write_all(&mut client.writer(), b"the request").expect("it is kept");
    while client.is_handshaking() || session.is_handshaking() || plain.is_empty() {
        for byte in said(&mut client) {
            session.open(&[byte], &mut plain).expect("a good client");
        }
        for byte in session.take_outgoing() {
            hear(&mut client, &[byte]);
        }
    }
    assert_eq!(plain, b"the request");
    assert_eq!(session.incoming_bytes(), 0, "an idle session keeps nothing");
    session.seal(b"the response").expect("it is open");
    session.close();
    let sent = session.take_outgoing();
    assert_eq!(hear(&mut client, &sent), b"the response");
    let end = std::io::Read::read(&mut client.reader(), &mut [0; 1]);
    assert_eq!(end.expect("close_notify came"), 0);
}

#[test]
fn long_texts_pass_both_ways_and_leave_nothing_behind() {
    let pair = Pair::new();
    let (mut client, mut session) = pair.open();
    let text: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for bytes in [1, 4096, 16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, text.len()] {
        let text = &text[..bytes];
        let mut plain = Vec::new();
        for piece in write(&mut client, text).chunks(4096) {
            session.open(piece, &mut plain).expect("a good client");
            assert!(session.incoming_bytes() <= TLS_INCOMING_BYTES_MAX);
        }
        assert!(plain == text, "{bytes} bytes to the server");
        assert_eq!(session.incoming_bytes(), 0);
        session.seal(text).expect("it is open");
        assert!(
            hear(&mut client, &session.take_outgoing()) == text,
            "{bytes} bytes to the client"
        );
    }
}

#[test]
fn keys_are_updated_when_a_client_asks_and_a_flood_of_that_ends_the_session() {
    let pair = Pair::new();
    let (mut client, mut session) = pair.open();
    for _ in 0..3 {
        client.refresh_traffic_keys().expect("TLS 1.3");
        let bytes = write(&mut client, b"request");
        assert_eq!(
            give(&mut session, &bytes).expect("a good client"),
            b"request"
        );
        session.seal(b"response").expect("it is open");
        assert_eq!(hear(&mut client, &session.take_outgoing()), b"response");
    }
    let mut flood = Vec::new();
    for _ in 0..1000 {
        client.refresh_traffic_keys().expect("TLS 1.3");
        flood.extend(said(&mut client));
    }
    assert!(
        give(&mut session, &flood).is_err(),
        "a thousand updates without a request"
    );
    assert!(
        session.take_outgoing().len() < 1000,
        "they are not answered one by one"
    );
    session.seal(b"late").expect("nothing happens");
    assert!(!session.has_outgoing(), "nothing leaves after a fault");
}

#[test]
fn a_hello_that_is_cut_anywhere_is_awaited_and_one_that_is_bent_anywhere_does_not_panic() {
    let pair = Pair::new();
    let hello = said(&mut pair.site.client());
    for end in 0..hello.len() {
        let mut session = pair.identity.begin();
        let plain = give(&mut session, &hello[..end]).expect("it may go on");
        assert!(plain.is_empty() && !session.has_outgoing() && session.is_handshaking());
        assert_eq!(session.incoming_bytes(), end);
    }
    let mut faults = 0;
    for at in 0..hello.len() {
        for bit in 0..8 {
            let mut bent = hello.clone();
            bent[at] ^= 1 << bit;
            let mut session = pair.identity.begin();
            faults += u32::from(give(&mut session, &bent).is_err());
            // It is over, or goes on: whatever comes then.
            let _ = give(&mut session, &hello);
            let _ = session.seal(b"nothing");
            session.close();
        }
    }
    assert!(faults > 100, "{faults} of them are refused");
}

#[test]
fn garbage_ends_a_session_and_never_panics() {
    let seed = seed();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let pair = Pair::new();
    for round in 0..3000 {
        let (mut client, mut session) = match round % 10 {
            0 => pair.open(),
            _ => (pair.site.client(), pair.identity.begin()),
        };
        let mut kept = 0;
        for _ in 0..random.below(8) + 1 {
            let bytes = piece(&mut random, &mut client);
            let mut plain = Vec::new();
            let opened = session.open(&bytes, &mut plain);
            kept = kept.max(session.incoming_bytes());
            let outgoing = session.take_outgoing();
            assert!(outgoing.len() < 64 * 1024, "little is said to garbage");
            if random.chance(30) {
                let _ = session.seal(&bytes);
            }
            if random.chance(10) {
                session.close();
            }
            if opened.is_err() {
                assert_eq!(session.incoming_bytes(), 0, "nothing is kept after a fault");
            }
        }
        assert!(
            kept <= TLS_INCOMING_BYTES_MAX,
            "{kept} bytes are kept in round {round}"
        );
    }
}

/// Some bytes as a bad peer might send them.
fn piece(random: &mut Random, client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = match random.below(4) {
        // Anything at all.
        0 => {
            let length = random.below(300);
            (0..length)
                .map(|_| random.bits().to_le_bytes()[0])
                .collect()
        }
        // Records of any type, version and content, some longer than they may be.
        1 | 2 => {
            let mut bytes = Vec::new();
            for _ in 0..random.below(5) + 1 {
                let kind = random.pick(&[20, 21, 22, 23, 24, 0]);
                let length = *random.pick(&[0, 1, 2, 4, 40, 300, 16_384, 18_432, 60_000]);
                bytes.extend([*kind, 3, *random.pick(&[0, 1, 3, 4])]);
                bytes.extend(u16::try_from(length).expect("below 64 KiB").to_be_bytes());
                let start = bytes.len();
                bytes.resize(
                    start + random.below(length + 1),
                    *random.pick(&[0, 1, 22, 255]),
                );
            }
            bytes
        }
        // What a good client sends.
        _ => said(client),
    };
    if !bytes.is_empty() && random.chance(40) {
        let at = random.below(bytes.len());
        bytes[at] = random.bits().to_le_bytes()[0];
    }
    if random.chance(30) {
        bytes.truncate(random.below(bytes.len() + 1));
    }
    bytes
}

#[test]
fn http_without_tls_is_told_from_other_protocols() {
    let pair = Pair::new();
    for (text, is_http) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], true),
        (b"P", true),
        (b"\x80\x2e\x01\x03\x01", false),
        (b"\r\n", false),
        (b"\0\0\0\0\0\0\0\0", false),
    ] {
        let mut session = pair.identity.begin();
        let opened = give(&mut session, text);
        assert_eq!(matches!(opened, Err(Fault::PlainHttp)), is_http, "{text:?}");
    }
}
