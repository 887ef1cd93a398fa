#include "cai/stages/explain.hpp"

#include <algorithm>
#include <cmath>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/data/preference.hpp"
#include "cai/stages/compare.hpp"

namespace cai {

const char* const kAnswerLimits =
    "The log-odds say how the model, asked as a judge, sees its answer beside the alternative under each "
    "principle. They do not say what made it give that answer: it was not "
    "asked about principles then, and a model's account of itself need not be the cause. Another alternative "
    "gives other numbers. Where both orders rarely agree, or the first place "
    "wins far from half of the time, the judge sees the place rather than the text, and the numbers say "
    "little.";

Json explain_answer(const LabelConfig& config, const Constitution& constitution, const std::string& prompt,
                    const std::string& against, long max_new_tokens, Speaker& model, Random random) {
  const auto say = [&](double temperature, Random stream) {
    const Ask ask{.messages = {{"user", prompt}},
                  .max_new_tokens = static_cast<int>(max_new_tokens),
                  .temperature = temperature,
                  .random = stream};
    std::string text;
    model.say({&ask, 1}, [&](std::size_t, Reply reply) {
      if (reply.finish.starts_with("error"))
        throw EnvironmentError("the model gave no answer: " + reply.finish);
      text = trim(reply.text);
    });
    return text;
  };
  const std::string answer = say(0, random.derive("answer"));
  std::string alternative = against;
  for (std::uint64_t n = 0; alternative.empty() || (against.empty() && alternative == answer); ++n) {
    if (n == 4)
      throw InputError("the model gives the same answer each time; name an alternative with --against TEXT");
    alternative = say(1, random.derive("alternative").derive(n));
  }
  if (alternative == answer)
    throw InputError("--against is the model's own answer; there is nothing to compare");

  std::vector<Comparison> comparisons;
  for (const Principle& p : constitution.principles)
    comparisons.push_back({&prompt, &answer, &alternative, &p, random.derive(p.id)});
  const std::vector<Verdict> verdicts =
      compare(config, label_exemplars(constitution.label_examples, config.examples, config.chain_of_thought),
              comparisons, model);
  Json principles = Json::array();
  std::vector<View> views;
  long agree = 0, first = 0;
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    const Verdict& v = verdicts[i];
    const Principle& p = constitution.principles[i];
    if (!v.is_usable) continue;
    const bool same = (v.first > 0) == (v.second > 0);
    agree += same, first += (v.first > 0) + (v.second < 0);
    views.push_back({&p, v.log_odds()});
    principles.push_back(
        {{"principle", p.id}, {"text", p.text}, {"log_odds", v.log_odds()}, {"orders_agree", same}});
  }
  std::stable_sort(principles.begin(), principles.end(), [](const Json& x, const Json& y) {
    return std::abs(x["log_odds"].get<double>()) > std::abs(y["log_odds"].get<double>());
  });
  const Preference preference = prefer(views);
  const double n = std::max<double>(1, static_cast<double>(views.size()));
  return {{"prompt", prompt},
          {"answer", answer},
          {"alternative", alternative},
          {"principles", principles},
          {"preference", preference.log_odds},
          {"by_rank", preference.by_rank},
          {"decisive", preference.decisive ? preference.decisive->id : ""},
          {"orders_agree", static_cast<double>(agree) / n},
          {"first_slot", static_cast<double>(first) / (2 * n)},
          {"limits", kAnswerLimits}};
}

}  // namespace cai
