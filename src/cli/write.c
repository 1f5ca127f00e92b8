/* write.c - the frame around a local write. */
#include "cli/write.h"

#include <stdio.h>
#include <string.h>

#include "cli/output.h"
#include "cli/sync.h"

static const struct {
    const char *word;
    unsigned flag;
} priorities[] = {{"low", BQ_PRIORITY_LOW},
                  {"normal", BQ_PRIORITY_NORMAL},
                  {"high", BQ_PRIORITY_HIGH},
                  {"critical", BQ_PRIORITY_CRITICAL}};

int write_open(struct write *write, unsigned *flags)
{
    *flags = write->sync ? BQ_IMMEDIATE : 0;
    bool known = write->priority == NULL;
    for (size_t i = 0; !known && i < sizeof priorities / sizeof priorities[0]; i++) {
        if (strcmp(write->priority, priorities[i].word) == 0) {
            *flags |= priorities[i].flag;
            known = true;
        }
    }
    if (!known) {
        fprintf(stderr, "bqsync: there is no priority %s; take low, normal, high or critical\n",
                write->priority);
        return CLI_USAGE;
    }
    return client_open(&write->client, write->sync ? CLIENT_ONLINE : CLIENT_LOCAL);
}

/* {"key":...,"state":...,"pending":...} or a word. */
static int tell(struct write *write, const char *key)
{
    struct bq_document document = {.size = sizeof document};
    bool there = bq_get(write->client.bq, key, &document) == BQ_OK;
    struct buf line = BUF_INIT;
    if (write->client.json) {
        enum bq_state state = bq_key_state(write->client.bq, key);
        output_begin(&line);
        output_text(&line, "key", slice_of(key));
        output_text(&line, "state", slice_of(bq_state_word(state)));
        output_bool(&line, "there", there);
        if (there) {
            output_bool(&line, "pending", document.pending != 0);
            output_int(&line, "version", document.version);
        }
        output_close(&line);
    } else {
        buf_add_text(&line, key);
        buf_add_text(&line, there ? " is saved" : " is removed");
        buf_add_text(&line, write->sync ? " and sent" : " here; `bqsync sync` sends it");
    }
    if (there) {
        bq_document_release(&document);
    }
    int result = output_line(write->client.json, &line);
    buf_release(&line);
    return result;
}

int write_leave(struct write *write, int result)
{
    client_close(&write->client);
    return result;
}

int write_done(struct write *write, int status, const char *key)
{
    int result = CLI_OK;
    if (status != BQ_OK) {
        char what[192];
        snprintf(what, sizeof what, "%.150s was not changed", key);
        result = client_fail(&write->client, status, what);
    }
    if (result == CLI_OK && write->sync) {
        result = sync_wait(&write->client, write->wait_ms);
    }
    return write_leave(write, result == CLI_OK ? tell(write, key) : result);
}
