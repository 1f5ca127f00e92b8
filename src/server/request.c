/* request.c - the steps of request.h.
 *
 * A request that is refused at its header still has its body read (and thrown away, up to
 * DISCARD_MAX_BYTES): closing a socket with unread bytes would reset the connection and take the
 * answer with it. Where the client waits for "100 Continue", or where the framing is in doubt, the
 * refusal goes out at once and the connection ends. */
#include "server/request.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/utf8.h"
#include "server/address.h"
#include "server/clock.h"
#include "server/functions.h"
#include "server/handshake.h"
#include "server/proxy.h"
#include "server/route.h"
#include "server/table_call.h"

#include <fcntl.h>
#include <stdio.h>

#define DISCARD_MAX_BYTES (16u << 20)
#define BODY_DEPTH_EXTRA 64u /* deeper documents are refused one by one, not with their request */

enum phase {
    PHASE_HEADER,  /* nothing was looked at yet */
    PHASE_BODY,    /* the header was; the body is on its way */
    PHASE_WAITING, /* with the committer, or with the threads that hash passwords */
    PHASE_ANSWERED
};

struct request {
    struct committer_job job;
    struct arena arena;
    struct http_context *context;
    struct MHD_Connection *connection;
    struct link *link;
    enum phase phase;
    const char *raw_target; /* the library's; only compared */
    struct slice target;
    struct head head;
    struct uri uri;
    struct route route;
    bool singular;
    struct jwt_identity identity;
    const struct rpc_function *function;
    struct table_call *table; /* ROUTE_TABLE: in the arena */
    struct auth_call *auth; /* ROUTE_AUTH: in the arena */
    enum role key_role;
    struct slice bearer;
    struct proxy *proxy; /* ROUTE_PROXY: in the arena */
    struct handshake *handshake; /* ROUTE_REALTIME: in the arena */
    struct problem problem; /* http != 0: refused at the header */
    bool at_once;           /* the framing is in doubt: nothing more is read */
    char *body;             /* NULL: thrown away */
    size_t body_len;
    uint64_t n_discarded;
    char method[16];        /* for the log */
    int64_t start_us;
    unsigned http;          /* what was answered */
    size_t answer_bytes;
};

struct request *request_new(struct http_context *context, struct MHD_Connection *connection,
                            struct link *link, const char *target)
{
    struct request *request = mem_zalloc(1, sizeof *request);
    if (request == NULL) {
        return NULL;
    }
    arena_init(&request->arena);
    request->context = context;
    request->connection = connection;
    request->link = link;
    request->raw_target = target;
    request->target = arena_copy(&request->arena, slice_of(target));
    request->start_us = clock_us();
    link_set(link, request->start_us + context->config->header_timeout_ms * 1000, true);
    if (request->target.ptr == NULL) {
        arena_release(&request->arena);
        mem_free(request);
        return NULL;
    }
    return request;
}

static void log_access(const struct request *request, bool complete)
{
    struct log_line line;
    log_begin(&line, request->context->log, LOG_LEVEL_INFO, clock_wall_us(), "request");
    log_add_text(&line, "method", slice_of(request->method));
    log_add_text(&line, "route", request->uri.path);
    log_add_int(&line, "status", request->http);
    log_add_ms(&line, "ms", clock_us() - request->start_us);
    log_add_int(&line, "bytes", (int64_t)request->answer_bytes);
    if (request->identity.has_user) {
        log_add_text(&line, "user", uuid_slice(&request->identity.user));
    }
    if (request->problem.code != NULL) {
        log_add_text(&line, "code", slice_of(request->problem.code));
    }
    if (!complete) {
        log_add_text(&line, "end", SLICE("connection lost"));
    }
    log_end(&line);
}

void request_free(struct request *request, bool complete)
{
    if (request->phase != PHASE_HEADER) {
        log_access(request, complete);
    }
    upstream_end(request->proxy == NULL ? NULL : request->proxy->call);
    arena_release(&request->arena);
    mem_free(request);
}

