/* serve.c - see serve.h. */
#include "serve.h"

#include "base/status.h"
#include "token.h"

#include <stdio.h>
#include <stdlib.h>

static void to_stderr(void *cls, const char *line, size_t len)
{
    (void)cls;
    fwrite(line, 1, len, stderr);
}

void serve_init(struct serve *serve)
{
    char path[200];
    memset(serve, 0, sizeof *serve);
    scratch_init(&serve->scratch);
    config_init(&serve->config);
    snprintf(serve->store, sizeof serve->store, "sqlite:%s",
             scratch_path(&serve->scratch, "store.db", path, sizeof path));
    snprintf(serve->secret_file, sizeof serve->secret_file, "%s",
             scratch_path(&serve->scratch, "secret", path, sizeof path));
    FILE *file = fopen(serve->secret_file, "w");
    if (file == NULL || fputs(TOKEN_SECRET "\n", file) < 0 || fclose(file) != 0) {
        abort();
    }
    serve->config.listen = "127.0.0.1:0";
    serve->config.store = serve->store;
    serve->config.jwt_secret_file = serve->secret_file;
    serve->config.threads = 2;
    serve->config.user_rate = 0; /* tests are quicker than users */
    serve->log = (struct log){to_stderr, NULL, LOG_LEVEL_ERROR};
}

int serve_start(struct serve *serve)
{
    serve->error[0] = '\0';
    int status = server_start(&serve->config, &serve->log, &serve->hooks, &serve->server,
                              serve->error, sizeof serve->error);
    if (status != BQ_OK) {
        serve->server = NULL;
        return status;
    }
    serve->port = server_port(serve->server);
    return BQ_OK;
}

bool serve_stop(struct serve *serve)
{
    struct server *server = serve->server;
    serve->server = NULL;
    return server == NULL || server_stop(server);
}

void serve_release(struct serve *serve)
{
    serve_stop(serve);
    scratch_release(&serve->scratch);
}
