/* test_realtime_rooms.c - broadcasts and presence between the devices of one user, in both vsn; and
 * the rules of the clients written in Dart, which cannot run here, on all frames that are sent. */
#include "rt_app.h"
#include "serve.h"
#include "token.h"

#include "base/status.h"
#include "json/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#define DEVICES 4u

struct fixture {
    struct serve serve;
    char *token_a;
    char *token_b;
    struct ws_client first;  /* of user A, vsn 2.0.0 */
    struct ws_client second; /* of user A, vsn 2.0.0 */
    struct ws_client old;    /* of user A, vsn 1.0.0 */
    struct ws_client other;  /* of user B, the same topic */
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    serve_init(&f->serve);
    f->serve.config.join_refusal_ms = 0;
    f->token_a = token_user(RT_USER_A);
    f->token_b = token_user(RT_USER_B);
    f->first.fd = f->second.fd = f->old.fd = f->other.fd = -1;
    *state = f;
    return serve_start(&f->serve) == BQ_OK ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ws_release(&f->first);
    ws_release(&f->second);
    ws_release(&f->old);
    ws_release(&f->other);
    serve_release(&f->serve);
    free(f->token_a);
    free(f->token_b);
    free(f);
    return 0;
}

static void contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        print_message("%s\nis not in\n%s\n", part, text);
    }
    assert_non_null(strstr(text, part));
}

/* Joins the topic "room" with this config. */
static void enters(struct fixture *f, struct ws_client *ws, const char *config)
{
    const char *token = ws == &f->other ? f->token_b : f->token_a;
    if (ws == &f->old) {
        assert_true(ws_open(ws, f->serve.port, RT_TARGET_V1, NULL));
        ws_say(ws,
               "{\"topic\":\"realtime:room\",\"event\":\"phx_join\",\"ref\":\"1\",\"join_ref\":"
               "\"1\",\"payload\":{\"config\":{%s},\"access_token\":\"%s\"}}",
               config, token);
    } else {
        assert_true(ws_open(ws, f->serve.port, RT_TARGET_V2, NULL));
        ws_say(ws,
               "[\"1\",\"1\",\"realtime:room\",\"phx_join\",{\"config\":{%s},\"access_token\":"
               "\"%s\"}]",
               config, token);
    }
    assert_true(ws_hear(ws, "phx_reply"));
}

static void all_enter(struct fixture *f, const char *config)
{
    struct ws_client *all[DEVICES] = {&f->first, &f->second, &f->old, &f->other};
    for (unsigned i = 0; i < DEVICES; i++) {
        enters(f, all[i], config);
    }
}

/* Frames with `part` before the answer to a heartbeat, of the older vsn. */
static int old_heard(struct ws_client *ws, const char *part)
{
    int n = 0;
    ws_say(ws, "{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":\"beat\"}");
    while (ws_next(ws) && strstr(ws->text, "\"beat\"") == NULL) {
        n += strstr(ws->text, part) != NULL;
    }
    return n;
}

/* ---- Broadcasts ------------------------------------------------------------------------------ */

static void a_broadcast_reaches_the_users_other_devices_alone(void **state)
{
    struct fixture *f = *state;
    all_enter(f, "");
    ws_say(&f->first, "[\"1\",\"2\",\"realtime:room\",\"broadcast\",{\"type\":\"broadcast\","
                      "\"event\":\"e\",\"payload\":{\"n\":1.50}}]");
    assert_true(ws_next(&f->second));
    assert_string_equal(f->second.text,
                        "[null,null,\"realtime:room\",\"broadcast\",{\"type\":\"broadcast\","
                        "\"event\":\"e\",\"payload\":{\"n\":1.50}}]");
    assert_true(ws_next(&f->old));
    assert_string_equal(
        f->old.text, "{\"topic\":\"realtime:room\",\"event\":\"broadcast\",\"payload\":{\"type\":"
                     "\"broadcast\",\"event\":\"e\",\"payload\":{\"n\":1.50}},\"ref\":null}");
    assert_int_equal(rt_app_heard(&f->first, ""), 0);
    assert_int_equal(rt_app_heard(&f->other, ""), 0);
}

