// Translates a text, one line of it after the other, in 30 seconds or not at all: translate MODEL < TEXT
//
//     c++ translate.cpp $(pkg-config --cflags --libs siskin) -pthread -o translate
//     echo "Good morning!" | ./translate models/en-de/en-de.siskin
#include <siskin.h>

#include <chrono>
#include <condition_variable>
#include <iostream>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

// Handles that free themselves.
struct Free {
    void operator()(siskin_model *model) const { siskin_model_free(model); }
    void operator()(siskin_translator *translator) const { siskin_translator_free(translator); }
    void operator()(siskin_result *result) const { siskin_result_free(result); }
};
template <typename T>
using Handle = std::unique_ptr<T, Free>;

// An exception with the message of `error`, unless the call went well. By reference: the call that sets it may be evaluated
// behind it.
void check(siskin_status status, siskin_error *const &error) {
    if (status != SISKIN_OK) {
        std::string message = siskin_error_message(error);
        siskin_error_free(error);
        throw std::runtime_error(message);
    }
}

class Translator {
public:
    explicit Translator(const std::string &path) {
        siskin_error *error;
        siskin_model *model;
        check(siskin_model_open(path.c_str(), &model, &error), error);
        Handle<siskin_model> owned(model);
        siskin_translator *translator;
        check(siskin_translator_new(model, nullptr, &translator, &error), error);
        translator_.reset(translator);  // It keeps the model, whose handle is freed here.
    }

    std::string translate(const std::string &text) {
        siskin_error *error;
        siskin_result *result;
        check(siskin_translator_translate(translator_.get(), text.data(), text.size(), &result, &error), error);
        Handle<siskin_result> owned(result);
        std::size_t length;
        const char *output = siskin_result_text(result, 0, 0, &length);
        return std::string(output, length);
    }

    void cancel() { siskin_translator_cancel(translator_.get()); }

private:
    Handle<siskin_translator> translator_;
};

// Cancels what a translator does, on a thread of its own, unless it is gone before the time is up.
class Deadline {
public:
    Deadline(Translator &translator, std::chrono::seconds time)
        : thread_([this, &translator, time] {
              std::unique_lock<std::mutex> lock(mutex_);
              if (!gone_.wait_for(lock, time, [this] { return over_; })) translator.cancel();
          }) {}

    ~Deadline() {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            over_ = true;
        }
        gone_.notify_one();
        thread_.join();
    }

private:
    std::mutex mutex_;
    std::condition_variable gone_;
    bool over_ = false;
    std::thread thread_;
};

int main(int argc, char **argv) try {
    if (argc != 2) throw std::invalid_argument("usage: translate MODEL < TEXT");
    Translator translator(argv[1]);
    Deadline deadline(translator, std::chrono::seconds(30));
    std::string line;
    while (std::getline(std::cin, line)) std::cout << translator.translate(line) << std::endl;
    return 0;
} catch (const std::exception &error) {
    std::cerr << "translate: " << error.what() << std::endl;
    return 1;
}
