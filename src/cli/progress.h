/* progress.h - a bar on standard error, on a terminal only; elsewhere nothing is printed. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *label;
    uint64_t total;
    bool shown;    /* standard error is a terminal that can go back in the line */
    int percent;   /* last drawn; -1 none */
    int64_t began_ms;
    int64_t drawn_ms;
};

/* label is borrowed until progress_end(). total 0: unknown. */
void progress_begin(struct progress *progress, const char *label, uint64_t total);

/* Draws when the percentage changed. */
void progress_set(struct progress *progress, uint64_t done);

/* The same with rows, their rate and the time that is left, a few times a second. */
void progress_set_rows(struct progress *progress, uint64_t done, uint64_t rows);

/* Removes the bar, so that what follows begins on a clean line. */
void progress_end(struct progress *progress);

#endif
