/* powerloss.c - the power goes at every call that a file makes on its disk (docs/reliability.md).
 *
 * A history (a seed) runs once and its calls are written down. Then, for every call k and each of
 * five kinds of damage: the image of the disk that the power loss leaves is mounted, opened by the
 * real code and judged; during that opening the power goes once more, somewhere, and the file is
 * opened and judged again; and of every few images the history goes on to its end, which must come
 * out exact. A *point* is one call k of one seed.
 *
 *     suite_powerloss [--seeds N] [--from S] [--steps N] [--every N] [--go-on N]
 *                     [--subject client|store|upgrade] [--plant NAME] [--trace 1] [--controls 0]
 *
 * Controls: with synchronous=NORMAL acknowledged changes must be found lost; on a disk that lies
 * about syncs, damage must be found. Last line: the suite's line. */
#include "power_judge.h"

#include "base/plant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN 12
#define TRACED 40

struct options {
    uint64_t from;
    uint64_t n_seeds;
    unsigned n_steps;
    unsigned every; /* one call in so many */
    unsigned go_on; /* one image in so many */
    const char *subject;
    const char *plant; /* NULL: none; else it has to be found, and nothing more is proven */
    bool controls;     /* the controls run, and every kind of fault has to have happened */
    bool trace;        /* the calls before a power loss that something was found after */
};

struct counts {
    uint64_t points;
    uint64_t images;
    uint64_t second;   /* power losses during recovery */
    uint64_t finished; /* histories that went on to the end */
    uint64_t verdicts[POWER_VERDICTS];
    uint64_t effective[POWER_DAMAGES]; /* images of a kind that were really damaged so */
    uint64_t ops[POWER_OPS];
    uint64_t files[POWER_NAMES]; /* writes to each */
    uint64_t creating;           /* points before the first state: the schema is made */
};

struct round {
    const struct power_subject *subject;
    struct power_work work;
    const struct options *options;
    bool lies;
    bool silent; /* a control: what is found is what it is for */
    struct counts *counts;
    struct power_log log;
    struct power_log recovery;
    struct power_disk image;
    struct power_disk second;
    size_t k_again; /* the call of the recovery in which the power went */
};

static uint64_t n_shown;

static void trace_calls(const char *title, const struct power_log *log, size_t k)
{
    static const char *const names[POWER_OPS] = {"write",  "truncate", "make",
                                                 "remove", "sync",     "sync folder"};
    printf("  %s: power lost in call %zu of %zu\n", title, k, log->n);
    for (int i = 0; i < POWER_NAMES; i++) {
        if (log->base.names[i] >= 0) {
            printf("    before: name %d is file %d, %zu bytes\n", i, log->base.names[i],
                   log->base.inodes[log->base.names[i]].len);
        }
    }
    for (size_t i = k < TRACED ? 0 : k - TRACED; i <= k && i < log->n; i++) {
        const struct power_call *call = &log->calls[i];
        printf("    %4zu %-11s file %d name %d at %llu, %zu bytes\n", i, names[call->op],
               call->inode, (int)call->name, (unsigned long long)call->at, call->len);
    }
}

static void trace_image(const struct power_disk *image)
{
    for (int i = 0; i < POWER_NAMES; i++) {
        if (image->names[i] >= 0) {
            const struct power_bytes *file = &image->inodes[image->names[i]];
            printf("    after: name %d is file %d, %zu bytes:", i, image->names[i], file->len);
            for (size_t b = 0; b < file->len && b < 100; b++) {
                printf("%s%02x", b % 4 == 0 ? " " : "", file->ptr[b]);
            }
            printf("\n");
        }
    }
}

static void show(const struct round *round, size_t k, enum power_damage damage, const char *stage,
                 enum power_verdict verdict)
{
    if (round->silent || n_shown++ >= SHOWN) {
        return;
    }
    printf("FOUND %s seed %llu call %zu of %zu (%s, powersafe %d, %s): %s: %s\n",
           round->subject->name, (unsigned long long)round->work.seed, k, round->log.n,
           power_damage_names[damage], round->work.powersafe ? 1 : 0, stage,
           power_verdict_names[verdict], power_why);
    if (round->options->trace) {
        trace_calls("history", &round->log, k);
        trace_image(&round->image);
    }
}

