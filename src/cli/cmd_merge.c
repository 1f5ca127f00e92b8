/* cmd_merge.c - bqsync merge: the merge function for any language, a line in, a line out.
 *
 *     {"policy": P, "document": D, "version": N, "edit": {"base": N, "was": ..., "now": ...}}
 *     {"status": "merged", "document": D}   or   {"error": "out_of_range", "message": "..."}
 *
 * The lines are those of tests/vectors/merge. A document that is absent or null with version 0 does
 * not exist; "deleted": true makes it a tombstone (with "epoch"); "v1": true makes a seed that of
 * an old app (docs/merge.md, 7.4). A bad line is answered with its error and the next one is read:
 * the answers stay in step with the questions. */
#include <stdio.h>

#include "bqsync.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/steps.h"
#include "proto/edit.h"

#define LINE_DEPTH 200u

static void print_error(struct buf *out, int status, const char *message)
{
    output_begin(out);
    output_text(out, "error", slice_of(bq_status_code(status)));
    output_text(out, "message", slice_of(message));
    output_close(out);
}

static void print_result(struct buf *out, const struct merge_result *result,
                         const struct merge_trace *trace)
{
    output_begin(out);
    output_text(out, "status", slice_of(steps_outcome_word(result->outcome)));
    if (result->document.deleted) {
        output_bool(out, "deleted", true);
        output_int(out, "epoch", result->document.epoch);
    }
    output_value(out, "document", &result->document.value);
    output_bool(out, "changed", result->changed);
    if (trace != NULL) {
        struct buf steps = BUF_INIT;
        steps_print_json(&steps, trace);
        output_raw(out, "steps", buf_slice(&steps));
        buf_release(&steps);
    }
    output_close(out);
}

static int64_t int_member(const struct json_value *object, const char *name)
{
    int64_t value = 0;
    const struct json_value *member = json_get(object, name);
    return json_is(member, JSON_NUMBER) && json_to_int(member, &value) ? value : 0;
}

static void read_document(const struct json_value *line, struct merge_document *out)
{
    const struct json_value *document = json_get(line, "document");
    *out = (struct merge_document){.value = json_absent(), .version = int_member(line, "version")};
    out->deleted = json_is(json_get(line, "deleted"), JSON_TRUE);
    out->epoch = int_member(line, "epoch");
    bool none = json_is_absent(document) ||
                (document->type == JSON_NULL && (out->version == 0 || out->deleted));
    if (!none) {
        out->value = *document;
    }
}

/* Answers one line; a status that is not BQ_OK comes with *message. */
static int merge_line(struct arena *arena, struct slice text, bool explain, struct buf *out,
                      const char **message)
{
    static const struct json_value no_edit = {.type = JSON_OBJECT};
    struct json_error json_error;
    struct json_value line;
    struct merge_policy_error *policy_error = arena_zalloc(arena, 1, sizeof *policy_error);
    struct proto_problem *problem = arena_zalloc(arena, 1, sizeof *problem);
    if (policy_error == NULL || problem == NULL) {
        *message = bq_strerror(BQ_NOMEM);
        return BQ_NOMEM;
    }
    int status = json_parse(arena, text, LINE_DEPTH, &line, &json_error);
    if (status != BQ_OK) {
        *message = json_error.what;
        return status;
    }
    const struct merge_policy *policy = &merge_policy_incoming;
    const struct json_value *policy_json = json_get(&line, "policy");
    if (!json_is_absent(policy_json)) {
        status = merge_policy_read(arena, policy_json, &policy, policy_error);
        if (status != BQ_OK) {
            *message = policy_error->what;
            return status;
        }
    }
    struct merge_edit edit;
    const struct json_value *edit_json = json_get(&line, "edit");
    status = proto_edit_read_bare(arena, edit_json == NULL ? &no_edit : edit_json, &edit, problem);
    if (status != BQ_OK) {
        *message = problem->text;
        return status;
    }
    if (edit.mode == MERGE_SEED && json_is(json_get(&line, "v1"), JSON_TRUE)) {
        edit.mode = MERGE_SEED_V1;
    }
    struct merge_document document;
    struct merge_result result;
    struct merge_trace trace = {.arena = arena};
    read_document(&line, &document);
    status = merge_apply(arena, &document, &edit, policy, explain ? &trace : NULL, &result);
    *message = bq_strerror(status);
    if (status == BQ_OK) {
        print_result(out, &result, explain ? &trace : NULL);
    }
    return status;
}

int cmd_merge(int argc, char **argv)
{
    bool json = false;
    bool explain = false;
    int n;
    const struct option_spec options[] = {
        OPTION_FLAG("explain", &explain, "add \"steps\": which rule gave which path which value"),
        OPTION_FLAG("json", &json, "accepted as everywhere; the answers are JSON anyway"),
    };
    const struct command_line line = {
        "merge", "",
        "Reads lines {\"policy\", \"document\", \"version\", \"edit\"} from standard input and\n"
        "answers each with {\"status\", \"document\"} or {\"error\", \"message\"} on a line.\n",
        options, OPTION_COUNT(options), 0, 0};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    struct input_lines lines = {.stream = stdin};
    struct arena arena;
    struct buf out = BUF_INIT;
    struct slice text;
    int result = CLI_OK;
    arena_init(&arena);
    while (result == CLI_OK && input_next_line(&lines, &text)) {
        const char *message = "";
        arena_reset(&arena);
        int status = merge_line(&arena, text, explain, &out, &message);
        if (status != BQ_OK) {
            buf_clear(&out);
            print_error(&out, status, message);
        }
        result = output_line(json, &out);
    }
    buf_release(&out);
    buf_release(&lines.hold);
    arena_release(&arena);
    return result;
}
