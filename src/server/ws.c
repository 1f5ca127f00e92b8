/* ws.c - see ws.h. wslay_frame_recv() gives the payload of a frame piece by piece, unmasked. */
#include "server/ws.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/utf8.h"

#include <wslay/wslay.h>

#define CONTROL_MAX 125u
#define KEEP_BYTES 4096u /* of the message buffer of an idle reader */

struct ws_reader {
    wslay_frame_context_ptr frames;
    const char *fed;
    size_t n_fed;
    uint64_t n_given;   /* bytes that wslay took */
    uint64_t n_counted; /* of them, bytes of whole frames */
    bool in_frame;
    bool in_message; /* a data message waits for its last fragment */
    uint8_t opcode;  /* of the frame */
    bool fin;
    uint64_t frame_len;
    uint64_t frame_left;
    enum ws_opcode kind; /* of the data message */
    struct buf message;
    char control[CONTROL_MAX];
    size_t n_control;
    unsigned n_frames;
};

static ssize_t take_fed(uint8_t *to, size_t len, int flags, void *cls)
{
    struct ws_reader *reader = cls;
    size_t n = len < reader->n_fed ? len : reader->n_fed;
    (void)flags;
    if (n == 0) {
        return -1;
    }
    memcpy(to, reader->fed, n);
    reader->fed += n;
    reader->n_fed -= n;
    reader->n_given += n;
    return (ssize_t)n;
}

int ws_reader_new(struct ws_reader **out)
{
    const struct wslay_frame_callbacks callbacks = {.recv_callback = take_fed};
    struct ws_reader *reader = mem_zalloc(1, sizeof *reader);
    if (reader == NULL) {
        return BQ_NOMEM;
    }
    if (wslay_frame_context_init(&reader->frames, &callbacks, reader) != 0) {
        mem_free(reader);
        return BQ_NOMEM;
    }
    *out = reader;
    return BQ_OK;
}

void ws_reader_free(struct ws_reader *reader)
{
    if (reader != NULL) {
        wslay_frame_context_free(reader->frames);
        buf_release(&reader->message);
        mem_free(reader);
    }
}

void ws_reader_feed(struct ws_reader *reader, const char *bytes, size_t len)
{
    reader->fed = bytes;
    reader->n_fed = len;
}

bool ws_reader_idle(const struct ws_reader *reader)
{
    return !reader->in_message && !reader->in_frame && reader->n_fed == 0 &&
           reader->n_given == reader->n_counted;
}

unsigned ws_reader_frames(struct ws_reader *reader)
{
    unsigned n = reader->n_frames;
    reader->n_frames = 0;
    return n;
}

bool ws_code_valid(unsigned code)
{
    return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
           (code >= 3000 && code <= 4999);
}

static enum ws_verdict broken(struct ws_message *out, unsigned code)
{
    *out = (struct ws_message){.code = code};
    return WS_BROKEN;
}

static bool is_control(uint8_t opcode)
{
    return (opcode & 8u) != 0;
}

/* 0, or the code to close with: may a frame like this come now? */
static unsigned begin_frame(struct ws_reader *reader, const struct wslay_frame_iocb *io,
                            size_t limit)
{
    bool known = io->opcode <= WS_BINARY || (io->opcode >= WS_CLOSE && io->opcode <= WS_PONG);
    if (io->rsv != 0 || !io->mask || !known) {
        return WS_CLOSE_PROTOCOL;
    }
    reader->in_frame = true;
    reader->opcode = io->opcode;
    reader->fin = io->fin;
    reader->frame_len = io->payload_length;
    reader->frame_left = io->payload_length;
    reader->n_frames++;
    if (is_control(io->opcode)) {
        reader->n_control = 0;
        return 0; /* wslay saw to its length and that it is whole */
    }
    if ((io->opcode == WS_CONTINUATION) != reader->in_message) {
        return WS_CLOSE_PROTOCOL;
    }
    if (io->opcode != WS_CONTINUATION) {
        reader->in_message = true;
        reader->kind = (enum ws_opcode)io->opcode;
        if (reader->message.size > KEEP_BYTES) {
            buf_release(&reader->message);
        }
        buf_clear(&reader->message);
    }
    return io->payload_length > limit || reader->message.len + io->payload_length > limit
               ? WS_CLOSE_TOO_BIG
               : 0;
}

