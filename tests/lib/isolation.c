/* isolation.c - see isolation.h: users, answers, and the walk over entries, roles and forgeries. */
#include "isolation.h"

#include "base/base64url.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_NUMBER 1000000000u /* ten digits, below 2^31 */
#define PASSWORD "a password of the tests"
#define SAID_BYTES 300u

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "isolation: %s\n", what);
        abort();
    }
}

const char *iso_role_name(enum iso_role role)
{
    static const char *const names[ISO_ROLES] = {
        "the owner",   "nobody",     "anon",     "another user",      "an expired token",
        "another aud", "another key", "no signature", "service_role", "a token swapped"};
    return names[role];
}

bool iso_failed(const struct iso *iso)
{
    return iso->n_untested + iso->n_reads + iso->n_writes + iso->n_canaries + iso->n_blind > 0;
}

bool iso_is_over(const struct iso *iso)
{
    return iso->quick && iso_failed(iso);
}

/* ---- Answers --------------------------------------------------------------------------------- */

void iso_call(struct iso *iso, const struct iso_request *request, struct iso_answer *out)
{
    *out = (struct iso_answer){.bytes = BUF_INIT};
    iso->n_requests++;
    iso->target->call(iso->target->cls, request, out);
}

void iso_answer_release(struct iso_answer *answer)
{
    buf_release(&answer->bytes);
}

static struct slice body_of(const struct iso_answer *answer)
{
    struct slice all = buf_slice(&answer->bytes);
    return (struct slice){all.ptr + answer->body_at, all.len - answer->body_at};
}

static bool has(struct slice bytes, const char *text)
{
    return memmem(bytes.ptr, bytes.len, text, strlen(text)) != NULL;
}

/* The text as base64url has it where `before` bytes stand in front of it: the characters that hang
 * on the text alone. */
static bool has_encoded(struct slice bytes, const char *text, size_t before)
{
    char padded[80];
    struct buf encoded = BUF_INIT;
    size_t n = strlen(text);
    must(n + before <= sizeof padded, "a canary is too long");
    memset(padded, 'x', before);
    memcpy(padded + before, text, n);
    n += before;
    n -= n % 3;
    base64url_print(&encoded, (struct slice){padded, n});
    size_t skip = before == 0 ? 0 : before + 1;
    bool found = memmem(bytes.ptr, bytes.len, encoded.ptr + skip, encoded.len - skip) != NULL;
    buf_release(&encoded);
    return found;
}

static bool shows(struct slice bytes, const char *text)
{
    return has(bytes, text) || has_encoded(bytes, text, 0) || has_encoded(bytes, text, 1) ||
           has_encoded(bytes, text, 2);
}

bool iso_sees(const struct iso_user *user, struct slice bytes, bool said_email)
{
    return shows(bytes, user->canary) || (!said_email && shows(bytes, user->email));
}

/* ---- Users ----------------------------------------------------------------------------------- */

static void expect(int status, const char *what)
{
    if (status / 100 != 2) {
        fprintf(stderr, "isolation: %s: %d\n", what, status);
        abort();
    }
}

int iso_rpc(struct iso *iso, const struct iso_user *user, const char *function, const char *body)
{
    char path[128];
    struct iso_answer answer;
    snprintf(path, sizeof path, "/rest/v1/rpc/%s", function);
    char *token = iso->target->token(iso->target->cls, ISO_OWNER, user->id);
    iso_call(iso, &(struct iso_request){"POST", path, token, NULL, body, NULL}, &answer);
    int status = answer.status;
    iso_answer_release(&answer);
    free(token);
    return status;
}

/* As the user's owner. */
__attribute__((format(printf, 4, 5))) static void own(struct iso *iso, const struct iso_user *user,
                                                      const char *function, const char *format,
                                                      ...)
{
    char body[2000];
    va_list args;
    va_start(args, format);
    vsnprintf(body, sizeof body, format, args);
    va_end(args);
    expect(iso_rpc(iso, user, function, body), function);
}

