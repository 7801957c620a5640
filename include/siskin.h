/*
 * Siskin: runs encoder-decoder Transformers on devices, offline, from one file.
 *
 * How to build and link: docs/c-api.md. Programs: examples/c and examples/cpp.
 *
 * Text       is UTF-8. A `length` counts bytes; SISKIN_NUL_TERMINATED stands for "up to the NUL". What Siskin gives
 *            has a NUL behind it, and belongs to the handle that it was asked of.
 * Handles    are made by the functions that take a pointer to one, which set it to NULL where they fail, and are
 *            given back by their ..._free function, which takes NULL. To use a handle afterwards is undefined;
 *            debug builds of Siskin answer SISKIN_ERROR_INVALID_ARGUMENT. They are freed in any order: a translator
 *            keeps its model, a result needs neither.
 * Errors     are statuses. Where `error` is not NULL, *error is set: to NULL for SISKIN_OK, else to an error that has
 *            the message and must be freed. Free it before the variable is used again. NULL, where a function does
 *            not say that it takes NULL, is SISKIN_ERROR_INVALID_ARGUMENT.
 * Threads    A model, a result and an error may be used by any number of threads at once. A translator works for one
 *            call at a time, from whatever thread; another call meanwhile, also one from its own callback, is
 *            SISKIN_ERROR_BUSY. Cancel and resume may be called at any time. Nobody may use what is being freed.
 * Exceptions never leave Siskin: a defect of it is SISKIN_ERROR_INTERNAL, where it was built to unwind, as it is by
 *            default. No exception may leave a callback. Where there is no memory left for a small allocation, the
 *            process ends; the working memory of a request is refused with SISKIN_ERROR_MEMORY_LIMIT.
 */
#ifndef SISKIN_H
#define SISKIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version that this header belongs to. */
#define SISKIN_VERSION "0.1.0"

/* A length: the text ends before its first NUL. */
#define SISKIN_NUL_TERMINATED SIZE_MAX

typedef struct siskin_error siskin_error;
typedef struct siskin_model siskin_model;
typedef struct siskin_translator siskin_translator;
typedef struct siskin_result siskin_result;
typedef struct siskin_learner siskin_learner;

/* Numbers are never given a new meaning; later versions may add some. */
typedef enum siskin_status {
    SISKIN_OK = 0,
    /* The operating system could not read or map a file. */
    SISKIN_ERROR_IO = 1,
    /* The bytes are not a Siskin model at all. */
    SISKIN_ERROR_NOT_A_MODEL = 2,
    /* The file was written for a newer version of the format. */
    SISKIN_ERROR_NEWER_VERSION = 3,
    /* The file is damaged. */
    SISKIN_ERROR_CORRUPT = 4,
    /* The file is whole, but this version cannot run what it describes. */
    SISKIN_ERROR_SCHEMA = 5,
    /* The model has no vocabulary, or no token for a character, a word or a task. */
    SISKIN_ERROR_VOCABULARY = 6,
    SISKIN_ERROR_INVALID_UTF8 = 7,
    /* An option is out of range or contradicts another. */
    SISKIN_ERROR_INVALID_OPTION = 8,
    /* The input has more tokens than the model has positions. */
    SISKIN_ERROR_INPUT_TOO_LONG = 9,
    /* The request needs more memory than its limit, or than there is. */
    SISKIN_ERROR_MEMORY_LIMIT = 10,
    /* The model computed NaN or infinity. */
    SISKIN_ERROR_NON_FINITE = 11,
    /* siskin_translator_cancel was called, or a callback asked for it. */
    SISKIN_ERROR_CANCELLED = 12,
    /* NULL, a size that cannot be, or (in debug builds) a handle that was freed. */
    SISKIN_ERROR_INVALID_ARGUMENT = 13,
    /* Another call uses the translator. */
    SISKIN_ERROR_BUSY = 14,
    /* A defect of Siskin. Free the translator that met it. */
    SISKIN_ERROR_INTERNAL = 15,
    /* A lesson was not kept, because it would spoil other answers. */
    SISKIN_ERROR_REJECTED = 16
} siskin_status;

