/* account.c - see account.h. */
#include "core/account.h"

#include "base/status.h"
#include "core/apply.h"

#define US_PER_DAY (INT64_C(86400) * 1000000)
#define ERASE_AT_ONCE 2u /* unused anonymous accounts, at each anonymous sign-up */
#define METADATA_DEPTH 64u

bool account_only_reads(enum account_verb verb)
{
    return verb == ACCOUNT_FIND || verb == ACCOUNT_GET || verb == ACCOUNT_LIST;
}

static int end(struct op *op, enum account_outcome outcome)
{
    op->out.account.outcome = outcome;
    return BQ_OK;
}

/* BQ_NOT_FOUND as an outcome; the codes of the store as they are. */
static int end_with(struct op *op, int status, enum account_outcome absent)
{
    return status == BQ_NOT_FOUND ? end(op, absent) : status;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static int find(struct op_context *context, struct op *op)
{
    struct store *store = context->store;
    return end_with(
        op, store->account_find(store, op->arena, op->in.account.email, &op->out.account.account),
        ACCOUNT_UNKNOWN);
}

static int get(struct op_context *context, struct op *op)
{
    struct store *store = context->store;
    const struct account_call *in = &op->in.account;
    struct account_result *out = &op->out.account;
    int status = store->account_get(store, op->arena, &in->user, &out->account);
    if (status != BQ_OK || !in->with_session) {
        return end_with(op, status, ACCOUNT_UNKNOWN);
    }
    status = store->session_get(store, &in->session, &out->session);
    if (status == BQ_OK && memcmp(out->session.user.text, in->user.text, UUID_TEXT) != 0) {
        status = BQ_NOT_FOUND;
    }
    return end_with(op, status, ACCOUNT_NO_SESSION);
}

static int list(struct op_context *context, struct op *op)
{
    const struct account_call *in = &op->in.account;
    return context->store->accounts(context->store, op->arena, in->with_after ? &in->after : NULL,
                                    in->max, &op->out.account.list);
}

/* ---- Sessions -------------------------------------------------------------------------------- */

static int begin_session(struct op_context *context, struct op *op)
{
    struct store_session *session = &op->out.account.session;
    *session = (struct store_session){op->in.account.session, op->in.account.user, 1,
                                      context->now_us, context->now_us};
    return context->store->session_put(context->store, session);
}

static int sign_in(struct op_context *context, struct op *op)
{
    struct store *store = context->store;
    const struct account_call *in = &op->in.account;
    struct store_account *account = &op->out.account.account;
    int status = store->account_get(store, op->arena, &in->user, account);
    if (status != BQ_OK) {
        return end_with(op, status, ACCOUNT_UNKNOWN);
    }
    if (account->disabled) {
        return end(op, ACCOUNT_IS_DISABLED);
    }
    if (account->password.ptr == NULL || !slice_equal(account->password, in->password)) {
        return end(op, ACCOUNT_CHANGED);
    }
    account->signed_in_us = context->now_us;
    status = store->account_put(store, account);
    return status == BQ_OK ? begin_session(context, op) : status;
}

/* The number of the next token; 0: this one came too late. */
static int64_t next_counter(const struct store_session *session, int64_t counter, int64_t now_us)
{
    if (counter >= session->counter) {
        return counter + 1;
    }
    bool lately = now_us - session->refreshed_us <= ACCOUNT_REUSE_US;
    return counter == session->counter - 1 || lately ? session->counter : 0;
}

static int refresh(struct op_context *context, struct op *op)
{
    struct store *store = context->store;
    const struct account_call *in = &op->in.account;
    struct store_account *account = &op->out.account.account;
    struct store_session *session = &op->out.account.session;
    int status = store->session_get(store, &in->session, session);
    if (status == BQ_OK) {
        status = store->account_get(store, op->arena, &session->user, account);
    }
    if (status == BQ_OK) { /* once more: from here on no other server changes it */
        status = store->session_get(store, &in->session, session);
    }
    if (status != BQ_OK) {
        return end_with(op, status, ACCOUNT_NO_SESSION);
    }
    if (account->disabled) {
        return end(op, ACCOUNT_IS_DISABLED);
    }
    int64_t next = next_counter(session, in->counter, context->now_us);
    if (next == 0) {
        status = store->session_remove(store, &session->id);
        return status == BQ_OK ? end(op, ACCOUNT_USED) : status;
    }
    if (next == session->counter) {
        return BQ_OK;
    }
    session->counter = next;
    session->refreshed_us = context->now_us;
    status = store->session_put(store, session);
    if (status == BQ_OK && account->email.ptr == NULL) {
        account->signed_in_us = context->now_us; /* an anonymous account that is in use */
        status = store->account_put(store, account);
    }
    return status;
}

static int sign_out(struct op_context *context, struct op *op)
{
    struct store *store = context->store;
    const struct account_call *in = &op->in.account;
    int status = store->account_get(store, op->arena, &in->user, &op->out.account.account);
    if (status != BQ_OK && status != BQ_NOT_FOUND) {
        return status;
    }
    switch (in->scope) {
    case ACCOUNT_SCOPE_GLOBAL:
        return store->sessions_remove(store, &in->user, NULL);
    case ACCOUNT_SCOPE_OTHERS:
        return store->sessions_remove(store, &in->user, &in->session);
    case ACCOUNT_SCOPE_LOCAL:
        break;
    }
    return store->session_remove(store, &in->session);
}

/* ---- Accounts -------------------------------------------------------------------------------- */

/* The account and all that is the user's. */
static int erase(struct op_context *context, struct op *op, const struct uuid *user)
{
    struct op as_operator = {.kind = OP_USER_ERASE, .user = *user, .arena = op->arena};
    int status = run_user_erase(context, &as_operator);
    if (memcmp(op->user.text, user->text, UUID_TEXT) == 0) {
        op->wrote = as_operator.wrote;
        op->seq = as_operator.seq;
    }
    return status;
}

static int erase_unused(struct op_context *context, struct op *op)
{
    struct store_accounts unused;
    int64_t before_us = context->now_us - LIMIT_ANONYMOUS_DAYS * US_PER_DAY;
    int status = context->store->accounts_unused(context->store, op->arena, before_us,
                                                 ERASE_AT_ONCE, &unused);
    for (uint32_t i = 0; status == BQ_OK && i < unused.n; i++) {
        status = erase(context, op, &unused.items[i].id);
    }
    return status;
}

/* BQ_OK: nobody else has this email; BQ_NOT_FOUND: somebody has. */
static int check_email(struct op_context *context, struct op *op)
{
    struct store_account other;
    int status =
        context->store->account_find(context->store, op->arena, op->in.account.email, &other);
    if (status == BQ_NOT_FOUND) {
        return BQ_OK;
    }
    bool own = status == BQ_OK && memcmp(other.id.text, op->in.account.user.text, UUID_TEXT) == 0;
    return status != BQ_OK || own ? status : BQ_NOT_FOUND;
}

static struct slice print_metadata(struct arena *arena, const struct json_value *metadata)
{
    struct buf buf = BUF_INIT;
    if (json_is_absent(metadata)) {
        return SLICE("{}");
    }
    json_print(&buf, metadata);
    struct slice text = buf.failed ? SLICE_NONE : arena_copy(arena, buf_slice(&buf));
    buf_release(&buf);
    return text;
}

static int add(struct op_context *context, struct op *op)
{
    struct store *store = context->store;
    const struct account_call *in = &op->in.account;
    int status = in->email.ptr == NULL ? erase_unused(context, op) : check_email(context, op);
    if (status != BQ_OK) {
        return end_with(op, status, ACCOUNT_EXISTS);
    }
    op->out.account.account =
        (struct store_account){.id = in->user,
                               .email = in->email,
                               .password = in->password,
                               .metadata = print_metadata(op->arena, &in->metadata),
                               .created_us = context->now_us,
                               .updated_us = context->now_us,
                               .signed_in_us = in->verb == ACCOUNT_ADD ? 0 : context->now_us};
    if (op->out.account.account.metadata.ptr == NULL) {
        return BQ_NOMEM;
    }
    status = store->account_put(store, &op->out.account.account);
    return status == BQ_OK && in->verb == ACCOUNT_SIGN_UP ? begin_session(context, op) : status;
}

/* Members of the change over those that are there; a null removes. */
static int change_metadata(struct arena *arena, const struct json_value *change,
                           struct slice *metadata)
{
    struct json_value old;
    int status = json_parse(arena, *metadata, METADATA_DEPTH, &old, NULL);
    if (status != BQ_OK || !json_is(&old, JSON_OBJECT)) {
        return status == BQ_NOMEM ? status : BQ_CORRUPT;
    }
    struct json_member *members =
        arena_zalloc(arena, (size_t)old.count + change->count, sizeof *members);
    uint32_t n = 0;
    for (uint32_t i = 0; members != NULL && i < old.count; i++) {
        if (json_get_slice(change, json_text(&old.members[i].key)) == NULL) {
            members[n++] = old.members[i];
        }
    }
    for (uint32_t i = 0; members != NULL && i < change->count; i++) {
        if (!json_is(&change->members[i].value, JSON_NULL)) {
            members[n++] = change->members[i];
        }
    }
    struct json_value merged = json_object(members, n);
    *metadata = members == NULL ? SLICE_NONE : print_metadata(arena, &merged);
    return metadata->ptr == NULL ? BQ_NOMEM : BQ_OK;
}

static int update(struct op_context *context, struct op *op)
{
    struct store *store = context->store;
    const struct account_call *in = &op->in.account;
    struct store_account *account = &op->out.account.account;
    int status = store->account_get(store, op->arena, &in->user, account);
    if (status != BQ_OK) {
        return end_with(op, status, ACCOUNT_UNKNOWN);
    }
    if (in->email.ptr != NULL) {
        status = check_email(context, op);
        account->email = in->email;
    }
    if (status != BQ_OK) {
        return end_with(op, status, ACCOUNT_EXISTS);
    }
    if (!json_is_absent(&in->metadata)) {
        status = change_metadata(op->arena, &in->metadata, &account->metadata);
    }
    if (status == BQ_OK && account->metadata.len > LIMIT_METADATA_BYTES) {
        return op_refuse(op, BQ_TOO_LARGE, "an account's data has at most %u bytes",
                         LIMIT_METADATA_BYTES);
    }
    if (status == BQ_OK && in->password.ptr != NULL) {
        account->password = in->password;
        status = store->sessions_remove(store, &in->user, in->with_session ? &in->session : NULL);
    }
    account->updated_us = context->now_us;
    return status == BQ_OK ? store->account_put(store, account) : status;
}

static int disable(struct op_context *context, struct op *op)
{
    struct store *store = context->store;
    const struct account_call *in = &op->in.account;
    struct store_account *account = &op->out.account.account;
    int status = store->account_get(store, op->arena, &in->user, account);
    if (status != BQ_OK) {
        return end_with(op, status, ACCOUNT_UNKNOWN);
    }
    account->disabled = in->disabled;
    account->updated_us = context->now_us;
    status = store->account_put(store, account);
    return status == BQ_OK && in->disabled ? store->sessions_remove(store, &in->user, NULL)
                                           : status;
}

static int delete (struct op_context *context, struct op *op)
{
    struct store *store = context->store;
    struct store_account *account = &op->out.account.account;
    int status = store->account_get(store, op->arena, &op->in.account.user, account);
    return status == BQ_OK ? erase(context, op, &op->in.account.user)
                           : end_with(op, status, ACCOUNT_UNKNOWN);
}

int run_account(struct op_context *context, struct op *op)
{
    op->out.account = (struct account_result){.outcome = ACCOUNT_DONE};
    switch (op->in.account.verb) {
    case ACCOUNT_FIND:
        return find(context, op);
    case ACCOUNT_GET:
        return get(context, op);
    case ACCOUNT_LIST:
        return list(context, op);
    case ACCOUNT_SIGN_UP:
    case ACCOUNT_ADD:
        return add(context, op);
    case ACCOUNT_SIGN_IN:
        return sign_in(context, op);
    case ACCOUNT_REFRESH:
        return refresh(context, op);
    case ACCOUNT_UPDATE:
        return update(context, op);
    case ACCOUNT_DISABLE:
        return disable(context, op);
    case ACCOUNT_SIGN_OUT:
        return sign_out(context, op);
    case ACCOUNT_DELETE:
        return delete (context, op);
    }
    return BQ_INVALID;
}
