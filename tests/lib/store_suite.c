/* store_suite.c - see store_suite.h. */
#include "store_suite.h"

#include "store_suite_fixture.h"

#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#define NOW_US STORE_SUITE_NOW_US

static const struct store_suite_factory *factory;

static struct fixture open_fixture(void)
{
    return fixture_open(factory);
}

static struct store_doc get(struct fixture *f, const struct uuid *user, const char *key)
{
    struct store_doc doc;
    assert_int_equal(f->store->doc_get(f->store, &f->arena, user, slice_of(key), &doc), BQ_OK);
    return doc;
}

static void put(struct fixture *f, const struct uuid *user, const struct store_doc *doc)
{
    assert_int_equal(f->store->doc_put(f->store, user, doc), BQ_OK);
}

static struct store_docs list(struct fixture *f, int64_t after, uint32_t max_rows, size_t max_bytes,
                              bool with_deleted)
{
    struct store_docs docs;
    assert_int_equal(f->store->docs(f->store, &f->arena, &f->user, after, max_rows, max_bytes,
                                    with_deleted, &docs),
                     BQ_OK);
    return docs;
}

static void write_doc(struct fixture *f, const struct uuid *user, const char *key, const char *data)
{
    store_suite_write(f->store, user, slice_of(key), slice_of(data), false);
}

static void write_tombstone(struct fixture *f, const struct uuid *user, const char *key)
{
    store_suite_write(f->store, user, slice_of(key), SLICE("{}"), true);
}

/* The cases: users and documents. */

static void an_absent_user_is_zeros(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct store_user user;
    memset(&user, 0xff, sizeof user);
    assert_int_equal(f.store->user_get(f.store, &f.user, &user), BQ_OK);
    assert_string_equal(user.id.text, f.user.text);
    assert_false(user.exists);
    assert_false(user.erased);
    assert_int_equal(user.seq | user.generation | user.clock_us | user.n_keys, 0);
    assert_int_equal(user.n_bytes | user.n_tombstones | user.purged_seq, 0);
    fixture_close(&f);
}

static void a_user_row_comes_back_whole(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct store_user got;
    struct store_user user = {f.user, true, true, LIMIT_SEQ - 1, 3, NOW_US, 5, INT64_MAX, 7, 8};
    assert_int_equal(f.store->user_put(f.store, &user), BQ_OK);
    fixture_next_transaction(&f);
    assert_int_equal(f.store->user_get(f.store, &f.user, &got), BQ_OK);
    assert_true(got.exists && got.erased);
    assert_true(got.seq == user.seq && got.generation == 3 && got.clock_us == NOW_US);
    assert_true(got.n_keys == 5 && got.n_bytes == INT64_MAX && got.n_tombstones == 7);
    assert_int_equal(got.purged_seq, 8);
    user.erased = false;
    user.seq = 1;
    assert_int_equal(f.store->user_put(f.store, &user), BQ_OK);
    assert_int_equal(f.store->user_get(f.store, &f.user, &got), BQ_OK);
    assert_true(!got.erased && got.seq == 1);
    fixture_close(&f);
}

static void an_absent_document_has_version_0_and_its_key(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct store_doc doc = get(&f, &f.user, "settings");
    assert_slice(doc.key, SLICE("settings"));
    assert_slice(doc.data, SLICE_NONE);
    assert_int_equal(doc.version | doc.seq | doc.history | doc.epoch | doc.deleted, 0);
    fixture_close(&f);
}

static void assert_doc(const struct store_doc *got, const struct store_doc *want)
{
    assert_slice(got->key, want->key);
    assert_slice(got->data, want->data);
    assert_slice(got->device_id, want->device_id);
    /* No receipts are receipts of no bytes. */
    assert_true(slice_equal(got->receipts, want->receipts));
    assert_true(got->version == want->version && got->seq == want->seq);
    assert_true(got->deleted == want->deleted && got->epoch == want->epoch);
    assert_true(got->modified_us == want->modified_us && got->created_us == want->created_us);
    assert_int_equal(got->history, want->history);
}

static void a_document_comes_back_whole(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct store_doc doc = {.key = SLICE("settings"),
                            .version = LIMIT_VERSION,
                            .seq = LIMIT_SEQ - 1,
                            .epoch = LIMIT_EPOCH - 1,
                            .data = SLICE("{\"a\":\"\xc3\xa4\xf0\x9f\x98\x80\"}"),
                            .device_id = SLICE("bq-1"),
                            .modified_us = NOW_US,
                            .created_us = INT64_C(1772719898000000),
                            .receipts = {"\0\1\xff\xfe", 4},
                            .history = 9};
    put(&f, &f.user, &doc);
    fixture_next_transaction(&f);
    struct store_doc got = get(&f, &f.user, "settings");
    assert_doc(&got, &doc);
    /* A put replaces all of the row: no device is NULL, none of the old receipts stay. */
    doc.device_id = SLICE_NONE;
    doc.receipts = SLICE_NONE;
    doc.deleted = true;
    doc.data = SLICE("{}");
    doc.version = 1;
    doc.created_us = 1;
    put(&f, &f.user, &doc);
    got = get(&f, &f.user, "settings");
    assert_doc(&got, &doc);
    doc.device_id = SLICE("");
    doc.receipts = SLICE("");
    put(&f, &f.user, &doc);
    got = get(&f, &f.user, "settings");
    assert_doc(&got, &doc);
    fixture_close(&f);
}

