// Conversations in the forms that others publish them in: lists of messages, ShareGPT, HH-RLHF's transcripts.
#pragma once

#include <string>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

struct Turn {
  std::string role;  // "user", "assistant" or "system"
  std::string text;  // white space at its ends cut
  bool operator==(const Turn&) const = default;
};

/// Whether a value has the form of a conversation: a list of objects, or one object, with role and content or
/// from and value.
bool are_turns(const Json& value);

/// The turns of such a value. Contents are texts, or lists of parts ({"type": "text", "text": ...}). Throws
/// InputError (without a place) for another role, a part that is no text, and an empty list.
std::vector<Turn> turns_of(const Json& value);

/// Whether a text is an HH-RLHF transcript: "Human: ..." with at least one "\n\nAssistant:" behind it.
bool is_transcript(const std::string& text);
std::vector<Turn> turns_of_transcript(const std::string& text);

/// How a conversation before an answer is asked as one prompt: a single user turn as it is; several as a
/// transcript, "Human: ...\n\nAssistant: ...".
std::string as_prompt(const std::vector<Turn>& turns);

/// An answer as the user sees it: without the thinking block (<think>...</think>) that it begins with.
std::string without_thinking(const std::string& answer);

/// What a record asks, from `prompt`, `messages`, `conversations` or `conversation` (in this order), as turns
/// up to the last one of the user. No turns when it has none of these fields. Throws InputError (without a
/// place).
std::vector<Turn> asked_turns(const Json& record);

}  // namespace cai
