/* test_routes.c - the list of routes is the truth: each line is answered by the server as its role
 * says, for a user, for anon and without a token. */
#include "http_client.h"
#include "serve.h"
#include "token.h"

#include "base/status.h"
#include "server/routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define A "5f3a7a52-8c39-4f5e-9d4e-0c2f6f9b1a11"

struct line {
    char method[16];
    char path[128];
    char role[24];
};

/* The next line of the list; false at its end. */
static bool next_line(const char **rest, struct line *out)
{
    int n = 0;
    if (sscanf(*rest, "%15s %127s %23s%n", out->method, out->path, out->role, &n) != 3) {
        return false;
    }
    *rest += n;
    return true;
}

static void has(const char *list, const char *line)
{
    if (strstr(list, line) == NULL) {
        fail_msg("the list lacks %s", line);
    }
}

static void the_list_names_functions_tables_and_the_rest(void **state)
{
    (void)state;
    struct buf list = BUF_INIT;
    routes_print(&list);
    has(list.ptr, "GET /healthz open\n");
    has(list.ptr, "POST /rest/v1/rpc/sync_exchange authenticated\n");
    has(list.ptr, "GET /rest/v1/rpc/get_user_sync_data authenticated\n");
    has(list.ptr, "POST /rest/v1/rpc/sync_user_erase service_role\n");
    has(list.ptr, "GET /rest/v1/user_sync_queue authenticated\n");
    has(list.ptr, "POST /rest/v1/user_sync_data authenticated\n");
    has(list.ptr, "DELETE /rest/v1/user_sync_data_v2 nobody\n");
    has(list.ptr, "GET /realtime/v1/websocket open\n");
    has(list.ptr, "POST /auth/v1/token anon\n");
    assert_null(strstr(list.ptr, "GET /rest/v1/rpc/sync_exchange"));
    buf_release(&list);
}

static int status_of(unsigned port, const struct line *line, const char *token, bool *out_empty)
{
    struct http_answer answer;
    bool body = strcmp(line->method, "GET") != 0 && strcmp(line->method, "HEAD") != 0 &&
                strcmp(line->method, "DELETE") != 0;
    int fd = http_connect(port);
    char request[2000];
    int n = snprintf(request, sizeof request,
                     "%s %s HTTP/1.1\r\nHost: x\r\n%s%s%s%sConnection: close\r\n\r\n%s",
                     line->method, line->path, token == NULL ? "" : "Authorization: Bearer ",
                     token == NULL ? "" : token, token == NULL ? "" : "\r\n",
                     body ? "Content-Type: application/json\r\nContent-Length: 2\r\n" : "",
                     body ? "{}" : "");
    assert_true(fd >= 0 && http_write(fd, request, (size_t)n));
    http_read(fd, strcmp(line->method, "HEAD") == 0, &answer);
    *out_empty = answer.body == NULL || answer.body_len == 0 || strcmp(answer.body, "[]") == 0;
    int status = answer.status;
    http_release(&answer);
    close(fd);
    return status;
}

/* Nothing below /rest/v1 gives anon anything, and what is nobody's is refused to everybody. */
static void each_route_is_closed_to_those_below_its_role(void **state)
{
    (void)state;
    struct serve serve;
    struct buf list = BUF_INIT;
    struct line line;
    unsigned n = 0;
    char *user = token_user(A);
    char *anon = token_make("anon", NULL, (int64_t)time(NULL) + 3600);
    routes_print(&list);
    serve_init(&serve);
    assert_int_equal(serve_start(&serve), BQ_OK);
    for (const char *rest = list.ptr; next_line(&rest, &line); n++) {
        bool rest_api = strncmp(line.path, "/rest/v1/", 9) == 0;
        const char *const weaker[] = {NULL, anon, user};
        bool service = strcmp(line.role, "service_role") == 0;
        bool nobody = strcmp(line.role, "nobody") == 0;
        for (size_t i = 0; rest_api && i < (service || nobody ? 3 : 2); i++) {
            bool empty;
            int status = status_of(serve.port, &line, weaker[i], &empty);
            bool refused = status == (i == 2 ? 403 : 401);
            /* Reading under RLS is no refusal: there is nothing to see. */
            if (!refused && !(!service && !nobody && (status == 200 || status == 204) && empty)) {
                fail_msg("%s %s as %zu: %d", line.method, line.path, i, status);
            }
        }
    }
    assert_in_range(n, 60, 1000);
    serve_release(&serve);
    buf_release(&list);
    free(user);
    free(anon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_list_names_functions_tables_and_the_rest),
        cmocka_unit_test(each_route_is_closed_to_those_below_its_role),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
