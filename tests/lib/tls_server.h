/* tls_server.h - `openssl s_server` with a certificate of its own, on a free port: it answers every
 * GET with a page. */
#ifndef TESTS_TLS_SERVER_H
#define TESTS_TLS_SERVER_H

#include "scratch.h"

#include <sys/types.h>

struct tls_server {
    struct scratch scratch;
    char certificate[256];
    char key[256];
    char url[64];
    pid_t pid;
};

/* version: "-tls1_2" and the like. Fails the test where it does not come up. */
void tls_server_start(struct tls_server *server, const char *version);
void tls_server_stop(struct tls_server *server);

#endif
