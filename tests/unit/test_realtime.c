/* test_realtime.c - the wire of realtime, frame by frame: handshake, heartbeat, join and leave, and
 * the changes of the four tables (docs/protocol.md, "Realtime"). */
#include "http_client.h"
#include "rt_app.h"
#include "serve.h"
#include "token.h"

#include "base/status.h"
#include "store/sqlite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#define TOPIC_A "user_sync_v2_" RT_USER_A

struct fixture {
    struct serve serve;
    char *token_a;
    char *token_b;
    struct ws_client ws;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    serve_init(&f->serve);
    f->serve.config.socket_refusal_ms = 0;
    f->serve.config.join_refusal_ms = 0;
    f->token_a = token_user(RT_USER_A);
    f->token_b = token_user(RT_USER_B);
    f->ws.fd = -1;
    assert_int_equal(serve_start(&f->serve), BQ_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ws_release(&f->ws);
    serve_release(&f->serve);
    free(f->token_a);
    free(f->token_b);
    free(f);
    return 0;
}

static void opens(struct fixture *f, const char *target)
{
    assert_true(ws_open(&f->ws, f->serve.port, target, NULL));
}

static void says(struct fixture *f, const char *text)
{
    assert_true(ws_next(&f->ws));
    assert_int_equal(f->ws.opcode, 1);
    assert_string_equal(f->ws.text, text);
}

static void contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        print_message("%s\nis not in\n%s\n", part, text);
    }
    assert_non_null(strstr(text, part));
}

/* ---- Handshake ------------------------------------------------------------------------------- */

static void the_handshake_is_answered_and_no_extension_agreed_on(void **state)
{
    struct fixture *f = *state;
    opens(f, RT_TARGET_V2);
    contains(f->ws.header, "Sec-WebSocket-Accept: " WS_ACCEPT);
    contains(f->ws.header, "Upgrade: websocket");
    assert_null(strstr(f->ws.header, "permessage-deflate"));
}

static void an_unknown_vsn_is_403_without_a_body(void **state)
{
    struct fixture *f = *state;
    assert_false(ws_open(&f->ws, f->serve.port, "/realtime/v1/websocket?vsn=3.0.0", NULL));
    assert_int_equal(f->ws.status, 403);
    assert_string_equal(f->ws.body, "");
}

static void without_a_vsn_it_is_the_older_one(void **state)
{
    struct fixture *f = *state;
    opens(f, "/realtime/v1/websocket");
    ws_say(&f->ws, "{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":\"7\","
                   "\"join_ref\":null}");
    says(f, "{\"topic\":\"phoenix\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\","
            "\"response\":{}},\"ref\":\"7\"}");
}

static void refused(struct fixture *f, const char *request, int status)
{
    assert_false(ws_open_raw(&f->ws, f->serve.port, request));
    assert_int_equal(f->ws.status, status);
    ws_release(&f->ws);
}

