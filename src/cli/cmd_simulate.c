/* cmd_simulate.c - bqsync simulate: devices and a server in one thread, from one seed, with
 * everything going wrong (docs/reliability.md, "sim"). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/plant.h"
#include "bqsync.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "sim/sim.h"

#define SHRINK_TRIES 600u

struct simulate {
    int64_t seeds;
    int64_t from;
    int64_t devices;
    int64_t users;
    int64_t edits;
    const char *faults;
    const char *plant;
    const char *progress_file;
    bool trace;
    bool no_shrink;
    struct sim_config config;
    struct sim_result sums;
    uint64_t hash;
    uint64_t n_run;
    struct sim_config broken; /* the first that broke */
    struct sim_result result; /* of it, or of the seed under way */
};

/* ---- The command line ------------------------------------------------------------------------ */

static bool check(struct simulate *simulate)
{
    const char *wrong = NULL;
    struct slice unknown = SLICE_NONE;
    struct sim_config *config = &simulate->config;
    if (!sim_faults_parse(slice_of(simulate->faults), &config->faults, &unknown)) {
        fprintf(stderr, "bqsync: simulate: --faults: there is no fault \"%.*s\"\n",
                SLICE_FMT(unknown));
        return false;
    }
    if (simulate->seeds < 1 || simulate->from < 0) {
        wrong = "--seeds takes 1 or more, --from 0 or more";
    } else if (simulate->devices < 0 || simulate->devices > SIM_DEVICES) {
        wrong = "--devices takes 1 to 8, or 0: the seed says";
    } else if (simulate->users < 0 || simulate->users > SIM_USERS) {
        wrong = "--users takes 1 to 3, or 0: the seed says";
    } else if (simulate->edits < 0 || simulate->edits > 400) {
        wrong = "--edits takes 1 to 400, or 0: the seed says";
    } else if (simulate->plant != NULL && plant_choose(simulate->plant) == 0) {
        wrong = "--plant names no planted bug of this build (-DBQ_PLANTS=ON)";
    }
    if (wrong != NULL) {
        fprintf(stderr, "bqsync: simulate: %s\n", wrong);
    }
    config->devices = (unsigned)simulate->devices;
    config->users = (unsigned)simulate->users;
    config->edits = (unsigned)simulate->edits;
    return wrong == NULL;
}

/* ---- Running --------------------------------------------------------------------------------- */

static void add_up(struct simulate *simulate)
{
    const struct sim_result *result = &simulate->result;
    struct sim_result *sums = &simulate->sums;
    simulate->n_run++;
    simulate->hash = (simulate->hash ^ result->hash) * UINT64_C(0x9e3779b97f4a7c15);
    sums->n_events += result->n_events;
    sums->n_merged += result->n_merged;
    sums->n_commits += result->n_commits;
    for (int f = 0; f < SIM_FAULT_N; f++) {
        sums->faults[f] += result->faults[f];
    }
    if (result->drained_ms > sums->drained_ms) {
        sums->drained_ms = result->drained_ms;
    }
}

static void write_progress(const struct simulate *simulate)
{
    FILE *stream = simulate->progress_file == NULL ? NULL : fopen(simulate->progress_file, "w");
    if (stream != NULL) {
        fprintf(stream, "%" PRIu64 " %" PRId64 "\n", simulate->n_run, simulate->seeds);
        (void)fclose(stream);
    }
}

static void print_line(void *cls, const char *text)
{
    (void)cls;
    puts(text);
}

/* Seed after seed until one breaks. */
static int run(struct simulate *simulate)
{
    struct progress progress;
    int status = BQ_OK;
    progress_begin(&progress, "simulate", (uint64_t)simulate->seeds);
    for (int64_t i = 0; i < simulate->seeds && status == BQ_OK && !interrupt_seen(); i++) {
        simulate->config.seed = (uint64_t)(simulate->from + i);
        status = sim_run(&simulate->config, &simulate->result);
        add_up(simulate);
        progress_set(&progress, simulate->n_run);
        if (i % 256 == 0) {
            write_progress(simulate);
        }
        if (simulate->result.verdict != SIM_GOOD) {
            simulate->broken = simulate->config;
            break;
        }
    }
    write_progress(simulate);
    progress_end(&progress);
    return status;
}

/* ---- Telling --------------------------------------------------------------------------------- */

/* The last events of the failing seed, and a smaller one that fails too. */
static int explain(struct simulate *simulate)
{
    struct sim_trace *trace = mem_zalloc(1, sizeof *trace);
    struct sim_config config = simulate->broken;
    struct sim_result result;
    struct buf text = BUF_INIT;
    if (trace == NULL) {
        return BQ_NOMEM;
    }
    config.trace = trace;
    int status = sim_run(&config, &result);
    for (unsigned i = 0; i < trace->n && !simulate->trace; i++) {
        puts(trace->lines[(trace->first + i) % SIM_TRACE_LINES]);
    }
    mem_free(trace);
    printf("seed %" PRIu64 ", %u devices, %u users, %u edits: %s: %s\n", config.seed,
           result.devices, result.users, result.edits, sim_verdict_word(result.verdict),
           result.what);
    config.trace = NULL;
    if (!simulate->no_shrink) {
        sim_shrink(&config, SHRINK_TRIES);
        sim_command_print(&text, &config);
        printf("smaller: %s%s%s\n", text.failed ? "" : text.ptr,
               simulate->plant == NULL ? "" : " --plant ",
               simulate->plant == NULL ? "" : simulate->plant);
    }
    buf_release(&text);
    return status;
}

