/* api_dead.c - dead letters: listed, exported, retried, discarded. */
#include "client/handle.h"

#include "base/mem.h"
#include "base/status.h"
#include "json/json.h"

/* ---- Looking --------------------------------------------------------------------------------- */

static void free_letter(struct bq_dead_letter *letter)
{
    mem_free(letter->key);
    mem_free(letter->message);
    mem_free(letter->edit);
}

static int copy_letter(const struct engine_dead_row *row, struct bq_dead_letter *out)
{
    struct bq_dead_letter letter = {.id = row->dead_id,
                                    .key = mem_dup(row->key.ptr, row->key.len),
                                    .status = row->status,
                                    .message = mem_dup(row->message.ptr, row->message.len),
                                    .edit = mem_dup(row->edit.ptr, row->edit.len),
                                    .failed_ms = row->at_ms};
    if (letter.key == NULL || letter.message == NULL || letter.edit == NULL) {
        free_letter(&letter);
        return BQ_NOMEM;
    }
    *out = letter;
    return BQ_OK;
}

static int list_letters(struct bq *bq, struct bq_dead_letters *out)
{
    uint32_t n = engine_n_dead(bq->engine);
    struct bq_dead_letter *items = mem_zalloc((size_t)n + 1, sizeof *items);
    int status = items == NULL ? BQ_NOMEM : BQ_OK;
    uint32_t n_items = 0;
    while (n_items < n && status == BQ_OK) {
        struct engine_dead_row row;
        engine_dead_at(bq->engine, n_items, &row);
        status = copy_letter(&row, &items[n_items]);
        n_items += status == BQ_OK ? 1 : 0;
    }
    if (status == BQ_OK) {
        out->items = items;
        out->n = n_items;
        return BQ_OK;
    }
    for (uint32_t i = 0; i < n_items; i++) {
        free_letter(&items[i]);
    }
    mem_free(items);
    return handle_fail(bq, status, "%s", status_text(status));
}

int bq_dead_letters(struct bq *bq, struct bq_dead_letters *out)
{
    if (bq == NULL || out == NULL || !handle_sized(out->size, sizeof *out)) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = handle_ready(bq);
    if (status == BQ_OK) {
        status = list_letters(bq, out);
    }
    handle_leave(bq);
    return status;
}

void bq_dead_letters_release(struct bq_dead_letters *letters)
{
    if (letters == NULL) {
        return;
    }
    for (size_t i = 0; i < letters->n; i++) {
        free_letter(&letters->items[i]);
    }
    mem_free(letters->items);
    letters->items = NULL;
    letters->n = 0;
}

/* ---- Export ---------------------------------------------------------------------------------- */

/* {"id": 1, "key": "notes", "code": "too_large", "message": "...", "failed_ms": ..., "edit":
 * {...}} */
static void print_letter(struct buf *out, const struct engine_dead_row *row)
{
    buf_add_text(out, "{\"id\":");
    buf_add_int(out, row->dead_id);
    buf_add_text(out, ",\"key\":");
    json_print_string(out, row->key);
    buf_add_text(out, ",\"code\":");
    json_print_string(out, slice_of(status_code(row->status)));
    buf_add_text(out, ",\"message\":");
    json_print_string(out, row->message);
    buf_add_text(out, ",\"failed_ms\":");
    buf_add_int(out, row->at_ms);
    buf_add_text(out, ",\"edit\":");
    buf_add_slice(out, row->edit);
    buf_add_char(out, '}');
}

int bq_dead_export(struct bq *bq, char **out_json)
{
    struct buf text = BUF_INIT;
    size_t len;
    if (bq == NULL || out_json == NULL) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = handle_ready(bq);
    if (status == BQ_OK) {
        buf_add_char(&text, '[');
        for (uint32_t i = 0; i < engine_n_dead(bq->engine); i++) {
            struct engine_dead_row row;
            engine_dead_at(bq->engine, i, &row);
            if (i > 0) {
                buf_add_char(&text, ',');
            }
            print_letter(&text, &row);
        }
        buf_add_char(&text, ']');
        status = text.failed ? handle_fail(bq, BQ_NOMEM, "%s", status_text(BQ_NOMEM)) : BQ_OK;
    }
    if (status == BQ_OK) {
        *out_json = buf_take(&text, &len);
    }
    buf_release(&text);
    handle_leave(bq);
    return status;
}

/* ---- Deciding -------------------------------------------------------------------------------- */

/* One step each, so that one letter that cannot be applied leaves the others done or as they
 * were. */
static int each_letter(struct bq *bq, enum engine_event_type type)
{
    int first = BQ_OK;
    int64_t after = 0;
    for (;;) {
        struct engine_event event = {.type = type, .dead_id = 0};
        int status = handle_ready(bq);
        for (uint32_t i = 0; status == BQ_OK && i < engine_n_dead(bq->engine); i++) {
            struct engine_dead_row row;
            engine_dead_at(bq->engine, i, &row);
            if (row.dead_id > after) {
                event.dead_id = row.dead_id;
                break;
            }
        }
        if (status != BQ_OK || event.dead_id == 0) {
            return first != BQ_OK ? first : status;
        }
        after = event.dead_id;
        status = handle_step(bq, &event);
        first = first != BQ_OK ? first : status;
    }
}

static int decide(struct bq *bq, enum engine_event_type type, int64_t id)
{
    struct engine_event event = {.type = type, .dead_id = id};
    if (bq == NULL || id < 0) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = id == 0 ? each_letter(bq, type) : handle_step(bq, &event);
    handle_leave(bq);
    return status;
}

int bq_dead_retry(struct bq *bq, int64_t id)
{
    return decide(bq, ENGINE_DEAD_RETRY, id);
}

int bq_dead_discard(struct bq *bq, int64_t id)
{
    return decide(bq, ENGINE_DEAD_DISCARD, id);
}
