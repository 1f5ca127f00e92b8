/* typed.c - the guide's providers over three documents: read, change what is named, nothing else.
 *
 * Each change reads the document, computes and writes under one hold of the lock, so two threads
 * cannot lose each other's. What is written is a merge patch with the fields that change, or the
 * whole document where a patch cannot say it (a theme is replaced, not merged). */
#include "client/handle.h"

#include "base/status.h"
#include "json/decimal.h"
#include "merge/merge.h"

#define FIELD_BYTES 128u
#define STARS_MAX 3
#define DOCUMENT_DEPTH 128u

/* ---- A document in memory -------------------------------------------------------------------- */

struct view {
    struct arena arena;
    struct json_value document; /* absent where there is none */
};

/* Under the lock; to be closed whatever it answers. */
static int view_open(struct bq *bq, const char *key, struct view *view)
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

static void view_close(struct view *view)
{
    arena_release(&view->arena);
}

/* A member of the document; absent where there is none. */
static struct json_value field(const struct view *view, const char *name)
{
    const struct json_value *value =
        json_is(&view->document, JSON_OBJECT) ? json_get(&view->document, name) : NULL;
    return value == NULL ? json_absent() : *value;
}

/* What stands before the point; 0 for what is no number or does not fit. */
static int64_t whole_number(struct arena *arena, const struct json_value *value)
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
    if (decimal_sum(arena, value, NULL, NULL, &plain) != BQ_OK) {
        return 0;
    }
    const char *point = memchr(plain.ptr, '.', plain.len);
    plain.len = point == NULL ? plain.len : (uint32_t)(point - plain.ptr);
    return json_to_int(&plain, &number) ? number : 0;
}

static int write_text(struct bq *bq, enum engine_event_type type, const char *key,
                      const struct buf *text)
{
    struct engine_event event = {.type = type, .key = slice_of(key), .text = buf_slice(text)};
    return text->failed ? handle_fail(bq, BQ_NOMEM, "%s", status_text(BQ_NOMEM))
                        : handle_step(bq, &event);
}

/* ---- game_stats ------------------------------------------------------------------------------ */

int bq_game_stats_read(struct bq *bq, struct bq_game_stats *out)
{
    struct view view;
    if (bq == NULL || out == NULL || !handle_sized(out->size, sizeof *out)) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = view_open(bq, BQ_KEY_GAME_STATS, &view);
    if (status == BQ_OK) {
        struct json_value score = field(&view, "score");
        struct json_value current = field(&view, "currentStreak");
        struct json_value longest = field(&view, "longestStreak");
        struct json_value incorrect = field(&view, "incorrectAnswers");
        out->score = whole_number(&view.arena, &score);
        out->current_streak = whole_number(&view.arena, &current);
        out->longest_streak = whole_number(&view.arena, &longest);
        out->incorrect_answers = whole_number(&view.arena, &incorrect);
    }
    view_close(&view);
    handle_leave(bq);
    return status;
}

int bq_game_stats_add_score(struct bq *bq, int64_t points)
{
    struct buf amount = BUF_INIT;
    if (bq == NULL) {
        return BQ_INVALID;
    }
    buf_add_int(&amount, points);
    struct engine_event event = {.type = ENGINE_INCREMENT,
                                 .key = SLICE(BQ_KEY_GAME_STATS),
                                 .path = SLICE("score"),
                                 .text = buf_slice(&amount)};
    handle_enter(bq);
    int status = amount.failed ? handle_fail(bq, BQ_NOMEM, "%s", status_text(BQ_NOMEM))
                               : handle_step(bq, &event);
    handle_leave(bq);
    buf_release(&amount);
    return status;
}

/* A counter of the document and one more. A value that is no number is not overwritten. */
static int one_more(struct bq *bq, struct view *view, const char *name, struct json_value *out)
{
    struct json_value value = field(view, name);
    struct json_value one = json_int(&view->arena, 1);
    if (!json_is_absent(&value) && value.type != JSON_NUMBER) {
        return handle_fail(bq, BQ_INVALID, "%s is not a number", name);
    }
    int status =
        arena_failed(&view->arena) ? BQ_NOMEM : decimal_sum(&view->arena, &value, &one, NULL, out);
    return status == BQ_OK ? BQ_OK : handle_fail(bq, status, "%s", status_text(status));
}

static int answer_right(struct bq *bq, struct view *view, struct buf *patch)
{
    struct json_value streak;
    struct json_value longest = field(view, "longestStreak");
    int status = one_more(bq, view, "currentStreak", &streak);
    if (status != BQ_OK) {
        return status;
    }
    buf_add_text(patch, "{\"currentStreak\":");
    json_print(patch, &streak);
    if (longest.type != JSON_NUMBER || decimal_compare(&streak, &longest) > 0) {
        buf_add_text(patch, ",\"longestStreak\":");
        json_print(patch, &streak);
    }
    buf_add_char(patch, '}');
    return BQ_OK;
}

