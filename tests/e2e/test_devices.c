/* test_devices.c - eight devices of three users, 2,000 random edits and random offline spells, over
 * real HTTP against a real server on a real file: at the end all devices of a user hold equal
 * documents, every counter is exact, and nobody holds anything of another user.
 *
 * What must come out is kept beside, as an app's author would count: sums are added, maxima taken,
 * what a single device owns stays as that device left it. */
#include "bqsync.h"

#include "base/rng.h"
#include "json/json.h"
#include "server_process.h"
#include "token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define DEVICES 8
#define USERS 3
#define EDITS 2000
#define LESSONS 12
#define THEMES 10
#define PATIENCE_MS 60000

struct device {
    struct bq *bq;
    unsigned user;
    bool online;
    char name[32];
    int64_t own; /* of a field that this device alone writes */
};

/* What an author expects of a user's documents. */
struct truth {
    int64_t incorrect;      /* in hundredths */
    int64_t stars[LESSONS]; /* -1: not played */
    int64_t unlocked;
    bool themes[THEMES];
};

struct world {
    struct server_process server;
    struct rng rng;
    struct device devices[DEVICES];
    struct truth truths[USERS];
    char *tokens[USERS];
    unsigned n_edits;
    unsigned n_offline;
    unsigned n_restarts;
};

static uint64_t below(struct world *w, uint64_t n)
{
    return rng_below(&w->rng, n);
}

static void open_device(struct world *w, struct device *device)
{
    char path[256], file[64], error[BQ_ERROR_TEXT] = "", user[37];
    struct bq_config config = BQ_CONFIG_INIT;
    (void)snprintf(file, sizeof file, "%s.bqsync", device->name);
    config.path = scratch_path(&w->server.scratch, file, path, sizeof path);
    config.url = w->server.url;
    config.debounce_ms = 5;
    config.poll_ms = 50;
    config.error_text = error;
    if (bq_open(&config, &device->bq) != BQ_OK) {
        fail_msg("%s", error);
    }
    bq_user(device->bq, user);
    int status = user[0] == '\0'
                     ? bq_sign_in(device->bq, w->tokens[device->user], BQ_GUEST_MERGE, NULL)
                     : bq_set_token(device->bq, w->tokens[device->user]);
    assert_int_equal(status, BQ_OK);
    assert_int_equal(bq_set_online(device->bq, device->online ? 1 : 0), BQ_OK);
}

static void start_world(struct world *w, uint64_t seed)
{
    rng_init(&w->rng, seed);
    server_process_init(&w->server);
    for (unsigned u = 0; u < USERS; u++) {
        char user[40];
        (void)snprintf(user, sizeof user, "%08u-0000-4000-8000-000000000000", u + 1);
        w->tokens[u] = token_user(user);
        for (int i = 0; i < LESSONS; i++) {
            w->truths[u].stars[i] = -1;
        }
    }
    for (unsigned d = 0; d < DEVICES; d++) {
        struct device *device = &w->devices[d];
        device->user = d % USERS;
        device->online = true;
        (void)snprintf(device->name, sizeof device->name, "device_%u", d);
        open_device(w, device);
    }
}

static void end_world(struct world *w)
{
    for (unsigned d = 0; d < DEVICES; d++) {
        bq_close(w->devices[d].bq);
    }
    for (unsigned u = 0; u < USERS; u++) {
        free(w->tokens[u]);
    }
    server_process_release(&w->server);
}

/* ---- Edits ----------------------------------------------------------------------------------- */

static void edit_counter(struct world *w, struct device *device)
{
    char amount[32];
    int64_t hundredths = (int64_t)below(w, 1000) - 300;
    (void)snprintf(amount, sizeof amount, "%s%lld.%02lld", hundredths < 0 ? "-" : "",
                   llabs(hundredths) / 100, llabs(hundredths) % 100);
    assert_int_equal(bq_increment(device->bq, "game_stats", "incorrectAnswers", amount, 0), BQ_OK);
    w->truths[device->user].incorrect += hundredths;
}

static void edit_stars(struct world *w, struct device *device)
{
    struct truth *truth = &w->truths[device->user];
    char lesson[16];
    uint64_t i = below(w, LESSONS);
    int64_t stars = (int64_t)below(w, 4);
    (void)snprintf(lesson, sizeof lesson, "lesson_%02u", (unsigned)i);
    assert_int_equal(bq_lesson_progress_set_stars(device->bq, lesson, stars), BQ_OK);
    truth->stars[i] = stars > truth->stars[i] ? stars : truth->stars[i];
    if (below(w, 4) == 0) {
        int64_t count = (int64_t)below(w, LESSONS);
        assert_int_equal(bq_lesson_progress_unlock(device->bq, count), BQ_OK);
        truth->unlocked = count > truth->unlocked ? count : truth->unlocked;
    }
}

