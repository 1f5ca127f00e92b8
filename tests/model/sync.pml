/* sync.pml - the protocol of docs/protocol.md as a model for Spin, searched exhaustively.
 *
 * Two devices count on one key whose policy is `sum`; a server keeps the document. Requests and
 * answers are lost, delayed, delivered twice and overtake each other; each device and the server
 * crash once. The increments are 1, 4, 16 and 64, so the counter itself tells in base 4 which of
 * them it holds and how often.
 *
 * Which step is which function (src/core):
 *     device: put           engine_write.c  engine_write()
 *     device: send          engine_send.c   send_exchange(), load_one(); engine_lane.c lane_freeze()
 *     device: receive       engine_answer.c exchange_answer():
 *       settle_result         one_result(), settle(), adopt_applied(), adopt_data()
 *       adopt_row             engine_adopt_row(), shows_rewind(), settle_by_receipt()
 *       adopt_epoch           engine_relist.c new_epoch_lane(), freeze_again()
 *       rewind                engine_relist.c engine_rewind(), rewind_lane()
 *       rebase                engine_lane.c   lane_rebase_begin(), lane_rebase_end()
 *     device: give up       engine.c        give_up_late(); engine_answer.c engine_no_answer()
 *     device: crash         src/client/disk_load.c, engine_load_*(): the file as of the last step
 *     server: take          apply.c apply_batch() up to the commit; exchange.c exchange():
 *       evidence              shows_loss()
 *       judge                 receipts.c receipts_judge()
 *       apply, refuse         apply_new(), write_result(), refuse()
 *       collect               fill_change(), is_told()
 *     server: commit        apply.c store->commit(), and then the answer leaves
 *     server: crash         what was not committed is gone
 *     operator              a copy of the store comes back under a new epoch (`bqsync restore`)
 *
 * One step of the engine is one step here: it changes memory, the file follows (SAVE), then the
 * request leaves. A crash between step and save cannot be told from a step that was never made.
 *
 * The network holds, for each device, the request under way or its answer, and one older copy of a
 * request with an edit: delayed or doubled, it arrives at any time later, also after newer ones.
 * A loss is a request (or answer) that its device gives up and of which no copy stays. An answer
 * belongs to the request that asked; that of a request which was given up reaches nobody. A pull is
 * sent where there is something to learn, and no copy of it stays: it would change nothing.
 *
 * Properties, all as assertions of a safety search:
 *     exactly once    at each commit no digit of the counter is above 1, and the counter never
 *                     loses one (without a restored store)
 *     no ack lost     when an edit is acknowledged its increments are in the committed counter; at
 *                     the end, also after a restored store, all that was acknowledged is
 *     drains          at any moment the faults may stop for good (`calm`). From then on *every*
 *                     run, without any assumption of fairness, ends: each device makes at most
 *                     CALM_SENDS more requests, and all other steps use something up. Where nothing
 *                     can move any more (`timeout`) nothing is frozen or waits, all devices show
 *                     the server's document, and the counter is exactly what was put, but the dead
 *                     letters
 *     no false alarm  without a store that came back silently nobody's edit counts as evidence
 *
 * Configurations, by -D (tests/suites/model.sh runs them):
 *     PUTS0, PUTS1    increments of each device, 0 to 2      REFUSALS  edits refused for good
 *     CRASHES         of each device, 0 or 1                 SERVER_CRASHES
 *     RESTORES        an older copy of the store comes back, under a new epoch
 *     SILENT          ... under the old one: evidence alone (a control: it has to lose)
 *     BACKUPS         device 0 goes on with an older copy of its file. Then its own increments may
 *                     be missing (nobody knows which were counted), but never count twice
 *
 * Not modelled: pages of a listing, purged tombstones, evicted receipts, deletes, seeds, policies,
 * several keys in a request, old clients. The simulation has those.
 *
 * Planted mistakes, by -D, each of which Spin has to find: see MISTAKE below. */

