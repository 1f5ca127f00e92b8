/* bqsync.h - the manual of libbqsync: keep a user's small JSON documents equal on all devices.
 *
 * CAVEATS FIRST
 *   - One process per file. A second bq_open() of the same path answers BQ_LOCKED.
 *   - When bq_put() and its kin return BQ_OK the edit is on disk and survives a crash of the app;
 *     it has NOT reached the server. bq_flush() waits for that.
 *   - A time-out means unknown, never failed: the edit is sent again under its old number and the
 *     server counts it once.
 *   - Counters that several devices raise want the policy "sum" and bq_increment(). A score that
 *     can be spent wants "sum" too: "max" never goes down on a conflict.
 *   - Strings given to a call are borrowed for the call. Strings handed out are yours: release them
 *     with the function that the call's comment names.
 *   - All calls on one handle may come from any thread, bq_close() excepted: nothing else may run
 *     on the handle then or later. Calls never wait for the network unless they take a time-out.
 *   - After fork() the child must not use a handle of its parent.
 *
 * A FIRST PROGRAM
 *     struct bq_config config = BQ_CONFIG_INIT;
 *     config.path = "app.bqsync";
 *     config.url = "https://sync.example.org";
 *     struct bq *bq;
 *     if (bq_open(&config, &bq) != BQ_OK) { ... }
 *     bq_sign_in(bq, token, BQ_GUEST_MERGE, NULL);
 *     bq_increment(bq, "game_stats", "incorrectAnswers", "1", 0);
 *     bq_flush(bq, 5000);
 *     bq_close(bq);
 *
 * WORDS: a *document* is a JSON value under a *key*; an *edit* says what changed, and from what; a
 * *lane* is the queue of one key; a *dead letter* is an edit that the server refused for good.
 */
#ifndef BQSYNC_H
#define BQSYNC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BQ_API __attribute__((visibility("default")))
#else
#define BQ_API
#endif

#define BQ_VERSION_MAJOR 0
#define BQ_VERSION_MINOR 1
#define BQ_VERSION_PATCH 0

/* ------------------------------------------------------------------------------------------------
 * Status codes. One row each: name, number, error class of the guide, retry class, the word that
 * stands for it on the wire and in --json output, and its sentence.
 *
 * Retry class: now = at once, later = with backoff, never = it cannot succeed unchanged,
 * bug = the caller broke a rule of this header.
 */
