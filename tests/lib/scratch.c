/* scratch.c - see scratch.h. */
#include "scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void scratch_init(struct scratch *scratch)
{
    const char *below = getenv("TMPDIR");
    if (below == NULL || strlen(below) > 80) {
        below = "/tmp";
    }
    (void)snprintf(scratch->folder, sizeof scratch->folder, "%s/bqsync-test-XXXXXX", below);
    if (mkdtemp(scratch->folder) == NULL) {
        perror(scratch->folder);
        abort();
    }
}

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *place)
{
    (void)facts;
    (void)type;
    (void)place;
    return remove(path);
}

void scratch_release(struct scratch *scratch)
{
    (void)nftw(scratch->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *scratch_path(const struct scratch *scratch, const char *name, char *out, size_t size)
{
    int n = snprintf(out, size, "%s/%s", scratch->folder, name);
    if (n < 0 || (size_t)n >= size) {
        abort();
    }
    return out;
}
