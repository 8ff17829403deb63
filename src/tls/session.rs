//! One connection's TLS, the server's side: records in, plain bytes out, and back.
//!
//! Bytes to bytes, however they were cut on their way; it knows no socket. What stays true:
//! - whole records are opened as they arrive, so that what is kept of a peer between two calls
//!   is a part of one record or of a handshake message, within [`TLS_INCOMING_BYTES_MAX`], and
//!   for an idle peer nothing;
//! - plain bytes leave through [`Session::seal`] alone, and after a fault none do;
//! - a peer that only makes work (renegotiation, key updates, empty records, warnings) is
//!   given up after a few: rustls counts them.

use std::sync::Arc;

use rustls::{
    Error, ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic},
};

use crate::limits::{TLS_INCOMING_BYTES_MAX, TLS_RECORD_BYTES_MAX};

/// The content type that each handshake begins with (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// More than the head, nonce, type and tag of a record take.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// Room for a short record of rustls's own: an alert, or an update of keys.
const SHORT_RECORD_BYTES: usize = 256;

/// A fatal alert, `internal_error`, in a record that is not encrypted (RFC 8446, section 6.2):
/// for a peer that is turned away before anything was agreed on.
pub const TURNED_AWAY: &[u8] = &[21, 3, 3, 0, 2, 2, 80];

/// The server's side of one connection.
pub struct Session {
    connection: Box<UnbufferedServerConnection>,
    /// What was received and is not whole yet.
    incoming: Vec<u8>,
    /// Records that are to be sent.
    outgoing: Vec<u8>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was received.
    Fresh,
    Handshake,
    Open,
    /// The peer said that it sends no more.
    PeerClosed,
    /// We said so.
    Closed,
    /// Nothing can be sent or received any more.
    Failed,
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The peer speaks HTTP, and nothing of TLS.
    #[error("the peer speaks no TLS")]
    PlainHttp,
    /// The peer broke the protocol, or nothing could be agreed on; it was told by an alert.
    #[error(transparent)]
    Broken(#[from] Error),
    /// What the peer began to send is longer than anything it may send.
    #[error("more than {TLS_INCOMING_BYTES_MAX} bytes of a handshake message")]
    TooLong,
}

impl Session {
    /// A session before its first byte.
    ///
    /// # Panics
    /// If the configuration contradicts itself, which `Identity` does not let happen.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>) -> Session {
        let connection = UnbufferedServerConnection::new(config)
            .expect("only a bad bound on fragments is refused, and none is set");
        Session {
            connection: Box::new(connection),
            incoming: Vec::new(),
            outgoing: Vec::new(),
            stage: Stage::Fresh,
        }
    }

    /// Takes in `bytes` of the peer, appends what they say to `plain`, and answers what is for
    /// TLS to answer; see [`Session::take_outgoing`].
    ///
    /// # Errors
    /// [`Fault`]: the session is over. What is in `plain` arrived before that.
    pub fn open(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), Fault> {
        if !matches!(self.stage, Stage::Fresh | Stage::Handshake | Stage::Open) {
            return Ok(());
        }
        self.incoming.extend_from_slice(bytes);
        if self.stage == Stage::Fresh {
            match self.incoming.first() {
                None => return Ok(()),
                // A method begins with a letter; other protocols are told in theirs, or not.
                Some(first) if *first != HANDSHAKE && first.is_ascii_uppercase() => {
                    self.fail();
                    return Err(Fault::PlainHttp);
                }
                Some(_) => self.stage = Stage::Handshake,
            }
        }
        let opened = self.open_records(plain);
        if self.incoming.is_empty() {
            // An idle connection keeps no buffer.
            self.incoming = Vec::new();
        }
        let fault = match opened {
            Err(error) => Fault::Broken(error),
            Ok(()) if self.incoming.len() > TLS_INCOMING_BYTES_MAX => Fault::TooLong,
            Ok(()) => {
                if self.stage == Stage::Handshake && !self.connection.is_handshaking() {
                    self.stage = Stage::Open;
                }
                return Ok(());
            }
        };
        self.fail();
        Err(fault)
    }

    /// Keeps `bytes` of the peer for the next [`Session::open`].
    pub fn hold(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
    }

    /// Encrypts `plain`, behind what is to be sent already.
    ///
    /// # Errors
    /// [`Fault`]: the session is over.
    pub fn seal(&mut self, plain: &[u8]) -> Result<(), Fault> {
        if !matches!(self.stage, Stage::Open | Stage::PeerClosed) {
            return Ok(());
        }
        let records = plain.len().div_ceil(TLS_RECORD_BYTES_MAX);
        let room = plain.len() + records * RECORD_OVERHEAD_BYTES + SHORT_RECORD_BYTES;
        self.write(room, |traffic, out| traffic.encrypt(plain, out))
    }