static void a_handshake_that_is_none_is_refused(void **state)
{
    struct fixture *f = *state;
    const char *const start = "GET /realtime/v1/websocket HTTP/1.1\r\nHost: x\r\n";
    static const struct {
        const char *fields;
        int status;
    } cases[] = {
        {"\r\n", 400},
        {"Upgrade: websocket\r\nSec-WebSocket-Key: " WS_KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n",
         400},
        {"Connection: Upgrade\r\nSec-WebSocket-Key: " WS_KEY
         "\r\nSec-WebSocket-Version: 13\r\n\r\n",
         400},
        {"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n", 400},
        {"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: short\r\n"
         "Sec-WebSocket-Version: 13\r\n\r\n",
         400},
        {"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: " WS_KEY
         "\r\nSec-WebSocket-Version: 8\r\n\r\n",
         426},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char request[512];
        snprintf(request, sizeof request, "%s%s", start, cases[i].fields);
        refused(f, request, cases[i].status);
    }
    refused(f, "POST /realtime/v1/websocket HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405);
}

static void connection_may_list_more_than_upgrade(void **state)
{
    struct fixture *f = *state;
    assert_true(ws_open_raw(&f->ws, f->serve.port,
                            "GET /realtime/v1/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: x\r\n"
                            "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
                            "Sec-WebSocket-Key: " WS_KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n"));
    assert_int_equal(rt_app_heard(&f->ws, "nothing"), 0);
}

/* ---- Heartbeat, topics ----------------------------------------------------------------------- */

static void a_heartbeat_is_answered_with_its_ref(void **state)
{
    struct fixture *f = *state;
    opens(f, RT_TARGET_V2);
    ws_say(&f->ws, "[null,\"7\",\"phoenix\",\"heartbeat\",{}]");
    says(f, "[null,\"7\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
}

static void a_frame_that_cannot_be_read_is_dropped_and_the_socket_stays(void **state)
{
    struct fixture *f = *state;
    static const char *const odd[] = {
        "",
        "{",
        "[]",
        "{}",
        "[1,2,3,4,5]",
        "[null,7,\"phoenix\",\"heartbeat\",{}]",
        "[null,\"7\",\"phoenix\",\"heartbeat\"]",
        "[null,\"7\",\"phoenix\",\"heartbeat\",{},1]",
        "{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":\"1\"}",
        "[null,\"7\",\"phoenix\",\"nobody knows this\",{}]",
        "[null,\"7\",{},\"heartbeat\",{}]"};
    opens(f, RT_TARGET_V2);
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        ws_say(&f->ws, "%s", odd[i]);
    }
    ws_send(&f->ws, 0x82, "\x03\xff\xff", 3);
    assert_int_equal(rt_app_heard(&f->ws, ""), 0);
}

static void what_nobody_joined_is_an_unmatched_topic(void **state)
{
    struct fixture *f = *state;
    opens(f, RT_TARGET_V2);
    ws_say(&f->ws, "[\"1\",\"1\",\"other:topic\",\"phx_join\",{}]");
    says(f, "[null,\"1\",\"other:topic\",\"phx_reply\",{\"status\":\"error\",\"response\":"
            "{\"reason\":\"unmatched topic\"}}]");
    ws_say(&f->ws, "[\"1\",\"2\",\"realtime:x\",\"broadcast\",{}]");
    says(f, "[null,\"2\",\"realtime:x\",\"phx_reply\",{\"status\":\"error\",\"response\":"
            "{\"reason\":\"unmatched topic\"}}]");
    ws_say(&f->ws, "[\"1\",\"3\",\"realtime:x\",\"phx_leave\",{}]");
    says(f, "[\"1\",\"3\",\"realtime:x\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
}

/* ---- Join and leave -------------------------------------------------------------------------- */

static void a_join_echoes_its_bindings_with_ids(void **state)
{
    struct fixture *f = *state;
    opens(f, RT_TARGET_V2);
    rt_app_join(&f->ws, TOPIC_A,
                "{\"event\":\"*\",\"schema\":\"public\",\"table\":\"user_sync_data_v2\","
                "\"filter\":\"user_id=eq." RT_USER_A "\"},null,"
                "{\"event\":\"UPDATE\",\"schema\":\"public\",\"filter\":null}",
                f->token_a);
    says(f, "[\"1\",\"1\",\"realtime:" TOPIC_A "\",\"phx_reply\",{\"status\":\"ok\",\"response\":"
            "{\"postgres_changes\":[{\"event\":\"*\",\"schema\":\"public\","
            "\"table\":\"user_sync_data_v2\",\"filter\":\"user_id=eq." RT_USER_A "\",\"id\":1},"
            "{\"event\":\"UPDATE\",\"schema\":\"public\",\"filter\":null,\"id\":2}]}}]");
    says(f, "[\"1\",null,\"realtime:" TOPIC_A "\",\"system\",{\"message\":\"Subscribed to "
            "PostgreSQL\",\"status\":\"ok\",\"extension\":\"postgres_changes\","
            "\"channel\":\"" TOPIC_A "\"}]");
}

static void a_join_of_the_older_vsn_has_no_join_ref(void **state)
{
    struct fixture *f = *state;
    opens(f, RT_TARGET_V1);
    ws_say(&f->ws, "{\"topic\":\"realtime:a\",\"event\":\"phx_join\",\"payload\":{},\"ref\":\"3\","
                   "\"join_ref\":\"3\"}");
    says(f, "{\"topic\":\"realtime:a\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\","
            "\"response\":{\"postgres_changes\":[]}},\"ref\":\"3\"}");
    ws_say(&f->ws,
           "{\"topic\":\"realtime:a\",\"event\":\"phx_leave\",\"payload\":{},\"ref\":\"4\"}");
    says(f, "{\"topic\":\"realtime:a\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\","
            "\"response\":{}},\"ref\":\"4\"}");
    says(f, "{\"topic\":\"realtime:a\",\"event\":\"phx_close\",\"payload\":{},\"ref\":\"3\"}");
}

static void after_leaving_nothing_is_heard(void **state)
{
    struct fixture *f = *state;
    assert_true(rt_app_open(&f->ws, f->serve.port, RT_USER_A, f->token_a));
    ws_say(&f->ws, "[\"1\",\"10\",\"realtime:" TOPIC_A "\",\"phx_leave\",{}]");
    says(f, "[\"1\",\"10\",\"realtime:" TOPIC_A "\",\"phx_reply\",{\"status\":\"ok\","
            "\"response\":{}}]");
    says(f, "[\"1\",\"1\",\"realtime:" TOPIC_A "\",\"phx_close\",{}]");
    assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token_a, "settings", "{\"a\":1}"));
    assert_int_equal(rt_app_heard(&f->ws, "postgres_changes"), 0);
}

static void a_late_leave_of_an_earlier_join_leaves_the_present_one(void **state)
{
    struct fixture *f = *state;
    assert_true(rt_app_open(&f->ws, f->serve.port, RT_USER_A, f->token_a));
    ws_say(&f->ws, "[\"0\",\"10\",\"realtime:" TOPIC_A "\",\"phx_leave\",{}]");
    assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token_a, "settings", "{\"a\":1}"));
    assert_true(ws_hear(&f->ws, "postgres_changes"));
}

