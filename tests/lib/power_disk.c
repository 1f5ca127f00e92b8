/* power_disk.c - see power_disk.h. Aborts where memory is exhausted. */
#include "power_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const power_damage_names[POWER_DAMAGES] = {"drop", "keep", "subset", "tear", "prefix"};

static void *grow(void *ptr, size_t size)
{
    void *grown = realloc(ptr, size);
    if (grown == NULL) {
        fprintf(stderr, "power_disk: no memory\n");
        abort();
    }
    return grown;
}

static void reserve(struct power_bytes *bytes, size_t room)
{
    if (room > bytes->room) {
        bytes->room = room < 2 * bytes->room ? 2 * bytes->room : room;
        bytes->ptr = grow(bytes->ptr, bytes->room);
    }
}

/* ---- The disk -------------------------------------------------------------------------------- */

void power_disk_init(struct power_disk *disk)
{
    *disk = (struct power_disk){.n_inodes = 0};
    for (int i = 0; i < POWER_NAMES; i++) {
        disk->names[i] = -1;
    }
}

void power_disk_release(struct power_disk *disk)
{
    for (int i = 0; i < POWER_INODES; i++) {
        free(disk->inodes[i].ptr);
    }
    power_disk_init(disk);
}

static void set_bytes(struct power_bytes *to, const struct power_bytes *from)
{
    reserve(to, from->len);
    if (from->len > 0) {
        memcpy(to->ptr, from->ptr, from->len);
    }
    to->len = from->len;
}

/* The numbers of inodes stay, because the calls of a log name them. */
void power_disk_copy(struct power_disk *to, const struct power_disk *from)
{
    bool named[POWER_INODES] = {false};
    for (int i = 0; i < POWER_NAMES; i++) {
        to->names[i] = from->names[i];
        if (from->names[i] >= 0) {
            named[from->names[i]] = true;
        }
    }
    for (int i = 0; i < POWER_INODES; i++) {
        to->inodes[i].len = 0;
        if (named[i]) {
            set_bytes(&to->inodes[i], &from->inodes[i]);
        }
    }
    to->n_inodes = from->n_inodes;
}

/* A free number: one that no name has. Above all used ones where there is room, so that in a log
 * of usual length a number means one file. */
static int free_inode(const struct power_disk *disk)
{
    if (disk->n_inodes < POWER_INODES) {
        return disk->n_inodes;
    }
    fprintf(stderr, "power_disk: more than %d files were made\n", POWER_INODES);
    abort();
}

int power_disk_make(struct power_disk *disk, enum power_name name)
{
    int inode = free_inode(disk);
    disk->n_inodes = inode + 1;
    disk->inodes[inode].len = 0;
    disk->names[name] = inode;
    return inode;
}

void power_disk_truncate(struct power_disk *disk, int inode, uint64_t size)
{
    struct power_bytes *file = &disk->inodes[inode];
    reserve(file, (size_t)size);
    if (size > file->len) {
        memset(file->ptr + file->len, 0, (size_t)size - file->len);
    }
    file->len = (size_t)size;
}

void power_disk_write(struct power_disk *disk, int inode, uint64_t at, const void *bytes, size_t n)
{
    struct power_bytes *file = &disk->inodes[inode];
    if (at + n > file->len) {
        power_disk_truncate(disk, inode, at + n);
    }
    memcpy(file->ptr + at, bytes, n);
}

/* ---- The log --------------------------------------------------------------------------------- */

void power_log_init(struct power_log *log)
{
    *log = (struct power_log){.n = 0};
    power_disk_init(&log->base);
}

void power_log_release(struct power_log *log)
{
    power_disk_release(&log->base);
    free(log->calls);
    free(log->blob.ptr);
    *log = (struct power_log){.n = 0};
}

void power_log_begin(struct power_log *log, const struct power_disk *disk)
{
    power_disk_copy(&log->base, disk);
    log->n = 0;
    log->blob.len = 0;
}

void power_log_add(struct power_log *log, const struct power_call *call, const void *bytes)
{
    if (log->n == log->room) {
        log->room = log->room == 0 ? 256 : 2 * log->room;
        log->calls = grow(log->calls, log->room * sizeof log->calls[0]);
    }
    struct power_call *added = &log->calls[log->n++];
    *added = *call;
    if (call->op == POWER_WRITE) {
        reserve(&log->blob, log->blob.len + call->len);
        added->blob = log->blob.len;
        memcpy(log->blob.ptr + log->blob.len, bytes, call->len);
        log->blob.len += call->len;
    }
}