static int64_t deadline(int64_t timeout_ms)
{
    return clock_us() + timeout_ms * 1000;
}

static enum MHD_Result send_reply(struct request *request, struct reply *reply)
{
    struct http_context *context = request->context;
    reply->profile = request->head.accept_profile.ptr != NULL ||
                     request->head.content_profile.ptr != NULL;
    reply->close = reply->close || atomic_load_explicit(&context->draining, memory_order_relaxed);
    request->phase = PHASE_ANSWERED;
    request->http = reply->http;
    link_set(request->link, deadline(context->config->reply_timeout_ms), true);
    atomic_fetch_add_explicit(&context->n_requests, 1, memory_order_relaxed);
    metrics_request(&context->metrics, request->http);
    bool sent = reply_send(request->connection, &request->head, context->config->cors_origin, reply,
                           &request->answer_bytes);
    buf_release(&reply->body);
    return sent ? MHD_YES : MHD_NO;
}

static enum MHD_Result send_problem(struct request *request)
{
    struct reply reply = {.body = BUF_INIT};
    reply_problem(&reply, &request->problem);
    return send_reply(request, &reply);
}

/* 400, 411, 431 and 505: what the framing itself got wrong; the connection ends. */
static bool check_head(struct request *request, const char *method, const char *version)
{
    const struct head_line line = {method, version, request->raw_target, request->target.len};
    const char *why = "";
    bool measure = request->context->measure;
    switch (head_read(request->connection, &line, measure, &request->head, &why)) {
    case HEAD_GOOD:
        return true;
    case HEAD_AMBIGUOUS:
        request->problem = problem_detailed(400, "bad_request", "The request is ambiguous", why);
        break;
    case HEAD_TOO_LONG:
        request->problem = problem_detailed(431, "header_too_large", "The header is too long",
                                            "at most 100 fields and 16 KiB");
        break;
    case HEAD_VERSION:
        request->problem = problem_of(505, "http_version", "This version of HTTP is not spoken");
        break;
    case HEAD_CHUNKED:
        request->problem = problem_detailed(411, "length_required",
                                            "The request has no Content-Length",
                                            "chunked bodies are not accepted");
        break;
    }
    request->problem.close = true;
    request->at_once = true;
    return false;
}

static bool check_uri(struct request *request)
{
    int status = uri_read(&request->arena, request->target, &request->uri);
    if (status == BQ_OK) {
        return true;
    }
    if (status == BQ_NOMEM) {
        request->problem = problem_of_status(&request->arena, status, "");
    } else if (status == BQ_TOO_LARGE) {
        request->problem = problem_of(414, "uri_too_long", "The URL is too long");
    } else {
        request->problem = problem_of(400, "bad_request", "The URL is malformed");
    }
    return false;
}

/* What a body may be. */
static bool check_body(struct request *request)
{
    const struct head *head = &request->head;
    bool passed_on = request->route.kind == ROUTE_PROXY;
    const struct server_config *config = request->context->config;
    uint64_t limit = (uint64_t)(passed_on ? config->upstream_body_bytes : config->body_bytes);
    if (!passed_on && head->content_encoding.ptr != NULL && head->content_encoding.len > 0 &&
        !head_token_is(head->content_encoding, "identity")) {
        request->problem = problem_detailed(415, "PGRST102", "Content-Encoding not acceptable",
                                            "send the body as it is");
        return false;
    }
    if (head->body_bytes > limit) {
        request->problem = problem_of(413, "too_large",
                                      problem_format(&request->arena, "The body has %llu bytes; at "
                                                     "most %llu are accepted",
                                                     (unsigned long long)head->body_bytes,
                                                     (unsigned long long)limit));
        request->problem.close = true;
        return false;
    }
    return true;
}

