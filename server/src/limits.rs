//! The bounds of what the server does: times, quanta, buffers. Those of what it decides are in `fantail_engine::limits`.

use std::time::Duration;

/// How long a connection may rest between requests: longer than the 60 s after which common clients and proxies let go, so
/// that they, who know whether they have another request, are first.
pub(crate) const IDLE_TIME: Duration = Duration::from_secs(75);

/// How long a request may take from its first byte to its last.
pub(crate) const REQUEST_TIME: Duration = Duration::from_secs(10);

/// How long an answer may take to be written, besides what its bytes take at the slowest speed that is borne: an answer is
/// memory that the peer's patience holds.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(30);

/// See [`ANSWER_TIME`].
pub(crate) const ANSWER_BYTES_PER_SECOND: usize = 32 * 1024;

/// How long, and for how many bytes, a connection that is closed early is still read, so that a reset doesn't eat the answer.
pub(crate) const LINGER_TIME: Duration = Duration::from_secs(2);

/// See [`LINGER_TIME`].
pub(crate) const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Writes of one connection that are begun before the first of them is answered.
pub(crate) const PIPELINE_MAX: usize = 64;

/// How long such writes are begun before the core looks at something else.
pub(crate) const PIPELINE_TIME: Duration = Duration::from_micros(500);

/// Bytes of one read: a head at its greatest.
pub(crate) const READ_BYTES: usize = 16 * 1024;

/// Bytes of a body up to which copying it behind the head is cheaper than a second write.
pub(crate) const COPIED_BYTES_MAX: usize = 16 * 1024;

/// Bytes that a follower may send unasked: some clients send a line or two; nobody reads them.
pub(crate) const UNASKED_BYTES_MAX: usize = 1024;

/// The longest stall of a reader; after it the kernel gives the connection up, and the reader resumes where it was.
pub(crate) const STALL_TIME_MAX: Duration = Duration::from_secs(600);

/// Bytes that may wait unsent in a socket before it counts as full: what a stalled reader holds in the kernel.
pub(crate) const UNSENT_BYTES: u32 = 32 * 1024;

/// Conversations of a core, beyond its maximum, that are begun to tell the client that the server is full.
pub(crate) const TURNED_AWAY_MAX: usize = 64;

/// Conversations of the admin listener: a scraper or two, an operator with a browser. Their descriptors are set aside.
pub(crate) const ADMIN_CONVERSATIONS_MAX: usize = 16;

/// Conversations of the control listener: as many connections as a fleet of publishers keeps. Their descriptors are set aside if it
/// is there.
pub(crate) const CONTROL_CONVERSATIONS_MAX: usize = 256;

/// How long accepting pauses when no descriptor is left, or nobody can be told more.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Conversations at rest that are ended before another such pause, so that some descriptors are there after it.
pub(crate) const DISMISSED_AT_ONCE: usize = 16;

/// How long a head may be in coming before its conversation counts as one at rest.
pub(crate) const SLOW_HEAD_TIME: Duration = Duration::from_secs(1);

/// How long accepting must have gone well before it is said that it does: trouble that comes and goes is one trouble.
pub(crate) const TROUBLE_TIME: Duration = Duration::from_secs(1);

/// Seconds of silence after which a follower gets a sign of life: below the 30 s of impatient proxies.
pub(crate) const SILENCE_SECONDS: u32 = 20;

/// Signs of life after which a filtered follower gets its position instead: five minutes.
pub(crate) const QUIET_MAX: u8 = 15;

/// How long the fan-out goes on before it lets the conversations of its core run. A request waits so long, and a
/// little for each of its steps.
pub(crate) const FAN_OUT_TIME: Duration = Duration::from_micros(400);

/// The same when the conversations had much to do before: as long as they took, up to this.
pub(crate) const FAN_OUT_TIME_MAX: Duration = Duration::from_millis(4);

/// Times that the runtime's ring is entered before: a request that is there is accepted, read and answered.
pub(crate) const BREATH_STEPS: usize = 3;

/// How long the conversations may take before no further such step is begun.
pub(crate) const BREATH_TIME: Duration = Duration::from_micros(500);

/// Entries that it sends before it looks at the time: some 0.5 ms.
pub(crate) const QUANTUM_ENTRIES: usize = 128;

/// Bytes that it sends before: some 0.5 ms.
pub(crate) const QUANTUM_BYTES: u64 = 1024 * 1024;

