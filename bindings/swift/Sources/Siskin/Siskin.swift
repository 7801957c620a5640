import CSiskin
import Foundation

/// What went wrong.
public struct SiskinError: LocalizedError {
    public let status: siskin_status
    public let message: String
    public var errorDescription: String? { message }
}

/// Calls a function of the C ABI that may fail.
private func check(_ call: (UnsafeMutablePointer<OpaquePointer?>) -> siskin_status) throws {
    var error: OpaquePointer?
    let status = call(&error)
    defer { siskin_error_free(error) }
    if status != SISKIN_OK {
        throw SiskinError(status: status, message: String(cString: siskin_error_message(error)))
    }
}

/// A model, which any number of threads and translators share.
public final class Model: @unchecked Sendable {
    fileprivate let handle: OpaquePointer

    /// Maps a file, which must not be changed in place while the model lives.
    public init(mapping file: URL) throws {
        var model: OpaquePointer?
        try file.withUnsafeFileSystemRepresentation { path in
            try check { siskin_model_map(path, &model, $0) }
        }
        handle = model!
    }

    deinit { siskin_model_free(handle) }
}

/// A text and its score.
public struct Alternative: Sendable {
    public let text: String
    public let score: Float
}

/// Turns text into text, for one thread at a time; any may cancel.
public final class Translator: @unchecked Sendable {
    private let handle: OpaquePointer

    /// A translator with the options that the model asks for, as `configure` changes them.
    public init(_ model: Model, configure: (inout siskin_options) -> Void = { _ in }) throws {
        var options = siskin_options()
        try check { siskin_model_options(model.handle, &options, MemoryLayout<siskin_options>.size, $0) }
        configure(&options)
        var translator: OpaquePointer?
        try check { siskin_translator_new(model.handle, &options, &translator, $0) }
        handle = translator!
    }

    deinit { siskin_translator_free(handle) }

    /// The alternatives of a text, the best first.
    public func alternatives(of text: String) throws -> [Alternative] {
        var result: OpaquePointer?
        try check { siskin_translator_translate(handle, text, text.utf8.count, &result, $0) }
        defer { siskin_result_free(result) }
        return (0..<siskin_result_alternatives(result, 0)).map { rank in
            Alternative(
                text: String(cString: siskin_result_text(result, 0, rank, nil)),
                score: siskin_result_score(result, 0, rank))
        }
    }

    /// The translation of a text.
    public func translate(_ text: String) throws -> String {
        try alternatives(of: text)[0].text
    }

    /// Parts of the translation, as soon as they are certain, computed on a thread of their own. Who stops to iterate
    /// cancels what is left.
    public func stream(_ text: String) -> AsyncThrowingStream<String, Error> {
        AsyncThrowingStream { continuation in
            let task = Task.detached {
                let sink = Sink(continuation)
                do {
                    var result: OpaquePointer?
                    defer { siskin_result_free(result) }
                    try check { error in
                        siskin_translator_translate_streaming(
                            self.handle, text, text.utf8.count,
                            { part, _, sink in Unmanaged<Sink>.fromOpaque(sink!).takeUnretainedValue().send(part!) },
                            Unmanaged.passUnretained(sink).toOpaque(), &result, error)
                    }
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error)
                }
                withExtendedLifetime(sink) {}
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }

    /// Ends the running request, and every later one until `resume`.
    public func cancel() { siskin_translator_cancel(handle) }

    public func resume() { siskin_translator_resume(handle) }
}

/// Where the callback of a stream hands its parts on.
private final class Sink {
    private let continuation: AsyncThrowingStream<String, Error>.Continuation

    init(_ continuation: AsyncThrowingStream<String, Error>.Continuation) {
        self.continuation = continuation
    }

    /// 0, to go on, or 1 where nobody listens any more.
    func send(_ part: UnsafePointer<CChar>) -> Int32 {
        if case .terminated = continuation.yield(String(cString: part)) { return 1 }
        return Task.isCancelled ? 1 : 0
    }
}
