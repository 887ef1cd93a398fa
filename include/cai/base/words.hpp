// Words of any script.
#pragma once

#include <string_view>

namespace cai {

/// Chinese, Japanese, Thai and their like: words_of takes each character for a word.
bool is_written_without_spaces(char32_t character);

/// Whether the words of `phrase` occur in the text, one after the other, in any case and with either
/// apostrophe; a word may have a plural "s" or "es". A phrase without letters and digits is looked for as it
/// is; an empty one is nowhere.
bool holds_words(std::string_view text, std::string_view phrase);

}  // namespace cai
