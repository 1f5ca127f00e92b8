/* server.h - `bqsync serve` as an object: store, committer, HTTP threads, and their order of
 * starting and ending. Tests start it inside themselves, the command in the foreground. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "base/log.h"
#include "server/committer.h"
#include "server/config.h"
#include "server/realtime.h"

struct server;

/* What tests replace; all zero in a real server. */
struct server_hooks {
    int (*open_store)(void *cls, struct store **out, char *error, size_t error_size);
    int64_t (*jwks_clock_us)(void *cls); /* by which the keys of --jwks-url are read again */
    void *cls;
};

/* Starts everything; the server answers when this returns. config, log and hooks are borrowed
 * until server_stop(). hooks may be NULL. BQ_OK, or a status with a sentence that says what to
 * do: BQ_INVALID (an option), BQ_NETWORK (the address), BQ_LOCKED (the store is in use), what the
 * store answers, or what jwks_url_open() does. */
int server_start(const struct server_config *config, const struct log *log,
                 const struct server_hooks *hooks, struct server **out, char *error,
                 size_t error_size);

/* The port that it listens on. */
unsigned server_port(const struct server *server);

struct committer_stats server_stats(struct server *server);
struct realtime_stats server_realtime(struct server *server);

/* Stops accepting, answers what is in flight, commits what waits, checkpoints and closes the store.
 * False when some request was cut off at the end of drain-timeout. */
bool server_stop(struct server *server);

#endif
