/* cmd_init.c - bqsync init: makes a device's folder, or gives an existing one a new token or
 * URL. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/options.h"
#include "cli/output.h"

struct init {
    struct client client;
    const char *url;
    const char *token;
    const char *token_file;
    const char *api_key;
    const char *guest;
};

static bool guest_of(const char *word, enum bq_guest *out)
{
    static const char *const words[] = {"merge", "keep", "discard"};
    for (unsigned i = 0; i < 3; i++) {
        if (strcmp(word, words[i]) == 0) {
            *out = (enum bq_guest)i;
            return true;
        }
    }
    fprintf(stderr, "bqsync: init: --guest takes merge, keep or discard, not %s\n", word);
    return false;
}

/* --token, --token-file or $BQSYNC_TOKEN into the client. */
static int take_token(struct init *init)
{
    struct buf *token = &init->client.token;
    const char *text = init->token != NULL ? init->token : getenv("BQSYNC_TOKEN");
    if (init->token_file != NULL) {
        int status = input_file(init->client.json, init->token_file, token);
        if (status != BQ_OK) {
            return output_exit(status);
        }
        while (token->len > 0 && strchr(" \r\n\t", token->ptr[token->len - 1]) != NULL) {
            token->ptr[--token->len] = '\0';
        }
    } else if (text != NULL) {
        buf_add_text(token, text);
    }
    return CLI_OK;
}

static int tell(struct client *client, const struct bq_counts *counts)
{
    char user[37];
    struct buf line = BUF_INIT;
    bq_user(client->bq, user);
    if (client->json) {
        output_begin(&line);
        output_text(&line, "dir", slice_of(client_dir(client)));
        output_text(&line, "user", slice_of(user));
        output_int(&line, "documents", counts->documents);
        output_int(&line, "unsent", counts->unsent);
        output_close(&line);
    } else if (user[0] == '\0') {
        buf_add_text(&line, client_dir(client));
        buf_add_text(&line, " is ready; nobody is signed in, documents belong to the guest");
    } else {
        buf_add_text(&line, client_dir(client));
        buf_add_text(&line, " is ready for user ");
        buf_add_text(&line, user);
    }
    int result = output_line(client->json, &line);
    buf_release(&line);
    return result;
}

static int run(struct init *init, enum bq_guest guest)
{
    struct client *client = &init->client;
    struct bq_counts counts = {.size = sizeof counts};
    int result = take_token(init);
    if (result != CLI_OK) {
        return result;
    }
    buf_add_text(&client->url, init->url == NULL ? "" : init->url);
    buf_add_text(&client->api_key, init->api_key == NULL ? "" : init->api_key);
    struct stat info;
    if (mkdir(client_dir(client), 0700) != 0 &&
        (errno != EEXIST || stat(client_dir(client), &info) != 0 || !S_ISDIR(info.st_mode))) {
        return output_fail(client->json, BQ_IO, "the folder %s cannot be made (%s)",
                           client_dir(client), strerror(errno));
    }
    result = client_open_file(client, CLIENT_LOCAL);
    if (result == CLI_OK && client->token.len > 0) {
        int status = bq_sign_in(client->bq, client->token.ptr, guest, &counts);
        if (status == BQ_INVALID) {
            result = output_fail(client->json, status,
                                 "%s belongs to another user; `bqsync sign-out --park --dir %s` "
                                 "first, or take another folder",
                                 client_dir(client), client_dir(client));
        } else if (status != BQ_OK) {
            result = client_fail(client, status, "signing in failed");
        }
    }
    if (result == CLI_OK) {
        result = client_save(client);
    }
    return result == CLI_OK ? tell(client, &counts) : result;
}

int cmd_init(int argc, char **argv)
{
    struct init init = {.client = CLIENT_INIT, .guest = "merge"};
    enum bq_guest guest = BQ_GUEST_MERGE;
    int n;
    const struct option_spec options[] = {
        OPTION_TEXT("url", "URL", &init.url, "server or project; without it nothing ever syncs"),
        OPTION_TEXT("token", "TOKEN", &init.token, "the user's JWT (or $BQSYNC_TOKEN)"),
        OPTION_TEXT("token-file", "FILE", &init.token_file, "read it from FILE; - standard input"),
        OPTION_TEXT("api-key", "KEY", &init.api_key, "sent as apikey (hosted Supabase)"),
        OPTION_TEXT("guest", "HOW", &init.guest,
                    "what was written before signing in: merge, keep or discard"),
        CLIENT_OPTIONS(&init.client),
    };
    const struct command_line line = {
        "init", "",
        "Makes a device's folder and signs a user in; without a token its documents belong to the\n"
        "guest. Run again, it takes a new token or URL.\n",
        options, OPTION_COUNT(options), 0, 0};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    if (!guest_of(init.guest, &guest)) {
        return CLI_USAGE;
    }
    int result = run(&init, guest);
    client_close(&init.client);
    return result;
}
