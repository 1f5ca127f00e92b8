/* postgres_query.c - arguments and columns in PostgreSQL's binary form: big-endian, times in
 * microseconds since 2000, jsonb as its text behind a version byte. */
#include "store/postgres_impl.h"

#include "base/assert.h"

#define Y2000_US INT64_C(946684800000000)
#define JSONB_VERSION 1

/* ---- Arguments ------------------------------------------------------------------------------- */

void pg_begin(struct pg_query *query, struct postgres *pg, enum pg_statement statement)
{
    *query = (struct pg_query){.pg = pg, .statement = statement};
}

void pg_end(struct pg_query *query)
{
    PQclear(query->result);
    query->result = NULL;
    buf_release(&query->bytes);
}

static void add_big(struct buf *out, uint64_t value, unsigned n_bytes)
{
    char bytes[8];
    for (unsigned i = 0; i < n_bytes; i++) {
        bytes[i] = (char)(value >> 8 * (n_bytes - 1 - i));
    }
    buf_add(out, bytes, n_bytes);
}

static void begin_argument(struct pg_query *query)
{
    ASSERT(query->n < PG_ARGUMENTS);
    query->at[query->n] = query->bytes.len;
}

static void end_argument(struct pg_query *query)
{
    query->len[query->n] = (int)(query->bytes.len - query->at[query->n]);
    buf_add_char(&query->bytes, '\0'); /* so that an empty one has an address too */
    query->n++;
}

static void add_null(struct pg_query *query)
{
    begin_argument(query);
    query->len[query->n++] = -1;
}

static unsigned hex_digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a') + 10;
}

static void put_uuid(struct buf *out, const struct uuid *id)
{
    for (unsigned i = 0; i < UUID_TEXT; i += 2) {
        i += id->text[i] == '-';
        buf_add_char(out, (char)(hex_digit(id->text[i]) << 4 | hex_digit(id->text[i + 1])));
    }
}

void pg_add_int(struct pg_query *query, int64_t value)
{
    begin_argument(query);
    add_big(&query->bytes, (uint64_t)value, 8);
    end_argument(query);
}

void pg_add_bool(struct pg_query *query, bool value)
{
    begin_argument(query);
    buf_add_char(&query->bytes, value ? 1 : 0);
    end_argument(query);
}

void pg_add_text(struct pg_query *query, struct slice text)
{
    if (text.ptr == NULL) {
        add_null(query);
        return;
    }
    begin_argument(query);
    buf_add_slice(&query->bytes, text);
    end_argument(query);
}

void pg_add_json(struct pg_query *query, struct slice text)
{
    if (text.len == 0) {
        add_null(query);
        return;
    }
    begin_argument(query);
    buf_add_char(&query->bytes, JSONB_VERSION);
    buf_add_slice(&query->bytes, text);
    end_argument(query);
}

void pg_add_uuid(struct pg_query *query, const struct uuid *id)
{
    if (id == NULL) {
        add_null(query);
        return;
    }
    begin_argument(query);
    put_uuid(&query->bytes, id);
    end_argument(query);
}

void pg_add_time(struct pg_query *query, int64_t time_us)
{
    pg_add_int(query, time_us - Y2000_US);
}

/* ---- Arrays ---------------------------------------------------------------------------------- */

/* One dimension; the number of items stands at offset 12 and is set at the end. */
void pg_array(struct pg_query *query, enum pg_type type)
{
    begin_argument(query);
    query->array_at = query->bytes.len;
    add_big(&query->bytes, 1, 4);
    add_big(&query->bytes, 1, 4); /* NULLs may occur */
    add_big(&query->bytes, type, 4);
    add_big(&query->bytes, 0, 4);
    add_big(&query->bytes, 1, 4); /* the first index */
}

static void begin_item(struct pg_query *query, uint32_t n_bytes)
{
    struct buf *bytes = &query->bytes;
    add_big(bytes, n_bytes, 4);
    if (!bytes->failed) {
        unsigned char *n = (unsigned char *)bytes->ptr + query->array_at + 12;
        uint32_t count = ((uint32_t)n[0] << 24 | (uint32_t)n[1] << 16 | (uint32_t)n[2] << 8 | n[3]);
        count++;
        n[0] = (unsigned char)(count >> 24);
        n[1] = (unsigned char)(count >> 16);
        n[2] = (unsigned char)(count >> 8);
        n[3] = (unsigned char)count;
    }
}

