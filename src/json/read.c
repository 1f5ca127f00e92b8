/* read.c - the strict reader (docs/protocol.md, "JSON").
 *
 * Recursive descent, bounded by max_depth. The children of a container gather on one stack that
 * all levels share and are copied to the arena as one block when the container closes; an
 * object's stack entries are key, value, key, value, which is the layout of struct json_member.
 *
 * `loose` counts what is not in compact form: white space and escapes that need not be. A
 * container during which it did not move is compact, and keeps its text for the writer. */
#include "json/json.h"

#include "base/limits.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/utf8.h"
#include "json/sort.h"

#define STACK_FIRST 64u     /* values before the stack needs the heap */
#define PAIRWISE_MEMBERS 8u /* up to here comparing each key with each is cheapest */

_Static_assert(sizeof(struct json_member) == 2 * sizeof(struct json_value),
               "a member is two values on the stack");

struct reader {
    struct arena *arena;
    const char *text;
    const char *at;
    const char *end;
    struct json_value *stack;
    size_t n_stack;
    size_t size_stack;
    struct json_value *heap; /* the stack, once it left its first place */
    unsigned depth_left;
    size_t loose;
    int status;
    const char *what;
    const char *error_at;
};

static bool read_value(struct reader *reader, struct json_value *out);

static bool refuse(struct reader *reader, const char *at, int status, const char *what)
{
    reader->status = status;
    reader->error_at = at;
    reader->what = what;
    return false;
}

static bool refuse_memory(struct reader *reader)
{
    return refuse(reader, reader->at, BQ_NOMEM, "memory is exhausted");
}

static bool grow_stack(struct reader *reader)
{
    size_t size = reader->size_stack * 2;
    struct json_value *grown = mem_realloc(reader->heap, size * sizeof *grown);
    if (grown == NULL) {
        return refuse_memory(reader);
    }
    if (reader->heap == NULL) {
        memcpy(grown, reader->stack, reader->n_stack * sizeof *grown);
    }
    reader->heap = grown;
    reader->stack = grown;
    reader->size_stack = size;
    return true;
}

static inline bool push(struct reader *reader, const struct json_value *value)
{
    if (reader->n_stack == reader->size_stack && !grow_stack(reader)) {
        return false;
    }
    reader->stack[reader->n_stack++] = *value;
    return true;
}

static inline void skip_space(struct reader *reader)
{
    while (reader->at < reader->end) {
        char c = *reader->at;
        if (c != ' ' && c != '\n' && c != '\t' && c != '\r') {
            return;
        }
        reader->at++;
        reader->loose++;
    }
}

/* The next byte without taking it; 0, which no JSON begins with, at the end. */
static inline char peek(const struct reader *reader)
{
    return reader->at < reader->end ? *reader->at : '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The code unit of the four hex digits at `at`; -1 where they are not four. */
static int hex_unit(const char *at, const char *end)
{
    if (end - at < 4) {
        return -1;
    }
    int unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0) {
            return -1;
        }
        unit = unit * 16 + digit;
    }
    return unit;
}

static bool is_high(int unit)
{
    return unit >= 0xd800 && unit <= 0xdbff;
}

static bool is_low(int unit)
{
    return unit >= 0xdc00 && unit <= 0xdfff;
}

/* Whether RFC 8259, section 7, wants a code unit escaped. */
static bool needs_escape(int unit)
{
    return unit < 0x20 || unit == '"' || unit == '\\';
}

/* Whether the writer would write this very \uXXXX: controls without a short form, lower case. */
static bool is_minimal_unit(const char *digits, int unit)
{
    bool has_short = unit == '\b' || unit == '\f' || unit == '\n' || unit == '\r' || unit == '\t';
    bool lower = digits[3] < 'A' || digits[3] > 'F';
    return unit < 0x20 && !has_short && lower;
}

