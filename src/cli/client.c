/* client.c - opening a device's folder. */
#include "cli/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/input.h"
#include "cli/output.h"

/* DIR/name in out. */
static const char *path_of(const struct client *client, const char *name, struct buf *out)
{
    buf_clear(out);
    buf_add_text(out, client_dir(client));
    buf_add_char(out, '/');
    buf_add_text(out, name);
    return out->failed ? "" : out->ptr;
}

const char *client_dir(const struct client *client)
{
    if (client->dir != NULL) {
        return client->dir;
    }
    const char *dir = getenv("BQSYNC_DIR");
    return dir != NULL && dir[0] != '\0' ? dir : ".bqsync";
}

static void take_member(const struct json_value *config, const char *name, struct buf *out)
{
    const struct json_value *value = json_get(config, name);
    buf_clear(out);
    if (json_is(value, JSON_STRING)) {
        buf_add_slice(out, json_text(value));
    }
}

static int read_config(struct client *client)
{
    struct buf path = BUF_INIT;
    struct buf text = BUF_INIT;
    struct arena arena;
    struct json_value config;
    int result = CLI_OK;
    arena_init(&arena);
    if (access(path_of(client, "config.json", &path), F_OK) != 0 && errno == ENOENT) {
        result = output_fail(client->json, BQ_NOT_FOUND,
                             "%s is no device's folder; make one with `bqsync init --url URL "
                             "--token TOKEN --dir %s`",
                             client_dir(client), client_dir(client));
        goto done;
    }
    int status = input_file(client->json, path.ptr, &text);
    if (status == BQ_OK) {
        status = input_json(client->json, &arena, path.ptr, buf_slice(&text), &config);
    }
    if (status != BQ_OK) {
        result = output_exit(status);
        goto done;
    }
    take_member(&config, "url", &client->url);
    take_member(&config, "api_key", &client->api_key);
done:
    arena_release(&arena);
    buf_release(&text);
    buf_release(&path);
    return result;
}

/* The token file's text without white space around it; none where there is no file. */
static void read_token(struct client *client, struct buf *out)
{
    struct buf path = BUF_INIT;
    buf_clear(out);
    if (access(path_of(client, "token", &path), R_OK) == 0 &&
        input_file(client->json, path.ptr, out) == BQ_OK) {
        while (out->len > 0 && strchr(" \r\n\t", out->ptr[out->len - 1]) != NULL) {
            out->ptr[--out->len] = '\0';
        }
    }
    buf_release(&path);
}

static const char *text_or_null(const struct buf *buf)
{
    return buf->len == 0 ? NULL : buf->ptr;
}

/* Tells the library who is signed in: with a token for the same user it goes on. */
static int sign_in(struct client *client)
{
    char user[37];
    bq_user(client->bq, user);
    if (client->token.len == 0) {
        return CLI_OK;
    }
    int status = user[0] == '\0' ? bq_sign_in(client->bq, client->token.ptr, BQ_GUEST_MERGE, NULL)
                                 : bq_set_token(client->bq, client->token.ptr);
    return status == BQ_OK ? CLI_OK : client_fail(client, status, "the token is refused");
}

int client_open_file(struct client *client, enum client_how how)
{
    struct buf path = BUF_INIT;
    char error[BQ_ERROR_TEXT] = "";
    struct bq_config config = BQ_CONFIG_INIT;
    config.path = path_of(client, "app.bqsync", &path);
    config.url = text_or_null(&client->url);
    config.api_key = text_or_null(&client->api_key);
    config.ca_file = input_ca_file();
    config.device_info = "{\"app\":\"bqsync\"}";
    config.flags = (how == CLIENT_LOCAL ? BQ_PAUSED : 0u) | (client->live ? 0u : BQ_NO_LIVE);
    config.poll_ms = (unsigned)client->poll_ms;
    config.live_poll_ms = (unsigned)client->poll_ms;
    config.error_text = error;
    int status = bq_open(&config, &client->bq);
    int result = CLI_OK;
    if (status != BQ_OK) {
        result = output_fail(client->json, status, "%s cannot be opened: %s", config.path,
                             error[0] == '\0' ? bq_strerror(status) : error);
    }
    buf_release(&path);
    return result;
}

int client_open(struct client *client, enum client_how how)
{
    int result = read_config(client);
    if (result != CLI_OK) {
        return result;
    }
    read_token(client, &client->token);
    result = client_open_file(client, how);
    return result == CLI_OK && how == CLIENT_ONLINE ? sign_in(client) : result;
}

int client_save(struct client *client)
{
    struct buf path = BUF_INIT;
    struct buf config = BUF_INIT;
    output_begin(&config);
    output_text(&config, "url", buf_slice(&client->url));
    if (client->api_key.len > 0) {
        output_text(&config, "api_key", buf_slice(&client->api_key));
    }
    output_close(&config);
    buf_add_char(&config, '\n');
    int status =
        input_replace_file(client->json, path_of(client, "config.json", &path), buf_slice(&config));
    if (status == BQ_OK && client->token.len > 0) {
        status = input_replace_file(client->json, path_of(client, "token", &path),
                                    buf_slice(&client->token));
    }
    buf_release(&config);
    buf_release(&path);
    return output_exit(status);
}

int client_forget_token(struct client *client)
{
    struct buf path = BUF_INIT;
    int result = CLI_OK;
    if (unlink(path_of(client, "token", &path)) != 0 && errno != ENOENT) {
        result = output_fail(client->json, BQ_IO, "%s cannot be removed (%s); remove it by hand",
                             path.ptr, strerror(errno));
    }
    buf_release(&path);
    return result;
}

bool client_reload_token(struct client *client)
{
    struct buf token = BUF_INIT;
    read_token(client, &token);
    bool changed = token.len > 0 && !slice_equal(buf_slice(&token), buf_slice(&client->token));
    if (changed) {
        buf_clear(&client->token);
        buf_add_slice(&client->token, buf_slice(&token));
    }
    buf_release(&token);
    return changed && !client->token.failed;
}

void client_close(struct client *client)
{
    bq_close(client->bq);
    client->bq = NULL;
    buf_release(&client->url);
    buf_release(&client->api_key);
    buf_release(&client->token);
}

int client_fail(struct client *client, int status, const char *what)
{
    char text[BQ_ERROR_TEXT] = "";
    if (client->bq != NULL) {
        bq_last_error(client->bq, text, sizeof text);
    }
    return output_fail(client->json, status, "%s: %s", what,
                       text[0] == '\0' ? bq_strerror(status) : text);
}
