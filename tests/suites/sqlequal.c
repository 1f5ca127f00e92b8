/* sqlequal.c - calls to the core on a store in memory, a line in, a line out: what the suite
 * sqlequal (sqlequal.sh) holds against the functions of sql/postgres.
 *
 *     {"now": 1700000000000000, "role": "authenticated", "sub": "<uuid>",
 *      "call": "sync_exchange", "body": {...}}          → {"http": 200, "body": ...}
 *     {"dump": ["<uuid>", ...]}                         → the rows of these users
 *
 * Arguments, identity and answers go through src/server/rpc.c, as they do behind HTTP. The store's
 * epoch is "E". */
#include "base/limits.h"
#include "base/status.h"
#include "proto/read.h"
#include "server/rpc.h"
#include "store/memory.h"

#include <stdio.h>
#include <stdlib.h>

#define LINE_DEPTH 10000u

struct player {
    struct store *store;
    struct arena policies;
    struct op_context context;
};

static int load_policies(struct player *player)
{
    arena_reset(&player->policies);
    return op_load_policies(player->store, &player->policies, &player->context.policies,
                            &player->context.policies_version);
}

static struct slice text_of(const struct json_value *line, const char *name)
{
    const struct json_value *value = json_get(line, name);
    return json_is(value, JSON_STRING) ? json_text(value) : SLICE("");
}

static struct jwt_identity identity_of(const struct json_value *line)
{
    struct jwt_identity identity = {.role = ROLE_ANON};
    if (slice_is(text_of(line, "role"), "authenticated")) {
        identity.role = ROLE_AUTHENTICATED;
        identity.has_user = uuid_parse(text_of(line, "sub"), &identity.user);
    } else if (slice_is(text_of(line, "role"), "service_role")) {
        identity.role = ROLE_SERVICE;
    }
    return identity;
}

static void print_problem(struct buf *out, const struct problem *problem)
{
    buf_add_format(out, "{\"http\":%u,\"body\":", problem->http);
    proto_error_print(out, problem->code, problem->message, problem->details, problem->hint);
    buf_add_char(out, '}');
}

static void play(struct player *player, struct arena *arena, const struct json_value *line,
                 struct buf *out)
{
    static const struct uri no_query = {0};
    const struct rpc_function *function;
    struct jwt_identity identity = identity_of(line);
    struct problem problem = PROBLEM_NONE;
    struct reply reply = {.body = BUF_INIT};
    struct buf body = BUF_INIT;
    struct op op;
    struct op *ops[] = {&op};
    json_print(&body, json_get(line, "body"));
    struct rpc_input input = {.arena = arena,
                              .name = text_of(line, "call"),
                              .uri = &no_query,
                              .body = arena_copy(arena, buf_slice(&body)),
                              .depth = LINE_DEPTH};
    buf_release(&body);
    json_to_int(json_get(line, "now"), &player->context.now_us);
    bool ok = rpc_admit(arena, input.name, false, &identity, &problem) &&
              rpc_prepare(&input, &identity, &function, &op, &problem);
    if (ok) {
        int status = apply_batch(&player->context, ops, 1);
        if (status == BQ_OK && op.kind == OP_POLICY_SET) {
            status = load_policies(player);
        }
        if (status != BQ_OK) {
            fprintf(stderr, "sqlequal: the store answers %s\n", status_code(status));
            exit(2);
        }
        ok = rpc_answer(function, &op, false, &reply, &problem);
    }
    if (!ok) {
        print_problem(out, &problem);
    } else {
        buf_add_format(out, "{\"http\":%u,\"body\":", reply.http);
        buf_add_slice(out, reply.body.len == 0 ? SLICE("null") : buf_slice(&reply.body));
        buf_add_char(out, '}');
    }
    buf_release(&reply.body);
}

static void print_hex(struct buf *out, const char *name, struct slice bytes)
{
    proto_print_name(out, false, name);
    buf_add_char(out, '"');
    for (size_t i = 0; i < bytes.len; i++) {
        buf_add_format(out, "%02x", (unsigned)(unsigned char)bytes.ptr[i]);
    }
    buf_add_char(out, '"');
}

