/* store_suite_data.c - users of the suite, writes as the core makes them, dumps, random writes. */
#include "base/status.h"
#include "store_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

struct uuid store_suite_user(unsigned i)
{
    struct uuid user;
    char text[UUID_TEXT + 1] = "00000000-0000-4000-8000-00000000000x";
    text[UUID_TEXT - 1] = (char)('a' + i);
    assert_true(uuid_parse(slice_of(text), &user));
    return user;
}

/* Writes with history, as the core does. */

static int64_t next_seq(struct store *store, const struct uuid *user)
{
    struct store_user row;
    assert_int_equal(store->user_get(store, user, &row), BQ_OK);
    row.seq++;
    row.exists = true;
    row.clock_us = STORE_SUITE_NOW_US + row.seq;
    assert_int_equal(store->user_put(store, &row), BQ_OK);
    return row.seq;
}

void store_suite_write(struct store *store, const struct uuid *user, struct slice key,
                       struct slice data, bool deleted)
{
    struct arena arena;
    struct store_doc doc;
    struct buf entry = BUF_INIT;
    arena_init(&arena);
    assert_int_equal(store->doc_get(store, &arena, user, key, &doc), BQ_OK);
    buf_add_format(&entry, "\"back to %d of %.*s\"", (int)doc.version, SLICE_FMT(key));
    for (size_t i = 1; i + 1 < entry.len; i++) { /* an entry is JSON, whatever the key is */
        entry.ptr[i] = (char)(strchr("\"\\", entry.ptr[i]) != NULL ? '?' : entry.ptr[i]);
    }
    doc.version++;
    doc.seq = next_seq(store, user);
    doc.deleted = deleted;
    doc.data = data;
    doc.modified_us = STORE_SUITE_NOW_US + doc.seq;
    doc.created_us = doc.created_us == 0 ? doc.modified_us : doc.created_us;
    struct store_history history = {0, doc.history, doc.version, buf_slice(&entry)};
    assert_int_equal(store->history_add(store, user, key, &history, &doc.history), BQ_OK);
    assert_int_equal(store->doc_put(store, user, &doc), BQ_OK);
    buf_release(&entry);
    arena_release(&arena);
}

/* Dumps. */

static void dump_history(struct store *store, struct arena *arena, const struct uuid *user,
                         int64_t id, struct buf *out)
{
    struct store_history entry;
    for (unsigned i = 0; i < STORE_SUITE_HISTORY && id != 0; i++) {
        int status = store->history_get(store, arena, user, id, &entry);
        if (status == BQ_NOT_FOUND) {
            break;
        }
        assert_int_equal(status, BQ_OK);
        buf_add_format(out, " <%d %.*s>", (int)entry.version, SLICE_FMT(entry.entry));
        id = entry.older;
    }
}

static void dump_user(struct store *store, struct arena *arena, const struct uuid *user,
                      struct buf *out)
{
    struct store_user row;
    struct store_docs docs;
    struct store_devices devices;
    struct store_dead_letters dead;
    assert_int_equal(store->user_get(store, user, &row), BQ_OK);
    buf_add_format(out, "%s exists %d seq %d clock %lld\n", user->text, row.exists, (int)row.seq,
                   (long long)row.clock_us);
    assert_int_equal(store->docs(store, arena, user, 0, 1000, SIZE_MAX, true, &docs), BQ_OK);
    for (uint32_t i = 0; i < docs.n; i++) {
        const struct store_doc *doc = &docs.items[i];
        buf_add_format(out, "doc %.*s version %d seq %d deleted %d data %.*s at %lld %lld",
                       SLICE_FMT(doc->key), (int)doc->version, (int)doc->seq, doc->deleted,
                       SLICE_FMT(doc->data), (long long)doc->modified_us,
                       (long long)doc->created_us);
        dump_history(store, arena, user, doc->history, out);
        buf_add_char(out, '\n');
    }
    assert_int_equal(store->dead_letters(store, arena, user, &dead), BQ_OK);
    for (uint32_t i = 0; i < dead.n; i++) {
        buf_add_format(out, "dead %.*s %.*s %.*s %d\n", SLICE_FMT(dead.items[i].id),
                       SLICE_FMT(dead.items[i].device_id), SLICE_FMT(dead.items[i].key),
                       (int)dead.items[i].version);
    }
    assert_int_equal(store->devices(store, arena, user, &devices), BQ_OK);
    for (uint32_t i = 0; i < devices.n; i++) {
        buf_add_format(out, "device %.*s %d %lld\n", SLICE_FMT(devices.items[i].device_id),
                       (int)devices.items[i].last_sync_version,
                       (long long)devices.items[i].created_us);
    }
}

