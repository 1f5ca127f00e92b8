/* test_json_round.c - reading and writing undo each other, and no bytes break the reader.
 *
 *     test_json_round [CASES [SEED]]      or BQ_CASES and BQ_SEED in the environment
 *
 * A failure prints the seed of its very case. */
#include "json/canonical.h"

#include "base/status.h"

#include "random_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CASES_DEFAULT 40000u
#else
#define CASES_DEFAULT 300000u
#endif

#define DEPTH 64u

static uint64_t n_cases = CASES_DEFAULT;
static uint64_t first_seed = 20240301;

/* White space of all four kinds, or none. */
static void add_space(struct buf *out, struct rng *rng)
{
    while (rng_below(rng, 6) == 0) {
        buf_add_char(out, " \t\r\n"[rng_below(rng, 4)]);
    }
}

/* A string with escapes that nobody asked for. */
static void add_loose_string(struct buf *out, struct rng *rng, struct slice text)
{
    buf_add_char(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool must = c < 0x20 || c == '"' || c == '\\';
        if (c < 0x80 && (must || rng_below(rng, 5) == 0)) {
            buf_add_format(out, rng_below(rng, 2) == 0 ? "\\u%04x" : "\\u%04X", c);
        } else if (c == '/' && rng_below(rng, 2) == 0) {
            buf_add_text(out, "\\/");
        } else {
            buf_add_char(out, (char)c);
        }
    }
    buf_add_char(out, '"');
}

/* A text of the value as somebody careless would write it. */
static void add_loose(struct buf *out, struct rng *rng, const struct json_value *value)
{
    bool is_object = value->type == JSON_OBJECT;
    add_space(out, rng);
    if (is_object || value->type == JSON_ARRAY) {
        buf_add_char(out, is_object ? '{' : '[');
        for (uint32_t i = 0; i < value->count; i++) {
            add_space(out, rng);
            if (is_object) {
                add_loose_string(out, rng, json_text(&value->members[i].key));
                add_space(out, rng);
                buf_add_char(out, ':');
            }
            add_loose(out, rng, is_object ? &value->members[i].value : &value->items[i]);
            buf_add_text(out, i + 1 < value->count ? "," : "");
        }
        add_space(out, rng);
        buf_add_char(out, is_object ? '}' : ']');
    } else if (value->type == JSON_STRING) {
        add_loose_string(out, rng, json_text(value));
    } else {
        json_print(out, value);
    }
    add_space(out, rng);
}

static void fail_text(const char *what, uint64_t seed, struct slice text)
{
    fail_msg("%s; seed %llu: %.*s", what, (unsigned long long)seed, SLICE_FMT(text));
}

/* A careless text and its compact form are the same value; the compact form prints as itself. */
static void check_round(struct arena *arena, uint64_t seed)
{
    struct rng rng;
    struct buf loose = BUF_INIT;
    struct buf compact = BUF_INIT;
    struct buf again = BUF_INIT;
    struct json_value one;
    struct json_value two;
    rng_init(&rng, seed);
    struct json_value value = random_json(&rng, arena, 5);
    add_loose(&loose, &rng, &value);
    if (json_parse(arena, buf_slice(&loose), DEPTH, &one, NULL) != BQ_OK) {
        fail_text("refused", seed, buf_slice(&loose));
    }
    json_print(&compact, &one);
    bool fits = compact.len == json_size(&one) && json_depth(&one) == json_depth(&value);
    if (!fits || !json_equal(arena, &one, &value)) {
        fail_text("not what was written", seed, buf_slice(&loose));
    }
    assert_int_equal(json_parse(arena, buf_slice(&compact), DEPTH, &two, NULL), BQ_OK);
    json_print(&again, &two);
    bool keeps = two.type < JSON_ARRAY || two.len == compact.len;
    if (!keeps || !slice_equal(buf_slice(&again), buf_slice(&compact))) {
        fail_text("not compact", seed, buf_slice(&compact));
    }
    buf_release(&loose);
    buf_release(&compact);
    buf_release(&again);
}

/* Equality and canonical text say the same of two values that are near each other. */
static void check_canonical(struct arena *arena, uint64_t seed)
{
    struct rng rng;
    struct buf texts[2] = {BUF_INIT, BUF_INIT};
    rng_init(&rng, seed);
    struct json_value one = random_json(&rng, arena, 4);
    struct json_value two = rng_below(&rng, 2) == 0 ? one : random_change(&rng, arena, &one);
    if (rng_below(&rng, 2) == 0) {
        two = random_change(&rng, arena, &one);
    }
    json_canonical(&texts[0], arena, &one);
    json_canonical(&texts[1], arena, &two);
    bool same = slice_equal(buf_slice(&texts[0]), buf_slice(&texts[1]));
    if (json_equal(arena, &one, &two) != same || json_equal(arena, &two, &one) != same) {
        fail_text("equality and canonical text differ", seed, buf_slice(&texts[0]));
    }
    buf_release(&texts[0]);
    buf_release(&texts[1]);
}

/* Damaged bytes are refused, or are JSON after all; either way nothing outside is read. */
static void check_damage(struct arena *arena, uint64_t seed)
{
    static const char odd[] = "\"\\{}[]:,u0e-. \x80\xc3\xff\x01";
    struct rng rng;
    struct buf text = BUF_INIT;
    struct buf out = BUF_INIT;
    struct json_value value;
    struct json_error error;
    rng_init(&rng, seed);
    struct json_value whole = random_json(&rng, arena, 4);
    add_loose(&text, &rng, &whole);
    for (uint64_t n = rng_below(&rng, 4); n > 0; n--) {
        text.ptr[rng_below(&rng, text.len)] = odd[rng_below(&rng, sizeof odd)];
    }
    size_t len = rng_below(&rng, 3) == 0 ? rng_below(&rng, text.len + 1) : text.len;
    char *exact = malloc(len > 0 ? len : 1);
    assert_non_null(exact);
    memcpy(exact, text.ptr, len);
    if (json_parse(arena, (struct slice){exact, len}, DEPTH, &value, &error) == BQ_OK) {
        json_print(&out, &value);
        assert_int_equal(json_parse(arena, buf_slice(&out), DEPTH, &value, NULL), BQ_OK);
    } else {
        assert_true(error.offset <= len && error.line >= 1 && error.column >= 1);
    }
    free(exact);
    buf_release(&text);
    buf_release(&out);
}

static void for_cases(void (*check)(struct arena *, uint64_t))
{
    struct arena arena;
    arena_init(&arena);
    for (uint64_t i = 0; i < n_cases / 3 + 1; i++) {
        check(&arena, first_seed + i);
        arena_reset(&arena);
    }
    arena_release(&arena);
}

static void what_is_printed_is_what_was_read(void **state)
{
    (void)state;
    for_cases(check_round);
}

static void canonical_texts_tell_equality(void **state)
{
    (void)state;
    for_cases(check_canonical);
}

static void no_bytes_break_the_reader(void **state)
{
    (void)state;
    for_cases(check_damage);
}

static uint64_t number_of(const char *text, uint64_t otherwise)
{
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

int main(int argc, char **argv)
{
    n_cases = number_of(argc > 1 ? argv[1] : getenv("BQ_CASES"), CASES_DEFAULT);
    first_seed = number_of(argc > 2 ? argv[2] : getenv("BQ_SEED"), first_seed);
    print_message("json round: %llu cases from seed %llu\n", (unsigned long long)n_cases,
                  (unsigned long long)first_seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_printed_is_what_was_read),
        cmocka_unit_test(canonical_texts_tell_equality),
        cmocka_unit_test(no_bytes_break_the_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
