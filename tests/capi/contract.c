/*
 * What include/siskin.h promises, checked through the C ABI: contract MODEL. Prints the number of checks; a check that
 * fails ends the program.
 */
#define _POSIX_C_SOURCE 200809L
#include <siskin.h>

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned checks = 0;

#define CHECK(condition)                                                                 \
    do {                                                                                 \
        checks++;                                                                        \
        if (!(condition)) {                                                              \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
            exit(EXIT_FAILURE);                                                          \
        }                                                                                \
    } while (0)

static const char *path;
static siskin_error *error;

/* Whether a call gave `expected`, and an error that says so and has the words. */
static int fails(siskin_status status, siskin_status expected, const char *words) {
    int holds = status == expected && error != NULL && siskin_error_status(error) == expected &&
                strstr(siskin_error_message(error), words) != NULL;
    if (!holds) {
        fprintf(stderr, "status %d, not %d: %s\n", (int)status, (int)expected, siskin_error_message(error));
    }
    siskin_error_free(error);
    error = NULL;
    return holds;
}

#define FAILS(call, expected, words) CHECK(fails(call, expected, words))
#define WORKS(call) CHECK((call) == SISKIN_OK && error == NULL)

static siskin_model *open_model(void) {
    siskin_model *model;
    WORKS(siskin_model_open(path, &model, &error));
    return model;
}

static siskin_translator *make_translator(const siskin_model *model, const siskin_options *options) {
    siskin_translator *translator;
    WORKS(siskin_translator_new(model, options, &translator, &error));
    return translator;
}

static siskin_options model_options(const siskin_model *model) {
    siskin_options options;
    WORKS(siskin_model_options(model, &options, sizeof options, &error));
    CHECK(options.size == sizeof options);
    return options;
}

/* The whole of a file, with `before` bytes in front. */
static unsigned char *read_file(size_t before, size_t *length) {
    FILE *file = fopen(path, "rb");
    unsigned char *bytes;
    CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
    *length = (size_t)ftell(file);
    rewind(file);
    bytes = malloc(before + *length);
    CHECK(bytes != NULL);
    memset(bytes, 'x', before);
    CHECK(fread(bytes + before, 1, *length, file) == *length);
    fclose(file);
    return bytes;
}

/* The same text from a model that was opened another way. */
static void same_answer(siskin_model *model, const char *expected) {
    siskin_translator *translator = make_translator(model, NULL);
    siskin_result *result;
    siskin_model_free(model); /* The translator keeps it. */
    WORKS(siskin_translator_translate(translator, "Good morning!", 13, &result, &error));
    siskin_translator_free(translator); /* The result needs neither. */
    CHECK(strcmp(siskin_result_text(result, 0, 0, NULL), expected) == 0);
    siskin_result_free(result);
}

static void every_way_to_open_gives_the_same_model(const char *expected) {
    siskin_model *model;
    size_t length, before = 4 * 1021;
    unsigned char *bytes = read_file(before, &length);
    char name[] = "/tmp/siskin-capi-XXXXXX";
    int descriptor = mkstemp(name);

    same_answer(open_model(), expected);
    WORKS(siskin_model_map(path, &model, &error));
    same_answer(model, expected);
    WORKS(siskin_model_copy(bytes + before, length, &model, &error));
    same_answer(model, expected);

    CHECK(descriptor >= 0 && write(descriptor, bytes, before + length) == (ssize_t)(before + length));
    WORKS(siskin_model_open_fd(descriptor, before, length, &model, &error));
    same_answer(model, expected);
    WORKS(siskin_model_map_fd(descriptor, before, length, &model, &error));
    same_answer(model, expected);
    FAILS(siskin_model_open_fd(descriptor, 0, length, &model, &error), SISKIN_ERROR_NOT_A_MODEL, "");
    CHECK(model == NULL);
    FAILS(siskin_model_map_fd(descriptor, before, length + 1, &model, &error), SISKIN_ERROR_INVALID_OPTION, "bytes");
    FAILS(siskin_model_map_fd(descriptor, UINT64_MAX, 2, &model, &error), SISKIN_ERROR_INVALID_ARGUMENT, "offset");
    FAILS(siskin_model_open_fd(-1, 0, length, &model, &error), SISKIN_ERROR_INVALID_ARGUMENT, "descriptor -1");
    CHECK(lseek(descriptor, 0, SEEK_SET) == 0 && write(descriptor, bytes + before - 2, length + 2) > 0);
    FAILS(siskin_model_map_fd(descriptor, 2, length, &model, &error), SISKIN_ERROR_INVALID_OPTION, "multiple of 4");
    WORKS(siskin_model_open_fd(descriptor, 2, length, &model, &error));
    CHECK(close(descriptor) == 0 && unlink(name) == 0);
    same_answer(model, expected);
    FAILS(siskin_model_open_fd(descriptor, 0, length, &model, &error), SISKIN_ERROR_IO, "descriptor");

    memmove(bytes, bytes + before, length);
    WORKS(siskin_model_borrow(bytes, length, &model, &error));
    same_answer(model, expected);
    FAILS(siskin_model_borrow(bytes + 1, length - 1, &model, &error), SISKIN_ERROR_INVALID_OPTION, "multiple of 4");
    bytes[length - 1] ^= 1;
    FAILS(siskin_model_copy(bytes, length, &model, &error), SISKIN_ERROR_CORRUPT, "");
    FAILS(siskin_model_copy(bytes, length / 2, &model, &error), SISKIN_ERROR_CORRUPT, "");
    FAILS(siskin_model_copy("hello", 5, &model, &error), SISKIN_ERROR_NOT_A_MODEL, "");
    FAILS(siskin_model_copy(bytes, SIZE_MAX, &model, &error), SISKIN_ERROR_INVALID_ARGUMENT, "length");
    free(bytes);
    FAILS(siskin_model_open("no/such/file", &model, &error), SISKIN_ERROR_IO, "no/such/file");
    FAILS(siskin_model_map("/", &model, &error), SISKIN_ERROR_IO, "");
    CHECK(model == NULL);
}

