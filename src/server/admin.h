/* admin.h - the operators' own listener: GET /metrics, for who has its token.
 *
 * docs/security.md, H6. It is off unless --admin-listen names an address, of which the host may be
 * left out: then it is 127.0.0.1. Without --admin-token-file the server does not start. Every
 * request is refused that a browser may have been talked into: one with an Origin, and one whose
 * Host is a name that is not ours (a foreign name that was rebound to our address). */
#ifndef SERVER_ADMIN_H
#define SERVER_ADMIN_H

#include "server/config.h"
#include "server/metrics.h"

struct admin_config {
    size_t size; /* sizeof(struct admin_config) */
    const struct server_config *config;
    const struct log *log;
    struct metrics *metrics;
    struct committer *committer;
    struct realtime *realtime;
    struct storage *storage;
};

struct admin;

/* *out is NULL where --admin-listen is not set. BQ_OK, or a status with a sentence. */
int admin_start(const struct admin_config *config, struct admin **out, char *error,
                size_t error_size);

/* NULL is fine. */
void admin_stop(struct admin *admin);

#endif
