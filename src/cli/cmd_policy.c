/* cmd_policy.c - bqsync policy: what decides how documents are merged; docs/merge.md, section 2. */
#include <stdio.h>
#include <string.h>

#include "bqsync.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/operator.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/steps.h"
#include "proto/edit.h"

struct policy {
    struct operator operator;
    struct arena arena;
    const char *file;     /* explain, list: the patterns of a file */
    const char *document; /* explain */
    const char *edit;     /* explain */
    int64_t version;      /* explain */
    bool remove;          /* set */
};

static int refuse(const struct policy *policy, const char *what,
                  const struct merge_policy_error *error)
{
    return output_fail(policy->operator.json, BQ_BAD_POLICY, "%s, at %s: %s", what,
                       error->path[0] == '\0' ? "its top" : error->path, error->what);
}

/* The patterns that the options name: a file's, a store's, a server's, or the shipped ones. */
static int load(struct policy *policy, struct json_value *patterns)
{
    bool json = policy->operator.json;
    if (policy->file != NULL) {
        struct buf text = BUF_INIT;
        int status = input_file(json, policy->file, &text);
        if (status == BQ_OK) {
            struct slice copy = arena_copy(&policy->arena, buf_slice(&text));
            status = input_json(json, &policy->arena, policy->file, copy, patterns);
        }
        buf_release(&text);
        return output_exit(status);
    }
    if (operator_is_nowhere(&policy->operator)) {
        return output_exit(input_json(json, &policy->arena, "the shipped policies",
                                      slice_of(merge_policies_shipped), patterns));
    }
    struct json_value answer;
    int result = operator_open(&policy->operator, false);
    if (result == CLI_OK) {
        result = operator_policies(&policy->operator, &policy->arena, &answer);
    }
    if (result == CLI_OK) {
        const struct json_value *member = json_get(&answer, "policies");
        if (!json_is(member, JSON_OBJECT)) {
            return output_fail(json, BQ_PROTOCOL, "the answer holds no policies; is it bqsync?");
        }
        *patterns = *member;
    }
    return result;
}

/* Loads and checks. */
static int load_checked(struct policy *policy, struct json_value *patterns,
                        const struct merge_policies **out)
{
    struct merge_policy_error error = {"", ""};
    int result = load(policy, patterns);
    if (result != CLI_OK) {
        return result;
    }
    int status = merge_policies_read(&policy->arena, patterns, out, &error);
    if (status == BQ_BAD_POLICY) {
        return refuse(policy, policy->file == NULL ? "these policies" : policy->file, &error);
    }
    return status == BQ_OK ? CLI_OK : output_fail(policy->operator.json, status, "no memory left");
}

static int list(struct policy *policy)
{
    struct json_value patterns = json_absent();
    struct buf line = BUF_INIT;
    int result = load(policy, &patterns);
    for (uint32_t i = 0; result == CLI_OK && i < patterns.count; i++) {
        const struct json_member *member = &patterns.members[i];
        if (policy->operator.json) {
            output_begin(&line);
            output_text(&line, "pattern", json_text(&member->key));
            output_value(&line, "policy", &member->value);
            output_close(&line);
        } else {
            size_t width = 20;
            buf_add_slice(&line, json_text(&member->key));
            do {
                buf_add_char(&line, ' ');
            } while (line.len < width);
            json_print(&line, &member->value);
        }
        result = output_line(policy->operator.json, &line);
    }
    buf_release(&line);
    return result;
}

static int check(struct policy *policy, const char *path)
{
    struct json_value patterns = json_absent();
    const struct merge_policies *read;
    policy->file = path;
    int result = load_checked(policy, &patterns, &read);
    if (result != CLI_OK) {
        return result;
    }
    struct buf line = BUF_INIT;
    if (policy->operator.json) {
        output_begin(&line);
        output_bool(&line, "ok", true);
        output_int(&line, "patterns", patterns.count);
        output_close(&line);
    } else {
        buf_add_text(&line, path);
        buf_add_format(&line, ": ok, %u patterns", patterns.count);
    }
    result = output_line(policy->operator.json, &line);
    buf_release(&line);
    return result;
}

