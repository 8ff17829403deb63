//! The sockets of one core: an io_uring of our own beside the executor's.
//!
//! glommio's `TcpStream` arms a poll for every read, and its preemption timer
//! adds traffic to the same ring; measured with keep-alive GETs that costs 11 to
//! 12 us of CPU a request, where this ring costs 7 to 8. It uses multishot accept
//! and multishot receive into buffers that the kernel picks from a shared pool,
//! so an idle connection holds no buffer at all and a busy one needs no
//! submission per read.
//!
//! Everything `unsafe` about sockets is here. What makes it sound: memory that
//! the kernel may touch (buffers being sent, the receive pool) belongs to the
//! [`Ring`], is moved by nobody, and outlives the kernel's use of it, because
//! [`Ring::drop`] leaks it rather than free it under a request in flight.

#![expect(
    unsafe_code,
    reason = "io_uring takes addresses; see the soundness note above"
)]

use std::{
    alloc::{Layout, alloc_zeroed, handle_alloc_error},
    collections::VecDeque,
    fs::File,
    io,
    mem::ManuallyDrop,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
    ptr::NonNull,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering, fence},
    },
    time::Duration,
};

use glommio::io::BufferedFile;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use slab::Slab;

use crate::{
    limits::{RECEIVE_BUFFER_BYTES, RECEIVE_BUFFER_COUNT},
    mesh::Alarm,
};

/// Submissions that fit before they are handed to the kernel.
const SUBMISSION_ENTRIES: u32 = 1024;
/// Completions that fit; beyond that the kernel keeps them and we fetch them later.
const COMPLETION_ENTRIES: u32 = 8192;
/// Receive buffers that the kernel is given before it has asked for more.
const RECEIVE_BUFFER_COUNT_MIN: u16 = 64;
/// The pool's number: there is one.
const POOL: u16 = 0;

/// What `io_uring_enter(2)` says when a wait with a timeout was in vain.
const ETIME: i32 = rustix::io::Errno::TIME.raw_os_error();

/// What the tokens of completions stand for, in the high half of `user_data`.
const KIND_ACCEPT: u64 = 1 << 32;
const KIND_RECEIVE: u64 = 2 << 32;
const KIND_SEND: u64 = 3 << 32;
const KIND_BELL: u64 = 4 << 32;
const KIND_SYNC: u64 = 5 << 32;
const KIND_IGNORED: u64 = 6 << 32;
const KIND_MASK: u64 = !0 << 32;

/// Names a connection to the ring; the caller chooses it.
pub type Token = u32;

/// A socket ring with its receive pool.
pub struct Ring {
    ring: IoUring,
    pool: Pool,
    sends: ManuallyDrop<Slab<Sending>>,
    events: VecDeque<Completion>,
    wake: OwnedFd,
    bell: Option<RawFd>,
    /// The file that is being synced, open until that is done.
    syncing: Option<Arc<File>>,
}

/// Something that happened on a socket.
#[derive(Debug)]
pub enum Event {
    /// A connection was accepted, or accepting failed; `more` tells whether the
    /// listener goes on by itself.
    Accepted {
        /// The connection.
        socket: io::Result<OwnedFd>,
        /// Whether further connections will be reported without a new call.
        more: bool,
    },
    /// Bytes arrived, or receiving ended, or both.
    Received {
        /// Whose bytes these are.
        token: Token,
        /// The bytes; to be read with [`Ring::received`] and given back with [`Ring::recycle`].
        data: Option<Received>,
        /// Set when nothing more is reported until the next [`Ring::receive`].
        end: Option<ReceiveEnd>,
    },
    /// The kernel took a part of what is being sent, and waits for the peer to take more.
    Sending {
        /// Whose send.
        token: Token,
    },
    /// A send ended: everything was sent, or the connection is broken.
    Sent {
        /// Whose bytes these were.
        token: Token,
        /// Whether all bytes were taken by the kernel.
        result: io::Result<()>,
        /// The buffer, to be used again.
        buffer: Vec<u8>,
    },
    /// The file of [`Ring::sync`] is on disk, or the disk did not take it.
    Synced(io::Result<()>),
}