/* The text of a member at the top of a JSON answer, or wherever its name stands first. */
static void member(const struct iso_answer *answer, const char *name, char *out, size_t size)
{
    char start[64];
    struct slice body = body_of(answer);
    snprintf(start, sizeof start, "\"%s\":\"", name);
    const char *at = memmem(body.ptr, body.len, start, strlen(start));
    must(at != NULL, name);
    at += strlen(start);
    snprintf(out, size, "%.*s", (int)strcspn(at, "\""), at);
}

static void sign_up(struct iso *iso, struct iso_user *user)
{
    char body[512];
    struct iso_answer answer;
    snprintf(body, sizeof body,
             "{\"email\":\"%s\",\"password\":\"" PASSWORD "\",\"data\":{\"x\":\"%s-account\"}}",
             user->email, user->canary);
    iso_call(iso, &(struct iso_request){"POST", "/auth/v1/signup", NULL, NULL, body, NULL},
             &answer);
    expect(answer.status, "signup");
    member(&answer, "id", user->id, sizeof user->id);
    member(&answer, "refresh_token", user->refresh, sizeof user->refresh);
    iso_answer_release(&answer);
    user->account = true;
}

/* Documents, a device, a dead letter, v1's row and device. */
static void give(struct iso *iso, const struct iso_user *user)
{
    const char *c = user->canary;
    own(iso, user, "atomic_sync_upsert",
        "{\"p_user_id\":\"%s\",\"p_data_key\":\"%s\",\"p_data\":{\"x\":\"%s-doc\"},"
        "\"p_expected_version\":null,\"p_device_id\":\"%s\"}",
        user->id, user->key, c, user->device);
    own(iso, user, "atomic_sync_upsert",
        "{\"p_user_id\":\"%s\",\"p_data_key\":\"%s-key\",\"p_data\":{},"
        "\"p_expected_version\":null,\"p_device_id\":\"%s\"}",
        user->id, c, user->device);
    own(iso, user, "sync_report",
        "{\"p_device_id\":\"%s\",\"p_device_info\":{\"x\":\"%s-device\"},\"p_failed\":[{\"key\":"
        "\"%s\",\"op\":1,\"id\":\"00000000000000ff\",\"code\":\"too_large\",\"message\":"
        "\"%s-queue\",\"edit\":{\"x\":\"%s-queue\"},\"failed_at\":\"2026-01-01T00:00:00Z\"}]}",
        user->device, c, user->key, c, c);
    own(iso, user, "atomic_sync_data",
        "{\"target_user_id\":\"%s\",\"new_data\":{\"v1\":{\"value\":{\"x\":\"%s-v1\"},"
        "\"timestamp\":\"2026-01-01T00:00:00Z\"}}}",
        user->id, c);
    own(iso, user, "atomic_add_device",
        "{\"target_user_id\":\"%s\",\"device_id_param\":\"%s\",\"device_name_param\":\"%s-v1\","
        "\"device_type_param\":\"t\"}",
        user->id, user->device, c);
}

void iso_user_make(struct iso *iso, struct iso_user *out, char letter, bool account)
{
    unsigned long long n = ++iso->n;
    unsigned long long mixed = n * 0x9e3779b97f4a7c15ull;
    *out = (struct iso_user){.account = false};
    snprintf(out->id, sizeof out->id, "%c%c%c%c%c%c%c%c-0000-4000-8000-%012llx", letter, letter,
             letter, letter, letter, letter, letter, letter, n);
    snprintf(out->canary, sizeof out->canary, "cnry%c%016llx", letter, mixed);
    snprintf(out->email, sizeof out->email, "mail%c%016llx@example.com", letter, ~mixed);
    snprintf(out->device, sizeof out->device, "device-of-%c", letter);
    snprintf(out->key, sizeof out->key, "key-of-%c", letter);
    if (account) {
        sign_up(iso, out);
    }
    give(iso, out);
}

