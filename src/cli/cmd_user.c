/* cmd_user.c - bqsync user: the accounts of a store, for an operator.
 *
 * A user is named by uuid or by email. A password never stands on the command line, where others
 * can see it: it is read from a file, or made here and printed once. */
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "cli/commands.h"
#include "cli/dump_file.h"
#include "cli/input.h"
#include "cli/operator.h"
#include "cli/options.h"
#include "cli/output.h"

#define PAGE 500u
#define MADE_CHARACTERS 24u /* of 32 each: 120 bits */

struct user {
    struct operator operator;
    const char *password_file;
    struct arena arena;
    struct buf password;
    bool made; /* the password is ours, and to be shown */
    struct buf line;
};

static struct slice text_of(const struct json_value *account, const char *name)
{
    const struct json_value *value = json_get(account, name);
    return json_is(value, JSON_STRING) ? json_text(value) : SLICE("");
}

static const char *state_of(const struct json_value *account)
{
    return json_get(account, "banned_until") != NULL                 ? "disabled"
           : json_is(json_get(account, "is_anonymous"), JSON_TRUE) ? "anonymous"
                                                                     : "active";
}

/* What became of an account, with its password where it was made here. */
static int print_account(struct user *user, const struct json_value *account, const char *done)
{
    struct buf *line = &user->line;
    struct slice email = text_of(account, "email");
    struct slice seen = text_of(account, "last_sign_in_at");
    if (user->operator.json) {
        output_begin(line);
        output_text(line, "id", text_of(account, "id"));
        output_text(line, "email", email);
        output_text(line, "state", slice_of(state_of(account)));
        output_text(line, "created_at", text_of(account, "created_at"));
        output_text(line, "last_sign_in_at", seen);
        if (user->made) {
            output_text(line, "password", buf_slice(&user->password));
        }
        output_close(line);
        return output_line(true, line);
    }
    if (done != NULL) {
        buf_add_format(line, "%s %.*s %.*s", done, SLICE_FMT(text_of(account, "id")),
                       SLICE_FMT(email));
    } else {
        seen = seen.len == 0 ? SLICE("never") : seen;
        buf_add_format(line, "%.*s  %-9s  %-19.*s  %.*s", SLICE_FMT(text_of(account, "id")),
                       state_of(account), (int)(seen.len > 19 ? 19 : seen.len), seen.ptr,
                       SLICE_FMT(email));
    }
    if (user->made) {
        buf_add_format(line, "\npassword: %.*s", SLICE_FMT(buf_slice(&user->password)));
    }
    return output_line(false, line);
}

/* Page n, from 1: a list of accounts. */
static int get_page(struct user *user, unsigned n, const struct json_value **out)
{
    struct json_value answer;
    char path[96];
    snprintf(path, sizeof path, "/auth/v1/admin/users?page=%u&per_page=%u", n, PAGE);
    const struct remote_request request = {"GET", path, "the list of users", SLICE_NONE};
    int result = operator_accounts(&user->operator, &user->arena, &request, &answer);
    *out = result == CLI_OK ? json_get(&answer, "users") : NULL;
    if (result == CLI_OK && !json_is(*out, JSON_ARRAY)) {
        result = output_fail(user->operator.json, BQ_SERVER, "the server's answer has no users");
    }
    return result;
}

static int list(struct user *user)
{
    int result = CLI_OK;
    bool more = true;
    for (unsigned n = 1; more && result == CLI_OK; n++) {
        const struct json_value *page;
        result = get_page(user, n, &page);
        more = result == CLI_OK && page->count == PAGE;
        for (uint32_t i = 0; result == CLI_OK && i < page->count; i++) {
            result = print_account(user, &page->items[i], NULL);
        }
        arena_reset(&user->arena);
    }
    return result;
}

/* The account of an email, by looking through all of them. */
static int find_email(struct user *user, struct slice email, struct uuid *out)
{
    int result = CLI_OK;
    bool more = true;
    for (unsigned n = 1; more && result == CLI_OK; n++) {
        const struct json_value *page;
        result = get_page(user, n, &page);
        more = result == CLI_OK && page->count == PAGE;
        for (uint32_t i = 0; result == CLI_OK && i < page->count; i++) {
            struct slice theirs = text_of(&page->items[i], "email");
            if (theirs.len == email.len && strncasecmp(theirs.ptr, email.ptr, email.len) == 0) {
                bool good = uuid_parse(text_of(&page->items[i], "id"), out);
                arena_reset(&user->arena);
                return good ? CLI_OK : output_fail(user->operator.json, BQ_SERVER,
                                                   "the server's answer has no id");
            }
        }
        arena_reset(&user->arena);
    }
    return result != CLI_OK ? result
                            : output_fail(user->operator.json, BQ_NOT_FOUND,
                                          "nobody has the email %.*s; bqsync user list shows all",
                                          SLICE_FMT(email));
}

