/* cmd_get.c - bqsync get: prints documents as this device sees them. */
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/print.h"
#include "merge/merge.h"

/* The value at a JSON Pointer of one document. */
static int print_at(struct client *client, const struct bq_document *document, const char *at)
{
    struct arena arena;
    struct json_value value;
    struct buf line = BUF_INIT;
    arena_init(&arena);
    struct slice text = {document->json, document->json_len};
    int result = output_exit(input_json(client->json, &arena, document->key, text, &value));
    if (result == CLI_OK) {
        struct json_value found = merge_pointer_get(&value, slice_of(at));
        if (json_is_absent(&found)) {
            result = output_fail(client->json, BQ_NOT_FOUND, "%s has nothing at %s", document->key,
                                 at);
        } else {
            json_print(&line, &found);
            result = output_line(client->json, &line);
        }
    }
    buf_release(&line);
    arena_release(&arena);
    return result;
}

static int get_one(struct client *client, const char *key, const char *at)
{
    struct bq_document document = {.size = sizeof document};
    int status = bq_get(client->bq, key, &document);
    if (status == BQ_NOT_FOUND) {
        return output_fail(client->json, status,
                           "there is no document %s here; `bqsync sync` fetches, `bqsync ls` lists",
                           key);
    }
    if (status != BQ_OK) {
        return client_fail(client, status, key);
    }
    struct buf line = BUF_INIT;
    int result;
    if (at != NULL) {
        result = print_at(client, &document, at);
    } else {
        if (client->json) {
            print_document(&line, &document, true);
        } else {
            buf_add(&line, document.json, document.json_len);
        }
        result = output_line(client->json, &line);
    }
    buf_release(&line);
    bq_document_release(&document);
    return result;
}

/* One object {key: document}, or with --json a line for each. */
static int get_all(struct client *client)
{
    struct bq_documents documents = {.size = sizeof documents};
    int status = bq_list(client->bq, &documents);
    if (status != BQ_OK) {
        return client_fail(client, status, "the documents cannot be listed");
    }
    struct buf line = BUF_INIT;
    int result = CLI_OK;
    output_begin(&line);
    for (size_t i = 0; i < documents.n && result == CLI_OK; i++) {
        const struct bq_document *document = &documents.items[i];
        if (client->json) {
            buf_clear(&line);
            print_document(&line, document, true);
            result = output_line(true, &line);
        } else {
            output_raw(&line, document->key, (struct slice){document->json, document->json_len});
        }
    }
    if (!client->json) {
        output_close(&line);
        result = output_line(false, &line);
    }
    buf_release(&line);
    bq_documents_release(&documents);
    return result;
}

int cmd_get(int argc, char **argv)
{
    struct client client = CLIENT_INIT;
    const char *at = NULL;
    int n;
    const struct option_spec options[] = {
        CLIENT_OPTIONS(&client),
        OPTION_TEXT("at", "POINTER", &at, "only the value at this JSON Pointer (/a/b)"),
    };
    const struct command_line line = {
        "get", "[KEY]",
        "Prints the document as this device sees it, with everything written here; without KEY\n"
        "all documents as one object. Never waits for the network.\n",
        options, OPTION_COUNT(options), 0, 1};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    int result = client_open(&client, CLIENT_LOCAL);
    if (result == CLI_OK) {
        result = n == 1 ? get_one(&client, argv[0], at) : get_all(&client);
    }
    client_close(&client);
    return result;
}