/// Why receiving ended.
#[derive(Debug, PartialEq, Eq)]
pub enum ReceiveEnd {
    /// The peer sends no more.
    PeerClosed,
    /// The kernel stopped for its own reasons (no buffer was free, or it was
    /// cancelled); receiving may be asked for again.
    Paused,
    /// The connection is broken.
    Broken,
}

/// A piece of the receive pool that holds bytes of a peer.
#[derive(Debug)]
pub struct Received {
    buffer: u16,
    bytes: usize,
}

struct Sending {
    token: Token,
    socket: RawFd,
    buffer: Vec<u8>,
    sent_bytes: usize,
}

#[derive(Clone, Copy)]
struct Completion {
    user_data: u64,
    result: i32,
    flags: u32,
}

impl Ring {
    /// Sets the ring up for the calling thread, which alone may use it.
    ///
    /// # Errors
    /// Whatever io_uring refuses with: `EPERM`, `ENOSYS`, `ENOMEM`; `EINVAL` from
    /// a kernel before 6.1, which lacks deferred task work.
    pub fn new() -> io::Result<Ring> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(COMPLETION_ENTRIES)
            .build(SUBMISSION_ENTRIES)?;
        let wake = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
        ring.submitter().register_eventfd(wake.as_raw_fd())?;
        let pool = Pool::new();
        // SAFETY: the pool's memory is valid for RECEIVE_BUFFER_COUNT entries and is
        // never freed (`Pool` has no destructor).
        unsafe {
            let address = pool.entries.as_ptr() as u64;
            ring.submitter().register_buf_ring_with_flags(
                address,
                RECEIVE_BUFFER_COUNT,
                POOL,
                0,
            )?;
        }
        Ok(Ring {
            ring,
            pool,
            sends: ManuallyDrop::new(Slab::new()),
            events: VecDeque::new(),
            wake,
            bell: None,
            syncing: None,
        })
    }

    /// The descriptor that becomes readable when something happens while
    /// [`Ring::prepare_to_sleep`] is in force; others may write to it to wake the core.
    #[must_use]
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Raises `alarm` each time [`Ring::wake`] was signalled, by a task of this executor.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn raise_when_woken(&self, alarm: Rc<Alarm>) -> io::Result<()> {
        let wake = self.wake.try_clone()?;
        glommio::spawn_local(async move {
            // SAFETY: the descriptor is open and belongs to nobody else.
            let wake = unsafe { BufferedFile::from_raw_fd(wake.into_raw_fd()) };
            // Each read takes the whole counter, and waits while it is zero.
            while wake.read_at(0, 8).await.is_ok() {
                alarm.raise();
            }
        })
        .detach();
        Ok(())
    }

    /// Reports each connection that arrives at `listener`.
    pub fn accept(&mut self, listener: BorrowedFd<'_>) {
        let entry = opcode::AcceptMulti::new(types::Fd(listener.as_raw_fd()))
            .flags(rustix_accept_flags())
            .build();
        // SAFETY: the entry holds no address.
        unsafe { self.push(entry.user_data(KIND_ACCEPT)) };
    }

    /// Stops reporting connections.
    pub fn stop_accepting(&mut self) {
        self.cancel(KIND_ACCEPT);
    }

    /// Reports bytes that arrive at `socket` until the reported end.
    pub fn receive(&mut self, token: Token, socket: BorrowedFd<'_>) {
        let entry = opcode::RecvMulti::new(types::Fd(socket.as_raw_fd()), POOL).build();
        // SAFETY: the entry holds no address; the pool outlives the ring.
        unsafe { self.push(entry.user_data(KIND_RECEIVE | u64::from(token))) };
    }

    /// Asks for an end of receiving, which is then reported.
    pub fn stop_receiving(&mut self, token: Token) {
        self.cancel(KIND_RECEIVE | u64::from(token));
    }

    /// Sends `buffer` whole and gives it back with [`Event::Sent`].
    ///
    /// One send per socket may be under way.
    pub fn send(&mut self, token: Token, socket: BorrowedFd<'_>, buffer: Vec<u8>) {
        let sending = Sending {
            token,
            socket: socket.as_raw_fd(),
            buffer,
            sent_bytes: 0,
        };
        let key = self.sends.insert(sending);
        self.submit_send(key);
    }

    /// Puts the data of `file` on disk, which [`Event::Synced`] reports.
    ///
    /// # Panics
    /// If a sync is under way.
    pub fn sync(&mut self, file: Arc<File>) {
        assert!(self.syncing.is_none(), "one sync at a time");
        let entry = opcode::Fsync::new(types::Fd(file.as_raw_fd()))
            .flags(types::FsyncFlags::DATASYNC)
            .build();
        self.syncing = Some(file);
        // SAFETY: the entry holds no address.
        unsafe { self.push(entry.user_data(KIND_SYNC)) };
    }

    /// Hands what was asked for to the kernel and lets it report what is done; no
    /// system call when there is neither.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)`; none of them is expected.
    pub fn submit(&mut self) -> io::Result<()> {
        let submission = self.ring.submission();
        if submission.is_empty() && !submission.taskrun() && !submission.cq_overflow() {
            return Ok(());
        }
        drop(submission);
        match self.ring.submit() {
            Ok(_) => Ok(()),
            // Completions must be taken first, and will be, in the next turn.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// As [`Ring::submit`], and waits until something has happened, but not longer than
    /// `timeout`; whether something has.
    ///
    /// # Errors
    /// As [`Ring::submit`].
    pub fn rest(&mut self, timeout: Duration) -> io::Result<bool> {
        if !self.events.is_empty() {
            return self.submit().map(|()| true);
        }
        let timeout = types::Timespec::from(timeout);
        let arguments = types::SubmitArgs::new().timespec(&timeout);
        match self.ring.submitter().submit_with_args(1, &arguments) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(ETIME) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Ends [`Ring::rest`] whenever `bell`, an eventfd, is signalled.
    pub fn watch(&mut self, bell: BorrowedFd<'_>) {
        self.bell = Some(bell.as_raw_fd());
        self.arm_bell();
    }

    fn arm_bell(&mut self) {
        let Some(bell) = self.bell else { return };
        // Each write to an eventfd wakes its pollers, so nobody needs to read it.
        let readable = u32::from(rustix::event::PollFlags::IN.bits());
        let entry = opcode::PollAdd::new(types::Fd(bell), readable)
            .multi(true)
            .build();
        // SAFETY: the entry holds no address.
        unsafe { self.push(entry.user_data(KIND_BELL)) };
    }

    /// Makes the kernel signal [`Ring::wake`] from now on; whether nothing has
    /// happened yet, so that the caller may wait for that signal.
    ///
    /// # Errors
    /// As [`Ring::submit`].
    pub fn prepare_to_sleep(&mut self) -> io::Result<bool> {
        self.ring.completion().enable_eventfd();
        // The kernel marks work as pending before it looks whether to signal; we do it the other
        // way round, so one of the two sees the other.
        fence(Ordering::SeqCst);
        self.submit()?;
        let quiet = self.ring.completion().is_empty() && self.events.is_empty();
        if !quiet {
            self.ring.completion().disable_eventfd();
        }
        Ok(quiet)
    }

    /// Ends the signals of [`Ring::prepare_to_sleep`]: they cost CPU while the core is busy.
    pub fn wake_up(&mut self) {
        self.ring.completion().disable_eventfd();
    }

    /// The next event that the kernel has reported.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            if self.events.is_empty() {
                self.events
                    .extend(self.ring.completion().map(|entry| Completion {
                        user_data: entry.user_data(),
                        result: entry.result(),
                        flags: entry.flags(),
                    }));
            }
            let completion = self.events.pop_front()?;
            if let Some(event) = self.event(completion) {
                return Some(event);
            }
        }
    }

    /// The bytes of a receive event.
    #[must_use]
    pub fn received(&self, received: &Received) -> &[u8] {
        &self.pool.buffer(received.buffer)[..received.bytes]
    }

    /// Gives the bytes of a receive event back to the pool.
    pub fn recycle(&mut self, received: Received) {
        self.pool.give(received.buffer);
    }

    fn event(&mut self, completion: Completion) -> Option<Event> {
        let Completion {
            user_data,
            result,
            flags,
        } = completion;
        let key = user_data & !KIND_MASK;
        let token = u32::try_from(key).expect("the low half of the user data");
        match user_data & KIND_MASK {
            KIND_ACCEPT => {
                let socket = to_io_result(result).map(|fd| {
                    // SAFETY: the kernel just opened this descriptor for us.
                    unsafe { OwnedFd::from_raw_fd(fd) }
                });
                Some(Event::Accepted {
                    socket,
                    more: cqueue::more(flags),
                })
            }
            KIND_RECEIVE => {
                let data = match (result, cqueue::buffer_select(flags)) {
                    (1.., Some(buffer)) => {
                        let bytes = usize::try_from(result).expect("positive by the pattern");
                        Some(Received { buffer, bytes })
                    }
                    (_, Some(buffer)) => {
                        self.pool.give(buffer);
                        None
                    }
                    (_, None) => None,
                };
                if result == -rustix::io::Errno::NOBUFS.raw_os_error() {
                    self.pool.grow();
                }
                let end = receive_end(result, cqueue::more(flags));
                Some(Event::Received { token, data, end })
            }
            KIND_SEND => self.send_event(usize::try_from(key).expect("a slab key"), result),
            KIND_SYNC => {
                self.syncing = None;
                Some(Event::Synced(to_io_result(result).map(drop)))
            }
            KIND_BELL => {
                if !cqueue::more(flags) {
                    self.arm_bell();
                }
                None
            }
            _ => None,
        }
    }

    fn send_event(&mut self, key: usize, result: i32) -> Option<Event> {
        let sending = &mut self.sends[key];
        let result = match to_io_result(result) {
            Ok(sent) => {
                sending.sent_bytes += usize::try_from(sent).expect("not negative");
                if sent > 0 && sending.sent_bytes < sending.buffer.len() {
                    let token = sending.token;
                    self.submit_send(key);
                    return Some(Event::Sending { token });
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.submit_send(key);
                return None;
            }
            Err(error) => Err(error),
        };
        let Sending {
            token, mut buffer, ..
        } = self.sends.remove(key);
        buffer.clear();
        Some(Event::Sent {
            token,
            result,
            buffer,
        })
    }

    fn submit_send(&mut self, key: usize) {
        let sending = &self.sends[key];
        let rest = &sending.buffer[sending.sent_bytes..];
        let bytes = u32::try_from(rest.len()).expect("output is bounded below 4 GiB");
        // Without MSG_WAITALL: each part that a slow peer takes is reported, as a sign of life.
        let flags = rustix::net::SendFlags::NOSIGNAL.bits();
        let entry = opcode::Send::new(types::Fd(sending.socket), rest.as_ptr(), bytes)
            .flags(i32::try_from(flags).expect("small constants"))
            .build();
        let user_data = KIND_SEND | u64::try_from(key).expect("a slab key");
        // SAFETY: the buffer stays in `sends`, unmoved and unchanged, until its completion.
        unsafe { self.push(entry.user_data(user_data)) };
    }

    fn cancel(&mut self, user_data: u64) {
        let entry = opcode::AsyncCancel::new(user_data).build();
        // SAFETY: the entry holds no address.
        unsafe { self.push(entry.user_data(KIND_IGNORED)) };
    }

    /// # Safety
    /// Memory that `entry` points to stays valid until its completion.
    unsafe fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: passed on to the caller.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.submit()
                .expect("io_uring_enter takes submissions of a ring that was set up");
            // The completion queue may be what is full.
            self.events
                .extend(self.ring.completion().map(|entry| Completion {
                    user_data: entry.user_data(),
                    result: entry.result(),
                    flags: entry.flags(),
                }));
        }
    }
}

