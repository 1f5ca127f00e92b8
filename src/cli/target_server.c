/* target_server.c - rows into a running server: sync_exchange with a token for each user.
 *
 * The edits are seeds of the same device, numbers and fingerprints as a store's own (core/seed.c),
 * so what went in one way is known the other way. */
#include <stdio.h>
#include <time.h>

#include "base/status.h"
#include "cli/output.h"
#include "cli/target.h"
#include "proto/exchange.h"
#include "server/jwt_sign.h"

#define ANSWER_DEPTH 200u
#define TOKEN_SECONDS 300
#define US_PER_MS 1000

int target_open_server(struct target *target)
{
    char error[1024] = "";
    if (target->dry_run) {
        return output_fail(target->json, BQ_INVALID,
                           "--dry-run wants the store itself: --to sqlite:PATH");
    }
    if (target->secret_file == NULL) {
        return output_fail(target->json, BQ_INVALID,
                           "--to a server wants --jwt-secret-file: each user's rows go in with a "
                           "token of the user's");
    }
    int status = jwt_secret_load(target->secret_file, &target->secret, error, sizeof error);
    if (status != BQ_OK) {
        return output_fail(target->json, status, "%s", error);
    }
    return remote_open(&target->remote, target->to, target->json);
}

/* One document as the text of a seed. */
static int make_edit(struct arena *arena, const struct seed_row *row, struct slice *out)
{
    struct buf text = BUF_INIT;
    struct proto_edit edit = {.key = row->key, .op = row->modified_us / US_PER_MS};
    edit.op = edit.op < 1 ? 1 : edit.op;
    edit.edit = (struct merge_edit){
        .mode = MERGE_SEED, .base = -1, .was = json_absent(), .now = row->value};
    int status = seed_fingerprint(arena, &row->value, &edit.id);
    if (status == BQ_OK) {
        proto_edit_print(&text, &edit);
        *out = text.failed ? SLICE_NONE : arena_copy(arena, buf_slice(&text));
        status = out->ptr == NULL ? BQ_NOMEM : BQ_OK;
    }
    buf_release(&text);
    return status;
}

static struct seed_result result_of(struct arena *arena, const struct proto_result *one)
{
    struct seed_result out = {SEED_REFUSED, one->code, status_text(one->code)};
    switch (one->status) {
    case PROTO_APPLIED:
        out.outcome = SEED_INSERTED;
        break;
    case PROTO_MERGED:
        /* A seed is never `applied`: version 1 tells that nothing was there. */
        out.outcome = one->version == 1 ? SEED_INSERTED : SEED_MERGED;
        break;
    case PROTO_KEPT:
        out.outcome = one->deleted ? SEED_DELETED : SEED_KEPT;
        break;
    case PROTO_DUPLICATE:
        out.outcome = one->code == BQ_OK ? SEED_AGAIN : SEED_REFUSED;
        break;
    case PROTO_REWOUND:
    case PROTO_FORGOTTEN:
        out.code = BQ_INVALID;
        out.message = "an earlier run took in another document under this timestamp";
        break;
    case PROTO_REFUSED: {
        struct slice copy = one->message.ptr == NULL ? SLICE_NONE : arena_copy(arena, one->message);
        out.message = copy.ptr == NULL ? out.message : copy.ptr;
        break;
    }
    }
    return out;
}

/* places[i]: which document of the row edit i was. */
static int read_answer(struct target *target, struct arena *arena, const uint32_t *places,
                       uint32_t n, struct seed_result *out)
{
    struct json_value value;
    struct proto_answer answer = {0};
    int status = json_parse(arena, buf_slice(&target->answer), ANSWER_DEPTH, &value, NULL);
    if (status == BQ_OK) {
        status = proto_answer_read(arena, &value, &answer, NULL);
    }
    if (status != BQ_OK || answer.n_results != n) {
        return output_fail(target->json, BQ_PROTOCOL, "%s: the answer is not one of this protocol",
                           target->to);
    }
    for (uint32_t i = 0; i < n; i++) {
        out[places[i]] = result_of(arena, &answer.results[i]);
    }
    return CLI_OK;
}

/* Documents from *inout_at on, as many as one exchange takes. A key that is none is refused
 * here. */
static int send_some(struct target *target, struct arena *arena, const struct source_row *row,
                     struct seed_result *results, uint32_t *inout_at)
{
    struct slice edits[LIMIT_EDITS];
    uint32_t places[LIMIT_EDITS];
    struct slice device = source_device(row->kind);
    struct proto_exchange request = {.device_id = device, .limit = 1, .proto = 1};
    uint32_t n = 0;
    size_t bytes = 0;
    for (; n < LIMIT_EDITS && *inout_at < row->n_docs && bytes < LIMIT_BODY_BYTES / 2;
         ++*inout_at) {
        const struct seed_row *doc = &row->docs[*inout_at];
        if (!proto_key_valid(doc->key)) {
            results[*inout_at] =
                (struct seed_result){SEED_REFUSED, BQ_BAD_KEY, status_text(BQ_BAD_KEY)};
            continue;
        }
        if (make_edit(arena, doc, &edits[n]) != BQ_OK) {
            return output_fail(target->json, BQ_NOMEM, "%s", status_text(BQ_NOMEM));
        }
        places[n] = *inout_at;
        bytes += edits[n++].len;
    }
    if (n == 0) {
        return CLI_OK;
    }
    buf_clear(&target->body);
    buf_clear(&target->answer);
    proto_exchange_print(&target->body, &request, edits, n);
    if (target->body.failed) {
        return output_fail(target->json, BQ_NOMEM, "%s", status_text(BQ_NOMEM));
    }
    int result = remote_call(&target->remote, "sync_exchange", buf_slice(&target->token),
                             buf_slice(&target->body), &target->answer);
    return result == CLI_OK ? read_answer(target, arena, places, n, results) : result;
}

static int take_row(struct target *target, struct arena *arena, const struct source_row *row,
                    struct target_result *out)
{
    struct jwt_grant grant = {ROLE_AUTHENTICATED, &row->user, time(NULL), TOKEN_SECONDS};
    struct seed_result *docs = arena_zalloc(arena, row->n_docs, sizeof *docs);
    int result = CLI_OK;
    uint32_t at = 0;
    *out = (struct target_result){.docs = docs};
    if (row->has_device || row->has_v1_device) {
        out->status = BQ_UNSUPPORTED;
        snprintf(out->message, sizeof out->message,
                 "devices come in with --to sqlite:PATH or postgres://... alone");
        return CLI_OK;
    }
    buf_clear(&target->token);
    if (docs == NULL || jwt_sign(buf_slice(&target->secret), &grant, &target->token) != BQ_OK) {
        return output_fail(target->json, BQ_NOMEM, "%s", status_text(BQ_NOMEM));
    }
    while (at < row->n_docs && result == CLI_OK) {
        result = send_some(target, arena, row, docs, &at);
    }
    if (result == CLI_PROBLEM) {
        out->status = BQ_INVALID; /* its sentence was told */
        snprintf(out->message, sizeof out->message, "the server refused the request");
        result = CLI_OK;
    }
    return result;
}

int target_take_server(struct target *target, struct arena *arena, const struct source_row *rows,
                       uint32_t n, struct target_result *results)
{
    int result = CLI_OK;
    for (uint32_t i = 0; i < n && result == CLI_OK; i++) {
        result = take_row(target, arena, &rows[i], &results[i]);
    }
    return result;
}
