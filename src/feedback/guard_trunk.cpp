#include "cai/feedback/guard_trunk.hpp"

#include <algorithm>

#include "cai/base/hash.hpp"
#include "cai/engine/engine.hpp"
#include "cai/engine/state_reader.hpp"
#include "cai/io/file.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/text/chat.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

// Of the files that decide how a text becomes tokens; a GGUF file's own hash covers them.
std::string tokenizer_hash(const fs::path& model) {
  Sha256 hash;
  for (const char* name :
       {"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja"})
    if (fs::is_directory(model) && fs::exists(model / name)) hash.update(name + read_file(model / name));
  return hash.hex();
}

std::vector<std::int64_t> middle_layers(std::int64_t layers) {
  const std::int64_t half = std::max<std::int64_t>(1, layers / 2),
                     later = std::max<std::int64_t>(1, 2 * layers / 3);
  return half == later ? std::vector{half} : std::vector{half, later};
}

}  // namespace

std::vector<float> window_means(std::span<const float> states, std::int64_t width) {
  const std::int64_t positions = static_cast<std::int64_t>(states.size()) / width;
  std::vector<float> means;
  for (std::int64_t first = 0; first == 0 || first + kGuardWindow < positions + kGuardStride;
       first += kGuardStride) {
    const std::int64_t end = std::min(first + kGuardWindow, positions),
                       begin = std::max<std::int64_t>(0, end - kGuardWindow), n = end - begin;
    if (n <= 0) break;
    std::vector<double> sum(static_cast<std::size_t>(width));
    for (std::int64_t p = begin; p < end; ++p)
      for (std::int64_t k = 0; k < width; ++k)
        sum[static_cast<std::size_t>(k)] +=
            static_cast<double>(states[static_cast<std::size_t>(p * width + k)]);
    for (const double one : sum)
      means.push_back(static_cast<float>(one / static_cast<double>(n)));
  }
  return means;
}

struct GuardTrunk::Impl {
  Impl(const fs::path& path, const std::string& dtype, std::vector<std::int64_t> at)
      : config(read_model_config(path)),
        layers(at.empty() ? middle_layers(config.layers) : std::move(at)),
        chat(load_chat(path, config.vocabulary)),
        reader(LlamaReader(path), dtype, layers),
        identity({{"model", model_fingerprint(path)},
                  {"tokenizer", tokenizer_hash(path)},
                  {"arithmetic", engine_arithmetic(dtype)},
                  {"layers", layers}}) {
    // What every conversation begins with (a default system prompt) says nothing of a request.
    const std::vector<int> one = request_tokens("A"), other = request_tokens("7");
    begin = std::mismatch(one.begin(), one.end(), other.begin(), other.end()).first - one.begin();
  }

  ModelConfig config;
  std::vector<std::int64_t> layers;
  ChatTemplate chat;
  StateReader reader;
  Json identity;
  std::int64_t begin = 0;

  std::vector<int> request_tokens(const std::string& prompt) const {
    return chat.encode({{"user", prompt}}, true);
  }
};

GuardTrunk::GuardTrunk(const fs::path& path, const std::string& dtype, std::vector<std::int64_t> layers)
    : impl_(std::make_unique<Impl>(path, dtype, std::move(layers))) {}
GuardTrunk::~GuardTrunk() = default;

std::int64_t GuardTrunk::width() const {
  return impl_->reader.width();
}
const std::vector<std::int64_t>& GuardTrunk::layers() const {
  return impl_->layers;
}
Json GuardTrunk::identity() const {
  return impl_->identity;
}

void GuardTrunk::read(std::span<const GuardText> texts,
                      const std::function<void(std::size_t, Windows)>& done) {
  const Impl& m = *impl_;
  std::vector<StateReader::Text> reading;
  std::vector<std::size_t> which;        // of `reading`, in `texts`
  std::vector<std::int64_t> request_of;  // positions of its request
  std::vector<Windows> problems(texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    StateReader::Text text{m.request_tokens(texts[i].prompt), m.begin};
    const std::int64_t request = static_cast<std::int64_t>(text.tokens.size()) - m.begin;
    if (!texts[i].answer.empty()) {
      const std::vector<int> answer = m.chat.encode_answer(texts[i].answer);
      text.tokens.insert(text.tokens.end(), answer.begin(), answer.end());
      text.tokens.push_back(m.chat.stops().front());
    }
    if (static_cast<std::int64_t>(text.tokens.size()) > m.reader.context()) {
      problems[i].problem = "the text has " + std::to_string(text.tokens.size()) +
                            " tokens; the guard's model reads " + std::to_string(m.reader.context());
      continue;
    }
    which.push_back(i), request_of.push_back(request), reading.push_back(std::move(text));
  }
  std::size_t next = 0;  // the first text that was not told yet
  const auto tell_until = [&](std::size_t end) {
    for (; next < end; ++next)
      done(next, std::move(problems[next]));
  };
  impl_->reader.read(reading, [&](std::size_t k, std::span<const float> states) {
    tell_until(which[k]);
    const std::int64_t width = m.reader.width();
    const std::size_t split = static_cast<std::size_t>(request_of[k] * width);
    done(next++, {window_means(states.first(split), width), window_means(states.subspan(split), width), ""});
  });
  tell_until(texts.size());
}

}  // namespace cai