/* A user alone may not take the server from the others. */
static bool check_rate(struct request *request)
{
    struct http_context *context = request->context;
    if (context->rate == NULL || !request->identity.has_user) {
        return true;
    }
    int64_t wait_us = rate_take(context->rate, &request->identity.user, request->start_us);
    if (wait_us > 0) {
        request->problem = problem_of(429, "too_many_requests",
                                      problem_format(&request->arena,
                                                     "A user may make %lld requests in a second",
                                                     (long long)context->config->user_rate));
        request->problem.retry_after_s = (unsigned)((wait_us + 999999) / 1000000);
    }
    return wait_us == 0;
}

/* Everything that can be refused before the body comes. */
static bool admit(struct request *request, const char *method, const char *version)
{
    struct http_context *context = request->context;
    struct arena *arena = &request->arena;
    if (!check_head(request, method, version) || !check_uri(request)) {
        return false;
    }
    request->route = route_of(method, &request->uri);
    if (!elsewhere_route(&context->elsewhere, &request->uri, &request->route, &request->problem)) {
        return false;
    }
    if (request->route.kind != ROUTE_PROXY && request->route.entry != NULL &&
        request->route.entry->gate == GATE_APIKEY) {
        if (!gateway_admit(&context->gateway, arena, &request->head, &request->uri,
                           clock_wall_us() / 1000000, &request->key_role, &request->bearer,
                           &request->problem)) {
            return false;
        }
    } else if (route_needs_key(&request->route) &&
        !gateway_identify(&context->gateway, arena, &request->head, &request->uri,
                          clock_wall_us() / 1000000, &request->identity, &request->problem)) {
        return false;
    }
    return check_rate(request) && check_body(request) &&
           route_check(arena, &request->route, method, &request->head, &request->singular,
                       &request->problem) &&
           (request->route.kind != ROUTE_RPC || context->functions != NULL ||
            rpc_admit(arena, request->route.name, request->route.get, &request->identity,
                      &request->problem)) &&
           (request->route.kind != ROUTE_TABLE ||
            table_admit(arena, request->route.name, method, &request->identity,
                        &request->problem));
}

static bool takes_body(enum route_kind kind)
{
    return kind == ROUTE_RPC || kind == ROUTE_TABLE || kind == ROUTE_AUTH;
}

/* Opens the way to the upstream before the body comes. */
static bool begin_proxy(struct request *request)
{
    struct http_context *context = request->context;
    char *address = arena_alloc(&request->arena, ADDRESS_TEXT);
    struct proxy *proxy = arena_zalloc(&request->arena, 1, sizeof *proxy);
    if (address == NULL || proxy == NULL) {
        request->problem = problem_of_status(&request->arena, BQ_NOMEM, "");
        return false;
    }
    proxy->connection = request->connection;
    proxy->link = request->link;
    proxy->body_timeout_ms = context->config->body_timeout_ms;
    proxy->reply_timeout_ms = context->config->reply_timeout_ms;
    const struct proxy_request in = {
        .upstream = context->upstream,
        .arena = &request->arena,
        .method = request->method,
        .target = request->target,
        .uri = &request->uri,
        .head = &request->head,
        .address = address_of(request->connection, context->config->trusted_proxy, address),
        .get = request->route.get,
    };
    request->proxy = proxy;
    return proxy_begin(proxy, &in, &request->problem);
}

/* The header is there: admit or refuse; make room for the body. */
static enum MHD_Result begin(struct request *request, const char *method, const char *version)
{
    size_t n = strlen(method);
    n = n < sizeof request->method ? n : sizeof request->method - 1;
    memcpy(request->method, method, n);
    request->phase = PHASE_BODY;
    link_set(request->link, deadline(request->context->config->body_timeout_ms), true);
    bool admitted = admit(request, method, version) &&
                    (request->route.kind != ROUTE_PROXY || begin_proxy(request));
    const struct head *head = &request->head;
    if (!admitted && (request->at_once || head->expect.ptr != NULL ||
                      head->body_bytes > DISCARD_MAX_BYTES)) {
        request->problem.close = request->problem.close || head->body_bytes > 0;
        return send_problem(request);
    }
    if (admitted && head->body_bytes > 0 && !request->route.get &&
        takes_body(request->route.kind)) {
        request->body = arena_alloc(&request->arena, (size_t)head->body_bytes + 1);
        if (request->body == NULL) {
            request->problem = problem_of(503, "53200", "memory is exhausted");
            request->problem.retry_after_s = 1;
        }
    }
    return MHD_YES;
}

