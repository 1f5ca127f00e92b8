/* api_sign.c - signing in and out: which user's rows the handle works on.
 *
 * Either is one transaction: the guest's documents come in and leave the guest, the user is written
 * down, and only then the handle changes over. */
#include "base/status.h"
#include "client/identity.h"
#include "client/await.h"

#include "base/mem.h"

/* What the struct of the caller holds of ours. */
static void give_counts(struct bq_counts *counts, const struct bq_counts *ours)
{
    if (counts != NULL) {
        size_t size = counts->size;
        memset(counts, 0, size);
        memcpy(counts, ours, size < sizeof *ours ? size : sizeof *ours);
        counts->size = size;
    }
}

static bool counts_fine(const struct bq_counts *counts)
{
    return counts == NULL || handle_sized(counts->size, sizeof *counts);
}

static void count_engine(const struct engine *engine, struct bq_counts *out)
{
    struct bq_stats stats = {.size = sizeof stats};
    engine_stats(engine, &stats);
    out->documents = stats.documents;
    out->unsent = stats.pending;
    out->dead = stats.dead_letters;
}

static int identify(struct bq *bq, const char *token, struct uuid *out)
{
    const char *why = status_text(BQ_NOMEM);
    int status = identity_of_token(token, out, &why);
    return status == BQ_OK ? BQ_OK : handle_fail(bq, status, "%s", why);
}

/* ---- Signing in ------------------------------------------------------------------------------ */

struct arrival {
    struct uuid user;
    enum bq_guest guest;
    struct engine *engine; /* the user's, not the handle's yet */
    struct events events;
    struct bq_counts counts;
};

/* The guest's documents, one step each, in the open transaction. */
static int merge_guest(struct bq *bq, struct arrival *arrival)
{
    int status = BQ_OK;
    uint32_t n = engine_n_lanes(bq->engine);
    for (uint32_t i = 0; i < n && status == BQ_OK; i++) {
        struct engine_view view;
        engine_lane_at(bq->engine, i, &view);
        struct engine_event event = {.type = ENGINE_GUEST, .key = view.key, .text = view.mine};
        if (view.mine.ptr != NULL) {
            status = handle_step_inside(bq, arrival->engine, arrival->user.text, &event,
                                        &arrival->events);
        }
    }
    return status;
}

static int arrive_inside(struct bq *bq, struct arrival *arrival)
{
    struct engine_event tick = {.type = ENGINE_TICK};
    int status = handle_load(bq, arrival->user.text, &arrival->engine);
    if (status == BQ_OK) {
        status =
            handle_step_inside(bq, arrival->engine, arrival->user.text, &tick, &arrival->events);
    }
    if (status == BQ_OK && arrival->guest == BQ_GUEST_MERGE) {
        status = merge_guest(bq, arrival);
    }
    if (status != BQ_OK) {
        return status;
    }
    if (arrival->guest != BQ_GUEST_KEEP) {
        status = disk_forget(bq->disk, "");
    }
    if (status == BQ_OK) {
        status = disk_set_user(bq->disk, arrival->user.text);
    }
    if (status == BQ_OK) {
        status = disk_commit(bq->disk);
    }
    return status == BQ_OK ? BQ_OK : handle_fail(bq, status, "%s", disk_error(bq->disk));
}

static int arrive(struct bq *bq, struct arrival *arrival)
{
    struct bq_counts guest = {0};
    int status = handle_ready(bq);
    if (status != BQ_OK) {
        return status;
    }
    count_engine(bq->engine, &guest);
    status = disk_begin(bq->disk);
    status = status == BQ_OK ? arrive_inside(bq, arrival)
                             : handle_fail(bq, status, "%s", disk_error(bq->disk));
    if (status != BQ_OK) {
        engine_free(arrival->engine);
        events_release(&arrival->events);
        handle_undo(bq, status);
        return status;
    }
    count_engine(arrival->engine, &arrival->counts);
    arrival->counts.documents = guest.documents;
    handle_adopt(bq, arrival->engine, arrival->user.text);
    bq->tell_app |= !events_empty(&arrival->events);
    events_append(&bq->events, &arrival->events);
    return BQ_OK;
}

/* The engine hears of the token at once where it can; a disk that is full just now makes it
 * wait. */
static void begin_sync(struct bq *bq)
{
    bq->token_asks = 0;
    bq->token_at_ms = 0;
    (void)handle_greet(bq);
    bq->transport->wake(bq->transport);
}

static int use_token(struct bq *bq, const char *token)
{
    struct engine_event event = {.type = ENGINE_TOKEN};
    int status = handle_keep_token(bq, token);
    bq->transport->wake(bq->transport);
    if (status != BQ_OK || !bq->greeted || bq->engine == NULL) {
        return status;
    }
    /* A failure of the disk loads the engine anew, and the runner tells it of the token. */
    (void)handle_step(bq, &event);
    return BQ_OK;
}

static int sign_in(struct bq *bq, const char *token, enum bq_guest guest, struct bq_counts *counts)
{
    struct arrival arrival = {.guest = guest, .events = EVENTS_INIT};
    int status = identify(bq, token, &arrival.user);
    if (status != BQ_OK) {
        return status;
    }
    if (slice_is(uuid_slice(&arrival.user), bq->user)) {
        status = use_token(bq, token);
        if (status == BQ_OK) {
            give_counts(counts, &arrival.counts);
        }
        return status;
    }
    if (bq->user[0] != '\0') {
        return handle_fail(bq, BQ_INVALID, "another user is signed in; sign out first");
    }
    /* The guest has no token, so what is kept now is dropped again where the rest fails. */
    status = handle_keep_token(bq, token);
    if (status == BQ_OK) {
        status = arrive(bq, &arrival);
    }
    if (status != BQ_OK) {
        if (bq->user[0] == '\0') {
            handle_drop_token(bq);
        }
        return status;
    }
    give_counts(counts, &arrival.counts);
    begin_sync(bq);
    return BQ_OK;
}