static void a_binary_broadcast_is_binary_for_the_new_and_text_for_the_old(void **state)
{
    struct fixture *f = *state;
    static const char push[] = "\x03\x01\x01\x0d\x03\x02\x01"
                               "11realtime:roomevt{}{\"n\":1}";
    static const char heard[] = "\x04\x0d\x03\x02\x01realtime:roomevt{}{\"n\":1}";
    static const char bytes[] = "\x03\x01\x01\x0d\x03\x00\x00"
                                "11realtime:roomevt\xff\x00\x01";
    all_enter(f, "\"broadcast\":{\"ack\":true}");
    ws_send(&f->first, 0x82, push, sizeof push - 1);
    assert_true(ws_next(&f->first));
    assert_string_equal(f->first.text, "[\"1\",\"1\",\"realtime:room\",\"phx_reply\",{\"status\":"
                                       "\"ok\",\"response\":{}}]");
    assert_true(ws_next(&f->second));
    assert_int_equal(f->second.opcode, 2);
    assert_int_equal(f->second.text_len, sizeof heard - 1);
    assert_memory_equal(f->second.text, heard, sizeof heard - 1);
    assert_true(ws_next(&f->old));
    assert_string_equal(
        f->old.text, "{\"topic\":\"realtime:room\",\"event\":\"broadcast\",\"payload\":{\"type\":"
                     "\"broadcast\",\"event\":\"evt\",\"payload\":{\"n\":1}},\"ref\":null}");
    /* What is no JSON goes to those who take bytes. */
    ws_send(&f->first, 0x82, bytes, sizeof bytes - 1);
    assert_true(ws_next(&f->second));
    assert_int_equal(f->second.opcode, 2);
    assert_memory_equal(f->second.text + f->second.text_len - 3, "\xff\x00\x01", 3);
    assert_int_equal(old_heard(&f->old, "broadcast"), 0);
    assert_int_equal(rt_app_heard(&f->other, ""), 0);
}

static void a_binary_frame_that_lies_about_its_lengths_is_dropped(void **state)
{
    struct fixture *f = *state;
    static const char push[] = "\x03\x01\x01\x0d\x03\x02\x01"
                               "11realtime:roomevt{}{\"n\":1}";
    all_enter(f, "");
    for (size_t n = 0; n < 28; n++) {
        ws_send(&f->first, 0x82, push, n);
    }
    for (unsigned kind = 0; kind < 16; kind++) {
        char frame[sizeof push];
        memcpy(frame, push, sizeof push);
        frame[0] = (char)kind;
        ws_send(&f->first, 0x82, frame, kind == 3 ? 6 : sizeof push - 1);
    }
    assert_int_equal(rt_app_heard(&f->first, ""), 0);
    assert_int_equal(rt_app_heard(&f->second, ""), 0);
}

static void ack_and_self_are_as_the_join_asked(void **state)
{
    struct fixture *f = *state;
    enters(f, &f->first, "\"broadcast\":{\"ack\":\"true\",\"self\":true}");
    ws_say(&f->first, "[\"1\",\"2\",\"realtime:room\",\"broadcast\",{\"event\":\"e\"}]");
    assert_true(ws_next(&f->first));
    assert_string_equal(f->first.text, "[null,null,\"realtime:room\",\"broadcast\",{\"event\":"
                                       "\"e\"}]");
    assert_true(ws_next(&f->first));
    assert_string_equal(f->first.text, "[\"1\",\"2\",\"realtime:room\",\"phx_reply\",{\"status\":"
                                       "\"ok\",\"response\":{}}]");
}