    /// Says that nothing more is sent: the alert `close_notify`, once.
    pub fn close(&mut self) {
        if !matches!(self.stage, Stage::Open | Stage::PeerClosed) {
            return;
        }
        // When even that fails there is nothing left to say.
        let said = self.write(SHORT_RECORD_BYTES, |traffic, out| {
            traffic.queue_close_notify(out)
        });
        if said.is_ok() {
            self.stage = Stage::Closed;
        }
    }

    /// Whether there is something to be sent.
    #[must_use]
    pub fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The bytes that are to be sent.
    #[must_use]
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// Bytes of the peer that are part of something longer.
    #[must_use]
    pub fn incoming_bytes(&self) -> usize {
        self.incoming.len()
    }

    /// Whether nothing but the handshake was exchanged yet.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        matches!(self.stage, Stage::Fresh | Stage::Handshake)
    }

    /// Whether the peer said that it sends no more.
    #[must_use]
    pub fn is_closed_by_peer(&self) -> bool {
        self.stage == Stage::PeerClosed
    }

    fn open_records(&mut self, plain: &mut Vec<u8>) -> Result<(), Error> {
        let mut opened = 0;
        let result = loop {
            let rest = &mut self.incoming[opened..];
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(rest);
            opened += discard;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        plain.extend_from_slice(record?.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(|out| data.encode(out), &mut self.outgoing);
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
                    break Ok(());
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.stage = Stage::PeerClosed;
                    break Ok(());
                }
                Ok(state) => break Err(Error::General(format!("no handling of {state:?}"))),
                Err(error) => break Err(error),
            }
        };
        if result.is_err() {
            // The alert that tells the peer is all that is left: to ask for more than that would
            // read the bytes at fault again.
            while self.connection.wants_write() {
                let rest = &mut self.incoming[opened..];
                let UnbufferedStatus { state, .. } = self.connection.process_tls_records(rest);
                match state {
                    Ok(ConnectionState::EncodeTlsData(mut data)) => {
                        encode(|out| data.encode(out), &mut self.outgoing);
                    }
                    _ => break,
                }
            }
        }
        self.incoming.drain(..opened);
        result
    }

    /// Has rustls write into `room` bytes behind what is to be sent, or into as many as it needs.
    fn write(
        &mut self,
        mut room: usize,
        mut write: impl FnMut(
            &mut WriteTraffic<'_, ServerData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> Result<(), Fault> {
        let fault = loop {
            // Without a whole record in it, as `open` has left it, this reads nothing.
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut self.incoming);
            assert_eq!(discard, 0, "whole records are opened as they arrive");
            let mut traffic = match state {
                Ok(ConnectionState::WriteTraffic(traffic)) => traffic,
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(|out| data.encode(out), &mut self.outgoing);
                    continue;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    continue;
                }
                Ok(ConnectionState::PeerClosed) => continue,
                Ok(state) => break Error::General(format!("no writing in {state:?}")),
                Err(error) => break error,
            };
            let start = self.outgoing.len();
            self.outgoing.resize(start + room, 0);
            let written = write(&mut traffic, &mut self.outgoing[start..]);
            let written_bytes = *written.as_ref().unwrap_or(&0);
            self.outgoing.truncate(start + written_bytes);
            match written {
                Ok(_) => return Ok(()),
                Err(EncryptError::InsufficientSize(needed)) if needed.required_size > room => {
                    room = needed.required_size;
                }
                Err(error) => break Error::General(error.to_string()),
            }
        };
        self.fail();
        Err(Fault::Broken(fault))
    }

    fn fail(&mut self) {
        self.stage = Stage::Failed;
        self.incoming = Vec::new();
    }
}

type ServerData = rustls::server::ServerConnectionData;

/// Appends a record of rustls's own to `outgoing`.
fn encode(mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>, outgoing: &mut Vec<u8>) {
    let start = outgoing.len();
    let mut room = SHORT_RECORD_BYTES;
    loop {
        outgoing.resize(start + room, 0);
        match encode(&mut outgoing[start..]) {
            Ok(bytes) => return outgoing.truncate(start + bytes),
            Err(EncodeError::InsufficientSize(needed)) => room = needed.required_size,
            Err(EncodeError::AlreadyEncoded) => return outgoing.truncate(start),
        }
    }
}
