//! Every bound of the server, named once.
//!
//! Whatever waits or grows has its bound here, and the bound's value is in the
//! message when it is hit. Relations between bounds are asserted at compile time.

/// Bytes of a request line, its CRLF not counted (414 beyond).
pub const REQUEST_LINE_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a request head, from the request line to the empty line (431 beyond).
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header fields of one request (431 beyond).
pub const HEAD_FIELDS_MAX: usize = 100;
/// Empty lines that are skipped before a request line (400 beyond).
pub const EMPTY_LINES_MAX: usize = 4;
/// Bytes from which on a response body is sent in gzip to a client that takes it.
pub const GZIP_BODY_BYTES_MIN: usize = 1024;
/// Bytes up to which it is: to code more would take a core too long.
pub const GZIP_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a request body unless `--body-bytes-max` says otherwise (413 beyond).
pub const BODY_BYTES_MAX_DEFAULT: usize = 8 * 1024 * 1024;
/// The largest `--body-bytes-max` that is accepted: one record must fit a segment.
pub const BODY_BYTES_MAX_CEILING: usize = 256 * 1024 * 1024;
/// Bytes of chunk framing (size lines, their extensions, line ends) allowed beyond one
/// for each byte of the chunked body (400 beyond).
pub const CHUNK_FRAMING_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one chunk-size line with its extensions.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Nesting of lists and objects in a JSON text (400 beyond).
pub const JSON_DEPTH_MAX: usize = 100;
/// Bytes of the values on the way of a JSON pointer, each counted with what is in it, unless the
/// document itself has more than half of that (400 beyond): a deep pointer passes over the inner
/// ones again and again.
pub const POINTER_SCAN_BYTES_MAX: usize = 4 * BODY_BYTES_MAX_DEFAULT;
/// Bytes that one edit of a document goes over, unless 32 times the document is more (413 beyond).
pub const EDIT_WORK_BYTES_MAX: usize = 32 * BODY_BYTES_MAX_DEFAULT;
/// Bytes that the edits of one batch go over on one core before further ones are 413.
pub const EDITS_WORK_BYTES_MAX: u64 = EDIT_WORK_BYTES_MAX as u64;
/// Operations of one JSON patch (400 beyond).
pub const PATCH_STEPS_MAX: usize = 10_000;
/// Bytes of a name (an id that is not an integer).
pub const NAME_BYTES_MAX: usize = 255;

/// Ids on a page of a listing unless `limit=` says otherwise.
pub const LIST_LIMIT_DEFAULT: usize = 100;
/// Ids on a page of a listing at most (400 beyond).
pub const LIST_LIMIT_MAX: usize = 1000;
/// Bytes of the documents on a page of a listing; a page is shorter than its limit for that,
/// but has one document at least.
pub const LIST_BYTES_MAX: usize = 1024 * 1024;
/// Ids of one request for many documents (400 beyond).
pub const GET_IDS_MAX: usize = 1000;
/// Operations of one batch (400 beyond).
pub const BATCH_OPS_MAX: usize = 10_000;
/// Bytes of the documents in the answer to a request about many; each further one is an error,
/// but the first is there whatever its size.
pub const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Milliseconds that a document may be given to live, 100 years (400 beyond).
pub const TTL_MS_MAX: u64 = 100 * 365 * 24 * 60 * 60 * 1000;
/// The last moment that a document may be given to expire at, in milliseconds since 1970: the end
/// of the year 9999 (400 beyond).
pub const EXPIRES_AT_MS_MAX: u64 = 253_402_300_799_999;
/// Expired documents that a core removes in one turn without being asked for them.
pub const EXPIRY_SWEEP_MAX: usize = 512;
/// Milliseconds after the log refused a record before expired documents are removed again.
pub const EXPIRY_RETRY_MS: u64 = 1_000;
/// Expired documents that one core steps over for one page of a listing; a page ends there.
pub const LIST_EXPIRED_MAX: usize = 4_096;