static void null_is_an_error(void) {
    siskin_model *model = open_model();
    siskin_translator *translator = make_translator(model, NULL);
    siskin_options options = model_options(model);
    siskin_model *no_model;
    siskin_translator *no_translator;
    siskin_result *result;
    uint64_t bytes;
    const siskin_status null = SISKIN_ERROR_INVALID_ARGUMENT;
    const char *text = "a";

    FAILS(siskin_model_open(NULL, &no_model, &error), null, "path is NULL");
    CHECK(no_model == NULL);
    FAILS(siskin_model_open(path, NULL, &error), null, "model is NULL");
    CHECK(siskin_model_open(NULL, NULL, NULL) == null);
    FAILS(siskin_model_copy(NULL, 5, NULL, &error), null, "NULL");
    FAILS(siskin_model_options(NULL, &options, sizeof options, &error), null, "model is NULL");
    FAILS(siskin_model_options(model, NULL, sizeof options, &error), null, "options is NULL");
    FAILS(siskin_translator_new(NULL, NULL, &no_translator, &error), null, "model is NULL");
    CHECK(no_translator == NULL);
    FAILS(siskin_translator_new(model, NULL, NULL, &error), null, "translator is NULL");
    FAILS(siskin_translator_translate(NULL, "a", 1, &result, &error), null, "translator is NULL");
    CHECK(result == NULL);
    FAILS(siskin_translator_translate(translator, NULL, 1, &result, &error), null, "text is NULL");
    FAILS(siskin_translator_translate(translator, NULL, SISKIN_NUL_TERMINATED, &result, &error), null, "text is NULL");
    FAILS(siskin_translator_translate(translator, "a", 1, NULL, &error), null, "result is NULL");
    FAILS(siskin_translator_translate(translator, "a", SIZE_MAX - 1, &result, &error), null, "length");
    FAILS(siskin_translator_translate_batch(translator, NULL, NULL, 1, &result, &error), null, "texts is NULL");
    FAILS(siskin_translator_translate_batch(translator, &text, NULL, SIZE_MAX, &result, &error), null, "texts");
    FAILS(siskin_translator_translate_streaming(translator, "a", 1, NULL, NULL, &result, &error), null, "on_text");
    FAILS(siskin_translator_plan(translator, 1, 1, NULL, &error), null, "bytes is NULL");
    FAILS(siskin_translator_plan(NULL, 1, 1, &bytes, &error), null, "translator is NULL");

    CHECK(siskin_error_status(NULL) == SISKIN_OK && strcmp(siskin_error_message(NULL), "") == 0);
    CHECK(siskin_model_isa(NULL) == NULL && siskin_result_count(NULL) == 0);
    CHECK(siskin_result_status(NULL, 0) == null && siskin_result_message(NULL, 0) == NULL);
    CHECK(siskin_result_text(NULL, 0, 0, NULL) == NULL && isnan(siskin_result_score(NULL, 0, 0)));
    CHECK(siskin_result_alternatives(NULL, 0) == 0 && siskin_result_unread(NULL, 0) == 0);
    CHECK(siskin_result_redone(NULL, 0) == 0);
    siskin_translator_cancel(NULL);
    siskin_translator_resume(NULL);
    siskin_error_free(NULL);
    siskin_model_free(NULL);
    siskin_translator_free(NULL);
    siskin_result_free(NULL);

    siskin_translator_free(translator);
    siskin_model_free(model);
}

