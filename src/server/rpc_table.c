/* rpc_table.c - the table, and PostgREST's words for what is not in it. */
#include "server/rpc_table.h"

#include "base/status.h"

#include <stdlib.h>

#define NAME_COMPARED_MAX 64u
#define LIST_BYTES 600u

static const struct rpc_function functions[] = {
    {"sync_exchange", "INSERT", "p_user_id", OP_EXCHANGE, RPC_SCALAR, ROLE_AUTHENTICATED, 8,
     {{"p_device_id", RPC_TEXT, false}, {"p_epoch", RPC_TEXT, false},
      {"p_edits", RPC_JSONB, false}, {"p_cursor", RPC_INT8, false}, {"p_limit", RPC_INT4, true},
      {"p_policies", RPC_INT4, true}, {"p_proto", RPC_INT4, true},
      {"p_user_id", RPC_UUID, true}}},
    {"sync_report", "INSERT", "p_user_id", OP_REPORT, RPC_VOID, ROLE_AUTHENTICATED, 5,
     {{"p_device_id", RPC_TEXT, false}, {"p_device_info", RPC_JSONB, true},
      {"p_replaces", RPC_TEXT, true}, {"p_failed", RPC_JSONB, true},
      {"p_user_id", RPC_UUID, true}}},
    {"sync_policies", "", NULL, OP_POLICIES, RPC_SCALAR, ROLE_AUTHENTICATED, 0,
     {{NULL, RPC_TEXT, false}}},
    {"sync_policy_set", "INSERT", NULL, OP_POLICY_SET, RPC_VOID, ROLE_SERVICE, 2,
     {{"p_pattern", RPC_TEXT, false}, {"p_policy", RPC_JSONB, false}}},
    {"sync_user_erase", "DELETE", "p_user_id", OP_USER_ERASE, RPC_VOID, ROLE_SERVICE, 1,
     {{"p_user_id", RPC_UUID, false}}},
    {"atomic_sync_upsert", "INSERT", "p_user_id", OP_UPSERT, RPC_SCALAR, ROLE_AUTHENTICATED, 5,
     {{"p_user_id", RPC_UUID, false}, {"p_data_key", RPC_TEXT, false},
      {"p_data", RPC_JSONB, false}, {"p_expected_version", RPC_INT4, false},
      {"p_device_id", RPC_TEXT, true}}},
    {"get_user_sync_data", "", "p_user_id", OP_USER_DATA, RPC_ROWS, ROLE_AUTHENTICATED, 1,
     {{"p_user_id", RPC_UUID, false}}},
    {"get_user_sync_status", "", "p_user_id", OP_USER_STATUS, RPC_ROWS, ROLE_AUTHENTICATED, 1,
     {{"p_user_id", RPC_UUID, false}}},
    {"update_sync_metadata", "INSERT", "p_user_id", OP_METADATA, RPC_VOID, ROLE_AUTHENTICATED, 4,
     {{"p_user_id", RPC_UUID, false}, {"p_device_id", RPC_TEXT, false},
      {"p_version", RPC_INT4, false}, {"p_device_info", RPC_JSONB, true}}},
    {"delete_user_sync_data", "DELETE", "p_user_id", OP_DELETE_ALL, RPC_VOID, ROLE_AUTHENTICATED, 1,
     {{"p_user_id", RPC_UUID, false}}},
    {"atomic_sync_data", "INSERT", "target_user_id", OP_V1_SYNC, RPC_SCALAR, ROLE_AUTHENTICATED, 2,
     {{"target_user_id", RPC_UUID, false}, {"new_data", RPC_JSONB, false}}},
    {"atomic_add_device", "INSERT", "target_user_id", OP_V1_ADD_DEVICE, RPC_SCALAR,
     ROLE_AUTHENTICATED, 4,
     {{"target_user_id", RPC_UUID, false}, {"device_id_param", RPC_TEXT, false},
      {"device_name_param", RPC_TEXT, false}, {"device_type_param", RPC_TEXT, false}}},
    {"atomic_remove_device", "DELETE", "target_user_id", OP_V1_REMOVE_DEVICE, RPC_SCALAR,
     ROLE_AUTHENTICATED, 2,
     {{"target_user_id", RPC_UUID, false}, {"device_id_param", RPC_TEXT, false}}},
    {"migrate_sync_data_v1_to_v2", "", NULL, OP_MIGRATE, RPC_VOID, ROLE_SERVICE, 0,
     {{NULL, RPC_TEXT, false}}},
};

#define N_FUNCTIONS (sizeof functions / sizeof functions[0])

const struct rpc_function *rpc_find(struct slice name)
{
    for (unsigned i = 0; i < N_FUNCTIONS; i++) {
        if (slice_is(name, functions[i].name)) {
            return &functions[i];
        }
    }
    return NULL;
}

const struct rpc_function *rpc_at(unsigned i)
{
    return i < N_FUNCTIONS ? &functions[i] : NULL;
}

