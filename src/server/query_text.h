/* query_text.h - a parameter of a query in the hands of its reader: where it is, and how it is
 * refused. */
#ifndef SERVER_QUERY_TEXT_H
#define SERVER_QUERY_TEXT_H

#include "server/head.h"
#include "server/table_query.h"

struct query_text {
    struct arena *arena;
    const struct table *table;
    const char *what;  /* "select parameter", for sentences */
    struct slice text; /* the whole */
    size_t at;
    unsigned n_terms; /* filters read so far, of the whole request */
    unsigned depth;
    struct problem *problem;
};

/* The byte at `at`, '\0' at the end. */
char query_peek(const struct query_text *text);

bool query_at_end(const struct query_text *text);

/* Steps over the byte, or the word, where it stands there. */
bool query_take(struct query_text *text, char c);
bool query_take_word(struct query_text *text, const char *word);

/* Steps over blanks: around columns, commas and parentheses they are nothing. */
void query_skip_blanks(struct query_text *text);

/* PGRST100: what stands at `at` is not what is expected there. Answers false. */
bool query_refuse(struct query_text *text, const char *expected);

/* Any other refusal with a name in it ("$" in the format); false. */
bool query_refuse_name(struct query_text *text, const char *code, const char *format,
                       struct slice name);

/* 22P02 and its like: the text is no literal of the type. Answers false. */
bool query_refuse_value(struct arena *arena, enum table_type type, int status, struct slice value,
                        struct problem *problem);

/* "in double quotes" with \ before a quote or a backslash, decoded; the first quote stands at
 * `at`. */
bool query_quoted(struct query_text *text, struct slice *out);

/* A name: quoted, or letters, digits, "_", "$", blanks (but at its ends), and "-" that begins no
 * arrow. */
bool query_name(struct query_text *text, struct slice *out);

/* A column with its arrows, and the blanks around; an unknown column is 42703. */
bool query_place(struct query_text *text, struct query_place *out);

/* table_filter.c: a filter behind its "column=", or the parentheses of and= and or=. Each appends
 * one node. */
bool query_filter(struct query_text *text, struct slice column, struct query_filter **out);
bool query_tree(struct query_text *text, enum query_op op, bool negated, struct query_filter **out);

#endif
