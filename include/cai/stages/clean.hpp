// What a small model writes, made fit to learn from: cut at whole sentences, talk about the answer taken off,
// and reasons to leave it out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cai/base/text.hpp"

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

/// Without what is not the answer itself: a leading role label or "Here is a revised version ...:", quotes
/// around the whole, and a next turn that the model went on with: from a line "User:", "Human:" or
/// "Assistant:" on that follows a whole sentence. Dialogues, forms and YAML stay whole.
std::string strip_meta(std::string_view text);

/// Sorted, distinct hashes of all runs of n words; of the whole when there are fewer.
std::vector<std::uint64_t> word_grams(const std::vector<std::string>& words, std::size_t n);

/// Jaccard similarity of two sorted sets.
double jaccard(const std::vector<std::uint64_t>& a, const std::vector<std::uint64_t>& b);

/// The same sentence three times, or more than three tenths of all runs of four words seen before in the
/// text.
bool is_repeated(std::string_view text);

/// Whether the text talks about an answer instead of giving one ("the revised response", "the assistant's
/// last answer").
bool is_meta(std::string_view text);

/// Shares a word of content (by its first five letters) with the prompt; true when either has none.
bool is_on_topic(std::string_view prompt, std::string_view text);

/// "" or why an answer is not fit to learn from: empty, repeated, cut.
/// `finish` as in Reply; `text` has been cut already.
std::string answer_problem(std::string_view text, std::string_view finish);

/// A policy's own answer to a harmless request as data: whole sentences, without talk about itself. `why`
/// says what is wrong with one that is not fit to learn from (answer_problem, "refusal"), or is "".
std::string own_answer(std::string_view response, std::string_view finish, std::string& why);

/// "" or why a revision is not fit to learn from: empty, cut, copy (of the answer or the prompt), meta,
/// repeated, off-topic. A refusal with an opening names the topic or not; it is off-topic only when it runs
/// on past 40 words without it.
std::string revision_problem(std::string_view prompt, std::string_view answer, std::string_view revision,
                             std::string_view finish, bool is_refusal);

/// "" or why a critique says nothing: empty, copy (of the answer), repeated, an error of the model's end.
std::string critique_problem(std::string_view answer, std::string_view critique, std::string_view finish);

}  // namespace cai
