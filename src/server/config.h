/* config.h - what an operator may set: one table of options behind the command line, the
 * environment, the JSON file, --help and bqsync.conf(5).
 *
 * The option --idle-timeout is also BQSYNC_IDLE_TIMEOUT and the member "idle_timeout" of the
 * file. The command line wins over the environment, the environment over the file, the file over
 * the defaults. What is unknown, doubled or out of range is an error that names it. Secrets are
 * named by file: a command line can be seen by others. */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/limits.h"

#include <stdbool.h>
#include <stdint.h>

#define CONFIG_FILE_BYTES (64u << 10)

/* Texts live in the arena of config_read(), in argv or in the environment; NULL: not set. */
struct server_config {
    const char *config;
    const char *listen;
    const char *port_file;
    const char *admin_listen;
    const char *admin_token_file;
    const char *admin_port_file;
    const char *store;
    const char *functions; /* a database whose functions answer calls; NULL: none */
    const char *jwt_secret_file;
    const char *jwt_previous_secret_file;
    const char *jwks_file;
    const char *jwks_url;
    const char *jwks_ca_file;
    const char *jwt_issuer;
    const char *jwt_audience;
    const char *publishable_key;
    const char *upstream;
    const char *upstream_ca_file;
    const char *stub_table;
    const char *trusted_proxy;
    const char *secret_key_file;
    const char *accounts;
    const char *accounts_key_file;
    const char *accounts_algorithm;
    const char *public_url;
    const char *cors_origin;
    const char *log_level;
    bool jwt_map_sub;
    bool accounts_sign_up;
    bool accounts_anonymous;
    int64_t accounts_ttl_ms;
    bool schema_dry_run;
    bool routes;
    bool help;
    int64_t threads; /* 0: as many as there are processors, at most 8 */
    int64_t connections;
    int64_t address_connections;
    int64_t sockets;
    int64_t address_sockets;
    int64_t queue;
    int64_t batch;
    int64_t writers;
    int64_t user_rate; /* requests of a user in a second; 0: as many as it likes */
    int64_t body_bytes;
    int64_t upstream_timeout_ms;
    int64_t upstream_calls;
    int64_t upstream_sockets;
    int64_t upstream_body_bytes;
    int64_t header_timeout_ms;
    int64_t body_timeout_ms;
    int64_t reply_timeout_ms;
    int64_t idle_timeout_ms;
    int64_t socket_idle_ms;
    int64_t socket_token_ms;
    int64_t socket_refusal_ms;
    int64_t join_refusal_ms;
    int64_t drain_timeout_ms;
    int64_t document_bytes;
    int64_t depth;
    int64_t keys;
    int64_t user_bytes;
    int64_t history;
};

/* The defaults alone. */
void config_init(struct server_config *config);

/* Defaults, file, environment ("NAME=value" texts, NULL at the end), command line (argv[0] is
 * not an option). BQ_OK, BQ_NOMEM, or BQ_INVALID with a sentence. */
int config_read(struct arena *arena, char *const *argv, char *const *environment,
                struct server_config *out, char *error, size_t error_size);

/* Appends the list of options for --help. */
void config_help(struct buf *out);

/* The limits that an operator may change. */
struct limits config_limits(const struct server_config *config);

#endif
