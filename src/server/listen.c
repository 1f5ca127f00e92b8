/* listen.c - see listen.h. */
#include "server/listen.h"

#include "base/slice.h"
#include "base/status.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096 /* after a restart all clients come back at once */

/* 0 to 65535 in decimal digits. */
static bool is_port(const char *text)
{
    unsigned long value = 0;
    size_t i = 0;
    for (; text[i] >= '0' && text[i] <= '9' && value <= 65535; i++) {
        value = value * 10 + (unsigned long)(text[i] - '0');
    }
    return i > 0 && i < 6 && text[i] == '\0' && value <= 65535;
}

/* Splits at the last colon; brackets around an IPv6 address go. False for another form. */
static bool split(const char *address, char host[256], char port[8])
{
    const char *colon = strrchr(address, ':');
    size_t len = colon == NULL ? 0 : (size_t)(colon - address);
    const char *from = address;
    if (len == 0 || len > 255 || !is_port(colon + 1)) {
        return false;
    }
    if (from[0] == '[' && from[len - 1] == ']') {
        from++;
        len -= 2;
    } else if (memchr(from, ':', len) != NULL) {
        return false; /* an IPv6 address without its brackets */
    }
    memcpy(host, from, len);
    host[len] = '\0';
    snprintf(port, 8, "%s", colon + 1);
    return true;
}

/* A socket that listens there, or -1 with errno. */
static int open_at(const struct addrinfo *info)
{
    const int on = 1;
    int fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                    info->ai_protocol);
    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int problem = errno;
        close(fd);
        errno = problem;
        return -1;
    }
    return fd;
}

static unsigned port_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address;
    socklen_t len = sizeof address;
    memset(&address, 0, sizeof address);
    if (getsockname(fd, &address.any, &len) != 0) {
        return 0;
    }
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

static int refuse(const char *address, int problem, char *error, size_t error_size)
{
    char why[128];
    if (problem == EADDRINUSE) {
        snprintf(error, error_size, "%s is in use by another program; stop it, or choose another "
                 "address with --listen", address);
        return BQ_NETWORK;
    }
    if (problem == EACCES) {
        snprintf(error, error_size, "%s needs a privilege; choose a port above 1023 with --listen",
                 address);
        return BQ_NETWORK;
    }
    snprintf(error, error_size, "cannot listen on %s: %s", address,
             strerror_r(problem, why, sizeof why));
    return BQ_NETWORK;
}

int listen_open(const char *address, int *out_fd, unsigned *out_port, char *error,
                size_t error_size)
{
    char host[256];
    char port[8];
    struct addrinfo *list = NULL;
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    if (!split(address, host, port)) {
        snprintf(error, error_size, "--listen wants HOST:PORT, such as 127.0.0.1:8787 or "
                 "[::1]:8787, not %.100s", address);
        return BQ_INVALID;
    }
    int problem = getaddrinfo(host, port, &hints, &list);
    if (problem != 0 || list == NULL) {
        snprintf(error, error_size, "%s is no address here: %s", host, gai_strerror(problem));
        return BQ_INVALID;
    }
    int fd = open_at(list);
    problem = errno;
    freeaddrinfo(list);
    if (fd < 0) {
        return refuse(address, problem, error, error_size);
    }
    *out_fd = fd;
    *out_port = port_of(fd);
    return BQ_OK;
}
