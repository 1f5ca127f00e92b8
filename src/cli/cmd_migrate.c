/* cmd_migrate.c - bqsync migrate: the rows of an older system, or of another store, into a store
 * (docs/migration.md).
 *
 * Rows are read one after the other and taken in batches, one transaction each, so memory stays
 * the same however many there are. A run that was killed is simply run again: what was committed is
 * known by its receipts. A row that cannot be taken goes into a file with its reason. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/status.h"
#include "bqsync.h"
#include "cli/aside.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/target.h"

#define N_OUTCOMES (SEED_REFUSED + 1)

struct migrate {
    const char *from;
    const char *report;
    struct source *source;
    struct target target;
    struct aside aside;
    struct progress progress;
    struct arena arena; /* of the present batch */
    struct source_row rows[TARGET_ROWS];
    uint32_t n;
    size_t bytes;
    int64_t n_rows;
    int64_t n_documents[N_OUTCOMES];
    int64_t n_devices;
    int64_t n_bad_times;
    int64_t began_us;
};

static int64_t clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- Batches --------------------------------------------------------------------------------- */

static int count_row(struct migrate *migrate, const struct source_row *row,
                     const struct target_result *result)
{
    if (result->status != BQ_OK) {
        return aside_put(&migrate->aside, row, SLICE_NONE, result->status, result->message);
    }
    migrate->n_devices += row->has_device + row->has_v1_device;
    migrate->n_bad_times += row->n_bad_times;
    int done = CLI_OK;
    for (uint32_t i = 0; i < row->n_docs && done == CLI_OK; i++) {
        const struct seed_result *doc = &result->docs[i];
        migrate->n_documents[doc->outcome]++;
        if (doc->outcome == SEED_REFUSED) {
            done = aside_put(&migrate->aside, row, row->docs[i].key, doc->code, doc->message);
        }
    }
    return done;
}

static int flush(struct migrate *migrate)
{
    struct target_result results[TARGET_ROWS];
    int result = CLI_OK;
    if (migrate->n > 0) {
        result = target_take(&migrate->target, &migrate->arena, migrate->rows, migrate->n,
                             results);
    }
    for (uint32_t i = 0; i < migrate->n && result == CLI_OK; i++) {
        result = count_row(migrate, &migrate->rows[i], &results[i]);
    }
    migrate->n = 0;
    migrate->bytes = 0;
    arena_reset(&migrate->arena);
    progress_set_rows(&migrate->progress, (uint64_t)migrate->source->done,
                      (uint64_t)migrate->n_rows);
    return result;
}

static int source_failed(struct migrate *migrate, int status)
{
    const char *error = migrate->source->error;
    struct buf place = BUF_INIT;
    int result = output_fail(migrate->target.json, status, "%s: %s",
                             source_place(&place, migrate->from),
                             error[0] == '\0' ? status_text(status) : error);
    buf_release(&place);
    return result;
}

static int take_all(struct migrate *migrate)
{
    int result = CLI_OK;
    while (result == CLI_OK) {
        struct source_row *row = &migrate->rows[migrate->n];
        int status = migrate->source->next(migrate->source, &migrate->arena, row);
        if (status == BQ_NOT_FOUND) {
            return flush(migrate);
        }
        if (status != BQ_OK) {
            return source_failed(migrate, status);
        }
        migrate->n_rows++;
        if (row->wrong[0] != '\0') {
            result = aside_put(&migrate->aside, row, SLICE_NONE, BQ_MALFORMED, row->wrong);
        } else {
            migrate->n++;
        }
        migrate->bytes += row->text.len + sizeof *row;
        if (migrate->n == TARGET_ROWS || migrate->bytes > TARGET_BYTES) {
            result = result == CLI_OK ? flush(migrate) : result;
            if (result == CLI_OK && interrupt_seen()) {
                return output_fail(migrate->target.json, BQ_IO,
                                   "stopped after %lld rows; running it again goes on",
                                   (long long)migrate->n_rows);
            }
        }
    }
    return result;
}

/* ---- The report ------------------------------------------------------------------------------ */

static const char *const outcome_words[N_OUTCOMES] = {
    [SEED_INSERTED] = "new",    [SEED_REPLACED] = "replaced", [SEED_MERGED] = "merged",
    [SEED_KEPT] = "kept",       [SEED_DELETED] = "deleted",   [SEED_AGAIN] = "again",
    [SEED_REFUSED] = "refused"};

static void print_report(struct migrate *migrate, struct buf *out)
{
    int64_t took_us = clock_us() - migrate->began_us;
    struct buf place = BUF_INIT;
    output_begin(out);
    output_text(out, "from", slice_of(source_place(&place, migrate->from)));
    output_text(out, "to", slice_of(source_place(&place, migrate->target.to)));
    buf_release(&place);
    output_bool(out, "dry_run", migrate->target.dry_run);
    output_int(out, "rows", migrate->n_rows);
    for (int i = 0; i < N_OUTCOMES; i++) {
        output_int(out, outcome_words[i], migrate->n_documents[i]);
    }
    output_int(out, "devices", migrate->n_devices);
    output_int(out, "unreadable_times", migrate->n_bad_times);
    output_int(out, "rows_set_aside", migrate->aside.n_rows);
    output_int(out, "ms", took_us / 1000);
    output_int(out, "rows_per_second",
               took_us > 0 ? migrate->n_rows * 1000000 / took_us : migrate->n_rows);
    output_close(out);
}

