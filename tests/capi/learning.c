/* learning MODEL ADAPTER SECONDS: teaches a model through the C ABI in that time, writes what it learned to a file, and prints
 * a translation before, with the model afterwards, and with the adapter over it. */
#include <siskin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static siskin_error *error;

/* Ends the program unless a status is the expected one, with a message where it is an error. */
static void expect(const char *what, siskin_status status, siskin_status expected) {
    const char *message = siskin_error_message(error);
    if (status != expected || (status != SISKIN_OK) != (strlen(message) > 0)) {
        fprintf(stderr, "%s: %d instead of %d: %s\n", what, status, expected, message);
        exit(1);
    }
    siskin_error_free(error);
    error = NULL;
}

static void translate(const siskin_model *model, const char *text, char *answer, size_t size) {
    siskin_translator *translator;
    siskin_result *result;
    expect("translator", siskin_translator_new(model, NULL, &translator, &error), SISKIN_OK);
    expect("translate", siskin_translator_translate(translator, text, SISKIN_NUL_TERMINATED, &result, &error), SISKIN_OK);
    snprintf(answer, size, "%s", siskin_result_text(result, 0, 0, NULL));
    siskin_result_free(result);
    siskin_translator_free(translator);
}

int main(int count, char **arguments) {
    static const char *const sources[] = {"I saw a lapwing."}, *const targets[] = {"Ich habe einen Kiebitz gesehen."};
    static const char *const shuffled_sources[] = {"I like tea.", "Where is the station?", "She is reading a book.",
                                                   "He lives in a small town."};
    static const char *const shuffled_targets[] = {"Er wohnt in einer kleinen Stadt.", "Sie liest ein Buch.", "Ich mag Tee.",
                                                   "Wo ist der Bahnhof?"};
    siskin_model *model, *adapted;
    siskin_learner *learner;
    char before[256], after[256], base[256];
    if (count != 4) return 2;

    expect("map", siskin_model_map(arguments[1], &model, &error), SISKIN_OK);
    translate(model, sources[0], before, sizeof before);
    expect("no such reach", siskin_learner_new(model, 0, 0, 0, 2, &learner, &error), SISKIN_ERROR_INVALID_OPTION);
    expect("no memory", siskin_learner_new(model, 1, 0, 0, SISKIN_REACH_TERMS, &learner, &error), SISKIN_ERROR_MEMORY_LIMIT);
    expect("learner", siskin_learner_new(model, 0, 0, (uint32_t)atoi(arguments[3]), SISKIN_REACH_EVERYWHERE, &learner, &error), SISKIN_OK);
    expect("NULL", siskin_learner_learn(learner, NULL, targets, 1, &error), SISKIN_ERROR_INVALID_ARGUMENT);
    expect("shuffled", siskin_learner_learn(learner, shuffled_sources, shuffled_targets, 4, &error), SISKIN_ERROR_REJECTED);
    expect("learn", siskin_learner_learn(learner, sources, targets, 1, &error), SISKIN_OK);
    expect("save nowhere", siskin_learner_save(learner, "/no/such/folder/adapter", &error), SISKIN_ERROR_IO);
    expect("save", siskin_learner_save(learner, arguments[2], &error), SISKIN_OK);
    siskin_learner_free(learner);
    siskin_learner_free(NULL);

    expect("no adapter", siskin_model_with_adapter(model, "no-such-file", &adapted, &error), SISKIN_ERROR_IO);
    expect("adapter", siskin_model_with_adapter(model, arguments[2], &adapted, &error), SISKIN_OK);
    translate(model, sources[0], base, sizeof base);
    siskin_model_free(model);
    translate(adapted, sources[0], after, sizeof after);
    siskin_model_free(adapted);
    printf("%s\n%s\n%s\n", before, base, after);
    return 0;
}
