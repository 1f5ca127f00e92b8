/* auth_json.c - see auth_json.h. Clients of two languages read these objects: members that they
 * look at are always there, times end with Z. */
#include "server/auth_json.h"

#include "base/status.h"
#include "base/timestamp.h"
#include "json/json.h"

#define US_PER_S INT64_C(1000000)

static void text(struct buf *out, const char *name, struct slice value)
{
    buf_add_format(out, "\"%s\":", name);
    if (value.ptr == NULL) {
        buf_add_text(out, "null");
    } else {
        json_print_string(out, value);
    }
}

/* "2026-11-23T10:00:00.123456Z" */
static void time_text(struct buf *out, const char *name, int64_t time_us)
{
    char printed[TIMESTAMP_TEXT];
    buf_add_format(out, ",\"%s\":", name);
    if (time_us == 0) {
        buf_add_text(out, "null");
        return;
    }
    size_t n = timestamp_print(time_us, printed);
    const char *offset = memchr(printed, '+', n);
    buf_add_char(out, '"');
    buf_add(out, printed, offset == NULL ? n : (size_t)(offset - printed));
    buf_add_text(out, "Z\"");
}

static bool is_anonymous(const struct store_account *account)
{
    return account->email.ptr == NULL;
}

static struct slice email_of(const struct store_account *account)
{
    return is_anonymous(account) ? SLICE("") : account->email;
}

static void print_app_metadata(struct buf *out, const struct store_account *account)
{
    buf_add_text(out, is_anonymous(account)
                          ? ",\"app_metadata\":{}"
                          : ",\"app_metadata\":{\"provider\":\"email\",\"providers\":[\"email\"]}");
}

static void print_identities(struct buf *out, const struct store_account *account)
{
    if (is_anonymous(account)) {
        buf_add_text(out, ",\"identities\":[]");
        return;
    }
    struct slice id = uuid_slice(&account->id);
    buf_add_text(out, ",\"identities\":[{");
    text(out, "identity_id", id);
    buf_add_char(out, ',');
    text(out, "id", id);
    buf_add_char(out, ',');
    text(out, "user_id", id);
    buf_add_text(out, ",\"identity_data\":{");
    text(out, "email", account->email);
    buf_add_text(out, ",\"email_verified\":false,\"phone_verified\":false,");
    text(out, "sub", id);
    buf_add_text(out, "},\"provider\":\"email\"");
    time_text(out, "last_sign_in_at", account->signed_in_us);
    time_text(out, "created_at", account->created_us);
    time_text(out, "updated_at", account->updated_us);
    buf_add_char(out, ',');
    text(out, "email", account->email);
    buf_add_text(out, "}]");
}

void auth_print_user(struct buf *out, const struct store_account *account)
{
    buf_add_char(out, '{');
    text(out, "id", uuid_slice(&account->id));
    buf_add_text(out, ",\"aud\":\"authenticated\",\"role\":\"authenticated\",");
    text(out, "email", email_of(account));
    if (!is_anonymous(account)) {
        time_text(out, "email_confirmed_at", account->created_us);
        time_text(out, "confirmed_at", account->created_us);
    }
    buf_add_text(out, ",\"phone\":\"\"");
    time_text(out, "last_sign_in_at", account->signed_in_us);
    print_app_metadata(out, account);
    buf_add_text(out, ",\"user_metadata\":");
    buf_add_slice(out, account->metadata);
    print_identities(out, account);
    time_text(out, "created_at", account->created_us);
    time_text(out, "updated_at", account->updated_us);
    if (account->disabled) {
        buf_add_text(out, ",\"banned_until\":\"9999-12-31T23:59:59Z\"");
    }
    buf_add_text(out,
                 is_anonymous(account) ? ",\"is_anonymous\":true}" : ",\"is_anonymous\":false}");
}

void auth_print_users(struct buf *out, const struct store_accounts *accounts)
{
    buf_add_text(out, "{\"users\":[");
    for (uint32_t i = 0; i < accounts->n; i++) {
        if (i > 0) {
            buf_add_char(out, ',');
        }
        auth_print_user(out, &accounts->items[i]);
    }
    buf_add_text(out, "],\"aud\":\"authenticated\"}");
}

/* ---- Sessions -------------------------------------------------------------------------------- */

