/* test_config.c - options: one table behind command line, environment and file; what is wrong is
 * named. */
#include "server/config.h"

#include "base/status.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static struct arena arena;
static struct server_config config;
static char error[256];

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_release(&arena);
    return 0;
}

static int read_all(char *const *argv, char *const *environment)
{
    error[0] = '\0';
    return config_read(&arena, argv, environment, &config, error, sizeof error);
}

#define ARGV(...) ((char *[]){"serve", __VA_ARGS__, NULL})
#define ENVIRONMENT(...) ((char *[]){__VA_ARGS__, NULL})

static void refuses(char *const *argv, char *const *environment, const char *sentence)
{
    assert_int_equal(read_all(argv, environment), BQ_INVALID);
    if (strstr(error, sentence) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", error, sentence);
    }
}

static void defaults_hold(void **state)
{
    (void)state;
    assert_int_equal(read_all((char *[]){"serve", NULL}, NULL), BQ_OK);
    assert_string_equal(config.listen, "127.0.0.1:8787");
    assert_int_equal(config.body_bytes, 4 << 20);
    assert_int_equal(config.header_timeout_ms, 10000);
    assert_int_equal(config.batch, 256);
    assert_null(config.jwt_secret_file);
    assert_false(config.jwt_map_sub);
    struct limits limits = config_limits(&config);
    struct limits defaults = LIMITS_DEFAULT;
    assert_int_equal(limits.document_bytes, defaults.document_bytes);
    assert_int_equal(limits.depth, defaults.depth);
    assert_int_equal(limits.keys, defaults.keys);
    assert_int_equal(limits.user_bytes, defaults.user_bytes);
    assert_int_equal(limits.history, defaults.history);
}

