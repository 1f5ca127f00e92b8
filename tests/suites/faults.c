/* faults.c - the n-th call of libc fails, for every n, in the client, in the server, and while
 * either opens what a crash left behind.
 *
 * The calls on files and sockets of everything in the process are taken by libfault_shim.so
 * (tests/lib/fault_shim.h), so SQLite, libcurl and libmicrohttpd meet the faults too. The client is
 * libbqsync in this process; the server is a real `bqsync serve`.
 *
 * An *operation* is run once without a fault, which counts its calls of each class; then once for
 * each *site*: the n-th call of a class fails with an errno or moves half of the bytes, once or
 * from then on. After each site the faults are off and it must go on: what was acknowledged is
 * there, nothing is there that was not asked for, and the next edit gets through. A sync that
 * failed must not have been acknowledged; an interrupted or short call must not be noticed at all.
 *
 * Small: a few sites of each kind from a random offset. BQ_LONG: all.
 * `faults bite`: failing syncs in the server alone; 0 when one was acknowledged (BQ_PLANT). */
#include "bqsync.h"

#include "base/rng.h"
#include "child.h"
#include "fault_shim.h"
#include "http_client.h"
#include "old_app.h"
#include "server_process.h"
#include "token.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define USER "aaaaaaaa-0000-4000-8000-000000000001"
#define PATIENCE_MS 20000
#define SHORT_MS 50
#define SAMPLE 3u    /* sites of a kind in the small size */
#define N_MAX 2000u  /* no operation has as many calls of a class */
#define FEW_FILES 3u /* left to a process at its limit */
#define CROWD 24u    /* connections that come to a server at its limit */

extern char **environ;

/* ---- Kinds of faults ------------------------------------------------------------------------- */

struct fault {
    enum fault_shim_call call;
    int how;
    uint64_t repeat;
    const char *word;
};

#define ONCE 1
#define EVER FAULT_SHIM_FOREVER
#define SHORT FAULT_SHIM_SHORT

#define FILE_FAULTS                                                                                \
    {FAULT_SHIM_OPEN, EMFILE, ONCE, "EMFILE"}, {FAULT_SHIM_OPEN, EMFILE, EVER, "EMFILE"},          \
        {FAULT_SHIM_OPEN, EIO, ONCE, "EIO"}, {FAULT_SHIM_OPEN, EINTR, ONCE, "EINTR"},              \
        {FAULT_SHIM_READ, EIO, ONCE, "EIO"}, {FAULT_SHIM_READ, EIO, EVER, "EIO"},                  \
        {FAULT_SHIM_READ, EINTR, ONCE, "EINTR"}, {FAULT_SHIM_READ, SHORT, ONCE, "short"},          \
        {FAULT_SHIM_WRITE, EIO, ONCE, "EIO"}, {FAULT_SHIM_WRITE, EIO, EVER, "EIO"},                \
        {FAULT_SHIM_WRITE, ENOSPC, ONCE, "ENOSPC"}, {FAULT_SHIM_WRITE, ENOSPC, EVER, "ENOSPC"},    \
        {FAULT_SHIM_WRITE, EINTR, ONCE, "EINTR"}, {FAULT_SHIM_WRITE, SHORT, ONCE, "short"},        \
        {FAULT_SHIM_SYNC, EIO, ONCE, "sync EIO"}, {FAULT_SHIM_SYNC, EIO, 2, "sync EIO"},           \
        {FAULT_SHIM_SYNC, EIO, EVER, "sync EIO"}, {FAULT_SHIM_SYNC, ENOSPC, ONCE, "ENOSPC"},       \
        {FAULT_SHIM_TRUNCATE, EIO, ONCE, "EIO"}, {FAULT_SHIM_TRUNCATE, EIO, EVER, "EIO"},          \
        {FAULT_SHIM_MAP, ENOMEM, ONCE, "ENOMEM"},                                                  \
    {                                                                                              \
        FAULT_SHIM_MAP, ENOMEM, EVER, "ENOMEM"                                                     \
    }

#define STREAM_FAULTS                                                                              \
    {FAULT_SHIM_SEND, EINTR, ONCE, "EINTR"}, {FAULT_SHIM_SEND, SHORT, ONCE, "short"},              \
        {FAULT_SHIM_SEND, ECONNRESET, ONCE, "reset"}, {FAULT_SHIM_RECV, EINTR, ONCE, "EINTR"},     \
        {FAULT_SHIM_RECV, SHORT, ONCE, "short"}, {FAULT_SHIM_RECV, SHORT, EVER, "short"},          \
        {FAULT_SHIM_RECV, ECONNRESET, ONCE, "reset"},                                              \
    {                                                                                              \
        FAULT_SHIM_POLL, EINTR, ONCE, "EINTR"                                                      \
    }