#ifndef PUTS0
#define PUTS0 2
#endif
#ifndef PUTS1
#define PUTS1 2
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef SERVER_CRASHES
#define SERVER_CRASHES 1
#endif
#ifndef REFUSALS
#define REFUSALS 0
#endif
#ifndef RESTORES
#define RESTORES 0
#endif
#ifndef BACKUPS
#define BACKUPS 0
#endif
#ifndef CALM_SENDS
#define CALM_SENDS 8
#endif

#if BACKUPS > 0
#define IDS 4 /* device ids */
#else
#define IDS 2
#endif
#define OPS 2     /* edits of a device; each has an increment in it */
#define ANY 7     /* base -1; versions stay below */
#define TWICE 170 /* the upper bits of the four digits */

/* What became of an edit. */
#define NONE 0
#define FROZEN 1
#define LOGGED 2
#define DEAD 3

/* What an answer tells. */
#define NOTHING 0
#define ROW 1
#define APPLIED 2
#define MERGED 3
#define DUPLICATE 4
#define REFUSED 5
#define REWOUND 6
#define EPOCH 7

typedef edit {
    unsigned fate : 2;
    unsigned id : 2;
    unsigned prev : 2;
    unsigned base : 3;
    unsigned was : 8;
    unsigned delta : 8 /* now - was */
}

/* A device's file, and its copy in memory. */
typedef lane {
    unsigned me : 2; /* device id: d, and d + 2 after a rewind */
    unsigned epoch : 3;
    unsigned cursor : 3;
    unsigned version : 3;
    unsigned synced : 8;
    unsigned mine : 8;
    unsigned last_op : 2;
    unsigned acked_op : 2;
    edit edits[OPS] /* by op - 1 */
}

typedef request {
    bit there;
    unsigned me : 2;
    unsigned epoch : 3;
    unsigned cursor : 3;
    unsigned op : 2; /* 0: it only pulls */
    unsigned id : 2;
    unsigned prev : 2;
    unsigned base : 3;
    unsigned was : 8;
    unsigned delta : 8
}

typedef answer {
    bit there;
    unsigned kind : 3;
    unsigned epoch : 3;
    unsigned cursor : 3;
    unsigned op : 2;
    unsigned version : 3;
    unsigned data : 8;
    unsigned r_op : 2; /* the receipt */
    unsigned r_id : 2;
    bit refused
}

typedef receipt {
    unsigned op : 2;
    unsigned id : 2;
    unsigned version : 3;
    bit refused
}

typedef store {
    unsigned epoch : 3;
    unsigned version : 3;
    unsigned value : 8;
    unsigned seq : 3;
    receipt receipts[IDS] /* by device id */
}

/* A transaction: the document, the receipt of one device, and the answer. */
typedef work {
    unsigned state : 2; /* 0: idle, 1: not committed, 2: RECEIPT_LATER, the document is */
    bit d;
    bit live; /* somebody waits for the answer */
    unsigned me : 2;
    unsigned epoch : 3;
    unsigned version : 3;
    unsigned value : 8;
    unsigned seq : 3;
    receipt r;
    answer a
}

lane mem[2];
#ifdef SEND_BEFORE_SAVE
lane file[2];
#endif
bit flying[2];
request live[2];  /* under way, awaited */
request stale[2]; /* an older copy; nobody waits for its answer */
answer reply[2];
store disk;
work txn;
byte lives[2]; /* restarts: no two of them make the same random ids */
byte n_puts[2];
byte n_crashes[2];
byte n_server_crashes;
byte n_refusals;
bit calm;
byte n_sends[2]; /* since calm */
byte newest_epoch;
byte made;  /* increments that an app was told are safe */
byte acked; /* increments that were acknowledged */

#if RESTORES > 0
store snap;
byte n_restores;
bit snapped;
#if RESTORES > 1
receipt none; /* stays empty */
#endif
#endif
#if BACKUPS > 0
lane backup;
bit backed_up;
byte n_backups;
#endif

/* A rare path: with -DPROBE=n Spin has to find a run that comes here. */
#ifndef PROBE
#define PROBE 0
#endif
#define REACHED(n) assert(PROBE != n)