/* A piece of body. */
static enum MHD_Result take_body(struct request *request, const char *upload, size_t *upload_size)
{
    size_t n = *upload_size;
    if (request->problem.http == 0 && request->proxy != NULL && !request->route.get) {
        proxy_give(request->proxy, upload, upload_size);
        request->body_len += n - *upload_size;
        return request->body_len <= request->head.body_bytes ? MHD_YES : MHD_NO;
    }
    *upload_size = 0;
    if (request->body == NULL) {
        request->n_discarded += n;
        return request->n_discarded <= DISCARD_MAX_BYTES ? MHD_YES : MHD_NO;
    }
    if (n > request->head.body_bytes - request->body_len) {
        return MHD_NO;
    }
    memcpy(request->body + request->body_len, upload, n);
    request->body_len += n;
    return MHD_YES;
}

/* The answer of an op that ran, or did not. */
static enum MHD_Result answer_op(struct request *request)
{
    struct reply reply = {.body = BUF_INIT};
    struct op *op = &request->job.op;
    if (request->job.status != BQ_OK) {
        request->problem = problem_of_status(&request->arena, request->job.status, "");
        return send_problem(request);
    }
    bool good = request->table != NULL
                    ? table_answer(request->table, op, &reply, &request->problem)
                    : rpc_answer(request->function, op, request->singular, &reply,
                                 &request->problem);
    if (!good) {
        buf_release(&reply.body);
        return send_problem(request);
    }
    return send_reply(request, &reply);
}

/* The committer's thread: the request may be answered and gone before this returns. */
static void on_committed(struct committer_job *job)
{
    struct request *request = (struct request *)job; /* its first member */
    MHD_resume_connection(request->connection);
}

/* To the committer; the connection holds no thread meanwhile. */
static enum MHD_Result submit(struct request *request)
{
    request->phase = PHASE_WAITING;
    request->job.done = on_committed;
    link_set(request->link, LINK_NEVER, true);
    MHD_suspend_connection(request->connection);
    int status = committer_submit(request->context->committer, &request->job);
    if (status != BQ_OK) {
        request->job.status = status;
        MHD_resume_connection(request->connection);
    }
    return MHD_YES;
}

/* A front without documents of its own: the database answers. */
static enum MHD_Result call_function(struct request *request, const struct rpc_input *input)
{
    struct reply reply = {.body = BUF_INIT};
    if (functions_call(request->context->functions, input, &request->identity, request->singular,
                       &reply, &request->problem)) {
        return send_reply(request, &reply);
    }
    buf_release(&reply.body);
    return send_problem(request);
}

static enum MHD_Result run_rpc(struct request *request)
{
    struct http_context *context = request->context;
    struct rpc_input input = {
        .arena = &request->arena,
        .name = request->route.name,
        .get = request->route.get,
        .uri = &request->uri,
        .body = {request->body == NULL ? "" : request->body, request->body_len},
        .depth = 2 * (unsigned)context->config->depth + BODY_DEPTH_EXTRA,
    };
    struct op *op = &request->job.op;
    if (context->functions != NULL) {
        return call_function(request, &input);
    }
    if (!rpc_prepare(&input, &request->identity, &request->function, op, &request->problem)) {
        return send_problem(request);
    }
    if (op_only_reads(op)) {
        request->job.status = storage_read(context->storage, op, clock_wall_us());
        if (!storage_usable(context->storage)) {
            committer_wake(context->committer);
        }
        if (request->job.status != BQ_READ_ONLY) {
            return answer_op(request);
        }
        /* A pull that shows a loss of the store has to write after all (docs/protocol.md 8.2). */
        if (input.get) {
            request->problem = rpc_get_writes(&request->arena, request->function);
            return send_problem(request);
        }
    }
    return submit(request);
}

