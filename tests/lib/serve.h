/* serve.h - a server inside the test, on a free port, with a store in a folder of its own. */
#ifndef TESTS_SERVE_H
#define TESTS_SERVE_H

#include "scratch.h"
#include "server/server.h"

struct serve {
    struct scratch scratch;
    struct server_config config; /* change it between serve_init() and serve_start() */
    struct server_hooks hooks;
    struct log log;
    struct server *server;
    unsigned port;
    char store[256];
    char secret_file[256];
    char error[512];
};

/* The defaults, TOKEN_SECRET as the secret, port 0, errors logged to standard error. */
void serve_init(struct serve *serve);

/* BQ_OK or what server_start() answers; serve->error has the sentence. */
int serve_start(struct serve *serve);

/* False when requests were cut off. */
bool serve_stop(struct serve *serve);

/* Removes the folder; stops the server where it runs. */
void serve_release(struct serve *serve);

#endif