static void print_claims(const struct auth *auth, const struct account_result *result,
                         int64_t now_s, struct buf *out)
{
    const struct store_account *account = &result->account;
    int64_t since_s = result->session.created_us / US_PER_S;
    buf_add_char(out, '{');
    text(out, "iss", slice_of(auth->issuer));
    buf_add_char(out, ',');
    text(out, "sub", uuid_slice(&account->id));
    buf_add_format(out, ",\"aud\":\"authenticated\",\"exp\":%lld,\"iat\":%lld,",
                   (long long)now_s + auth->ttl_s, (long long)now_s);
    text(out, "email", email_of(account));
    buf_add_text(out, ",\"phone\":\"\"");
    print_app_metadata(out, account);
    buf_add_text(out, ",\"user_metadata\":");
    buf_add_slice(out, account->metadata);
    buf_add_format(out,
                   ",\"role\":\"authenticated\",\"aal\":\"aal1\","
                   "\"amr\":[{\"method\":\"%s\",\"timestamp\":%lld}],",
                   is_anonymous(account) ? "anonymous" : "password", (long long)since_s);
    text(out, "session_id", uuid_slice(&result->session.id));
    buf_add_text(out,
                 is_anonymous(account) ? ",\"is_anonymous\":true}" : ",\"is_anonymous\":false}");
}

int auth_print_session(const struct auth *auth, const struct account_result *result, int64_t now_s,
                       struct buf *out)
{
    struct buf claims = BUF_INIT;
    print_claims(auth, result, now_s, &claims);
    buf_add_text(out, "{\"access_token\":\"");
    int status = claims.failed ? BQ_NOMEM : signer_sign(auth->signer, buf_slice(&claims), out);
    buf_release(&claims);
    buf_add_format(out,
                   "\",\"token_type\":\"bearer\",\"expires_in\":%lld,\"expires_at\":%lld,"
                   "\"refresh_token\":\"",
                   (long long)auth->ttl_s, (long long)now_s + auth->ttl_s);
    if (status == BQ_OK) {
        status =
            signer_print_refresh(auth->signer, &result->session.id, result->session.counter, out);
    }
    buf_add_text(out, "\",\"user\":");
    auth_print_user(out, &result->account);
    buf_add_char(out, '}');
    return out->failed ? BQ_NOMEM : status;
}

void auth_print_settings(const struct auth *auth, struct buf *out)
{
    static const char *const closed[] = {
        "apple",         "azure",  "bitbucket", "discord",    "facebook", "figma",
        "github",        "gitlab", "google",    "kakao",      "keycloak", "linkedin",
        "linkedin_oidc", "notion", "slack",     "slack_oidc", "spotify",  "twitch",
        "twitter",       "workos", "zoom",      "phone"};
    buf_add_text(out, "{\"external\":{\"email\":true,\"anonymous_users\":");
    buf_add_text(out, auth->allows_anonymous ? "true" : "false");
    for (size_t i = 0; i < sizeof closed / sizeof closed[0]; i++) {
        buf_add_format(out, ",\"%s\":false", closed[i]);
    }
    buf_add_format(out,
                   "},\"disable_signup\":%s,\"mailer_autoconfirm\":true,"
                   "\"phone_autoconfirm\":false,\"sms_provider\":\"\",\"saml_enabled\":false,"
                   "\"saml_private_key_next_configured\":false,\"passkeys_enabled\":false}",
                   auth->allows_sign_up ? "false" : "true");
}

/* ---- Errors ---------------------------------------------------------------------------------- */

/* Versions are dates; from this one on errors have the new form. */
#define NEW_ERRORS SLICE("2024-01-01")

static bool wants_new(const struct head *head)
{
    struct slice version = head->api_version;
    return version.len == NEW_ERRORS.len && memcmp(version.ptr, NEW_ERRORS.ptr, version.len) >= 0;
}

void auth_print_error(struct buf *out, const struct head *head, const struct auth_error *error,
                      bool *out_new)
{
    struct slice code = slice_of(error->code);
    *out_new = wants_new(head);
    buf_add_char(out, '{');
    if (*out_new) {
        text(out, "code", code);
        buf_add_char(out, ',');
        text(out, "message", slice_of(error->message));
    } else {
        buf_add_format(out, "\"code\":%u,", error->http);
        text(out, "error_code", code);
        buf_add_char(out, ',');
        text(out, "msg", slice_of(error->message));
    }
    if (error->weak != NULL) {
        buf_add_format(out, ",\"weak_password\":{\"reasons\":[\"%s\"],", error->weak);
        text(out, "message", slice_of(error->message));
        buf_add_char(out, '}');
    }
    buf_add_char(out, '}');
}
