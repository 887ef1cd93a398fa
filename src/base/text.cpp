#include "cai/base/text.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cai/base/words.hpp"

namespace cai {
namespace {

// Length of the valid sequence at the start of `s`, or 0; `bad` is then the length of the maximal invalid
// subpart (at least 1).
std::size_t sequence(std::string_view s, std::size_t& bad, std::uint32_t& code) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char b = byte(0);
  bad = 1;
  code = b;
  if (b < 0x80) return 1;
  if (b < 0xc2 || b > 0xf4) return 0;
  const std::size_t length = b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
  // The second byte has a narrower range after these first bytes (no overlong forms, surrogates or values
  // past U+10FFFF).
  const unsigned char low = b == 0xe0   ? 0xa0
                            : b == 0xf0 ? 0x90
                                        : 0x80,
                      high = b == 0xed   ? 0x9f
                             : b == 0xf4 ? 0x8f
                                         : 0xbf;
  code = b & (length == 2 ? 0x1fu : length == 3 ? 0x0fu : 0x07u);
  for (std::size_t i = 1; i < length; ++i) {
    if (i >= s.size() || byte(i) < (i == 1 ? low : 0x80) || byte(i) > (i == 1 ? high : 0xbf)) {
      bad = i;
      return 0;
    }
    code = code << 6 | (byte(i) & 0x3fu);
  }
  return length;
}

std::string hex(std::uint32_t value, int digits) {
  std::string s;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4)
    s += "0123456789abcdef"[(value >> shift) & 15];
  return s;
}

}  // namespace

bool is_hidden(char32_t c) {
  if (c < 0x80) return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
  if (c >= 0xe0000 && c <= 0xe0fff)
    return true;  // tags and the variation selectors' supplement: no glyph of their own
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return true;
    default: break;
  }
  // Letters, marks and a symbol that show nothing. U+FE0E and U+FE0F stand behind many emoji and stay.
  return c == 0x34f || c == 0x115f || c == 0x1160 || c == 0x17b4 || c == 0x17b5 ||
         (c >= 0x180b && c <= 0x180f) || c == 0x2065 || c == 0x2800 || c == 0x3164 ||
         (c >= 0xfe00 && c <= 0xfe0d) || c == 0xffa0 || (c >= 0xfff0 && c <= 0xfffb);
}

std::size_t plain_ascii(std::string_view s, std::size_t from) {
  // Eight bytes at once: one has its high bit when it is not ASCII, when it is below 0x20 (what is taken off
  // it borrows), or when it is 0x7f (what is added carries).
  constexpr std::uint64_t kHigh = 0x8080808080808080, kSpaces = 0x2020202020202020,
                          kOnes = 0x0101010101010101;
  std::size_t i = from;
  for (std::uint64_t eight; i + 8 <= s.size(); i += 8) {
    std::memcpy(&eight, s.data() + i, 8);
    if ((eight | (eight - kSpaces) | (eight + kOnes)) & kHigh) break;
  }
  for (; i < s.size() && s[i] >= 0x20 && s[i] < 0x7f; ++i) {
  }
  return i;
}

bool is_utf8(std::string_view s) {
  for (std::size_t i = 0, bad; (i = plain_ascii(s, i)) < s.size();) {
    std::uint32_t code;
    const std::size_t n = sequence(s.substr(i), bad, code);
    if (n == 0) return false;
    i += n;
  }
  return true;
}

std::string to_utf8(std::string_view s) {
  std::string out;
  out.reserve(s.size());
  for (std::size_t i = 0, bad; i < s.size();) {
    std::uint32_t code;
    const std::size_t n = sequence(s.substr(i), bad, code);
    if (n > 0)
      out.append(s.substr(i, n));
    else
      out += "\xef\xbf\xbd";
    i += n > 0 ? n : bad;
  }
  return out;
}

