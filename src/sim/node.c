/* node.c - a server node: what comes in, batches, what goes out, who listens.
 *
 * The decisions are the server's own: apply_batch(), apply_read(), commit_run(), the hub. Around
 * them stands what the HTTP layer does: tokens, 401, 429, 503, and the answer's text. */
#include "sim/world.h"

#include "store/memory.h"

#define ANSWER_DEPTH 200u

const char *const sim_calls[CALL_N] = {"sync_exchange",      "sync_report",
                                       "sync_policies",      "atomic_sync_upsert",
                                       "get_user_sync_data", "atomic_sync_data"};

/* ---- Life ------------------------------------------------------------------------------------ */

static void give_back(struct sim_world *w, struct sim_job *job)
{
    job->next = w->free_jobs;
    w->free_jobs = job;
}

static struct sim_job *take_job(struct sim_world *w)
{
    struct sim_job *job = w->free_jobs;
    if (job != NULL) {
        w->free_jobs = job->next;
        arena_reset(&job->arena);
        return job;
    }
    job = mem_zalloc(1, sizeof *job);
    w->nomem |= job == NULL;
    return job;
}

void node_release_jobs(struct sim_world *w)
{
    while (w->free_jobs != NULL) {
        struct sim_job *next = w->free_jobs->next;
        arena_release(&w->free_jobs->arena);
        mem_free(w->free_jobs);
        w->free_jobs = next;
    }
}

static bool load_policies(struct sim_world *w, struct sim_node *node)
{
    arena_reset(&node->policies_arena);
    return sim_fine(w,
                    op_load_policies(w->store, &node->policies_arena, &node->context.policies,
                                     &node->context.policies_version),
                    "op_load_policies");
}

bool node_start(struct sim_world *w, unsigned n)
{
    struct sim_node *node = &w->nodes[n];
    uint64_t key[2] = {rng_next(&w->engines), rng_next(&w->engines)};
    node->up = true;
    node->usable = true;
    node->life++;
    node->last = &node->first;
    node->doom = SIM_FAULT_N;
    node->context.store = w->store;
    node->context.limits = LIMITS_DEFAULT;
    node->context.limits.document_bytes = w->document_bytes;
    w->nomem |= hub_new(key, &node->hub) != BQ_OK;
    NOTE(w, "node %u starts", n);
    return load_policies(w, node);
}

void node_stop(struct sim_world *w, unsigned n)
{
    struct sim_node *node = &w->nodes[n];
    while (node->first != NULL) {
        struct sim_job *job = node->first;
        node->first = job->next;
        give_back(w, job);
    }
    node->n_waiting = 0;
    node->commit_planned = false;
    node->up = false;
    hub_free(node->hub);
    node->hub = NULL;
    memset(node->joined, 0, sizeof node->joined);
}

void node_crash(struct sim_world *w, unsigned n, unsigned for_ms)
{
    struct sim_node *node = &w->nodes[n];
    if (node->up) {
        NOTE(w, "node %u ends for %u ms", n, for_ms);
        node_stop(w, n);
        struct sim_event *event = queue_add(w, EVENT_NODE_UP, for_ms);
        event->node = n;
    }
}

/* ---- Lies: what no server does, so that the checkers are seen to see it ---- */

static bool lies(struct sim_world *w, enum sim_lie lie)
{
    return w->config.lie == lie && w->n_edits > 10;
}

static void lie_twice(struct op_context *context, const struct op *op)
{
    struct op again = *op;
    struct op *list[] = {&again};
    if (op->kind == OP_EXCHANGE && op->in.exchange.n_edits > 0 && !op->out.answer.epoch_changed) {
        again.in.exchange.device_id = SLICE("lie");
        (void)apply_batch(context, list, 1);
    }
}