/// Requests of one connection that may be in flight before it is no longer read.
pub const PIPELINE_MAX: usize = 128;
/// Milliseconds of a core's turn after which a connection's further requests wait for the next one.
pub const TURN_MS: u64 = 20;
/// Requests of a connection between two looks at the clock for that.
pub const TURN_REQUESTS_MIN: usize = 8;
/// Calls of a peer between two looks at the clock for that.
pub const TURN_CALLS_MIN: usize = 32;
/// Requests that a connection has pipelined, with more behind them, from which on they count as
/// costly.
pub const PIPELINED_COSTLY_MIN: usize = 32;
/// Bytes of a body, of a document that is edited or shown, from which on it is measured how long
/// that takes.
pub const WEIGHTY_BYTES: usize = 16 * 1024;
/// The same from which on work is taken to be costly before it is done.
pub const COSTLY_BYTES: usize = 256 * 1024;
/// The same of a body in gzip, which can be a thousand times as long.
pub const COSTLY_GZIP_BYTES: usize = 1024;
/// Bytes that an operation of a batch, or an id on a page, is worth beside its documents.
pub const COSTLY_BYTES_EACH: usize = 64;
/// Microseconds from which on what was measured was costly.
pub const COSTLY_US: u64 = 100;
/// For how many times the time that costly work took no more of it begins on a core, while other
/// clients ask for light work. They keep sixteen parts of seventeen of each core, because a request
/// may need two of them, and costly work costs more than what is measured: what the kernel and
/// the log do for it comes on top.
pub const REST: u32 = 16;
/// The same while they ask for it seldom, and lose little by waiting: costly work has a third of
/// the core then.
pub const REST_BESIDE_FEW: u32 = 2;
/// Microseconds between light requests from which on they come seldom.
pub const LIGHT_SELDOM_US: u64 = 1_000;
/// Milliseconds of rest that may be outstanding, unless a single piece of work asks for more.
pub const REST_DEBT_MS: u64 = 1_000;
/// Bytes of a large response that the kernel takes in a microsecond, about.
pub const SENT_BYTES_PER_US: usize = 2_048;
/// Bytes of writes on their way to disk beyond which a costly one waits until there are fewer,
/// while other clients ask for light work: theirs are behind all of them.
pub const COSTLY_UNSETTLED_BYTES: usize = 4 * 1024 * 1024;
/// Milliseconds without costly work after which some is done although others have many writes on
/// their way.
pub const COSTLY_TURN_MS: u64 = 1_000;
/// Milliseconds after a light request for which its client is about.
pub const LIGHT_ABOUT_MS: u64 = 50;
/// Milliseconds after costly work for which its connection is taken to come back with more.
pub const COSTLY_MEMORY_MS: u64 = 1_000;
/// Bytes of responses that one connection may have waiting for its peer to read.
pub const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of requests that are not whole and of responses that are not read, of all connections of
/// a core together; beyond, those that keep it waiting the longest are ended. It is what a core
/// can be made to hold by clients that do nothing, and room for 32 of the largest bodies at once.
/// Two of the largest bodies always have room.
pub const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of large documents that may be on their way from its peers to a core; what it is to be
/// answered beyond that waits.
pub const ANSWERS_UNDER_WAY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Connections of an address that sent what is no request, in a quarter of a second or so, beyond
/// which its next ones are kept waiting for as long, while others ask for something.
pub const FAULTS_MAX: u32 = 8;
/// Addresses of which a core remembers that.
pub const SUSPECTS_MAX: usize = 1_024;
/// Bytes that a connection may have sent ahead of what it is answered before it is no longer read.
pub const INPUT_PARKED_BYTES_MAX: usize = 64 * 1024;
/// The largest output buffer that a core keeps for its next response.
pub const POOLED_BUFFER_BYTES_MAX: usize = 16 * 1024;
/// How many output buffers a core keeps.
pub const POOLED_BUFFER_COUNT: usize = 256;
/// Calls that one core may have under way at its peers.
pub const CALLS_MAX: usize = 16 * 1024;
/// Requests about many documents that one core may have under way; further ones wait for room.
pub const GATHERS_MAX: usize = 64;
/// Atomic batches that take effect at the same time; further ones wait for their turn.
pub const ATOMICS_MAX: usize = 64;
/// Bytes of the records that one atomic batch may write (413 beyond): they lie in one segment.
pub const ATOMIC_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of documents that one shard may have on their way to disk before further writes are 503.
pub const UNSETTLED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Parcels that fit the channel from one core to another.
pub const MESH_PARCELS_MAX: usize = 64;
/// Bytes of one receive buffer of a core's pool.
pub const RECEIVE_BUFFER_BYTES: usize = 4 * 1024;
/// Receive buffers of a core's pool, a power of two: what all its connections share.
pub const RECEIVE_BUFFER_COUNT: u16 = 512;
/// Bytes of what a peer sends by TLS that wait to be a whole record or a whole message of the
/// handshake; a peer that sends more is dropped.
pub const TLS_INCOMING_BYTES_MAX: usize = 24 * 1024;
/// Plain bytes of a TLS record (RFC 8446, section 5.1).
pub const TLS_RECORD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a file of certificates or of a key that are read.
pub const TLS_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Microseconds that a core spends on TLS handshakes in one turn before further ones wait for the
/// next, behind all requests that have arrived.
pub const TURN_HANDSHAKES_US: u64 = 500;
/// Connections that the process accepts unless `--connections-max` says otherwise.
pub const CONNECTIONS_MAX_DEFAULT: usize = 16 * 1024;
/// The share of them that one address may have unless `--connections-per-address-max` says
/// otherwise: the others keep as many.
pub const CONNECTIONS_PER_ADDRESS_SHARE: usize = 2;
/// Milliseconds that a client must have kept the server waiting before its connection is closed
/// to make room for a new one.
pub const PATIENCE_WHEN_FULL_MS: u64 = 1_000;
/// Bytes of a request body that are worth a second of that patience.
pub const BODY_BYTES_PER_S_WHEN_FULL: u64 = 16 * 1024;
/// Milliseconds between two looks for connections to close for new ones.
pub const LOOK_FOR_ROOM_MS: u64 = 250;
/// Descriptors that connections leave to the log, the rings and the streams.
pub const FILES_BESIDE_CONNECTIONS: u64 = 64;
/// The same for each core.
pub const FILES_PER_CORE: u64 = 16;

