/* cmd_doctor.c - bqsync doctor: what is wrong with a device, a server, a store; what to do. */
#include <stdarg.h>
#include <stdio.h>

#include "base/status.h"
#include "cli/commands.h"
#include "cli/doctor.h"
#include "cli/options.h"
#include "cli/output.h"

#define TEXT_BYTES 1024

void doctor_say(struct doctor *doctor, enum doctor_level level, const char *check,
                const char *next, const char *format, ...)
{
    static const char *const words[] = {"ok", "warning", "problem"};
    char text[TEXT_BYTES];
    struct buf line = BUF_INIT;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    doctor->n[level]++;
    if (doctor->json) {
        output_begin(&line);
        output_text(&line, "level", slice_of(words[level]));
        output_text(&line, "check", slice_of(check));
        output_text(&line, "text", slice_of(text));
        if (next != NULL) {
            output_text(&line, "next", slice_of(next));
        }
        output_close(&line);
    } else {
        buf_add_format(&line, "%-8s %-14s %s", words[level], check, text);
        if (next != NULL) {
            buf_add_format(&line, "\n%-23s next: %s", "", next);
        }
    }
    output_line(doctor->json, &line);
    buf_release(&line);
}

static int tell(const struct doctor *doctor)
{
    struct buf line = BUF_INIT;
    if (doctor->json) {
        output_begin(&line);
        output_int(&line, "ok", doctor->n[DOCTOR_OK]);
        output_int(&line, "warnings", doctor->n[DOCTOR_WARNING]);
        output_int(&line, "problems", doctor->n[DOCTOR_PROBLEM]);
        output_close(&line);
    } else {
        buf_add_format(&line, "%u ok, %u warnings, %u problems", doctor->n[DOCTOR_OK],
                       doctor->n[DOCTOR_WARNING], doctor->n[DOCTOR_PROBLEM]);
    }
    int result = output_line(doctor->json, &line);
    buf_release(&line);
    return doctor->n[DOCTOR_PROBLEM] > 0 ? CLI_PROBLEM : result;
}

/* A store or a server; a store that cannot be opened is a finding too. */
static void look(struct doctor *doctor, struct operator *operator)
{
    if (operator->store != NULL) {
        if (operator_open(operator, false) == CLI_OK) {
            doctor_store(doctor, operator);
        } else {
            doctor_say(doctor, DOCTOR_PROBLEM, "store", "do what the sentence says; a backup "
                       "comes back with `bqsync restore`", "%s cannot be opened",
                       operator->store);
        }
        operator_close(operator);
        return;
    }
    buf_init(&operator->bearer);
    if (operator_read_token(operator) != CLI_OK) {
        doctor_say(doctor, DOCTOR_PROBLEM, "token", "name a file that can be read",
                   "--token-file cannot be read");
    }
    struct slice token = operator->bearer.len == 0 ? SLICE("") : buf_slice(&operator->bearer);
    if (token.len > 0) {
        doctor_token(doctor, token, "");
    }
    doctor_server(doctor, operator->url, token, NULL);
    buf_release(&operator->bearer);
}

int cmd_doctor(int argc, char **argv)
{
    struct doctor doctor = {.json = false};
    struct operator operator= {.store = NULL};
    const char *dir = NULL;
    int n;
    const struct option_spec options[] = {
        OPTION_TEXT("dir", "DIR", &dir, "a device's folder ($BQSYNC_DIR, else ./.bqsync)"),
        OPERATOR_OPTIONS(&operator),
    };
    const struct command_line line = {
        "doctor", "",
        "Looks at a device's folder and its server, at a server (--url), or at a store (--store):\n"
        "ok, warning or problem, each with the next step. Changes nothing. Exit code 1 where\n"
        "there is a problem.\n",
        options, OPTION_COUNT(options), 0, 0};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    if (dir != NULL && !operator_is_nowhere(&operator)) {
        fputs("bqsync: doctor: take --dir, --url or --store\n", stderr);
        return CLI_USAGE;
    }
    doctor.json = operator.json;
    if (operator_is_nowhere(&operator)) {
        doctor_client(&doctor, dir);
    } else {
        look(&doctor, &operator);
    }
    return tell(&doctor);
}
