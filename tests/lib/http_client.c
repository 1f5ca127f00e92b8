/* http_client.c - see http_client.h. */
#include "http_client.h"

#include "base/buf.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS 20000

int http_connect_from(const char *source, unsigned port)
{
    const int on = 1;
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || inet_pton(AF_INET, source, &from.sin_addr) != 1 ||
        bind(fd, (struct sockaddr *)&from, sizeof from) != 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

int http_connect(unsigned port)
{
    return http_connect_from("0.0.0.0", port);
}

static bool wait_for(int fd, short what)
{
    struct pollfd poll_fd = {fd, what, 0};
    return poll(&poll_fd, 1, WAIT_MS) == 1;
}

bool http_write(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = wait_for(fd, POLLOUT) ? send(fd, bytes, len, MSG_NOSIGNAL) : -1;
        if (n <= 0) {
            return false;
        }
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

/* Appends what comes; false at the end, on an error, and after a long silence. */
static bool read_more(int fd, struct buf *out)
{
    if (!wait_for(fd, POLLIN) || !buf_reserve(out, 65536)) {
        return false;
    }
    ssize_t n = recv(fd, out->ptr + out->len, 65536, 0);
    if (n <= 0) {
        return false;
    }
    out->len += (size_t)n;
    out->ptr[out->len] = '\0';
    return true;
}

/* Bytes of the header with its empty line; 0: not there yet. */
static size_t header_size(const struct buf *in)
{
    const char *end = in->len == 0 ? NULL : strstr(in->ptr, "\r\n\r\n");
    return end == NULL ? 0 : (size_t)(end - in->ptr) + 4;
}

void http_read(int fd, bool head, struct http_answer *out)
{
    struct buf in = BUF_INIT;
    bool more = true;
    *out = (struct http_answer){0};
    while (more && header_size(&in) == 0) {
        more = read_more(fd, &in);
    }
    size_t size = header_size(&in);
    if (size == 0 || sscanf(in.ptr, "HTTP/1.1 %d", &out->status) != 1) {
        out->closed = true;
        buf_release(&in);
        return;
    }
    out->header = strndup(in.ptr, size);
    const char *length = http_field(out, "Content-Length");
    size_t want = length == NULL ? SIZE_MAX : (size_t)strtoul(length, NULL, 10);
    if (head || out->status == 204 || out->status / 100 == 1) {
        want = 0;
    }
    while (more && in.len - size < want) {
        more = read_more(fd, &in);
    }
    out->body_len = in.len - size;
    out->body = malloc(out->body_len + 1);
    memcpy(out->body, in.ptr + size, out->body_len + 1);
    const char *connection = http_field(out, "Connection");
    out->closed = !more || (connection != NULL && strcasecmp(connection, "close") == 0);
    buf_release(&in);
}

bool http_ends(int fd)
{
    char waste[4096];
    while (wait_for(fd, POLLIN)) {
        if (recv(fd, waste, sizeof waste, 0) <= 0) {
            return true;
        }
    }
    return false;
}

void http_release(struct http_answer *answer)
{
    free(answer->header);
    free(answer->body);
    *answer = (struct http_answer){0};
}

const char *http_field(const struct http_answer *answer, const char *name)
{
    static _Thread_local char value[4096];
    const char *line = answer->header;
    while (line != NULL && (line = strstr(line, "\r\n")) != NULL) {
        line += 2;
        size_t n = strlen(name);
        if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
            const char *from = line + n + 1 + strspn(line + n + 1, " ");
            snprintf(value, sizeof value, "%.*s", (int)strcspn(from, "\r"), from);
            return value;
        }
    }
    return NULL;
}

static void print_request(const struct http_request *request, struct buf *out)
{
    buf_add_text(out, request->method);
    buf_add_char(out, ' ');
    buf_add_text(out, request->path);
    buf_add_text(out, " HTTP/1.1\r\nHost: test\r\n");
    if (request->token != NULL) {
        buf_add_text(out, "Authorization: Bearer ");
        buf_add_text(out, request->token);
        buf_add_text(out, "\r\n");
    }
    if (request->fields != NULL) {
        buf_add_text(out, request->fields);
    }
    if (request->body != NULL) {
        if (request->fields == NULL || strcasestr(request->fields, "content-type:") == NULL) {
            buf_add_text(out, "Content-Type: application/json\r\n");
        }
        buf_add_format(out, "Content-Length: %zu\r\n", strlen(request->body));
    }
    buf_add_text(out, "\r\n");
    if (request->body != NULL) {
        buf_add_text(out, request->body);
    }
}

void http_call_on(int fd, const struct http_request *request, struct http_answer *out)
{
    struct buf text = BUF_INIT;
    print_request(request, &text);
    http_write(fd, text.ptr, text.len); /* the server may answer before it took everything */
    buf_release(&text);
    http_read(fd, strcmp(request->method, "HEAD") == 0, out);
}

void http_call(const struct http_request *request, struct http_answer *out)
{
    int fd = http_connect(request->port);
    *out = (struct http_answer){0};
    if (fd >= 0) {
        http_call_on(fd, request, out);
        close(fd);
    }
}

void http_rpc(unsigned port, const char *function, const char *token, const char *body,
              struct http_answer *out)
{
    char path[256];
    snprintf(path, sizeof path, "/rest/v1/rpc/%s", function);
    const struct http_request request = {port, "POST", path, token, NULL, body};
    http_call(&request, out);
}
