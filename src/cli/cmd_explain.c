/* cmd_explain.c - bqsync explain: the history of one document, for an operator.
 *
 * Walks the chain of reverse edits from the present version back. What was merged is merged once
 * more on the version before it, with a trace: so each line names the rule of docs/merge.md that
 * gave the value. The policies are those of today; where they changed meanwhile the answer says
 * what they would do now, and tells when that is not what happened. */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "base/timestamp.h"
#include "cli/commands.h"
#include "cli/operator.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/steps.h"
#include "core/history.h"

struct explain {
    struct operator operator;
    const char *user_text;
    const char *key;
    int64_t version; /* alone; 0 all */
    struct uuid user;
    struct arena arena;
    const struct merge_policy *policy;
    struct buf line;
};

/* One version of the document, and how it came from the one before. */
struct change {
    struct history_entry entry;
    struct json_value older;
    struct json_value newer;
    struct merge_trace trace;
    bool merged;    /* steps are the rules; else the plain differences */
    bool different; /* today's policies would have made another document */
};

static int fail(struct explain *explain, int status, const char *what)
{
    return output_fail(explain->operator.json, status, "%s of user %s: %s", explain->key,
                       explain->user.text, what == NULL ? status_text(status) : what);
}

/* The steps of a change: the merge once more where the edit is kept, the differences elsewhere. */
static int trace_change(struct explain *explain, struct change *change)
{
    struct arena *arena = &explain->arena;
    const struct json_value *edit_json = json_get(&change->entry.fields, "edit");
    struct merge_edit edit;
    struct proto_problem problem;
    struct merge_result result;
    bool gone = json_is_absent(&change->older);
    struct merge_document older = {.value = change->older,
                                   .version = change->entry.version - 1,
                                   .deleted = gone && change->entry.version > 1};
    change->trace = (struct merge_trace){.arena = arena};
    change->merged = edit_json != NULL && !gone &&
                     proto_edit_read_bare(arena, edit_json, &edit, &problem) == BQ_OK;
    if (!change->merged) {
        bool changed;
        int status = merge_diff(arena, &change->older, &change->newer, &merge_policy_incoming,
                                &edit, &changed);
        if (status != BQ_OK) {
            return status;
        }
        edit.base = -1;
    }
    int status = merge_apply(arena, &older, &edit,
                             change->merged ? explain->policy : &merge_policy_incoming,
                             &change->trace, &result);
    if (status == BQ_OUT_OF_RANGE) {
        change->different = true;
        return BQ_OK;
    }
    if (status == BQ_OK) {
        const struct json_value *now = result.document.deleted ? NULL : &result.document.value;
        change->different = !json_equal(arena, now, &change->newer);
    }
    return status;
}

static struct slice text_of(const struct json_value *fields, const char *name)
{
    const struct json_value *value = json_get(fields, name);
    return json_is(value, JSON_STRING) ? json_text(value) : SLICE("");
}

static void print_json(struct explain *explain, const struct change *change)
{
    struct buf *line = &explain->line;
    struct buf steps = BUF_INIT;
    int64_t op = 0;
    const struct json_value *op_value = json_get(&change->entry.fields, "op");
    if (op_value != NULL) {
        json_to_int(op_value, &op);
    }
    steps_print_json(&steps, &change->trace);
    output_begin(line);
    output_int(line, "version", change->entry.version);
    output_text(line, "at", text_of(&change->entry.fields, "at"));
    output_text(line, "device", text_of(&change->entry.fields, "device"));
    output_int(line, "op", op);
    output_text(line, "status", text_of(&change->entry.fields, "status"));
    output_bool(line, "policies_changed", change->merged && change->different);
    output_raw(line, "steps", buf_slice(&steps));
    output_value(line, "document", &change->newer);
    output_close(line);
    buf_release(&steps);
}

static void print_text(struct explain *explain, const struct change *change)
{
    struct buf *line = &explain->line;
    char time[TIMESTAMP_TEXT];
    timestamp_print(change->entry.at_us / 1000000 * 1000000, time);
    time[10] = ' ';
    time[19] = '\0';
    struct slice device = text_of(&change->entry.fields, "device");
    if (device.len == 0) {
        device = SLICE("an app that names no device");
    }
    buf_add_format(line, "version %lld  %s  %.*s by %.*s\n", (long long)change->entry.version, time,
                   SLICE_FMT(text_of(&change->entry.fields, "status")), SLICE_FMT(device));
    if (change->merged) {
        steps_print_text(line, &change->trace, "    ");
    } else {
        steps_print_changes(line, &change->trace, "    ");
    }
    if (change->merged && change->different) {
        buf_add_text(line, "    (the policies changed meanwhile: today's would do otherwise)\n");
    }
    line->len -= line->failed || line->len == 0 ? 0 : 1;
}

