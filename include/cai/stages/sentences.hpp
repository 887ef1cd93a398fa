// A text in its sentences, and cut at them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cai {

/// The sentences and lines of a text, in lower case.
std::vector<std::string> sentences_of(std::string_view text);

/// Up to the last whole sentence, line of a list or closed code block; "" when there is none.
std::string cut_at_sentence(std::string_view text);

/// An answer as it is compared with others, so that none is known by its torn end: one that did not end by
/// itself (`finish` as in Reply) up to its last whole sentence, all of it when it has none.
std::string whole_part(const std::string& answer, std::string_view finish);

/// The first `n` sentences; the whole text when it has no more.
std::string first_sentences(std::string_view text, int n);

}  // namespace cai
