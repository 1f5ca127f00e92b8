/* export_v2.h - `bqsync export --v2-queue`: a device's documents and what is unsent, as V2's app
 * keeps them. The other forms of export are of stores. */
#ifndef CLI_EXPORT_V2_H
#define CLI_EXPORT_V2_H

#include "cli/client.h"

struct export_v2 {
    bool wanted; /* --v2-queue */
    struct client client;
    const char *assume; /* "sent", "unsent"; NULL: neither */
    bool hand_over;
    bool take_back;
};

#define EXPORT_V2_OPTIONS(export)                                                                  \
    OPTION_FLAG("v2-queue", &(export)->wanted, "of a device: what is unsent, as V2's app has it"), \
        OPTION_TEXT("dir", "DIR", &(export)->client.dir,                                           \
                    "the device's folder ($BQSYNC_DIR, else ./.bqsync)"),                          \
        OPTION_FLAG("hand-over", &(export)->hand_over,                                             \
                    "from now on the device sends nothing: it is V2's to send"),                   \
        OPTION_FLAG("take-back", &(export)->take_back, "the hand-over did not happen after all"),  \
        OPTION_TEXT("assume", "WORD", &(export)->assume,                                           \
                    "edits on their way: sent (sums left out), or unsent")

/* Prints one JSON object, the entries of SharedPreferences. An exit code. */
int export_v2_run(struct export_v2 *export_);

#endif