/// Percent of a quantum that live seats leave to those behind, when there are any.
pub(crate) const BEHIND_PERCENT: usize = 25;

/// Percent of a quantum that heartbeats may take beside it.
pub(crate) const HEARTBEAT_PERCENT: usize = 25;

/// Bytes of one send.
pub(crate) const SEND_BYTES: u64 = 256 * 1024;

/// Bytes that one write gathers for a follower of several streams.
pub(crate) const SEVERAL_BATCH_BYTES: usize = 64 * 1024;

/// Extents that wait for the live seats of one topic. Seats that are further behind walk the log on their own.
pub(crate) const CHAIN_EXTENTS_MAX: usize = 4096;

/// Items of the channels that a core knows beside their bytes: as many as the tail holds, and as many again that have none.
pub(crate) const ITEMS_MAX: usize =
    2 * fantail_engine::limits::TAIL_BLOCKS_MAX * fantail_engine::limits::BLOCK_EVENTS_MAX;

/// Seats of a core that may be conversations again at once: each costs a descriptor and a request to its origin, and a gap may
/// concern all of them.
pub(crate) const RECALLED_MAX: usize = 256;

/// Bytes of a page of a segment or a checkpoint: some 50 µs of the pager, a third of a millisecond of sends.
pub(crate) const PAGE_BYTES: u64 = 1024 * 1024;

/// Bytes of pages that a core holds: as many readers at different places of history as they are read without being mapped
/// anew for each megabyte. An index that is larger is held alone.
pub(crate) const SHELF_BYTES: u64 = 64 * 1024 * 1024;

/// Pages that a core asks for at once: more than that would only wait with the pager.
pub(crate) const ASKED_MAX: usize = 16;

/// Bytes that are read at once when a segment is verified, unless a group is larger, before others may have the CPU: some
/// 0.2 ms.
pub(crate) const CHECK_BYTES: u64 = 256 * 1024;

/// Segments that are known to be whole: two mebibytes. Beyond, they are read again.
pub(crate) const VERIFIED_MAX: usize = 64 * 1024;

/// Such looks that one page of history takes.
pub(crate) const HISTORY_SCANS_MAX: usize = 32;

/// Routes of a server: each is compared with each request until one matches, some ten nanoseconds apiece.
pub(crate) const ROUTES_MAX: usize = 256;

/// Origins of a route.
pub(crate) const ORIGINS_MAX: usize = 64;

/// Connections of a core to one origin, at rest or not. More requests at once than that are refused: an origin that needs longer for
/// each of so many is past helping.
pub(crate) const ORIGIN_CONNECTIONS_MAX: usize = 4_096;

/// Those of them that rest, between requests; each keeps a buffer of [`READ_BYTES`].
pub(crate) const ORIGIN_RESTING_MAX: usize = 256;

/// How long a connection may rest. Origins that close earlier are found out before a request is sent.
pub(crate) const ORIGIN_REST_TIME: Duration = Duration::from_secs(60);

/// How long a connection may have rested to be used without a look: no origin closes one so soon after it answered, unless it dies.
pub(crate) const ORIGIN_TRUSTED_REST_TIME: Duration = Duration::from_millis(20);

/// Requests in a row that an origin fails before it is out.
pub(crate) const ORIGIN_FAILURES_MAX: u32 = 3;

/// How long an origin that is out is asked only if no other can be: what nginx gives it.
pub(crate) const ORIGIN_OUT_TIME: Duration = Duration::from_secs(10);

/// From one look-up of origins' names to the next: short against the minutes that a move of a service takes.
pub(crate) const RESOLVE_TIME: Duration = Duration::from_secs(10);

/// Origins that one request is tried with, and connections at rest that turn out to be closed, before it is given up.
pub(crate) const ATTEMPTS_MAX: usize = 4;

/// Interim responses before the final one.
pub(crate) const INTERIMS_MAX: usize = 16;

/// Bytes that one read of a body that passes takes: what a slow client holds back in memory.
pub(crate) const PASSED_BYTES: usize = 32 * 1024;

/// How often it is looked whether a client is still there that waits for its origin. Requests that are answered sooner go without.
pub(crate) const WATCH_TIME: Duration = Duration::from_secs(1);

/// How long a client may take nothing of a response that passes: the origin waits with it.
pub(crate) const PASSED_STALL_TIME: Duration = Duration::from_secs(60);

/// How long an answer of a next link is given to who asks the same after it came. It is part of a chain that others follow, so that
/// nobody misses anything by it; clients that page through the same history at about the same speed share it.
pub(crate) const LINK_KEPT_TIME: Duration = Duration::from_secs(10);

