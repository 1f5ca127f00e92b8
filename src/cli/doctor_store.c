/* doctor_store.c - a store, user by user: whether its rows agree with one another. */
#include "cli/doctor.h"

#include <stdio.h>

#include "base/limits.h"
#include "base/status.h"
#include "cli/output.h"
#include "merge/policy.h"

#define USERS_AT_ONCE 256u
#define ROWS_AT_ONCE 1000u
#define BYTES_AT_ONCE (4u << 20)
#define SHOWN 5u

struct round {
    struct doctor *doctor;
    struct store *store;
    struct arena arena; /* of one user's rows */
    uint64_t n_users, n_erased, n_documents, n_tombstones, n_dead;
    uint64_t n_odd;     /* findings that were told or would have been */
};

static void odd(struct round *round, const struct store_user *user, struct slice key,
                const char *what)
{
    if (round->n_odd++ < SHOWN) {
        doctor_say(round->doctor, DOCTOR_PROBLEM, "rows",
                   "stop the server, restore the last good backup; clients bring back the rest",
                   "user %s, key %.*s: %s", user->id.text, SLICE_FMT(key), what);
    }
}

/* What one user's rows add up to. */
struct sums {
    int64_t n_keys;
    int64_t n_bytes;
    int64_t n_tombstones;
    int64_t seq;
};

static void look_document(struct round *round, const struct store_user *user,
                          const struct store_doc *doc, struct sums *sums)
{
    struct json_value value;
    /* A row without a version only holds a receipt. */
    if (doc->version < 0 || doc->version > LIMIT_VERSION) {
        odd(round, user, doc->key, "the version is out of range");
    }
    if (doc->seq <= sums->seq || doc->seq > user->seq) {
        odd(round, user, doc->key, "its place in the feed is not one of this user");
    }
    if (doc->version > 0 && !doc->deleted &&
        json_parse(&round->arena, doc->data, 1100, &value, NULL) != BQ_OK) {
        odd(round, user, doc->key, "the document is no JSON");
    }
    sums->seq = doc->seq;
    if (doc->deleted || doc->version == 0) {
        sums->n_tombstones++;
    } else {
        sums->n_keys++;
        sums->n_bytes += (int64_t)doc->data.len;
    }
}

static int look_documents(struct round *round, const struct store_user *user, struct sums *sums)
{
    struct store_docs docs = {.more = true};
    int status = BQ_OK;
    while (docs.more && status == BQ_OK) {
        arena_reset(&round->arena);
        status = round->store->docs(round->store, &round->arena, &user->id, sums->seq,
                                    ROWS_AT_ONCE, BYTES_AT_ONCE, true, &docs);
        for (uint32_t i = 0; status == BQ_OK && i < docs.n; i++) {
            look_document(round, user, &docs.items[i], sums);
        }
    }
    return status;
}

static int look_user(struct round *round, const struct store_user *user)
{
    struct sums sums = {0};
    struct store_dead_letters dead;
    int status = look_documents(round, user, &sums);
    if (status != BQ_OK) {
        return status;
    }
    if (!user->erased &&
        (sums.n_keys != user->n_keys || sums.n_tombstones != user->n_tombstones)) {
        odd(round, user, SLICE("-"), "the number of documents is not what is counted");
    }
    arena_reset(&round->arena);
    status = round->store->dead_letters(round->store, &round->arena, &user->id, &dead);
    if (status == BQ_OK) {
        round->n_users++;
        round->n_erased += user->erased;
        round->n_documents += (uint64_t)sums.n_keys;
        round->n_tombstones += (uint64_t)sums.n_tombstones;
        round->n_dead += dead.n;
    }
    return status;
}

static int look_users(struct round *round)
{
    struct arena arena;
    struct store_users users;
    struct uuid after;
    bool first = true;
    int status;
    arena_init(&arena);
    do {
        arena_reset(&arena);
        status = round->store->users(round->store, &arena, first ? NULL : &after, USERS_AT_ONCE,
                                     &users);
        for (uint32_t i = 0; status == BQ_OK && i < users.n; i++) {
            after = users.items[i].id;
            status = look_user(round, &users.items[i]);
        }
        first = false;
    } while (status == BQ_OK && users.n == USERS_AT_ONCE);
    arena_release(&arena);
    return status;
}

static int look_policies(struct round *round)
{
    struct store_policies policies;
    unsigned n_bad = 0;
    arena_reset(&round->arena);
    int status = round->store->policies(round->store, &round->arena, &policies);
    for (uint32_t i = 0; status == BQ_OK && i < policies.n; i++) {
        struct json_value value;
        const struct merge_policies *read;
        struct json_member member = {json_string(policies.items[i].pattern), json_absent()};
        struct slice text = policies.items[i].policy;
        bool good = json_parse(&round->arena, text, LIMIT_POLICY_JSON_DEPTH, &value, NULL) == BQ_OK;
        member.value = value;
        struct json_value all = json_object(&member, 1);
        good = good && merge_policies_read(&round->arena, &all, &read, NULL) == BQ_OK;
        n_bad += !good;
    }
    if (status == BQ_OK) {
        doctor_say(round->doctor, n_bad > 0 ? DOCTOR_PROBLEM : DOCTOR_OK, "policies",
                   n_bad > 0 ? "bqsync policy list, and set the bad ones anew" : NULL,
                   "%u set, version %lld, %u bad; the shipped ones stand below them", policies.n,
                   (long long)policies.version, n_bad);
    }
    return status;
}

static void tell(struct round *round)
{
    struct doctor *doctor = round->doctor;
    if (round->n_odd == 0) {
        doctor_say(doctor, DOCTOR_OK, "rows", NULL,
                   "%llu users (%llu erased), %llu documents, %llu tombstones; none doubled, "
                   "versions and counts agree",
                   (unsigned long long)round->n_users, (unsigned long long)round->n_erased,
                   (unsigned long long)round->n_documents,
                   (unsigned long long)round->n_tombstones);
    } else if (round->n_odd > SHOWN) {
        doctor_say(doctor, DOCTOR_PROBLEM, "rows", "as above", "and %llu more",
                   (unsigned long long)(round->n_odd - SHOWN));
    }
    bool failed = round->n_dead > 0;
    doctor_say(doctor, failed ? DOCTOR_WARNING : DOCTOR_OK, "failed",
               failed ? "SELECT * FROM user_sync_queue WHERE status = 'failed'; on the device: "
                        "bqsync queue" : NULL,
               "%llu refused edits reported by devices", (unsigned long long)round->n_dead);
}

void doctor_store(struct doctor *doctor, struct operator *operator)
{
    struct round round = {.doctor = doctor, .store = operator->opened};
    struct store *store = operator->opened;
    struct slice epoch = store->epoch(store);
    arena_init(&round.arena);
    doctor_say(doctor, DOCTOR_OK, "schema", NULL, "it is this version's; epoch %.*s",
               SLICE_FMT(epoch));
    int status = store->begin(store);
    if (status == BQ_OK) {
        status = look_policies(&round);
        status = status == BQ_OK ? look_users(&round) : status;
        store->rollback(store);
    }
    if (status != BQ_OK) {
        doctor_say(doctor, DOCTOR_PROBLEM, "rows",
                   "stop the server, restore the last good backup; clients bring back the rest",
                   "the store cannot be read through: %s", status_text(status));
    } else {
        tell(&round);
    }
    arena_release(&round.arena);
}
