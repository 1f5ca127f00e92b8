/* doctor.h - findings of `bqsync doctor`, and the three that it looks at.
 *
 * A finding is ok, a warning or a problem; the latter two say the next step. Looking changes
 * nothing. */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include <stdbool.h>

#include "cli/operator.h"

enum doctor_level { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_PROBLEM };

struct doctor {
    bool json;
    unsigned n[3]; /* findings by level */
};

/* next NULL: there is none. Texts are cut at 1 KiB. */
void doctor_say(struct doctor *doctor, enum doctor_level level, const char *check,
                const char *next, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The folder of a device, and its server where it has one. */
void doctor_client(struct doctor *doctor, const char *dir);

/* A server by its calls; token and api_key may be "" and NULL. */
void doctor_server(struct doctor *doctor, const char *url, struct slice token,
                   const char *api_key);

/* Whose a token is and until when, as it says itself. */
void doctor_token(struct doctor *doctor, struct slice token, const char *user);

/* A store, row by row. operator is open. */
void doctor_store(struct doctor *doctor, struct operator *operator);

#endif
