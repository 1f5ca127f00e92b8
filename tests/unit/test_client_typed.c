/* test_client_typed.c - the providers of the guide: each change touches the fields that it
 * names. */
#include "client_fixture.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void expect_stats(struct bq *bq, int64_t score, int64_t current, int64_t longest,
                         int64_t incorrect)
{
    struct bq_game_stats stats = {.size = sizeof stats};
    assert_int_equal(bq_game_stats_read(bq, &stats), BQ_OK);
    assert_int_equal(stats.score, score);
    assert_int_equal(stats.current_streak, current);
    assert_int_equal(stats.longest_streak, longest);
    assert_int_equal(stats.incorrect_answers, incorrect);
}

static void what_lacks_reads_as_nothing(void **state)
{
    struct client_fixture *f = *state;
    struct bq_settings settings = {.size = sizeof settings};
    int64_t number = 7;
    client_open_handle(f);
    expect_stats(f->bq, 0, 0, 0, 0);
    assert_int_equal(bq_settings_read(f->bq, &settings), BQ_OK);
    assert_string_equal(settings.theme_mode, "");
    assert_int_equal(settings.mute, 0);
    assert_int_equal(bq_lesson_progress_read(f->bq, &number), BQ_OK);
    assert_int_equal(number, 0);
    number = 7;
    assert_int_equal(bq_lesson_progress_stars(f->bq, "lesson_001", &number), BQ_OK);
    assert_int_equal(number, 0);
    struct bq_stats stats = {.size = sizeof stats};
    assert_int_equal(bq_stats(f->bq, &stats), BQ_OK);
    assert_int_equal(stats.documents, 0);
}

static void answers_count_and_streaks_end(void **state)
{
    struct client_fixture *f = *state;
    client_open_handle(f);
    assert_int_equal(client_put(f->bq, "game_stats", "{\"lives\":3}"), BQ_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(bq_game_stats_answer(f->bq, 1), BQ_OK);
    }
    expect_stats(f->bq, 0, 3, 3, 0);
    assert_int_equal(bq_game_stats_answer(f->bq, 0), BQ_OK);
    expect_stats(f->bq, 0, 0, 3, 1);
    assert_int_equal(bq_game_stats_answer(f->bq, 1), BQ_OK);
    expect_stats(f->bq, 0, 1, 3, 1);
    assert_int_equal(bq_game_stats_add_score(f->bq, 50), BQ_OK);
    assert_int_equal(bq_game_stats_add_score(f->bq, -20), BQ_OK);
    expect_stats(f->bq, 30, 1, 3, 1);
    client_expect_document(f->bq, "game_stats",
                           "{\"lives\":3,\"currentStreak\":1,\"longestStreak\":3,"
                           "\"incorrectAnswers\":1,\"score\":30}");
    assert_int_equal(bq_game_stats_reset(f->bq), BQ_OK);
    client_expect_document(f->bq, "game_stats",
                           "{\"lives\":3,\"currentStreak\":0,\"longestStreak\":0,"
                           "\"incorrectAnswers\":0,\"score\":0}");
}

static void fractions_are_read_cut_and_counted_exactly(void **state)
{
    struct client_fixture *f = *state;
    client_open_handle(f);
    assert_int_equal(
        client_put(f->bq, "game_stats",
                   "{\"score\":-2.75,\"incorrectAnswers\":11.5,\"longestStreak\":1e2}"),
        BQ_OK);
    expect_stats(f->bq, -2, 0, 100, 11);
    assert_int_equal(bq_game_stats_answer(f->bq, 0), BQ_OK);
    client_expect_document(f->bq, "game_stats",
                           "{\"score\":-2.75,\"incorrectAnswers\":12.5,\"longestStreak\":1e2,"
                           "\"currentStreak\":0}");
}

