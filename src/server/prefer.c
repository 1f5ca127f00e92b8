/* prefer.c - see prefer.h. */
#include "server/prefer.h"

#include "base/buf.h"
#include "base/utf8.h"

#include <stdio.h>

#define UNKNOWN_BYTES 300u /* of unknown words in a sentence */

enum kind { KIND_RESOLUTION, KIND_RETURN, KIND_COUNT, KIND_MISSING, KIND_HANDLING, KIND_IGNORED };

struct word {
    const char *text;
    enum kind kind;
    int value;
};

/* Whole words; those that end with "=" stand for any value. */
static const struct word words[] = {
    {"resolution=merge-duplicates", KIND_RESOLUTION, RESOLUTION_MERGE},
    {"resolution=ignore-duplicates", KIND_RESOLUTION, RESOLUTION_IGNORE},
    {"return=minimal", KIND_RETURN, RETURN_MINIMAL},
    {"return=headers-only", KIND_RETURN, RETURN_HEADERS},
    {"return=representation", KIND_RETURN, RETURN_ROWS},
    {"count=exact", KIND_COUNT, COUNT_EXACT},
    {"count=planned", KIND_COUNT, COUNT_PLANNED},
    {"count=estimated", KIND_COUNT, COUNT_ESTIMATED},
    {"missing=default", KIND_MISSING, MISSING_DEFAULT},
    {"missing=null", KIND_MISSING, MISSING_NULL},
    {"handling=strict", KIND_HANDLING, 1},
    {"handling=lenient", KIND_HANDLING, 0},
    {"tx=commit", KIND_IGNORED, 0},
    {"tx=rollback", KIND_IGNORED, 0},
    {"max-affected=", KIND_IGNORED, 0},
    {"timezone=", KIND_IGNORED, 0},
};

#define N_WORDS (sizeof words / sizeof words[0])

static const struct word *find(struct slice text)
{
    for (size_t i = 0; i < N_WORDS; i++) {
        size_t n = strlen(words[i].text);
        bool open = words[i].text[n - 1] == '=';
        if (slice_is(text, words[i].text) ||
            (open && text.len > n && memcmp(text.ptr, words[i].text, n) == 0)) {
            return &words[i];
        }
    }
    return NULL;
}

/* The first one of a kind counts. */
static void set(struct prefer *prefer, const struct word *word)
{
    switch (word->kind) {
    case KIND_RESOLUTION:
        if (prefer->resolution == RESOLUTION_NONE) {
            prefer->resolution = (enum prefer_resolution)word->value;
        }
        return;
    case KIND_RETURN:
        if (prefer->returns == RETURN_NONE) {
            prefer->returns = (enum prefer_return)word->value;
        }
        return;
    case KIND_COUNT:
        if (prefer->count == COUNT_NONE) {
            prefer->count = (enum prefer_count)word->value;
        }
        return;
    case KIND_MISSING:
        if (prefer->missing == MISSING_NONE) {
            prefer->missing = (enum prefer_missing)word->value;
        }
        return;
    case KIND_HANDLING:
        if (!prefer->strict && !prefer->lenient) {
            prefer->strict = word->value == 1;
            prefer->lenient = word->value == 0;
        }
        return;
    case KIND_IGNORED:
        return;
    }
}

static struct slice next_word(struct slice *rest)
{
    const char *comma = memchr(rest->ptr, ',', rest->len);
    size_t n = comma == NULL ? rest->len : (size_t)(comma - rest->ptr);
    struct slice word = {rest->ptr, n};
    n += comma != NULL;
    *rest = (struct slice){rest->ptr + n, rest->len - n};
    while (word.len > 0 && (word.ptr[0] == ' ' || word.ptr[0] == '\t')) {
        word.ptr++;
        word.len--;
    }
    while (word.len > 0 && (word.ptr[word.len - 1] == ' ' || word.ptr[word.len - 1] == '\t')) {
        word.len--;
    }
    return word;
}

static void note_unknown(struct buf *unknown, struct slice word)
{
    if (unknown->len + word.len <= UNKNOWN_BYTES && utf8_is_plain(word)) {
        buf_add_text(unknown, unknown->len == 0 ? "" : ", ");
        buf_add_slice(unknown, word);
    }
}

bool prefer_read(struct arena *arena, const struct slice *fields, unsigned n_fields,
                 struct prefer *out, struct problem *problem)
{
    struct buf unknown = BUF_INIT;
    bool good = true;
    *out = (struct prefer){.strict = false};
    for (unsigned i = 0; i < n_fields; i++) {
        struct slice rest = fields[i];
        while (rest.len > 0) {
            struct slice text = next_word(&rest);
            const struct word *word = find(text);
            good = good && (word != NULL || text.len == 0);
            if (word != NULL) {
                set(out, word);
            } else if (text.len > 0) {
                note_unknown(&unknown, text);
            }
        }
    }
    good = good || !out->strict;
    if (!good) {
        *problem =
            problem_detailed(400, "PGRST122", "Invalid preferences given with handling=strict",
                             problem_format(arena, "Invalid preferences: %.*s", (int)unknown.len,
                                            unknown.ptr == NULL ? "" : unknown.ptr));
    }
    buf_release(&unknown);
    return good;
}

void prefer_print(const struct prefer *prefer, char out[PREFER_APPLIED_BYTES])
{
    const int values[] = {[KIND_RESOLUTION] = (int)prefer->resolution,
                          [KIND_RETURN] = (int)prefer->returns,
                          [KIND_COUNT] = (int)prefer->count,
                          [KIND_MISSING] = (int)prefer->missing,
                          [KIND_HANDLING] = prefer->strict ? 1 : 0};
    static const enum kind order[] = {KIND_RESOLUTION, KIND_MISSING, KIND_RETURN, KIND_COUNT,
                                      KIND_HANDLING};
    size_t len = 0;
    out[0] = '\0';
    for (size_t k = 0; k < sizeof order / sizeof order[0]; k++) {
        for (size_t i = 0; i < N_WORDS; i++) {
            bool is_it = words[i].kind == order[k] && words[i].value == values[order[k]] &&
                         (order[k] != KIND_HANDLING || prefer->strict || prefer->lenient);
            if (is_it) {
                int n = snprintf(out + len, PREFER_APPLIED_BYTES - len, "%s%s",
                                 len == 0 ? "" : ", ", words[i].text);
                len += (size_t)n;
            }
        }
    }
}