/* Not in the server for ever: behind a short send libmicrohttpd waits for the edge that epoll gives
 * when a full socket has room again, and this one was never full. */
static const struct fault client_faults[] = {
    FILE_FAULTS,
    STREAM_FAULTS,
    {FAULT_SHIM_SEND, SHORT, EVER, "short"},
    {FAULT_SHIM_SOCKET, EMFILE, ONCE, "EMFILE"},
    {FAULT_SHIM_SOCKET, EMFILE, EVER, "EMFILE"},
    {FAULT_SHIM_CONNECT, ECONNREFUSED, ONCE, "reset"},
    {FAULT_SHIM_CONNECT, ENETUNREACH, EVER, "reset"},
    {FAULT_SHIM_EVENT, EMFILE, ONCE, "EMFILE"},
    {FAULT_SHIM_EVENT, EMFILE, EVER, "EMFILE"},
};

static const struct fault server_faults[] = {
    FILE_FAULTS,
    STREAM_FAULTS,
    {FAULT_SHIM_ACCEPT, EMFILE, ONCE, "EMFILE"},
    {FAULT_SHIM_ACCEPT, ENFILE, EVER, "EMFILE"},
    {FAULT_SHIM_ACCEPT, EINTR, ONCE, "EINTR"},
    {FAULT_SHIM_ACCEPT, ECONNABORTED, ONCE, "reset"},
    {FAULT_SHIM_SOCKET, EMFILE, EVER, "EMFILE"},
    {FAULT_SHIM_EVENT, EMFILE, EVER, "EMFILE"},
};

static bool is_transparent(const struct fault *fault)
{
    return fault->how == EINTR || fault->how == FAULT_SHIM_SHORT;
}

/* ---- The world ------------------------------------------------------------------------------- */

enum place { CLIENT, CLIENT_RECOVERY, SERVER, SERVER_RECOVERY, PLACES };

static const char *const place_words[PLACES] = {"client", "client-recovery", "server",
                                                "server-recovery"};
static const char *const kinds[] = {"EIO",   "sync EIO", "ENOSPC", "EMFILE",
                                    "EINTR", "short",    "reset",  "ENOMEM"};
#define KINDS (sizeof kinds / sizeof kinds[0])

struct world {
    struct scratch files;
    struct fault_shim *mine;   /* of this process: the client */
    struct fault_shim *theirs; /* of the server */
    struct server_process server;
    struct rng rng;
    char *token;
    struct old_app app;
    bool every;
    /* The client's file. */
    char path[256];
    char crashed[256];
    struct bq *bq;
    int64_t acked; /* edits that were said to be durable */
    int64_t tried; /* and those whose outcome is unknown */
    /* The server's document. */
    int64_t n_acked;
    int64_t n_tried;
    /* What was done. */
    unsigned sites[PLACES][KINDS];
    uint64_t n_possible;
    unsigned n_sites;
    unsigned n_recovered;
    unsigned n_unsound; /* acknowledged after a failed sync */
    unsigned n_noticed; /* interrupted or short, and not passed over */
    unsigned n_wrong;
};

static struct world world;

static void count_site(struct world *w, enum place place, const char *word)
{
    size_t i = 0;
    while (strcmp(kinds[i], word) != 0) {
        i++;
        assert_true(i < KINDS);
    }
    w->sites[place][i]++;
    w->n_sites++;
}

static void tell(const char *what, enum place place, const char *operation,
                 const struct fault *fault, uint64_t n)
{
    printf("faults: %s: %s, %s, %s no. %llu %s%s\n", what, place_words[place], operation,
           fault_shim_word(fault->call), (unsigned long long)n, fault->word,
           fault->repeat == 1 ? "" : " and on");
}

/* Which n of `total` are run: all, or a few from a random one on. *out_step is the stride. */
static uint64_t first_site(struct world *w, uint64_t total, uint64_t *out_step)
{
    *out_step = w->every || total <= SAMPLE ? 1 : (total + SAMPLE - 1) / SAMPLE;
    return *out_step == 1 ? 1 : 1 + rng_below(&w->rng, *out_step);
}

/* ---- The client ------------------------------------------------------------------------------ */

static int try_open(struct world *w, char error[BQ_ERROR_TEXT])
{
    struct bq_config config = BQ_CONFIG_INIT;
    config.path = w->path;
    config.url = w->server.url;
    config.flags = BQ_MANUAL;
    config.debounce_ms = 60000;
    config.timeout_ms = 2000;
    config.error_text = error;
    error[0] = '\0';
    return bq_open(&config, &w->bq);
}

