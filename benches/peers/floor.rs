//! The floor: the least that an HTTP server on epoll can do.
//!
//! Each core has a listener of its own (SO_REUSEPORT) and answers every request
//! head with the same bytes, as many as a GET of a document of about 100 bytes
//! gets from OxDaaS. It parses nothing, knows no errors and holds no data: it is
//! what `scripts/bench-peers.sh` divides by, not something to run for its own sake.
//!
//! `floor ADDR:PORT [CORES]` prints one line when it listens and runs until it is killed.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
};

use rustix::{
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    net::{AddressFamily, SocketFlags, SocketType, sockopt},
};

/// Bytes of the body, as many as the bench's documents have.
const BODY_BYTES: usize = 100;
const HEAD_END: &[u8] = b"\r\n\r\n";
const LISTENER: u64 = u64::MAX;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| io::Error::other("usage: floor ADDR:PORT [CORES]"))?;
    let cores = match arguments.next().and_then(|text| text.parse().ok()) {
        Some(cores) => cores,
        None => std::thread::available_parallelism()?.get(),
    };
    let first = listen(address)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..cores {
        listeners.push(listen(address)?);
    }
    let threads: Vec<_> = listeners
        .into_iter()
        .map(|listener| std::thread::spawn(move || serve(&listener)))
        .collect();
    println!("floor listening on {address}, {cores} cores");
    for thread in threads {
        thread.join().expect("a thread reports its errors")?;
    }
    Ok(())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 4096)?;
    Ok(TcpListener::from(socket))
}

/// What a GET of such a document is answered with.
fn response() -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: application/json\r\nContent-Length: {BODY_BYTES}\r\nETag: \"123456\"\r\n\r\n"
    );
    let mut response = head.into_bytes();
    response.resize(response.len() + BODY_BYTES, b'7');
    response
}

/// One core's loop.
fn serve(listener: &TcpListener) -> io::Result<()> {
    let response = response();
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(
        &poll,
        listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    let mut connections: HashMap<u64, TcpStream> = HashMap::new();
    let mut input = vec![0; 64 * 1024];
    let mut output = Vec::new();
    let mut events = Vec::with_capacity(512);
    loop {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result?,
        };
        for event in &events {
            let key = event.data.u64();
            if key == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    let key = u64::try_from(stream.as_raw_fd()).map_err(io::Error::other)?;
                    epoll::add(&poll, &stream, EventData::new_u64(key), EventFlags::IN)?;
                    connections.insert(key, stream);
                }
            } else if let Some(stream) = connections.get_mut(&key)
                && !answer(stream, &response, &mut input, &mut output)
            {
                connections.remove(&key);
            }
        }
    }
}

/// Answers what has arrived, all of it in one write; whether the connection goes on.
///
/// Load generators send whole heads and read everything, so neither is kept.
fn answer(stream: &mut TcpStream, response: &[u8], input: &mut [u8], output: &mut Vec<u8>) -> bool {
    let bytes = match stream.read(input) {
        Ok(0) => return false,
        Ok(bytes) => bytes,
        Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
    };
    output.clear();
    for _ in memchr::memmem::find_iter(&input[..bytes], HEAD_END) {
        output.extend_from_slice(response);
    }
    stream.write_all(output).is_ok()
}
