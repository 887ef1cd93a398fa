// Whether answers are English: the refusal rule reads no other language.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

/// At least one word in eight is one of the commonest English ones. A text below six words is too short to
/// tell: true.
bool looks_english(std::string_view text);

/// {english: share of the answers that look English, n: answers long enough to tell}; null without any.
Json language_figures(const std::vector<std::string>& answers);

/// What to tell the person when fewer than half of the answers look English, or "".
std::string language_warning(const Json& figures);

}  // namespace cai
