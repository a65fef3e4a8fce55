//! Every bound of Fantail, with its unit and its reason, checked against each other at compile time.

/// Bytes of one name in a path. Percent-encoded it still fits the 255 bytes that file systems allow when it is ASCII;
/// longer encodings of stream names are refused when the folder is named.
pub const NAME_BYTES_MAX: usize = 128;

/// Segments of a path. Eight levels of nesting are more than any API that people like to use.
pub const PATH_SEGMENTS_MAX: usize = 16;

/// Bytes of a request's head, its request line and all fields. What nginx and most clients assume.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Fields of a request's head.
pub const HEAD_FIELDS_MAX: usize = 100;

/// Empty lines that are skipped before a request line: what old clients send after a body (RFC 9112, section 2.2).
pub const EMPTY_LINES_MAX: usize = 2;

/// Bytes of a request's target; longer ones get 414.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a request's body, and of a stored document: a frame must fit a socket's patience.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a chunked body's extensions in all. Nobody sends any; without a bound they would be a body that nobody counts.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 4 * 1024;

/// Entity tags in one `If-Match` or `If-None-Match`: each costs a comparison on the stream's home core.
pub const ENTITY_TAGS_MAX: usize = 64;

/// Bytes of a document as it is stored (compact), also after each operation of a patch.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// Levels of nesting in a body.
pub const DEPTH_MAX: usize = 128;

/// Operations in one patch.
pub const PATCH_OPERATIONS_MAX: usize = 1_000;

/// Bytes that one patch may copy, compare or shift in all: what bounds its time on the core, since a thousand operations
/// on a document of a mebibyte could otherwise hold it for seconds.
pub const PATCH_WORK_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Streams of one server. Many topics means many documents or sub-collections, not many streams.
pub const STREAMS_MAX: usize = 1_024;

/// Topics on one connection.
pub const TOPICS_MAX: usize = 32;

/// Connections of one core that follow several streams: each is a conversation, with a task and a descriptor.
pub const SEVERAL_MAX: usize = 1_024;

/// Documents in one page of a collection, and events in one page of history.
pub const PAGE_MAX: usize = 1_000;

/// Bytes of a page of documents after which it ends early: a thousand documents could otherwise be a gibibyte. The link to
/// the next page goes on from there.
pub const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The page when none is asked for.
pub const PAGE_DEFAULT: usize = 100;

/// Bytes of the map form in one answer; beyond it, `from=snapshot` pages the same value.
pub const MAP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of a block of the tail; an oversized group gets a block of its own size.
pub const BLOCK_BYTES: usize = 256 * 1024;

/// Events in a block of the tail.
pub const BLOCK_EVENTS_MAX: usize = 2_048;

/// Blocks that a tail keeps in memory: 2 MiB per stream, more while groups are larger than a block. Whoever is further
/// behind reads the segments.
pub const TAIL_BLOCKS_MAX: usize = 8;

/// Index entries that one reader examines at once while it looks for its next event in the newest segment, whose index has
/// no postings yet: some 50 µs.
pub const SCAN_EVENTS_MAX: u32 = 16 * 1024;

/// Bytes of the group that gathers while the one before it is written. Full, writes get 503 until it is sealed.
pub const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Events of one group.
pub const GROUP_EVENTS_MAX: usize = 64 * 1024;

/// Bytes at which a segment is sealed and the next one begun.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of one part of a collection in a checkpoint, unless one document is larger.
pub const CHECKPOINT_PART_BYTES: usize = 256 * 1024;

/// Bytes of log since the last checkpoint below which none is written.
pub const CHECKPOINT_LOG_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// Milliseconds before a checkpoint that only retention wants is tried again after one has failed.
pub const CHECKPOINT_PAUSE_MS: u64 = 60 * 1000;

/// Lives of one log that its manifest lists: more than ten years of an unclean start a day without `sync`.
pub const EPOCHS_MAX: usize = 4_096;

/// Bytes of a folder's name: what ext4, XFS and Btrfs allow.
pub const FOLDER_BYTES_MAX: usize = 255;

