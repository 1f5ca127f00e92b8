/* elsewhere.c - see elsewhere.h. */
#include "server/elsewhere.h"

#include "server/rpc_table.h"
#include "server/tables.h"

#define REST "/rest/v1/"
#define RPC "rpc/"
#define AUTH "/auth/v1/"

/* Our tables, and their like in a database that our SQL was loaded into. */
static const char *const table_names[] = {"user_sync_", "user_devices"};

/* Doors to a whole database: GraphQL, and the SQL of an operator's console. */
static const char *const doors[] = {"/graphql", "/pg"};

static bool begins(struct slice text, const char *with)
{
    size_t n = strlen(with);
    return text.len >= n && memcmp(text.ptr, with, n) == 0;
}

static struct slice behind(struct slice text, const char *prefix)
{
    size_t n = strlen(prefix);
    return (struct slice){text.ptr + n, text.len - n};
}

static bool has_slash(struct slice text)
{
    return text.len > 0 && memchr(text.ptr, '/', text.len) != NULL;
}

static bool is_listed(const char *list, struct slice name)
{
    while (list != NULL && *list != '\0') {
        size_t n = strcspn(list, ",");
        if (n == name.len && n > 0 && memcmp(list, name.ptr, n) == 0) {
            return true;
        }
        list += n + (list[n] == ',');
    }
    return false;
}

static char lower_of(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Whether the word stands somewhere in the text; backslashes, which quote a letter inside a quoted
 * name, are passed over, and so are capitals. */
static bool holds(struct slice text, const char *word)
{
    for (size_t i = 0; i < text.len; i++) {
        size_t at = i;
        size_t k = 0;
        while (at < text.len && word[k] != '\0') {
            if (text.ptr[at] != '\\') {
                if (lower_of(text.ptr[at]) != word[k]) {
                    break;
                }
                k++;
            }
            at++;
        }
        if (word[k] == '\0') {
            return true;
        }
    }
    return false;
}

static bool names_table(struct slice text)
{
    for (size_t i = 0; i < sizeof table_names / sizeof table_names[0]; i++) {
        if (holds(text, table_names[i])) {
            return true;
        }
    }
    return false;
}

static bool is_own_table(struct slice name)
{
    return table_find(name) != NULL || names_table(name);
}

/* The names of parameters (filters on what is embedded) and the values that embed. */
static bool embeds_table(const struct uri *uri)
{
    for (unsigned i = 0; i < uri->n_query; i++) {
        const struct uri_pair *pair = &uri->query[i];
        bool embeds = slice_is(pair->name, "select") || slice_is(pair->name, "order");
        if (names_table(pair->name) || (embeds && names_table(pair->value))) {
            return true;
        }
    }
    return false;
}

/* Whether the pattern may fit a name that begins with the word: "_" stands for any letter. */
static bool fits(struct slice pattern, const char *word)
{
    size_t at = 0;
    for (; *word != '\0'; word++) {
        at += at < pattern.len && pattern.ptr[at] == '\\';
        if (at >= pattern.len || (pattern.ptr[at] != '_' && lower_of(pattern.ptr[at]) != *word)) {
            return false;
        }
        at++;
    }
    return true;
}

static bool is_any(struct slice pattern)
{
    return slice_is(pattern, "*") ||
           (pattern.len > 0 && memchr(pattern.ptr, '%', pattern.len) != NULL);
}

bool elsewhere_has_rows(struct slice schema, struct slice table)
{
    if (table.ptr == NULL || is_any(table)) {
        return schema.ptr != NULL && !is_any(schema) && !fits(schema, "public");
    }
    for (size_t i = 0; i < sizeof table_names / sizeof table_names[0]; i++) {
        if (fits(table, table_names[i])) {
            return false;
        }
    }
    return !is_own_table(table);
}

static bool refuse_path(struct problem *problem, unsigned http, const char *details)
{
    *problem = problem_detailed(http, "PGRST125", "Invalid path specified in request URL", details);
    return false;
}

/* Whether a path may go on: one that has one reading. */
static bool check_path(struct slice path, struct problem *problem)
{
    for (size_t i = 0; i + 1 < path.len; i++) {
        if (path.ptr[i] == '/' && path.ptr[i + 1] == '/') {
            return refuse_path(problem, 400, "a segment of it is empty");
        }
    }
    if (path.len > 0 && memchr(path.ptr, '\\', path.len) != NULL) {
        return refuse_path(problem, 400, "there is a backslash in it");
    }
    for (size_t i = 0; i < sizeof doors / sizeof doors[0]; i++) {
        size_t n = strlen(doors[i]);
        if (begins(path, doors[i]) && (path.len == n || path.ptr[n] == '/')) {
            return refuse_path(problem, 404, "a whole database is not passed on");
        }
    }
    return true;
}

/* Behind /rest/v1/ of the upstream: a table, a function, or the description of all. */
static bool check_rest(struct slice rest, const struct uri *uri, struct problem *problem)
{
    bool function = begins(rest, RPC);
    struct slice name = function ? behind(rest, RPC) : rest;
    if (has_slash(name) || (function && name.len == 0)) {
        return refuse_path(problem, 404, NULL);
    }
    if (function && slice_is(name, "graphql")) {
        return refuse_path(problem, 404, "a whole database is not passed on");
    }
    if (embeds_table(uri)) {
        *problem = problem_detailed(400, "PGRST200",
                                    "Could not find a relationship in the schema cache",
                                    "tables of this server are not embedded in others");
        return false;
    }
    return true;
}

/* Whether a request is answered here, whatever the answer. */
static bool is_ours(const struct elsewhere *elsewhere, const struct route *route,
                    struct slice path)
{
    switch (route->kind) {
    case ROUTE_RPC:
        return rpc_find(route->name) != NULL;
    case ROUTE_TABLE:
        return is_own_table(route->name);
    case ROUTE_AUTH:
        return elsewhere->accounts;
    case ROUTE_UNKNOWN:
        return elsewhere->accounts && begins(path, AUTH);
    case ROUTE_PREFLIGHT:
    case ROUTE_ALIVE:
    case ROUTE_READY:
    case ROUTE_REALTIME:
    case ROUTE_STUB:
    case ROUTE_PROXY:
        break;
    }
    return true;
}

bool elsewhere_route(const struct elsewhere *elsewhere, const struct uri *uri, struct route *route,
                     struct problem *problem)
{
    if (is_ours(elsewhere, route, uri->path)) {
        return true;
    }
    if (route->kind == ROUTE_TABLE && is_listed(elsewhere->stub_tables, route->name)) {
        route->kind = ROUTE_STUB;
        return true;
    }
    if (!elsewhere->upstream) {
        return true;
    }
    if (!check_path(uri->path, problem) ||
        (begins(uri->path, REST) && !check_rest(behind(uri->path, REST), uri, problem))) {
        return false;
    }
    route->kind = ROUTE_PROXY;
    return true;
}

void elsewhere_print_path(struct buf *out, struct slice path)
{
    static const char plain[] = "-._~!$&'()*+,;=:@/";
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];
        bool letter = lower_of(c) >= 'a' && lower_of(c) <= 'z';
        if (letter || (c >= '0' && c <= '9') || memchr(plain, c, sizeof plain - 1) != NULL) {
            buf_add_char(out, c);
        } else {
            unsigned char byte = (unsigned char)c;
            buf_add_char(out, '%');
            buf_add_char(out, digits[byte >> 4]);
            buf_add_char(out, digits[byte & 15]);
        }
    }
}
