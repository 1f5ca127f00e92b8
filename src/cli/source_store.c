/* source_store.c - the documents and devices of a store of ours, user by user. Erased users and
 * tombstones are passed over. */
#include <stdio.h>

#include "base/mem.h"
#include "base/status.h"
#include "cli/operator.h"
#include "cli/output.h"
#include "cli/source.h"

#define PAGE_USERS 256u
#define VALUE_DEPTH 10000u

struct store_source {
    struct source source;
    struct operator operator;
    struct arena page_arena; /* of users */
    struct arena arena;      /* of the present user's rows */
    struct store_users users;
    uint32_t user;
    struct store_docs docs;
    struct store_devices devices;
    struct store_v1_devices v1_devices;
    uint32_t doc;
    uint32_t device;
    uint32_t v1_device;
    bool began;
    bool ended;
};

static struct store_source *store_of(struct source *source)
{
    return (struct store_source *)source;
}

static int load_user(struct store_source *from)
{
    struct store *store = from->operator.opened;
    const struct uuid *id = &from->users.items[from->user].id;
    arena_reset(&from->arena);
    from->doc = from->device = from->v1_device = 0;
    int status = store->docs(store, &from->arena, id, 0, UINT32_MAX, SIZE_MAX, false, &from->docs);
    if (status == BQ_OK) {
        status = store->devices(store, &from->arena, id, &from->devices);
    }
    return status == BQ_OK ? store->v1_devices(store, &from->arena, id, &from->v1_devices) : status;
}

/* The next user of the page, or the next page. */
static int next_user(struct store_source *from)
{
    struct store *store = from->operator.opened;
    struct uuid last;
    do {
        from->user += from->began ? 1 : 0;
        if (from->user >= from->users.n) {
            if (from->began && from->users.n < PAGE_USERS) {
                return BQ_NOT_FOUND;
            }
            if (from->began) {
                last = from->users.items[from->users.n - 1].id;
            }
            arena_reset(&from->page_arena);
            int status = store->users(store, &from->page_arena, from->began ? &last : NULL,
                                      PAGE_USERS, &from->users);
            if (status != BQ_OK) {
                return status;
            }
            from->user = 0;
            if (from->users.n == 0) {
                return BQ_NOT_FOUND;
            }
        }
        from->began = true;
    } while (from->users.items[from->user].erased);
    return load_user(from);
}

static int give_doc(struct store_source *from, struct arena *arena, struct source_row *out)
{
    const struct store_doc *doc = &from->docs.items[from->doc++];
    struct seed_row *row = arena_zalloc(arena, 1, sizeof *row);
    if (row == NULL) {
        return BQ_NOMEM;
    }
    out->kind = SOURCE_STORED;
    *row = (struct seed_row){.key = arena_copy(arena, doc->key),
                             .version = doc->version,
                             .device_id = doc->device_id.ptr == NULL
                                              ? SLICE_NONE
                                              : arena_copy(arena, doc->device_id),
                             .created_us = doc->created_us,
                             .modified_us = doc->modified_us};
    struct slice data = arena_copy(arena, doc->data);
    int status = json_parse(arena, data, VALUE_DEPTH, &row->value, NULL);
    out->docs = row;
    out->n_docs = 1;
    return arena_failed(arena) ? BQ_NOMEM : status;
}

static int next(struct source *source, struct arena *arena, struct source_row *out)
{
    struct store_source *from = store_of(source);
    int status = BQ_OK;
    *out = (struct source_row){.clock_us = -1, .has_user = true};
    while (status == BQ_OK && !(from->began && (from->doc < from->docs.n ||
                                                from->device < from->devices.n ||
                                                from->v1_device < from->v1_devices.n))) {
        status = next_user(from);
    }
    if (status != BQ_OK) {
        return status;
    }
    const struct store_user *user = &from->users.items[from->user];
    out->user = user->id;
    out->number = ++source->done;
    if (from->doc < from->docs.n) {
        out->clock_us = user->clock_us;
        return give_doc(from, arena, out);
    }
    /* Their texts live until the next user, and a row is used up before the next one is asked for
     * only as far as its arena goes: so they are copied. */
    if (from->device < from->devices.n) {
        out->kind = SOURCE_DEVICE;
        out->has_device = true;
        out->device = from->devices.items[from->device++];
        out->device.device_id = arena_copy(arena, out->device.device_id);
        out->device.info = out->device.info.ptr == NULL ? SLICE_NONE
                                                        : arena_copy(arena, out->device.info);
        return arena_failed(arena) ? BQ_NOMEM : BQ_OK;
    }
    out->kind = SOURCE_V1_DEVICE;
    out->has_v1_device = true;
    out->v1_device = from->v1_devices.items[from->v1_device++];
    struct slice *texts[] = {&out->v1_device.device_id, &out->v1_device.name, &out->v1_device.type};
    for (int i = 0; i < 3; i++) {
        *texts[i] = texts[i]->ptr == NULL ? SLICE_NONE : arena_copy(arena, *texts[i]);
    }
    return arena_failed(arena) ? BQ_NOMEM : BQ_OK;
}

static void close_store(struct source *source)
{
    struct store_source *from = store_of(source);
    if (from->operator.opened != NULL) {
        from->operator.opened->rollback(from->operator.opened);
    }
    operator_close(&from->operator);
    arena_release(&from->page_arena);
    arena_release(&from->arena);
    mem_free(from);
}

int source_open_store(const char *store, bool json, struct source **out)
{
    struct store_source *from = mem_zalloc(1, sizeof *from);
    if (from == NULL) {
        return output_fail(json, BQ_NOMEM, "%s", status_text(BQ_NOMEM));
    }
    from->source = (struct source){.next = next, .close = close_store};
    from->operator= (struct operator){.store = store, .json = json};
    arena_init(&from->page_arena);
    arena_init(&from->arena);
    int result = operator_open(&from->operator, false);
    if (result == CLI_OK) {
        int status = from->operator.opened->begin(from->operator.opened);
        result = status == BQ_OK ? CLI_OK : output_fail(json, status, "the store of --from: %s",
                                                        status_text(status));
    }
    if (result != CLI_OK) {
        close_store(&from->source);
        return result;
    }
    *out = &from->source;
    return CLI_OK;
}
