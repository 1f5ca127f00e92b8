/* postgres_sql.h - every statement of the PostgreSQL store, by name. Private to its files.
 *
 * Lists come in as arrays, one per column. Rows that belong to the n-th item say so in their first
 * column. All times and ids are bound and read in binary. Rows of published tables are removed by
 * functions of sql/postgres, which hide whose they were (docs/sql.md). */
#ifndef STORE_POSTGRES_SQL_H
#define STORE_POSTGRES_SQL_H

#define PG_USER_COLUMNS                                                                            \
    "seq, generation, clock_us, erased, n_keys, n_bytes, n_tombstones, purged_seq, history_id"

#define PG_DOC_COLUMNS                                                                             \
    "d.data_key, d.version, d.device_id, d.modified_at, d.created_at, d.seq, d.deleted, d.epoch,"  \
    " d.history, r.packed, d.data, d.n_bytes"

#define PG_RECEIPTS_OF_DOC                                                                         \
    " LEFT JOIN user_sync_receipts r ON r.user_id = d.user_id AND r.data_key = d.data_key"

#define PG_ACCOUNT_COLUMNS                                                                         \
    "id, email, password, metadata, disabled, created_at, updated_at, last_sign_in_at"

#define PG_STATEMENTS(X)                                                                           \
    X(BEGIN_WRITE, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")                              \
    X(BEGIN_READ, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")                               \
    X(COMMIT, "COMMIT")                                                                            \
    X(ROLLBACK, "ROLLBACK")                                                                        \
    X(USERS_MAKE, "INSERT INTO user_sync_feed (user_id)"                                           \
                  " SELECT w FROM unnest($1::uuid[]) AS w WHERE NOT EXISTS"                        \
                  " (SELECT FROM user_sync_feed f WHERE f.user_id = w) ORDER BY w"                 \
                  " ON CONFLICT (user_id) DO NOTHING RETURNING user_id")                           \
    X(USERS_LOCK, "SELECT user_id, " PG_USER_COLUMNS " FROM user_sync_feed"                        \
                  " WHERE user_id = ANY ($1::uuid[]) ORDER BY user_id FOR UPDATE")                 \
    X(USERS_READ, "SELECT user_id, " PG_USER_COLUMNS " FROM user_sync_feed"                        \
                  " WHERE user_id = ANY ($1::uuid[])")                                             \
    X(USERS_PUT, "INSERT INTO user_sync_feed (user_id, " PG_USER_COLUMNS ")"                       \
                 " SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[],"     \
                 " $5::bool[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],"            \
                 " $10::bigint[]) ON CONFLICT (user_id) DO UPDATE SET seq = excluded.seq,"         \
                 " generation = excluded.generation, clock_us = excluded.clock_us,"                \
                 " erased = excluded.erased, n_keys = excluded.n_keys,"                            \
                 " n_bytes = excluded.n_bytes, n_tombstones = excluded.n_tombstones,"              \
                 " purged_seq = excluded.purged_seq, history_id = excluded.history_id")            \
    X(USERS_UNMAKE, "SELECT bqsync.forget_users($1::uuid[])")                                      \
    X(DOCS_GET, "SELECT w.n, " PG_DOC_COLUMNS                                                      \
                " FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS w (user_id, data_key, n)" \
                " JOIN user_sync_data_v2 d ON d.user_id = w.user_id AND d.data_key = w.data_key"   \
                PG_RECEIPTS_OF_DOC)                                                                \
    X(FEEDS_GET, "SELECT w.n, " PG_DOC_COLUMNS                                                     \
                 " FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS w (user_id, after, n)" \
                 " JOIN user_sync_feed f ON f.user_id = w.user_id AND f.seq > w.after"             \
                 " CROSS JOIN LATERAL (SELECT * FROM user_sync_data_v2 i"                          \
                 " WHERE i.user_id = f.user_id AND i.seq > w.after ORDER BY i.seq LIMIT $3) d"     \
                 PG_RECEIPTS_OF_DOC)                                                               \
    X(DOCS_PUT, "INSERT INTO user_sync_data_v2 (user_id, data_key, version, device_id,"            \
                " modified_at, created_at, seq, deleted, epoch, history, data, n_bytes)"           \
                " SELECT w.user_id, w.data_key, w.version::int, w.device_id, w.modified_at,"       \
                " w.created_at, w.seq, w.deleted, w.epoch, w.history, w.data, w.n_bytes::int"      \
                " FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[],"                   \
                " $5::timestamptz[], $6::timestamptz[], $7::bigint[], $8::bool[], $9::bigint[],"   \
                " $10::bigint[], $11::jsonb[], $12::bigint[]) AS w (user_id, data_key, version,"   \
                " device_id, modified_at, created_at, seq, deleted, epoch, history, data, n_bytes)"\
                " ON CONFLICT (user_id, data_key) DO UPDATE SET version = excluded.version,"       \
                " device_id = excluded.device_id, modified_at = excluded.modified_at,"             \
                " created_at = excluded.created_at, seq = excluded.seq,"                           \
                " deleted = excluded.deleted, epoch = excluded.epoch,"                             \
                " history = excluded.history, data = excluded.data, n_bytes = excluded.n_bytes")   \
    X(RECEIPTS_PUT, "INSERT INTO user_sync_receipts (user_id, data_key, packed)"                   \
                    " SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[])"                   \
                    " ON CONFLICT (user_id, data_key) DO UPDATE SET packed = excluded.packed")     \
    X(DOC_KEYS, "SELECT data_key, octet_length(data::text)"                                        \
                " FROM user_sync_data_v2 WHERE user_id = $1::uuid AND seq > $2::bigint"            \
                " AND (NOT deleted OR $3::bool) ORDER BY seq LIMIT $4::bigint")                    \
    X(TOMBSTONE, "SELECT data_key, seq FROM user_sync_data_v2"                                     \
                 " WHERE user_id = $1::uuid AND deleted ORDER BY seq LIMIT 1")                     \
    X(DOC_REMOVE, "SELECT bqsync.forget_documents($1::uuid, ARRAY[$2::text])")                     \
    X(RECEIPTS_REMOVE, "DELETE FROM user_sync_receipts"                                            \
                       " WHERE user_id = $1::uuid AND data_key = $2::text")                        \
    X(HISTORY_REMOVE, "DELETE FROM user_sync_history"                                              \
                      " WHERE user_id = $1::uuid AND data_key = $2::text")                         \
    X(UPSERTS_REMOVE, "DELETE FROM user_sync_upserts"                                              \
                      " WHERE user_id = $1::uuid AND data_key = $2::text")                         \
    X(HISTORY_ADD, "INSERT INTO user_sync_history (user_id, id, data_key, version, older, entry)"  \
                   " SELECT w.user_id, w.id, w.data_key, w.version::int, w.older, w.entry"         \
                   " FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[],"              \
                   " $5::bigint[], $6::jsonb[])"                                                   \
                   " AS w (user_id, id, data_key, version, older, entry)")                         \
    X(HISTORY_GET, "SELECT id, older, version, entry FROM user_sync_history"                       \
                   " WHERE user_id = $1::uuid AND id = $2::bigint")                                \
    X(HISTORY_CHAINS,                                                                              \
      "WITH RECURSIVE chain AS (SELECT w.n, h.user_id, h.id, h.older, h.version, h.entry, w.e"     \
      " FROM unnest($1::uuid[], $2::text[], $3::bigint[]) WITH ORDINALITY"                         \
      " AS w (user_id, data_key, e, n) JOIN user_sync_data_v2 d ON d.user_id = w.user_id"          \
      " AND d.data_key = w.data_key AND d.version > w.e"                                           \
      " JOIN user_sync_history h ON h.user_id = d.user_id AND h.id = d.history"                    \
      " UNION ALL SELECT c.n, h.user_id, h.id, h.older, h.version, h.entry, c.e FROM chain c"      \
      " JOIN user_sync_history h ON h.user_id = c.user_id AND h.id = c.older"                      \
      " WHERE c.version > c.e + 1) SELECT n, id, older, version, entry FROM chain")                \
    X(HISTORY_PRUNE,                                                                               \
      "WITH RECURSIVE chain AS (SELECT w.user_id, w.head AS id, w.keep FROM"                       \
      " unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS w (user_id, head, keep)"                 \
      " UNION ALL SELECT c.user_id, h.older, c.keep FROM chain c JOIN user_sync_history h"         \
      " ON h.user_id = c.user_id AND h.id = c.id)"                                                 \
      " DELETE FROM user_sync_history g USING chain c"                                             \
      " WHERE g.user_id = c.user_id AND g.id = c.id AND g.version <= c.keep")                      \
    X(UPSERTS_GET,                                                                                 \
      "SELECT w.n, u.user_id IS NOT NULL, u.packed, CASE WHEN u.user_id IS NULL THEN"              \
      " (SELECT count(*) FROM user_sync_upserts c WHERE c.user_id = w.user_id"                     \
      " AND c.data_key = w.data_key) END, CASE WHEN u.user_id IS NULL THEN"                        \
      " (SELECT count(*) FROM user_sync_upserts c WHERE c.user_id = w.user_id"                     \
      " AND c.packed IS NOT NULL) END FROM unnest($1::uuid[], $2::text[], $3::text[])"             \
      " WITH ORDINALITY AS w (user_id, data_key, device_id, n) LEFT JOIN user_sync_upserts u"      \
      " ON u.user_id = w.user_id AND u.data_key = w.data_key AND u.device_id = w.device_id")       \
    X(UPSERTS_PUT, "INSERT INTO user_sync_upserts (user_id, data_key, device_id, updated_at,"      \
                   " packed) SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[],"             \
                   " $4::timestamptz[], $5::jsonb[]) ON CONFLICT (user_id, data_key, device_id)"   \
                   " DO UPDATE SET updated_at = excluded.updated_at, packed = excluded.packed")    \
    X(UPSERTS_FORGET, "UPDATE user_sync_upserts SET packed = NULL"                                 \
                      " WHERE user_id = $1::uuid AND data_key = $2::text AND packed IS NOT NULL")  \
    X(UPSERTS_TRIM, "DELETE FROM user_sync_upserts u USING (SELECT user_id, data_key, device_id"   \
                    " FROM user_sync_upserts WHERE user_id = $1::uuid AND data_key = $2::text"     \
                    " ORDER BY updated_at DESC, device_id COLLATE \"C\" OFFSET $3::bigint) o"      \
                    " WHERE u.user_id = o.user_id AND u.data_key = o.data_key"                     \
                    " AND u.device_id = o.device_id")                                              \
    X(UPSERTS_EMPTY, "UPDATE user_sync_upserts u SET packed = NULL FROM (SELECT user_id,"          \
                     " data_key, device_id FROM user_sync_upserts WHERE user_id = $1::uuid"        \
                     " AND packed IS NOT NULL ORDER BY updated_at DESC, data_key COLLATE \"C\","   \
                     " device_id COLLATE \"C\" OFFSET $2::bigint) o WHERE u.user_id = o.user_id"   \
                     " AND u.data_key = o.data_key AND u.device_id = o.device_id")                 \
    X(DEVICES, "SELECT device_id, last_sync_at, last_sync_version, device_info, created_at"        \
               " FROM user_sync_metadata WHERE user_id = $1::uuid"                                 \
               " ORDER BY last_sync_at DESC, device_id COLLATE \"C\"")                             \
    X(DEVICE_PUT, "INSERT INTO user_sync_metadata (user_id, device_id, last_sync_at,"              \
                  " last_sync_version, device_info, created_at) VALUES ($1::uuid, $2::text,"       \
                  " $3::timestamptz, ($4::bigint)::int, $5::jsonb, $6::timestamptz)"               \
                  " ON CONFLICT (user_id, device_id) DO UPDATE SET"                                \
                  " last_sync_at = excluded.last_sync_at,"                                         \
                  " last_sync_version = excluded.last_sync_version,"                               \
                  " device_info = excluded.device_info")                                           \
    X(DEVICE_TRIM, "SELECT bqsync.forget_devices($1::uuid, array_agg(o.device_id))"                \
                   " FROM (SELECT device_id FROM user_sync_metadata WHERE user_id = $1::uuid"      \
                   " ORDER BY last_sync_at DESC, device_id COLLATE \"C\" OFFSET $2::bigint) o"     \
                   " HAVING count(*) > 0")                                                         \
    X(V1_DEVICE_PUT, "INSERT INTO user_devices (user_id, device_id, device_name, device_type,"     \
                     " last_sync, created_at) VALUES ($1::uuid, $2::text, $3::text, $4::text,"     \
                     " $5::timestamptz, $6::timestamptz) ON CONFLICT (user_id, device_id)"         \
                     " DO UPDATE SET device_name = excluded.device_name,"                          \
                     " device_type = excluded.device_type, last_sync = excluded.last_sync")        \
    X(V1_DEVICE_TRIM, "DELETE FROM user_devices m USING (SELECT user_id, device_id"                \
                      " FROM user_devices WHERE user_id = $1::uuid ORDER BY last_sync DESC,"       \
                      " device_id COLLATE \"C\" OFFSET $2::bigint) o"                              \
                      " WHERE m.user_id = o.user_id AND m.device_id = o.device_id")                \
    X(V1_DEVICE_REMOVE, "DELETE FROM user_devices"                                                 \
                        " WHERE user_id = $1::uuid AND device_id = $2::text")                      \
    X(DEAD_CLEAR, "DELETE FROM user_sync_queue WHERE user_id = $1::uuid AND device_id = $2::text"  \
                  " AND status = 'failed'")                                                        \
    X(DEAD_ADD, "INSERT INTO user_sync_queue (id, user_id, device_id, data_key, data, version,"    \
                " status, error_message, created_at, updated_at) SELECT w.id::uuid, $1::uuid,"     \
                " $2::text, w.data_key, w.data, w.version::int, 'failed', w.error, w.at, w.at"     \
                " FROM unnest($3::text[], $4::text[], $5::jsonb[], $6::bigint[], $7::text[],"      \
                " $8::timestamptz[]) AS w (id, data_key, data, version, error, at)"                \
                " ON CONFLICT (user_id, device_id, id) DO UPDATE SET"                              \
                " data_key = excluded.data_key, data = excluded.data,"                             \
                " version = excluded.version, status = 'failed',"                                  \
                " error_message = excluded.error_message, created_at = excluded.created_at,"       \
                " updated_at = excluded.updated_at")                                               \
    X(DEAD_LETTERS, "SELECT id::text, device_id, data_key, data, version, error_message,"          \
                    " created_at FROM user_sync_queue WHERE user_id = $1::uuid"                    \
                    " AND status = 'failed'"                                                       \
                    " ORDER BY created_at DESC, device_id COLLATE \"C\", id")                      \
    X(DEAD_TRIM, "DELETE FROM user_sync_queue q USING (SELECT user_id, device_id, id FROM"         \
                 " (SELECT user_id, device_id, id, row_number() OVER newest AS n,"                 \
                 " sum(octet_length(data::text)) OVER newest AS bytes FROM user_sync_queue"        \
                 " WHERE user_id = $1::uuid AND status = 'failed' WINDOW newest AS"                \
                 " (ORDER BY created_at DESC, device_id COLLATE \"C\", id)) s"                     \
                 " WHERE n > $2::bigint OR bytes > $3::bigint) o WHERE q.user_id = o.user_id"      \
                 " AND q.device_id = o.device_id AND q.id = o.id")                                 \
    X(POLICIES, "SELECT pattern, policy FROM user_sync_policy ORDER BY pattern COLLATE \"C\"")     \
    X(POLICIES_VERSION, "SELECT value::bigint FROM user_sync_store"                                \
                        " WHERE name = 'policies_version'")                                        \
    X(POLICIES_RAISE, "UPDATE user_sync_store SET value = (value::bigint + 1)::text"               \
                      " WHERE name = 'policies_version'")                                          \
    X(POLICY_PUT, "INSERT INTO user_sync_policy (pattern, policy) VALUES ($1::text, $2::jsonb)"    \
                  " ON CONFLICT (pattern) DO UPDATE SET policy = excluded.policy")                 \
    X(POLICY_REMOVE, "DELETE FROM user_sync_policy WHERE pattern = $1::text")                      \
    X(CLEAR_DOCS, "SELECT bqsync.forget_documents($1::uuid, array_agg(data_key))"                  \
                  " FROM user_sync_data_v2 WHERE user_id = $1::uuid")                              \
    X(CLEAR_RECEIPTS, "DELETE FROM user_sync_receipts WHERE user_id = $1::uuid")                   \
    X(CLEAR_HISTORY, "DELETE FROM user_sync_history WHERE user_id = $1::uuid")                     \
    X(CLEAR_UPSERTS, "DELETE FROM user_sync_upserts WHERE user_id = $1::uuid")                     \
    X(CLEAR_DEVICES, "SELECT bqsync.forget_devices($1::uuid, array_agg(device_id))"                \
                     " FROM user_sync_metadata WHERE user_id = $1::uuid")                          \
    X(CLEAR_V1, "SELECT bqsync.forget_v1($1::uuid)")                                               \
    X(CLEAR_V1_DEVICES, "DELETE FROM user_devices WHERE user_id = $1::uuid")                       \
    X(CLEAR_DEAD, "DELETE FROM user_sync_queue WHERE user_id = $1::uuid")                          \
    X(ACCOUNT_GET, "SELECT " PG_ACCOUNT_COLUMNS " FROM bq_auth_users WHERE id = $1::uuid")         \
    X(ACCOUNT_LOCK, "SELECT " PG_ACCOUNT_COLUMNS " FROM bq_auth_users WHERE id = $1::uuid"         \
                    " FOR UPDATE")                                                                 \
    X(ACCOUNT_FIND, "SELECT " PG_ACCOUNT_COLUMNS " FROM bq_auth_users WHERE email = $1::text")     \
    X(ACCOUNT_PUT, "INSERT INTO bq_auth_users (" PG_ACCOUNT_COLUMNS ") VALUES ($1::uuid,"          \
                   " $2::text, $3::text, $4::jsonb, $5::bool, $6::timestamptz, $7::timestamptz,"   \
                   " $8::timestamptz) ON CONFLICT (id) DO UPDATE SET email = excluded.email,"      \
                   " password = excluded.password, metadata = excluded.metadata,"                  \
                   " disabled = excluded.disabled, created_at = excluded.created_at,"              \
                   " updated_at = excluded.updated_at,"                                            \
                   " last_sign_in_at = excluded.last_sign_in_at")                                  \
    X(ACCOUNT_REMOVE, "DELETE FROM bq_auth_users WHERE id = $1::uuid")                             \
    X(ACCOUNTS, "SELECT " PG_ACCOUNT_COLUMNS " FROM bq_auth_users"                                 \
                " WHERE $1::uuid IS NULL OR id > $1::uuid ORDER BY id LIMIT $2::bigint")           \
    X(ACCOUNTS_UNUSED, "SELECT " PG_ACCOUNT_COLUMNS " FROM bq_auth_users"                          \
                       " WHERE email IS NULL AND last_sign_in_at < $1::timestamptz"                \
                       " LIMIT $2::bigint")                                                        \
    X(SESSION_GET, "SELECT user_id, counter, created_at, refreshed_at FROM bq_auth_sessions"       \
                   " WHERE id = $1::uuid")                                                         \
    X(SESSION_PUT, "INSERT INTO bq_auth_sessions (id, user_id, counter, created_at, refreshed_at)" \
                   " VALUES ($1::uuid, $2::uuid, $3::bigint, $4::timestamptz, $5::timestamptz)"    \
                   " ON CONFLICT (id) DO UPDATE SET counter = excluded.counter,"                   \
                   " refreshed_at = excluded.refreshed_at")                                        \
    X(SESSION_REMOVE, "DELETE FROM bq_auth_sessions WHERE id = $1::uuid")                          \
    X(SESSIONS_REMOVE, "DELETE FROM bq_auth_sessions"                                              \
                       " WHERE user_id = $1::uuid AND ($2::uuid IS NULL OR id <> $2::uuid)")       \
    X(SESSIONS_TRIM, "DELETE FROM bq_auth_sessions s USING (SELECT id FROM bq_auth_sessions"       \
                     " WHERE user_id = $1::uuid ORDER BY refreshed_at DESC OFFSET $2::bigint) o"   \
                     " WHERE s.id = o.id")                                                         \
    X(USERS, "SELECT user_id, " PG_USER_COLUMNS " FROM user_sync_feed"                             \
             " WHERE $1::uuid IS NULL OR user_id > $1::uuid ORDER BY user_id LIMIT $2::bigint")    \
    X(UPSERTS, "SELECT data_key, device_id, packed, updated_at FROM user_sync_upserts"             \
               " WHERE user_id = $1::uuid"                                                         \
               " ORDER BY data_key COLLATE \"C\", device_id COLLATE \"C\"")                        \
    X(V1_DEVICES, "SELECT device_id, device_name, device_type, last_sync, created_at"              \
                  " FROM user_devices WHERE user_id = $1::uuid"                                    \
                  " ORDER BY last_sync DESC, device_id COLLATE \"C\"")                             \
    X(SESSIONS, "SELECT id, user_id, counter, created_at, refreshed_at FROM bq_auth_sessions"      \
                " WHERE user_id = $1::uuid ORDER BY id")                                           \
    X(META_GET, "SELECT value FROM user_sync_store WHERE name = $1::text")                         \
    X(META_PUT, "INSERT INTO user_sync_store (name, value) VALUES ($1::text, $2::text)"            \
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value")                        \
    X(META_REMOVE, "DELETE FROM user_sync_store WHERE name = $1::text")

#endif
