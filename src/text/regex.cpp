#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "cai/base/error.hpp"
#include "cai/text/regex.hpp"

namespace cai {

struct Regex::Compiled {
  pcre2_code* code = nullptr;
  ~Compiled() { pcre2_code_free(code); }
};

namespace {

// \w as the tokenizers library means it (letters, marks, decimal digits, connectors, the numbers of Latin-1); PCRE2 10.42 leaves marks out and takes other numbers.
std::string with_word_characters(const std::string& pattern) {
  const std::string word = "\\p{L}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";
  std::string out;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\' && i + 1 < pattern.size()) {
      const char c = pattern[++i];
      if (c == 'w') out += in_class ? word : "[" + word + "]";
      else if (c == 'W' && !in_class) out += "[^" + word + "]";
      else out += {'\\', c};
      continue;
    }
    const bool opens = pattern[i] == '[' && !in_class;
    if (opens) in_class = true;
    else if (pattern[i] == ']' && in_class) in_class = false;
    out += pattern[i];
    if (!opens) continue;
    if (i + 1 < pattern.size() && pattern[i + 1] == '^') out += pattern[++i];
    if (i + 1 < pattern.size() && pattern[i + 1] == ']') out += pattern[++i];  // the first one in a class means itself
  }
  return out;
}

}  // namespace

Regex::Regex(const std::string& declared) : compiled_(std::make_shared<Compiled>()) {
  const std::string pattern = with_word_characters(declared);
  int error = 0;
  PCRE2_SIZE offset = 0;
  compiled_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (!compiled_->code) {
    PCRE2_UCHAR message[256] = {};
    pcre2_get_error_message(error, message, sizeof message);
    throw InputError("pre-tokeniser pattern, offset " + std::to_string(offset) + ": " + reinterpret_cast<const char*>(message));
  }
  pcre2_jit_compile(compiled_->code, PCRE2_JIT_COMPLETE);  // without JIT support the interpreter serves
}

std::vector<Piece> Regex::cut(std::string_view text) const {
  std::vector<Piece> out;
  struct Match {
    pcre2_match_data* data;
    ~Match() { pcre2_match_data_free(data); }
  } match{pcre2_match_data_create_from_pattern(compiled_->code, nullptr)};
  std::size_t done = 0, at = 0;
  while (at < text.size()) {
    const auto matched = [&](std::uint32_t options) {
      return pcre2_match(compiled_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, options | PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match.data, nullptr);
    };
    int n = matched(0);
    if (n == PCRE2_ERROR_JIT_STACKLIMIT) n = matched(PCRE2_NO_JIT);
    if (n == PCRE2_ERROR_NOMATCH) break;
    if (n < 0) throw InputError("pre-tokeniser: PCRE2 error " + std::to_string(n) + " on this text");
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(match.data);
    if (ends[0] < done || ends[1] <= ends[0]) throw InputError("pre-tokeniser: a pattern that goes backwards (\\K)");
    if (ends[0] > done) out.push_back({text.substr(done, ends[0] - done), false});
    out.push_back({text.substr(ends[0], ends[1] - ends[0]), true});
    done = at = ends[1];
  }
  if (done < text.size()) out.push_back({text.substr(done), false});
  return out;
}

}  // namespace cai
