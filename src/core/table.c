/* table.c - the rows of a table, of one user or of a few: what GET /rest/v1/<table> reads. */
#include "core/apply.h"

#include "base/status.h"

/* One document, as a list. */
static int read_key(struct op_context *context, struct op *op, const struct uuid *user,
                    struct store_docs *out)
{
    struct store *store = context->store;
    struct store_doc *doc = arena_zalloc(op->arena, 1, sizeof *doc);
    if (doc == NULL) {
        return BQ_NOMEM;
    }
    int status = store->doc_get(store, op->arena, user, op->in.table.key, doc);
    bool shown = doc->version > 0 && (op->in.table.tombstones || !doc->deleted);
    *out = (struct store_docs){doc, shown ? 1 : 0, false};
    return status;
}

static int read_rows(struct op_context *context, struct op *op, const struct uuid *user,
                     size_t max_bytes, struct op_user_rows *out)
{
    struct store *store = context->store;
    switch (op->in.table.rows) {
    case OP_ROWS_DOCUMENTS:
        return op->in.table.key.ptr != NULL
                   ? read_key(context, op, user, &out->docs)
                   : store->docs(store, op->arena, user, 0, UINT32_MAX, max_bytes,
                                 op->in.table.tombstones, &out->docs);
    case OP_ROWS_DEVICES:
        return store->devices(store, op->arena, user, &out->devices);
    case OP_ROWS_DEAD:
        return store->dead_letters(store, op->arena, user, &out->dead);
    case OP_ROWS_FEED:
        break;
    }
    return BQ_OK;
}

static size_t bytes_of(const struct store_docs *docs)
{
    size_t n = 0;
    for (uint32_t i = 0; i < docs->n; i++) {
        n += docs->items[i].data.len;
    }
    return n;
}

/* Several users share what an answer may hold; one alone has all of its own. */
static int read_users(struct op_context *context, struct op *op)
{
    struct op_user_rows *rows = op->out.table.users;
    size_t left = LIMIT_TABLE_BYTES;
    int status = BQ_OK;
    for (uint32_t i = 0; i < op->in.table.n_users && status == BQ_OK; i++) {
        const struct uuid *user = &op->in.table.users[i];
        status = context->store->user_get(context->store, user, &rows[i].user);
        rows[i].user.id = *user;
        if (status == BQ_OK && !rows[i].user.erased) {
            status = read_rows(context, op, user, left, &rows[i]);
        }
        size_t bytes = bytes_of(&rows[i].docs);
        if (rows[i].docs.more || bytes > left) {
            return op_refuse(op, BQ_TOO_LARGE,
                             "the rows of these users have over %u bytes: name "
                             "fewer of them",
                             LIMIT_TABLE_BYTES);
        }
        left -= bytes;
    }
    return status;
}

int run_table(struct op_context *context, struct op *op)
{
    struct doc_writer writer;
    uint32_t n = op->in.table.n_users == 0 ? 1 : op->in.table.n_users;
    op->out.table.users = arena_zalloc(op->arena, n, sizeof *op->out.table.users);
    op->out.table.n_users = n;
    if (op->out.table.users == NULL) {
        return BQ_NOMEM;
    }
    if (op->in.table.n_users > 0) {
        return read_users(context, op);
    }
    int status = doc_writer_begin(&writer, context, op);
    if (status != BQ_OK) {
        return status == BQ_USER_ERASED ? BQ_OK : status;
    }
    status = context->store->user_get(context->store, &op->user, &op->out.table.users->user);
    op->out.table.users->user.id = op->user;
    return status == BQ_OK ? read_rows(context, op, &op->user, SIZE_MAX, op->out.table.users)
                           : status;
}
