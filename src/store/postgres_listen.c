/* postgres_listen.c - see postgres_listen.h. */
#include "store/postgres_listen.h"

#include "base/mem.h"
#include "base/status.h"
#include "store/postgres_impl.h"

/* Words need not outlive a crash: nobody waits for the disk. */
#define SETTINGS "SET synchronous_commit = off; SET statement_timeout = 15000; LISTEN bqsync"

struct postgres_listener {
    PGconn *conn;
};

static bool run(PGconn *conn, const char *sql, int n, const char *const *values)
{
    PGresult *result = n == 0 ? PQexec(conn, sql)
                              : PQexecParams(conn, sql, n, NULL, values, NULL, NULL, 0);
    ExecStatusType how = PQresultStatus(result);
    PQclear(result);
    return how == PGRES_COMMAND_OK || how == PGRES_TUPLES_OK;
}

int postgres_listener_open(const char *url, struct postgres_listener **out)
{
    struct postgres_listener *listener = mem_zalloc(1, sizeof *listener);
    if (listener == NULL) {
        return BQ_NOMEM;
    }
    listener->conn = pg_connect_to(url);
    if (PQstatus(listener->conn) != CONNECTION_OK || !run(listener->conn, SETTINGS, 0, NULL)) {
        postgres_listener_close(listener);
        return BQ_NETWORK;
    }
    *out = listener;
    return BQ_OK;
}

void postgres_listener_close(struct postgres_listener *listener)
{
    if (listener != NULL) {
        PQfinish(listener->conn);
        mem_free(listener);
    }
}

int postgres_listener_socket(const struct postgres_listener *listener)
{
    return PQsocket(listener->conn);
}

int postgres_listener_say(struct postgres_listener *listener, const char *word)
{
    const char *values[] = {word};
    return run(listener->conn, "SELECT pg_notify('bqsync', $1)", 1, values) ? BQ_OK : BQ_IO;
}

int postgres_listener_hear(struct postgres_listener *listener,
                           void (*heard)(void *cls, struct slice word), void *cls)
{
    PGnotify *notify;
    if (PQconsumeInput(listener->conn) == 0) {
        return BQ_IO;
    }
    while ((notify = PQnotifies(listener->conn)) != NULL) {
        heard(cls, slice_of(notify->extra));
        PQfreemem(notify);
    }
    return BQ_OK;
}
