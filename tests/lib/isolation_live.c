/* isolation_live.c - the sockets of isolation.h: who listens where he has no business, and who
 * speaks there.
 *
 * A has two listeners of his own in one room, for each version of the protocol: what they hear is
 * the control, and what they must not hear is what a spy says. */
#include "isolation.h"

#include "rt_app.h"

#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOM "room"
#define SPY "spywashere"
#define CHURNED 12u
#define EVERYTHING "{\"event\":\"*\",\"schema\":\"public\"}"

/* How a spy tries. */
struct way {
    const char *name;
    bool old; /* vsn 1.0.0 */
    const char *topic;
    const char *changes;
    const char *members; /* of the join's payload, before its token */
    const char *query;
};

/* $A stands for A's id. */
static const struct way ways[] = {
    {"topic", false, "user_sync_v2_$A",
     "{\"event\":\"*\",\"schema\":\"public\",\"table\":\"user_sync_data_v2\","
     "\"filter\":\"user_id=eq.$A\"}",
     "", ""},
    {"filter", false, ROOM,
     "{\"event\":\"*\",\"schema\":\"public\",\"table\":\"user_sync_metadata\","
     "\"filter\":\"user_id=in.($A)\"},"
     "{\"event\":\"INSERT\",\"schema\":\"public\",\"table\":\"user_sync_data_v2\","
     "\"filter\":\"user_id=not.is.null\"},"
     "{\"event\":\"UPDATE\",\"schema\":\"public\",\"table\":\"user_sync_data\","
     "\"filter\":\"user_id=eq.$A\"}",
     "", ""},
    {"everything", false, ROOM, EVERYTHING, "", ""},
    {"everything, old", true, ROOM, EVERYTHING, "", ""},
    {"members", false, ROOM, EVERYTHING,
     "\"user_id\":\"$A\",\"sub\":\"$A\",\"claims\":{\"sub\":\"$A\",\"role\":\"authenticated\"},",
     ""},
    {"query", true, "user_sync_v2_$A", EVERYTHING, "",
     "&user_id=$A&sub=$A&role=service_role&topic=user_sync_v2_$A"},
};

#define N_WAYS (sizeof ways / sizeof ways[0])
#define N_SPIES ((ISO_ROLES - 1) * N_WAYS)

struct ear {
    struct ws_client ws;
    bool old;
    const struct way *way;
    enum iso_role role;
};

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "isolation: %s\n", what);
        abort();
    }
}

/* The text with A's id in the places of $A, in a static buffer for each of four. */
static const char *named(const struct iso *iso, const char *text)
{
    static char texts[4][2000];
    static unsigned at;
    char *out = texts[at++ % 4];
    size_t n = 0;
    for (; *text != '\0' && n + ISO_ID_SIZE < sizeof texts[0]; text++) {
        if (text[0] == '$' && text[1] == 'A') {
            n += (size_t)snprintf(out + n, sizeof texts[0] - n, "%s", iso->a.id);
            text++;
        } else {
            out[n++] = *text;
        }
    }
    out[n] = '\0';
    return out;
}

/* ---- Messages -------------------------------------------------------------------------------- */

static void tell(struct ear *ear, const char *topic, const char *event, const char *payload)
{
    if (ear->old) {
        ws_say(&ear->ws,
               "{\"topic\":\"%s\",\"event\":\"%s\",\"payload\":%s,\"ref\":\"1\","
               "\"join_ref\":\"1\"}",
               topic, event, payload);
    } else {
        ws_say(&ear->ws, "[\"1\",\"1\",\"%s\",\"%s\",%s]", topic, event, payload);
    }
}

/* Everything up to the answer of a heartbeat: all that was published before is there. Answers how
 * many frames the text was in; -1: the connection ended. */
