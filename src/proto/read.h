/* read.h - members of a message, read strictly: the wrong type or range gives a sentence that names
 * the member. Private to src/proto.
 *
 * Each answers BQ_OK, or BQ_MALFORMED with *problem. A member that is absent or null gives the
 * default where there is one. */
#ifndef PROTO_READ_H
#define PROTO_READ_H

#include "proto/edit.h"

/* Fills in *problem and answers status. problem may be NULL. */
int proto_problem_set(struct proto_problem *problem, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

struct proto_range {
    int64_t least;
    int64_t most;
};

/* An integer in the range; absent and null: `otherwise`. */
int proto_read_int(const struct json_value *object, const char *name, struct proto_range range,
                   int64_t otherwise, int64_t *out, struct proto_problem *problem);

/* As before, but it has to be there. */
int proto_need_int(const struct json_value *object, const char *name, struct proto_range range,
                   int64_t *out, struct proto_problem *problem);

/* A string; absent and null: SLICE_NONE. */
int proto_read_text(const struct json_value *object, const char *name, struct slice *out,
                    struct proto_problem *problem);

int proto_need_text(const struct json_value *object, const char *name, struct slice *out,
                    struct proto_problem *problem);

int proto_read_bool(const struct json_value *object, const char *name, bool *out,
                    struct proto_problem *problem);

/* An array; absent and null: an empty one. */
int proto_read_array(const struct json_value *object, const char *name,
                     const struct json_value **out_items, uint32_t *out_n,
                     struct proto_problem *problem);

/* A timestamp; absent and null: 0. */
int proto_read_time(const struct json_value *object, const char *name, int64_t *out_us,
                    struct proto_problem *problem);

/* {"name": or ,"name": before a member. */
void proto_print_name(struct buf *out, bool first, const char *name);
void proto_print_int(struct buf *out, const char *name, int64_t value);
void proto_print_bool(struct buf *out, const char *name, bool value);
void proto_print_value(struct buf *out, const char *name, const struct json_value *value);
void proto_print_time(struct buf *out, const char *name, int64_t time_us);

/* A NULL ptr prints null. */
void proto_print_text(struct buf *out, const char *name, struct slice text);

#endif