static void a_document_of_256_KiB_comes_back(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    size_t len = LIMITS_DEFAULT.document_bytes;
    char *text = arena_alloc(&f.arena, len);
    assert_non_null(text);
    for (size_t i = 0; i < len; i++) {
        text[i] = i == 0 || i == len - 1 ? '"' : (char)('a' + i % 23);
    }
    for (int i = 0; i < 3; i++) {
        text[len / 2] = (char)('0' + i);
        store_suite_write(f.store, &f.user, SLICE("big"), (struct slice){text, len}, false);
        fixture_next_transaction(&f);
        assert_slice(get(&f, &f.user, "big").data, (struct slice){text, len});
    }
    fixture_close(&f);
}

static void keys_are_bytes(void **state)
{
    (void)state;
    static const char *const keys[] = {"a",
                                       "A",
                                       "aa",
                                       "a a",
                                       "a ",
                                       "%",
                                       "a%",
                                       "'",
                                       "\"",
                                       "\xc3\xa4",
                                       "a\xcc\x88",
                                       "\xc3\x84",
                                       "\xf0\x9f\x98\x80",
                                       "\xef\xbf\xbf",
                                       "-",
                                       "0",
                                       "00",
                                       "1e3",
                                       "null"};
    size_t n = sizeof keys / sizeof keys[0];
    struct fixture f = open_fixture();
    for (size_t i = 0; i < n; i++) {
        char data[16];
        snprintf(data, sizeof data, "[%zu]", i);
        write_doc(&f, &f.user, keys[i], data);
    }
    fixture_next_transaction(&f);
    for (size_t i = 0; i < n; i++) {
        struct store_doc doc = get(&f, &f.user, keys[i]);
        assert_slice(doc.key, slice_of(keys[i]));
        char data[16];
        snprintf(data, sizeof data, "[%zu]", i);
        assert_slice(doc.data, slice_of(data));
        assert_int_equal(doc.version, 1);
    }
    assert_int_equal(list(&f, 0, 100, SIZE_MAX, true).n, n);
    fixture_close(&f);
}

static void the_longest_key_and_its_prefix_stay_apart(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    char key[LIMIT_KEY_BYTES + 1];
    memset(key, 'k', LIMIT_KEY_BYTES);
    key[LIMIT_KEY_BYTES] = '\0';
    write_doc(&f, &f.user, key, "\"long\"");
    write_doc(&f, &f.user, key + 1, "\"short\"");
    assert_slice(get(&f, &f.user, key).data, SLICE("\"long\""));
    assert_slice(get(&f, &f.user, key + 1).data, SLICE("\"short\""));
    fixture_close(&f);
}

static void users_do_not_see_each_other(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct slice packed;
    struct store_devices devices;
    struct store_device device = {SLICE("d"), NOW_US, 1, SLICE("{}"), NOW_US};
    write_doc(&f, &f.other, "settings", "{\"secret\":1}");
    assert_int_equal(f.store->upserts_put(f.store, &f.other, SLICE("settings"), SLICE("d"),
                                          SLICE("\"secret\""), NOW_US),
                     BQ_OK);
    assert_int_equal(f.store->device_put(f.store, &f.other, &device), BQ_OK);
    int64_t history = get(&f, &f.other, "settings").history;
    assert_int_equal(get(&f, &f.user, "settings").version, 0);
    assert_int_equal(list(&f, 0, 100, SIZE_MAX, true).n, 0);
    assert_int_equal(
        f.store->upserts_get(f.store, &f.arena, &f.user, SLICE("settings"), SLICE("d"), &packed),
        BQ_OK);
    assert_slice(packed, SLICE_NONE);
    assert_int_equal(f.store->devices(f.store, &f.arena, &f.user, &devices), BQ_OK);
    assert_int_equal(devices.n, 0);
    struct store_history entry;
    assert_int_equal(f.store->history_get(f.store, &f.arena, &f.user, history, &entry),
                     BQ_NOT_FOUND);
    fixture_close(&f);
}

/* The change feed. */

static void docs_come_by_seq_after_the_cursor(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    write_doc(&f, &f.user, "c", "1");
    write_doc(&f, &f.user, "a", "2");
    write_doc(&f, &f.other, "x", "3");
    write_doc(&f, &f.user, "b", "4");
    write_doc(&f, &f.user, "c", "5");
    struct store_docs docs = list(&f, 0, 100, SIZE_MAX, false);
    assert_int_equal(docs.n, 3);
    assert_false(docs.more);
    assert_slice(docs.items[0].key, SLICE("a"));
    assert_slice(docs.items[1].key, SLICE("b"));
    assert_slice(docs.items[2].key, SLICE("c"));
    assert_slice(docs.items[2].data, SLICE("5"));
    docs = list(&f, docs.items[1].seq, 100, SIZE_MAX, false);
    assert_int_equal(docs.n, 1);
    assert_slice(docs.items[0].key, SLICE("c"));
    assert_int_equal(list(&f, docs.items[0].seq, 100, SIZE_MAX, false).n, 0);
    fixture_close(&f);
}

