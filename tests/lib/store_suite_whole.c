/* store_suite_whole.c - what is asked of every store by those who move a whole one. */
#include "store_suite.h"

#include "store_suite_fixture.h"

#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#define NOW_US STORE_SUITE_NOW_US

static const struct store_suite_factory *factory;

static struct fixture open_fixture(void)
{
    return fixture_open(factory);
}

static void users_come_by_id_after_the_last_one(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct store_users users;
    assert_int_equal(f.store->users(f.store, &f.arena, NULL, 10, &users), BQ_OK);
    assert_int_equal(users.n, 0);
    for (unsigned i = STORE_SUITE_USERS; i > 0; i--) {
        struct store_user user = {.id = store_suite_user(i - 1),
                                  .erased = i == 1,
                                  .seq = i,
                                  .generation = 2,
                                  .clock_us = NOW_US,
                                  .n_keys = 3,
                                  .n_bytes = 4,
                                  .n_tombstones = 5,
                                  .purged_seq = 6};
        assert_int_equal(f.store->user_put(f.store, &user), BQ_OK);
    }
    assert_int_equal(f.store->users(f.store, &f.arena, NULL, 2, &users), BQ_OK);
    assert_int_equal(users.n, 2);
    struct store_user first = users.items[0];
    assert_true(memcmp(first.id.text, users.items[1].id.text, UUID_TEXT) < 0);
    struct uuid last = users.items[1].id;
    assert_int_equal(f.store->users(f.store, &f.arena, &last, 2, &users), BQ_OK);
    assert_int_equal(users.n, STORE_SUITE_USERS - 2);
    assert_true(memcmp(last.text, users.items[0].id.text, UUID_TEXT) < 0);
    struct store_user alone;
    assert_int_equal(f.store->user_get(f.store, &first.id, &alone), BQ_OK);
    assert_true(first.exists && first.erased == alone.erased && first.seq == alone.seq &&
                first.generation == alone.generation && first.clock_us == alone.clock_us &&
                first.n_keys == alone.n_keys && first.n_bytes == alone.n_bytes &&
                first.n_tombstones == alone.n_tombstones && first.purged_seq == alone.purged_seq);
    fixture_close(&f);
}

static void all_memories_of_old_clients_come_by_key_and_device(void **state)
{
    (void)state;
    static const char *const keys[] = {"b", "aa", "b", "a"};
    static const char *const devices[] = {"x", "", "w", "z"};
    static const char *const texts[] = {"[0]", "", "[2]", "[3]"};
    static const unsigned order[] = {3, 1, 2, 0};
    struct fixture f = open_fixture();
    struct store_upserts all;
    assert_int_equal(f.store->upserts(f.store, &f.arena, &f.user, &all), BQ_OK);
    assert_int_equal(all.n, 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(f.store->upserts_put(f.store, &f.user, slice_of(keys[i]),
                                              slice_of(devices[i]), slice_of(texts[i]),
                                              NOW_US + i),
                         BQ_OK);
    }
    assert_int_equal(f.store->upserts(f.store, &f.arena, &f.other, &all), BQ_OK);
    assert_int_equal(all.n, 0);
    assert_int_equal(f.store->upserts(f.store, &f.arena, &f.user, &all), BQ_OK);
    assert_int_equal(all.n, 4);
    for (int i = 0; i < 4; i++) {
        unsigned want = order[i];
        assert_slice(all.items[i].key, slice_of(keys[want]));
        assert_slice(all.items[i].device_id, slice_of(devices[want]));
        assert_slice(all.items[i].packed, slice_of(texts[want]));
        assert_int_equal(all.items[i].updated_us, NOW_US + want);
    }
    fixture_close(&f);
}

