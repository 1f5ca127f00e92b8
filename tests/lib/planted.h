/* planted.h - lets a test program run with a planted bug (src/base/plant.h).
 *
 * A program built with -DBQ_PLANTS=ON plants the bug that BQ_PLANT names; any other build ends when
 * BQ_PLANT is set, so that a suite cannot take a sound program for one that found nothing. */
#ifndef TESTS_PLANTED_H
#define TESTS_PLANTED_H

/* At the beginning of main(). */
void planted_begin(void);

#endif
