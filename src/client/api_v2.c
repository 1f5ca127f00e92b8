/* api_v2.c - an older app's local data comes in, and goes back (docs/phone.md).
 *
 * What comes is what SharedPreferences held: texts by name, the texts being JSON themselves. A name
 * may have Flutter's own "flutter." before it; a value may also be the JSON itself. */
#include "base/status.h"
#include "client/handle.h"

#include "base/mem.h"
#include "base/sha1.h"
#include "base/timestamp.h"
#include "json/json.h"

#include <stdio.h>

#define PREFS_DEPTH 200u
#define ID_TEXT (2 * SHA1_BYTES + LIMIT_KEY_BYTES + 16)
#define PREFIX "flutter."
#define DOCUMENT "sync_data_v2_"
#define STATE "sync_state_v2"

struct import {
    struct bq *bq;
    struct arena arena;
    struct json_value prefs;
    struct engine *engine; /* the user's rows, not the handle's engine yet */
    struct events events;
    struct slice device;
    struct json_value state; /* sync_state_v2<user>; absent where there is none */
    struct bq_import_counts counts;
    char skipped[160]; /* why the first that was skipped was */
};

/* ---- Reading the preferences ----------------------------------------------------------------- */

static struct slice pref_name(const struct json_member *member)
{
    struct slice name = json_text(&member->key);
    size_t n = sizeof PREFIX - 1;
    if (name.len > n && memcmp(name.ptr, PREFIX, n) == 0) {
        name = (struct slice){name.ptr + n, name.len - n};
    }
    return name;
}

static bool begins(struct slice name, const char *with, struct slice *rest)
{
    size_t n = strlen(with);
    if (name.len < n || memcmp(name.ptr, with, n) != 0) {
        return false;
    }
    *rest = (struct slice){name.ptr + n, name.len - n};
    return true;
}

static void skip(struct import *import, struct slice what, const char *why)
{
    if (import->counts.skipped++ == 0) {
        (void)snprintf(import->skipped, sizeof import->skipped, "%.*s: %s",
                       (int)(what.len > 60 ? 60 : what.len), what.ptr, why);
    }
}

/* A value that may be JSON in a text. False where it is none. */
static bool unpack(struct import *import, const struct json_value *value, struct json_value *out)
{
    if (value->type != JSON_STRING) {
        *out = *value;
        return true;
    }
    struct slice text = json_text(value);
    return json_parse(&import->arena, text, PREFS_DEPTH, out, NULL) == BQ_OK;
}

static int parse(struct import *import, struct slice text)
{
    struct json_error where;
    int status = json_parse(&import->arena, text, PREFS_DEPTH, &import->prefs, &where);
    if (status == BQ_OK && import->prefs.type != JSON_OBJECT) {
        return handle_fail(import->bq, BQ_INVALID, "preferences are a JSON object");
    }
    if (status != BQ_OK) {
        return handle_fail(import->bq, status, "line %u, column %u: %s", where.line, where.column,
                           status == BQ_NOMEM ? status_text(status) : where.what);
    }
    return BQ_OK;
}

/* A state of others and none of ours: what is queued is not this user's. */
static int check_user(struct import *import)
{
    bool others = false;
    for (uint32_t i = 0; i < import->prefs.count; i++) {
        struct slice user;
        if (begins(pref_name(&import->prefs.members[i]), STATE, &user) && user.len == UUID_TEXT) {
            if (slice_is(user, import->bq->user)) {
                (void)unpack(import, &import->prefs.members[i].value, &import->state);
                return BQ_OK;
            }
            others = true;
        }
    }
    return others ? handle_fail(import->bq, BQ_FORBIDDEN,
                                "the preferences are another user's; sign that one in")
                  : BQ_OK;
}

/* ---- Taking in ------------------------------------------------------------------------------- */

static int step(struct import *import, const struct engine_event *event)
{
    return handle_step_inside(import->bq, import->engine, import->bq->user, event,
                              &import->events);
}