static void a_second_join_closes_the_first(void **state)
{
    struct fixture *f = *state;
    assert_true(rt_app_open(&f->ws, f->serve.port, RT_USER_A, f->token_a));
    ws_say(&f->ws, "[\"9\",\"9\",\"realtime:" TOPIC_A "\",\"phx_join\",{}]");
    says(f, "[\"1\",\"1\",\"realtime:" TOPIC_A "\",\"phx_close\",{}]");
    says(f, "[\"9\",\"9\",\"realtime:" TOPIC_A "\",\"phx_reply\",{\"status\":\"ok\",\"response\":"
            "{\"postgres_changes\":[]}}]");
}

static void a_join_without_a_topic_name_is_refused(void **state)
{
    struct fixture *f = *state;
    opens(f, RT_TARGET_V2);
    ws_say(&f->ws, "[\"1\",\"1\",\"realtime:\",\"phx_join\",{}]");
    says(f, "[\"1\",\"1\",\"realtime:\",\"phx_reply\",{\"status\":\"error\",\"response\":"
            "{\"reason\":\"TopicNameRequired: You must provide a topic name\"}}]");
}

static void wrong_subscriptions_are_told_behind_the_answer(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *binding;
        const char *message;
    } cases[] = {
        {"{\"event\":\"*\",\"schema\":\"public\",\"table\":\"user_sync_data_v2\","
         "\"filter\":\"subject=foo.hey\"}",
         "Error parsing `filter` params: [\\\"foo\\\", \\\"hey\\\"]"},
        {"{\"event\":\"*\",\"schema\":\"public\",\"table\":\"user_sync_data_v2\","
         "\"filter\":\"undefined\"}",
         "Error parsing `filter` params: [\\\"undefined\\\"]"},
        {"{\"event\":\"*\"}", "No subscription params provided. Please provide at least a `schema` "
                              "or `table` to subscribe to: %{}"},
        {"{\"event\":\"*\",\"schema\":\"public\",\"table\":\"nope\"}",
         "Unable to subscribe to changes with given parameters. Please check Realtime is enabled "
         "for the given connect parameters: [event: *, schema: public, table: nope, filters: [], "
         "select: nil]"},
        {"{\"event\":\"*\",\"schema\":\"public\",\"table\":\"user_sync_queue\"}",
         "Unable to subscribe to changes with given parameters. Please check"},
        {"{\"event\":\"*\",\"schema\":\"public\",\"table\":\"user_sync_data_v2\","
         "\"filter\":\"nope=eq.1\"}",
         "filters: [{\\\"nope\\\", \\\"eq\\\", \\\"1\\\"}], select: nil]. Exception: ERROR P0001 "
         "(raise_exception) invalid column for filter nope"},
        {"{\"event\":\"*\",\"schema\":\"public\",\"table\":\"user_sync_data_v2\","
         "\"filter\":\"version=eq.one\"}",
         "invalid input syntax for type int4: \\\"one\\\""},
    };
    opens(f, RT_TARGET_V2);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char topic[16];
        snprintf(topic, sizeof topic, "t%zu", i);
        rt_app_join(&f->ws, topic, cases[i].binding, f->token_a);
        assert_true(ws_next(&f->ws));
        contains(f->ws.text, "{\"status\":\"ok\",\"response\":{\"postgres_changes\":[{");
        assert_true(ws_next(&f->ws));
        contains(f->ws.text, "\"system\"");
        contains(f->ws.text, "\"status\":\"error\",\"extension\":\"postgres_changes\"");
        contains(f->ws.text, cases[i].message);
    }
    assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token_a, "settings", "{\"a\":1}"));
    assert_int_equal(rt_app_heard(&f->ws, "postgres_changes"), 0);
}

