/* suite_progress.h - tells ./test how far a suite is: "DONE TOTAL" in the file $BQ_PROGRESS. */
#ifndef TESTS_SUITE_PROGRESS_H
#define TESTS_SUITE_PROGRESS_H

#include <stdint.h>

/* Without BQ_PROGRESS nothing happens. */
void suite_progress(uint64_t done, uint64_t total);

#endif