static int find(struct user *user, const char *name, struct uuid *out)
{
    if (uuid_parse(slice_of(name), out)) {
        return CLI_OK;
    }
    if (strchr(name, '@') == NULL) {
        output_fail(user->operator.json, BQ_INVALID, "%s is neither a uuid nor an email", name);
        return CLI_USAGE;
    }
    return find_email(user, slice_of(name), out);
}

/* From the file, without the line's end, or a new one. */
static int take_password(struct user *user)
{
    static const char alphabet[] = "abcdefghijkmnpqrstuvwxyz23456789";
    struct buf *password = &user->password;
    unsigned char bytes[MADE_CHARACTERS];
    if (user->password_file != NULL) {
        int status = input_file(user->operator.json, user->password_file, password);
        while (status == BQ_OK && password->len > 0 &&
               strchr("\r\n", password->ptr[password->len - 1]) != NULL) {
            password->ptr[--password->len] = '\0';
        }
        return output_exit(status);
    }
    if (RAND_bytes(bytes, sizeof bytes) != 1) {
        return output_fail(user->operator.json, BQ_IO, "the system gives no random numbers");
    }
    for (size_t i = 0; i < sizeof bytes; i++) {
        buf_add_char(password, alphabet[bytes[i] % 32]);
    }
    user->made = true;
    return CLI_OK;
}

/* Sends a change and prints what came of it. body is a JSON object; id NULL: a new account. */
static int send_change(struct user *user, const struct uuid *id, struct slice body,
                       const char *done)
{
    struct json_value answer;
    char path[96] = "/auth/v1/admin/users";
    if (id != NULL) {
        snprintf(path, sizeof path, "/auth/v1/admin/users/%s", id->text);
    }
    const struct remote_request request = {id == NULL ? "POST" : "PUT", path,
                                           "the change of a user", body};
    int result = operator_accounts(&user->operator, &user->arena, &request, &answer);
    return result == CLI_OK ? print_account(user, &answer, done) : result;
}

/* add and reset: a password goes along. */
static int set_password(struct user *user, const struct uuid *id, const char *email)
{
    struct buf body = BUF_INIT;
    int result = take_password(user);
    if (result == CLI_OK) {
        output_begin(&body);
        if (email != NULL) {
            output_text(&body, "email", slice_of(email));
        }
        output_text(&body, "password", buf_slice(&user->password));
        output_close(&body);
        result = body.failed
                     ? output_fail(user->operator.json, BQ_NOMEM, "%s", status_text(BQ_NOMEM))
                     : send_change(user, id, buf_slice(&body), id == NULL ? "added" : "reset");
    }
    if (body.ptr != NULL) {
        OPENSSL_cleanse(body.ptr, body.size);
    }
    buf_release(&body);
    return result;
}

static int delete_user(struct user *user, const struct uuid *id)
{
    struct json_value answer;
    char path[96];
    snprintf(path, sizeof path, "/auth/v1/admin/users/%s", id->text);
    const struct remote_request request = {"DELETE", path, "the deletion of a user", SLICE_NONE};
    int result = operator_accounts(&user->operator, &user->arena, &request, &answer);
    if (result != CLI_OK) {
        return result;
    }
    if (user->operator.json) {
        output_begin(&user->line);
        output_text(&user->line, "id", uuid_slice(id));
        output_bool(&user->line, "deleted", true);
        output_close(&user->line);
    } else {
        buf_add_format(&user->line, "deleted %s with all documents", id->text);
    }
    return output_line(user->operator.json, &user->line);
}

static int export_user(struct user *user, const struct uuid *id)
{
    struct dump_counts counts;
    if (user->operator.opened == NULL) {
        return output_fail(user->operator.json, BQ_UNSUPPORTED,
                           "export wants the store itself: --store " STORE_PLACES "; its "
                           "server may run");
    }
    return dump_file(user->operator.json, user->operator.opened, id, "-", &counts);
}

