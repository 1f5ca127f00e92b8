/* disk.c - statements, transactions, and saving the actions of a step. */
#include "client/disk.h"

#include "client/disk_impl.h"

#include "base/plant.h"
#include "base/status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define HANDED_OVER_TEXT (DISK_USER_TEXT + 16)

static const char *const sql_of[DISK_N_STATEMENTS] = {
#define DISK_STATEMENT_SQL(name, sql) sql,
    DISK_STATEMENTS(DISK_STATEMENT_SQL)
#undef DISK_STATEMENT_SQL
};

/* ---- SQLite's answers ------------------------------------------------------------------------ */

static int status_of(sqlite3 *db, int rc)
{
    if (rc == SQLITE_IOERR_NOMEM || rc == SQLITE_NOMEM) {
        return BQ_NOMEM;
    }
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return BQ_DISK_FULL;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return BQ_READ_ONLY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_ERROR:
        return BQ_CORRUPT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return BQ_LOCKED;
    default:
        break;
    }
    int error = db == NULL ? 0 : sqlite3_system_errno(db);
    return error == ENOSPC || error == EDQUOT ? BQ_DISK_FULL : BQ_IO;
}

int disk_fail(struct disk *disk, int rc, const char *what)
{
    int status = status_of(disk->db, rc);
    /* errstr and not errmsg: it cannot hold a piece of a document. */
    return disk_say(disk, status, "%s %s: %s; %s", disk->path, what, sqlite3_errstr(rc),
                    status_text(status));
}

/* ---- Statements ------------------------------------------------------------------------------ */

sqlite3_stmt *disk_statement(struct disk *disk, enum disk_statement which, int *out_rc)
{
    if (disk->db == NULL) {
        *out_rc = SQLITE_IOERR;
        return NULL;
    }
    if (disk->statements[which] == NULL) {
        *out_rc = sqlite3_prepare_v3(disk->db, sql_of[which], -1, SQLITE_PREPARE_PERSISTENT,
                                     &disk->statements[which], NULL);
        if (*out_rc != SQLITE_OK) {
            return NULL;
        }
    }
    *out_rc = SQLITE_OK;
    return disk->statements[which];
}

int disk_run(sqlite3_stmt *statement)
{
    int rc = sqlite3_step(statement);
    int after = sqlite3_reset(statement);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : after != SQLITE_OK ? after : rc;
}

int disk_exec(struct disk *disk, const char *sql)
{
    return sqlite3_exec(disk->db, sql, NULL, NULL, NULL);
}

int disk_query_int(struct disk *disk, const char *sql, int64_t *out)
{
    sqlite3_stmt *statement;
    int rc = sqlite3_prepare_v2(disk->db, sql, -1, &statement, NULL);
    if (rc != SQLITE_OK) {
        return rc;
    }
    rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        *out = sqlite3_column_int64(statement, 0);
        rc = SQLITE_OK;
    } else if (rc == SQLITE_DONE) {
        rc = SQLITE_CORRUPT;
    }
    (void)sqlite3_finalize(statement);
    return rc;
}

int disk_bind(sqlite3_stmt *statement, int place, struct slice text)
{
    return text.ptr == NULL ? sqlite3_bind_null(statement, place)
                            : sqlite3_bind_text64(statement, place, text.ptr, text.len,
                                                  SQLITE_STATIC, SQLITE_UTF8);
}

/* ---- Transactions ---------------------------------------------------------------------------- */

static int run_plain(struct disk *disk, enum disk_statement which, const char *what)
{
    int rc;
    sqlite3_stmt *statement = disk_statement(disk, which, &rc);
    if (statement != NULL) {
        rc = disk_run(statement);
    }
    return rc == SQLITE_OK ? BQ_OK : disk_fail(disk, rc, what);
}

int disk_begin(struct disk *disk)
{
    if (disk->db == NULL) {
        int status = disk_recover(disk);
        if (status != BQ_OK) {
            return status;
        }
    }
    return run_plain(disk, DISK_BEGIN, "cannot be written");
}

int disk_commit(struct disk *disk)
{
    return run_plain(disk, DISK_COMMIT, "cannot be written");
}

void disk_rollback(struct disk *disk)
{
    if (disk->db != NULL && sqlite3_get_autocommit(disk->db) == 0) {
        (void)sqlite3_exec(disk->db, "ROLLBACK", NULL, NULL, NULL);
    }
}