static void lie_invent(struct sim_world *w, struct op_context *context, struct arena *arena)
{
    static const char params[] =
        "{\"p_device_id\":\"lie\",\"p_edits\":[{\"op\":1,\"prev\":0,\"id\":\"00000000000000aa\","
        "\"key\":\"set\",\"base\":-1,\"now\":{\"tokens\":[\"u0-511\"]}}]}";
    struct op op = {.kind = OP_EXCHANGE, .user = w->users[0], .arena = arena};
    struct op *list[] = {&op};
    struct json_value value;
    struct proto_problem problem;
    if (json_parse(arena, SLICE(params), 20, &value, NULL) == BQ_OK &&
        proto_exchange_read(arena, &value, &op.in.exchange, &problem) == BQ_OK) {
        (void)apply_batch(context, list, 1);
    }
}

/* The next answer of each user goes to another one. */
static struct slice lie_mix_up(struct sim_world *w, const struct sim_event *from, struct slice body)
{
    unsigned other = (from->user + 1) % w->n_users;
    if (!lies(w, SIM_LIE_MIX_UP) || from->call != CALL_EXCHANGE || w->n_users < 2) {
        return body;
    }
    sim_disown(&w->lie_bodies[from->user]);
    w->lie_bodies[from->user] = sim_own(w, body);
    return w->lie_bodies[other].ptr == NULL ? body : w->lie_bodies[other];
}

/* ---- Answers --------------------------------------------------------------------------------- */

static void reply(struct sim_world *w, struct sim_event *from, int http, int64_t retry_after_ms,
                  struct slice body)
{
    from->http_status = http;
    from->retry_after_ms = retry_after_ms;
    body = lie_mix_up(w, from, body);
    sim_log(w, "answers", from->end, (uint64_t)http, body);
    check_answer(w, from->end, body);
    net_answer(w, from, body);
}

static void refuse(struct sim_world *w, struct sim_event *from, int http, const char *code)
{
    int64_t retry_after_ms = -1;
    buf_clear(&w->text);
    buf_add_text(&w->text, "{\"code\":\"");
    buf_add_text(&w->text, code);
    buf_add_text(&w->text, "\",\"details\":null,\"hint\":null,\"message\":\"no\"}");
    if ((http == 429 || http == 503) && below(&w->net, 2) == 0) {
        retry_after_ms = 1000 * (int64_t)(1 + below(&w->net, 90));
    }
    reply(w, from, http, retry_after_ms, buf_slice(&w->text));
}

static void print_answer(struct buf *out, const struct op *op)
{
    switch (op->kind) {
    case OP_EXCHANGE:
        proto_answer_print(out, &op->out.answer);
        break;
    case OP_POLICIES:
        json_print(out, &op->out.policies);
        break;
    case OP_UPSERT:
        proto_upserted_print(out, &op->out.upserted);
        break;
    case OP_USER_DATA:
        proto_rows_print(out, op->out.rows.items, op->out.rows.n);
        break;
    case OP_V1_SYNC:
        buf_add_text(out, op->out.done ? "true" : "false");
        break;
    default:
        break;
    }
}

static void finish(struct sim_world *w, struct sim_job *job, int status)
{
    if (status != BQ_OK) {
        refuse(w, &job->from, status == BQ_CORRUPT ? 500 : 503, status_code(status));
        return;
    }
    if (job->op.status != BQ_OK) {
        sim_break(w, SIM_BROKEN, "%s is refused with %s: %s", sim_calls[job->from.call],
                  status_code(job->op.status), job->op.message);
        return;
    }
    if (lies(w, SIM_LIE_SPLIT) && job->from.end == w->lie_end) {
        job->op.out.answer.n_changes = 0;
    }
    buf_clear(&w->text);
    print_answer(&w->text, &job->op);
    w->nomem |= w->text.failed;
    reply(w, &job->from, w->text.len == 0 ? 204 : 200, -1, buf_slice(&w->text));
}

/* ---- Requests -------------------------------------------------------------------------------- */