static void count_effect(struct counts *counts, enum power_damage damage,
                         const struct power_effect *effect)
{
    bool some = effect->n_kept > 0 && effect->n_kept < effect->n_pending;
    bool did = false;
    switch (damage) {
    case POWER_DROP:
        did = effect->n_pending > 0;
        break;
    case POWER_KEEP:
        did = effect->n_kept > 0;
        break;
    case POWER_SUBSET:
        did = effect->reordered;
        break;
    case POWER_TEAR:
        did = effect->n_torn > 0;
        break;
    case POWER_PREFIX:
        did = some;
        break;
    case POWER_DAMAGES:
        break;
    }
    counts->effective[damage] += did ? 1 : 0;
}

/* The power goes again while what it left is opened: at some call, with some damage. Answers
 * whether there was anything to interrupt; the image is in round->second. */
static bool lose_again(struct round *round, struct rng *rng)
{
    struct power_cut cut;
    struct power_effect effect;
    if (round->recovery.n == 0) {
        return false;
    }
    power_cut_init(&cut, &round->recovery);
    cut.powersafe = round->work.powersafe;
    cut.lies = round->lies;
    round->k_again = (size_t)rng_below(rng, round->recovery.n);
    power_cut_at(&cut, round->k_again);
    power_cut_image(&cut, (enum power_damage)rng_below(rng, POWER_DAMAGES), rng, &round->second,
                    &effect);
    power_cut_release(&cut);
    return true;
}

static void try_second(struct round *round, size_t k, enum power_damage damage, size_t found,
                       struct rng *rng)
{
    if (!lose_again(round, rng)) {
        return;
    }
    round->counts->second++;
    power_vfs_mount(&round->second, round->work.powersafe);
    enum power_verdict verdict = round->subject->judge(k, found, &found);
    round->counts->verdicts[verdict]++;
    if (verdict != POWER_GOOD) {
        show(round, k, damage, "power lost again", verdict);
        if (round->options->trace && !round->silent) {
            trace_calls("recovery", &round->recovery, round->k_again);
            trace_image(&round->second);
        }
    }
}

static void try_image(struct round *round, size_t k, enum power_damage damage, struct rng *rng)
{
    size_t found = 0;
    round->counts->images++;
    power_vfs_mount(&round->image, round->work.powersafe);
    power_vfs_record(&round->recovery);
    enum power_verdict verdict = round->subject->judge(k, POWER_ANY, &found);
    power_vfs_record(NULL);
    round->counts->verdicts[verdict]++;
    if (verdict != POWER_GOOD) {
        show(round, k, damage, "opened", verdict);
        return;
    }
    try_second(round, k, damage, found, rng);
    if (round->options->go_on == 0 || rng_below(rng, round->options->go_on) != 0) {
        return;
    }
    round->counts->finished++;
    power_vfs_mount(&round->image, round->work.powersafe);
    verdict = round->subject->go_on(k, found);
    round->counts->verdicts[verdict]++;
    if (verdict != POWER_GOOD) {
        show(round, k, damage, "went on", verdict);
    }
}

static void count_call(struct round *round, size_t k, const struct power_cut *cut)
{
    const struct power_call *call = &round->log.calls[k];
    round->counts->points++;
    round->counts->ops[call->op]++;
    for (int i = 0; call->op == POWER_WRITE && i < POWER_NAMES; i++) {
        bool durable = cut->durable.names[i] == call->inode;
        bool pending = false;
        for (size_t p = 0; p < cut->n_pending && !durable && !pending; p++) {
            const struct power_call *made = &round->log.calls[cut->pending[p]];
            pending = made->op == POWER_MAKE && made->inode == call->inode &&
                      made->name == (enum power_name)i;
        }
        round->counts->files[i] += durable || pending ? 1 : 0;
    }
}

static void run_round(struct round *round)
{
    struct power_cut cut;
    struct power_effect effect;
    round->subject->work(&round->work, &round->log);
    power_cut_init(&cut, &round->log);
    cut.lies = round->lies;
    cut.powersafe = round->work.powersafe;
    for (size_t k = round->work.seed % round->options->every; k < round->log.n;
         k += round->options->every) {
        power_cut_at(&cut, k);
        count_call(round, k, &cut);
        for (int damage = 0; damage < POWER_DAMAGES; damage++) {
            struct rng rng;
            rng_init(&rng, round->work.seed << 32 ^ (uint64_t)k << 3 ^ (uint64_t)damage);
            power_cut_image(&cut, (enum power_damage)damage, &rng, &round->image, &effect);
            count_effect(round->counts, (enum power_damage)damage, &effect);
            try_image(round, k, (enum power_damage)damage, &rng);
        }
    }
    power_cut_release(&cut);
    round->subject->forget();
}