static int give_token(struct world *w)
{
    char user[37];
    bq_user(w->bq, user);
    return user[0] == '\0' ? bq_sign_in(w->bq, w->token, BQ_GUEST_MERGE, NULL)
                           : bq_set_token(w->bq, w->token);
}

static void open_client(struct world *w)
{
    char error[BQ_ERROR_TEXT];
    int status = try_open(w, error);
    if (status != BQ_OK) {
        fail_msg("the client's file does not open: %s", error);
    }
    assert_int_equal(give_token(w), BQ_OK);
}

static void close_client(struct world *w)
{
    bq_close(w->bq);
    w->bq = NULL;
}

static int increment(struct world *w)
{
    int status = bq_increment(w->bq, "game_stats", "incorrectAnswers", "1", 0);
    w->tried++;
    if (status == BQ_OK) {
        w->acked++;
    }
    return status;
}

/* -1: it cannot be read. */
static int64_t sum_of(struct bq *bq)
{
    struct bq_game_stats stats = {.size = sizeof stats};
    return bq_game_stats_read(bq, &stats) == BQ_OK ? stats.incorrect_answers : -1;
}

/* Each call tries at once, whatever pause the client is in. */
static int flush(struct bq *bq)
{
    int status = BQ_TIMEOUT;
    for (int i = 0; i < PATIENCE_MS / SHORT_MS && status == BQ_TIMEOUT; i++) {
        status = bq_flush(bq, SHORT_MS);
    }
    return status;
}

/* A number in a document as the server has it; 0 where there is none. */
static int64_t number_on_server(struct world *w, const char *key, const char *member)
{
    struct old_answer answer;
    int64_t number = 0;
    old_app_call(&w->app, "get_user_sync_data", "{\"p_user_id\":\"" USER "\"}", &answer);
    assert_int_equal(answer.http_status, 200);
    for (uint32_t i = 0; i < answer.body.count; i++) {
        const struct json_value *name = json_get(&answer.body.items[i], "data_key");
        const struct json_value *data = json_get(&answer.body.items[i], "data");
        if (json_is(name, JSON_STRING) && slice_is(json_text(name), key)) {
            assert_true(json_to_int(json_get(data, member), &number));
        }
    }
    old_app_release(&answer);
    return number;
}

/* An operation under a fault answers a status. */
static int do_open(struct world *w)
{
    char error[BQ_ERROR_TEXT];
    int status = try_open(w, error);
    if (status != BQ_OK) {
        assert_true(error[0] != '\0');
        return status;
    }
    status = give_token(w);
    return status == BQ_OK ? increment(w) : status;
}

static int do_write(struct world *w)
{
    return increment(w);
}

static int do_flush(struct world *w)
{
    return bq_flush(w->bq, 400);
}

static void prepare_closed(struct world *w)
{
    close_client(w);
}

static void prepare_open(struct world *w)
{
    (void)w;
}

static void prepare_edit(struct world *w)
{
    assert_int_equal(increment(w), BQ_OK);
}

/* What stays of the file when the process is killed: copied while it is open, by another process,
 * for a descriptor that this one closes would drop SQLite's locks. */
static void copy(const char *from, const char *to)
{
    static const char *const ends[] = {"", "-wal"};
    for (int i = 0; i < 2; i++) {
        char source[280], target[280];
        char *const arguments[] = {(char *)(uintptr_t) "cp", (char *)(uintptr_t) "-f", source,
                                   target, NULL};
        pid_t pid;
        int result = -1;
        (void)snprintf(source, sizeof source, "%s%s", from, ends[i]);
        (void)snprintf(target, sizeof target, "%s%s", to, ends[i]);
        assert_int_equal(posix_spawnp(&pid, "cp", NULL, NULL, arguments, environ), 0);
        while (waitpid(pid, &result, 0) < 0 && errno == EINTR) {
        }
        assert_int_equal(result, 0);
    }
}

static void prepare_crashed(struct world *w)
{
    close_client(w);
    open_client(w);
    assert_int_equal(increment(w), BQ_OK);
    copy(w->path, w->crashed);
    close_client(w);
    copy(w->crashed, w->path);
}

static const struct client_operation {
    const char *word;
    enum place place;
    void (*prepare)(struct world *w);
    int (*run)(struct world *w);
} client_operations[] = {
    {"open", CLIENT, prepare_closed, do_open},
    {"write", CLIENT, prepare_open, do_write},
    {"flush", CLIENT, prepare_edit, do_flush},
    {"open after a crash", CLIENT_RECOVERY, prepare_crashed, do_open},
};