static void odd_values_are_not_overwritten(void **state)
{
    struct client_fixture *f = *state;
    struct bq_settings settings = {.size = sizeof settings};
    client_open_handle(f);
    const char *stats = "{\"currentStreak\":\"many\",\"incorrectAnswers\":[1],\"score\":{}}";
    assert_int_equal(client_put(f->bq, "game_stats", stats), BQ_OK);
    expect_stats(f->bq, 0, 0, 0, 0);
    assert_int_equal(bq_game_stats_answer(f->bq, 1), BQ_INVALID);
    assert_int_equal(bq_game_stats_answer(f->bq, 0), BQ_INVALID);
    assert_int_equal(bq_game_stats_add_score(f->bq, 1), BQ_INVALID);
    client_expect_document(f->bq, "game_stats", stats);
    const char *odd = "{\"unlockedThemes\":\"all\",\"aiThemes\":[],\"themeMode\":7,\"mute\":1}";
    assert_int_equal(client_put(f->bq, "settings", odd), BQ_OK);
    assert_int_equal(bq_settings_read(f->bq, &settings), BQ_OK);
    assert_string_equal(settings.theme_mode, "");
    assert_int_equal(settings.mute, 0);
    assert_int_equal(bq_settings_unlock_theme(f->bq, "oled"), BQ_INVALID);
    assert_int_equal(bq_settings_put_ai_theme(f->bq, "t1", "{}"), BQ_INVALID);
    assert_int_equal(bq_settings_remove_ai_theme(f->bq, "t1"), BQ_NOT_FOUND);
    client_expect_document(f->bq, "settings", odd);
    assert_int_equal(client_put(f->bq, "game_stats", "[1,2]"), BQ_OK);
    expect_stats(f->bq, 0, 0, 0, 0);
}

static void a_reset_raises_the_epoch_where_the_policy_has_one(void **state)
{
    struct client_fixture *f = *state;
    fake_server_set_policy(f->server, "game_stats",
                           "{\"fields\":{\"score\":\"sum\",\"incorrectAnswers\":\"sum\"},"
                           "\"epoch\":\"round\"}");
    client_open_signed_in(f);
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_OK);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(bq_step(f->bq, 0), BQ_OK);
    }
    struct bq *tablet = client_open_other(f, "tablet.bqsync");
    assert_int_equal(bq_pull(tablet, PATIENCE_MS), BQ_OK);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(bq_step(tablet, 0), BQ_OK);
    }
    assert_int_equal(bq_game_stats_add_score(f->bq, 100), BQ_OK);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    assert_int_equal(bq_pull(tablet, PATIENCE_MS), BQ_OK);
    assert_int_equal(bq_game_stats_add_score(tablet, 5), BQ_OK);
    assert_int_equal(bq_game_stats_reset(f->bq), BQ_OK);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    assert_int_equal(bq_flush(tablet, PATIENCE_MS), BQ_OK);
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_OK);
    expect_stats(f->bq, 0, 0, 0, 0);
    expect_stats(tablet, 0, 0, 0, 0);
    bq_close(tablet);
}

static void settings_are_set_one_by_one(void **state)
{
    struct client_fixture *f = *state;
    struct bq_settings settings = {.size = sizeof settings};
    char longer[200];
    client_open_handle(f);
    assert_int_equal(client_put(f->bq, "settings", "{\"new\":{\"er\":1}}"), BQ_OK);
    assert_int_equal(bq_settings_set_text(f->bq, "themeMode", "da\"rk"), BQ_OK);
    assert_int_equal(bq_settings_set_text(f->bq, "gameSpeed", "fast"), BQ_OK);
    assert_int_equal(bq_settings_set_text(f->bq, "layoutType", "grid"), BQ_OK);
    assert_int_equal(bq_settings_set_bool(f->bq, "mute", 5), BQ_OK);
    assert_int_equal(bq_settings_set_bool(f->bq, "colorfulMode", 0), BQ_OK);
    assert_int_equal(bq_settings_set_bool(f->bq, "showNavigationLabels", 1), BQ_OK);
    assert_int_equal(bq_settings_read(f->bq, &settings), BQ_OK);
    assert_string_equal(settings.theme_mode, "da\"rk");
    assert_string_equal(settings.game_speed, "fast");
    assert_string_equal(settings.layout_type, "grid");
    assert_int_equal(settings.mute, 1);
    assert_int_equal(settings.colorful_mode, 0);
    assert_int_equal(settings.show_navigation_labels, 1);
    client_expect_document(f->bq, "settings",
                           "{\"new\":{\"er\":1},\"themeMode\":\"da\\\"rk\",\"gameSpeed\":\"fast\","
                           "\"layoutType\":\"grid\",\"mute\":true,\"colorfulMode\":false,"
                           "\"showNavigationLabels\":true}");
    /* 62 bytes and a character of two: it is not cut in its middle. */
    memset(longer, 'x', 62);
    memcpy(longer + 62, "\xc3\xa4 and more", 12);
    assert_int_equal(bq_settings_set_text(f->bq, "themeMode", longer), BQ_OK);
    assert_int_equal(bq_settings_read(f->bq, &settings), BQ_OK);
    assert_int_equal(strlen(settings.theme_mode), 62);
    assert_int_equal(bq_settings_set_text(f->bq, "", "x"), BQ_INVALID);
    assert_int_equal(bq_settings_set_text(f->bq, NULL, "x"), BQ_INVALID);
    assert_int_equal(bq_settings_set_text(f->bq, "themeMode", "\xff"), BQ_JSON_UTF8);
    assert_int_equal(bq_settings_set_text(f->bq, "themeMode", NULL), BQ_INVALID);
}

