#include "cai/stages/generate.hpp"

#include <algorithm>

#include "cai/base/text.hpp"
#include "cai/base/log.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/overlap.hpp"
#include "cai/stages/language.hpp"

namespace cai {

Json generate(const GenerateConfig& config, const std::vector<Json>& prompts, RecordWriter& out,
              Speaker& model, Random random, const ProgressFn& progress) {
  for (std::size_t i = 0; i < prompts.size(); ++i)
    text_field(prompts[i], "prompt", i);
  const auto asks_of = [&](std::size_t i) {
    const Json& record = prompts[i];
    return std::vector<Ask>{{.messages = {{"user", text_field(record, "prompt", i)}},
                             .max_new_tokens = static_cast<int>(config.max_new_tokens),
                             .temperature = config.temperature,
                             .top_p = config.top_p,
                             .random = random.derive(record_id(record, i))}};
  };
  const auto finish = [&](std::size_t i, std::vector<Reply> replies) {
    const Reply& reply = replies.front();
    Json record = prompts[i];
    if (!record.contains("id")) record["id"] = record_id(record, i);
    record["response"] = reply.text;
    record["finish"] = reply.finish;
    record["tokens"] = reply.tokens;
    return record;
  };
  const std::vector<Json> records =
      ask_records("generate", prompts.size(), out, model, progress, asks_of, finish);

  long stopped = 0, empty = 0, tokens = 0, repeated = 0;
  for (const Json& record : records) {
    const std::string response = optional_text(record, "response");
    stopped += optional_text(record, "finish") == "stop";
    empty += words_of(response).empty();
    repeated += is_repeated(response);
    tokens += static_cast<long>(optional_number(record, "tokens"));
  }
  const double n = std::max<double>(1, static_cast<double>(records.size()));
  std::vector<std::string> answers;
  for (const Json& record : records)
    answers.push_back(optional_text(record, "response"));
  const Json language = language_figures(answers);
  if (const std::string warning = language_warning(language); !warning.empty())
    log_warning("generate: " + warning);
  return {{"language", language},
          {"records", records.size()},
          {"tokens", tokens},
          {"mean_tokens", static_cast<double>(tokens) / n},
          {"stopped", static_cast<double>(stopped) / n},
          {"empty", empty},
          {"repeated", repeated},
          {"finish", count_by(records, "finish")}};
}

}  // namespace cai
