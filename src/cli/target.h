/* target.h - where the rows of a migration go: a store, or a running server through its functions.
 *
 *     sqlite:PATH, postgres://...    the store itself: times and versions are kept
 *     http://..., https://...        a server, with a token per user: the documents come in as
 *                                    seeds of sync_exchange, under the server's clock */
#ifndef CLI_TARGET_H
#define CLI_TARGET_H

#include "cli/operator.h"
#include "cli/source.h"

#define TARGET_ROWS 256u           /* of one batch */
#define TARGET_BYTES (4u << 20)    /* of their texts together, beyond one row */

struct target_result {
    int status;        /* of the row as a whole: BQ_OK, or why nothing of it was taken */
    char message[160]; /* the sentence for it */
    const struct seed_result *docs;
};

struct target {
    const char *to;
    const char *secret_file; /* for a server: it signs the tokens */
    bool dry_run;            /* everything is done and rolled back */
    bool json;
    struct operator operator;
    struct store *memory; /* stands for a store that is not there yet, in a dry run */
    struct arena policies_arena;
    const struct merge_policies *policies;
    int64_t policies_version;
    struct remote remote;
    struct buf secret;
    struct buf token;
    struct buf body;
    struct buf answer;
};

/* CLI_OK, or an exit code after its sentence; target_close() in either case. */
int target_open(struct target *target);
void target_close(struct target *target);

/* Takes rows that are not wrong, in one transaction of a store; results as many as rows, in the
 * arena. CLI_OK, or an exit code after its sentence: the migration cannot go on. */
int target_take(struct target *target, struct arena *arena, const struct source_row *rows,
                uint32_t n, struct target_result *results);

/* target_server.c */
int target_open_server(struct target *target);
int target_take_server(struct target *target, struct arena *arena, const struct source_row *rows,
                       uint32_t n, struct target_result *results);

#endif
