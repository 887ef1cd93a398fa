#include "cai/web/page.hpp"

#include <set>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"

namespace cai {
namespace {

unsigned digit_of(char hex) {
  return static_cast<unsigned>(hex <= '9' ? hex - '0' : hex - 'a' + 10);
}

// Base64 (RFC 4648) of bytes given as hex digits.
std::string base64_of_hex(const std::string& hex) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  unsigned bits = 0, held = 0;
  for (const char c : hex) {
    bits = bits << 4 | digit_of(c), held += 4;
    if (held < 6) continue;
    held -= 6;
    text += kDigits[bits >> held & 63];
    bits &= (1u << held) - 1;
  }
  if (held > 0) text += kDigits[bits << (6 - held) & 63];
  while (text.size() % 4 != 0)
    text += '=';
  return text;
}

}  // namespace

std::string fill_page(std::string_view skeleton, const std::map<std::string, std::string>& values) {
  std::string page;
  std::set<std::string> used;
  while (true) {
    const std::size_t open = skeleton.find("{{"), close = skeleton.find("}}", open);
    page += skeleton.substr(0, open);
    if (open == skeleton.npos) break;
    if (close == skeleton.npos) throw Bug("a page's skeleton has {{ without }}");
    const std::string name(skeleton.substr(open + 2, close - open - 2));
    const auto value = values.find(name);
    if (value == values.end()) throw Bug("a page's skeleton asks for " + name + ", which has no value");
    page += value->second;
    used.insert(name);
    skeleton.remove_prefix(close + 2);
  }
  for (const auto& [name, value] : values)
    if (!used.contains(name)) throw Bug("a page's skeleton does not ask for " + name);
  return page;
}

std::string policy_hash(std::string_view text) {
  return "'sha256-" + base64_of_hex(sha256(text)) + "'";
}

}  // namespace cai
