/* remote.c - libcurl's easy interface, one request at a time. */
#include "cli/remote.h"

#include <stdio.h>
#include <string.h>

#include "bqsync.h"
#include "cli/input.h"
#include "cli/output.h"
#include "json/json.h"
#include "net/curl_setup.h"

#define TIMEOUT_SECONDS 30L

int remote_open(struct remote *remote, const char *url, bool json)
{
    *remote = (struct remote){.url = url, .json = json};
    curl_setup_once();
    remote->curl = curl_easy_init();
    if (remote->curl == NULL) {
        return output_fail(json, BQ_NOMEM, "libcurl does not start");
    }
    return CLI_OK;
}

void remote_close(struct remote *remote)
{
    curl_easy_cleanup(remote->curl);
    remote->curl = NULL;
}

static size_t take(char *bytes, size_t size, size_t n, void *context)
{
    struct buf *answer = context;
    buf_add(answer, bytes, size * n);
    return answer->failed ? 0 : size * n;
}

static int status_of_http(long code)
{
    if (code == 401) {
        return BQ_AUTH;
    }
    if (code == 403) {
        return BQ_FORBIDDEN;
    }
    if (code == 404) {
        return BQ_NOT_FOUND;
    }
    if (code == 429 || code == 503) {
        return BQ_BUSY;
    }
    return code >= 500 ? BQ_SERVER : BQ_INVALID;
}

/* The server's sentence: the member "message" of its error object, else the body's beginning. */
static int refuse(struct remote *remote, const char *what, long code, const struct buf *answer)
{
    struct arena arena;
    struct json_value value;
    struct slice message = buf_slice(answer);
    arena_init(&arena);
    if (json_parse(&arena, message, 64, &value, NULL) == BQ_OK) {
        const struct json_value *member = json_get(&value, "message");
        if (json_is(member, JSON_STRING)) {
            message = json_text(member);
        }
    }
    if (message.len > 300) {
        message.len = 300;
    }
    int result = output_fail(remote->json, status_of_http(code), "%s answers %ld to %s: %.*s",
                             remote->url, code, what, SLICE_FMT(message));
    arena_release(&arena);
    return result;
}

/* Appends "name: value"; NULL, with the list gone, when memory is exhausted. */
static struct curl_slist *add_header(struct curl_slist *list, const char *name, struct slice value)
{
    struct buf line = BUF_INIT;
    buf_add_text(&line, name);
    buf_add_slice(&line, value);
    struct curl_slist *longer = line.failed ? NULL : curl_slist_append(list, line.ptr);
    if (longer == NULL) {
        curl_slist_free_all(list);
    }
    buf_release(&line);
    return longer;
}

/* The headers of a call; NULL when memory is exhausted. The token is the API key as well, which a
 * server may demand, where no other one is known. */
static struct curl_slist *make_headers(const struct remote *remote, struct slice token)
{
    struct slice key = remote->api_key == NULL ? token : slice_of(remote->api_key);
    struct curl_slist *list = add_header(NULL, "Content-Type: ", SLICE("application/json"));
    if (list != NULL && token.len > 0) {
        list = add_header(list, "Authorization: Bearer ", token);
    }
    if (list != NULL && key.len > 0) {
        list = add_header(list, "apikey: ", key);
    }
    return list == NULL ? NULL
                        : add_header(list, "X-Supabase-Api-Version: ", SLICE("2024-01-01"));
}

static bool make_url(const struct remote *remote, const char *path, struct buf *out)
{
    size_t base = strlen(remote->url);
    while (base > 0 && remote->url[base - 1] == '/') {
        base--;
    }
    buf_add(out, remote->url, base);
    buf_add_text(out, path);
    return !out->failed;
}

/* False where the connection would be weaker than it has to be. */
static bool set_up(struct remote *remote, const struct remote_request *request,
                   const struct buf *url, struct curl_slist *headers, struct buf *answer,
                   char *error)
{
    const struct curl_setup setup = {input_ca_file(), NULL, TIMEOUT_SECONDS * 1000};
    CURL *curl = remote->curl;
    curl_easy_reset(curl);
    if (!curl_setup_easy(curl, &setup, error)) {
        return false;
    }
    curl_easy_setopt(curl, CURLOPT_URL, url->ptr);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (request->body.ptr != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body.ptr);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
    }
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, TIMEOUT_SECONDS);
    return true;
}

int remote_try(struct remote *remote, const struct remote_request *request, struct slice token,
               struct buf *answer, struct remote_reply *out)
{
    struct buf url = BUF_INIT;
    char error[CURL_ERROR_SIZE] = "";
    int status = BQ_OK;
    struct curl_slist *headers = make_headers(remote, token);
    *out = (struct remote_reply){.http = 0};
    buf_clear(answer);
    if (headers == NULL || !make_url(remote, request->path, &url) ||
        !set_up(remote, request, &url, headers, answer, error)) {
        status = BQ_NOMEM;
    } else {
        CURLcode sent = curl_easy_perform(remote->curl);
        curl_easy_setopt(remote->curl, CURLOPT_ERRORBUFFER, NULL);
        curl_easy_getinfo(remote->curl, CURLINFO_RESPONSE_CODE, &out->http);
        status = sent == CURLE_OK                     ? BQ_OK
                 : sent == CURLE_OPERATION_TIMEDOUT ? BQ_TIMEOUT
                                                      : BQ_NETWORK;
        snprintf(out->why, sizeof out->why, "%s",
                 error[0] == '\0' ? curl_easy_strerror(sent) : error);
    }
    curl_slist_free_all(headers);
    buf_release(&url);
    return status;
}

int remote_request(struct remote *remote, const struct remote_request *request, struct slice token,
                   struct buf *answer)
{
    struct remote_reply reply;
    int status = remote_try(remote, request, token, answer, &reply);
    if (status == BQ_NOMEM) {
        return output_fail(remote->json, status, "%s", bq_strerror(status));
    }
    if (status != BQ_OK) {
        return output_fail(remote->json, status,
                           "%s cannot be reached (%s); check the URL and that it serves",
                           remote->url, reply.why);
    }
    return reply.http / 100 == 2 ? CLI_OK : refuse(remote, request->what, reply.http, answer);
}

int remote_call(struct remote *remote, const char *function, struct slice token, struct slice body,
                struct buf *answer)
{
    struct buf path = BUF_INIT;
    buf_add_text(&path, "/rest/v1/rpc/");
    buf_add_text(&path, function);
    const struct remote_request request = {"POST", path.ptr, function, body};
    int result = path.failed ? output_fail(remote->json, BQ_NOMEM, "%s", bq_strerror(BQ_NOMEM))
                             : remote_request(remote, &request, token, answer);
    buf_release(&path);
    return result;
}
