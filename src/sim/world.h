/* world.h - what the files of the simulator share; nobody else includes it.
 *
 *     sim.c      life of a run: setting up, the chaos, the quiet, the end
 *     queue.c    what happens when: a heap of events
 *     net.c      links: messages between devices and nodes, and what befalls them
 *     node.c     a server node: requests in, batches, answers, the hub
 *     backups.c  the store: backups, lagging copies, abandoned branches
 *     device.c   a device: engine, client file, timers, tokens
 *     app.c      what apps write
 *     chaos.c    the faults that are not a message's, and their end
 *     old.c      apps of V2 and of v1
 *     facts.c    what a document says: tokens and counters
 *     check*.c   the checkers
 *     trace.c    the event log: its hash, and the last lines
 *
 * Who breaks something says sim_break() and goes on; the loop ends there. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "base/mem.h"
#include "base/status.h"
#include "core/commit.h"
#include "core/hub.h"
#include "sim/disk.h"
#include "sim/sim.h"

#define START_MS INT64_C(1700000000000)
#define NOWHERE UINT32_MAX
#define SLOTS 12u   /* devices, the clones of their files among them */
#define OLD_APPS 4u /* behind the devices in the numbering of links */
#define ENDS (SLOTS + OLD_APPS)
#define NODES 2u
#define TOKENS 512u
#define RESTORES 16u
#define DEFAULTS 4u
#define GOOD_FOR_EVER INT64_MAX

/* The longest pause of the client and a minute: what a drain may take. */
#define DRAIN_MS (INT64_C(360) * 1000)

/* X(name, key, policy): the documents of a user, and what each is good for.
 *   set       unique tokens: nothing lost, nothing invented
 *   counts    one counter per device, and one for all: nothing lost, nothing doubled
 *   game      a counter that resets: an epoch field
 *   big       refusals
 *   notes     deletes
 *   prefs     a policy that changes
 *   defaults  seeds
 *   stats     shared with apps of V2
 *   profile   shared with apps of v1; the last to arrive wins */
#define KEY_MAP(X)                                                                                 \
    X(SET, "set", "{\"fields\":{\"tokens\":\"union\"}}")                                           \
    X(COUNTS, "counts", "{\"fields\":{\"by\":{\"each\":\"sum\"},\"all\":\"sum\"}}")                \
    X(GAME, "game", "{\"fields\":{\"n\":\"sum\"},\"epoch\":\"round\"}")                            \
    X(BIG, "big", NULL)                                                                            \
    X(NOTES, "notes", NULL)                                                                        \
    X(PREFS, "prefs", NULL)                                                                        \
    X(DEFAULTS, "defaults", NULL)                                                                  \
    X(STATS, "game_stats", NULL)                                                                   \
    X(PROFILE, "profile", NULL)

enum sim_key {
#define X(name, key, policy) KEY_##name,
    KEY_MAP(X)
#undef X
        KEY_N
};

extern const char *const sim_keys[KEY_N];

/* ---- Events ---------------------------------------------------------------------------------- */

enum event_type {
    EVENT_ACTION,    /* the apps' next write, and the faults that go with it */
    EVENT_REQUEST,   /* arrives at a node */
    EVENT_ANSWER,    /* arrives at a device or an old app */
    EVENT_NO_ANSWER, /* the transport of a device gives up */
    EVENT_COMMIT,    /* a node runs what waits */
    EVENT_NODE_UP,
    EVENT_STORE_OPEN, /* a node opens its store again after an I/O error */
    EVENT_DEVICE_UP,
    EVENT_SIGN_IN, /* a guest does */
    EVENT_TOKEN,   /* the app gives a token */
    EVENT_HEAL,    /* a fault of a device's links ends */
    EVENT_JOIN,    /* a device joins the hub of a node */
    EVENT_WAKE,    /* the hub's word arrives at a device */
    EVENT_BEAT,    /* a device finds out whether its realtime link lives */
    EVENT_NOTE,    /* a node hears of the other one's commit */
    EVENT_RESTORE, /* the store is replaced by a copy */
    EVENT_OLD      /* an old app's turn */
};

enum call { CALL_EXCHANGE, CALL_REPORT, CALL_POLICIES, CALL_UPSERT, CALL_ROWS, CALL_V1, CALL_N };

extern const char *const sim_calls[CALL_N];

