/* siskin.Native of siskin/Siskin.kt, over siskin.h. A function that fails throws a siskin.SiskinException and returns 0. */
#include <jni.h>
#include <siskin.h>
#include <stdlib.h>
#include <string.h>

#define NATIVE(type, name) JNIEXPORT type JNICALL Java_siskin_Native_##name

static void *pointer(jlong handle) { return (void *)(intptr_t)handle; }

static jlong handle(void *pointer) { return (jlong)(intptr_t)pointer; }

static jbyteArray java_bytes(JNIEnv *env, const char *text, size_t length) {
    jbyteArray bytes = (*env)->NewByteArray(env, (jsize)length);
    if (bytes) (*env)->SetByteArrayRegion(env, bytes, 0, (jsize)length, (const jbyte *)text);
    return bytes;
}

static void throw(JNIEnv *env, siskin_status status, const char *message) {
    jclass class = (*env)->FindClass(env, "siskin/SiskinException");
    if (!class) return;
    jmethodID constructor = (*env)->GetMethodID(env, class, "<init>", "(I[B)V");
    jbyteArray bytes = constructor ? java_bytes(env, message, strlen(message)) : NULL;
    jobject exception = bytes ? (*env)->NewObject(env, class, constructor, (jint)status, bytes) : NULL;
    if (exception) (*env)->Throw(env, exception);
}

/* Throws what went wrong, unless nothing did or Java has an exception already, and frees it. */
static void check(JNIEnv *env, siskin_status status, siskin_error *const *error) {
    if (status != SISKIN_OK && !(*env)->ExceptionCheck(env)) throw(env, status, siskin_error_message(*error));
    siskin_error_free(*error);
}

/* A copy of Java's bytes with a NUL behind; NULL, and an exception, where there is no memory. */
static char *c_text(JNIEnv *env, jbyteArray bytes, size_t *length) {
    jsize count = (*env)->GetArrayLength(env, bytes);
    char *text = malloc((size_t)count + 1);
    if (!text) {
        throw(env, SISKIN_ERROR_MEMORY_LIMIT, "there is no memory for a text");
        return NULL;
    }
    (*env)->GetByteArrayRegion(env, bytes, 0, count, (jbyte *)text);
    text[count] = 0;
    if (length) *length = (size_t)count;
    return text;
}

NATIVE(jlong, mapPath)(JNIEnv *env, jclass class, jbyteArray path) {
    (void)class;
    siskin_model *model = NULL;
    siskin_error *error = NULL;
    char *text = c_text(env, path, NULL);
    if (!text) return 0;
    siskin_status status = siskin_model_map(text, &model, &error);
    free(text);
    check(env, status, &error);
    return handle(model);
}

NATIVE(jlong, mapDescriptor)(JNIEnv *env, jclass class, jint descriptor, jlong offset, jlong length) {
    (void)class;
    siskin_model *model = NULL;
    siskin_error *error = NULL;
    check(env, siskin_model_map_fd(descriptor, (uint64_t)offset, (uint64_t)length, &model, &error), &error);
    return handle(model);
}

NATIVE(void, freeModel)(JNIEnv *env, jclass class, jlong model) {
    (void)env, (void)class;
    siskin_model_free(pointer(model));
}

NATIVE(jlong, newTranslator)(JNIEnv *env, jclass class, jlong model, jint beam, jint n_best, jint max_length,
                             jint threads, jlong max_memory) {
    (void)class;
    siskin_translator *translator = NULL;
    siskin_error *error = NULL;
    siskin_options options;
    siskin_status status = siskin_model_options(pointer(model), &options, sizeof options, &error);
    if (status == SISKIN_OK) {
        if (beam) options.beam = (uint32_t)beam;
        if (n_best) options.n_best = (uint32_t)n_best;
        if (max_length) options.max_length = (uint32_t)max_length;
        if (threads) options.threads = (uint32_t)threads;
        if (max_memory) options.max_memory = (uint64_t)max_memory;
        status = siskin_translator_new(pointer(model), &options, &translator, &error);
    }
    check(env, status, &error);
    return handle(translator);
}