static int set(struct policy *policy, const char *pattern, const char *text)
{
    struct json_value value = json_absent();
    if (operator_is_nowhere(&policy->operator)) {
        fputs("bqsync: policy set: say where, --store STORE or --url URL --token TOKEN\n",
              stderr);
        return CLI_USAGE;
    }
    if ((text == NULL) != policy->remove) {
        fputs("bqsync: policy set: give a policy, or --remove without one\n", stderr);
        return CLI_USAGE;
    }
    if (text != NULL) {
        const struct merge_policy *read;
        struct merge_policy_error error = {"", ""};
        int status = input_json_argument(policy->operator.json, &policy->arena, "the policy", text,
                                         &value);
        if (status != BQ_OK) {
            return output_exit(status);
        }
        if (merge_policy_read(&policy->arena, &value, &read, &error) != BQ_OK) {
            return refuse(policy, "the policy is refused", &error);
        }
    }
    int result = operator_open(&policy->operator, true);
    if (result == CLI_OK) {
        result = operator_set_policy(&policy->operator, &policy->arena, pattern, &value);
    }
    if (result != CLI_OK) {
        return result;
    }
    struct buf line = BUF_INIT;
    if (policy->operator.json) {
        output_begin(&line);
        output_text(&line, "pattern", slice_of(pattern));
        output_value(&line, "policy", &value);
        output_close(&line);
    } else {
        buf_add_text(&line, pattern);
        buf_add_text(&line, policy->remove ? " is as shipped again" : " is set");
    }
    result = output_line(policy->operator.json, &line);
    buf_release(&line);
    return result;
}

/* A line for each leaf of the policy: the place, and the word that decides there. */
static void print_tree(struct buf *out, const struct merge_policy *policy, const char *place)
{
    struct buf inner = BUF_INIT;
    if (policy->kind == MERGE_EACH) {
        buf_add_format(&inner, "%s/*", place);
        print_tree(out, policy->each, buf_slice(&inner).ptr);
    } else if (policy->kind == MERGE_FIELDS) {
        for (uint32_t i = 0; i < policy->n_fields; i++) {
            buf_clear(&inner);
            buf_add_format(&inner, "%s/%.*s", place, SLICE_FMT(policy->fields[i].name));
            print_tree(out, policy->fields[i].policy, buf_slice(&inner).ptr);
        }
        buf_clear(&inner);
        buf_add_format(&inner, "%s/(any other)", place);
        print_tree(out, policy->rest, buf_slice(&inner).ptr);
    } else {
        buf_add_format(out, "  %-32s %s\n", place[0] == '\0' ? "(the document)" : place,
                       merge_kind_word(policy->kind));
    }
    buf_release(&inner);
}

/* The member of `patterns` that decides for a key. */
static const struct json_value *policy_json(const struct json_value *patterns, struct slice pattern)
{
    static const struct json_value incoming = {
        .type = JSON_STRING, .ptr = "incoming", .len = sizeof "incoming" - 1};
    const struct json_value *found = json_get_slice(patterns, pattern);
    return found == NULL ? &incoming : found;
}

static int explain_policy(struct policy *policy, const char *key, const struct json_value *patterns,
                          const struct merge_policies *policies)
{
    struct buf line = BUF_INIT;
    struct slice pattern = merge_policies_pattern(policies, slice_of(key));
    if (policy->operator.json) {
        output_begin(&line);
        output_text(&line, "key", slice_of(key));
        output_text(&line, "pattern", pattern);
        output_value(&line, "policy", policy_json(patterns, pattern));
        output_close(&line);
    } else {
        const struct merge_policy *found = merge_policies_find(policies, slice_of(key));
        buf_add_text(&line, key);
        buf_add_text(&line, " goes by the pattern ");
        buf_add_slice(&line, pattern);
        buf_add_char(&line, '\n');
        print_tree(&line, found, "");
        if (found->epoch_field.ptr != NULL) {
            buf_add_text(&line, "  epoch field ");
            buf_add_slice(&line, found->epoch_field);
            buf_add_char(&line, '\n');
        }
        line.len -= line.failed ? 0 : 1;
    }
    int result = output_line(policy->operator.json, &line);
    buf_release(&line);
    return result;
}

