/* events.c - see events.h. */
#include "client/events.h"

#include "base/mem.h"

struct events_item {
    struct events_item *newer;
    enum bq_event_type type;
    enum bq_state state;
    int status;
    char key[LIMIT_KEY_BYTES + 1];
    char text[]; /* up to BQ_ERROR_TEXT bytes with its NUL */
};

static void drop_oldest(struct events *events)
{
    struct events_item *item = events->oldest;
    events->oldest = item->newer;
    if (events->oldest == NULL) {
        events->newest = NULL;
    }
    events->n--;
    mem_free(item);
}

void events_release(struct events *events)
{
    while (events->n > 0) {
        drop_oldest(events);
    }
    events->lost = false;
}

static void link_item(struct events *events, struct events_item *item)
{
    item->newer = NULL;
    if (events->newest == NULL) {
        events->oldest = item;
    } else {
        events->newest->newer = item;
    }
    events->newest = item;
    events->n++;
    if (events->n > EVENTS_MAX) {
        drop_oldest(events);
        events->lost = true;
    }
}

/* At most max bytes, and no half character at the end. */
static size_t cut(struct slice text, size_t max)
{
    if (text.len <= max) {
        return text.len;
    }
    size_t len = max;
    while (len > 0 && ((unsigned char)text.ptr[len] & 0xc0u) == 0x80u) {
        len--;
    }
    return len;
}

static void copy_text(char *out, const char *ptr, size_t len)
{
    if (len > 0) {
        memcpy(out, ptr, len);
    }
    out[len] = '\0';
}

void events_add(struct events *events, const struct engine_notify *notify)
{
    size_t len = cut(notify->text, BQ_ERROR_TEXT - 1);
    struct events_item *item = mem_alloc(sizeof *item + len + 1);
    if (item == NULL) {
        events->lost = true;
        return;
    }
    item->type = notify->type;
    item->state = notify->state;
    item->status = notify->status;
    copy_text(item->key, notify->key.ptr, cut(notify->key, LIMIT_KEY_BYTES));
    copy_text(item->text, notify->text.ptr, len);
    link_item(events, item);
}

void events_append(struct events *events, struct events *from)
{
    while (from->oldest != NULL) {
        struct events_item *item = from->oldest;
        from->oldest = item->newer;
        link_item(events, item);
    }
    events->lost |= from->lost;
    *from = EVENTS_INIT;
}

bool events_take(struct events *events, struct bq_event *out)
{
    if (events_empty(events)) {
        return false;
    }
    size_t size = out->size;
    *out = (struct bq_event){0};
    out->size = size;
    if (events->lost) {
        events->lost = false;
        out->type = BQ_EVENT_LOST;
        return true;
    }
    const struct events_item *item = events->oldest;
    out->type = item->type;
    out->state = item->state;
    out->status = item->status;
    copy_text(out->key, item->key, strlen(item->key));
    copy_text(out->text, item->text, strlen(item->text));
    drop_oldest(events);
    return true;
}