void pg_item_int(struct pg_query *query, int64_t value)
{
    begin_item(query, 8);
    add_big(&query->bytes, (uint64_t)value, 8);
}

void pg_item_bool(struct pg_query *query, bool value)
{
    begin_item(query, 1);
    buf_add_char(&query->bytes, value ? 1 : 0);
}

void pg_item_text(struct pg_query *query, struct slice text)
{
    if (text.ptr == NULL) {
        begin_item(query, UINT32_MAX);
        return;
    }
    begin_item(query, (uint32_t)text.len);
    buf_add_slice(&query->bytes, text);
}

void pg_item_json(struct pg_query *query, struct slice text)
{
    if (text.len == 0) {
        begin_item(query, UINT32_MAX);
        return;
    }
    begin_item(query, (uint32_t)text.len + 1);
    buf_add_char(&query->bytes, JSONB_VERSION);
    buf_add_slice(&query->bytes, text);
}

void pg_item_uuid(struct pg_query *query, const struct uuid *id)
{
    begin_item(query, 16);
    put_uuid(&query->bytes, id);
}

void pg_item_time(struct pg_query *query, int64_t time_us)
{
    pg_item_int(query, time_us - Y2000_US);
}

void pg_array_end(struct pg_query *query)
{
    end_argument(query);
}

/* ---- Columns --------------------------------------------------------------------------------- */

int pg_rows(const struct pg_query *query)
{
    return query->result == NULL ? 0 : PQntuples(query->result);
}

int64_t pg_changed(const struct pg_query *query)
{
    int64_t n = 0;
    for (const char *c = query->result == NULL ? "" : PQcmdTuples(query->result); *c != '\0'; c++) {
        n = n * 10 + (*c - '0');
    }
    return n;
}

bool pg_is_null(const struct pg_query *query, int row, int column)
{
    return PQgetisnull(query->result, row, column) != 0;
}

static struct slice value_of(const struct pg_query *query, int row, int column)
{
    return (struct slice){PQgetvalue(query->result, row, column),
                          (size_t)PQgetlength(query->result, row, column)};
}

int64_t pg_int(const struct pg_query *query, int row, int column)
{
    struct slice value = value_of(query, row, column);
    uint64_t n = 0;
    if (value.len == 0) {
        return 0;
    }
    n = value.len > 1 && ((unsigned char)value.ptr[0] & 0x80) != 0 ? UINT64_MAX : 0;
    for (size_t i = 0; i < value.len && i < 8; i++) {
        n = n << 8 | (unsigned char)value.ptr[i];
    }
    return (int64_t)n;
}

int64_t pg_time(const struct pg_query *query, int row, int column)
{
    return pg_is_null(query, row, column) ? 0 : pg_int(query, row, column) + Y2000_US;
}

struct slice pg_text(const struct pg_query *query, struct arena *arena, int row, int column)
{
    return pg_is_null(query, row, column) ? SLICE_NONE
                                          : arena_copy(arena, value_of(query, row, column));
}

struct slice pg_json(const struct pg_query *query, struct arena *arena, int row, int column)
{
    struct slice value = value_of(query, row, column);
    if (pg_is_null(query, row, column) || value.len == 0) {
        return SLICE_NONE;
    }
    return pg_json_compact(arena, (struct slice){value.ptr + 1, value.len - 1});
}

struct uuid pg_uuid(const struct pg_query *query, int row, int column)
{
    static const char digits[] = "0123456789abcdef";
    struct slice value = value_of(query, row, column);
    struct uuid id = {""};
    unsigned n = 0;
    for (unsigned i = 0; i < 16 && value.len == 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            id.text[n++] = '-';
        }
        id.text[n++] = digits[(unsigned char)value.ptr[i] >> 4];
        id.text[n++] = digits[(unsigned char)value.ptr[i] & 15];
    }
    id.text[n] = '\0';
    return id;
}
