//! A small blocking HTTP/1.1 client that shows the bytes as they are.
//!
//! It reads exactly one response at a time and is stricter than browsers are:
//! what it cannot frame is a failure of the test. No read or write waits longer
//! than [`TIMEOUT`].

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

/// How long one read or write may take.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// One response.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// Names in lower case, values without the space around them, in order.
    pub headers: Vec<(String, String)>,
    /// The body, unframed.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of the only field `name` (in lower case).
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is there twice: {self:?}");
        value
    }

    /// The entity tag, which must be there.
    #[track_caller]
    pub fn etag(&self) -> String {
        let etag = self.header("etag");
        let etag = etag.unwrap_or_else(|| panic!("no ETag: {self:?}"));
        let inner = etag
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        assert!(
            inner.is_some_and(|inner| !inner.contains('"')),
            "not a strong entity tag: {etag:?}"
        );
        etag.to_owned()
    }

    /// The body as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_else(|_| panic!("not UTF-8: {self:?}"))
    }

    /// Whether the server says that it closes the connection.
    pub fn closes(&self) -> bool {
        self.headers
            .iter()
            .any(|(name, value)| name == "connection" && value.eq_ignore_ascii_case("close"))
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.body[..self.body.len().min(400)];
        write!(
            f,
            "{} {} {:?} {:?}",
            self.version,
            self.status,
            self.headers,
            String::from_utf8_lossy(shown)
        )
    }
}

/// Whether a response to this request carries the body that its length announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Any method but HEAD.
    Body,
    /// HEAD: the length is announced, the body is not sent.
    NoBody,
}

/// Why no response came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoResponse {
    /// The server closed the connection before the first byte of a response.
    Closed,
    /// The connection was reset before the first byte of a response.
    Reset,
    /// The connection ended inside a response, after these bytes.
    Torn(Vec<u8>),
}

/// What bytes travel over when it is not a socket itself.
pub trait Wire: Read + Write + Send + std::fmt::Debug {}

/// What bytes travel over.
#[derive(Debug)]
enum Stream {
    Socket(TcpStream),
    Wire(Box<dyn Wire>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Socket(socket) => socket.read(buffer),
            Stream::Wire(wire) => wire.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Socket(socket) => socket.write(bytes),
            Stream::Wire(wire) => wire.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Stream::Socket(socket) => socket.flush(),
            Stream::Wire(wire) => wire.flush(),
        }
    }
}

impl Stream {
    #[track_caller]
    fn socket(&self) -> &TcpStream {
        match self {
            Stream::Socket(socket) => socket,
            Stream::Wire(wire) => panic!("{wire:?} is no socket"),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    /// Received and not yet taken by a response.
    received: Vec<u8>,
}

impl Client {
    /// Connects.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).unwrap_or_else(|error| panic!("connect {address}: {error}"))
    }

    /// Connects, or says why not.
    pub fn try_connect(address: SocketAddr) -> std::io::Result<Client> {
        Ok(Client {
            stream: Stream::Socket(try_connect(address)?),
            received: Vec::new(),
        })
    }

    /// A connection over something that is not a socket itself.
    pub fn over(wire: impl Wire + 'static) -> Client {
        Client {
            stream: Stream::Wire(Box::new(wire)),
            received: Vec::new(),
        }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .unwrap_or_else(|error| panic!("send: {error}"));
    }

    /// Sends bytes as they are; the server may have closed the connection.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Another handle of the connection, to send from a second thread.
    pub fn sender(&self) -> TcpStream {
        let socket = self.stream.socket();
        socket.try_clone().expect("a descriptor can be cloned")
    }

    /// Says that no further request comes.
    #[track_caller]
    pub fn finish_sending(&self) {
        let socket = self.stream.socket();
        socket
            .shutdown(Shutdown::Write)
            .expect("the connection is open");
    }

    /// Reads exactly one response.
    #[track_caller]
    pub fn read(&mut self, expected: Expected) -> Response {
        self.try_read(expected)
            .unwrap_or_else(|error| panic!("no response: {error:?}"))
    }

    /// Reads exactly one response, unless the connection ends.
    ///
    /// # Panics
    /// When nothing comes in time, or what comes is not a response.
    #[track_caller]
    pub fn try_read(&mut self, expected: Expected) -> Result<Response, NoResponse> {
        let head_bytes = loop {
            if let Some(at) = find(&self.received, b"\r\n\r\n") {
                break at + 4;
            }
            self.receive()?;
        };
        let mut response = parse_head(&self.received[..head_bytes]);
        if response.header("transfer-encoding") == Some("chunked") && expected == Expected::Body {
            self.received.drain(..head_bytes);
            while let Some(chunk) = self.try_read_chunk()? {
                response.body.extend_from_slice(&chunk);
            }
            return Ok(response);
        }
        let body_bytes = body_bytes(&response, expected);
        while self.received.len() < head_bytes + body_bytes {
            self.receive()?;
        }
        response.body = self.received[head_bytes..head_bytes + body_bytes].to_vec();
        self.received.drain(..head_bytes + body_bytes);
        Ok(response)
    }

    /// Reads the head of a response alone; its body is read with [`Client::try_read_chunk`].
    #[track_caller]
    pub fn read_head(&mut self) -> Response {
        let head_bytes = loop {
            if let Some(at) = find(&self.received, b"\r\n\r\n") {
                break at + 4;
            }
            self.receive()
                .unwrap_or_else(|error| panic!("no response: {error:?}"));
        };
        let response = parse_head(&self.received[..head_bytes]);
        self.received.drain(..head_bytes);
        response
    }

    /// Reads the next chunk of a body; `None`: that was the end.
    #[track_caller]
    pub fn try_read_chunk(&mut self) -> Result<Option<Vec<u8>>, NoResponse> {
        let line_end = loop {
            if let Some(at) = find(&self.received, b"\r\n") {
                break at;
            }
            self.receive()?;
        };
        let length = str::from_utf8(&self.received[..line_end]).expect("a chunk length");
        let length = usize::from_str_radix(length, 16).expect("a chunk length");
        let end = line_end + 2 + length;
        while self.received.len() < end + 2 {
            self.receive()?;
        }
        assert_eq!(&self.received[end..end + 2], b"\r\n", "the end of a chunk");
        let chunk = self.received[line_end + 2..end].to_vec();
        self.received.drain(..end + 2);
        Ok((length > 0).then_some(chunk))
    }

    /// Everything until the server ends the connection.
    #[track_caller]
    pub fn read_rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.received);
        let read = self.stream.read_to_end(&mut rest);
        read.unwrap_or_else(|error| panic!("the connection does not end well: {error}"));
        rest
    }

    /// Checks that the server ends the connection without another byte.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let mut rest = std::mem::take(&mut self.received);
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection is not closed: {error}"),
        }
        assert!(
            rest.is_empty(),
            "more bytes came: {:?}",
            String::from_utf8_lossy(&rest)
        );
    }

    /// Sends a request with a `Host` and, for a body, its length; reads the response.
    #[track_caller]
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Response {
        self.send(request(method, target, fields, body.as_ref()));
        let expected = if method == "HEAD" {
            Expected::NoBody
        } else {
            Expected::Body
        };
        self.read(expected)
    }

    /// The request without fields of its own.
    #[track_caller]
    pub fn plain(&mut self, method: &str, target: &str, body: impl AsRef<[u8]>) -> Response {
        self.request(method, target, &[], body)
    }

    /// GET of `target`.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.plain("GET", target, "")
    }

    /// PUT of `body` to `target`.
    #[track_caller]
    pub fn put(&mut self, target: &str, body: impl AsRef<[u8]>) -> Response {
        self.plain("PUT", target, body)
    }

    /// POST of `body` to `target`.
    #[track_caller]
    pub fn post(&mut self, target: &str, body: impl AsRef<[u8]>) -> Response {
        self.plain("POST", target, body)
    }

    /// DELETE of `target`.
    #[track_caller]
    pub fn delete(&mut self, target: &str) -> Response {
        self.plain("DELETE", target, "")
    }

    #[track_caller]
    fn receive(&mut self) -> Result<(), NoResponse> {
        let mut buffer = [0; 64 * 1024];
        let ended = match self.stream.read(&mut buffer) {
            Ok(0) => NoResponse::Closed,
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => NoResponse::Reset,
            Err(error) => panic!(
                "waiting for a response: {error}; received {:?}",
                String::from_utf8_lossy(&self.received)
            ),
        };
        if self.received.is_empty() {
            return Err(ended);
        }
        Err(NoResponse::Torn(std::mem::take(&mut self.received)))
    }
}