static void themes_are_unlocked_once_and_replaced_whole(void **state)
{
    struct client_fixture *f = *state;
    client_open_handle(f);
    assert_int_equal(bq_settings_unlock_theme(f->bq, "oled"), BQ_OK);
    assert_int_equal(bq_settings_unlock_theme(f->bq, "grey"), BQ_OK);
    assert_int_equal(bq_settings_unlock_theme(f->bq, "oled"), BQ_OK);
    assert_int_equal(bq_settings_put_ai_theme(f->bq, "t/1~", "{\"name\":\"Sea\",\"old\":1}"),
                     BQ_OK);
    assert_int_equal(bq_settings_put_ai_theme(f->bq, "t/1~", "{\"name\":null}"), BQ_OK);
    assert_int_equal(bq_settings_put_ai_theme(f->bq, "t2", "{}"), BQ_OK);
    assert_int_equal(bq_settings_put_ai_theme(f->bq, "t3", "[]"), BQ_INVALID);
    assert_int_equal(bq_settings_put_ai_theme(f->bq, "t3", "{"), BQ_JSON_SYNTAX);
    assert_int_equal(bq_settings_remove_ai_theme(f->bq, "t2"), BQ_OK);
    assert_int_equal(bq_settings_remove_ai_theme(f->bq, "t2"), BQ_NOT_FOUND);
    client_expect_document(f->bq, "settings",
                           "{\"unlockedThemes\":[\"oled\",\"grey\"],"
                           "\"aiThemes\":{\"t/1~\":{\"name\":null}}}");
}

static void stars_and_lessons_only_rise(void **state)
{
    struct client_fixture *f = *state;
    int64_t stars;
    client_open_handle(f);
    assert_int_equal(bq_lesson_progress_set_stars(f->bq, "l1", 2), BQ_OK);
    assert_int_equal(bq_lesson_progress_set_stars(f->bq, "l1", 1), BQ_OK);
    assert_int_equal(bq_lesson_progress_set_stars(f->bq, "l2", 0), BQ_OK);
    assert_int_equal(bq_lesson_progress_set_stars(f->bq, "l1", 4), BQ_INVALID);
    assert_int_equal(bq_lesson_progress_set_stars(f->bq, "l1", -1), BQ_INVALID);
    assert_int_equal(bq_lesson_progress_set_stars(f->bq, "", 1), BQ_INVALID);
    assert_int_equal(bq_lesson_progress_unlock(f->bq, 3), BQ_OK);
    assert_int_equal(bq_lesson_progress_unlock(f->bq, 2), BQ_OK);
    assert_int_equal(bq_lesson_progress_unlock(f->bq, -1), BQ_INVALID);
    assert_int_equal(bq_lesson_progress_stars(f->bq, "l1", &stars), BQ_OK);
    assert_int_equal(stars, 2);
    client_expect_document(f->bq, "lesson_progress",
                           "{\"bestStarsByLesson\":{\"l1\":2,\"l2\":0},\"unlockedCount\":3}");
}

struct player {
    struct bq *bq;
    pthread_t thread;
    bool correct;
    int status;
};

static void *play(void *context)
{
    struct player *player = context;
    for (int i = 0; i < 50 && player->status == BQ_OK; i++) {
        player->status = bq_game_stats_answer(player->bq, player->correct);
    }
    return NULL;
}

static void threads_do_not_lose_each_others_answers(void **state)
{
    struct client_fixture *f = *state;
    struct player players[4];
    f->config.flags = 0;
    f->config.debounce_ms = 1;
    client_open_signed_in(f);
    for (int i = 0; i < 4; i++) {
        players[i] = (struct player){.bq = f->bq, .correct = false, .status = BQ_OK};
        assert_int_equal(pthread_create(&players[i].thread, NULL, play, &players[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(players[i].thread, NULL), 0);
        assert_int_equal(players[i].status, BQ_OK);
    }
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    expect_stats(f->bq, 0, 0, 0, 200);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, client_setup, client_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_lacks_reads_as_nothing),
        TEST(answers_count_and_streaks_end),
        TEST(fractions_are_read_cut_and_counted_exactly),
        TEST(odd_values_are_not_overwritten),
        TEST(a_reset_raises_the_epoch_where_the_policy_has_one),
        TEST(settings_are_set_one_by_one),
        TEST(themes_are_unlocked_once_and_replaced_whole),
        TEST(stars_and_lessons_only_rise),
        TEST(threads_do_not_lose_each_others_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
