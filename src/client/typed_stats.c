/* typed_stats.c - game_stats: score, streaks, wrong answers. */
#include "base/status.h"
#include "client/typed.h"
#include "json/decimal.h"
#include "merge/merge.h"

int bq_game_stats_read(struct bq *bq, struct bq_game_stats *out)
{
    struct typed_view view;
    if (bq == NULL || out == NULL || !handle_sized(out->size, sizeof *out)) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = typed_open(bq, BQ_KEY_GAME_STATS, &view);
    if (status == BQ_OK) {
        struct json_value score = typed_field(&view, "score");
        struct json_value current = typed_field(&view, "currentStreak");
        struct json_value longest = typed_field(&view, "longestStreak");
        struct json_value incorrect = typed_field(&view, "incorrectAnswers");
        out->score = typed_number(&view, &score);
        out->current_streak = typed_number(&view, &current);
        out->longest_streak = typed_number(&view, &longest);
        out->incorrect_answers = typed_number(&view, &incorrect);
    }
    typed_close(&view);
    handle_leave(bq);
    return status;
}

int bq_game_stats_add_score(struct bq *bq, int64_t points)
{
    struct buf amount = BUF_INIT;
    if (bq == NULL) {
        return BQ_INVALID;
    }
    buf_add_int(&amount, points);
    struct engine_event event = {.type = ENGINE_INCREMENT,
                                 .key = SLICE(BQ_KEY_GAME_STATS),
                                 .path = SLICE("score"),
                                 .text = buf_slice(&amount)};
    handle_enter(bq);
    int status = amount.failed ? handle_fail(bq, BQ_NOMEM, "%s", status_text(BQ_NOMEM))
                               : handle_step(bq, &event);
    handle_leave(bq);
    buf_release(&amount);
    return status;
}

/* A counter of the document and one more. A value that is no number is not overwritten. */
static int one_more(struct bq *bq, struct typed_view *view, const char *name,
                    struct json_value *out)
{
    struct json_value value = typed_field(view, name);
    struct json_value one = json_int(&view->arena, 1);
    if (!json_is_absent(&value) && value.type != JSON_NUMBER) {
        return handle_fail(bq, BQ_INVALID, "%s is not a number", name);
    }
    int status =
        arena_failed(&view->arena) ? BQ_NOMEM : decimal_sum(&view->arena, &value, &one, NULL, out);
    return status == BQ_OK ? BQ_OK : handle_fail(bq, status, "%s", status_text(status));
}

static int answer_right(struct bq *bq, struct typed_view *view, struct buf *patch)
{
    struct json_value streak;
    struct json_value longest = typed_field(view, "longestStreak");
    int status = one_more(bq, view, "currentStreak", &streak);
    if (status != BQ_OK) {
        return status;
    }
    buf_add_text(patch, "{\"currentStreak\":");
    json_print(patch, &streak);
    if (longest.type != JSON_NUMBER || decimal_compare(&streak, &longest) > 0) {
        buf_add_text(patch, ",\"longestStreak\":");
        json_print(patch, &streak);
    }
    buf_add_char(patch, '}');
    return BQ_OK;
}

static int answer_wrong(struct bq *bq, struct typed_view *view, struct buf *patch)
{
    struct json_value count;
    int status = one_more(bq, view, "incorrectAnswers", &count);
    if (status == BQ_OK) {
        buf_add_text(patch, "{\"currentStreak\":0,\"incorrectAnswers\":");
        json_print(patch, &count);
        buf_add_char(patch, '}');
    }
    return status;
}

int bq_game_stats_answer(struct bq *bq, int correct)
{
    struct typed_view view;
    struct buf patch = BUF_INIT;
    if (bq == NULL) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = typed_open(bq, BQ_KEY_GAME_STATS, &view);
    if (status == BQ_OK) {
        status = correct != 0 ? answer_right(bq, &view, &patch) : answer_wrong(bq, &view, &patch);
    }
    if (status == BQ_OK) {
        status = typed_write(bq, ENGINE_PATCH, BQ_KEY_GAME_STATS, &patch);
    }
    typed_close(&view);
    handle_leave(bq);
    buf_release(&patch);
    return status;
}

/* Where the policy has an epoch field, a reset raises it, and so wins over late edits of other
 * devices (docs/merge.md, "Epoch"). */
static int add_epoch(struct bq *bq, struct typed_view *view, struct buf *patch)
{
    struct json_value value;
    const struct merge_policies *policies = NULL;
    struct slice text = engine_meta(bq->engine)->policies;
    if (text.ptr == NULL) {
        text = slice_of(merge_policies_shipped);
    }
    int status = json_parse(&view->arena, text, LIMIT_POLICY_DEPTH, &value, NULL);
    if (status == BQ_OK) {
        status = merge_policies_read(&view->arena, &value, &policies, NULL);
    }
    if (status != BQ_OK) {
        return handle_fail(bq, status, "%s", status_text(status));
    }
    const struct merge_policy *policy = merge_policies_find(policies, SLICE(BQ_KEY_GAME_STATS));
    int64_t epoch = merge_epoch(&view->document, policy);
    if (policy->epoch_field.ptr != NULL && epoch < LIMIT_EPOCH - 1) {
        buf_add_char(patch, ',');
        json_print_string(patch, policy->epoch_field);
        buf_add_char(patch, ':');
        buf_add_int(patch, epoch + 1);
    }
    return BQ_OK;
}

int bq_game_stats_reset(struct bq *bq)
{
    struct typed_view view;
    struct buf patch = BUF_INIT;
    if (bq == NULL) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = typed_open(bq, BQ_KEY_GAME_STATS, &view);
    if (status == BQ_OK) {
        buf_add_text(&patch, "{\"score\":0,\"currentStreak\":0,\"longestStreak\":0,"
                             "\"incorrectAnswers\":0");
        status = add_epoch(bq, &view, &patch);
        buf_add_char(&patch, '}');
    }
    if (status == BQ_OK) {
        status = typed_write(bq, ENGINE_PATCH, BQ_KEY_GAME_STATS, &patch);
    }
    typed_close(&view);
    handle_leave(bq);
    buf_release(&patch);
    return status;
}
