/* fake_server.c - see fake_server.h. Aborts where a test's own machinery fails. */
#include "fake_server.h"

#include "base/buf.h"
#include "base/status.h"
#include "client/identity.h"
#include "core/op.h"
#include "store/memory.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SCRIPT_MAX 64

struct line {
    enum fake_verdict verdict;
    int http_status;
    int64_t retry_after_ms;
    char body[2048];
};

struct fake_server {
    pthread_mutex_t mutex;
    struct store *store;
    struct arena policy_arena;
    struct op_context context;
    struct line script[SCRIPT_MAX];
    unsigned n_script;
    unsigned n_used;
    enum fake_verdict always;
    unsigned n_exchanges;
    unsigned n_requests;
    struct buf last_body;
    struct buf last_token;
    void (*before)(void);
    void (*after)(void);
    void (*moved)(void *cls, const char *user, int64_t seq);
    void *moved_cls;
};

struct fake_transport {
    struct transport base;
    struct fake_server *server;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool woken;
    bool flies;
    bool silent;
    struct transport_answer answer;
    struct buf body;
};

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "fake_server: %s\n", what);
        abort();
    }
}

/* ---- The server ------------------------------------------------------------------------------ */

static void load_policies(struct fake_server *server)
{
    arena_reset(&server->policy_arena);
    must(op_load_policies(server->store, &server->policy_arena, &server->context.policies,
                          &server->context.policies_version) == BQ_OK,
         "no policies");
}

struct fake_server *fake_server_new(void)
{
    struct fake_server *server = calloc(1, sizeof *server);
    must(server != NULL, "no memory");
    must(pthread_mutex_init(&server->mutex, NULL) == 0, "no mutex");
    must(store_memory_open("fake", 1, 2, 32, &server->store) == BQ_OK, "no store");
    arena_init(&server->policy_arena);
    server->context.store = server->store;
    server->context.limits = LIMITS_DEFAULT;
    server->context.now_us = INT64_C(1770000000000000);
    load_policies(server);
    return server;
}

struct fake_server *fake_server_clone(const struct fake_server *from)
{
    struct fake_server *server = calloc(1, sizeof *server);
    must(server != NULL, "no memory");
    must(pthread_mutex_init(&server->mutex, NULL) == 0, "no mutex");
    must(store_memory_clone(from->store, &server->store) == BQ_OK, "no copy of the store");
    arena_init(&server->policy_arena);
    server->context = from->context;
    server->context.store = server->store;
    load_policies(server);
    return server;
}

char *fake_server_document(struct fake_server *server, const char *user, const char *key)
{
    struct arena arena;
    struct store_doc doc;
    struct uuid id;
    struct store *store = server->store;
    arena_init(&arena);
    must(uuid_parse(slice_of(user), &id), "no uuid");
    must(store->begin(store) == BQ_OK, "the store cannot be read");
    must(store->doc_get(store, &arena, &id, slice_of(key), &doc) == BQ_OK, "no document");
    store->rollback(store);
    bool absent = doc.version == 0 || doc.deleted;
    char *text = absent ? strdup("") : strndup(doc.data.ptr, doc.data.len);
    must(text != NULL, "no memory");
    arena_release(&arena);
    return text;
}

void fake_server_free(struct fake_server *server)
{
    server->store->close(server->store);
    arena_release(&server->policy_arena);
    buf_release(&server->last_body);
    buf_release(&server->last_token);
    (void)pthread_mutex_destroy(&server->mutex);
    free(server);
}

void fake_server_next(struct fake_server *server, enum fake_verdict verdict, int http_status,
                      int64_t retry_after_ms, const char *body)
{
    pthread_mutex_lock(&server->mutex);
    must(server->n_script < SCRIPT_MAX, "the script is too long");
    struct line *line = &server->script[server->n_script++];
    line->verdict = verdict;
    line->http_status = http_status;
    line->retry_after_ms = retry_after_ms;
    (void)snprintf(line->body, sizeof line->body, "%s", body == NULL ? "" : body);
    pthread_mutex_unlock(&server->mutex);
}

void fake_server_always(struct fake_server *server, enum fake_verdict verdict)
{
    pthread_mutex_lock(&server->mutex);
    server->always = verdict;
    pthread_mutex_unlock(&server->mutex);
}

