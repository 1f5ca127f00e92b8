/* options.c - reads a command line against a table. */
#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/output.h"

#define DURATION_MAX_MS (INT64_C(10) * 366 * 24 * 3600 * 1000)
#define HELP_COLUMN 24

static int usage_error(const struct command_line *line, const char *what, const char *word)
{
    fprintf(stderr, "bqsync: %s: %s%s; `bqsync %s --help` lists what there is\n", line->name, what,
            word, line->name);
    return CLI_USAGE;
}

static void print_option(const char *name, const char *value, const char *help)
{
    char left[64];
    snprintf(left, sizeof left, "--%s%s%s", name, value == NULL ? "" : " ",
             value == NULL ? "" : value);
    printf("  %-*s %s\n", HELP_COLUMN, left, help);
}

static void print_help(const struct command_line *line)
{
    printf("usage: bqsync %s%s%s [OPTION...]\n\n%s\noptions:\n", line->name,
           line->arguments[0] == '\0' ? "" : " ", line->arguments, line->about);
    for (size_t i = 0; i < line->n_options; i++) {
        print_option(line->options[i].name, line->options[i].value, line->options[i].help);
    }
    print_option("help", NULL, "this text");
}

bool options_number(const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || isspace((unsigned char)text[0])) {
        return false;
    }
    *out = value;
    return true;
}

bool options_duration(const char *text, int64_t *out_ms)
{
    static const struct {
        const char *word;
        double ms;
    } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60e3}, {"h", 3600e3}, {"d", 86400e3}};
    char *end;
    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    double value = strtod(text, &end);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].word) == 0) {
            double ms = value * units[i].ms;
            if (!(ms >= 0 && ms <= (double)DURATION_MAX_MS)) {
                return false;
            }
            *out_ms = (int64_t)(ms + 0.5);
            return true;
        }
    }
    return false;
}

/* The option that `word` (without dashes, up to '=') names, or NULL. */
static const struct option_spec *find_option(const struct command_line *line, const char *word)
{
    size_t len = strcspn(word, "=");
    for (size_t i = 0; i < line->n_options; i++) {
        const char *name = line->options[i].name;
        if (strlen(name) == len && memcmp(name, word, len) == 0) {
            return &line->options[i];
        }
    }
    return NULL;
}

static bool store_value(const struct option_spec *option, const char *value)
{
    if (option->text != NULL) {
        *option->text = value;
        return true;
    }
    if (option->number != NULL) {
        return options_number(value, option->number);
    }
    return options_duration(value, option->ms);
}

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0' && !isdigit((unsigned char)word[1]) && word[1] != '.';
}

/* Takes argv[*at], an option, and its value; *at stands on the last word taken. */
static int take_option(const struct command_line *line, int argc, char **argv, int *at)
{
    const char *word = argv[*at];
    if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
        print_help(line);
        return CLI_OK;
    }
    const struct option_spec *option =
        strncmp(word, "--", 2) == 0 ? find_option(line, word + 2) : NULL;
    if (option == NULL) {
        return usage_error(line, "there is no option ", word);
    }
    const char *value = strchr(word, '=');
    if (option->flag != NULL) {
        *option->flag = true;
        return value == NULL ? OPTIONS_GO : usage_error(line, "this option takes no value: ", word);
    }
    if (value != NULL) {
        value++;
    } else if (*at + 1 < argc) {
        value = argv[++*at];
    } else {
        return usage_error(line, "a value is missing behind ", word);
    }
    return store_value(option, value) ? OPTIONS_GO
                                      : usage_error(line, "the value does not fit ", word);
}

int options_parse(const struct command_line *line, int argc, char **argv, int *n)
{
    int count = 0;
    bool options_end = false;
    for (int i = 1; i < argc; i++) {
        if (options_end || !is_option(argv[i])) {
            argv[count++] = argv[i];
        } else if (strcmp(argv[i], "--") == 0) {
            options_end = true;
        } else {
            int done = take_option(line, argc, argv, &i);
            if (done != OPTIONS_GO) {
                return done;
            }
        }
    }
    if (count < line->min) {
        return usage_error(line, "an argument is missing: ", line->arguments);
    }
    if (count > line->max) {
        return usage_error(line, "one argument too many: ", argv[line->max]);
    }
    *n = count;
    return OPTIONS_GO;
}
