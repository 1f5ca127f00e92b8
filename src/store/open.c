/* open.c - see open.h. */
#include "store/open.h"

#include "base/status.h"
#include "store/postgres.h"
#include "store/sqlite.h"

#include <stdio.h>

#define SQLITE "sqlite:"

/* The path behind sqlite:, or NULL. */
static const char *sqlite_path(const char *where)
{
    const char *path = where + sizeof SQLITE - 1;
    return strncmp(where, SQLITE, sizeof SQLITE - 1) == 0 && *path != '\0' ? path : NULL;
}

bool store_place_is_known(const char *where)
{
    return sqlite_path(where) != NULL || store_postgres_is_url(where);
}

void store_place_print(struct buf *out, const char *where)
{
    const char *scheme_end = strstr(where, "://");
    if (store_postgres_is_url(where)) {
        store_postgres_print_url(out, where);
    } else if (sqlite_path(where) == NULL && scheme_end != NULL) {
        buf_add_format(out, "%.*s://...", (int)(scheme_end - where), where);
    } else {
        buf_add_text(out, where);
    }
}

int store_place_check(const char *where, char *error, size_t error_size)
{
    if (store_place_is_known(where)) {
        return BQ_OK;
    }
    if (error != NULL && error_size > 0) {
        struct buf place = BUF_INIT;
        store_place_print(&place, where);
        snprintf(error, error_size, "--store wants " STORE_PLACES ", not %.*s",
                 SLICE_FMT(buf_slice(&place)));
        buf_release(&place);
    }
    return BQ_INVALID;
}

int store_open(const struct store_open_config *config, struct store **out, char *error,
               size_t error_size)
{
    const char *path = sqlite_path(config->where);
    if (path != NULL) {
        const struct store_sqlite_config sqlite = {.size = sizeof sqlite,
                                                   .path = path,
                                                   .n_history = config->n_history,
                                                   .create = config->create,
                                                   .read_only = config->read_only,
                                                   .random = config->random};
        return store_sqlite_open(&sqlite, out, error, error_size);
    }
    if (store_postgres_is_url(config->where)) {
        const struct store_postgres_config postgres = {.size = sizeof postgres,
                                                       .url = config->where,
                                                       .n_history = config->n_history,
                                                       .create = config->create,
                                                       .read_only = config->read_only,
                                                       .problem = config->problem,
                                                       .cls = config->cls};
        return store_postgres_open(&postgres, out, error, error_size);
    }
    return store_place_check(config->where, error, error_size);
}
