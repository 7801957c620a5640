package siskin.sample

import android.app.Activity
import android.os.Bundle
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.TextView
import java.util.concurrent.Executors
import siskin.Model
import siskin.SiskinException
import siskin.Translator

/** Translates what is typed, with the model of the package's assets. */
class MainActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor()
    private val translator by lazy {
        assets.openFd("en-de.siskin").use { asset ->
            Model.map(asset.parcelFileDescriptor.fd, asset.startOffset, asset.length).use { Translator(it) }
        }
    }

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        val source = EditText(this).apply { hint = "English" }
        val target = TextView(this)
        val button = Button(this).apply { text = "Translate" }
        button.setOnClickListener {
            val text = source.text.toString()
            target.text = ""
            worker.execute { translate(text) { part -> runOnUiThread { target.append(part) } } }
        }
        setContentView(LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            listOf(source, button, target).forEach(::addView)
        })
    }

    private fun translate(text: String, show: (String) -> Unit) = try {
        translator.stream(text) { part -> show(part); true }
    } catch (exception: SiskinException) {
        show(exception.message.orEmpty())
    }

    override fun onDestroy() {
        super.onDestroy()
        worker.execute { translator.close() }
        worker.shutdown()
    }
}