static void pages_of_rows_cover_the_feed_once(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    int64_t cursor = 0;
    unsigned n = 0;
    for (int i = 0; i < 26; i++) {
        write_doc(&f, &f.user, (char[]){(char)('a' + i * 7 % 26), '\0'}, "{}");
    }
    for (struct store_docs docs = {.more = true}; docs.more; n += docs.n) {
        docs = list(&f, cursor, 4, SIZE_MAX, false);
        assert_in_range(docs.n, 1, 4);
        for (uint32_t i = 0; i < docs.n; i++) {
            assert_true(docs.items[i].seq > cursor);
            cursor = docs.items[i].seq;
        }
    }
    assert_int_equal(n, 26);
    struct store_docs all = list(&f, 0, 26, SIZE_MAX, false);
    assert_true(all.n == 26 && !all.more);
    fixture_close(&f);
}

static void a_page_ends_at_its_bytes_but_holds_one_row(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    write_doc(&f, &f.user, "a", "1234567890");
    write_doc(&f, &f.user, "b", "12345");
    write_doc(&f, &f.user, "c", "12345");
    struct store_docs docs = list(&f, 0, 100, 15, false);
    assert_true(docs.n == 2 && docs.more);
    docs = list(&f, 0, 100, 14, false);
    assert_true(docs.n == 1 && docs.more);
    docs = list(&f, 0, 100, 3, false);
    assert_true(docs.n == 1 && docs.more);
    docs = list(&f, docs.items[0].seq, 100, 10, false);
    assert_true(docs.n == 2 && !docs.more);
    fixture_close(&f);
}

static void tombstones_show_only_where_asked(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    write_doc(&f, &f.user, "a", "{}");
    write_doc(&f, &f.user, "b", "{}");
    write_tombstone(&f, &f.user, "a");
    struct store_docs docs = list(&f, 0, 100, SIZE_MAX, false);
    assert_int_equal(docs.n, 1);
    docs = list(&f, 0, 1, SIZE_MAX, false);
    assert_true(docs.n == 1 && !docs.more); /* what is hidden is no reason for more */
    docs = list(&f, 0, 100, SIZE_MAX, true);
    assert_int_equal(docs.n, 2);
    assert_true(docs.items[1].deleted && docs.items[1].version == 2);
    fixture_close(&f);
}

static void tombstone_drop_takes_the_oldest_and_its_history(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct store_history entry;
    int64_t seq = -1;
    assert_int_equal(f.store->tombstone_drop(f.store, &f.user, &seq), BQ_OK);
    assert_int_equal(seq, 0);
    write_doc(&f, &f.user, "alive", "{}");
    write_doc(&f, &f.user, "b", "{}");
    write_doc(&f, &f.user, "a", "{}");
    write_tombstone(&f, &f.user, "b");
    write_tombstone(&f, &f.user, "a");
    struct store_doc oldest = get(&f, &f.user, "b");
    fixture_next_transaction(&f);
    assert_int_equal(f.store->tombstone_drop(f.store, &f.user, &seq), BQ_OK);
    assert_int_equal(seq, oldest.seq);
    assert_int_equal(get(&f, &f.user, "b").version, 0);
    assert_int_equal(f.store->history_get(f.store, &f.arena, &f.user, oldest.history, &entry),
                     BQ_NOT_FOUND);
    assert_int_equal(f.store->tombstone_drop(f.store, &f.user, &seq), BQ_OK);
    assert_true(seq > oldest.seq);
    assert_int_equal(f.store->tombstone_drop(f.store, &f.user, &seq), BQ_OK);
    assert_int_equal(seq, 0);
    assert_int_equal(get(&f, &f.user, "alive").version, 1);
    fixture_close(&f);
}

/* History. */

/* Walks the chain; answers how many entries are there, and checks their order. */
static unsigned chain_length(struct fixture *f, const char *key)
{
    struct store_doc doc = get(f, &f->user, key);
    int64_t version = doc.version;
    unsigned n = 0;
    struct store_history entry;
    for (int64_t id = doc.history; id != 0; id = entry.older) {
        char text[64];
        int status = f->store->history_get(f->store, &f->arena, &f->user, id, &entry);
        if (status == BQ_NOT_FOUND) {
            break;
        }
        assert_int_equal(status, BQ_OK);
        assert_true(entry.id == id && entry.version == version);
        snprintf(text, sizeof text, "\"back to %d of %s\"", (int)version - 1, key);
        assert_slice(entry.entry, slice_of(text));
        version--;
        n++;
    }
    return n;
}