static void print_sums(const struct simulate *simulate)
{
    const struct sim_result *sums = &simulate->sums;
    printf("hash %016" PRIx64 ", %" PRIu64 " commits, %" PRIu64
           " merged, drained in at most %" PRId64 " s\n",
           simulate->hash, sums->n_commits, sums->n_merged, sums->drained_ms / 1000);
    printf("sim: %" PRIu64 " seeds, %" PRIu64 " events, faults {", simulate->n_run, sums->n_events);
    for (int f = 0; f < SIM_FAULT_N; f++) {
        printf("%s%s %" PRIu64, f == 0 ? "" : ", ", sim_fault_word((enum sim_fault)f),
               sums->faults[f]);
    }
    printf("}:");
    for (int v = SIM_LOST; v < SIM_VERDICT_N; v++) {
        bool is_this = simulate->result.verdict == (enum sim_verdict)v;
        if (v != SIM_BROKEN || is_this) {
            printf("%s %s %d", v == SIM_LOST ? "" : ",", sim_verdict_word((enum sim_verdict)v),
                   is_this ? 1 : 0);
        }
    }
    printf("\n");
}

/* A kind of fault that did not fire proves nothing. */
static bool all_fired(const struct simulate *simulate)
{
    bool fired = true;
    for (int f = 0; f < SIM_FAULT_N; f++) {
        enum sim_fault fault = (enum sim_fault)f;
        uint64_t least = sim_fault_least(fault, simulate->n_run);
        if (simulate->config.faults == SIM_FAULTS_ALL && simulate->sums.faults[f] < least) {
            printf("%s fired %" PRIu64 " times, at least %" PRIu64 " are due\n",
                   sim_fault_word(fault), simulate->sums.faults[f], least);
            fired = false;
        }
    }
    return fired;
}

int cmd_simulate(int argc, char **argv)
{
    struct simulate simulate = {.seeds = 1000, .from = 1, .faults = "all"};
    struct sim_trace *trace = NULL;
    int n;
    const struct option_spec options[] = {
        OPTION_NUMBER("seeds", "N", &simulate.seeds, "how many (1000)"),
        OPTION_NUMBER("from", "SEED", &simulate.from, "the first (1)"),
        OPTION_NUMBER("devices", "N", &simulate.devices, "1 to 8 (0: the seed says)"),
        OPTION_NUMBER("users", "N", &simulate.users, "1 to 3 (0: the seed says)"),
        OPTION_NUMBER("edits", "N", &simulate.edits, "that apps make (0: the seed says)"),
        OPTION_TEXT("faults", "LIST", &simulate.faults, "which may happen: all, none, drop,crash"),
        OPTION_TEXT("plant", "NAME", &simulate.plant, "with this planted bug"),
        OPTION_FLAG("trace", &simulate.trace, "prints each event"),
        OPTION_FLAG("no-shrink", &simulate.no_shrink, "does not look for a smaller failing one"),
        OPTION_TEXT("progress", "FILE", &simulate.progress_file, "takes \"DONE TOTAL\""),
    };
    const struct command_line line = {
        "simulate",
        "",
        "Runs devices and a server in one thread and in virtual time, from one seed each, with\n"
        "lost, late and doubled messages, crashes, restored files and stores; checks that nothing\n"
        "acknowledged is lost, nothing counts twice and all devices end equal. A seed that fails\n"
        "is printed with its last 200 events and a smaller command line that fails too.\n",
        options,
        OPTION_COUNT(options),
        0,
        0};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    simulate.config.size = sizeof simulate.config;
    if (!check(&simulate)) {
        return CLI_USAGE;
    }
    if (simulate.trace) {
        trace = mem_zalloc(1, sizeof *trace);
        if (trace == NULL) {
            return output_fail(false, BQ_NOMEM, "%s", bq_strerror(BQ_NOMEM));
        }
        trace->line = print_line;
        simulate.config.trace = trace;
    }
    interrupt_catch();
    int status = run(&simulate);
    bool broken = simulate.result.verdict != SIM_GOOD;
    if (status == BQ_OK && broken) {
        status = explain(&simulate);
    }
    mem_free(trace);
    if (status != BQ_OK) {
        return output_fail(false, status, "%s", bq_strerror(status));
    }
    bool fired = broken || all_fired(&simulate);
    print_sums(&simulate);
    int end = output_end();
    return broken || !fired ? CLI_PROBLEM : end;
}