fn rustix_accept_flags() -> i32 {
    i32::try_from(rustix::net::SocketFlags::CLOEXEC.bits()).expect("a small constant")
}

fn to_io_result(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::from_raw_os_error(-result))
    } else {
        Ok(result)
    }
}

fn receive_end(result: i32, more: bool) -> Option<ReceiveEnd> {
    use rustix::io::Errno;
    if more {
        return None;
    }
    let paused = [Errno::NOBUFS, Errno::CANCELED, Errno::INTR].map(Errno::raw_os_error);
    Some(match result {
        1.. => ReceiveEnd::Paused,
        0 => ReceiveEnd::PeerClosed,
        _ if paused.contains(&-result) => ReceiveEnd::Paused,
        _ => ReceiveEnd::Broken,
    })
}

/// Buffers that the kernel fills with what peers send.
///
/// Two leaked allocations: the ring of entries that tells the kernel which
/// buffers are free, and the buffers themselves.
///
/// The kernel takes buffers in turn, so as many as it was ever given stay in use: it is
/// given few at first, which stay in the cache, and more when all of them were taken.
struct Pool {
    entries: NonNull<types::BufRingEntry>,
    buffers: NonNull<u8>,
    tail: u16,
    /// Buffers from here on were never given.
    fresh: u16,
}

