/* client.h - the folder of a device: what `bqsync init` writes and the client commands open.
 *
 *     DIR/config.json  {"url": "...", "api_key": "..."}   0600
 *     DIR/token        the user's JWT                      0600
 *     DIR/app.bqsync   libbqsync's file                    0600
 *
 * DIR is --dir, else $BQSYNC_DIR, else ./.bqsync. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "bqsync.h"

struct client {
    const char *dir; /* as given; NULL: the default */
    bool json;
    int64_t poll_ms; /* longest pause between pulls; 0: the library's */
    bool live;       /* holds a realtime socket while it is open */
    struct buf url;  /* NUL-terminated; empty: never sync */
    struct buf api_key;
    struct buf token; /* empty: none */
    struct bq *bq;
};

#define CLIENT_INIT ((struct client){.dir = NULL})

/* What every client command takes: for the list of its options. */
#define CLIENT_OPTIONS(client)                                                                     \
    OPTION_TEXT("dir", "DIR", &(client)->dir, "the device's folder ($BQSYNC_DIR, else ./.bqsync)"),\
        OPTION_FLAG("json", &(client)->json, "results as one JSON value a line")

enum client_how {
    CLIENT_LOCAL, /* no network: reads and writes of this device alone */
    CLIENT_ONLINE /* signs in with the token and syncs */
};

/* Reads the folder and opens the file. Answers CLI_OK or an exit code after its sentence. The
 * caller calls client_close() in either case. */
int client_open(struct client *client, enum client_how how);

/* Opens with client->url, api_key and token as they are, making the file. */
int client_open_file(struct client *client, enum client_how how);

/* The folder. */
const char *client_dir(const struct client *client);

/* Writes config.json and token from client->url, api_key and token. */
int client_save(struct client *client);

/* Removes the token of who signed out. */
int client_forget_token(struct client *client);

/* Reads the token file again into client->token; true when it changed. */
bool client_reload_token(struct client *client);

void client_close(struct client *client);

/* A failed call on the handle: prints what it was about, the library's own sentence and the code's.
 * Answers the exit code. */
int client_fail(struct client *client, int status, const char *what);

#endif
