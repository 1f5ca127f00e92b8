/* write.h - what put, patch, inc and rm share: options, opening, telling the result. */
#ifndef CLI_WRITE_H
#define CLI_WRITE_H

#include "cli/client.h"
#include "cli/options.h"

struct write {
    struct client client;
    const char *priority;
    bool sync;
    int64_t wait_ms;
};

#define WRITE_INIT ((struct write){.client = CLIENT_INIT, .wait_ms = 10000})

#define WRITE_OPTIONS(write)                                                                       \
    CLIENT_OPTIONS(&(write)->client),                                                              \
        OPTION_TEXT("priority", "P", &(write)->priority, "low, normal, high or critical"),         \
        OPTION_FLAG("sync", &(write)->sync, "send it now and wait for the server"),                \
        OPTION_DURATION("wait", "TIME", &(write)->wait_ms, "with --sync: at most so long (10s)")

/* Opens the folder; *flags is for the library's call. CLI_OK or an exit code after its sentence. */
int write_open(struct write *write, unsigned *flags);

/* Tells how the library's call on key ended, syncs where that was asked, closes. The exit code. */
int write_done(struct write *write, int status, const char *key);

/* Closes after a failure that was told already; answers result. */
int write_leave(struct write *write, int result);

#endif