/* ---- Who is signed in ------------------------------------------------------------------------ */

int disk_user(struct disk *disk, char out[DISK_USER_TEXT])
{
    struct uuid uuid = {{0}};
    int rc;
    int status = disk->db == NULL ? disk_recover(disk) : BQ_OK;
    if (status != BQ_OK) {
        return status;
    }
    sqlite3_stmt *statement = disk_statement(disk, DISK_GET_APP, &rc);
    if (statement == NULL) {
        return disk_fail(disk, rc, "cannot be read");
    }
    (void)disk_bind(statement, 1, SLICE("user"));
    rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        struct slice user = {text, (size_t)sqlite3_column_bytes(statement, 0)};
        if (text == NULL) {
            status = disk_fail(disk, SQLITE_NOMEM, "cannot be read");
        } else if (user.len > 0 && !uuid_parse(user, &uuid)) {
            status = disk_fail(disk, SQLITE_CORRUPT, "names no user");
        }
    } else if (rc != SQLITE_DONE) {
        status = disk_fail(disk, rc, "cannot be read");
    }
    (void)sqlite3_reset(statement);
    if (status == BQ_OK) {
        memcpy(out, uuid.text, DISK_USER_TEXT);
    }
    return status;
}

/* A row of app; value NULL removes it. An SQLite code. */
static int put_app(struct disk *disk, const char *name, const char *value)
{
    int rc;
    sqlite3_stmt *statement =
        disk_statement(disk, value == NULL ? DISK_DROP_APP : DISK_PUT_APP, &rc);
    if (statement != NULL) {
        (void)disk_bind(statement, 1, slice_of(name));
        if (value != NULL) {
            (void)disk_bind(statement, 2, slice_of(value));
        }
        rc = disk_run(statement);
    }
    return rc;
}

int disk_set_user(struct disk *disk, const char *user)
{
    int rc = put_app(disk, "user", user);
    return rc == SQLITE_OK ? BQ_OK : disk_fail(disk, rc, "cannot be written");
}

int disk_carries(struct disk *disk)
{
    int rc = put_app(disk, "min_reader", "2");
    return rc == SQLITE_OK ? BQ_OK : disk_fail(disk, rc, "cannot be written");
}

static void handed_over_name(const char *user, char out[HANDED_OVER_TEXT])
{
    (void)snprintf(out, HANDED_OVER_TEXT, "handed_over:%s", user);
}

int disk_handed_over(struct disk *disk, const char *user, bool *out)
{
    char name[HANDED_OVER_TEXT];
    int rc;
    int status = disk->db == NULL ? disk_recover(disk) : BQ_OK;
    if (status != BQ_OK) {
        return status;
    }
    handed_over_name(user, name);
    sqlite3_stmt *statement = disk_statement(disk, DISK_GET_APP, &rc);
    if (statement != NULL) {
        (void)disk_bind(statement, 1, slice_of(name));
        rc = sqlite3_step(statement);
        *out = rc == SQLITE_ROW;
        (void)sqlite3_reset(statement);
    }
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? BQ_OK : disk_fail(disk, rc, "cannot be read");
}

int disk_hand_over(struct disk *disk, const char *user, bool given)
{
    char name[HANDED_OVER_TEXT];
    handed_over_name(user, name);
    int rc = put_app(disk, name, given ? "1" : NULL);
    return rc == SQLITE_OK ? BQ_OK : disk_fail(disk, rc, "cannot be written");
}

int disk_forget(struct disk *disk, const char *user)
{
    static const char *const tables[] = {"meta", "lane", "synced", "mine", "frozen", "log", "dead",
                                         "carried"};
    int rc = SQLITE_OK;
    for (size_t i = 0; i < sizeof tables / sizeof tables[0] && rc == SQLITE_OK; i++) {
        char sql[64];
        sqlite3_stmt *statement;
        (void)sqlite3_snprintf(sizeof sql, sql, "DELETE FROM %s WHERE user = ?1", tables[i]);
        rc = sqlite3_prepare_v2(disk->db, sql, -1, &statement, NULL);
        if (rc == SQLITE_OK) {
            (void)disk_bind(statement, 1, slice_of(user));
            rc = disk_run(statement);
            (void)sqlite3_finalize(statement);
        }
    }
    return rc == SQLITE_OK ? disk_hand_over(disk, user, false)
                           : disk_fail(disk, rc, "cannot be written");
}

/* ---- Saving a step --------------------------------------------------------------------------- */