static int drain(struct iso *iso, struct ear *ear, const char *part,
                 void (*look)(struct iso *iso, const struct ear *ear))
{
    char ref[32];
    int n = 0;
    snprintf(ref, sizeof ref, "\"beat%llu\"", ++iso->n);
    if (ear->old) {
        ws_say(&ear->ws,
               "{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":%s}", ref);
    } else {
        ws_say(&ear->ws, "[null,%s,\"phoenix\",\"heartbeat\",{}]", ref);
    }
    while (ws_next(&ear->ws)) {
        struct slice text = {ear->ws.text, ear->ws.text_len};
        iso->n_requests++;
        if (memmem(text.ptr, text.len, ref, strlen(ref)) != NULL) {
            return n;
        }
        n += part != NULL && memmem(text.ptr, text.len, part, strlen(part)) != NULL;
        if (look != NULL) {
            look(iso, ear);
        }
    }
    return -1;
}

static void no_canary(struct iso *iso, const struct ear *ear)
{
    struct slice text = {ear->ws.text, ear->ws.text_len};
    if (iso_sees(&iso->a, text, false)) {
        iso->n_canaries++;
        printf("WRONG canary: %s by %s heard %.*s\n", iso_role_name(ear->role),
               ear->way == NULL ? "churn" : ear->way->name, (int)(text.len < 400 ? text.len : 400),
               text.ptr);
    }
}

static void no_spy(struct iso *iso, const struct ear *ear)
{
    struct slice text = {ear->ws.text, ear->ws.text_len};
    if (memmem(text.ptr, text.len, SPY, strlen(SPY)) != NULL) {
        iso->n_writes++;
        printf("WRONG write: A heard %.*s\n", (int)(text.len < 400 ? text.len : 400), text.ptr);
    }
}

static void open_ear(struct iso *iso, struct ear *ear, const char *query)
{
    char target[512];
    snprintf(target, sizeof target, "/realtime/v1/websocket?apikey=key&vsn=%s%s",
             ear->old ? "1.0.0" : "2.0.0", query);
    must(ws_open(&ear->ws, iso->target->port, target, NULL), "a socket is not opened");
}

static void join(struct iso *iso, struct ear *ear, const struct way *way, const char *token)
{
    struct buf payload = BUF_INIT;
    char topic[128];
    snprintf(topic, sizeof topic, "realtime:%s", named(iso, way->topic));
    buf_add_char(&payload, '{');
    buf_add_text(&payload, named(iso, way->members));
    if (token != NULL) {
        buf_add_text(&payload, "\"access_token\":\"");
        buf_add_text(&payload, token);
        buf_add_text(&payload, "\",");
    }
    buf_add_text(&payload, "\"config\":{\"broadcast\":{\"self\":false},\"presence\":"
                           "{\"enabled\":true,\"key\":\"k\"},\"postgres_changes\":[");
    buf_add_text(&payload, named(iso, way->changes));
    buf_add_text(&payload, "]}}");
    tell(ear, topic, "phx_join", payload.ptr);
    buf_release(&payload);
}

/* The token of a join, and the one that comes after it. */
static char *first_token(struct iso *iso, enum iso_role role)
{
    const struct iso_target *target = iso->target;
    bool of_b = role == ISO_OTHER || role == ISO_SWAPPED;
    const char *user = of_b                 ? iso->b.id
                       : role == ISO_SERVICE ? iso->spare.id
                                             : iso->a.id;
    return target->token(target->cls, role == ISO_SWAPPED ? ISO_OTHER : role, user);
}

static void swap_token(struct iso *iso, struct ear *ear)
{
    char payload[4096];
    char topic[128];
    char *token = iso->target->token(iso->target->cls, ISO_OWNER, iso->a.id);
    snprintf(topic, sizeof topic, "realtime:%s", named(iso, ear->way->topic));
    snprintf(payload, sizeof payload, "{\"access_token\":\"%s\"}", token);
    tell(ear, topic, "access_token", payload);
    free(token);
}

/* ---- A --------------------------------------------------------------------------------------- */