#define BQ_STATUS_MAP(X)                                                                           \
    X(OK, 0, UNKNOWN, NEVER, "ok", "done")                                                         \
    X(NOMEM, -1, UNKNOWN, LATER, "no_memory", "memory is exhausted; free some and try again")      \
    X(INVALID, -2, VALIDATION, BUG, "invalid_argument", "an argument is outside its limits")       \
    X(NOT_FOUND, -3, VALIDATION, NEVER, "not_found", "there is no such thing here")                \
    X(IO, -4, UNKNOWN, LATER, "io_error", "the disk reports an error; check it and open again")    \
    X(DISK_FULL, -5, UNKNOWN, LATER, "disk_full", "the disk is full; free space and try again")    \
    X(READ_ONLY, -6, UNKNOWN, NEVER, "read_only", "the file is read-only; change its permissions") \
    X(CORRUPT, -7, UNKNOWN, NEVER, "corrupt", "the file is damaged; restore it from a backup")     \
    X(LOCKED, -8, UNKNOWN, LATER, "locked", "another process uses the file; stop it first")        \
    X(NEWER, -9, UNKNOWN, NEVER, "newer_format",                                                   \
      "a newer version wrote the file; update this one")                                           \
    X(TIMEOUT, -10, NETWORK, LATER, "timeout", "not done in time; it goes on in the background")   \
    X(NETWORK, -11, NETWORK, LATER, "network", "the server cannot be reached")                     \
    X(AUTH, -12, AUTH, NOW, "auth", "the token is missing, expired or refused; sign in again")     \
    X(FORBIDDEN, -13, AUTH, NEVER, "forbidden", "the token does not permit this")                  \
    X(SERVER, -14, SERVER, LATER, "server", "the server failed; it is tried again later")          \
    X(BUSY, -15, SERVER, LATER, "busy", "the server asks to slow down")                            \
    X(PROTOCOL, -16, SERVER, LATER, "protocol", "the answer is not one of this protocol")          \
    X(CLOSED, -17, UNKNOWN, BUG, "closed", "the handle is being closed")                           \
    X(SIGNED_OUT, -18, AUTH, NEVER, "signed_out", "nobody is signed in")                           \
    X(EMPTY, -19, UNKNOWN, LATER, "empty", "nothing is there yet")                                 \
    X(JSON_SYNTAX, -30, VALIDATION, NEVER, "json_syntax", "this is not JSON")                      \
    X(JSON_UTF8, -31, VALIDATION, NEVER, "json_utf8", "this is not UTF-8")                         \
    X(JSON_STRING, -32, VALIDATION, NEVER, "json_string",                                          \
      "a string holds \\u0000, a lone surrogate or a raw control character")                       \
    X(JSON_NUMBER, -33, VALIDATION, NEVER, "json_number",                                          \
      "a number has over 40 digits or an exponent beyond 308")                                     \
    X(JSON_DUPLICATE, -34, VALIDATION, NEVER, "json_duplicate_key", "an object names a key twice") \
    X(JSON_DEPTH, -35, VALIDATION, NEVER, "json_depth", "objects and arrays nest too deep")        \
    X(TOO_LARGE, -40, VALIDATION, NEVER, "too_large", "the document is over the size limit")       \
    X(TOO_MANY_KEYS, -41, VALIDATION, NEVER, "too_many_keys", "the user has too many documents")   \
    X(QUOTA, -42, VALIDATION, NEVER, "quota", "the user's documents are over the total limit")     \
    X(BAD_KEY, -43, VALIDATION, NEVER, "bad_key",                                                  \
      "a key is 1 to 128 bytes of UTF-8, without controls, not beginning with _")                  \
    X(OUT_OF_RANGE, -44, VALIDATION, NEVER, "out_of_range",                                        \
      "a sum has more than 18 digits before the point")                                            \
    X(VERSION_LIMIT, -45, VALIDATION, NEVER, "version_limit",                                      \
      "the document's versions are used up")                                                       \
    X(MALFORMED, -46, VALIDATION, NEVER, "malformed", "the edit is not well-formed")               \
    X(UNSUPPORTED, -47, VALIDATION, NEVER, "unsupported", "the edit has a member unknown here")    \
    X(DELETED, -48, CONFLICT, NEVER, "deleted", "the document was deleted on another device")      \
    X(USER_ERASED, -49, AUTH, NEVER, "user_erased", "the user was erased; local data is wiped")    \
    X(BAD_POLICY, -50, VALIDATION, NEVER, "bad_policy", "this is not a merge policy")              \
    X(TOO_DEEP, -51, VALIDATION, NEVER, "too_deep", "the document nests too deep")                 \
    X(TOO_MANY_EDITS, -52, VALIDATION, NEVER, "too_many_edits", "too many edits in one exchange")

enum bq_status {
#define BQ_STATUS_ENUM(name, number, class_, retry, code, text) BQ_##name = (number),
    BQ_STATUS_MAP(BQ_STATUS_ENUM)
#undef BQ_STATUS_ENUM
};

/* The guide's classes of errors. */
enum bq_error_class {
    BQ_CLASS_UNKNOWN,
    BQ_CLASS_NETWORK,
    BQ_CLASS_AUTH,
    BQ_CLASS_VALIDATION,
    BQ_CLASS_SERVER,
    BQ_CLASS_CONFLICT
};

/* The sentence for a code. Any thread; never NULL; static. */
BQ_API const char *bq_strerror(int status);

/* The word for a code ("too_large"). Any thread; never NULL; static. */
BQ_API const char *bq_status_code(int status);

/* The class of a code, and its word ("network"). Any thread. */
BQ_API enum bq_error_class bq_error_class(int status);
BQ_API const char *bq_error_class_word(enum bq_error_class error_class);

/* "now", "later", "never" or "bug". Any thread; static. */
BQ_API const char *bq_retry_class(int status);

/* The library's version, "0.1.0". Any thread; static. */
BQ_API const char *bq_version(void);

/* ------------------------------------------------------------------------------------------------
 * Opening and closing
 */

/* An open file with its engine. */
struct bq;

/* Asked for a token when there is none or the server refuses the one there is. Called on the
 * library's thread (with BQ_MANUAL: inside bq_step). It must not call back into the handle except
 * bq_set_token(); it may do so later from any thread. */
typedef void (*bq_token_fn)(void *context, struct bq *bq);