/// Bytes of such answers that a core keeps: thousands of events for each of some hundred links.
pub(crate) const LINK_PAGES_KEPT_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of the answers that a core keeps or has given to clients who haven't taken them yet. Beyond, each client's page is read
/// from the origin as the client takes it.
pub(crate) const LINK_PAGES_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of an answer that is shared. Larger ones would be in memory whole for as long as their slowest reader takes.
pub(crate) const LINK_PAGE_BYTES_MAX: usize = 1024 * 1024;

/// How long the body of an answer that is to be shared may take: who waits for it gets nothing meanwhile.
pub(crate) const LINK_PAGE_TIME: Duration = Duration::from_secs(10);

/// From one warning that a route's origins name links that fail to the next.
pub(crate) const COMPLAINT_TIME: Duration = Duration::from_secs(60);

/// How long a token for origins is used: an hour is what it says, and their clocks differ.
pub(crate) const SIGNATURE_SECONDS: u64 = 300;

/// Gone links that a core posts at once: clients that leave together must not keep the origin from those who stay.
pub(crate) const PARTINGS_AT_ONCE: usize = 32;

/// Gone links that wait: a core's clients may all leave in the same second.
pub(crate) const PARTINGS_MAX: usize = 64 * 1024;

/// How long a connection to an origin may take if the route doesn't say: a lost packet is sent again twice meanwhile.
pub(crate) const CONNECT_TIME: Duration = Duration::from_secs(5);

/// From one attempt to connect to a Unix socket that is full to the next: an origin takes its connections in less.
pub(crate) const UNIX_DIAL_PAUSE: Duration = Duration::from_millis(5);

/// How long an origin may take to answer if the route doesn't say: what nginx and most load balancers give it.
pub(crate) const RESPONSE_TIME: Duration = Duration::from_secs(60);

/// How long a body may pause if the route doesn't say: longer than the signs of life of event streams are apart.
pub(crate) const ORIGIN_IDLE_TIME: Duration = Duration::from_secs(120);

/// How long the answer to a write waits until what it changed is kept: an origin that takes longer to be read than a person notices
/// doesn't make writes slower than that.
pub(crate) const REFLECT_TIME: Duration = Duration::from_secs(1);

/// Documents of an origin's collection that are brought to their stream at once, and bytes of them: some milliseconds of its home.
pub(crate) const SEEN_DOCUMENTS_MAX: usize = 256;

/// From one question about an origin's health to the next, if the route doesn't say.
pub(crate) const HEALTH_INTERVAL: Duration = Duration::from_secs(10);

/// How long a turn takes letters before it looks at the disk and the audience again.
pub(crate) const LETTERS_TIME: Duration = Duration::from_millis(2);

/// How long conversations may take to end once the server was asked to stop.
pub(crate) const STOP_TIME: Duration = Duration::from_secs(10);

/// How long the default address of the admin listener is waited for, after the server's own was free: longer would delay the
/// start of whoever has another program there.
pub(crate) const ADMIN_RELEASE_TIME: Duration = Duration::from_millis(200);

/// How long the listeners of a killed server may outlive it, while the kernel lets go of its rings.
pub(crate) const RELEASE_TIME: Duration = Duration::from_secs(3);

const _: () = {
    assert!(SEND_BYTES <= QUANTUM_BYTES && SEND_BYTES < 1 << 28);
    assert!(READ_BYTES >= fantail_engine::limits::HEAD_BYTES_MAX);
    assert!(PAGE_BYTES.is_multiple_of(SEND_BYTES) && PAGE_BYTES * ASKED_MAX as u64 <= SHELF_BYTES);
    assert!(LINK_PAGE_BYTES_MAX <= LINK_PAGES_KEPT_BYTES && LINK_PAGES_KEPT_BYTES < LINK_PAGES_BYTES_MAX);
    assert!(BEHIND_PERCENT < 100 && HEARTBEAT_PERCENT < 100);
};

/// Times that a stream's files are looked at, or copied, before what is found counts although a server changes them meanwhile:
/// files come and go by rotation and retention, which take minutes; twice in a row is an accident, five times is none.
pub(crate) const LOOKS_MAX: usize = 5;

/// Bytes of a segment, an index or a file of keys that the commands on logs read whole. Segments and indexes are far below it;
/// keys would pass it only with a million repeated writes of very long paths in one segment.
pub(crate) const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