void iso_snapshot(struct iso *iso, const struct iso_user *user, struct buf *out)
{
    static const char *const paths[] = {
        "/rest/v1/user_sync_data_v2?order=data_key", "/rest/v1/user_sync_metadata?order=device_id",
        "/rest/v1/user_sync_queue?order=id",         "/rest/v1/user_sync_feed",
        "/rest/v1/user_sync_data",                   "/rest/v1/rpc/sync_policies",
        "/auth/v1/user",
    };
    buf_clear(out);
    if (iso->target->snapshot != NULL) {
        iso->target->snapshot(iso->target->cls, user->id, out);
        return;
    }
    char *token = iso->target->token(iso->target->cls, ISO_OWNER, user->id);
    size_t n = sizeof paths / sizeof paths[0] - !user->account;
    for (size_t i = 0; i < n; i++) {
        struct iso_answer answer;
        iso_call(iso, &(struct iso_request){"GET", paths[i], token, NULL, NULL, NULL}, &answer);
        buf_add_format(out, "%d ", answer.status);
        buf_add_slice(out, body_of(&answer));
        buf_add_char(out, '\n');
        iso_answer_release(&answer);
    }
    free(token);
}

void iso_init(struct iso *iso, const struct iso_target *target)
{
    *iso = (struct iso){.target = target, .n = FIRST_NUMBER, .baseline = BUF_INIT};
    iso_user_make(iso, &iso->a, 'a', target->has_accounts);
    iso_user_make(iso, &iso->b, 'b', target->has_accounts);
    iso_user_make(iso, &iso->spare, 'd', false);
}

void iso_release(struct iso *iso)
{
    buf_release(&iso->baseline);
}

/* ---- A request ------------------------------------------------------------------------------- */

/* What a request is made of: whose names stand where. */
struct asking {
    struct iso *iso;
    const struct iso_entry *entry;
    enum iso_role role;
    const struct iso_user *self;  /* the subject of the token */
    const struct iso_user *meant; /* whose id is named */
    const struct iso_user *names; /* whose other names are */
    bool capitals;                /* the id is written so */
    bool behind;                  /* on a connection on which A has just asked */
    char path[1024];
    struct buf fields;
    struct buf body;
    bool says_email;
};

static void add_id(const struct asking *asking, struct buf *out)
{
    for (const char *c = asking->meant->id; *c != '\0'; c++) {
        buf_add_char(out, asking->capitals && *c >= 'a' ? (char)(*c - 'a' + 'A') : *c);
    }
}

static void substitute(struct asking *asking, const char *text, struct buf *out)
{
    bool owner = asking->role == ISO_OWNER;
    for (; *text != '\0'; text++) {
        char letter = *text == '$' ? *++text : '\0';
        switch (letter) {
        case '\0':
            buf_add_char(out, *text);
            break;
        case 'U':
            add_id(asking, out);
            break;
        case 'D':
            buf_add_text(out, asking->names->device);
            break;
        case 'K':
            buf_add_text(out, asking->names->key);
            break;
        case 'E':
            buf_add_text(out, asking->names->email);
            asking->says_email = true;
            break;
        case 'W':
            buf_add_text(out, owner ? PASSWORD : "not the password");
            break;
        case 'R':
            buf_add_text(out, owner ? asking->self->refresh : asking->iso->b.refresh);
            break;
        default:
            must(letter == 'N', "an entry has an unknown placeholder");
            buf_add_format(out, "%llu", asking->iso->n);
        }
    }
}