/* Called, on any thread, when bq_next_event() has something to give: post a message to your own
 * loop here. It must not call back into the handle. */
typedef void (*bq_wakeup_fn)(void *context);

/* Takes one line of JSON that ends with a line end: {"time":..., "level":..., "event":..., ...}. It
 * never holds a token, a key or a document. Called on any thread; it must not call back into the
 * handle, and is waited for. */
typedef void (*bq_log_fn)(void *context, const char *line, size_t len);

#define BQ_ERROR_TEXT 256

/* How bq_open() is told what to do. Begin with BQ_CONFIG_INIT, set path; the rest may stay 0. */
struct bq_config {
    size_t size;            /* sizeof(struct bq_config): lets the struct grow */
    const char *path;       /* the file; made (0600) where it is absent. Its folder must exist */
    const char *url;        /* server or project URL, http or https; NULL: never sync */
    const char *api_key;    /* sent as `apikey`; NULL: none */
    const char *device_info;/* a JSON object shown in the device list; NULL: {} */
    const char *ca_file;    /* PEM certificates to trust instead of the system's; NULL */
    const char *proxy;      /* HTTP proxy URL; NULL: as the environment says */
    unsigned flags;         /* BQ_MANUAL, BQ_PAUSED */
    unsigned debounce_ms;   /* rest before an edit leaves; 0: 2,000; at most 60,000 */
    unsigned poll_ms;       /* longest pause between pulls while online; 0: 30,000 */
    unsigned timeout_ms;    /* of one request; 0: 30,000 */
    bq_token_fn token_fn;   /* NULL: the event BQ_EVENT_TOKEN_NEEDED alone tells */
    void *token_context;
    bq_wakeup_fn wakeup_fn; /* NULL: none */
    void *wakeup_context;
    char *error_text;       /* NULL, or BQ_ERROR_TEXT bytes that take a sentence when open fails */
    unsigned live_poll_ms;  /* poll_ms while realtime tells of changes; 0: 300,000 */
    bq_log_fn log_fn;       /* NULL: nothing is logged */
    void *log_context;
    const char *log_level;  /* "error", "warn", "info" or "debug"; NULL: info */
};

#define BQ_CONFIG_INIT {sizeof(struct bq_config), NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, \
                        NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL}

enum bq_config_flags {
    BQ_MANUAL = 1, /* no thread: the app calls bq_step() */
    BQ_PAUSED = 2, /* as after bq_pause() */
    BQ_NO_LIVE = 4 /* no realtime socket: other devices' changes come by polling alone */
};

/* Opens the file (and makes it), signs in whoever was signed in, and starts to sync where a url and
 * a token are known. *out is the handle, NULL on failure.
 * BQ_OK, BQ_INVALID, BQ_NOMEM, BQ_LOCKED, BQ_CORRUPT, BQ_READ_ONLY, BQ_NEWER, BQ_IO,
 * BQ_DISK_FULL. */
BQ_API int bq_open(const struct bq_config *config, struct bq **out);

/* Ends the thread and closes the file. What is queued stays on disk for the next bq_open(). Takes
 * at most as long as a local write; a request under way is given up (and sent again next time).
 * NULL is allowed. */
BQ_API void bq_close(struct bq *bq);

/* With BQ_MANUAL: does what is due, waiting up to timeout_ms for network or timers (0: not at all).
 * BQ_OK, BQ_INVALID without BQ_MANUAL, or what the disk answers. */
BQ_API int bq_step(struct bq *bq, unsigned timeout_ms);

/* With BQ_MANUAL: milliseconds until bq_step() is due; 0 now, -1 not until something happens. */
BQ_API int64_t bq_next_step_ms(struct bq *bq);

/* The sentence of the last failure on this handle; text takes up to size bytes and a NUL. */
BQ_API void bq_last_error(struct bq *bq, char *text, size_t size);

/* Releases a string that the library gave. NULL is allowed. */
BQ_API void bq_free(void *ptr);

/* ------------------------------------------------------------------------------------------------
 * Signing in and out
 */

/* What becomes of the documents that were written before anybody signed in. */
enum bq_guest {
    BQ_GUEST_MERGE,  /* merged into the user's as seeds; sums are added; the guest is empty then */
    BQ_GUEST_KEEP,   /* they wait for the next time that nobody is signed in */
    BQ_GUEST_DISCARD /* removed */
};