static void write_all(struct iso *iso)
{
    char body[1000];
    const struct iso_user *a = &iso->a;
    snprintf(body, sizeof body,
             "{\"p_user_id\":\"%s\",\"p_data_key\":\"live\",\"p_data\":{\"x\":\"%s-livedoc%llu\"},"
             "\"p_expected_version\":null,\"p_device_id\":\"%s\"}",
             a->id, a->canary, ++iso->n, a->device);
    must(iso_rpc(iso, a, "atomic_sync_upsert", body) == 200, "A cannot write");
    snprintf(body, sizeof body,
             "{\"p_user_id\":\"%s\",\"p_device_id\":\"%s\",\"p_version\":1,\"p_device_info\":"
             "{\"x\":\"%s-livedevice\"}}",
             a->id, a->device, a->canary);
    must(iso_rpc(iso, a, "update_sync_metadata", body) == 204, "A's device cannot report");
}

/* A broadcast of the binary form of vsn 2.0.0 (docs/protocol.md 15.2). */
static void tell_binary(const struct iso *iso, struct ear *ear)
{
    static const char topic[] = "realtime:" ROOM;
    char payload[100];
    char frame[256];
    int n_payload = snprintf(payload, sizeof payload, "{\"x\":\"%s-binary\"}", iso->a.canary);
    int n = snprintf(frame, sizeof frame, "%c%c%c%c%c%c%c11%se%s", 3, 1, 1,
                     (int)(sizeof topic - 1), 1, 0x7f, 1, topic, payload);
    frame[5] = 0; /* no meta */
    must(n_payload > 0 && n > 0 && n < (int)sizeof frame, "the frame is too small");
    ws_send(&ear->ws, 0x82, frame, (size_t)n);
}

static void speak(struct ear *ear, const char *topic, const char *text)
{
    char payload[300];
    char full[128];
    snprintf(full, sizeof full, "realtime:%s", topic);
    snprintf(payload, sizeof payload,
             "{\"type\":\"broadcast\",\"event\":\"e\",\"payload\":{\"x\":\"%s\"}}", text);
    tell(ear, full, "broadcast", payload);
    snprintf(payload, sizeof payload,
             "{\"type\":\"presence\",\"event\":\"track\",\"payload\":{\"x\":\"%s\"}}", text);
    tell(ear, full, "presence", payload);
}

static void speak_as_a(struct iso *iso, struct ear *ear)
{
    char text[80];
    snprintf(text, sizeof text, "%s-live", iso->a.canary);
    speak(ear, ROOM, text);
}

/* Both of A's listeners have to hear what A did: changes, and what the other one said. */
static void expect_control(struct iso *iso, struct ear *listener, const char *behind)
{
    char part[80];
    snprintf(part, sizeof part, "%s%s", iso->a.canary, behind);
    if (drain(iso, listener, part, no_spy) < 1) {
        iso->n_blind++;
        printf("WRONG control: A does not hear %s%s\n", behind, listener->old ? ", old" : "");
    }
}

/* ---- Listening ------------------------------------------------------------------------------- */

static void open_spies(struct iso *iso, struct ear *spies)
{
    for (size_t i = 0; i < N_SPIES; i++) {
        struct ear *spy = &spies[i];
        *spy = (struct ear){.way = &ways[i % N_WAYS],
                            .old = ways[i % N_WAYS].old,
                            .role = (enum iso_role)(ISO_NONE + i / N_WAYS)};
        char *token = first_token(iso, spy->role);
        open_ear(iso, spy, named(iso, spy->way->query));
        join(iso, spy, spy->way, token);
        drain(iso, spy, NULL, no_canary);
        if (spy->role == ISO_SWAPPED) {
            swap_token(iso, spy);
        }
        free(token);
    }
}

static void open_listeners(struct iso *iso, struct ear listeners[2])
{
    char *token = iso->target->token(iso->target->cls, ISO_OWNER, iso->a.id);
    for (unsigned i = 0; i < 2; i++) {
        listeners[i] = (struct ear){.old = i == 1, .role = ISO_OWNER};
        open_ear(iso, &listeners[i], "");
        join(iso, &listeners[i], &ways[2 + i], token);
        drain(iso, &listeners[i], NULL, NULL);
    }
    free(token);
}

static void close_ears(struct ear *ears, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ws_release(&ears[i].ws);
    }
}

