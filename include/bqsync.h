/* bqsync.h - the manual of libbqsync: keep a user's small JSON documents equal on all devices.
 *
 * CAVEATS FIRST
 *   - One process per file. A second bq_open() of the same path answers BQ_LOCKED.
 *   - When bq_put() and its kin return BQ_OK the edit is on disk and survives a crash of the app; it
 *     has NOT reached the server. bq_flush() waits for that.
 *   - A time-out means unknown, never failed: the edit is sent again under its old number and the
 *     server counts it once.
 *   - Counters that several devices raise want the policy "sum" and bq_increment(). A score that can
 *     be spent wants "sum" too: "max" never goes down on a conflict.
 *   - Strings given to a call are borrowed for the call. Strings handed out are yours: release them
 *     with the function that the call's comment names.
 *   - All calls on one handle may come from any thread, bq_close() excepted: nothing else may run on
 *     the handle then or later. Calls never wait for the network unless they take a time-out.
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
    X(NEWER, -9, UNKNOWN, NEVER, "newer_format", "a newer version wrote the file; update this one") \
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
    X(VERSION_LIMIT, -45, VALIDATION, NEVER, "version_limit", "the document's versions are used up") \
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