static void edit_settings(struct world *w, struct device *device)
{
    char theme[16];
    uint64_t i = below(w, THEMES);
    if (below(w, 2) == 0) {
        (void)snprintf(theme, sizeof theme, "theme_%u", (unsigned)i);
        assert_int_equal(bq_settings_unlock_theme(device->bq, theme), BQ_OK);
        w->truths[device->user].themes[i] = true;
    } else {
        /* Who wins is the server's order; that all agree is the promise. */
        assert_int_equal(bq_settings_set_bool(device->bq, i % 2 == 0 ? "mute" : "colorfulMode",
                                              (int)below(w, 2)),
                         BQ_OK);
    }
}

/* A field that nobody else writes: what this device left there last is what everybody has. */
static void edit_own(struct world *w, struct device *device)
{
    char patch[128];
    device->own = (int64_t)below(w, 1000000);
    (void)snprintf(patch, sizeof patch, "{\"%s\":%lld}", device->name, (long long)device->own);
    assert_int_equal(bq_patch(device->bq, "notes", patch, SIZE_MAX, 0), BQ_OK);
}

static void edit_whole(struct world *w, struct device *device)
{
    char json[64];
    if (below(w, 4) == 0) {
        int status = bq_remove(device->bq, "draft", 0);
        assert_true(status == BQ_OK || status == BQ_NOT_FOUND);
        return;
    }
    (void)snprintf(json, sizeof json, "{\"text\":\"%llu\"}", (unsigned long long)below(w, 1000000));
    assert_int_equal(
        bq_put(device->bq, "draft", json, SIZE_MAX, below(w, 3) == 0 ? BQ_PRIORITY_HIGH : 0),
        BQ_OK);
}

static void one_edit(struct world *w)
{
    struct device *device = &w->devices[below(w, DEVICES)];
    uint64_t what = below(w, 10);
    if (what < 4) {
        edit_counter(w, device);
    } else if (what < 6) {
        edit_stars(w, device);
    } else if (what < 8) {
        edit_settings(w, device);
    } else if (what < 9) {
        edit_own(w, device);
    } else {
        edit_whole(w, device);
    }
    w->n_edits++;
}

/* Now and then a device loses its network, finds it, or is started again. */
static void one_mishap(struct world *w)
{
    struct device *device = &w->devices[below(w, DEVICES)];
    if (below(w, 25) == 0) {
        device->online = !device->online;
        w->n_offline += device->online ? 0 : 1;
        assert_int_equal(bq_set_online(device->bq, device->online ? 1 : 0), BQ_OK);
    }
    if (below(w, 100) == 0) {
        bq_close(device->bq);
        open_device(w, device);
        w->n_restarts++;
    }
    if (below(w, 40) == 0 && device->online) {
        assert_int_equal(bq_flush(device->bq, PATIENCE_MS), BQ_OK);
    }
}

/* ---- The end --------------------------------------------------------------------------------- */

static void settle(struct world *w)
{
    for (unsigned d = 0; d < DEVICES; d++) {
        w->devices[d].online = true;
        assert_int_equal(bq_set_online(w->devices[d].bq, 1), BQ_OK);
    }
    /* After the first round all edits are on the server, after the second all devices have
     * heard. */
    for (unsigned d = 0; d < DEVICES; d++) {
        assert_int_equal(bq_flush(w->devices[d].bq, PATIENCE_MS), BQ_OK);
    }
    for (unsigned d = 0; d < DEVICES; d++) {
        assert_int_equal(bq_pull(w->devices[d].bq, PATIENCE_MS), BQ_OK);
    }
}

static struct json_value read_json(struct arena *arena, const char *text)
{
    struct json_value value;
    struct slice copy = arena_copy(arena, slice_of(text));
    assert_int_equal(json_parse(arena, copy, 80, &value, NULL), BQ_OK);
    return value;
}

static void expect_equal(struct device *a, struct device *b)
{
    struct bq_documents of_a = {.size = sizeof of_a};
    struct bq_documents of_b = {.size = sizeof of_b};
    struct arena arena;
    arena_init(&arena);
    assert_int_equal(bq_list(a->bq, &of_a), BQ_OK);
    assert_int_equal(bq_list(b->bq, &of_b), BQ_OK);
    assert_int_equal(of_a.n, of_b.n);
    for (size_t i = 0; i < of_a.n; i++) {
        struct json_value x = read_json(&arena, of_a.items[i].json);
        struct json_value y = read_json(&arena, of_b.items[i].json);
        assert_string_equal(of_a.items[i].key, of_b.items[i].key);
        if (!json_equal(&arena, &x, &y)) {
            fail_msg("%s has %s, %s has %s", a->name, of_a.items[i].json, b->name,
                     of_b.items[i].json);
        }
        assert_int_equal(of_a.items[i].version, of_b.items[i].version);
        assert_int_equal(of_a.items[i].pending, 0);
    }
    bq_documents_release(&of_a);
    bq_documents_release(&of_b);
    arena_release(&arena);
}