/// Streamed responses (a feed of changes, a backup) that one core may have under way (503 beyond).
pub const STREAMS_MAX: usize = 128;
/// Requests for figures (`/metrics`, `/stats`) that one core may have under way (503 beyond).
pub const REPORTS_MAX: usize = 32;
/// Bytes of a streamed response that are made at once; a document alone may be longer. Each
/// stream holds three times that at most: sent, waiting to be sent, being made.
pub const STREAM_SLICE_BYTES: usize = 256 * 1024;
/// Milliseconds that a peer may take for what is being sent of a streamed response, beside what
/// [`STREAM_BYTES_PER_S_MIN`] allows; it is dropped then.
pub const STREAM_SEND_MS_MAX: u64 = 10_000;
/// Bytes of a streamed response that a peer must take each second.
pub const STREAM_BYTES_PER_S_MIN: u64 = 16 * 1024;
/// Milliseconds after which a live feed says that there is nothing new.
pub const STREAM_HEARTBEAT_MS: u64 = 15_000;
/// Seconds that `wait=` of a feed of changes may ask for (400 beyond).
pub const CHANGES_WAIT_S_MAX: u64 = 300;
/// Bytes of a segment that a feed which keeps up reads at once.
pub const FOLLOW_SLICE_BYTES_MIN: u32 = 16 * 1024;
/// The same of one that reads what was written before; a record alone may be longer.
pub const FOLLOW_SLICE_BYTES_MAX: u32 = 256 * 1024;

/// Bytes of lines for the operator that wait to be written; further ones are lost and counted.
pub const JOURNAL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of the access log that a core gathers before it hands them over, at the latest with its
/// next tick.
pub const ACCESS_LOG_BATCH_BYTES: usize = 16 * 1024;
/// Bytes of a path in the access log; what is longer is cut.
pub const ACCESS_LOG_PATH_BYTES_MAX: usize = 256;
/// Slow requests that a core tells of in a second; further ones are counted.
pub const SLOW_REQUESTS_SAID_MAX: u32 = 8;
/// Milliseconds from which on a request is slow, unless `--slow-ms` says otherwise.
pub const SLOW_MS_DEFAULT: u64 = 1_000;
/// Milliseconds that the last lines for the operator may take when the process ends.
pub const JOURNAL_FLUSH_MS_MAX: u64 = 2_000;

/// Bytes of a token (beyond, the file is refused).
pub const TOKEN_BYTES_MAX: usize = 1024;
/// Tokens that a server knows: each request is compared with all of them.
pub const TOKENS_MAX: usize = 256;
/// Bytes of a token file.
pub const TOKEN_FILE_BYTES_MAX: usize = 1024 * 1024;
/// Origins whose pages may use a server.
pub const CORS_ORIGINS_MAX: usize = 64;

/// Bytes of the file `BACKUP` that a command takes: a line for each of a million segments.
pub const BACKUP_MANIFEST_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// How often a backup opens all segments before it gives up, when each time some were replaced
/// meanwhile.
pub const SNAPSHOT_LOOKS_MAX: u32 = 100;
/// Descriptors that a backup leaves to the process beside its connections.
pub const SNAPSHOT_FILES_SPARED: usize = 256;