static void without_a_user_a_broadcast_is_answered_and_goes_nowhere(void **state)
{
    struct fixture *f = *state;
    enters(f, &f->second, "\"broadcast\":{\"ack\":true}");
    assert_true(ws_open(&f->first, f->serve.port, RT_TARGET_V2, NULL));
    ws_say(&f->first, "[\"1\",\"1\",\"realtime:room\",\"phx_join\",{\"config\":{\"broadcast\":"
                      "{\"ack\":true}}}]");
    assert_true(ws_hear(&f->first, "phx_reply"));
    ws_say(&f->first, "[\"1\",\"2\",\"realtime:room\",\"broadcast\",{\"event\":\"e\"}]");
    assert_true(ws_hear(&f->first, "\"2\",\"realtime:room\",\"phx_reply\""));
    assert_int_equal(rt_app_heard(&f->second, "broadcast"), 0);
}

/* ---- Presence -------------------------------------------------------------------------------- */

static void presence_tells_who_comes_and_goes(void **state)
{
    struct fixture *f = *state;
    enters(f, &f->first, "\"presence\":{\"enabled\":true,\"key\":\"phone\"}");
    assert_true(ws_next(&f->first));
    assert_string_equal(f->first.text, "[\"1\",null,\"realtime:room\",\"presence_state\",{}]");
    ws_say(&f->first, "[\"1\",\"2\",\"realtime:room\",\"presence\",{\"type\":\"presence\","
                      "\"event\":\"track\",\"payload\":{\"at\":\"home\",\"phx_ref\":\"mine\"}}]");
    assert_true(ws_hear(&f->first, "presence_diff"));
    contains(f->first.text, "{\"joins\":{\"phone\":{\"metas\":[{\"phx_ref\":\"F");
    contains(f->first.text, "\",\"at\":\"home\"}]}},\"leaves\":{}}]");
    assert_true(ws_hear(&f->first, "phx_reply"));
    /* Who comes later hears who is there, and the others hear him. */
    enters(f, &f->second, "\"presence\":{\"enabled\":true,\"key\":\"tablet\"}");
    assert_true(ws_next(&f->second));
    contains(f->second.text, "\"presence_state\",{\"phone\":{\"metas\":[{\"phx_ref\":\"F");
    enters(f, &f->other, "\"presence\":{\"enabled\":true,\"key\":\"phone\"}");
    assert_true(ws_next(&f->other));
    contains(f->other.text, "\"presence_state\",{}]");
    ws_say(&f->second, "[\"1\",\"2\",\"realtime:room\",\"presence\",{\"event\":\"track\","
                       "\"payload\":{}}]");
    assert_true(ws_hear(&f->first, "\"joins\":{\"tablet\":{\"metas\":[{\"phx_ref\":\"F"));
    /* Tracked again: the one for the other. */
    ws_say(&f->first, "[\"1\",\"3\",\"realtime:room\",\"presence\",{\"event\":\"track\","
                      "\"payload\":{\"at\":\"work\"}}]");
    assert_true(ws_hear(&f->second, "\"at\":\"work\"}]}},\"leaves\":{\"phone\":{\"metas\":["));
    contains(f->second.text, "\"at\":\"home\"");
    ws_say(&f->second, "[\"1\",\"4\",\"realtime:room\",\"presence\",{\"event\":\"untrack\"}]");
    assert_true(ws_hear(&f->first, "{\"joins\":{},\"leaves\":{\"tablet\":{\"metas\":["));
    /* A socket that is lost leaves too. */
    ws_release(&f->first);
    assert_true(ws_hear(&f->second, "{\"joins\":{},\"leaves\":{\"phone\":{\"metas\":["));
    assert_int_equal(rt_app_heard(&f->other, "presence"), 0);
}

static void devices_of_one_presence_key_are_one_entry(void **state)
{
    struct fixture *f = *state;
    struct ws_client *both[] = {&f->first, &f->second};
    for (unsigned i = 0; i < 2; i++) {
        enters(f, both[i], "\"presence\":{\"enabled\":true,\"key\":\"me\"}");
        ws_say(both[i],
               "[\"1\",\"2\",\"realtime:room\",\"presence\",{\"event\":\"track\","
               "\"payload\":{\"n\":%u}}]",
               i);
        assert_true(ws_hear(both[i], "\"2\",\"realtime:room\",\"phx_reply\""));
    }
    enters(f, &f->old, "\"presence\":{\"enabled\":true}");
    assert_true(ws_next(&f->old));
    contains(f->old.text, "\"event\":\"presence_state\",\"payload\":{\"me\":{\"metas\":[{");
    contains(f->old.text, "\"n\":0}");
    contains(f->old.text, "\"n\":1}");
    char *first = strstr(f->old.text, "\"me\"");
    assert_null(strstr(first + 1, "\"me\""));
}

