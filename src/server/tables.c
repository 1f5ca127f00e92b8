/* tables.c - see tables.h. */
#include "server/tables.h"

#include "base/status.h"
#include "base/timestamp.h"
#include "json/json.h"

#define STORED_DEPTH 10000u /* documents over the limit of depth can still be read */

/* ---- Definitions ----------------------------------------------------------------------------- */

static const struct table_column document_columns[] = {
    {"user_id", TABLE_UUID, true},
    {"data_key", TABLE_TEXT, true},
    {"data", TABLE_JSONB, false},
    {"version", TABLE_INT4, false},
    {"device_id", TABLE_TEXT, false},
    {"modified_at", TABLE_TIMESTAMPTZ, false},
    {"created_at", TABLE_TIMESTAMPTZ, false},
};

static const struct table_column metadata_columns[] = {
    {"user_id", TABLE_UUID, true},
    {"device_id", TABLE_TEXT, true},
    {"last_sync_at", TABLE_TIMESTAMPTZ, false},
    {"last_sync_version", TABLE_INT4, false},
    {"device_info", TABLE_JSONB, false},
    {"created_at", TABLE_TIMESTAMPTZ, false},
};

static const struct table_column feed_columns[] = {
    {"user_id", TABLE_UUID, true},
    {"seq", TABLE_INT8, false},
};

static const struct table_column v1_columns[] = {
    {"user_id", TABLE_UUID, true},
    {"data", TABLE_JSONB, false},
    {"created_at", TABLE_TIMESTAMPTZ, false},
    {"updated_at", TABLE_TIMESTAMPTZ, false},
};

static const struct table_column queue_columns[] = {
    {"id", TABLE_UUID, true},
    {"user_id", TABLE_UUID, false},
    {"device_id", TABLE_TEXT, false},
    {"data_key", TABLE_TEXT, false},
    {"data", TABLE_JSONB, false},
    {"version", TABLE_INT4, false},
    {"status", TABLE_TEXT, false},
    {"retry_count", TABLE_INT4, false},
    {"max_retries", TABLE_INT4, false},
    {"error_message", TABLE_TEXT, false},
    {"created_at", TABLE_TIMESTAMPTZ, false},
    {"updated_at", TABLE_TIMESTAMPTZ, false},
    {"processed_at", TABLE_TIMESTAMPTZ, false},
};

#define TABLE_OF(id, name, columns)                                                                \
    {                                                                                              \
        id, name, columns, sizeof(columns) / sizeof((columns)[0])                                  \
    }

static const struct table tables[TABLES] = {
    TABLE_OF(TABLE_DOCUMENTS, "user_sync_data_v2", document_columns),
    TABLE_OF(TABLE_METADATA, "user_sync_metadata", metadata_columns),
    TABLE_OF(TABLE_FEED, "user_sync_feed", feed_columns),
    TABLE_OF(TABLE_V1, "user_sync_data", v1_columns),
    TABLE_OF(TABLE_QUEUE, "user_sync_queue", queue_columns),
};

const struct table *table_get(enum table_id id)
{
    return &tables[id];
}

const struct table *table_find(struct slice name)
{
    for (unsigned i = 0; i < TABLES; i++) {
        if (slice_is(name, tables[i].name)) {
            return &tables[i];
        }
    }
    return NULL;
}

int table_column(const struct table *table, struct slice name)
{
    for (unsigned i = 0; i < table->n_columns; i++) {
        if (slice_is(name, table->columns[i].name)) {
            return (int)i;
        }
    }
    return -1;
}

