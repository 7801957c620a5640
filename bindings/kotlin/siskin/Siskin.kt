/** Siskin for Kotlin, over the C ABI of `include/siskin.h`, whose rules for threads and memory hold here, too. */
package siskin

import java.io.Closeable

/** What went wrong; [status] is a `siskin_status` of the header. */
class SiskinException internal constructor(val status: Int, message: ByteArray) : Exception(String(message))

/** A model, which any number of threads and translators share. */
class Model private constructor(internal val handle: Handle) : Closeable by handle {
    companion object {
        /** Maps a file, which must not be changed in place while the model is open. */
        @JvmStatic
        fun map(path: String) = Model(Native.mapPath(path.toByteArray()))

        /** Maps a part of an open file, such as an asset that is stored without compression; the descriptor may be closed. */
        @JvmStatic
        fun map(descriptor: Int, offset: Long, length: Long) = Model(Native.mapDescriptor(descriptor, offset, length))
    }

    private constructor(handle: Long) : this(Handle(handle, Native::freeModel))
}

/** Options of a translator; null is what the model asks for. */
data class Options(
    val beam: Int? = null,
    val nBest: Int? = null,
    val maxLength: Int? = null,
    val threads: Int? = null,
    /** Bytes of working memory. */
    val maxMemory: Long? = null
)

/** A text and its score. */
data class Alternative(val text: String, val score: Float)

/** Turns text into text, for one thread at a time; [cancel] may be called by any. */
class Translator @JvmOverloads constructor(model: Model, options: Options = Options()) : Closeable {
    private val handle = Handle(
        Native.newTranslator(
            model.handle.use(), options.beam ?: 0, options.nBest ?: 0, options.maxLength ?: 0, options.threads ?: 0,
            options.maxMemory ?: 0
        ),
        Native::freeTranslator
    )

    /** Translates one text. */
    fun translate(text: String): String = translate(listOf(text)).first().first().text

    /** Translates texts together: for each its alternatives, the best first. The first text that cannot be answered is an
     * exception. */
    fun translate(texts: List<String>): List<List<Alternative>> {
        val bytes = texts.map { it.toByteArray() }.toTypedArray()
        Handle(Native.translate(handle.use(), bytes), Native::freeResult).use { result ->
            return texts.indices.map { index ->
                (0 until Native.alternatives(result.use(), index)).map { rank ->
                    Alternative(String(Native.text(result.use(), index, rank)), Native.score(result.use(), index, rank))
                }
            }
        }
    }

    /** Translates one text and hands out its parts as soon as they are certain; false from [onText] cancels. */
    fun stream(text: String, onText: (String) -> Boolean) {
        val listener = object : Listener {
            override fun onText(part: ByteArray) = onText(String(part))
        }
        Native.freeResult(Native.stream(handle.use(), text.toByteArray(), listener))
    }

    /** Ends the running request, and every later one until [resume]. */
    fun cancel() = Native.cancel(handle.use())

    fun resume() = Native.resume(handle.use())

    override fun close() = handle.close()
}

/** The address of something of the C ABI, which is freed once. */
internal class Handle(private var address: Long, private val free: (Long) -> Unit) : Closeable {
    fun use(): Long = if (address != 0L) address else throw IllegalStateException("it was closed")

    override fun close() {
        if (address != 0L) free(address)
        address = 0
    }
}

/** Hears of parts of an output. */
internal interface Listener {
    fun onText(part: ByteArray): Boolean
}

/** `siskin_jni.c`. Text is UTF-8, because that of JNI is something else. */
internal object Native {
    init {
        System.loadLibrary("siskin_jni")
    }

    @JvmStatic external fun mapPath(path: ByteArray): Long
    @JvmStatic external fun mapDescriptor(descriptor: Int, offset: Long, length: Long): Long
    @JvmStatic external fun freeModel(model: Long)
    @JvmStatic external fun newTranslator(model: Long, beam: Int, nBest: Int, maxLength: Int, threads: Int, maxMemory: Long): Long
    @JvmStatic external fun freeTranslator(translator: Long)
    @JvmStatic external fun translate(translator: Long, texts: Array<ByteArray>): Long
    @JvmStatic external fun stream(translator: Long, text: ByteArray, listener: Listener): Long
    @JvmStatic external fun cancel(translator: Long)
    @JvmStatic external fun resume(translator: Long)
    @JvmStatic external fun alternatives(result: Long, index: Int): Int
    @JvmStatic external fun text(result: Long, index: Int, rank: Int): ByteArray
    @JvmStatic external fun score(result: Long, index: Int, rank: Int): Float
    @JvmStatic external fun freeResult(result: Long)
}