/* ---- Changes --------------------------------------------------------------------------------- */

static void an_insert_and_an_update_carry_the_row(void **state)
{
    struct fixture *f = *state;
    assert_true(rt_app_open(&f->ws, f->serve.port, RT_USER_A, f->token_a));
    assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token_a, "settings",
                             "{\"name\":\"\\u00e9\\\"\"}"));
    assert_true(ws_next(&f->ws));
    contains(f->ws.text, "[null,null,\"realtime:" TOPIC_A "\",\"postgres_changes\",{\"ids\":[1],"
                         "\"data\":{\"schema\":\"public\",\"table\":\"user_sync_data_v2\","
                         "\"commit_timestamp\":\"");
    contains(f->ws.text, "Z\",\"type\":\"INSERT\",\"columns\":[{\"name\":\"user_id\",\"type\":"
                         "\"uuid\"},{\"name\":\"data_key\",\"type\":\"text\"},{\"name\":\"data\","
                         "\"type\":\"jsonb\"},{\"name\":\"version\",\"type\":\"int4\"},"
                         "{\"name\":\"device_id\",\"type\":\"text\"},{\"name\":\"modified_at\","
                         "\"type\":\"timestamptz\"},{\"name\":\"created_at\",\"type\":"
                         "\"timestamptz\"}],\"record\":{\"user_id\":\"" RT_USER_A "\","
                         "\"data_key\":\"settings\",\"data\":{\"name\":\"\u00e9\\\"\"},"
                         "\"version\":1,\"device_id\":\"d1\",\"modified_at\":\"");
    contains(f->ws.text, "+00:00\"},\"errors\":null}}]");
    assert_null(strstr(f->ws.text, "old_record"));
    assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token_a, "settings", "{\"name\":2}"));
    assert_true(ws_next(&f->ws));
    contains(f->ws.text, "\"type\":\"UPDATE\"");
    contains(f->ws.text, "\"data\":{\"name\":2},\"version\":2,");
    contains(f->ws.text, "\"old_record\":{\"user_id\":\"" RT_USER_A "\",\"data_key\":\"settings\"},"
                         "\"errors\":null}}]");
}

static void the_older_vsn_hears_the_same_payload(void **state)
{
    struct fixture *f = *state;
    opens(f, RT_TARGET_V1);
    ws_say(&f->ws,
           "{\"topic\":\"realtime:x\",\"event\":\"phx_join\",\"ref\":\"1\",\"payload\":{\"config\":"
           "{\"postgres_changes\":[%s]},\"access_token\":\"%s\"}}",
           rt_app_binding(RT_USER_A), f->token_a);
    assert_true(ws_hear(&f->ws, "Subscribed"));
    assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token_a, "settings", "{\"a\":1}"));
    assert_true(ws_next(&f->ws));
    contains(f->ws.text, "{\"topic\":\"realtime:x\",\"event\":\"postgres_changes\",\"payload\":"
                         "{\"ids\":[1],\"data\":{\"schema\":\"public\"");
    contains(f->ws.text, "\"errors\":null}},\"ref\":null}");
}