/* "<kind>:<key>:<sha1 of the text>" */
static void make_id(const char *kind, struct slice key, struct slice text, char out[ID_TEXT])
{
    uint8_t hash[SHA1_BYTES];
    int n = snprintf(out, ID_TEXT, "%s:%.*s:", kind, SLICE_FMT(key));
    sha1(text, hash);
    for (size_t i = 0; i < sizeof hash && n < (int)ID_TEXT - 2; i++) {
        n += snprintf(out + n, ID_TEXT - (size_t)n, "%02x", hash[i]);
    }
}

/* What the older app knew the server to hold; 0 where it says nothing. */
static int64_t known_version(const struct import *import, struct slice key)
{
    const struct json_value *keys =
        json_is(&import->state, JSON_OBJECT) ? json_get(&import->state, "dataKeys") : NULL;
    const struct json_value *of_key =
        json_is(keys, JSON_OBJECT) ? json_get_slice(keys, key) : NULL;
    const struct json_value *version =
        json_is(of_key, JSON_OBJECT) ? json_get(of_key, "version") : NULL;
    int64_t number;
    return version != NULL && json_to_int(version, &number) && number > 0 ? number : 0;
}

/* A refusal that concerns one document does not stop the others. */
static bool concerns_one(int status)
{
    return status == BQ_TOO_LARGE || status == BQ_TOO_DEEP || status == BQ_TOO_MANY_KEYS ||
           status == BQ_QUOTA || status == BQ_BAD_KEY || status == BQ_OUT_OF_RANGE;
}

/* A document as a seed: what the app shows from now on. */
static int take_document(struct import *import, struct slice key, const struct json_value *document,
                         const char *kind, bool counts)
{
    struct buf text = BUF_INIT;
    char id[ID_TEXT];
    if (!proto_key_valid(key) || document->type != JSON_OBJECT) {
        skip(import, key, document->type != JSON_OBJECT ? "no object" : status_text(BQ_BAD_KEY));
        return BQ_OK;
    }
    json_print(&text, document);
    make_id(kind, key, buf_slice(&text), id);
    const struct engine_event event = {.type = ENGINE_LEGACY,
                                       .key = key,
                                       .path = slice_of(id),
                                       .text = buf_slice(&text),
                                       .version = known_version(import, key)};
    bool known = engine_carried_known(import->engine, event.path);
    int status = text.failed ? BQ_NOMEM : known ? BQ_OK : step(import, &event);
    buf_release(&text);
    if (concerns_one(status)) {
        skip(import, key, status_text(status));
        return BQ_OK;
    }
    import->counts.again += known && counts ? 1 : 0;
    import->counts.documents += !known && counts && status == BQ_OK ? 1 : 0;
    return status;
}

static int take_documents(struct import *import)
{
    int status = BQ_OK;
    for (uint32_t i = 0; i < import->prefs.count && status == BQ_OK; i++) {
        struct json_value document;
        struct slice key;
        if (!begins(pref_name(&import->prefs.members[i]), DOCUMENT, &key)) {
            continue;
        }
        if (!unpack(import, &import->prefs.members[i].value, &document)) {
            skip(import, key, "no JSON");
            continue;
        }
        status = take_document(import, key, &document, "doc", true);
    }
    return status;
}

static int carry(struct import *import, struct slice key, struct slice id, struct slice device,
                 const struct json_value *item)
{
    struct buf text = BUF_INIT;
    struct engine_event event = {.type = ENGINE_CARRY, .key = key, .path = id, .device = device};
    const struct json_value *version = json_get(item, "expectedVersion");
    if (engine_carried_known(import->engine, id)) {
        import->counts.again++;
        return BQ_OK;
    }
    json_print(&text, item);
    event.text = buf_slice(&text);
    if (version == NULL || !json_to_int(version, &event.version)) {
        event.version = 0; /* as the older app read it */
    }
    int status = text.failed ? BQ_NOMEM : step(import, &event);
    buf_release(&text);
    import->counts.edits += status == BQ_OK ? 1 : 0;
    return status;
}