/* Checks \uXXXX, with its second half where it is a pair; `at` stands on the backslash. */
static bool check_unit(struct reader *reader, bool *escape)
{
    const char *start = reader->at;
    int unit = hex_unit(start + 2, reader->end);
    if (unit < 0) {
        return refuse(reader, start, BQ_JSON_SYNTAX, "\\u wants four hexadecimal digits");
    }
    if (unit == 0) {
        return refuse(reader, start, BQ_JSON_STRING, "\\u0000 is not accepted");
    }
    reader->at += 6;
    if (is_high(unit)) {
        const char *next = reader->at;
        bool more = reader->end - next >= 6 && next[0] == '\\' && next[1] == 'u';
        if (!more || !is_low(hex_unit(next + 2, reader->end))) {
            return refuse(reader, start, BQ_JSON_STRING, "a surrogate stands alone");
        }
        reader->at += 6;
    } else if (is_low(unit)) {
        return refuse(reader, start, BQ_JSON_STRING, "a surrogate stands alone");
    }
    *escape = *escape || needs_escape(unit);
    reader->loose += is_minimal_unit(start + 2, unit) ? 0 : 1;
    return true;
}

/* Checks the escape at `at` and steps over it. */
static bool check_escape(struct reader *reader, bool *escape)
{
    char c = reader->end - reader->at < 2 ? '\0' : reader->at[1];
    switch (c) {
    case 'u':
        return check_unit(reader, escape);
    case '/':
        reader->loose++;
        reader->at += 2;
        return true;
    case '"':
    case '\\':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        *escape = true;
        reader->at += 2;
        return true;
    default:
        return refuse(reader, reader->at, BQ_JSON_SYNTAX, "this escape is not one of JSON");
    }
}

/* The UTF-8 form of a code point; answers its length. */
static size_t put_utf8(char *out, int code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    static const int lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(lead[n] | code);
    return n;
}

static char short_escape(char c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return c;
    }
}

/* Decodes [at, end), which was checked, to out; answers the length. */
static size_t decode(char *out, const char *at, const char *end)
{
    char *to = out;
    while (at < end) {
        const char *backslash = memchr(at, '\\', (size_t)(end - at));
        size_t plain = (size_t)((backslash == NULL ? end : backslash) - at);
        memcpy(to, at, plain);
        to += plain;
        at += plain;
        if (at == end) {
            break;
        }
        if (at[1] != 'u') {
            *to++ = short_escape(at[1]);
            at += 2;
            continue;
        }
        int code = hex_unit(at + 2, end);
        at += 6;
        if (is_high(code)) {
            code = 0x10000 + ((code - 0xd800) << 10) + (hex_unit(at + 2, end) - 0xdc00);
            at += 6;
        }
        to += put_utf8(to, code);
    }
    return (size_t)(to - out);
}

/* Whether any of eight bytes is a control, a quote, a backslash or not ASCII (Mycroft's trick). */
static inline bool has_special(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t highs = ones << 7;
    uint64_t quote = word ^ (ones * '"');
    uint64_t backslash = word ^ (ones * '\\');
    uint64_t found = (word - ones * 0x20) | (quote - ones) | (backslash - ones) | word;
    return (found & highs) != 0;
}

/* Steps over what needs no look at single bytes; may stop early, never late. */
static inline void skip_plain(struct reader *reader)
{
    while (reader->end - reader->at >= 8) {
        uint64_t word;
        memcpy(&word, reader->at, sizeof word);
        if (has_special(word)) {
            return;
        }
        reader->at += 8;
    }
}

/* Checks up to the closing quote and steps over it; `at` stands behind the opening one. */
static bool check_string(struct reader *reader, bool *escaped, bool *escape)
{
    const char *start = reader->at - 1;
    skip_plain(reader);
    while (reader->at < reader->end) {
        unsigned char c = (unsigned char)*reader->at;
        if (c == '"') {
            reader->at++;
            return true;
        }
        if (c == '\\') {
            *escaped = true;
            if (!check_escape(reader, escape)) {
                return false;
            }
        } else if (c < 0x20) {
            return refuse(reader, reader->at, BQ_JSON_STRING,
                          "a control character in a string has to be escaped");
        } else if (c < 0x80) {
            reader->at++;
        } else {
            size_t n = utf8_length((struct slice){reader->at, (size_t)(reader->end - reader->at)});
            if (n == 0) {
                return refuse(reader, reader->at, BQ_JSON_UTF8, "this byte is not UTF-8");
            }
            reader->at += n;
        }
    }
    return refuse(reader, start, BQ_JSON_SYNTAX, "this string has no end");
}