/* Faults are off: the file opens, holds what was acknowledged and at most what was tried, takes the
 * next edit, and the server comes to the same. */
static bool client_recovers(struct world *w)
{
    if (w->bq == NULL) {
        open_client(w);
    } else if (give_token(w) != BQ_OK) {
        return false;
    }
    int64_t sum = sum_of(w->bq);
    if (sum < w->acked || sum > w->tried) {
        printf("faults: %lld acknowledged, %lld tried, the file holds %lld\n", (long long)w->acked,
               (long long)w->tried, (long long)sum);
        return false;
    }
    w->acked = sum;
    w->tried = sum;
    if (increment(w) != BQ_OK || flush(w->bq) != BQ_OK) {
        char text[BQ_ERROR_TEXT];
        bq_last_error(w->bq, text, sizeof text);
        printf("faults: does not go on: %s\n", text);
        return false;
    }
    return sum_of(w->bq) == w->acked &&
           number_on_server(w, "game_stats", "incorrectAnswers") == w->acked;
}

/* One site; false where the operation was over before it. */
static bool client_site(struct world *w, const struct client_operation *operation,
                        const struct fault *fault, uint64_t n)
{
    operation->prepare(w);
    fault_shim_set(w->mine, fault->call, fault->how, n, fault->repeat);
    int status = operation->run(w);
    bool hit = fault_shim_hits(w->mine, fault->call) > 0;
    fault_shim_off(w->mine);
    if (hit) {
        count_site(w, operation->place, fault->word);
        bool synced = fault->call != FAULT_SHIM_SYNC || operation->run != do_write;
        if (!synced && status == BQ_OK) {
            w->n_unsound++;
            tell("acknowledged after a failed sync", operation->place, operation->word, fault, n);
        }
        if (is_transparent(fault) && status != BQ_OK) {
            w->n_noticed++;
            tell(bq_status_code(status), operation->place, operation->word, fault, n);
        }
    } else if (status != BQ_OK) {
        tell("fails without a fault", operation->place, operation->word, fault, n);
        w->n_wrong++;
    }
    bool recovered = client_recovers(w);
    w->n_recovered += hit && recovered ? 1 : 0;
    if (!recovered) {
        tell("does not recover", operation->place, operation->word, fault, n);
        w->n_wrong++;
        assert_true(false);
    }
    return hit;
}

static void walk_client(struct world *w, const struct client_operation *operation)
{
    uint64_t totals[FAULT_SHIM_CALLS];
    operation->prepare(w);
    for (int i = 0; i < FAULT_SHIM_CALLS; i++) {
        fault_shim_set(w->mine, (enum fault_shim_call)i, 0, 0, 0);
    }
    assert_int_equal(operation->run(w), BQ_OK);
    for (int i = 0; i < FAULT_SHIM_CALLS; i++) {
        totals[i] = fault_shim_calls(w->mine, (enum fault_shim_call)i);
    }
    assert_true(client_recovers(w));
    for (size_t i = 0; i < sizeof client_faults / sizeof client_faults[0]; i++) {
        uint64_t total = totals[client_faults[i].call], step;
        w->n_possible += total;
        uint64_t n = first_site(w, total, &step);
        while (n <= total && client_site(w, operation, &client_faults[i], n)) {
            n += step;
        }
    }
}

static void a_failing_call_in_the_client_is_told_and_got_over(void **state)
{
    struct world *w = &world;
    (void)state;
    open_client(w);
    assert_int_equal(increment(w), BQ_OK);
    assert_int_equal(flush(w->bq), BQ_OK);
    for (size_t i = 0; i < sizeof client_operations / sizeof client_operations[0]; i++) {
        walk_client(w, &client_operations[i]);
    }
    close_client(w);
}

/* Files that a process has open. */
static unsigned open_files(pid_t pid)
{
    char path[64];
    unsigned n = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *folder = opendir(path);
    assert_non_null(folder);
    while (readdir(folder) != NULL) {
        n++;
    }
    (void)closedir(folder);
    return n - 2;
}

