/* progress.c - "label [########------]  57 %" over and over on one line. */
#include "cli/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_WIDTH 40

void progress_begin(struct progress *progress, const char *label, uint64_t total)
{
    const char *terminal = getenv("TERM");
    bool dumb = terminal == NULL || strcmp(terminal, "dumb") == 0;
    *progress = (struct progress){label, total, isatty(STDERR_FILENO) && !dumb, -1};
    progress_set(progress, 0);
}

void progress_set(struct progress *progress, uint64_t done)
{
    if (!progress->shown) {
        return;
    }
    uint64_t total = progress->total == 0 ? 1 : progress->total;
    int percent = done >= total ? 100 : (int)(done * 100 / total);
    if (percent == progress->percent) {
        return;
    }
    progress->percent = percent;
    char bar[PROGRESS_WIDTH + 1];
    int full = percent * PROGRESS_WIDTH / 100;
    memset(bar, '#', (size_t)full);
    memset(bar + full, '-', (size_t)(PROGRESS_WIDTH - full));
    bar[PROGRESS_WIDTH] = '\0';
    fprintf(stderr, "\r%s [%s] %3d %%", progress->label, bar, percent);
    fflush(stderr);
}

void progress_end(struct progress *progress)
{
    if (progress->shown) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        progress->shown = false;
    }
}
