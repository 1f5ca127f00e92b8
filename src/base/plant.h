/* plant.h - planted bugs, by which the tests are tested.
 *
 * Each entry breaks one property on purpose, at the place where the real bug would be written:
 *
 *     if (PLANTED(NO_RECEIPT)) { ... }
 *
 * In a normal build PLANTED() is the constant 0 and nothing of it is compiled. With -DBQ_PLANTS=ON
 * one plant at a time can be chosen at run time, by name, and each must be found by the suite that
 * its entry names (docs/reliability.md). */
#ifndef BASE_PLANT_H
#define BASE_PLANT_H

/* X(name, suite that must find it, what is broken) */
#define BQ_PLANT_MAP(X) X(NO_RECEIPT, "sim", "an applied edit leaves no receipt")

enum plant {
    PLANT_NONE,
#define X(name, suite, text) PLANT_##name,
    BQ_PLANT_MAP(X)
#undef X
        PLANT_N
};

#ifdef BQ_PLANTS
extern enum plant plant_chosen;
#define PLANTED(name) (plant_chosen == PLANT_##name)
#else
#define PLANTED(name) 0
#endif

/* One plant as text: the name as in the map; NULL beyond the end. */
const char *plant_name(enum plant plant);
const char *plant_suite(enum plant plant);
const char *plant_text(enum plant plant);

/* Chooses by name for this process. 0: no such plant, or this build has none. */
int plant_choose(const char *name);

#endif
