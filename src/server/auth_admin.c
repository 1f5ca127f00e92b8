/* auth_admin.c - the endpoints of operators, who come with service_role. */
#include "server/auth_impl.h"

#include "base/status.h"

#include <string.h>

#define PAGE_DEFAULT 50
#define PAGE_MAX 1000

/* The uuid at the end of the path. */
static bool named_user(struct auth_call *call)
{
    const char *slash = memrchr(call->in.path.ptr, '/', call->in.path.len);
    size_t skip = slash == NULL ? 0 : (size_t)(slash + 1 - call->in.path.ptr);
    struct slice id = {call->in.path.ptr + skip, call->in.path.len - skip};
    if (uuid_parse(id, &call->identity.user)) {
        return true;
    }
    (void)auth_refuse(call, 404, "validation_failed", "user_id must be an UUID");
    return false;
}

static int64_t number_of(const struct auth_call *call, const char *name, int64_t otherwise)
{
    struct slice text = uri_find(call->in.uri, name);
    int64_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9' || n > INT32_MAX / 10) {
            return otherwise;
        }
        n = n * 10 + (text.ptr[i] - '0');
    }
    return text.len == 0 ? otherwise : n;
}

/* Pages are by id; a page before is counted through. */
enum auth_step auth_list_users(struct auth_call *call)
{
    int64_t per_page = number_of(call, "per_page", PAGE_DEFAULT);
    int64_t page = number_of(call, "page", 1);
    per_page = per_page < 1 ? PAGE_DEFAULT : per_page > PAGE_MAX ? PAGE_MAX : per_page;
    page = page < 1 ? 1 : page;
    if (call->stage > 0 && (call->stage == page || auth_result_of(call)->list.n < per_page)) {
        if (call->stage < page) {
            call->op->out.account.list.n = 0;
        }
        return AUTH_ANSWER;
    }
    struct uuid last = {""};
    if (call->stage > 0) {
        last = auth_result_of(call)->list.items[auth_result_of(call)->list.n - 1].id;
    }
    struct account_call *account = auth_prepare(call, ACCOUNT_LIST);
    account->with_after = call->stage > 0;
    account->after = last;
    account->max = (uint32_t)per_page;
    return AUTH_READ;
}

enum auth_step auth_add_user(struct auth_call *call)
{
    switch (call->stage) {
    case 0:
        if (!auth_read_email(call, auth_text_of(call, "email"))) {
            return auth_refuse_email(call);
        }
        call->typed = auth_text_of(call, "password");
        if (!auth_check_password(call, call->typed)) {
            return AUTH_ANSWER;
        }
        call->password.make = true;
        return auth_hash(call, call->typed);
    case 1:
        return auth_write_account(call, ACCOUNT_ADD, auth_object_of(call, "user_metadata"));
    default:
        break;
    }
    return auth_outcome(call);
}

enum auth_step auth_show_user(struct auth_call *call)
{
    if (call->stage == 0 && !named_user(call)) {
        return AUTH_ANSWER;
    }
    return auth_get_user(call);
}

/* A ban_duration other than "none" bans for good: there is no clock to lift it. */
enum auth_step auth_change_user(struct auth_call *call)
{
    struct slice ban = auth_text_of(call, "ban_duration");
    struct account_call *account;
    switch (call->stage) {
    case 0:
        if (!named_user(call) || !auth_read_change(call)) {
            return AUTH_ANSWER;
        }
        call->password.make = true;
        return call->typed.ptr == NULL ? auth_next(call, BQ_OK) : auth_hash(call, call->typed);
    case 1:
        return auth_write_change(call, "user_metadata");
    case 2:
        if (auth_result_of(call)->outcome != ACCOUNT_DONE || ban.ptr == NULL) {
            break;
        }
        account = auth_prepare(call, ACCOUNT_DISABLE);
        account->disabled = !slice_is(ban, "none");
        return AUTH_WRITE;
    default:
        break;
    }
    return auth_outcome(call);
}

enum auth_step auth_delete_user(struct auth_call *call)
{
    if (call->stage > 0) {
        return auth_outcome(call);
    }
    if (!named_user(call)) {
        return AUTH_ANSWER;
    }
    auth_prepare(call, ACCOUNT_DELETE);
    return AUTH_WRITE;
}