/// Opens a socket whose reads and writes have a deadline.
pub fn try_connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, TIMEOUT)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// The bytes of a request.
pub fn request(method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n").into_bytes();
    for (name, value) in fields {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if !body.is_empty() || matches!(method, "PUT" | "POST") {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
}

#[track_caller]
fn parse_head(head: &[u8]) -> Response {
    let text = std::str::from_utf8(head).expect("a response head is ASCII");
    assert!(
        !text.replace("\r\n", "").contains(['\r', '\n']),
        "a bare CR or LF: {text:?}"
    );
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let status_line = lines.next().expect("split yields one line");
    let mut parts = status_line.splitn(3, ' ');
    let version = parts.next().unwrap_or_default().to_owned();
    assert!(
        version == "HTTP/1.1" || version == "HTTP/1.0",
        "status line {status_line:?}"
    );
    let status = parts.next().unwrap_or_default();
    assert!(status.len() == 3, "status line {status_line:?}");
    let status = status.parse().expect("three digits");
    assert!(
        parts.next().is_some(),
        "no space after the status: {status_line:?}"
    );
    let headers = lines
        .map(|line| {
            let (name, value) = line.split_once(':').expect("a field has a colon");
            assert!(
                !name.is_empty() && !name.contains([' ', '\t']),
                "field {line:?}"
            );
            (name.to_ascii_lowercase(), value.trim().to_owned())
        })
        .collect();
    Response {
        version,
        status,
        headers,
        body: Vec::new(),
    }
}

/// The bytes of the body after the head (RFC 9112, section 6.3), and the rules
/// that hold for every response of this server.
#[track_caller]
fn body_bytes(response: &Response, expected: Expected) -> usize {
    let transfer = response.header("transfer-encoding");
    assert!(
        transfer.is_none() || expected == Expected::NoBody,
        "a body has a Content-Length, or is in chunks: {response:?}"
    );
    let length = response.header("content-length");
    if response.status < 200 {
        assert_eq!(length, None, "{response:?}");
        return 0;
    }
    assert!(response.header("date").is_some(), "no Date: {response:?}");
    if response.status == 204 {
        assert_eq!(length, None, "RFC 9110, section 8.6: {response:?}");
        return 0;
    }
    if response.status == 304 || expected == Expected::NoBody {
        return 0;
    }
    let length = length.unwrap_or_else(|| panic!("no Content-Length: {response:?}"));
    length.parse().expect("a length is a number")
}
