/* fault_proxy.h - a TCP proxy of our own between a client and a server, on loop-back and a free
 * port, that does to one exchange what networks do: cuts it at byte k, swallows it, holds it back,
 * drips it, lets it end on one side alone, or sends it to the server once more.
 *
 * It has a thread. A *plan* is armed by the test and counts bytes of one direction from then on,
 * over whichever connection they come; at byte k it strikes once and is gone, so a retry passes.
 * `at` 0 strikes when the first byte comes and before it passes, `at` = length when the last one
 * has passed. Every strike is counted by its kind, so that a suite can tell whether its faults
 * fired.
 *
 * Aborts where the test's own machinery fails. */
#ifndef TESTS_FAULT_PROXY_H
#define TESTS_FAULT_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault_proxy_action {
    FAULT_PROXY_PASS, /* no plan: everything passes */
    FAULT_PROXY_RST,  /* both sides are reset */
    FAULT_PROXY_FIN,  /* both sides are closed in order */
    FAULT_PROXY_HALF, /* the receiver of this direction sees the end; the other direction goes on */
    FAULT_PROXY_HOLE, /* nothing passes any more, either way, until the client gives up */
    FAULT_PROXY_DELAY, /* this direction is held back until fault_proxy_let_go() */
    FAULT_PROXY_DRIP,  /* from here on `n` bytes at a time */
    FAULT_PROXY_HOOK,  /* hook() is called, then as RST */
    FAULT_PROXY_ACTIONS
};

enum fault_proxy_direction { FAULT_PROXY_REQUEST, FAULT_PROXY_REPLY };

struct fault_proxy_plan {
    enum fault_proxy_action action;
    enum fault_proxy_direction direction;
    uint64_t at;
    size_t n;
    void (*hook)(void *cls); /* on the proxy's thread */
    void *cls;
};

struct fault_proxy;

/* The word of an action: "rst". */
const char *fault_proxy_word(enum fault_proxy_action action);

/* Listens on a free port and carries to 127.0.0.1:server_port, which may be down. */
struct fault_proxy *fault_proxy_new(unsigned server_port);
void fault_proxy_free(struct fault_proxy *proxy);
unsigned fault_proxy_port(const struct fault_proxy *proxy);

/* Arms a plan (PASS: none) and sets the counts of bytes and the recording to nothing. */
void fault_proxy_arm(struct fault_proxy *proxy, const struct fault_proxy_plan *plan);

/* Whether the plan that was armed last has struck. */
bool fault_proxy_struck(struct fault_proxy *proxy);

/* Bytes that came since fault_proxy_arm(). */
uint64_t fault_proxy_bytes(struct fault_proxy *proxy, enum fault_proxy_direction direction);

/* Carries on what DELAY holds back, also where its sender is gone meanwhile; answers how many
 * connections held something. */
unsigned fault_proxy_let_go(struct fault_proxy *proxy);

/* Sends the requests that came since fault_proxy_arm() to the server again, on a new connection,
 * whatever became of them, and answers the HTTP status of the first; 0 where none came. Any
 * thread. */
int fault_proxy_replay(struct fault_proxy *proxy);

/* Strikes of a kind since fault_proxy_new(); replays. */
uint64_t fault_proxy_count(struct fault_proxy *proxy, enum fault_proxy_action action);
uint64_t fault_proxy_replays(struct fault_proxy *proxy);

#endif