enum bq_sign_out {
    BQ_DRAIN,  /* send first, then as BQ_PARK; still signed in where bq_flush() would fail */
    BQ_PARK,   /* documents and queue stay in the file until this user signs in again */
    BQ_DISCARD /* the user's documents and queue are removed from the file */
};

/* What signing in or out did. */
struct bq_counts {
    size_t size;
    unsigned documents; /* merged, kept or removed */
    unsigned unsent;    /* documents with edits that the server has not acknowledged */
    unsigned dead;      /* dead letters */
};

/* Takes a token (a JWT, at most 8 KiB) and makes its `sub` the user of this handle. The library
 * does not verify it: the server does. The token is held in memory only. The user's documents that
 * the file holds are there at once; those of the server come with the first exchange. Where
 * somebody else is signed in: BQ_INVALID, sign out first. For the same user it is bq_set_token().
 * counts may be NULL. BQ_OK, BQ_AUTH (not a JWT with a uuid in sub), BQ_INVALID, disk codes; with
 * BQ_GUEST_MERGE also BQ_TOO_LARGE, BQ_TOO_DEEP, BQ_TOO_MANY_KEYS, BQ_QUOTA or BQ_OUT_OF_RANGE,
 * where the guest's documents and the user's are together over a limit: then nobody is signed in,
 * nothing changed, and the app may choose BQ_GUEST_KEEP. */
BQ_API int bq_sign_in(struct bq *bq, const char *token, enum bq_guest guest,
                      struct bq_counts *counts);

/* A fresh token for the user who is signed in; kicks a sync that waited for it. */
BQ_API int bq_set_token(struct bq *bq, const char *token);

/* timeout_ms matters for BQ_DRAIN alone. counts may be NULL. BQ_OK, BQ_SIGNED_OUT, BQ_TIMEOUT. */
BQ_API int bq_sign_out(struct bq *bq, enum bq_sign_out how, unsigned timeout_ms,
                       struct bq_counts *counts);

/* The user (uuid text) or "" for the guest; out has room for 37 bytes. */
BQ_API void bq_user(struct bq *bq, char out[37]);

/* This file's device id for the present user ("bq-" and 32 hex digits); out has room for 40
 * bytes. */
BQ_API void bq_device_id(struct bq *bq, char out[40]);

/* ------------------------------------------------------------------------------------------------
 * Writing. Each call is durable when it returns BQ_OK. A key is 1 to 128 bytes of UTF-8, without
 * controls, not beginning with '_'. A document has at most 256 KiB and nests 64 deep. JSON is
 * strict: see docs/protocol.md.
 * Errors of all: BQ_INVALID, BQ_BAD_KEY, BQ_JSON_..., BQ_TOO_LARGE, BQ_TOO_DEEP, BQ_TOO_MANY_KEYS,
 * BQ_NOMEM, BQ_DISK_FULL, BQ_IO. After an error everything is as before.
 */

enum bq_flags {
    BQ_IMMEDIATE = 1,     /* no debounce */
    BQ_PRIORITY_LOW = 2,  /* of the lane from now on; without one of these it stays as it is */
    BQ_PRIORITY_NORMAL = 4,
    BQ_PRIORITY_HIGH = 8, /* high and critical do not debounce */
    BQ_PRIORITY_CRITICAL = 16
};

/* Replaces the whole document: what json lacks is removed. len SIZE_MAX: up to the NUL. */
BQ_API int bq_put(struct bq *bq, const char *key, const char *json, size_t len, unsigned flags);

/* Changes only what patch names: a merge patch (RFC 7396), where null removes. An absent document
 * counts as {}. */
BQ_API int bq_patch(struct bq *bq, const char *key, const char *patch, size_t len, unsigned flags);

/* Adds a decimal amount ("1", "-2.5"; at most 9 decimals) to the number at `path`: a member's name,
 * or a JSON Pointer where it begins with '/'. Absent counts 0; a value that is no number:
 * BQ_INVALID. Other devices' amounts add up where the policy of that field is "sum". */
BQ_API int bq_increment(struct bq *bq, const char *key, const char *path, const char *amount,
                        unsigned flags);

/* Removes the document on all devices, unless another device changes it meanwhile: an update beats
 * a removal. Removing an absent one: BQ_NOT_FOUND. */
BQ_API int bq_remove(struct bq *bq, const char *key, unsigned flags);

/* Gives a document that was not made from the synced one: an app's defaults, an older system's
 * local copy. What is there already wins, field by field as the policy says (docs/merge.md,
 * "Seeds"); so it is safe at every start. */