void fake_server_guard(struct fake_server *server, void (*before)(void), void (*after)(void))
{
    server->before = before;
    server->after = after;
}

void fake_server_on_change(struct fake_server *server,
                           void (*moved)(void *cls, const char *user, int64_t seq), void *cls)
{
    pthread_mutex_lock(&server->mutex);
    server->moved = moved;
    server->moved_cls = cls;
    pthread_mutex_unlock(&server->mutex);
}

unsigned fake_server_n_requests(struct fake_server *server, const char *function)
{
    pthread_mutex_lock(&server->mutex);
    unsigned n = function == NULL ? server->n_requests : server->n_exchanges;
    pthread_mutex_unlock(&server->mutex);
    return n;
}

const char *fake_server_last_body(struct fake_server *server)
{
    return server->last_body.ptr == NULL ? "" : server->last_body.ptr;
}

const char *fake_server_last_token(struct fake_server *server)
{
    return server->last_token.ptr == NULL ? "" : server->last_token.ptr;
}

static void run_one(struct fake_server *server, struct op *op)
{
    struct op *ops[] = {op};
    server->context.now_us += 1000;
    must(apply_batch(&server->context, ops, 1) == BQ_OK, "apply_batch failed");
}

void fake_server_set_policy(struct fake_server *server, const char *pattern, const char *policy)
{
    struct arena arena;
    struct op op = {.kind = OP_POLICY_SET, .arena = &arena};
    arena_init(&arena);
    pthread_mutex_lock(&server->mutex);
    op.in.policy_set.pattern = slice_of(pattern);
    must(json_parse(&arena, slice_of(policy), 16, &op.in.policy_set.policy, NULL) == BQ_OK,
         "a policy is no JSON");
    run_one(server, &op);
    must(op.status == BQ_OK, "a policy was refused");
    load_policies(server);
    pthread_mutex_unlock(&server->mutex);
    arena_release(&arena);
}

void fake_server_erase(struct fake_server *server, const char *user)
{
    struct arena arena;
    struct op op = {.kind = OP_USER_ERASE, .arena = &arena};
    arena_init(&arena);
    must(uuid_parse(slice_of(user), &op.user), "no uuid");
    pthread_mutex_lock(&server->mutex);
    run_one(server, &op);
    pthread_mutex_unlock(&server->mutex);
    arena_release(&arena);
}

/* As the routes of the server do: read, run, print. */
static int serve(struct fake_server *server, const struct transport_request *request,
                 struct buf *out)
{
    struct arena arena;
    struct json_value params;
    struct proto_problem problem;
    const char *why;
    arena_init(&arena);
    struct op op = {.arena = &arena};
    if (identity_of_token(request->token, &op.user, &why) != BQ_OK) {
        return 401;
    }
    must(json_parse(&arena, request->body, 80, &params, NULL) == BQ_OK, "a request is no JSON");
    int status = BQ_OK;
    if (strcmp(request->function, "sync_exchange") == 0) {
        op.kind = OP_EXCHANGE;
        status = proto_exchange_read(&arena, &params, &op.in.exchange, &problem);
    } else if (strcmp(request->function, "sync_report") == 0) {
        op.kind = OP_REPORT;
        status = proto_report_read(&arena, &params, &op.in.report, &problem);
    } else {
        op.kind = OP_POLICIES;
    }
    must(status == BQ_OK, "a request cannot be read");
    run_one(server, &op);
    if (op.wrote && server->moved != NULL) {
        server->moved(server->moved_cls, op.user.text, op.seq);
    }
    int http_status = 200;
    if (op.status != BQ_OK) {
        http_status = op.status == BQ_USER_ERASED ? 403 : 400;
        proto_error_print(out, status_code(op.status), op.message, NULL, NULL);
    } else if (op.kind == OP_EXCHANGE) {
        proto_answer_print(out, &op.out.answer);
    } else if (op.kind == OP_POLICIES) {
        json_print(out, &op.out.policies);
    } else {
        http_status = 204;
    }
    must(!out->failed, "no memory");
    arena_release(&arena);
    return http_status;
}

/* ---- The transport --------------------------------------------------------------------------- */