/* SISKIN_OK for NULL. */
siskin_status siskin_error_status(const siskin_error *error);

/* What went wrong, where, and what to do; "" for NULL. */
const char *siskin_error_message(const siskin_error *error);

void siskin_error_free(siskin_error *error);

/* The version of the library, as "0.1.0". */
const char *siskin_version(void);


/* ---- Models ---- */

/*
 * Reads a model file into memory and verifies its checksums. The path is bytes as the system takes them; on Windows
 * UTF-8.
 */
siskin_status siskin_model_open(const char *path, siskin_model **model, siskin_error **error);

/*
 * Maps a model file: starts at once, and processes share its memory. Checksums are not verified. Until the model and
 * every translator of it are freed, the file must not be changed or truncated in place: replace it by renaming.
 */
siskin_status siskin_model_map(const char *path, siskin_model **model, siskin_error **error);

#ifndef _WIN32
/*
 * As siskin_model_open and siskin_model_map, for `length` bytes from `offset` on of an open file, such as an asset of
 * an Android package that is stored without compression. The descriptor stays the caller's, who may close it as soon
 * as the function returns; open_fd moves its position. map_fd needs an offset that is a multiple of 4.
 */
siskin_status siskin_model_open_fd(int descriptor, uint64_t offset, uint64_t length, siskin_model **model,
                                   siskin_error **error);
siskin_status siskin_model_map_fd(int descriptor, uint64_t offset, uint64_t length, siskin_model **model,
                                  siskin_error **error);
#endif

/* Copies a model from memory and verifies its checksums. */
siskin_status siskin_model_copy(const void *bytes, size_t length, siskin_model **model, siskin_error **error);

/*
 * A model that stays where it is in memory, at an address that is a multiple of 4 (of 64 for speed). Checksums are not
 * verified. Until the model and every translator of it are freed, the bytes must neither change nor go away.
 */
siskin_status siskin_model_borrow(const void *bytes, size_t length, siskin_model **model, siskin_error **error);

/*
 * The model with an adapter file over it: what siskin_learner_save or `siskin learn` wrote. Both models may be used and
 * are freed; they share what the file of the model has.
 */
siskin_status siskin_model_with_adapter(const siskin_model *model, const char *path, siskin_model **adapted,
                                        siskin_error **error);

/* The instruction set that the model runs on, such as "avx2" or "neon-dotprod"; NULL for NULL. */
const char *siskin_model_isa(const siskin_model *model);

void siskin_model_free(siskin_model *model);


/* ---- Options ---- */

enum siskin_strategy {
    /* Greedy search if `beam` is 1, else beam search. */
    SISKIN_STRATEGY_SEARCH = 0,
    /* Random tokens, by `top_k`, `top_p`, `temperature` and `seed`; `beam` is not used. */
    SISKIN_STRATEGY_SAMPLE = 1
};

enum siskin_scores {
    /* Scores are NaN. Saves greedy search a little time. */
    SISKIN_SCORES_SKIP = 0,
    SISKIN_SCORES_TOTAL = 1
};

enum siskin_unit {
    /* A text is read as it is. */
    SISKIN_UNIT_LINE = 0,
    /* One sentence of a text is read at a time. */
    SISKIN_UNIT_SENTENCE = 1
};

enum siskin_long_input {
    /* An input with more tokens than the model has positions is SISKIN_ERROR_INPUT_TOO_LONG. */
    SISKIN_LONG_INPUT_REFUSE = 0,
    /* It is cut at white space until every part fits. */
    SISKIN_LONG_INPUT_SPLIT = 1,
    /* Its start is read; siskin_result_unread tells how much was not. */
    SISKIN_LONG_INPUT_TRUNCATE = 2
};

enum siskin_shortlist {
    /* The whole vocabulary is scored. */
    SISKIN_SHORTLIST_OFF = 0,
    /* Only tokens that the model's shortlist has for an input. */
    SISKIN_SHORTLIST_ON = 1,
    /* The same, with a second search where that missed a token; siskin_result_redone tells how often. */
    SISKIN_SHORTLIST_VERIFY = 2
};

