// score: what a reward model says of pairs.
#include <algorithm>
#include <cmath>
#include <optional>
#include <span>

#include "cai/base/error.hpp"
#include "cai/io/interval.hpp"
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

constexpr std::size_t kWindow = 16;  // pairs that are read at once

// A pair's answers: of `candidates`, else chosen and rejected, else a and b.
std::vector<std::string> answers_of(const Json& pair, const std::string& where) {
  std::vector<std::string> answers;
  auto text = [&](const Json& value) {
    const Json& held = value.is_object() && value.contains("text") ? value["text"] : value;
    if (!held.is_string()) throw InputError(where + ": an answer is not text");
    answers.push_back(held.get<std::string>());
  };
  if (pair.contains("candidates") && pair["candidates"].is_array()) {
    for (const Json& candidate : pair["candidates"])
      text(candidate);
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

// P(the first answer is better) by a person: 1 for chosen and rejected, `human` for a and b; nothing where
// nobody said.
std::optional<double> by_people(const Json& record) {
  if (record.contains("candidates")) return std::nullopt;
  if (record.contains("chosen") && record.contains("rejected")) return 1;
  if (record.contains("human") && record["human"].is_number() && record["human"] != 0.5)
    return record["human"].get<double>();
  return std::nullopt;
}

// Agreement with people, read back so that an interrupted command counts all of it.
Json score_figures(const std::filesystem::path& out, std::size_t pairs) {
  ClusteredShare right;
  for (const Json& record : read_records(out))
    if (const std::optional<double> first = by_people(record))
      right.add(record["prompt"].get<std::string>(), (record["margin"].get<double>() > 0) == (*first > 0.5));
  Json figures = {{"pairs", pairs}};
  if (const Interval accuracy = right.interval(); accuracy.n > 0)
    figures["accuracy"] = interval_json(accuracy);
  return figures;
}

Json scored(Json record, std::span<const double> scores) {
  const double margin = scores[0] - scores[1];
  record["scores"] = std::vector<double>(scores.begin(), scores.end());
  record["margin"] = margin;
  record["p"] = 1 / (1 + std::exp(-margin));
  return record;
}

Json score(StageJob& job) {
  const std::vector<Json>& pairs = job.records();
  const std::filesystem::path path = job.model();
  const std::shared_ptr<RewardModel> model = load_reward_model(path);
  const ChatTemplate chat = load_chat(path, read_model_config(path).vocabulary);
  const std::size_t written = job.out->already_written().size();
  // Windows begin at the same pairs after an interruption: what is read together may decide a last bit.
  for (std::size_t from = written - written % kWindow; from < pairs.size(); from += kWindow) {
    const std::size_t to = std::min(pairs.size(), from + kWindow);
    std::vector<std::vector<int>> sequences;
    std::vector<std::size_t> counts;
    for (std::size_t i = from; i < to; ++i) {
      const std::vector<int> prompt = prompt_tokens(chat, pairs[i]["prompt"].get<std::string>());
      const std::vector<std::string> answers = answers_of(pairs[i], "");
      counts.push_back(answers.size());
      for (const std::string& answer : answers)
        sequences.push_back(answered_tokens(chat, prompt, answer, true));
    }
    const std::vector<double> scores = score_rewards(*model, sequences);
    std::size_t at = 0;
    for (std::size_t i = from; i < to; at += counts[i - from], ++i)
      if (i >= written) job.out->write(i, scored(pairs[i], std::span(scores).subspan(at, counts[i - from])));
    job.progress({"score", static_cast<long>(job.out->durable()), static_cast<long>(pairs.size()), 0, ""});
    if (stop_requested()) job.out->flush();
    stop_if_requested();
  }
  job.out->flush();
  return score_figures(job.folder, pairs.size());
}

}  // namespace

StageKind score_stage() {
  StageKind kind{.name = "score"};
  kind.sections = [](const Config&) { return std::vector<std::string>{"engine"}; };
  kind.run = score;
  return kind;
}

void prepare_score(SingleStage& s) {
  s.use_pairs();
  for (std::size_t i = 0; i < s.records.size(); ++i)
    answers_of(s.records[i], s.arguments.input + ": record " + std::to_string(i + 1));
  s.model = find_model(s.arguments.model());
  s.facts["model"] = model_fingerprint(s.model);
}

}  // namespace cai
