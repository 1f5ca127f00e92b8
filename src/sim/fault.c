/* fault.c - see fault.h. */
#include "sim/fault.h"

static const struct {
    const char *word;
    unsigned share;
    const char *text;
} faults[] = {
#define X(name, word, share, text) {word, share, text},
    SIM_FAULT_MAP(X)
#undef X
};

const char *sim_fault_word(enum sim_fault fault)
{
    return faults[fault].word;
}

const char *sim_fault_text(enum sim_fault fault)
{
    return faults[fault].text;
}

/* A fifth of what is usual: seeds differ, but a kind that does not fire at all is a broken test. */
uint64_t sim_fault_least(enum sim_fault fault, uint64_t n_seeds)
{
    return n_seeds < 100 ? 0 : n_seeds / (5 * (uint64_t)faults[fault].share);
}

static bool take_word(struct slice word, uint64_t *out)
{
    if (slice_is(word, "all") || slice_is(word, "none")) {
        *out |= slice_is(word, "all") ? SIM_FAULTS_ALL : 0;
        return true;
    }
    for (int i = 0; i < SIM_FAULT_N; i++) {
        if (slice_is(word, faults[i].word)) {
            *out |= sim_fault_bit((enum sim_fault)i);
            return true;
        }
    }
    return false;
}

bool sim_faults_parse(struct slice text, uint64_t *out, struct slice *out_unknown)
{
    uint64_t found = 0;
    size_t begin = 0;
    for (size_t i = 0; i <= text.len; i++) {
        if (i < text.len && text.ptr[i] != ',') {
            continue;
        }
        struct slice word = {text.ptr + begin, i - begin};
        if (!take_word(word, &found)) {
            *out_unknown = word;
            return false;
        }
        begin = i + 1;
    }
    *out = found;
    return true;
}

void sim_faults_print(struct buf *out, uint64_t mask)
{
    bool first = true;
    if (mask == SIM_FAULTS_ALL || mask == 0) {
        buf_add_text(out, mask == 0 ? "none" : "all");
        return;
    }
    for (int i = 0; i < SIM_FAULT_N; i++) {
        if ((mask & sim_fault_bit((enum sim_fault)i)) != 0) {
            buf_add_text(out, first ? "" : ",");
            buf_add_text(out, faults[i].word);
            first = false;
        }
    }
}
