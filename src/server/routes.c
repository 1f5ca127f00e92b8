/* routes.c - the table of route.h, with the names of functions and tables in their places. */
#include "server/routes.h"

#include "server/route.h"
#include "server/rpc_table.h"
#include "server/tables.h"

/* The role for one method of one name under an entry; NULL: that does not exist. */
typedef const char *routes_role(const void *item, struct slice method);

static const char *role_of_function(const void *item, struct slice method)
{
    const struct rpc_function *function = item;
    bool writes = function->verb[0] != '\0';
    return writes && !slice_is(method, "POST") ? NULL : role_word(function->role);
}

static const char *role_of_table(const void *item, struct slice method)
{
    const struct table *table = item;
    bool reads = slice_is(method, "GET") || slice_is(method, "HEAD");
    return reads || table->id == TABLE_V1 ? "authenticated" : "nobody";
}

static struct slice next_word(const char **rest)
{
    const char *start = *rest;
    size_t n = strcspn(start, " ");
    *rest = start + n + (start[n] == ' ');
    return (struct slice){start, n};
}

static void print_line(struct buf *out, const struct route_entry *entry, struct slice method,
                       const char *name, const char *role)
{
    size_t n = strcspn(entry->path, "{");
    bool named = name != NULL;
    buf_add_slice(out, method);
    buf_add_char(out, ' ');
    buf_add(out, entry->path, named ? n : strlen(entry->path));
    buf_add_text(out, named ? name : "");
    buf_add_char(out, ' ');
    buf_add_text(out, role);
    buf_add_char(out, '\n');
}

static void print_item(struct buf *out, const struct route_entry *entry, const void *item,
                       const char *name, routes_role *role_of)
{
    const char *rest = entry->methods;
    while (*rest != '\0') {
        struct slice method = next_word(&rest);
        const char *role = role_of(item, method);
        if (role != NULL) {
            print_line(out, entry, method, name, role);
        }
    }
}

/* Routes without a list behind them: what the gate says. */
static const char *role_of_gate(const void *item, struct slice method)
{
    const struct route_entry *entry = item;
    (void)method;
    return entry->gate == GATE_OPEN ? "open" : "anon";
}

static void print_entry(struct buf *out, const struct route_entry *entry)
{
    const struct rpc_function *function;
    if (entry->kind == ROUTE_RPC) {
        for (unsigned i = 0; (function = rpc_at(i)) != NULL; i++) {
            print_item(out, entry, function, function->name, role_of_function);
        }
    } else if (entry->kind == ROUTE_TABLE) {
        for (unsigned i = 0; i < TABLES; i++) {
            const struct table *table = table_get((enum table_id)i);
            print_item(out, entry, table, table->name, role_of_table);
        }
    } else {
        print_item(out, entry, entry, NULL, role_of_gate);
    }
}

void routes_print(struct buf *out)
{
    const struct route_entry *entry;
    for (unsigned i = 0; (entry = route_at(i)) != NULL; i++) {
        print_entry(out, entry);
    }
}
