#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/base/text.hpp"
#include "cai/engine/devices.hpp"
#include "cai/engine/engine.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/text/chat.hpp"
#include "cai/text/tokenizer.hpp"

namespace cai {
namespace {

class LocalSpeaker : public Speaker {
 public:
  LocalSpeaker(const std::filesystem::path& path, const EngineConfig& engine)
      : chat_(load_chat(path, read_model_config(path).vocabulary)),
        engine_(LlamaReader(path), {.dtype = engine.dtype,
                                    .max_sequences = static_cast<int>(engine.max_sequences),
                                    .place = place_of(engine)}) {
    log_debug(path.string() + ": " + engine_.arithmetic());
  }

  void say(std::span<const Ask> asks, const std::function<void(std::size_t, Reply)>& done) override {
    std::vector<Request> requests;
    for (const Ask& ask : asks)
      requests.push_back({.prompt = prompt_of(ask.messages, ask.opening),
                          .max_new_tokens = ask.max_new_tokens,
                          .temperature = ask.temperature,
                          .top_p = ask.top_p,
                          .stops = chat_.stops(),
                          .random = ask.random});
    engine_.generate(requests, [&](std::size_t i, Completion c) {
      Reply reply;
      reply.tokens = static_cast<int>(c.tokens.size());
      reply.prompt_tokens = static_cast<int>(requests[i].prompt.size());
      reply.finish = c.finish == Finish::kStop ? "stop" : c.finish == Finish::kLength ? "length" : "context";
      reply.text = trim(split_thinking(asks[i].opening + chat_.tokenizer().decode(c.tokens)).answer);
      done(i, std::move(reply));
    });
    requests_ += static_cast<std::int64_t>(asks.size());
  }

  std::vector<std::vector<double>> choose(std::span<const Choice> choices) override {
    std::vector<ChoiceRequest> requests;
    for (const Choice& choice : choices) {
      ChoiceRequest request;
      request.prompt = prompt_of(choice.messages, choice.opening);
      const std::vector<int> opening = chat_.encode_answer(choice.opening);
      for (const std::string& option : choice.options) {
        const std::vector<int> whole = chat_.encode_answer(choice.opening + option);
        if (whole.size() != opening.size() + 1 || !std::equal(opening.begin(), opening.end(), whole.begin()))
          throw InputError("the option " + in_quotes(option) + " is not one token behind " +
                           in_quotes(choice.opening) + " in this model's tokenizer");
        request.options.push_back(whole.back());
      }
      requests.push_back(std::move(request));
    }
    std::vector<std::vector<double>> results(requests.size());
    const std::vector<std::size_t> fitting =
        take_fitting(requests, [](const ChoiceRequest& r) { return r.prompt.size(); });
    const std::vector<std::vector<float>> read = engine_.choose(requests);
    for (std::size_t k = 0; k < fitting.size(); ++k)
      results[fitting[k]].assign(read[k].begin(), read[k].end());
    requests_ += static_cast<std::int64_t>(choices.size());
    return results;
  }

  std::vector<LogProbability> score(std::span<const Scored> scored) override {
    std::vector<ScoreRequest> requests;
    for (const Scored& s : scored) {
      ScoreRequest request;
      const Tokenizer& tokenizer = chat_.tokenizer();
      if (!s.messages.empty())
        request.prompt = prompt_of(s.messages, "");
      else if (tokenizer.adds_bos() && tokenizer.bos())
        request.prompt = {*tokenizer.bos()};
      // Opening and answer are one text to the tokenizer; the answer begins where the opening's own tokens
      // end.
      const auto tokens_of = [&](const std::string& text) {
        return s.messages.empty() ? tokenizer.encode(text) : chat_.encode_answer(text);
      };
      const std::vector<int> opening = tokens_of(s.opening), whole = tokens_of(s.opening + s.answer);
      std::size_t shared = std::min(opening.size(), whole.size());
      if (request.prompt.empty() && shared == 0) shared = std::min<std::size_t>(1, whole.size());
      request.prompt.insert(request.prompt.end(), whole.begin(),
                            whole.begin() + static_cast<std::ptrdiff_t>(shared));
      request.continuation.assign(whole.begin() + static_cast<std::ptrdiff_t>(shared), whole.end());
      if (s.with_stop) request.continuation.push_back(chat_.stops().front());
      if (request.continuation.empty()) throw Bug("an empty answer cannot be scored");
      requests.push_back(std::move(request));
    }
    std::vector<LogProbability> results(requests.size());
    const std::vector<std::size_t> fitting = take_fitting(requests, [](const ScoreRequest& r) {
      return r.prompt.size() + r.continuation.size() - 1;  // nothing is read behind the last token
    });
    const std::vector<std::vector<float>> read = engine_.score(requests);
    for (std::size_t k = 0; k < fitting.size(); ++k) {
      LogProbability& p = results[fitting[k]];
      for (float x : read[k])
        p.sum += x;
      p.tokens = static_cast<int>(read[k].size());
    }
    requests_ += static_cast<std::int64_t>(scored.size());
    return results;
  }

  Usage usage() const override {
    const Engine::Counts c = engine_.counts();
    return {requests_, c.prompt_tokens, c.generated_tokens};
  }

 private:
  ChatTemplate chat_;
  Engine engine_;
  std::int64_t requests_ = 0;

  // Leaves the requests that fit into the context, and says which those are.
  template <class Asked, class Length>
  std::vector<std::size_t> take_fitting(std::vector<Asked>& requests, const Length& length) const {
    std::vector<std::size_t> which;
    std::vector<Asked> fitting;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      if (static_cast<std::int64_t>(length(requests[i])) > engine_.context()) continue;
      which.push_back(i);
      fitting.push_back(std::move(requests[i]));
    }
    requests = std::move(fitting);
    return which;
  }

  std::vector<int> prompt_of(const std::vector<Message>& messages, const std::string& opening) const {
    std::vector<int> tokens = chat_.encode(messages, true);
    const std::vector<int> more = chat_.encode_answer(opening);
    tokens.insert(tokens.end(), more.begin(), more.end());
    return tokens;
  }
};

}  // namespace

std::unique_ptr<Speaker> local_speaker(const std::filesystem::path& path, const EngineConfig& engine) {
  return std::make_unique<LocalSpeaker>(path, engine);
}

}  // namespace cai