/* The path with what stands for {name}, and the entry's own query. */
static void build_path(struct asking *asking)
{
    struct buf path = BUF_INIT;
    const char *brace = strchr(asking->entry->path, '{');
    size_t n = brace == NULL ? strlen(asking->entry->path) : (size_t)(brace - asking->entry->path);
    buf_add(&path, asking->entry->path, n);
    if (brace != NULL && strstr(asking->entry->path, "/admin/") != NULL) {
        add_id(asking, &path);
    } else if (brace != NULL) {
        buf_add_text(&path, "unknown");
    }
    if (asking->entry->query != NULL) {
        buf_add_char(&path, '?');
        substitute(asking, asking->entry->query, &path);
    }
    snprintf(asking->path, sizeof asking->path, "%.*s", (int)path.len, path.ptr);
    buf_release(&path);
}

static bool is_table(const struct iso_entry *entry)
{
    return strncmp(entry->path, "/rest/v1/", 9) == 0 && strchr(entry->path + 9, '/') == NULL;
}

__attribute__((format(printf, 2, 3))) static void add_query(struct asking *asking,
                                                            const char *format, ...)
{
    size_t n = strlen(asking->path);
    va_list args;
    asking->path[n] = strchr(asking->path, '?') == NULL ? '?' : '&';
    va_start(args, format);
    vsnprintf(asking->path + n + 1, sizeof asking->path - n - 1, format, args);
    va_end(args);
}

static void build(struct asking *asking)
{
    asking->iso->n++;
    build_path(asking);
    buf_clear(&asking->fields);
    buf_clear(&asking->body);
    asking->says_email = false;
    if (asking->entry->fields != NULL) {
        buf_add_text(&asking->fields, asking->entry->fields);
    }
    if (asking->entry->body != NULL) {
        substitute(asking, asking->entry->body, &asking->body);
    }
    if (asking->role == ISO_SERVICE && is_table(asking->entry)) {
        add_query(asking, "user_id=eq.%s", asking->meant->id);
    }
}

static void ask(struct asking *asking, enum iso_role role, struct iso_answer *out)
{
    struct iso *iso = asking->iso;
    char *token = iso->target->token(iso->target->cls, role, asking->self->id);
    char *behind = asking->behind
                       ? iso->target->token(iso->target->cls, ISO_OWNER, iso->a.id)
                       : NULL;
    const struct iso_request request = {
        asking->entry->method, asking->path, token,
        asking->fields.len > 0 ? asking->fields.ptr : NULL,
        asking->entry->body != NULL ? asking->body.ptr : NULL, behind};
    iso_call(iso, &request, out);
    free(token);
    free(behind);
}

static void release(struct asking *asking)
{
    buf_release(&asking->fields);
    buf_release(&asking->body);
}

/* ---- Controls -------------------------------------------------------------------------------- */

static void say(const struct asking *asking, const struct iso_answer *answer, const char *wrong)
{
    struct slice bytes = buf_slice(&answer->bytes);
    printf("WRONG %s: %s %s as %s\n  %s\n  -> %.*s\n", wrong, asking->entry->method, asking->path,
           iso_role_name(asking->role), asking->body.len > 0 ? asking->body.ptr : "",
           (int)(bytes.len < SAID_BYTES ? bytes.len : SAID_BYTES), bytes.ptr);
}

static bool control_shows(const struct asking *asking, struct slice body)
{
    char text[128];
    const char *wanted = asking->entry->shows;
    if (wanted == NULL) {
        return true;
    }
    if (strcmp(wanted, "$E") == 0) {
        return has(body, asking->self->email);
    }
    snprintf(text, sizeof text, "%s%s", asking->self->canary, wanted);
    return has(body, text);
}

/* Whether the control changed what it is there to change. Where a target sees everything, more may
 * change than the owner is shown. */
static bool control_writes(const struct iso *iso, const struct iso_entry *entry, bool changed)
{
    bool wanted = (entry->flags & ISO_WRITES) != 0;
    return changed == wanted || (changed && iso->target->snapshot != NULL);
}

