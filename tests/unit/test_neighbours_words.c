/* test_neighbours_words.c - the words that servers send each other, as another listener hears
 * them: all news are told, or there is a word that says to look. */
#include "pg_cluster.h"

#include "base/status.h"
#include "server/neighbours.h"
#include "store/postgres_listen.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MANY 20000u /* users; 4,096 may wait */
#define PATIENCE_MS 20000

static struct pg_cluster cluster;

struct heard {
    bool named[MANY];
    unsigned n_named;
    unsigned n_looks;
};

static struct uuid user_of(unsigned i)
{
    struct uuid user;
    char text[40];
    (void)snprintf(text, sizeof text, "dddddddd-0000-4000-8000-%012u", i);
    assert_true(uuid_parse(slice_of(text), &user));
    return user;
}

static void hear(void *cls, struct slice word)
{
    struct heard *heard = cls;
    heard->n_looks += word.len == 18 && word.ptr[17] == '*';
    for (const char *at = word.ptr; (at = strstr(at, " dddddddd-")) != NULL; at++) {
        unsigned i = (unsigned)strtoul(at + 25, NULL, 10);
        assert_true(i < MANY);
        heard->n_named += !heard->named[i];
        heard->named[i] = true;
    }
}

static void hear_until(struct postgres_listener *listener, struct heard *heard, unsigned n_named,
                       unsigned n_looks)
{
    struct pollfd fd = {.fd = postgres_listener_socket(listener), .events = POLLIN};
    while (heard->n_named < n_named || heard->n_looks < n_looks) {
        assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
        assert_int_equal(postgres_listener_hear(listener, hear, heard), BQ_OK);
    }
}

/* Of no store and no sockets: it tells what it is given. */
static struct neighbours *make(void)
{
    static const struct log log = {.level = LOG_LEVEL_ERROR};
    struct neighbours *neighbours;
    const struct neighbours_config config = {
        .size = sizeof config, .url = cluster.url, .log = &log, .node = 7};
    assert_int_equal(neighbours_new(&config, &neighbours), BQ_OK);
    return neighbours;
}

static void publish(struct neighbours *neighbours, unsigned i)
{
    struct op op = {.user = user_of(i), .wrote = true, .seq = 5};
    neighbours_published(neighbours, &op);
}

static void news_from_before_the_connection_are_told(void **state)
{
    static struct heard heard;
    struct postgres_listener *listener;
    struct neighbours *neighbours = make();
    (void)state;
    assert_int_equal(postgres_listener_open(cluster.url, &listener), BQ_OK);
    for (unsigned i = 0; i < 4096; i++) {
        publish(neighbours, i);
    }
    assert_int_equal(neighbours_start(neighbours, NULL), BQ_OK);
    hear_until(listener, &heard, 4096, 0);
    assert_int_equal(heard.n_looks, 0);
    neighbours_stop(neighbours);
    neighbours_free(neighbours);
    postgres_listener_close(listener);
}

static void more_news_than_are_kept_are_told_as_a_word_to_look(void **state)
{
    static struct heard heard;
    struct postgres_listener *listener;
    struct neighbours *neighbours = make();
    (void)state;
    assert_int_equal(postgres_listener_open(cluster.url, &listener), BQ_OK);
    for (unsigned i = 0; i < MANY; i++) {
        publish(neighbours, i);
    }
    assert_int_equal(neighbours_start(neighbours, NULL), BQ_OK);
    hear_until(listener, &heard, 4096, 1);
    assert_int_equal(heard.n_looks, 1);
    neighbours_stop(neighbours);
    neighbours_free(neighbours);
    postgres_listener_close(listener);
}

static int start_cluster(void **state)
{
    (void)state;
    pg_cluster_start(&cluster, "fsync=off");
    return 0;
}

static int stop_cluster(void **state)
{
    (void)state;
    pg_cluster_stop(&cluster);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(news_from_before_the_connection_are_told),
        cmocka_unit_test(more_news_than_are_kept_are_told_as_a_word_to_look),
    };
    return cmocka_run_group_tests(tests, start_cluster, stop_cluster);
}