static enum MHD_Result run_table(struct request *request)
{
    struct http_context *context = request->context;
    if (context->functions != NULL) { /* the documents are not here */
        request->problem = problem_of(404, "PGRST205",
                                      "this server knows the functions of a database alone");
        return send_problem(request);
    }
    struct op *op = &request->job.op;
    struct table_input input = {
        .arena = &request->arena,
        .method = request->method,
        .name = request->route.name,
        .target = request->target,
        .uri = &request->uri,
        .head = &request->head,
        .identity = &request->identity,
        .body = {request->body == NULL ? "" : request->body, request->body_len},
        .depth = 2 * (unsigned)context->config->depth + BODY_DEPTH_EXTRA,
        .singular = request->singular,
    };
    request->table = arena_zalloc(&request->arena, 1, sizeof *request->table);
    if (request->table == NULL) {
        request->problem = problem_of_status(&request->arena, BQ_NOMEM, "");
        return send_problem(request);
    }
    if (!table_prepare(&input, request->table, op, &request->problem)) {
        return send_problem(request);
    }
    request->job.status = BQ_OK;
    if (request->table->nothing) {
        return answer_op(request);
    }
    if (!op_only_reads(op)) {
        return submit(request);
    }
    request->job.status = storage_read(context->storage, op, clock_wall_us());
    if (!storage_usable(context->storage)) {
        committer_wake(context->committer);
    }
    return answer_op(request);
}

/* ---- Accounts -------------------------------------------------------------------------------- */

static enum MHD_Result answer_auth(struct request *request)
{
    struct reply reply = {.body = BUF_INIT};
    auth_answer(request->auth, &reply);
    return send_reply(request, &reply);
}

/* A password thread: the request may be answered and gone before this returns. */
static void on_hashed(struct password_job *job)
{
    struct request *request = ((struct auth_call *)job)->owner; /* job is its first member */
    MHD_resume_connection(request->connection);
}

static enum MHD_Result submit_hash(struct request *request)
{
    request->phase = PHASE_WAITING;
    link_set(request->link, LINK_NEVER, true);
    request->job.status = BQ_OK;
    MHD_suspend_connection(request->connection);
    int status = passwords_submit(request->context->auth->passwords, &request->auth->password);
    if (status != BQ_OK) {
        request->job.status = status;
        MHD_resume_connection(request->connection);
    }
    return MHD_YES;
}

/* Does what a call asks for, until it waits for somebody or has its answer. */
static enum MHD_Result go_on_auth(struct request *request, enum auth_step step)
{
    while (step == AUTH_READ) {
        int status = storage_read(request->context->storage, &request->job.op, clock_wall_us());
        if (!storage_usable(request->context->storage)) {
            committer_wake(request->context->committer);
        }
        step = auth_next(request->auth, status);
    }
    switch (step) {
    case AUTH_HASH:
        return submit_hash(request);
    case AUTH_WRITE:
        return submit(request);
    case AUTH_READ:
    case AUTH_ANSWER:
        break;
    }
    return answer_auth(request);
}

static enum MHD_Result run_auth(struct request *request)
{
    static const char prefix[] = "/auth/v1/";
    struct http_context *context = request->context;
    char *address = arena_alloc(&request->arena, ADDRESS_TEXT);
    request->auth = arena_zalloc(&request->arena, 1, sizeof *request->auth);
    if (context->auth == NULL || address == NULL || request->auth == NULL) {
        const struct auth_error off = {
            .http = 404, .code = "not_found", .message = "this server keeps no accounts"};
        struct reply reply = {.body = BUF_INIT};
        auth_answer_error(&request->head, &off, &reply);
        return send_reply(request, &reply);
    }
    struct slice path = request->uri.path;
    const struct auth_request in = {
        .auth = context->auth,
        .arena = &request->arena,
        .method = request->method,
        .path = {path.ptr + sizeof prefix - 1, path.len - (sizeof prefix - 1)},
        .uri = &request->uri,
        .head = &request->head,
        .body = {request->body == NULL ? "" : request->body, request->body_len},
        .address = address_of(request->connection, context->config->trusted_proxy, address),
        .bearer = request->bearer,
        .key_role = request->key_role,
        .now_us = clock_wall_us(),
    };
    request->auth->owner = request;
    request->auth->password.done = on_hashed;
    return go_on_auth(request, auth_begin(request->auth, &in, &request->job.op));
}

