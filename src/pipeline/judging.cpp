#include "cai/pipeline/judging.hpp"

#include "cai/data/pair_import.hpp"
#include "cai/pipeline/folder.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/hybrid.hpp"
#include "cai/stages/exam.hpp"

namespace cai {

std::vector<JudgeTurn> judge_turns_of(const Config& config, const Constitution& constitution, const std::vector<Json>& records, Random random) {
  if (config.sft.judge_turns == 0) return {};
  const std::set<std::string> withheld = exam_prompts(constitution, human_pairs_of(config.label.exam_pairs));
  return judge_turns(config.sft.judge_turns, config.label, config.critique, constitution, records, human_pairs_of(config.hybrid.pairs), withheld, random);
}

Json judge_turns_facts(const Config& config, const Constitution& constitution) {
  if (config.sft.judge_turns == 0) return {};
  Json facts = {{"constitution", constitution.sha256}, {"label_examples", config.label.examples}, {"chain_of_thought", config.label.chain_of_thought},
                {"critique_examples", config.critique.examples}, {"exam_pairs", pairs_facts(config.label.exam_pairs)}};
  if (!config.hybrid.pairs.empty()) facts["human_pairs"] = pairs_facts(config.hybrid.pairs);
  return facts;
}

Json pairs_facts(const std::vector<std::string>& files) {
  Json facts = Json::array();
  for (const std::string& path : files) facts.push_back(hash_of(read_pairs(find_shipped(path)).records));
  return facts;
}

}  // namespace cai