static void dump_user(struct player *player, struct arena *arena, const struct uuid *id,
                      struct buf *out)
{
    struct store_user user;
    struct store_docs docs;
    struct store *store = player->store;
    if (store->user_get(store, id, &user) != BQ_OK ||
        store->docs(store, arena, id, 0, UINT32_MAX, SIZE_MAX, true, &docs) != BQ_OK) {
        exit(2);
    }
    proto_print_name(out, true, "seq");
    buf_add_int(out, user.seq);
    proto_print_int(out, "generation", user.generation);
    proto_print_int(out, "clock", user.clock_us);
    proto_print_bool(out, "erased", user.erased);
    proto_print_int(out, "keys", user.n_keys);
    proto_print_int(out, "bytes", user.n_bytes);
    proto_print_int(out, "tombstones", user.n_tombstones);
    proto_print_int(out, "purged", user.purged_seq);
    proto_print_name(out, false, "docs");
    buf_add_char(out, '[');
    for (uint32_t i = 0; i < docs.n; i++) {
        const struct store_doc *doc = &docs.items[i];
        buf_add_text(out, i == 0 ? "" : ",");
        proto_print_name(out, true, "key");
        json_print_string(out, doc->key);
        proto_print_int(out, "version", doc->version);
        proto_print_int(out, "seq", doc->seq);
        proto_print_bool(out, "deleted", doc->deleted);
        proto_print_int(out, "epoch", doc->epoch);
        proto_print_name(out, false, "data");
        buf_add_slice(out, doc->data);
        proto_print_text(out, "device", doc->device_id);
        proto_print_time(out, "modified", doc->modified_us);
        proto_print_time(out, "created", doc->created_us);
        print_hex(out, "receipts", doc->receipts);
        buf_add_char(out, '}');
    }
    buf_add_text(out, "]}");
}

static void dump(struct player *player, struct arena *arena, const struct json_value *users,
                 struct buf *out)
{
    struct store *store = player->store;
    if (store->begin(store) != BQ_OK) {
        exit(2);
    }
    buf_add_char(out, '[');
    for (uint32_t i = 0; i < users->count; i++) {
        struct uuid id;
        buf_add_text(out, i == 0 ? "" : ",");
        if (uuid_parse(json_text(&users->items[i]), &id)) {
            dump_user(player, arena, &id, out);
        }
    }
    buf_add_char(out, ']');
    store->rollback(store);
}

int main(void)
{
    struct player player = {.context = {.limits = LIMITS_DEFAULT}};
    struct arena arena;
    struct buf out = BUF_INIT;
    char *text = NULL;
    size_t size = 0;
    ssize_t len;
    arena_init(&arena);
    arena_init(&player.policies);
    if (store_memory_open("E", 1, 2, player.context.limits.history, &player.store) != BQ_OK ||
        load_policies(&player) != BQ_OK) {
        return 2;
    }
    player.context.store = player.store;
    while ((len = getline(&text, &size, stdin)) > 0) {
        struct json_value line;
        struct slice slice = {text, (size_t)len};
        if (json_parse(&arena, slice, LINE_DEPTH, &line, NULL) != BQ_OK) {
            fprintf(stderr, "sqlequal: not JSON: %.*s", (int)len, text);
            return 2;
        }
        const struct json_value *users = json_get(&line, "dump");
        if (users != NULL) {
            dump(&player, &arena, users, &out);
        } else {
            play(&player, &arena, &line, &out);
        }
        buf_add_char(&out, '\n');
        fwrite(out.ptr, 1, out.len, stdout);
        fflush(stdout);
        buf_clear(&out);
        arena_reset(&arena);
    }
    free(text);
    buf_release(&out);
    player.store->close(player.store);
    arena_release(&player.policies);
    arena_release(&arena);
    return 0;
}