/* ---- The cut --------------------------------------------------------------------------------- */

void power_cut_init(struct power_cut *cut, const struct power_log *log)
{
    *cut = (struct power_cut){.log = log, .powersafe = true};
    power_disk_init(&cut->durable);
    power_disk_copy(&cut->durable, &log->base);
}

void power_cut_release(struct power_cut *cut)
{
    power_disk_release(&cut->durable);
    free(cut->pending);
    *cut = (struct power_cut){.log = NULL};
}

static void perform(const struct power_log *log, const struct power_call *call,
                    struct power_disk *disk)
{
    switch (call->op) {
    case POWER_WRITE:
        power_disk_write(disk, call->inode, call->at, log->blob.ptr + call->blob, call->len);
        break;
    case POWER_TRUNCATE:
        power_disk_truncate(disk, call->inode, call->at);
        break;
    case POWER_MAKE:
        disk->names[call->name] = call->inode;
        if (call->inode >= disk->n_inodes) {
            disk->n_inodes = call->inode + 1;
        }
        break;
    case POWER_REMOVE:
        disk->names[call->name] = -1;
        break;
    case POWER_SYNC:
    case POWER_SYNC_FOLDER:
    case POWER_OPS:
        break;
    }
}

static bool is_synced_by(const struct power_call *call, const struct power_call *sync)
{
    bool of_folder = call->op == POWER_MAKE || call->op == POWER_REMOVE;
    return sync->op == POWER_SYNC_FOLDER ? of_folder : !of_folder && call->inode == sync->inode;
}

static void settle(struct power_cut *cut, const struct power_call *sync)
{
    size_t n = 0;
    for (size_t i = 0; i < cut->n_pending; i++) {
        const struct power_call *call = &cut->log->calls[cut->pending[i]];
        if (is_synced_by(call, sync)) {
            perform(cut->log, call, &cut->durable);
        } else {
            cut->pending[n++] = cut->pending[i];
        }
    }
    cut->n_pending = n;
}

static void add_pending(struct power_cut *cut, size_t index)
{
    if (cut->n_pending == cut->room) {
        cut->room = cut->room == 0 ? 256 : 2 * cut->room;
        cut->pending = grow(cut->pending, cut->room * sizeof cut->pending[0]);
    }
    cut->pending[cut->n_pending++] = index;
}

void power_cut_at(struct power_cut *cut, size_t k)
{
    for (; cut->next < k; cut->next++) {
        const struct power_call *call = &cut->log->calls[cut->next];
        if (call->op < POWER_SYNC) {
            add_pending(cut, cut->next);
        } else if (!cut->lies) {
            settle(cut, call);
        }
    }
}

/* ---- Damage ---------------------------------------------------------------------------------- */

static bool coin(struct rng *rng)
{
    return rng_below(rng, 2) == 0;
}

static void put_garbage(struct power_disk *disk, int inode, uint64_t at, size_t n, struct rng *rng)
{
    unsigned char garbage[POWER_SECTOR] = {0};
    if (coin(rng)) {
        for (size_t i = 0; i < n; i++) {
            garbage[i] = (unsigned char)rng_next(rng);
        }
    }
    power_disk_write(disk, inode, at, garbage, n);
}

/* The sector in which the power went: kept up to a byte of it; what follows is garbage, within the
 * write, or in the whole sector where the disk is not powersafe. */
static void tear_sector(const struct power_cut *cut, const struct power_call *call, uint64_t from,
                        size_t n, struct rng *rng, struct power_disk *out)
{
    const unsigned char *bytes = cut->log->blob.ptr + call->blob + (from - call->at);
    if (cut->powersafe) {
        size_t kept = (size_t)rng_below(rng, n);
        power_disk_write(out, call->inode, from, bytes, kept);
        put_garbage(out, call->inode, from + kept, n - kept, rng);
        return;
    }
    uint64_t start = from - from % POWER_SECTOR;
    uint64_t end = out->inodes[call->inode].len;
    end = end < from + n ? from + n : end;
    end = end < start + POWER_SECTOR ? end : start + POWER_SECTOR;
    put_garbage(out, call->inode, start, (size_t)(end - start), rng);
}

