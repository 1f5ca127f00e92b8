/* scratch.h - a folder of its own for a test's files, removed with all that is in it. */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

#include <stddef.h>

struct scratch {
    char folder[128];
};

/* Makes the folder (0700), below TMPDIR or /tmp. Aborts where it cannot. */
void scratch_init(struct scratch *scratch);

/* Removes the folder and the files in it; folders in it as well. */
void scratch_release(struct scratch *scratch);

/* "folder/name" in a static buffer of the caller's size. */
const char *scratch_path(const struct scratch *scratch, const char *name, char *out, size_t size);

#endif
