/* test_engine_rewind.c - what a rewound file does with what was on its way: a restored or cloned
 * file goes on under a new device id, without sums, and seeds stay seeds. */
#include "core/engine.h"

#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct bench {
    struct engine *engine;
    struct engine_actions actions;
    uint64_t request;
    char body[4096]; /* of the last request */
};

static void step(struct bench *b, struct engine_event event)
{
    assert_int_equal(engine_step(b->engine, 1700000000000, &event, &b->actions), BQ_OK);
    for (uint32_t i = 0; i < b->actions.n; i++) {
        const struct engine_action *action = &b->actions.items[i];
        if (action->type == ENGINE_SEND) {
            b->request = action->send.request;
            snprintf(b->body, sizeof b->body, "%.*s", SLICE_FMT(action->send.body));
        }
    }
}

static void answer(struct bench *b, const char *results, const char *changes)
{
    char body[2048];
    snprintf(body, sizeof body,
             "{\"epoch\":\"e.0\",\"status\":\"ok\",\"server_time\":\"2026-01-01T00:00:00+00:00\","
             "\"policies\":0,\"cursor\":3,\"more\":false,\"complete\":false,"
             "\"results\":[%s],\"changes\":[%s]}",
             results, changes);
    step(b, (struct engine_event){.type = ENGINE_ANSWER,
                                  .request = b->request,
                                  .http_status = 200,
                                  .retry_after_ms = -1,
                                  .text = slice_of(body)});
}

static int set_up(void **state)
{
    struct engine_config config = {.size = sizeof config,
                                   .limits = LIMITS_DEFAULT,
                                   .debounce_ms = 2000,
                                   .poll_ms = 30000,
                                   .timeout_ms = 10000,
                                   .syncs = true,
                                   .seed = 7};
    struct bench *b = calloc(1, sizeof *b);
    engine_actions_init(&b->actions);
    assert_int_equal(engine_new(&config, &b->engine), BQ_OK);
    step(b, (struct engine_event){.type = ENGINE_TOKEN});
    answer(b, "", "");
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    engine_free(b->engine);
    engine_actions_release(&b->actions);
    free(b);
    return 0;
}

static const char *rewound =
    "{\"key\":\"prefs\",\"op\":1,\"status\":\"rewound\",\"version\":2,\"data\":{\"mute\":true}}";

/* Found by the simulator: a default of a cloned file took the place of what the user had chosen. */
static void a_seed_on_its_way_is_still_a_seed_after_a_rewind(void **state)
{
    struct bench *b = *state;
    step(b, (struct engine_event){
                .type = ENGINE_SEED, .key = SLICE("prefs"), .text = SLICE("{\"mute\":false}")});
    step(b, (struct engine_event){.type = ENGINE_FLUSH});
    /* The report goes first where it was due. */
    for (int i = 0; i < 2 && strstr(b->body, "\"seed\":true") == NULL; i++) {
        step(b, (struct engine_event){.type = ENGINE_ANSWER,
                                      .request = b->request,
                                      .http_status = 204,
                                      .retry_after_ms = -1,
                                      .text = SLICE("")});
    }
    assert_non_null(strstr(b->body, "\"seed\":true"));
    answer(b, rewound, "");
    assert_non_null(strstr(b->body, "\"p_edits\":[{"));
    assert_non_null(strstr(b->body, "\"op\":1,\"prev\":0"));
    assert_non_null(strstr(b->body, "\"seed\":true,\"now\":{\"mute\":false}"));
}

/* With what was written over it: the seed first, then the rest as an edit. */
static void what_was_written_over_a_seed_stays_after_a_rewind(void **state)
{
    struct bench *b = *state;
    struct engine_view view;
    step(b, (struct engine_event){
                .type = ENGINE_SEED, .key = SLICE("prefs"), .text = SLICE("{\"mute\":false}")});
    step(b, (struct engine_event){.type = ENGINE_FLUSH});
    for (int i = 0; i < 2 && strstr(b->body, "\"seed\":true") == NULL; i++) {
        step(b, (struct engine_event){.type = ENGINE_ANSWER,
                                      .request = b->request,
                                      .http_status = 204,
                                      .retry_after_ms = -1,
                                      .text = SLICE("")});
    }
    step(b, (struct engine_event){
                .type = ENGINE_PATCH, .key = SLICE("prefs"), .text = SLICE("{\"size\":4}")});
    answer(b, rewound, "");
    assert_non_null(strstr(b->body, "\"seed\":true,\"now\":{\"mute\":false}"));
    assert_true(engine_lane_find(b->engine, SLICE("prefs"), &view));
    assert_true(slice_is(view.mine, "{\"mute\":false,\"size\":4}"));
    answer(b,
           "{\"key\":\"prefs\",\"op\":1,\"status\":\"merged\",\"version\":2,"
           "\"data\":{\"mute\":true}}",
           "");
    assert_true(engine_lane_find(b->engine, SLICE("prefs"), &view));
    assert_true(slice_is(view.mine, "{\"mute\":true,\"size\":4}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_seed_on_its_way_is_still_a_seed_after_a_rewind, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_was_written_over_a_seed_stays_after_a_rewind, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