BQ_API int bq_seed(struct bq *bq, const char *key, const char *json, size_t len);

/* ------------------------------------------------------------------------------------------------
 * Reading. Never waits for the network.
 */

/* The guide's states of a key. */
enum bq_state {
    BQ_IDLE,             /* nothing to do */
    BQ_PREPARING,        /* changed, waiting for the debounce */
    BQ_SYNCING,          /* on its way */
    BQ_COMPLETED,        /* acknowledged; idle from the next exchange on */
    BQ_FAILED_RETRYABLE, /* five failures that reached a server; goes on at the longest pause */
    BQ_FAILED_PERMANENT, /* the last edit was refused and is a dead letter */
    BQ_QUEUED            /* waits for network, token, resume or its backoff */
};

/* "idle", "preparing", "syncing", "completed", "failedRetryable", "failedPermanent", "queued". */
BQ_API const char *bq_state_word(enum bq_state state);

struct bq_document {
    size_t size;         /* sizeof(struct bq_document), set by the caller */
    char *key;
    char *json;          /* compact, NUL-terminated */
    size_t json_len;
    int64_t version;     /* of the server's copy below it; 0 none yet */
    enum bq_state state;
    int pending;         /* 1: holds edits that the server has not acknowledged */
    int64_t modified_ms; /* last change known here, in ms since 1970 */
};

struct bq_documents {
    size_t size; /* sizeof(struct bq_documents), set by the caller */
    struct bq_document *items; /* by key: shorter first, then by bytes */
    size_t n;
};

/* The document as the app sees it: with everything written here. out->size must be set. BQ_OK,
 * BQ_NOT_FOUND (never written or removed), BQ_NOMEM. Release with bq_document_release(). */
BQ_API int bq_get(struct bq *bq, const char *key, struct bq_document *out);
BQ_API void bq_document_release(struct bq_document *document);

/* All documents. Release with bq_documents_release(). */
BQ_API int bq_list(struct bq *bq, struct bq_documents *out);
BQ_API void bq_documents_release(struct bq_documents *documents);

/* The state of one key; BQ_IDLE for an unknown one. */
BQ_API enum bq_state bq_key_state(struct bq *bq, const char *key);

/* ------------------------------------------------------------------------------------------------
 * Syncing
 */

/* Sends everything now and waits until the server has acknowledged (or refused) what was written
 * before the call. BQ_OK, BQ_TIMEOUT (it goes on in the background), BQ_SIGNED_OUT, BQ_AUTH or
 * BQ_FORBIDDEN (no token that the server takes; at once where there is no token_fn),
 * BQ_USER_ERASED, and BQ_NETWORK where there is no url. With BQ_MANUAL it steps itself. */
BQ_API int bq_flush(struct bq *bq, unsigned timeout_ms);

/* Fetches now, and waits until an exchange that began after the call is done. Codes as bq_flush(),
 * and BQ_NETWORK, BQ_SERVER or BQ_BUSY at once when the try fails. */
BQ_API int bq_pull(struct bq *bq, unsigned timeout_ms);

/* What the app knows of the network: 0 stops all tries, 1 tries at once, -1 unknown (the
 * default). */
BQ_API int bq_set_online(struct bq *bq, int online);

/* The app goes to the background, and comes back: no network between the two. */
BQ_API int bq_pause(struct bq *bq);
BQ_API int bq_resume(struct bq *bq);

/* A JSON object of at most 4 KiB, shown in the user's device list. */
BQ_API int bq_set_device_info(struct bq *bq, const char *json);

struct bq_stats {
    size_t size;             /* sizeof(struct bq_stats), set by the caller */
    unsigned documents;
    unsigned pending;        /* keys with unacknowledged edits */
    unsigned frozen;         /* edits whose fate is unknown */
    unsigned by_state[7];    /* keys, by enum bq_state */
    unsigned dead_letters;
    unsigned retrying;       /* keys in backoff */
    int64_t cursor;          /* of the change feed */
    int64_t next_try_ms;     /* from now; 0 now, -1 none planned */
    int64_t last_exchange_ms;/* time of the last complete one, ms since 1970; 0 never */
    uint64_t sent;           /* edits acknowledged since bq_open */
    uint64_t exchanges;      /* answered since bq_open */
    int online;              /* 1 the last try reached the server, 0 not, -1 not tried */
    int signed_in;
    int paused;
    int last_status;         /* BQ_ code of the last try */
    int live;                /* realtime: 1 up, 0 not (yet, or any more), -1 not wanted */
    uint64_t live_wakes;     /* changes that realtime told of since bq_open */
};

