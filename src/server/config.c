/* config.c - the table of options and its readers. */
#include "server/config.h"

#include "base/status.h"
#include "json/json.h"
#include "server/file.h"

#include <inttypes.h>
#include <stdio.h>

#define CONFIG_DEPTH 4u
#define HELP_COLUMN 33u

enum kind { KIND_TEXT, KIND_FLAG, KIND_COUNT, KIND_BYTES, KIND_TIME };

struct option {
    const char *name;
    enum kind kind;
    size_t offset; /* of the field in struct server_config */
    const char *value; /* the default; NULL: not set */
    int64_t min;
    int64_t max;
    const char *metavar;
    const char *help;
};

#define FIELD(name) offsetof(struct server_config, name)
#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define SECOND INT64_C(1000)
#define HOUR (3600 * SECOND)

static const struct option options[] = {
    {"config", KIND_TEXT, FIELD(config), NULL, 0, 0, "FILE", "read options from this JSON file"},
    {"listen", KIND_TEXT, FIELD(listen), "127.0.0.1:8787", 0, 0, "HOST:PORT",
     "address to listen on; port 0 takes a free one"},
    {"port-file", KIND_TEXT, FIELD(port_file), NULL, 0, 0, "FILE",
     "write the port there once the server listens"},
    {"admin-listen", KIND_TEXT, FIELD(admin_listen), NULL, 0, 0, "ADDRESS",
     "serve GET /metrics there: PORT of 127.0.0.1, or HOST:PORT"},
    {"admin-token-file", KIND_TEXT, FIELD(admin_token_file), NULL, 0, 0, "FILE",
     "the token that /metrics wants (32 to 1024 bytes)"},
    {"admin-port-file", KIND_TEXT, FIELD(admin_port_file), NULL, 0, 0, "FILE",
     "write the port of --admin-listen there"},
    {"store", KIND_TEXT, FIELD(store), "sqlite:bqsync.db", 0, 0, "STORE",
     "where the documents are kept: sqlite:PATH or postgres://..."},
    {"functions-in-database", KIND_TEXT, FIELD(functions), NULL, 0, 0, "URL",
     "for tests: calls are functions of this database (sql/postgres)"},
    {"jwt-secret-file", KIND_TEXT, FIELD(jwt_secret_file), NULL, 0, 0, "FILE",
     "secret that signs HS256 tokens (32 to 1024 bytes)"},
    {"jwt-previous-secret-file", KIND_TEXT, FIELD(jwt_previous_secret_file), NULL, 0, 0, "FILE",
     "the secret before it, accepted while tokens live on"},
    {"jwks-file", KIND_TEXT, FIELD(jwks_file), NULL, 0, 0, "FILE",
     "public keys of ES256 and RS256 tokens; needs issuer and audience"},
    {"jwks-url", KIND_TEXT, FIELD(jwks_url), NULL, 0, 0, "URL",
     "read such keys there, at the start and every ten minutes"},
    {"jwks-ca-file", KIND_TEXT, FIELD(jwks_ca_file), NULL, 0, 0, "FILE",
     "whose certificates that address may have [the system's list]"},
    {"jwt-issuer", KIND_TEXT, FIELD(jwt_issuer), NULL, 0, 0, "TEXT",
     "the iss that tokens of the JWKS must have"},
    {"jwt-audience", KIND_TEXT, FIELD(jwt_audience), NULL, 0, 0, "TEXT",
     "the aud that tokens must have"},
    {"jwt-map-sub", KIND_FLAG, FIELD(jwt_map_sub), "false", 0, 0, NULL,
     "map a sub that is no uuid to UUIDv5(issuer, sub)"},
    {"publishable-key", KIND_TEXT, FIELD(publishable_key), NULL, 0, 0, "KEY",
     "demand an apikey: this one, or a JWT of our own secret"},
    {"secret-key-file", KIND_TEXT, FIELD(secret_key_file), NULL, 0, 0, "FILE",
     "demand an apikey; the one in this file is service_role"},
    {"accounts", KIND_TEXT, FIELD(accounts), "auto", 0, 0, "WORD",
     "sign-in of our own: on, off; auto: on where no other tokens are configured"},
    {"accounts-sign-up", KIND_FLAG, FIELD(accounts_sign_up), "true", 0, 0, NULL,
     "anybody may make an account; =false closes it"},
    {"accounts-anonymous", KIND_FLAG, FIELD(accounts_anonymous), "false", 0, 0, NULL,
     "accounts without an email, 30 an hour per address"},
    {"accounts-ttl", KIND_TIME, FIELD(accounts_ttl_ms), "1h", 300 * SECOND, 24 * HOUR, "TIME",
     "how long an access token is valid"},
    {"accounts-algorithm", KIND_TEXT, FIELD(accounts_algorithm), "ES256", 0, 0, "ALG",
     "of our tokens: ES256, or HS256 with the token secret"},
    {"accounts-key-file", KIND_TEXT, FIELD(accounts_key_file), NULL, 0, 0, "FILE",
     "key of ES256; made where it is absent [beside the SQLite file]"},
    {"public-url", KIND_TEXT, FIELD(public_url), NULL, 0, 0, "URL",
     "where clients find this server: the issuer of our tokens"},
    {"upstream", KIND_TEXT, FIELD(upstream), NULL, 0, 0, "URL",
     "pass what is not ours on to this server"},
    {"upstream-ca-file", KIND_TEXT, FIELD(upstream_ca_file), NULL, 0, 0, "FILE",
     "whose certificates it may have [the system's list]"},
    {"upstream-timeout", KIND_TIME, FIELD(upstream_timeout_ms), "60s", SECOND, HOUR, "TIME",
     "for its answer to begin, and between two pieces of it"},
    {"upstream-calls", KIND_COUNT, FIELD(upstream_calls), "256", 1, 100000, "N",
     "requests that are passed on at a time"},
    {"upstream-sockets", KIND_COUNT, FIELD(upstream_sockets), "1000", 1, 100000, "N",
     "WebSockets to it at a time: one for each client that listens to it"},
    {"upstream-body-bytes", KIND_BYTES, FIELD(upstream_body_bytes), "50M", 1024, 1024 * MIB, "SIZE",
     "longest request body that is passed on"},
    {"stub-table", KIND_TEXT, FIELD(stub_table), NULL, 0, 0, "NAMES",
     "tables that are answered as empty, with commas between"},
    {"trusted-proxy", KIND_TEXT, FIELD(trusted_proxy), NULL, 0, 0, "ADDRESSES",
     "whose X-Forwarded-For is believed, with commas between"},
    {"cors-origin", KIND_TEXT, FIELD(cors_origin), "*", 0, 0, "ORIGIN",
     "origin that browsers may call from"},
    {"log-level", KIND_TEXT, FIELD(log_level), "info", 0, 0, "LEVEL",
     "error, warn, info (each request) or debug"},
    {"threads", KIND_COUNT, FIELD(threads), "0", 0, 256, "N",
     "HTTP threads; 0: one per processor, at most 8"},
    {"connections", KIND_COUNT, FIELD(connections), "4096", 1, 1000000, "N",
     "connections open at a time"},
    {"address-connections", KIND_COUNT, FIELD(address_connections), "1024", 1, 1000000, "N",
     "connections of one address; raise it behind a proxy"},
    {"sockets", KIND_COUNT, FIELD(sockets), "8192", 1, 1000000, "N",
     "realtime sockets open at a time"},
    {"address-sockets", KIND_COUNT, FIELD(address_sockets), "1024", 1, 1000000, "N",
     "realtime sockets of one client's address"},
    {"queue", KIND_COUNT, FIELD(queue), "8192", 1, 1000000, "N",
     "writes that may wait; more are answered 503"},
    {"batch", KIND_COUNT, FIELD(batch), "256", 1, 4096, "N", "writes in one commit"},
    {"writers", KIND_COUNT, FIELD(writers), "2", 1, 64, "N",
     "connections that write, where the store takes several"},
    {"user-rate", KIND_COUNT, FIELD(user_rate), "50", 0, 1000000, "N",
     "requests of a user in a second, four times as many at once; 0: no limit"},
    {"body-bytes", KIND_BYTES, FIELD(body_bytes), "4M", 1024, 64 * MIB, "SIZE",
     "longest request body"},
    {"header-timeout", KIND_TIME, FIELD(header_timeout_ms), "10s", 10, HOUR, "TIME",
     "for the header of a connection's first request"},
    {"body-timeout", KIND_TIME, FIELD(body_timeout_ms), "60s", 10, HOUR, "TIME",
     "for the body of a request"},
    {"reply-timeout", KIND_TIME, FIELD(reply_timeout_ms), "60s", 10, HOUR, "TIME",
     "for the client to read a reply"},
    {"idle-timeout", KIND_TIME, FIELD(idle_timeout_ms), "75s", 10, HOUR, "TIME",
     "between two requests of a connection"},
    {"socket-idle-timeout", KIND_TIME, FIELD(socket_idle_ms), "60s", 10, HOUR, "TIME",
     "between two messages of a realtime client"},
    {"socket-token-timeout", KIND_TIME, FIELD(socket_token_ms), "5s", 10, HOUR, "TIME",
     "for a realtime client to show a token"},
    {"socket-refusal-delay", KIND_TIME, FIELD(socket_refusal_ms), "2s", 0, HOUR, "TIME",
     "before a realtime handshake is refused"},
    {"join-refusal-delay", KIND_TIME, FIELD(join_refusal_ms), "5s", 0, HOUR, "TIME",
     "before the join of a realtime channel is refused"},
    {"drain-timeout", KIND_TIME, FIELD(drain_timeout_ms), "10s", 10, HOUR, "TIME",
     "for requests in flight after SIGTERM"},
    {"document-bytes", KIND_BYTES, FIELD(document_bytes), "256K", 64, 4 * MIB, "SIZE",
     "largest document"},
    {"depth", KIND_COUNT, FIELD(depth), "64", 1, 256, "N", "deepest nesting of a document"},
    {"keys", KIND_COUNT, FIELD(keys), "1000", 1, 1000000, "N", "documents of a user"},
    {"user-bytes", KIND_BYTES, FIELD(user_bytes), "16M", 1024, 1024 * MIB, "SIZE",
     "all documents of a user together"},
    {"history", KIND_COUNT, FIELD(history), "32", 0, 10000, "N", "kept changes of a document"},
    {"schema-dry-run", KIND_FLAG, FIELD(schema_dry_run), "false", 0, 0, NULL,
     "print which steps the schema in PostgreSQL lacks; run none"},
    {"routes", KIND_FLAG, FIELD(routes), "false", 0, 0, NULL,
     "print what can be asked, and by whom"},
    {"help", KIND_FLAG, FIELD(help), "false", 0, 0, NULL, "print this list"},
};

