/* handshake.c - see handshake.h. */
#include "server/handshake.h"

#include "server/clock.h"

#define KEY_BYTES 4096u /* of an API key that is passed on */

static void refuse(struct handshake *out, unsigned http, const char *text)
{
    out->http = http;
    out->text = text;
}

static void refuse_late(struct handshake *out, unsigned http, const char *text)
{
    refuse(out, http, text);
    out->late = true;
}

/* 16 bytes in base64: 22 digits, of the last of which four bits are zero, and "==". */
static bool is_key(struct slice key)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (key.len != UPGRADE_KEY_TEXT - 1 || memcmp(key.ptr + 22, "==", 2) != 0) {
        return false;
    }
    for (size_t i = 0; i < 22; i++) {
        if (key.ptr[i] == '\0' || strchr(digits, key.ptr[i]) == NULL) {
            return false;
        }
    }
    return strchr("AQgw", key.ptr[21]) != NULL;
}

static bool is_upgrade(const struct head *head, struct handshake *out)
{
    if (!head->asks_upgrade || !head->to_websocket || !is_key(head->websocket_key) ||
        head->body_bytes > 0) {
        refuse(out, 400, "This is the address of WebSockets: the handshake of RFC 6455 is missing");
        return false;
    }
    if (!slice_is(head->websocket_version, "13")) {
        refuse(out, 426, "Sec-WebSocket-Version has to be 13");
        return false;
    }
    return true;
}

/* The form of the messages; absent means the older one. */
static bool read_vsn(const struct uri *uri, enum phx_vsn *out)
{
    struct slice vsn = uri_find(uri, "vsn");
    *out = slice_is(vsn, "2.0.0") ? PHX_V2 : PHX_V1;
    return vsn.ptr == NULL || *out == PHX_V2 || slice_is(vsn, "1.0.0");
}

static struct slice key_of(const struct head *head, const struct uri *uri)
{
    struct slice key = uri_find(uri, "apikey");
    return key.len > 0 ? key : head->x_api_key.len > 0 ? head->x_api_key : head->apikey;
}

void handshake_check(struct realtime *realtime, const struct head *head, const struct uri *uri,
                     struct slice address, struct handshake *out)
{
    const char *problem;
    *out = (struct handshake){.http = 101};
    if (!is_upgrade(head, out)) {
        return;
    }
    if (!read_vsn(uri, &out->guest.vsn)) {
        refuse(out, 403, NULL);
        return;
    }
    if (!realtime_identify(realtime, key_of(head, uri), clock_wall_us() / 1000000,
                           &out->guest.identity, &problem)) {
        refuse_late(out, 401, problem);
        return;
    }
    if (!realtime_has_room(realtime)) {
        refuse_late(out, 429, "Too many connected users");
        return;
    }
    out->guest.address = realtime_address(realtime, address);
    char key[UPGRADE_KEY_TEXT];
    memcpy(key, head->websocket_key.ptr, UPGRADE_KEY_TEXT - 1);
    key[UPGRADE_KEY_TEXT - 1] = '\0';
    upgrade_accept(key, out->accept);
}

static bool is_visible(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= ' ' || text.ptr[i] >= 0x7f) {
            return false;
        }
    }
    return true;
}

void handshake_name_caller(struct arena *arena, const struct head *head, const struct uri *uri,
                           struct slice address, struct handshake *out)
{
    struct slice key = key_of(head, uri);
    key = key.len <= KEY_BYTES && is_visible(key) ? key : SLICE("");
    char *text = head->via_us ? NULL : arena_zalloc(arena, key.len + address.len + 2, 1);
    if (text != NULL) {
        if (key.len > 0) {
            memcpy(text, key.ptr, key.len);
        }
        memcpy(text + key.len + 1, address.ptr, address.len);
        out->guest.caller = (struct slice){text, key.len + address.len + 2};
    }
}

bool handshake_send(struct MHD_Connection *connection, const struct handshake *handshake,
                    MHD_UpgradeHandler taken, void *cls)
{
    struct MHD_Response *response = MHD_create_response_for_upgrade(taken, cls);
    bool sent =
        response != NULL && MHD_add_response_header(response, "Upgrade", "websocket") == MHD_YES &&
        MHD_add_response_header(response, "Sec-WebSocket-Accept", handshake->accept) == MHD_YES &&
        MHD_queue_response(connection, MHD_HTTP_SWITCHING_PROTOCOLS, response) == MHD_YES;
    if (response != NULL) {
        MHD_destroy_response(response);
    }
    return sent;
}
