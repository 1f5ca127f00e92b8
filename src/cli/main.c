/* main.c - the program bqsync: finds the subcommand in the table of commands.h and calls it. */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plant.h"
#include "bqsync.h"
#include "cli/commands.h"
#include "cli/output.h"

static const struct command {
    const char *word;
    const char *help;
    int (*entry)(int argc, char **argv);
} commands[] = {
#define COMMAND_ROW(name, word, help) {word, help, cmd_##name},
    COMMAND_MAP(COMMAND_ROW)
#undef COMMAND_ROW
};

#define N_COMMANDS (sizeof commands / sizeof commands[0])

static void print_help(void)
{
    puts("usage: bqsync COMMAND [ARGUMENT...] [OPTION...]\n\n"
         "Keeps a user's small JSON documents equal on all devices.\n\ncommands:");
    for (size_t i = 0; i < N_COMMANDS; i++) {
        printf("  %-10s %s\n", commands[i].word, commands[i].help);
    }
    puts("\n`bqsync COMMAND --help` tells a command's arguments and options; bqsync(1) the rest.\n"
         "Exit codes: 0 done, 1 refused, 2 wrong command line, 3 not found, 4 network or\n"
         "time-out, 5 token, 6 disk or file.");
}

/* A build with planted bugs takes one by name from the environment, for the suites that run the
 * program. */
static bool choose_plant(void)
{
#ifdef BQ_PLANTS
    const char *plant = getenv("BQ_PLANT");
    return plant == NULL || plant[0] == '\0' || plant_choose(plant);
#else
    return true;
#endif
}

int main(int argc, char **argv)
{
    if (!choose_plant()) {
        fprintf(stderr, "bqsync: BQ_PLANT names no planted bug\n");
        return CLI_USAGE;
    }
    /* A reader that goes away early is told by write(), with a sentence, not by a signal. */
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "-h") == 0) {
        print_help();
        return argc < 2 ? CLI_USAGE : output_end();
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("bqsync %s\n", bq_version());
        return output_end();
    }
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].word) == 0) {
            int result = commands[i].entry(argc - 1, argv + 1);
            int end = output_end();
            return result == CLI_OK ? end : result;
        }
    }
    fprintf(stderr, "bqsync: there is no command %s; `bqsync --help` lists them\n", argv[1]);
    return CLI_USAGE;
}