/// Idempotency keys that a stream remembers, and for how long.
pub const KEYS_MAX: usize = 100_000;

/// Milliseconds that an idempotency key is remembered: 24 hours.
pub const KEY_AGE_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Bytes of an idempotency key as the client sends it.
pub const KEY_BYTES_MAX: usize = 255;

/// Bytes of a line in a file of idempotency keys: the longest path, percent-encoded, and the numbers beside it.
pub const KEY_LINE_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a channel's name. Each channel that is known keeps its name.
pub const CHANNEL_NAME_BYTES_MAX: usize = 512;

/// Bytes of an item's id. Each channel that is known keeps up to two.
pub const ITEM_ID_BYTES_MAX: usize = 512;

/// Filters of one channel of a hold: what Pushpin takes.
pub const FILTERS_MAX: usize = 5;

/// Channels of one hold, each with a comparison for what is published on any of them.
pub const HOLD_CHANNELS_MAX: usize = TOPICS_MAX;

/// Seconds that a response is held when the instruction doesn't say, and the fewest that it may say: as Pushpin has it.
pub const HOLD_SECONDS_DEFAULT: u64 = 55;

/// See [`HOLD_SECONDS_DEFAULT`].
pub const HOLD_SECONDS_MIN: u64 = 5;

/// Seconds between two keep-alives when the instruction doesn't say, and the fewest that it may say.
pub const KEEP_ALIVE_SECONDS_DEFAULT: u64 = 55;

/// See [`KEEP_ALIVE_SECONDS_DEFAULT`].
pub const KEEP_ALIVE_SECONDS_MIN: u64 = 1;

/// Bytes of a keep-alive: some line that the client's parser skips, kept once for all holds that have the same.
pub const KEEP_ALIVE_BYTES_MAX: usize = 4 * 1024;

/// Seconds after which a next link is asked again when it doesn't say.
pub const LINK_SECONDS_DEFAULT: u64 = 120;

/// The fewest seconds that a next link may say: one of none at all would be asked in a loop.
pub const LINK_SECONDS_MIN: u64 = 1;

/// Seconds of any timeout that an origin gives: a day. Longer ones are cut; the timers' arithmetic needs some bound.
pub const GRIP_SECONDS_MAX: u64 = 24 * 60 * 60;

/// Bytes of a link once resolved: what a request's target may have, and the origin's address.
pub const LINK_BYTES_MAX: usize = TARGET_BYTES_MAX + 512;

/// How often a next link that fails is asked again, before the client's stream ends: as Pushpin has it, half a minute in all.
pub const LINK_RETRIES_MAX: u32 = 5;

/// Milliseconds before the first of these retries; each of the others waits twice as long.
pub const LINK_RETRY_MS: u64 = 1000;

/// Milliseconds below which a random part is added: clients whose origin fails fail together.
pub const LINK_RETRY_RANDOM_MS: u64 = 1000;

/// Milliseconds before a next link is asked that leads in a circle: an origin that has more to say names a new one.
pub const LINK_REPEAT_MS: u64 = 1000;

/// Such circles without a byte, before the client's stream ends.
pub const LINK_TURNS_MAX: u32 = 10;

/// Pages of next links in a row without a byte, before the client's stream ends: nobody looks for something in so many.
pub const LINK_BARREN_MAX: u32 = 100;

/// Bytes of an instruction in a body, and of a response that is held with its body.
pub const INSTRUCTION_BYTES_MAX: usize = 100_000;

/// Bytes of the metadata of a hold or an item, names and values: each hold that differs keeps its own.
pub const META_BYTES_MAX: usize = 8 * 1024;

/// Bytes of the body of a request to publish.
pub const PUBLISH_BYTES_MAX: usize = 1_000_000;

/// Items of one request to publish; their answer waits for all of them.
pub const PUBLISH_ITEMS_MAX: usize = 10_000;

/// Channels whose last ids are known. The least recently used one is forgotten: whoever follows it is asked to look at the
/// origin's state again.
pub const CHANNELS_MAX: usize = 64 * 1024;