static void bad_options_are_errors(void) {
    siskin_model *model = open_model();
    siskin_translator *translator;
    const siskin_options good = model_options(model);
    const siskin_status invalid = SISKIN_ERROR_INVALID_OPTION, argument = SISKIN_ERROR_INVALID_ARGUMENT;
    struct {
        siskin_options known;
        uint64_t later;
    } newer;

#define BAD(field, value, expected, words)                                               \
    do {                                                                                 \
        siskin_options bad = good;                                                       \
        bad.field = value;                                                               \
        FAILS(siskin_translator_new(model, &bad, &translator, &error), expected, words); \
    } while (0)
    BAD(size, 0, argument, "size is 0");
    BAD(size, 12, argument, "size is 12");
    BAD(size, SIZE_MAX, argument, "size");
    BAD(strategy, 2, invalid, "strategy is 2");
    BAD(scores, 7, invalid, "scores is 7");
    BAD(unit, UINT32_MAX, invalid, "unit is 4294967295");
    BAD(long_input, 3, invalid, "long_input is 3");
    BAD(shortlist, 3, invalid, "shortlist is 3");
    BAD(beam, 0, invalid, "size is 0");
    BAD(beam, 17, invalid, "size is 17");
    BAD(n_best, 0, invalid, "n_best is 0");
    BAD(max_length, 0, invalid, "max_length is 0");
    BAD(length_penalty, (float)NAN, invalid, "length_penalty");
    BAD(repetition_penalty, -1.0f, invalid, "repetition_penalty");
    BAD(batch, 0, invalid, "batch is 0");
    BAD(threads, 0, invalid, "threads is 0");
    BAD(task, "no such task", SISKIN_ERROR_VOCABULARY, "no such task");
    BAD(task, "\xff", SISKIN_ERROR_INVALID_UTF8, "task");
    BAD(target_prefix, "a\xc3", SISKIN_ERROR_INVALID_UTF8, "from byte 1");

    FAILS(siskin_model_options(model, &newer.known, 8, &error), argument, "size is 8");
    FAILS(siskin_model_options(model, &newer.known, SIZE_MAX, &error), argument, "size");
    /* A program whose header is newer than the library. */
    memset(&newer, 0xff, sizeof newer);
    WORKS(siskin_model_options(model, &newer.known, sizeof newer, &error));
    CHECK(newer.known.size == sizeof newer && newer.later == 0);
    siskin_translator_free(make_translator(model, &newer.known));
    newer.later = 1;
    FAILS(siskin_translator_new(model, &newer.known, &translator, &error), invalid, "lacks");
    siskin_model_free(model);
}

