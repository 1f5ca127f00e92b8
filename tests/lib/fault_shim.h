/* fault_shim.h - faults between a program and libc: libfault_shim.so (tests/shim) is preloaded and
 * takes the calls on files and sockets of everything in the process, SQLite, libcurl and
 * libmicrohttpd among it. What it does to them stands in a file that it maps (BQ_SHIM names it), so
 * a test arms a running server from outside.
 *
 * A fault is, for each class of calls, a countdown, a repeat and a *how*: an errno; SHORT, where
 * half of the bytes are taken; KILL, where the process ends with SIGKILL instead of the call or
 * right behind it. */
#ifndef TESTS_FAULT_SHIM_H
#define TESTS_FAULT_SHIM_H

#include <stdatomic.h>
#include <stdint.h>

/* X(class, word, the calls in it) */
#define FAULT_SHIM_CALLS_MAP(X)                                                                    \
    X(OPEN, "open")         /* open, open64 */                                                     \
    X(READ, "read")         /* read, pread64, of files */                                          \
    X(WRITE, "write")       /* write, pwrite64, of files */                                        \
    X(SYNC, "sync")         /* fsync, fdatasync */                                                 \
    X(TRUNCATE, "truncate") /* ftruncate64 */                                                      \
    X(MAP, "map")           /* mmap64 of a file */                                                 \
    X(SOCKET, "socket")     /* socket */                                                           \
    X(CONNECT, "connect")   /* connect */                                                          \
    X(ACCEPT, "accept")     /* accept4 */                                                          \
    X(SEND, "send")         /* send, sendmsg, sendto */                                            \
    X(RECV, "recv")         /* recv, recvfrom */                                                   \
    X(POLL, "poll")         /* poll, epoll_wait, select */                                         \
    X(EVENT, "event")       /* eventfd, pipe, socketpair, epoll_create1 */                         \
    X(SIGNAL, "signal")     /* read, write, of an eventfd, a pipe or a socket */

enum fault_shim_call {
#define FAULT_SHIM_ENUM(name, word) FAULT_SHIM_##name,
    FAULT_SHIM_CALLS_MAP(FAULT_SHIM_ENUM)
#undef FAULT_SHIM_ENUM
        FAULT_SHIM_CALLS
};

/* Beside errnos, which are positive. */
#define FAULT_SHIM_SHORT (-1)
#define FAULT_SHIM_KILL_BEFORE (-2)
#define FAULT_SHIM_KILL_AFTER (-3)

#define FAULT_SHIM_FOREVER UINT64_MAX

struct fault_shim_site {
    _Atomic uint64_t calls; /* since fault_shim_set() */
    _Atomic uint64_t hits;
    _Atomic uint64_t from; /* 0: off */
    _Atomic uint64_t until;
    _Atomic int how;
};

struct fault_shim {
    _Atomic uint64_t loaded; /* processes that mapped it */
    struct fault_shim_site sites[FAULT_SHIM_CALLS];
};

/* Makes and maps the file; aborts where it cannot. */
struct fault_shim *fault_shim_new(const char *path);

/* Maps one that is there: the page of the process that asks. */
struct fault_shim *fault_shim_open(const char *path);
void fault_shim_free(struct fault_shim *shim);

/* The n-th call of the class from now, and `repeat` - 1 after it, fail. n 0: off. Clears counts. */
void fault_shim_set(struct fault_shim *shim, enum fault_shim_call call, int how, uint64_t n,
                    uint64_t repeat);

/* All classes off. */
void fault_shim_off(struct fault_shim *shim);

uint64_t fault_shim_calls(const struct fault_shim *shim, enum fault_shim_call call);
uint64_t fault_shim_hits(const struct fault_shim *shim, enum fault_shim_call call);

const char *fault_shim_word(enum fault_shim_call call);

#endif
