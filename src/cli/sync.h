/* sync.h - one round with the server: fetch, send, wait. */
#ifndef CLI_SYNC_H
#define CLI_SYNC_H

#include "cli/client.h"

/* Pulls, then sends everything that waits and waits for the answers, wait_ms in all. CLI_OK, or an
 * exit code after its sentence; CLI_PROBLEM where the server refused an edit meanwhile. */
int sync_wait(struct client *client, int64_t wait_ms);

#endif