static struct fake_transport *fake_of(struct transport *transport)
{
    return (struct fake_transport *)(void *)transport;
}

static struct line take_line(struct fake_server *server)
{
    return server->n_used < server->n_script
               ? server->script[server->n_used++]
               : (struct line){.verdict = server->always, .retry_after_ms = -1};
}

static void note(struct fake_server *server, const struct transport_request *request)
{
    server->n_requests++;
    server->n_exchanges += strcmp(request->function, "sync_exchange") == 0 ? 1 : 0;
    buf_clear(&server->last_body);
    buf_add_slice(&server->last_body, request->body);
    buf_clear(&server->last_token);
    buf_add_text(&server->last_token, request->token);
}

static void answer_now(struct fake_transport *fake, const struct transport_request *request)
{
    struct fake_server *server = fake->server;
    pthread_mutex_lock(&server->mutex);
    if (server->before != NULL) {
        server->before();
    }
    struct line line = take_line(server);
    note(server, request);
    fake->answer =
        (struct transport_answer){.serial = request->serial, .retry_after_ms = line.retry_after_ms};
    buf_clear(&fake->body);
    if (line.verdict == FAKE_SERVE || line.verdict == FAKE_LOSE_ACK) {
        fake->answer.http_status = serve(server, request, &fake->body);
    } else if (line.verdict == FAKE_ANSWER) {
        fake->answer.http_status = line.http_status;
        buf_add_text(&fake->body, line.body);
    }
    if (line.verdict == FAKE_LOSE || line.verdict == FAKE_LOSE_ACK) {
        fake->answer.status = BQ_NETWORK;
        fake->answer.error = "the network is away";
    }
    fake->answer.body = buf_slice(&fake->body);
    fake->silent = line.verdict == FAKE_SILENT;
    if (server->after != NULL) {
        server->after();
    }
    pthread_mutex_unlock(&server->mutex);
}

static int start(struct transport *transport, const struct transport_request *request)
{
    struct fake_transport *fake = fake_of(transport);
    must(!fake->flies, "two requests at once");
    answer_now(fake, request);
    fake->flies = true;
    return BQ_OK;
}

static void cancel(struct transport *transport)
{
    fake_of(transport)->flies = false;
}

static void wait_until(struct fake_transport *fake, int64_t wait_ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += wait_ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    while (!fake->woken) {
        if (pthread_cond_timedwait(&fake->changed, &fake->mutex, &until) != 0) {
            break;
        }
    }
}

static bool wait_for(struct transport *transport, int64_t wait_ms, struct transport_answer *out)
{
    struct fake_transport *fake = fake_of(transport);
    if (fake->flies && !fake->silent) {
        fake->flies = false;
        *out = fake->answer;
        return true;
    }
    pthread_mutex_lock(&fake->mutex);
    if (wait_ms > 0) {
        wait_until(fake, wait_ms);
    }
    fake->woken = false;
    pthread_mutex_unlock(&fake->mutex);
    return false;
}

static void wake(struct transport *transport)
{
    struct fake_transport *fake = fake_of(transport);
    pthread_mutex_lock(&fake->mutex);
    fake->woken = true;
    pthread_cond_broadcast(&fake->changed);
    pthread_mutex_unlock(&fake->mutex);
}

static void free_fake(struct transport *transport)
{
    struct fake_transport *fake = fake_of(transport);
    buf_release(&fake->body);
    (void)pthread_cond_destroy(&fake->changed);
    (void)pthread_mutex_destroy(&fake->mutex);
    free(fake);
}

struct transport *fake_server_connect(struct fake_server *server)
{
    struct fake_transport *fake = calloc(1, sizeof *fake);
    pthread_condattr_t attributes;
    must(fake != NULL, "no memory");
    fake->base = (struct transport){
        .free = free_fake, .start = start, .cancel = cancel, .wait = wait_for, .wake = wake};
    fake->server = server;
    must(pthread_mutex_init(&fake->mutex, NULL) == 0, "no mutex");
    must(pthread_condattr_init(&attributes) == 0 &&
             pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
             pthread_cond_init(&fake->changed, &attributes) == 0,
         "no condition");
    (void)pthread_condattr_destroy(&attributes);
    return &fake->base;
}
