/* pg_cluster.c - see pg_cluster.h. */
#include "pg_cluster.h"

#include <fcntl.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* $0: the folder; $1: settings. Says when it is ready, and stops when its input ends. */
static const char script[] = ". tests/lib/postgres.sh; "
                             "postgres_start \"$0\" $1 >&2 && echo ready && exec >/dev/null; "
                             "read -r _; postgres_stop \"$0/s\" immediate; "
                             "postgres_stop \"$0\" immediate; exit 0";

void pg_cluster_start(struct pg_cluster *cluster, const char *settings)
{
    int to[2];
    int from[2];
    char said[8] = "";
    scratch_init(&cluster->scratch);
    if (pipe(to) != 0 || pipe(from) != 0) {
        abort();
    }
    cluster->pid = fork();
    if (cluster->pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        for (int i = 0; i < 2; i++) {
            close(to[i]);
            close(from[i]);
        }
        signal(SIGINT, SIG_IGN);
        execlp("bash", "bash", "-c", script, cluster->scratch.folder, settings, (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    cluster->keep = to[1];
    (void)fcntl(cluster->keep, F_SETFD, FD_CLOEXEC); /* or a standby would keep it open */
    if (read(from[0], said, 6) != 6) {
        fputs("the test's PostgreSQL does not start\n", stderr);
        abort();
    }
    close(from[0]);
    pg_cluster_url(cluster, "postgres", cluster->url);
}

void pg_cluster_do(const struct pg_cluster *cluster, const char *call)
{
    static const char head[] = ". tests/lib/postgres.sh; D=$0; ";
    char text[300];
    int result;
    int n = snprintf(text, sizeof text, "%s%s", head, call);
    pid_t pid = n < (int)sizeof text ? fork() : -1;
    if (pid == 0) {
        execlp("bash", "bash", "-c", text, cluster->scratch.folder, (char *)NULL);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &result, 0) != pid || result != 0) {
        fprintf(stderr, "pg_cluster: %s failed\n", call);
        abort();
    }
}

void pg_cluster_stop(struct pg_cluster *cluster)
{
    close(cluster->keep);
    waitpid(cluster->pid, NULL, 0);
    scratch_release(&cluster->scratch);
}

void pg_cluster_url(const struct pg_cluster *cluster, const char *name, char out[PG_CLUSTER_URL])
{
    const char *join = strchr(name, '?') == NULL ? "?" : "&";
    const char *user = strstr(name, "user=") == NULL ? "&user=postgres" : "";
    int n = snprintf(out, PG_CLUSTER_URL, "postgres:///%s%shost=%s%s", name, join,
                     cluster->scratch.folder, user);
    if (n < 0 || n >= PG_CLUSTER_URL) {
        abort();
    }
}

static PGresult *run(const char *url, const char *sql, PGconn **out_conn)
{
    PGconn *conn = PQconnectdb(url);
    PGresult *result = PQexec(conn, sql);
    ExecStatusType how = PQresultStatus(result);
    *out_conn = conn;
    if (how == PGRES_COMMAND_OK || how == PGRES_TUPLES_OK) {
        return result;
    }
    fprintf(stderr, "%s\n%s", sql, PQerrorMessage(conn));
    PQclear(result);
    return NULL;
}

bool pg_cluster_sql(const char *url, const char *sql)
{
    PGconn *conn;
    PGresult *result = run(url, sql, &conn);
    bool ok = result != NULL;
    PQclear(result);
    PQfinish(conn);
    return ok;
}

bool pg_cluster_read(const char *url, const char *sql, struct buf *out)
{
    PGconn *conn;
    PGresult *result = run(url, sql, &conn);
    bool ok = result != NULL;
    buf_add_text(out, ok && PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    PQfinish(conn);
    return ok;
}

const char *pg_cluster_ask(const char *url, const char *sql)
{
    static char text[1000];
    struct buf all = BUF_INIT;
    pg_cluster_read(url, sql, &all);
    snprintf(text, sizeof text, "%s", all.ptr == NULL ? "" : all.ptr);
    buf_release(&all);
    return text;
}

void pg_cluster_empty(const char *url)
{
    static const char sql[] =
        "SET client_min_messages = warning;"
        "DELETE FROM user_sync_data_v2; DELETE FROM user_sync_feed; DELETE FROM user_sync_receipts;"
        "DELETE FROM user_sync_history; DELETE FROM user_sync_upserts;"
        "DELETE FROM user_sync_metadata; DELETE FROM user_sync_queue; DELETE FROM user_sync_data;"
        "DELETE FROM user_devices; DELETE FROM user_sync_policy; DELETE FROM bq_auth_users;"
        "DELETE FROM bq_auth_sessions; DELETE FROM user_sync_store WHERE name LIKE 'note:%';"
        "UPDATE user_sync_store SET value = '0' WHERE name = 'policies_version'";
    if (!pg_cluster_sql(url, sql)) {
        abort();
    }
}