int bq_sign_in(struct bq *bq, const char *token, enum bq_guest guest, struct bq_counts *counts)
{
    if (bq == NULL || token == NULL || !counts_fine(counts) || (int)guest < BQ_GUEST_MERGE ||
        guest > BQ_GUEST_DISCARD) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = sign_in(bq, token, guest, counts);
    handle_leave(bq);
    return status;
}

int bq_set_token(struct bq *bq, const char *token)
{
    struct uuid user;
    if (bq == NULL || token == NULL) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = BQ_OK;
    if (bq->user[0] == '\0') {
        status = handle_fail(bq, BQ_SIGNED_OUT, "%s", status_text(BQ_SIGNED_OUT));
    } else {
        status = identify(bq, token, &user);
    }
    if (status == BQ_OK && !slice_is(uuid_slice(&user), bq->user)) {
        status = handle_fail(bq, BQ_INVALID, "the token is another user's; sign out first");
    }
    if (status == BQ_OK) {
        status = use_token(bq, token);
    }
    handle_leave(bq);
    return status;
}

/* ---- Signing out ----------------------------------------------------------------------------- */

static int leave_inside(struct bq *bq, bool discard, struct engine **guest)
{
    int status = discard ? disk_forget(bq->disk, bq->user) : BQ_OK;
    if (status == BQ_OK) {
        status = disk_set_user(bq->disk, "");
    }
    if (status != BQ_OK) {
        return handle_fail(bq, status, "%s", disk_error(bq->disk));
    }
    status = handle_load(bq, "", guest);
    if (status == BQ_OK) {
        struct engine_event tick = {.type = ENGINE_TICK};
        struct events events = EVENTS_INIT;
        status = handle_step_inside(bq, *guest, "", &tick, &events);
        events_release(&events);
    }
    if (status != BQ_OK) {
        return status;
    }
    status = disk_commit(bq->disk);
    return status == BQ_OK ? BQ_OK : handle_fail(bq, status, "%s", disk_error(bq->disk));
}

static int leave_user(struct bq *bq, bool discard, struct bq_counts *ours)
{
    struct engine *guest = NULL;
    int status = handle_ready(bq);
    if (status != BQ_OK) {
        return status;
    }
    count_engine(bq->engine, ours);
    status = disk_begin(bq->disk);
    status = status == BQ_OK ? leave_inside(bq, discard, &guest)
                             : handle_fail(bq, status, "%s", disk_error(bq->disk));
    if (status != BQ_OK) {
        engine_free(guest);
        handle_undo(bq, status);
        return status;
    }
    handle_adopt(bq, guest, "");
    handle_drop_token(bq);
    bq->token_wanted = false;
    bq->token_status = BQ_OK;
    (void)handle_greet(bq);
    bq->transport->wake(bq->transport);
    return BQ_OK;
}

/* What is written while it drains is drained too. Another thread may sign this user out meanwhile,
 * and somebody else in: that one stays. */
static int drain(struct bq *bq, int64_t until_ms)
{
    char user[DISK_USER_TEXT];
    memcpy(user, bq->user, sizeof user);
    for (;;) {
        int status = await_flush(bq, until_ms);
        if (status != BQ_OK) {
            return status;
        }
        if (strcmp(user, bq->user) != 0) {
            return handle_fail(bq, BQ_SIGNED_OUT, "%s", status_text(BQ_SIGNED_OUT));
        }
        struct bq_stats stats = {.size = sizeof stats};
        status = handle_ready(bq);
        if (status != BQ_OK) {
            return status;
        }
        engine_stats(bq->engine, &stats);
        if (stats.pending == 0) {
            return BQ_OK;
        }
    }
}

int bq_sign_out(struct bq *bq, enum bq_sign_out how, unsigned timeout_ms, struct bq_counts *counts)
{
    struct bq_counts ours = {0};
    if (bq == NULL || !counts_fine(counts) || (int)how < BQ_DRAIN || how > BQ_DISCARD) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = BQ_OK;
    if (bq->user[0] == '\0') {
        status = handle_fail(bq, BQ_SIGNED_OUT, "%s", status_text(BQ_SIGNED_OUT));
    }
    if (status == BQ_OK && how == BQ_DRAIN) {
        status = drain(bq, handle_monotonic_ms() + timeout_ms);
    }
    if (status == BQ_OK) {
        status = leave_user(bq, how == BQ_DISCARD, &ours);
    }
    if (status == BQ_OK) {
        give_counts(counts, &ours);
    }
    handle_leave(bq);
    return status;
}

void bq_user(struct bq *bq, char out[37])
{
    if (bq == NULL || out == NULL) {
        return;
    }
    handle_enter(bq);
    memcpy(out, bq->user, strlen(bq->user) + 1);
    handle_leave(bq);
}

void bq_device_id(struct bq *bq, char out[40])
{
    if (bq == NULL || out == NULL) {
        return;
    }
    handle_enter(bq);
    out[0] = '\0';
    if (handle_ready(bq) == BQ_OK) {
        const char *id = engine_meta(bq->engine)->device_id;
        memcpy(out, id, strlen(id) + 1);
    }
    handle_leave(bq);
}