// SAFETY: the pointers are to memory that only this value uses.
unsafe impl Send for Pool {}

impl Pool {
    fn new() -> Pool {
        let count = usize::from(RECEIVE_BUFFER_COUNT);
        let mut pool = Pool {
            entries: allocate_pages(count * size_of::<types::BufRingEntry>()).cast(),
            buffers: allocate_pages(count * RECEIVE_BUFFER_BYTES),
            tail: 0,
            fresh: 0,
        };
        pool.grow();
        pool
    }

    /// Gives the kernel twice the buffers, if there are so many.
    fn grow(&mut self) {
        let end = (self.fresh * 2).clamp(RECEIVE_BUFFER_COUNT_MIN, RECEIVE_BUFFER_COUNT);
        for buffer in self.fresh..end {
            self.give(buffer);
        }
        self.fresh = end;
    }

    fn buffer(&self, buffer: u16) -> &[u8] {
        // SAFETY: the allocation has RECEIVE_BUFFER_COUNT buffers, zeroed at first, and
        // the kernel writes only to buffers that were given; this one was taken.
        unsafe {
            let start = self
                .buffers
                .as_ptr()
                .add(usize::from(buffer) * RECEIVE_BUFFER_BYTES);
            std::slice::from_raw_parts(start, RECEIVE_BUFFER_BYTES)
        }
    }