static int print_merge(struct policy *policy, const struct merge_result *result,
                       const struct merge_trace *trace)
{
    struct buf line = BUF_INIT;
    const char *word = steps_outcome_word(result->outcome);
    if (policy->operator.json) {
        struct buf steps = BUF_INIT;
        steps_print_json(&steps, trace);
        output_begin(&line);
        output_text(&line, "status", slice_of(word));
        output_value(&line, "document", &result->document.value);
        output_raw(&line, "steps", buf_slice(&steps));
        output_close(&line);
        buf_release(&steps);
    } else {
        buf_add_text(&line, word);
        buf_add_char(&line, '\n');
        steps_print_text(&line, trace, "  ");
        buf_add_text(&line, "result ");
        if (result->document.deleted) {
            buf_add_text(&line, "(deleted)");
        } else {
            json_print(&line, &result->document.value);
        }
    }
    int exit_code = output_line(policy->operator.json, &line);
    buf_release(&line);
    return exit_code;
}

/* What the merge would do with --edit on --document. */
static int explain_edit(struct policy *policy, const struct merge_policy *with)
{
    bool json = policy->operator.json;
    struct json_value value = json_absent();
    struct json_value edit_value;
    struct merge_edit edit;
    struct proto_problem problem = {BQ_OK, ""};
    struct merge_result result;
    struct merge_trace trace = {.arena = &policy->arena};
    int status = BQ_OK;
    if (policy->document != NULL) {
        status = input_json_argument(json, &policy->arena, "--document", policy->document, &value);
    }
    if (status == BQ_OK) {
        status = input_json_argument(json, &policy->arena, "--edit", policy->edit, &edit_value);
    }
    if (status != BQ_OK) {
        return output_exit(status);
    }
    status = proto_edit_read_bare(&policy->arena, &edit_value, &edit, &problem);
    if (status != BQ_OK) {
        return output_fail(json, status, "--edit: %s", problem.text);
    }
    struct merge_document document = {.value = value, .version = policy->version};
    if (policy->version < 0) {
        document.version = policy->document == NULL ? 0 : 1;
    }
    status = merge_apply(&policy->arena, &document, &edit, with, &trace, &result);
    if (status != BQ_OK) {
        return output_fail(json, status, "the edit is refused: %s", bq_strerror(status));
    }
    return print_merge(policy, &result, &trace);
}

static int explain(struct policy *policy, const char *key)
{
    struct json_value patterns = json_absent();
    const struct merge_policies *policies;
    int result = load_checked(policy, &patterns, &policies);
    if (result != CLI_OK) {
        return result;
    }
    if (policy->edit != NULL) {
        return explain_edit(policy, merge_policies_find(policies, slice_of(key)));
    }
    return explain_policy(policy, key, &patterns, policies);
}

static int run(struct policy *policy, int n, char **argv)
{
    const char *verb = n == 0 ? "list" : argv[0];
    if (strcmp(verb, "list") == 0 && n <= 1) {
        return list(policy);
    }
    if (strcmp(verb, "check") == 0 && n == 2) {
        return check(policy, argv[1]);
    }
    if (strcmp(verb, "set") == 0 && (n == 2 || n == 3)) {
        return set(policy, argv[1], n == 3 ? argv[2] : NULL);
    }
    if (strcmp(verb, "explain") == 0 && n == 2) {
        return explain(policy, argv[1]);
    }
    fputs("bqsync: policy: take list, check FILE, set PATTERN POLICY or explain KEY\n", stderr);
    return CLI_USAGE;
}

int cmd_policy(int argc, char **argv)
{
    struct policy policy = {.version = -1};
    int n;
    const struct option_spec options[] = {
        OPERATOR_OPTIONS(&policy.operator),
        OPTION_TEXT("policies", "FILE", &policy.file, "explain, list: the policies of a file"),
        OPTION_TEXT("document", "JSON", &policy.document, "explain: the server's document"),
        OPTION_TEXT("edit", "JSON", &policy.edit, "explain: an edit {\"base\",\"was\",\"now\"}"),
        OPTION_NUMBER("version", "N", &policy.version, "explain: the document's version (1)"),
        OPTION_FLAG("remove", &policy.remove, "set: back to what is shipped"),
    };
    const struct command_line line = {
        "policy", "[list|check|set|explain] [ARGUMENT...]",
        "list                the policies by pattern; without --store or --url the shipped ones\n"
        "check FILE          reads {pattern: policy} and says what is wrong where\n"
        "set PATTERN POLICY  writes one; POLICY is JSON, @FILE or -\n"
        "explain KEY         which pattern and which policy decides for each field of a key;\n"
        "                    with --edit which rule gives which field which value\n",
        options, OPTION_COUNT(options), 0, 3};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    arena_init(&policy.arena);
    int result = run(&policy, n, argv);
    operator_close(&policy.operator);
    arena_release(&policy.arena);
    return result;
}
