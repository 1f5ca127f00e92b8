/* steps.h - the decisions of a merge (struct merge_trace) as JSON and as lines for people. */
#ifndef CLI_STEPS_H
#define CLI_STEPS_H

#include "merge/merge.h"

/* "applied", "merged" or "kept". */
const char *steps_outcome_word(enum merge_outcome outcome);

/* Appends [{"path", "rule", "policy", "was", "now", "theirs", "result"}, ...]; absent values are
 * left out. */
void steps_print_json(struct buf *out, const struct merge_trace *trace);

/* Appends one line per step, each behind indent and with a line end: path, result, the rule by
 * name, and what it was decided from. */
void steps_print_text(struct buf *out, const struct merge_trace *trace, const char *indent);

/* Appends one line per value that the edit changed: path, before, after. */
void steps_print_changes(struct buf *out, const struct merge_trace *trace, const char *indent);

/* What a rule of docs/merge.md, section 4, says in a few words ("nobody else changed it"). */
const char *steps_rule_text(const char *rule);

#endif