/* The counter with its two decimals, as a number of hundredths. */
static int64_t hundredths_of(const struct json_value *value)
{
    char text[48];
    long long whole = 0;
    long long part = 0;
    int n_digits = 0;
    if (value == NULL) {
        return 0;
    }
    (void)snprintf(text, sizeof text, "%.*s", SLICE_FMT(json_text(value)));
    const char *point = strchr(text, '.');
    assert_true(sscanf(text, "%lld", &whole) == 1);
    if (point != NULL) {
        assert_true(sscanf(point + 1, "%2lld%n", &part, &n_digits) == 1);
        part *= n_digits == 1 ? 10 : 1;
    }
    return text[0] == '-' ? whole * 100 - part : whole * 100 + part;
}

static void check_counter(struct world *w, struct device *device, struct arena *arena)
{
    struct bq_document document = {.size = sizeof document};
    assert_int_equal(bq_get(device->bq, "game_stats", &document), BQ_OK);
    struct json_value stats = read_json(arena, document.json);
    assert_int_equal(hundredths_of(json_get(&stats, "incorrectAnswers")),
                     w->truths[device->user].incorrect);
    bq_document_release(&document);
}

static void check_lessons(struct world *w, struct device *device)
{
    const struct truth *truth = &w->truths[device->user];
    int64_t got;
    for (unsigned i = 0; i < LESSONS; i++) {
        char lesson[16];
        (void)snprintf(lesson, sizeof lesson, "lesson_%02u", i);
        assert_int_equal(bq_lesson_progress_stars(device->bq, lesson, &got), BQ_OK);
        assert_int_equal(got, truth->stars[i] < 0 ? 0 : truth->stars[i]);
    }
    assert_int_equal(bq_lesson_progress_read(device->bq, &got), BQ_OK);
    assert_int_equal(got, truth->unlocked);
}

static void check_themes(struct world *w, struct device *device, struct arena *arena)
{
    struct bq_document document = {.size = sizeof document};
    unsigned n = 0;
    unsigned n_want = 0;
    for (unsigned i = 0; i < THEMES; i++) {
        n_want += w->truths[device->user].themes[i] ? 1 : 0;
    }
    if (bq_get(device->bq, "settings", &document) == BQ_OK) {
        struct json_value settings = read_json(arena, document.json);
        const struct json_value *list = json_get(&settings, "unlockedThemes");
        n = list == NULL ? 0 : list->count;
        bq_document_release(&document);
    }
    assert_int_equal(n, n_want);
}

/* What each device owns is there; no device of another user stands beside it. */
static void check_notes(struct world *w, struct device *device, struct arena *arena)
{
    struct bq_document document = {.size = sizeof document};
    uint32_t n = 0;
    struct json_value notes = json_absent();
    if (bq_get(device->bq, "notes", &document) == BQ_OK) {
        notes = read_json(arena, document.json);
        bq_document_release(&document);
    }
    for (unsigned d = 0; d < DEVICES; d++) {
        const struct device *other = &w->devices[d];
        const struct json_value *value = json_get(&notes, other->name);
        int64_t got = -1;
        if (other->user != device->user) {
            assert_null(value);
        } else if (other->own >= 0) {
            assert_true(value != NULL && json_to_int(value, &got));
            assert_int_equal(got, other->own);
            n++;
        }
    }
    assert_int_equal(notes.count, n);
}

static void check(struct world *w)
{
    struct arena arena;
    arena_init(&arena);
    for (unsigned d = 0; d < DEVICES; d++) {
        struct device *device = &w->devices[d];
        expect_equal(&w->devices[device->user], device);
        check_counter(w, device, &arena);
        check_lessons(w, device);
        check_themes(w, device, &arena);
        check_notes(w, device, &arena);
    }
    arena_release(&arena);
}

static void eight_devices_of_three_users_end_equal_and_exact(void **state)
{
    static struct world w;
    const char *given = getenv("BQ_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    (void)state;
    printf("devices: seed %llu (BQ_SEED)\n", (unsigned long long)seed);
    start_world(&w, seed);
    for (unsigned d = 0; d < DEVICES; d++) {
        w.devices[d].own = -1;
    }
    while (w.n_edits < EDITS) {
        one_edit(&w);
        one_mishap(&w);
    }
    settle(&w);
    check(&w);
    assert_true(w.n_offline >= 10);
    assert_true(w.n_restarts >= 5);
    printf("devices: %u edits on %u devices of %u users, %u offline spells, %u restarts: "
           "all equal, counters exact\n",
           w.n_edits, DEVICES, USERS, w.n_offline, w.n_restarts);
    end_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_devices_of_three_users_end_equal_and_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