#define N_OPTIONS (sizeof options / sizeof options[0])

/* Where a value came from, for sentences: "--depth", "BQSYNC_DEPTH", "x.json: depth". */
struct source {
    const char *where;
    char *error;
    size_t error_size;
};

static void *field_of(struct server_config *config, const struct option *option)
{
    return (char *)config + option->offset;
}

/* Digits and a unit to a number; false where it is none or overflows. */
static bool read_number(struct slice text, const struct option *option, int64_t *out)
{
    int64_t value = 0;
    size_t i = 0;
    while (i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9' && value < INT64_MAX / 10000) {
        value = value * 10 + (text.ptr[i++] - '0');
    }
    struct slice unit = {text.ptr + i, text.len - i};
    int64_t factor = 0;
    if (i == 0) {
        return false;
    }
    if (option->kind == KIND_TIME) {
        factor = slice_is(unit, "ms") ? 1 : slice_is(unit, "s") ? SECOND
                 : slice_is(unit, "m") ? 60 * SECOND : slice_is(unit, "h") ? HOUR : 0;
    } else if (unit.len == 0) {
        factor = 1;
    } else if (option->kind == KIND_BYTES) {
        factor = slice_is(unit, "K") ? KIB : slice_is(unit, "M") ? MIB : 0;
    }
    if (factor == 0 || value > INT64_MAX / factor) {
        return false;
    }
    *out = value * factor;
    return true;
}