static void print_text(struct migrate *migrate, struct buf *out)
{
    const int64_t *n = migrate->n_documents;
    buf_add_format(out,
                   "%s%lld rows: %lld documents new, %lld replaced by newer rows, %lld merged into "
                   "what is there, %lld kept as they are there, %lld deleted there, %lld from an "
                   "earlier run; %lld device rows",
                   migrate->target.dry_run ? "dry run, nothing is written: " : "",
                   (long long)migrate->n_rows, (long long)n[SEED_INSERTED],
                   (long long)n[SEED_REPLACED], (long long)n[SEED_MERGED], (long long)n[SEED_KEPT],
                   (long long)n[SEED_DELETED], (long long)n[SEED_AGAIN],
                   (long long)migrate->n_devices);
    if (migrate->n_bad_times > 0) {
        buf_add_format(out, "; %lld times could not be read", (long long)migrate->n_bad_times);
    }
    if (migrate->aside.n_rows + n[SEED_REFUSED] > 0) {
        buf_add_format(out, "; set aside: %lld rows, %lld documents, with their reasons in %s",
                       (long long)migrate->aside.n_rows, (long long)n[SEED_REFUSED],
                       migrate->aside.path);
    }
}

static int tell(struct migrate *migrate)
{
    struct buf line = BUF_INIT;
    bool json = migrate->target.json;
    int result = CLI_OK;
    print_report(migrate, &line);
    if (migrate->report != NULL) {
        result = output_exit(input_replace_file(json, migrate->report, buf_slice(&line)));
    }
    if (!json) {
        buf_clear(&line);
        print_text(migrate, &line);
    }
    int printed = output_line(json, &line);
    buf_release(&line);
    result = result == CLI_OK ? printed : result;
    bool aside = migrate->aside.n_rows + migrate->aside.n_documents > 0;
    return result == CLI_OK && aside ? CLI_PROBLEM : result;
}

static int run(struct migrate *migrate)
{
    int result = source_open(migrate->from, migrate->target.to, migrate->target.json,
                             &migrate->source);
    if (result != CLI_OK) {
        return result;
    }
    result = target_open(&migrate->target);
    if (result == CLI_OK) {
        interrupt_catch();
        migrate->began_us = clock_us();
        progress_begin(&migrate->progress, "migrate", (uint64_t)migrate->source->total);
        result = take_all(migrate);
        progress_end(&migrate->progress);
        int closed = aside_close(&migrate->aside);
        result = result == CLI_OK ? closed : result;
    }
    migrate->source->close(migrate->source);
    target_close(&migrate->target);
    return result == CLI_OK ? tell(migrate) : result;
}

int cmd_migrate(int argc, char **argv)
{
    static struct migrate migrate;
    struct target *target = &migrate.target;
    int n;
    const struct option_spec options[] = {
        OPTION_TEXT("from", "SOURCE", &migrate.from,
                    "a file (JSON lines or CSV) or -, postgres://..., or sqlite:PATH"),
        OPTION_TEXT("to", "STORE", &target->to,
                    STORE_PLACES " (made where it is not there), or a server's URL"),
        OPTION_FLAG("dry-run", &target->dry_run, "does everything and writes nothing"),
        OPTION_TEXT("set-aside", "FILE", &migrate.aside.path,
                    "takes the rows that cannot be taken (default migrate-set-aside.jsonl)"),
        OPTION_TEXT("report", "FILE", &migrate.report, "takes the report as JSON"),
        OPTION_TEXT("jwt-secret-file", "FILE", &target->secret_file,
                    "for a server: its secret, for a token of each user"),
        OPTION_FLAG("json", &target->json, "results as one JSON value a line"),
    };
    const struct command_line line = {
        "migrate", "",
        "Brings the rows of an older system (v1's or V2's tables, live or exported) or of another\n"
        "store in. What is there already is never overwritten: rows are merged into it as the\n"
        "policies say. Running it again changes nothing, and goes on where a run was stopped.\n"
        "Exit code 1: some rows were set aside.\n",
        options, OPTION_COUNT(options), 0, 0};
    migrate.aside.path = "migrate-set-aside.jsonl";
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    if (migrate.from == NULL || target->to == NULL) {
        fputs("bqsync: migrate: --from and --to are needed\n", stderr);
        return CLI_USAGE;
    }
    migrate.aside.json = target->json;
    arena_init(&migrate.arena);
    int result = run(&migrate);
    arena_release(&migrate.arena);
    return result;
}