/* Of one step; no part of the state. */
hidden byte i;
hidden byte tip;
hidden byte waits;
hidden byte rewound;
hidden byte fresh;
hidden byte loss;

#define ME mem[d]
#define FROM reply[d]
#define RECEIPT disk.receipts[q.me]

inline copy_edit(to, from)
{
    to.fate = from.fate; to.id = from.id; to.prev = from.prev; to.base = from.base;
    to.was = from.was; to.delta = from.delta
}

inline copy_lane(to, from)
{
    to.me = from.me; to.epoch = from.epoch; to.cursor = from.cursor; to.version = from.version;
    to.synced = from.synced; to.mine = from.mine; to.last_op = from.last_op;
    to.acked_op = from.acked_op;
    copy_edit(to.edits[0], from.edits[0]); copy_edit(to.edits[1], from.edits[1])
}

inline copy_request(to, from)
{
    to.there = from.there; to.me = from.me; to.epoch = from.epoch; to.cursor = from.cursor;
    to.op = from.op; to.id = from.id; to.prev = from.prev; to.base = from.base; to.was = from.was;
    to.delta = from.delta
}

/* The older copy. Its cursor would only be read for evidence: without a silent restore it is none. */
inline linger()
{
    copy_request(stale[d], live[d]);
#ifndef SILENT
    stale[d].cursor = 0
#endif
}

inline copy_answer(to, from)
{
    to.there = from.there; to.kind = from.kind; to.epoch = from.epoch; to.cursor = from.cursor;
    to.op = from.op; to.version = from.version; to.data = from.data; to.r_op = from.r_op;
    to.r_id = from.r_id; to.refused = from.refused
}

inline copy_receipt(to, from)
{
    to.op = from.op; to.id = from.id; to.version = from.version; to.refused = from.refused
}

inline copy_store(to, from)
{
    to.epoch = from.epoch; to.version = from.version; to.value = from.value; to.seq = from.seq;
    copy_receipt(to.receipts[0], from.receipts[0]); copy_receipt(to.receipts[1], from.receipts[1])
#if BACKUPS > 0
    ; copy_receipt(to.receipts[2], from.receipts[2]);
    copy_receipt(to.receipts[3], from.receipts[3])
#endif
}

/* What is not there has no content: states that differ in nothing else are one. */
inline clear_request(it)
{
    it.there = 0; it.me = 0; it.epoch = 0; it.cursor = 0; it.op = 0; it.id = 0; it.prev = 0;
    it.base = 0; it.was = 0; it.delta = 0
}

inline clear_answer(it)
{
    it.there = 0; it.kind = 0; it.epoch = 0; it.cursor = 0; it.op = 0; it.version = 0; it.data = 0;
    it.r_op = 0; it.r_id = 0; it.refused = 0
}

inline clear_work()
{
    txn.state = 0; txn.d = 0; txn.live = 0; txn.me = 0; txn.epoch = 0; txn.version = 0;
    txn.value = 0; txn.seq = 0; txn.r.op = 0; txn.r.id = 0; txn.r.version = 0; txn.r.refused = 0;
    clear_answer(txn.a)
}

/* ---- A device ---- */

#define IS_FROZEN(op) (ME.edits[op - 1].fate == FROZEN)

/* synced with the frozen edits applied */
inline find_tip()
{
    tip = ME.synced;
    if :: IS_FROZEN(1) -> tip = tip + ME.edits[0].delta :: else fi;
    if :: IS_FROZEN(2) -> tip = tip + ME.edits[1].delta :: else fi
}

/* Each step ends with it, so the file equals the memory but where a mistake is planted: only then
 * it is kept apart. */
inline save()
{
#ifdef SEND_BEFORE_SAVE
    copy_lane(file[d], ME)
#else
    skip
#endif
}

/* Nobody waits for an answer any more. */
inline land()
{
    flying[d] = 0;
    clear_request(live[d]);
    clear_answer(FROM);
    if :: txn.state > 0 && txn.d == d -> txn.live = 0; clear_answer(txn.a) :: else fi
}

