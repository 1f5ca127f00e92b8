/* exchange.h - sync_exchange: push and pull in one trip (docs/protocol.md, "sync_exchange").
 *
 * Both sides use this file: the client prints requests and reads answers, the server the
 * reverse. */
#ifndef PROTO_EXCHANGE_H
#define PROTO_EXCHANGE_H

#include "proto/edit.h"

#include "base/limits.h"
#include "base/uuid.h"

struct proto_exchange {
    struct slice device_id;
    struct slice epoch;  /* NULL ptr: none known yet */
    int64_t cursor;      /* negative: inside a complete listing; opaque to the client */
    int64_t limit;       /* rows, 1 .. LIMIT_CHANGES */
    int64_t policies;    /* version of the policies that the edits were made with */
    int64_t proto;
    const struct json_value *edits; /* the raw elements: one bad edit does not refuse the others */
    uint32_t n_edits;
};

enum proto_result_status {
    PROTO_APPLIED,
    PROTO_MERGED,
    PROTO_DUPLICATE,
    PROTO_KEPT,
    PROTO_REWOUND,
    PROTO_FORGOTTEN,
    PROTO_REFUSED
};

struct proto_result {
    struct slice key;
    int64_t op;
    enum proto_result_status status;
    int64_t version;
    bool has_data; /* every status but applied */
    bool deleted;
    struct json_value data;
    int code;             /* PROTO_REFUSED, or a duplicate of a refusal: a BQ_ status, else BQ_OK */
    struct slice message; /* PROTO_REFUSED */
};

struct proto_change {
    struct slice key;
    int64_t version; /* 0: there is no document, only receipts */
    int64_t seq;
    int64_t op;      /* this device's receipt on that key; 0 none */
    struct slice id; /* of that receipt; NULL ptr none */
    int refused;     /* the receipt is a refusal: its BQ_ status, else BQ_OK */
    bool deleted;
    struct json_value data;
    struct slice device_id; /* NULL ptr: none */
    int64_t modified_us;
};

struct proto_answer {
    struct slice epoch;
    bool epoch_changed; /* "status": "epoch": nothing was applied */
    int64_t server_time_us;
    int64_t policies;
    int64_t cursor;
    bool more;
    bool complete; /* part of a complete listing: a key not named after the last page is gone */
    struct proto_result *results;
    uint32_t n_results;
    struct proto_change *changes;
    uint32_t n_changes;
};

/* The whole request body, {"p_device_id": ..., ...}. edits are printed edits, each one JSON
 * text. */
void proto_exchange_print(struct buf *out, const struct proto_exchange *request,
                          const struct slice *edits, uint32_t n_edits);

/* Reads the named parameters. On a wrong type or range: BQ_MALFORMED and *problem. Missing and
 * surplus parameters are the router's to refuse (PGRST202). */
int proto_exchange_read(struct arena *arena, const struct json_value *params,
                        struct proto_exchange *out, struct proto_problem *problem);

void proto_answer_print(struct buf *out, const struct proto_answer *answer);

/* BQ_OK, BQ_PROTOCOL with *problem, BQ_NOMEM. Strict: an unknown status is BQ_PROTOCOL; unknown
 * members are ignored. */
int proto_answer_read(struct arena *arena, const struct json_value *value,
                      struct proto_answer *out, struct proto_problem *problem);

#endif