const char *table_type_name(enum table_type type)
{
    static const char *const names[] = {"uuid", "text", "jsonb", "int4", "int8", "timestamptz"};
    return names[type];
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static struct table_value text_of(struct slice text)
{
    return (struct table_value){.null = text.ptr == NULL, .text = text};
}

static struct table_value number_of(int64_t number)
{
    return (struct table_value){.number = number};
}

static struct table_value null_value(void)
{
    return (struct table_value){.null = true};
}

struct table_row table_row_document(const struct uuid *user, const struct store_doc *doc)
{
    return (struct table_row){{text_of(uuid_slice(user)), text_of(doc->key), text_of(doc->data),
                               number_of(doc->version), text_of(doc->device_id),
                               number_of(doc->modified_us), number_of(doc->created_us)}};
}

struct table_row table_row_device(const struct uuid *user, const struct store_device *device)
{
    return (struct table_row){{text_of(uuid_slice(user)), text_of(device->device_id),
                               number_of(device->last_sync_us),
                               number_of(device->last_sync_version), text_of(device->info),
                               number_of(device->created_us)}};
}

struct table_row table_row_feed(const struct uuid *user, int64_t seq)
{
    return (struct table_row){{text_of(uuid_slice(user)), number_of(seq)}};
}

struct table_row table_row_dead(const struct uuid *user, const struct store_dead *dead)
{
    return (struct table_row){{text_of(dead->id), text_of(uuid_slice(user)),
                               text_of(dead->device_id), text_of(dead->key), text_of(dead->data),
                               number_of(dead->version), text_of(SLICE("failed")), number_of(0),
                               number_of(5), text_of(dead->error), number_of(dead->at_us),
                               number_of(dead->at_us), null_value()}};
}

/* "<key>":{"value":...,"timestamp":"..."} */
static void print_v1_key(struct buf *out, const struct store_doc *doc)
{
    char time[TIMESTAMP_TEXT];
    json_print_string(out, doc->key);
    buf_add_text(out, ":{\"value\":");
    buf_add_slice(out, doc->data);
    buf_add_text(out, ",\"timestamp\":\"");
    buf_add(out, time, timestamp_print_ms(doc->modified_us, time));
    buf_add_text(out, "\"}");
}

int table_row_v1(struct arena *arena, const struct uuid *user, const struct store_docs *docs,
                 struct table_row *out, bool *out_exists)
{
    struct buf data = BUF_INIT;
    int64_t created_us = INT64_MAX;
    int64_t updated_us = 0;
    *out_exists = false;
    buf_add_char(&data, '{');
    for (uint32_t i = 0; i < docs->n; i++) {
        const struct store_doc *doc = &docs->items[i];
        if (doc->version == 0) {
            continue; /* receipts alone: nobody wrote anything */
        }
        *out_exists = true;
        created_us = doc->created_us < created_us ? doc->created_us : created_us;
        updated_us = doc->modified_us > updated_us ? doc->modified_us : updated_us;
        if (!doc->deleted) {
            if (data.len > 1) {
                buf_add_char(&data, ',');
            }
            print_v1_key(&data, doc);
        }
    }
    buf_add_char(&data, '}');
    struct slice text = data.failed ? SLICE_NONE : arena_copy(arena, buf_slice(&data));
    buf_release(&data);
    *out = (struct table_row){
        {text_of(uuid_slice(user)), text_of(text), number_of(created_us), number_of(updated_us)}};
    return text.ptr == NULL ? BQ_NOMEM : BQ_OK;
}

/* ---- Values ---------------------------------------------------------------------------------- */

void table_value_print(struct buf *out, enum table_type type, const struct table_value *value)
{
    char time[TIMESTAMP_TEXT];
    if (value->null) {
        buf_add_text(out, "null");
        return;
    }
    switch (type) {
    case TABLE_UUID:
    case TABLE_TEXT:
        json_print_string(out, value->text);
        return;
    case TABLE_JSONB:
        buf_add_slice(out, value->text);
        return;
    case TABLE_INT4:
    case TABLE_INT8:
        buf_add_int(out, value->number);
        return;
    case TABLE_TIMESTAMPTZ:
        buf_add_char(out, '"');
        buf_add(out, time, timestamp_print(value->number, time));
        buf_add_char(out, '"');
        return;
    }
}

static void print_columns(struct buf *out, const struct table *table, const struct table_row *row,
                          bool key_alone)
{
    char before = '{';
    for (unsigned i = 0; i < table->n_columns; i++) {
        const struct table_column *column = &table->columns[i];
        if (key_alone && !column->key) {
            continue;
        }
        buf_add_char(out, before);
        json_print_string(out, slice_of(column->name));
        buf_add_char(out, ':');
        table_value_print(out, column->type, &row->values[i]);
        before = ',';
    }
    buf_add_char(out, '}');
}

void table_row_print(struct buf *out, const struct table *table, const struct table_row *row)
{
    print_columns(out, table, row, false);
}

void table_key_print(struct buf *out, const struct table *table, const struct table_row *row)
{
    print_columns(out, table, row, true);
}

struct slice table_value_text(struct arena *arena, enum table_type type,
                              const struct table_value *value)
{
    struct buf text = BUF_INIT;
    char time[TIMESTAMP_TEXT];
    switch (type) {
    case TABLE_UUID:
    case TABLE_TEXT:
    case TABLE_JSONB:
        return value->text;
    case TABLE_INT4:
    case TABLE_INT8:
        buf_add_int(&text, value->number);
        break;
    case TABLE_TIMESTAMPTZ:
        buf_add(&text, time, timestamp_print(value->number, time));
        break;
    }
    struct slice copy = text.failed ? SLICE_NONE : arena_copy(arena, buf_slice(&text));
    buf_release(&text);
    return copy;
}

/* An integer of at most 18 digits, with a sign; blanks around it as in SQL. */
static int read_int(struct slice text, int64_t most, int64_t *out)
{
    int64_t number = 0;
    size_t i = 0;
    while (text.len > 0 && text.ptr[text.len - 1] == ' ') {
        text.len--;
    }
    while (i < text.len && text.ptr[i] == ' ') {
        i++;
    }
    bool minus = i < text.len && text.ptr[i] == '-';
    i += minus || (i < text.len && text.ptr[i] == '+');
    if (i >= text.len) {
        return BQ_INVALID;
    }
    bool too_large = false;
    for (; i < text.len; i++) {
        int digit = text.ptr[i] - '0';
        if (digit < 0 || digit > 9) {
            return BQ_INVALID;
        }
        too_large = too_large || number > (INT64_MAX - digit) / 10;
        number = too_large ? 0 : number * 10 + digit;
    }
    if (too_large || number > most + minus) {
        return BQ_OUT_OF_RANGE;
    }
    *out = minus ? -number : number;
    return BQ_OK;
}

static int read_jsonb(struct arena *arena, struct slice text, struct table_value *out)
{
    struct json_value value;
    struct buf compact = BUF_INIT;
    int status = json_parse(arena, text, STORED_DEPTH, &value, NULL);
    if (status != BQ_OK) {
        return status == BQ_NOMEM ? BQ_NOMEM : BQ_INVALID;
    }
    json_print(&compact, &value);
    out->text = compact.failed ? SLICE_NONE : arena_copy(arena, buf_slice(&compact));
    buf_release(&compact);
    return out->text.ptr == NULL ? BQ_NOMEM : BQ_OK;
}

static int read_uuid(struct arena *arena, struct slice text, struct table_value *out)
{
    struct uuid uuid;
    if (!uuid_parse(text, &uuid)) {
        return BQ_INVALID;
    }
    out->text = arena_copy(arena, uuid_slice(&uuid));
    return out->text.ptr == NULL ? BQ_NOMEM : BQ_OK;
}

/* A day alone is its beginning. */
static bool read_time(struct slice text, int64_t *out)
{
    static const struct slice midnight = {"T00:00:00", 9};
    char whole[19];
    if (text.len != 10) {
        return timestamp_parse(text, out);
    }
    memcpy(whole, text.ptr, text.len);
    memcpy(whole + 10, midnight.ptr, midnight.len);
    return timestamp_parse((struct slice){whole, sizeof whole}, out);
}

int table_value_read(struct arena *arena, enum table_type type, struct slice text,
                     struct table_value *out)
{
    *out = (struct table_value){.null = false};
    switch (type) {
    case TABLE_UUID:
        return read_uuid(arena, text, out);
    case TABLE_TEXT:
        out->text = text;
        return BQ_OK;
    case TABLE_JSONB:
        return read_jsonb(arena, text, out);
    case TABLE_INT4:
        return read_int(text, INT32_MAX, &out->number);
    case TABLE_INT8:
        return read_int(text, INT64_MAX - 1, &out->number);
    case TABLE_TIMESTAMPTZ:
        return read_time(text, &out->number) ? BQ_OK : BQ_INVALID;
    }
    return BQ_INVALID;
}

static int order_of_text(struct slice a, struct slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n == 0 ? 0 : memcmp(a.ptr, b.ptr, n);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static bool jsonb_equal(struct arena *arena, struct slice a, struct slice b)
{
    struct json_value left;
    struct json_value right;
    return slice_equal(a, b) || (json_parse(arena, a, STORED_DEPTH, &left, NULL) == BQ_OK &&
                                 json_parse(arena, b, STORED_DEPTH, &right, NULL) == BQ_OK &&
                                 json_equal(arena, &left, &right));
}

int table_value_order(struct arena *arena, enum table_type type, const struct table_value *a,
                      const struct table_value *b)
{
    switch (type) {
    case TABLE_INT4:
    case TABLE_INT8:
    case TABLE_TIMESTAMPTZ:
        return (a->number > b->number) - (a->number < b->number);
    case TABLE_JSONB:
        if (jsonb_equal(arena, a->text, b->text)) {
            return 0;
        }
        break;
    case TABLE_UUID:
    case TABLE_TEXT:
        break;
    }
    return order_of_text(a->text, b->text);
}