    /// Tells the kernel that `buffer` is free.
    fn give(&mut self, buffer: u16) {
        assert!(
            buffer < RECEIVE_BUFFER_COUNT,
            "the kernel names buffers of the pool"
        );
        let slot = usize::from(self.tail & (RECEIVE_BUFFER_COUNT - 1));
        // SAFETY: `slot` is within the ring of RECEIVE_BUFFER_COUNT entries, and the
        // kernel does not read an entry at or past the tail.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(slot);
            let start = self
                .buffers
                .as_ptr()
                .add(usize::from(buffer) * RECEIVE_BUFFER_BYTES);
            entry.set_addr(start as u64);
            entry.set_len(u32::try_from(RECEIVE_BUFFER_BYTES).expect("a small constant"));
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the first entry is valid, so its tail field is; the kernel reads it atomically.
        unsafe {
            let tail = types::BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}

/// Zeroed memory on a page boundary that is never freed.
fn allocate_pages(bytes: usize) -> NonNull<u8> {
    let layout = Layout::from_size_align(bytes, rustix::param::page_size()).expect("small sizes");
    // SAFETY: the size is not zero.
    let start = unsafe { alloc_zeroed(layout) };
    NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{Shutdown, TcpListener, TcpStream},
    };

    use super::*;

    fn wait_for(ring: &mut Ring) -> Event {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            ring.submit().expect("the ring works");
            if let Some(event) = ring.next_event() {
                return event;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "an event arrives in time"
            );
        }
    }

