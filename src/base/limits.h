/* limits.h - every bound that a peer can push against, by name.
 *
 * Those that an operator may change are fields of struct limits with these defaults; the others are
 * part of the protocol. */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#include <stddef.h>
#include <stdint.h>

/* Protocol (docs/protocol.md). */
#define LIMIT_KEY_BYTES 128u
#define LIMIT_DEVICE_BYTES 128u
#define LIMIT_VERSION INT64_C(2147483647) /* V2's int4 */
#define LIMIT_SEQ (INT64_C(1) << 53)
#define LIMIT_EPOCH (INT64_C(1) << 53)
#define LIMIT_OP (INT64_C(1) << 53)
#define LIMIT_EDITS 100u                    /* in one exchange */
#define LIMIT_BODY_BYTES (4u << 20)         /* of one request */
#define LIMIT_ANSWER_BYTES (1u << 20)       /* of changes in one answer, and at least one row */
#define LIMIT_CHANGES 500u                  /* rows in one answer */
#define LIMIT_JSON_DIGITS 40u
#define LIMIT_JSON_EXPONENT 308
#define LIMIT_EDIT_DEPTH_EXTRA 8u           /* an edit's envelope around a document */
#define LIMIT_POLICY_DEPTH 16u
#define LIMIT_POLICY_JSON_DEPTH (2u * LIMIT_POLICY_DEPTH + 4u) /* of a whole set of policies */
#define LIMIT_POLICY_BYTES (64u << 10)
#define LIMIT_POINTER_PARTS 1000u           /* of a JSON Pointer that a client writes through */

/* What the store keeps. */
#define LIMIT_RECEIPTS 256u                 /* per key */
#define LIMIT_RECEIPT_DAYS 400
#define LIMIT_TOMBSTONES 10000u             /* per user */
#define LIMIT_UPSERT_REPEATS 64u            /* (E, sent) pairs of an old client's device and key */
#define LIMIT_UPSERT_BASES 16u              /* values of E whose sums are kept */
#define LIMIT_UPSERT_SUM_BYTES (64u << 10)  /* of those sums, in a memory */
#define LIMIT_UPSERT_DEVICES 16u            /* old clients' devices with a memory of a key */
#define LIMIT_UPSERT_MEMORIES 256u          /* per user that are not empty */
#define LIMIT_DEVICES 256u                  /* per user, in each of the two lists */
#define LIMIT_DEAD_LETTERS 100u             /* reported per user */
#define LIMIT_DEAD_BYTES (1u << 20)
#define LIMIT_TABLE_USERS 100u              /* that one table read of service_role may name */
#define LIMIT_TABLE_BYTES (64u << 20)       /* of their rows together */
#define LIMIT_SESSIONS 64u                  /* per account */
#define LIMIT_EMAIL_BYTES 255u
#define LIMIT_PASSWORD_BYTES 72u            /* as the older system's */
#define LIMIT_METADATA_BYTES (4u << 10)     /* of an account: it stands in its tokens */
#define LIMIT_ANONYMOUS_DAYS 90             /* unused, then erased */
#define LIMIT_ANONYMOUS_BYTES (1u << 20)    /* of an anonymous user's documents */

/* What the client keeps. */
#define LIMIT_LOG_DAYS 30
#define LIMIT_LOG_BYTES (1u << 20)

/* An operator may change these (bqsync.conf). */
struct limits {
    size_t document_bytes; /* as the compact writer prints it */
    unsigned depth;        /* containers; the root is 1 */
    unsigned keys;         /* live documents per user */
    size_t user_bytes;     /* of all documents of a user */
    unsigned history;      /* kept changes per document */
};

#define LIMITS_DEFAULT ((struct limits){256u << 10, 64, 1000, 16u << 20, 32})

#endif
