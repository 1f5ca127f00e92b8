/* api_read.c - documents, states and statistics as the engine has them. */
#include "client/runner.h"

#include "base/mem.h"
#include "base/status.h"
#include "client/live.h"

#include <stddef.h>

/* ---- Documents ------------------------------------------------------------------------------- */

static int copy_view(const struct engine_view *view, struct bq_document *out)
{
    char *key = mem_dup(view->key.ptr, view->key.len);
    char *json = mem_dup(view->mine.ptr, view->mine.len);
    if (key == NULL || json == NULL) {
        mem_free(key);
        mem_free(json);
        return BQ_NOMEM;
    }
    *out = (struct bq_document){.size = sizeof *out,
                                .key = key,
                                .json = json,
                                .json_len = view->mine.len,
                                .version = view->version,
                                .state = view->state,
                                .pending = view->pending,
                                .modified_ms = view->modified_ms};
    return BQ_OK;
}

static void free_document(struct bq_document *document)
{
    mem_free(document->key);
    mem_free(document->json);
}

int bq_get(struct bq *bq, const char *key, struct bq_document *out)
{
    struct engine_view view;
    struct bq_document document;
    if (bq == NULL || key == NULL || out == NULL || !handle_sized(out->size, sizeof *out)) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = handle_ready(bq);
    if (status == BQ_OK &&
        (!engine_lane_find(bq->engine, slice_of(key), &view) || view.mine.ptr == NULL)) {
        status = handle_fail(bq, BQ_NOT_FOUND, "there is no such document");
    }
    if (status == BQ_OK) {
        status = copy_view(&view, &document);
    }
    if (status == BQ_OK) {
        document.size = out->size;
        memcpy(out, &document, sizeof document);
    }
    handle_leave(bq);
    return status;
}

void bq_document_release(struct bq_document *document)
{
    if (document != NULL) {
        free_document(document);
        document->key = NULL;
        document->json = NULL;
        document->json_len = 0;
    }
}

static int list_all(struct bq *bq, struct bq_documents *out)
{
    uint32_t n = engine_n_lanes(bq->engine);
    struct bq_document *items = mem_zalloc((size_t)n + 1, sizeof *items);
    int status = items == NULL ? BQ_NOMEM : BQ_OK;
    size_t n_items = 0;
    for (uint32_t i = 0; i < n && status == BQ_OK; i++) {
        struct engine_view view;
        engine_lane_at(bq->engine, i, &view);
        if (view.mine.ptr != NULL) {
            status = copy_view(&view, &items[n_items]);
            n_items += status == BQ_OK ? 1 : 0;
        }
    }
    if (status == BQ_OK) {
        out->items = items;
        out->n = n_items;
        return BQ_OK;
    }
    for (size_t i = 0; i < n_items; i++) {
        free_document(&items[i]);
    }
    mem_free(items);
    return handle_fail(bq, status, "%s", status_text(status));
}

int bq_list(struct bq *bq, struct bq_documents *out)
{
    if (bq == NULL || out == NULL || !handle_sized(out->size, sizeof *out)) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = handle_ready(bq);
    if (status == BQ_OK) {
        status = list_all(bq, out);
    }
    handle_leave(bq);
    return status;
}

void bq_documents_release(struct bq_documents *documents)
{
    if (documents == NULL) {
        return;
    }
    for (size_t i = 0; i < documents->n; i++) {
        free_document(&documents->items[i]);
    }
    mem_free(documents->items);
    documents->items = NULL;
    documents->n = 0;
}

enum bq_state bq_key_state(struct bq *bq, const char *key)
{
    struct engine_view view = {.state = BQ_IDLE};
    if (bq == NULL || key == NULL) {
        return BQ_IDLE;
    }
    handle_enter(bq);
    if (handle_ready(bq) == BQ_OK) {
        (void)engine_lane_find(bq->engine, slice_of(key), &view);
    }
    handle_leave(bq);
    return view.state;
}

/* ---- Statistics ------------------------------------------------------------------------------ */

static void add_own(struct bq *bq, struct bq_stats *out)
{
    int64_t next_ms = engine_next_at_ms(bq->engine);
    int64_t now_ms = bq->now_ms();
    out->sent += bq->sent_before;
    out->exchanges += bq->exchanges_before;
    out->signed_in = bq->user[0] != '\0';
    out->paused = bq->paused;
    out->live = live_link_is_up(bq) ? 1 : bq->link.live.phase == LIVE_OFF ? -1 : 0;
    out->live_wakes = bq->link.n_wakes;
    out->next_try_ms = next_ms == INT64_MAX ? -1 : next_ms > now_ms ? next_ms - now_ms : 0;
}

int bq_stats(struct bq *bq, struct bq_stats *out)
{
    struct bq_stats ours = {.size = sizeof ours};
    if (bq == NULL || out == NULL || !handle_sized(out->size, offsetof(struct bq_stats, live))) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = handle_ready(bq);
    if (status == BQ_OK) {
        engine_stats(bq->engine, &ours);
        add_own(bq, &ours);
        ours.size = out->size;
        memcpy(out, &ours, ours.size < sizeof ours ? ours.size : sizeof ours);
    }
    handle_leave(bq);
    return status;
}

/* ---- Events ---------------------------------------------------------------------------------- */

int bq_next_event(struct bq *bq, unsigned timeout_ms, struct bq_event *out)
{
    struct bq_event event = {.size = sizeof event};
    if (bq == NULL || out == NULL || !handle_sized(out->size, sizeof *out)) {
        return BQ_INVALID;
    }
    bool waits = (bq->flags & BQ_MANUAL) == 0;
    handle_enter(bq);
    int64_t until_ms = handle_monotonic_ms() + timeout_ms;
    bool up = !waits;
    while (!bq->closing && events_empty(&bq->events) && !up) {
        up = handle_wait(bq, until_ms);
    }
    int status = bq->closing ? BQ_CLOSED : BQ_TIMEOUT;
    if (!bq->closing && events_take(&bq->events, &event)) {
        event.size = out->size;
        memcpy(out, &event, sizeof event);
        status = BQ_OK;
    }
    handle_leave(bq);
    return status;
}
