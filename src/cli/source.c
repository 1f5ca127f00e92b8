/* source.c - from columns to what a row becomes; which source a word names. */
#include "cli/source.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/status.h"
#include "base/timestamp.h"
#include "cli/options.h"
#include "cli/output.h"
#include "proto/edit.h"
#include "proto/v1.h"
#include "store/open.h"

/* Deep enough for what a store can keep (core/doc.c). */
#define VALUE_DEPTH 9990u

const char *source_table(enum source_kind kind)
{
    static const char *const tables[SOURCE_KINDS] = {
        [SOURCE_NONE] = "?",
        [SOURCE_V1_ROW] = "user_sync_data",
        [SOURCE_V1_DEVICE] = "user_devices",
        [SOURCE_DOCUMENT] = "user_sync_data_v2",
        [SOURCE_DEVICE] = "user_sync_metadata",
        [SOURCE_STORED] = "user_sync_data_v2"};
    return tables[kind];
}

struct slice source_device(enum source_kind kind)
{
    return kind == SOURCE_DOCUMENT || kind == SOURCE_DEVICE ? SLICE("migrate:v2")
           : kind == SOURCE_STORED                          ? SLICE("migrate:store")
                                                            : SLICE("migrate:v1");
}

/* ---- Columns --------------------------------------------------------------------------------- */

struct columns {
    struct arena *arena;
    const struct source_field *fields;
    uint32_t n;
    struct source_row *row;
};