/* Something is to be sent or to be heard of; in calm the poll or the realtime channel tells. */
#define FIRST_FROZEN (IS_FROZEN(1) -> 1 : (IS_FROZEN(2) -> 2 : 0))
#define TIP (ME.synced + (IS_FROZEN(1) -> ME.edits[0].delta : 0) + \
             (IS_FROZEN(2) -> ME.edits[1].delta : 0))
#define IS_NEWS (ME.epoch != disk.epoch || ME.cursor != disk.seq)
#define IS_DUE (IS_NEWS || FIRST_FROZEN != 0 || ME.mine != (TIP & 255))

/* docs/protocol.md 4.2: the next op, a fresh id, and never changed again. */
inline freeze()
{
    find_tip();
#ifdef EDIT_CHANGED_IN_FLIGHT
    if
    :: FIRST_FROZEN != 0 && ME.mine != tip ->
        ME.edits[FIRST_FROZEN - 1].delta = ME.edits[FIRST_FROZEN - 1].delta + (ME.mine - tip)
    :: else
    fi;
    find_tip();
#endif
    if
    :: ME.epoch != 0 && FIRST_FROZEN == 0 && ME.mine != tip ->
        assert(ME.last_op < OPS); /* else it invents edits */
        ME.last_op = ME.last_op + 1;
        i = ME.last_op - 1;
        ME.edits[i].fate = FROZEN;
        ME.edits[i].id = lives[d];
        ME.edits[i].prev = ME.acked_op;
        ME.edits[i].base = ME.version;
        ME.edits[i].was = ME.synced;
        ME.edits[i].delta = ME.mine - tip
    :: else
    fi
}

inline make_pull()
{
    live[d].there = 1;
    live[d].me = ME.me;
    live[d].epoch = ME.epoch;
    live[d].cursor = ME.cursor;
    flying[d] = 1
}

inline make_request()
{
    make_pull();
    if
    :: FIRST_FROZEN != 0 -> /* 4.3: one edit of a key in a request */
        live[d].op = FIRST_FROZEN;
        i = live[d].op - 1;
        live[d].id = ME.edits[i].id;
        live[d].prev = ME.edits[i].prev;
        live[d].base = ME.edits[i].base;
        live[d].was = ME.edits[i].was;
        live[d].delta = ME.edits[i].delta
    :: else
    fi
}

/* frozen edit i is known to be held by the server */
inline acknowledge()
{
#if !RESTORES
    assert((ME.edits[i].delta & ~disk.value) == 0); /* no ack lost */
#endif
    acked = acked | ME.edits[i].delta;
    ME.edits[i].fate = LOGGED
}

inline adopt_document()
{
#ifndef BASE_NOT_MOVED
    if
    :: FROM.version >= ME.version ->
        ME.synced = FROM.data;
        ME.version = FROM.version
    :: else
    fi
#else
    skip
#endif
}

/* 6.2 */
inline settle_result()
{
    i = FROM.op - 1;
    if
    :: ME.edits[i].fate != FROZEN -> skip
    :: else ->
        if
        :: FROM.kind == REWOUND -> rewound = 1
        :: FROM.kind == APPLIED ->
            if
            :: ME.edits[i].base == ME.version ->
                acknowledge();
#ifndef BASE_NOT_MOVED
                ME.synced = ME.synced + ME.edits[i].delta;
                ME.version = FROM.version
#endif
            :: else -> REACHED(1) /* it goes again, and comes back as a duplicate, with data; no
                                     small configuration comes here, so it is no probe */
            fi
        :: FROM.kind == MERGED || (FROM.kind == DUPLICATE && !FROM.refused) ->
            if :: FROM.kind == DUPLICATE -> REACHED(2) :: else fi;
            acknowledge();
            adopt_document()
        :: FROM.kind == REFUSED || (FROM.kind == DUPLICATE && FROM.refused) ->
            if :: FROM.kind == DUPLICATE -> REACHED(3) :: else fi;
            ME.edits[i].fate = DEAD;
            adopt_document()
        fi;
        if
        :: ME.edits[i].fate != FROZEN && FROM.op > ME.acked_op -> ME.acked_op = FROM.op
        :: else
        fi
    fi
}

