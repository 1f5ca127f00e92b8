/* route.c - see route.h. The first entry that fits is the route. */
#include "server/route.h"

#include "base/utf8.h"

static const struct route_entry entries[] = {
    {ROUTE_ALIVE, "/healthz", "GET HEAD", GATE_OPEN},
    {ROUTE_READY, "/readyz", "GET HEAD", GATE_OPEN},
    {ROUTE_RPC, "/rest/v1/rpc/{name}", "GET HEAD POST", GATE_KEY},
    {ROUTE_REALTIME, "/realtime/v1/websocket", "GET", GATE_OPEN},
    {ROUTE_TABLE, "/rest/v1/{name}", "GET HEAD POST PATCH DELETE", GATE_KEY},
    {ROUTE_AUTH, "/auth/v1/signup", "POST", GATE_APIKEY},
    {ROUTE_AUTH, "/auth/v1/token", "POST", GATE_APIKEY},
    {ROUTE_AUTH, "/auth/v1/user", "GET HEAD PUT", GATE_APIKEY},
    {ROUTE_AUTH, "/auth/v1/logout", "POST", GATE_APIKEY},
    {ROUTE_AUTH, "/auth/v1/settings", "GET HEAD", GATE_APIKEY},
    {ROUTE_AUTH, "/auth/v1/health", "GET HEAD", GATE_APIKEY},
    {ROUTE_AUTH, "/auth/v1/.well-known/jwks.json", "GET HEAD", GATE_OPEN},
    {ROUTE_AUTH, "/auth/v1/admin/users", "GET HEAD POST", GATE_APIKEY},
    {ROUTE_AUTH, "/auth/v1/admin/users/{name}", "GET HEAD PUT DELETE", GATE_APIKEY},
    {ROUTE_AUTH, "/auth/v1/{name}", "GET HEAD POST PUT DELETE PATCH", GATE_APIKEY},
};

#define N_ENTRIES (sizeof entries / sizeof entries[0])

const struct route_entry *route_at(unsigned i)
{
    return i < N_ENTRIES ? &entries[i] : NULL;
}

/* Whether the method is one of the words. */
static bool method_is(const char *method, const char *words)
{
    size_t n = strlen(method);
    const char *at = n == 0 ? NULL : strstr(words, method);
    while (at != NULL && !((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))) {
        at = strstr(at + 1, method);
    }
    return at != NULL;
}

static const char reading[] = "GET HEAD";
static const char known[] = "GET HEAD POST PATCH PUT DELETE";

/* Whether the path is the entry's; *out_name is what stands for its last segment. */
static bool path_is(struct slice path, const struct route_entry *entry, struct slice *out_name)
{
    const char *brace = strchr(entry->path, '{');
    *out_name = SLICE_NONE;
    if (brace == NULL) {
        return slice_is(path, entry->path);
    }
    size_t n = (size_t)(brace - entry->path);
    if (path.len <= n || memcmp(path.ptr, entry->path, n) != 0 ||
        memchr(path.ptr + n, '/', path.len - n) != NULL) {
        return false;
    }
    *out_name = (struct slice){path.ptr + n, path.len - n};
    return true;
}

struct route route_of(const char *method, const struct uri *uri)
{
    struct route route = {.kind = ROUTE_UNKNOWN, .get = method_is(method, reading)};
    if (strcmp(method, "OPTIONS") == 0) {
        route.kind = ROUTE_PREFLIGHT;
        return route;
    }
    for (size_t i = 0; i < N_ENTRIES && route.entry == NULL; i++) {
        if (path_is(uri->path, &entries[i], &route.name)) {
            route.entry = &entries[i];
            route.kind = entries[i].kind;
        }
    }
    return route;
}

bool route_needs_key(const struct route *route)
{
    return route->kind != ROUTE_PREFLIGHT && route->kind != ROUTE_PROXY &&
           (route->entry == NULL || route->entry->gate == GATE_KEY);
}

/* A header's text in a sentence: as it is where it is plain, else a question mark. */
static struct slice shown(struct slice text)
{
    return text.len <= 200 && utf8_is_plain(text) ? text : SLICE("?");
}

