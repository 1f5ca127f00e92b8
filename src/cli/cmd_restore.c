/* cmd_restore.c - bqsync restore: a backup in a store's place, under a new epoch, so that clients
 * bring back what they know (docs/protocol.md 8). */
#include <stdio.h>
#include <time.h>

#include "base/status.h"
#include "cli/commands.h"
#include "cli/operator.h"
#include "cli/options.h"
#include "cli/output.h"
#include "store/sqlite_backup.h"

struct restore {
    const char *store;
    bool epoch_only;
    bool json;
    char epoch[OPERATOR_EPOCH_TEXT + 1];
};

/* backup NULL: only the epoch is new. */
static int tell(const struct restore *restore, const char *place, const struct store_backup *backup)
{
    struct buf line = BUF_INIT;
    if (restore->json) {
        output_begin(&line);
        output_text(&line, "store", slice_of(place));
        output_text(&line, "epoch", slice_of(restore->epoch));
        if (backup != NULL) {
            output_int(&line, "users", backup->n_users);
            output_int(&line, "documents", backup->n_documents);
            output_text(&line, "aside", slice_of(backup->aside));
        }
        output_close(&line);
    } else if (backup == NULL) {
        buf_add_format(&line, "%s: epoch %s; clients bring back what they know", place,
                       restore->epoch);
    } else {
        buf_add_format(&line, "%s: %lld users, %lld documents, epoch %s", place,
                       (long long)backup->n_users, (long long)backup->n_documents, restore->epoch);
        if (backup->aside[0] != '\0') {
            buf_add_format(&line, "\nthe old store is kept as %s", backup->aside);
        }
    }
    int result = output_line(restore->json, &line);
    buf_release(&line);
    return result;
}

static int put_back(struct restore *restore, const char *from)
{
    struct store_backup backup;
    char error[2048] = "";
    char word[32];
    struct timespec now;
    struct tm utc;
    const char *path = operator_sqlite_path(restore->store);
    if (path == NULL) {
        return CLI_USAGE;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(word, sizeof word, "%Y%m%dT%H%M%SZ", &utc);
    int status = store_sqlite_restore(from, path, slice_of(restore->epoch), word, &backup, error,
                                      sizeof error);
    return status == BQ_OK ? tell(restore, restore->store, &backup)
                           : output_fail(restore->json, status, "%s", error);
}

/* The store was brought back by somebody else: only the epoch is ours to change. */
static int renew(struct restore *restore)
{
    struct operator operator= {.store = restore->store, .json = restore->json};
    int result = operator_open(&operator, true);
    if (result == CLI_OK) {
        struct store *store = operator.opened;
        int status = store->epoch_set(store, slice_of(restore->epoch));
        result = status == BQ_OK ? tell(restore, operator_place(&operator), NULL)
                                 : output_fail(restore->json, status, "%s: %s",
                                               operator_place(&operator),
                                               status_text(status));
    }
    operator_close(&operator);
    return result;
}

int cmd_restore(int argc, char **argv)
{
    struct restore restore = {.store = NULL};
    int n;
    const struct option_spec options[] = {
        OPTION_TEXT("store", "STORE", &restore.store,
                    "sqlite:PATH, the store to be replaced (--epoch-only: postgres://... too)"),
        OPTION_FLAG("epoch-only", &restore.epoch_only,
                    "other tools brought the store back: only give it a new epoch"),
        OPTION_FLAG("json", &restore.json, "results as one JSON value a line"),
    };
    const struct command_line line = {
        "restore", "[BACKUP]",
        "Puts a checked copy of BACKUP in the store's place, under a new epoch: clients see that\n"
        "acknowledged edits may be gone and send what they know again, counted once. The old\n"
        "store is kept beside it under a name that is told. Stop its server first.\n",
        options, OPTION_COUNT(options), 0, 1};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    if (restore.store == NULL || (n == 0) != restore.epoch_only) {
        fputs("bqsync: restore: --store and either BACKUP or --epoch-only are needed\n", stderr);
        return CLI_USAGE;
    }
    int result = operator_make_epoch(restore.json, restore.epoch);
    if (result != CLI_OK) {
        return result;
    }
    return restore.epoch_only ? renew(&restore) : put_back(&restore, argv[0]);
}
