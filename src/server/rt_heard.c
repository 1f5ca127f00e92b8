/* rt_heard.c - where other servers write to the same store: up to where the feed of each user who
 * is listened to here was told.
 *
 * What others write comes late, doubled or not at all (neighbours.h), what is written here comes at
 * once, so changes arrive in any order. Here they are brought into the feed's: `told` is the seq up
 * to which a user's listeners were told. What ends at or below it was told already; what begins
 * above it would leave a gap, so it is passed over, and the user is read from `told` on. A user's
 * seq are given under the lock of one row: whoever sees one sees all below it.
 *
 * Where does `told` begin? Clients join, wait for the answer, and then pull. So it has to be a seq
 * that was the feed's end before the answer left: what was committed by then is in the pull (or
 * comes once more), what is committed later is above `told` and found by the next look, word or
 * not. A seq that is read behind the answer would leave out what was written in between. So the
 * first join of a user, and a token that makes a channel a user's, waits here until the database
 * has said where the feed stands, and then is run again as it came; nobody is in the hub of a user
 * before that is known. Changes that come meanwhile were committed before the answer too: they need
 * not be told, and raise `told`. Where the database does not answer, the join is not answered
 * either, and the client asks again. */
#include "server/rt.h"

#include "base/mem.h"
#include "base/status.h"
#include "server/clock.h"

#define RT_LOOK_ALL_US (INT64_C(1000) * REALTIME_LOOK_MS)

/* A message that waits: its topic, then the message. */
struct rt_held {
    struct rt_held *next;
    struct rt_socket *socket;
    size_t topic_len;
    size_t len;
    char text[];
};

struct rt_user {
    struct rt_user *next; /* of its slot */
    struct uuid user;
    int64_t told;        /* -1: not known yet; nobody is in the hub */
    int64_t known;       /* the highest seq that was heard of */
    bool asked;          /* the answer is under way */
    unsigned n_channels; /* in the hub */
    struct rt_held *held;
};

/* ---- Users ----------------------------------------------------------------------------------- */

static struct rt_user **slot_of(struct realtime *rt, const struct uuid *user)
{
    return &rt->users[rt_user_slot(rt, user)];
}

static struct rt_user *find(struct realtime *rt, const struct uuid *id)
{
    struct rt_user *user = *slot_of(rt, id);
    while (user != NULL && memcmp(user->user.text, id->text, UUID_TEXT) != 0) {
        user = user->next;
    }
    return user;
}

static struct rt_user *make(struct realtime *rt, const struct uuid *id)
{
    struct rt_user *user = mem_zalloc(1, sizeof *user);
    if (user != NULL) {
        struct rt_user **slot = slot_of(rt, id);
        *user = (struct rt_user){.next = *slot, .user = *id, .told = -1, .known = -1};
        *slot = user;
        atomic_fetch_add(&rt->listening[rt_user_slot(rt, id)], 1);
    }
    return user;
}

static void drop_where_idle(struct realtime *rt, struct rt_user *user)
{
    struct rt_user **at = slot_of(rt, &user->user);
    if (user->n_channels > 0 || user->held != NULL) {
        return;
    }
    while (*at != user) {
        at = &(*at)->next;
    }
    *at = user->next;
    atomic_fetch_sub(&rt->listening[rt_user_slot(rt, &user->user)], 1);
    mem_free(user);
}

/* ---- Asking ---------------------------------------------------------------------------------- */

static bool add_ask(struct realtime *rt, const struct rt_user *user)
{
    if (rt->n_asks == rt->asks_room) {
        size_t room = rt->asks_room == 0 ? 64 : rt->asks_room * 2;
        struct realtime_heard *more = mem_realloc(rt->asks, room * sizeof *more);
        if (more == NULL) {
            return false; /* the next look asks */
        }
        rt->asks = more;
        rt->asks_room = room;
    }
    rt->asks[rt->n_asks++] = (struct realtime_heard){user->user, user->told};
    return true;
}

static void ask(struct realtime *rt, struct rt_user *user)
{
    if (!user->asked) {
        user->asked = add_ask(rt, user);
    }
}

void rt_heard_turn(struct realtime *rt, bool at_once)
{
    const struct realtime_config *config = &rt->config;
    int64_t now_us = clock_us();
    bool all = at_once || now_us >= rt->look_at_us;
    if (config->look == NULL) {
        return;
    }
    if (all) {
        rt->look_at_us = now_us + RT_LOOK_ALL_US;
        rt->n_asks = 0;
        for (unsigned i = 0; i < RT_USER_SLOTS; i++) {
            for (struct rt_user *user = rt->users[i]; user != NULL; user = user->next) {
                user->asked = add_ask(rt, user) && user->told < user->known;
            }
        }
    }
    if (rt->n_asks > 0) {
        config->look(config->look_cls, rt->asks, rt->n_asks, all);
        rt->n_asks = 0;
    }
}

/* ---- Joins that wait ------------------------------------------------------------------------- */

static void uncount(const struct rt_held *held)
{
    held->socket->n_held--;
    held->socket->held_bytes -= held->len;
}