/* A statement whose first two parameters are the user and a key. */
static sqlite3_stmt *keyed(struct disk *disk, enum disk_statement which, const char *user,
                           struct slice key, int *out_rc)
{
    sqlite3_stmt *statement = disk_statement(disk, which, out_rc);
    if (statement != NULL) {
        (void)disk_bind(statement, 1, slice_of(user));
        (void)disk_bind(statement, 2, key);
    }
    return statement;
}

static int save_meta(struct disk *disk, const char *user, const struct engine_meta *meta)
{
    int rc;
    sqlite3_stmt *statement = keyed(disk, DISK_PUT_META, user, slice_of(meta->device_id), &rc);
    if (statement == NULL) {
        return rc;
    }
    (void)disk_bind(statement, 3, slice_of(meta->replaces));
    (void)disk_bind(statement, 4, meta->epoch);
    (void)sqlite3_bind_int64(statement, 5, meta->cursor);
    (void)sqlite3_bind_int64(statement, 6, meta->policies_version);
    (void)disk_bind(statement, 7, meta->policies);
    (void)sqlite3_bind_int(statement, 8, meta->reported);
    (void)sqlite3_bind_int64(statement, 9, meta->next_dead);
    (void)sqlite3_bind_int64(statement, 10, meta->last_exchange_ms);
    (void)disk_bind(statement, 11, meta->device_info);
    return disk_run(statement);
}

static int save_synced(struct disk *disk, const char *user, const struct engine_lane_row *lane)
{
    int rc;
    sqlite3_stmt *statement = keyed(disk, DISK_PUT_SYNCED, user, lane->key, &rc);
    if (statement == NULL) {
        return rc;
    }
    (void)sqlite3_bind_int64(statement, 3, lane->version);
    (void)sqlite3_bind_int(statement, 4, lane->deleted);
    (void)sqlite3_bind_int64(statement, 5, lane->epoch);
    (void)disk_bind(statement, 6, lane->synced);
    return disk_run(statement);
}

static int save_mine(struct disk *disk, const char *user, const struct engine_lane_row *lane)
{
    int rc;
    sqlite3_stmt *statement = keyed(disk, DISK_PUT_MINE, user, lane->key, &rc);
    if (statement == NULL) {
        return rc;
    }
    (void)disk_bind(statement, 3, lane->mine);
    (void)sqlite3_bind_int64(statement, 4, lane->modified_ms);
    return disk_run(statement);
}

static int save_rest(struct disk *disk, const char *user, const struct engine_lane_row *lane)
{
    int rc;
    sqlite3_stmt *statement = keyed(disk, DISK_PUT_LANE, user, lane->key, &rc);
    if (statement == NULL) {
        return rc;
    }
    (void)disk_bind(statement, 3, lane->seed);
    (void)sqlite3_bind_int64(statement, 4, lane->last_op);
    (void)sqlite3_bind_int64(statement, 5, lane->acked_op);
    (void)sqlite3_bind_int(statement, 6, lane->priority);
    (void)sqlite3_bind_int(statement, 7, lane->refused);
    (void)sqlite3_bind_int(statement, 8, lane->guest);
    return disk_run(statement);
}

static int save_lane(struct disk *disk, const char *user, const struct engine_action *action)
{
    int rc = SQLITE_OK;
    if ((action->parts & ENGINE_LANE_SYNCED) != 0) {
        rc = save_synced(disk, user, &action->lane);
    }
    if (rc == SQLITE_OK && (action->parts & ENGINE_LANE_MINE) != 0) {
        rc = save_mine(disk, user, &action->lane);
    }
    if (rc == SQLITE_OK && (action->parts & ENGINE_LANE_REST) != 0) {
        rc = save_rest(disk, user, &action->lane);
    }
    return rc;
}

static int drop_lane(struct disk *disk, const char *user, struct slice key)
{
    static const enum disk_statement drops[] = {DISK_DROP_SYNCED, DISK_DROP_MINE, DISK_DROP_LANE};
    int rc = SQLITE_OK;
    for (size_t i = 0; i < sizeof drops / sizeof drops[0] && rc == SQLITE_OK; i++) {
        sqlite3_stmt *statement = keyed(disk, drops[i], user, key, &rc);
        if (statement != NULL) {
            rc = disk_run(statement);
        }
    }
    return rc;
}