static void history_is_a_chain_per_document(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    for (int i = 0; i < 3; i++) {
        write_doc(&f, &f.user, "a", "{}");
        write_doc(&f, &f.user, "b", "{}");
        fixture_next_transaction(&f);
    }
    assert_int_equal(chain_length(&f, "a"), 3);
    assert_int_equal(chain_length(&f, "b"), 3);
    struct store_history entry;
    assert_int_equal(f.store->history_get(f.store, &f.arena, &f.user, 1000, &entry), BQ_NOT_FOUND);
    assert_int_equal(f.store->history_get(f.store, &f.arena, &f.user, 0, &entry), BQ_NOT_FOUND);
    fixture_close(&f);
}

static void history_keeps_the_last_changes_and_stays_bounded(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    write_doc(&f, &f.user, "quiet", "{}");
    for (int i = 0; i < 60; i++) {
        for (int k = 0; k < 1 + i % 3; k++) {
            write_doc(&f, &f.user, "busy", "{}");
            write_doc(&f, &f.user, "also", "{}");
        }
        fixture_next_transaction(&f);
        unsigned written = (unsigned)get(&f, &f.user, "busy").version;
        unsigned kept = written < STORE_SUITE_HISTORY ? written : STORE_SUITE_HISTORY;
        assert_in_range(chain_length(&f, "busy"), kept, 4 * STORE_SUITE_HISTORY);
        assert_in_range(chain_length(&f, "also"), kept, 4 * STORE_SUITE_HISTORY);
    }
    assert_int_equal(chain_length(&f, "quiet"), 1);
    fixture_close(&f);
}

/* Old clients, devices, dead letters, policies. */

static void what_is_remembered_of_old_clients_is_per_device_and_key(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    static const char *const places[][3] = {
        {"k", "d", "1"}, {"k", "", "2"}, {"kd", "", "3"}, {"", "kd", "4"}, {"k", "e", ""}};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(f.store->upserts_put(f.store, &f.user, slice_of(places[i][0]),
                                              slice_of(places[i][1]), SLICE("[0]"), NOW_US),
                         BQ_OK);
        assert_int_equal(f.store->upserts_put(f.store, &f.user, slice_of(places[i][0]),
                                              slice_of(places[i][1]), slice_of(places[i][2]),
                                              NOW_US),
                         BQ_OK);
    }
    fixture_next_transaction(&f);
    for (size_t i = 0; i < 5; i++) {
        struct slice packed;
        assert_int_equal(f.store->upserts_get(f.store, &f.arena, &f.user, slice_of(places[i][0]),
                                              slice_of(places[i][1]), &packed),
                         BQ_OK);
        assert_slice(packed, slice_of(places[i][2]));
    }
    /* Forgetting a key leaves empty texts there, and the other keys alone. */
    assert_int_equal(f.store->upserts_forget(f.store, &f.user, SLICE("k")), BQ_OK);
    assert_int_equal(f.store->upserts_forget(f.store, &f.user, SLICE("none")), BQ_OK);
    for (size_t i = 0; i < 5; i++) {
        struct slice packed;
        bool forgotten = strcmp(places[i][0], "k") == 0;
        assert_int_equal(f.store->upserts_get(f.store, &f.arena, &f.user, slice_of(places[i][0]),
                                              slice_of(places[i][1]), &packed),
                         BQ_OK);
        assert_non_null(packed.ptr);
        assert_slice(packed, forgotten ? SLICE("") : slice_of(places[i][2]));
    }
    fixture_close(&f);
}

static void a_dropped_tombstone_takes_what_is_remembered_of_its_key(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct slice packed;
    int64_t seq;
    store_suite_write(f.store, &f.user, SLICE("k"), SLICE("{}"), true);
    assert_int_equal(
        f.store->upserts_put(f.store, &f.user, SLICE("k"), SLICE("d"), SLICE("1"), NOW_US), BQ_OK);
    assert_int_equal(
        f.store->upserts_put(f.store, &f.user, SLICE("k2"), SLICE("d"), SLICE("1"), NOW_US), BQ_OK);
    assert_int_equal(f.store->tombstone_drop(f.store, &f.user, &seq), BQ_OK);
    assert_int_equal(
        f.store->upserts_get(f.store, &f.arena, &f.user, SLICE("k"), SLICE("d"), &packed), BQ_OK);
    assert_null(packed.ptr);
    assert_int_equal(
        f.store->upserts_get(f.store, &f.arena, &f.user, SLICE("k2"), SLICE("d"), &packed), BQ_OK);
    assert_slice(packed, SLICE("1"));
    fixture_close(&f);
}

static struct slice upserts_of(struct fixture *f, const char *key, unsigned device)
{
    char id[16];
    struct slice packed;
    snprintf(id, sizeof id, "d%u", device);
    assert_int_equal(
        f->store->upserts_get(f->store, &f->arena, &f->user, slice_of(key), slice_of(id), &packed),
        BQ_OK);
    return packed;
}