/* Its client keeps changes back until it has heard who was there before. */
static void who_joins_in_by_tracking_hears_who_was_there(void **state)
{
    struct fixture *f = *state;
    enters(f, &f->first, "\"presence\":{\"key\":\"phone\",\"enabled\":true}");
    ws_say(&f->first, "[\"1\",\"2\",\"realtime:room\",\"presence\",{\"event\":\"track\","
                      "\"payload\":{\"at\":\"home\"}}]");
    assert_true(ws_hear(&f->first, "presence_diff"));
    enters(f, &f->second, "\"presence\":{\"key\":\"tablet\",\"enabled\":false}");
    ws_say(&f->second, "[\"1\",\"2\",\"realtime:room\",\"presence\",{\"event\":\"track\","
                       "\"payload\":{\"at\":\"work\"}}]");
    assert_true(ws_hear(&f->second, "presence_state"));
    contains(f->second.text, "\"phone\":{\"metas\":[{\"phx_ref\":");
    contains(f->second.text, "\"tablet\":{\"metas\":[{\"phx_ref\":");
    /* Told once: what is tracked next is a change. */
    ws_say(&f->second, "[\"1\",\"3\",\"realtime:room\",\"presence\",{\"event\":\"track\","
                       "\"payload\":{\"at\":\"sea\"}}]");
    assert_int_equal(rt_app_heard(&f->second, "presence_state"), 0);
}

/* ---- What clients in Dart demand ------------------------------------------------------------- */

static bool is_ref(const struct json_value *value)
{
    return json_is(value, JSON_NULL) || json_is(value, JSON_STRING);
}

static void check_change(const struct json_value *payload)
{
    const struct json_value *ids = json_get(payload, "ids");
    const struct json_value *data = json_get(payload, "data");
    assert_true(json_is(ids, JSON_ARRAY) && ids->count > 0);
    for (uint32_t i = 0; i < ids->count; i++) {
        int64_t id;
        assert_true(json_to_int(&ids->items[i], &id));
        assert_in_range(id, 1, INT32_MAX);
    }
    const struct json_value *columns = json_get(data, "columns");
    assert_true(json_is(columns, JSON_ARRAY) && columns->count > 0);
    for (uint32_t i = 0; i < columns->count; i++) {
        assert_true(json_is(json_get(&columns->items[i], "name"), JSON_STRING));
        assert_true(json_is(json_get(&columns->items[i], "type"), JSON_STRING));
    }
    const struct json_value *type = json_get(data, "type");
    assert_true(json_is(type, JSON_STRING));
    assert_true(json_is(json_get(data, "record"), JSON_OBJECT));
    assert_int_equal(json_is(json_get(data, "old_record"), JSON_OBJECT),
                     slice_is(json_text(type), "UPDATE"));
    assert_true(json_is(json_get(data, "schema"), JSON_STRING));
    assert_true(json_is(json_get(data, "table"), JSON_STRING));
    assert_true(json_is(json_get(data, "commit_timestamp"), JSON_STRING));
    assert_false(json_is_absent(json_get(data, "errors")));
}