static void v1_devices_come_back_whole(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct store_v1_devices all;
    struct store_v1_device old = {SLICE("d1"), SLICE("Phone"), SLICE_NONE, NOW_US, NOW_US - 5};
    struct store_v1_device new = {SLICE("d2"), SLICE_NONE, SLICE("ios"), NOW_US + 1, NOW_US};
    assert_int_equal(f.store->v1_device_put(f.store, &f.user, &old), BQ_OK);
    assert_int_equal(f.store->v1_device_put(f.store, &f.user, &new), BQ_OK);
    assert_int_equal(f.store->v1_devices(f.store, &f.arena, &f.other, &all), BQ_OK);
    assert_int_equal(all.n, 0);
    assert_int_equal(f.store->v1_devices(f.store, &f.arena, &f.user, &all), BQ_OK);
    assert_int_equal(all.n, 2);
    assert_slice(all.items[0].device_id, SLICE("d2"));
    assert_slice(all.items[0].name, SLICE_NONE);
    assert_slice(all.items[0].type, SLICE("ios"));
    assert_slice(all.items[1].name, SLICE("Phone"));
    assert_slice(all.items[1].type, SLICE_NONE);
    assert_int_equal(all.items[1].last_sync_us, NOW_US);
    assert_int_equal(all.items[1].created_us, NOW_US - 5);
    fixture_close(&f);
}

static void notes_are_kept_replaced_and_removed(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct slice note;
    assert_int_equal(f.store->note_get(f.store, &f.arena, SLICE("epoch"), &note), BQ_OK);
    assert_slice(note, SLICE_NONE); /* a note is no row of ours by another name */
    assert_int_equal(f.store->note_put(f.store, SLICE("epoch"), SLICE("1")), BQ_OK);
    assert_int_equal(f.store->note_put(f.store, SLICE("epoch"), SLICE("22")), BQ_OK);
    fixture_next_transaction(&f);
    assert_int_equal(f.store->note_get(f.store, &f.arena, SLICE("epoch"), &note), BQ_OK);
    assert_slice(note, SLICE("22"));
    assert_int_equal(f.store->note_put(f.store, SLICE("epoch"), SLICE_NONE), BQ_OK);
    assert_int_equal(f.store->note_get(f.store, &f.arena, SLICE("epoch"), &note), BQ_OK);
    assert_slice(note, SLICE_NONE);
    f.store->rollback(f.store);
    assert_int_equal(f.store->begin(f.store), BQ_OK);
    assert_int_equal(f.store->note_get(f.store, &f.arena, SLICE("epoch"), &note), BQ_OK);
    assert_slice(note, SLICE("22"));
    fixture_close(&f);
}

static void an_identity_is_set_at_once(void **state)
{
    (void)state;
    struct fixture f = open_fixture();
    struct store_policies policies;
    const uint64_t key[2] = {0x0123456789abcdef, 0xfedcba9876543210};
    uint64_t got[2];
    f.store->rollback(f.store);
    assert_int_equal(f.store->identity_set(f.store, key, 41), BQ_OK);
    f.store->hash_key(f.store, got);
    assert_memory_equal(key, got, sizeof key);
    struct store *reader;
    assert_int_equal(f.store->reader(f.store, &reader), BQ_OK);
    reader->hash_key(reader, got);
    assert_memory_equal(key, got, sizeof key);
    reader->close(reader);
    assert_int_equal(f.store->begin(f.store), BQ_OK);
    assert_int_equal(f.store->policies(f.store, &f.arena, &policies), BQ_OK);
    assert_int_equal(policies.version, 41);
    fixture_close(&f);
}

int store_suite_whole_run(const struct store_suite_factory *made_by)
{
    static const struct CMUnitTest cases[] = {
        cmocka_unit_test(users_come_by_id_after_the_last_one),
        cmocka_unit_test(all_memories_of_old_clients_come_by_key_and_device),
        cmocka_unit_test(v1_devices_come_back_whole),
        cmocka_unit_test(notes_are_kept_replaced_and_removed),
        cmocka_unit_test(an_identity_is_set_at_once),
    };
    factory = made_by;
    return cmocka_run_group_tests_name(made_by->name, cases, NULL, NULL);
}