/* The documents, whether there is an account or not; then the account. */
static int erase_user(struct user *user, const struct uuid *id)
{
    int result = operator_erase(&user->operator, &user->arena, id);
    if (result != CLI_OK) {
        return result;
    }
    if (user->operator.json) {
        output_begin(&user->line);
        output_text(&user->line, "id", uuid_slice(id));
        output_bool(&user->line, "erased", true);
        output_close(&user->line);
    } else {
        buf_add_format(&user->line,
                       "erased %s: documents, history, receipts, devices and account are gone; his "
                       "devices wipe what they hold when they sync next",
                       id->text);
    }
    return output_line(user->operator.json, &user->line);
}

static int run(struct user *user, int n, char **argv)
{
    const char *verb = n == 0 ? "list" : argv[0];
    struct uuid id;
    if (strcmp(verb, "list") == 0) {
        return list(user);
    }
    if (strcmp(verb, "add") == 0) {
        return set_password(user, NULL, argv[1]);
    }
    int result = find(user, argv[1], &id);
    if (result != CLI_OK) {
        return result;
    }
    if (strcmp(verb, "reset") == 0) {
        return set_password(user, &id, NULL);
    }
    if (strcmp(verb, "delete") == 0) {
        return delete_user(user, &id);
    }
    if (strcmp(verb, "export") == 0) {
        return export_user(user, &id);
    }
    if (strcmp(verb, "erase") == 0) {
        return erase_user(user, &id);
    }
    bool disable = strcmp(verb, "disable") == 0;
    return send_change(user, &id, disable ? SLICE("{\"ban_duration\":\"876000h\"}")
                                          : SLICE("{\"ban_duration\":\"none\"}"),
                       disable ? "disabled" : "enabled");
}

/* Whether the words are a verb with as many arguments as it takes. */
static bool is_verb(int n, char **argv)
{
    static const char *const verbs[] = {"add",    "disable", "enable", "reset",
                                        "delete", "export",  "erase"};
    if (n == 0 || (n == 1 && strcmp(argv[0], "list") == 0)) {
        return true;
    }
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (n == 2 && strcmp(argv[0], verbs[i]) == 0) {
            return true;
        }
    }
    return false;
}

int cmd_user(int argc, char **argv)
{
    struct user user = {.password_file = NULL};
    int n;
    const struct option_spec options[] = {
        OPERATOR_OPTIONS(&user.operator),
        OPTION_TEXT("password-file", "FILE", &user.password_file,
                    "add, reset: the password is in FILE (- is standard input)"),
    };
    const struct command_line line = {
        "user", "[list|add|disable|enable|reset|delete|export|erase] [USER]",
        "list          the accounts: id, state, last sign-in (UTC), email\n"
        "add EMAIL     makes one; its password is read from a file, or made and printed once\n"
        "disable USER  nobody signs in or refreshes as USER (a uuid or an email); access tokens\n"
        "              that are out work until they end\n"
        "enable USER   undoes that\n"
        "reset USER    sets a password, from a file or a new one; all sessions end\n"
        "delete USER   removes the account and all documents of the user, for good\n"
        "export USER   prints all that is kept of the user, as JSON lines (docs/export-format.md)\n"
        "erase USER    removes all that is kept of the user, with an account or without one\n",
        options, OPTION_COUNT(options), 0, 2};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    if (!is_verb(n, argv)) {
        fputs("bqsync: user: take list, add EMAIL, or disable, enable, reset, delete, export, "
              "erase USER\n",
              stderr);
        return CLI_USAGE;
    }
    if (operator_is_nowhere(&user.operator)) {
        fputs("bqsync: user: --store (" STORE_PLACES ") or --url URL is needed\n", stderr);
        return CLI_USAGE;
    }
    arena_init(&user.arena);
    bool reads = n == 0 || strcmp(argv[0], "list") == 0 || strcmp(argv[0], "export") == 0;
    int result = operator_open(&user.operator, !reads);
    if (result == CLI_OK) {
        result = run(&user, n, argv);
    }
    operator_close(&user.operator);
    if (user.password.ptr != NULL) {
        OPENSSL_cleanse(user.password.ptr, user.password.size);
    }
    buf_release(&user.password);
    buf_release(&user.line);
    arena_release(&user.arena);
    return result;
}
