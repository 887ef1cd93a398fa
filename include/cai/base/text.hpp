// Small helpers for UTF-8 text that came from outside.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cai {

bool is_utf8(std::string_view bytes);

/// The first place from `from` on that holds no printable ASCII character (0x20 to 0x7e), or bytes.size().
std::size_t plain_ascii(std::string_view bytes, std::size_t from);

/// Every invalid sequence replaced by U+FFFD (one per maximal invalid subpart, as Unicode and Python do).
std::string to_utf8(std::string_view bytes);

/// Whether a reader or a terminal would not see this character as what it is: controls (but \n and \t), bidi
/// and format marks, invisible letters and tags.
bool is_hidden(char32_t character);

/// Safe to print: hidden characters shown as \x1b, \u202e; invalid UTF-8 as U+FFFD. Line breaks and tabs
/// stay.
std::string printable(std::string_view text);

/// Printable, with line breaks and tabs shown as \n and \t.
std::string one_line(std::string_view text);

/// What a file or a person gave, for a message: in double quotes, on one line, and cut after 100 bytes.
std::string in_quotes(std::string_view text);

/// ASCII white space cut from both ends.
std::string trim(std::string_view text);

std::string lower_ascii(std::string_view text);

/// Lower-case words: runs of letters and digits; an apostrophe joins. Without spaces (Chinese, Japanese,
/// Thai) each character is one.
std::vector<std::string> words_of(std::string_view text);

std::vector<std::string> split(std::string_view text, char separator);

/// Number of single-character edits between two short words; for "did you mean".
int edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to `word`, or "" when none is near enough to be meant.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace cai