/* 5.3: the receipt does not fit what this file did */
inline look_for_rewind()
{
    if
    :: FROM.r_op > ME.last_op -> rewound = 1
#ifndef SETTLED_BY_NUMBER
    :: FROM.r_op > 0 && FROM.r_op <= ME.last_op ->
        i = FROM.r_op - 1;
        rewound = (ME.edits[i].fate == FROZEN || ME.edits[i].fate == LOGGED) &&
                  ME.edits[i].id != FROM.r_id
#endif
    :: else
    fi
}

/* Edits up to the receipt's are settled. */
inline settle_by_receipt()
{
    i = 0;
    do
    :: i < OPS && i < FROM.r_op ->
        if
        :: ME.edits[i].fate == FROZEN && i + 1 == FROM.r_op && FROM.refused ->
            ME.edits[i].fate = DEAD
        :: ME.edits[i].fate == FROZEN && !(i + 1 == FROM.r_op && FROM.refused) -> acknowledge()
        :: else
        fi;
        i = i + 1
    :: else -> break
    od
}

/* 6.5 */
inline adopt_row()
{
    look_for_rewind();
    if
    :: !rewound && FROM.version > ME.version ->
        if
        :: FROM.r_op > 0 && IS_FROZEN(FROM.r_op) && FROM.refused -> REACHED(5)
        :: FROM.r_op > 0 && IS_FROZEN(FROM.r_op) && !FROM.refused -> REACHED(4)
        :: else
        fi;
        settle_by_receipt();
        if :: FROM.r_op > ME.acked_op -> ME.acked_op = FROM.r_op :: else fi;
        ME.synced = FROM.data;
        ME.version = FROM.version
    :: else
    fi
}

/* 8.4 */
inline adopt_epoch()
{
    look_for_rewind();
    if
    :: !rewound ->
        settle_by_receipt();
        i = FROM.r_op;
        do
        :: i < OPS ->
            if
#ifdef LOG_FORGOTTEN
            :: ME.edits[i].fate == FROZEN ->
#else
            :: ME.edits[i].fate == FROZEN || ME.edits[i].fate == LOGGED ->
#endif
                if :: ME.edits[i].fate == LOGGED -> REACHED(6) :: else fi;
                ME.edits[i].fate = FROZEN;
                ME.edits[i].base = ANY;
                ME.edits[i].prev = FROM.r_op
            :: else
            fi;
            i = i + 1
        :: else -> break
        od;
        ME.synced = FROM.data;
        ME.version = FROM.version;
        ME.acked_op = FROM.r_op;
        ME.epoch = FROM.epoch;
        ME.cursor = FROM.cursor
    :: else
    fi
}

/* 5.3: a new device id, op 1, and nothing of the sums. */
inline rewind()
{
    ME.me = ME.me + 2;
    ME.last_op = 0;
    ME.acked_op = 0;
    ME.cursor = 0;
    ME.edits[0].fate = NONE; ME.edits[0].id = 0; ME.edits[0].prev = 0; ME.edits[0].base = 0;
    ME.edits[0].was = 0; ME.edits[0].delta = 0;
    copy_edit(ME.edits[1], ME.edits[0]);
#ifndef REWOUND_KEEPS_SUMS
    ME.mine = ME.synced
#endif
}

inline receive()
{
    rewound = 0;
    find_tip();
    waits = ME.mine - tip;
    if
    :: FROM.kind == EPOCH -> adopt_epoch()
    :: FROM.kind == ROW -> adopt_row()
    :: FROM.kind == NOTHING
    :: else -> settle_result()
    fi;
    if
    :: rewound ->
        if :: FROM.kind == REWOUND -> REACHED(9) :: else -> REACHED(10) fi;
        assert(BACKUPS > 0); /* else it takes a sound file for a restored one */
        assert(ME.me < 2);
        rewind()
    :: else ->
        find_tip();
#ifdef NOT_REBASED
        if :: FROM.kind == ROW :: else -> ME.mine = tip + waits fi;
#else
        ME.mine = tip + waits;
#endif
#ifdef EPOCH_IGNORED
        ME.epoch = FROM.epoch;
#endif
        if :: ME.epoch == 0 -> ME.epoch = FROM.epoch :: else fi;
        if :: FROM.cursor > ME.cursor -> ME.cursor = FROM.cursor :: else fi
    fi;
    land()
}