static const char *form_of(enum kind kind)
{
    switch (kind) {
    case KIND_TIME:
        return "a time such as 500ms, 10s, 5m or 1h";
    case KIND_BYTES:
        return "a size such as 4096, 256K or 4M";
    case KIND_COUNT:
        return "a whole number";
    case KIND_FLAG:
        return "true or false";
    case KIND_TEXT:
        break;
    }
    return "a text";
}

static int refuse_form(const struct source *source, const struct option *option)
{
    snprintf(source->error, source->error_size, "%s wants %s", source->where,
             form_of(option->kind));
    return BQ_INVALID;
}

static int set_number(struct server_config *config, const struct option *option, const char *text,
                      const struct source *source)
{
    int64_t value;
    if (!read_number(slice_of(text), option, &value)) {
        return refuse_form(source, option);
    }
    if (value < option->min || value > option->max) {
        const char *unit = option->kind == KIND_TIME ? " ms" : "";
        snprintf(source->error, source->error_size, "%s is %" PRId64 "%s to %" PRId64 "%s",
                 source->where, option->min, unit, option->max, unit);
        return BQ_INVALID;
    }
    *(int64_t *)field_of(config, option) = value;
    return BQ_OK;
}

static int set(struct server_config *config, const struct option *option, const char *text,
               const struct source *source)
{
    switch (option->kind) {
    case KIND_TEXT:
        if (text[0] == '\0') {
            return refuse_form(source, option);
        }
        *(const char **)field_of(config, option) = text;
        return BQ_OK;
    case KIND_FLAG:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
            return refuse_form(source, option);
        }
        *(bool *)field_of(config, option) = text[0] == 't';
        return BQ_OK;
    case KIND_COUNT:
    case KIND_BYTES:
    case KIND_TIME:
        break;
    }
    return set_number(config, option, text, source);
}