#define N_KEYS 4u
#define N_DEVICES 3u

static struct slice nth_name(char *out, char kind, uint64_t i)
{
    out[0] = kind;
    out[1] = (char)('0' + i);
    out[2] = '\0';
    return (struct slice){out, 2};
}

static void dump_upserts(struct store *store, struct arena *arena, const struct uuid *user,
                         struct buf *out)
{
    char key[3];
    char device[3];
    for (unsigned k = 0; k < N_KEYS; k++) {
        for (unsigned d = 0; d < N_DEVICES; d++) {
            struct slice packed;
            assert_int_equal(store->upserts_get(store, arena, user, nth_name(key, 'k', k),
                                                nth_name(device, 'd', d), &packed),
                             BQ_OK);
            if (packed.ptr != NULL) {
                buf_add_format(out, "upserts %s %s %.*s\n", key, device, SLICE_FMT(packed));
            }
        }
    }
}

void store_suite_dump(struct store *store, bool in_transaction, struct buf *out)
{
    struct arena arena;
    struct store_policies policies;
    arena_init(&arena);
    if (!in_transaction) {
        assert_int_equal(store->begin(store), BQ_OK);
    }
    for (unsigned i = 0; i < STORE_SUITE_USERS; i++) {
        struct uuid user = store_suite_user(i);
        dump_user(store, &arena, &user, out);
        dump_upserts(store, &arena, &user, out);
    }
    assert_int_equal(store->policies(store, &arena, &policies), BQ_OK);
    buf_add_format(out, "policies %d\n", (int)policies.version);
    for (uint32_t i = 0; i < policies.n; i++) {
        buf_add_format(out, "policy %.*s %.*s\n", SLICE_FMT(policies.items[i].pattern),
                       SLICE_FMT(policies.items[i].policy));
    }
    if (!in_transaction) {
        store->rollback(store);
    }
    assert_false(out->failed);
    arena_release(&arena);
}

static void random_other(struct store *store, const struct uuid *user, struct slice key,
                         struct slice device, uint64_t number, int verb)
{
    char text[24];
    snprintf(text, sizeof text, "\"%u\"", (unsigned)number);
    struct store_device metadata = {device, STORE_SUITE_NOW_US + (int64_t)number, 1, SLICE("{}"),
                                    (int64_t)number};
    struct store_v1_device v1 = {device, SLICE("name"), SLICE("type"), STORE_SUITE_NOW_US,
                                 STORE_SUITE_NOW_US};
    struct store_dead dead[2] = {
        {SLICE("00000000-0000-4000-8000-000000000001"), device, key, SLICE("{}"), 1,
         SLICE("too_large: no"), STORE_SUITE_NOW_US},
        {SLICE("00000000-0000-4000-8000-000000000002"), device, key, SLICE("{}"), 2,
         SLICE("too_large: no"), STORE_SUITE_NOW_US}};
    int64_t seq;
    bool found;
    int status = BQ_OK;
    switch (verb) {
    case 0:
        status = store->tombstone_drop(store, user, &seq);
        break;
    case 1:
        status = number % 4 == 0
                     ? store->upserts_forget(store, user, key)
                     : store->upserts_put(store, user, key, device, slice_of(text),
                                          STORE_SUITE_NOW_US);
        break;
    case 2:
        status = store->device_put(store, user, &metadata);
        break;
    case 3:
        status = store->v1_device_put(store, user, &v1);
        break;
    case 4:
        status = store->v1_device_remove(store, user, device, &found);
        break;
    case 5:
        status = store->dead_replace(store, user, device, dead, (uint32_t)(number % 3));
        break;
    case 6:
        status = store->policy_put(store, key, number % 3 == 0 ? SLICE("") : slice_of(text));
        break;
    default:
        status = number % 8 == 0 ? store->user_clear(store, user) : BQ_OK;
        break;
    }
    assert_int_equal(status, BQ_OK);
}

void store_suite_random_write(struct store *store, struct rng *rng)
{
    char key_text[3];
    char device_text[3];
    char data[24];
    struct uuid user = store_suite_user((unsigned)rng_below(rng, STORE_SUITE_USERS));
    struct slice key = nth_name(key_text, 'k', rng_below(rng, N_KEYS));
    struct slice device = nth_name(device_text, 'd', rng_below(rng, N_DEVICES));
    uint64_t number = rng_below(rng, 1000);
    int verb = (int)rng_below(rng, 14);
    snprintf(data, sizeof data, "{\"n\":%u}", (unsigned)number);
    if (verb >= 8) {
        store_suite_write(store, &user, key, verb == 8 ? SLICE("{}") : slice_of(data), verb == 8);
    } else {
        random_other(store, &user, key, device, number, verb);
    }
}
