/* cmd_watch.c - bqsync watch: stays connected and prints what happens. */
#include <stdio.h>
#include <time.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"

#define WAIT_MS 200u
#define POLL_MAX_MS 86400000

static const char *event_word(enum bq_event_type type)
{
    switch (type) {
    case BQ_EVENT_CHANGED:
        return "changed";
    case BQ_EVENT_STATE:
        return "state";
    case BQ_EVENT_CONFLICT:
        return "conflict";
    case BQ_EVENT_DEAD_LETTER:
        return "dead-letter";
    case BQ_EVENT_TOKEN_NEEDED:
        return "token-needed";
    case BQ_EVENT_ONLINE:
        return "online";
    case BQ_EVENT_OFFLINE:
        return "offline";
    case BQ_EVENT_RETRYING:
        return "retrying";
    case BQ_EVENT_WIPED:
        return "wiped";
    case BQ_EVENT_REWOUND:
        return "rewound";
    case BQ_EVENT_LIVE:
        return "live";
    case BQ_EVENT_NOT_LIVE:
        return "not-live";
    case BQ_EVENT_LOST:
        break;
    }
    return "lost";
}

/* The document of a change; nothing where it was removed. */
static void add_data(struct client *client, const struct bq_event *event, struct buf *line)
{
    struct bq_document document = {.size = sizeof document};
    if (event->type != BQ_EVENT_CHANGED && event->type != BQ_EVENT_CONFLICT) {
        return;
    }
    if (bq_get(client->bq, event->key, &document) != BQ_OK) {
        return;
    }
    struct slice data = {document.json, document.json_len};
    if (client->json) {
        output_raw(line, "data", data);
    } else {
        buf_add_char(line, ' ');
        buf_add_slice(line, data);
    }
    bq_document_release(&document);
}

static int print_event(struct client *client, const struct bq_event *event)
{
    struct buf line = BUF_INIT;
    const char *word = event_word(event->type);
    if (client->json) {
        output_begin(&line);
        output_text(&line, "event", slice_of(word));
        if (event->key[0] != '\0') {
            output_text(&line, "key", slice_of(event->key));
        }
        if (event->type == BQ_EVENT_STATE) {
            output_text(&line, "state", slice_of(bq_state_word(event->state)));
        }
        if (event->status != BQ_OK) {
            output_text(&line, "code", slice_of(bq_status_code(event->status)));
            output_text(&line, "message", slice_of(event->text));
        }
        add_data(client, event, &line);
        output_close(&line);
    } else {
        buf_add_format(&line, "%-12s %s", word, event->key);
        if (event->type == BQ_EVENT_STATE) {
            buf_add_format(&line, " %s", bq_state_word(event->state));
        }
        if (event->status != BQ_OK) {
            buf_add_format(&line, " %s: %s", bq_status_code(event->status), event->text);
        }
        add_data(client, event, &line);
    }
    int result = output_line(client->json, &line);
    buf_release(&line);
    return result == CLI_OK ? output_end() : result;
}

/* Another process may have written a fresh token meanwhile (`bqsync init --token`). */
static void renew_token(struct client *client)
{
    if (client_reload_token(client)) {
        bq_set_token(client->bq, client->token.ptr);
    } else {
        fprintf(stderr, "bqsync: the server wants a fresh token; put one into %s/token\n",
                client_dir(client));
    }
}

static int watch(struct client *client, int64_t for_ms, int64_t count)
{
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    bool asked = client->token.len > 0; /* opening asks for a token, which has been given since */
    int result = CLI_OK;
    while (!interrupt_seen() && result == CLI_OK && count != 0) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        int64_t passed_ms =
            (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000;
        if (for_ms > 0 && passed_ms >= for_ms) {
            break;
        }
        struct bq_event event = {.size = sizeof event};
        int status = bq_next_event(client->bq, WAIT_MS, &event);
        if (status == BQ_TIMEOUT) {
            continue;
        }
        if (status != BQ_OK) {
            return client_fail(client, status, "watching ended");
        }
        bool answered = asked && event.type == BQ_EVENT_TOKEN_NEEDED;
        asked = false;
        if (answered) {
            continue;
        }
        result = print_event(client, &event);
        count -= count > 0 ? 1 : 0;
        if (event.type == BQ_EVENT_TOKEN_NEEDED) {
            renew_token(client);
        }
    }
    return result;
}

int cmd_watch(int argc, char **argv)
{
    struct client client = CLIENT_INIT;
    bool polls_only = false;
    int64_t for_ms = 0;
    int64_t count = -1;
    int n;
    const struct option_spec options[] = {
        CLIENT_OPTIONS(&client),
        OPTION_DURATION("poll", "TIME", &client.poll_ms,
                        "look for news at least so often (30s; 5m while realtime is up)"),
        OPTION_FLAG("no-live", &polls_only, "no realtime socket: poll alone"),
        OPTION_DURATION("for", "TIME", &for_ms, "end after so long"),
        OPTION_NUMBER("count", "N", &count, "end after N events"),
    };
    const struct command_line line = {
        "watch",
        "",
        "Syncs and prints each event: changes of other devices with the document, states,\n"
        "conflicts, refusals, online and offline. While realtime is up (event live) changes\n"
        "come at once, otherwise (not-live) by polling. Ends with Ctrl-C.\n",
        options,
        OPTION_COUNT(options),
        0,
        0};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    if (client.poll_ms > POLL_MAX_MS) {
        client.poll_ms = POLL_MAX_MS;
    }
    client.live = !polls_only;
    interrupt_catch();
    int result = client_open(&client, CLIENT_ONLINE);
    if (result == CLI_OK) {
        result = watch(&client, for_ms, count);
    }
    client_close(&client);
    return result;
}