    #[test]
    fn a_connection_is_accepted_heard_answered_and_ended() {
        let mut ring = Ring::new().expect("io_uring is there");
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        ring.accept(listener.as_fd());
        let mut client =
            TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
        let Event::Accepted {
            socket: Ok(socket),
            more: true,
        } = wait_for(&mut ring)
        else {
            panic!("a connection")
        };
        ring.receive(7, socket.as_fd());
        client.write_all(b"ping").expect("open");
        let Event::Received {
            token: 7,
            data: Some(data),
            end: None,
        } = wait_for(&mut ring)
        else {
            panic!("bytes")
        };
        assert_eq!(ring.received(&data), b"ping");
        ring.recycle(data);
        // More than the socket buffers hold, so that the send has to wait for the reader.
        let answer = vec![b'x'; 8 << 20];
        ring.send(7, socket.as_fd(), answer.clone());
        ring.submit().expect("the ring works");
        let reader = std::thread::spawn(move || {
            let mut read = vec![0; 8 << 20];
            client.read_exact(&mut read).expect("open");
            client.shutdown(Shutdown::Write).expect("open");
            (client, read)
        });
        let mut parts = 0;
        while !matches!(
            wait_for(&mut ring),
            Event::Sent {
                token: 7,
                result: Ok(()),
                ..
            }
        ) {
            parts += 1;
        }
        assert!(parts > 0, "a part of the send is reported");
        assert!(reader.join().expect("no panic").1 == answer);
        let end = wait_for(&mut ring);
        assert!(
            matches!(
                end,
                Event::Received {
                    token: 7,
                    data: None,
                    end: Some(ReceiveEnd::PeerClosed)
                }
            ),
            "{end:?}"
        );
    }

    #[test]
    fn receiving_can_be_stopped_and_goes_on_where_it_was() {
        let mut ring = Ring::new().expect("io_uring is there");
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let mut client =
            TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
        let (socket, _) = listener.accept().expect("connected");
        ring.receive(1, socket.as_fd());
        ring.submit().expect("the ring works");
        ring.stop_receiving(1);
        let end = wait_for(&mut ring);
        assert!(matches!(
            end,
            Event::Received {
                data: None,
                end: Some(ReceiveEnd::Paused),
                ..
            }
        ));
        client.write_all(b"later").expect("open");
        ring.receive(1, socket.as_fd());
        let Event::Received {
            data: Some(data), ..
        } = wait_for(&mut ring)
        else {
            panic!("bytes")
        };
        assert_eq!(ring.received(&data), b"later");
    }

    #[test]
    fn the_pool_grows_when_all_its_buffers_are_taken() {
        let mut ring = Ring::new().expect("io_uring is there");
        let (mut client, server) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let bytes = usize::from(RECEIVE_BUFFER_COUNT_MIN) * RECEIVE_BUFFER_BYTES;
        let sender = std::thread::spawn(move || {
            client.write_all(&vec![b'x'; 2 * bytes]).expect("open");
            client
        });
        let (mut taken, mut received) = (Vec::new(), 0);
        ring.receive(1, server.as_fd());
        while received < 2 * bytes {
            let Event::Received { data, end, .. } = wait_for(&mut ring) else {
                panic!("bytes")
            };
            // Kept, as if they were all read at once.
            received += data.as_ref().map_or(0, |data| data.bytes);
            taken.extend(data);
            if end.is_some() {
                assert_eq!(end, Some(ReceiveEnd::Paused));
                ring.receive(1, server.as_fd());
            }
        }
        assert!(taken.len() > usize::from(RECEIVE_BUFFER_COUNT_MIN));
        drop(sender.join().expect("no panic"));
    }

    #[test]
    fn every_buffer_of_the_pool_comes_back() {
        let mut ring = Ring::new().expect("io_uring is there");
        let (mut client, server) = std::os::unix::net::UnixStream::pair().expect("a pair");
        ring.receive(1, server.as_fd());
        for round in 0..3 * RECEIVE_BUFFER_COUNT {
            client.write_all(&round.to_le_bytes()).expect("open");
            let Event::Received {
                data: Some(data),
                end: None,
                ..
            } = wait_for(&mut ring)
            else {
                panic!("bytes in round {round}")
            };
            assert_eq!(ring.received(&data), round.to_le_bytes());
            ring.recycle(data);
        }
    }
}
