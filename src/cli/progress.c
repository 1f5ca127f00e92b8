/* progress.c - "label [########------]  57 %" over and over on one line, or rows behind it. */
#include "cli/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_WIDTH 40
#define DRAW_MS 200

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void draw_bar(const struct progress *progress, int percent)
{
    char bar[PROGRESS_WIDTH + 1];
    int full = percent * PROGRESS_WIDTH / 100;
    memset(bar, '#', (size_t)full);
    memset(bar + full, '-', (size_t)(PROGRESS_WIDTH - full));
    bar[PROGRESS_WIDTH] = '\0';
    fprintf(stderr, "\r%s [%s] %3d %%", progress->label, bar, percent);
}

static int percent_of(const struct progress *progress, uint64_t done)
{
    uint64_t total = progress->total == 0 ? 1 : progress->total;
    return done >= total ? 100 : (int)(done * 100 / total);
}

void progress_begin(struct progress *progress, const char *label, uint64_t total)
{
    const char *terminal = getenv("TERM");
    bool dumb = terminal == NULL || strcmp(terminal, "dumb") == 0;
    *progress = (struct progress){.label = label,
                                  .total = total,
                                  .shown = isatty(STDERR_FILENO) && !dumb,
                                  .percent = -1,
                                  .began_ms = now_ms()};
    progress_set(progress, 0);
}

void progress_set(struct progress *progress, uint64_t done)
{
    if (!progress->shown) {
        return;
    }
    int percent = percent_of(progress, done);
    if (percent == progress->percent) {
        return;
    }
    progress->percent = percent;
    draw_bar(progress, percent);
    fflush(stderr);
}

void progress_set_rows(struct progress *progress, uint64_t done, uint64_t rows)
{
    int64_t now = now_ms();
    if (!progress->shown || (progress->drawn_ms != 0 && now - progress->drawn_ms < DRAW_MS)) {
        return;
    }
    int64_t took = now > progress->began_ms ? now - progress->began_ms : 1;
    progress->drawn_ms = now;
    if (progress->total > 0) {
        draw_bar(progress, percent_of(progress, done));
    } else {
        fprintf(stderr, "\r%s", progress->label);
    }
    fprintf(stderr, "  %llu rows, %llu/s", (unsigned long long)rows,
            (unsigned long long)(rows * 1000 / (uint64_t)took));
    if (progress->total > done && done > 0) {
        uint64_t left = (uint64_t)took * (progress->total - done) / done / 1000;
        fprintf(stderr, ", %llu:%02llu left", (unsigned long long)(left / 60),
                (unsigned long long)(left % 60));
    }
    fputs("\033[K", stderr);
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
