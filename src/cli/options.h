/* options.h - one option parser for all subcommands, and the text of --help from the same table.
 *
 * `--name value`, `--name=value` and `--` are understood; options and arguments may be mixed. What
 * begins with '-' and a digit is an argument (a negative amount), and so is a lone '-' (standard
 * input). An option that is given twice takes the last value. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exactly one of the targets is set; its type says what the value is. */
struct option_spec {
    const char *name;  /* without the dashes */
    const char *value; /* the value's word in the help; NULL for a flag */
    const char *help;  /* one line */
    bool *flag;
    const char **text;
    int64_t *number;
    int64_t *ms; /* a duration: a number of seconds (0.5), or with ms, s, m, h or d behind it */
};

#define OPTION_FLAG(name_, target, help_) {.name = name_, .flag = target, .help = help_}
#define OPTION_TEXT(name_, value_, target, help_)                                                  \
    {.name = name_, .value = value_, .text = target, .help = help_}
#define OPTION_NUMBER(name_, value_, target, help_)                                                \
    {.name = name_, .value = value_, .number = target, .help = help_}
#define OPTION_DURATION(name_, value_, target, help_)                                              \
    {.name = name_, .value = value_, .ms = target, .help = help_}
#define OPTION_COUNT(options) (sizeof(options) / sizeof((options)[0]))

/* A subcommand's command line. */
struct command_line {
    const char *name;      /* "put" */
    const char *arguments; /* "KEY JSON|@FILE|-"; "" for none */
    const char *about;     /* lines that end with \n */
    const struct option_spec *options;
    size_t n_options;
    int min; /* arguments */
    int max;
};

/* The subcommand goes on. */
#define OPTIONS_GO (-1)

/* Reads argv[1 ...] (argv[0] is the subcommand's name) and moves the arguments to argv[0 ...];
 * their number is *n. Answers OPTIONS_GO, or the exit code to leave with: 0 after --help, CLI_USAGE
 * after a sentence on standard error. */
int options_parse(const struct command_line *line, int argc, char **argv, int *n);

/* "1h", "90", "0.5s", "250ms" in milliseconds. False for anything else or over 10 years. */
bool options_duration(const char *text, int64_t *out_ms);

/* A decimal integer and nothing else. */
bool options_number(const char *text, int64_t *out);

#endif
