// Prompts: what the policy is asked. JSONL, a text file with one prompt a line, or TSV with a header.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

/// Tags decide what a prompt is used for. The shipped kinds: "red-team" (with a category as a second tag),
/// "ordinary", "borderline" (harmless, though it sounds unsafe).
struct Prompt {
  std::string id;
  std::string text;
  std::vector<std::string> tags;
  std::string split;        // "train", "held-out" or "" (then drawn by hash of the id)
  std::string reference;    // a good answer, or ""
  Json extra = Json::object();  // fields we do not know; those named like a stage's own as prompt_<name>

  bool has_tag(std::string_view tag) const;
};

/// Reads by extension: .jsonl/.jsonl.zst (`prompt` required; `id`, `tags`, `tag`, `split`, `reference` optional), .tsv (header line
/// with the same names), anything else one prompt a line. A missing id becomes the first 12 digits of the text's SHA-256.
/// Throws InputError with file and line for each problem found (all together): no text, invalid UTF-8, a repeated id, text over 100,000 bytes.
std::vector<Prompt> read_prompts(const std::filesystem::path& file);

Json to_json(const Prompt& prompt);

}  // namespace cai
