/** What the bindings promise, on a Java virtual machine: `bindings/kotlin/check.sh`. */
import siskin.Model
import siskin.Options
import siskin.SiskinException
import siskin.Translator

private const val STATION = "Wo ist der Bahnhof?"

private fun failure(action: () -> Unit): Int =
    try {
        action()
        error("nothing failed")
    } catch (exception: SiskinException) {
        check(exception.message!!.isNotEmpty())
        exception.status
    }

fun main(arguments: Array<String>) {
    check(failure { Model.map("no-such-file-🚀") } == 1)
    val model = Model.map(arguments[0])
    check(failure { Translator(model, Options(beam = 99)) } == 8)

    val translator = Translator(model, Options(beam = 4, nBest = 3, threads = 2))
    val answers = translator.translate(listOf("Where is the station?", "", "🚀 Where is the station?"))
    check(answers[0].size == 3 && answers[0][0].text == STATION) { answers }
    check(answers[0].map { it.score } == answers[0].map { it.score }.sortedDescending()) { answers }
    check(answers[1][0].text == "") { answers }

    val parts = mutableListOf<String>()
    translator.stream("Where is the station?") { parts.add(it) }
    check(parts.size > 1 && parts.joinToString("") == STATION) { parts }
    check(failure { translator.stream("Where is the station?") { false } } == 12)
    try {
        translator.stream("Where is the station?") { error("from the callback") }
        check(false)
    } catch (exception: IllegalStateException) {
        check(exception.message == "from the callback")
    }

    translator.cancel()
    check(failure { translator.translate("Hello!") } == 12)
    translator.resume()
    model.close() // a translator keeps its model
    check(translator.translate("Where is the station?") == STATION)
    translator.close()
    translator.close()
    try {
        translator.translate("Hello!")
        check(false)
    } catch (exception: IllegalStateException) {
        println("the Kotlin bindings do what they promise")
    }
}
