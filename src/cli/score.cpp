// score: what a reward model says of pairs.
#include <cmath>

#include "cai/base/error.hpp"
#include "cai/base/statistics.hpp"
#include "cai/base/stop.hpp"
#include "cai/cli/single_stage.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/run.hpp"
#include "cai/stages/training.hpp"
#include "cai/text/chat.hpp"
#include "cai/train/train.hpp"

namespace cai {
namespace {

// A pair's answers: of `candidates`, else chosen and rejected, else a and b.
std::vector<std::string> answers_of(const Json& pair, const std::string& where) {
  std::vector<std::string> answers;
  auto text = [&](const Json& value) {
    const Json& held = value.is_object() && value.contains("text") ? value["text"] : value;
    if (!held.is_string()) throw InputError(where + ": an answer is not text");
    answers.push_back(held.get<std::string>());
  };
  if (pair.contains("candidates") && pair["candidates"].is_array()) {
    for (const Json& candidate : pair["candidates"]) text(candidate);
  } else if (pair.contains("chosen") && pair.contains("rejected")) {
    text(pair["chosen"]), text(pair["rejected"]);
  } else if (pair.contains("a") && pair.contains("b")) {
    text(pair["a"]), text(pair["b"]);
  }
  if (answers.size() < 2 || !pair.contains("prompt") || !pair["prompt"].is_string()) {
    throw InputError(where + ": a pair has prompt, and candidates (two or more) or chosen and rejected");
  }
  return answers;
}

// Agreement where the records say which answer was chosen, read back so that an interrupted command counts all of them.
Json score_figures(const std::filesystem::path& out, std::size_t pairs) {
  long right = 0, known = 0;
  for (const Json& record : read_records(out)) {
    if (!record.contains("chosen") || !record.contains("rejected") || record.contains("candidates")) continue;
    ++known;
    right += record["margin"].get<double>() > 0;
  }
  Json figures = {{"pairs", pairs}};
  if (known > 0) {
    Interval accuracy = wilson(right, known);
    figures["accuracy"] = {{"value", accuracy.value}, {"low", accuracy.low}, {"high", accuracy.high}, {"n", accuracy.n}};
  }
  return figures;
}

}  // namespace

int run_score(SingleStage& s) {
  const std::vector<Json> pairs = s.use_pairs();
  const std::filesystem::path path = find_model(s.arguments.model());
  s.facts["model"] = model_fingerprint(path);
  std::vector<std::vector<std::string>> answers;
  for (std::size_t i = 0; i < pairs.size(); ++i) answers.push_back(answers_of(pairs[i], s.arguments.input + ": record " + std::to_string(i + 1)));
  s.recorded([&](RecordWriter& out) {
    const std::shared_ptr<RewardModel> model = load_reward_model(path);
    const ChatTemplate chat = load_chat(path, read_model_config(path).vocabulary);
    for (std::size_t i = out.already_written().size(); i < pairs.size(); ++i) {
      std::vector<std::vector<int>> sequences;
      for (const std::string& answer : answers[i]) sequences.push_back(answered_tokens(chat, prompt_tokens(chat, pairs[i]["prompt"].get<std::string>()), answer, true));
      const std::vector<double> scores = score_rewards(*model, sequences);
      Json record = pairs[i];
      record["scores"] = scores;
      record["margin"] = scores[0] - scores[1];
      record["p"] = 1 / (1 + std::exp(-(scores[0] - scores[1])));
      out.write(i, std::move(record));
      s.progress({"score", static_cast<long>(out.durable()), static_cast<long>(pairs.size()), 0, ""});
      if (stop_requested()) out.flush();
      stop_if_requested();
    }
    out.flush();
    return score_figures(s.arguments.out, pairs.size());
  });
  return kDone;
}

}  // namespace cai