std::string printable(std::string_view text) {
  std::string out;
  for (std::size_t i = 0, bad; i < text.size();) {
    std::uint32_t code;
    const std::size_t n = sequence(text.substr(i), bad, code);
    if (n == 0)
      out += "\xef\xbf\xbd";
    else if (is_hidden(code))
      out += code < 0x80      ? "\\x" + hex(code, 2)
             : code < 0x10000 ? "\\u" + hex(code, 4)
                              : "\\U" + hex(code, 8);
    else
      out.append(text.substr(i, n));
    i += n > 0 ? n : bad;
  }
  return out;
}

std::string one_line(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else
      out += c;
  }
  return out;
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kShown = 100;
  const std::string quoted = "\"" + one_line(text.substr(0, kShown));
  return quoted + (text.size() > kShown ? "...\" (" + std::to_string(text.size()) + " bytes)" : "\"");
}

std::string trim(std::string_view s) {
  const auto space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  while (!s.empty() && space(s.front()))
    s.remove_prefix(1);
  while (!s.empty() && space(s.back()))
    s.remove_suffix(1);
  return std::string(s);
}

std::string lower_ascii(std::string_view s) {
  std::string out(s);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

namespace {

bool is_letter_or_digit(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return true;
    default: return false;
  }
}

}  // namespace

bool is_written_without_spaces(char32_t c) {
  return (c >= 0x0e00 && c <= 0x0eff) || (c >= 0x1000 && c <= 0x109f) ||
         (c >= 0x1780 && c <= 0x17ff) ||  // Thai, Lao, Burmese, Khmer
         (c >= 0x3040 && c <= 0x30ff) || (c >= 0x31f0 && c <= 0x31ff) ||
         (c >= 0xff66 && c <= 0xff9d) ||  // kana
         (c >= 0x3400 && c <= 0x9fff) || (c >= 0xf900 && c <= 0xfaff) ||
         (c >= 0x20000 && c <= 0x3ffff);  // ideographs
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) words.push_back(std::move(word));
    word.clear();
  };
  for (std::size_t i = 0, bad; i < text.size();) {
    std::uint32_t c;
    const std::size_t n = sequence(text.substr(i), bad, c);
    const std::size_t at = i;
    i += n > 0 ? n : bad;
    if (n > 0 && (c == '\'' || c == 0x2019)) continue;  // an apostrophe joins
    if (n == 0 || !is_letter_or_digit(c)) {
      end_word();
    } else if (n == 1) {
      word += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    } else if (is_written_without_spaces(c)) {
      end_word();
      words.emplace_back(text.substr(at, n));
    } else {
      utf8proc_uint8_t lower[4];
      const auto length = utf8proc_encode_char(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)), lower);
      word.append(reinterpret_cast<const char*>(lower), static_cast<std::size_t>(length));
    }
  }
  end_word();
  return words;
}

bool holds_words(std::string_view text, std::string_view phrase) {
  const std::vector<std::string> said = words_of(text), wanted = words_of(phrase);
  if (wanted.empty()) return !phrase.empty() && text.find(phrase) != text.npos;  // signs only, such as "%"
  const auto same = [](const std::string& word, const std::string& sought) {
    return word == sought || word == sought + "s" || word == sought + "es";
  };
  return std::search(said.begin(), said.end(), wanted.begin(), wanted.end(), same) != said.end();
}

std::vector<std::string> split(std::string_view s, char separator) {
  std::vector<std::string> parts;
  for (std::size_t from = 0;;) {
    const std::size_t to = s.find(separator, from);
    parts.emplace_back(s.substr(from, to == s.npos ? s.npos : to - from));
    if (to == s.npos) return parts;
    from = to + 1;
  }
}

int edit_distance(std::string_view a, std::string_view b) {
  std::vector<int> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j)
    row[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const int substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  int least = static_cast<int>(word.size()) / 3 + 2;  // further away is another word, not a slip
  for (const std::string& candidate : candidates) {
    const int distance = edit_distance(word.substr(0, 100), candidate);
    if (distance < least) least = distance, best = candidate;
  }
  return best;
}

}  // namespace cai