int rpc_param_index(const struct rpc_function *function, struct slice name)
{
    for (unsigned i = 0; i < function->n_params; i++) {
        if (slice_is(name, function->params[i].name)) {
            return (int)i;
        }
    }
    return -1;
}

/* Levenshtein's distance; both at most NAME_COMPARED_MAX long. */
static size_t distance(struct slice a, struct slice b)
{
    size_t row[NAME_COMPARED_MAX + 1];
    for (size_t j = 0; j <= b.len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t change = diagonal + (a.ptr[i - 1] != b.ptr[j - 1]);
            size_t gap = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < gap ? change : gap;
        }
    }
    return row[b.len];
}

/* The function whose name is at least three quarters the same, or NULL. */
static const struct rpc_function *similar(struct slice name)
{
    const struct rpc_function *best = NULL;
    size_t best_distance = SIZE_MAX;
    for (unsigned i = 0; i < N_FUNCTIONS && name.len <= NAME_COMPARED_MAX; i++) {
        struct slice other = slice_of(functions[i].name);
        size_t longer = name.len > other.len ? name.len : other.len;
        size_t d = distance(name, other);
        if (d * 4 <= longer && d < best_distance) {
            best = &functions[i];
            best_distance = d;
        }
    }
    return best;
}

/* Appends names with ", " between them, cut after LIST_BYTES. */
static void print_names(struct buf *out, const struct slice *names, unsigned n)
{
    size_t start = out->len;
    for (unsigned i = 0; i < n; i++) {
        if (out->len - start + names[i].len > LIST_BYTES) {
            buf_add_text(out, i == 0 ? "..." : ", ...");
            return;
        }
        buf_add_text(out, i == 0 ? "" : ", ");
        buf_add_slice(out, names[i]);
    }
}

/* By bytes, as PostgREST sorts them. */
static int compare_names(const void *a, const void *b)
{
    const struct slice *x = a;
    const struct slice *y = b;
    int order = memcmp(x->ptr, y->ptr, x->len < y->len ? x->len : y->len);
    return order != 0 ? order : x->len < y->len ? -1 : x->len > y->len;
}

/* "Perhaps you meant ..." where the name is known and a third of the parameters fits, or where
 * another name is similar; else NULL. */
static const char *hint_of(struct arena *arena, struct slice name, const struct slice *given,
                           unsigned n_given)
{
    const struct rpc_function *function = rpc_find(name);
    unsigned n_common = 0;
    if (function == NULL) {
        function = similar(name);
        return function == NULL ? NULL
                                : problem_format(arena, "Perhaps you meant to call the function "
                                                 "public.%s", function->name);
    }
    for (unsigned i = 0; i < n_given; i++) {
        n_common += rpc_param_index(function, given[i]) >= 0;
    }
    unsigned n_all = function->n_params + n_given - n_common;
    if (n_common * 3 < n_all || n_common == 0) {
        return NULL;
    }
    struct slice names[RPC_PARAMS_MAX];
    struct buf list = BUF_INIT;
    for (unsigned i = 0; i < function->n_params; i++) {
        names[i] = slice_of(function->params[i].name);
    }
    print_names(&list, names, function->n_params);
    const char *hint = problem_format(arena, "Perhaps you meant to call the function public.%s(%s)",
                                      function->name, list.ptr == NULL ? "" : list.ptr);
    buf_release(&list);
    return hint;
}

struct problem rpc_not_found(struct arena *arena, struct slice name, const struct slice *given,
                             unsigned n_given, bool get)
{
    struct buf list = BUF_INIT;
    struct problem problem = problem_of(404, "PGRST202", "");
    struct slice *sorted = arena_alloc(arena, (n_given + 1) * sizeof *sorted);
    if (sorted == NULL) {
        return problem_of_status(arena, BQ_NOMEM, "");
    }
    memcpy(sorted, given, n_given * sizeof *sorted);
    qsort(sorted, n_given, sizeof *sorted, compare_names);
    print_names(&list, sorted, n_given);
    const char *names = list.ptr == NULL ? "" : list.ptr;
    int shown = name.len > 200 ? 200 : (int)name.len;
    const char *unnamed = get ? "" : " or with a single unnamed json/jsonb parameter";
    if (n_given == 0) {
        problem.message = problem_format(arena, "Could not find the function public.%.*s without "
                                         "parameters in the schema cache", shown, name.ptr);
        problem.details = problem_format(
            arena, "Searched for the function public.%.*s without parameters%s, but no matches "
            "were found in the schema cache.", shown, name.ptr, unnamed);
    } else {
        problem.message = problem_format(arena, "Could not find the function public.%.*s(%s) in "
                                         "the schema cache", shown, name.ptr, names);
        problem.details = problem_format(
            arena, "Searched for the function public.%.*s with parameter%s %s%s, but no matches "
            "were found in the schema cache.", shown, name.ptr, n_given == 1 ? "" : "s", names,
            unnamed);
    }
    problem.hint = hint_of(arena, name, given, n_given);
    buf_release(&list);
    return problem;
}