proctype device(byte d)
{
end_device:
    do
    /* put */
    :: d_step {
        !calm && n_puts[d] < (d == 0 -> PUTS0 : PUTS1) ->
        i = 1 << (4 * d + 2 * n_puts[d]);
        ME.mine = ME.mine + i;
        made = made + i;
        n_puts[d] = n_puts[d] + 1;
        save()
    }
    /* send */
    :: d_step {
        !flying[d] && IS_DUE ->
        freeze();
#ifndef SEND_BEFORE_SAVE
        save();
#endif
        make_request();
#ifdef QUEUE_DROPPED_EARLY
        if :: live[d].op > 0 -> ME.synced = ME.synced + ME.edits[live[d].op - 1].delta;
                                ME.edits[live[d].op - 1].fate = LOGGED; save() :: else fi;
#endif
        if :: calm -> n_sends[d] = n_sends[d] + 1 :: else fi;
        assert(n_sends[d] <= CALM_SENDS) /* drains */
    }
    /* pull alone: what waits rests in its debounce, what is frozen in its backoff */
    :: d_step {
        !calm && !flying[d] && ME.epoch != 0 && IS_NEWS &&
        (FIRST_FROZEN != 0 || ME.mine != (TIP & 255)) ->
        make_pull()
    }
    /* receive */
    :: d_step { FROM.there -> receive(); save() }
    /* the network doubles */
    :: d_step {
        !calm && live[d].there && live[d].op > 0 && !stale[d].there -> linger()
    }
    /* give up: a copy arrives later; none ever does. In calm only what is lost is given up. */
    :: d_step {
        !calm && live[d].there && live[d].op > 0 -> linger(); land()
    }
    :: d_step {
        flying[d] &&
        (!calm || !(live[d].there || FROM.there || (txn.state > 0 && txn.d == d && txn.live))) ->
        land()
    }
    /* crash */
    :: d_step {
        !calm && n_crashes[d] < CRASHES ->
        n_crashes[d] = n_crashes[d] + 1;
#ifdef SEND_BEFORE_SAVE
        lives[d] = lives[d] + 1;
        copy_lane(ME, file[d]);
#endif
        if
        :: live[d].there && live[d].op > 0 && !stale[d].there -> linger()
        :: else
        fi;
        land()
    }
#if BACKUPS > 0
    /* an older copy of the file */
    :: d_step { !calm && d == 0 && !backed_up -> backed_up = 1; copy_lane(backup, mem[0]) }
    :: d_step {
        !calm && d == 0 && backed_up && n_backups < BACKUPS ->
        n_backups = n_backups + 1;
        lives[0] = lives[0] + 1;
        copy_lane(ME, backup);
        save();
        land()
    }
#endif
    od
}

/* ---- The server ---- */

/* 8.2 */
inline look_for_evidence(q)
{
    loss = q.cursor > disk.seq;
    if
    :: q.op > 0 && !loss ->
        loss = q.base != ANY && q.base > disk.version;
#ifdef NO_PREV
        loss = loss || q.op > RECEIPT.op + 1
#else
        loss = loss || q.prev > RECEIPT.op
#endif
    :: else
    fi
}

inline tell_document()
{
    txn.a.version = txn.version;
    txn.a.data = txn.value;
    txn.a.cursor = txn.seq
}

inline tell_receipt()
{
    txn.a.r_op = txn.r.op;
    txn.a.r_id = txn.r.id;
    txn.a.refused = txn.r.refused
}