/* The real limit, not an errno of ours: no file, then a file but no socket, and so on. */
static void a_client_at_its_limit_of_files_says_so_and_goes_on(void **state)
{
    static const struct fault fault = {FAULT_SHIM_OPEN, EMFILE, EVER, "EMFILE"};
    struct world *w = &world;
    struct rlimit before;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    unsigned n_files = open_files(getpid()) + 1;
    unsigned n_refused = 0;
    for (unsigned room = 0; room < 16; room++) {
        struct rlimit tight = {n_files + room, before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
        int status = do_open(w);
        status = status == BQ_OK ? bq_flush(w->bq, SHORT_MS) : status;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        n_refused += status != BQ_OK ? 1 : 0;
        count_site(w, CLIENT, "EMFILE");
        bool recovered = client_recovers(w);
        w->n_recovered += recovered ? 1 : 0;
        if (!recovered) {
            tell("does not recover", CLIENT, "the limit of files", &fault, room);
            w->n_wrong++;
        }
        close_client(w);
    }
    w->n_possible += 16;
    assert_in_range(n_refused, 3, 15);
}

/* ---- The server ------------------------------------------------------------------------------ */

/* Writes the next number on an open connection; the HTTP status, 0 for no answer. Where the server
 * takes no connections the faults are to be off before the answer is waited for. */
static int write_on(struct world *w, int fd, bool spare)
{
    char data[64];
    struct buf body = BUF_INIT, text = BUF_INIT;
    struct http_answer answer;
    w->n_tried++;
    (void)snprintf(data, sizeof data, "{\"n\":%lld}", (long long)w->n_tried);
    old_app_upsert_body(&w->app, "numbers", data, -1, &body);
    buf_add_text(&text, "POST /rest/v1/rpc/atomic_sync_upsert HTTP/1.1\r\nHost: here\r\n"
                        "Content-Type: application/json\r\nAuthorization: Bearer ");
    buf_add_text(&text, w->token);
    buf_add_format(&text, "\r\nContent-Length: %zu\r\n\r\n", body.len);
    buf_add_slice(&text, buf_slice(&body));
    (void)http_write(fd, text.ptr, text.len);
    if (spare) {
        server_process_breathe(SHORT_MS);
        fault_shim_off(w->theirs);
    }
    http_read(fd, false, &answer);
    int status = answer.status;
    bool good = status == 200 && strstr(answer.body, "\"success\":true") != NULL;
    w->n_acked = good ? w->n_tried : w->n_acked;
    buf_release(&body);
    buf_release(&text);
    http_release(&answer);
    return good || status != 200 ? status : -1;
}

static int write_spared(struct world *w, bool spare)
{
    int fd = http_connect(w->server.port);
    int status = fd < 0 ? 0 : write_on(w, fd, spare);
    if (fd >= 0) {
        (void)close(fd);
    }
    return status;
}

static int write_number(struct world *w)
{
    return write_spared(w, false);
}

/* Faults are off: it serves again, holds what it acknowledged or a later number that it was sent.
 */
static bool server_recovers(struct world *w)
{
    int64_t acked = w->n_acked;
    int64_t tried = w->n_tried;
    int64_t held = -1;
    for (int waited = 0; waited < PATIENCE_MS && held < 0; waited += SHORT_MS) {
        struct http_answer answer;
        http_rpc(w->server.port, "get_user_sync_data", w->token, "{\"p_user_id\":\"" USER "\"}",
                 &answer);
        held = answer.status == 200 ? number_on_server(w, "numbers", "n") : -1;
        http_release(&answer);
        if (held < 0) {
            server_process_breathe(SHORT_MS);
        }
    }
    if (held < acked || held > tried) {
        printf("faults: %lld acknowledged, %lld tried, the server holds %lld\n", (long long)acked,
               (long long)tried, (long long)held);
        return false;
    }
    for (int waited = 0; waited < PATIENCE_MS; waited += SHORT_MS) {
        if (write_number(w) == 200) {
            return waitpid(w->server.pid, NULL, WNOHANG) == 0;
        }
        server_process_breathe(SHORT_MS);
    }
    return false;
}

/* One site of a request. Where `with_sync` the request's own sync fails first, so that the calls
 * are those of closing and opening the store again. */
static bool server_site(struct world *w, const struct fault *fault, uint64_t n, bool with_sync)
{
    const char *operation = with_sync ? "opening the store again" : "a request";
    fault_shim_set(w->theirs, fault->call, fault->how, n, fault->repeat);
    if (with_sync) {
        fault_shim_set(w->theirs, FAULT_SHIM_SYNC, EIO, 1, 1);
    }
    uint64_t opened = fault_shim_calls(w->theirs, FAULT_SHIM_OPEN);
    int status = write_spared(w, fault->call == FAULT_SHIM_ACCEPT);
    bool sync_failed = fault_shim_hits(w->theirs, FAULT_SHIM_SYNC) > 0 &&
                       (with_sync || fault->call == FAULT_SHIM_SYNC);
    /* The store is opened again behind the answer. */
    for (int waited = 0; with_sync && waited < 400 && fault_shim_hits(w->theirs, fault->call) == 0;
         waited += 10) {
        server_process_breathe(10);
    }
    bool hit = fault_shim_hits(w->theirs, fault->call) > 0;
    fault_shim_off(w->theirs);
    if (sync_failed && status == 200) {
        w->n_unsound++;
        tell("acknowledged after a failed sync", SERVER, operation, fault, n);
    }
    if (hit && !with_sync && is_transparent(fault) && status != 200) {
        w->n_noticed++;
        printf("faults: status %d: ", status);
        tell("noticed", SERVER, operation, fault, n);
    }
    bool recovered = server_recovers(w);
    if (sync_failed && recovered && fault_shim_calls(w->theirs, FAULT_SHIM_OPEN) == opened) {
        tell("not opened again", SERVER, operation, fault, n);
        w->n_wrong++;
    }
    if (hit) {
        count_site(w, with_sync ? SERVER_RECOVERY : SERVER, fault->word);
        w->n_recovered += recovered ? 1 : 0;
    }
    if (!recovered) {
        tell("does not recover", SERVER, operation, fault, n);
        w->n_wrong++;
        assert_true(false);
    }
    return hit;
}

static void walk_server(struct world *w, bool with_sync)
{
    uint64_t totals[FAULT_SHIM_CALLS];
    for (int i = 0; i < FAULT_SHIM_CALLS; i++) {
        fault_shim_set(w->theirs, (enum fault_shim_call)i, 0, 0, 0);
    }
    if (with_sync) {
        fault_shim_set(w->theirs, FAULT_SHIM_SYNC, EIO, 1, 1);
    }
    (void)write_number(w);
    assert_true(!with_sync || server_recovers(w));
    for (int i = 0; i < FAULT_SHIM_CALLS; i++) {
        totals[i] = fault_shim_calls(w->theirs, (enum fault_shim_call)i);
    }
    for (size_t i = 0; i < sizeof server_faults / sizeof server_faults[0]; i++) {
        const struct fault *fault = &server_faults[i];
        bool of_files = fault->call <= FAULT_SHIM_MAP;
        if (with_sync && (!of_files || fault->call == FAULT_SHIM_SYNC)) {
            continue;
        }
        uint64_t total = totals[fault->call], step;
        w->n_possible += total;
        uint64_t n = first_site(w, total, &step);
        while (n <= total && server_site(w, fault, n, with_sync)) {
            n += step;
        }
    }
}

static void a_failing_call_in_the_server_is_answered_and_got_over(void **state)
{
    (void)state;
    walk_server(&world, false);
}

static void a_failing_call_while_the_store_is_opened_again_is_got_over(void **state)
{
    (void)state;
    walk_server(&world, true);
}

/* ---- The server starts on what a crash left -------------------------------------------------- */

/* Starts it with the faults that are armed; true where it served. It must not end by a signal, nor
 * without a sentence. */
static bool start_once(struct world *w)
{
    char store[300], secret[256], port_file[256], path[256];
    struct child child;
    (void)snprintf(store, sizeof store, "sqlite:%s",
                   scratch_path(&w->server.scratch, "server.db", path, sizeof path));
    server_process_secret(&w->server, secret, sizeof secret);
    scratch_path(&w->files, "port", port_file, sizeof port_file);
    char *const arguments[] = {child_bqsync(),
                               (char *)(uintptr_t) "serve",
                               (char *)(uintptr_t) "--listen",
                               (char *)(uintptr_t) "127.0.0.1:0",
                               (char *)(uintptr_t) "--port-file",
                               port_file,
                               (char *)(uintptr_t) "--store",
                               store,
                               (char *)(uintptr_t) "--jwt-secret-file",
                               secret,
                               (char *)(uintptr_t) "--threads",
                               (char *)(uintptr_t) "2",
                               NULL};
    (void)unlink(port_file);
    assert_true(child_start(&child, &w->files, arguments));
    bool served = child_port(&child, port_file) != 0;
    if (served) {
        child_kill(&child, SIGKILL);
    }
    int code = child_wait(&child);
    bool spoke = child_text(child.err)[0] != '\0' || child_text(child.out)[0] != '\0';
    if (!served && (code <= 0 || !spoke)) {
        printf("faults: the server ends with %d: %s\n", code, child_text(child.err));
        w->n_wrong++;
    }
    (void)unlink(child.out);
    (void)unlink(child.err);
    return served;
}

/* kill -9, with something in the WAL. */
static void crash_server(struct world *w)
{
    assert_int_equal(write_number(w), 200);
    server_process_kill(&w->server);
}

static bool start_site(struct world *w, const struct fault *fault, uint64_t n)
{
    crash_server(w);
    fault_shim_set(w->theirs, fault->call, fault->how, n, fault->repeat);
    bool served = start_once(w);
    bool hit = fault_shim_hits(w->theirs, fault->call) > 0;
    fault_shim_off(w->theirs);
    if (hit && is_transparent(fault) && !served) {
        w->n_noticed++;
        tell("noticed", SERVER_RECOVERY, "a start", fault, n);
    }
    server_process_start(&w->server);
    bool recovered = server_recovers(w);
    if (hit) {
        count_site(w, SERVER_RECOVERY, fault->word);
        w->n_recovered += recovered ? 1 : 0;
    }
    if (!recovered) {
        tell("does not recover", SERVER_RECOVERY, "a start", fault, n);
        w->n_wrong++;
        assert_true(false);
    }
    return hit;
}

static void a_failing_call_while_the_server_recovers_is_got_over(void **state)
{
    struct world *w = &world;
    uint64_t totals[FAULT_SHIM_CALLS];
    (void)state;
    crash_server(w);
    for (int i = 0; i < FAULT_SHIM_CALLS; i++) {
        fault_shim_set(w->theirs, (enum fault_shim_call)i, 0, 0, 0);
    }
    assert_true(start_once(w));
    for (int i = 0; i < FAULT_SHIM_CALLS; i++) {
        totals[i] = fault_shim_calls(w->theirs, (enum fault_shim_call)i);
    }
    server_process_start(&w->server);
    for (size_t i = 0; i < sizeof server_faults / sizeof server_faults[0]; i++) {
        const struct fault *fault = &server_faults[i];
        bool fits = fault->call <= FAULT_SHIM_SOCKET || fault->call == FAULT_SHIM_EVENT;
        if (!fits) {
            continue;
        }
        uint64_t total = totals[fault->call], step;
        w->n_possible += total;
        uint64_t n = first_site(w, total, &step);
        while (n <= total && start_site(w, fault, n)) {
            n += step;
        }
    }
}

/* ---- The server at its limit of files -------------------------------------------------------- */

/* What is open is served, what comes waits and is served when there is room, and the threads do not
 * spin meanwhile. */
static void a_server_at_its_limit_of_files_pauses_and_goes_on(void **state)
{
    struct world *w = &world;
    struct rlimit before;
    int crowd[CROWD];
    (void)state;
    int open = http_connect(w->server.port);
    assert_int_equal(write_on(w, open, false), 200);
    struct rlimit tight = {open_files(w->server.pid) + FEW_FILES, 0};
    assert_int_equal(prlimit(w->server.pid, RLIMIT_NOFILE, NULL, &before), 0);
    tight.rlim_max = before.rlim_max;
    assert_int_equal(prlimit(w->server.pid, RLIMIT_NOFILE, &tight, NULL), 0);
    fault_shim_set(w->theirs, FAULT_SHIM_ACCEPT, 0, 0, 0);
    for (unsigned i = 0; i < CROWD; i++) {
        crowd[i] = http_connect(w->server.port); /* the kernel takes them; the server cannot */
        assert_true(crowd[i] >= 0);
    }
    for (int i = 0; i < 5; i++) {
        assert_int_equal(write_on(w, open, false), 200);
    }
    server_process_breathe(200);
    uint64_t polls = fault_shim_calls(w->theirs, FAULT_SHIM_POLL);
    uint64_t accepts = fault_shim_calls(w->theirs, FAULT_SHIM_ACCEPT);
    server_process_breathe(300);
    polls = fault_shim_calls(w->theirs, FAULT_SHIM_POLL) - polls;
    accepts = fault_shim_calls(w->theirs, FAULT_SHIM_ACCEPT) - accepts;
    printf("faults: at its limit of files the server waits %llu times and accepts %llu times in "
           "300 ms\n",
           (unsigned long long)polls, (unsigned long long)accepts);
    if (polls > 1000 || accepts > 1000) {
        printf("faults: it spins\n");
        w->n_wrong++;
    }
    /* The last of them has waited for the others to go. */
    for (unsigned i = 0; i + 1 < CROWD; i++) {
        (void)close(crowd[i]);
    }
    assert_int_equal(write_on(w, crowd[CROWD - 1], false), 200);
    (void)close(crowd[CROWD - 1]);
    assert_int_equal(prlimit(w->server.pid, RLIMIT_NOFILE, &before, NULL), 0);
    assert_int_equal(write_on(w, open, false), 200);
    (void)close(open);
    count_site(w, SERVER, "EMFILE");
    w->n_possible++;
    bool recovered = server_recovers(w);
    w->n_recovered += recovered ? 1 : 0;
    assert_true(recovered);
}

/* ---- The suite ------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    struct world *w = &world;
    char page[256];
    const char *given = getenv("BQ_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    (void)state;
    printf("faults: seed %llu (BQ_SEED)\n", (unsigned long long)seed);
    rng_init(&w->rng, seed);
    w->every = getenv("BQ_LONG") != NULL;
    w->mine = fault_shim_open(getenv("BQ_SHIM"));
    assert_true(atomic_load(&w->mine->loaded) > 0);
    (void)unlink(getenv("BQ_SHIM"));
    scratch_init(&w->files);
    w->theirs = fault_shim_new(scratch_path(&w->files, "shim", page, sizeof page));
    (void)setenv("BQ_SHIM", page, 1);
    scratch_path(&w->files, "app.bqsync", w->path, sizeof w->path);
    scratch_path(&w->files, "crashed", w->crashed, sizeof w->crashed);
    server_process_init(&w->server);
    assert_true(atomic_load(&w->theirs->loaded) > 0);
    w->token = token_user(USER);
    w->app = (struct old_app){w->server.port, w->token, USER, "old"};
    assert_int_equal(write_number(w), 200);
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = &world;
    (void)state;
    close_client(w);
    fault_shim_off(w->theirs);
    server_process_stop(&w->server);
    if (w->server.result != 0) {
        printf("faults: the server ended with %d\n", w->server.result);
        w->n_wrong++;
    }
    server_process_release(&w->server);
    free(w->token);
    fault_shim_free(w->theirs);
    fault_shim_free(w->mine);
    scratch_release(&w->files);
    return 0;
}

static void show(const struct world *w)
{
    for (int place = 0; place < PLACES; place++) {
        for (size_t kind = 0; kind < KINDS; kind++) {
            if (w->sites[place][kind] > 0) {
                printf("sites %s %s: %u\n", place_words[place], kinds[kind], w->sites[place][kind]);
            }
        }
    }
    printf("faults: %u of %llu sites of libc: acked after a failed sync %u, noticed %u, wrong %u, "
           "recovered %u/%u\n",
           w->n_sites, (unsigned long long)w->n_possible, w->n_unsound, w->n_noticed, w->n_wrong,
           w->n_recovered, w->n_sites);
}

/* Rare paths must fire: each kind somewhere, and each place. */
static bool all_kinds_fired(const struct world *w)
{
    bool all = true;
    for (size_t kind = 0; kind < KINDS; kind++) {
        unsigned n = 0;
        for (int place = 0; place < PLACES; place++) {
            n += w->sites[place][kind];
        }
        if (n == 0) {
            printf("faults: %s never fired\n", kinds[kind]);
            all = false;
        }
    }
    return all;
}

/* This program again, with the library of faults in it. */
static int begin_again(char **argv)
{
    char page[256];
    const char *folder = getenv("TMPDIR");
    const char *preload = getenv("BQ_PRELOAD");
    if (preload == NULL) {
        fprintf(stderr, "faults: BQ_PRELOAD names no library\n");
        return 2;
    }
    (void)snprintf(page, sizeof page, "%s/bqsync-faults.%d", folder == NULL ? "/tmp" : folder,
                   (int)getpid());
    fault_shim_free(fault_shim_new(page));
    (void)setenv("BQ_SHIM", page, 1);
    (void)setenv("LD_PRELOAD", preload, 1);
    /* Not the limits of a user are tested here. */
    (void)setenv("BQSYNC_USER_RATE", "0", 1);
    (void)execv("/proc/self/exe", argv);
    return 2;
}

static int bite(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failing_call_in_the_server_is_answered_and_got_over),
    };
    /* That an edit is lost on the way may end it early. */
    (void)cmocka_run_group_tests(tests, set_up, tear_down);
    show(&world);
    return world.n_unsound > 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failing_call_in_the_client_is_told_and_got_over),
        cmocka_unit_test(a_client_at_its_limit_of_files_says_so_and_goes_on),
        cmocka_unit_test(a_failing_call_in_the_server_is_answered_and_got_over),
        cmocka_unit_test(a_failing_call_while_the_store_is_opened_again_is_got_over),
        cmocka_unit_test(a_failing_call_while_the_server_recovers_is_got_over),
        cmocka_unit_test(a_server_at_its_limit_of_files_pauses_and_goes_on),
    };
    if (getenv("BQ_SHIM") == NULL) {
        return begin_again(argv);
    }
    if (argc == 2 && strcmp(argv[1], "bite") == 0) {
        return bite();
    }
    int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    const struct world *w = &world;
    show(w);
    bool good = failed == 0 && all_kinds_fired(w) && w->n_unsound == 0 && w->n_noticed == 0 &&
                w->n_wrong == 0 && w->n_recovered == w->n_sites;
    return good ? 0 : 1;
}
