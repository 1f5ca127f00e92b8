/* print.c - a document as a line. */
#include "cli/print.h"

#include "cli/output.h"

void print_document(struct buf *out, const struct bq_document *document, bool with_data)
{
    struct buf time = BUF_INIT;
    output_time(&time, document->modified_ms);
    output_begin(out);
    output_text(out, "key", slice_of(document->key));
    output_int(out, "version", document->version);
    output_text(out, "state", slice_of(bq_state_word(document->state)));
    output_bool(out, "pending", document->pending != 0);
    output_text(out, "modified", buf_slice(&time));
    if (with_data) {
        output_raw(out, "data", (struct slice){document->json, document->json_len});
    }
    output_close(out);
    buf_release(&time);
}

void print_document_row(struct buf *out, const struct bq_document *document)
{
    buf_add_format(out, "%-24s %8lld  %-15s %-7s %8zu  ", document->key,
                   (long long)document->version, bq_state_word(document->state),
                   document->pending != 0 ? "pending" : "-", document->json_len);
    output_time(out, document->modified_ms);
}
