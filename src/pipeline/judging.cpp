#include "cai/pipeline/judging.hpp"

#include "cai/stages/exam.hpp"

namespace cai {

std::vector<JudgeTurn> judge_turns_of(const Config& config, const Constitution& constitution,
                                      const std::vector<Json>& records, const Brought& brought,
                                      Random random) {
  if (config.sft.judge_turns == 0) return {};
  const std::vector<std::string> withheld = exam_prompts(constitution, brought.exam_pairs.records);
  return judge_turns(config.sft.judge_turns, config.label, config.critique, constitution, records,
                     brought.pairs.records, withheld, random);
}

Json judge_turns_facts(const Config& config, const Constitution& constitution, const Brought& brought) {
  if (config.sft.judge_turns == 0) return {};
  Json facts = {{"constitution", constitution.sha256},
                {"label_examples", config.label.examples},
                {"chain_of_thought", config.label.chain_of_thought},
                {"critique_examples", config.critique.examples},
                {"exam_pairs", brought.exam_pairs.hashes}};
  if (!config.hybrid.pairs.empty()) facts["human_pairs"] = brought.pairs.hashes;
  return facts;
}

}  // namespace cai