static int answer_wrong(struct bq *bq, struct view *view, struct buf *patch)
{
    struct json_value count;
    int status = one_more(bq, view, "incorrectAnswers", &count);
    if (status == BQ_OK) {
        buf_add_text(patch, "{\"currentStreak\":0,\"incorrectAnswers\":");
        json_print(patch, &count);
        buf_add_char(patch, '}');
    }
    return status;
}

int bq_game_stats_answer(struct bq *bq, int correct)
{
    struct view view;
    struct buf patch = BUF_INIT;
    if (bq == NULL) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = view_open(bq, BQ_KEY_GAME_STATS, &view);
    if (status == BQ_OK) {
        status = correct != 0 ? answer_right(bq, &view, &patch) : answer_wrong(bq, &view, &patch);
    }
    if (status == BQ_OK) {
        status = write_text(bq, ENGINE_PATCH, BQ_KEY_GAME_STATS, &patch);
    }
    view_close(&view);
    handle_leave(bq);
    buf_release(&patch);
    return status;
}

/* Where the policy has an epoch field, a reset raises it, and so wins over late edits of other
 * devices (docs/merge.md, "Epoch"). */
static int add_epoch(struct bq *bq, struct view *view, struct buf *patch)
{
    struct json_value value;
    const struct merge_policies *policies = NULL;
    struct slice text = engine_meta(bq->engine)->policies;
    if (text.ptr == NULL) {
        text = slice_of(merge_policies_shipped);
    }
    int status = json_parse(&view->arena, text, LIMIT_POLICY_DEPTH, &value, NULL);
    if (status == BQ_OK) {
        status = merge_policies_read(&view->arena, &value, &policies, NULL);
    }
    if (status != BQ_OK) {
        return handle_fail(bq, status, "%s", status_text(status));
    }
    const struct merge_policy *policy = merge_policies_find(policies, SLICE(BQ_KEY_GAME_STATS));
    int64_t epoch = merge_epoch(&view->document, policy);
    if (policy->epoch_field.ptr != NULL && epoch < LIMIT_EPOCH - 1) {
        buf_add_char(patch, ',');
        json_print_string(patch, policy->epoch_field);
        buf_add_char(patch, ':');
        buf_add_int(patch, epoch + 1);
    }
    return BQ_OK;
}

int bq_game_stats_reset(struct bq *bq)
{
    struct view view;
    struct buf patch = BUF_INIT;
    if (bq == NULL) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = view_open(bq, BQ_KEY_GAME_STATS, &view);
    if (status == BQ_OK) {
        buf_add_text(&patch, "{\"score\":0,\"currentStreak\":0,\"longestStreak\":0,"
                             "\"incorrectAnswers\":0");
        status = add_epoch(bq, &view, &patch);
        buf_add_char(&patch, '}');
    }
    if (status == BQ_OK) {
        status = write_text(bq, ENGINE_PATCH, BQ_KEY_GAME_STATS, &patch);
    }
    view_close(&view);
    handle_leave(bq);
    buf_release(&patch);
    return status;
}

/* ---- settings -------------------------------------------------------------------------------- */

/* Cut to the field's size, and never within a character. */
static void copy_text(const struct json_value *value, char out[64])
{
    size_t len = json_is(value, JSON_STRING) ? value->len : 0;
    if (len > 63) {
        len = 63;
        while (len > 0 && ((unsigned char)value->ptr[len] & 0xc0u) == 0x80u) {
            len--;
        }
    }
    memset(out, 0, 64);
    if (len > 0) {
        memcpy(out, value->ptr, len);
    }
}

int bq_settings_read(struct bq *bq, struct bq_settings *out)
{
    struct view view;
    if (bq == NULL || out == NULL || !handle_sized(out->size, sizeof *out)) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = view_open(bq, BQ_KEY_SETTINGS, &view);
    if (status == BQ_OK) {
        struct json_value mode = field(&view, "themeMode");
        struct json_value speed = field(&view, "gameSpeed");
        struct json_value layout = field(&view, "layoutType");
        copy_text(&mode, out->theme_mode);
        copy_text(&speed, out->game_speed);
        copy_text(&layout, out->layout_type);
        out->mute = field(&view, "mute").type == JSON_TRUE;
        out->colorful_mode = field(&view, "colorfulMode").type == JSON_TRUE;
        out->show_navigation_labels = field(&view, "showNavigationLabels").type == JSON_TRUE;
    }
    view_close(&view);
    handle_leave(bq);
    return status;
}