static void one_frame_a_channel_names_all_its_bindings(void **state)
{
    struct fixture *f = *state;
    opens(f, RT_TARGET_V2);
    rt_app_join(&f->ws, "x",
                "{\"event\":\"*\",\"schema\":\"public\",\"table\":\"user_sync_data_v2\"},"
                "{\"event\":\"UPDATE\",\"schema\":\"public\",\"table\":\"user_sync_data_v2\"},"
                "{\"event\":\"INSERT\",\"schema\":\"public\",\"table\":\"user_sync_data_v2\","
                "\"filter\":\"data_key=in.(a,\\\"settings\\\")\"},"
                "{\"event\":\"DELETE\",\"schema\":\"public\",\"table\":\"user_sync_data_v2\"}",
                f->token_a);
    assert_true(ws_hear(&f->ws, "Subscribed"));
    assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token_a, "settings", "{\"a\":1}"));
    assert_true(ws_next(&f->ws));
    contains(f->ws.text, "{\"ids\":[1,3],");
    assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token_a, "settings", "{\"a\":2}"));
    assert_true(ws_next(&f->ws));
    contains(f->ws.text, "{\"ids\":[1,2],");
    assert_int_equal(rt_app_heard(&f->ws, "postgres_changes"), 0);
}

static void two_channels_of_a_socket_each_hear_it(void **state)
{
    struct fixture *f = *state;
    opens(f, RT_TARGET_V2);
    rt_app_join(&f->ws, "x", rt_app_binding(RT_USER_A), f->token_a);
    assert_true(ws_hear(&f->ws, "Subscribed"));
    rt_app_join(&f->ws, "y", rt_app_binding(RT_USER_A), f->token_a);
    assert_true(ws_hear(&f->ws, "Subscribed"));
    assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token_a, "settings", "{\"a\":1}"));
    assert_int_equal(rt_app_heard(&f->ws, "postgres_changes"), 2);
}

static void a_filter_for_another_user_stays_silent(void **state)
{
    struct fixture *f = *state;
    opens(f, RT_TARGET_V2);
    rt_app_join(&f->ws, "x", rt_app_binding(RT_USER_B), f->token_a);
    assert_true(ws_hear(&f->ws, "Subscribed"));
    assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token_a, "settings", "{\"a\":1}"));
    assert_true(rt_app_write(f->serve.port, RT_USER_B, f->token_b, "settings", "{\"a\":1}"));
    assert_int_equal(rt_app_heard(&f->ws, "postgres_changes"), 0);
}

static void all_four_tables_are_heard(void **state)
{
    struct fixture *f = *state;
    struct http_answer answer;
    opens(f, RT_TARGET_V2);
    rt_app_join(&f->ws, "x", "{\"event\":\"*\",\"schema\":\"public\"}", f->token_a);
    assert_true(ws_hear(&f->ws, "Subscribed"));
    assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token_a, "settings", "{\"a\":1}"));
    assert_true(ws_next(&f->ws));
    contains(f->ws.text, "\"table\":\"user_sync_data_v2\"");
    assert_true(ws_next(&f->ws));
    contains(f->ws.text, "\"table\":\"user_sync_data\"");
    contains(f->ws.text, "\"type\":\"INSERT\"");
    contains(f->ws.text, "\"record\":{\"user_id\":\"" RT_USER_A "\",\"data\":{\"settings\":"
                         "{\"value\":{\"a\":1},\"timestamp\":\"");
    assert_true(ws_next(&f->ws));
    contains(f->ws.text, "\"table\":\"user_sync_feed\"");
    contains(f->ws.text,
             "\"columns\":[{\"name\":\"user_id\",\"type\":\"uuid\"},{\"name\":\"seq\","
             "\"type\":\"int8\"}],\"record\":{\"user_id\":\"" RT_USER_A "\",\"seq\":1}");
    for (int i = 0; i < 2; i++) {
        http_rpc(f->serve.port, "update_sync_metadata", f->token_a,
                 "{\"p_user_id\":\"" RT_USER_A "\",\"p_device_id\":\"d1\",\"p_version\":3,"
                 "\"p_device_info\":{\"os\":\"x\"}}",
                 &answer);
        assert_int_equal(answer.status, 204);
        http_release(&answer);
        assert_true(ws_next(&f->ws));
        contains(f->ws.text, "\"table\":\"user_sync_metadata\"");
        contains(f->ws.text, i == 0 ? "\"type\":\"INSERT\"" : "\"type\":\"UPDATE\"");
        contains(f->ws.text, "\"last_sync_version\":3,\"device_info\":{\"os\":\"x\"},");
    }
}