static struct slice text_of(const struct json_value *item, const char *name)
{
    const struct json_value *value = json_get(item, name);
    return json_is(value, JSON_STRING) ? json_text(value) : SLICE_NONE;
}

static int take_item(struct import *import, const struct json_value *item)
{
    const struct json_value *data = item->type == JSON_OBJECT ? json_get(item, "data") : NULL;
    struct slice id = item->type == JSON_OBJECT ? text_of(item, "id") : SLICE_NONE;
    struct slice key = item->type == JSON_OBJECT ? text_of(item, "key") : SLICE_NONE;
    char made[ID_TEXT];
    if (!json_is(data, JSON_OBJECT) || key.ptr == NULL || !proto_key_valid(key)) {
        skip(import, key.ptr == NULL ? SLICE("sync_queue_v2") : key,
             "an item without a good key or an object as data");
        return BQ_OK;
    }
    if (import->device.len == 0) {
        return handle_fail(import->bq, BQ_INVALID,
                           "sync_device_id is missing: the server knows by it what it has already");
    }
    if (id.len == 0) {
        struct buf text = BUF_INIT;
        json_print(&text, item);
        make_id("item", key, buf_slice(&text), made);
        buf_release(&text);
        id = slice_of(made);
    }
    return carry(import, key, id, import->device, item);
}

/* In the order of the queue, which is the order in which it was written; that app sent by priority
 * and by its pauses, which the server's rules bear with. */
static int take_queue(struct import *import, const struct json_value *queue)
{
    int status = BQ_OK;
    for (uint32_t i = 0; i < queue->count && status == BQ_OK; i++) {
        status = take_item(import, &queue->items[i]);
    }
    /* The app sees what it wrote, the newest first: older ones add what only they have. */
    for (uint32_t i = queue->count; i > 0 && status == BQ_OK; i--) {
        const struct json_value *item = &queue->items[i - 1];
        const struct json_value *data = item->type == JSON_OBJECT ? json_get(item, "data") : NULL;
        struct slice key = item->type == JSON_OBJECT ? text_of(item, "key") : SLICE_NONE;
        if (json_is(data, JSON_OBJECT) && key.ptr != NULL && proto_key_valid(key)) {
            status = take_document(import, key, data, "item", false);
        }
    }
    return status;
}

/* v1: {"<key>": document}; each goes out as a write of v1's row. */
static int take_v1(struct import *import, const struct json_value *queue)
{
    int status = BQ_OK;
    char now[TIMESTAMP_TEXT];
    (void)timestamp_print_ms(import->bq->now_ms() * 1000, now);
    for (uint32_t i = 0; i < queue->count && status == BQ_OK; i++) {
        const struct json_value *document = &queue->members[i].value;
        struct slice key = json_text(&queue->members[i].key);
        struct buf text = BUF_INIT;
        char id[ID_TEXT];
        struct json_value value, item;
        if (!proto_key_valid(key) || document->type != JSON_OBJECT) {
            skip(import, key, "v1's queue holds no document there");
            continue;
        }
        json_print(&text, document);
        make_id("v1", key, buf_slice(&text), id);
        struct slice copy = arena_copy(&import->arena, buf_slice(&text));
        buf_clear(&text);
        buf_add_text(&text, "{\"value\":");
        buf_add_slice(&text, copy);
        buf_add_format(&text, ",\"timestamp\":\"%s\"}", now);
        status = text.failed || copy.ptr == NULL
                     ? BQ_NOMEM
                     : json_parse(&import->arena, arena_copy(&import->arena, buf_slice(&text)),
                                  PREFS_DEPTH, &item, NULL);
        buf_release(&text);
        value = *document;
        if (status == BQ_OK) {
            status = carry(import, key, slice_of(id), SLICE_NONE, &item);
        }
        if (status == BQ_OK) {
            status = take_document(import, key, &value, "v1doc", false);
        }
    }
    return status;
}

