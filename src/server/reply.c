/* reply.c - see reply.h. */
#include "server/reply.h"

#include "base/mem.h"
#include "json/json.h"
#include "proto/rpc.h"

#include <inttypes.h>
#include <stdio.h>

#define EXPOSED                                                                                    \
    "Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, "           \
    "Preference-Applied, Retry-After, Server, Transfer-Encoding, Range-Unit, X-Supabase-Api-Version"
#define METHODS "GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD"
#define HEADERS "Authorization, apikey, Content-Type, X-Client-Info, Accept, Accept-Language, "   \
    "Content-Language, Accept-Profile, Content-Profile, Prefer, Range, Range-Unit, "              \
    "X-Retry-Count, X-Supabase-Api-Version"
#define ALLOWED_HEADERS_BYTES 2048u

static void print_gateway(struct buf *out, const struct problem *problem)
{
    buf_add_text(out, "{\"message\":");
    json_print_string(out, slice_of(problem->message));
    if (problem->hint != NULL) {
        buf_add_text(out, ",\"hint\":");
        json_print_string(out, slice_of(problem->hint));
    }
    buf_add_char(out, '}');
}

void reply_problem(struct reply *reply, const struct problem *problem)
{
    buf_clear(&reply->body);
    if (problem->gateway) {
        print_gateway(&reply->body, problem);
    } else {
        proto_error_print(&reply->body, problem->code, problem->message, problem->details,
                          problem->hint);
    }
    reply->http = problem->http;
    reply->content_type = REPLY_JSON;
    reply->content_range[0] = '\0';
    reply->close = reply->close || problem->close;
    reply->challenge = problem->challenge;
    reply->challenge_text = problem->message;
    reply->retry_after_s = problem->retry_after_s;
}

void reply_range(struct reply *reply, uint64_t n)
{
    if (n == 0) {
        snprintf(reply->content_range, sizeof reply->content_range, "*/*");
    } else {
        snprintf(reply->content_range, sizeof reply->content_range, "0-%" PRIu64 "/*", n - 1);
    }
}

/* Headers of one answer; `good` turns false when memory is exhausted. */
struct headers {
    struct MHD_Response *response;
    bool good;
};

static void add(struct headers *headers, const char *name, const char *value)
{
    headers->good =
        headers->good && MHD_add_response_header(headers->response, name, value) == MHD_YES;
}

/* Echoes the list that a preflight asks for: the simplest rule that is always right. A token
 * list is not in need of quoting; what is too long or odd gets our own list. */
static void add_allowed_headers(struct headers *headers, struct slice asked)
{
    char list[ALLOWED_HEADERS_BYTES];
    if (asked.ptr == NULL || asked.len == 0 || asked.len > sizeof list - sizeof HEADERS - 2) {
        add(headers, "Access-Control-Allow-Headers", HEADERS);
        return;
    }
    snprintf(list, sizeof list, "%s, %.*s", HEADERS, SLICE_FMT(asked));
    add(headers, "Access-Control-Allow-Headers", list);
}

static void add_cors(struct headers *headers, const struct head *head, const char *cors_origin)
{
    if (head->origin.ptr == NULL) {
        return;
    }
    add(headers, "Access-Control-Allow-Origin", cors_origin);
    add(headers, "Access-Control-Expose-Headers", EXPOSED);
    if (strcmp(cors_origin, "*") != 0) {
        add(headers, "Vary", "Origin");
    }
    if (head->request_method.ptr != NULL) {
        add(headers, "Access-Control-Allow-Methods", METHODS);
        add(headers, "Access-Control-Max-Age", "86400");
        add_allowed_headers(headers, head->request_headers);
    }
}

bool reply_add_cors(struct MHD_Response *response, const struct head *head, const char *cors_origin)
{
    struct headers headers = {response, true};
    add_cors(&headers, head, cors_origin);
    return headers.good;
}

static void add_challenge(struct headers *headers, const struct reply *reply)
{
    char text[256];
    switch (reply->challenge) {
    case CHALLENGE_NONE:
        return;
    case CHALLENGE_BEARER:
        add(headers, "WWW-Authenticate", "Bearer");
        return;
    case CHALLENGE_INVALID_TOKEN:
        break;
    }
    snprintf(text, sizeof text, "Bearer error=\"invalid_token\", error_description=\"%s\"",
             reply->challenge_text);
    add(headers, "WWW-Authenticate", text);
}

static void add_headers(struct headers *headers, const struct head *head, const char *cors_origin,
                        const struct reply *reply)
{
    char number[24];
    if (reply->content_type != NULL) {
        add(headers, MHD_HTTP_HEADER_CONTENT_TYPE, reply->content_type);
        if (reply->profile) {
            add(headers, "Content-Profile", "public");
        }
    }
    if (reply->content_range[0] != '\0') {
        add(headers, "Content-Range", reply->content_range);
    }
    if (reply->content_location != NULL) {
        add(headers, "Content-Location", reply->content_location);
    }
    if (reply->location != NULL) {
        add(headers, "Location", reply->location);
    }
    if (reply->preference_applied[0] != '\0') {
        add(headers, "Preference-Applied", reply->preference_applied);
    }
    if (reply->allow != NULL) {
        add(headers, "Allow", reply->allow);
    }
    if (reply->websocket != NULL) {
        add(headers, "Sec-WebSocket-Version", reply->websocket);
    }
    if (reply->cache != NULL) {
        add(headers, "Cache-Control", reply->cache);
    }
    if (reply->api_version != NULL) {
        add(headers, "X-Supabase-Api-Version", reply->api_version);
    }
    if (reply->error_code != NULL) {
        add(headers, "X-Sb-Error-Code", reply->error_code);
    }
    if (reply->retry_after_s != 0) {
        snprintf(number, sizeof number, "%u", reply->retry_after_s);
        add(headers, "Retry-After", number);
    }
    if (reply->close) {
        add(headers, "Connection", "close");
    }
    add_challenge(headers, reply);
    add_cors(headers, head, cors_origin);
}

bool reply_send(struct MHD_Connection *connection, const struct head *head, const char *cors_origin,
                struct reply *reply, size_t *out_bytes)
{
    static char empty[1];
    size_t len = 0;
    struct headers headers = {NULL, true};
    if (reply->body.len > 0 || reply->body.failed) {
        char *bytes = buf_take(&reply->body, &len);
        if (bytes == NULL) {
            return false;
        }
        headers.response = MHD_create_response_from_buffer_with_free_callback(len, bytes, mem_free);
        if (headers.response == NULL) {
            mem_free(bytes);
        }
    } else {
        headers.response = MHD_create_response_from_buffer(0, empty, MHD_RESPMEM_PERSISTENT);
    }
    if (headers.response == NULL) {
        return false;
    }
    add_headers(&headers, head, cors_origin, reply);
    bool queued = headers.good &&
                  MHD_queue_response(connection, reply->http, headers.response) == MHD_YES;
    MHD_destroy_response(headers.response);
    *out_bytes = len;
    return queued;
}
