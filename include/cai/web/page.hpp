// A page put together from a skeleton, a style and a script.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace cai {

/// The skeleton with each {{name}} replaced by the value of that name. Values are taken as they are: text
/// that came from outside has to be escaped before, and a {{name}} in a value stays as it is. Throws Bug when
/// the skeleton asks for a name without a value, or not for one that has one.
std::string fill_page(std::string_view skeleton, const std::map<std::string, std::string>& values);

/// 'sha256-...' for a Content-Security-Policy (CSP level 2, section 4.2.4): allows the inline style or script
/// with exactly this text and no other.
std::string policy_hash(std::string_view text);

}  // namespace cai