struct sim_event {
    int64_t at_ms;
    uint64_t serial; /* ties, and who was sent first */
    enum event_type type;
    unsigned end; /* device, or SLOTS + old app */
    unsigned node;
    uint64_t life; /* of the device, or of the node's store: what is older is nobody's */
    uint64_t request;
    enum call call;
    struct slice body; /* owned */
    int http_status;
    int64_t retry_after_ms;
    int64_t token_until_ms; /* of a request's token */
    unsigned user;
    int64_t seq;
    unsigned number;     /* of a heal, a restore */
    uint64_t store_life; /* of an answer: which store spoke */
};

struct sim_queue {
    struct sim_event *items; /* a heap */
    uint32_t n;
    uint32_t size;
    uint64_t serial;
    struct sim_event nobody; /* taken where memory is exhausted */
};

/* ---- Ends of links --------------------------------------------------------------------------- */

/* What a device or an old app reaches. */
struct link {
    bool offline;       /* nothing passes */
    bool deaf[NODES];   /* answers of that node do not arrive */
    bool away[NODES];   /* that node is not reached */
    unsigned heal;      /* number of the fault that holds; older heals are void */
    uint64_t newest_in; /* highest serial delivered, each way: for overtaking */
    uint64_t newest_out;
};

/* The realtime link of a device. */
struct wake_link {
    unsigned node; /* NOWHERE: none */
    bool dead;     /* half-open: nothing arrives any more */
    uint64_t serial;
};

/* ---- Devices --------------------------------------------------------------------------------- */

struct seen_lane {
    int64_t version;
    const char *mine; /* as of the last look; not to be read */
    size_t mine_len;
    int64_t modified_ms;
};

struct sim_device {
    bool used;
    unsigned user;
    unsigned counter; /* which of the counters is its own: a clone has its original's */
    struct sim_disk disk;
    struct sim_disk backup;
    bool has_backup;
    int64_t backup_written; /* of the own counter */
    struct engine *engine;
    bool up;
    bool guest;
    uint64_t life; /* raised by each start: answers to an older life are lost */
    int64_t skew_ms;
    bool hint_online;
    int64_t token_until_ms;
    bool token_asked;
    bool flying; /* a request is under way, as its transport knows */
    uint64_t flight;
    int64_t flight_until_ms;
    struct wake_link wake;
    /* What the checkers know. */
    bool copied;      /* the file was restored or cloned: a rewind is due */
    bool refused_401; /* a token was refused since the last one was given */
    bool failed;      /* a request failed since the last success: offline or retrying may be told */
    unsigned n_failed; /* that reached a server */
    char device_id[ENGINE_DEVICE_TEXT];
    char epoch[64];
    int64_t cursor;
    struct seen_lane seen[KEY_N];
    int64_t look_at_ms;  /* a clock went back: the runner looks at least this early */
    uint64_t ack_life;   /* of the answer under way: which store spoke */
    uint64_t calm_begun; /* exchanges begun when all was settled; UINT64_MAX: not settled */
};

struct old_app {
    bool used;
    bool v1;
    unsigned user;
    int64_t version; /* V2: of what it holds */
    int64_t count;
    int64_t at; /* of its newest document: rises with each */
    struct {
        int64_t expected;
        int64_t count;
        int64_t at;
    } queue[32];
    unsigned n_queue;
    unsigned n_writes; /* v1: rows to be sent */
    bool waits;        /* for an answer */
    int64_t waits_until_ms;
    uint64_t request;
    enum call call;
    int64_t token_until_ms;
};

/* ---- The server ------------------------------------------------------------------------------ */

struct sim_job {
    struct op op;
    struct arena arena;
    struct sim_event from;
    struct sim_job *next;
};

struct sim_node {
    bool up;
    bool usable; /* false between an I/O error and the store's reopening */
    uint64_t life;
    struct sim_job *first;
    struct sim_job **last;
    unsigned n_waiting;
    bool commit_planned;
    struct hub *hub;
    struct hub_handle joined[SLOTS];
    struct op_context context;
    struct arena policies_arena;
    int64_t skew_ms;
    enum sim_fault doom; /* of the batch under way; SIM_FAULT_N: none */
    struct sim_job *batch[16];
};

/* What of the ledger a store holds: goes with its copies. */
struct branch_facts {
    uint64_t acked[TOKENS / 64];
    int64_t acked_counts[SLOTS];
    struct {
        int64_t version;
        bool deleted;
    } docs[SIM_USERS][KEY_N];
    int64_t seq[SIM_USERS];
    int64_t at[OLD_APPS];             /* of the newest document of each app of V2 */
    bool chosen[SIM_USERS][DEFAULTS]; /* a default has given way to a choice */
};

struct sim_backup {
    struct store *store; /* NULL: free */
    struct branch_facts facts;
};