static bool read_string(struct reader *reader, struct json_value *out)
{
    const char *start = ++reader->at;
    bool escaped = false;
    bool escape = false;
    if (!check_string(reader, &escaped, &escape)) {
        return false;
    }
    size_t len = (size_t)(reader->at - 1 - start);
    const char *ptr = start;
    if (escaped) {
        char *decoded = arena_alloc(reader->arena, len);
        if (decoded == NULL) {
            return refuse_memory(reader);
        }
        len = decode(decoded, start, start + len);
        ptr = decoded;
    }
    *out = (struct json_value){
        .ptr = ptr, .len = (uint32_t)len, .type = JSON_STRING, .escape = escape};
    return true;
}

static inline size_t skip_digits(struct reader *reader)
{
    const char *start = reader->at;
    while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9') {
        reader->at++;
    }
    return (size_t)(reader->at - start);
}

/* The exponent behind e or E: its digits, and its value within the limit. */
static bool check_exponent(struct reader *reader, const char *start)
{
    reader->at++;
    if (peek(reader) == '+' || peek(reader) == '-') {
        reader->at++;
    }
    const char *digits = reader->at;
    if (skip_digits(reader) == 0) {
        return refuse(reader, start, BQ_JSON_SYNTAX, "an exponent wants digits");
    }
    int value = 0;
    for (const char *at = digits; at < reader->at; at++) {
        value = value * 10 + (*at - '0');
        if (value > LIMIT_JSON_EXPONENT) {
            return refuse(reader, start, BQ_JSON_NUMBER, "an exponent is within +-308");
        }
    }
    return true;
}

static bool read_number(struct reader *reader, struct json_value *out)
{
    const char *start = reader->at;
    if (*start == '-') {
        reader->at++;
    }
    bool zero = peek(reader) == '0';
    size_t digits = skip_digits(reader);
    if (digits == 0 || (zero && digits > 1)) {
        return refuse(reader, start, BQ_JSON_SYNTAX, "this is not a JSON number");
    }
    if (peek(reader) == '.') {
        reader->at++;
        size_t decimals = skip_digits(reader);
        if (decimals == 0) {
            return refuse(reader, start, BQ_JSON_SYNTAX, "a decimal point wants digits behind it");
        }
        digits += decimals;
    }
    if (digits > LIMIT_JSON_DIGITS) {
        return refuse(reader, start, BQ_JSON_NUMBER, "a number has at most 40 digits");
    }
    if ((peek(reader) == 'e' || peek(reader) == 'E') && !check_exponent(reader, start)) {
        return false;
    }
    uint32_t len = (uint32_t)(reader->at - start);
    *out = (struct json_value){.ptr = start, .len = len, .type = JSON_NUMBER};
    return true;
}

static bool read_word(struct reader *reader, struct slice word, enum json_type type,
                      struct json_value *out)
{
    if ((size_t)(reader->end - reader->at) < word.len ||
        memcmp(reader->at, word.ptr, word.len) != 0) {
        return refuse(reader, reader->at, BQ_JSON_SYNTAX, "this is not a JSON value");
    }
    reader->at += word.len;
    *out = (struct json_value){.type = (uint8_t)type};
    return true;
}

/* Moves the stack above `mark` into a block of the arena; NULL (refused) when memory is out. */
static const void *take_children(struct reader *reader, size_t mark)
{
    size_t size = (reader->n_stack - mark) * sizeof *reader->stack;
    void *block = arena_alloc(reader->arena, size);
    if (block == NULL) {
        (void)refuse_memory(reader);
        return NULL;
    }
    memcpy(block, reader->stack + mark, size);
    reader->n_stack = mark;
    return block;
}

