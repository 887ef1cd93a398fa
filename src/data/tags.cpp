#include "cai/data/tags.hpp"

#include <algorithm>

#include "cai/base/text.hpp"

namespace cai {
namespace {

bool is_kind(const std::string& tag) {
  return std::find(prompt_kinds().begin(), prompt_kinds().end(), tag) != prompt_kinds().end();
}

// Lower-case letters only: what stays when one writes a word another way.
std::string letters(const std::string& word) {
  std::string all = lower_ascii(word);
  std::erase_if(all, [](char c) { return c < 'a' || c > 'z'; });
  return all;
}

}  // namespace

const std::vector<std::string>& prompt_kinds() {
  static const std::vector<std::string> kinds = {"red-team", "borderline", "ordinary"};
  return kinds;
}

std::string kind_of_tags(const std::vector<std::string>& tags) {
  const auto found = std::find_if(tags.begin(), tags.end(), is_kind);
  return found == tags.end() ? "" : *found;
}

std::string meant_kind(const std::string& tag) {
  if (is_kind(tag) || tag.size() > 40) return "";
  const std::string mine = letters(tag);
  for (const std::string& kind : prompt_kinds()) {
    const std::string its = letters(kind);
    if (mine == its || mine == its + "s" || mine == its + "ing" || edit_distance(mine, its) == 1) return kind;
  }
  return "";
}

std::string topic_of_tags(const std::vector<std::string>& tags) {
  const auto found = std::find_if(tags.begin(), tags.end(),
                                  [](const std::string& tag) { return !is_kind(tag) && tag != "generated"; });
  return found == tags.end() ? "" : *found;
}

}  // namespace cai
