/* wants.c - see wants.h. Only what the frequent ops ask for; the others ask when they run. */
#include "core/wants.h"

#include "base/status.h"
#include "proto/edit.h"

struct wants {
    struct store_want *items;
    size_t n;
    size_t size;
};

/* Grows in the arena of the first op: it is gone with the batch. */
static bool add(struct wants *wants, struct arena *arena, struct store_want want)
{
    if (wants->n == wants->size) {
        size_t size = wants->size == 0 ? 64 : wants->size * 2;
        struct store_want *items = arena_zalloc(arena, size, sizeof *items);
        if (items == NULL) {
            return false;
        }
        if (wants->n > 0) {
            memcpy(items, wants->items, wants->n * sizeof *items);
        }
        wants->items = items;
        wants->size = size;
    }
    wants->items[wants->n++] = want;
    return true;
}

/* Edits are read when they run; here only the key is looked for. */
static bool add_exchange(struct wants *wants, struct arena *arena, const struct op *op)
{
    const struct proto_exchange *in = &op->in.exchange;
    int64_t after = in->cursor < 0 ? -in->cursor - 1 : in->cursor;
    bool good = add(wants, arena, (struct store_want){.kind = STORE_WANT_FEED,
                                                      .user = &op->user,
                                                      .number = after});
    for (uint32_t i = 0; good && i < in->n_edits; i++) {
        const struct json_value *key =
            json_is(&in->edits[i], JSON_OBJECT) ? json_get(&in->edits[i], "key") : NULL;
        if (key != NULL && json_is(key, JSON_STRING) && proto_key_valid(json_text(key))) {
            good = add(wants, arena, (struct store_want){.kind = STORE_WANT_DOC,
                                                         .user = &op->user,
                                                         .key = json_text(key)});
        }
    }
    return good;
}

static bool add_upsert(struct wants *wants, struct arena *arena, const struct op *op)
{
    const struct proto_upsert *in = &op->in.upsert;
    struct store_want want = {.kind = STORE_WANT_DOC,
                              .user = &op->user,
                              .key = in->data_key,
                              .device_id = in->device_id.ptr == NULL ? SLICE("") : in->device_id,
                              .number = in->expected};
    if (!proto_key_valid(in->data_key) || want.device_id.len > LIMIT_DEVICE_BYTES) {
        return true;
    }
    bool good = add(wants, arena, want);
    want.kind = STORE_WANT_UPSERTS;
    good = good && add(wants, arena, want);
    want.kind = STORE_WANT_HISTORY;
    return good && (!in->has_expected || add(wants, arena, want));
}

static bool add_op(struct wants *wants, struct arena *arena, const struct op *op)
{
    struct store_want user = {.kind = STORE_WANT_USER, .user = &op->user};
    switch (op->kind) {
    case OP_EXCHANGE:
        return add(wants, arena, user) && add_exchange(wants, arena, op);
    case OP_UPSERT:
        return add(wants, arena, user) && add_upsert(wants, arena, op);
    case OP_SEED:
    case OP_REPORT:
    case OP_METADATA:
    case OP_DELETE_ALL:
    case OP_V1_SYNC:
    case OP_V1_ADD_DEVICE:
    case OP_V1_REMOVE_DEVICE:
    case OP_V1_WRITE:
    case OP_USER_ERASE:
        return add(wants, arena, user);
    case OP_POLICIES:
    case OP_USER_DATA:
    case OP_USER_STATUS:
    case OP_MIGRATE:
    case OP_POLICY_SET:
    case OP_ACCOUNT:
    case OP_TABLE:
        break;
    }
    return true;
}

int wants_prefetch(struct store *store, struct op *const *ops, size_t n)
{
    struct wants wants = {NULL, 0, 0};
    if (store->prefetch == NULL || n == 0) {
        return BQ_OK;
    }
    for (size_t i = 0; i < n; i++) {
        if (!add_op(&wants, ops[0]->arena, ops[i])) {
            return BQ_NOMEM;
        }
    }
    return store->prefetch(store, wants.items, wants.n);
}
