#include "cai/stages/training.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cai/base/random.hpp"
#include "cai/io/file.hpp"
#include "cai/stages/sentences.hpp"
#include "cai/data/refusal.hpp"

namespace cai {

std::vector<int> prompt_tokens(const ChatTemplate& chat, const std::string& prompt) {
  return chat.encode({{"user", prompt}}, true);
}

std::vector<int> answered_tokens(const ChatTemplate& chat, const std::vector<int>& prompt,
                                 const std::string& answer, bool with_stop) {
  std::vector<int> tokens = prompt;
  const std::vector<int> rest = chat.encode_answer(answer);
  tokens.insert(tokens.end(), rest.begin(), rest.end());
  if (with_stop) tokens.push_back(chat.stops().front());
  return tokens;
}

std::size_t whole_tokens(const Tokenizer& tokenizer, std::span<const int> answer) {
  const std::string text = tokenizer.decode(answer), whole = cut_at_sentence(text);
  if (whole.empty()) return 0;
  const std::size_t begin = text.find_first_not_of(" \t\n\v\f\r");
  const std::string_view wanted = std::string_view(text).substr(0, begin + whole.size());
  std::size_t too_few = 0, enough = answer.size();
  while (enough - too_few > 1) {
    const std::size_t middle = (too_few + enough) / 2;
    (tokenizer.decode(answer.first(middle)).starts_with(wanted) ? enough : too_few) = middle;
  }
  return enough;
}

AnswerText answer_text(const ChatTemplate& chat) {
  return {.stops = chat.stops(),
          .whole = [&chat](std::span<const int> answer) { return whole_tokens(chat.tokenizer(), answer); },
          .declines =
              [&chat](std::span<const int> answer) { return is_refusal(chat.tokenizer().decode(answer)); }};
}

std::vector<bool> draw_held_out(std::size_t n, double share, std::uint64_t seed) {
  std::vector<bool> held(n, false);
  if (share <= 0 || n < 2) return held;
  const std::size_t wanted = std::clamp<std::size_t>(
      static_cast<std::size_t>(std::lround(share * static_cast<double>(n))), 1, n - 1);
  const std::vector<std::size_t> order = Random(seed).derive("held-out").permutation(n);
  for (std::size_t i = 0; i < wanted; ++i)
    held[order[i]] = true;
  return held;
}

StepObserver step_progress(const std::string& stage, const ProgressFn& progress) {
  return [stage, progress, tokens = std::int64_t{0}](long step, long steps, const Json& figures) mutable {
    if (const auto n = figures.find("tokens"); n != figures.end() && n->is_number())
      tokens += n->get<std::int64_t>();
    std::string note;
    for (const char* name : {"loss", "reward", "kl"}) {
      const auto value = figures.find(name);
      if (value == figures.end() || !value->is_number()) continue;
      char text[48];
      std::snprintf(text, sizeof text, "%s%s %.3f", note.empty() ? "" : ", ", name, value->get<double>());
      note += text;
    }
    if (progress) progress({stage, step, steps, tokens, note});
  };
}

std::filesystem::path fresh_checkpoint(const std::filesystem::path& folder) {
  const std::filesystem::path checkpoint = folder / "checkpoint";
  remove_path(checkpoint);
  create_folders(checkpoint);
  return checkpoint;
}

}  // namespace cai
