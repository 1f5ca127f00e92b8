/* child.h - a program as a child process: started, waited for, killed; its output in files. */
#ifndef TESTS_CHILD_H
#define TESTS_CHILD_H

#include "scratch.h"

#include <stdbool.h>
#include <sys/types.h>

struct child {
    pid_t pid;
    char out[256]; /* standard output, a file in the scratch folder */
    char err[256]; /* standard error */
};

/* argv ends with NULL; argv[0] is the program. False where it cannot be started. The child is
 * killed when the test dies. */
bool child_start(struct child *child, const struct scratch *scratch, char *const *argv);

/* Waits for the end: the exit code, or -signal. */
int child_wait(struct child *child);

void child_kill(struct child *child, int signal_number);

/* Starts it and waits. */
int child_run(struct child *child, const struct scratch *scratch, char *const *argv);

/* A file as text in a static buffer of at most 64 KiB; "" where it is not there. */
const char *child_text(const char *path);

/* $BQSYNC, the program under test; aborts with a sentence where it is not set. */
char *child_bqsync(void);

/* Waits until the port file of `bqsync serve` is there; 0 when the child ended before. */
unsigned child_port(struct child *child, const char *port_file);

#endif