/* The entry asked by who may, on somebody who owns one of everything. */
static void control(struct iso *iso, const struct iso_entry *entry)
{
    struct iso_user owner;
    struct iso_answer answer;
    struct buf before = BUF_INIT;
    struct buf after = BUF_INIT;
    bool nobody = entry->control == ISO_ROLES;
    iso_user_make(iso, &owner, 'c', (entry->flags & ISO_ACCOUNT) != 0);
    struct asking asking = {.iso = iso, .entry = entry, .role = ISO_OWNER, .self = &owner,
                            .meant = &owner, .names = &owner};
    build(&asking);
    iso_snapshot(iso, &owner, &before);
    ask(&asking, nobody ? ISO_OWNER : entry->control, &answer);
    iso_snapshot(iso, &owner, &after);
    bool changed = !slice_equal(buf_slice(&before), buf_slice(&after));
    if (answer.status != entry->status || !control_shows(&asking, body_of(&answer)) ||
        !control_writes(iso, entry, changed)) {
        iso->n_blind++;
        say(&asking, &answer, "control");
    }
    iso_answer_release(&answer);
    buf_release(&before);
    buf_release(&after);
    release(&asking);
}

/* ---- Forgeries ------------------------------------------------------------------------------- */

/* What a forgery needs to fit. */
enum fits {
    FITS_ID = 1,     /* the entry names a user, and the role has another one */
    FITS_BODY = 2,   /* a JSON object, or an array of one */
    FITS_TABLE = 4,  /* a table */
    FITS_CHEAP = 8,  /* not where a password is hashed */
    FITS_NAMED = 16, /* naming is forging: not for an operator */
};

struct forgery {
    const char *name;
    unsigned fits;
    void (*forge)(struct asking *asking); /* before or behind build(), as `early` says */
    bool early;
};

static void honest(struct asking *asking)
{
    (void)asking;
}

static void id(struct asking *asking)
{
    asking->meant = &asking->iso->a;
}

static void id_in_capitals(struct asking *asking)
{
    asking->meant = &asking->iso->a;
    asking->capitals = true;
}

static void names(struct asking *asking)
{
    asking->names = &asking->iso->a;
}

/* Puts text behind the first brace, or before the last one. */
static void insert(struct asking *asking, const char *text, bool last)
{
    struct buf body = BUF_INIT;
    struct slice old = buf_slice(&asking->body);
    size_t at = last ? (size_t)((const char *)memrchr(old.ptr, '}', old.len) - old.ptr)
                     : (size_t)((const char *)memchr(old.ptr, '{', old.len) - old.ptr) + 1;
    bool empty = old.ptr[strspn(old.ptr, "[{")] == '}';
    buf_add(&body, old.ptr, at);
    buf_add_text(&body, last && !empty ? "," : "");
    buf_add_text(&body, text);
    buf_add_text(&body, last || empty ? "" : ",");
    buf_add(&body, old.ptr + at, old.len - at);
    buf_release(&asking->body);
    asking->body = body;
}

static const char *user_member(const struct asking *asking)
{
    static const char *const members[] = {"p_user_id", "target_user_id", "user_id"};
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        if (strstr(asking->body.ptr, members[i]) != NULL) {
            return members[i];
        }
    }
    return "p_user_id";
}

static void insert_id(struct asking *asking, bool last)
{
    char text[128];
    snprintf(text, sizeof text, "\"%s\":\"%s\"", user_member(asking), asking->iso->a.id);
    insert(asking, text, last);
}

static void id_first(struct asking *asking)
{
    insert_id(asking, false);
}

static void id_last(struct asking *asking)
{
    insert_id(asking, true);
}

static void other_members(struct asking *asking)
{
    char text[400];
    const char *a = asking->iso->a.id;
    snprintf(text, sizeof text,
             "\"id\":\"%s\",\"sub\":\"%s\",\"user\":{\"id\":\"%s\"},\"role\":\"service_role\","
             "\"is_super_admin\":true",
             a, a, a);
    insert(asking, text, false);
}

