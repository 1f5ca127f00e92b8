/* fault_shim.c - libfault_shim.so, for LD_PRELOAD: stands between a program and libc's calls on
 * files and sockets, and makes the n-th of a class fail as tests/lib/fault_shim.h says. Without
 * BQ_SHIM it passes everything on.
 *
 * The names of libc are defined here on purpose; each finds the next definition once. */
#include "fault_shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static struct fault_shim *shim;

/* NEXT(name): libc's function of that name and type. */
#define NEXT(name)                                                                                 \
    static __typeof__(name) *next;                                                                 \
    if (next == NULL) {                                                                            \
        next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);                                        \
    }

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("BQ_SHIM");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    void *page = mmap(NULL, sizeof *shim, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (page != MAP_FAILED) {
        shim = page;
        atomic_fetch_add(&shim->loaded, 1);
    }
}

/* What is done to this call; 0: nothing. */
static int fault_of(enum fault_shim_call call)
{
    if (shim == NULL) {
        return 0;
    }
    struct fault_shim_site *site = &shim->sites[call];
    uint64_t n = atomic_fetch_add(&site->calls, 1) + 1;
    uint64_t from = atomic_load(&site->from);
    if (from == 0 || n < from || n >= atomic_load(&site->until)) {
        return 0;
    }
    int how = atomic_load(&site->how);
    atomic_fetch_add(&site->hits, 1);
    if (how == FAULT_SHIM_KILL_BEFORE) {
        (void)kill(getpid(), SIGKILL);
    }
    return how;
}

static int refuse(int how)
{
    errno = how;
    return -1;
}

static void after(int how)
{
    if (how == FAULT_SHIM_KILL_AFTER) {
        (void)kill(getpid(), SIGKILL);
    }
}

/* Half of the bytes, at least one, where the fault says so. */
static size_t cut(int how, size_t n)
{
    return how == FAULT_SHIM_SHORT && n > 1 ? n / 2 : n;
}

static bool is_file(int fd)
{
    struct stat facts;
    return fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode);
}

/* ---- Files ----------------------------------------------------------------------------------- */

#define OPEN(name)                                                                                 \
    EXPORT int name(const char *path, int flags, ...)                                              \
    {                                                                                              \
        va_list args;                                                                              \
        NEXT(name)                                                                                 \
        va_start(args, flags);                                                                     \
        mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;                           \
        va_end(args);                                                                              \
        int how = fault_of(FAULT_SHIM_OPEN);                                                       \
        return how > 0 ? refuse(how) : next(path, flags, mode);                                    \
    }

OPEN(open)
OPEN(open64)

EXPORT ssize_t pread64(int fd, void *bytes, size_t n, off64_t at)
{
    NEXT(pread64)
    int how = fault_of(FAULT_SHIM_READ);
    return how > 0 ? refuse(how) : next(fd, bytes, cut(how, n), at);
}

EXPORT ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at)
{
    NEXT(pwrite64)
    int how = fault_of(FAULT_SHIM_WRITE);
    ssize_t done = how > 0 ? refuse(how) : next(fd, bytes, cut(how, n), at);
    after(how);
    return done;
}

EXPORT ssize_t read(int fd, void *bytes, size_t n)
{
    NEXT(read)
    int how = shim == NULL ? 0 : fault_of(is_file(fd) ? FAULT_SHIM_READ : FAULT_SHIM_SIGNAL);
    return how > 0 ? refuse(how) : next(fd, bytes, cut(how, n));
}

EXPORT ssize_t write(int fd, const void *bytes, size_t n)
{
    NEXT(write)
    bool counts = shim != NULL && fd > STDERR_FILENO;
    int how = counts ? fault_of(is_file(fd) ? FAULT_SHIM_WRITE : FAULT_SHIM_SIGNAL) : 0;
    ssize_t done = how > 0 ? refuse(how) : next(fd, bytes, cut(how, n));
    after(how);
    return done;
}

#define SYNC(name)                                                                                 \
    EXPORT int name(int fd)                                                                        \
    {                                                                                              \
        NEXT(name)                                                                                 \
        int how = fault_of(FAULT_SHIM_SYNC);                                                       \
        int result = how > 0 ? refuse(how) : next(fd);                                             \
        after(how);                                                                                \
        return result;                                                                             \
    }

SYNC(fsync)
SYNC(fdatasync)

EXPORT int ftruncate64(int fd, off64_t size)
{
    NEXT(ftruncate64)
    int how = fault_of(FAULT_SHIM_TRUNCATE);
    return how > 0 ? refuse(how) : next(fd, size);
}

