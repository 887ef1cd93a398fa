// Small helpers for UTF-8 text that came from outside.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cai {

bool is_utf8(std::string_view bytes);

/// Every invalid sequence replaced by U+FFFD (one per maximal invalid subpart, as Unicode and Python do).
std::string to_utf8(std::string_view bytes);

/// Safe to print: control characters (but \n and \t), escapes and bidi marks shown as \x1b, \u202e.
std::string printable(std::string_view text);

/// ASCII white space cut from both ends.
std::string trim(std::string_view text);

std::string lower_ascii(std::string_view text);

/// Lower-case words (letters and digits; any bytes above 127 count as letters, an apostrophe joins).
std::vector<std::string> words_of(std::string_view text);

std::vector<std::string> split(std::string_view text, char separator);

/// Number of single-character edits between two short words; for "did you mean".
int edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to `word`, or "" when none is near enough to be meant.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace cai