/* The next element of a comma list, without parameters and blanks; empty at the end. */
static struct slice next_element(struct slice *rest)
{
    const char *comma = rest->len == 0 ? NULL : memchr(rest->ptr, ',', rest->len);
    struct slice element = *rest;
    if (comma != NULL) {
        element.len = (size_t)(comma - rest->ptr);
    }
    size_t taken = element.len + (comma != NULL);
    *rest = (struct slice){rest->ptr + taken, rest->len - taken};
    const char *semicolon = element.len == 0 ? NULL : memchr(element.ptr, ';', element.len);
    if (semicolon != NULL) {
        element.len = (size_t)(semicolon - element.ptr);
    }
    while (element.len > 0 && (element.ptr[0] == ' ' || element.ptr[0] == '\t')) {
        element.ptr++;
        element.len--;
    }
    while (element.len > 0 &&
           (element.ptr[element.len - 1] == ' ' || element.ptr[element.len - 1] == '\t')) {
        element.len--;
    }
    return element;
}

/* The first media type of Accept that we have. */
static bool negotiate(struct arena *arena, struct slice accept, bool *out_singular,
                      struct problem *problem)
{
    static const char *const ours[] = {"*/*", "application/*", "application/json",
                                       "application/vnd.pgrst.array+json",
                                       "application/vnd.pgrst.array"};
    struct slice rest = accept;
    *out_singular = false;
    if (accept.ptr == NULL || accept.len == 0) {
        return true;
    }
    while (rest.len > 0) {
        struct slice type = next_element(&rest);
        if (head_token_is(type, "application/vnd.pgrst.object+json") ||
            head_token_is(type, "application/vnd.pgrst.object")) {
            *out_singular = true;
            return true;
        }
        for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
            if (head_token_is(type, ours[i])) {
                return true;
            }
        }
    }
    struct slice text = shown(accept);
    *problem = problem_of(
        406, "PGRST107",
        problem_format(arena, "None of these media types are available: %.*s", SLICE_FMT(text)));
    return false;
}

static bool check_profile(struct arena *arena, struct slice profile, struct problem *problem)
{
    if (profile.ptr == NULL || slice_is(profile, "public")) {
        return true;
    }
    struct slice text = shown(profile);
    *problem =
        problem_of(406, "PGRST106", problem_format(arena, "Invalid schema: %.*s", SLICE_FMT(text)));
    problem->hint = "Only the following schemas are exposed: public";
    return false;
}

static bool check_content_type(struct arena *arena, struct slice type, struct problem *problem)
{
    struct slice rest = type;
    if (type.ptr == NULL || type.len == 0 ||
        head_token_is(next_element(&rest), "application/json")) {
        return true;
    }
    struct slice text = shown(type);
    *problem =
        problem_of(400, "PGRST102",
                   problem_format(arena, "Content-Type not acceptable: %.*s", SLICE_FMT(text)));
    return false;
}

static bool refuse_method(struct arena *arena, const struct route *route, const char *method,
                          struct problem *problem)
{
    *problem =
        route->kind == ROUTE_RPC
            ? problem_of(405, "PGRST101",
                         problem_format(arena, "Cannot use the %s method on RPC", method))
            : problem_of(405, "PGRST117",
                         problem_format(arena, "Unsupported HTTP method: %s", method));
    return false;
}

bool route_check(struct arena *arena, const struct route *route, const char *method,
                 const struct head *head, bool *out_singular, struct problem *problem)
{
    *out_singular = false;
    if (route->kind == ROUTE_PREFLIGHT) {
        return true;
    }
    if (!method_is(method, known)) {
        *problem = problem_of(405, "PGRST117",
                              problem_format(arena, "Unsupported HTTP method: %s", method));
        return false;
    }
    if (route->kind == ROUTE_UNKNOWN) {
        *problem = problem_of(404, "PGRST125", "Invalid path specified in request URL");
        return false;
    }
    if (route->kind == ROUTE_PROXY) {
        return true; /* the upstream says what it takes */
    }
    if (route->kind == ROUTE_STUB && !route->get) {
        return refuse_method(arena, route, method, problem);
    }
    if (route->kind == ROUTE_AUTH) {
        return true; /* unknown endpoints and methods are its own to answer */
    }
    if (route->kind == ROUTE_ALIVE || route->kind == ROUTE_READY ||
        route->kind == ROUTE_REALTIME) {
        return method_is(method, route->entry->methods) ||
               refuse_method(arena, route, method, problem);
    }
    if (!method_is(method, route->entry->methods)) {
        return refuse_method(arena, route, method, problem);
    }
    return check_profile(arena, route->get ? head->accept_profile : head->content_profile,
                         problem) &&
           (route->get || check_content_type(arena, head->content_type, problem)) &&
           negotiate(arena, head->accept, out_singular, problem);
}
