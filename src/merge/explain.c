/* explain.c - the list of decisions (docs/merge.md, section 10). */
#include "merge/walk.h"

#define STEPS_FIRST 16u

static struct json_value value_or_absent(const struct json_value *value)
{
    return value == NULL ? json_absent() : *value;
}

static bool make_room(struct merge_trace *trace)
{
    if (trace->n_steps < trace->size) {
        return true;
    }
    uint32_t size = trace->size == 0 ? STEPS_FIRST : trace->size * 2;
    struct merge_step *steps = arena_alloc(trace->arena, size * sizeof *steps);
    if (steps == NULL) {
        return false;
    }
    if (trace->n_steps > 0) {
        memcpy(steps, trace->steps, trace->n_steps * sizeof *steps);
    }
    trace->steps = steps;
    trace->size = size;
    return true;
}

void walk_explain(struct walk *walk, const struct walk_at *at, const char *rule,
                  const struct json_value *result)
{
    struct merge_trace *trace = walk->trace;
    if (trace == NULL || !make_room(trace)) {
        return;
    }
    trace->steps[trace->n_steps++] = (struct merge_step){
        .path = place_text(trace->arena, &at->place),
        .rule = rule,
        .policy = at->place.policy,
        .was = value_or_absent(at->was),
        .now = value_or_absent(at->now),
        .theirs = value_or_absent(at->theirs),
        .result = value_or_absent(result),
    };
}
