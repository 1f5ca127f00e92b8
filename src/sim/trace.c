/* trace.c - the event log: a hash of all of it, and its last lines where somebody wants to read. */
#include "sim/world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 29);
}

static uint64_t mix_text(uint64_t hash, struct slice text)
{
    size_t i = 0;
    for (; i + 8 <= text.len; i += 8) {
        uint64_t word;
        memcpy(&word, text.ptr + i, 8);
        hash = mix(hash, word);
    }
    for (; i < text.len; i++) {
        hash = mix(hash, (unsigned char)text.ptr[i]);
    }
    return mix(hash, text.len);
}

void sim_log(struct sim_world *w, const char *what, uint64_t a, uint64_t b, struct slice text)
{
    w->result->n_events++;
    w->hash = mix(mix(mix(w->hash, (uint64_t)w->now_ms), a), b);
    w->hash = mix_text(w->hash, text);
    NOTE(w, "%s %" PRIu64 " %" PRIu64 " %.*s", what, a, b, SLICE_FMT(text));
}

void sim_note(struct sim_world *w, const char *format, ...)
{
    struct sim_trace *trace = w->config.trace;
    va_list args;
    unsigned at = (trace->first + trace->n) % SIM_TRACE_LINES;
    if (trace->n == SIM_TRACE_LINES) {
        trace->first = (trace->first + 1) % SIM_TRACE_LINES;
    } else {
        trace->n++;
    }
    char *line = trace->lines[at];
    int64_t ms = w->now_ms - START_MS;
    int n = snprintf(line, SIM_TRACE_TEXT, "%6" PRId64 ".%03d%s ", ms / 1000, (int)(ms % 1000),
                     w->quiet ? " quiet" : "");
    va_start(args, format);
    (void)vsnprintf(line + n, SIM_TRACE_TEXT - (size_t)n, format, args);
    va_end(args);
    if (trace->line != NULL) {
        trace->line(trace->cls, line);
    }
}

void sim_break(struct sim_world *w, enum sim_verdict verdict, const char *format, ...)
{
    va_list args;
    if (w->result->verdict != SIM_GOOD) {
        return;
    }
    w->result->verdict = verdict;
    w->result->broke_at_ms = w->now_ms - START_MS;
    va_start(args, format);
    (void)vsnprintf(w->result->what, sizeof w->result->what, format, args);
    va_end(args);
    NOTE(w, "BROKEN: %s: %s", sim_verdict_word(verdict), w->result->what);
}

bool sim_fine(struct sim_world *w, int status, const char *what)
{
    if (status == BQ_NOMEM) {
        w->nomem = true;
    } else if (status != BQ_OK) {
        sim_break(w, SIM_BROKEN, "%s answers %s", what, status_code(status));
    }
    return status == BQ_OK;
}

void sim_count(struct sim_world *w, enum sim_fault fault)
{
    w->result->faults[fault]++;
}

bool sim_strikes(struct sim_world *w, struct rng *rng, enum sim_fault fault)
{
    if (w->quiet || w->rates[fault] == 0 || below(rng, 1000) >= w->rates[fault]) {
        return false;
    }
    sim_count(w, fault);
    return true;
}