static void read_upsert(const struct json_value *params, struct op *op)
{
    struct proto_upsert *in = &op->in.upsert;
    const struct json_value *expected = json_get(params, "p_expected_version");
    op->kind = OP_UPSERT;
    in->data_key = json_text(json_get(params, "p_data_key"));
    in->data = *json_get(params, "p_data");
    in->has_expected = json_to_int(expected, &in->expected);
    in->device_id = json_text(json_get(params, "p_device_id"));
}

/* The op of a request; false where it cannot be read, which is a bug of who sent it. */
static bool read_request(struct sim_job *job, struct slice body)
{
    struct op *op = &job->op;
    struct arena *arena = &job->arena;
    struct json_value params;
    struct proto_problem problem;
    struct slice text = arena_copy(arena, body);
    *op = (struct op){.kind = OP_POLICIES, .arena = arena};
    if (text.ptr == NULL || json_parse(arena, text, ANSWER_DEPTH, &params, NULL) != BQ_OK) {
        return false;
    }
    switch (job->from.call) {
    case CALL_EXCHANGE:
        op->kind = OP_EXCHANGE;
        return proto_exchange_read(arena, &params, &op->in.exchange, &problem) == BQ_OK;
    case CALL_REPORT:
        op->kind = OP_REPORT;
        return proto_report_read(arena, &params, &op->in.report, &problem) == BQ_OK;
    case CALL_UPSERT:
        read_upsert(&params, op);
        break;
    case CALL_ROWS:
        op->kind = OP_USER_DATA;
        break;
    case CALL_V1:
        op->kind = OP_V1_SYNC;
        op->in.v1_sync.data = params;
        break;
    case CALL_POLICIES:
    case CALL_N:
        break;
    }
    return true;
}

static void wait_for_commit(struct sim_world *w, unsigned n, struct sim_job *job)
{
    struct sim_node *node = &w->nodes[n];
    job->next = NULL;
    *node->last = job;
    node->last = &job->next;
    node->n_waiting++;
    if (!node->commit_planned) {
        node->commit_planned = true;
        struct sim_event *event = queue_add(w, EVENT_COMMIT, 1 + below(&w->net, 60));
        event->node = n;
        event->life = node->life;
    }
}

static void run_job(struct sim_world *w, unsigned n, struct sim_job *job)
{
    struct sim_node *node = &w->nodes[n];
    if (!op_only_reads(&job->op)) {
        wait_for_commit(w, n, job);
        return;
    }
    node->context.now_us = (w->now_ms + node->skew_ms) * 1000;
    int status = apply_read(&node->context, &job->op);
    if (status == BQ_READ_ONLY) {
        wait_for_commit(w, n, job);
        return;
    }
    finish(w, job, status);
    give_back(w, job);
}

/* What the HTTP layer refuses before it looks at the call. */
static bool admit(struct sim_world *w, struct sim_event *event)
{
    const struct sim_node *node = &w->nodes[event->node];
    bool expired =
        event->token_until_ms < w->now_ms + node->skew_ms && event->token_until_ms != GOOD_FOR_EVER;
    if (!node->usable) {
        refuse(w, event, 503, "PGRST001");
    } else if (sim_strikes(w, &w->net, SIM_UNAVAILABLE)) {
        refuse(w, event, 503, "53300");
    } else if (expired || (lies(w, SIM_LIE_ALARM) && event->end == w->lie_end)) {
        sim_count(w, SIM_EXPIRE);
        if (expired && event->end < SLOTS) {
            w->devices[event->end].refused_401 = true;
        }
        refuse(w, event, 401, "PGRST303");
    } else if (sim_strikes(w, &w->net, SIM_BUSY)) {
        refuse(w, event, 429, "too_many_requests");
    } else {
        return true;
    }
    return false;
}