static void open_round(struct round *round)
{
    power_log_init(&round->log);
    power_log_init(&round->recovery);
    power_disk_init(&round->image);
    power_disk_init(&round->second);
}

static void close_round(struct round *round)
{
    power_log_release(&round->log);
    power_log_release(&round->recovery);
    power_disk_release(&round->image);
    power_disk_release(&round->second);
}

static void tell_progress(uint64_t done, uint64_t total)
{
    const char *path = getenv("BQ_PROGRESS");
    FILE *file = path == NULL ? NULL : fopen(path, "w");
    if (file != NULL) {
        fprintf(file, "%llu %llu\n", (unsigned long long)done, (unsigned long long)total);
        (void)fclose(file);
    }
}

static bool is_wanted(const struct options *options, const struct power_subject *subject)
{
    return options->subject == NULL || strcmp(options->subject, subject->name) == 0;
}

static void run_seeds(const struct options *options, struct counts *counts)
{
    static const struct power_subject *const subjects[] = {&power_client, &power_store,
                                                           &power_upgrade};
    struct round round = {.options = options, .counts = counts};
    open_round(&round);
    for (uint64_t i = 0; i < options->n_seeds; i++) {
        uint64_t seed = options->from + i;
        for (size_t s = 0; s < sizeof subjects / sizeof subjects[0]; s++) {
            bool upgrade = subjects[s] == &power_upgrade;
            round.subject = subjects[s];
            round.work = (struct power_work){.seed = seed,
                                             .n_steps = upgrade ? 3 : options->n_steps,
                                             .powersafe = seed % 2 == 0};
            if (is_wanted(options, subjects[s]) && !(upgrade && seed % 4 != 1 && seed % 4 != 2)) {
                run_round(&round);
            }
        }
        tell_progress(i + 1, options->n_seeds);
    }
    close_round(&round);
}

/* The same with something taken away: the same judges must find that. */
static void run_control(const struct options *options, const char *synchronous, bool lies,
                        struct counts *counts)
{
    static const struct power_subject *const subjects[] = {&power_client, &power_store};
    struct options own = *options;
    struct round round = {.options = &own, .counts = counts, .lies = lies, .silent = true};
    own.go_on = 0;
    own.every = 3;
    open_round(&round);
    for (uint64_t seed = options->from; seed < options->from + 2; seed++) {
        for (size_t s = 0; s < 2; s++) {
            round.subject = subjects[s];
            round.work = (struct power_work){.seed = seed,
                                             .n_steps = options->n_steps,
                                             .synchronous = synchronous,
                                             .powersafe = seed % 2 == 0};
            run_round(&round);
        }
    }
    close_round(&round);
}

static uint64_t bad(const struct counts *counts)
{
    return counts->verdicts[POWER_LOST] + counts->verdicts[POWER_CORRUPT] +
           counts->verdicts[POWER_HALF] + counts->verdicts[POWER_INEXACT];
}

/* A kind of fault that never happened proves nothing. */
static bool all_fired(const struct counts *counts)
{
    static const char *const op_names[POWER_OPS] = {"write",  "truncate", "make",
                                                    "remove", "sync",     "sync of the folder"};
    static const char *const file_names[POWER_NAMES] = {"database", "journal", "wal"};
    bool all = counts->second > 0 && counts->finished > 0;
    printf("points by call:");
    for (int i = 0; i < POWER_OPS; i++) {
        printf(" %s %llu,", op_names[i], (unsigned long long)counts->ops[i]);
        all = all && counts->ops[i] > 0;
    }
    printf("\nwrites to:");
    for (int i = 0; i < POWER_NAMES; i++) {
        printf(" %s %llu,", file_names[i], (unsigned long long)counts->files[i]);
        all = all && counts->files[i] > 0;
    }
    printf("\ndamage done:");
    for (int i = 0; i < POWER_DAMAGES; i++) {
        printf(" %s %llu,", power_damage_names[i], (unsigned long long)counts->effective[i]);
        all = all && counts->effective[i] > 0;
    }
    printf("\nimages %llu, power lost again in recovery %llu, went on to the end %llu\n",
           (unsigned long long)counts->images, (unsigned long long)counts->second,
           (unsigned long long)counts->finished);
    return all;
}

