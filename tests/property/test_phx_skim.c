/* test_phx_skim.c - whatever the strict reader takes for a message, phx_skim() takes for the same
 * one; what clients could read in two ways, it refuses.
 *
 *     test_phx_skim [CASES [SEED]]      or BQ_CASES and BQ_SEED in the environment
 *
 * A failure prints the seed of its very case. */
#include "server/phx.h"

#include "base/status.h"

#include "random_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static uint64_t n_cases = 100000;
static uint64_t first_seed = 20260301;
static uint64_t n_read; /* cases that the strict reader took */

/* ---- Messages -------------------------------------------------------------------------------- */

static void add_space(struct buf *out, struct rng *rng)
{
    while (rng_below(rng, 5) == 0) {
        buf_add_char(out, " \t\r\n"[rng_below(rng, 4)]);
    }
}

static void add_text(struct buf *out, struct rng *rng)
{
    static const char *const texts[] = {"null", "\"7\"", "\"realtime:a\"", "\"\"", "\"\\\\\"",
                                        "\"re\\u0061ltime:\\\"]}\"", "\"e\"", "7", "[]"};
    buf_add_text(out, texts[rng_below(rng, sizeof texts / sizeof texts[0])]);
}

static void add_name(struct buf *out, struct rng *rng, unsigned part)
{
    static const char *const names[][2] = {{"join_ref", "join_re\\u0066"}, {"ref", "\\u0072ef"},
                                           {"topic", "topi\\u0063"}, {"event", "\\u0065vent"},
                                           {"payload", "p\\u0061yload"}, {"other", "x\\\""}};
    buf_add_char(out, '"');
    buf_add_text(out, names[part][rng_below(rng, 4) == 0]);
    buf_add_char(out, '"');
    add_space(out, rng);
    buf_add_char(out, ':');
}

static void add_message(struct buf *out, struct rng *rng, struct arena *arena, enum phx_vsn vsn)
{
    unsigned n = rng_below(rng, 8) == 0 ? 4 + (unsigned)rng_below(rng, 3) : 5;
    unsigned turn = (unsigned)rng_below(rng, 6);
    add_space(out, rng);
    buf_add_char(out, vsn == PHX_V2 ? '[' : '{');
    for (unsigned i = 0; i < n; i++) {
        unsigned part = vsn == PHX_V2 ? i : (i + turn) % 6;
        buf_add_text(out, i == 0 ? "" : ",");
        add_space(out, rng);
        if (vsn != PHX_V2) {
            add_name(out, rng, rng_below(rng, 20) == 0 ? 2 : part);
        }
        add_space(out, rng);
        if (part == 4) {
            struct json_value payload = random_json(rng, arena, 4);
            json_print(out, &payload);
        } else if (part == 2 || part == 3) {
            buf_add_text(out, "\"realtime:a\"");
        } else {
            add_text(out, rng);
        }
        add_space(out, rng);
    }
    buf_add_char(out, vsn == PHX_V2 ? ']' : '}');
    add_space(out, rng);
}

/* One byte becomes another one, goes or comes. */
static void hurt(struct buf *text, struct rng *rng)
{
    static const char bytes[] = "\"\\[]{},: n7\0";
    size_t at = (size_t)rng_below(rng, text->len);
    switch (rng_below(rng, 3)) {
    case 0:
        text->ptr[at] = bytes[rng_below(rng, sizeof bytes)];
        return;
    case 1:
        text->len = at;
        return;
    default:
        text->ptr[at] = text->ptr[rng_below(rng, text->len)];
        return;
    }
}

/* ---- The same -------------------------------------------------------------------------------- */

static bool is_same(struct arena *arena, const struct phx_message *read,
                    const struct phx_envelope *skimmed)
{
    struct json_value payload;
    return slice_equal(read->join_ref, skimmed->join_ref) && slice_equal(read->ref, skimmed->ref) &&
           slice_equal(read->topic, skimmed->topic) && slice_equal(read->event, skimmed->event) &&
           json_parse(arena, skimmed->payload, 64, &payload, NULL) == BQ_OK &&
           json_equal(arena, &payload, &read->payload);
}

static void check(uint64_t seed)
{
    struct rng rng;
    struct arena arena;
    struct buf text = BUF_INIT;
    struct phx_message read;
    struct phx_envelope skimmed;
    rng_init(&rng, seed);
    arena_init(&arena);
    enum phx_vsn vsn = rng_below(&rng, 2) == 0 ? PHX_V1 : PHX_V2;
    add_message(&text, &rng, &arena, vsn);
    for (uint64_t n = rng_below(&rng, 3); n > 0 && text.len > 0; n--) {
        hurt(&text, &rng);
    }
    char *exact = malloc(text.len + (text.len == 0)); /* nothing outside is read */
    assert_non_null(exact);
    memcpy(exact, text.ptr, text.len);
    const struct slice whole = {exact, text.len};
    int status = phx_skim(&arena, vsn, whole, &skimmed);
    if (phx_read(&arena, vsn, whole, &read) == BQ_OK) {
        n_read++;
        if (status != BQ_OK || !is_same(&arena, &read, &skimmed)) {
            fail_msg("seed %llu: %s", (unsigned long long)seed, text.ptr);
        }
    }
    free(exact);
    arena_release(&arena);
    buf_release(&text);
}

static void what_is_read_is_skimmed_alike(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < n_cases; i++) {
        check(first_seed + i);
    }
    print_message("%llu cases from seed %llu, %llu of them messages\n",
                  (unsigned long long)n_cases, (unsigned long long)first_seed,
                  (unsigned long long)n_read);
    assert_true(n_cases < 100 || n_read > n_cases / 8);
}

static void what_could_be_read_in_two_ways_is_refused(void **state)
{
    static const char *const texts[] = {
        "{\"topic\":\"a\",\"event\":\"e\",\"payload\":{},\"topic\":\"b\"}",
        "{\"topic\":\"a\",\"event\":\"e\",\"payload\":{},\"\\u0074opic\":\"b\"}",
        "{\"topic\":\"a\",\"event\":\"e\",\"payload\":{}}{}",
        "{\"topic\":\"a\",\"event\":\"e\"}",
        "{\"topic\":null,\"event\":\"e\",\"payload\":{}}",
        "{\"topic\":\"a\",\"event\":\"e\",\"payload\":{}",
        "[null,null,\"a\",\"e\",{}]",
        "",
        "{",
    };
    struct arena arena;
    struct phx_envelope out;
    (void)state;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (phx_skim(&arena, PHX_V1, slice_of(texts[i]), &out) != BQ_INVALID) {
            fail_msg("%s was taken", texts[i]);
        }
    }
    assert_int_equal(phx_skim(&arena, PHX_V2, SLICE("[null,null,\"a\",\"e\",{}],1"), &out),
                     BQ_INVALID);
    assert_int_equal(phx_skim(&arena, PHX_V2, SLICE("[null,null,\"a\",\"e\",{},1]"), &out),
                     BQ_INVALID);
    arena_release(&arena);
}

static void take_number(const char *text, uint64_t *out)
{
    if (text != NULL && *text != '\0') {
        *out = strtoull(text, NULL, 10);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_is_skimmed_alike),
        cmocka_unit_test(what_could_be_read_in_two_ways_is_refused),
    };
    take_number(getenv("BQ_CASES"), &n_cases);
    take_number(getenv("BQ_SEED"), &first_seed);
    take_number(argc > 1 ? argv[1] : NULL, &n_cases);
    take_number(argc > 2 ? argv[2] : NULL, &first_seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