/* Steps into a container: false at the depth limit. */
static bool enter(struct reader *reader)
{
    if (reader->depth_left == 0) {
        return refuse(reader, reader->at, BQ_JSON_DEPTH, "objects and arrays nest too deep here");
    }
    reader->depth_left--;
    reader->at++;
    skip_space(reader);
    return true;
}

/* Steps out of one and gives it its text where it is compact. */
static void leave(struct reader *reader, const char *start, size_t loose, struct json_value *out)
{
    reader->depth_left++;
    if (reader->loose == loose) {
        out->ptr = start;
        out->len = (uint32_t)(reader->at - start);
    }
}

/* Behind an element: true with *out_more on a comma, true without at the closing bracket. */
static bool read_separator(struct reader *reader, char close, const char *what, bool *out_more)
{
    skip_space(reader);
    char c = peek(reader);
    if (c != ',' && c != close) {
        return refuse(reader, reader->at, BQ_JSON_SYNTAX, what);
    }
    reader->at++;
    *out_more = c == ',';
    if (*out_more) {
        skip_space(reader);
    }
    return true;
}

static bool read_array(struct reader *reader, struct json_value *out)
{
    const char *start = reader->at;
    size_t loose = reader->loose;
    size_t mark = reader->n_stack;
    if (!enter(reader)) {
        return false;
    }
    bool more = peek(reader) != ']';
    reader->at += more ? 0 : 1;
    while (more) {
        struct json_value item;
        if (!read_value(reader, &item) || !push(reader, &item) ||
            !read_separator(reader, ']', "a comma or ] is missing here", &more)) {
            return false;
        }
    }
    struct json_value array = {.count = (uint32_t)(reader->n_stack - mark), .type = JSON_ARRAY};
    if (array.count > 0) {
        array.items = take_children(reader, mark);
        if (array.items == NULL) {
            return false;
        }
    }
    leave(reader, start, loose, &array);
    *out = array;
    return true;
}

static bool read_member(struct reader *reader)
{
    struct json_value value;
    if (peek(reader) != '"') {
        return refuse(reader, reader->at, BQ_JSON_SYNTAX, "a key in quotes is missing here");
    }
    if (!read_string(reader, &value) || !push(reader, &value)) {
        return false;
    }
    skip_space(reader);
    if (peek(reader) != ':') {
        return refuse(reader, reader->at, BQ_JSON_SYNTAX, "a colon is missing here");
    }
    reader->at++;
    skip_space(reader);
    return read_value(reader, &value) && push(reader, &value);
}

/* Refuses a duplicate at the key itself where it stands in the text, else at the object's end. */
static bool refuse_duplicate(struct reader *reader, const struct json_member *member)
{
    uintptr_t offset = (uintptr_t)member->key.ptr - (uintptr_t)reader->text;
    bool in_text = offset < (uintptr_t)(reader->end - reader->text);
    return refuse(reader, in_text ? member->key.ptr : reader->at - 1, BQ_JSON_DUPLICATE,
                  "this object names a key twice");
}

/* The member from which on keys are no longer strictly ascending; count where all are. */
static uint32_t ascending(const struct json_value *object)
{
    uint32_t i = 1;
    while (i < object->count && slice_order(json_text(&object->members[i - 1].key),
                                            json_text(&object->members[i].key)) < 0) {
        i++;
    }
    return i;
}

static bool check_pairwise(struct reader *reader, const struct json_value *object, uint32_t from)
{
    for (uint32_t i = from; i < object->count; i++) {
        struct slice key = json_text(&object->members[i].key);
        for (uint32_t j = 0; j < i; j++) {
            if (slice_equal(key, json_text(&object->members[j].key))) {
                return refuse_duplicate(reader, &object->members[i]);
            }
        }
    }
    return true;
}

