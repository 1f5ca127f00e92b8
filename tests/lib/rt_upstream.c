/* rt_upstream.c - see rt_upstream.h. */
#include "rt_upstream.h"

#include "token.h"

#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 1000
#define ROUND_MS 20

struct rt_upstream *rt_upstream_new(void)
{
    struct rt_upstream *f = calloc(1, sizeof *f);
    if (f == NULL) {
        abort();
    }
    serve_init(&f->serve);
    f->stub = ws_stub_new();
    snprintf(f->url, sizeof f->url, "%s", ws_stub_url(f->stub));
    f->serve.config.upstream = f->url;
    f->serve.config.join_refusal_ms = 0;
    f->serve.config.socket_refusal_ms = 0;
    f->token = token_user(RT_USER_A);
    f->ws.fd = f->second.fd = -1;
    return f;
}

void rt_upstream_free(struct rt_upstream *f)
{
    ws_release(&f->ws);
    ws_release(&f->second);
    serve_release(&f->serve);
    ws_stub_free(f->stub);
    buf_release(&f->taken);
    free(f->token);
    free(f);
}

unsigned rt_upstream_take(struct rt_upstream *f)
{
    uint8_t opcode = 0;
    ws_stub_pump(f->stub);
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (ws_stub_is_open(f->stub) && ws_stub_take(f->stub, &opcode, &f->taken)) {
            return opcode;
        }
        ws_stub_wait(f->stub, ROUND_MS);
    }
    return 0;
}

bool rt_upstream_becomes(struct rt_upstream *f, bool open)
{
    ws_stub_pump(f->stub);
    for (unsigned i = 0; i < ROUNDS && ws_stub_is_open(f->stub) != open; i++) {
        ws_stub_wait(f->stub, ROUND_MS);
    }
    return ws_stub_is_open(f->stub) == open;
}

void rt_upstream_say(struct rt_upstream *f, const char *text)
{
    ws_stub_send_text(f->stub, text);
    ws_stub_pump(f->stub);
}

bool rt_upstream_join(struct rt_upstream *f, struct ws_client *ws, const char *topic,
                      const char *ref)
{
    char reply[512];
    ws_say(ws,
           "[\"%s\",\"%s\",\"realtime:%s\",\"phx_join\",{\"config\":{\"postgres_changes\":["
           RT_QUESTIONS "]},\"access_token\":\"%s\"}]",
           ref, ref, topic, f->token);
    if (rt_upstream_take(f) != 1 || strstr(f->taken.ptr, "phx_join") == NULL) {
        return false;
    }
    snprintf(reply, sizeof reply,
             "[\"%s\",\"%s\",\"realtime:%s\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]",
             ref, ref, topic);
    rt_upstream_say(f, reply);
    return ws_hear(ws, reply);
}

int rt_upstream_setup(void **state)
{
    struct rt_upstream *f = rt_upstream_new();
    *state = f;
    return serve_start(&f->serve) == BQ_OK && ws_open(&f->ws, f->serve.port, RT_TARGET_V2, NULL)
               ? 0
               : -1;
}

int rt_upstream_teardown(void **state)
{
    rt_upstream_free(*state);
    return 0;
}