void config_init(struct server_config *config)
{
    char error[160];
    struct source source = {"default", error, sizeof error};
    *config = (struct server_config){0};
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if (options[i].value != NULL) {
            set(config, &options[i], options[i].value, &source);
        }
    }
}

/* The option of this name; between says what stands for its dashes, upper whether in capitals. */
static const struct option *find(struct slice name, char between, bool upper)
{
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const char *ours = options[i].name;
        size_t at = 0;
        while (at < name.len && ours[at] != '\0') {
            char c = ours[at] == '-' ? between : ours[at];
            c = upper && c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
            if (c != name.ptr[at]) {
                break;
            }
            at++;
        }
        if (at == name.len && ours[at] == '\0') {
            return &options[i];
        }
    }
    return NULL;
}

static int read_arguments(struct server_config *config, char *const *argv, bool only_config,
                          char *error, size_t error_size)
{
    uint64_t seen = 0;
    _Static_assert(N_OPTIONS <= 64, "one bit per option");
    for (size_t i = 1; argv[i] != NULL; i++) {
        const char *equals = strchr(argv[i], '=');
        size_t len = equals != NULL ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        const struct option *option =
            len > 2 && memcmp(argv[i], "--", 2) == 0
                ? find((struct slice){argv[i] + 2, len - 2}, '-', false) : NULL;
        if (option == NULL) {
            snprintf(error, error_size, "%.*s is no option of bqsync serve; see --help",
                     (int)(len > 60 ? 60 : len), argv[i]);
            return BQ_INVALID;
        }
        char where[64];
        struct source source = {where, error, error_size};
        snprintf(where, sizeof where, "--%s", option->name);
        uint64_t bit = UINT64_C(1) << (option - options);
        if ((seen & bit) != 0) {
            snprintf(error, error_size, "%s stands there twice", where);
            return BQ_INVALID;
        }
        seen |= bit;
        const char *value = equals != NULL ? equals + 1 : option->kind == KIND_FLAG ? "true"
                            : argv[++i];
        if (value == NULL) {
            return refuse_form(&source, option);
        }
        if (only_config && strcmp(option->name, "config") != 0) {
            continue;
        }
        int status = set(config, option, value, &source);
        if (status != BQ_OK) {
            return status;
        }
    }
    return BQ_OK;
}

/* BQSYNC_ variables of the client side of the program are not ours: unknown ones are passed
 * over. */
static int read_environment(struct server_config *config, char *const *environment,
                            bool only_config, char *error, size_t error_size)
{
    for (size_t i = 0; environment != NULL && environment[i] != NULL; i++) {
        const char *equals = strchr(environment[i], '=');
        if (equals == NULL || strncmp(environment[i], "BQSYNC_", 7) != 0) {
            continue;
        }
        struct slice name = {environment[i] + 7, (size_t)(equals - environment[i]) - 7};
        const struct option *option = find(name, '_', true);
        if (option == NULL || (only_config && strcmp(option->name, "config") != 0)) {
            continue;
        }
        char where[64];
        struct source source = {where, error, error_size};
        snprintf(where, sizeof where, "BQSYNC_%.*s", SLICE_FMT(name));
        int status = set(config, option, equals + 1, &source);
        if (status != BQ_OK) {
            return status;
        }
    }
    return BQ_OK;
}

