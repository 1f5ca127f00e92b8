/* typed_lessons.c - lesson_progress: unlocked lessons and the best stars of each; both only
 * rise. */
#include "base/status.h"
#include "client/typed.h"

#define STARS_MAX 3

int bq_lesson_progress_read(struct bq *bq, int64_t *out_unlocked)
{
    struct typed_view view;
    if (bq == NULL || out_unlocked == NULL) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = typed_open(bq, BQ_KEY_LESSON_PROGRESS, &view);
    if (status == BQ_OK) {
        struct json_value count = typed_field(&view, "unlockedCount");
        *out_unlocked = typed_number(&view, &count);
    }
    typed_close(&view);
    handle_leave(bq);
    return status;
}

static int64_t stars_of(struct typed_view *view, const char *lesson)
{
    struct json_value map = typed_field(view, "bestStarsByLesson");
    const struct json_value *stars = map.type == JSON_OBJECT ? json_get(&map, lesson) : NULL;
    return typed_number(view, stars);
}

int bq_lesson_progress_stars(struct bq *bq, const char *lesson, int64_t *out_stars)
{
    struct typed_view view;
    if (bq == NULL || !typed_name_fine(lesson) || out_stars == NULL) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = typed_open(bq, BQ_KEY_LESSON_PROGRESS, &view);
    if (status == BQ_OK) {
        *out_stars = stars_of(&view, lesson);
    }
    typed_close(&view);
    handle_leave(bq);
    return status;
}

/* 0 stars of an unknown lesson are written: it was played. */
static bool stars_change(struct typed_view *view, const char *lesson, int64_t stars)
{
    struct json_value map = typed_field(view, "bestStarsByLesson");
    bool known = map.type == JSON_OBJECT && json_get(&map, lesson) != NULL;
    return !known || stars > stars_of(view, lesson);
}

int bq_lesson_progress_set_stars(struct bq *bq, const char *lesson, int64_t stars)
{
    struct typed_view view;
    struct buf patch = BUF_INIT;
    if (bq == NULL || !typed_name_fine(lesson) || stars < 0 || stars > STARS_MAX) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = typed_open(bq, BQ_KEY_LESSON_PROGRESS, &view);
    if (status == BQ_OK && stars_change(&view, lesson, stars)) {
        buf_add_text(&patch, "{\"bestStarsByLesson\":{");
        json_print_string(&patch, slice_of(lesson));
        buf_add_char(&patch, ':');
        buf_add_int(&patch, stars);
        buf_add_text(&patch, "}}");
        status = typed_write(bq, ENGINE_PATCH, BQ_KEY_LESSON_PROGRESS, &patch);
    }
    typed_close(&view);
    handle_leave(bq);
    buf_release(&patch);
    return status;
}

int bq_lesson_progress_unlock(struct bq *bq, int64_t count)
{
    struct typed_view view;
    struct buf patch = BUF_INIT;
    if (bq == NULL || count < 0) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = typed_open(bq, BQ_KEY_LESSON_PROGRESS, &view);
    if (status == BQ_OK) {
        struct json_value unlocked = typed_field(&view, "unlockedCount");
        if (unlocked.type != JSON_NUMBER || count > typed_number(&view, &unlocked)) {
            buf_add_text(&patch, "{\"unlockedCount\":");
            buf_add_int(&patch, count);
            buf_add_char(&patch, '}');
            status = typed_write(bq, ENGINE_PATCH, BQ_KEY_LESSON_PROGRESS, &patch);
        }
    }
    typed_close(&view);
    handle_leave(bq);
    buf_release(&patch);
    return status;
}