/* 5.1: the merge of a sum is theirs + (now - was). */
inline apply_new(q)
{
#ifdef SUM_AS_ABSOLUTE
    txn.value = q.was + q.delta;
#else
    txn.value = txn.value + q.delta;
#endif
    txn.a.kind = (q.base == disk.version && q.was == disk.value -> APPLIED : MERGED);
    txn.version = txn.version + 1;
    txn.seq = txn.seq + 1;
#ifndef NO_RECEIPT
    txn.r.op = q.op;
    txn.r.id = q.id;
    txn.r.version = txn.version;
    txn.r.refused = 0
#endif
}

/* 9.3; 5.6 where there is no document */
inline refuse(q)
{
    n_refusals = n_refusals + 1;
    txn.a.kind = REFUSED;
    if :: txn.seq == 0 -> REACHED(12); txn.seq = 1 :: else fi;
#ifndef REFUSAL_NO_RECEIPT
    txn.r.op = q.op;
    txn.r.id = q.id;
    txn.r.version = txn.version;
    txn.r.refused = 1
#endif
}

/* The table of section 5. */
inline judge(q, refuses)
{
    txn.a.op = q.op;
#ifdef SETTLED_BY_NUMBER
    fresh = 1;
#else
    fresh = RECEIPT.id == q.id;
#endif
    if
    :: RECEIPT.op > 0 && q.op == RECEIPT.op && fresh ->
        txn.a.kind = DUPLICATE;
        txn.a.refused = RECEIPT.refused
    :: else ->
        fresh = RECEIPT.op == 0 ||
                (q.op > RECEIPT.op && (q.base == ANY || q.base >= RECEIPT.version));
#ifdef LATE_COPY_APPLIED
        fresh = 1;
#endif
        if
        :: fresh && !refuses -> apply_new(q)
        :: fresh && refuses -> refuse(q)
        :: else ->
            REACHED(7);
            if :: txn.live -> REACHED(8) :: else fi;
            txn.a.kind = REWOUND
        fi
    fi;
    tell_document()
}

/* 6.1: epoch, evidence, edits, changes; nothing is committed yet. */
inline take(q, from, waited, refuses)
{
    txn.state = 1;
    txn.d = from;
    txn.live = waited;
    txn.me = q.me;
    txn.epoch = disk.epoch;
    txn.version = disk.version;
    txn.value = disk.value;
    txn.seq = disk.seq;
    copy_receipt(txn.r, RECEIPT);
    loss = 0;
    if
#ifdef EPOCH_IGNORED
    :: 0
#else
    :: q.epoch != 0 && q.epoch != disk.epoch -> txn.a.kind = EPOCH
#endif
    :: else ->
#if !defined(EPOCH_IGNORED) && !defined(EVIDENCE_IGNORED)
        look_for_evidence(q);
#endif
        if
        :: loss ->
#if !defined(SILENT) && !defined(NO_PREV)
            assert(0); /* a false alarm */
#endif
            REACHED(11);
            newest_epoch = newest_epoch + 1;
            txn.epoch = newest_epoch;
            txn.a.kind = EPOCH
        :: else ->
            if
            :: q.op > 0 -> judge(q, refuses)
            :: q.op == 0 && txn.seq > q.cursor -> txn.a.kind = ROW
            :: else -> txn.a.kind = NOTHING
            fi
        fi
    fi;
    if
    :: txn.a.kind == EPOCH || txn.a.kind == ROW -> tell_document(); tell_receipt()
    :: else
    fi;
    txn.a.cursor = txn.seq;
    txn.a.epoch = txn.epoch;
    txn.a.there = 1;
    if :: !waited -> clear_answer(txn.a) :: else fi;
    clear_request(q)
}

inline commit_document()
{
    assert((txn.value & TWICE) == 0);          /* exactly once */
    assert((disk.value & ~txn.value) == 0);    /* nothing that was counted goes */
    assert((txn.value & ~made) == 0);          /* nothing that nobody made comes */
    disk.epoch = txn.epoch;
    disk.version = txn.version;
    disk.value = txn.value;
    disk.seq = txn.seq
}

inline send_answer()
{
    if :: txn.live -> copy_answer(reply[txn.d], txn.a) :: else fi
}