static int save_edit(struct disk *disk, enum disk_statement which, const char *user,
                     const struct engine_edit_row *edit)
{
    int rc;
    sqlite3_stmt *statement = keyed(disk, which, user, edit->key, &rc);
    if (statement == NULL) {
        return rc;
    }
    (void)sqlite3_bind_int64(statement, 3, edit->op);
    (void)disk_bind(statement, 4, edit->id);
    (void)disk_bind(statement, 5, edit->edit);
    (void)sqlite3_bind_int64(statement, 6, edit->at_ms);
    return disk_run(statement);
}

static int drop_edit(struct disk *disk, enum disk_statement which, const char *user,
                     const struct engine_edit_row *edit)
{
    int rc;
    sqlite3_stmt *statement = keyed(disk, which, user, edit->key, &rc);
    if (statement == NULL) {
        return rc;
    }
    (void)sqlite3_bind_int64(statement, 3, edit->op);
    return disk_run(statement);
}

static int save_dead(struct disk *disk, enum disk_statement which, const char *user,
                     const struct engine_dead_row *dead)
{
    int rc;
    sqlite3_stmt *statement = disk_statement(disk, which, &rc);
    if (statement == NULL) {
        return rc;
    }
    (void)disk_bind(statement, 1, slice_of(user));
    (void)sqlite3_bind_int64(statement, 2, dead->dead_id);
    if (which == DISK_PUT_DEAD) {
        (void)disk_bind(statement, 3, dead->key);
        (void)sqlite3_bind_int(statement, 4, dead->status);
        (void)disk_bind(statement, 5, dead->message);
        (void)disk_bind(statement, 6, dead->edit);
        (void)sqlite3_bind_int64(statement, 7, dead->at_ms);
    }
    return disk_run(statement);
}

static int save_carried(struct disk *disk, const char *user, const struct engine_carried_row *row)
{
    int rc;
    sqlite3_stmt *statement = keyed(disk, DISK_PUT_CARRIED, user, row->key, &rc);
    if (statement == NULL) {
        return rc;
    }
    (void)sqlite3_bind_int64(statement, 3, row->number);
    (void)disk_bind(statement, 4, row->id);
    (void)disk_bind(statement, 5, row->device);
    (void)disk_bind(statement, 6, row->item);
    (void)sqlite3_bind_int64(statement, 7, row->version);
    return disk_run(statement);
}

static int save_one(struct disk *disk, const char *user, const struct engine_action *action)
{
    switch (action->type) {
    case ENGINE_SAVE_META:
        return save_meta(disk, user, action->meta);
    case ENGINE_SAVE_LANE:
        return save_lane(disk, user, action);
    case ENGINE_DROP_LANE:
        return drop_lane(disk, user, action->lane.key);
    case ENGINE_ADD_FROZEN:
        return save_edit(disk, DISK_PUT_FROZEN, user, &action->edit);
    case ENGINE_DROP_FROZEN:
        return drop_edit(disk, DISK_DROP_FROZEN, user, &action->edit);
    case ENGINE_ADD_LOG:
        return save_edit(disk, DISK_PUT_LOG, user, &action->edit);
    case ENGINE_DROP_LOG:
        return drop_edit(disk, DISK_DROP_LOG, user, &action->edit);
    case ENGINE_ADD_DEAD:
        return save_dead(disk, DISK_PUT_DEAD, user, &action->dead);
    case ENGINE_DROP_DEAD:
        return save_dead(disk, DISK_DROP_DEAD, user, &action->dead);
    case ENGINE_PUT_CARRIED:
        return save_carried(disk, user, &action->carried);
    case ENGINE_WIPE:
    case ENGINE_SEND:
    case ENGINE_CANCEL:
    case ENGINE_NOTIFY:
        break;
    }
    return SQLITE_OK;
}

int disk_apply(struct disk *disk, const char *user, const struct engine_actions *actions)
{
    for (uint32_t i = 0; i < actions->n; i++) {
        if (actions->items[i].type == ENGINE_WIPE) {
            int status = disk_forget(disk, user);
            if (status != BQ_OK) {
                return status;
            }
            continue;
        }
        if (PLANTED(STEP_IN_TWO) && i == 1) {
            (void)disk_commit(disk);
            (void)disk_begin(disk);
        }
        int rc = save_one(disk, user, &actions->items[i]);
        if (rc != SQLITE_OK) {
            return disk_fail(disk, rc, "cannot be written");
        }
    }
    return BQ_OK;
}