/* ---- The ledger ------------------------------------------------------------------------------ */

struct sim_token {
    uint8_t user;
    uint8_t device;
    bool written;
    bool in_set; /* of the set; else of another document */
    bool dead;
};

/* What a document says. */
struct facts {
    uint64_t tokens[TOKENS / 64];
    int64_t counts[SLOTS];
    bool counted[SLOTS];
    unsigned twice;   /* a token that stands there twice; NOWHERE: none */
    unsigned unknown; /* one that nobody ever made, or another user's; NOWHERE: none */
    bool foreign;
    int64_t n; /* of game, incorrectAnswers of game_stats, `all` of counts */
    int64_t at[OLD_APPS];
    int64_t values[DEFAULTS]; /* of defaults; -1: absent */
    int64_t round;            /* of game */
};

struct sim_ledger {
    struct sim_token tokens[TOKENS];
    unsigned n_tokens;
    int64_t written[SLOTS]; /* sums, by counter */
    int64_t written_all[SIM_USERS];
    int64_t written_files[SLOTS]; /* the same, by device: what its own file must show */
    int64_t game[SIM_USERS][64];  /* increments by round */
    int64_t played[SIM_USERS];    /* of game_stats */
    struct branch_facts now;
};

/* A write that the app makes: entered when it is durable. */
struct pending_write {
    bool is_one;
    enum sim_key key;
    unsigned token; /* NOWHERE: none */
    int64_t amount;
    int64_t round;
    bool for_all; /* the counter that all share */
};

/* ---- The world ------------------------------------------------------------------------------- */

struct sim_world {
    struct sim_config config;
    struct sim_result *result;
    unsigned rates[SIM_FAULT_N]; /* per mille; of those that are masked 0 */
    struct rng work;             /* what apps do */
    struct rng chaos;            /* what breaks */
    struct rng net;              /* latencies, and what befalls messages */
    struct rng engines;
    int64_t now_ms;
    bool quiet;
    uint64_t quiet_serial; /* of the first event of the quiet */
    unsigned n_edits; /* made */
    unsigned pace_ms;
    unsigned batch;
    unsigned document_bytes; /* what the server takes */
    unsigned n_users;
    unsigned n_devices; /* slots in use */
    struct uuid users[SIM_USERS];
    struct sim_device devices[SLOTS];
    struct old_app old[OLD_APPS];
    unsigned n_old;
    struct link links[ENDS];
    struct sim_node nodes[NODES];
    struct store *store;
    uint64_t store_life;
    int64_t policies_serial;
    unsigned n_restores;
    struct sim_backup silent; /* comes back at the end of the chaos */
    uint64_t silent_life;     /* of the store that it is a copy of */
    unsigned silent_at;       /* after how many edits it is taken; 0: never */
    bool was_silent;
    bool blind[SIM_USERS]; /* the commit under way writes `defaults` without knowing it */
    unsigned epochs;
    struct sim_backup backups[RESTORES];
    struct sim_ledger ledger;
    struct sim_queue queue;
    struct sim_job *free_jobs;
    struct engine_actions actions;
    struct arena scratch; /* of one look */
    struct buf text;      /* scratch as well */
    struct pending_write pending;
    uint64_t hash;
    bool nomem;
    unsigned lie_end;                   /* whom the lie is about */
    struct slice lie_bodies[SIM_USERS]; /* owned: the last answer to each user */
};

static inline unsigned below(struct rng *rng, unsigned bound)
{
    return (unsigned)rng_below(rng, bound);
}

/* Whether a fault happens now; it is counted. Never in the quiet. */
bool sim_strikes(struct sim_world *w, struct rng *rng, enum sim_fault fault);
void sim_count(struct sim_world *w, enum sim_fault fault);