void node_request(struct sim_world *w, struct sim_event *event)
{
    sim_log(w, sim_calls[event->call], event->end, event->node, event->body);
    if (!w->nodes[event->node].up) {
        struct sim_event *refused = queue_add(w, EVENT_NO_ANSWER, 20);
        refused->end = event->end;
        refused->life = event->life;
        refused->request = event->request;
        refused->call = event->call;
        return;
    }
    if (!admit(w, event)) {
        return;
    }
    struct sim_job *job = take_job(w);
    if (job == NULL) {
        return;
    }
    job->from = *event;
    job->from.body = SLICE_NONE;
    if (!read_request(job, event->body)) {
        sim_break(w, SIM_BROKEN, "a node cannot read a %s", sim_calls[event->call]);
        give_back(w, job);
        return;
    }
    job->op.user = w->users[event->user];
    run_job(w, event->node, job);
}

/* ---- Commits --------------------------------------------------------------------------------- */

struct batch {
    struct sim_world *w;
    unsigned n;
    uint64_t life;
    bool first; /* the doom is for the batch, not for its ops one by one */
};

/* Arms the store for what is to go wrong; answers whether the batch is kept. */
static bool arm(struct sim_world *w, enum sim_fault doom)
{
    static const int failures[] = {BQ_IO, BQ_IO, BQ_DISK_FULL, BQ_NOMEM};
    bool kept = doom == SIM_COMMIT_UNKNOWN || (doom == SIM_NODE_INSIDE && below(&w->chaos, 2) == 0);
    if (doom == SIM_COMMIT_FAIL || doom == SIM_COMMIT_UNKNOWN) {
        store_memory_fail_commit(w->store, failures[below(&w->chaos, 4)], kept);
    } else if (doom == SIM_NODE_INSIDE) {
        store_memory_fail_commit(w->store, BQ_IO, kept);
    }
    return kept;
}

static int write_batch(void *cls, struct op *const *ops, size_t n)
{
    struct batch *batch = cls;
    struct sim_world *w = batch->w;
    struct sim_node *node = &w->nodes[batch->n];
    enum sim_fault doom = batch->first ? node->doom : SIM_FAULT_N;
    if (!node->up || node->life != batch->life) {
        return BQ_IO;
    }
    bool forget = lies(w, SIM_LIE_FORGET);
    bool kept = arm(w, doom) || doom == SIM_NODE_AFTER || doom == SIM_FAULT_N;
    if (forget) {
        store_memory_fail_commit(w->store, BQ_IO, false);
    }
    batch->first = false;
    node->context.now_us = (w->now_ms + node->skew_ms) * 1000;
    int status = apply_batch(&node->context, ops, n);
    for (size_t i = 0; i < n && forget; i++) {
        ops[i]->wrote = false;
        status = BQ_OK;
    }
    store_memory_fail_commit(w->store, BQ_OK, false);
    sim_log(w, "commits", batch->n, (uint64_t)(int64_t)status, SLICE(""));
    if (kept && !forget) {
        w->result->n_commits++;
        if (lies(w, SIM_LIE_TWICE)) {
            lie_twice(&node->context, ops[0]);
        } else if (lies(w, SIM_LIE_INVENT)) {
            lie_invent(w, &node->context, ops[0]->arena);
        }
        check_commit(w, ops, n);
    }
    if (status != BQ_OK && doom == SIM_FAULT_N && !forget) {
        sim_break(w, SIM_BROKEN, "apply_batch answers %s", status_code(status));
    }
    if (doom == SIM_NODE_INSIDE || doom == SIM_NODE_AFTER) {
        node_crash(w, batch->n, 100 + below(&w->chaos, 8000));
    } else if (status == BQ_IO) {
        node->usable = false;
        struct sim_event *event = queue_add(w, EVENT_STORE_OPEN, 50 + below(&w->chaos, 2000));
        event->node = batch->n;
        event->life = node->life;
    }
    return status;
}

static bool is_alive(const struct batch *batch)
{
    const struct sim_node *node = &batch->w->nodes[batch->n];
    return node->up && node->life == batch->life;
}

static bool is_usable(void *cls)
{
    struct batch *batch = cls;
    return is_alive(batch) && batch->w->nodes[batch->n].usable;
}