/*
 * Options of a translator. Begin with siskin_model_options, which sets every field to what the model asks for, then
 * change what should be different:
 *
 *     siskin_options options;
 *     siskin_model_options(model, &options, sizeof options, NULL);
 *     options.beam = 4;
 *
 * Later versions add fields at the end; `size` tells them apart, so programs and libraries of different versions work
 * together. An option that is set and that an older library lacks is SISKIN_ERROR_INVALID_OPTION.
 */
typedef struct siskin_options {
    /* sizeof(siskin_options); set by siskin_model_options. */
    size_t size;
    /* Bytes of working memory, the model's own not counted; 0 is no limit. A batch is made smaller to fit; what does
     * not fit one by one is SISKIN_ERROR_MEMORY_LIMIT before anything is allocated. */
    uint64_t max_memory;
    /* The same seed gives the same samples. */
    uint64_t seed;
    /* Which task or language is asked for of a model with several, such as "de"; NULL is the model's default. */
    const char *task;
    /* Every output begins with this text; NULL is none. */
    const char *target_prefix;
    /* enum siskin_strategy. */
    uint32_t strategy;
    /* Hypotheses that are followed, 1 to 16. */
    uint32_t beam;
    /* Alternatives that are returned: 1 when greedy, up to beam * patience from a beam, up to 16 samples. */
    uint32_t n_best;
    /* Tokens before the output may end, and after which it ends in any case. */
    uint32_t min_length;
    uint32_t max_length;
    /* No sequence of this many tokens comes twice; 0 is off. */
    uint32_t no_repeat_ngram;
    /* Exponent of the length that divides a log-probability, 0 to 10; 0 prefers short outputs. */
    float length_penalty;
    /* Weight of the penalty for source tokens that nothing attends to, 0 to 10. */
    float coverage_penalty;
    /* A beam goes on until beam * patience hypotheses have finished, 1 to 16. */
    float patience;
    /* Makes tokens that the output has already less likely, up to 100; 1 is off. */
    float repetition_penalty;
    /* Samples are drawn from the top_k most probable tokens (0 is all), of these from the fewest whose probabilities
     * add up to top_p (up to 1), after the logits were divided by the temperature (above 0). */
    uint32_t top_k;
    float top_p;
    float temperature;
    /* enum siskin_scores, siskin_unit, siskin_long_input, siskin_shortlist. */
    uint32_t scores;
    uint32_t unit;
    uint32_t long_input;
    uint32_t shortlist;
    /* Inputs that a thread computes together, at most, and threads, which share out many inputs: they change speed and
     * memory, never a result. */
    uint32_t batch;
    uint32_t threads;
} siskin_options;

/* Sets all options to what the model asks for. `size` is sizeof(siskin_options). */
siskin_status siskin_model_options(const siskin_model *model, siskin_options *options, size_t size,
                                   siskin_error **error);


/* ---- Translators: any text-to-text task ---- */

/*
 * A translator; NULL options are those that the model asks for. It takes working memory with its first request, and
 * more for longer ones. For requests in parallel make one for each thread: they share the model.
 */
siskin_status siskin_translator_new(const siskin_model *model, const siskin_options *options,
                                    siskin_translator **translator, siskin_error **error);

/* The same for summarization: a document is read as a whole, or as much of its start as the model has positions for. */
siskin_status siskin_translator_new_summarizer(const siskin_model *model, const siskin_options *options,
                                               siskin_translator **translator, siskin_error **error);

/* Translates, or summarizes, one text. `text` may be NULL if `length` is 0. */
siskin_status siskin_translator_translate(siskin_translator *translator, const char *text, size_t length,
                                          siskin_result **result, siskin_error **error);

/*
 * Translates texts together; each answer is what its text alone gives. `lengths` may be NULL: all texts end with a
 * NUL. What is wrong with one text is the status of its answer; the others are answered.
 */
siskin_status siskin_translator_translate_batch(siskin_translator *translator, const char *const *texts,
                                                const size_t *lengths, size_t count, siskin_result **result,
                                                siskin_error **error);

/*
 * Hears of a part of the output: `length` bytes, and a NUL behind them, that are there until it returns. It returns 0
 * to go on; anything else cancels the request.
 */
