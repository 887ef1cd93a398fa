// What score reads of its pairs and counts of its records.
#include "cai/base/error.hpp"
#include "cai/base/statistics.hpp"
#include "cai/cli/commands.hpp"
#include "cai/io/records.hpp"

namespace cai {

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

}  // namespace cai
