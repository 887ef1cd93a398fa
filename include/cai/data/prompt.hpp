// Prompts: what the policy is asked. docs/reference/data-files.md has the forms of the files.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

/// Tags decide what a prompt is used for: its kind (data/tags.hpp) and a topic.
struct Prompt {
  std::string id;
  std::string text;
  std::vector<std::string> tags;
  std::string split;            // "train", "held-out" or "" (then drawn by hash of the id)
  std::string reference;        // a good answer, or ""
  Json extra = Json::object();  // fields we do not know; those named like a stage's own as prompt_<name>

  bool has_tag(std::string_view tag) const;
};

/// Reads a file of any form that read_rows reads. The prompt stands in `prompt`, `messages` or
/// `conversations`, as a text or as messages: of several turns all up to the user's last message are asked,
/// as a transcript. Optional: `id`, `tags` or `tag`, `split`, `reference`. A missing id becomes the first 12
/// digits of the text's SHA-256; such a prompt that stands there twice is used once. `notes` gets one
/// sentence on each thing that a person should know: what was left out, tags that look mistyped, columns
/// without a meaning. Throws InputError with file and line for each problem found (all together): no prompt,
/// invalid UTF-8, a repeated id, two kinds among the tags, text over 100,000 bytes.
std::vector<Prompt> read_prompts(const std::filesystem::path& file,
                                 std::vector<std::string>* notes = nullptr);

/// The same of records that are there already, such as a stage's; `file` and their number stand in messages.
std::vector<Prompt> prompts_of(const std::vector<Json>& records, const std::string& file,
                               std::vector<std::string>* notes = nullptr);

/// Gives a split to each prompt that names none: one id in five is held out, by its hash. Where that leaves
/// one of the two splits empty, and there are two prompts or more, one prompt changes sides. The same set
/// gets the same splits in every command.
void draw_splits(std::vector<Prompt>& prompts);

Json to_json(const Prompt& prompt);

}  // namespace cai