static void a_deletion_is_silent_for_documents_and_moves_v1_and_the_feed(void **state)
{
    struct fixture *f = *state;
    struct http_answer answer;
    assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token_a, "settings", "{\"a\":1}"));
    opens(f, RT_TARGET_V2);
    rt_app_join(&f->ws, "x", "{\"event\":\"*\",\"schema\":\"public\"}", f->token_a);
    assert_true(ws_hear(&f->ws, "Subscribed"));
    http_rpc(f->serve.port, "delete_user_sync_data", f->token_a,
             "{\"p_user_id\":\"" RT_USER_A "\"}", &answer);
    assert_int_equal(answer.status, 204);
    http_release(&answer);
    assert_true(ws_next(&f->ws));
    contains(f->ws.text, "\"table\":\"user_sync_data\"");
    contains(f->ws.text, "\"type\":\"UPDATE\"");
    contains(f->ws.text, "\"data\":{},");
    assert_true(ws_next(&f->ws));
    contains(f->ws.text, "\"table\":\"user_sync_feed\"");
    contains(f->ws.text, "\"seq\":2}");
    assert_int_equal(rt_app_heard(&f->ws, "postgres_changes"), 0);
    /* What is written after it is new to those who listen. */
    assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token_a, "settings", "{\"a\":2}"));
    assert_true(ws_next(&f->ws));
    contains(f->ws.text, "\"type\":\"INSERT\"");
    contains(f->ws.text, "\"version\":3,");
}

/* ---- A store that does not answer ------------------------------------------------------------ */

static int (*plain_reader)(struct store *store, struct store **out);

static int late_docs(struct store *store, struct arena *arena, const struct uuid *user,
                     int64_t after, uint32_t max_rows, size_t max_bytes, bool with_deleted,
                     struct store_docs *out)
{
    (void)store;
    (void)arena;
    (void)user;
    (void)after;
    (void)max_rows;
    (void)max_bytes;
    (void)with_deleted;
    (void)out;
    return BQ_TIMEOUT;
}

static int late_reader(struct store *store, struct store **out)
{
    int status = plain_reader(store, out);
    if (status == BQ_OK) {
        (*out)->docs = late_docs;
    }
    return status;
}

static int open_late(void *cls, struct store **out, char *error, size_t error_size)
{
    const struct serve *serve = cls;
    const struct store_sqlite_config config = {.size = sizeof config,
                                               .path = serve->store + sizeof "sqlite:" - 1,
                                               .n_history = 32,
                                               .create = true};
    int status = store_sqlite_open(&config, out, error, error_size);
    if (status == BQ_OK) {
        plain_reader = (*out)->reader;
        (*out)->reader = late_reader;
    }
    return status;
}