/* A member's name: something, and not more than a key may have. */
static bool name_fine(const char *name)
{
    return name != NULL && name[0] != '\0' && strnlen(name, FIELD_BYTES + 1) <= FIELD_BYTES;
}

/* The value of one setting; text NULL: `literal` as it is. */
static int set_one(struct bq *bq, const char *name, const char *text, const char *literal)
{
    struct buf patch = BUF_INIT;
    buf_add_char(&patch, '{');
    json_print_string(&patch, slice_of(name));
    buf_add_char(&patch, ':');
    if (text != NULL) {
        json_print_string(&patch, slice_of(text));
    } else {
        buf_add_text(&patch, literal);
    }
    buf_add_char(&patch, '}');
    handle_enter(bq);
    int status = write_text(bq, ENGINE_PATCH, BQ_KEY_SETTINGS, &patch);
    handle_leave(bq);
    buf_release(&patch);
    return status;
}

int bq_settings_set_text(struct bq *bq, const char *name, const char *text)
{
    return bq == NULL || !name_fine(name) || text == NULL ? BQ_INVALID
                                                          : set_one(bq, name, text, NULL);
}

int bq_settings_set_bool(struct bq *bq, const char *name, int value)
{
    return bq == NULL || !name_fine(name) ? BQ_INVALID
                                          : set_one(bq, name, NULL, value != 0 ? "true" : "false");
}

/* The list with the theme at its end; *out_there where it has it already. */
static int add_theme(struct bq *bq, const struct view *view, const char *theme, struct buf *patch,
                     bool *out_there)
{
    struct json_value list = field(view, "unlockedThemes");
    *out_there = false;
    if (!json_is_absent(&list) && list.type != JSON_ARRAY && list.type != JSON_NULL) {
        return handle_fail(bq, BQ_INVALID, "unlockedThemes is not a list");
    }
    uint32_t n = list.type == JSON_ARRAY ? list.count : 0;
    buf_add_text(patch, "{\"unlockedThemes\":[");
    for (uint32_t i = 0; i < n; i++) {
        *out_there |=
            list.items[i].type == JSON_STRING && slice_is(json_text(&list.items[i]), theme);
        json_print(patch, &list.items[i]);
        buf_add_char(patch, ',');
    }
    json_print_string(patch, slice_of(theme));
    buf_add_text(patch, "]}");
    return BQ_OK;
}

int bq_settings_unlock_theme(struct bq *bq, const char *theme)
{
    struct view view;
    struct buf patch = BUF_INIT;
    bool there = false;
    if (bq == NULL || !name_fine(theme)) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = view_open(bq, BQ_KEY_SETTINGS, &view);
    if (status == BQ_OK) {
        status = add_theme(bq, &view, theme, &patch, &there);
    }
    if (status == BQ_OK && !there) {
        status = write_text(bq, ENGINE_PATCH, BQ_KEY_SETTINGS, &patch);
    }
    view_close(&view);
    handle_leave(bq);
    buf_release(&patch);
    return status;
}

/* "/aiThemes/" and the id as a part of a JSON Pointer (RFC 6901 section 3). */
static void print_theme_pointer(struct buf *out, const char *id)
{
    buf_add_text(out, "/aiThemes/");
    for (const char *c = id; *c != '\0'; c++) {
        if (*c == '~' || *c == '/') {
            buf_add_text(out, *c == '~' ? "~0" : "~1");
        } else {
            buf_add_char(out, *c);
        }
    }
}

/* The settings with the theme replaced, or removed where theme is absent. */
static int place_theme(struct bq *bq, struct view *view, const char *id,
                       const struct json_value *theme, struct buf *text)
{
    struct json_value empty = json_object(NULL, 0);
    struct json_value changed;
    struct buf pointer = BUF_INIT;
    print_theme_pointer(&pointer, id);
    int status = BQ_NOMEM;
    if (!pointer.failed) {
        status = merge_pointer_set(&view->arena,
                                   json_is_absent(&view->document) ? &empty : &view->document,
                                   buf_slice(&pointer), theme, &changed);
    }
    buf_release(&pointer);
    if (status != BQ_OK) {
        return handle_fail(bq, status, "aiThemes is not an object: %s", status_text(status));
    }
    json_print(text, &changed);
    return BQ_OK;
}

int bq_settings_put_ai_theme(struct bq *bq, const char *id, const char *json)
{
    struct view view;
    struct json_value theme;
    struct json_error error;
    struct buf text = BUF_INIT;
    if (bq == NULL || !name_fine(id) || json == NULL) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = view_open(bq, BQ_KEY_SETTINGS, &view);
    if (status == BQ_OK) {
        status = json_parse(&view.arena, slice_of(json), DOCUMENT_DEPTH, &theme, &error);
        if (status != BQ_OK) {
            (void)handle_fail(bq, status, "the theme: line %u, column %u: %s", error.line,
                              error.column, error.what);
        } else if (theme.type != JSON_OBJECT) {
            status = handle_fail(bq, BQ_INVALID, "a theme is a JSON object");
        }
    }
    if (status == BQ_OK) {
        status = place_theme(bq, &view, id, &theme, &text);
    }
    if (status == BQ_OK) {
        status = write_text(bq, ENGINE_PUT, BQ_KEY_SETTINGS, &text);
    }
    view_close(&view);
    handle_leave(bq);
    buf_release(&text);
    return status;
}

