/* plant.c - see plant.h. */
#include "base/plant.h"

#include <string.h>

static const struct {
    const char *name;
    const char *suite;
    const char *text;
} plants[] = {{"none", "", "nothing is broken"},
#define X(name, suite, text) {#name, suite, text},
              BQ_PLANT_MAP(X)
#undef X
};

#ifdef BQ_PLANTS
enum plant plant_chosen = PLANT_NONE;
#endif

const char *plant_name(enum plant plant)
{
    return plant < PLANT_N ? plants[plant].name : NULL;
}

const char *plant_suite(enum plant plant)
{
    return plant < PLANT_N ? plants[plant].suite : NULL;
}

const char *plant_text(enum plant plant)
{
    return plant < PLANT_N ? plants[plant].text : NULL;
}

int plant_choose(const char *name)
{
#ifdef BQ_PLANTS
    for (int i = PLANT_NONE; i < PLANT_N; i++) {
        if (strcmp(plants[i].name, name) == 0) {
            plant_chosen = (enum plant)i;
            return 1;
        }
    }
#endif
    (void)name;
    return 0;
}
