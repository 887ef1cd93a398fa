// What Unicode says about characters and their forms (utf8proc).
#pragma once

#include <string>
#include <string_view>

namespace cai {

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

/// The text in this normal form (Unicode Standard Annex 15). `text` must be valid UTF-8.
std::string normalised(std::string_view text, NormalForm form);

/// Lower case, one character at a time, as Rust's char::to_lowercase. `text` must be valid UTF-8.
std::string lower_case(std::string_view text);

/// Upper case, one character at a time, where that is one character.
std::string upper_case(std::string_view text);

/// The property White_Space.
bool is_white_space(char32_t character);

/// A letter, digit, mark or connector (\w).
bool is_word_character(char32_t character);

/// The character at byte `at` of valid UTF-8; `size` becomes its number of bytes.
char32_t character_at(std::string_view text, std::size_t at, std::size_t& size);

/// Appends the character as UTF-8.
void append_character(std::string& text, char32_t character);

}  // namespace cai