static bool check_sorted(struct reader *reader, const struct json_value *object)
{
    const struct sort_item *sorted = sort_members(reader->arena, object);
    if (sorted == NULL) {
        return refuse_memory(reader);
    }
    for (uint32_t i = 1; i < object->count; i++) {
        const struct json_member *before = sorted[i - 1].item;
        const struct json_member *member = sorted[i].item;
        if (sorted[i - 1].rank == sorted[i].rank &&
            slice_equal(json_text(&before->key), json_text(&member->key))) {
            return refuse_duplicate(reader, member);
        }
    }
    return true;
}

/* Keys are unique: told at once where they ascend, else by pairs while few, else by sorting. */
static bool check_unique(struct reader *reader, const struct json_value *object)
{
    uint32_t from = ascending(object);
    if (from >= object->count) {
        return true;
    }
    return object->count <= PAIRWISE_MEMBERS ? check_pairwise(reader, object, from)
                                             : check_sorted(reader, object);
}

static bool read_object(struct reader *reader, struct json_value *out)
{
    const char *start = reader->at;
    size_t loose = reader->loose;
    size_t mark = reader->n_stack;
    if (!enter(reader)) {
        return false;
    }
    bool more = peek(reader) != '}';
    reader->at += more ? 0 : 1;
    while (more) {
        if (!read_member(reader) ||
            !read_separator(reader, '}', "a comma or } is missing here", &more)) {
            return false;
        }
    }
    struct json_value object = {.count = (uint32_t)((reader->n_stack - mark) / 2),
                                .type = JSON_OBJECT};
    if (object.count > 0) {
        object.members = take_children(reader, mark);
        if (object.members == NULL || !check_unique(reader, &object)) {
            return false;
        }
    }
    leave(reader, start, loose, &object);
    *out = object;
    return true;
}

static bool read_value(struct reader *reader, struct json_value *out)
{
    switch (peek(reader)) {
    case '{':
        return read_object(reader, out);
    case '[':
        return read_array(reader, out);
    case '"':
        return read_string(reader, out);
    case 't':
        return read_word(reader, SLICE("true"), JSON_TRUE, out);
    case 'f':
        return read_word(reader, SLICE("false"), JSON_FALSE, out);
    case 'n':
        return read_word(reader, SLICE("null"), JSON_NULL, out);
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return read_number(reader, out);
    default:
        return refuse(reader, reader->at, BQ_JSON_SYNTAX,
                      reader->at == reader->end ? "the text ends too early"
                                                : "this is not a JSON value");
    }
}

static bool read_document(struct reader *reader, struct json_value *out)
{
    if ((size_t)(reader->end - reader->at) > UINT32_MAX) {
        return refuse(reader, reader->at, BQ_TOO_LARGE, "the text is longer than 4 GiB");
    }
    skip_space(reader);
    if (!read_value(reader, out)) {
        return false;
    }
    skip_space(reader);
    if (reader->at < reader->end) {
        return refuse(reader, reader->at, BQ_JSON_SYNTAX, "something stands behind the value");
    }
    return true;
}

static void tell_error(const struct reader *reader, struct json_error *error)
{
    *error = (struct json_error){.status = reader->status,
                                 .offset = (size_t)(reader->error_at - reader->text),
                                 .line = 1,
                                 .column = 1,
                                 .what = reader->what};
    for (const char *at = reader->text; at < reader->error_at; at++) {
        error->column++;
        if (*at == '\n') {
            error->line++;
            error->column = 1;
        }
    }
}

int json_parse(struct arena *arena, struct slice text, unsigned max_depth, struct json_value *out,
               struct json_error *error)
{
    struct json_value first[STACK_FIRST];
    const char *start = text.ptr == NULL ? "" : text.ptr;
    struct reader reader = {
        .arena = arena,
        .text = start,
        .at = start,
        .end = start + text.len,
        .stack = first,
        .size_stack = STACK_FIRST,
        .depth_left = max_depth,
        .status = BQ_OK,
    };
    struct json_value value;
    if (read_document(&reader, &value)) {
        *out = value;
    } else if (error != NULL) {
        tell_error(&reader, error);
    }
    mem_free(reader.heap);
    return reader.status;
}