/* A write by sectors: each one kept or not, or (torn) kept up to one and lost behind it. */
static void write_sectors(const struct power_cut *cut, const struct power_call *call, bool torn,
                          struct rng *rng, struct power_disk *out)
{
    uint64_t end = call->at + call->len;
    uint64_t last = (end - 1) / POWER_SECTOR;
    uint64_t first = call->at / POWER_SECTOR;
    uint64_t at_sector = first + rng_below(rng, last - first + 1);
    bool in_order = coin(rng);
    for (uint64_t sector = first; sector <= last; sector++) {
        uint64_t from = sector * POWER_SECTOR;
        uint64_t to = from + POWER_SECTOR < end ? from + POWER_SECTOR : end;
        from = from < call->at ? call->at : from;
        const unsigned char *bytes = cut->log->blob.ptr + call->blob + (from - call->at);
        bool kept = torn && in_order ? sector < at_sector : coin(rng);
        if (torn && sector == at_sector) {
            tear_sector(cut, call, from, (size_t)(to - from), rng, out);
        } else if (kept) {
            power_disk_write(out, call->inode, from, bytes, (size_t)(to - from));
        }
    }
    /* The new length may be there before the bytes. */
    if (out->inodes[call->inode].len < end && coin(rng)) {
        power_disk_truncate(out, call->inode, end);
    }
}

struct plan {
    enum power_damage damage;
    size_t n;
    size_t torn;      /* which one; n: none */
    size_t n_first;   /* POWER_PREFIX: how many */
    unsigned percent; /* POWER_SUBSET, POWER_TEAR: kept */
    bool by_sector;
};

static struct plan make_plan(const struct power_cut *cut, enum power_damage damage,
                             const size_t *pending, size_t n, struct rng *rng)
{
    static const unsigned percents[] = {20, 50, 80, 95};
    struct plan plan = {.damage = damage, .n = n, .torn = n};
    plan.n_first = (size_t)rng_below(rng, n + 1);
    plan.percent = percents[rng_below(rng, 4)];
    plan.by_sector = coin(rng);
    if (damage == POWER_TEAR && n > 0) {
        /* Often the last one, which was under way. */
        size_t start = coin(rng) ? n - 1 : (size_t)rng_below(rng, n);
        for (size_t i = 0; i < n && plan.torn == n; i++) {
            size_t candidate = (start + n - i) % n;
            if (cut->log->calls[pending[candidate]].op == POWER_WRITE) {
                plan.torn = candidate;
            }
        }
    }
    return plan;
}

static bool is_kept(const struct plan *plan, size_t i, struct rng *rng)
{
    switch (plan->damage) {
    case POWER_DROP:
        return false;
    case POWER_KEEP:
        return true;
    case POWER_PREFIX:
        return i < plan->n_first;
    case POWER_SUBSET:
    case POWER_TEAR:
    case POWER_DAMAGES:
        break;
    }
    return i == plan->torn || rng_below(rng, 100) < plan->percent;
}

static void apply_one(const struct power_cut *cut, const struct plan *plan, size_t i,
                      const struct power_call *call, struct rng *rng, struct power_disk *out)
{
    bool torn = i == plan->torn;
    bool pieces = plan->damage == POWER_SUBSET && plan->by_sector && call->len > POWER_SECTOR;
    if (call->op == POWER_WRITE && call->len > 0 && (torn || pieces)) {
        write_sectors(cut, call, torn, rng, out);
    } else {
        perform(cut->log, call, out);
    }
}

void power_cut_image(const struct power_cut *cut, enum power_damage damage, struct rng *rng,
                     struct power_disk *out, struct power_effect *effect)
{
    size_t n = cut->n_pending;
    size_t *pending = grow(NULL, (n + 1) * sizeof pending[0]);
    bool lost = false;
    if (n > 0) {
        memcpy(pending, cut->pending, n * sizeof pending[0]);
    }
    /* The call under way has begun too. */
    if (cut->next < cut->log->n && cut->log->calls[cut->next].op < POWER_SYNC) {
        pending[n++] = cut->next;
    }
    struct plan plan = make_plan(cut, damage, pending, n, rng);
    *effect = (struct power_effect){.n_pending = (unsigned)n};
    for (int i = 0; i < POWER_INODES; i++) {
        set_bytes(&out->inodes[i], &cut->durable.inodes[i]);
    }
    memcpy(out->names, cut->durable.names, sizeof out->names);
    out->n_inodes = cut->durable.n_inodes;
    for (size_t i = 0; i < n; i++) {
        if (!is_kept(&plan, i, rng)) {
            lost = true;
            continue;
        }
        apply_one(cut, &plan, i, &cut->log->calls[pending[i]], rng, out);
        effect->n_kept++;
        effect->n_torn += i == plan.torn ? 1 : 0;
        effect->reordered = effect->reordered || lost;
    }
    free(pending);
}
