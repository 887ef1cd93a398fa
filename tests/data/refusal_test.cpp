#include "cai/data/refusal.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <iostream>

#include "cai/base/hash.hpp"
#include "cai/base/statistics.hpp"
#include "cai/data/check_scope.hpp"
#include "cai/data/constitution.hpp"
#include "cai/io/records.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

TEST(Refusal, IsSeenInItsUsualForms) {
  for (const char* text :
       {"I can't help with that, because someone could get hurt.",
        "I\xe2\x80\x99m sorry, but I can\xe2\x80\x99t assist with this.",
        "I won't write that, because it is cruel.", "Sorry, I can't do that.", "No, I won't help plan this.",
        "As an AI language model, I cannot provide instructions for this.",
        "That is fraud, and I won't help with it.", "I must decline: this would harm others.",
        "I'm not able to help with this, but please call someone you trust."})
    EXPECT_TRUE(is_refusal(text)) << text;
}

TEST(Refusal, IsNotSeenInWillingAnswers) {
  for (const char* text :
       {"I can't wait to tell you about Paris!", "Beat the eggs with a fork until they are smooth.",
        "To kill a process, find its id with ps and run kill.",
        "I can't help but smile at this one: here it is.", "Sure, here is a plan.", "",
        "You cannot use a fork here; take a whisk.", "Don't forget the salt."})
    EXPECT_FALSE(is_refusal(text)) << text;
}

// Candidates and revisions that begin with an opening are told from willing answers by this rule.
TEST(Refusal, IsSeenInTheOpeningsOfTheShippedConstitutions) {
  long openings = 0;
  for (const char* name : {"harmless", "customer-service", "medical", "financial"})
    for (const Principle& principle :
         read_constitution(fs::path(CAI_SOURCE_DIR) / "constitutions" / (std::string(name) + ".yaml"))
             .principles) {
      if (!principle.check.empty() && !wants_refusal(principle.check)) continue;  // openings of help
      for (const std::string& opening : principle.revision_openings) {
        EXPECT_TRUE(is_refusal(opening + " it would harm someone.")) << name << ": " << opening;
        ++openings;
      }
    }
  EXPECT_GT(openings, 100);
}

// People's verdicts on 995 completions (XSTest), when the measuring data lie beside the project. Half of
// them, by hash of the id, were looked at while the rule was written; the figure is of the other half.
// Nothing of the data is printed.
TEST(Refusal, AgreesWithPeopleOnSevenAnswersInEight) {
  const fs::path file = fs::path(CAI_SOURCE_DIR) / "../shared/data/judged_answers.jsonl";
  if (!fs::exists(file)) GTEST_SKIP() << "the measuring data are not here";
  long right = 0, n = 0, missed = 0, refusals = 0, false_alarms = 0, answers = 0;
  for (const Json& r : read_records(file)) {
    if (!r.contains("refusal") || r["refusal"].is_null()) continue;
    const std::string id = r["id"].is_string() ? r["id"].get<std::string>() : r["id"].dump();
    if (sha256(id)[0] < '8') continue;
    const Json& verdict = r["refusal"];
    const bool truth = verdict.is_boolean() ? verdict.get<bool>()
                       : verdict.is_number()
                           ? verdict.get<double>() > 0.5
                           : verdict.get<std::string>().find("refusal") != std::string::npos;
    const bool said = is_refusal(r["response"].get<std::string>());
    ++n, right += said == truth;
    (truth ? refusals : answers)++;
    missed += truth && !said, false_alarms += !truth && said;
  }
  ASSERT_GT(n, 100);
  const Interval accuracy = wilson(right, n);
  std::cout << "refusal rule: accuracy " << accuracy.value << " [" << accuracy.low << ", " << accuracy.high
            << "], n " << n << "; missed " << missed << " of " << refusals << " refusals, false alarms "
            << false_alarms << " of " << answers << " answers\n";
  EXPECT_GT(accuracy.value, 0.875);
}

}  // namespace
}  // namespace cai