/* The checkers bite: what is known to lose is found to lose. */
static bool controls_bite(const struct options *options, uint64_t *out_lost)
{
    struct counts normal = {.points = 0};
    struct counts lying = {.points = 0};
    run_control(options, "NORMAL", false, &normal);
    run_control(options, NULL, true, &lying);
    printf("a disk that lies: %llu images: lost %llu, corrupt %llu, half-applied %llu\n",
           (unsigned long long)lying.images, (unsigned long long)lying.verdicts[POWER_LOST],
           (unsigned long long)lying.verdicts[POWER_CORRUPT],
           (unsigned long long)lying.verdicts[POWER_HALF]);
    *out_lost = normal.verdicts[POWER_LOST];
    return normal.verdicts[POWER_LOST] > 0 && lying.verdicts[POWER_LOST] > 0 &&
           lying.verdicts[POWER_CORRUPT] + lying.verdicts[POWER_HALF] > 0 &&
           normal.verdicts[POWER_CORRUPT] + normal.verdicts[POWER_HALF] == 0;
}

static int tell_plant(const struct options *options, const struct counts *counts)
{
    printf("powerloss: planted %s: lost %llu, corrupt %llu, half-applied %llu, inexact %llu\n",
           options->plant, (unsigned long long)counts->verdicts[POWER_LOST],
           (unsigned long long)counts->verdicts[POWER_CORRUPT],
           (unsigned long long)counts->verdicts[POWER_HALF],
           (unsigned long long)counts->verdicts[POWER_INEXACT]);
    return bad(counts) > 0 ? 0 : 1;
}

static int finish(const struct options *options, const struct counts *counts)
{
    uint64_t lost = 0;
    bool fired = all_fired(counts);
    bool proven = true;
    if (options->controls) {
        proven = controls_bite(options, &lost) && fired;
    }
    if (!proven) {
        printf("NOT PROVEN: a control found nothing, or a kind of fault never happened\n");
    }
    printf("powerloss: %llu points x %d damages (%llu seeds): acked lost %llu, corrupt %llu,"
           " half-applied %llu, inexact %llu; control synchronous=NORMAL: lost %llu\n",
           (unsigned long long)counts->points, POWER_DAMAGES, (unsigned long long)options->n_seeds,
           (unsigned long long)counts->verdicts[POWER_LOST],
           (unsigned long long)counts->verdicts[POWER_CORRUPT],
           (unsigned long long)counts->verdicts[POWER_HALF],
           (unsigned long long)counts->verdicts[POWER_INEXACT], (unsigned long long)lost);
    return bad(counts) == 0 && proven ? 0 : 1;
}

static bool read_options(int argc, char **argv, struct options *options)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i];
        const char *value = argv[i + 1];
        unsigned long long number = strtoull(value, NULL, 10);
        if (strcmp(name, "--seeds") == 0) {
            options->n_seeds = number;
        } else if (strcmp(name, "--from") == 0) {
            options->from = number;
        } else if (strcmp(name, "--steps") == 0) {
            options->n_steps = (unsigned)number;
        } else if (strcmp(name, "--every") == 0 && number > 0) {
            options->every = (unsigned)number;
        } else if (strcmp(name, "--go-on") == 0) {
            options->go_on = (unsigned)number;
        } else if (strcmp(name, "--subject") == 0) {
            options->subject = value;
        } else if (strcmp(name, "--trace") == 0) {
            options->trace = number != 0;
        } else if (strcmp(name, "--controls") == 0) {
            options->controls = number != 0;
        } else if (strcmp(name, "--plant") == 0 && plant_choose(value)) {
            options->plant = value;
        } else {
            return false;
        }
    }
    return argc % 2 == 1;
}

int main(int argc, char **argv)
{
    struct options options = {
        .from = 1, .n_seeds = 2, .n_steps = 20, .every = 1, .go_on = 4, .controls = true};
    struct counts counts = {.points = 0};
    if (!read_options(argc, argv, &options)) {
        fprintf(stderr, "usage: suite_powerloss [--seeds N] [--from S] [--steps N] [--every N]"
                        " [--go-on N] [--subject NAME] [--plant NAME] [--trace 1]\n"
                        "       [--controls 0]\n");
        return 2;
    }
    printf("seeds %llu to %llu\n", (unsigned long long)options.from,
           (unsigned long long)(options.from + options.n_seeds - 1));
    power_vfs_register();
    run_seeds(&options, &counts);
    return options.plant != NULL ? tell_plant(&options, &counts) : finish(&options, &counts);
}
