// What a small model writes, made fit to learn from: cut at whole sentences, talk about the answer taken off,
// and reasons to leave it out.
#pragma once

#include <string>
#include <string_view>

namespace cai {

/// Without what is not the answer itself: a leading role label or "Here is a revised version ...:", quotes
/// around the whole, and a next turn that the model went on with: from a line "User:", "Human:" or
/// "Assistant:" on that follows a whole sentence. Dialogues, forms and YAML stay whole.
std::string strip_meta(std::string_view text);

/// Whether the text talks about an answer instead of giving one ("the revised response", "the assistant's
/// last answer").
bool is_meta(std::string_view text);

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
