/* write.c - the compact writer, sizes and depths.
 *
 * Two passes: the size first, so that the buffer grows once, then plain stores. A container that
 * kept its text is copied as it is. */
#include "json/json.h"

static const char hex_digits[] = "0123456789abcdef";

/* The letter of a short escape (\n), 0 where a byte has none. */
static char short_letter(unsigned char c)
{
    switch (c) {
    case '"':
    case '\\':
        return (char)c;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return '\0';
    }
}

/* Bytes that a byte of a string takes on paper. */
static size_t escaped_size(unsigned char c)
{
    if (short_letter(c) != '\0') {
        return 2;
    }
    return c < 0x20 ? 6 : 1;
}

static size_t string_size(struct slice text, bool escape)
{
    if (!escape) {
        return text.len + 2;
    }
    size_t size = 2;
    for (size_t i = 0; i < text.len; i++) {
        size += escaped_size((unsigned char)text.ptr[i]);
    }
    return size;
}

static bool text_needs_escape(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (escaped_size((unsigned char)text.ptr[i]) != 1) {
            return true;
        }
    }
    return false;
}

static char *put_bytes(char *out, const char *ptr, size_t len)
{
    if (len > 0) {
        memcpy(out, ptr, len);
    }
    return out + len;
}

static char *put_escaped(char *out, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        char letter = short_letter(c);
        if (letter != '\0') {
            *out++ = '\\';
            *out++ = letter;
        } else if (c < 0x20) {
            out = put_bytes(out, "\\u00", 4);
            *out++ = hex_digits[c >> 4];
            *out++ = hex_digits[c & 15];
        } else {
            *out++ = (char)c;
        }
    }
    return out;
}

static char *put_string(char *out, struct slice text, bool escape)
{
    *out++ = '"';
    out = escape ? put_escaped(out, text) : put_bytes(out, text.ptr, text.len);
    *out++ = '"';
    return out;
}

static char *put_value(char *out, const struct json_value *value);

static char *put_array(char *out, const struct json_value *array)
{
    *out++ = '[';
    for (uint32_t i = 0; i < array->count; i++) {
        if (i > 0) {
            *out++ = ',';
        }
        out = put_value(out, &array->items[i]);
    }
    *out++ = ']';
    return out;
}

static char *put_object(char *out, const struct json_value *object)
{
    *out++ = '{';
    for (uint32_t i = 0; i < object->count; i++) {
        if (i > 0) {
            *out++ = ',';
        }
        const struct json_member *member = &object->members[i];
        out = put_string(out, json_text(&member->key), member->key.escape);
        *out++ = ':';
        out = put_value(out, &member->value);
    }
    *out++ = '}';
    return out;
}

/* An absent value prints as null: a text of JSON has no other word for it. */
static char *put_value(char *out, const struct json_value *value)
{
    switch ((enum json_type)value->type) {
    case JSON_ABSENT:
    case JSON_NULL:
        return put_bytes(out, "null", 4);
    case JSON_FALSE:
        return put_bytes(out, "false", 5);
    case JSON_TRUE:
        return put_bytes(out, "true", 4);
    case JSON_NUMBER:
        return put_bytes(out, value->ptr, value->len);
    case JSON_STRING:
        return put_string(out, json_text(value), value->escape);
    case JSON_ARRAY:
        return value->len > 0 ? put_bytes(out, value->ptr, value->len) : put_array(out, value);
    case JSON_OBJECT:
        break;
    }
    return value->len > 0 ? put_bytes(out, value->ptr, value->len) : put_object(out, value);
}

static size_t container_size(const struct json_value *value)
{
    size_t size = 2 + (value->count > 0 ? value->count - 1 : 0);
    for (uint32_t i = 0; i < value->count; i++) {
        if (value->type == JSON_ARRAY) {
            size += json_size(&value->items[i]);
        } else {
            const struct json_member *member = &value->members[i];
            size += string_size(json_text(&member->key), member->key.escape) + 1;
            size += json_size(&member->value);
        }
    }
    return size;
}

size_t json_size(const struct json_value *value)
{
    switch ((enum json_type)value->type) {
    case JSON_ABSENT:
    case JSON_NULL:
    case JSON_TRUE:
        return 4;
    case JSON_FALSE:
        return 5;
    case JSON_NUMBER:
        return value->len;
    case JSON_STRING:
        return string_size(json_text(value), value->escape);
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    return value->len > 0 ? value->len : container_size(value);
}

/* Closes what was put behind the buffer's end. */
static void finish(struct buf *out, const char *end)
{
    out->len = (size_t)(end - out->ptr);
    out->ptr[out->len] = '\0';
}

void json_print(struct buf *out, const struct json_value *value)
{
    if (buf_reserve(out, json_size(value))) {
        finish(out, put_value(out->ptr + out->len, value));
    }
}

void json_print_string(struct buf *out, struct slice text)
{
    bool escape = text_needs_escape(text);
    if (buf_reserve(out, string_size(text, escape))) {
        finish(out, put_string(out->ptr + out->len, text, escape));
    }
}

struct json_value json_string(struct slice text)
{
    return (struct json_value){.ptr = text.ptr,
                               .len = (uint32_t)text.len,
                               .type = JSON_STRING,
                               .escape = text_needs_escape(text)};
}

unsigned json_depth(const struct json_value *value)
{
    if (value->type != JSON_ARRAY && value->type != JSON_OBJECT) {
        return 0;
    }
    unsigned deepest = 0;
    for (uint32_t i = 0; i < value->count; i++) {
        unsigned depth =
            json_depth(value->type == JSON_ARRAY ? &value->items[i] : &value->members[i].value);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + 1;
}
