/* pg_cluster.h - a private PostgreSQL cluster of a test (tests/lib/postgres.sh), in a folder of its
 * own, on a Unix socket alone. It ends with the test, however that ends. Aborts where it cannot be
 * had. */
#ifndef TESTS_PG_CLUSTER_H
#define TESTS_PG_CLUSTER_H

#include "base/buf.h"
#include "scratch.h"

#include <stdbool.h>
#include <sys/types.h>

#define PG_CLUSTER_URL 200

struct pg_cluster {
    struct scratch scratch;
    pid_t pid; /* the shell that keeps it */
    int keep;  /* it ends when this is closed */
    char url[PG_CLUSTER_URL]; /* of its database postgres, as a superuser */
};

/* settings: "NAME=VALUE NAME=VALUE"; "" for PostgreSQL's own. */
void pg_cluster_start(struct pg_cluster *cluster, const char *settings);
void pg_cluster_stop(struct pg_cluster *cluster);

/* A call of a function of postgres.sh; $D is the cluster's folder, and a standby of it belongs into
 * $D/s. */
void pg_cluster_do(const struct pg_cluster *cluster, const char *call);

/* Runs SQL on a connection of its own; false where it fails, with the error in standard error. */
bool pg_cluster_sql(const char *url, const char *sql);

/* The first column of the first row as text in a static buffer; "" where there is none. */
const char *pg_cluster_ask(const char *url, const char *sql);

/* Appends that text whole; false where the SQL fails. */
bool pg_cluster_read(const char *url, const char *sql, struct buf *out);

/* The URL of another database of the cluster, or with other parameters: "name?user=x". */
void pg_cluster_url(const struct pg_cluster *cluster, const char *name, char out[PG_CLUSTER_URL]);

/* Empties all our tables: as after the schema was made. */
void pg_cluster_empty(const char *url);

#endif
