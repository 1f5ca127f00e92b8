/* assert.h - for promises of our own; outside input gets a status instead.
 *
 * ASSERT is on in the server and in tests. The released client library is built with
 * BQ_NO_ASSERT: an app must not be ended by a library. */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#ifdef BQ_NO_ASSERT
#define ASSERT(condition) ((void)sizeof(condition))
#else
#define ASSERT(condition) ((condition) ? (void)0 : __builtin_trap())
#endif

/* A branch that the rules above it exclude; branch coverage leaves its line out. */
#define IMPOSSIBLE() __builtin_trap()

#endif
