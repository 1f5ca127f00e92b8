/* typed.c - see typed.h. */
#include "client/typed.h"

#include "base/status.h"
#include "json/decimal.h"

#define NAME_BYTES 128u
#define DOCUMENT_DEPTH 128u

int typed_open(struct bq *bq, const char *key, struct typed_view *view)
{
    struct engine_view lane;
    arena_init(&view->arena);
    view->document = json_absent();
    int status = handle_ready(bq);
    if (status != BQ_OK || !engine_lane_find(bq->engine, slice_of(key), &lane) ||
        lane.mine.ptr == NULL) {
        return status;
    }
    status = json_parse(&view->arena, lane.mine, DOCUMENT_DEPTH, &view->document, NULL);
    return status == BQ_OK ? BQ_OK : handle_fail(bq, status, "%s", status_text(status));
}

void typed_close(struct typed_view *view)
{
    arena_release(&view->arena);
}

struct json_value typed_field(const struct typed_view *view, const char *name)
{
    const struct json_value *value =
        json_is(&view->document, JSON_OBJECT) ? json_get(&view->document, name) : NULL;
    return value == NULL ? json_absent() : *value;
}

int64_t typed_number(struct typed_view *view, const struct json_value *value)
{
    struct json_value plain = json_absent();
    int64_t number = 0;
    if (!json_is(value, JSON_NUMBER)) {
        return 0;
    }
    if (json_to_int(value, &number)) {
        return number;
    }
    /* A sum with nothing is the number without exponent. */
    if (decimal_sum(&view->arena, value, NULL, NULL, &plain) != BQ_OK) {
        return 0;
    }
    const char *point = memchr(plain.ptr, '.', plain.len);
    plain.len = point == NULL ? plain.len : (uint32_t)(point - plain.ptr);
    return json_to_int(&plain, &number) ? number : 0;
}

int typed_write(struct bq *bq, enum engine_event_type type, const char *key, const struct buf *text)
{
    struct engine_event event = {.type = type, .key = slice_of(key), .text = buf_slice(text)};
    return text->failed ? handle_fail(bq, BQ_NOMEM, "%s", status_text(BQ_NOMEM))
                        : handle_step(bq, &event);
}

bool typed_name_fine(const char *name)
{
    return name != NULL && name[0] != '\0' && strnlen(name, NAME_BYTES + 1) <= NAME_BYTES;
}