static bool is_utf8(struct slice text)
{
    while (text.len > 0) {
        size_t n = utf8_length(text);
        if (n == 0) {
            return false;
        }
        text.ptr += n;
        text.len -= n;
    }
    return true;
}

static enum ws_verdict end_close(const struct ws_reader *reader, struct ws_message *out)
{
    const unsigned char *bytes = (const unsigned char *)reader->control;
    *out = (struct ws_message){.opcode = WS_CLOSE, .data = SLICE("")};
    if (reader->n_control == 0) {
        return WS_MESSAGE;
    }
    out->code = reader->n_control < 2 ? 0 : (unsigned)bytes[0] << 8 | bytes[1];
    if (!ws_code_valid(out->code)) {
        return broken(out, WS_CLOSE_PROTOCOL);
    }
    out->data = (struct slice){reader->control + 2, reader->n_control - 2};
    return is_utf8(out->data) ? WS_MESSAGE : broken(out, WS_CLOSE_TEXT);
}

/* The frame is whole. WS_MORE: go on. */
static enum ws_verdict end_frame(struct ws_reader *reader, struct ws_message *out)
{
    uint64_t len = reader->frame_len;
    reader->in_frame = false;
    reader->n_counted += len + 2 + 4 + (len > 65535 ? 8 : len > 125 ? 2 : 0);
    if (reader->opcode == WS_CLOSE) {
        return end_close(reader, out);
    }
    if (is_control(reader->opcode)) {
        *out = (struct ws_message){.opcode = (enum ws_opcode)reader->opcode,
                                   .data = {reader->control, reader->n_control}};
        return WS_MESSAGE;
    }
    if (!reader->fin) {
        return WS_MORE;
    }
    reader->in_message = false;
    if (reader->message.failed) {
        return broken(out, WS_CLOSE_TOO_BIG);
    }
    *out = (struct ws_message){.opcode = reader->kind, .data = buf_slice(&reader->message)};
    if (reader->kind == WS_TEXT && !is_utf8(out->data)) {
        return broken(out, WS_CLOSE_TEXT);
    }
    return WS_MESSAGE;
}

static void add_payload(struct ws_reader *reader, const struct wslay_frame_iocb *io)
{
    reader->frame_left -= io->data_length;
    if (!is_control(reader->opcode)) {
        buf_add(&reader->message, io->data, io->data_length);
    } else if (io->data_length > 0) {
        memcpy(reader->control + reader->n_control, io->data, io->data_length);
        reader->n_control += io->data_length;
    }
}

enum ws_verdict ws_read(struct ws_reader *reader, size_t limit, struct ws_message *out)
{
    for (;;) {
        struct wslay_frame_iocb io = {0};
        ssize_t n = wslay_frame_recv(reader->frames, &io);
        if (n == WSLAY_ERR_WANT_READ && reader->n_fed > 0) {
            continue; /* a header came in two pieces */
        }
        if (n == WSLAY_ERR_WANT_READ) {
            return WS_MORE;
        }
        if (n < 0) {
            return broken(out, WS_CLOSE_PROTOCOL);
        }
        unsigned code = reader->in_frame ? 0 : begin_frame(reader, &io, limit);
        if (code != 0) {
            return broken(out, code);
        }
        add_payload(reader, &io);
        enum ws_verdict verdict = reader->frame_left > 0 ? WS_MORE : end_frame(reader, out);
        if (verdict != WS_MORE) {
            return verdict;
        }
    }
}

size_t ws_header(enum ws_opcode opcode, size_t len, unsigned char out[WS_HEADER_BYTES])
{
    unsigned n_extended = len > 65535 ? 8 : len > 125 ? 2 : 0;
    out[0] = (unsigned char)(0x80u | (unsigned)opcode);
    out[1] = (unsigned char)(n_extended == 8 ? 127 : n_extended == 2 ? 126 : len);
    for (unsigned i = 0; i < n_extended; i++) {
        out[2 + i] = (unsigned char)((uint64_t)len >> (8 * (n_extended - 1 - i)));
    }
    return 2 + n_extended;
}
