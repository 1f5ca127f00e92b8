/* disk_load.c - the rows of a user, fed to an engine.
 *
 * A lane's parts stand in three tables and any of them may lack a row, so the keys are the union of
 * the three and what lacks has its default. */
#include "client/disk_impl.h"

#include "base/status.h"

static struct slice column_text(sqlite3_stmt *row, int place)
{
    if (sqlite3_column_type(row, place) == SQLITE_NULL) {
        return SLICE_NONE;
    }
    const char *text = (const char *)sqlite3_column_text(row, place);
    return (struct slice){text, (size_t)sqlite3_column_bytes(row, place)};
}

/* Copies a short text into a field of size bytes; false where it does not fit. */
static bool column_copy(sqlite3_stmt *row, int place, char *out, size_t size)
{
    struct slice text = column_text(row, place);
    if (text.ptr == NULL || text.len >= size) {
        return false;
    }
    memcpy(out, text.ptr, text.len);
    out[text.len] = '\0';
    return true;
}

static int load_meta(struct engine *engine, sqlite3_stmt *row)
{
    struct engine_meta meta = {.replaces = ""};
    if (!column_copy(row, 0, meta.device_id, sizeof meta.device_id) ||
        !column_copy(row, 1, meta.replaces, sizeof meta.replaces)) {
        return BQ_CORRUPT;
    }
    meta.epoch = column_text(row, 2);
    meta.cursor = sqlite3_column_int64(row, 3);
    meta.policies_version = sqlite3_column_int64(row, 4);
    meta.policies = column_text(row, 5);
    meta.reported = sqlite3_column_int(row, 6) != 0;
    meta.next_dead = sqlite3_column_int64(row, 7);
    meta.last_exchange_ms = sqlite3_column_int64(row, 8);
    meta.device_info = column_text(row, 9);
    return engine_load_meta(engine, &meta);
}

static int load_lane(struct engine *engine, sqlite3_stmt *row)
{
    struct engine_lane_row lane = {.key = column_text(row, 0),
                                   .version = sqlite3_column_int64(row, 1),
                                   .deleted = sqlite3_column_int(row, 2) != 0,
                                   .epoch = sqlite3_column_int64(row, 3),
                                   .synced = column_text(row, 4),
                                   .mine = column_text(row, 5),
                                   .modified_ms = sqlite3_column_int64(row, 6),
                                   .seed = column_text(row, 7),
                                   .last_op = sqlite3_column_int64(row, 8),
                                   .acked_op = sqlite3_column_int64(row, 9),
                                   .priority = sqlite3_column_int(row, 10),
                                   .refused = sqlite3_column_int(row, 11) != 0,
                                   .guest = sqlite3_column_int(row, 12) != 0};
    if (lane.priority < 0 || lane.priority > 3) {
        return BQ_CORRUPT;
    }
    return engine_load_lane(engine, &lane);
}

static struct engine_edit_row edit_row(sqlite3_stmt *row)
{
    return (struct engine_edit_row){column_text(row, 0), sqlite3_column_int64(row, 1),
                                    column_text(row, 2), column_text(row, 3),
                                    sqlite3_column_int64(row, 4)};
}

static int load_frozen(struct engine *engine, sqlite3_stmt *row)
{
    struct engine_edit_row edit = edit_row(row);
    return engine_load_frozen(engine, &edit);
}

static int load_log(struct engine *engine, sqlite3_stmt *row)
{
    struct engine_edit_row edit = edit_row(row);
    return engine_load_log(engine, &edit);
}

static int load_dead(struct engine *engine, sqlite3_stmt *row)
{
    struct engine_dead_row dead = {sqlite3_column_int64(row, 0), column_text(row, 1),
                                   sqlite3_column_int(row, 2),   column_text(row, 3),
                                   column_text(row, 4),          sqlite3_column_int64(row, 5)};
    return engine_load_dead(engine, &dead);
}

static int load_carried(struct engine *engine, sqlite3_stmt *row)
{
    struct engine_carried_row carried = {sqlite3_column_int64(row, 0), column_text(row, 1),
                                         column_text(row, 2), column_text(row, 3),
                                         column_text(row, 4), sqlite3_column_int64(row, 5)};
    return engine_load_carried(engine, &carried);
}

struct loader {
    const char *sql;
    int (*load)(struct engine *engine, sqlite3_stmt *row);
};

static const struct loader loaders[] = {
    {"SELECT device_id, replaces, epoch, cursor, policies_version, policies, reported, next_dead, "
     "last_exchange_ms, device_info FROM meta WHERE user = ?1",
     load_meta},
    {"SELECT k.key, coalesce(s.version, 0), coalesce(s.deleted, 0), coalesce(s.epoch, 0), "
     "s.document, m.document, coalesce(m.modified_ms, 0), l.seed, coalesce(l.last_op, 0), "
     "coalesce(l.acked_op, 0), coalesce(l.priority, 1), coalesce(l.refused, 0), "
     "coalesce(l.guest, 0) "
     "FROM (SELECT key FROM lane WHERE user = ?1 UNION SELECT key FROM synced WHERE user = ?1 "
     "UNION SELECT key FROM mine WHERE user = ?1) AS k "
     "LEFT JOIN lane AS l ON l.user = ?1 AND l.key = k.key "
     "LEFT JOIN synced AS s ON s.user = ?1 AND s.key = k.key "
     "LEFT JOIN mine AS m ON m.user = ?1 AND m.key = k.key",
     load_lane},
    {"SELECT key, op, id, edit, at_ms FROM frozen WHERE user = ?1 ORDER BY key, op", load_frozen},
    {"SELECT key, op, id, edit, at_ms FROM log WHERE user = ?1 ORDER BY at_ms, rowid", load_log},
    {"SELECT dead_id, key, status, message, edit, at_ms FROM dead WHERE user = ?1 ORDER BY dead_id",
     load_dead},
    {"SELECT number, key, id, device, item, version FROM carried WHERE user = ?1 ORDER BY number",
     load_carried},
};

static int run_loader(struct disk *disk, const struct loader *loader, const char *user,
                      struct engine *engine)
{
    sqlite3_stmt *statement;
    int rc = sqlite3_prepare_v2(disk->db, loader->sql, -1, &statement, NULL);
    if (rc != SQLITE_OK) {
        return disk_fail(disk, rc, "cannot be read");
    }
    int status = BQ_OK;
    (void)disk_bind(statement, 1, slice_of(user));
    while (status == BQ_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        status = loader->load(engine, statement);
        /* A text that could not be fetched for want of memory looks absent to the loader. */
        if (sqlite3_errcode(disk->db) == SQLITE_NOMEM) {
            status = BQ_NOMEM;
        }
        if (status != BQ_OK) {
            (void)disk_say(disk, status, "%s cannot be read: %s", disk->path, status_text(status));
        }
    }
    (void)sqlite3_finalize(statement);
    if (status == BQ_OK && rc != SQLITE_DONE) {
        status = disk_fail(disk, rc, "cannot be read");
    }
    return status;
}

int disk_load(struct disk *disk, const char *user, struct engine *engine)
{
    int status = disk->db == NULL ? disk_recover(disk) : BQ_OK;
    for (size_t i = 0; i < sizeof loaders / sizeof loaders[0] && status == BQ_OK; i++) {
        status = run_loader(disk, &loaders[i], user, engine);
    }
    return status;
}
