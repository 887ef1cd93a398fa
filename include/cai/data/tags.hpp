// The tags that a prompt's kind is told by. All other tags are free: the first of them is the topic.
#pragma once

#include <string>
#include <vector>

namespace cai {

/// "red-team" (to be declined), "borderline" (only sounds unsafe), "ordinary".
const std::vector<std::string>& prompt_kinds();

/// The first kind among the tags, or "" for a prompt of which nothing is known. It is treated as a request to
/// be answered under the principles: drawn, evaluated and reported with the ordinary ones. No rule says which
/// of two answers is better, so labels by contrast leave it out.
std::string kind_of_tags(const std::vector<std::string>& tags);

/// The kind that a mistyped tag ("red_team", "redteam", " red-team") is near to; "" for a kind itself and for
/// any other word.
std::string meant_kind(const std::string& tag);

/// The first tag that is neither a kind nor "generated", or "".
std::string topic_of_tags(const std::vector<std::string>& tags);

}  // namespace cai