static void put_upserts(struct fixture *f, const char *key, unsigned device, int64_t at_us)
{
    char id[16];
    snprintf(id, sizeof id, "d%u", device);
    assert_int_equal(
        f->store->upserts_put(f->store, &f->user, slice_of(key), slice_of(id), SLICE("[1]"), at_us),
        BQ_OK);
}

static void a_keys_oldest_upserts_are_removed(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    bool evicted = true;
    put_upserts(&f, "other", 0, NOW_US - 1);
    for (unsigned i = 0; i < LIMIT_UPSERT_DEVICES; i++) {
        put_upserts(&f, "k", i, NOW_US + i);
    }
    assert_int_equal(f.store->upserts_trim(f.store, &f.user, SLICE("k"), &evicted), BQ_OK);
    assert_false(evicted);
    put_upserts(&f, "k", 0, NOW_US + 100);
    put_upserts(&f, "k", 99, NOW_US + 101);
    assert_int_equal(f.store->upserts_trim(f.store, &f.user, SLICE("k"), &evicted), BQ_OK);
    assert_true(evicted);
    assert_null(upserts_of(&f, "k", 1).ptr);
    assert_non_null(upserts_of(&f, "k", 0).ptr);
    assert_non_null(upserts_of(&f, "k", 2).ptr);
    assert_non_null(upserts_of(&f, "k", 99).ptr);
    assert_non_null(upserts_of(&f, "other", 0).ptr);
    fixture_close(&f);
}

static void a_users_oldest_upserts_are_emptied(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    char key[16];
    bool evicted = true;
    for (unsigned i = 0; i <= LIMIT_UPSERT_MEMORIES; i++) {
        snprintf(key, sizeof key, "k%u", i);
        put_upserts(&f, key, 0, NOW_US + i);
    }
    assert_int_equal(f.store->upserts_trim(f.store, &f.user, slice_of(key), &evicted), BQ_OK);
    assert_false(evicted);
    assert_slice(upserts_of(&f, "k0", 0), SLICE(""));
    assert_slice(upserts_of(&f, "k1", 0), SLICE("[1]"));
    assert_slice(upserts_of(&f, key, 0), SLICE("[1]"));
    fixture_close(&f);
}

static void a_users_devices_are_bounded(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct store_devices devices;
    bool found;
    for (unsigned i = 0; i <= LIMIT_DEVICES; i++) {
        char id[16];
        snprintf(id, sizeof id, "d%u", i);
        struct store_device device = {slice_of(id), NOW_US + i, 1, SLICE("{}"), NOW_US};
        struct store_v1_device v1 = {slice_of(id), SLICE("n"), SLICE("t"), NOW_US + i, NOW_US};
        assert_int_equal(f.store->device_put(f.store, &f.user, &device), BQ_OK);
        assert_int_equal(f.store->v1_device_put(f.store, &f.user, &v1), BQ_OK);
    }
    assert_int_equal(f.store->devices(f.store, &f.arena, &f.user, &devices), BQ_OK);
    assert_int_equal(devices.n, LIMIT_DEVICES);
    assert_slice(devices.items[LIMIT_DEVICES - 1].device_id, SLICE("d1"));
    assert_int_equal(f.store->v1_device_remove(f.store, &f.user, SLICE("d0"), &found), BQ_OK);
    assert_false(found);
    assert_int_equal(f.store->v1_device_remove(f.store, &f.user, SLICE("d1"), &found), BQ_OK);
    assert_true(found);
    fixture_close(&f);
}

static void devices_come_newest_first_and_keep_their_birthday(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct store_devices devices;
    struct store_device a = {SLICE("a"), NOW_US, 1, SLICE("{\"os\":1}"), 100};
    struct store_device b = {SLICE("b"), NOW_US + 500000, 2, SLICE_NONE, 200};
    struct store_device c = {SLICE(""), NOW_US + 500000, 3, SLICE("{}"), 300};
    assert_int_equal(f.store->devices(f.store, &f.arena, &f.user, &devices), BQ_OK);
    assert_int_equal(devices.n, 0);
    assert_int_equal(f.store->device_put(f.store, &f.user, &a), BQ_OK);
    assert_int_equal(f.store->device_put(f.store, &f.user, &b), BQ_OK);
    assert_int_equal(f.store->device_put(f.store, &f.user, &c), BQ_OK);
    assert_int_equal(f.store->devices(f.store, &f.arena, &f.user, &devices), BQ_OK);
    assert_int_equal(devices.n, 3);
    assert_slice(devices.items[0].device_id, SLICE("")); /* equal times: by id */
    assert_slice(devices.items[1].device_id, SLICE("b"));
    assert_slice(devices.items[1].info, SLICE_NONE);
    a.last_sync_us = NOW_US + 1000000;
    a.last_sync_version = 9;
    a.created_us = 999;
    assert_int_equal(f.store->device_put(f.store, &f.user, &a), BQ_OK);
    fixture_next_transaction(&f);
    assert_int_equal(f.store->devices(f.store, &f.arena, &f.user, &devices), BQ_OK);
    assert_int_equal(devices.n, 3);
    assert_slice(devices.items[0].device_id, SLICE("a"));
    assert_slice(devices.items[0].info, SLICE("{\"os\":1}"));
    assert_true(devices.items[0].last_sync_us == a.last_sync_us);
    assert_true(devices.items[0].last_sync_version == 9 && devices.items[0].created_us == 100);
    fixture_close(&f);
}