static void wrong(struct source_row *row, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The first reason stands. */
static void wrong(struct source_row *row, const char *format, ...)
{
    va_list args;
    if (row->wrong[0] != '\0') {
        return;
    }
    va_start(args, format);
    vsnprintf(row->wrong, sizeof row->wrong, format, args);
    va_end(args);
}

static const struct source_field *find(const struct columns *columns, const char *name)
{
    for (uint32_t i = 0; i < columns->n; i++) {
        if (slice_is(columns->fields[i].name, name)) {
            return &columns->fields[i];
        }
    }
    return NULL;
}

/* SLICE_NONE: no such column, NULL, or a JSON value that is no text. */
static struct slice text(const struct columns *columns, const char *name)
{
    const struct source_field *field = find(columns, name);
    if (field == NULL || field->json == NULL) {
        return field == NULL ? SLICE_NONE : field->text;
    }
    bool is_text = field->json->type == JSON_STRING || field->json->type == JSON_NUMBER;
    return is_text ? json_text(field->json) : SLICE_NONE;
}

/* A column of JSON. Absent: no such column, or NULL. */
static int value(const struct columns *columns, const char *name, struct json_value *out)
{
    const struct source_field *field = find(columns, name);
    struct json_error error;
    *out = json_absent();
    if (field == NULL || (field->json == NULL && field->text.ptr == NULL)) {
        return BQ_OK;
    }
    if (field->json != NULL) {
        *out = *field->json;
        return BQ_OK;
    }
    int status = json_parse(columns->arena, field->text, VALUE_DEPTH, out, &error);
    if (status == BQ_NOMEM) {
        return status;
    }
    if (status != BQ_OK) {
        wrong(columns->row, "%s is no JSON at column %u: %s", name, error.column, error.what);
        *out = json_absent();
    }
    return BQ_OK;
}

/* -1: none, or none that can be read. */
static int64_t time_us(const struct columns *columns, const char *name)
{
    struct slice at = text(columns, name);
    int64_t out = -1;
    if (at.ptr != NULL && !timestamp_parse(at, &out)) {
        columns->row->n_bad_times++;
    }
    return out;
}

static int64_t number(const struct columns *columns, const char *name, int64_t missing)
{
    struct slice digits = text(columns, name);
    char copy[24];
    int64_t out = missing;
    if (digits.ptr == NULL) {
        return missing;
    }
    if (digits.len < sizeof copy) {
        memcpy(copy, digits.ptr, digits.len);
        copy[digits.len] = '\0';
        if (options_number(copy, &out)) {
            return out;
        }
    }
    wrong(columns->row, "%s is no whole number", name);
    return missing;
}

static void user(const struct columns *columns)
{
    struct slice id = text(columns, "user_id");
    columns->row->has_user = id.ptr != NULL && uuid_parse(id, &columns->row->user);
    if (!columns->row->has_user) {
        wrong(columns->row, "user_id is no uuid");
    }
}

/* ---- Tables ---------------------------------------------------------------------------------- */

/* A v1 row: each key is a document of its own. A key's own timestamp, else the row's. */
static int read_v1_row(const struct columns *columns)
{
    struct source_row *row = columns->row;
    struct json_value data;
    int64_t created_us = time_us(columns, "created_at");
    int status = value(columns, "data", &data);
    row->clock_us = time_us(columns, "updated_at");
    if (status == BQ_OK && json_is(&data, JSON_STRING)) {
        /* Some tables hold the object as a text. */
        struct slice inner = json_text(&data);
        status = json_parse(columns->arena, inner, VALUE_DEPTH, &data, NULL);
        status = status == BQ_NOMEM ? status : BQ_OK;
    }
    if (status != BQ_OK) {
        return status;
    }
    if (!json_is_absent(&data) && data.type != JSON_NULL && data.type != JSON_OBJECT) {
        wrong(row, "data is no object");
        return BQ_OK;
    }
    uint32_t n = data.type == JSON_OBJECT ? data.count : 0;
    struct seed_row *docs = arena_zalloc(columns->arena, n, sizeof *docs);
    if (docs == NULL) {
        return BQ_NOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct json_value *entry = &data.members[i].value;
        int64_t at_us;
        docs[i].key = json_text(&data.members[i].key);
        docs[i].value = proto_v1_unwrap(entry, &at_us);
        docs[i].created_us = created_us;
        docs[i].modified_us = at_us >= 0 ? at_us : row->clock_us;
        row->n_bad_times += at_us < 0 && json_get(entry, "timestamp") != NULL;
    }
    row->docs = docs;
    row->n_docs = n;
    return BQ_OK;
}

static int read_document(const struct columns *columns)
{
    struct source_row *row = columns->row;
    struct seed_row *doc = arena_zalloc(columns->arena, 1, sizeof *doc);
    if (doc == NULL) {
        return BQ_NOMEM;
    }
    doc->key = text(columns, "data_key");
    doc->version = number(columns, "version", 1);
    doc->device_id = text(columns, "device_id");
    doc->created_us = time_us(columns, "created_at");
    doc->modified_us = time_us(columns, "modified_at");
    int status = value(columns, "data", &doc->value);
    if (doc->key.ptr == NULL) {
        wrong(row, "data_key is missing");
    } else if (json_is_absent(&doc->value)) {
        wrong(row, "data is missing");
    }
    /* A row of a store of ours that was written with `copy`: a tombstone is no document. */
    struct slice deleted = text(columns, "deleted");
    const struct source_field *field = find(columns, "deleted");
    bool is_deleted = slice_is(deleted, "t") || slice_is(deleted, "true") ||
                      slice_is(deleted, "1") || (field != NULL && json_is(field->json, JSON_TRUE));
    row->docs = doc;
    row->n_docs = is_deleted ? 0 : 1;
    return status;
}

static void read_v1_device(const struct columns *columns)
{
    struct source_row *row = columns->row;
    int64_t created_us = time_us(columns, "created_at");
    int64_t last_us = time_us(columns, "last_sync");
    struct slice id = text(columns, "device_id");
    if (id.ptr == NULL || !proto_device_valid(id)) {
        wrong(row, "device_id is not 1 to %u bytes without controls", LIMIT_DEVICE_BYTES);
    }
    last_us = last_us > 0 ? last_us : created_us > 0 ? created_us : 0;
    created_us = created_us > 0 ? created_us : last_us;
    row->has_v1_device = true;
    row->v1_device = (struct store_v1_device){id, text(columns, "device_name"),
                                              text(columns, "device_type"), last_us, created_us};
}

static int read_device(const struct columns *columns)
{
    struct source_row *row = columns->row;
    struct json_value info;
    struct buf printed = BUF_INIT;
    int64_t created_us = time_us(columns, "created_at");
    int64_t last_us = time_us(columns, "last_sync_at");
    struct slice id = text(columns, "device_id");
    if (id.ptr == NULL || !proto_device_valid(id)) {
        wrong(row, "device_id is not 1 to %u bytes without controls", LIMIT_DEVICE_BYTES);
    }
    int status = value(columns, "device_info", &info);
    if (status != BQ_OK) {
        return status;
    }
    if (json_is_absent(&info) || info.type == JSON_NULL) {
        buf_add_text(&printed, "{}");
    } else {
        json_print(&printed, &info);
    }
    struct slice copy = printed.failed ? SLICE_NONE : arena_copy(columns->arena,
                                                                 buf_slice(&printed));
    buf_release(&printed);
    last_us = last_us > 0 ? last_us : created_us > 0 ? created_us : 0;
    created_us = created_us > 0 ? created_us : last_us;
    row->has_device = true;
    row->device = (struct store_device){id, last_us, number(columns, "last_sync_version", 0), copy,
                                        created_us};
    return copy.ptr == NULL ? BQ_NOMEM : BQ_OK;
}

/* Which table a row is of shows in its columns. */
static enum source_kind kind_of(const struct columns *columns)
{
    if (find(columns, "data_key") != NULL) {
        return find(columns, "retry_count") != NULL ? SOURCE_NONE : SOURCE_DOCUMENT;
    }
    if (find(columns, "last_sync_version") != NULL) {
        return SOURCE_DEVICE;
    }
    if (find(columns, "device_type") != NULL || find(columns, "device_name") != NULL) {
        return SOURCE_V1_DEVICE;
    }
    return find(columns, "data") != NULL ? SOURCE_V1_ROW : SOURCE_NONE;
}

int source_read_row(struct arena *arena, const struct source_field *fields, uint32_t n,
                    struct source_row *out)
{
    struct columns columns = {arena, fields, n, out};
    int status = BQ_OK;
    out->kind = kind_of(&columns);
    out->clock_us = -1;
    user(&columns);
    switch (out->kind) {
    case SOURCE_V1_ROW:
        status = read_v1_row(&columns);
        break;
    case SOURCE_V1_DEVICE:
        read_v1_device(&columns);
        break;
    case SOURCE_DOCUMENT:
        status = read_document(&columns);
        break;
    case SOURCE_DEVICE:
        status = read_device(&columns);
        break;
    case SOURCE_NONE:
    case SOURCE_STORED:
    case SOURCE_KINDS:
        wrong(out, "its columns are of none of the tables user_sync_data, user_devices, "
                   "user_sync_data_v2, user_sync_metadata");
        break;
    }
    return arena_failed(arena) ? BQ_NOMEM : status;
}

const char *source_place(struct buf *out, const char *place)
{
    buf_clear(out);
    if (store_place_is_known(place)) {
        store_place_print(out, place);
    } else {
        buf_add_text(out, place);
    }
    return out->failed ? "" : out->ptr;
}

/* ---- Opening --------------------------------------------------------------------------------- */

int source_open(const char *from, const char *to, bool json, struct source **out)
{
    if (strncmp(from, "postgres://", 11) == 0 || strncmp(from, "postgresql://", 13) == 0) {
        return source_open_postgres(from, strcmp(from, to) == 0, json, out);
    }
    if (strncmp(from, "sqlite:", 7) == 0) {
        return source_open_store(from, json, out);
    }
    return source_open_file(from, json, out);
}
