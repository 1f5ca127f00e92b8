/* cmd_serve.c - `bqsync serve`: the server in the foreground, until SIGTERM or SIGINT. */
#include "cli/commands.h"
#include "cli/output.h"
#include "server/routes.h"
#include "server/server.h"

#include "base/status.h"
#include "store/open.h"
#include "store/postgres.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

extern char **environ;

/* A line in one write, so that lines of several threads do not mix. */
static void to_stderr(void *cls, const char *line, size_t len)
{
    (void)cls;
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, line, len);
        if (n < 0 && errno != EINTR) {
            return;
        }
        line += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

static int print_help(void)
{
    struct buf text = BUF_INIT;
    buf_add_text(&text, "bqsync serve [OPTION]...\n\n"
                        "Serves the documents of one app over HTTP until SIGTERM. Each option can\n"
                        "also be set as BQSYNC_<NAME> in the environment or in the JSON file\n"
                        "named by --config; see bqsync.conf(5).\n\n");
    config_help(&text);
    fwrite(text.ptr, 1, text.len, stdout);
    buf_release(&text);
    return CLI_OK;
}

static int print_routes(void)
{
    struct buf text = BUF_INIT;
    routes_print(&text);
    bool good = !text.failed && fwrite(text.ptr, 1, text.len, stdout) == text.len;
    buf_release(&text);
    return good ? CLI_OK : CLI_PROBLEM;
}

/* One step a line; nothing where the schema is up to date. */
static int print_schema_steps(const struct server_config *config)
{
    char error[512] = "";
    struct buf text = BUF_INIT;
    const struct store_postgres_config store = {.size = sizeof store, .url = config->store};
    if (!store_postgres_is_url(config->store)) {
        output_fail(false, BQ_INVALID, "--schema-dry-run wants --store postgres://...");
        return CLI_USAGE;
    }
    int status = store_postgres_due(&store, &text, error, sizeof error);
    if (status == BQ_OK) {
        fwrite(text.ptr == NULL ? "" : text.ptr, 1, text.len, stdout);
    } else {
        output_fail(false, status, "%s", error);
    }
    buf_release(&text);
    return status == BQ_OK ? CLI_OK : output_exit(status);
}

/* All threads inherit the mask: only sigwait() below sees these. */
static void block_signals(sigset_t *out)
{
    sigemptyset(out);
    sigaddset(out, SIGTERM);
    sigaddset(out, SIGINT);
    pthread_sigmask(SIG_BLOCK, out, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
}

static int serve(const struct server_config *config)
{
    struct log log = {.sink = to_stderr};
    struct server *server;
    sigset_t signals;
    char error[512] = "";
    int signal_number;
    if (!log_level_parse(slice_of(config->log_level), &log.level)) {
        output_fail(false, BQ_INVALID, "--log-level is error, warn, info or debug");
        return CLI_USAGE;
    }
    block_signals(&signals);
    int status = server_start(config, &log, NULL, &server, error, sizeof error);
    if (status != BQ_OK) {
        output_fail(false, status, "%s", error);
        return status == BQ_INVALID ? CLI_USAGE : output_exit(status);
    }
    struct buf place = BUF_INIT;
    store_place_print(&place, config->store);
    printf("bqsync: listening on port %u (%s), store %.*s\n", server_port(server), config->listen,
           SLICE_FMT(buf_slice(&place)));
    buf_release(&place);
    fflush(stdout);
    while (sigwait(&signals, &signal_number) != 0) {
    }
    /* A second signal ends the process at once: the store is safe on that. */
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
    return server_stop(server) ? CLI_OK : CLI_PROBLEM;
}

int cmd_serve(int argc, char **argv)
{
    struct arena arena;
    struct server_config config;
    char error[512] = "";
    int code = CLI_USAGE;
    (void)argc;
    arena_init(&arena);
    int status = config_read(&arena, argv, environ, &config, error, sizeof error);
    if (status != BQ_OK) {
        output_fail(false, status, "%s", error);
    } else {
        code = config.help             ? print_help()
               : config.routes         ? print_routes()
               : config.schema_dry_run ? print_schema_steps(&config)
                                       : serve(&config);
    }
    arena_release(&arena);
    return code;
}