static void many_devices_come_back(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct store_devices devices;
    for (int i = 0; i < 100; i++) {
        char id[8];
        snprintf(id, sizeof id, "d%d", i);
        struct store_device device = {slice_of(id), NOW_US - i, i, SLICE("{}"), NOW_US};
        assert_int_equal(f.store->device_put(f.store, &f.user, &device), BQ_OK);
    }
    assert_int_equal(f.store->devices(f.store, &f.arena, &f.user, &devices), BQ_OK);
    assert_int_equal(devices.n, 100);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(devices.items[i].last_sync_version, i);
    }
    fixture_close(&f);
}

static void a_v1_device_is_removed_once(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct store_v1_device device = {SLICE("d"), SLICE("Phone"), SLICE_NONE, NOW_US, NOW_US};
    bool found = true;
    assert_int_equal(f.store->v1_device_remove(f.store, &f.user, SLICE("d"), &found), BQ_OK);
    assert_false(found);
    assert_int_equal(f.store->v1_device_put(f.store, &f.user, &device), BQ_OK);
    assert_int_equal(f.store->v1_device_put(f.store, &f.user, &device), BQ_OK);
    assert_int_equal(f.store->v1_device_remove(f.store, &f.other, SLICE("d"), &found), BQ_OK);
    assert_false(found);
    assert_int_equal(f.store->v1_device_remove(f.store, &f.user, SLICE("d"), &found), BQ_OK);
    assert_true(found);
    assert_int_equal(f.store->v1_device_remove(f.store, &f.user, SLICE("d"), &found), BQ_OK);
    assert_false(found);
    fixture_close(&f);
}

static void every_policy_set_raises_the_version(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct store_policies policies;
    assert_int_equal(f.store->policies(f.store, &f.arena, &policies), BQ_OK);
    int64_t version = policies.version;
    assert_true(policies.n == 0 && version == 0); /* as shipped: what a new client has already */
    assert_int_equal(f.store->policy_put(f.store, SLICE("z*"), SLICE("\"max\"")), BQ_OK);
    assert_int_equal(f.store->policy_put(f.store, SLICE("a"), SLICE("\"sum\"")), BQ_OK);
    assert_int_equal(f.store->policy_put(f.store, SLICE("z*"), SLICE("\"min\"")), BQ_OK);
    fixture_next_transaction(&f);
    assert_int_equal(f.store->policies(f.store, &f.arena, &policies), BQ_OK);
    assert_true(policies.n == 2 && policies.version == version + 3);
    assert_slice(policies.items[0].pattern, SLICE("a"));
    assert_slice(policies.items[1].pattern, SLICE("z*"));
    assert_slice(policies.items[1].policy, SLICE("\"min\""));
    assert_int_equal(f.store->policy_put(f.store, SLICE("a"), SLICE("")), BQ_OK);
    assert_int_equal(f.store->policies(f.store, &f.arena, &policies), BQ_OK);
    assert_true(policies.n == 1 && policies.version == version + 4);
    f.store->rollback(f.store);
    assert_int_equal(f.store->begin(f.store), BQ_OK);
    assert_int_equal(f.store->policies(f.store, &f.arena, &policies), BQ_OK);
    assert_true(policies.n == 2 && policies.version == version + 3);
    fixture_close(&f);
}

static void user_clear_leaves_the_user_row_and_the_others(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct rng rng;
    struct buf others = BUF_INIT;
    struct store_history entry;
    rng_init(&rng, 7);
    for (int i = 0; i < 400; i++) {
        store_suite_random_write(f.store, &rng);
    }
    for (int i = 0; i < 10; i++) {
        write_doc(&f, &f.user, "k0", "{}");
    }
    int64_t history = get(&f, &f.user, "k0").history;
    fixture_next_transaction(&f);
    assert_int_equal(f.store->user_clear(f.store, &f.user), BQ_OK);
    fixture_next_transaction(&f);
    store_suite_dump(f.store, true, &others);
    const char *ours = strstr(others.ptr, f.user.text);
    assert_non_null(ours);
    assert_non_null(strstr(ours, "seq"));
    assert_int_equal(list(&f, 0, 100, SIZE_MAX, true).n, 0);
    assert_int_equal(f.store->history_get(f.store, &f.arena, &f.user, history, &entry),
                     BQ_NOT_FOUND);
    struct store_devices devices;
    assert_int_equal(f.store->devices(f.store, &f.arena, &f.user, &devices), BQ_OK);
    assert_int_equal(devices.n, 0);
    struct slice packed;
    assert_int_equal(
        f.store->upserts_get(f.store, &f.arena, &f.user, SLICE("k0"), SLICE("d0"), &packed), BQ_OK);
    assert_slice(packed, SLICE_NONE);
    assert_non_null(strstr(others.ptr, "doc k")); /* the others' are there */
    assert_non_null(strstr(others.ptr, "device d"));
    buf_release(&others);
    fixture_close(&f);
}