BQ_API int bq_stats(struct bq *bq, struct bq_stats *out);

/* ------------------------------------------------------------------------------------------------
 * Events
 */

enum bq_event_type {
    BQ_EVENT_CHANGED = 1,  /* key: the document changed because of another device */
    BQ_EVENT_STATE,        /* key, state */
    BQ_EVENT_CONFLICT,     /* key: the server merged an edit of this device with another's */
    BQ_EVENT_DEAD_LETTER,  /* key, status, text: an edit was refused */
    BQ_EVENT_TOKEN_NEEDED, /* give one with bq_set_token() */
    BQ_EVENT_ONLINE,       /* the server was reached again */
    BQ_EVENT_OFFLINE,      /* status: why it is not */
    BQ_EVENT_RETRYING,     /* key, status: five failures; goes on at the longest pause */
    BQ_EVENT_WIPED,        /* the user was erased on the server; local data is gone */
    BQ_EVENT_REWOUND,      /* this file is a restored copy: a new device id was taken */
    BQ_EVENT_LOST,         /* more than 1,000 events waited: older ones are gone; read again */
    BQ_EVENT_LIVE,         /* realtime is up: other devices' changes come at once */
    BQ_EVENT_NOT_LIVE      /* it is not any more; status, text: why. They come by polling */
};

struct bq_event {
    size_t size; /* sizeof(struct bq_event), set by the caller */
    enum bq_event_type type;
    char key[129];
    enum bq_state state;
    int status;
    char text[BQ_ERROR_TEXT];
};

/* The next event, waiting up to timeout_ms. BQ_OK, BQ_TIMEOUT, BQ_CLOSED. With BQ_MANUAL it does
 * not wait. Any number of threads may wait; each event goes to one of them. */
BQ_API int bq_next_event(struct bq *bq, unsigned timeout_ms, struct bq_event *out);

/* ------------------------------------------------------------------------------------------------
 * Dead letters: edits that the server refused for good. They block nothing and stay until the app
 * says what becomes of them.
 */

struct bq_dead_letter {
    int64_t id;        /* in this file */
    char *key;
    int status;        /* why */
    char *message;
    char *edit;        /* JSON, as it was sent */
    int64_t failed_ms; /* ms since 1970 */
};

struct bq_dead_letters {
    size_t size; /* sizeof(struct bq_dead_letters), set by the caller */
    struct bq_dead_letter *items; /* oldest first */
    size_t n;
};

BQ_API int bq_dead_letters(struct bq *bq, struct bq_dead_letters *out);
BQ_API void bq_dead_letters_release(struct bq_dead_letters *letters);

/* Applies the edit once more to the document as it is now, as a new edit. id 0: all.
 * BQ_NOT_FOUND. */
BQ_API int bq_dead_retry(struct bq *bq, int64_t id);

/* Forgets it. id 0: all. BQ_NOT_FOUND. */
BQ_API int bq_dead_discard(struct bq *bq, int64_t id);

/* All of them as a JSON array; bq_free() it. */
BQ_API int bq_dead_export(struct bq *bq, char **out_json);

/* ------------------------------------------------------------------------------------------------
 * Coming from V2's app (or v1's), and going back to it (docs/phone.md).
 */

struct bq_import_counts {
    size_t size;        /* sizeof(struct bq_import_counts), set by the caller */
    unsigned documents; /* local documents that were taken */
    unsigned edits;     /* items of V2's and v1's queue that were taken */
    unsigned again;     /* that an earlier import took */
    unsigned skipped;   /* that are none, or over a limit; bq_last_error() tells of the first */
};

/* Takes in what the older app kept in SharedPreferences, as one JSON object of its entries (the
 * names with or without "flutter."): sync_data_v2_<key> as seeds; sync_queue_v2 with
 * sync_device_id, and v1's sync_service_queue, as edits. These go out before anything else, by the
 * older app's own call and device id, in their order: so the server knows those that it has
 * already, and each is counted once. What is none of these entries is ignored. The same again
 * changes nothing: it may be called at every start, and the preferences may stay where they are.
 * One transaction: after an error nothing changed. counts may be NULL. BQ_OK, BQ_SIGNED_OUT,
 * BQ_FORBIDDEN (sync_state_v2 names other users alone), BQ_INVALID, BQ_JSON_..., disk codes. */