void iso_listen(struct iso *iso)
{
    static struct ear spies[N_SPIES];
    struct ear listeners[2];
    iso->n_forgeries += (unsigned)N_WAYS;
    open_listeners(iso, listeners);
    open_spies(iso, spies);
    write_all(iso);
    expect_control(iso, &listeners[0], "-livedoc");
    expect_control(iso, &listeners[1], "-livedoc");
    write_all(iso);
    expect_control(iso, &listeners[0], "-livedevice");
    speak_as_a(iso, &listeners[0]);
    drain(iso, &listeners[0], NULL, NULL);
    expect_control(iso, &listeners[1], "-live\"");
    speak_as_a(iso, &listeners[1]);
    drain(iso, &listeners[1], NULL, NULL);
    expect_control(iso, &listeners[0], "-live\"");
    tell_binary(iso, &listeners[0]);
    drain(iso, &listeners[0], NULL, NULL);
    expect_control(iso, &listeners[1], "-binary");
    for (size_t i = 0; i < N_SPIES; i++) {
        drain(iso, &spies[i], NULL, no_canary);
        speak(&spies[i], named(iso, spies[i].way->topic), SPY);
        speak(&spies[i], ROOM, SPY);
        drain(iso, &spies[i], NULL, no_canary);
    }
    drain(iso, &listeners[0], NULL, no_spy);
    drain(iso, &listeners[1], NULL, no_spy);
    close_ears(spies, N_SPIES);
    close_ears(listeners, 2);
    iso_snapshot(iso, &iso->a, &iso->baseline);
}

/* ---- Coming and going ------------------------------------------------------------------------ */

/* Another one of the two users takes the place: by a new socket, or by a join on the same. */
static void reopen(struct iso *iso, struct ear *ear, bool same_socket)
{
    char *token = first_token(iso, ear->role);
    if (same_socket) {
        tell(ear, "realtime:" ROOM, "phx_leave", "{}");
    } else {
        ws_release(&ear->ws);
        open_ear(iso, ear, "");
    }
    join(iso, ear, &ways[ear->old ? 3 : 2], token);
    free(token);
}

void iso_churn(struct iso *iso, unsigned rounds, uint64_t seed)
{
    struct ear ears[CHURNED];
    struct rng rng;
    unsigned n_heard = 0;
    rng_init(&rng, seed);
    for (unsigned i = 0; i < CHURNED; i++) {
        ears[i] = (struct ear){.role = i % 2 == 0 ? ISO_OWNER : ISO_OTHER, .ws = {.fd = -1}};
        reopen(iso, &ears[i], false);
    }
    for (unsigned round = 0; round < rounds && !iso_is_over(iso); round++) {
        /* One of A's goes, and one of B's comes: the slot that is free is the one that was A's. */
        struct ear *ear = &ears[rng_below(&rng, CHURNED)];
        bool was_a = ear->role == ISO_OWNER;
        drain(iso, ear, NULL, was_a ? no_spy : no_canary);
        ear->role = rng_below(&rng, 2) == 0 ? ISO_OWNER : ISO_OTHER;
        reopen(iso, ear, rng_below(&rng, 2) == 0);
        drain(iso, ear, NULL, NULL); /* the rest of what it was before */
        write_all(iso);
        for (unsigned i = 0; i < CHURNED; i++) {
            bool is_a = ears[i].role == ISO_OWNER;
            int n = drain(iso, &ears[i], iso->a.canary, is_a ? no_spy : no_canary);
            n_heard += is_a && n > 0;
            if (round % 4 == 0 && is_a) {
                speak_as_a(iso, &ears[i]);
            } else if (round % 4 == 2 && !is_a) {
                speak(&ears[i], ROOM, SPY);
            }
        }
    }
    if (n_heard < rounds * 2 && !iso_is_over(iso)) {
        iso->n_blind++;
        printf("WRONG control: A's sockets heard %u changes in %u rounds\n", n_heard, rounds);
    }
    close_ears(ears, CHURNED);
    iso_snapshot(iso, &iso->a, &iso->baseline);
}
