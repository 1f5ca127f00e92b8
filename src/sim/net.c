/* net.c - links: who reaches whom, how long a message takes, and what befalls it on its way.
 *
 * A request and its answer are two messages. What a transport notices (a refused or a broken
 * connection) comes back as "no answer"; what it cannot notice is silence, and its time-out. */
#include "sim/world.h"

#define SHORT_MS 40u
#define LONG_MS 3000u
#define DELAY_MS 40000u

/* Most are quick; a few take seconds, so that messages overtake each other. */
static int64_t latency(struct sim_world *w)
{
    int64_t ms = 20;
    if (!w->quiet && w->rates[SIM_REORDER] > 0) {
        ms = 5 + below(&w->net, below(&w->net, 8) == 0 ? LONG_MS : SHORT_MS);
    }
    if (sim_strikes(w, &w->net, SIM_DELAY)) {
        ms += below(&w->net, DELAY_MS);
    }
    return ms;
}

static void no_answer(struct sim_world *w, const struct sim_event *request)
{
    struct sim_event *event = queue_add(w, EVENT_NO_ANSWER, latency(w));
    event->end = request->end;
    event->life = request->life;
    event->request = request->request;
    event->call = request->call;
}

/* A node that this end reaches; NOWHERE: none. */
static unsigned choose_node(struct sim_world *w, unsigned end)
{
    const struct link *link = &w->links[end];
    unsigned first = below(&w->net, NODES);
    for (unsigned i = 0; i < NODES && !link->offline; i++) {
        unsigned n = (first + i) % NODES;
        if (!link->away[n]) {
            if (i > 0) {
                sim_count(w, SIM_ONE_NODE);
            }
            return n;
        }
    }
    return NOWHERE;
}

static void send_request(struct sim_world *w, const struct sim_event *request, unsigned node)
{
    struct sim_event *event = queue_add(w, EVENT_REQUEST, latency(w));
    int64_t at_ms = event->at_ms;
    uint64_t serial = event->serial;
    *event = *request;
    event->type = EVENT_REQUEST;
    event->at_ms = at_ms;
    event->serial = serial;
    event->node = node;
    event->body = sim_own(w, request->body);
}

void net_request(struct sim_world *w, struct sim_event *request)
{
    unsigned node = choose_node(w, request->end);
    if (node == NOWHERE || sim_strikes(w, &w->net, SIM_DROP)) {
        if (below(&w->net, 2) == 0) {
            no_answer(w, request);
        }
        return;
    }
    if (sim_strikes(w, &w->net, SIM_CUT)) {
        no_answer(w, request);
        return;
    }
    send_request(w, request, node);
    if (sim_strikes(w, &w->net, SIM_DUPLICATE)) {
        send_request(w, request, choose_node(w, request->end));
    }
}

static void send_answer(struct sim_world *w, const struct sim_event *request, struct slice body)
{
    struct sim_event *event = queue_add(w, EVENT_ANSWER, latency(w));
    int64_t at_ms = event->at_ms;
    uint64_t serial = event->serial;
    *event = *request;
    event->type = EVENT_ANSWER;
    event->at_ms = at_ms;
    event->serial = serial;
    event->store_life = w->store_life;
    event->body = sim_own(w, body);
}

void net_answer(struct sim_world *w, const struct sim_event *request, struct slice body)
{
    const struct link *link = &w->links[request->end];
    if (link->deaf[request->node]) {
        sim_count(w, SIM_ONE_WAY);
        return;
    }
    if (link->offline || link->away[request->node] || sim_strikes(w, &w->net, SIM_DROP)) {
        return;
    }
    if (sim_strikes(w, &w->net, SIM_CUT)) {
        /* Mostly the transport knows; a proxy may hide it. */
        if (below(&w->net, 4) == 0 && body.len > 1) {
            body.len = 1 + below(&w->net, (unsigned)body.len - 1);
            send_answer(w, request, body);
        } else {
            no_answer(w, request);
        }
        return;
    }
    send_answer(w, request, body);
    if (sim_strikes(w, &w->net, SIM_DUPLICATE)) {
        send_answer(w, request, body);
    }
}

void net_wake(struct sim_world *w, unsigned node, unsigned device, int64_t seq)
{
    const struct link *link = &w->links[device];
    if (link->offline || link->away[node] || link->deaf[node] ||
        sim_strikes(w, &w->net, SIM_DROP)) {
        return;
    }
    unsigned copies = sim_strikes(w, &w->net, SIM_DUPLICATE) ? 2 : 1;
    for (unsigned i = 0; i < copies; i++) {
        struct sim_event *event = queue_add(w, EVENT_WAKE, latency(w));
        event->end = device;
        event->node = node;
        event->life = w->devices[device].life;
        event->request = w->devices[device].wake.serial;
        event->seq = seq;
    }
}

void net_note(struct sim_world *w, unsigned from, unsigned user, int64_t seq)
{
    if (sim_strikes(w, &w->net, SIM_LOST_NOTE)) {
        return;
    }
    struct sim_event *event = queue_add(w, EVENT_NOTE, latency(w));
    event->node = (from + 1) % NODES;
    event->user = user;
    event->seq = seq;
    event->store_life = w->store_life;
}

bool net_arrives(struct sim_world *w, const struct sim_event *event)
{
    struct link *link = &w->links[event->end];
    uint64_t *newest = event->type == EVENT_REQUEST ? &link->newest_in : &link->newest_out;
    if (link->offline) {
        return false;
    }
    if (event->serial < *newest) {
        sim_count(w, SIM_REORDER);
    } else {
        *newest = event->serial;
    }
    return true;
}
