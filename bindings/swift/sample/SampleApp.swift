import Siskin
import SwiftUI

@main
struct SampleApp: App {
    var body: some Scene {
        WindowGroup { TranslationView() }
    }
}

/// Translates what is typed, with the model `en-de.siskin` of the app's bundle.
struct TranslationView: View {
    @State private var source = ""
    @State private var target = ""
    private let translator = Result {
        guard let file = Bundle.main.url(forResource: "en-de", withExtension: "siskin") else {
            throw CocoaError(.fileNoSuchFile)
        }
        return try Translator(Model(mapping: file))
    }

    var body: some View {
        Form {
            TextField("English", text: $source).onSubmit { Task { await translate() } }
            Text(target).accessibilityLabel("German").textSelection(.enabled)
        }
    }

    @MainActor
    private func translate() async {
        target = ""
        do {
            for try await part in try translator.get().stream(source) { target += part }
        } catch {
            target = error.localizedDescription
        }
    }
}