static int take_all(struct import *import)
{
    struct json_value queue = json_absent();
    struct json_value old = json_absent();
    for (uint32_t i = 0; i < import->prefs.count; i++) {
        const struct json_value *value = &import->prefs.members[i].value;
        struct slice name = pref_name(&import->prefs.members[i]);
        if (slice_is(name, "sync_device_id") && value->type == JSON_STRING) {
            import->device = json_text(value);
        }
        bool is_queue = slice_is(name, "sync_queue_v2");
        if ((is_queue || slice_is(name, "sync_service_queue")) && value->type != JSON_NULL &&
            !(value->type == JSON_STRING && json_text(value).len == 0)) {
            struct json_value *to = is_queue ? &queue : &old;
            if (!unpack(import, value, to) ||
                to->type != (is_queue ? JSON_ARRAY : JSON_OBJECT)) {
                return handle_fail(import->bq, BQ_INVALID, "%.*s is no queue; nothing was taken",
                                   SLICE_FMT(name));
            }
        }
    }
    int status = take_documents(import);
    if (status == BQ_OK && queue.type == JSON_ARRAY) {
        status = take_queue(import, &queue);
    }
    if (status == BQ_OK && old.type == JSON_OBJECT) {
        status = take_v1(import, &old);
    }
    return status;
}

/* In the open transaction. What was handed over is the older app's: it comes from there alone. */
static int import_inside(struct import *import)
{
    struct bq *bq = import->bq;
    struct engine_event tick = {.type = ENGINE_TICK};
    bool handed_over;
    int status = disk_handed_over(bq->disk, bq->user, &handed_over);
    if (status == BQ_OK && handed_over) {
        status = disk_forget(bq->disk, bq->user); /* the mark with it */
    }
    if (status != BQ_OK) {
        return handle_fail(bq, status, "%s", disk_error(bq->disk));
    }
    status = handle_load(bq, bq->user, &import->engine);
    if (status == BQ_OK) {
        status = step(import, &tick);
    }
    if (status == BQ_OK) {
        status = take_all(import);
    }
    if (status != BQ_OK) {
        return status;
    }
    if (import->counts.edits > 0) {
        status = disk_carries(bq->disk);
    }
    if (status == BQ_OK) {
        status = disk_commit(bq->disk);
    }
    return status == BQ_OK ? BQ_OK : handle_fail(bq, status, "%s", disk_error(bq->disk));
}

static int import_all(struct import *import)
{
    struct bq *bq = import->bq;
    int status = handle_ready(bq);
    if (status == BQ_OK && bq->user[0] == '\0') {
        status = handle_fail(bq, BQ_SIGNED_OUT, "%s", status_text(BQ_SIGNED_OUT));
    }
    if (status == BQ_OK) {
        status = check_user(import);
    }
    if (status != BQ_OK) {
        return status;
    }
    char user[DISK_USER_TEXT];
    memcpy(user, bq->user, sizeof user);
    status = disk_begin(bq->disk);
    status = status == BQ_OK ? import_inside(import)
                             : handle_fail(bq, status, "%s", disk_error(bq->disk));
    if (status != BQ_OK) {
        engine_free(import->engine);
        events_release(&import->events);
        handle_undo(bq, status);
        return status;
    }
    handle_adopt(bq, import->engine, user);
    bq->tell_app |= !events_empty(&import->events);
    events_append(&bq->events, &import->events);
    (void)handle_greet(bq);
    bq->transport->wake(bq->transport);
    if (import->counts.skipped > 0) {
        (void)handle_fail(bq, BQ_OK, "%u skipped; %s", import->counts.skipped, import->skipped);
    }
    return BQ_OK;
}

int bq_import_v2(struct bq *bq, const char *json, size_t len, struct bq_import_counts *counts)
{
    struct import import = {.bq = bq, .events = EVENTS_INIT, .state = json_absent()};
    if (bq == NULL || json == NULL ||
        (counts != NULL && !handle_sized(counts->size, sizeof *counts))) {
        return BQ_INVALID;
    }
    arena_init(&import.arena);
    handle_enter(bq);
    int status = parse(&import, (struct slice){json, len == SIZE_MAX ? strlen(json) : len});
    if (status == BQ_OK) {
        status = import_all(&import);
    }
    handle_leave(bq);
    if (counts != NULL && status == BQ_OK) {
        import.counts.size = counts->size;
        *counts = import.counts;
    }
    arena_release(&import.arena);
    return status;
}

