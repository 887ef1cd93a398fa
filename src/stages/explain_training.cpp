#include "cai/stages/explain_training.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "cai/base/error.hpp"
#include "cai/base/statistics.hpp"
#include "cai/engine/devices.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/sft.hpp"
#include "cai/stages/training.hpp"
#include "cai/train/influence.hpp"

namespace cai {

const char* const kTrainingLimits =
    "An influence says how a small step on an example's loss would move the model from its old answer "
    "towards the new one, at the weights half way through fine-tuning. It leaves out "
    "the optimiser's rescaling, the order of the examples and all that lies between, and examples that teach "
    "alike share what either would do alone. It points to records worth reading, no more: against "
    "fine-tunings without each principle's revisions its order was no better than chance "
    "(docs/guides/human-feedback.md).";

namespace {

Json summed(const std::vector<double>& values) {
  const Interval mean = bootstrap_mean(values, 2000, 1);
  const double n = static_cast<double>(values.size());
  return {{"examples", values.size()},
          {"sum", mean.value * n},
          {"low", mean.is_known() ? Json(mean.low * n) : Json()},
          {"high", mean.is_known() ? Json(mean.high * n) : Json()}};
}

}  // namespace

Json explain_training(const FineTuning& run, const Constitution& constitution, const std::string& prompt,
                      const std::string& before, const std::string& after) {
  if (before == after)
    throw InputError("fine-tuning left this answer as it was; there is nothing to explain");
  const ChatTemplate chat = load_chat(run.before, read_model_config(run.before).vocabulary);
  std::map<std::string, const Json*> record_of;
  for (std::size_t i = 0; i < run.records.size(); ++i)
    record_of[record_id(run.records[i], i)] = &run.records[i];
  std::vector<TrainExample> examples = sft_examples(run.config, run.records, chat).examples;
  std::erase_if(examples, [&](const TrainExample& e) { return !run.trained.contains(e.id); });
  if (examples.empty()) throw InputError("none of the records that sft took is among those it trained on");
  const auto answered = [&](const std::string& answer) {
    TrainExample e{.id = "answer"};
    const std::vector<int> start = prompt_tokens(chat, prompt);
    e.tokens = answered_tokens(chat, start, answer, true), e.prompt_tokens = static_cast<int>(start.size());
    return e;
  };
  const TrainExample towards = answered(after), away = answered(before);
  const SftConfig config = with_weight_of_one_decision(run.config, examples);

  std::vector<double> f;
  std::vector<std::shared_ptr<Llama>> models;
  for (const std::filesystem::path& folder : {run.before, run.after}) {
    models.push_back(load_llama(folder));
    const std::vector<double> means = example_log_probabilities(*models.back(), {towards, away});
    const auto tokens = [](const TrainExample& e) {
      return static_cast<double>(static_cast<int>(e.tokens.size()) - e.prompt_tokens);
    };
    f.push_back(means[0] * tokens(towards) - means[1] * tokens(away));
  }
  const std::shared_ptr<Llama> half_way = between(*models[1], *models[0], 0.5, place_of(run.engine));
  const std::vector<double> influence = influences(*half_way, examples, towards, away, config);

  const auto record = [&](const TrainExample& e) -> const Json& {
    const auto found = record_of.find(e.id);  // else an earlier round's revision: ID#ROUND
    return *(found != record_of.end() ? found->second : record_of.at(e.id.substr(0, e.id.rfind('#'))));
  };
  std::map<std::string, std::vector<double>> by_principle;
  std::vector<double> of_people, of_harmless;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    const Json& r = record(examples[i]);
    const std::string principle =
        optional_text(r, "principle");  // of an edited one: of the revision that a person replaced
    (optional_flag(r, "edited") ? of_people
     : principle.empty()        ? of_harmless
                                : by_principle[principle])
        .push_back(influence[i]);
  }
  Json principles = Json::array(), people = Json::object(), harmless = Json::object();
  double all = 0;
  for (const auto& [values, into] : {std::pair(&of_people, &people), std::pair(&of_harmless, &harmless)})
    if (!values->empty()) *into = summed(*values), all += std::abs((*into)["sum"].get<double>());
  for (const auto& [id, values] : by_principle) {
    Json one = summed(values);
    all += std::abs(one["sum"].get<double>());
    const auto principle = std::find_if(constitution.principles.begin(), constitution.principles.end(),
                                        [&](const Principle& p) { return p.id == id; });
    one["principle"] = id, one["text"] = principle == constitution.principles.end() ? "" : principle->text;
    principles.push_back(std::move(one));
  }
  for (Json& one : principles)
    one["share"] = all > 0 ? std::abs(one["sum"].get<double>()) / all : 0;
  for (Json* one : {&people, &harmless})
    if (!one->empty()) (*one)["share"] = all > 0 ? std::abs((*one)["sum"].get<double>()) / all : 0;
  std::stable_sort(principles.begin(), principles.end(), [](const Json& x, const Json& y) {
    return x["sum"].get<double>() > y["sum"].get<double>();
  });

  std::vector<std::size_t> order(examples.size());
  for (std::size_t i = 0; i < order.size(); ++i)
    order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t x, std::size_t y) { return influence[x] > influence[y]; });
  Json largest = Json::array();
  for (std::size_t i = 0; i < std::min<std::size_t>(5, order.size()); ++i) {
    const Json& r = record(examples[order[i]]);
    const bool is_revised = !examples[order[i]].as_before && r.contains("revision") &&
                            optional_text(r, "revision_problem").empty();
    largest.push_back({{"id", examples[order[i]].id},
                       {"principle", optional_text(r, "principle")},
                       {"prompt", optional_text(r, "prompt")},
                       {"answer", optional_text(r, is_revised ? "revision" : "response")},
                       {"influence", influence[order[i]]}});
  }
  return {{"prompt", prompt},    {"before", before},         {"after", after},   {"f_before", f[0]},
          {"f_after", f[1]},     {"principles", principles}, {"people", people}, {"harmless", harmless},
          {"examples", largest}, {"limits", kTrainingLimits}};
}

}  // namespace cai
