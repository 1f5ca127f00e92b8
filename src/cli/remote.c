/* remote.c - libcurl's easy interface, one request at a time. */
#include "cli/remote.h"

#include <curl/curl.h>
#include <string.h>

#include "bqsync.h"
#include "cli/output.h"
#include "json/json.h"

#define TIMEOUT_SECONDS 30L

int remote_open(struct remote *remote, const char *url, bool json)
{
    *remote = (struct remote){.url = url, .json = json};
    if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) {
        remote->curl = curl_easy_init();
    }
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
static int refuse(struct remote *remote, const char *function, long code, const struct buf *answer)
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
                             remote->url, code, function, SLICE_FMT(message));
    arena_release(&arena);
    return result;
}

/* The headers of a call; NULL when memory is exhausted. */
static struct curl_slist *make_headers(struct slice token)
{
    struct buf line = BUF_INIT;
    buf_add_text(&line, "Authorization: Bearer ");
    buf_add_slice(&line, token);
    struct curl_slist *list = line.failed ? NULL : curl_slist_append(NULL, line.ptr);
    struct curl_slist *longer =
        list == NULL ? NULL : curl_slist_append(list, "Content-Type: application/json");
    if (longer == NULL) {
        curl_slist_free_all(list);
    }
    buf_release(&line);
    return longer;
}

int remote_call(struct remote *remote, const char *function, struct slice token, struct slice body,
              struct buf *answer)
{
    CURL *curl = remote->curl;
    struct buf url = BUF_INIT;
    char error[CURL_ERROR_SIZE] = "";
    long code = 0;
    struct curl_slist *headers = make_headers(token);
    size_t base = strlen(remote->url);
    while (base > 0 && remote->url[base - 1] == '/') {
        base--;
    }
    buf_add(&url, remote->url, base);
    buf_add_text(&url, "/rest/v1/rpc/");
    buf_add_text(&url, function);
    buf_clear(answer);
    int result;
    if (headers == NULL || url.failed) {
        result = output_fail(remote->json, BQ_NOMEM, "%s", bq_strerror(BQ_NOMEM));
        goto done;
    }
    curl_easy_setopt(curl, CURLOPT_URL, url.ptr);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.ptr);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, TIMEOUT_SECONDS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    CURLcode sent = curl_easy_perform(curl);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    if (sent != CURLE_OK) {
        result = output_fail(remote->json,
                             sent == CURLE_OPERATION_TIMEDOUT ? BQ_TIMEOUT : BQ_NETWORK,
                             "%s cannot be reached (%s); check the URL and that it serves",
                             remote->url, error[0] == '\0' ? curl_easy_strerror(sent) : error);
    } else {
        result = code / 100 == 2 ? CLI_OK : refuse(remote, function, code, answer);
    }
done:
    curl_slist_free_all(headers);
    buf_release(&url);
    return result;
}
