/* core_bench.h - the server's core by hand: calls as JSON texts against a store in memory.
 *
 * Everything fails the running cmocka test where it cannot be done. */
#ifndef TESTS_CORE_BENCH_H
#define TESTS_CORE_BENCH_H

#include "core/op.h"

struct core_bench {
    struct store *store;
    struct op_context context;
    struct arena policy_arena;
    struct arena arena; /* of the calls; forgotten by bench_forget() */
    struct uuid user;
    int status; /* of the last call: the op's own */
    char message[160];
    bool wrote;
    int64_t seq;
};

/* A store in memory, the shipped policies, the default limits, one user. */
void bench_open(struct core_bench *bench);
void bench_close(struct core_bench *bench);
void bench_forget(struct core_bench *bench);

/* Another set of policies, as JSON {pattern: policy}, over the shipped ones. */
void bench_policies(struct core_bench *bench, const char *json);

/* Runs one op of its own batch. Answers what apply_batch answered; time goes on by 1 ms. */
int bench_run(struct core_bench *bench, struct op *op);

/* sync_exchange with these parameters beside p_device_id, for instance "\"p_cursor\":3"; the answer
 * as it is on the wire, read again. */
struct json_value bench_exchange(struct core_bench *bench, const char *device, const char *params);

/* The same with edits alone, comma-separated; the changes are those from the start. */
struct json_value bench_edits(struct core_bench *bench, const char *device, const char *edits);

/* atomic_sync_upsert; expected NULL is SQL NULL, device NULL too. The answer read again. */
struct json_value bench_upsert(struct core_bench *bench, const char *device, const char *key,
                               const char *expected, const char *data);

/* atomic_sync_data. */
bool bench_v1(struct core_bench *bench, const char *data);

/* A document's compact text; "" where there is none or a tombstone. *out_version may be NULL. */
const char *bench_document(struct core_bench *bench, const char *key, int64_t *out_version);

struct store_user bench_user(struct core_bench *bench);

/* A member by JSON Pointer as compact text; "" where it is absent. */
const char *bench_at(struct core_bench *bench, const struct json_value *value, const char *pointer);

/* The member has to be that text. */
void bench_check(struct core_bench *bench, const struct json_value *value, const char *pointer,
                 const char *want);

/* printf into the bench's arena. */
const char *bench_text(struct core_bench *bench, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