proctype server()
{
end_server:
    do
    /* take */
    :: d_step { txn.state == 0 && live[0].there -> take(live[0], 0, 1, 0) }
    :: d_step { txn.state == 0 && live[1].there -> take(live[1], 1, 1, 0) }
    :: d_step { txn.state == 0 && stale[0].there -> take(stale[0], 0, 0, 0) }
    :: d_step { txn.state == 0 && stale[1].there -> take(stale[1], 1, 0, 0) }
#if REFUSALS > 0
#define MAY_REFUSE (txn.state == 0 && !calm && n_refusals < REFUSALS)
    :: d_step { MAY_REFUSE && live[0].there && live[0].op > 0 -> take(live[0], 0, 1, 1) }
    :: d_step { MAY_REFUSE && live[1].there && live[1].op > 0 -> take(live[1], 1, 1, 1) }
#endif
    /* commit, and only then the answer leaves */
    :: d_step {
        txn.state == 1 ->
#ifdef ACK_BEFORE_COMMIT
        send_answer();
        txn.live = 0;
        txn.state = 2
#else
        commit_document();
#ifdef RECEIPT_LATER
        txn.state = 2
#else
        copy_receipt(disk.receipts[txn.me], txn.r);
        send_answer();
        clear_work()
#endif
#endif
    }
#if defined(ACK_BEFORE_COMMIT) || defined(RECEIPT_LATER)
    :: d_step {
        txn.state == 2 ->
#ifdef ACK_BEFORE_COMMIT
        commit_document();
#endif
        copy_receipt(disk.receipts[txn.me], txn.r);
        send_answer();
        clear_work()
    }
#endif
    /* crash */
    :: d_step {
        txn.state > 0 && !calm && n_server_crashes < SERVER_CRASHES ->
        n_server_crashes = n_server_crashes + 1;
        clear_work()
    }
    od
}

/* ---- The operator, and what has to hold ---- */

#if RESTORES > 1
inline clear_store()
{
    disk.version = 0; disk.value = 0; disk.seq = 0;
    copy_receipt(disk.receipts[0], none); copy_receipt(disk.receipts[1], none)
}
#endif

#if RESTORES > 0
inline come_back()
{
    n_restores = n_restores + 1;
#ifndef SILENT
    newest_epoch = newest_epoch + 1;
    disk.epoch = newest_epoch;
#endif
    clear_work()
}
#endif

proctype operator()
{
end_operator:
    do
    :: d_step { !calm -> calm = 1 }
#if RESTORES > 0
    :: d_step { !calm && !snapped -> snapped = 1; copy_store(snap, disk) }
    :: d_step { !calm && snapped && n_restores < RESTORES -> copy_store(disk, snap); come_back() }
#if RESTORES > 1
    /* ... or an empty store, and the copy later: a branch that was abandoned */
    :: d_step { !calm && n_restores < RESTORES -> clear_store(); come_back() }
#endif
#endif
    od
}

#define DEAD_OF(d) ((mem[d].edits[0].fate == DEAD -> mem[d].edits[0].delta : 0) + \
                    (mem[d].edits[1].fate == DEAD -> mem[d].edits[1].delta : 0))
#define AT_REST(d) (!flying[d] && mem[d].edits[0].fate != FROZEN && \
                    mem[d].edits[1].fate != FROZEN && mem[d].mine == disk.value && \
                    mem[d].synced == disk.value && mem[d].version == disk.version)

init {
    d_step {
        disk.epoch = 1;
        newest_epoch = 1;
        mem[1].me = 1;
#ifdef SEND_BEFORE_SAVE
        file[1].me = 1
#endif
    };
    atomic { run device(0); run device(1); run server(); run operator() };
    timeout;
    assert(calm);
    assert(AT_REST(0));
    assert(AT_REST(1));
    /* What was acknowledged may be refused when it goes again to a restored store: the app gets it
     * back as a dead letter. */
    assert((acked & ~disk.value & ~(DEAD_OF(0) + DEAD_OF(1))) == 0);
#if BACKUPS > 0
    assert((made & 240) == (disk.value & 240))
#else
    assert(disk.value == made - DEAD_OF(0) - DEAD_OF(1))
#endif
}