bool rt_hold(struct realtime *rt, struct rt_socket *socket, const struct phx_message *message,
             const struct jwt_identity *identity)
{
    if (rt->config.look == NULL || !identity->has_user) {
        return false;
    }
    struct rt_user *user = find(rt, &identity->user);
    if (user != NULL && user->told >= 0) {
        return false;
    }
    size_t n_bytes = message->topic.len + message->whole.len;
    bool fits = socket->n_held + socket->n_channels < RT_CHANNELS &&
                socket->held_bytes + message->whole.len <= RT_MESSAGE_BYTES;
    struct rt_held *held = fits ? mem_alloc(sizeof *held + n_bytes) : NULL;
    user = held != NULL && user == NULL ? make(rt, &identity->user) : user;
    if (held == NULL || user == NULL) {
        mem_free(held);
        rt_close(rt, socket, WS_CLOSE_POLICY);
        return true;
    }
    *held = (struct rt_held){NULL, socket, message->topic.len, message->whole.len};
    memcpy(held->text, message->topic.ptr, message->topic.len);
    memcpy(held->text + held->topic_len, message->whole.ptr, message->whole.len);
    socket->n_held++;
    socket->held_bytes += held->len;
    socket->trusted = socket->trusted || identity->role != ROLE_ANON;
    struct rt_held **last = &user->held;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = held;
    ask(rt, user);
    return true;
}

/* topic: of these alone, or SLICE_NONE. */
static void forget_of(struct realtime *rt, struct rt_user *user, const struct rt_socket *socket,
                      struct slice topic)
{
    struct rt_held **at = &user->held;
    while (*at != NULL) {
        struct rt_held *held = *at;
        struct slice own = {held->text, held->topic_len};
        if (held->socket == socket && (topic.ptr == NULL || slice_equal(own, topic))) {
            *at = held->next;
            uncount(held);
            mem_free(held);
        } else {
            at = &held->next;
        }
    }
    drop_where_idle(rt, user);
}

void rt_hold_forget(struct realtime *rt, const struct rt_socket *socket, struct slice topic)
{
    struct rt_user *next;
    for (unsigned i = 0; i < RT_USER_SLOTS && socket->n_held > 0; i++) {
        for (struct rt_user *user = rt->users[i]; user != NULL; user = next) {
            next = user->next;
            forget_of(rt, user, socket, topic);
        }
    }
}

/* In the order in which they came. What runs may end sockets, and forget what they hold. */
static void let_go(struct realtime *rt, struct rt_user *user)
{
    user->n_channels++; /* it stays meanwhile */
    while (user->held != NULL) {
        struct rt_held *held = user->held;
        struct rt_socket *socket = held->socket;
        user->held = held->next;
        uncount(held);
        struct slice text = {held->text + held->topic_len, held->len};
        if (!socket->closing && !socket->doomed) {
            rt_message(rt, socket, text);
        }
        mem_free(held);
    }
    user->n_channels--;
    drop_where_idle(rt, user);
}

/* ---- Channels -------------------------------------------------------------------------------- */

void rt_heard_enter(struct realtime *rt, const struct uuid *id)
{
    struct rt_user *user = rt->config.look == NULL ? NULL : find(rt, id);
    if (user != NULL) {
        user->n_channels++;
    }
}

void rt_heard_leave(struct realtime *rt, const struct uuid *id)
{
    struct rt_user *user = rt->config.look == NULL ? NULL : find(rt, id);
    if (user != NULL && user->n_channels > 0) {
        user->n_channels--;
        drop_where_idle(rt, user);
    }
}

void rt_heard_free(struct realtime *rt)
{
    for (unsigned i = 0; i < RT_USER_SLOTS; i++) {
        while (rt->users[i] != NULL) { /* all sockets are gone */
            struct rt_user *user = rt->users[i];
            rt->users[i] = user->next;
            mem_free(user);
        }
    }
    mem_free(rt->asks);
}

/* ---- What arrives ---------------------------------------------------------------------------- */

void rt_heard_start(struct realtime *rt, const struct rt_mail *mail)
{
    struct rt_user *user = find(rt, &mail->user);
    if (user != NULL && user->told < 0) {
        user->asked = false;
        user->told = mail->seq > user->known ? mail->seq : user->known;
        let_go(rt, user);
    }
}

/* A mail that moves nothing (a device's row, an erased user) is told as it comes. */
bool rt_heard_takes(struct realtime *rt, const struct rt_mail *mail, int64_t *out_after)
{
    struct rt_user *user = rt->config.look == NULL ? NULL : find(rt, &mail->user);
    *out_after = 0;
    if (user == NULL || !mail->moved) {
        return true;
    }
    user->known = mail->seq > user->known ? mail->seq : user->known;
    if (user->told < 0) {
        return false;
    }
    bool takes = mail->seq > user->told || (mail->seq == user->told && !mail->documents);
    if (mail->from > user->told) {
        takes = false;
    }
    *out_after = user->told;
    user->told = takes ? mail->seq : user->told;
    user->asked = user->asked && !(mail->is_read && !mail->more);
    if (user->told < user->known && !mail->more) {
        ask(rt, user);
    }
    return takes;
}