/// Milliseconds after which a channel that nobody follows by ids is forgotten: an hour of silence.
pub const CHANNEL_IDLE_MS: u64 = 60 * 60 * 1000;

/// Milliseconds that an id on a channel is remembered, so that who publishes it again does so in vain.
pub const ITEM_SEEN_MS: u64 = 60 * 1000;

/// Ids that are remembered, some 100 bytes each, of all channels: 4,000 items a second for as long as an id is remembered.
pub const ITEMS_SEEN_MAX: usize = 256 * 1024;

/// Ids whose place in the log of channels is known, some 120 bytes each: a hold that begins at one needs no request.
/// The log's tail has room for some that many items of 40 bytes.
pub const ITEM_PLACES_MAX: usize = 64 * 1024;

/// Milliseconds that an item waits for the one before it.
pub const ITEM_WAIT_MS: u64 = 5_000;

/// Items of one channel that wait; one more, and the oldest no longer does.
pub const CHANNEL_WAITING_MAX: usize = 100;

/// Bytes of items that wait, on all channels.
pub const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of a directive that content may spread over two reads, as `%(name)I`.
pub const DIRECTIVE_BYTES_MAX: usize = 1024;

/// Bytes that a substitution may make of one content: its variables may be longer than what stands for them.
pub const SUBSTITUTED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Seconds that a token towards an origin is valid.
pub const TOKEN_SECONDS: u64 = 60 * 60;

/// Seconds by which a publisher's clock may differ from ours.
pub const TOKEN_LEEWAY_SECONDS: u64 = 60;

/// Bytes of a token; longer ones are refused before any cryptography.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Documents of a stream that have changed while a request to their origin is under way; beyond, they are forgotten, and what is
/// under way is read once more.
pub const MIRROR_RECENT_MAX: usize = 16 * 1024;

/// Documents and collections of an origin that a stream knows to be as the origin has them: half a mebibyte. Beyond, they are
/// forgotten, and the next request to follow reads them again.
pub const MIRROR_KNOWN_MAX: usize = 64 * 1024;

/// Documents of an origin's collection that are read when it is followed: what a mirror of a larger one costs, nobody wants.
pub const LISTING_DOCUMENTS_MAX: usize = 10_000;

/// Bytes of an origin's collection: what its map form may have, which clients get.
pub const LISTING_BYTES_MAX: usize = MAP_BYTES_MAX;

const _: () = {
    assert!(BODY_BYTES_MAX >= DOCUMENT_BYTES_MAX);
    assert!(PAGE_BYTES_MAX >= 4 * DOCUMENT_BYTES_MAX && MAP_BYTES_MAX >= DOCUMENT_BYTES_MAX);
    assert!(GROUP_BYTES_MAX > 4 * DOCUMENT_BYTES_MAX);
    assert!((GROUP_BYTES_MAX as u64) < SEGMENT_BYTES);
    assert!(BLOCK_EVENTS_MAX <= GROUP_EVENTS_MAX);
    assert!(BLOCK_BYTES < u32::MAX as usize && PATH_SEGMENTS_MAX * (NAME_BYTES_MAX + 1) < u16::MAX as usize);
    assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX);
    assert!(HOLD_SECONDS_MIN <= HOLD_SECONDS_DEFAULT && HOLD_SECONDS_DEFAULT <= GRIP_SECONDS_MAX);
    assert!(KEEP_ALIVE_SECONDS_DEFAULT <= GRIP_SECONDS_MAX && LINK_SECONDS_DEFAULT <= GRIP_SECONDS_MAX);
    assert!(WAITING_BYTES_MAX >= 2 * PUBLISH_BYTES_MAX && SUBSTITUTED_BYTES_MAX >= PUBLISH_BYTES_MAX);
    assert!(PUBLISH_BYTES_MAX <= BODY_BYTES_MAX && INSTRUCTION_BYTES_MAX <= BODY_BYTES_MAX);
    assert!(PATH_SEGMENTS_MAX * (1 + 3 * NAME_BYTES_MAX) + 256 < KEY_LINE_BYTES_MAX);
};
