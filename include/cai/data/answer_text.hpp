// What an answer consists of: counts of its parts, its language, its code fence. For rules
// (data/answer_check.hpp).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace cai {

/// Unicode code points. All functions here take valid UTF-8.
std::size_t count_characters(std::string_view text);

/// Runs of letters, digits and marks, joined by an apostrophe, hyphen or dot inside ("don't", "3.5",
/// "follow-up": one each). Each Han, Hiragana or Katakana character counts as a word.
std::size_t count_words(std::string_view text);

/// A sentence ends with . ! ? … 。 ！ ？ (and quotes or brackets behind it) before white space or the end, or
/// with its line. Common abbreviations and the numbers of a list ("2. Mix") end no sentence.
std::size_t count_sentences(std::string_view text);

/// Lines with something in them.
std::size_t count_lines(std::string_view text);

/// Blocks of lines between blank ones.
std::size_t count_paragraphs(std::string_view text);

/// Lines that begin with "-", "*", "•", or with a number and "." or ")".
std::size_t count_list_items(std::string_view text);

/// The inside of a text that is one fenced code block (```json ... ```); else the text without white space
/// around it.
std::string without_code_fence(std::string_view text);

}  // namespace cai