/// Milliseconds a client may take from the first byte of a head to its end (408 beyond).
pub const HEAD_TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// Milliseconds a body may make no progress of [`BODY_RATE_BYTES_MIN`] (408 beyond).
pub const BODY_TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// Bytes of a body that must arrive within each body timeout.
pub const BODY_RATE_BYTES_MIN: usize = 1024;
/// Milliseconds a keep-alive connection may be idle before it is closed.
pub const IDLE_TIMEOUT_MS_DEFAULT: u64 = 75_000;
/// Milliseconds without a byte of a request after which its socket is looked at: of connections
/// that are reset while they are not read, the kernel reports some never (multishot receive,
/// Linux 6.18), and without that look they stay until the body times out.
pub const SILENCE_MS: u64 = 250;
/// Milliseconds a peer may accept no byte of a response before it is dropped.
pub const WRITE_TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// Milliseconds a connection lingers after its last response, so that the peer can read it.
pub const LINGER_MS: u64 = 1_000;
/// Milliseconds that draining at shutdown may take before connections are cut.
pub const DRAIN_TIMEOUT_MS: u64 = 10_000;

/// Milliseconds that `oxdaas start` waits for the server to be ready; recovery may be long.
pub const START_TIMEOUT_MS: u64 = 600_000;
/// Milliseconds that `oxdaas stop` waits for the server to end.
pub const STOP_TIMEOUT_MS: u64 = 60_000;
/// Milliseconds that the commands wait for a connection to a server.
pub const CLIENT_CONNECT_TIMEOUT_MS: u64 = 10_000;
/// Milliseconds that the commands wait for the next bytes of a server, or for it to take some.
pub const CLIENT_READ_TIMEOUT_MS: u64 = 60_000;
/// Bytes of a response that a command takes as a whole.
pub const CLIENT_BODY_BYTES_MAX: u64 = 2 * BODY_BYTES_MAX_CEILING as u64;
/// Bytes of a line that the console reads from a pipe.
pub const CONSOLE_LINE_BYTES_MAX: u64 = CLIENT_BODY_BYTES_MAX;
/// Connections of an import unless `--connections` says otherwise.
pub const IMPORT_CONNECTIONS_DEFAULT: u16 = 4;
/// Connections of an import at most.
pub const IMPORT_CONNECTIONS_MAX: u16 = 256;
/// Lines that an import sends in one request.
pub const IMPORT_BATCH_OPS: usize = 2_000;
/// Bytes of the lines that an import sends in one request, unless it is one line.
pub const IMPORT_BATCH_BYTES: usize = 1024 * 1024;
/// Batches that wait for each connection of an import.
pub const IMPORT_QUEUE_BATCHES: usize = 2;
/// Bytes of a line that an import reads; longer ones are rejected.
pub const IMPORT_LINE_BYTES_MAX: u64 = CLIENT_BODY_BYTES_MAX;
/// How often an import sends lines that the server refuses for now before it ends.
pub const IMPORT_ATTEMPTS_MAX: u32 = 10;
/// Milliseconds of the first pause before lines are sent again; each further one is doubled.
pub const IMPORT_PAUSE_MS_MIN: u64 = 100;
/// Milliseconds of the longest such pause.
pub const IMPORT_PAUSE_MS_MAX: u64 = 5_000;
/// Bytes of lines that a thread of an export hands over at once.
pub const EXPORT_CHUNK_BYTES: usize = 1024 * 1024;
/// Such pieces that wait for their turn, of each thread.
pub const EXPORT_QUEUE_CHUNKS: usize = 4;
/// Lines that the console remembers from one session to the next.
pub const CONSOLE_HISTORY_LINES_MAX: usize = 1000;

