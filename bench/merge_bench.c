/* merge_bench.c - one changed star in a 16 KB document: what the server does to it, step by step.
 *
 * Prints one line of JSON. The copy of the same bytes is measured in the same run, as the yardstick
 * that no machine can argue with (docs/bench.md). */
#include "base/status.h"
#include "core/op.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LESSONS 850
#define ROUNDS 4000

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void must(int status)
{
    if (status != BQ_OK) {
        fprintf(stderr, "merge_bench: status %d\n", status);
        exit(1);
    }
}

static void make_document(struct buf *out)
{
    buf_add_text(out, "{\"unlockedCount\":12,\"bestStarsByLesson\":{");
    for (int i = 0; i < LESSONS; i++) {
        buf_add_format(out, "%s\"lesson_%04d\":%d", i == 0 ? "" : ",", i, i % 3);
    }
    buf_add_text(out, "}}");
}

struct times {
    double copy, parse, edit, merge, print;
};

/* The arena is a request's: reset, not given back. */
static void round_of(struct arena *arena, const struct buf *text, struct slice wire,
                     const struct merge_policies *policies, struct times *sum)
{
    static char copy[64 << 10];
    struct json_value document, value;
    struct proto_edit edit;
    struct proto_problem problem;
    struct merge_result result;
    struct buf out = BUF_INIT;
    arena_reset(arena);
    double t0 = now_us();
    memcpy(copy, text->ptr, text->len);
    double t1 = now_us();
    must(json_parse(arena, (struct slice){copy, text->len}, 64, &document, NULL));
    double t2 = now_us();
    must(json_parse(arena, wire, 70, &value, NULL));
    must(proto_edit_read(arena, &value, &edit, &problem));
    double t3 = now_us();
    struct merge_document theirs = {document, 2, false, 0};
    must(merge_apply(arena, &theirs, &edit.edit, merge_policies_find(policies, edit.key), NULL,
                     &result));
    double t4 = now_us();
    json_print(&out, &result.document.value);
    double t5 = now_us();
    sum->copy += t1 - t0;
    sum->parse += t2 - t1;
    sum->edit += t3 - t2;
    sum->merge += t4 - t3;
    sum->print += t5 - t4;
    buf_release(&out);
}

int main(void)
{
    struct buf text = BUF_INIT;
    struct arena arena;
    struct json_value shipped;
    const struct merge_policies *policies;
    struct arena scratch;
    struct times sum = {0};
    struct slice wire = SLICE(
        "{\"op\":2,\"prev\":1,\"id\":\"0123456789abcdef\",\"key\":\"lesson_progress\",\"base\":1,"
        "\"was\":{\"bestStarsByLesson\":{\"lesson_0400\":1}},"
        "\"now\":{\"bestStarsByLesson\":{\"lesson_0400\":3}}}");
    arena_init(&arena);
    arena_init(&scratch);
    make_document(&text);
    must(json_parse(&arena, slice_of(merge_policies_shipped), 64, &shipped, NULL));
    must(merge_policies_read(&arena, &shipped, &policies, NULL));
    for (int i = 0; i < ROUNDS; i++) {
        round_of(&scratch, &text, wire, policies, &sum);
    }
    double n = ROUNDS;
    printf(
        "{\"document_bytes\": %zu, \"copy_us\": %.2f, \"parse_us\": %.2f, \"read_edit_us\": %.2f, "
        "\"merge_us\": %.2f, \"print_us\": %.2f, \"all_us\": %.2f}\n",
        text.len, sum.copy / n, sum.parse / n, sum.edit / n, sum.merge / n, sum.print / n,
        (sum.parse + sum.edit + sum.merge + sum.print) / n);
    buf_release(&text);
    arena_release(&arena);
    arena_release(&scratch);
    return 0;
}