#define LETTER(number) "00000000-0000-4000-8000-000000000" number

static struct store_dead letter_of(const char *id, const char *device, const char *data,
                                   int64_t at_us)
{
    return (struct store_dead){slice_of(id),   slice_of(device),         SLICE("settings"),
                               slice_of(data), 3, SLICE("too_large: no"), at_us};
}

static void dead_letters_come_newest_first_and_are_their_users_alone(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct store_dead_letters letters;
    const struct store_dead of_a[] = {letter_of(LETTER("001"), "a", "{\"n\":1}", NOW_US),
                                      letter_of(LETTER("002"), "a", "{\"n\":2}", NOW_US + 2)};
    const struct store_dead of_b = letter_of(LETTER("003"), "b", "{\"n\":3}", NOW_US + 1);
    const struct store_dead of_other = letter_of(LETTER("004"), "a", "{\"n\":4}", NOW_US);
    assert_int_equal(f.store->dead_replace(f.store, &f.user, SLICE("a"), of_a, 2), BQ_OK);
    assert_int_equal(f.store->dead_replace(f.store, &f.user, SLICE("b"), &of_b, 1), BQ_OK);
    assert_int_equal(f.store->dead_replace(f.store, &f.other, SLICE("a"), &of_other, 1), BQ_OK);
    fixture_next_transaction(&f);
    assert_int_equal(f.store->dead_letters(f.store, &f.arena, &f.user, &letters), BQ_OK);
    assert_int_equal(letters.n, 3);
    assert_slice(letters.items[0].id, SLICE(LETTER("002")));
    assert_slice(letters.items[1].id, SLICE(LETTER("003")));
    assert_slice(letters.items[2].id, SLICE(LETTER("001")));
    assert_slice(letters.items[1].device_id, SLICE("b"));
    assert_slice(letters.items[1].key, SLICE("settings"));
    assert_slice(letters.items[1].data, SLICE("{\"n\":3}"));
    assert_slice(letters.items[1].error, SLICE("too_large: no"));
    assert_true(letters.items[1].version == 3 && letters.items[1].at_us == NOW_US + 1);
    assert_int_equal(f.store->dead_replace(f.store, &f.user, SLICE("a"), NULL, 0), BQ_OK);
    assert_int_equal(f.store->dead_letters(f.store, &f.arena, &f.user, &letters), BQ_OK);
    assert_int_equal(letters.n, 1);
    fixture_close(&f);
}

static void the_newest_dead_letters_of_all_devices_stay(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct store_dead_letters letters;
    for (unsigned i = 0; i < LIMIT_DEAD_LETTERS + 5; i++) {
        char name[40];
        snprintf(name, sizeof name, LETTER("%03u"), i);
        const struct store_dead letter = letter_of(name, name, "{}", NOW_US + i);
        assert_int_equal(f.store->dead_replace(f.store, &f.user, slice_of(name), &letter, 1),
                         BQ_OK);
    }
    fixture_next_transaction(&f);
    assert_int_equal(f.store->dead_letters(f.store, &f.arena, &f.user, &letters), BQ_OK);
    assert_int_equal(letters.n, LIMIT_DEAD_LETTERS);
    assert_slice(letters.items[0].id, SLICE(LETTER("104")));
    assert_slice(letters.items[LIMIT_DEAD_LETTERS - 1].id, SLICE(LETTER("005")));
    fixture_close(&f);
}

/* Transactions. */

static void rollback_undoes_every_verb(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct buf before = BUF_INIT;
    struct buf after = BUF_INIT;
    uint64_t seed = 41;
    for (unsigned round = 0; round < 40; round++) {
        struct rng rng;
        rng_init(&rng, seed + round);
        for (int i = 0; i < 20; i++) {
            store_suite_random_write(f.store, &rng);
        }
        fixture_next_transaction(&f);
        buf_clear(&before);
        store_suite_dump(f.store, true, &before);
        for (int i = 0; i < 40; i++) {
            store_suite_random_write(f.store, &rng);
        }
        f.store->rollback(f.store);
        f.store->rollback(f.store); /* a second one does nothing */
        assert_int_equal(f.store->begin(f.store), BQ_OK);
        buf_clear(&after);
        store_suite_dump(f.store, true, &after);
        assert_string_equal(after.ptr, before.ptr);
    }
    buf_release(&before);
    buf_release(&after);
    fixture_close(&f);
}