static int show(struct explain *explain, struct change *change)
{
    if (explain->version != 0 && explain->version != change->entry.version) {
        return CLI_OK;
    }
    int status = trace_change(explain, change);
    if (status != BQ_OK) {
        return fail(explain, status, NULL);
    }
    if (explain->operator.json) {
        print_json(explain, change);
    } else {
        print_text(explain, change);
    }
    return output_line(explain->operator.json, &explain->line);
}

/* From the present version back until the history ends or the wanted version was shown. */
static int walk(struct explain *explain, const struct store_doc *doc)
{
    struct change change = {.newer = json_absent()};
    int64_t id = doc->history;
    int64_t at = doc->version;
    if (explain->version > at) {
        return fail(explain, BQ_NOT_FOUND, "it has no such version yet");
    }
    if (!doc->deleted &&
        json_parse(&explain->arena, doc->data, LIMITS_DEFAULT.depth + 1, &change.newer, NULL)) {
        return fail(explain, BQ_CORRUPT, NULL);
    }
    while (id != 0 && at >= 1 && at >= explain->version) {
        int status = history_get(explain->operator.opened, &explain->arena, &explain->user, id,
                                 &change.entry);
        if (status == BQ_NOT_FOUND || (status == BQ_OK && change.entry.version != at)) {
            break;
        }
        change.older = change.newer;
        if (status == BQ_OK) {
            status = history_step_back(&explain->arena, &change.entry, &change.older);
        }
        if (status != BQ_OK) {
            return fail(explain, status, NULL);
        }
        int result = show(explain, &change);
        if (result != CLI_OK) {
            return result;
        }
        change.newer = change.older;
        id = change.entry.older;
        at--;
    }
    if (explain->version != 0 && at >= explain->version) {
        return fail(explain, BQ_NOT_FOUND, "the history does not reach back to that version");
    }
    return CLI_OK;
}

static int explain_document(struct explain *explain)
{
    struct store *store = explain->operator.opened;
    struct store_doc doc;
    const struct merge_policies *policies;
    int64_t policies_version;
    int status = op_load_policies(store, &explain->arena, &policies, &policies_version);
    if (status == BQ_OK) {
        status = store->begin(store);
    }
    if (status != BQ_OK) {
        return fail(explain, status, NULL);
    }
    status = store->doc_get(store, &explain->arena, &explain->user, slice_of(explain->key), &doc);
    int result;
    if (status != BQ_OK) {
        result = fail(explain, status, NULL);
    } else if (doc.version == 0) {
        result = fail(explain, BQ_NOT_FOUND, "there is no such document in this store");
    } else {
        explain->policy = merge_policies_find(policies, slice_of(explain->key));
        result = walk(explain, &doc);
    }
    store->rollback(store);
    return result;
}

int cmd_explain(int argc, char **argv)
{
    struct explain explain = {.version = 0};
    int n;
    const struct option_spec options[] = {
        OPTION_TEXT("store", "STORE", &explain.operator.store, "the store itself: " STORE_PLACES),
        OPTION_TEXT("user", "UUID", &explain.user_text, "whose document"),
        OPTION_NUMBER("version", "N", &explain.version, "only how this version came about"),
        OPTION_FLAG("json", &explain.operator.json, "results as one JSON value a line"),
    };
    const struct command_line line = {
        "explain", "KEY",
        "Tells, newest version first, which device changed the document when, and for a merge\n"
        "which rule gave which field which value. Reads the store itself; a server may run on it.\n"
        "It reaches back as far as the history that the store keeps.\n",
        options, OPTION_COUNT(options), 1, 1};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    if (explain.operator.store == NULL || explain.user_text == NULL ||
        !uuid_parse(slice_of(explain.user_text), &explain.user)) {
        fputs("bqsync: explain: --store STORE and --user UUID are needed\n", stderr);
        return CLI_USAGE;
    }
    explain.key = argv[0];
    arena_init(&explain.arena);
    int result = operator_open(&explain.operator, false);
    if (result == CLI_OK) {
        result = explain_document(&explain);
    }
    operator_close(&explain.operator);
    buf_release(&explain.line);
    arena_release(&explain.arena);
    return result;
}