static void text_in_and_text_out(void) {
    siskin_model *model = open_model();
    siskin_options options = model_options(model);
    siskin_translator *translator = make_translator(model, NULL);
    siskin_result *result;
    siskin_status status;
    size_t length;
    const char *texts[] = {"Good morning!", "a\xff", NULL, "Good morning! This is not read."};
    const size_t lengths[] = {SISKIN_NUL_TERMINATED, 2, 0, 13};

    FAILS(siskin_translator_translate(translator, "caf\xe9", 4, &result, &error), SISKIN_ERROR_INVALID_UTF8, "byte 3");
    {
        /* One word of 16 MB. */
        const size_t huge = (size_t)1 << 24;
        char *word = malloc(huge);
        siskin_translator *refusing;
        CHECK(word != NULL);
        memset(word, 'x', huge);
        options.long_input = SISKIN_LONG_INPUT_REFUSE;
        refusing = make_translator(model, &options);
        FAILS(siskin_translator_translate(refusing, word, huge, &result, &error), SISKIN_ERROR_INPUT_TOO_LONG, "");
        siskin_translator_free(refusing);
        free(word);
    }
    WORKS(siskin_translator_translate(translator, NULL, 0, &result, &error));
    CHECK(siskin_result_alternatives(result, 0) == 1);
    CHECK(strcmp(siskin_result_text(result, 0, 0, &length), "") == 0 && length == 0);
    siskin_result_free(result);

    WORKS(siskin_translator_translate_batch(translator, texts, lengths, 4, &result, &error));
    CHECK(siskin_result_count(result) == 4);
    CHECK(siskin_result_status(result, 0) == SISKIN_OK && siskin_result_message(result, 0) == NULL);
    CHECK(siskin_result_status(result, 1) == SISKIN_ERROR_INVALID_UTF8);
    CHECK(strstr(siskin_result_message(result, 1), "text 1 is no UTF-8 from byte 1") != NULL);
    CHECK(siskin_result_text(result, 1, 0, &length) == NULL && length == 0);
    CHECK(strcmp(siskin_result_text(result, 2, 0, NULL), "") == 0);
    CHECK(strcmp(siskin_result_text(result, 3, 0, &length), siskin_result_text(result, 0, 0, NULL)) == 0);
    CHECK(length == strlen(siskin_result_text(result, 0, 0, NULL)) && length > 5);
    CHECK(siskin_result_score(result, 3, 0) == siskin_result_score(result, 0, 0));
    CHECK(siskin_result_status(result, 4) == SISKIN_ERROR_INVALID_ARGUMENT);
    CHECK(siskin_result_text(result, 0, 1, NULL) == NULL && isnan(siskin_result_score(result, 0, 1)));
    siskin_result_free(result);
    WORKS(siskin_translator_translate_batch(translator, NULL, NULL, 0, &result, &error));
    CHECK(siskin_result_count(result) == 0 && siskin_result_text(result, 0, 0, NULL) == NULL);
    siskin_result_free(result);
    siskin_translator_free(translator);

    options.beam = 4;
    options.n_best = 3;
    translator = make_translator(model, &options);
    WORKS(siskin_translator_translate(translator, texts[0], SISKIN_NUL_TERMINATED, &result, &error));
    CHECK(siskin_result_alternatives(result, 0) == 3);
    CHECK(siskin_result_score(result, 0, 0) >= siskin_result_score(result, 0, 1));
    CHECK(strcmp(siskin_result_text(result, 0, 0, NULL), siskin_result_text(result, 0, 1, NULL)) != 0);
    siskin_result_free(result);
    siskin_translator_free(translator);

    options = model_options(model);
    options.scores = SISKIN_SCORES_SKIP;
    options.target_prefix = "Guten";
    translator = make_translator(model, &options);
    WORKS(siskin_translator_translate(translator, texts[0], SISKIN_NUL_TERMINATED, &result, &error));
    CHECK(strncmp(siskin_result_text(result, 0, 0, NULL), "Guten", 5) == 0);
    CHECK(isnan(siskin_result_score(result, 0, 0)));
    siskin_result_free(result);
    siskin_translator_free(translator);

    /* A model of short sentences that reads a long document as a summarizer does: what it left out is said. */
    WORKS(siskin_translator_new_summarizer(model, NULL, &translator, &error));
    {
        char document[20000];
        memset(document, 'x', sizeof document);
        for (length = 5; length < sizeof document; length += 6) {
            document[length] = ' ';
        }
        status = siskin_translator_translate(translator, document, sizeof document, &result, &error);
        CHECK(status == SISKIN_OK && siskin_result_unread(result, 0) > 0);
        siskin_result_free(result);
    }
    siskin_translator_free(translator);
    siskin_model_free(model);
}

static void memory_is_planned_and_limited(void) {
    siskin_model *model = open_model();
    siskin_options options = model_options(model);
    siskin_translator *translator = make_translator(model, NULL);
    siskin_result *result;
    uint64_t one, many, refused;

    WORKS(siskin_translator_plan(translator, 1, 32, &one, &error));
    WORKS(siskin_translator_plan(translator, 16, 32, &many, &error));
    CHECK(one > 10000 && many > 4 * one);
    FAILS(siskin_translator_plan(translator, 0, 32, &refused, &error), SISKIN_ERROR_INVALID_OPTION, "batch is 0");
    FAILS(siskin_translator_plan(translator, 1, SIZE_MAX, &refused, &error), SISKIN_ERROR_INPUT_TOO_LONG, "source");
    siskin_translator_free(translator);

    options.max_memory = 1000;
    translator = make_translator(model, &options);
    FAILS(siskin_translator_translate(translator, "Good morning!", 13, &result, &error), SISKIN_ERROR_MEMORY_LIMIT,
          "limit of 1000");
    CHECK(result == NULL);
    siskin_translator_free(translator);
    options.max_memory = one;
    translator = make_translator(model, &options);
    WORKS(siskin_translator_translate(translator, "Good morning!", 13, &result, &error));
    siskin_result_free(result);
    siskin_translator_free(translator);
    siskin_model_free(model);
}