static void query_equal(struct asking *asking)
{
    add_query(asking, "user_id=eq.%s", asking->iso->a.id);
}

static void query_in(struct asking *asking)
{
    add_query(asking, "user_id=in.(%s,%s)", asking->iso->a.id, asking->self->id);
}

static void query_or(struct asking *asking)
{
    add_query(asking, "or=(user_id.eq.%s,user_id.neq.%s)", asking->iso->a.id, asking->iso->a.id);
}

static void query_not(struct asking *asking)
{
    add_query(asking, "user_id=not.eq.%s&select=*", asking->self->id);
}

static void query_embed(struct asking *asking)
{
    add_query(asking, "select=*,user_sync_data_v2(*),user_sync_queue(*)");
}

static void query_parameters(struct asking *asking)
{
    const char *a = asking->iso->a.id;
    add_query(asking, "p_user_id=%s&target_user_id=%s&user=%s&id=%s&sub=%s&role=service_role", a,
              a, a, a, a);
}

static void header_user(struct asking *asking)
{
    const char *a = asking->iso->a.id;
    char *token = asking->iso->target->token(asking->iso->target->cls, ISO_OWNER, a);
    buf_add_format(&asking->fields,
                   "X-User-Id: %s\r\nX-Forwarded-User: %s\r\nX-Supabase-User: %s\r\n"
                   "Request.Jwt.Claims: {\"sub\":\"%s\",\"role\":\"authenticated\"}\r\n",
                   a, a, a, a);
    buf_add_text(&asking->fields, "Cookie: sb-access-token=");
    buf_add_text(&asking->fields, token);
    buf_add_text(&asking->fields, "\r\n");
    free(token);
}

static void header_role(struct asking *asking)
{
    buf_add_text(&asking->fields, "Role: service_role\r\nX-Role: service_role\r\n"
                                  "X-HTTP-Method-Override: GET\r\nX-Original-URL: "
                                  "/auth/v1/admin/users\r\nX-Forwarded-For: 127.0.0.1\r\n");
}

/* Puts text before the path's query. */
static void path_with(struct asking *asking, const char *prefix, const char *suffix)
{
    char path[sizeof asking->path];
    size_t n = strcspn(asking->path, "?");
    snprintf(path, sizeof path, "%s%.*s%s%s", prefix, (int)n, asking->path, suffix,
             asking->path + n);
    memcpy(asking->path, path, sizeof path);
}

static void path_id(struct asking *asking)
{
    char suffix[ISO_ID_SIZE + 2];
    snprintf(suffix, sizeof suffix, "/%s", asking->iso->a.id);
    path_with(asking, "", suffix);
}

static void connection(struct asking *asking)
{
    asking->behind = true;
}

static void path_around(struct asking *asking)
{
    path_with(asking, "/auth/v1/%2e%2e/%2e%2e", "");
}

static const struct forgery forgeries[] = {
    {"honest", FITS_CHEAP, honest, false},
    {"id", FITS_ID | FITS_NAMED, id, true},
    {"id in capitals", FITS_ID | FITS_NAMED, id_in_capitals, true},
    {"body: id first", FITS_ID | FITS_BODY | FITS_NAMED, id_first, false},
    {"body: id last", FITS_ID | FITS_BODY | FITS_NAMED, id_last, false},
    {"body: other members", FITS_BODY, other_members, false},
    {"names", 0, names, true},
    {"filter: equal", FITS_TABLE, query_equal, false},
    {"filter: in", FITS_TABLE, query_in, false},
    {"filter: or", FITS_TABLE, query_or, false},
    {"filter: not", FITS_TABLE, query_not, false},
    {"query: other tables", FITS_TABLE, query_embed, false},
    {"query: parameters", FITS_CHEAP | FITS_NAMED, query_parameters, false},
    {"header: user", FITS_CHEAP, header_user, false},
    {"header: role", FITS_CHEAP, header_role, false},
    {"path: id", FITS_CHEAP, path_id, false},
    {"path: around", FITS_CHEAP, path_around, false},
    {"connection of the owner", FITS_CHEAP, connection, false},
};