NATIVE(void, freeTranslator)(JNIEnv *env, jclass class, jlong translator) {
    (void)env, (void)class;
    siskin_translator_free(pointer(translator));
}

/* The first text that was not answered is an exception. */
static siskin_result *answered(JNIEnv *env, siskin_result *result) {
    for (size_t i = 0; i < siskin_result_count(result); i++) {
        siskin_status status = siskin_result_status(result, i);
        if (status != SISKIN_OK) {
            throw(env, status, siskin_result_message(result, i));
            siskin_result_free(result);
            return NULL;
        }
    }
    return result;
}

NATIVE(jlong, translate)(JNIEnv *env, jclass class, jlong translator, jobjectArray texts) {
    (void)class;
    size_t count = (size_t)(*env)->GetArrayLength(env, texts), read = 0;
    char **copies = calloc(count + 1, sizeof *copies);
    size_t *lengths = calloc(count + 1, sizeof *lengths);
    siskin_result *result = NULL;
    if (!copies || !lengths) throw(env, SISKIN_ERROR_MEMORY_LIMIT, "there is no memory for the texts");
    while (copies && lengths && read < count) {
        jbyteArray bytes = (*env)->GetObjectArrayElement(env, texts, (jsize)read);
        copies[read] = c_text(env, bytes, &lengths[read]);
        (*env)->DeleteLocalRef(env, bytes);
        if (!copies[read++]) break;
    }
    if (!(*env)->ExceptionCheck(env)) {
        siskin_error *error = NULL;
        check(env,
              siskin_translator_translate_batch(pointer(translator), (const char *const *)copies, lengths, count,
                                                &result, &error),
              &error);
        result = answered(env, result);
    }
    while (read--) free(copies[read]);
    free(copies);
    free(lengths);
    return handle(result);
}

typedef struct {
    JNIEnv *env;
    jobject listener;
    jmethodID on_text;
} stream;

static int on_text(const char *text, size_t length, void *user_data) {
    stream *to = user_data;
    jbyteArray part = java_bytes(to->env, text, length);
    if (!part) return 1;
    jboolean more = (*to->env)->CallBooleanMethod(to->env, to->listener, to->on_text, part);
    (*to->env)->DeleteLocalRef(to->env, part);
    return !more || (*to->env)->ExceptionCheck(to->env);
}

NATIVE(jlong, stream)(JNIEnv *env, jclass class, jlong translator, jbyteArray text, jobject listener) {
    (void)class;
    jmethodID method = (*env)->GetMethodID(env, (*env)->GetObjectClass(env, listener), "onText", "([B)Z");
    stream to = {env, listener, method};
    size_t length = 0;
    char *copy = method ? c_text(env, text, &length) : NULL;
    if (!copy) return 0;
    siskin_result *result = NULL;
    siskin_error *error = NULL;
    siskin_status status =
        siskin_translator_translate_streaming(pointer(translator), copy, length, on_text, &to, &result, &error);
    free(copy);
    check(env, status, &error);
    return handle(result);
}

NATIVE(void, cancel)(JNIEnv *env, jclass class, jlong translator) {
    (void)env, (void)class;
    siskin_translator_cancel(pointer(translator));
}

NATIVE(void, resume)(JNIEnv *env, jclass class, jlong translator) {
    (void)env, (void)class;
    siskin_translator_resume(pointer(translator));
}

NATIVE(jint, alternatives)(JNIEnv *env, jclass class, jlong result, jint index) {
    (void)env, (void)class;
    return (jint)siskin_result_alternatives(pointer(result), (size_t)index);
}

NATIVE(jbyteArray, text)(JNIEnv *env, jclass class, jlong result, jint index, jint rank) {
    (void)class;
    size_t length = 0;
    const char *text = siskin_result_text(pointer(result), (size_t)index, (size_t)rank, &length);
    return java_bytes(env, text, length);
}

NATIVE(jfloat, score)(JNIEnv *env, jclass class, jlong result, jint index, jint rank) {
    (void)env, (void)class;
    return siskin_result_score(pointer(result), (size_t)index, (size_t)rank);
}

NATIVE(void, freeResult)(JNIEnv *env, jclass class, jlong result) {
    (void)env, (void)class;
    siskin_result_free(pointer(result));
}