struct heard {
    siskin_translator *translator;
    char text[1000];
    size_t length;
    int parts;
    int last;
};

static int hear(const char *text, size_t length, void *user_data) {
    struct heard *heard = user_data;
    siskin_error *busy;
    siskin_result *none;
    CHECK(text[length] == 0 && heard->length + length < sizeof heard->text);
    memcpy(heard->text + heard->length, text, length);
    heard->length += length;
    heard->parts++;
    CHECK(siskin_translator_translate(heard->translator, "a", 1, &none, &busy) == SISKIN_ERROR_BUSY);
    CHECK(none == NULL && siskin_error_status(busy) == SISKIN_ERROR_BUSY);
    siskin_error_free(busy);
    return heard->parts == heard->last;
}

static void streams_are_the_text_and_can_be_stopped(void) {
    siskin_model *model = open_model();
    siskin_translator *translator = make_translator(model, NULL);
    siskin_result *result;
    const char *text = "The weather is nice today, and we are going to the beach with our children.";
    struct heard heard = {NULL, "", 0, 0, -1};

    heard.translator = translator;
    WORKS(siskin_translator_translate_streaming(translator, text, SISKIN_NUL_TERMINATED, hear, &heard, &result, &error));
    CHECK(heard.parts > 2 && strcmp(heard.text, siskin_result_text(result, 0, 0, NULL)) == 0);
    siskin_result_free(result);
    heard.parts = 0;
    heard.length = 0;
    heard.last = 2;
    FAILS(siskin_translator_translate_streaming(translator, text, strlen(text), hear, &heard, &result, &error),
          SISKIN_ERROR_CANCELLED, "cancelled");
    CHECK(heard.parts == 2 && result == NULL);
    siskin_translator_free(translator);
    siskin_model_free(model);
}

static void *cancel_soon(void *translator) {
    const struct timespec soon = {0, 30000000};
    nanosleep(&soon, NULL);
    siskin_translator_cancel(translator);
    return NULL;
}

static void another_thread_can_cancel(void) {
    enum { COUNT = 3000 };
    static const char *texts[COUNT];
    siskin_model *model = open_model();
    siskin_translator *translator = make_translator(model, NULL);
    siskin_result *result;
    pthread_t thread;
    size_t i;

    for (i = 0; i < COUNT; i++) {
        texts[i] = "The weather is nice today.";
    }
    CHECK(pthread_create(&thread, NULL, cancel_soon, translator) == 0);
    FAILS(siskin_translator_translate_batch(translator, texts, NULL, COUNT, &result, &error), SISKIN_ERROR_CANCELLED,
          "cancelled");
    CHECK(pthread_join(thread, NULL) == 0 && result == NULL);
    /* No later request slips through. */
    FAILS(siskin_translator_translate(translator, "Hello!", 6, &result, &error), SISKIN_ERROR_CANCELLED, "");
    siskin_translator_resume(translator);
    WORKS(siskin_translator_translate(translator, "Hello!", 6, &result, &error));
    siskin_result_free(result);
    siskin_translator_free(translator);
    siskin_model_free(model);
}

int main(int argc, char **argv) {
    siskin_model *model;
    siskin_translator *translator;
    siskin_result *result;
    if (argc != 2) {
        fprintf(stderr, "usage: contract MODEL\n");
        return EXIT_FAILURE;
    }
    path = argv[1];
    CHECK(strcmp(siskin_version(), SISKIN_VERSION) == 0);
    model = open_model();
    translator = make_translator(model, NULL);
    WORKS(siskin_translator_translate(translator, "Good morning!", SISKIN_NUL_TERMINATED, &result, &error));
    every_way_to_open_gives_the_same_model(siskin_result_text(result, 0, 0, NULL));
    siskin_result_free(result);
    siskin_translator_free(translator);
    siskin_model_free(model);
    null_is_an_error();
    bad_options_are_errors();
    text_in_and_text_out();
    memory_is_planned_and_limited();
    streams_are_the_text_and_can_be_stopped();
    another_thread_can_cancel();
    printf("%u checks\n", checks);
    return EXIT_SUCCESS;
}
