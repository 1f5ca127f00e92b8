/* steps.c - explaining a merge. The words are those of docs/merge.md. */
#include "cli/steps.h"

#include <string.h>

#include "cli/output.h"

#define VALUE_COLUMNS 40u

const char *steps_outcome_word(enum merge_outcome outcome)
{
    switch (outcome) {
    case MERGE_APPLIED:
        return "applied";
    case MERGE_MERGED:
        return "merged";
    case MERGE_KEPT:
        break;
    }
    return "kept";
}

const char *steps_rule_text(const char *rule)
{
    static const struct {
        const char *rule;
        const char *text;
    } texts[] = {
        {"1", "the edit did not change it"},
        {"2", "an update beats a removal"},
        {"3", "an object: member by member"},
        {"4", "nobody else changed it"},
        {"5", "both did the same"},
        {"6", "the policy decides"},
        {"epoch", "a newer epoch wins"},
        {"delete", "a delete"},
        {"tombstone", "the document was deleted"},
        {"applied", "made on the present version"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(texts[i].rule, rule) == 0) {
            return texts[i].text;
        }
    }
    return rule;
}

static const char *policy_word(const struct merge_step *step)
{
    return step->policy == NULL ? "incoming" : merge_kind_word(step->policy->kind);
}

static void add_present(struct buf *out, const char *name, const struct json_value *value)
{
    if (!json_is_absent(value)) {
        output_value(out, name, value);
    }
}

void steps_print_json(struct buf *out, const struct merge_trace *trace)
{
    buf_add_char(out, '[');
    for (uint32_t i = 0; i < trace->n_steps; i++) {
        const struct merge_step *step = &trace->steps[i];
        if (i > 0) {
            buf_add_char(out, ',');
        }
        output_begin(out);
        output_text(out, "path", step->path);
        output_text(out, "rule", slice_of(step->rule));
        output_text(out, "policy", slice_of(policy_word(step)));
        add_present(out, "was", &step->was);
        add_present(out, "now", &step->now);
        add_present(out, "theirs", &step->theirs);
        add_present(out, "result", &step->result);
        output_close(out);
    }
    buf_add_char(out, ']');
}

/* The value's compact form, cut where it gets too long for a line. */
static void add_short(struct buf *out, const struct json_value *value)
{
    if (json_is_absent(value)) {
        buf_add_text(out, "(absent)");
        return;
    }
    struct buf text = BUF_INIT;
    json_print(&text, value);
    size_t len = text.len;
    if (len > VALUE_COLUMNS) {
        len = VALUE_COLUMNS;
        /* Not inside a character of UTF-8. */
        while (len > 0 && ((unsigned char)text.ptr[len] & 0xc0u) == 0x80u) {
            len--;
        }
    }
    buf_add(out, buf_slice(&text).ptr, len);
    if (len < text.len) {
        buf_add_text(out, "...");
    }
    buf_release(&text);
}

static void add_path(struct buf *out, const struct merge_step *step, const char *indent)
{
    buf_add_text(out, indent);
    buf_add_slice(out, step->path.len == 0 ? SLICE("(document)") : step->path);
}

void steps_print_changes(struct buf *out, const struct merge_trace *trace, const char *indent)
{
    for (uint32_t i = 0; i < trace->n_steps; i++) {
        const struct merge_step *step = &trace->steps[i];
        add_path(out, step, indent);
        buf_add_text(out, ": ");
        add_short(out, &step->theirs);
        buf_add_text(out, " -> ");
        add_short(out, &step->result);
        buf_add_char(out, '\n');
    }
}

void steps_print_text(struct buf *out, const struct merge_trace *trace, const char *indent)
{
    for (uint32_t i = 0; i < trace->n_steps; i++) {
        const struct merge_step *step = &trace->steps[i];
        add_path(out, step, indent);
        buf_add_text(out, " = ");
        add_short(out, &step->result);
        buf_add_text(out, "   rule ");
        buf_add_text(out, step->rule);
        buf_add_text(out, ": ");
        if (strcmp(step->rule, "6") == 0) {
            buf_add_text(out, "policy ");
            buf_add_text(out, policy_word(step));
        } else {
            buf_add_text(out, steps_rule_text(step->rule));
        }
        buf_add_text(out, " (was ");
        add_short(out, &step->was);
        buf_add_text(out, ", now ");
        add_short(out, &step->now);
        buf_add_text(out, ", server had ");
        add_short(out, &step->theirs);
        buf_add_text(out, ")\n");
    }
}
