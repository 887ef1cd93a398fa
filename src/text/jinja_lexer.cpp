#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/base/unicode.hpp"
#include "cai/text/jinja_ast.hpp"

namespace cai::jinja {
namespace {

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool starts_name(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Line breaks as \n, and the last one gone, as Jinja reads a template.
std::string with_plain_line_breaks(const std::string& source) {
  std::string out;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r')
      out += source[i];
    else if (i + 1 >= source.size() || source[i + 1] != '\n')
      out += '\n';
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(const std::string& source) : source_(with_plain_line_breaks(source)) {}

  std::vector<Token> all() {
    while (at_ < source_.size()) {
      const std::size_t mark = next_mark();
      if (mark == source_.npos) break;
      read_data(mark);
      const std::string open = source_.substr(mark, 2);
      at_ = mark + 2;
      if (at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+')) ++at_;
      if (open == "{#")
        skip_comment();
      else if (open == "{%" && is_raw())
        read_raw();
      else
        read_code(open);
    }
    if (at_ < source_.size()) add(TokenKind::kData, source_.substr(at_));
    add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  std::string source_;
  std::size_t at_ = 0, counted_ = 0;
  long line_ = 1;
  bool at_line_start_ = true;  // whether the last token ended a line
  std::vector<Token> tokens_;

  long line() {
    for (; counted_ < std::min(at_, source_.size()); ++counted_)
      line_ += source_[counted_] == '\n';
    return line_;
  }
  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line()}); }
  bool has(const char* text) const {
    return source_.compare(at_, std::char_traits<char>::length(text), text) == 0;
  }

  std::size_t next_mark() const {
    for (std::size_t i = source_.find('{', at_); i != source_.npos && i + 1 < source_.size();
         i = source_.find('{', i + 1))
      if (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#') return i;
    return source_.npos;
  }

  // The text before a mark; "{%-" takes all white space off its end, "{%" that of its own line where nothing
  // else is on it.
  void read_data(std::size_t mark) {
    std::string data = source_.substr(at_, mark - at_);
    const char sign = mark + 2 < source_.size() ? source_[mark + 2] : ' ';
    if (sign == '-') {
      while (!data.empty() && is_space(data.back()))
        data.pop_back();
    } else if (sign != '+' && source_[mark + 1] != '{') {
      const std::size_t line_break = data.rfind('\n'), start = line_break == data.npos ? 0 : line_break + 1;
      const bool whole_line = line_break != data.npos || at_line_start_;
      if (whole_line && std::all_of(data.begin() + static_cast<std::ptrdiff_t>(start), data.end(), is_space))
        data.resize(start);
    }
    if (!data.empty()) add(TokenKind::kData, data);
  }

  // Behind "-%}" all white space goes, behind "%}" one line break.
  void close(std::size_t end, char sign, bool trims) {
    at_ = end;
    if (sign == '-') {
      while (at_ < source_.size() && is_space(source_[at_]))
        ++at_;
    } else if (trims && sign != '+' && at_ < source_.size() && source_[at_] == '\n') {
      ++at_;
    }
    at_line_start_ = at_ > 0 && source_[at_ - 1] == '\n';
  }

  void skip_comment() {
    const std::size_t end = source_.find("#}", at_);
    if (end == source_.npos) fail(line(), "a comment {# has no end");
    const char sign = end > at_ ? source_[end - 1] : ' ';
    close(end + 2, sign, true);
  }

  std::size_t word_behind(std::size_t from, const char* word) const {
    while (from < source_.size() && is_space(source_[from]))
      ++from;
    const std::size_t n = std::char_traits<char>::length(word);
    if (source_.compare(from, n, word) != 0) return source_.npos;
    for (from += n; from < source_.size() && is_space(source_[from]);)
      ++from;
    if (from < source_.size() && (source_[from] == '-' || source_[from] == '+')) ++from;
    return source_.compare(from, 2, "%}") == 0 ? from + 2 : source_.npos;
  }

  bool is_raw() const { return word_behind(at_, "raw") != source_.npos; }

  void read_raw() {
    const std::size_t from = word_behind(at_, "raw");
    close(from, source_[from - 3], true);
    const std::size_t begin = at_;
    for (std::size_t mark = source_.find("{%", begin); mark != source_.npos;
         mark = source_.find("{%", mark + 2)) {
      const bool signed_mark =
          mark + 2 < source_.size() && (source_[mark + 2] == '-' || source_[mark + 2] == '+');
      const std::size_t end = word_behind(mark + 2 + signed_mark, "endraw");
      if (end == source_.npos) continue;
      read_data(mark);
      close(end, source_[end - 3], true);
      return;
    }
    fail(line(), "{% raw %} has no {% endraw %}");
  }

  void read_code(const std::string& open) {
    add(TokenKind::kOpen, open);
    const char* end = open == "{{" ? "}}" : "%}";
    int brackets = 0;
    while (true) {
      while (at_ < source_.size() && is_space(source_[at_]))
        ++at_;
      if (at_ >= source_.size()) fail(line(), open + " has no " + end);
      const char sign = source_[at_];
      const bool signs =
          (sign == '-' || (sign == '+' && *end == '%')) && source_.compare(at_ + 1, 2, end) == 0;
      if (brackets == 0 && (signs || has(end))) {
        add(TokenKind::kClose, end);
        return close(at_ + 2 + signs, signs ? sign : ' ', *end == '%');
      }
      read_token(brackets);
    }
  }

  void read_token(int& brackets) {
    const char c = source_[at_];
    if (starts_name(c)) return read_name();
    if (is_digit(c)) return read_number();
    if (c == '\'' || c == '"') return read_text(c);
    for (const char* two : {"**", "//", "==", "!=", ">=", "<="})
      if (has(two)) return add(TokenKind::kOperator, two), void(at_ += 2);
    if (std::string_view("+-/*%~[](){}><=.:|,").find(c) == std::string_view::npos)
      fail(line(), "the character " + in_quotes(std::string(1, c)) + " means nothing here");
    if (c == '(' || c == '[' || c == '{') ++brackets;
    if ((c == ')' || c == ']' || c == '}') && --brackets < 0)
      fail(line(), in_quotes(std::string(1, c)) + " closes nothing");
    add(TokenKind::kOperator, std::string(1, c));
    ++at_;
  }

  void read_name() {
    const std::size_t from = at_;
    while (at_ < source_.size() && (starts_name(source_[at_]) || is_digit(source_[at_])))
      ++at_;
    add(TokenKind::kName, source_.substr(from, at_ - from));
  }

  void read_number() {
    const std::size_t from = at_;
    const auto digits = [&] {
      while (at_ < source_.size() && (is_digit(source_[at_]) || source_[at_] == '_'))
        ++at_;
    };
    digits();
    TokenKind kind = TokenKind::kInteger;
    if (at_ + 1 < source_.size() && source_[at_] == '.' && is_digit(source_[at_ + 1]))
      ++at_, digits(), kind = TokenKind::kReal;
    if (const std::size_t n = exponent(); n > 0) at_ += n, kind = TokenKind::kReal;
    std::string number = source_.substr(from, at_ - from);
    std::erase(number, '_');
    if (number.size() > 18) fail(line(), "a number of more than 18 digits");
    add(kind, number);
  }

  // Bytes of an exponent here: "e5", "E-5".
  std::size_t exponent() const {
    std::size_t at = at_;
    if (at >= source_.size() || (source_[at] != 'e' && source_[at] != 'E')) return 0;
    if (++at < source_.size() && (source_[at] == '+' || source_[at] == '-')) ++at;
    const std::size_t first = at;
    while (at < source_.size() && is_digit(source_[at]))
      ++at;
    return at > first ? at - at_ : 0;
  }

  void read_text(char quote) {
    const long start = line();
    std::string text;
    for (++at_; at_ < source_.size() && source_[at_] != quote; ++at_) {
      if (source_[at_] == '\\' && at_ + 1 < source_.size())
        read_escape(text);
      else
        text += source_[at_];
    }
    if (at_ >= source_.size()) fail(start, "a text has no end");
    ++at_;
    if (!is_utf8(text)) fail(start, "a text that is no UTF-8");
    tokens_.push_back({TokenKind::kText, text, start});
  }

  // Python's escapes; one that it does not know stays as it is.
  void read_escape(std::string& text) {
    const char c = source_[++at_];
    static const std::string letters = "\\'\"abfnrtv\n", meant = "\\'\"\a\b\f\n\r\t\v";
    if (const std::size_t i = letters.find(c); i != letters.npos) {
      if (c != '\n') text += meant[i];
      return;
    }
    const std::size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    const std::string hex = source_.substr(at_ + 1, digits);
    if (digits == 0 || hex.size() != digits ||
        !std::all_of(hex.begin(), hex.end(), [](unsigned char h) { return std::isxdigit(h); })) {
      text += c == '0' ? std::string(1, '\0') : std::string("\\") + c;
      return;
    }
    const unsigned long code = std::strtoul(hex.c_str(), nullptr, 16);
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
      fail(line(), "\\" + std::string(1, c) + hex + " is no character");
    append_character(text, static_cast<char32_t>(code));
    at_ += digits;
  }
};

}  // namespace

void fail(long line, const std::string& what) {
  throw InputError("chat template, line " + std::to_string(line) + ": " + what);
}

std::vector<Token> tokens_of(const std::string& source) {
  return Lexer(source).all();
}

}  // namespace cai::jinja