typedef int (*siskin_text_callback)(const char *text, size_t length, void *user_data);

/*
 * As siskin_translator_translate, and hands out parts of the output as soon as they are certain: one behind the other
 * they are the text of the result. The callback runs on the calling thread.
 */
siskin_status siskin_translator_translate_streaming(siskin_translator *translator, const char *text, size_t length,
                                                    siskin_text_callback on_text, void *user_data,
                                                    siskin_result **result, siskin_error **error);

/*
 * Bytes of working memory for `batch` inputs of up to `source_tokens` tokens that are computed together: what
 * options.max_memory is held against. Allocates none of it.
 */
siskin_status siskin_translator_plan(siskin_translator *translator, size_t batch, size_t source_tokens,
                                     uint64_t *bytes, siskin_error **error);

/*
 * From any thread: the running request ends before its next step with SISKIN_ERROR_CANCELLED, and every later one too,
 * until siskin_translator_resume: a request that is about to begin cannot slip through. NULL does nothing.
 */
void siskin_translator_cancel(siskin_translator *translator);
void siskin_translator_resume(siskin_translator *translator);

void siskin_translator_free(siskin_translator *translator);


/* ---- Results ---- */

/* Number of texts that are answered: 1, or those of the batch. */
size_t siskin_result_count(const siskin_result *result);

/* Whether text `index` was answered, and why not; SISKIN_ERROR_INVALID_ARGUMENT if there is no such text. */
siskin_status siskin_result_status(const siskin_result *result, size_t index);

/* The message of a status that is an error, else NULL. */
const char *siskin_result_message(const siskin_result *result, size_t index);

/* Number of alternatives: up to options.n_best, at least 1; 0 if the text was not answered. */
size_t siskin_result_alternatives(const siskin_result *result, size_t index);

/*
 * Alternative `rank`, from 0 for the best one; NULL if there is none. *length, where `length` is not NULL, is set to
 * its bytes.
 */
const char *siskin_result_text(const siskin_result *result, size_t index, size_t rank, size_t *length);

/* Its score, the sum over the parts of the text that were read one by one; NaN if there is none. */
float siskin_result_score(const siskin_result *result, size_t index, size_t rank);

/* Tokens of the text that were not read: more than 0 only for SISKIN_LONG_INPUT_TRUNCATE. */
size_t siskin_result_unread(const siskin_result *result, size_t index);

/* Parts of the text that were searched twice, because the shortlist had missed a token. */
size_t siskin_result_redone(const siskin_result *result, size_t index);

void siskin_result_free(siskin_result *result);


/* ---- Learning: only in libraries that were built with the feature `learn` ---- */

/* Which sources an adapter is used for. */
enum siskin_reach {
    SISKIN_REACH_EVERYWHERE = 0,
    /* Those that have a word which several corrections translate alike, and the model otherwise: all others come out as
     * without the adapter, to the bit. */
    SISKIN_REACH_TERMS = 1
};

/*
 * A learner of corrections, over a model that stays as it is; if it has an adapter, what that has learned is learned on,
 * and the reach must be the same. Like a translator it works for one call at a time. `max_memory` bytes beside the model,
 * `threads`, and `seconds` of a lesson: 0 is the default (64 MiB, 1, 60). `reach` is an enum siskin_reach.
 */
siskin_status siskin_learner_new(const siskin_model *model, uint64_t max_memory, uint32_t threads, uint32_t seconds,
                                 int reach, siskin_learner **learner, siskin_error **error);

/*
 * Learns `count` pairs of source and target, which end with a NUL, together. A lesson that would spoil other answers is
 * SISKIN_ERROR_REJECTED, and the learner as it was.
 */
siskin_status siskin_learner_learn(siskin_learner *learner, const char *const *sources, const char *const *targets,
                                   size_t count, siskin_error **error);

/* Writes the adapter file: a reader finds the old one or the new one, never a part. */
siskin_status siskin_learner_save(siskin_learner *learner, const char *path, siskin_error **error);

void siskin_learner_free(siskin_learner *learner);

#ifdef __cplusplus
}
#endif

#endif