/* The first one stays. */
void sim_break(struct sim_world *w, enum sim_verdict verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static inline bool sim_broken(const struct sim_world *w)
{
    return w->result->verdict != SIM_GOOD || w->nomem;
}

/* A status that cannot be: memory, or a bug. Answers whether it is BQ_OK. */
bool sim_fine(struct sim_world *w, int status, const char *what);

/* trace.c: three numbers and a text into the hash; a line where somebody reads. */
void sim_log(struct sim_world *w, const char *what, uint64_t a, uint64_t b, struct slice text);
void sim_note(struct sim_world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define NOTE(w, ...)                                                                               \
    do {                                                                                           \
        if ((w)->config.trace != NULL) {                                                           \
            sim_note(w, __VA_ARGS__);                                                              \
        }                                                                                          \
    } while (0)

/* queue.c */
struct sim_event *queue_add(struct sim_world *w, enum event_type type, int64_t after_ms);
bool queue_take(struct sim_queue *queue, struct sim_event *out);
int64_t queue_next_ms(const struct sim_queue *queue);
void queue_release(struct sim_queue *queue);
struct slice sim_own(struct sim_world *w, struct slice text);
void sim_disown(struct slice *text);

/* net.c */
void net_request(struct sim_world *w, struct sim_event *request);
void net_answer(struct sim_world *w, const struct sim_event *request, struct slice body);
void net_wake(struct sim_world *w, unsigned node, unsigned device, int64_t seq);
void net_note(struct sim_world *w, unsigned from, unsigned user, int64_t seq);
bool net_arrives(struct sim_world *w, const struct sim_event *event);

/* node.c */
bool node_start(struct sim_world *w, unsigned n);
void node_stop(struct sim_world *w, unsigned n);
void node_crash(struct sim_world *w, unsigned n, unsigned for_ms);
void node_request(struct sim_world *w, struct sim_event *event);
void node_commit(struct sim_world *w, unsigned n);
void node_join(struct sim_world *w, const struct sim_event *event);
void node_publish(struct sim_world *w, unsigned n, unsigned user, int64_t seq);
void node_release_jobs(struct sim_world *w);

/* backups.c */
bool store_begin(struct sim_world *w);
void store_plan_restore(struct sim_world *w);
void store_plan_failover(struct sim_world *w);
void store_restore(struct sim_world *w, unsigned number);
void store_release(struct sim_world *w);
void store_plan_silent(struct sim_world *w);
bool store_restore_silently(struct sim_world *w);
bool store_set_policy(struct sim_world *w, const char *pattern, const char *policy);

/* device.c */
bool device_start(struct sim_world *w, unsigned d);
void device_crash(struct sim_world *w, unsigned d, const char *why);
void device_release(struct sim_device *device);
int device_step(struct sim_world *w, unsigned d, const struct engine_event *event);
void device_timer(struct sim_world *w, unsigned d);
int64_t device_next_ms(const struct sim_device *device);
void device_answer(struct sim_world *w, struct sim_event *event);
void device_no_answer(struct sim_world *w, const struct sim_event *event);
void device_token(struct sim_world *w, const struct sim_event *event);
void device_sign_in(struct sim_world *w, unsigned d);
void device_join(struct sim_world *w, unsigned d);
void device_beat(struct sim_world *w, const struct sim_event *event);
void device_wake(struct sim_world *w, const struct sim_event *event);

/* app.c, chaos.c, old.c */
void app_act(struct sim_world *w);
void app_write_all(struct sim_world *w);
void chaos_act(struct sim_world *w);
void chaos_heal(struct sim_world *w, unsigned end, unsigned number);
void chaos_end(struct sim_world *w);
void old_turn(struct sim_world *w, unsigned i);
void old_answer(struct sim_world *w, const struct sim_event *event);
bool old_done(const struct old_app *app);

/* facts.c */
int facts_read(struct sim_world *w, enum sim_key key, unsigned user, struct slice text,
               struct facts *out);
unsigned facts_token(const struct sim_world *w, struct slice text);
static inline bool facts_has(const uint64_t *tokens, unsigned token)
{
    return (tokens[token / 64] >> (token % 64) & 1) != 0;
}
static inline void facts_put(uint64_t *tokens, unsigned token)
{
    tokens[token / 64] |= UINT64_C(1) << (token % 64);
}

/* check.c, check_store.c, check_end.c */
bool check_is_intact(const struct sim_world *w, unsigned counter);
bool check_any_copied(const struct sim_world *w, unsigned user);
enum sim_key check_key(struct slice text);
void check_facts(struct sim_world *w, const char *where, unsigned i, enum sim_key key,
                 const struct facts *facts);
void check_set(struct sim_world *w, unsigned user, const struct facts *facts);
void check_counts(struct sim_world *w, unsigned user, const struct facts *facts);
void check_actions(struct sim_world *w, unsigned d);
void check_device(struct sim_world *w, unsigned d);
void check_restart(struct sim_world *w, unsigned d, const struct engine *before);
void check_commit(struct sim_world *w, struct op *const *ops, size_t n);
void check_answer(struct sim_world *w, unsigned end, struct slice body);
void check_publish(struct sim_world *w, unsigned user, int64_t seq);
void check_end(struct sim_world *w);
void ledger_enter(struct sim_world *w, unsigned d);

#endif
