// The words of a revision: what it is asked with, and how it begins.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cai/base/random.hpp"
#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// Whether the revision is asked for by the words of a rule that a program verifies: the principle has a
/// check, and the record is not to be declined under it.
bool is_by_rule(const Principle& principle, const Json& record);

/// The words that commit the revision, one of several drawn by seed; "" for none. Under a rule: what a check
/// wants at the beginning, else the principle's openings, else those of another principle with a check that
/// applies to the record. A request to decline gets one of the principle's openings, or of ours where it has
/// none.
std::string draw_opening(const ReviseConfig& config, const Constitution& constitution,
                         const Principle& principle, const Json& record, Random random);

/// The rules that a program verifies, for the system message: the same text for every record of these tags,
/// so that it is computed once.
std::string rules_of(const Constitution& constitution, const std::vector<std::string>& tags);

/// The last request of the conversation. Under a rule the record's request stands in it again: after a poor
/// answer a small model takes the conversation for lost.
std::string revision_request(const Principle& principle, const Json& record);

}  // namespace cai