/* ---- WebSockets ------------------------------------------------------------------------------ */

static enum MHD_Result answer_handshake(struct request *request)
{
    const struct handshake *handshake = request->handshake;
    struct reply reply = {.body = BUF_INIT, .http = handshake->http};
    if (handshake->text != NULL) {
        reply.content_type = REPLY_JSON;
        buf_add_text(&reply.body, "{\"error\":");
        json_print_string(&reply.body, slice_of(handshake->text));
        buf_add_char(&reply.body, '}');
    }
    if (handshake->http == 426) {
        reply.websocket = "13";
    }
    return send_reply(request, &reply);
}

/* The realtime thread, or this one. */
static void on_late(void *cls)
{
    struct request *request = cls;
    MHD_resume_connection(request->connection);
}

/* The library's connection ends here; the socket lives on in the realtime loop. */
static void on_upgrade(void *cls, struct MHD_Connection *connection, void *request_cls,
                       const char *extra, size_t extra_len, MHD_socket fd,
                       struct MHD_UpgradeResponseHandle *handle)
{
    struct request *request = request_cls;
    struct http_context *context = cls;
    (void)connection;
    links_let_go(context->links, request->link);
    realtime_adopt(context->realtime, fcntl(fd, F_DUPFD_CLOEXEC, 0), &request->handshake->guest,
                   extra, extra_len);
    MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
}

static enum MHD_Result run_realtime(struct request *request)
{
    struct http_context *context = request->context;
    char address[ADDRESS_TEXT];
    struct handshake *handshake = arena_zalloc(&request->arena, 1, sizeof *handshake);
    if (handshake == NULL) {
        return MHD_NO;
    }
    request->handshake = handshake;
    struct slice caller =
        address_of(request->connection, context->config->trusted_proxy, address);
    handshake_check(context->realtime, &request->head, &request->uri, caller, handshake);
    if (context->upstream != NULL) {
        handshake_name_caller(&request->arena, &request->head, &request->uri, caller, handshake);
    }
    if (handshake->late) {
        request->phase = PHASE_WAITING;
        link_set(request->link, LINK_NEVER, true);
        MHD_suspend_connection(request->connection);
        realtime_delay(context->realtime, on_late, request);
        return MHD_YES;
    }
    /* The reading side of such a connection may be shut down already (links_drain): a socket would
     * end without its goodbye. */
    if (handshake->http == 101 && atomic_load(&context->draining)) {
        handshake->http = 503;
        handshake->text = "The server stops";
    }
    if (handshake->http != 101) {
        return answer_handshake(request);
    }
    request->phase = PHASE_ANSWERED;
    request->http = 101;
    link_set(request->link, deadline(context->config->reply_timeout_ms), true);
    atomic_fetch_add_explicit(&context->n_requests, 1, memory_order_relaxed);
    metrics_request(&context->metrics, request->http);
    return handshake_send(request->connection, handshake, on_upgrade, context) ? MHD_YES : MHD_NO;
}

/* ---- What is not ours ------------------------------------------------------------------------ */

static enum MHD_Result answer_proxy(struct request *request)
{
    struct http_context *context = request->context;
    request->phase = PHASE_ANSWERED;
    link_set(request->link, deadline(context->config->reply_timeout_ms), true);
    if (proxy_answer(request->proxy, &request->head, context->config->cors_origin, &request->http,
                     &request->problem)) {
        atomic_fetch_add_explicit(&context->n_requests, 1, memory_order_relaxed);
        return MHD_YES;
    }
    return request->problem.http == 0 ? MHD_NO : send_problem(request);
}

