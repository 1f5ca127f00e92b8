/* flaky_transport.c - see flaky_transport.h. */
#include "flaky_transport.h"

#include "bqsync.h"

#include <stdlib.h>

struct flaky_transport {
    struct transport base;
    struct transport *real;
    struct flaky *flaky;
};

static struct flaky_transport *flaky_of(struct transport *transport)
{
    return (struct flaky_transport *)(void *)transport;
}

static void free_flaky(struct transport *transport)
{
    struct flaky_transport *self = flaky_of(transport);
    self->real->free(self->real);
    free(self);
}

static int start(struct transport *transport, const struct transport_request *request)
{
    struct transport *real = flaky_of(transport)->real;
    return real->start(real, request);
}

static void cancel(struct transport *transport)
{
    struct transport *real = flaky_of(transport)->real;
    real->cancel(real);
}

static bool take_one(atomic_uint *count)
{
    unsigned n = atomic_load(count);
    while (n > 0) {
        if (atomic_compare_exchange_weak(count, &n, n - 1)) {
            return true;
        }
    }
    return false;
}

static bool wait_for(struct transport *transport, int64_t wait_ms, struct transport_answer *out)
{
    struct flaky_transport *self = flaky_of(transport);
    if (!self->real->wait(self->real, wait_ms, out)) {
        return false;
    }
    if (out->status == BQ_OK && take_one(&self->flaky->lose_answers)) {
        out->status = BQ_NETWORK;
        out->error = "the answer was lost";
        atomic_fetch_add(&self->flaky->n_lost, 1);
    } else if (out->status == BQ_OK && take_one(&self->flaky->replace_answers)) {
        out->http_status = atomic_load(&self->flaky->http_status);
        out->body = SLICE("{}");
        atomic_fetch_add(&self->flaky->n_replaced, 1);
    }
    return true;
}

static void wake(struct transport *transport)
{
    struct transport *real = flaky_of(transport)->real;
    real->wake(real);
}

struct transport *flaky_transport_new(struct transport *real, struct flaky *flaky)
{
    struct flaky_transport *self = calloc(1, sizeof *self);
    if (self == NULL) {
        abort();
    }
    self->base = (struct transport){
        .free = free_flaky, .start = start, .cancel = cancel, .wait = wait_for, .wake = wake};
    self->real = real;
    self->flaky = flaky;
    return &self->base;
}