/// Bytes of a segment unless `--segment-bytes` says otherwise.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
/// The smallest `--segment-bytes` that is accepted.
pub const SEGMENT_BYTES_MIN: u64 = 4 * 1024;
/// The largest `--segment-bytes` that is accepted: an offset in a segment fits 32 bits.
pub const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Bytes of a segment that are put on disk as zeros ahead of the records: a sync of bytes that
/// a file never had costs a commit of the file system's journal as well. Alone on ext4, of
/// 3,000 bytes, 243 to 288 microseconds; by pieces of 64 KiB 201 to 217, and the worst percent
/// takes 0.75 ms; by pieces of 1 MiB no less, and the worst takes 6 ms.
pub const LOG_PREPARE_BYTES: u32 = 64 * 1024;
/// Bytes that are appended before they are synced although nobody waits for that: what a new
/// segment has to wait for stays little.
pub const LOG_UNSYNCED_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes of a segment that compaction reads, asks about and writes before others have a turn.
pub const COMPACTION_SLICE_BYTES: u32 = 128 * 1024;
/// As many while writers wait for room.
pub const COMPACTION_SLICE_BYTES_URGENT: u32 = 1024 * 1024;
/// For how many times the time that a slice took compaction then rests, unless writers wait
/// for room: most of the time the disk and the cores belong to requests.
pub const COMPACTION_REST: u32 = 4;
/// Records of a sealed segment that compaction asks their owners about at once.
pub const COMPACTION_SLICE_RECORDS: usize = 512;
/// Milliseconds after a change before the log looks again whether compaction is worth it.
pub const COMPACTION_CHECK_MS: u64 = 1_000;
/// Segments beyond twice the live bytes that the files of the log may hold.
pub const COMPACTION_SLACK_SEGMENTS: u64 = 4;
/// Cores that one process runs on at most.
pub const CORES_MAX: usize = 256;

const _: () = assert!(REQUEST_LINE_BYTES_MAX < HEAD_BYTES_MAX);
const _: () = assert!(TOKEN_BYTES_MAX < HEAD_BYTES_MAX);
const _: () = assert!(TOKENS_MAX * TOKEN_BYTES_MAX < TOKEN_FILE_BYTES_MAX);
const _: () = assert!(CHUNK_LINE_BYTES_MAX < CHUNK_FRAMING_BYTES_MAX);
const _: () = assert!(ACCESS_LOG_BATCH_BYTES <= JOURNAL_BYTES_MAX / CORES_MAX);
const _: () = assert!(GZIP_BODY_BYTES_MIN < GZIP_BODY_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX_DEFAULT <= BODY_BYTES_MAX_CEILING);
const _: () = assert!((BODY_BYTES_MAX_CEILING as u64) < SEGMENT_BYTES_MAX / 2);
const _: () = assert!(BODY_BYTES_MAX_DEFAULT < UNSETTLED_BYTES_MAX);
const _: () = assert!(REST_BESIDE_FEW < REST);
const _: () = assert!(COSTLY_UNSETTLED_BYTES < UNSETTLED_BYTES_MAX);
const _: () = assert!(PIPELINE_MAX <= CALLS_MAX);
// The clock is looked at between the first and the last of them.
const _: () = assert!(TURN_REQUESTS_MIN < PIPELINED_COSTLY_MIN);
const _: () = assert!(PIPELINED_COSTLY_MIN.is_multiple_of(TURN_REQUESTS_MIN));
// The longest record that is allowed (RFC 5246, section 6.2.3) can become whole.
const _: () = assert!(TLS_RECORD_BYTES_MAX + 2048 + 5 <= TLS_INCOMING_BYTES_MAX);
// Each of them makes a call to every peer beyond the bound on calls.
const _: () = assert!(GATHERS_MAX * CORES_MAX <= CALLS_MAX);
// The same of atomic batches, at the core that brings their parts together.
const _: () = assert!(ATOMICS_MAX * CORES_MAX <= CALLS_MAX);
const _: () = assert!(ATOMIC_BYTES_MAX as u64 <= SEGMENT_BYTES_MAX / 2);
const _: () = assert!(BODY_BYTES_MAX_DEFAULT < ATOMIC_BYTES_MAX);
const _: () = assert!(ATOMIC_BYTES_MAX < UNSETTLED_BYTES_MAX);
const _: () = assert!(LIST_LIMIT_DEFAULT <= LIST_LIMIT_MAX);
const _: () = assert!(IMPORT_BATCH_OPS <= BATCH_OPS_MAX);
const _: () = assert!(IMPORT_BATCH_BYTES < BODY_BYTES_MAX_DEFAULT);
const _: () = assert!(DRAIN_TIMEOUT_MS + LINGER_MS < STOP_TIMEOUT_MS);
// What a page was cut to has room in its answer, unless its documents grew meanwhile.
const _: () = assert!(LIST_BYTES_MAX <= RESPONSE_BYTES_MAX);
const _: () = assert!(NAME_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(SEGMENT_BYTES_MAX <= u32::MAX as u64);
const _: () = assert!(RECEIVE_BUFFER_COUNT.is_power_of_two());