static enum MHD_Result run_proxy(struct request *request)
{
    if (!request->route.get && request->body_len < request->head.body_bytes) {
        return MHD_NO; /* the client ended its side before its body was whole */
    }
    request->phase = PHASE_WAITING;
    return proxy_wait(request->proxy) ? MHD_YES : answer_proxy(request);
}

/* No rows, as a table without any answers. */
static enum MHD_Result answer_stub(struct request *request)
{
    struct reply reply = {.body = BUF_INIT, .http = 200, .content_type = REPLY_JSON};
    if (request->singular) {
        request->problem = table_not_single(&request->arena, 0);
        return send_problem(request);
    }
    bool counted = false;
    for (unsigned i = 0; i < request->head.n_prefer; i++) {
        struct slice prefer = request->head.prefer[i];
        counted = counted || (prefer.len >= 6 &&
                              memmem(prefer.ptr, prefer.len, "count=", 6) != NULL);
    }
    snprintf(reply.content_range, sizeof reply.content_range, counted ? "*/0" : "*/*");
    buf_add_text(&reply.body, "[]");
    return send_reply(request, &reply);
}

static enum MHD_Result answer_health(struct request *request)
{
    struct http_context *context = request->context;
    struct reply reply = {.body = BUF_INIT, .http = 200, .content_type = REPLY_JSON};
    bool ready = storage_usable(context->storage) && !atomic_load(&context->draining);
    if (request->route.kind == ROUTE_READY && !ready) {
        request->problem = problem_of_status(&request->arena,
                                             atomic_load(&context->draining) ? BQ_CLOSED : BQ_IO,
                                             "");
        return send_problem(request);
    }
    buf_add_text(&reply.body, "{\"status\":\"ok\"}");
    return send_reply(request, &reply);
}

static enum MHD_Result answer_preflight(struct request *request)
{
    struct reply reply = {.body = BUF_INIT, .http = 204, .allow = "OPTIONS,GET,HEAD,POST"};
    return send_reply(request, &reply);
}

/* The whole request is there. */
static enum MHD_Result run(struct request *request)
{
    if (request->problem.http != 0) {
        return send_problem(request);
    }
    if (request->body_len < request->head.body_bytes && request->body != NULL) {
        return MHD_NO; /* the client ended its side before its body was whole */
    }
    switch (request->route.kind) {
    case ROUTE_PREFLIGHT:
        return answer_preflight(request);
    case ROUTE_ALIVE:
    case ROUTE_READY:
        return answer_health(request);
    case ROUTE_RPC:
        return run_rpc(request);
    case ROUTE_AUTH:
        return run_auth(request);
    case ROUTE_REALTIME:
        return run_realtime(request);
    case ROUTE_TABLE:
        return run_table(request);
    case ROUTE_STUB:
        return answer_stub(request);
    case ROUTE_PROXY:
        return run_proxy(request);
    case ROUTE_UNKNOWN:
        break;
    }
    return MHD_NO; /* route_check() refused it */
}

enum MHD_Result request_step(struct request *request, const char *method, const char *version,
                             const char *upload, size_t *upload_size)
{
    switch (request->phase) {
    case PHASE_HEADER:
        return begin(request, method, version);
    case PHASE_BODY:
        return *upload_size > 0 ? take_body(request, upload, upload_size) : run(request);
    case PHASE_WAITING:
        if (request->handshake != NULL) {
            return answer_handshake(request);
        }
        if (request->proxy != NULL) {
            return answer_proxy(request);
        }
        return request->auth == NULL
                   ? answer_op(request)
                   : go_on_auth(request, auth_next(request->auth, request->job.status));
    case PHASE_ANSWERED:
        break;
    }
    *upload_size = 0;
    return MHD_YES;
}
