/* json.h - a JSON value in memory: strict reader, compact writer, equality by value.
 *
 * A value is 32 bytes; a container holds its members in one block, so a subtree is shared
 * between documents by copying its value, and a merge result is mostly shared. Nothing is
 * written to after it was built, and all of it lives in the arena and the text it was read from:
 * keep both.
 *
 * Dialect (docs/protocol.md, "JSON"): RFC 8259 and UTF-8, read strictly; duplicate keys, \u0000,
 * lone surrogates refused; a number has at most 40 digits and an exponent within +-308 and keeps
 * its text. The *compact form* has no white space, strings with no escape that RFC 8259 section
 * 7 does not demand (demanded: \" \\ \b \f \n \r \t and \u00XX in lower case for other
 * controls), members in their order, numbers as they came. */
#ifndef JSON_JSON_H
#define JSON_JSON_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum json_type {
    JSON_ABSENT, /* no value at all: what a look-up of a missing member answers */
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

struct json_member;
struct sort_item;

struct json_value {
    const char *ptr; /* string: decoded; number: its text; container: its text, if compact */
    uint32_t len;    /* of ptr; a container without text has 0 */
    uint32_t count;  /* elements or members */
    union {
        const struct json_value *items;    /* JSON_ARRAY */
        const struct json_member *members; /* JSON_OBJECT */
    };
    uint8_t type; /* enum json_type */
    bool escape;  /* string: the writer has to escape something */
};

struct json_member {
    struct json_value key; /* JSON_STRING */
    struct json_value value;
};

/* Where and why a text was refused. line and column count from 1, column in bytes. */
struct json_error {
    int status; /* BQ_JSON_... or BQ_NOMEM */
    size_t offset;
    unsigned line;
    unsigned column;
    const char *what; /* a sentence without its full stop */
};

/* Reads one value and nothing behind it but white space. text is borrowed and must outlive *out.
 * BQ_OK, BQ_NOMEM or a BQ_JSON_ code; error may be NULL. max_depth counts containers. */
int json_parse(struct arena *arena, struct slice text, unsigned max_depth, struct json_value *out,
               struct json_error *error);

/* Appends the compact form. */
void json_print(struct buf *out, const struct json_value *value);

/* The length that json_print() would add. */
size_t json_size(const struct json_value *value);

/* Depth in containers: 0 for a scalar. */
unsigned json_depth(const struct json_value *value);

/* Appends text as a JSON string, quotes included; text is UTF-8. */
void json_print_string(struct buf *out, struct slice text);

/* Equality by JSON value: numbers by value, strings decoded, objects without order. Two absent
 * values are equal. Near-linear in the size; arena is scratch (poisoned: false). */
bool json_equal(struct arena *arena, const struct json_value *a, const struct json_value *b);

/* The member's value, or NULL. Linear: for small objects and single look-ups. */
const struct json_value *json_get(const struct json_value *object, const char *key);
const struct json_value *json_get_slice(const struct json_value *object, struct slice key);

/* Looks up many keys of one object in about linear time in all: keys asked in the object's own
 * order are found by going on from the last one; when that has cost a few rounds over the
 * object, an index is built. */
struct json_finder {
    const struct json_value *object;
    const struct sort_item *sorted; /* the index (json/sort.h); NULL until needed */
    uint32_t next;                  /* where the next key is expected */
    uint64_t steps;                 /* members looked at so far without the index */
};

/* object may be NULL or no object: then nothing is found. */
void json_finder_init(struct json_finder *finder, const struct json_value *object);

/* The member, or NULL. arena takes the index. */
const struct json_member *json_finder_find(struct json_finder *finder, struct arena *arena,
                                           struct slice key);

/* Builders. Strings borrow; the arrays are taken as they are. json_int() is absent when memory is
 * exhausted (the arena knows). */
struct json_value json_absent(void);
struct json_value json_null(void);
struct json_value json_bool(bool value);
struct json_value json_string(struct slice text);
struct json_value json_int(struct arena *arena, int64_t value);
struct json_value json_object(const struct json_member *members, uint32_t count);
struct json_value json_array(const struct json_value *items, uint32_t count);

/* A text in compact form as a value that the printer copies as it is: for documents that only pass
 * through. Not to be looked into or compared. */
static inline struct json_value json_raw(struct slice compact)
{
    return (struct json_value){
        .ptr = compact.ptr, .len = (uint32_t)compact.len, .type = JSON_NUMBER};
}

static inline struct slice json_text(const struct json_value *value)
{
    return (struct slice){value->ptr, value->len};
}

static inline struct json_member json_member(const char *key, struct json_value value)
{
    return (struct json_member){json_string(slice_of(key)), value};
}

static inline bool json_is(const struct json_value *value, enum json_type type)
{
    return value != NULL && value->type == type;
}

/* True for NULL and JSON_ABSENT. */
static inline bool json_is_absent(const struct json_value *value)
{
    return value == NULL || value->type == JSON_ABSENT;
}

/* An integer written as one (no point, no exponent, "-0" is 0) within the int64 range. */
bool json_to_int(const struct json_value *value, int64_t *out);

#endif
