/* commit.c - see commit.h. */
#include "core/commit.h"

#include "base/plant.h"
#include "base/status.h"

#include <string.h>

size_t commit_take(size_t n_waiting, size_t most)
{
    return n_waiting < most ? n_waiting : most;
}

/* Whether a failure of a batch may be the doing of one of its ops. */
static bool may_be_one_op(int status)
{
    return status != BQ_IO && status != BQ_READ_ONLY && status != BQ_BUSY;
}

static int write_ops(const struct commit_world *world, struct op *const *ops, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ops[i]->status = BQ_OK;
        ops[i]->message[0] = '\0';
        ops[i]->wrote = false;
    }
    return world->write(world->cls, ops, n);
}

static bool moved(const struct op *op, int status)
{
    bool committed = status == BQ_OK || PLANTED(NOTIFY_BEFORE_COMMIT);
    return committed && op->status == BQ_OK && op->wrote;
}

/* One word a user and batch, the newest: who listens reads from its cursor anyway. */
static void publish(const struct commit_world *world, struct op *const *ops, const int *statuses,
                    size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool newest = moved(ops[i], statuses[i]);
        for (size_t k = i + 1; k < n && newest; k++) {
            newest = !moved(ops[k], statuses[k]) ||
                     memcmp(ops[k]->user.text, ops[i]->user.text, UUID_TEXT) != 0;
        }
        if (newest) {
            world->publish(world->cls, &ops[i]->user, ops[i]->seq);
        }
    }
}

void commit_run(const struct commit_world *world, struct op *const *ops, int *statuses, size_t n)
{
    int status = write_ops(world, ops, n);
    bool singly = status != BQ_OK && n > 1 && may_be_one_op(status) && world->usable(world->cls);
    if (status != BQ_OK && world->failed != NULL) {
        world->failed(world->cls, status, singly ? n : 0);
    }
    for (size_t i = 0; i < n; i++) {
        statuses[i] = singly ? write_ops(world, &ops[i], 1) : status;
    }
    if (world->publish != NULL) {
        publish(world, ops, statuses, n);
    }
    for (size_t i = 0; i < n; i++) {
        world->answer(world->cls, i, PLANTED(ACK_BEFORE_COMMIT) ? BQ_OK : statuses[i]);
    }
}
