/* cmd_queue.c - bqsync queue: what waits, what was refused, and what becomes of the refused. */
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/print.h"

struct queue {
    struct client client;
    bool all;
    const char *id; /* argument behind retry or discard; NULL none */
};

static int list_pending(struct client *client, struct buf *row)
{
    struct bq_documents documents = {.size = sizeof documents};
    int status = bq_list(client->bq, &documents);
    int result =
        status == BQ_OK ? CLI_OK : client_fail(client, status, "the queue cannot be listed");
    for (size_t i = 0; i < documents.n && result == CLI_OK; i++) {
        if (!documents.items[i].pending) {
            continue;
        }
        if (client->json) {
            print_document(row, &documents.items[i], false);
        } else {
            print_document_row(row, &documents.items[i]);
        }
        result = output_line(client->json, row);
    }
    bq_documents_release(&documents);
    return result;
}

static int print_letter(struct client *client, const struct bq_dead_letter *letter, struct buf *row)
{
    if (client->json) {
        output_begin(row);
        output_int(row, "id", letter->id);
        output_text(row, "key", slice_of(letter->key));
        output_text(row, "code", slice_of(bq_status_code(letter->status)));
        output_text(row, "message", slice_of(letter->message));
        output_raw(row, "edit", slice_of(letter->edit));
        output_close(row);
    } else {
        buf_add_format(row, "%-24s refused #%lld  %s: %s", letter->key, (long long)letter->id,
                       bq_status_code(letter->status), letter->message);
    }
    return output_line(client->json, row);
}

static int list(struct queue *queue)
{
    struct client *client = &queue->client;
    struct buf row = BUF_INIT;
    struct bq_dead_letters letters = {.size = sizeof letters};
    int result = list_pending(client, &row);
    if (result == CLI_OK) {
        int status = bq_dead_letters(client->bq, &letters);
        if (status != BQ_OK) {
            result = client_fail(client, status, "the dead letters cannot be listed");
        }
    }
    for (size_t i = 0; i < letters.n && result == CLI_OK; i++) {
        result = print_letter(client, &letters.items[i], &row);
    }
    bq_dead_letters_release(&letters);
    buf_release(&row);
    return result;
}

/* The dead letter that retry and discard mean; 0 for all. False after a sentence. */
static bool take_id(const struct queue *queue, const char *verb, int64_t *out)
{
    *out = 0;
    if (queue->all && queue->id == NULL) {
        return true;
    }
    if (queue->id != NULL && !queue->all && options_number(queue->id, out) && *out > 0) {
        return true;
    }
    fprintf(stderr,
            "bqsync: queue %s takes the number that `bqsync queue list` shows, or --all\n", verb);
    return false;
}

static int change(struct queue *queue, const char *verb, int (*call)(struct bq *, int64_t))
{
    int64_t id;
    if (!take_id(queue, verb, &id)) {
        return CLI_USAGE;
    }
    int status = call(queue->client.bq, id);
    if (status == BQ_NOT_FOUND) {
        return output_fail(queue->client.json, status,
                           "there is no such dead letter; `bqsync queue list` shows them");
    }
    return status == BQ_OK ? CLI_OK : client_fail(&queue->client, status, verb);
}

static int export_letters(struct queue *queue)
{
    char *json;
    int status = bq_dead_export(queue->client.bq, &json);
    if (status != BQ_OK) {
        return client_fail(&queue->client, status, "the dead letters cannot be exported");
    }
    struct buf line = BUF_INIT;
    buf_add_text(&line, json);
    bq_free(json);
    int result = output_line(queue->client.json, &line);
    buf_release(&line);
    return result;
}

static int run(struct queue *queue, const char *verb)
{
    if (strcmp(verb, "list") == 0) {
        return list(queue);
    }
    if (strcmp(verb, "retry") == 0) {
        return change(queue, verb, bq_dead_retry);
    }
    if (strcmp(verb, "discard") == 0) {
        return change(queue, verb, bq_dead_discard);
    }
    if (strcmp(verb, "export") == 0) {
        return export_letters(queue);
    }
    fprintf(stderr, "bqsync: queue: take list, retry, discard or export, not %s\n", verb);
    return CLI_USAGE;
}

int cmd_queue(int argc, char **argv)
{
    struct queue queue = {.client = CLIENT_INIT};
    int n;
    const struct option_spec options[] = {
        CLIENT_OPTIONS(&queue.client),
        OPTION_FLAG("all", &queue.all, "retry or discard every dead letter"),
    };
    const struct command_line line = {
        "queue", "[list|retry|discard|export] [ID]",
        "list     documents with edits that wait, and edits that were refused (dead letters)\n"
        "retry    applies a dead letter once more, as a new edit\n"
        "discard  forgets a dead letter\n"
        "export   prints all dead letters as a JSON array\n",
        options, OPTION_COUNT(options), 0, 2};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    queue.id = n == 2 ? argv[1] : NULL;
    int result = client_open(&queue.client, CLIENT_LOCAL);
    if (result == CLI_OK) {
        result = run(&queue, n == 0 ? "list" : argv[0]);
    }
    client_close(&queue.client);
    return result;
}
