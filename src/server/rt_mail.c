/* rt_mail.c - what an op changed, copied into one block, so that its request can go on.
 *
 * Layout: struct rt_mail, the changes, then all texts. */
#include "server/rt.h"

#include "base/mem.h"

/* Room behind the structs, and where it is used up to. */
struct packing {
    char *at;
};

static size_t text_bytes(const struct op *op)
{
    size_t n = 0;
    for (const struct op_change *change = op->changes; change != NULL; change = change->next) {
        if (!change->row.deleted) {
            n += change->row.key.len + change->row.data.len + change->row.device_id.len;
        }
    }
    return op->device == NULL ? n : n + op->device->device_id.len + op->device->info.len;
}

static uint32_t count_changes(const struct op *op)
{
    uint32_t n = 0;
    for (const struct op_change *change = op->changes; change != NULL; change = change->next) {
        n += !change->row.deleted;
    }
    return n;
}

static struct slice pack(struct packing *packing, struct slice text)
{
    if (text.ptr == NULL) {
        return SLICE_NONE;
    }
    struct slice copy = {packing->at, text.len};
    if (text.len > 0) {
        memcpy(packing->at, text.ptr, text.len);
    }
    packing->at += text.len;
    return copy;
}

static void pack_changes(struct packing *packing, const struct op *op, struct rt_mail *mail)
{
    for (const struct op_change *change = op->changes; change != NULL; change = change->next) {
        mail->documents = true;
        if (change->row.deleted) {
            continue; /* a tombstone is shown to nobody (docs/protocol.md 3.2) */
        }
        struct rt_change *copy = &mail->changes[mail->n_changes++];
        *copy = (struct rt_change){change->row, change->inserted};
        copy->row.receipts = SLICE_NONE;
        copy->row.key = pack(packing, change->row.key);
        copy->row.data = pack(packing, change->row.data);
        copy->row.device_id = pack(packing, change->row.device_id);
    }
}

struct rt_mail *rt_mail_of(const struct op *op, int64_t now_us)
{
    size_t n_bytes =
        sizeof(struct rt_mail) + count_changes(op) * sizeof(struct rt_change) + text_bytes(op);
    struct rt_mail *mail = mem_alloc(n_bytes);
    if (mail == NULL) {
        return NULL;
    }
    *mail = (struct rt_mail){.kind = RT_MAIL_CHANGES,
                             .bytes = n_bytes,
                             .user = op->user,
                             .moved = op->wrote,
                             .seq = op->seq,
                             .at_us = now_us,
                             .changes = (struct rt_change *)(void *)(mail + 1)};
    struct packing packing = {(char *)(mail->changes + count_changes(op))};
    pack_changes(&packing, op, mail);
    if (op->device != NULL) {
        mail->has_device = true;
        mail->device_inserted = op->device_inserted;
        mail->device = *op->device;
        mail->device.device_id = pack(&packing, op->device->device_id);
        mail->device.info = pack(&packing, op->device->info);
    }
    return mail;
}
