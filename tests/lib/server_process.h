/* server_process.h - a real `bqsync serve` as a child: started on a free port, stopped, killed,
 * started again on the same files and the same port.
 *
 * The program is $BQSYNC, else `bqsync` beside the test's own program. The child dies with its
 * parent. Aborts where a test's own machinery fails; what the server said is in
 * folder/serve.log. */
#ifndef TESTS_SERVER_PROCESS_H
#define TESTS_SERVER_PROCESS_H

#include "scratch.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct server_process {
    struct scratch scratch;
    pid_t pid; /* 0: not running */
    const char *store; /* NULL: a file in the folder */
    unsigned port;
    char url[64];
    int result; /* how it ended last, as waitpid() tells it */
};

/* Makes folder and secret (TOKEN_SECRET), and starts the server. */
void server_process_init(struct server_process *server);

/* The same on a store that is there (the text is borrowed). */
void server_process_init_on(struct server_process *server, const char *store);

/* Starts it again, on the port it had; waits until it listens. */
void server_process_start(struct server_process *server);

/* The same in steps, for who has something else to do meanwhile: sends a signal, looks whether it
 * has ended, launches it again on its port, looks whether it listens. */
void server_process_signal(struct server_process *server, int signal_number);
bool server_process_has_ended(struct server_process *server);
void server_process_launch(struct server_process *server);
bool server_process_listens(struct server_process *server);

/* SIGKILL, SIGTERM; waits for its end. */
void server_process_kill(struct server_process *server);
void server_process_stop(struct server_process *server);

/* Stops it and removes the folder. */
void server_process_release(struct server_process *server);

/* Runs `bqsync` with these arguments (NULL at the end, without argv[0]); answers the exit code. */
int server_process_run(const char *const *arguments);

/* Path of the secret file: for `--jwt-secret-file`. */
const char *server_process_secret(const struct server_process *server, char *out, size_t size);

/* A moment in which nothing happens here: between two looks at something that has no event. */
void server_process_breathe(int64_t ms);

#endif
