#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "cai/base/error.hpp"
#include "cai/text/regex.hpp"

namespace cai {

struct Regex::Compiled {
  pcre2_code* code = nullptr;
  ~Compiled() { pcre2_code_free(code); }
};

Regex::Regex(const std::string& pattern) : compiled_(std::make_shared<Compiled>()) {
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