BQ_API int bq_import_v2(struct bq *bq, const char *json, size_t len,
                        struct bq_import_counts *counts);

enum bq_export_flags {
    BQ_V2_HAND_OVER = 1,    /* from now on nothing of this user is sent from this file */
    BQ_V2_ASSUME_SENT = 2,  /* of edits of unknown fate: leave out their sums, never twice */
    BQ_V2_ASSUME_UNSENT = 4,/* put them in whole: their sums count twice where they arrived */
    BQ_V2_TAKE_BACK = 8     /* alone, *out_json NULL: the hand-over did not happen; sync again */
};

struct bq_export_counts {
    size_t size;        /* sizeof(struct bq_export_counts), set by the caller */
    unsigned documents;
    unsigned edits;     /* items in V2's queue */
    unsigned left;      /* removals and documents that are no objects: V2 cannot hold them */
};

/* The way back: everything as the entries of SharedPreferences, a JSON object of texts that
 * bq_free() releases: sync_data_v2_<key>, sync_state_v2<user>, sync_queue_v2 with what is unsent
 * (the older app's own items too), and sync_device_id where an import brought it. The app stores
 * them and then starts the older version.
 * With BQ_V2_HAND_OVER the file remembers that this was done: it sends nothing any more, and the
 * next bq_import_v2() begins with forgetting what it holds of the user, since all of that is the
 * older app's by then. Without it an app that goes on in both would have its edits counted twice.
 * An edit that is on its way, and of which nobody knows whether it arrived, would be BQ_BUSY:
 * bq_flush() settles it; without a network choose one of the two assumptions. counts may be NULL.
 * BQ_OK, BQ_SIGNED_OUT, BQ_BUSY, BQ_INVALID, BQ_NOMEM, disk codes. */
BQ_API int bq_export_v2(struct bq *bq, unsigned flags, char **out_json,
                        struct bq_export_counts *counts);

/* ------------------------------------------------------------------------------------------------
 * The guide's providers: typed views on the three documents of a learning game. Each set touches
 * only the fields it names. Numbers are 0, texts "" where the document lacks them.
 */

struct bq_game_stats {
    size_t size;
    int64_t score;
    int64_t current_streak;
    int64_t longest_streak;
    int64_t incorrect_answers;
};

BQ_API int bq_game_stats_read(struct bq *bq, struct bq_game_stats *out);
BQ_API int bq_game_stats_add_score(struct bq *bq, int64_t points); /* negative: spend */
/* A right answer: streak + 1 (and the longest with it). A wrong one: streak 0, incorrectAnswers +
 * 1. */
BQ_API int bq_game_stats_answer(struct bq *bq, int correct);
BQ_API int bq_game_stats_reset(struct bq *bq);

struct bq_settings {
    size_t size;
    char theme_mode[64];
    char game_speed[64];
    char layout_type[64];
    int mute; /* 0 or 1 */
    int colorful_mode;
    int show_navigation_labels;
};

BQ_API int bq_settings_read(struct bq *bq, struct bq_settings *out);
BQ_API int bq_settings_set_text(struct bq *bq, const char *field, const char *text);
BQ_API int bq_settings_set_bool(struct bq *bq, const char *field, int value);
BQ_API int bq_settings_unlock_theme(struct bq *bq, const char *theme);
BQ_API int bq_settings_put_ai_theme(struct bq *bq, const char *id, const char *json);
BQ_API int bq_settings_remove_ai_theme(struct bq *bq, const char *id);

/* lesson_progress. stars 0 to 3; a lower number than there is changes nothing. */
BQ_API int bq_lesson_progress_read(struct bq *bq, int64_t *out_unlocked);
BQ_API int bq_lesson_progress_stars(struct bq *bq, const char *lesson, int64_t *out_stars);
BQ_API int bq_lesson_progress_set_stars(struct bq *bq, const char *lesson, int64_t stars);
BQ_API int bq_lesson_progress_unlock(struct bq *bq, int64_t count);

/* Listening: bq_next_event() answers BQ_EVENT_CHANGED with these keys. */
#define BQ_KEY_GAME_STATS "game_stats"
#define BQ_KEY_SETTINGS "settings"
#define BQ_KEY_LESSON_PROGRESS "lesson_progress"

#ifdef __cplusplus
}
#endif

#endif
