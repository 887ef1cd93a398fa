#include "cai/data/coverage.hpp"

#include "cai/data/tags.hpp"

namespace cai {

std::string Coverage::decided_by() const {
  if (!principle->check.empty()) return "check";
  return is_declining ? "kind" : "judge";
}

std::vector<Coverage> coverage(const Constitution& constitution, const std::vector<Prompt>& prompts) {
  std::vector<Coverage> all;
  for (const Principle& principle : constitution.principles) {
    Coverage one{.principle = &principle};
    long declined = 0;
    for (const Prompt& prompt : prompts) {
      const bool is_any = prompt.tags.empty() && principle.check.empty();
      if (!is_any && !principle.applies(prompt.tags)) continue;
      const bool is_held_out = prompt.split == "held-out";
      ++(is_held_out ? one.held_out : one.train);
      declined += !is_held_out && kind_of_tags(prompt.tags) == "red-team";
    }
    one.is_declining = declined > 0 && declined == one.train;
    all.push_back(one);
  }
  return all;
}

}  // namespace cai
