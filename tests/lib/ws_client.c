/* ws_client.c - see ws_client.h. */
#include "ws_client.h"

#include "http_client.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 20000
#define OPCODE_CLOSE 8u

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* More bytes; false at the end, or when patience is at its end. */
static bool fill(struct ws_client *client, long long until_ms)
{
    struct pollfd poll_fd = {.fd = client->fd, .events = POLLIN};
    if (client->size - client->len < 4096) {
        client->size = client->size * 2 + 8192;
        client->bytes = realloc(client->bytes, client->size);
        if (client->bytes == NULL) {
            abort();
        }
    }
    long long left = until_ms - now_ms();
    if (left <= 0 || poll(&poll_fd, 1, (int)left) <= 0) {
        return false;
    }
    ssize_t n = recv(client->fd, client->bytes + client->len, client->size - client->len - 1, 0);
    if (n <= 0) {
        return false;
    }
    client->len += (size_t)n;
    client->bytes[client->len] = '\0';
    return true;
}

static void drop(struct ws_client *client, size_t n)
{
    client->len -= n;
    memmove(client->bytes, client->bytes + n, client->len);
}

static char *copy(const char *bytes, size_t len)
{
    char *text = malloc(len + 1);
    if (text == NULL) {
        abort();
    }
    memcpy(text, bytes, len);
    text[len] = '\0';
    return text;
}

bool ws_open_raw(struct ws_client *client, unsigned port, const char *request)
{
    long long until_ms = now_ms() + PATIENCE_MS;
    char *end = NULL;
    *client = (struct ws_client){.fd = http_connect(port)};
    if (client->fd < 0 || !ws_write(client, request, strlen(request))) {
        return false;
    }
    while (end == NULL && fill(client, until_ms)) {
        end = strstr(client->bytes, "\r\n\r\n");
    }
    if (end == NULL) {
        return false;
    }
    size_t n = (size_t)(end - client->bytes) + 4;
    client->header = copy(client->bytes, n);
    client->status = (int)strtol(client->header + sizeof "HTTP/1.1", NULL, 10);
    drop(client, n);
    if (client->status != 101) {
        const char *length = strstr(client->header, "Content-Length: ");
        size_t wanted = length == NULL ? 0 : strtoul(length + 16, NULL, 10);
        while (client->len < wanted && fill(client, until_ms)) {
        }
        client->body = copy(client->bytes, client->len);
    }
    return client->status == 101;
}

bool ws_open(struct ws_client *client, unsigned port, const char *target, const char *fields)
{
    char request[16384];
    snprintf(request, sizeof request,
             "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: " WS_KEY "\r\nSec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n%s\r\n",
             target, fields == NULL ? "" : fields);
    return ws_open_raw(client, port, request);
}

void ws_release(struct ws_client *client)
{
    if (client->fd >= 0) {
        close(client->fd);
    }
    free(client->header);
    free(client->body);
    free(client->bytes);
    free(client->text);
    *client = (struct ws_client){.fd = -1};
}

bool ws_write(struct ws_client *client, const void *bytes, size_t len)
{
    return http_write(client->fd, bytes, len);
}

bool ws_send(struct ws_client *client, unsigned first, const void *payload, size_t len)
{
    static const unsigned char mask[4] = {0x12, 0x34, 0x56, 0x78};
    unsigned char *frame = malloc(len + 14);
    size_t n = 2;
    if (frame == NULL) {
        abort();
    }
    unsigned n_extended = len > 65535 ? 8 : len > 125 ? 2 : 0;
    frame[0] = (unsigned char)first;
    frame[1] = (unsigned char)(0x80 | (n_extended == 8 ? 127 : n_extended == 2 ? 126 : len));
    for (unsigned i = 0; i < n_extended; i++) {
        frame[n++] = (unsigned char)((unsigned long long)len >> (8 * (n_extended - 1 - i)));
    }
    memcpy(frame + n, mask, 4);
    n += 4;
    for (size_t i = 0; i < len; i++) {
        frame[n++] = (unsigned char)(((const unsigned char *)payload)[i] ^ mask[i % 4]);
    }
    bool sent = ws_write(client, frame, n);
    free(frame);
    return sent;
}

bool ws_say(struct ws_client *client, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0) {
        abort();
    }
    bool sent = ws_send(client, 0x81, text, (size_t)n);
    free(text);
    return sent;
}

/* The header of the frame at the front: its length, and its payload's; 0: not there yet. */
static size_t frame_header(const struct ws_client *client, size_t *out_payload)
{
    const unsigned char *bytes = (const unsigned char *)client->bytes;
    size_t payload = 0;
    if (client->len < 2) {
        return 0;
    }
    unsigned n_extended = bytes[1] == 127 ? 8 : bytes[1] == 126 ? 2 : 0;
    if (client->len < 2 + n_extended) {
        return 0;
    }
    for (unsigned i = 0; i < n_extended; i++) {
        payload = payload << 8 | bytes[2 + i];
    }
    *out_payload = n_extended == 0 ? bytes[1] : payload;
    return 2 + n_extended;
}

bool ws_next(struct ws_client *client)
{
    long long until_ms = now_ms() + PATIENCE_MS;
    client->opcode = 0;
    for (;;) {
        size_t payload = 0;
        size_t header = frame_header(client, &payload);
        if (header > 0 && client->len >= header + payload) {
            free(client->text);
            client->text = copy(client->bytes + header, payload);
            client->text_len = payload;
            client->first = (unsigned char)client->bytes[0];
            client->opcode = client->first & 15u;
            drop(client, header + payload);
            return true;
        }
        if (!fill(client, until_ms)) {
            return false;
        }
    }
}

bool ws_hear(struct ws_client *client, const char *part)
{
    while (ws_next(client)) {
        if (client->opcode == 1 && strstr(client->text, part) != NULL) {
            return true;
        }
    }
    return false;
}

unsigned ws_ends(struct ws_client *client)
{
    long long until_ms = now_ms() + PATIENCE_MS;
    unsigned code = 1006;
    while (ws_next(client)) {
        if (client->opcode == OPCODE_CLOSE) {
            const unsigned char *bytes = (const unsigned char *)client->text;
            code = client->text_len < 2 ? 1005 : (unsigned)bytes[0] << 8 | bytes[1];
        }
    }
    return now_ms() < until_ms ? code : 0;
}