/* One member of the file. Numbers may stand bare. */
static int read_member(struct arena *arena, struct server_config *config,
                       const struct json_member *member, const struct source *file)
{
    char where[256];
    struct source source = {where, file->error, file->error_size};
    struct slice name = json_text(&member->key);
    const struct option *option = find(name, '_', false);
    int shown = name.len > 60 ? 60 : (int)name.len;
    snprintf(where, sizeof where, "%s: \"%.*s\"", file->where, shown, name.ptr);
    if (option == NULL || strcmp(option->name, "config") == 0 ||
        strcmp(option->name, "schema-dry-run") == 0 || strcmp(option->name, "routes") == 0 ||
        strcmp(option->name, "help") == 0) {
        snprintf(source.error, source.error_size, "%s is no option; see bqsync.conf(5)", where);
        return BQ_INVALID;
    }
    struct slice text = SLICE("true");
    enum json_type type = (enum json_type)member->value.type;
    bool flag = option->kind == KIND_FLAG;
    if (flag ? type != JSON_TRUE && type != JSON_FALSE
             : type != JSON_STRING && !(type == JSON_NUMBER && option->kind != KIND_TEXT)) {
        return refuse_form(&source, option);
    }
    if (!flag) {
        text = arena_copy(arena, json_text(&member->value));
    } else if (type == JSON_FALSE) {
        text = SLICE("false");
    }
    return text.ptr == NULL ? BQ_NOMEM : set(config, option, text.ptr, &source);
}

static int read_file(struct arena *arena, struct server_config *config, char *error,
                     size_t error_size)
{
    struct buf text = BUF_INIT;
    struct json_value object;
    struct json_error where;
    struct source source = {config->config, error, error_size};
    int status = file_read(config->config, CONFIG_FILE_BYTES, &text, error, error_size);
    struct slice copy = status == BQ_OK ? arena_copy(arena, buf_slice(&text)) : SLICE_NONE;
    buf_release(&text);
    if (status != BQ_OK || copy.ptr == NULL) {
        return status != BQ_OK ? status : BQ_NOMEM;
    }
    status = json_parse(arena, copy, CONFIG_DEPTH, &object, &where);
    if (status != BQ_OK) {
        snprintf(error, error_size, "%s, line %u, column %u: %s", source.where, where.line,
                 where.column, where.what);
        return status == BQ_NOMEM ? BQ_NOMEM : BQ_INVALID;
    }
    if (object.type != JSON_OBJECT) {
        snprintf(error, error_size, "%s is no JSON object of options", source.where);
        return BQ_INVALID;
    }
    for (uint32_t i = 0; i < object.count && status == BQ_OK; i++) {
        status = read_member(arena, config, &object.members[i], &source);
    }
    return status;
}

int config_read(struct arena *arena, char *const *argv, char *const *environment,
                struct server_config *out, char *error, size_t error_size)
{
    struct server_config config;
    config_init(&config);
    /* First only where the file is; then everything, the strongest last. */
    int status = read_environment(&config, environment, true, error, error_size);
    if (status == BQ_OK) {
        status = read_arguments(&config, argv, true, error, error_size);
    }
    if (status == BQ_OK && config.config != NULL) {
        status = read_file(arena, &config, error, error_size);
    }
    if (status == BQ_OK) {
        status = read_environment(&config, environment, false, error, error_size);
    }
    if (status == BQ_OK) {
        status = read_arguments(&config, argv, false, error, error_size);
    }
    if (status == BQ_OK) {
        *out = config;
    }
    return status;
}

void config_help(struct buf *out)
{
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const struct option *option = &options[i];
        size_t start = out->len;
        buf_add_format(out, "  --%s%s%s", option->name, option->metavar == NULL ? "" : " ",
                       option->metavar == NULL ? "" : option->metavar);
        do {
            buf_add_char(out, ' ');
        } while (out->len - start < HELP_COLUMN && !out->failed);
        buf_add_text(out, option->help);
        if (option->value != NULL && option->kind != KIND_FLAG) {
            buf_add_format(out, " [%s]", option->value);
        }
        buf_add_char(out, '\n');
    }
}

struct limits config_limits(const struct server_config *config)
{
    struct limits limits = LIMITS_DEFAULT;
    limits.document_bytes = (size_t)config->document_bytes;
    limits.depth = (unsigned)config->depth;
    limits.keys = (unsigned)config->keys;
    limits.user_bytes = (size_t)config->user_bytes;
    limits.history = (unsigned)config->history;
    return limits;
}