static void the_command_line_wins_over_environment_over_file(void **state)
{
    struct scratch scratch;
    char path[256];
    (void)state;
    scratch_init(&scratch);
    scratch_path(&scratch, "c.json", path, sizeof path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("{\"listen\": \"a:1\", \"depth\": 10, \"keys\": \"20\", \"jwt_map_sub\": true,"
          " \"idle_timeout\": \"5s\", \"document_bytes\": \"64K\"}\n", file);
    fclose(file);
    char option[300];
    snprintf(option, sizeof option, "BQSYNC_CONFIG=%s", path);
    assert_int_equal(read_all(ARGV("--depth=12", "--listen", "c:3"),
                              ENVIRONMENT(option, "BQSYNC_DEPTH=11", "BQSYNC_KEYS=21", "HOME=/",
                                          "BQSYNC_URL=http://x")), BQ_OK);
    assert_string_equal(config.listen, "c:3");
    assert_int_equal(config.depth, 12);
    assert_int_equal(config.keys, 21);
    assert_int_equal(config.idle_timeout_ms, 5000);
    assert_int_equal(config.document_bytes, 65536);
    assert_true(config.jwt_map_sub);
    scratch_release(&scratch);
}

static void numbers_have_units_and_ranges(void **state)
{
    (void)state;
    assert_int_equal(read_all(ARGV("--idle-timeout", "500ms", "--header-timeout=2m",
                                   "--body-bytes", "1M", "--user-bytes=4096", "--jwt-map-sub"),
                              NULL), BQ_OK);
    assert_int_equal(config.idle_timeout_ms, 500);
    assert_int_equal(config.header_timeout_ms, 120000);
    assert_int_equal(config.body_bytes, 1 << 20);
    assert_int_equal(config.user_bytes, 4096);
    assert_true(config.jwt_map_sub);
    refuses(ARGV("--idle-timeout", "5"), NULL, "--idle-timeout wants a time");
    refuses(ARGV("--idle-timeout", "5x"), NULL, "--idle-timeout wants a time");
    refuses(ARGV("--idle-timeout", "-5s"), NULL, "--idle-timeout wants a time");
    refuses(ARGV("--body-bytes", "4G"), NULL, "--body-bytes wants a size");
    refuses(ARGV("--depth", "1K"), NULL, "--depth wants a whole number");
    refuses(ARGV("--depth", "0"), NULL, "--depth is 1 to 256");
    refuses(ARGV("--depth", "99999999999999999999"), NULL, "--depth");
    refuses(ARGV("--idle-timeout", "9999999999999h"), NULL, "--idle-timeout");
    refuses(ARGV("--jwt-map-sub=maybe"), NULL, "--jwt-map-sub wants true or false");
}

static void what_is_unknown_doubled_or_missing_is_named(void **state)
{
    (void)state;
    refuses(ARGV("--lisent", "x"), NULL, "--lisent is no option of bqsync serve");
    refuses(ARGV("listen"), NULL, "listen is no option");
    refuses(ARGV("--list", "x"), NULL, "--list is no option");
    refuses(ARGV("--depth", "3", "--depth", "4"), NULL, "--depth stands there twice");
    refuses(ARGV("--listen"), NULL, "--listen wants a text");
    refuses(ARGV("--listen="), NULL, "--listen wants a text");
    refuses((char *[]){"serve", NULL}, ENVIRONMENT("BQSYNC_DEPTH=deep"),
            "BQSYNC_DEPTH wants a whole number");
    refuses(ARGV("--config", "/no/such/file"), NULL, "/no/such/file cannot be read");
}

static void refuses_file(const char *text, const char *sentence)
{
    struct scratch scratch;
    char path[256];
    scratch_init(&scratch);
    scratch_path(&scratch, "c.json", path, sizeof path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    refuses(ARGV("--config", path), NULL, sentence);
    assert_non_null(strstr(error, path));
    scratch_release(&scratch);
}

static void a_wrong_file_is_named_with_its_place(void **state)
{
    (void)state;
    refuses_file("{\n  \"listen\": }", "line 2, column 13");
    refuses_file("[]", "is no JSON object");
    refuses_file("{\"lisent\": \"x\"}", "\"lisent\" is no option");
    refuses_file("{\"idle-timeout\": \"5s\"}", "\"idle-timeout\" is no option");
    refuses_file("{\"config\": \"x\"}", "\"config\" is no option");
    refuses_file("{\"listen\": 5}", "\"listen\" wants a text");
    refuses_file("{\"depth\": \"x\"}", "\"depth\" wants a whole number");
    refuses_file("{\"depth\": 1.5}", "\"depth\" wants a whole number");
    refuses_file("{\"depth\": null}", "\"depth\" wants a whole number");
    refuses_file("{\"jwt_map_sub\": \"true\"}", "\"jwt_map_sub\" wants true or false");
    refuses_file("{\"depth\": 3, \"depth\": 4}", "line 1");
}

static void help_names_every_option_and_its_default(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    config_help(&text);
    assert_non_null(strstr(text.ptr, "--listen HOST:PORT"));
    assert_non_null(strstr(text.ptr, "[127.0.0.1:8787]"));
    assert_non_null(strstr(text.ptr, "--jwt-secret-file FILE"));
    assert_non_null(strstr(text.ptr, "--help"));
    buf_release(&text);
}

/* Every option of --help has its paragraph in the manual page. */
static void the_manual_page_names_every_option(void **state)
{
    struct buf help = BUF_INIT;
    static char page[1 << 17];
    (void)state;
    FILE *file = fopen("docs/man/bqsync.conf.5", "r");
    assert_non_null(file);
    page[fread(page, 1, sizeof page - 1, file)] = '\0';
    fclose(file);
    config_help(&help);
    for (char *at = help.ptr; (at = strstr(at, "  --")) != NULL;) {
        char name[64];
        char heading[80];
        at += 4;
        size_t len = strcspn(at, " ");
        snprintf(name, sizeof name, "%.*s", (int)len, at);
        for (char *dash = name; (dash = strchr(dash, '-')) != NULL; *dash = '_') {
        }
        snprintf(heading, sizeof heading, ".It Cm %s\n", name);
        /* What is asked on the command line alone. */
        bool apart = strcmp(name, "config") == 0 || strcmp(name, "help") == 0 ||
                     strcmp(name, "routes") == 0 || strcmp(name, "schema_dry_run") == 0;
        if (!apart && strstr(page, heading) == NULL) {
            fail_msg("bqsync.conf.5 has no %s", name);
        }
    }
    buf_release(&help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_hold),
        cmocka_unit_test(the_command_line_wins_over_environment_over_file),
        cmocka_unit_test(numbers_have_units_and_ranges),
        cmocka_unit_test(what_is_unknown_doubled_or_missing_is_named),
        cmocka_unit_test(a_wrong_file_is_named_with_its_place),
        cmocka_unit_test(help_names_every_option_and_its_default),
        cmocka_unit_test(the_manual_page_names_every_option),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