/* v1's row is read when it is told of. Who would miss it is sent away, and reads it himself. */
static void who_listens_to_a_row_that_cannot_be_read_is_disconnected(void **state)
{
    struct fixture *f = *state;
    struct ws_client other;
    assert_true(serve_stop(&f->serve));
    f->serve.hooks = (struct server_hooks){.open_store = open_late, .cls = &f->serve};
    assert_int_equal(serve_start(&f->serve), BQ_OK);
    opens(f, RT_TARGET_V2);
    rt_app_join(&f->ws, "x",
                "{\"event\":\"*\",\"schema\":\"public\",\"table\":"
                "\"user_sync_data\"}",
                f->token_a);
    assert_true(ws_hear(&f->ws, "Subscribed"));
    assert_true(rt_app_open(&other, f->serve.port, RT_USER_A, f->token_a));
    assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token_a, "settings", "{\"a\":1}"));
    assert_int_equal(ws_ends(&f->ws), 1006);
    assert_true(ws_hear(&other, "\"table\":\"user_sync_data_v2\"")); /* it needs no such row */
    assert_int_equal(rt_app_heard(&other, ""), 0);
    ws_release(&other);
}

static void a_refused_write_is_not_heard(void **state)
{
    struct fixture *f = *state;
    assert_true(rt_app_open(&f->ws, f->serve.port, RT_USER_A, f->token_a));
    assert_false(rt_app_write(f->serve.port, RT_USER_A, f->token_a, "_bad", "{\"a\":1}"));
    assert_int_equal(rt_app_heard(&f->ws, "postgres_changes"), 0);
}

static void a_v1_row_over_a_mebibyte_comes_without_its_data(void **state)
{
    struct fixture *f = *state;
    struct http_answer answer;
    char *body = malloc(300000);
    opens(f, RT_TARGET_V2);
    rt_app_join(&f->ws, "x",
                "{\"event\":\"UPDATE\",\"schema\":\"public\",\"table\":"
                "\"user_sync_data\"}",
                f->token_a);
    assert_true(ws_hear(&f->ws, "Subscribed"));
    for (int i = 0; i < 6; i++) {
        int n = snprintf(body, 300000,
                         "{\"p_user_id\":\"" RT_USER_A "\",\"p_data_key\":\"k%d\","
                         "\"p_expected_version\":null,\"p_data\":{\"x\":\"",
                         i);
        memset(body + n, 'x', 250000);
        memcpy(body + n + 250000, "\"}}", sizeof "\"}}");
        http_rpc(f->serve.port, "atomic_sync_upsert", f->token_a, body, &answer);
        assert_int_equal(answer.status, 200);
        http_release(&answer);
        if (i > 0) {
            assert_true(ws_next(&f->ws));
        }
    }
    free(body);
    contains(f->ws.text, "\"record\":{\"user_id\":\"" RT_USER_A "\",\"created_at\":");
    contains(f->ws.text, "\"errors\":[\"Error 413: Payload Too Large\"]}}]");
    assert_null(strstr(f->ws.text, "\"data\":{\"k0\""));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_handshake_is_answered_and_no_extension_agreed_on),
        TEST(an_unknown_vsn_is_403_without_a_body),
        TEST(without_a_vsn_it_is_the_older_one),
        TEST(a_handshake_that_is_none_is_refused),
        TEST(connection_may_list_more_than_upgrade),
        TEST(a_heartbeat_is_answered_with_its_ref),
        TEST(a_frame_that_cannot_be_read_is_dropped_and_the_socket_stays),
        TEST(what_nobody_joined_is_an_unmatched_topic),
        TEST(a_join_echoes_its_bindings_with_ids),
        TEST(a_join_of_the_older_vsn_has_no_join_ref),
        TEST(after_leaving_nothing_is_heard),
        TEST(a_late_leave_of_an_earlier_join_leaves_the_present_one),
        TEST(a_second_join_closes_the_first),
        TEST(a_join_without_a_topic_name_is_refused),
        TEST(wrong_subscriptions_are_told_behind_the_answer),
        TEST(an_insert_and_an_update_carry_the_row),
        TEST(the_older_vsn_hears_the_same_payload),
        TEST(one_frame_a_channel_names_all_its_bindings),
        TEST(two_channels_of_a_socket_each_hear_it),
        TEST(a_filter_for_another_user_stays_silent),
        TEST(all_four_tables_are_heard),
        TEST(a_deletion_is_silent_for_documents_and_moves_v1_and_the_feed),
        TEST(who_listens_to_a_row_that_cannot_be_read_is_disconnected),
        TEST(a_refused_write_is_not_heard),
        TEST(a_v1_row_over_a_mebibyte_comes_without_its_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
