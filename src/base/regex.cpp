#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "cai/base/error.hpp"
#include "cai/base/regex.hpp"

namespace cai {

struct Regex::Compiled {
  pcre2_code* code = nullptr;
  ~Compiled() { pcre2_code_free(code); }
};

namespace {

struct MatchData {
  pcre2_match_data* data;
  explicit MatchData(pcre2_code* code) : data(pcre2_match_data_create_from_pattern(code, nullptr)) {}
  ~MatchData() { pcre2_match_data_free(data); }
  MatchData(const MatchData&) = delete;
  MatchData& operator=(const MatchData&) = delete;
};

// One match from `at` on; PCRE2's result. Where the JIT's stack is too small the interpreter tries again.
int match(pcre2_code* code, std::string_view text, std::size_t at, std::uint32_t options,
          const MatchData& data) {
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const std::uint32_t all = options | PCRE2_NO_UTF_CHECK;
  const int n = pcre2_match(code, subject, text.size(), at, all, data.data, nullptr);
  if (n != PCRE2_ERROR_JIT_STACKLIMIT) return n;
  return pcre2_match(code, subject, text.size(), at, all | PCRE2_NO_JIT, data.data, nullptr);
}

// Calls take(begin, end) for each match, in order.
template <class Take>
void each_match(pcre2_code* code, std::string_view text, Take take) {
  const MatchData data(code);
  std::size_t at = 0;
  while (at < text.size()) {
    const int n = match(code, text, at, PCRE2_NOTEMPTY, data);
    if (n == PCRE2_ERROR_NOMATCH) break;
    if (n < 0) throw InputError("pattern: PCRE2 error " + std::to_string(n) + " on this text");
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.data);
    if (ends[0] < at || ends[1] <= ends[0]) throw InputError("pattern: goes backwards (\\K)");
    take(ends[0], ends[1]);
    at = ends[1];
  }
}

}  // namespace

Regex::Regex(const std::string& pattern, Case letters) : compiled_(std::make_shared<Compiled>()) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  std::uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
  if (letters == Case::kIgnored) options |= PCRE2_CASELESS;
  compiled_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options,
                                  &error, &offset, nullptr);
  if (!compiled_->code) {
    PCRE2_UCHAR message[256] = {};
    pcre2_get_error_message(error, message, sizeof message);
    throw InputError("pattern, offset " + std::to_string(offset) + ": " +
                     reinterpret_cast<const char*>(message));
  }
  pcre2_jit_compile(compiled_->code, PCRE2_JIT_COMPLETE);  // without JIT support the interpreter serves
}

std::vector<Piece> Regex::cut(std::string_view text) const {
  std::vector<Piece> out;
  std::size_t done = 0;
  each_match(compiled_->code, text, [&](std::size_t begin, std::size_t end) {
    if (begin > done) out.push_back({text.substr(done, begin - done), false});
    out.push_back({text.substr(begin, end - begin), true});
    done = end;
  });
  if (done < text.size()) out.push_back({text.substr(done), false});
  return out;
}

std::vector<std::string_view> Regex::all(std::string_view text) const {
  std::vector<std::string_view> out;
  each_match(compiled_->code, text,
             [&](std::size_t begin, std::size_t end) { out.push_back(text.substr(begin, end - begin)); });
  return out;
}

bool Regex::matches(std::string_view text) const {
  const MatchData data(compiled_->code);
  const int n = match(compiled_->code, text, 0, 0, data);
  if (n < 0 && n != PCRE2_ERROR_NOMATCH) {
    throw InputError("pattern: PCRE2 error " + std::to_string(n) + " on this text (it takes too many steps)");
  }
  return n >= 0;
}

}  // namespace cai