static void a_reader_sees_what_is_committed_and_nothing_else(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct store *reader;
    struct store_doc doc;
    write_doc(&f, &f.user, "a", "1");
    fixture_next_transaction(&f);
    assert_int_equal(f.store->reader(f.store, &reader), BQ_OK);
    write_doc(&f, &f.user, "a", "2");
    int status = reader->begin(reader);
    if (status == BQ_OK) {
        assert_int_equal(reader->doc_get(reader, &f.arena, &f.user, SLICE("a"), &doc), BQ_OK);
        assert_slice(doc.data, SLICE("1"));
        fixture_next_transaction(&f);
        /* A read transaction stays where it began. */
        assert_int_equal(reader->doc_get(reader, &f.arena, &f.user, SLICE("a"), &doc), BQ_OK);
        assert_slice(doc.data, SLICE("1"));
        assert_int_equal(reader->commit(reader), BQ_OK);
    } else {
        assert_int_equal(status, BQ_BUSY);
    }
    assert_int_equal(f.store->commit(f.store), BQ_OK);
    assert_int_equal(reader->begin(reader), BQ_OK);
    assert_int_equal(reader->doc_get(reader, &f.arena, &f.user, SLICE("a"), &doc), BQ_OK);
    assert_slice(doc.data, SLICE("2"));
    reader->rollback(reader);
    assert_true(slice_equal(reader->epoch(reader), f.store->epoch(f.store)));
    uint64_t ours[2];
    uint64_t readers[2];
    f.store->hash_key(f.store, ours);
    reader->hash_key(reader, readers);
    assert_memory_equal(ours, readers, sizeof ours);
    reader->close(reader);
    fixture_close(&f);
}

static void the_epoch_is_there(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct slice epoch = f.store->epoch(f.store);
    assert_in_range(epoch.len, 1, 48);
    fixture_close(&f);
}

/* The epoch that was set; a store may add what it knows behind a '-'. */
static void assert_epoch(struct store *store, struct slice want)
{
    struct slice got = store->epoch(store);
    assert_true(got.len >= want.len && memcmp(got.ptr, want.ptr, want.len) == 0);
    assert_true(got.len == want.len || got.ptr[want.len] == '-');
}

static void a_new_epoch_is_there_for_all_readers_that_come_after(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct store *reader;
    assert_int_equal(f.store->commit(f.store), BQ_OK);
    assert_int_equal(f.store->epoch_set(f.store, SLICE("0123456789abcdef0123456789abcdef")), BQ_OK);
    assert_epoch(f.store, SLICE("0123456789abcdef0123456789abcdef"));
    assert_int_equal(f.store->epoch_set(f.store, SLICE("e2")), BQ_OK);
    assert_epoch(f.store, SLICE("e2"));
    assert_int_equal(f.store->reader(f.store, &reader), BQ_OK);
    assert_epoch(reader, SLICE("e2"));
    reader->close(reader);
    assert_int_equal(f.store->begin(f.store), BQ_OK);
    fixture_close(&f);
}

int store_suite_run(const struct store_suite_factory *made_by)
{
    static const struct CMUnitTest cases[] = {
        cmocka_unit_test(an_absent_user_is_zeros),
        cmocka_unit_test(a_user_row_comes_back_whole),
        cmocka_unit_test(an_absent_document_has_version_0_and_its_key),
        cmocka_unit_test(a_document_comes_back_whole),
        cmocka_unit_test(a_document_of_256_KiB_comes_back),
        cmocka_unit_test(keys_are_bytes),
        cmocka_unit_test(the_longest_key_and_its_prefix_stay_apart),
        cmocka_unit_test(users_do_not_see_each_other),
        cmocka_unit_test(docs_come_by_seq_after_the_cursor),
        cmocka_unit_test(pages_of_rows_cover_the_feed_once),
        cmocka_unit_test(a_page_ends_at_its_bytes_but_holds_one_row),
        cmocka_unit_test(tombstones_show_only_where_asked),
        cmocka_unit_test(tombstone_drop_takes_the_oldest_and_its_history),
        cmocka_unit_test(history_is_a_chain_per_document),
        cmocka_unit_test(history_keeps_the_last_changes_and_stays_bounded),
        cmocka_unit_test(what_is_remembered_of_old_clients_is_per_device_and_key),
        cmocka_unit_test(a_dropped_tombstone_takes_what_is_remembered_of_its_key),
        cmocka_unit_test(a_keys_oldest_upserts_are_removed),
        cmocka_unit_test(a_users_oldest_upserts_are_emptied),
        cmocka_unit_test(a_users_devices_are_bounded),
        cmocka_unit_test(devices_come_newest_first_and_keep_their_birthday),
        cmocka_unit_test(many_devices_come_back),
        cmocka_unit_test(a_v1_device_is_removed_once),
        cmocka_unit_test(every_policy_set_raises_the_version),
        cmocka_unit_test(user_clear_leaves_the_user_row_and_the_others),
        cmocka_unit_test(dead_letters_come_newest_first_and_are_their_users_alone),
        cmocka_unit_test(the_newest_dead_letters_of_all_devices_stay),
        cmocka_unit_test(rollback_undoes_every_verb),
        cmocka_unit_test(a_reader_sees_what_is_committed_and_nothing_else),
        cmocka_unit_test(the_epoch_is_there),
        cmocka_unit_test(a_new_epoch_is_there_for_all_readers_that_come_after),
    };
    factory = made_by;
    return cmocka_run_group_tests_name(made_by->name, cases, NULL, NULL);
}