#define N_FORGERIES (sizeof forgeries / sizeof forgeries[0])

static bool names_user(const struct iso_entry *entry)
{
    return strstr(entry->path, "/admin/users/{") != NULL ||
           (entry->query != NULL && strstr(entry->query, "$U") != NULL) ||
           (entry->body != NULL && (strstr(entry->body, "$U") != NULL ||
                                    strstr(entry->path, "/rpc/") != NULL));
}

static bool fits(const struct forgery *forgery, const struct asking *asking)
{
    const struct iso_entry *entry = asking->entry;
    unsigned needs = forgery->fits;
    return !((needs & FITS_ID) != 0 &&
             (!names_user(entry) || asking->self == &asking->iso->a)) &&
           !((needs & FITS_BODY) != 0 && entry->body == NULL) &&
           !((needs & FITS_TABLE) != 0 && !is_table(entry)) &&
           !((needs & FITS_CHEAP) != 0 && (entry->flags & ISO_COSTLY) != 0) &&
           !(asking->iso->quick && (entry->flags & ISO_COSTLY) != 0) &&
           !((needs & FITS_NAMED) != 0 && asking->role == ISO_SERVICE);
}

/* Rows that were filtered for A's: there must be none, not even a number of them. */
static bool counts_rows(const struct asking *asking, const struct forgery *forgery,
                        const struct iso_answer *answer)
{
    struct slice header = {buf_slice(&answer->bytes).ptr, answer->body_at};
    return forgery->forge == query_equal && answer->status / 100 == 2 &&
           strstr(buf_slice(&asking->fields).ptr, "count=exact") != NULL &&
           !has(header, "Content-Range: */0");
}

static void attack(struct asking *asking, const struct forgery *forgery)
{
    struct iso *iso = asking->iso;
    struct iso_answer answer;
    asking->meant = asking->self;
    asking->names = asking->self;
    asking->capitals = false;
    asking->behind = false;
    if (forgery->early) {
        forgery->forge(asking);
    }
    build(asking);
    if (!forgery->early) {
        forgery->forge(asking);
    }
    ask(asking, asking->role, &answer);
    bool told = answer.status / 100 == 2 && has(body_of(&answer), iso->a.id);
    if (iso_sees(&iso->a, buf_slice(&answer.bytes), asking->says_email) || told ||
        counts_rows(asking, forgery, &answer)) {
        iso->n_reads++;
        say(asking, &answer, forgery->name);
    }
    if (answer.status == 0) {
        iso->n_blind++;
        say(asking, &answer, "no answer");
    }
    iso_answer_release(&answer);
}

static const struct iso_user *self_of(const struct iso *iso, enum iso_role role)
{
    return role == ISO_OTHER ? &iso->b : role == ISO_SERVICE ? &iso->spare : &iso->a;
}

static void check_writes(struct iso *iso, const char *behind)
{
    struct buf now = BUF_INIT;
    iso_snapshot(iso, &iso->a, &now);
    if (!slice_equal(buf_slice(&now), buf_slice(&iso->baseline))) {
        iso->n_writes++;
        printf("WRONG write: A's things differ behind %s\n  %.*s\n  %.*s\n", behind,
               (int)iso->baseline.len, iso->baseline.ptr, (int)now.len, now.ptr);
        buf_clear(&iso->baseline);
        buf_add_slice(&iso->baseline, buf_slice(&now));
    }
    buf_release(&now);
}

