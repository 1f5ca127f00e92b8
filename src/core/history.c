/* history.c - see history.h. */
#include "core/history.h"

#include "base/plant.h"
#include "base/status.h"
#include "base/timestamp.h"
#include "proto/read.h"

/* Entries hold a document and its edit in an envelope; the reader needs no tighter bound. */
#define HISTORY_DEPTH 200u

int history_add(struct store *store, struct arena *arena, const struct uuid *user, struct slice key,
                int64_t version, const struct json_value *older, const struct json_value *newer,
                const struct history_note *note, int64_t *inout_head)
{
    struct merge_edit back;
    struct buf buf = BUF_INIT;
    bool changed;
    int status = merge_diff(arena, newer, older, &merge_policy_incoming, &back, &changed);
    if (status != BQ_OK) {
        return status;
    }
    proto_print_name(&buf, true, "status");
    json_print_string(&buf, slice_of(note->status));
    proto_print_text(&buf, "device", note->device_id);
    proto_print_int(&buf, "op", note->op);
    proto_print_time(&buf, "at", note->at_us);
    if (json_is_absent(older)) {
        proto_print_bool(&buf, "gone", true);
    }
    if (!json_is_absent(&back.was)) {
        proto_print_value(&buf, "was", &back.was);
    }
    if (!json_is_absent(&back.now)) {
        proto_print_value(&buf, "now", &back.now);
    }
    if (note->edit != NULL) {
        struct proto_edit edit = {key, note->op, 0, SLICE("0000000000000000"), *note->edit};
        proto_print_name(&buf, false, "edit");
        proto_edit_print(&buf, &edit);
    }
    buf_add_char(&buf, '}');
    struct store_history entry = {0, *inout_head, version, buf_slice(&buf)};
    status = buf.failed ? BQ_NOMEM : store->history_add(store, user, key, &entry, inout_head);
    buf_release(&buf);
    return status;
}

int history_get(struct store *store, struct arena *arena, const struct uuid *user, int64_t id,
                struct history_entry *out)
{
    struct store_history stored;
    if (id == 0) {
        return BQ_NOT_FOUND;
    }
    int status = store->history_get(store, arena, user, id, &stored);
    if (status == BQ_OK) {
        status = json_parse(arena, stored.entry, HISTORY_DEPTH, &out->fields, NULL);
        if (status != BQ_OK && status != BQ_NOMEM) {
            status = BQ_CORRUPT;
        }
    }
    if (status == BQ_OK) {
        status = proto_read_time(&out->fields, "at", &out->at_us, NULL);
        out->version = stored.version;
        out->older = stored.older;
    }
    return status;
}

int history_step_back(struct arena *arena, const struct history_entry *entry,
                      struct json_value *inout_document)
{
    const struct json_value *was = json_get(&entry->fields, "was");
    const struct json_value *now = json_get(&entry->fields, "now");
    if (json_is(json_get(&entry->fields, "gone"), JSON_TRUE)) {
        *inout_document = json_absent();
        return BQ_OK;
    }
    struct merge_document document = {*inout_document, 1, json_is_absent(inout_document), 0};
    struct merge_edit edit = {.mode = MERGE_EDIT,
                              .base = 1,
                              .was = was == NULL ? json_absent() : *was,
                              .now = now == NULL ? json_absent() : *now};
    struct merge_result result;
    if (was == NULL && now == NULL) {
        return BQ_OK;
    }
    int status = merge_apply(arena, &document, &edit, &merge_policy_incoming, NULL, &result);
    if (status == BQ_OK) {
        *inout_document = result.document.value;
    }
    return status;
}

int history_at(struct store *store, struct arena *arena, const struct uuid *user,
               const struct store_doc *doc, const struct json_value *present, int64_t version,
               struct json_value *out)
{
    struct json_value document = doc->deleted ? json_absent() : *present;
    int64_t at = doc->version;
    int64_t id = doc->history;
    if (version < 1 || version > at) {
        return BQ_NOT_FOUND;
    }
    while (at > version + (PLANTED(HISTORY_OFF_BY_ONE) ? 1 : 0)) {
        struct history_entry entry;
        int status = history_get(store, arena, user, id, &entry);
        if (status == BQ_OK && entry.version != at) {
            status = BQ_NOT_FOUND;
        }
        if (status == BQ_OK) {
            status = history_step_back(arena, &entry, &document);
        }
        if (status != BQ_OK) {
            return status;
        }
        at--;
        id = entry.older;
    }
    *out = document;
    return BQ_OK;
}
