/* power_judge.c - see power_judge.h. */
#include "power_judge.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *const power_verdict_names[POWER_VERDICTS] = {"good", "lost", "corrupt", "half-applied",
                                                         "inexact"};

char power_why[POWER_WHY];

enum power_verdict power_say(enum power_verdict verdict, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(power_why, sizeof power_why, format, args);
    va_end(args);
    return verdict;
}

/* ---- Fingerprints ---------------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, const void *bytes, size_t n)
{
    const unsigned char *byte = bytes;
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
    }
    return hash ^ hash >> 29;
}

static uint64_t mix_row(uint64_t hash, sqlite3_stmt *row)
{
    for (int i = 0; i < sqlite3_column_count(row); i++) {
        int type = sqlite3_column_type(row, i);
        hash = mix(hash, &type, sizeof type);
        if (type == SQLITE_INTEGER) {
            int64_t number = sqlite3_column_int64(row, i);
            hash = mix(hash, &number, sizeof number);
        } else if (type != SQLITE_NULL) {
            const void *bytes = sqlite3_column_blob(row, i);
            int n = sqlite3_column_bytes(row, i);
            hash = mix(hash, &n, sizeof n);
            hash = mix(hash, bytes, (size_t)n);
        }
    }
    return hash;
}

/* false: it cannot be read. */
static bool mix_rows(sqlite3 *db, const char *sql, uint64_t *hash)
{
    sqlite3_stmt *row;
    int rc = sqlite3_prepare_v2(db, sql, -1, &row, NULL);
    if (rc != SQLITE_OK) {
        return false;
    }
    while ((rc = sqlite3_step(row)) == SQLITE_ROW) {
        *hash = mix_row(*hash, row);
    }
    (void)sqlite3_finalize(row);
    return rc == SQLITE_DONE;
}

uint64_t power_dump(sqlite3 *db)
{
    static const char tables[] = "SELECT name FROM sqlite_schema WHERE type = 'table' AND"
                                 " name NOT LIKE 'sqlite_%' ORDER BY name";
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    sqlite3_stmt *table;
    bool good = mix_rows(db, "SELECT type, name, sql FROM sqlite_schema ORDER BY name", &hash);
    if (!good || sqlite3_prepare_v2(db, tables, -1, &table, NULL) != SQLITE_OK) {
        return 0;
    }
    while (good && sqlite3_step(table) == SQLITE_ROW) {
        char sql[200];
        (void)sqlite3_snprintf(sizeof sql, sql, "SELECT * FROM \"%w\"",
                               sqlite3_column_text(table, 0));
        hash = mix(hash, sql, strlen(sql));
        good = mix_rows(db, sql, &hash);
    }
    (void)sqlite3_finalize(table);
    return !good ? 0 : hash == 0 ? 1 : hash;
}

bool power_sound(sqlite3 *db)
{
    sqlite3_stmt *row;
    bool good = false;
    if (sqlite3_prepare_v2(db, "PRAGMA integrity_check(3)", -1, &row, NULL) == SQLITE_OK) {
        int rc = sqlite3_step(row);
        const char *text =
            rc == SQLITE_ROW ? (const char *)sqlite3_column_text(row, 0) : sqlite3_errmsg(db);
        good = rc == SQLITE_ROW && strcmp(text, "ok") == 0;
        if (!good) {
            (void)power_say(POWER_CORRUPT, "integrity check: %s", text);
        }
        (void)sqlite3_finalize(row);
    } else {
        (void)power_say(POWER_CORRUPT, "integrity check: %s", sqlite3_errmsg(db));
    }
    return good;
}

int64_t power_number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *row;
    int64_t number = -1;
    if (sqlite3_prepare_v2(db, sql, -1, &row, NULL) == SQLITE_OK) {
        if (sqlite3_step(row) == SQLITE_ROW) {
            number = sqlite3_column_int64(row, 0);
        }
        (void)sqlite3_finalize(row);
    }
    return number;
}

/* ---- States ---------------------------------------------------------------------------------- */

size_t power_states_at(const struct power_state *states, size_t n, size_t k)
{
    size_t last = 0;
    for (size_t i = 0; i < n && states[i].at <= k; i++) {
        last = i;
    }
    return last;
}

size_t power_states_find(const struct power_state *states, size_t n, size_t last, uint64_t dump)
{
    for (size_t i = last < n ? last + 1 : n; i > 0; i--) {
        if (states[i - 1].dump == dump) {
            return i - 1;
        }
    }
    return n;
}