static void publish(void *cls, const struct uuid *user, int64_t seq)
{
    struct batch *batch = cls;
    struct sim_world *w = batch->w;
    for (unsigned u = 0; u < w->n_users && is_alive(batch); u++) {
        if (slice_equal(uuid_slice(user), uuid_slice(&w->users[u]))) {
            check_publish(w, u, seq);
            node_publish(w, batch->n, u, seq);
            net_note(w, batch->n, u, seq);
        }
    }
}

static void answer(void *cls, size_t i, int status)
{
    struct batch *batch = cls;
    struct sim_job *job = batch->w->nodes[batch->n].batch[i];
    if (is_alive(batch)) {
        finish(batch->w, job, status);
    }
}

/* At most one thing goes wrong with a batch. */
static enum sim_fault draw_doom(struct sim_world *w)
{
    static const enum sim_fault dooms[] = {SIM_NODE_CRASH, SIM_NODE_INSIDE, SIM_NODE_AFTER,
                                           SIM_COMMIT_FAIL, SIM_COMMIT_UNKNOWN};
    for (unsigned i = 0; i < sizeof dooms / sizeof dooms[0]; i++) {
        if (sim_strikes(w, &w->chaos, dooms[i])) {
            return dooms[i];
        }
    }
    return SIM_FAULT_N;
}

void node_commit(struct sim_world *w, unsigned n)
{
    struct sim_node *node = &w->nodes[n];
    struct op *ops[16];
    int statuses[16];
    node->commit_planned = false;
    node->doom = draw_doom(w);
    if (node->doom == SIM_NODE_CRASH) {
        node_crash(w, n, 100 + below(&w->chaos, 8000));
        return;
    }
    struct batch batch = {w, n, node->life, true};
    const struct commit_world world = {sizeof world, &batch,  write_batch, is_usable,
                                       NULL,         publish, answer};
    size_t taken = commit_take(node->n_waiting, w->batch);
    for (size_t i = 0; i < taken; i++) {
        node->batch[i] = node->first;
        node->first = node->first->next;
        ops[i] = &node->batch[i]->op;
    }
    node->n_waiting -= (unsigned)taken;
    if (node->first == NULL) {
        node->last = &node->first;
    }
    commit_run(&world, ops, statuses, taken);
    for (size_t i = 0; i < taken; i++) {
        give_back(w, node->batch[i]);
    }
    if (node->up && node->n_waiting > 0 && !node->commit_planned) {
        node->commit_planned = true;
        struct sim_event *event = queue_add(w, EVENT_COMMIT, 1 + below(&w->net, 60));
        event->node = n;
        event->life = node->life;
    }
}

/* ---- The hub --------------------------------------------------------------------------------- */

void node_join(struct sim_world *w, const struct sim_event *event)
{
    struct sim_node *node = &w->nodes[event->node];
    struct sim_device *device = &w->devices[event->end];
    if (!node->up || device->life != event->life) {
        return;
    }
    hub_leave(node->hub, node->joined[event->end]);
    w->nomem |=
        hub_join(node->hub, &w->users[device->user], device, &node->joined[event->end]) != BQ_OK;
}

struct word {
    struct sim_world *w;
    unsigned node;
    unsigned user;
    int64_t seq;
};

static void hear(void *cls, void *listener, struct hub_handle handle)
{
    const struct word *word = cls;
    struct sim_world *w = word->w;
    const struct sim_device *device = listener;
    (void)handle;
    if (device->user != word->user) {
        sim_break(w, SIM_LEAKED, "the hub tells device %u of user %u's change",
                  (unsigned)(device - w->devices), word->user);
        return;
    }
    net_wake(w, word->node, (unsigned)(device - w->devices), word->seq);
}

void node_publish(struct sim_world *w, unsigned n, unsigned user, int64_t seq)
{
    struct word word = {w, n, user, seq};
    if (w->nodes[n].up) {
        (void)hub_publish(w->nodes[n].hub, &w->users[user], hear, &word);
    }
}