static void attack_entry(struct iso *iso, const struct iso_entry *entry)
{
    for (enum iso_role role = ISO_NONE; role <= ISO_SERVICE && !iso_is_over(iso); role++) {
        struct asking asking = {.iso = iso, .entry = entry, .role = role};
        asking.self = self_of(iso, role);
        for (size_t i = 0; i < N_FORGERIES && !iso_is_over(iso); i++) {
            if (fits(&forgeries[i], &asking) &&
                !(role == ISO_SERVICE && (entry->flags & ISO_OPERATOR) != 0)) {
                attack(&asking, &forgeries[i]);
                iso->used |= 1u << i;
            }
        }
        release(&asking);
    }
}

/* ---- The walk -------------------------------------------------------------------------------- */

struct line {
    struct slice method;
    struct slice path;
};

static bool next_line(const char **rest, struct line *out)
{
    const char *at = *rest;
    size_t n = strcspn(at, "\n");
    if (*at == '\0') {
        return false;
    }
    *rest = at + n + (at[n] == '\n');
    out->method = (struct slice){at, strcspn(at, " \n")};
    must(out->method.len < n, "the list of entries is not as it should be");
    at += out->method.len + 1;
    out->path = (struct slice){at, strcspn(at, " \n")};
    return true;
}

static void walk(struct iso *iso, void (*visit)(struct iso *iso, const struct iso_entry *entry),
                 bool checks)
{
    struct line line;
    for (const char *rest = iso->target->entries; next_line(&rest, &line) && !iso_is_over(iso);) {
        const struct iso_entry *entry;
        for (unsigned i = 0; (entry = iso_entry_find(line.method, line.path, i)) != NULL; i++) {
            if ((entry->flags & ISO_SOCKET) == 0 && !iso_is_over(iso)) {
                visit(iso, entry);
            }
        }
        if (checks && !iso_is_over(iso)) {
            char name[200];
            snprintf(name, sizeof name, "%.*s %.*s", SLICE_FMT(line.method), SLICE_FMT(line.path));
            check_writes(iso, name);
        }
    }
}

static void count_entries(struct iso *iso)
{
    struct line line;
    for (const char *rest = iso->target->entries; next_line(&rest, &line);) {
        iso->n_entries++;
        if (iso_entry_find(line.method, line.path, 0) == NULL) {
            iso->n_untested++;
            printf("WRONG entry without a test: %.*s %.*s\n", SLICE_FMT(line.method),
                   SLICE_FMT(line.path));
        }
    }
}

void iso_walk(struct iso *iso)
{
    count_entries(iso);
    if (!iso->quick) {
        walk(iso, control, false);
    }
    iso_snapshot(iso, &iso->a, &iso->baseline);
    walk(iso, attack_entry, true);
    iso->n_forgeries += (unsigned)__builtin_popcount(iso->used);
}

void iso_finish(struct iso *iso)
{
    char body[700];
    struct iso_answer answer;
    check_writes(iso, "everything");
    snprintf(body, sizeof body, "{\"target_user_id\":\"%s\",\"device_id_param\":\"%s\"}",
             iso->a.id, iso->a.device);
    char *token = iso->target->token(iso->target->cls, ISO_OWNER, iso->a.id);
    iso_call(iso,
             &(struct iso_request){"POST", "/rest/v1/rpc/atomic_remove_device", token, NULL, body,
                                   NULL},
             &answer);
    if (answer.status != 200 || !has(body_of(&answer), "true")) {
        iso->n_writes++;
        printf("WRONG write: A's device of v1 is gone\n");
    }
    iso_answer_release(&answer);
    free(token);
    if (iso->a.account) {
        snprintf(body, sizeof body, "{\"refresh_token\":\"%s\"}", iso->a.refresh);
        iso_call(iso,
                 &(struct iso_request){"POST", "/auth/v1/token?grant_type=refresh_token", NULL,
                                       NULL, body, NULL},
                 &answer);
        if (answer.status != 200) {
            iso->n_writes++;
            printf("WRONG write: A's session is gone\n");
        }
        iso_answer_release(&answer);
    }
}