EXPORT void *mmap64(void *at, size_t n, int protection, int flags, int fd, off64_t offset)
{
    NEXT(mmap64)
    int how = fd >= 0 ? fault_of(FAULT_SHIM_MAP) : 0;
    if (how > 0) {
        errno = how;
        return MAP_FAILED;
    }
    return next(at, n, protection, flags, fd, offset);
}

/* ---- Sockets --------------------------------------------------------------------------------- */

EXPORT int socket(int domain, int type, int protocol)
{
    NEXT(socket)
    int how = fault_of(FAULT_SHIM_SOCKET);
    return how > 0 ? refuse(how) : next(domain, type, protocol);
}

EXPORT int connect(int fd, const struct sockaddr *address, socklen_t len)
{
    NEXT(connect)
    int how = fault_of(FAULT_SHIM_CONNECT);
    return how > 0 ? refuse(how) : next(fd, address, len);
}

EXPORT int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    NEXT(accept4)
    int how = fault_of(FAULT_SHIM_ACCEPT);
    return how > 0 ? refuse(how) : next(fd, address, len, flags);
}

EXPORT ssize_t send(int fd, const void *bytes, size_t n, int flags)
{
    NEXT(send)
    int how = fault_of(FAULT_SHIM_SEND);
    ssize_t done = how > 0 ? refuse(how) : next(fd, bytes, cut(how, n), flags);
    after(how);
    return done;
}

EXPORT ssize_t sendto(int fd, const void *bytes, size_t n, int flags,
                      const struct sockaddr *address, socklen_t len)
{
    NEXT(sendto)
    int how = fault_of(FAULT_SHIM_SEND);
    return how > 0 ? refuse(how) : next(fd, bytes, cut(how, n), flags, address, len);
}

/* Short: the first half of the first piece. */
EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    NEXT(sendmsg)
    int how = fault_of(FAULT_SHIM_SEND);
    struct msghdr less = *message;
    struct iovec piece;
    if (how == FAULT_SHIM_SHORT && less.msg_iovlen > 0) {
        piece = less.msg_iov[0];
        piece.iov_len = cut(how, piece.iov_len);
        less.msg_iov = &piece;
        less.msg_iovlen = 1;
    }
    ssize_t done = how > 0 ? refuse(how) : next(fd, &less, flags);
    after(how);
    return done;
}

EXPORT ssize_t recv(int fd, void *bytes, size_t n, int flags)
{
    NEXT(recv)
    int how = fault_of(FAULT_SHIM_RECV);
    return how > 0 ? refuse(how) : next(fd, bytes, cut(how, n), flags);
}

EXPORT ssize_t recvfrom(int fd, void *restrict bytes, size_t n, int flags,
                        struct sockaddr *restrict address, socklen_t *restrict len)
{
    NEXT(recvfrom)
    int how = fault_of(FAULT_SHIM_RECV);
    return how > 0 ? refuse(how) : next(fd, bytes, cut(how, n), flags, address, len);
}

/* ---- Waiting, and what it is built on -------------------------------------------------------- */

EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    NEXT(poll)
    int how = fault_of(FAULT_SHIM_POLL);
    return how > 0 ? refuse(how) : next(fds, n, timeout_ms);
}

EXPORT int epoll_wait(int fd, struct epoll_event *events, int n, int timeout_ms)
{
    NEXT(epoll_wait)
    int how = fault_of(FAULT_SHIM_POLL);
    return how > 0 ? refuse(how) : next(fd, events, n, timeout_ms);
}

EXPORT int select(int n, fd_set *reading, fd_set *writing, fd_set *other, struct timeval *timeout)
{
    NEXT(select)
    int how = fault_of(FAULT_SHIM_POLL);
    return how > 0 ? refuse(how) : next(n, reading, writing, other, timeout);
}

EXPORT int eventfd(unsigned start_value, int flags)
{
    NEXT(eventfd)
    int how = fault_of(FAULT_SHIM_EVENT);
    return how > 0 ? refuse(how) : next(start_value, flags);
}

EXPORT int pipe2(int fds[2], int flags)
{
    NEXT(pipe2)
    int how = fault_of(FAULT_SHIM_EVENT);
    return how > 0 ? refuse(how) : next(fds, flags);
}

EXPORT int socketpair(int domain, int type, int protocol, int fds[2])
{
    NEXT(socketpair)
    int how = fault_of(FAULT_SHIM_EVENT);
    return how > 0 ? refuse(how) : next(domain, type, protocol, fds);
}

EXPORT int epoll_create1(int flags)
{
    NEXT(epoll_create1)
    int how = fault_of(FAULT_SHIM_EVENT);
    return how > 0 ? refuse(how) : next(flags);
}