/* ---- The way back ---------------------------------------------------------------------------- */

static int mark(struct bq *bq, bool given)
{
    struct engine *engine = NULL;
    char user[DISK_USER_TEXT];
    memcpy(user, bq->user, sizeof user);
    int status = disk_begin(bq->disk);
    if (status == BQ_OK) {
        status = disk_hand_over(bq->disk, user, given);
    }
    if (status == BQ_OK) {
        status = disk_commit(bq->disk);
    }
    if (status != BQ_OK) {
        (void)handle_fail(bq, status, "%s", disk_error(bq->disk));
        handle_undo(bq, status);
        return status;
    }
    /* The engine is loaded as one that does not sync, or does again. */
    status = handle_load(bq, user, &engine);
    if (status == BQ_OK) {
        handle_adopt(bq, engine, user);
        (void)handle_greet(bq);
    }
    return status;
}

static int export_v2(struct bq *bq, unsigned flags, struct buf *out, struct engine_export *counts)
{
    if (flags == BQ_V2_TAKE_BACK) {
        int done = handle_ready(bq);
        return done == BQ_OK ? mark(bq, false) : done;
    }
    enum engine_doubt doubt = (flags & BQ_V2_ASSUME_SENT) != 0     ? ENGINE_DOUBT_SENT
                              : (flags & BQ_V2_ASSUME_UNSENT) != 0 ? ENGINE_DOUBT_UNSENT
                                                                   : ENGINE_DOUBT_REFUSE;
    int status = handle_ready(bq);
    if (status == BQ_OK && bq->user[0] == '\0') {
        return handle_fail(bq, BQ_SIGNED_OUT, "%s", status_text(BQ_SIGNED_OUT));
    }
    if (status == BQ_OK) {
        status = engine_export_v2(bq->engine, bq->now_ms(), doubt, &bq->actions, out, counts);
        if (status != BQ_OK) {
            const char *why = engine_error(bq->engine);
            return handle_fail(bq, status, "%s", why[0] != '\0' ? why : status_text(status));
        }
    }
    return status == BQ_OK && (flags & BQ_V2_HAND_OVER) != 0 ? mark(bq, true) : status;
}

int bq_export_v2(struct bq *bq, unsigned flags, char **out_json, struct bq_export_counts *counts)
{
    const unsigned all = BQ_V2_HAND_OVER | BQ_V2_ASSUME_SENT | BQ_V2_ASSUME_UNSENT |
                         BQ_V2_TAKE_BACK;
    const unsigned both = BQ_V2_ASSUME_SENT | BQ_V2_ASSUME_UNSENT;
    struct engine_export ours = {0};
    struct buf out = BUF_INIT;
    if (bq == NULL || out_json == NULL || (flags & ~all) != 0 || (flags & both) == both ||
        ((flags & BQ_V2_TAKE_BACK) != 0 && flags != BQ_V2_TAKE_BACK) ||
        (counts != NULL && !handle_sized(counts->size, sizeof *counts))) {
        return BQ_INVALID;
    }
    *out_json = NULL;
    handle_enter(bq);
    int status = export_v2(bq, flags, &out, &ours);
    handle_leave(bq);
    if (status != BQ_OK) {
        buf_release(&out);
        return status;
    }
    if (counts != NULL) {
        *counts = (struct bq_export_counts){counts->size, ours.n_documents, ours.n_items,
                                            ours.n_left};
    }
    if (flags == BQ_V2_TAKE_BACK) {
        return BQ_OK;
    }
    *out_json = buf_take(&out, &(size_t){0});
    return *out_json == NULL ? BQ_NOMEM : BQ_OK;
}
