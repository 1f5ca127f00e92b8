/* receipts.c - see receipts.h. */
#include "core/receipts.h"

#include "base/limits.h"
#include "base/plant.h"
#include "base/status.h"

#define RECEIPTS_FORMAT 1

/* ---- Packing ---- */

struct reader {
    const unsigned char *at;
    const unsigned char *end;
    bool failed;
};

static int64_t take_number(struct reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 63 && r->at < r->end; shift += 7) {
        unsigned char byte = *r->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            return (int64_t)value;
        }
    }
    r->failed = true;
    return 0;
}

static void add_number(struct buf *out, int64_t number)
{
    uint64_t value = (uint64_t)number;
    while (value >= 0x80) {
        buf_add_char(out, (char)(unsigned char)(value | 0x80));
        value >>= 7;
    }
    buf_add_char(out, (char)(unsigned char)value);
}

static unsigned nibble(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
}

static void add_id(struct buf *out, const char *id)
{
    for (unsigned i = 0; i < PROTO_ID_BYTES; i += 2) {
        buf_add_char(out, (char)(unsigned char)(nibble(id[i]) << 4 | nibble(id[i + 1])));
    }
}

static void take_id(struct reader *r, char *id)
{
    static const char digits[] = "0123456789abcdef";
    if (r->end - r->at < (int)PROTO_ID_BYTES / 2) {
        r->failed = true;
        return;
    }
    for (unsigned i = 0; i < PROTO_ID_BYTES; i += 2) {
        unsigned char byte = *r->at++;
        id[i] = digits[byte >> 4];
        id[i + 1] = digits[byte & 15];
    }
    id[PROTO_ID_BYTES] = '\0';
}

static void take_receipt(struct reader *r, struct receipt *out)
{
    out->op = take_number(r);
    out->version = take_number(r);
    out->code = (int)-take_number(r);
    out->day = take_number(r);
    take_id(r, out->id);
    if (r->failed || r->at == r->end) {
        r->failed = true;
        return;
    }
    size_t len = *r->at++;
    if ((size_t)(r->end - r->at) < len) {
        r->failed = true;
        return;
    }
    out->device_id = (struct slice){(const char *)r->at, len};
    r->at += len;
}

int receipts_read(struct arena *arena, struct slice packed, struct receipts *out)
{
    struct reader r = {(const unsigned char *)packed.ptr,
                       (const unsigned char *)packed.ptr + packed.len, false};
    *out = (struct receipts){0};
    if (packed.len == 0) {
        return BQ_OK;
    }
    if (packed.len < 2 || r.at[0] != RECEIPTS_FORMAT) {
        return BQ_CORRUPT;
    }
    out->evicted = r.at[1] != 0;
    r.at += 2;
    /* A receipt has at least 13 bytes, which bounds their number before they are read. */
    size_t most = (size_t)(r.end - r.at) / 13 + 1;
    out->items = arena_alloc(arena, most * sizeof *out->items);
    if (out->items == NULL) {
        return BQ_NOMEM;
    }
    while (r.at < r.end && out->n < most) {
        take_receipt(&r, &out->items[out->n]);
        if (r.failed) {
            return BQ_CORRUPT;
        }
        out->n++;
    }
    return r.at == r.end ? BQ_OK : BQ_CORRUPT;
}

void receipts_print(struct buf *out, const struct receipts *receipts)
{
    buf_add_char(out, RECEIPTS_FORMAT);
    buf_add_char(out, receipts->evicted ? 1 : 0);
    for (uint32_t i = 0; i < receipts->n; i++) {
        const struct receipt *receipt = &receipts->items[i];
        add_number(out, receipt->op);
        add_number(out, receipt->version);
        add_number(out, -(int64_t)receipt->code);
        add_number(out, receipt->day);
        add_id(out, receipt->id);
        buf_add_char(out, (char)(unsigned char)receipt->device_id.len);
        buf_add_slice(out, receipt->device_id);
    }
}

/* ---- Keeping ---- */

const struct receipt *receipts_find(const struct receipts *receipts, struct slice device_id)
{
    for (uint32_t i = 0; i < receipts->n; i++) {
        if (slice_equal(receipts->items[i].device_id, device_id)) {
            return &receipts->items[i];
        }
    }
    return NULL;
}

int receipts_put(struct arena *arena, struct receipts *receipts, const struct receipt *receipt)
{
    struct receipt *items = arena_alloc(arena, (receipts->n + 1) * sizeof *items);
    if (items == NULL) {
        return BQ_NOMEM;
    }
    uint32_t n = 0;
    items[n++] = *receipt;
    for (uint32_t i = 0; i < receipts->n; i++) {
        const struct receipt *old = &receipts->items[i];
        if (slice_equal(old->device_id, receipt->device_id)) {
            continue;
        }
        if (n == LIMIT_RECEIPTS || old->day < receipt->day - LIMIT_RECEIPT_DAYS) {
            receipts->evicted = true;
            continue;
        }
        items[n++] = *old;
    }
    receipts->items = items;
    receipts->n = n;
    return BQ_OK;
}

/* ---- Judging ---- */

enum receipt_verdict receipts_judge(const struct receipts *receipts, struct slice device_id,
                                    const struct proto_edit *edit)
{
    const struct receipt *last = receipts_find(receipts, device_id);
    if (last == NULL) {
        if (edit->prev == 0) {
            return RECEIPT_NEW;
        }
        return receipts->evicted ? RECEIPT_FORGOTTEN : RECEIPT_EVIDENCE;
    }
    if (edit->prev > last->op) {
        return RECEIPT_EVIDENCE;
    }
    bool same = slice_is(edit->id, last->id) || PLANTED(SETTLED_BY_NUMBER);
    if (edit->op == last->op && same) {
        return RECEIPT_DUPLICATE;
    }
    if (edit->op > last->op && (edit->edit.base == -1 || edit->edit.base >= last->version)) {
        return RECEIPT_NEW;
    }
    return PLANTED(REWOUND_APPLIED) ? RECEIPT_NEW : RECEIPT_REWOUND;
}
