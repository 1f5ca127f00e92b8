/* typed_settings.c - settings: single values, unlocked themes, themes of the app's own. */
#include "base/status.h"
#include "client/typed.h"
#include "merge/merge.h"

#define DOCUMENT_DEPTH 128u

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
    struct typed_view view;
    if (bq == NULL || out == NULL || !handle_sized(out->size, sizeof *out)) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = typed_open(bq, BQ_KEY_SETTINGS, &view);
    if (status == BQ_OK) {
        struct json_value mode = typed_field(&view, "themeMode");
        struct json_value speed = typed_field(&view, "gameSpeed");
        struct json_value layout = typed_field(&view, "layoutType");
        copy_text(&mode, out->theme_mode);
        copy_text(&speed, out->game_speed);
        copy_text(&layout, out->layout_type);
        out->mute = typed_field(&view, "mute").type == JSON_TRUE;
        out->colorful_mode = typed_field(&view, "colorfulMode").type == JSON_TRUE;
        out->show_navigation_labels = typed_field(&view, "showNavigationLabels").type == JSON_TRUE;
    }
    typed_close(&view);
    handle_leave(bq);
    return status;
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
    int status = typed_write(bq, ENGINE_PATCH, BQ_KEY_SETTINGS, &patch);
    handle_leave(bq);
    buf_release(&patch);
    return status;
}

int bq_settings_set_text(struct bq *bq, const char *name, const char *text)
{
    return bq == NULL || !typed_name_fine(name) || text == NULL ? BQ_INVALID
                                                                : set_one(bq, name, text, NULL);
}

int bq_settings_set_bool(struct bq *bq, const char *name, int value)
{
    return bq == NULL || !typed_name_fine(name)
               ? BQ_INVALID
               : set_one(bq, name, NULL, value != 0 ? "true" : "false");
}

/* The list with the theme at its end; *out_there where it has it already. */
static int add_theme(struct bq *bq, const struct typed_view *view, const char *theme,
                     struct buf *patch, bool *out_there)
{
    struct json_value list = typed_field(view, "unlockedThemes");
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
    struct typed_view view;
    struct buf patch = BUF_INIT;
    bool there = false;
    if (bq == NULL || !typed_name_fine(theme)) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = typed_open(bq, BQ_KEY_SETTINGS, &view);
    if (status == BQ_OK) {
        status = add_theme(bq, &view, theme, &patch, &there);
    }
    if (status == BQ_OK && !there) {
        status = typed_write(bq, ENGINE_PATCH, BQ_KEY_SETTINGS, &patch);
    }
    typed_close(&view);
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
static int place_theme(struct bq *bq, struct typed_view *view, const char *id,
                       const struct json_value *theme, struct buf *text)
{
    struct json_value empty = json_object(NULL, 0);
    struct json_value changed;
    struct buf pointer = BUF_INIT;
    print_theme_pointer(&pointer, id);
    /* The changed document borrows its new names from the pointer. */
    struct slice path = pointer.failed ? SLICE_NONE : arena_copy(&view->arena, buf_slice(&pointer));
    buf_release(&pointer);
    int status = BQ_NOMEM;
    if (path.ptr != NULL) {
        status = merge_pointer_set(&view->arena,
                                   json_is_absent(&view->document) ? &empty : &view->document, path,
                                   theme, &changed);
    }
    if (status != BQ_OK) {
        return handle_fail(bq, status, "aiThemes is not an object: %s", status_text(status));
    }
    json_print(text, &changed);
    return BQ_OK;
}

int bq_settings_put_ai_theme(struct bq *bq, const char *id, const char *json)
{
    struct typed_view view;
    struct json_value theme;
    struct json_error error;
    struct buf text = BUF_INIT;
    if (bq == NULL || !typed_name_fine(id) || json == NULL) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = typed_open(bq, BQ_KEY_SETTINGS, &view);
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
        status = typed_write(bq, ENGINE_PUT, BQ_KEY_SETTINGS, &text);
    }
    typed_close(&view);
    handle_leave(bq);
    buf_release(&text);
    return status;
}

int bq_settings_remove_ai_theme(struct bq *bq, const char *id)
{
    struct typed_view view;
    struct json_value nothing = json_absent();
    struct buf text = BUF_INIT;
    if (bq == NULL || !typed_name_fine(id)) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = typed_open(bq, BQ_KEY_SETTINGS, &view);
    if (status == BQ_OK) {
        struct json_value themes = typed_field(&view, "aiThemes");
        if (themes.type != JSON_OBJECT || json_get(&themes, id) == NULL) {
            status = handle_fail(bq, BQ_NOT_FOUND, "there is no such theme");
        }
    }
    if (status == BQ_OK) {
        status = place_theme(bq, &view, id, &nothing, &text);
    }
    if (status == BQ_OK) {
        status = typed_write(bq, ENGINE_PUT, BQ_KEY_SETTINGS, &text);
    }
    typed_close(&view);
    handle_leave(bq);
    buf_release(&text);
    return status;
}