int bq_settings_remove_ai_theme(struct bq *bq, const char *id)
{
    struct view view;
    struct json_value nothing = json_absent();
    struct buf text = BUF_INIT;
    if (bq == NULL || !name_fine(id)) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = view_open(bq, BQ_KEY_SETTINGS, &view);
    if (status == BQ_OK) {
        struct json_value themes = field(&view, "aiThemes");
        if (themes.type != JSON_OBJECT || json_get(&themes, id) == NULL) {
            status = handle_fail(bq, BQ_NOT_FOUND, "there is no such theme");
        }
    }
    if (status == BQ_OK) {
        status = place_theme(bq, &view, id, &nothing, &text);
    }
    if (status == BQ_OK) {
        status = write_text(bq, ENGINE_PUT, BQ_KEY_SETTINGS, &text);
    }
    view_close(&view);
    handle_leave(bq);
    buf_release(&text);
    return status;
}

/* ---- lesson_progress ------------------------------------------------------------------------- */

int bq_lesson_progress_read(struct bq *bq, int64_t *out_unlocked)
{
    struct view view;
    if (bq == NULL || out_unlocked == NULL) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = view_open(bq, BQ_KEY_LESSON_PROGRESS, &view);
    if (status == BQ_OK) {
        struct json_value count = field(&view, "unlockedCount");
        *out_unlocked = whole_number(&view.arena, &count);
    }
    view_close(&view);
    handle_leave(bq);
    return status;
}

static int64_t stars_of(struct view *view, const char *lesson)
{
    struct json_value map = field(view, "bestStarsByLesson");
    const struct json_value *stars = map.type == JSON_OBJECT ? json_get(&map, lesson) : NULL;
    return whole_number(&view->arena, stars);
}

int bq_lesson_progress_stars(struct bq *bq, const char *lesson, int64_t *out_stars)
{
    struct view view;
    if (bq == NULL || !name_fine(lesson) || out_stars == NULL) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = view_open(bq, BQ_KEY_LESSON_PROGRESS, &view);
    if (status == BQ_OK) {
        *out_stars = stars_of(&view, lesson);
    }
    view_close(&view);
    handle_leave(bq);
    return status;
}

/* 0 stars of an unknown lesson are written: it was played. */
static bool stars_change(struct view *view, const char *lesson, int64_t stars)
{
    struct json_value map = field(view, "bestStarsByLesson");
    bool known = map.type == JSON_OBJECT && json_get(&map, lesson) != NULL;
    return !known || stars > stars_of(view, lesson);
}

int bq_lesson_progress_set_stars(struct bq *bq, const char *lesson, int64_t stars)
{
    struct view view;
    struct buf patch = BUF_INIT;
    if (bq == NULL || !name_fine(lesson) || stars < 0 || stars > STARS_MAX) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = view_open(bq, BQ_KEY_LESSON_PROGRESS, &view);
    if (status == BQ_OK && stars_change(&view, lesson, stars)) {
        buf_add_text(&patch, "{\"bestStarsByLesson\":{");
        json_print_string(&patch, slice_of(lesson));
        buf_add_char(&patch, ':');
        buf_add_int(&patch, stars);
        buf_add_text(&patch, "}}");
        status = write_text(bq, ENGINE_PATCH, BQ_KEY_LESSON_PROGRESS, &patch);
    }
    view_close(&view);
    handle_leave(bq);
    buf_release(&patch);
    return status;
}

int bq_lesson_progress_unlock(struct bq *bq, int64_t count)
{
    struct view view;
    struct buf patch = BUF_INIT;
    if (bq == NULL || count < 0) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = view_open(bq, BQ_KEY_LESSON_PROGRESS, &view);
    if (status == BQ_OK) {
        struct json_value unlocked = field(&view, "unlockedCount");
        if (unlocked.type != JSON_NUMBER || count > whole_number(&view.arena, &unlocked)) {
            buf_add_text(&patch, "{\"unlockedCount\":");
            buf_add_int(&patch, count);
            buf_add_char(&patch, '}');
            status = write_text(bq, ENGINE_PATCH, BQ_KEY_LESSON_PROGRESS, &patch);
        }
    }
    view_close(&view);
    handle_leave(bq);
    buf_release(&patch);
    return status;
}
