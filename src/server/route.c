/* route.c - see route.h. */
#include "server/route.h"

#include "base/utf8.h"

#define REST "/rest/v1/"
#define RPC "rpc/"

static bool method_is(const char *method, const char *const *methods)
{
    for (size_t i = 0; methods[i] != NULL; i++) {
        if (strcmp(method, methods[i]) == 0) {
            return true;
        }
    }
    return false;
}

static const char *const reading[] = {"GET", "HEAD", NULL};
static const char *const known[] = {"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", NULL};
static const char *const of_rpc[] = {"GET", "HEAD", "POST", NULL};

static bool starts_with(struct slice text, const char *start)
{
    size_t n = strlen(start);
    return text.len >= n && memcmp(text.ptr, start, n) == 0;
}

struct route route_of(const char *method, const struct uri *uri)
{
    struct route route = {ROUTE_UNKNOWN, SLICE_NONE, method_is(method, reading)};
    struct slice path = uri->path;
    if (strcmp(method, "OPTIONS") == 0) {
        route.kind = ROUTE_PREFLIGHT;
    } else if (slice_is(path, "/healthz")) {
        route.kind = ROUTE_ALIVE;
    } else if (slice_is(path, "/readyz")) {
        route.kind = ROUTE_READY;
    } else if (starts_with(path, REST) && path.len > sizeof REST - 1) {
        struct slice name = {path.ptr + sizeof REST - 1, path.len - sizeof REST + 1};
        route.kind = ROUTE_TABLE;
        if (starts_with(name, RPC)) {
            route.kind = ROUTE_RPC;
            name = (struct slice){name.ptr + sizeof RPC - 1, name.len - sizeof RPC + 1};
        }
        if (name.len == 0 || memchr(name.ptr, '/', name.len) != NULL) {
            route.kind = ROUTE_UNKNOWN;
        }
        route.name = name;
    }
    return route;
}

bool route_needs_key(const struct route *route)
{
    return route->kind == ROUTE_RPC || route->kind == ROUTE_TABLE || route->kind == ROUTE_UNKNOWN;
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
    while (element.len > 0 && (element.ptr[element.len - 1] == ' ' ||
                               element.ptr[element.len - 1] == '\t')) {
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
    *problem = problem_of(406, "PGRST107",
                          problem_format(arena, "None of these media types are available: %.*s",
                                         SLICE_FMT(text)));
    return false;
}

static bool check_profile(struct arena *arena, struct slice profile, struct problem *problem)
{
    if (profile.ptr == NULL || slice_is(profile, "public")) {
        return true;
    }
    struct slice text = shown(profile);
    *problem = problem_of(406, "PGRST106",
                          problem_format(arena, "Invalid schema: %.*s", SLICE_FMT(text)));
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
    *problem = problem_of(400, "PGRST102",
                          problem_format(arena, "Content-Type not acceptable: %.*s",
                                         SLICE_FMT(text)));
    return false;
}

static bool refuse_path(struct arena *arena, const struct route *route, struct problem *problem)
{
    if (route->kind == ROUTE_TABLE) {
        struct slice text = shown(route->name);
        *problem = problem_of(404, "PGRST205",
                              problem_format(arena, "Could not find the table 'public.%.*s' in the "
                                             "schema cache", SLICE_FMT(text)));
    } else {
        *problem = problem_of(404, "PGRST125", "Invalid path specified in request URL");
    }
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
    if (route->kind == ROUTE_ALIVE || route->kind == ROUTE_READY) {
        if (!route->get) {
            *problem = problem_of(405, "PGRST117",
                                  problem_format(arena, "Unsupported HTTP method: %s", method));
        }
        return route->get;
    }
    if (route->kind != ROUTE_RPC) {
        return refuse_path(arena, route, problem);
    }
    if (!method_is(method, of_rpc)) {
        *problem = problem_of(405, "PGRST101",
                              problem_format(arena, "Cannot use the %s method on RPC", method));
        return false;
    }
    return check_profile(arena, route->get ? head->accept_profile : head->content_profile,
                         problem) &&
           (route->get || check_content_type(arena, head->content_type, problem)) &&
           negotiate(arena, head->accept, out_singular, problem);
}
