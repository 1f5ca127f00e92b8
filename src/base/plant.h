/* plant.h - planted bugs, by which the tests are tested.
 *
 * Each entry breaks one property on purpose, at the place where the real bug would be written:
 *
 *     if (PLANTED(NO_RECEIPT)) { ... }
 *
 * In a normal build PLANTED() is the constant 0 and nothing of it is compiled. With -DBQ_PLANTS=ON
 * one plant at a time can be chosen at run time, by name, and each must be found by the suite that
 * its entry names (docs/reliability.md). */
#ifndef BASE_PLANT_H
#define BASE_PLANT_H

/* X(name, suite that must find it, what is broken) */
#define BQ_PLANT_MAP(X)                                                                            \
    X(ACK_BEFORE_COMMIT, "sim", "answers do not wait for the commit")                              \
    X(NOTIFY_BEFORE_COMMIT, "sim", "the hub does not wait for the commit")                         \
    X(NO_RECEIPT, "sim", "an applied edit leaves no receipt")                                      \
    X(RECEIPT_APART, "sim", "the receipt is written in another transaction than its edit")         \
    X(REFUSAL_WITHOUT_RECEIPT, "sim", "a refused edit leaves no receipt")                          \
    X(REFUSAL_WITHOUT_DOCUMENT, "sim", "the document that a refusal carries is not taken")         \
    X(SETTLED_BY_NUMBER, "sim", "another edit with the number of the last counts as repeated")     \
    X(REWOUND_APPLIED, "sim", "what a restored client file sends is applied")                      \
    X(EVIDENCE_IGNORED, "sim", "nobody sees that a store without a new epoch lost something")      \
    X(EPOCH_IGNORED, "sim", "the server serves clients that name an older epoch")                  \
    X(LOG_FORGOTTEN, "sim", "acknowledged edits are not sent again to a new epoch")                \
    X(VERSION_CHECK_SKIPPED, "sim", "an edit counts as made on the present version")               \
    X(TOMBSTONE_REVIVED, "sim", "an edit older than a deletion brings the document back")          \
    X(SUM_AS_ABSOLUTE, "sim", "a sum is set, not added to")                                        \
    X(TIE_BREAK_REVERSED, "sim", "of two who changed a field the first wins")                      \
    X(SEED_AS_EDIT, "sim", "a seed goes as an edit that knew what is there")                       \
    X(BASE_NOT_MOVED, "sim", "after `applied` the next edit begins where the last one did")        \
    X(PENDING_NOT_REBASED, "sim", "what waits stays as it was when the server's document comes")   \
    X(DEQUEUED_BEFORE_ACK, "sim", "an edit leaves the queue when it is sent")                      \
    X(EDIT_CHANGED_IN_FLIGHT, "sim", "an edit that goes again holds what came meanwhile")          \
    X(EDIT_SHARES_MEMORY, "sim", "an edit lies in the memory of the document it was made on")      \
    X(PREV_NOT_SENT, "sim", "an edit does not name the one before it")                             \
    X(STALE_WAKE_APPLIED, "sim", "a realtime event moves the cursor, however late it comes")       \
    X(CURSOR_OFF_BY_ONE, "sim", "the feed begins one behind the cursor")                           \
    X(HISTORY_OFF_BY_ONE, "sim", "an old client's base is one version too new")                    \
    X(REPEAT_MERGED_AGAIN, "sim", "an old client's repeat is merged with itself")                  \
    X(HUB_TELLS_OTHERS, "sim", "the hub tells users who share a bucket")                           \
    X(CURSOR_PAST_UNCOMMITTED, "feed", "the feed's end is read after its rows, apart")             \
    X(SEQ_BEFORE_LOCK, "feed", "the user's seq is read before the transaction that writes")        \
    X(DEAD_LETTER_BLOCKS_LANE, "poison", "after a dead letter nothing of its key is sent")         \
    X(AUTH_BURNS_RETRY, "poison", "a 401 counts as a failure of the edits")                        \
    X(OFFLINE_BURNS_RETRY, "poison", "being offline counts as a failure of the edits")             \
    X(STEP_IN_TWO, "powerloss", "a step of the client is saved in two transactions")               \
    X(BATCH_IN_TWO, "powerloss", "a batch is committed in two transactions")                       \
    X(ACKED_AFTER_FAILED_SYNC, "faults", "a commit of which the sync failed is acknowledged")      \
    X(USER_FROM_BODY, "isolation", "a function is about the user that its arguments name")         \
    X(USER_FROM_FILTER, "isolation", "a table shows the rows of the user that a filter names")     \
    X(USER_FROM_ROW, "isolation", "v1's table is written for the user that the row names")         \
    X(USER_FROM_TOPIC, "isolation", "a channel is that of the user whose id ends its topic")       \
    X(SELECT_WITHOUT_USER, "isolation", "dead letters are selected without their user")            \
    X(SIGNATURE_UNCHECKED, "isolation", "any signature of a known algorithm is good")              \
    X(SIGNATURE_UNREMEMBERED, "isolation", "a good token is remembered without its signature")     \
    X(EXPIRY_UNCHECKED, "isolation", "a token has no end")                                         \
    X(AUDIENCE_UNCHECKED, "isolation", "a token for another service is good")                      \
    X(OPERATOR_UNCHECKED, "isolation", "anybody may ask what an operator may")                     \
    X(TOKEN_SWAPPED, "isolation", "a channel takes another user's token")                          \
    X(SLOT_KEEPS_USER, "isolation", "a slot of the hub that is used again keeps its user")         \
    X(ROOM_OF_ALL, "isolation", "a broadcast goes to all who joined the topic")                    \
    X(PAUSES_IN_STEP, "storm", "pauses are not spread")                                            \
    X(CHANGES_UNTOLD, "storm", "realtime tells of no change")

enum plant {
    PLANT_NONE,
#define X(name, suite, text) PLANT_##name,
    BQ_PLANT_MAP(X)
#undef X
        PLANT_N
};

#ifdef BQ_PLANTS
extern enum plant plant_chosen;
#define PLANTED(name) (plant_chosen == PLANT_##name)
#else
#define PLANTED(name) 0
#endif

/* One plant as text: the name as in the map; NULL beyond the end. */
const char *plant_name(enum plant plant);
const char *plant_suite(enum plant plant);
const char *plant_text(enum plant plant);

/* Chooses by name for this process. 0: no such plant, or this build has none. */
int plant_choose(const char *name);

#endif
