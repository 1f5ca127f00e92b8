/* planted.c - see planted.h. */
#include "planted.h"

#include "base/plant.h"

#include <stdio.h>
#include <stdlib.h>

void planted_begin(void)
{
    const char *name = getenv("BQ_PLANT");
    if (name != NULL && !plant_choose(name)) {
        fprintf(stderr, "there is no planted bug %s in this program\n", name);
        exit(2);
    }
}
