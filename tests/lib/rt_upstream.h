/* rt_upstream.h - a server with an upstream that the test moves by hand, and an app's sockets:
 * topics of tables that are not ours. */
#ifndef TESTS_RT_UPSTREAM_H
#define TESTS_RT_UPSTREAM_H

#include "rt_app.h"
#include "serve.h"
#include "ws_stub.h"

/* A binding that is the upstream's. */
#define RT_QUESTIONS "{\"event\":\"*\",\"schema\":\"public\",\"table\":\"questions\"}"

struct rt_upstream {
    struct serve serve;
    struct ws_stub *stub;
    char url[64]; /* of the stub */
    char *token; /* of user A */
    struct ws_client ws;
    struct ws_client second;
    struct buf taken; /* the last frame that the stub took */
};

/* Starts neither; refusals come at once. */
struct rt_upstream *rt_upstream_new(void);
void rt_upstream_free(struct rt_upstream *f);

/* The next frame that comes to the upstream; its opcode, 0: none comes. */
unsigned rt_upstream_take(struct rt_upstream *f);

/* Waits until the upstream is connected (or not any more); false: it stays as it is. */
bool rt_upstream_becomes(struct rt_upstream *f, bool open);

/* Sends this text from the upstream. */
void rt_upstream_say(struct rt_upstream *f, const char *text);

/* Joins a topic of the upstream, which takes it: join_ref and ref are `ref`. */
bool rt_upstream_join(struct rt_upstream *f, struct ws_client *ws, const char *topic,
                      const char *ref);

/* For cases: a fixture in *state whose server runs and whose client has its socket. */
int rt_upstream_setup(void **state);
int rt_upstream_teardown(void **state);

#endif