/* Answers the event. */
static const char *check_frame(struct arena *arena, const struct ws_client *ws, bool old)
{
    struct json_value frame;
    const struct json_value *ref;
    const struct json_value *event;
    const struct json_value *payload;
    assert_int_equal(json_parse(arena, (struct slice){ws->text, ws->text_len}, 64, &frame, NULL),
                     BQ_OK);
    if (old) {
        assert_int_equal(frame.type, JSON_OBJECT);
        assert_int_equal(frame.count, 4); /* no join_ref */
        ref = json_get(&frame, "ref");
        event = json_get(&frame, "event");
        payload = json_get(&frame, "payload");
        assert_true(json_is(json_get(&frame, "topic"), JSON_STRING));
    } else {
        assert_true(json_is(&frame, JSON_ARRAY) && frame.count == 5);
        assert_true(is_ref(&frame.items[0]));
        ref = &frame.items[1];
        assert_true(json_is(&frame.items[2], JSON_STRING));
        event = &frame.items[3];
        payload = &frame.items[4];
    }
    assert_true(is_ref(ref) && json_is(event, JSON_STRING) && json_is(payload, JSON_OBJECT));
    if (slice_is(json_text(event), "phx_reply")) {
        assert_true(json_is(json_get(payload, "response"), JSON_OBJECT));
        assert_true(json_is(json_get(payload, "status"), JSON_STRING));
    }
    if (slice_is(json_text(event), "postgres_changes")) {
        check_change(payload);
    }
    return event->ptr;
}

static void every_frame_is_one_that_a_client_in_dart_can_read(void **state)
{
    struct fixture *f = *state;
    static const char *const config =
        "\"broadcast\":{\"ack\":true,\"self\":true},\"presence\":{\"enabled\":true,\"key\":\"\"},"
        "\"postgres_changes\":[{\"event\":\"*\",\"schema\":\"public\"}]";
    struct ws_client *both[] = {&f->first, &f->old};
    for (unsigned i = 0; i < 2; i++) {
        bool old = both[i] == &f->old;
        unsigned n_changes = 0;
        struct arena arena;
        arena_init(&arena);
        enters(f, both[i], config);
        static const char *const says[][4] = {
            {"2", "realtime:room", "presence", "{\"event\":\"track\",\"payload\":{\"a\":null}}"},
            {"3", "realtime:room", "broadcast", "{\"event\":\"e\",\"payload\":null}"},
            {"4", "realtime:none", "broadcast", "{}"},
            {"5", "realtime:", "phx_join", "{}"},
            {"6", "realtime:room", "access_token", "{\"access_token\":\"a.b.c\"}"},
            {"7", "realtime:room", "phx_leave", "{}"},
            {"8", "phoenix", "heartbeat", "{}"},
        };
        for (unsigned k = 0; k < 2; k++) {
            assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token_a, "settings",
                                     k == 0 ? "{\"a\":0}" : "{\"a\":[null]}"));
        }
        for (size_t k = 0; k < sizeof says / sizeof says[0]; k++) {
            char text[512];
            snprintf(text, sizeof text,
                     old ? "{\"join_ref\":\"1\",\"ref\":\"%s\",\"topic\":\"%s\","
                           "\"event\":\"%s\",\"payload\":%s}"
                         : "[\"1\",\"%s\",\"%s\",\"%s\",%s]",
                     says[k][0], says[k][1], says[k][2], says[k][3]);
            ws_send(both[i], 0x81, text, strlen(text));
        }
        do {
            assert_true(ws_next(both[i]));
            const char *event = check_frame(&arena, both[i], old);
            n_changes += strncmp(event, "postgres_changes", 16) == 0;
        } while (strstr(both[i]->text, "\"8\"") == NULL || strstr(both[i]->text, "beat") != NULL);
        assert_int_equal(n_changes, 6);
        arena_release(&arena);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_broadcast_reaches_the_users_other_devices_alone),
        TEST(a_binary_broadcast_is_binary_for_the_new_and_text_for_the_old),
        TEST(a_binary_frame_that_lies_about_its_lengths_is_dropped),
        TEST(ack_and_self_are_as_the_join_asked),
        TEST(without_a_user_a_broadcast_is_answered_and_goes_nowhere),
        TEST(presence_tells_who_comes_and_goes),
        TEST(devices_of_one_presence_key_are_one_entry),
        TEST(who_joins_in_by_tracking_hears_who_was_there),
        TEST(every_frame_is_one_that_a_client_in_dart_can_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
